//! What `/proc` tells about processes.

use super::MARK;
use super::standstill::Job;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) started: u64,
}

/// What this system can do is set up once: from here on orphans of our trees become our children.
pub(super) fn adopt_orphans() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // Without it (an ancient kernel) only what stays in its group is found.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).ok();
    });
}

/// Returns which start of the machine this is.
pub(super) fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    })
}

/// Returns when a process was started, dead or alive, if it was not reaped.
pub(super) fn started(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.process.started)
}

/// Returns a process, unless it is dead.
pub(super) fn alive(pid: u32) -> Option<Process> {
    stat(pid).and_then(|stat| (!matches!(stat.state, b'Z' | b'X')).then_some(stat.process))
}

/// Returns the group and the session of a process. Either is 0 where its leader is outside of our PID namespace, as that of a container's
/// first process may be; `rustix` holds that to be impossible, so it is not asked.
pub(super) fn job(pid: u32) -> Option<Job> {
    let stat = stat(pid)?;
    Some(Job {
        group: stat.process.group,
        session: stat.session,
    })
}

struct Stat {
    state: u8,
    session: u32,
    process: Process,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses, and may hold some itself, and be no text.
    let after = text.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&text[after..])
        .ok()?
        .split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // That was field 6; this is field 22.
    let started = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        state,
        session,
        process: Process {
            pid,
            parent,
            group,
            started,
        },
    })
}

/// Returns the mark that a process carries.
pub(super) fn mark(pid: u32) -> Option<String> {
    let environ = zeroize::Zeroizing::new(fs::read(format!("/proc/{pid}/environ")).ok()?);
    environ.split(|&byte| byte == 0).find_map(|entry| {
        let mark = entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(mark).into_owned())
    })
}

/// Opens a folder for nothing but that it is open here, and in every process that is started from here.
pub(super) fn leash(folder: &Path) -> io::Result<OwnedFd> {
    // Without `CLOEXEC`, which is the point.
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// Returns the names of the folders that a process has open in this way.
pub(super) fn leashes(pid: u32) -> Vec<String> {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    files
        .filter_map(|file| {
            let file = file.ok()?;
            let target = fs::read_link(file.path()).ok()?;
            // Looking at a folder of runs is nothing special; what is meant is open as a name only.
            target
                .parent()
                .filter(|parent| parent.file_name().is_some_and(|name| name == "runs"))?;
            let number = file.file_name();
            let facts = fs::read_to_string(format!(
                "/proc/{pid}/fdinfo/{}",
                number.to_str().unwrap_or_default()
            ))
            .ok()?;
            let flags = facts
                .lines()
                .find_map(|line| line.strip_prefix("flags:"))
                .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())?;
            (flags & OFlags::PATH.bits() != 0)
                .then(|| target.file_name()?.to_str().map(str::to_owned))
                .flatten()
        })
        .collect()
}

/// Returns whether a process runs the program that this one does.
pub(super) fn is_this_program(pid: u32) -> bool {
    let file = |of: &str| {
        let file = fs::metadata(format!("/proc/{of}/exe")).ok()?;
        Some((file.dev(), file.ino()))
    };
    file(&pid.to_string()).is_some_and(|program| Some(program) == file("self"))
}

/// Returns the command line of a process.
pub(super) fn command_line(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = text
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ").trim_end().to_owned()
}

/// Returns the children that were given to us because their parents died. (Those that our other threads started are not among
/// them; those that the main thread started are.)
pub(super) fn adopted() -> Vec<u32> {
    // The kernel gives orphans to the first thread of the sub-reaper, which has the number of the process.
    let us = std::process::id();
    match fs::read_to_string(format!("/proc/self/task/{us}/children")) {
        Ok(text) => text
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect(),
        // A kernel without that file.
        Err(_) => numbers()
            .filter(|&pid| stat(pid).is_some_and(|stat| stat.process.parent == us))
            .collect(),
    }
}

fn numbers() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Every living process of this user, at about one moment.
pub(super) struct Snapshot {
    processes: BTreeMap<u32, Process>,
}

impl Snapshot {
    pub(super) fn take() -> Self {
        let user = geteuid().as_raw();
        let processes = numbers()
            .filter(|pid| {
                fs::metadata(format!("/proc/{pid}")).is_ok_and(|folder| folder.uid() == user)
            })
            .filter_map(|pid| Some((pid, alive(pid)?)))
            .collect();
        Self { processes }
    }

    /// Returns the chosen processes and all that descend from them, but never this process or what it descends from.
    pub(super) fn trees(&self, chosen: impl Fn(&Process) -> bool) -> Vec<Process> {
        let mut ours = BTreeSet::new();
        let mut pid = std::process::id();
        while ours.insert(pid)
            && let Some(process) = self.processes.get(&pid)
        {
            pid = process.parent;
        }
        let mut found: BTreeSet<u32> = self
            .processes
            .values()
            .filter(|process| !ours.contains(&process.pid) && chosen(process))
            .map(|process| process.pid)
            .collect();
        loop {
            let more: Vec<u32> = self
                .processes
                .values()
                .filter(|process| found.contains(&process.parent))
                .filter(|process| !found.contains(&process.pid) && !ours.contains(&process.pid))
                .map(|process| process.pid)
                .collect();
            if more.is_empty() {
                break;
            }
            found.extend(more);
        }
        found
            .iter()
            .map(|pid| self.processes[pid].clone())
            .collect()
    }
}

/// Signals this very process, or nothing if its number belongs to another by now.
pub(super) fn signal(process: &Process, signal: Signal) {
    let Some(pid) = number(process.pid) else {
        return;
    };
    if let Some(file) = watch(pid) {
        // The file means the process that has the number now, for good. Is it the one?
        if started(process.pid) == Some(process.started) {
            pidfd_send_signal(&file, signal).ok();
        }
    } else if started(process.pid) == Some(process.started) {
        rustix::process::kill_process(pid, signal).ok();
    }
}

/// Returns a file that can be polled for the end of a process.
pub(super) fn watch(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

pub(super) fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
