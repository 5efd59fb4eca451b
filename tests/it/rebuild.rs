//! `bootstrap rebuild`: each way from its disaster to its end, the gates before it, and what nobody agreed to.

use std::sync::OnceLock;

use bootstrap::run::Event;
use bootstrap::run::event::RunResult;
use serde_json::Value;

use crate::drill::{RUN, effects, items, leaks, lines, marked, records, repeated, runs};
use crate::lab::{Call, Lab, Outcome};

/// Two clusters that live, and a snapshot of one of them.
pub(crate) fn healthy() -> Lab {
    static HEALTHY: OnceLock<Lab> = OnceLock::new();
    let made = HEALTHY.get_or_init(|| {
        let lab = Lab::new();
        lab.bootstrap(RUN).success();
        snapshot(&lab);
        lab
    });
    made.twin()
}

fn snapshot(lab: &Lab) {
    lab.bootstrap(["run", "task", "talos:snapshot", "cluster=infra"])
        .success();
}

/// A way to rebuild something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A control plane whose machine was exchanged for a fresh one.
    Node,
    /// A control plane that lost its etcd in part, so that the rest of it has no majority; a snapshot is there.
    Restore,
    /// Of three machines one is fresh, one lost what is on /var, one has data without a majority; all that is given up.
    Anew,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Node, Self::Restore, Self::Anew];

    /// What happens before.
    pub(crate) fn hurt(self, lab: &Lab) {
        let hurts: &[(&str, &str)] = match self {
            Self::Node => &[("10.25.11.12", "wipe")],
            // With the first one lost alone it would join the two others again, as an empty member.
            Self::Restore => &[
                ("10.25.11.13", "down"),
                ("10.25.11.12", "lose"),
                ("10.25.11.13", "lose"),
                ("10.25.11.13", "up"),
            ],
            Self::Anew => &[("10.25.11.11", "wipe"), ("10.25.11.12", "lose")],
        };
        for (ip, how) in hurts {
            lab.lab(["hurt", "WORLD", "node", ip, how]).success();
        }
    }

    /// What is typed then.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let words = match self {
            Self::Node => "rebuild node 10.25.11.12 --confirm infra-02",
            Self::Restore => "rebuild infra --confirm infra",
            Self::Anew => "rebuild infra data=lost snapshot=none --confirm infra",
        };
        words.split(' ').chain(["--output", "plain"]).collect()
    }

    fn story(self) -> &'static str {
        match self {
            Self::Node => "rebuild-node",
            Self::Restore => "rebuild-restore",
            Self::Anew => "rebuild-anew",
        }
    }

    /// About so many lines are written, and so many calls made.
    pub(crate) fn size(self) -> (usize, usize) {
        match self {
            Self::Node => (48, 60),
            Self::Restore => (66, 140),
            Self::Anew => (84, 160),
        }
    }

    /// The machines that are wiped or emptied by it.
    fn resets(self) -> &'static [&'static str] {
        match self {
            Self::Node => &[],
            Self::Restore => &["10.25.11.11"],
            Self::Anew => &["10.25.11.12", "10.25.11.13"],
        }
    }
}

/// What changed the world, beyond what the drills of story 1.3 know.
fn acts(lab: &Lab, since: usize) -> Vec<Call> {
    let removes = lab.calls("talosctl etcd remove-member");
    let mut all = effects(lab);
    all.extend(removes);
    all.retain(|call| call.started_ms >= since as u64);
    all.sort_by_key(|call| call.started_ms);
    all
}

/// Everything that is not as it should be after a rebuild of `infra` that began when so many calls had been made.
pub(crate) fn wrong(lab: &Lab, way: Way, before: &Value, since: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let records = records(lab);
    match records.last().map(|record| &record.event) {
        Some(Event::RunEnded {
            result: RunResult::Done,
        }) => {}
        other => wrong.push(format!("law 5: the journal ends with {other:?}")),
    }
    for (key, why) in repeated(&records, &mut wrong) {
        if ["/empty[", "/wipe[", "/remove["]
            .iter()
            .any(|step| key.contains(step))
        {
            wrong.push(format!("law 5: {key} is open again: {why}"));
        }
    }
    let world = lab.show();
    let clusters = |world: &Value, alive: bool| -> Vec<Value> {
        let all = world["clusters"].as_array().unwrap().iter();
        all.filter(|cluster| cluster["alive"] == alive)
            .cloned()
            .collect()
    };
    let living = clusters(&world, true);
    if living.len() != 2 {
        wrong.push(format!("law 4: {} clusters live", living.len()));
    }
    for cluster in &living {
        let of = |list: &Value| list.as_array().map_or(0, Vec::len);
        if of(&cluster["members"]) != 3 || of(&cluster["kubernetes_nodes"]) != 3 {
            wrong.push(format!("not a whole cluster: {cluster}"));
        }
    }
    if world["split_brain"] != Value::Array(Vec::new()) {
        wrong.push(format!("law 4: split brain: {}", world["split_brain"]));
    }
    let accepted = |world: &Value| world["bootstraps"].as_array().unwrap().len();
    let new = accepted(&world) - accepted(before);
    if new != usize::from(way != Way::Node) {
        wrong.push(format!("law 4: etcd was begun {new} times"));
    }
    items(lab, &mut wrong);

    let acts = acts(lab, since);
    let begun = acts
        .iter()
        .filter(|call| call.argv[0] == "bootstrap")
        .map(|call| call.started_ms)
        .min();
    for call in &acts {
        let line = call.line();
        if line.contains("10.25.11.14")
            || line.contains("10.25.11.15")
            || line.contains("10.25.11.16")
        {
            wrong.push(format!("another cluster was touched: {line}"));
        }
        if call.argv[0] == "reset" {
            if begun.is_some_and(|begun| call.started_ms > begun) {
                wrong.push(format!("what was there already was emptied: {line}"));
            }
            if !way.resets().iter().any(|ip| line.contains(ip)) {
                wrong.push(format!(
                    "this machine was not to be emptied: {line} (exit {:?})",
                    call.exit
                ));
            }
        }
    }
    let alive: Vec<(u32, String)> = runs(&lab.project())
        .iter()
        .flat_map(|run| marked(run))
        .collect();
    if !alive.is_empty() {
        wrong.push(format!("law 7: still alive: {alive:?}"));
    }
    let leaks = leaks(lab);
    if !leaks.is_empty() {
        wrong.push(format!("law 8: secrets in {leaks:#?}"));
    }
    wrong
}

/// When the last call so far began.
pub(crate) fn now(lab: &Lab) -> usize {
    let calls = lab.calls("");
    let last = calls.iter().map(|call| call.started_ms).max();
    usize::try_from(last.unwrap_or_default() + 1).unwrap()
}

#[test]
fn each_way_leads_from_its_disaster_to_a_whole_cluster_with_the_old_secrets() {
    for way in Way::ALL {
        let lab = healthy();
        way.hurt(&lab);
        let (before, since) = (lab.show(), now(&lab));
        let said = lab.bootstrap(way.words()).success();
        assert!(
            said.stderr
                .contains(&format!("way       {}: ", way.story())),
            "{}",
            said.stderr
        );
        assert!(
            said.stderr.contains("  all done +"),
            "law 12: phases are told\n{}",
            said.stderr
        );
        assert_eq!(
            wrong(&lab, way, &before, since),
            [] as [String; 0],
            "{way:?}"
        );
        let reset: Vec<String> = acts(&lab, since)
            .iter()
            .filter(|call| call.argv[0] == "reset")
            .map(Call::line)
            .collect();
        assert_eq!(reset.len(), way.resets().len(), "{reset:?}");
        let removed = lab.calls("talosctl etcd remove-member").len();
        assert_eq!(removed, usize::from(way == Way::Node));
        let restored = lab.calls("talosctl bootstrap --recover-from=").len();
        assert_eq!(restored, usize::from(way == Way::Restore));

        // The cluster lives again: now it is no disaster any more, and nothing may be emptied.
        let lines = lines(&lab);
        let again = lab.bootstrap(way.words()).exit(4);
        assert!(again.stderr.contains("is not rebuilt"), "{}", again.stderr);
        assert!(
            again.stderr.contains("nothing was touched"),
            "{}",
            again.stderr
        );
        assert_eq!(crate::drill::lines(&lab), lines, "no run was begun");
        lab.bootstrap(["verify", "story", "1.3"]).success();

        let report = lab.bootstrap(["report", "--json"]).success().json();
        let run = lab.bootstrap(["report"]).success();
        assert!(run.stdout.contains("# Run"), "{}", run.stdout);
        assert!(
            report["rebuild"].is_null(),
            "the newest run is the one that verified"
        );
    }
}

#[test]
fn the_report_tells_why_it_went_that_way_and_how_long_each_part_took() {
    let lab = healthy();
    Way::Node.hurt(&lab);
    let mut words = Way::Node.words();
    words.extend(["--outage-since", "25m"]);
    let said = lab.bootstrap(words).success();
    assert!(
        said.stderr.contains("counted from the outage"),
        "{}",
        said.stderr
    );
    let text = lab.bootstrap(["report"]).success().stdout;
    for part in [
        "## Why this way",
        "- Is infra-02 a healthy member of etcd? no (member fresh)",
        "| apply | +25m ",
        "all done +25m ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = lab.bootstrap(["report", "--json"]).success().json();
    assert_eq!(json["rebuild"]["chosen"]["story"], "rebuild-node");
    assert_eq!(json["rebuild"]["phases"][0]["name"], "session");
}

#[test]
fn showing_the_way_changes_nothing_and_shows_the_tasks_of_that_cluster_alone() {
    let lab = healthy();
    Way::Restore.hurt(&lab);
    let (lines, since) = (lines(&lab), now(&lab));
    let mut words = Way::Restore.words();
    words.push("--plan");
    let said = lab.bootstrap(words).success();
    assert!(
        said.stdout
            .contains("rebuild-restore/empty[infra/infra-01]"),
        "{}",
        said.stdout
    );
    assert!(!said.stdout.contains("apps"), "{}", said.stdout);
    assert_eq!(acts(&lab, since), []);
    assert_eq!(crate::drill::lines(&lab), lines);
}

/// A disaster, what is typed, and the reason not to.
struct Gate {
    hurts: &'static [&'static str],
    typed: &'static str,
    says: &'static str,
}

const GATES: [Gate; 14] = [
    Gate {
        hurts: &[],
        typed: "rebuild infra",
        says: "etcd of infra lives",
    },
    Gate {
        hurts: &[],
        typed: "rebuild node infra-02",
        says: "etcd runs on infra-02 and is healthy",
    },
    Gate {
        hurts: &["node 10.25.11.12 lose"],
        typed: "rebuild infra",
        says: "etcd of infra lives",
    },
    Gate {
        hurts: &["cluster infra lose", "node 10.25.11.12 down"],
        typed: "rebuild infra",
        says: "does not answer",
    },
    Gate {
        hurts: &["cluster infra lose", "node 10.25.11.12 foreign"],
        typed: "rebuild infra",
        says: "carries the configuration of another cluster",
    },
    Gate {
        hurts: &["cluster infra lose", "node 10.25.11.12 ceph"],
        typed: "rebuild infra",
        says: "There are disks of Ceph in infra",
    },
    Gate {
        hurts: &["cluster infra lose"],
        typed: "rebuild infra snapshot=talos/inventory.yaml",
        says: "is no whole snapshot",
    },
    Gate {
        hurts: &["cluster infra lose"],
        typed: "rebuild infra snapshot=talos/nothing.db",
        says: "is no whole snapshot",
    },
    Gate {
        hurts: &["node 10.25.11.12 lose", "node 10.25.11.13 lose"],
        typed: "rebuild infra snapshot=none",
        says: "still has etcd's data on its disk",
    },
    Gate {
        hurts: &["cluster infra wipe"],
        typed: "rebuild infra",
        says: "is sound, but it is not restored",
    },
    Gate {
        hurts: &["node 10.25.11.12 down"],
        typed: "rebuild node infra-02",
        says: "Nothing answers at 10.25.11.12",
    },
    Gate {
        hurts: &["node 10.25.11.12 foreign"],
        typed: "rebuild node infra-02",
        says: "carries the configuration of another cluster",
    },
    Gate {
        hurts: &["node 10.25.11.12 wipe", "node 10.25.11.12 ceph"],
        typed: "rebuild node infra-02",
        says: "There is a disk of Ceph in infra-02",
    },
    Gate {
        hurts: &["cluster infra lose"],
        typed: "rebuild node infra-02",
        says: "disaster of the whole cluster",
    },
];

#[test]
fn each_gate_stops_before_anything_is_touched_and_says_what_to_do() {
    // What has to last before it is believed takes its time, so they stand side by side.
    std::thread::scope(|scope| {
        for gate in &GATES {
            scope.spawn(|| {
                let lab = healthy();
                for hurt in gate.hurts {
                    let words = ["hurt", "WORLD"].into_iter().chain(hurt.split(' '));
                    lab.lab(words).success();
                }
                stops(&lab, gate.typed, gate.says);
            });
        }
    });
}

/// It stops with this, and nothing was touched.
fn stops(lab: &Lab, typed: &str, says: &str) {
    let (lines, since) = (lines(lab), now(lab));
    let words = typed
        .split(' ')
        .chain(["--confirm", "infra", "--confirm", "infra-02"]);
    let said = lab.bootstrap(words).exit(4);
    assert!(
        said.stderr.contains(says),
        "{typed}: {says}\n{}",
        said.stderr
    );
    assert!(
        said.stderr.contains("nothing was touched"),
        "{}",
        said.stderr
    );
    assert_eq!(acts(lab, since), [], "{typed}");
    assert_eq!(crate::drill::lines(lab), lines, "{typed}: a run was begun");
}

#[test]
fn secrets_that_are_missing_are_never_made_anew_for_a_rebuild() {
    for (typed, hurt) in [
        ("rebuild infra", "cluster infra wipe"),
        ("rebuild node infra-02", "node 10.25.11.12 wipe"),
    ] {
        let lab = healthy();
        let words = ["hurt", "WORLD"].into_iter().chain(hurt.split(' '));
        lab.lab(words).success();
        let mut delete = lab.command(env!("CARGO_BIN_EXE_lab"));
        delete.arg("exec").arg(lab.world()).args([
            "--",
            "op",
            "item",
            "delete",
            "infra-talos",
            "--vault",
            "Prod",
        ]);
        crate::lab::run(delete).success();
        stops(&lab, typed, "1Password does not hold all 14 secrets");
        assert_eq!(lab.calls("op item create").len(), 2);
    }
}

#[test]
fn a_damaged_snapshot_is_not_what_anything_is_emptied_for() {
    let lab = healthy();
    Way::Restore.hurt(&lab);
    let snapshots = lab.project().join("talos/snapshots");
    let file = std::fs::read_dir(&snapshots)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "db"))
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    stops(&lab, "rebuild infra", "is no whole snapshot");
}

#[test]
fn what_cannot_be_asked_is_no_reason_to_go_any_way() {
    let lab = healthy();
    Way::Node.hurt(&lab);
    let path = lab.project().join("talos/talosconfig");
    std::fs::remove_file(path).unwrap();
    stops(&lab, "rebuild node infra-02", "it cannot be told");
}

#[test]
fn nobody_agreed_so_nothing_is_destroyed() {
    for way in Way::ALL {
        let lab = healthy();
        way.hurt(&lab);
        let since = now(&lab);
        let words = way.words();
        let at = words.iter().position(|word| *word == "--confirm").unwrap();
        let mut without = words.clone();
        without.drain(at..=at + 1);
        let said = lab.bootstrap(without).exit(1);
        assert!(
            said.stderr.contains("pass `--confirm infra"),
            "{}",
            said.stderr
        );
        assert_eq!(acts(&lab, since), []);
        // It is gone on with, by whoever agrees.
        let before = lab.show();
        lab.bootstrap(["resume", "--confirm", words[at + 1]])
            .success();
        assert_eq!(
            wrong(&lab, way, &before, since),
            [] as [String; 0],
            "{way:?}"
        );
    }
}

#[test]
fn a_way_is_not_taken_by_itself() {
    let lab = Lab::project_alone();
    for (typed, says) in [
        ("run story rebuild-anew", "bootstrap rebuild CLUSTER"),
        ("verify story rebuild-node", "bootstrap rebuild node NAME"),
        ("rebuild nowhere", "the clusters are: infra, apps"),
        ("rebuild infra-01", "bootstrap rebuild node infra-01"),
        ("rebuild node nobody", "the nodes are: infra-01"),
        ("rebuild node", "takes one cluster, or `node` and one node"),
        (
            "rebuild infra data=gone",
            "`data` is one of keep, saved, lost",
        ),
        ("rebuild infra speed=high", "nothing called `speed`"),
        ("rebuild infra --outage-since tomorrow", "neither a time"),
    ] {
        let outcome: Outcome = crate::lab::run(lab.alone_command(typed.split(' ')));
        let said = outcome.exit(2);
        assert!(
            said.stderr.contains(says),
            "{typed}: {says}\n{}",
            said.stderr
        );
    }
}
