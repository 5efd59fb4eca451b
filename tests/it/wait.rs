//! Waiting for what tells nobody that it has happened: a file, a line of a journal, a process of somebody else's. It is asked again after a
//! moment, and fails only after a time that nothing takes on any machine.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What takes longer than this never comes.
const FOR_EVER: Duration = Duration::from_secs(240);

/// Lets a moment pass.
pub(crate) fn moment() {
    let (tell, told) = mpsc::channel::<()>();
    told.recv_timeout(Duration::from_millis(3)).unwrap_err();
    drop(tell);
}

/// Waits until there is an answer; fails when there is none for very long.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    eventually_or(ask, || format!("{what} never comes"))
}

/// Waits until there is an answer; fails with these words when there is none for very long.
#[track_caller]
pub(crate) fn eventually_or<T>(ask: impl FnMut() -> Option<T>, why: impl FnOnce() -> String) -> T {
    within(FOR_EVER, ask).unwrap_or_else(|| panic!("{}", why()))
}

/// Waits for an answer, but no longer than this.
pub(crate) fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begun.elapsed() > limit {
            return None;
        }
        moment();
    }
}
