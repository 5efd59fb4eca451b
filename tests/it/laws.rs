//! The laws, each seen from outside: the whole program, on a house of two machines. What a law means in detail is tested where it is kept.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, run};
use crate::small::Small;
use crate::wait::eventually;

const PLAYBOOK: &str = "playbooks/home.yaml";
const SECRETS: &str = "secrets.yaml";
/// What wakes a machine.
const WAKE: &str = "exec: [touch, \"rack/{{ node.name }}/awake\"]";

/// The project of two machines, whose playbook says something else in places.
#[track_caller]
fn house<const N: usize>(changes: [(&str, &str); N]) -> Small {
    let house = Small::house();
    for (old, new) in changes {
        house.change(PLAYBOOK, old, new);
    }
    house
}

/// What is unknown counts at once.
const IMPATIENT: (&str, &str) = (
    "    with: { node: Node }\n",
    "    with: { node: Node }\n    settle: 50ms\n",
);

/// One password of two is not to be had, or is again.
fn password(house: &Small, there: bool) {
    let (here, away) = ("op://Home/cellar/PASSWORD", "op://Home/nobody/PASSWORD");
    let (old, new) = if there { (away, here) } else { (here, away) };
    let text = house.read(SECRETS).replace(old, new);
    assert!(text.contains(new));
    house.write(SECRETS, &text);
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
    let house = Small::house();
    let plan = house.bootstrap("plan story 1.2 --json").success();
    let again = house.bootstrap("plan story 1.2 --json").success();
    assert_eq!(plan.stdout, again.stdout, "same files, same bytes");
    assert!(!house.has("rack"), "planning does nothing");
    house.bootstrap(RUN).success();
    assert_eq!(keys(&house.json("status --json")), keys(&plan.json()));
}

#[test]
fn law_02_what_could_not_be_asked_is_no_work_to_do() {
    let house = house([
        IMPATIENT,
        ("asleep: not exists", "asleep: \"exists and text == 'Z'\""),
    ]);
    let said = house.bootstrap("run story 1.1").exit(1);
    assert!(said.stderr.contains("unknown"), "{}", said.stderr);
    assert!(!house.has("rack/attic/awake"), "it acted on an unknown");
}

/// Where an answer takes longer than a state has to last, one wrong answer would be enough; so it is seen several times at least.
#[test]
fn law_02_one_slow_answer_is_not_believed_to_last() {
    let small = Small::of(
        r#"
probes:
  disk:
    title: Is the disk empty?
    settle: 1ms
    steady: [silent, full]
    ask:
      - run: [sh, -c, "echo asked >>asked; echo $(($(wc -l <asked)))"]
        answers:
          silent: "json == 1 or json == 4"
          full: "json == 2 or json == 3"
          empty: json == 5
stories:
  - id: "1.1"
    title: Small
    steps:
      - id: wipe
        unless: { probe: disk, is: empty }
        exec: [touch, wiped]
"#,
    );
    let mut command = small.lab.alone_command(["run", "story", "1.1"]);
    command.env("BOOTSTRAP_TIME_SCALE", "1000");
    run(command).success();
    assert_eq!(small.read("asked").lines().count(), 5);
    assert!(!small.has("wiped"), "it acted on a moment");
}

#[test]
fn law_03_the_intent_is_on_disk_before_the_effect() {
    let look = "grep '{\\\"attempt-started\\\":{\\\"task\\\":\\\"1.1/wake.home/{{ node.name }}.\\\"' \
                .bootstrap/runs/{{ run.id }}/journal.jsonl && touch rack/{{ node.name }}/awake";
    let house = house([(WAKE, &format!("shell: \"{look}\""))]);
    house.bootstrap("run story 1.1").success();
    assert!(house.has("rack/attic/awake"));
}

#[test]
fn law_04_once_is_not_done_on_an_unknown() {
    let house = house([
        IMPATIENT,
        (
            WAKE,
            "effect: once\n        exec: [touch, \"rack/{{ node.name }}/awake\"]",
        ),
        ("awake: exists", "awake: \"exists and text == 'yes'\""),
    ]);
    for machine in ["attic", "cellar"] {
        house.write(&format!("rack/{machine}/awake"), "?");
    }
    house.bootstrap("run story 1.1").exit(1);
    house.bootstrap("resume").exit(1);
    assert_eq!(house.read("rack/attic/awake"), "?");
    let journal = fs::read_to_string(&house.lab.journals()[0]).unwrap();
    assert!(!journal.contains("process-started"), "{journal}");
}

#[test]
fn law_05_resume_needs_no_flags() {
    let mut died = 0;
    for line in (2..60).step_by(7) {
        let house = Small::house();
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
    let house = Small::house();
    password(&house, false);
    house.bootstrap(RUN).exit(1);
    assert!(house.has("rack/cellar/awake"));
    fs::remove_file(house.lab.project().join("rack/cellar/awake")).unwrap();
    password(&house, true);
    house.bootstrap("resume").success();
    assert!(
        house.has("rack/cellar/awake"),
        "what was undone meanwhile is done again"
    );
}

#[test]
fn law_07_nothing_is_left_when_the_runner_is_killed() {
    let house = house([(
        WAKE,
        "shell: 'echo $$ > rack/{{ node.name }}/new && mv rack/{{ node.name }}/new rack/{{ node.name }}/pid; exec sleep 1000'",
    )]);
    let mut runner = house.start("run story 1.1", "rack/attic/pid");
    let pid = house.read("rack/attic/pid");
    runner.kill().unwrap();
    runner.wait().unwrap();
    eventually("the end of the process", || {
        let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
        let gone = stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "));
        gone.then_some(())
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
    let house = house([("[cp, /dev/stdin, ", "[tee, ")]);
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
    let house = house([(
        "unless: { probe: login, is: set }",
        "unles: { probe: login, is: set }",
    )]);
    house.change("inventory.yaml", "192.168.7.12", "192.168.7");
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
    let house = house([
        (WAKE, "exec: [\"true\"]"),
        (
            "is: awake, every: 1s, within: 30s",
            "is: awake, every: 10ms, within: 200ms",
        ),
    ]);
    let said = house.bootstrap("run story 1.1").exit(1);
    assert!(said.stderr.contains("asleep"), "{}", said.stderr);
    assert!(said.stderr.contains("waited "), "{}", said.stderr);
}

#[test]
fn law_11_one_writer() {
    let house = house([(
        WAKE,
        "shell: 'touch rack/{{ node.name }}/busy; test -e go || exec sleep 1000; touch rack/{{ node.name }}/awake'",
    )]);
    let mut first = house.start("run story 1.1", "rack/attic/busy");
    let said = house.bootstrap("run story 1.1").exit(5);
    for part in ["another run", "tester", &first.id().to_string()] {
        assert!(said.stderr.contains(part), "no {part} in\n{}", said.stderr);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    house.write("go", "");
    house.bootstrap("run story 1.1").success();
}

/// How tasks ended, as a run says it at the terminal: how, which task, how long it took, why.
fn ends(said: &str) -> Vec<(String, String)> {
    said.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [how, task, time, why @ ..] = words.as_slice() else {
                return None;
            };
            let took = time.strip_suffix('s')?.parse::<f64>().is_ok();
            (task.contains('/') && took).then(|| ((*how).to_owned(), why.join(" ")))
        })
        .collect()
}

#[test]
fn law_12_every_task_says_why() {
    let house = Small::house();
    password(&house, false);
    let mut hows = BTreeSet::new();
    for code in [1, 0, 0] {
        let said = house.bootstrap(RUN).exit(code);
        let ends = ends(&said.stderr);
        assert!(!ends.is_empty(), "{}", said.stderr);
        for (how, why) in ends {
            assert!(!why.is_empty(), "{how} without a why in\n{}", said.stderr);
            hows.insert(how);
        }
        let status = house.json("status --json");
        for task in status["tasks"].as_array().unwrap() {
            assert!(
                task["why"].as_str().is_some_and(|why| !why.is_empty()),
                "{task:#}"
            );
        }
        password(&house, true);
    }
    for how in ["changed", "failed", "met", "unchanged"] {
        assert!(hows.contains(how), "no task was {how}: {hows:?}");
    }
}

#[test]
fn law_13_a_damaged_journal_is_refused_and_a_torn_one_repaired() {
    let house = Small::house();
    password(&house, false);
    house.bootstrap(RUN).exit(1);
    let path = house.lab.journals().remove(0);
    let whole = fs::read_to_string(&path).unwrap();

    // When a line in the middle was written, to the millisecond: it is a time all the same, and nothing is decided by it. Only the
    // checksum sees that.
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let number = lines.len() / 2;
    let end = lines[number - 1].find("Z\",\"event\":").unwrap();
    let place = lines[..number - 1].concat().len() + end - 1;
    let other = if whole[place..].starts_with('7') {
        "8"
    } else {
        "7"
    };
    let mut damaged = whole.clone();
    damaged.replace_range(place..=place, other);
    fs::write(&path, damaged).unwrap();
    house
        .bootstrap("resume")
        .exit(5)
        .says(&[&format!("line {number}"), "checksum"]);

    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    password(&house, true);
    house.bootstrap("resume").success();
}

#[test]
fn law_14_done_is_measured() {
    let house = house([
        (WAKE, "exec: [\"true\"]"),
        (
            "        until: { probe: machine, is: awake, every: 1s, within: 30s }\n",
            "",
        ),
    ]);
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
