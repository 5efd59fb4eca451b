//! Which process is meant: a number is given again, a number and a start time are not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process, for as long as the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its number.
    pub(crate) pid: i32,
    /// When the kernel started it, in ticks since the machine's boot.
    pub(crate) started: u64,
}

/// The variable of the environment that says which world a process works for.
pub(crate) const MARK: &str = "LAB_REAL";

impl Identity {
    /// Returns the identity of the living process with this number.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let (state, started) = look(pid)?;
        Some(Self {
            pid: i32::try_from(pid).ok()?,
            started,
        })
        .filter(|_| !matches!(state, 'Z' | 'X'))
    }

    /// Returns the identity of this process.
    pub(crate) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Returns whether the process lives; one that only waits to be buried does not.
    pub(crate) fn lives(self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::of) == Some(self)
    }

    /// Ends the process.
    pub(crate) fn end(self) {
        let Some(handle) =
            Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return;
        };
        // The handle stays with its process; only now is it sure whose it is.
        if self.lives() {
            // It may end by itself in this moment; then there is nothing to do.
            pidfd_send_signal(&handle, Signal::KILL).ok();
        }
    }

    /// Waits until the process is no more; returns whether it is.
    pub(crate) fn gone_within(self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.lives() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // The kernel tells when it ends; where it cannot, look again soon.
            let step = left.min(Duration::from_millis(50));
            let Some(handle) =
                Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            else {
                super::keeper::pause(Duration::from_millis(5));
                continue;
            };
            let mut fds = [rustix::event::PollFd::new(
                &handle,
                rustix::event::PollFlags::IN,
            )];
            let wait = rustix::event::Timespec::try_from(step).ok();
            rustix::event::poll(&mut fds, wait.as_ref()).ok();
            if !fds[0].revents().is_empty() && self.lives() {
                super::keeper::pause(Duration::from_millis(5));
            }
        }
        true
    }
}

/// Returns the living processes that bear the mark of a world: what the keeper started, and what those started.
pub(crate) fn marked(folder: &Path) -> Vec<Identity> {
    let wanted = [MARK.as_bytes(), b"=", folder.as_os_str().as_encoded_bytes()].concat();
    let bears = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted)
    };
    let own = std::process::id();
    let mut found: Vec<Identity> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        // The identity is taken first: if the number is given again in between, it fits nobody.
        .filter_map(|pid| Some((pid, Identity::of(pid)?)))
        .filter(|(pid, _)| bears(*pid))
        .map(|(_, identity)| identity)
        .collect();
    found.sort_by_key(|identity| identity.started);
    found
}

/// Ends everything that bears the mark of a world, until nothing is left. Returns how many there were, or those that would not go.
pub(crate) fn end_marked(folder: &Path) -> Result<usize, Vec<Identity>> {
    let mut count = 0;
    // Whoever starts something while it is being ended has its own end before it in the next round.
    for _ in 0..10 {
        let found = marked(folder);
        if found.is_empty() {
            return Ok(count);
        }
        count += found.len();
        for identity in &found {
            identity.end();
        }
        for identity in found {
            identity.gone_within(Duration::from_secs(5));
        }
    }
    Err(marked(folder))
}

/// Reads state and start time out of `/proc/PID/stat`; the name in brackets may hold anything, so the last bracket counts.
fn look(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let state = words.first()?.chars().next()?;
    Some((state, words.get(19)?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Identity;

    #[test]
    fn a_number_with_another_start_time_is_another_process() {
        let own = Identity::own().unwrap();
        assert!(own.lives());
        let other = Identity {
            started: own.started + 1,
            ..own
        };
        assert!(!other.lives());
    }
}
