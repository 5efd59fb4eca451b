//! Ctrl-Z: everything stands still together, and goes on together.
//!
//! A run that is stopped from its terminal must not let its steps work on unseen, and no deadline may pass meanwhile. So what was
//! started is stopped first, then this process; when it is continued, so is the rest, and the time between counts for nothing.

use super::registry;
use super::system::{self, Process, Snapshot};
use rustix::process::{Signal, getpid, getppid, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often is looked for what was started while the rest was being stopped.
const ROUNDS: usize = 8;

/// Where a process belongs, in the eyes of a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) group: u32,
    pub(super) session: u32,
}

struct Stood {
    before: Duration,
    since: Option<Instant>,
}

static STOOD: Mutex<Stood> = Mutex::new(Stood {
    before: Duration::ZERO,
    since: None,
});

fn stood() -> MutexGuard<'static, Stood> {
    STOOD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stood {
    /// How long until now.
    fn total(&self, now: Instant) -> Duration {
        let since = self.since.map(|since| now.saturating_duration_since(since));
        self.before + since.unwrap_or_default()
    }
}

/// How long this process has stood still so far, in [`stand_still`].
fn stood_still() -> Duration {
    stood().total(Instant::now())
}

/// A length of time in which standing still does not count.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    begun: Instant,
    /// How long everything had stood still before.
    stood: Duration,
}

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self {
            begun: Instant::now(),
            stood: stood_still(),
        }
    }

    /// Returns how long it has run.
    pub fn elapsed(&self) -> Duration {
        let length = self.begun.elapsed();
        length.saturating_sub(stood_still().saturating_sub(self.stood))
    }

    /// Returns when it will have run for so long, if nothing stands still until then.
    pub(super) fn reaches(&self, length: Duration) -> Option<Instant> {
        self.reaches_with(length, stood_still())
    }

    fn reaches_with(&self, length: Duration, stood: Duration) -> Option<Instant> {
        let moved = stood.saturating_sub(self.stood);
        self.begun.checked_add(length)?.checked_add(moved)
    }
}

/// Whether everything stands still, or is about to.
pub(super) fn stands_still() -> bool {
    stood().since.is_some()
}

/// Stops all that was started here, and this process; returns when it was continued, with all of it. Nothing happens where nobody could
/// continue it: the kernel stops no group that is an orphan.
pub fn stand_still() {
    {
        let mut stood = stood();
        if stood.since.is_some() {
            return;
        }
        stood.since = Some(Instant::now());
    }
    let mut stopped: BTreeSet<(u32, u64)> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let trees = trees();
        let count = stopped.len();
        for process in &trees {
            if stopped.insert((process.pid, process.started)) {
                system::signal(process, Signal::STOP);
            }
        }
        if stopped.len() == count {
            break;
        }
    }
    for_groups(Signal::STOP);
    // `SIGSTOP` would stop us for ever where nobody is left to continue us. The other one is told apart by the kernel.
    let signal = if is_job() { Signal::STOP } else { Signal::TTOU };
    kill_process(getpid(), signal).ok();
    // Another thread may have to take it, so it returns before it is done; whoever went on now would continue what was just stopped.
    while is_pending(signal) {
        super::tree::pause(Duration::from_millis(1));
    }
    {
        let mut stood = stood();
        if let Some(since) = stood.since.take() {
            stood.before += since.elapsed();
        }
    }
    for_groups(Signal::CONT);
    for process in trees() {
        system::signal(&process, Signal::CONT);
    }
}

/// Stops a process that was started when everything stood still already, or was about to.
pub(super) fn join(leader: rustix::process::Pid) {
    if stands_still() {
        kill_process_group(leader, Signal::STOP).ok();
        // Who went on in between has continued all that it knew of, and knew nothing of this one.
        if !stands_still() {
            kill_process_group(leader, Signal::CONT).ok();
        }
    }
}

/// Whether a signal to this process has not been taken yet. When it has been, this thread stops before it sees the answer.
fn is_pending(signal: Signal) -> bool {
    let bit = 1_u64 << (signal.as_raw() - 1);
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let mask = text.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .is_some_and(|pending| pending & bit != 0)
}

/// Whether our parent is a shell that has given us a group of our own, and so can continue us.
fn is_job() -> bool {
    let parent = getppid().and_then(|parent| u32::try_from(parent.as_raw_pid()).ok());
    let (Some(theirs), Some(ours)) = (
        parent.and_then(system::job),
        system::job(std::process::id()),
    ) else {
        return false;
    };
    theirs.session == ours.session && theirs.group != ours.group
}

/// Every process that was started here, and all that came from them; but no guardian.
fn trees() -> Vec<Process> {
    let (leaders, markers, guardians) = (
        registry::leaders(),
        registry::markers(),
        registry::guardians(),
    );
    let us = std::process::id();
    let all = Snapshot::take().trees(|process| {
        !guardians.contains(&process.pid)
            && (leaders.contains(&process.pid)
                || leaders.contains(&process.group)
                || process.parent == us
                || system::mark(process.pid).is_some_and(|mark| markers.contains(&mark)))
    });
    all.into_iter()
        .filter(|process| !guardians.contains(&process.pid))
        .collect()
}

/// Where single processes cannot be seen, their groups can be reached.
fn for_groups(signal: Signal) {
    if cfg!(target_os = "linux") {
        return;
    }
    for leader in registry::leaders() {
        if let Some(leader) = system::number(leader) {
            kill_process_group(leader, signal).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_everything_stands_still_does_not_count() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let begun = Instant::now();
        let mut stood = Stood {
            before: minute,
            since: None,
        };
        let watch = Stopwatch {
            begun,
            stood: stood.total(begun),
        };
        let at = |stood: &Stood, now| watch.reaches_with(hour, stood.total(now));
        assert_eq!(at(&stood, begun + minute), Some(begun + hour));
        // While it is stopped the deadline moves as fast as the clock: who is woken before it is told finds it where it was.
        stood.since = Some(begun + minute);
        assert_eq!(
            at(&stood, begun + minute * 3),
            Some(begun + hour + minute * 2)
        );
        // And when it goes on it stays.
        stood.before += minute * 2;
        stood.since = None;
        assert_eq!(at(&stood, begun + hour), Some(begun + hour + minute * 2));
    }
}
