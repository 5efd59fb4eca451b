//! Does the lab's `talosctl` answer as Talos's own library does?
//!
//! Two corpora in `tests/fidelity` say what is asked; beside each case stands the answer of the real library. The tests that
//! always run compare the lab with those recordings. The ignored ones need the judges (`make fidelity`): they prove the
//! recordings current, or write them when `BOOTSTRAP_RECORD` is set (`make fidelity-update`).

mod corpus;
mod judge;

use corpus::{Answer, Case, lab};
use judge::Judge;
use std::fs;
use std::path::Path;

/// Compares every case of a corpus and complains about all that differ at once.
fn compare(cases: &[Case], given: impl Fn(&Case) -> Answer) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let (want, given) = (case.recorded(), given(case));
            (want != given).then(|| {
                format!(
                    "== {}\n-- recorded\n{}-- given\n{}",
                    case.name,
                    want.text(),
                    given.text()
                )
            })
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_lab_patches_as_the_library_did() {
    let cases = corpus::patches();
    assert!(
        cases.len() >= 45,
        "the corpus of patches has {} cases",
        cases.len()
    );
    compare(&cases, Case::lab);
}

#[test]
fn the_lab_validates_as_the_library_did() {
    let cases = corpus::configs();
    assert!(
        cases.len() >= 45,
        "the corpus of configurations has {} cases",
        cases.len()
    );
    compare(&cases, Case::lab);
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn the_recordings_are_what_the_library_says_today() {
    let Some(judge) = Judge::find() else { return };
    let cases: Vec<Case> = corpus::patches()
        .into_iter()
        .chain(corpus::configs())
        .filter(|case| !case.is_ours())
        .collect();
    if Judge::records() {
        for case in &cases {
            case.record(&judge.answer(case));
        }
    }
    compare(&cases, |case| judge.answer(case));
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn bundles_of_the_lab_load_in_the_library() {
    let Some(judge) = Judge::find() else { return };
    let room = tempfile::tempdir().unwrap();
    let made = lab(room.path(), &["gen", "secrets", "-o", "-"]);
    assert_eq!(made, Answer::default(), "gen secrets says nothing");
    let checked = judge.ask(room.path(), &["bundle-check", "-"]);
    assert_eq!(checked.stdout, "bundle is complete\n", "{}", checked.stderr);
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn generated_configurations_are_the_librarys() {
    let Some(judge) = Judge::find() else { return };
    let room = tempfile::tempdir().unwrap();
    let bundle = judge.ask(room.path(), &["gen-secrets"]).stdout;
    fs::write(room.path().join("secrets.yaml"), bundle).unwrap();
    for kind in ["controlplane", "worker", "talosconfig"] {
        let url = "https://infra-k8s.example.test:6443";
        let ours = lab(
            room.path(),
            &[
                "gen",
                "config",
                "infra",
                url,
                "--with-secrets",
                "secrets.yaml",
                "--with-docs=false",
                "--with-examples=false",
                "--kubernetes-version",
                "1.34.1",
                "--install-image",
                "example.test/installer:v1",
                "-t",
                kind,
                "-o",
                "-",
            ],
        );
        assert_eq!(ours.stderr, "generating PKI and tokens\n");
        let theirs = judge.ask(
            room.path(),
            &[
                "gen-config",
                "-secrets",
                "secrets.yaml",
                "-name",
                "infra",
                "-endpoint",
                url,
                "-k8s",
                "1.34.1",
                "-image",
                "example.test/installer:v1",
                "-type",
                kind,
            ],
        );
        // Each call issues a client certificate of its own.
        let stable = |text: &str| -> Vec<String> {
            let own = |line: &&str| {
                kind != "talosconfig"
                    || !(line.trim().starts_with("crt:") || line.trim().starts_with("key:"))
            };
            text.lines().filter(own).map(str::to_owned).collect()
        };
        assert_eq!(stable(&ours.stdout), stable(&theirs.stdout), "{kind}");
    }
}

/// The configurations that the templates make. `make fidelity` renders them with the lab, into the folder that `BOOTSTRAP_RENDERED`
/// names; what they were before the nodes' patches is in the one that `BOOTSTRAP_BASES` names.
#[test]
#[ignore = "needs the judges: make fidelity"]
fn rendered_configurations_are_valid_for_the_library_and_merged_as_it_merges() {
    let Some(judge) = Judge::find() else { return };
    let (Some(rendered), Some(bases)) = (
        std::env::var_os("BOOTSTRAP_RENDERED"),
        std::env::var_os("BOOTSTRAP_BASES"),
    ) else {
        judge::skip("BOOTSTRAP_RENDERED and BOOTSTRAP_BASES name no folders");
        return;
    };
    let bases = Path::new(&bases);
    let mut count = 0;
    for cluster in fs::read_dir(&rendered).unwrap() {
        let cluster = cluster.unwrap().path();
        for node in fs::read_dir(&cluster).unwrap() {
            let node = node.unwrap().path();
            let file = node.file_name().unwrap().to_str().unwrap();
            let checked = judge.ask(&cluster, &["validate", "-strict", file]);
            assert_eq!(
                checked.stdout,
                format!("{file} is valid for metal mode\n"),
                "{}",
                checked.stderr
            );
            let name = format!("{}/{file}", cluster.file_name().unwrap().to_str().unwrap());
            let base = bases.join(&name);
            let merged = judge.ask(
                crate::lab::repository(),
                &[
                    "patch",
                    "-config",
                    base.to_str().unwrap(),
                    &format!("@talos/{name}"),
                ],
            );
            assert_eq!(merged.code, 0, "{}", merged.stderr);
            assert_eq!(
                merged.stdout,
                fs::read_to_string(&node).unwrap(),
                "the library merges {name} in another way"
            );
            count += 1;
        }
    }
    assert_eq!(count, 6, "every node of the shipped inventory");
}
