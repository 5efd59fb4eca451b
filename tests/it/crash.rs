//! Law 5: after SIGKILL of anything at any moment, `resume` comes to the end to which a run without interruption would have come, and
//! repeats nothing that holds.
//!
//! The short form tries some moments. `make drill` tries as many schedules as one likes (`BOOTSTRAP_DRILL`), each from its seed; a
//! schedule that failed is made as small as it still fails, and is printed with the command that tries it again: `BOOTSTRAP_DRILL_SEED`
//! alone means the schedule of that seed, `BOOTSTRAP_DRILL='17 fault:hang line:120'` this very one. `BOOTSTRAP_DRILL=lines` tries every
//! line of the journal.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootstrap::journal::CRASH_AFTER_LINE;
use bootstrap::run::Event;
use rustix::process::{Signal, kill_process};

use crate::drill::{
    Chance, Judgement, KILLED, RESUME, RUN, Running, act_until, calls_begun, guardian, judge,
    lines, marked, records, runs,
};
use crate::lab::Lab;
use crate::shrink::{Faults, Moment, Schedule, again, shrink};
use crate::wait::eventually;

/// A run of story 1.3 writes about so many lines, and calls tools about so often.
const LINES: usize = 310;
const CALLS: usize = 380;
/// From where each phase of a run goes: configuration, secrets, machines, etcd, Kubernetes, criteria.
const PHASES: [(usize, usize); 6] = [
    (1, 40),
    (41, 95),
    (96, 150),
    (151, 200),
    (201, 250),
    (251, LINES),
];

/// A run that is killed right after this line of its journal, as far as it comes.
fn crash_after(lab: &Lab, words: &[&str], line: usize) {
    let outcome = Running::start(
        lab,
        words.iter().copied(),
        &[(CRASH_AFTER_LINE, &line.to_string())],
    )
    .wait();
    assert_eq!(
        outcome.code, KILLED,
        "line {line} was not reached\n{}",
        outcome.stderr
    );
    assert_eq!(lines(lab), line, "the crash is right after the line");
}

/// One crash after a line, and what became of it.
fn after_line(line: usize) {
    let lab = Lab::new();
    crash_after(&lab, &RUN, line);
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well(&format!("killed after line {line}"));
}

#[test]
fn law_05_a_run_that_is_killed_after_any_line_of_its_journal_is_resumed_to_its_end() {
    let mut chance = Chance::new(seed());
    for (from, to) in PHASES {
        after_line(chance.between(from, to));
    }
}

#[test]
fn law_05_a_run_that_is_killed_while_any_tool_is_called_is_resumed_to_its_end() {
    let mut chance = Chance::new(seed() ^ 0xca11);
    for (from, to) in [(3, 60), (61, 200), (201, CALLS)] {
        let call = chance.between(from, to);
        let lab = Lab::new();
        let mut run = Running::start(&lab, RUN, &[]);
        eventually("the call", || {
            (calls_begun(&lab) >= call || run.is_over()).then_some(())
        });
        run.kill_group();
        let killed = run.wait();
        assert_eq!(killed.code, KILLED, "{}", killed.stderr);
        Running::start(&lab, RESUME, &[]).wait().success();
        judge(&lab).is_well(&format!("killed at call {call}"));
    }
}

#[test]
fn law_05_a_resume_that_is_killed_too_is_resumed_to_its_end() {
    let lab = Lab::new();
    crash_after(&lab, &RUN, 60);
    crash_after(&lab, &RESUME, 130);
    crash_after(&lab, &RESUME, 131);
    crash_after(&lab, &RESUME, 180);
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("killed four times");
}

#[test]
fn law_07_when_only_the_runner_is_killed_its_guardian_ends_the_rest() {
    // A call that hangs until it is killed: there is something to end.
    let lab = Lab::with(&["--fault", "hang"]);
    let run = Running::start(&lab, RUN, &[]);
    let name = eventually("the call that hangs", || hanging(&lab));
    run.signal(Signal::KILL);
    assert_eq!(run.wait().code, KILLED);
    eventually("the end of what the runner had started", || {
        marked(&name).is_empty().then_some(())
    });
    eventually("the end of the guardian", || {
        guardian(&name).is_none().then_some(())
    });
    Running::start(&lab, RESUME, &[]).wait().success();
    judge(&lab).is_well("only the runner was killed");
}

#[test]
fn law_05_resume_first_ends_what_a_dead_run_left_running() {
    let lab = Lab::with(&["--fault", "hang"]);
    let run = Running::start(&lab, RUN, &[]);
    let name = eventually("the call that hangs", || hanging(&lab));
    let guardian = eventually("the guardian", || guardian(&name));
    kill_process(guardian, Signal::KILL).unwrap();
    run.signal(Signal::KILL);
    assert_eq!(run.wait().code, KILLED);
    let left = marked(&name);
    assert!(!left.is_empty(), "nobody ended what was left");
    let before = lines(&lab);
    Running::start(&lab, RESUME, &[]).wait().success();
    let ended = records(&lab)
        .into_iter()
        .skip(before)
        .filter(|record| matches!(record.event, Event::SurvivorEnded { .. }))
        .count();
    assert!(ended > 0, "the journal says what was ended");
    judge(&lab).is_well("the guardian was killed too");
}

#[test]
fn law_05_a_run_that_died_before_its_first_line_is_no_run() {
    let lab = Lab::new();
    crash_after(&lab, &RUN, 30);
    // Later, another one dies: its folder is made, its journal is not.
    let later = lab.project().join(".bootstrap/runs/29991231-235959-0000");
    std::fs::create_dir_all(later.join("logs")).unwrap();
    let resumed = Running::start(&lab, RESUME, &[]).wait().success();
    assert!(!resumed.stderr.contains("29991231"), "{}", resumed.stderr);
    std::fs::remove_dir_all(later).unwrap();
    judge(&lab).is_well("a folder without a journal");
}

#[test]
fn law_05_a_run_that_died_after_its_last_line_has_nothing_left_to_do() {
    let lab = Lab::new();
    Running::start(&lab, RUN, &[]).wait().success();
    let (calls, lines) = (calls_begun(&lab), lines(&lab));
    let said = lab.bootstrap(RESUME).exit(0);
    assert!(said.stderr.contains("is done"), "{}", said.stderr);
    assert_eq!(
        (calls_begun(&lab), crate::drill::lines(&lab)),
        (calls, lines)
    );
    judge(&lab).is_well("not killed at all");
}

/// The run whose reading call hangs, if one does.
fn hanging(lab: &Lab) -> Option<String> {
    let fired = lab.show()["faults"]
        .as_array()
        .unwrap()
        .iter()
        .any(|fault| fault["fired"].as_u64() > Some(0));
    let name = runs(&lab.project()).pop()?;
    (fired && !marked(&name).is_empty()).then_some(name)
}

/// What the choices of the short form depend on.
fn seed() -> u64 {
    number("BOOTSTRAP_DRILL_SEED").unwrap_or(1)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

// -- the long form ----------------------------------------------------------------------------------------------------------------------

impl Schedule {
    fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(7919).wrapping_add(17));
        let faults = chance.between(0, 1) == 1;
        let count = chance.between(1, 3);
        let mut line = 0;
        let mut moments = Vec::new();
        for at in 0..count {
            let moment = match chance.between(0, 5) {
                0..=2 => {
                    line = chance.between(line + 1, (line + 1).max(LINES - 40 * (count - at)));
                    Moment::Line(line)
                }
                3 => Moment::Call(chance.between(1, CALLS)),
                4 => Moment::Runner(chance.between(1, CALLS)),
                _ => Moment::Guardian(chance.between(1, CALLS)),
            };
            moments.push(moment);
        }
        let faults = if faults {
            Faults::Random
        } else {
            Faults::These(Vec::new())
        };
        Self {
            seed,
            faults,
            moments,
        }
    }

    fn at_line(line: usize) -> Self {
        Self {
            seed: line as u64,
            faults: Faults::These(Vec::new()),
            moments: vec![Moment::Line(line)],
        }
    }

    /// Does it, whatever happens, and gives the words for how it ended.
    fn done(&self) -> (Judgement, String, String) {
        catch_unwind(AssertUnwindSafe(|| self.act())).unwrap_or_else(|panic| {
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .unwrap_or_else(|| "it panicked".into());
            let judgement = Judgement {
                wrong: vec![why],
                ..Judgement::default()
            };
            (judgement, String::new(), String::new())
        })
    }

    /// Does it, and gives the words for how it ended.
    fn act(&self) -> (Judgement, String, String) {
        let seed = self.seed.to_string();
        let mut more = vec!["--seed", &seed];
        match &self.faults {
            Faults::Random => more.extend(["--fault", "random"]),
            Faults::These(faults) => {
                for fault in faults {
                    more.extend(["--fault", fault]);
                }
            }
        }
        let calm = self.faults == Faults::These(Vec::new());
        let lab = Lab::with(&more);
        let mut words: &[&str] = &RUN;
        let mut how = String::new();
        for moment in &self.moments {
            let code = act_until(&lab, words, *moment, 0);
            write!(how, "{} ", code.map_or("?".into(), |code| code.to_string())).unwrap();
            if code == Some(0) || !lab.journals().last().is_some_and(|path| path.exists()) {
                break;
            }
            words = &RESUME;
        }
        // Without faults the first resume is the last one. With some, a machine may need longer than a step has patience for.
        let most = if calm { 1 } else { 4 };
        let mut last = String::new();
        if !how.ends_with("0 ") {
            for _ in 0..most {
                if records(&lab).is_empty() {
                    words = &RUN;
                }
                let outcome = Running::start(&lab, words.iter().copied(), &[]).wait();
                write!(how, "{} ", outcome.code.unwrap_or(-1)).unwrap();
                last = outcome.stderr;
                words = &RESUME;
                if outcome.code == Some(0) {
                    break;
                }
            }
        }
        let mut judgement = judge(&lab);
        if !how.ends_with("0 ") {
            judgement
                .wrong
                .push(format!("law 5: exit codes {how}\n{last}"));
        }
        let faults = lab.show()["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["spec"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ");
        (judgement, how, faults)
    }
}

/// `make drill`.
#[test]
#[ignore = "long: make drill"]
#[expect(clippy::print_stderr, reason = "its table is what it is for")]
fn law_05_every_schedule_of_the_drill_ends_as_a_run_without_interruption() {
    let wanted = std::env::var("BOOTSTRAP_DRILL").unwrap_or_default();
    let schedules: Vec<Schedule> = match (number("BOOTSTRAP_DRILL_SEED"), wanted.as_str()) {
        (_, text) if text.contains(' ') => {
            vec![
                text.parse()
                    .unwrap_or_else(|error| panic!("{text}: {error}")),
            ]
        }
        (Some(seed), "lines") => {
            vec![Schedule::at_line(usize::try_from(seed).unwrap())]
        }
        (Some(seed), _) => vec![Schedule::of(seed)],
        (None, "lines") => (1..=LINES).map(Schedule::at_line).collect(),
        (None, count) => (1..=count.parse().unwrap_or(20))
            .map(Schedule::of)
            .collect(),
    };
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let totals = Mutex::new((0, 0, 0));
    let work = || {
        while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (judgement, how, faults) = schedule.done();
            let mut totals = totals.lock().unwrap();
            totals.0 += 1;
            totals.1 += judgement.leaks;
            totals.2 += judgement.survivors;
            eprintln!(
                "{:<44} | {:<60} | {:<14} | {:?} | {:?} | {} | {} | {}",
                schedule.to_string(),
                faults,
                how.trim(),
                judgement.bootstraps,
                judgement.items,
                judgement.leaks,
                judgement.survivors,
                if judgement.wrong.is_empty() {
                    "well".to_owned()
                } else {
                    judgement.wrong.join("; ")
                }
            );
            if !judgement.wrong.is_empty() {
                failed.lock().unwrap().push((schedule.clone(), faults));
            }
        }
    };
    eprintln!("schedule | faults | exit codes | bootstraps | items | leaks | survivors | end");
    std::thread::scope(|scope| {
        for _ in 0..number("BOOTSTRAP_DRILL_JOBS").unwrap_or(3) {
            scope.spawn(work);
        }
    });
    let (count, leaks, survivors) = *totals.lock().unwrap();
    let failed = failed.into_inner().unwrap();
    eprintln!(
        "{count} schedules: {} ended well, {} did not; {leaks} leaks, {survivors} survivors",
        count - failed.len(),
        failed.len()
    );
    let Some((first, faults)) = failed.first() else {
        return;
    };
    let faults: Vec<String> = faults.split_whitespace().map(str::to_owned).collect();
    let tries = number("BOOTSTRAP_DRILL_TRIES").map_or(30, |tries| usize::try_from(tries).unwrap());
    eprintln!("{first} did not end well; making it smaller, with at most {tries} tries");
    let smallest = shrink(first, &faults, tries, |candidate| {
        let (judgement, how, _) = candidate.done();
        let well = judgement.wrong.is_empty();
        eprintln!(
            "  {:<44} | {:<14} | {}",
            candidate.to_string(),
            how.trim(),
            if well { "well" } else { "fails too" }
        );
        !well
    });
    panic!(
        "the smallest schedule that fails: {smallest}\nagain, alone: {}",
        again(&smallest)
    );
}
