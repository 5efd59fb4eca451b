//! Law 6: the world wins over the checkpoint.

use bootstrap::run::{AttemptEnd, Event};
use rustix::process::Signal;

use crate::drill::{KILLED, RESUME, RUN, Running, effects, judge, lines, records};
use crate::lab::Lab;
use crate::wait::eventually;

const LOST: &str = "10.25.11.15";
const APPLY: &str = "1.3/apply[apps/apps-02]";

#[test]
fn law_06_a_machine_that_was_wiped_while_nobody_looked_is_applied_again() {
    let lab = Lab::new();
    let run = Running::start(&lab, RUN, &[]);
    eventually("the machine", || {
        records(&lab)
            .iter()
            .any(|record| {
                matches!(&record.event, Event::AttemptEnded { task, end: AttemptEnd::Changed { .. }, .. }
                    if task.as_str() == APPLY)
            })
            .then_some(())
    });
    run.signal(Signal::KILL);
    assert_eq!(run.wait().code, KILLED);
    let before = lines(&lab);
    let done = effects(&lab).len();
    lab.lab(["hurt", "WORLD", "node", LOST, "wipe"]).success();

    let resumed = Running::start(&lab, RESUME, &[]).wait().success();
    let why = records(&lab)
        .into_iter()
        .skip(before)
        .find_map(|record| match record.event {
            Event::TaskReopened { task, why } if task.as_str() == APPLY => Some(why),
            _ => None,
        })
        .expect("its task is open again");
    assert!(why.starts_with("it no longer holds: "), "{why}");
    assert!(resumed.stderr.contains(&why), "{}", resumed.stderr);
    let again: Vec<_> = effects(&lab)
        .split_off(done)
        .into_iter()
        .filter(|call| call.value("-n") == Some(LOST))
        .collect();
    assert_eq!(again.len(), 1, "{again:#?}");

    let mut judgement = judge(&lab);
    // What the wipe opened again is meant to be open again.
    judgement.wrong.retain(|wrong| {
        !(wrong.contains("is open again: it no longer holds") && wrong.contains("apps"))
    });
    judgement.is_well("a machine was wiped between the crash and the resume");
}

#[test]
fn law_04_a_wiped_bootstrap_node_joins_its_cluster_and_founds_no_second_one() {
    const FOUNDER: &str = "10.25.11.11";
    let lab = Lab::new();
    Running::start(&lab, RUN, &[]).wait().success();
    lab.lab(["hurt", "WORLD", "node", FOUNDER, "wipe"])
        .success();
    let before = effects(&lab).len();
    Running::start(&lab, RUN, &[]).wait().success();
    let did: Vec<String> = effects(&lab)
        .split_off(before)
        .iter()
        .map(|call| format!("{} {}", call.argv[0], call.value("-n").unwrap_or_default()))
        .collect();
    assert_eq!(did, [format!("apply-config {FOUNDER}")]);
    judge(&lab).is_well("the founder was wiped");
}

#[test]
fn law_05_a_kubeconfig_that_a_killed_talosctl_left_empty_is_written_again() {
    let lab = Lab::new();
    lab.bootstrap(["run", "story", "1.3", "--yes", "--output", "plain"])
        .exit(0);
    // It empties the file before it writes it: so a drill of 500 schedules left one, and no resume could tell what it was.
    let file = lab.project().join("kubernetes/kubeconfig");
    std::fs::write(&file, "").unwrap();
    let again = lab
        .bootstrap(["run", "story", "1.3", "--yes", "--output", "plain"])
        .exit(0);
    assert!(
        again.stderr.contains("done after"),
        "stderr: {}",
        again.stderr
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("name: infra") && text.contains("name: apps"));
}
