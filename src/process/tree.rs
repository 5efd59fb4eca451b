//! A process and all that came from it.

use super::system::{self, Process, Snapshot};
use super::{Identity, registry, standstill};
use rustix::event::{Timespec, poll};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group,
    test_kill_process_group, waitid, waitpgid, waitpid,
};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::time::Duration;

/// A started process, leader of a group of its own. Dropped before its end (when something panics), it kills what it can.
pub(super) struct Tree {
    handle: duct::Handle,
    leader: Pid,
    identity: Identity,
    ticket: u64,
    /// Readable when the leader has ended; not on all systems.
    exit_file: Option<OwnedFd>,
    exited: bool,
    left: bool,
}

impl Tree {
    /// Starts the process and puts it into the register.
    pub(super) fn start(expression: &duct::Expression, marker: &str) -> io::Result<Self> {
        system::adopt_orphans();
        // Before there is a process, so that nobody takes its orphans for nobody's.
        let ticket = registry::enter(marker);
        let started = expression.start().and_then(|handle| {
            let pid = handle.pids().first().copied().unwrap_or_default();
            let leader = system::number(pid).ok_or(io::ErrorKind::Other)?;
            Ok((handle, pid, leader))
        });
        let (handle, pid, leader) = match started {
            Ok(started) => started,
            Err(error) => {
                registry::leave(ticket);
                return Err(error);
            }
        };
        registry::name(ticket, pid);
        standstill::join(leader);
        let identity = Identity {
            pid,
            group: pid,
            // It may have ended, but it has not been reaped, so its number is still its own.
            started: system::started(pid).unwrap_or_default(),
            boot: system::boot().to_owned(),
            marker: marker.to_owned(),
        };
        Ok(Self {
            handle,
            leader,
            identity,
            ticket,
            exit_file: system::watch(leader),
            exited: false,
            left: false,
        })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns a file that is readable when the process has ended, where there is such a thing.
    pub(super) fn exit_file(&self) -> Option<BorrowedFd<'_>> {
        self.exit_file.as_ref().map(OwnedFd::as_fd)
    }

    /// Notes that the process has ended, as its file says.
    pub(super) fn look(&mut self) {
        self.exited = true;
    }

    /// Returns whether the process has ended. It is not reaped by that, so its number stays its own.
    pub(super) fn has_exited(&mut self) -> bool {
        if !self.exited && self.exit_file.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            self.exited = !matches!(waitid(WaitId::Pid(self.leader), options), Ok(None));
        }
        self.exited
    }

    /// Signals the group of a process that has not been reaped.
    pub(super) fn signal(&self, signal: Signal) {
        // Safe from reuse: the group has the number of its leader, which we have not reaped. Before it has begun its session there is
        // no such group yet.
        if kill_process_group(self.leader, signal).is_err() {
            kill_process(self.leader, signal).ok();
        }
    }

    /// Takes the dead process from the system, and returns how it ended.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let output = self.handle.try_wait().ok().flatten()?;
        Some(output.status)
    }

    /// Returns what is left of the tree after its leader.
    pub(super) fn rest(&self) -> Rest {
        let mut rest = Rest {
            group: self.leader,
            marker: self.identity.marker.clone(),
            group_is_left: false,
            alive: Vec::new(),
            seen: BTreeSet::new(),
        };
        rest.look();
        rest
    }

    /// Leaves the register. Whoever leaves last also ends the orphans that hide their marks; returns how many those were.
    pub(super) fn leave(&mut self) -> usize {
        if self.left {
            return 0;
        }
        self.left = true;
        if registry::leave(self.ticket) {
            end_strays()
        } else {
            0
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        if !self.exited {
            self.signal(Signal::KILL);
            self.handle.wait().ok();
        }
        let mut rest = self.rest();
        for _ in 0..500 {
            if rest.is_gone() {
                break;
            }
            rest.signal(Signal::KILL);
            pause(Duration::from_millis(4));
        }
        self.leave();
    }
}

/// What is left of a tree whose leader is dead.
pub(super) struct Rest {
    group: Pid,
    marker: String,
    group_is_left: bool,
    alive: Vec<Process>,
    seen: BTreeSet<(u32, u64)>,
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        !self.group_is_left && self.alive.is_empty()
    }

    /// Looks again.
    pub(super) fn is_gone(&mut self) -> bool {
        self.look();
        self.is_empty()
    }

    /// Returns how many processes were seen alive.
    pub(super) fn count(&self) -> usize {
        // Where single processes cannot be seen, a group is one.
        self.seen.len().max(usize::from(!cfg!(target_os = "linux")))
    }

    pub(super) fn signal(&self, signal: Signal) {
        let with_continue = [signal, Signal::CONT];
        let signals = if signal == Signal::KILL {
            &with_continue[..1]
        } else {
            &with_continue
        };
        for &signal in signals {
            if self.group_is_left {
                // All at once, so that none of them can start another in between.
                kill_process_group(self.group, signal).ok();
            }
            for process in &self.alive {
                system::signal(process, signal);
            }
        }
    }

    fn look(&mut self) {
        self.group_is_left = reap_group(self.group);
        let orphaned = orphans().into_iter().any(|(orphan, mark)| {
            mark.as_deref() == Some(&self.marker)
                || self.seen.contains(&(orphan.pid, orphan.started))
        });
        self.alive.clear();
        if !self.group_is_left && !orphaned {
            return;
        }
        let group = u32::try_from(self.group.as_raw_pid()).unwrap_or_default();
        self.alive = Snapshot::take().trees(|process| {
            (self.group_is_left && process.group == group)
                || self.seen.contains(&(process.pid, process.started))
                || system::mark(process.pid).as_deref() == Some(&self.marker)
        });
        self.seen.extend(
            self.alive
                .iter()
                .map(|process| (process.pid, process.started)),
        );
    }
}

/// Reaps what is dead of a group without a leader, and returns whether some of it is left.
///
/// On Linux all of it are our children by now, or descend from such, so the answer is certain and the number of the group cannot
/// have come to mean another one.
fn reap_group(group: Pid) -> bool {
    if !cfg!(target_os = "linux") {
        return test_kill_process_group(group).is_ok();
    }
    loop {
        match waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Returns the orphans that were given to us and live, with their marks; reaps those that are dead.
fn orphans() -> Vec<(Process, Option<String>)> {
    let us = system::job(std::process::id()).map(|us| us.group);
    let known = registry::processes();
    let mut orphans = Vec::new();
    for pid in system::adopted() {
        if known.contains(&pid) {
            continue;
        }
        match system::alive(pid) {
            // What is in our own group was not started here, but by somebody else in this program.
            Some(process) if Some(process.group) == us => {}
            Some(process) => {
                let mark = system::mark(pid);
                orphans.push((process, mark));
            }
            None => {
                if let Some(pid) = system::number(pid) {
                    waitpid(Some(pid), WaitOptions::NOHANG).ok();
                }
            }
        }
    }
    orphans
}

/// Ends the orphans that belong to no attempt that we know of, and returns how many they were.
fn end_strays() -> usize {
    let mut seen = BTreeSet::new();
    for _ in 0..500 {
        let markers = registry::markers();
        let strays: BTreeSet<u32> = orphans()
            .into_iter()
            .filter(|(_, mark)| mark.as_ref().is_none_or(|mark| !markers.contains(mark)))
            .map(|(process, _)| process.pid)
            .collect();
        if strays.is_empty() || (!markers.is_empty() && seen.is_empty()) {
            break;
        }
        for process in Snapshot::take().trees(|process| strays.contains(&process.pid)) {
            system::signal(&process, Signal::KILL);
            seen.insert((process.pid, process.started));
        }
        pause(Duration::from_millis(4));
    }
    seen.len()
}

/// Waits a moment for the system to do what it was told to.
pub(super) fn pause(moment: Duration) {
    if let Ok(moment) = Timespec::try_from(moment) {
        poll(&mut [], Some(&moment)).ok();
    }
}
