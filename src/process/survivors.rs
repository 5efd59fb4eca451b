//! What a dead run left running.

use super::Identity;
use super::system::{self, Process, Snapshot};
use super::tree::pause;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long survivors may take to end, before they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long killed ones may take to be gone.
const STUCK: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(10);

/// A process of a dead run that was found alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// The number of the process.
    pub pid: u32,
    /// Its command line, not masked.
    pub command: String,
    /// Its mark, if it carries one.
    pub marker: Option<String>,
    /// Whether it is gone now.
    pub ended: bool,
}

/// Ends what a dead run left running, as [`end_survivors_of`] does for several; but not its guardian, which may be who asks.
pub fn end_survivors(marker_prefix: &str, known: &[Identity]) -> Vec<Survivor> {
    hunt(&[marker_prefix.to_owned()], known, false)
}

/// Ends what dead runs left running, and returns what it was.
///
/// A process belongs to a run if its mark begins with a prefix (which must therefore be unique to the run, and end with
/// a separator), if it holds the [leash](super::leash) of the run, if it is one of the known ones (same number, same start, same start of
/// the machine), or if it descends from such a one. Never this process, and nothing that it descends from. Takes as long as
/// the survivors do, up to a few seconds: call it where blocking is allowed. An empty prefix matches no mark.
///
/// Their guardians are ended, too: one that is still at work would take what a resumed run starts for what the dead one left.
pub fn end_survivors_of(marker_prefixes: &[String], known: &[Identity]) -> Vec<Survivor> {
    let mut survivors = hunt(marker_prefixes, known, true);
    // They are ours, and nothing that a step did.
    survivors.retain(|survivor| !is_guardian(&survivor.command));
    survivors
}

fn hunt(marker_prefixes: &[String], known: &[Identity], guardians: bool) -> Vec<Survivor> {
    let mut survivors: BTreeMap<(u32, u64), Survivor> = BTreeMap::new();
    let begun = Instant::now();
    let mut clean = 0;
    loop {
        let alive = find(marker_prefixes, known, &survivors, guardians);
        for process in &alive {
            let key = (process.pid, process.started);
            survivors.entry(key).or_insert_with(|| {
                system::signal(process, Signal::TERM);
                system::signal(process, Signal::CONT);
                Survivor {
                    pid: process.pid,
                    command: system::command_line(process.pid),
                    marker: system::mark(process.pid),
                    ended: false,
                }
            });
        }
        let elapsed = begun.elapsed();
        if alive.is_empty() {
            // One look can miss a process that is being started while we look.
            clean += 1;
            if clean == 2 {
                break;
            }
            continue;
        }
        clean = 0;
        if elapsed > GRACE + STUCK {
            break;
        }
        if elapsed > GRACE {
            for process in &alive {
                system::signal(process, Signal::KILL);
            }
        }
        pause(TICK);
    }
    for ((pid, started), survivor) in &mut survivors {
        survivor.ended = system::alive(*pid).is_none_or(|process| process.started != *started);
    }
    survivors.into_values().collect()
}

/// Returns the living processes of the run. Those found before are told again, because what descends from a process is not seen
/// to do so once the process is dead.
fn find(
    marker_prefixes: &[String],
    known: &[Identity],
    before: &BTreeMap<(u32, u64), Survivor>,
    guardians: bool,
) -> Vec<Process> {
    Snapshot::take().trees(|process| {
        let is_known = |identity: &Identity| {
            identity.pid == process.pid
                && identity.started == process.started
                && identity.boot == system::boot()
                && !identity.boot.is_empty()
        };
        before.contains_key(&(process.pid, process.started))
            || known.iter().any(is_known)
            || bears(process.pid, marker_prefixes, guardians)
    })
}

/// Whether a process bears the mark of one of the runs, or, where it has none, holds a leash.
fn bears(pid: u32, marker_prefixes: &[String], guardians: bool) -> bool {
    let of = |text: &str| {
        marker_prefixes
            .iter()
            .any(|prefix| !prefix.is_empty() && text.starts_with(prefix.as_str()))
    };
    if let Some(mark) = system::mark(pid) {
        return of(&mark);
    }
    let leashed = system::leashes(pid)
        .iter()
        .any(|run| of(&format!("{run}/")));
    // A runner that goes on with the run holds its leash, too, and is no survivor. It is this very program.
    leashed
        && (!system::is_this_program(pid) || (guardians && is_guardian(&system::command_line(pid))))
}

/// Whether a command line is that of a guardian.
fn is_guardian(command: &str) -> bool {
    command.split(' ').nth(1) == Some(super::guardian::ARGUMENT)
}
