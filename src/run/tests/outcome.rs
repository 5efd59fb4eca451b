//! Law 12: however something ended, there is a line that says why.

use std::collections::BTreeMap;

use super::key;
use crate::run::{AttemptEnd, Failure, FailureKind, Outcome, SkipReason};

/// A command that failed, as far as it is known.
fn failure(status: Option<&str>, last_lines: &[&str]) -> Failure {
    Failure {
        status: status.map(str::to_owned),
        last_lines: last_lines.iter().map(|line| (*line).to_owned()).collect(),
        ..Failure::new(FailureKind::Command, "`apply` failed")
    }
}

#[test]
fn law_12_every_outcome_has_its_word_and_says_why() {
    let why = String::from("node ours");
    let skipped = |reason| ("skipped", Outcome::Skipped(reason));
    for ((word, outcome), expected) in [
        (
            ("changed", Outcome::Changed { why: why.clone() }),
            "node ours",
        ),
        (
            ("unchanged", Outcome::Unchanged { why: why.clone() }),
            "node ours",
        ),
        (skipped(SkipReason::Condition { why }), "node ours"),
        (
            skipped(SkipReason::Need { task: key(3) }),
            "s/t3 did not succeed",
        ),
        (
            ("failed", Outcome::Failed(failure(Some("exit 1"), &["no"]))),
            "`apply` failed (exit 1): no",
        ),
        (
            ("cancelled", Outcome::Cancelled { started: true }),
            "cancelled",
        ),
    ] {
        assert_eq!((outcome.word(), outcome.why().as_str()), (word, expected));
    }
}

#[test]
fn law_12_every_end_of_an_attempt_says_why() {
    let (why, outputs) = (String::from("node ours"), BTreeMap::new());
    let changed = AttemptEnd::Changed {
        why: why.clone(),
        outputs: outputs.clone(),
    };
    let unchanged = AttemptEnd::Unchanged {
        why: why.clone(),
        outputs,
    };
    for end in [changed, unchanged, AttemptEnd::Skipped { why }] {
        assert_eq!(end.why(), "node ours");
    }
    assert_eq!(AttemptEnd::Cancelled.why(), "cancelled");
    for (status, lines, expected) in [
        (None, &["no"][..], "`apply` failed"),
        (Some("SIGKILL"), &[], "`apply` failed (SIGKILL)"),
        (
            Some("exit 1"),
            &["connecting", "no route"],
            "`apply` failed (exit 1): no route",
        ),
    ] {
        let end = AttemptEnd::Failed {
            failure: failure(status, lines),
            retry: false,
        };
        assert_eq!(end.why(), expected);
    }
}
