//! The conformance suite: what may happen to a run, on what kind of step, and what must be true afterwards.
//!
//! Rows are data. An [`Event`] is done to each [`Kind`] of step; the other rows ([`special`]) are single cases. All are judged alike:
//! the exit code, what is still alive, what is called done and is not, where the secret is, what was lost or done twice, whether the
//! journals load, and whether `resume` ends well with no flags. `docs/trust.md` shows the table, and must show this one.
//!
//! The short form (in the tests) does every row, and every event to some kinds of step. `make conformance` does all of it, at length.

mod pty;
mod room;
mod special;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootstrap::run::{AttemptEnd, Event as Fact};
use rustix::process::{Pid, Signal, kill_process};

use crate::drill::processes;
use crate::lab::repository;
use crate::wait::{eventually, eventually_or};
use room::{Found, Kind, Room, wrong_lines};

/// What happens while the step is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    KillAll,
    KillRunner,
    KillRunnerAndGuardian,
    /// A signal to the runner, so many times.
    Signal(Signal, u32),
    /// Stopped from the terminal, and continued.
    Stop,
    TimesOut,
    /// Its sibling fails, in this mode.
    SiblingFails(&'static str),
}

/// An event, what it is called, and how the run must end.
struct Row {
    name: &'static str,
    event: Event,
    exit: &'static str,
}

const EVENTS: [Row; 14] = [
    Row {
        name: "all processes are killed (SIGKILL)",
        event: Event::KillAll,
        exit: "SIGKILL",
    },
    Row {
        name: "only the runner is killed",
        event: Event::KillRunner,
        exit: "SIGKILL",
    },
    Row {
        name: "the runner and its guardian are killed",
        event: Event::KillRunnerAndGuardian,
        exit: "SIGKILL",
    },
    Row {
        name: "SIGTERM",
        event: Event::Signal(Signal::TERM, 1),
        exit: "143",
    },
    Row {
        name: "SIGINT",
        event: Event::Signal(Signal::INT, 1),
        exit: "130",
    },
    Row {
        name: "SIGINT twice",
        event: Event::Signal(Signal::INT, 2),
        exit: "130",
    },
    Row {
        name: "SIGINT three times",
        event: Event::Signal(Signal::INT, 3),
        exit: "130",
    },
    Row {
        name: "SIGHUP",
        event: Event::Signal(Signal::HUP, 1),
        exit: "129",
    },
    Row {
        name: "SIGQUIT",
        event: Event::Signal(Signal::QUIT, 1),
        exit: "131",
    },
    Row {
        name: "SIGTSTP, later SIGCONT",
        event: Event::Stop,
        exit: "0",
    },
    Row {
        name: "the step's time is over",
        event: Event::TimesOut,
        exit: "1",
    },
    Row {
        name: "a sibling fails",
        event: Event::SiblingFails(""),
        exit: "1",
    },
    Row {
        name: "a sibling fails, with --keep-going",
        event: Event::SiblingFails("--keep-going"),
        exit: "1",
    },
    Row {
        name: "a sibling fails, with --fail-fast",
        event: Event::SiblingFails("--fail-fast"),
        exit: "1",
    },
];

/// What a line of the table says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    /// How many kinds of step it is tried with.
    kinds: usize,
    exit: String,
    resume: String,
    found: Found,
}

impl Line {
    /// As in the table.
    fn text(&self) -> String {
        let Found {
            survivors,
            false_done,
            leaks,
            repeated,
            ..
        } = &self.found;
        format!(
            "| {} | {} | {} | {survivors} | {false_done} | {leaks} | {repeated} | {} |",
            self.name, self.kinds, self.exit, self.resume
        )
    }
}

const HEAD: &str = "| what happens | kinds of step | exit | survivors | false \"done\" | leaks | lost or repeated | `resume` |\n\
                    |---|---|---|---|---|---|---|---|";

/// Does an event to a kind of step. Gives how the run and the resumed run ended.
fn act(row: &Row, kind: Kind, found: &mut Found) -> (String, String) {
    let mut room = Room::new(kind);
    let exit = strike(row.event, &mut room, found);
    room.judge(found);
    let resume = if exit == "0" {
        "-".to_owned()
    } else {
        room.resume(&[])
    };
    room.judge_end(found);
    if !found.wrong.is_empty() || exit != row.exit {
        found.wrong.push(room.said());
    }
    (exit, resume)
}

fn strike(event: Event, room: &mut Room, found: &mut Found) -> String {
    match event {
        Event::TimesOut => room.replace("playbooks/house.yaml", "timeout: 10m", "timeout: 5s"),
        Event::SiblingFails(_) => room.write(
            "steps/sibling.sh",
            &format!(
                "if [ ! -e gate ] && [ ! -e failed ]; then while [ ! -e up ]; do sleep 0.05; done; echo >failed; exit 3; fi\n{}",
                room.read("steps/sibling.sh")
            ),
        ),
        _ => {}
    }
    let more: &[&str] = match event {
        Event::SiblingFails(mode) if !mode.is_empty() => &[mode],
        _ => &[],
    };
    let mut run = room.run(more);
    room.is_up(&mut run);
    let pid = Pid::from_child(&run);
    let exit = match event {
        Event::KillAll => {
            room.kill_guardian();
            kill_process(pid, Signal::KILL).unwrap();
            let exit = room.wait(&mut run);
            room.kill_the_rest();
            exit
        }
        Event::KillRunner => {
            kill_process(pid, Signal::KILL).unwrap();
            let exit = room.wait(&mut run);
            room.is_empty_soon();
            exit
        }
        Event::KillRunnerAndGuardian => {
            room.kill_guardian();
            kill_process(pid, Signal::KILL).unwrap();
            let exit = room.wait(&mut run);
            // They are for `resume` to find: without any, the row would say nothing.
            assert!(!room.alive().is_empty(), "nothing is left to be found");
            return exit;
        }
        Event::Signal(signal, times) => {
            for time in 1..=times {
                kill_process(pid, signal).unwrap();
                // Each is heard before the next is sent, so that none of them is lost; the last ones may come when all is over.
                eventually("the signal to be heard", || {
                    let heard = room
                        .records()
                        .iter()
                        .filter(|record| matches!(record.event, Fact::Interrupted { .. }))
                        .count();
                    (heard >= time as usize || run.try_wait().unwrap().is_some()).then_some(())
                });
                if run.try_wait().unwrap().is_some() {
                    break;
                }
            }
            if (signal, times) == (Signal::INT, 1) {
                // What runs may come to its end.
                assert!(run.try_wait().unwrap().is_none(), "it does not wait");
                room.open_gate();
            }
            room.wait(&mut run)
        }
        Event::Stop => {
            kill_process(pid, Signal::TSTP).unwrap();
            let us = u32::try_from(pid.as_raw_nonzero().get()).unwrap();
            let moves = || {
                let mut all = room.alive();
                all.push((us, "bootstrap".to_owned()));
                all.retain(|(pid, _)| !is_stopped(*pid));
                all.into_iter()
                    .map(|(pid, command)| (pid, state(pid), command))
                    .collect::<Vec<_>>()
            };
            eventually_or(
                || moves().is_empty().then_some(()),
                || format!("these never stop: {:?}", moves()),
            );
            room.open_gate();
            kill_process(pid, Signal::CONT).unwrap();
            room.wait(&mut run)
        }
        Event::TimesOut => room.wait(&mut run),
        Event::SiblingFails(mode) => {
            if mode != "--fail-fast" {
                room.until("the sibling's end", 0, |event| {
                    matches!(event, Fact::AttemptEnded { task, end: AttemptEnd::Failed { .. }, .. } if task.as_str() == "1.1/sibling")
                });
                room.open_gate();
            }
            room.wait(&mut run)
        }
    };
    room.judge_alive(found);
    exit
}

/// Whether a process is stopped, or no more.
fn is_stopped(pid: u32) -> bool {
    match state(pid) {
        None | Some('T' | 't' | 'Z' | 'X') => true,
        // `sh` waits in the kernel until a child that shares its memory (vfork) runs its program, and a stopped child does not.
        Some('D') => processes()
            .into_iter()
            .any(|(child, ..)| parent(child) == Some(pid) && state(child) == Some('T')),
        Some(_) => false,
    }
}

/// What the kernel says of a process, behind its name.
fn stat(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.to_owned())
}

/// In what state a process is, by the kernel's letter.
fn state(pid: u32) -> Option<char> {
    stat(pid)?.trim_start().chars().next()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.split_whitespace().nth(1)?.parse().ok()
}

/// What is to be done: a line of the table each, with its parts.
struct Task {
    line: usize,
    what: String,
    act: Act,
}

/// Does it, and gives how the run and the resumed run ended.
type Act = Box<dyn Fn(&mut Found) -> (String, String) + Send + Sync>;

/// Every row, as far as the form wants it, and the lines that the table must have.
fn tasks(long: bool) -> (Vec<Line>, Vec<Task>) {
    let mut lines = Vec::new();
    let mut tasks = Vec::new();
    for (at, row) in EVENTS.iter().enumerate() {
        lines.push(Line {
            name: row.name.to_owned(),
            kinds: Kind::ALL.len(),
            exit: row.exit.to_owned(),
            resume: if row.exit == "0" { "-" } else { "0" }.to_owned(),
            found: Found::default(),
        });
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            // The short form: in turn, so that each event and each kind has its share.
            if long || (number + at) % 5 == 0 {
                tasks.push(Task {
                    line: at,
                    what: format!("{}; a step that {}", row.name, kind.words()),
                    act: Box::new(move |found| act(row, kind, found)),
                });
            }
        }
    }
    for row in special::ROWS {
        let line = lines.len();
        lines.push(Line {
            name: row.name.to_owned(),
            kinds: 1,
            exit: row.exit.to_owned(),
            resume: row.resume.to_owned(),
            found: Found::default(),
        });
        tasks.push(Task {
            line,
            what: row.name.to_owned(),
            act: Box::new(move |found| (row.act)(long, found)),
        });
    }
    (lines, tasks)
}

/// Does the rows, some at once, and complains about every line that is not as it must be. Gives the table.
fn table(long: bool) -> String {
    let (expected, tasks) = tasks(long);
    let wanted = std::env::var("CONFORMANCE").ok();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Line, bool)>> = Mutex::default();
    let skipped: Mutex<BTreeSet<String>> = Mutex::default();
    let work = || {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if wanted
                .as_ref()
                .is_some_and(|part| !task.what.contains(part.as_str()))
            {
                continue;
            }
            let mut found = Found::default();
            let ended = catch_unwind(AssertUnwindSafe(|| (task.act)(&mut found)));
            let (exit, resume) = ended.unwrap_or_else(|panic| {
                let why = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                    .unwrap_or_default();
                found.wrong.push(why);
                ("?".to_owned(), "?".to_owned())
            });
            if exit == special::SKIPPED {
                skipped
                    .lock()
                    .unwrap()
                    .insert(format!("{}: {resume}", task.what));
                continue;
            }
            let line = Line {
                exit,
                resume,
                found: Found {
                    wrong: Vec::new(),
                    ..found.clone()
                },
                ..expected[task.line].clone()
            };
            let good = line == expected[task.line] && found.wrong.is_empty();
            if !good {
                complain(&format!(
                    "{}\n{}",
                    line.text(),
                    wrong_lines(&task.what, &found)
                ));
            }
            done.lock().unwrap().push((task.line, line, good));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, ..)| *at);
    let mut text = format!("{HEAD}\n");
    let mut last = None;
    for (at, line, good) in &done {
        if last != Some(*at) || !good {
            writeln!(text, "{}", line.text()).unwrap();
        }
        last = Some(*at);
    }
    for skipped in skipped.into_inner().unwrap() {
        complain(&format!("SKIPPED {skipped}"));
    }
    let bad = done.iter().filter(|(.., good)| !good).count();
    let sum = |of: fn(&Found) -> usize| {
        done.iter()
            .map(|(_, line, _)| of(&line.found))
            .sum::<usize>()
    };
    writeln!(
        text,
        "\n{} rows: {} as they must be, {bad} not; {} survivors, {} false \"done\", {} leaks, {} lost or repeated effects",
        done.len(),
        done.len() - bad,
        sum(|found| found.survivors),
        sum(|found| found.false_done),
        sum(|found| found.leaks),
        sum(|found| found.repeated),
    )
    .unwrap();
    complain(&text);
    assert_eq!(bad, 0, "rows that are not as they must be");
    text
}

#[expect(clippy::print_stderr, reason = "the table is what it is for")]
fn complain(text: &str) {
    eprintln!("{text}");
}

#[test]
fn every_row_of_the_conformance_suite_is_as_it_must_be_in_short() {
    table(false);
}

/// `make conformance`.
#[test]
#[ignore = "long: make conformance"]
fn every_row_of_the_conformance_suite_is_as_it_must_be() {
    table(true);
}

#[test]
fn the_table_of_the_conformance_suite_is_in_the_document() {
    let document = std::fs::read_to_string(repository().join("docs/trust.md")).unwrap();
    let shown: Vec<&str> = document
        .split("<!-- conformance -->")
        .nth(1)
        .expect("docs/trust.md has a place for the table")
        .trim()
        .lines()
        .collect();
    let (lines, _) = tasks(true);
    let mut table: Vec<String> = HEAD.lines().map(str::to_owned).collect();
    table.extend(lines.iter().map(Line::text));
    assert_eq!(
        shown,
        table,
        "docs/trust.md (left) and the suite (right):\n{}",
        table.join("\n")
    );
    for kind in Kind::ALL {
        assert!(
            document.contains(kind.words()),
            "docs/trust.md does not name the step that {}",
            kind.words()
        );
    }
}
