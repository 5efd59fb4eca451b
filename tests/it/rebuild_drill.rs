//! Law 5 for `bootstrap rebuild`: killed at any moment, with machines, tools and the network failing besides, it is resumed to a whole
//! cluster, and nothing is emptied twice.
//!
//! `make drill-rebuild` tries as many schedules of each way as one likes. One that failed is made as small as it still fails, and is printed
//! with the command that tries it again: `DRILL='Node 17 fault:unavailable line:20'`. With `BOOTSTRAP_DRILL_KEEP=yes` its folder stays.

use std::fmt;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::drill::{Chance, KILLED, RESUME, Running, act_until, calls_begun, records};
use crate::lab::Lab;
use crate::rebuild::{Way, healthy, now, wrong};
use crate::shrink::{Faults, Moment, Schedule, shrink};

/// What may go wrong while a rebuild is at work, and passes. A name that ends with `:` wants a machine.
const FAULTS: [&str; 14] = [
    "ntp-late",
    "apply-eof",
    "apply-lost",
    "bootstrap-eof",
    "bootstrap-lost",
    "bootstrap-late",
    "maintenance-lingers",
    "learner-slow",
    "node-slow:",
    "op-expired-heals",
    "op-rate-limit",
    "late:",
    "unavailable",
    "hang",
];
const MACHINES: [&str; 3] = ["10.25.11.11", "10.25.11.12", "10.25.11.13"];
/// With faults, so many runs and resumes in all may be needed: a machine may take longer than a step has patience for.
const MOST: usize = 6;

/// A way to rebuild, what goes wrong besides, and when it is killed.
#[derive(Debug, Clone)]
struct Drill {
    way: Way,
    schedule: Schedule,
}

impl fmt::Display for Drill {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}", self.way, self.schedule)
    }
}

impl Drill {
    /// What the seed chooses; with faults or without.
    fn of(way: Way, seed: u64, faults: bool) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(104_729).wrapping_add(way as u64));
        let (most_lines, most_calls) = way.size();
        let mut line = 1;
        let moments = (0..chance.between(1, 3))
            .map(|_| match chance.between(0, 5) {
                0..=2 => {
                    line = chance.between(line, most_lines);
                    Moment::Line(line)
                }
                3 => Moment::Call(chance.between(1, most_calls)),
                4 => Moment::Runner(chance.between(1, most_calls)),
                _ => Moment::Guardian(chance.between(1, most_calls)),
            })
            .collect();
        let faults = if faults {
            Faults::Random
        } else {
            Faults::These(Vec::new())
        };
        let schedule = Schedule {
            seed,
            faults,
            moments,
        };
        Self { way, schedule }
    }

    fn read(text: &str) -> Self {
        let (way, schedule) = text
            .split_once(' ')
            .unwrap_or_else(|| panic!("{text}: write `Node 17 faults line:20`"));
        let way = Way::ALL
            .into_iter()
            .find(|known| format!("{known:?}") == way);
        Self {
            way: way.unwrap_or_else(|| panic!("{text}: a way is one of {:?}", Way::ALL)),
            schedule: schedule
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}")),
        }
    }

    /// What goes wrong, by the lab's words.
    fn faults(&self) -> Vec<String> {
        let Faults::These(faults) = &self.schedule.faults else {
            let mut chance = Chance::new(self.schedule.seed ^ 0xfa17);
            let mut pool = FAULTS.to_vec();
            return (0..chance.between(1, 3))
                .map(|_| {
                    let fault = pool.remove(chance.between(0, pool.len() - 1));
                    match fault.strip_suffix(':') {
                        Some(_) => format!("{fault}{}", MACHINES[chance.between(0, 2)]),
                        None => fault.to_owned(),
                    }
                })
                .collect();
        };
        faults.clone()
    }

    /// Does it, whatever happens; gives what is wrong, and the exit codes.
    fn done(&self) -> (Vec<String>, String) {
        catch_unwind(AssertUnwindSafe(|| self.act())).unwrap_or_else(|panic| {
            let why = panic.downcast_ref::<String>();
            let why = why.map_or("it panicked", String::as_str);
            (vec![why.to_owned()], String::new())
        })
    }

    /// Does it; gives what is wrong, and the exit codes.
    fn act(&self) -> (Vec<String>, String) {
        let lab = healthy();
        self.way.hurt(&lab);
        let (before, since, runs_before) = (lab.show(), now(&lab), lab.journals().len());
        let faults = self.faults();
        for fault in &faults {
            lab.lab(["hurt", "WORLD", "fault", fault]).success();
        }
        let words = self.way.words();
        // A run that died before its first line, or did not find a way to go, is none: what was typed is typed again.
        let typed = |lab: &Lab| -> Vec<&str> {
            if lab.journals().len() > runs_before && !records(lab).is_empty() {
                RESUME.to_vec()
            } else {
                words.clone()
            }
        };
        let mut how = String::new();
        let mut code = None;
        for &moment in &self.schedule.moments {
            code = act_until(&lab, &typed(&lab), moment, calls_begun(&lab));
            write!(how, "{} ", code.unwrap_or(-1)).unwrap();
            if code != KILLED {
                break;
            }
        }
        // Without faults the first resume is the last one.
        let most = if faults.is_empty() { 1 } else { MOST };
        let mut said = String::new();
        for _ in 0..most {
            if code == Some(0) {
                break;
            }
            if !said.is_empty() {
                // As a person would, who reads what it says and looks again later.
                lab.lab(["tick", "WORLD", "2m"]).success();
            }
            let outcome = Running::start(&lab, typed(&lab), &[]).wait();
            code = outcome.code;
            said = outcome.stderr;
            write!(how, "{} ", code.unwrap_or(-1)).unwrap();
        }
        let mut wrong = wrong(&lab, self.way, &before, since);
        if code != Some(0) {
            wrong.push(format!("law 5: exit codes {how}\n{said}"));
        }
        if !wrong.is_empty() && std::env::var_os("BOOTSTRAP_DRILL_KEEP").is_some() {
            wrong.push(format!("all of it is in {}", lab.keep().display()));
        }
        (wrong, how)
    }
}

#[test]
fn law_05_a_rebuild_that_is_killed_anywhere_is_resumed_to_its_end_and_empties_nothing_twice() {
    for way in Way::ALL {
        for seed in 1..=3 {
            let drill = Drill::of(way, seed, seed == 3);
            let (wrong, how) = drill.done();
            assert_eq!(
                wrong,
                [] as [String; 0],
                "{drill} ({}; {how})",
                drill.faults().join(" ")
            );
        }
    }
}

#[test]
fn a_drill_is_read_as_it_is_written() {
    for drill in [
        Drill::of(Way::Node, 17, true),
        Drill::of(Way::Anew, 3, false),
        Drill::read("Restore 9 fault:late:10.25.11.13 guardian:3"),
    ] {
        assert_eq!(
            Drill::read(&drill.to_string()).to_string(),
            drill.to_string()
        );
    }
}

/// `make drill-rebuild`.
#[test]
#[ignore = "long: make drill-rebuild"]
#[expect(clippy::print_stderr, reason = "its table is what it is for")]
fn law_05_every_schedule_of_the_rebuilds_ends_well() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let wanted = std::env::var("BOOTSTRAP_DRILL").unwrap_or_default();
    let drills: Vec<Drill> = if wanted.contains(' ') {
        vec![Drill::read(&wanted)]
    } else {
        let from = number("BOOTSTRAP_DRILL_FROM").unwrap_or(1);
        (from..from + wanted.parse().unwrap_or(20))
            .flat_map(|seed| Way::ALL.map(|way| Drill::of(way, seed, true)))
            .collect()
    };
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(drill) = drills.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (wrong, how) = drill.done();
            let end = if wrong.is_empty() {
                "well".to_owned()
            } else {
                wrong.join("; ")
            };
            eprintln!(
                "{:<44} | {:<44} | {:<14} | {end}",
                drill.to_string(),
                drill.faults().join(" "),
                how.trim()
            );
            if !wrong.is_empty() {
                failed.lock().unwrap().push(drill.clone());
            }
        }
    };
    eprintln!("schedule | faults | exit codes | end");
    std::thread::scope(|scope| {
        for _ in 0..number("BOOTSTRAP_DRILL_JOBS").unwrap_or(3) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    eprintln!(
        "{} schedules: {} ended well, {} did not",
        drills.len(),
        drills.len() - failed.len(),
        failed.len()
    );
    let Some(first) = failed.first() else {
        return;
    };
    let smallest = Drill {
        way: first.way,
        schedule: shrink(&first.schedule, &first.faults(), 30, |schedule| {
            let drill = Drill {
                way: first.way,
                schedule: schedule.clone(),
            };
            let (wrong, how) = drill.done();
            eprintln!(
                "  {:<44} | {:<14} | {}",
                drill.to_string(),
                how.trim(),
                wrong.join("; ")
            );
            !wrong.is_empty()
        }),
    };
    panic!(
        "the smallest schedule that fails: {smallest}\nagain, alone: make drill-rebuild DRILL='{smallest}'"
    );
}
