//! Stopping: once drains, twice stops now, a signal of the system stops; and nobody else works meanwhile.

use bootstrap::run::event::RunResult;
use bootstrap::run::{AttemptEnd, Event};
use rustix::process::Signal;

use crate::drill::{KILLED, RESUME, RUN, Running, guardian, judge, lines, marked, records, runs};
use crate::lab::{Lab, run};
use crate::wait::eventually;

/// `bootstrap` at work, with a journal of at least so many lines.
fn at_line(lab: &Lab, words: &[&str], line: usize) -> Running {
    let mut running = Running::start(lab, words.iter().copied(), &[]);
    eventually("the line", || {
        (lines(lab) >= line || running.is_over()).then_some(())
    });
    assert!(!running.is_over(), "{}", running.stderr());
    running
}

/// What every stop leaves: a whole journal in which every attempt has its end, that says who stopped it; and no process. Gives how many
/// attempts were cut short since a line.
#[track_caller]
fn stopped(lab: &Lab, signal: &str, since: usize) -> usize {
    let records = records(lab);
    let mut open = std::collections::BTreeSet::new();
    let mut cut = 0;
    let mut interrupted = false;
    for record in records.iter().skip(since) {
        match &record.event {
            Event::AttemptStarted { task, .. } => {
                assert!(!interrupted, "{task} was started after {signal}");
                open.insert(task.clone());
            }
            Event::AttemptEnded { task, end, .. } => {
                open.remove(task);
                cut += usize::from(*end == AttemptEnd::Cancelled);
            }
            Event::Interrupted { signal: by } => {
                assert_eq!(by, signal);
                interrupted = true;
            }
            _ => {}
        }
    }
    assert!(interrupted, "the journal does not say that it was stopped");
    assert!(open.is_empty(), "attempts without an end: {open:?}");
    assert!(
        matches!(
            records.last().unwrap().event,
            Event::RunEnded {
                result: RunResult::Cancelled
            }
        ),
        "{:?}",
        records.last()
    );
    nothing_is_left(lab);
    cut
}

#[track_caller]
fn nothing_is_left(lab: &Lab) {
    for run in runs(&lab.project()) {
        assert_eq!(marked(&run), [], "law 7");
        assert_eq!(guardian(&run), None, "law 7: the guardian goes too");
    }
}

#[test]
fn law_07_one_ctrl_c_lets_what_runs_end_and_a_second_one_stops_now() {
    let lab = Lab::new();
    let run = at_line(&lab, &RUN, 60);
    run.signal(Signal::INT);
    run.wait().exit(130);
    assert_eq!(stopped(&lab, "SIGINT", 0), 0, "nothing is cut short");

    let since = lines(&lab);
    let run = at_line(&lab, &RESUME, since + 45);
    run.signal(Signal::INT);
    let before = lines(&lab);
    eventually("the first one to be heard", || {
        (lines(&lab) > before && run.stderr().contains("SIGINT") || interrupted(&lab, since))
            .then_some(())
    });
    run.signal(Signal::INT);
    run.wait().exit(130);
    stopped(&lab, "SIGINT", since);

    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("stopped by Ctrl-C, twice");
}

fn interrupted(lab: &Lab, since: usize) -> bool {
    records(lab)
        .iter()
        .skip(since)
        .any(|record| matches!(record.event, Event::Interrupted { .. }))
}

#[test]
fn law_07_a_call_that_hangs_is_ended_by_the_second_ctrl_c() {
    let lab = Lab::with(&["--speed", "20", "--fault", "apply-hang"]);
    let run = Running::start(&lab, RUN, &[]);
    eventually("the call that hangs", || {
        lab.show()["faults"][0]["fired"]
            .as_u64()
            .filter(|&fired| fired > 0)
    });
    run.signal(Signal::INT);
    eventually("the first one to be heard", || {
        interrupted(&lab, 0).then_some(())
    });
    run.signal(Signal::INT);
    run.wait().exit(130);
    assert!(stopped(&lab, "SIGINT", 0) > 0, "something is cut short");
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("an apply was cut short");
}

#[test]
fn law_07_sigterm_and_sighup_stop_at_once() {
    let lab = Lab::new();
    let mut since = 0;
    let mut words: &[&str] = &RUN;
    for (signal, name, code) in [(Signal::TERM, "SIGTERM", 143), (Signal::HUP, "SIGHUP", 129)] {
        let run = at_line(&lab, words, since + 70);
        run.signal(signal);
        run.wait().exit(code);
        stopped(&lab, name, since);
        since = lines(&lab);
        words = &RESUME;
    }
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("stopped by two signals");
}

#[test]
fn law_11_nobody_else_works_meanwhile_here_or_on_the_same_clusters() {
    let lab = Lab::new();
    let first = at_line(&lab, &RUN, 50);
    let pid = first.pid().as_raw_nonzero().to_string();
    let elsewhere = lab.folder().join("checkout");
    copy(&lab.project(), &elsewhere);
    let second = |words: &[&str], there: bool| {
        let mut command = lab.bootstrap_command(words.iter().copied());
        if there {
            command.current_dir(&elsewhere);
        }
        run(command).exit(5).stderr
    };
    for (words, there, what) in [
        (&RUN[..], false, "another run works in this project"),
        (&RESUME[..], false, "another run works in this project"),
        (&RUN[..], true, "another run works on the cluster infra"),
    ] {
        let before = lines(&lab);
        let said = second(words, there);
        for word in [what, &pid, "bootstrap run story 1.3", "tester", "since 20"] {
            assert!(said.contains(word), "`{word}` is not said: {said}");
        }
        assert!(lines(&lab) >= before);
    }
    assert_eq!(
        runs(&lab.project()).len(),
        1,
        "who is refused makes no run of its own"
    );

    // The lock is the kernel's: it is free as soon as its holder is dead.
    first.kill_group();
    assert_eq!(first.wait().code, KILLED);
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("others wanted to work");
}

/// A copy of the project without its state, as another checkout is.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == ".bootstrap" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
