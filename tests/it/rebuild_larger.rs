//! `bootstrap rebuild` beside what else is broken, where there are workers, and while somebody else works.

use std::fs;

use serde_json::{Value, json};

use crate::drill::RUN;
use crate::lab::{Lab, has_all, repository};
use crate::rebuild::healthy;
use crate::small::Small;

/// A room in which `infra` has five machines, of which these are workers, and `apps` one.
fn five(workers: &[&str]) -> Lab {
    let text = fs::read_to_string(repository().join("src/bin/lab/site.json")).unwrap();
    let mut site: Value = serde_json::from_str(&text).unwrap();
    let planes: Vec<String> = (1..=5)
        .filter(|number| !workers.contains(&format!("infra-0{number}").as_str()))
        .map(|number| format!("10.25.11.1{number}"))
        .collect();
    site["dns"]["infra-k8s.monosense.io"] = json!(planes);
    site["dns"]["apps-k8s.monosense.io"] = json!(["10.25.11.16"]);
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("site.json");
    fs::write(&file, site.to_string()).unwrap();
    let lab = Lab::with(&["--site", file.to_str().unwrap()]);

    let inventory = lab.read("talos/inventory.yaml");
    let (before, apps) = inventory.split_once("\n  apps:\n").unwrap();
    let (head, machines) = apps.split_once("      apps-01:\n").unwrap();
    let (moved, rest) = machines.split_once("      apps-03:\n").unwrap();
    let moved = format!("      apps-01:\n{moved}")
        .replace("apps-01", "infra-04")
        .replace("apps-02", "infra-05");
    let mut infra = format!("{}\n{}", before.trim_end(), moved.trim_end());
    for worker in workers {
        let at = infra.find(&format!("      {worker}:\n")).unwrap();
        let changed = infra[at..].replacen("role: controlplane", "role: worker", 1);
        infra.truncate(at);
        infra += &changed;
    }
    let head = head.replace("bootstrap_node: apps-01", "bootstrap_node: apps-03");
    lab.write(
        "talos/inventory.yaml",
        &format!("{infra}\n\n  apps:\n{head}      apps-03:\n{rest}"),
    );
    for (ip, was, is) in [
        ("10.25.11.14", "apps-01", "infra-04"),
        ("10.25.11.15", "apps-02", "infra-05"),
    ] {
        let old = format!("talos/apps/{ip}.yaml");
        let patch = lab.read(&old).replace(was, is);
        lab.write(&format!("talos/infra/{ip}.yaml"), &patch);
        fs::remove_file(lab.project().join(old)).unwrap();
    }
    lab.bootstrap(RUN).success();
    lab
}

fn hurt(lab: &Lab, ip: &str, how: &str) {
    lab.lab(["hurt", "WORLD", "node", ip, how]).success();
}

fn rebuild<'a>(node: &'a str, confirm: &'a str) -> [&'a str; 7] {
    [
        "rebuild",
        "node",
        node,
        "--confirm",
        confirm,
        "--output",
        "plain",
    ]
}

#[test]
fn whichever_other_control_plane_answers_is_asked_about_the_old_member() {
    let lab = five(&[]);
    // The first that would be asked is broken, too; three of five have a majority.
    hurt(&lab, "10.25.11.11", "down");
    hurt(&lab, "10.25.11.12", "wipe");
    let said = lab.bootstrap(rebuild("infra-02", "infra-02")).exit(1);
    has_all(
        &said.stderr,
        &[
            "changed    rebuild-node/remove[infra/infra-02]",
            "unchanged  rebuild-node/members[infra/infra-02]",
            "unchanged  rebuild-node/nodes[infra/infra-02]",
            "met        rebuild-node/criterion-1[infra/infra-02]",
            // That it is whole again is not claimed.
            "not met: member infra-01=down, infra-02=running, infra-03=running, infra-04=running, infra-05=running",
        ],
    );
    // Unknown is no answer: it was removed by one that answered, once, and nobody else was.
    let removed: Vec<String> = lab
        .calls("talosctl etcd remove-member")
        .iter()
        .filter(|call| call.exit == Some(0))
        .filter_map(|call| call.value("-n").map(str::to_owned))
        .collect();
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert_ne!(removed, ["10.25.11.11"]);
    let members = |name: &str| -> usize {
        let world = lab.show();
        let clusters = world["clusters"].as_array().unwrap().iter();
        clusters
            .filter(|cluster| cluster["alive"] == true && cluster["name"] == name)
            .map(|cluster| cluster["members"].as_array().unwrap().len())
            .sum()
    };
    assert_eq!(members("infra"), 5);

    hurt(&lab, "10.25.11.11", "wipe");
    lab.bootstrap(rebuild("infra-01", "infra-01")).success();
    assert_eq!(members("infra"), 5);
    lab.bootstrap(["verify", "story", "1.3"]).success();
    assert_eq!(lab.show()["split_brain"], json!([]));
}

#[test]
fn where_none_of_the_others_has_a_majority_nothing_is_asked_of_them_and_nothing_destroyed() {
    let lab = five(&[]);
    for ip in ["10.25.11.11", "10.25.11.12", "10.25.11.13"] {
        hurt(&lab, ip, "wipe");
    }
    let said = lab.bootstrap(rebuild("infra-02", "infra-02")).exit(4);
    has_all(
        &said.stderr,
        &["disaster of the whole cluster: bootstrap rebuild infra"],
    );
    assert_eq!(lab.calls("talosctl etcd remove-member"), []);
}

#[test]
fn workers_are_no_part_of_a_rebuild_and_a_lost_one_is_repaired_by_the_story() {
    let lab = five(&["infra-04", "infra-05"]);
    hurt(&lab, "10.25.11.14", "wipe");
    let said = lab.bootstrap(rebuild("infra-04", "infra-04")).exit(4);
    has_all(
        &said.stderr,
        &[
            "infra-04 is a worker: it has no part in etcd",
            "bootstrap run story 1.3",
            "nothing was touched",
        ],
    );
    lab.bootstrap(RUN).success();
    hurt(&lab, "10.25.11.12", "wipe");
    lab.bootstrap(rebuild("infra-02", "infra-02")).success();
    lab.bootstrap(["verify", "story", "1.3"]).success();
}

#[test]
fn law_10_a_run_that_waits_for_an_etcd_without_its_majority_says_what_to_do() {
    let lab = healthy();
    hurt(&lab, "10.25.11.14", "wipe");
    hurt(&lab, "10.25.11.15", "wipe");
    let said = lab.bootstrap(RUN).exit(1);
    has_all(
        &said.stderr,
        &[
            "waited 1200s for etcd is running; last seen: etcd absent",
            "bootstrap rebuild apps asks, and says which way there is",
        ],
    );
    // What it is sent to has an answer, and keeps the last copy.
    let said = lab
        .bootstrap(["rebuild", "apps", "--confirm", "apps"])
        .exit(4);
    has_all(
        &said.stderr,
        &[
            "A control plane of apps still has etcd's data on its disk",
            "nothing was touched",
        ],
    );
}

const WAITING: &str = r#"
inventory: inventory.yaml
rebuilds:
  cluster:
    choose:
      - { title: Is it there?, when: { probe: asked, is: there }, story: build }
probes:
  asked:
    title: Is it there?
    ask:
      - run: [sh, -c, "touch asked; while ! test -e answer; do sleep 0.01; done"]
        answers: { there: "exit == 0" }
stories:
  - id: build
    title: Build
    steps:
      - { id: build, for_each: clusters, shell: "touch built" }
  - id: "1.1"
    title: Small
    steps:
      - { id: work, shell: "touch at; while ! test -e go; do sleep 0.01; done" }
"#;

#[test]
fn law_11_a_rebuild_takes_the_lock_before_it_asks_and_its_plan_takes_none() {
    let small = Small::of(WAITING);
    small.write("inventory.yaml", "clusters: { home: { nodes: {} } }\n");
    let mut run = small.start("run story 1.1", "at");
    small.bootstrap("rebuild home").exit(5).says(&[
        "another run works in this project",
        "`bootstrap run story 1.1`",
    ]);
    assert!(!small.has("asked"), "it asked");
    small.write("answer", "");
    small.bootstrap("rebuild home --plan").success();
    assert!(small.has("asked"));
    small.write("go", "");
    assert!(run.wait().unwrap().success());

    // And the other way round: while it is found out which way to go, nothing may be changed.
    small.remove("answer");
    small.remove("asked");
    let mut rebuild = small.start("rebuild home", "asked");
    small
        .bootstrap("run story 1.1")
        .exit(5)
        .says(&["`bootstrap rebuild home`"]);
    small.write("answer", "");
    assert!(rebuild.wait().unwrap().success());
    assert!(small.has("built"));
}
