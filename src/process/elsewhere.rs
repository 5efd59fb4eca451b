//! Systems without `/proc`: nothing is known of processes but their groups.

use super::standstill::Job;
use rustix::process::{Pid, Signal};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) started: u64,
}

pub(super) fn adopt_orphans() {}

pub(super) fn boot() -> &'static str {
    ""
}

pub(super) fn started(_pid: u32) -> Option<u64> {
    None
}

pub(super) fn alive(_pid: u32) -> Option<Process> {
    None
}

pub(super) fn job(pid: u32) -> Option<Job> {
    let pid = Some(number(pid)?);
    let part = |id: rustix::io::Result<Pid>| u32::try_from(id.ok()?.as_raw_pid()).ok();
    #[expect(clippy::disallowed_methods, reason = "there are no PID namespaces")]
    Some(Job {
        group: part(rustix::process::getpgid(pid))?,
        session: part(rustix::process::getsid(pid))?,
    })
}

pub(super) fn mark(_pid: u32) -> Option<String> {
    None
}

pub(super) fn leash(_folder: &Path) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn leashes(_pid: u32) -> Vec<String> {
    Vec::new()
}

pub(super) fn is_this_program(_pid: u32) -> bool {
    false
}

pub(super) fn command_line(_pid: u32) -> String {
    String::new()
}

pub(super) fn adopted() -> Vec<u32> {
    Vec::new()
}

pub(super) struct Snapshot;

impl Snapshot {
    pub(super) fn take() -> Self {
        Self
    }

    pub(super) fn trees(&self, _chosen: impl Fn(&Process) -> bool) -> Vec<Process> {
        Vec::new()
    }
}

pub(super) fn signal(_process: &Process, _signal: Signal) {}

pub(super) fn watch(_pid: Pid) -> Option<OwnedFd> {
    None
}

pub(super) fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
