//! The laws, each seen from outside: the whole program, on a house of two machines. What a law means in detail is tested where it is kept.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Outcome, repository, run};

/// Never reached, unless something is wrong.
const TOO_LONG: Duration = Duration::from_secs(60);

/// A project of two machines, played by two folders.
struct House {
    lab: Lab,
}

impl House {
    /// As it lies in the fixtures.
    fn new() -> Self {
        let lab = Lab::without_world();
        for file in [
            "inventory.yaml",
            "playbooks/home.yaml",
            "secrets.yaml",
            "templates/login.conf.j2",
        ] {
            let path = repository().join("tests/fixtures/house").join(file);
            lab.write(file, &fs::read_to_string(path).unwrap());
        }
        Self { lab }
    }

    /// With another text in a file.
    #[track_caller]
    fn but(self, file: &str, old: &str, new: &str) -> Self {
        let text = self.lab.read(file);
        assert!(text.contains(old), "{file} has no {old}");
        self.lab.write(file, &text.replace(old, new));
        self
    }

    /// What is unknown counts at once.
    fn impatient(self) -> Self {
        self.in_playbook(
            "    with: { node: Node }\n",
            "    with: { node: Node }\n    settle: 50ms\n",
        )
    }

    fn in_playbook(self, old: &str, new: &str) -> Self {
        self.but("playbooks/home.yaml", old, new)
    }

    fn bootstrap(&self, line: &str) -> Outcome {
        run(self.lab.alone_command(line.split(' ')))
    }

    fn json(&self, line: &str) -> Value {
        self.bootstrap(line).success().json()
    }

    fn has(&self, path: &str) -> bool {
        self.lab.project().join(path).exists()
    }

    /// Starts a run and waits until a file of the project is there.
    fn start(&self, line: &str, until: &str) -> Child {
        let mut child = self
            .lab
            .alone_command(line.split(' '))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        wait(&format!("{until} is there"), || {
            assert_eq!(
                child.try_wait().unwrap(),
                None,
                "it ended before {until} was there"
            );
            self.has(until)
        });
        child
    }
}

#[expect(clippy::disallowed_methods, reason = "asks again until it is so")]
fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < TOO_LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let tasks = value["tasks"].as_array().unwrap();
    tasks
        .iter()
        .map(|task| task["key"].as_str().unwrap())
        .collect()
}

const RUN: &str = "run story 1.2 --secrets-file secrets.yaml";

#[test]
fn law_01_the_plan_is_the_run() {
    let house = House::new();
    let plan = house.bootstrap("plan story 1.2 --json").success();
    let again = house.bootstrap("plan story 1.2 --json").success();
    assert_eq!(plan.stdout, again.stdout, "same files, same bytes");
    assert!(!house.has("rack"), "planning does nothing");
    house.bootstrap(RUN).success();
    assert_eq!(keys(&house.json("status --json")), keys(&plan.json()));
}

#[test]
fn law_02_what_could_not_be_asked_is_no_work_to_do() {
    let house = House::new()
        .impatient()
        .in_playbook("asleep: not exists", "asleep: \"exists and text == 'Z'\"");
    let said = house.bootstrap("run story 1.1").exit(1);
    assert!(said.stderr.contains("unknown"), "{}", said.stderr);
    assert!(!house.has("rack/attic/awake"), "it acted on an unknown");
}

#[test]
fn law_03_the_intent_is_on_disk_before_the_effect() {
    let look = "grep '{\\\"attempt-started\\\":{\\\"task\\\":\\\"1.1/wake.home/{{ node.name }}.\\\"' \
                .bootstrap/runs/{{ run.id }}/journal.jsonl && touch rack/{{ node.name }}/awake";
    let house = House::new().in_playbook(
        "exec: [touch, \"rack/{{ node.name }}/awake\"]",
        &format!("shell: \"{look}\""),
    );
    house.bootstrap("run story 1.1").success();
    assert!(house.has("rack/attic/awake"));
}

#[test]
fn law_04_once_is_not_done_on_an_unknown() {
    let house = House::new()
        .impatient()
        .in_playbook(
            "exec: [touch, \"rack/{{ node.name }}/awake\"]",
            "effect: once\n        exec: [touch, \"rack/{{ node.name }}/awake\"]",
        )
        .in_playbook("awake: exists", "awake: \"exists and text == 'yes'\"");
    for machine in ["attic", "cellar"] {
        house.lab.write(&format!("rack/{machine}/awake"), "?");
    }
    house.bootstrap("run story 1.1").exit(1);
    house.bootstrap("resume").exit(1);
    assert_eq!(house.lab.read("rack/attic/awake"), "?");
    let journal = fs::read_to_string(&house.lab.journals()[0]).unwrap();
    assert!(!journal.contains("process-started"), "{journal}");
}

#[test]
fn law_05_resume_needs_no_flags() {
    let mut died = 0;
    for line in (2..60).step_by(7) {
        let house = House::new();
        let mut command = house.lab.alone_command(RUN.split(' '));
        command
            .env("BOOTSTRAP_CRASH_AFTER_LINE", line.to_string())
            .process_group(0);
        let outcome = run(command);
        if outcome.code == Some(0) {
            break;
        }
        assert_eq!(outcome.code, None, "{}", outcome.stderr);
        died += 1;
        house.bootstrap("resume").success();
        assert_eq!(
            house.json("status --json")["standing"],
            "done",
            "line {line}"
        );
        for machine in ["attic", "cellar"] {
            assert!(house.has(&format!("rack/{machine}/awake")), "line {line}");
            assert!(
                house.has(&format!("rack/{machine}/login.conf")),
                "line {line}"
            );
        }
    }
    assert!(died >= 4, "it died only {died} times");
}

#[test]
fn law_06_the_world_wins_over_the_checkpoint() {
    let house = House::new().but(
        "secrets.yaml",
        "op://Home/cellar/PASSWORD",
        "op://Home/nobody/PASSWORD",
    );
    house.bootstrap(RUN).exit(1);
    assert!(house.has("rack/cellar/awake"));
    fs::remove_file(house.lab.project().join("rack/cellar/awake")).unwrap();
    let house = house.but(
        "secrets.yaml",
        "op://Home/nobody/PASSWORD",
        "op://Home/cellar/PASSWORD",
    );
    house.bootstrap("resume").success();
    assert!(
        house.has("rack/cellar/awake"),
        "what was undone meanwhile is done again"
    );
}

#[test]
fn law_07_nothing_is_left_when_the_runner_is_killed() {
    let house = House::new().in_playbook(
        "exec: [touch, \"rack/{{ node.name }}/awake\"]",
        "shell: 'echo $$ > rack/{{ node.name }}/new && mv rack/{{ node.name }}/new rack/{{ node.name }}/pid; exec sleep 1000'",
    );
    let mut runner = house.start("run story 1.1", "rack/attic/pid");
    let pid = house.lab.read("rack/attic/pid");
    runner.kill().unwrap();
    runner.wait().unwrap();
    wait("the process is gone", || {
        let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    });
}

#[test]
fn law_08_a_secret_is_nowhere_it_need_not_be() {
    fn search(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                search(&path, found);
            } else if String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("correct horse") {
                found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    // `tee` also prints what it writes.
    let house = House::new().in_playbook("[cp, /dev/stdin, ", "[tee, ");
    let said = house.bootstrap(RUN).success();
    assert!(!(said.stdout + &said.stderr).contains("correct horse"));
    let mut found = Vec::new();
    search(house.lab.folder(), &mut found);
    found.sort();
    assert_eq!(found, ["login.conf", "secrets.yaml"]);
    let logs = house.bootstrap("logs 1.2/login").success();
    assert!(logs.stdout.contains("password = "), "{}", logs.stdout);
}

#[test]
fn law_09_all_problems_at_once_each_with_its_place() {
    let house = House::new()
        .but("inventory.yaml", "192.168.7.12", "192.168.7")
        .in_playbook(
            "unless: { probe: login, is: set }",
            "unles: { probe: login, is: set }",
        );
    let said = house.bootstrap("validate").exit(3);
    for part in [
        "inventory.yaml:13:",
        "playbooks/home.yaml:",
        "unles",
        "`unless`",
    ] {
        assert!(said.stderr.contains(part), "no {part} in\n{}", said.stderr);
    }
}

#[test]
fn law_10_a_wait_ends_and_says_what_it_saw() {
    let house = House::new()
        .in_playbook(
            "exec: [touch, \"rack/{{ node.name }}/awake\"]",
            "exec: [\"true\"]",
        )
        .in_playbook(
            "is: awake, every: 1s, within: 30s",
            "is: awake, every: 10ms, within: 200ms",
        );
    let said = house.bootstrap("run story 1.1").exit(1);
    assert!(said.stderr.contains("asleep"), "{}", said.stderr);
    assert!(said.stderr.contains("waited "), "{}", said.stderr);
}

#[test]
fn law_11_one_writer() {
    let house = House::new().in_playbook(
        "exec: [touch, \"rack/{{ node.name }}/awake\"]",
        "shell: 'touch rack/{{ node.name }}/busy; test -e go || exec sleep 1000; touch rack/{{ node.name }}/awake'",
    );
    let mut first = house.start("run story 1.1", "rack/attic/busy");
    let said = house.bootstrap("run story 1.1").exit(5);
    for part in ["another run", "tester", &first.id().to_string()] {
        assert!(said.stderr.contains(part), "no {part} in\n{}", said.stderr);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    house.lab.write("go", "");
    house.bootstrap("run story 1.1").success();
}

#[test]
fn law_12_every_task_says_why() {
    let house = House::new();
    for _ in 0..2 {
        let said = house.bootstrap(RUN).success();
        let mut ends = 0;
        for line in said.stderr.lines() {
            // How it ended, which task, how long it took, why.
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, task, time, why @ ..] = words.as_slice()
                && task.contains('/')
                && time.ends_with('s')
                && time.trim_end_matches('s').parse::<f64>().is_ok()
            {
                ends += 1;
                assert!(!why.is_empty(), "{line}");
            }
        }
        assert!(ends > 0, "{}", said.stderr);
        let status = house.json("status --json");
        for task in status["tasks"].as_array().unwrap() {
            assert!(
                task["why"].as_str().is_some_and(|why| !why.is_empty()),
                "{task:#}"
            );
        }
    }
}

#[test]
fn law_13_a_damaged_journal_is_refused_and_a_torn_one_repaired() {
    let house = House::new().but(
        "secrets.yaml",
        "op://Home/cellar/PASSWORD",
        "op://Home/nobody/PASSWORD",
    );
    house.bootstrap(RUN).exit(1);
    let path = house.lab.journals().remove(0);
    let whole = fs::read(&path).unwrap();

    let text = String::from_utf8(whole.clone()).unwrap();
    fs::write(&path, text.replacen("\"attempt\":1", "\"attempt\":9", 1)).unwrap();
    let number = 1 + text[..text.find("\"attempt\":1").unwrap()]
        .matches('\n')
        .count();
    let said = house.bootstrap("resume").exit(5);
    assert!(
        said.stderr.contains(&format!("line {number}")),
        "{}",
        said.stderr
    );

    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let house = house.but(
        "secrets.yaml",
        "op://Home/nobody/PASSWORD",
        "op://Home/cellar/PASSWORD",
    );
    house.bootstrap("resume").success();
}

#[test]
fn law_14_done_is_measured() {
    let house = House::new()
        .in_playbook(
            "exec: [touch, \"rack/{{ node.name }}/awake\"]",
            "exec: [\"true\"]",
        )
        .in_playbook(
            "        until: { probe: machine, is: awake, every: 1s, within: 30s }\n",
            "",
        );
    let said = house.bootstrap("run story 1.1").exit(1);
    assert!(
        said.stderr.contains("Every machine is awake"),
        "{}",
        said.stderr
    );
}

#[test]
fn law_09_a_tool_of_the_wrong_version_is_told_before_anything_runs() {
    let lab = Lab::new();
    let tools = lab.read("playbooks/tools.yaml");
    let asked = "version(found).minor >= version(site.talos).minor - 1";
    assert!(tools.contains(asked));
    lab.write(
        "playbooks/tools.yaml",
        &tools.replace(asked, "version(found).minor >= 99"),
    );
    let said = lab.bootstrap(["run", "story", "1.3", "--yes"]).exit(4);
    assert!(
        said.stderr
            .contains("`talosctl` is 1.11.2: talosctl must be"),
        "{}",
        said.stderr
    );
    let calls = lab.calls("");
    assert!(
        calls.iter().all(|call| call.line().contains("version")),
        "{calls:?}"
    );
    assert!(lab.journals().is_empty(), "no run was begun");
}
