//! What the playbook may and may not do to clusters and repositories.

use std::fs;

use serde_json::Value;

use crate::lab::{Lab, repository, run};

/// The exit code of the README.
const INVALID: u8 = 3;

/// What the repository's file says, parsed.
fn shipped(path: &str) -> Value {
    let text = fs::read_to_string(repository().join(path)).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// Command lines that no playbook may issue, and what is said of them.
const FORBIDDEN: [(&str, &str); 22] = [
    (
        "kubectl, get, nodes, --request-timeout, 5s",
        "names its kubeconfig and its context",
    ),
    (
        "kubectl, get, nodes, --kubeconfig, k, --context, c",
        "says how long it may take to be answered",
    ),
    (
        "kubectl, wait, pod/x, --kubeconfig, k, --context, c, --request-timeout, 5s",
        "does not wait without a deadline",
    ),
    (
        "kubectl, run, x, --kubeconfig, k, --context, c, --request-timeout, 5s",
        "waits for a person",
    ),
    (
        "kubectl, create, ns, x, --kubeconfig, k, --context, c, --request-timeout, 5s",
        "fails when it is said again",
    ),
    (
        "kubectl, apply, -f, x, --kubeconfig, k, --context, c, --request-timeout, 5s",
        "applies on the server",
    ),
    (
        "kubectl, delete, pod, x, -n, default, --timeout, 5s, --kubeconfig, k, --context, c, --request-timeout, 5s",
        "deletes nothing but test objects",
    ),
    (
        "helm, list, -o, json",
        "names its kubeconfig and its context",
    ),
    (
        "helm, upgrade, --install, x, y, --version, '1', --reset-values, --kubeconfig, k, --kube-context, c",
        "does not wait without a deadline",
    ),
    (
        "helm, upgrade, --install, x, y, --version, '1', --timeout, 5m, --kubeconfig, k, --kube-context, c",
        "exactly the values that it is given",
    ),
    (
        "flux, reconcile, source, git, x, --timeout, 1m",
        "names its kubeconfig and its context",
    ),
    (
        "flux, reconcile, source, git, x, --kubeconfig, k, --context, c",
        "does not wait without a deadline",
    ),
    (
        "flux, bootstrap, github, --path, p, --branch, b, --token-auth, --timeout, 1m, --kubeconfig, k, --context, c",
        "bootstraps into one folder of one branch",
    ),
    (
        "flux, bootstrap, git, --branch, b, --token-auth, --timeout, 1m, --kubeconfig, k, --context, c",
        "bootstraps into one folder of one branch",
    ),
    (
        "flux, bootstrap, git, --path, p, --branch, b, --token-auth, --force, --timeout, 1m, --kubeconfig, k, --context, c",
        "without force",
    ),
    (
        "flux, bootstrap, git, --path, p, --branch, b, --token-auth, --password, x, --timeout, 1m, --kubeconfig, k, --context, c",
        "the token on stdin",
    ),
    (
        "flux, suspend, kustomization, x, --kubeconfig, k, --context, c",
        "neither removes nor suspends",
    ),
    (
        "cilium, status, --wait, --kubeconfig, k, --context, c",
        "does not wait without a deadline",
    ),
    (
        "cilium, clustermesh, connect, --kubeconfig, k, --context, c",
        "behind Flux's back",
    ),
    (
        "git, push, --force, '{{ site.git.url }}', HEAD:refs/heads/main",
        "takes nothing away from anybody",
    ),
    (
        "git, push, origin, main",
        "names the repository and the branch",
    ),
    ("git, reset, --hard", "takes nothing away from anybody"),
];

#[test]
fn no_playbook_can_issue_a_command_that_is_dangerous_or_endless() {
    for (argv, expected) in FORBIDDEN {
        let lab = Lab::project_alone();
        lab.write(
            "playbooks/9-forbidden.yaml",
            &format!(
                "stories:\n  - id: \"9.9\"\n    title: Forbidden\n    steps:\n      - {{ id: x, exec: [{argv}] }}\n"
            ),
        );
        let said = run(lab.alone_command(["validate"])).exit(INVALID);
        assert!(
            said.stderr.contains(expected),
            "[{argv}]: `{expected}` is not said\n{}",
            said.stderr
        );
    }
}

/// Every step and reusable task of the shipped playbook that has an action of its own: its name and what it says.
fn actions() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(repository().join("playbooks")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let name = format!("playbooks/{}", path.file_name().unwrap().display());
        let document = shipped(&name);
        for story in document["stories"].as_array().into_iter().flatten() {
            for step in story["steps"].as_array().into_iter().flatten() {
                let id = format!(
                    "{}/{}",
                    story["id"].as_str().unwrap(),
                    step["id"].as_str().unwrap()
                );
                all.push((id, step.clone()));
            }
        }
        for (id, task) in document["tasks"].as_object().into_iter().flatten() {
            all.push((id.clone(), task.clone()));
        }
    }
    all.retain(|(_, body)| body.get("exec").is_some() || body.get("pipe").is_some());
    assert!(all.len() > 20, "{}", all.len());
    all
}

/// The command lines of an action.
fn commands(body: &Value) -> Vec<Vec<String>> {
    let words = |argv: &Value| -> Vec<String> {
        argv.as_array()
            .into_iter()
            .flatten()
            .map(|word| {
                word.as_str()
                    .map_or_else(|| word.to_string(), str::to_owned)
            })
            .collect()
    };
    let mut all: Vec<Vec<String>> = body.get("exec").map(&words).into_iter().collect();
    for stage in body["pipe"].as_array().into_iter().flatten() {
        all.extend(stage.get("exec").map(&words));
    }
    all
}

#[test]
fn whatever_changes_a_cluster_proves_first_which_one_it_is() {
    const CHANGE: [(&str, &[&str]); 3] = [
        (
            "kubectl",
            &["apply", "delete", "label", "annotate", "patch", "scale"],
        ),
        ("helm", &["upgrade", "install", "uninstall", "rollback"]),
        ("flux", &["bootstrap", "reconcile", "install", "resume"]),
    ];
    let mut seen = 0;
    for (id, body) in actions() {
        let changes = commands(&body).iter().any(|argv| {
            CHANGE
                .iter()
                .any(|(tool, verbs)| argv[0] == *tool && verbs.contains(&argv[1].as_str()))
        });
        if !changes {
            continue;
        }
        seen += 1;
        let proven = body["refuse"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|guard| guard["unless"]["probe"] == "cluster" && guard["unless"]["is"] == "ours");
        assert!(
            proven,
            "{id} changes a cluster without asking which one it is"
        );
    }
    assert!(seen >= 10, "only {seen} change anything");
}

#[test]
fn whatever_pushes_holds_the_lock_of_the_branch() {
    let mut seen = 0;
    for (id, body) in actions() {
        let pushes = commands(&body).iter().any(|argv| {
            argv[0] == "git" && ["push", "commit", "merge", "fetch"].contains(&argv[1].as_str())
                || argv[0] == "flux" && argv[1] == "bootstrap"
        });
        if pushes {
            seen += 1;
            assert_eq!(body["lock"], "git/{{ site.git.branch }}", "{id}");
        }
    }
    assert!(seen >= 4, "only {seen} push");
}
