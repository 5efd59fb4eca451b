//! What goes wrong in machine rooms: what heals is waited for or tried again, and the end is the same; what stays is refused in words
//! that say what to do, and without a harmful call.

use bootstrap::run::{AttemptEnd, Event, Failure, FailureKind};

use crate::drill::{RESUME, RUN, Running, effects, judge, records, repeated};
use crate::lab::{Lab, Outcome};
use crate::wait::eventually;

/// Runs until it ends with 0, by `resume` if need be; gives how often it had to be resumed.
fn to_the_end(lab: &Lab) -> usize {
    let mut words: &[&str] = &RUN;
    for resumes in 0..5 {
        let outcome = Running::start(lab, words.iter().copied(), &[]).wait();
        match outcome.code {
            Some(0) => return resumes,
            Some(1) => words = &RESUME,
            _ => {
                outcome.success();
            }
        }
    }
    panic!("five times are not enough: {:#?}", failures(lab));
}

/// The failures for good in the newest journal: task and failure.
fn failures(lab: &Lab) -> Vec<(String, Failure)> {
    records(lab)
        .into_iter()
        .filter_map(|record| match record.event {
            Event::AttemptEnded {
                task,
                end: AttemptEnd::Failed { failure, .. },
                ..
            } => Some((task.to_string(), failure)),
            _ => None,
        })
        .collect()
}

/// A run with a fault that stays: it ends with 1, and a failure of that kind says this.
#[track_caller]
fn refused(lab: &Lab, kind: FailureKind, words: &[&str]) -> Outcome {
    let outcome = Running::start(lab, RUN, &[]).wait().exit(1);
    let failures = failures(lab);
    assert!(
        failures.iter().any(|(_, failure)| failure.kind == kind
            && words
                .iter()
                .all(|word| format!("{failure:?}").contains(word))),
        "no {kind:?} that says {words:?}: {failures:#?}"
    );
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "`{word}` is not shown: {}",
            outcome.stderr
        );
    }
    let mut wrong = Vec::new();
    repeated(&records(lab), &mut wrong);
    assert_eq!(wrong, [] as [String; 0]);
    outcome
}

/// Nothing was done to a machine or its cluster.
#[track_caller]
fn untouched(lab: &Lab, address: &str) {
    for call in effects(lab) {
        assert!(
            call.value("-n") != Some(address),
            "{address} was touched: {}",
            call.line()
        );
    }
}

fn heals(faults: &[&str]) {
    let more: Vec<&str> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
    let lab = Lab::with(&more);
    let resumes = to_the_end(&lab);
    judge(&lab).is_well(&format!("{faults:?}, resumed {resumes} times"));
    for fault in lab.show()["faults"].as_array().unwrap() {
        assert!(fault["fired"].as_u64() > Some(0), "it never fired: {fault}");
    }
}

// Faults that heal by themselves. Those that concern different things go together.

#[test]
fn law_05_faults_of_clocks_and_answers_heal() {
    heals(&[
        "ntp-late:10.25.11.12",
        "apply-eof:10.25.11.14",
        "op-rate-limit",
        "dns-late",
    ]);
}

#[test]
fn law_05_lost_answers_and_an_expired_session_heal() {
    heals(&[
        "apply-lost:10.25.11.11",
        "bootstrap-eof:10.25.11.14",
        "op-expired-heals",
    ]);
}

#[test]
fn law_05_a_bootstrap_that_takes_its_time_and_calls_that_fail_heal() {
    heals(&[
        "bootstrap-lost:10.25.11.11",
        "bootstrap-late:10.25.11.14",
        "unavailable=12",
    ]);
}

#[test]
fn law_05_machines_that_change_slowly_heal() {
    heals(&[
        "maintenance-lingers:10.25.11.13",
        "learner-slow:10.25.11.15",
    ]);
}

#[test]
fn law_05_machines_that_come_late_heal() {
    heals(&["node-slow:10.25.11.16", "late:10.25.11.12"]);
}

#[test]
fn law_04_a_lost_bootstrap_is_tried_again_and_a_lost_answer_is_not() {
    heals(&["bootstrap-eof:10.25.11.11", "bootstrap-lost:10.25.11.14"]);
}

#[test]
fn law_10_a_call_that_hangs_is_ended_and_asked_again() {
    heals(&["hang=2", "apply-hang:10.25.11.15"]);
}

#[test]
fn law_04_a_machine_of_another_cluster_is_not_touched() {
    let lab = Lab::with(&["--fault", "foreign:10.25.11.15"]);
    refused(&lab, FailureKind::Refused, &["apps"]);
    untouched(&lab, "10.25.11.15");
    assert!(
        lab.calls("talosctl bootstrap")
            .iter()
            .all(|call| call.value("--context") == Some("infra")),
        "a cluster with a stranger in it was bootstrapped"
    );
}

#[test]
fn law_10_a_machine_without_power_is_waited_for_and_then_named() {
    let lab = Lab::with(&["--speed", "300", "--fault", "down:10.25.11.13"]);
    let said = refused(&lab, FailureKind::Until, &["waited 600s", "node down"]);
    assert!(said.stderr.contains("10.25.11.13"), "{}", said.stderr);
    untouched(&lab, "10.25.11.13");
    assert!(
        lab.calls("talosctl bootstrap")
            .iter()
            .all(|call| call.value("--context") == Some("apps")),
        "a cluster was bootstrapped that is not whole"
    );
    lab.lab(["hurt", "WORLD", "node", "10.25.11.13", "up"])
        .success();
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("switched on");
}

#[test]
fn law_04_two_items_of_one_name_are_no_reason_to_make_a_third() {
    let lab = Lab::with(&["--fault", "op-duplicate:infra-talos"]);
    refused(
        &lab,
        FailureKind::Refused,
        &["more than one item infra-talos"],
    );
    assert!(
        lab.calls("op item create")
            .iter()
            .all(|call| call.exit == Some(0))
    );
    let items = lab.show()["vaults"].to_string();
    assert_eq!(items.matches("\"infra-talos\"").count(), 2, "{items}");
    assert_eq!(lab.calls("talosctl apply-config"), []);
}

#[test]
fn law_04_an_item_whose_answer_was_lost_is_not_made_again() {
    let lab = Lab::with(&["--fault", "op-create-lost"]);
    to_the_end(&lab);
    judge(&lab).is_well("the answer to `op item create` was lost");
    assert_eq!(lab.calls("op item create").len(), 2);
}

#[test]
fn law_05_a_session_that_ends_pauses_the_run_until_somebody_signs_in() {
    let lab = Lab::with(&["--fault", "op-expired"]);
    let mut run = Running::start(&lab, RUN, &[]);
    let say = eventually("the pause", || {
        assert!(!run.is_over(), "{}", run.stderr());
        records(&lab)
            .into_iter()
            .find_map(|record| match record.event {
                Event::Paused { say, .. } => Some(say),
                _ => None,
            })
    });
    assert!(say.contains("op signin"), "{say}");
    eventually("the words for it", || {
        run.stderr().contains("op signin").then_some(())
    });
    assert!(lab.calls("talosctl apply-config").is_empty());
    lab.lab(["exec", "WORLD", "--", "op", "signin"]).success();
    run.wait().success();
    assert!(
        records(&lab)
            .iter()
            .any(|record| matches!(record.event, Event::Continued { .. }))
    );
    judge(&lab).is_well("somebody signed in");
}

#[test]
fn a_disk_of_another_model_is_said_by_the_machine_and_nothing_is_bootstrapped() {
    let lab = Lab::with(&["--fault", "disk-mismatch:10.25.11.12"]);
    let outcome = Running::start(&lab, RUN, &[]).wait().exit(1);
    assert!(outcome.stderr.contains("infra-02"), "{}", outcome.stderr);
    assert!(
        lab.calls("talosctl bootstrap")
            .iter()
            .all(|call| call.value("--context") == Some("apps"))
    );
}

#[test]
fn law_14_a_missing_name_fails_its_criterion_and_nothing_else() {
    let lab = Lab::with(&["--fault", "dns-missing:infra-k8s.monosense.io"]);
    let mut words = RUN.to_vec();
    words.push("--keep-going");
    Running::start(&lab, words, &[]).wait().exit(1);
    let failures = failures(&lab);
    assert_eq!(failures.len(), 1, "{failures:#?}");
    assert_eq!(failures[0].0, "1.3/criterion-1[infra]");
    assert_eq!(failures[0].1.kind, FailureKind::Criterion);
    let world = lab.show();
    for cluster in world["clusters"].as_array().unwrap() {
        assert_eq!(cluster["alive"], true, "{cluster}");
        assert_eq!(cluster["bootstraps"], 1);
    }
}

#[test]
fn law_05_a_room_with_random_faults_ends_as_one_without() {
    let lab = Lab::with(&["--seed", "4", "--fault", "random"]);
    to_the_end(&lab);
    judge(&lab).is_well("random faults of seed 4");
}
