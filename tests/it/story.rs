//! Story 1.3 in the lab: from metal, again, and after a machine was lost. One long test, because each part begins where the one before ended.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::lab::{Call, Lab};

const RUN: [&str; 6] = ["run", "story", "1.3", "--yes", "--output", "plain"];

/// How many calls of each kind have effects, since the call log was so long.
fn effects(lab: &Lab, since: usize) -> Vec<Call> {
    let acts = ["apply-config", "bootstrap", "reset", "reboot", "upgrade"];
    lab.calls("")
        .split_off(since)
        .into_iter()
        .filter(|call| {
            let first = call.argv.first().map(String::as_str).unwrap_or_default();
            (call.tool == "talosctl" && acts.contains(&first))
                || call.line().starts_with("op item create")
                || call.line().starts_with("op item edit")
        })
        .collect()
}

/// What became of a run's tasks that are criteria, by the criterion they are of: `1.3/criterion-2`.
fn criteria(status: &Value) -> BTreeSet<(String, String)> {
    let tasks = status["tasks"].as_array().unwrap();
    tasks
        .iter()
        .map(|task| (task["key"].as_str().unwrap(), task["why"].as_str()))
        .filter(|(key, _)| key.contains("/criterion-"))
        .map(|(key, why)| {
            let name = key.split('[').next().unwrap();
            let word = why.unwrap_or_default().split(':').next().unwrap();
            (name.to_owned(), word.to_owned())
        })
        .collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let tasks = value["tasks"].as_array().unwrap();
    tasks
        .iter()
        .map(|task| task["key"].as_str().unwrap())
        .collect()
}

#[test]
fn two_control_planes_from_metal_again_and_after_a_loss() {
    let lab = Lab::new();
    let plan = lab
        .bootstrap(["plan", "story", "1.3", "--json"])
        .success()
        .json();
    assert_eq!(
        lab.calls(""),
        [],
        "law 1: planning starts no process of a tool"
    );
    from_metal(&lab, &plan);
    again(&lab);
    after_a_loss(&lab);
    verified(&lab);
}

fn from_metal(lab: &Lab, plan: &Value) {
    lab.bootstrap(RUN).success();
    let status = lab.bootstrap(["status", "--json"]).success().json();
    assert_eq!(keys(&status), keys(plan), "law 1: the plan is the run");
    assert_eq!(status["plan"], plan["fingerprint"]);

    // Law 14: done is what was asked of the world.
    let met = criteria(&status);
    assert_eq!(met.len(), 6 + 5 + 8, "{met:?}");
    assert!(met.iter().all(|(_, word)| word == "met"), "{met:?}");

    // Law 4: once a cluster, once an item.
    assert_eq!(lab.calls("talosctl bootstrap").len(), 2);
    assert_eq!(lab.calls("op item create").len(), 2);
    assert_eq!(lab.calls("talosctl apply-config").len(), 6);
    let world = lab.show();
    assert_eq!(world["split_brain"], Value::Array(Vec::new()));
    for cluster in world["clusters"].as_array().unwrap() {
        assert_eq!(cluster["alive"], true, "{cluster:#}");
        assert_eq!(cluster["members"].as_array().unwrap().len(), 3);
    }

    // Law 8: what the vaults hold is nowhere below the project but in the two files that the tools need.
    let secrets = lab.secrets();
    assert!(secrets.len() >= 20, "{} secrets", secrets.len());
    let mut leaks = Vec::new();
    search(&lab.project(), &mut |path, bytes| {
        if path.ends_with("talos/talosconfig") || path.ends_with("kubernetes/kubeconfig") {
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        if secrets.iter().any(|secret| text.contains(secret.as_str())) {
            leaks.push(path.to_path_buf());
        }
    });
    assert_eq!(leaks, [] as [std::path::PathBuf; 0]);
    for call in lab.calls("") {
        let line = call.line();
        assert!(
            !secrets.iter().any(|secret| line.contains(secret.as_str())),
            "a secret in the arguments of {}",
            call.tool
        );
    }
}

fn again(lab: &Lab) {
    let before = lab.calls("").len();
    lab.bootstrap(RUN).success();
    assert_eq!(effects(lab, before), [], "a second run changes nothing");
    let status = lab.bootstrap(["status", "--json"]).success().json();
    assert_eq!(status["counts"]["changed"], 0);
    for task in status["tasks"].as_array().unwrap() {
        let why = task["why"].as_str().unwrap_or_default();
        assert!(!why.is_empty(), "law 12: say why: {task:#}");
    }
    let runs = lab.bootstrap(["runs", "--json"]).success().json();
    let runs = runs.as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0]["run"], status["run"], "newest first");
    assert_eq!(runs[0]["counts"], status["counts"]);
}

fn after_a_loss(lab: &Lab) {
    const LOST: &str = "10.25.11.12";
    lab.lab(["hurt", "WORLD", "node", LOST, "wipe"]).success();
    let before = lab.calls("").len();
    lab.bootstrap(RUN).success();
    let did = effects(lab, before);
    assert!(!did.is_empty(), "the wiped machine was not repaired");
    for call in &did {
        assert!(
            call.argv[0] == "apply-config" && call.argv.iter().any(|word| word == LOST),
            "only {LOST} is repaired, by its configuration: {}",
            call.line()
        );
    }
    let world = lab.show();
    assert_eq!(world["split_brain"], Value::Array(Vec::new()));
    for cluster in world["clusters"].as_array().unwrap() {
        assert_eq!(cluster["bootstraps"], 1, "{cluster:#}");
    }
}

fn verified(lab: &Lab) {
    let before = lab.calls("").len();
    lab.bootstrap(["verify", "story", "1.3"]).success();
    assert_eq!(effects(lab, before), []);
    lab.lab(["hurt", "WORLD", "node", "10.25.11.15", "down"])
        .success();
    let said = lab.bootstrap(["verify", "story", "1.3"]).exit(1);
    assert!(said.stderr.contains("apps-02"), "{}", said.stderr);
}

/// Every file below a folder.
fn search(folder: &std::path::Path, see: &mut impl FnMut(&std::path::Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, see);
        } else if path.is_file() {
            see(&path, &std::fs::read(&path).unwrap());
        }
    }
}
