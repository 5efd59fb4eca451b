//! Which processes this process has started.
//!
//! Children belong to a process as a whole (anybody in it can reap them), so this one register must be shared by all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Register {
    next: u64,
    attempts: BTreeMap<u64, (Option<u32>, String)>,
    guardians: BTreeSet<u32>,
}

static REGISTER: Mutex<Register> = Mutex::new(Register {
    next: 0,
    attempts: BTreeMap::new(),
    guardians: BTreeSet::new(),
});

fn register() -> MutexGuard<'static, Register> {
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters an attempt that is about to start a process, and returns its ticket.
pub(super) fn enter(marker: &str) -> u64 {
    let mut register = register();
    register.next += 1;
    let ticket = register.next;
    register.attempts.insert(ticket, (None, marker.to_owned()));
    ticket
}

/// Says which process the attempt has started.
pub(super) fn name(ticket: u64, pid: u32) {
    if let Some((entered, _)) = register().attempts.get_mut(&ticket) {
        *entered = Some(pid);
    }
}

/// Takes an attempt out, and returns whether none is left.
pub(super) fn leave(ticket: u64) -> bool {
    let mut register = register();
    register.attempts.remove(&ticket);
    register.attempts.is_empty()
}

/// Enters a guardian.
pub(super) fn guardian(pid: u32) {
    register().guardians.insert(pid);
}

/// Takes a guardian out.
pub(super) fn guardian_left(pid: u32) {
    register().guardians.remove(&pid);
}

/// Returns the processes that were started here.
pub(super) fn processes() -> BTreeSet<u32> {
    let register = register();
    let leaders = register.attempts.values().filter_map(|(pid, _)| *pid);
    leaders.chain(register.guardians.iter().copied()).collect()
}

/// Returns the processes that attempts have started here: each leads a group.
pub(super) fn leaders() -> BTreeSet<u32> {
    let register = register();
    let leaders = register.attempts.values();
    leaders.filter_map(|(pid, _)| *pid).collect()
}

/// Returns the guardians.
pub(super) fn guardians() -> BTreeSet<u32> {
    register().guardians.clone()
}

/// Returns the marks of the running attempts.
pub(super) fn markers() -> BTreeSet<String> {
    register()
        .attempts
        .values()
        .map(|(_, marker)| marker.clone())
        .collect()
}
