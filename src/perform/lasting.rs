//! How long something has been so: what looks like a moment is believed only when it lasts.

use std::time::Duration;

use crate::process::Stopwatch;

/// So often something has to be seen in a row, however long that takes: where one answer takes longer than the time for which it has to
/// last, a single wrong one would do.
const OFTEN: u32 = 3;

/// What was seen last, and since when nothing else.
pub(super) struct Lasting {
    what: Option<String>,
    since: Stopwatch,
    seen: u32,
    changes: u32,
}

impl Lasting {
    /// Nothing was seen yet.
    pub(super) fn new() -> Self {
        Self {
            what: None,
            since: Stopwatch::start(),
            seen: 0,
            changes: 0,
        }
    }

    /// Notes what was seen now, and says whether that has been so for long enough, and was seen often enough. Whatever else was seen before
    /// is over.
    pub(super) fn see(&mut self, what: &str, length: Duration) -> bool {
        if self.what.as_deref() != Some(what) {
            self.what = Some(what.to_owned());
            self.since = Stopwatch::start();
            self.seen = 0;
            self.changes = self.changes.saturating_add(1);
        }
        self.seen = self.seen.saturating_add(1);
        self.seen >= OFTEN && self.since.elapsed() >= length
    }

    /// Something was seen that need not last, or nothing.
    pub(super) fn is_over(&mut self) {
        self.what = None;
    }

    /// How many different things were seen, each after another.
    pub(super) fn changes(&self) -> u32 {
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_alone_is_no_length_of_time() {
        let mut lasting = Lasting::new();
        let mut seen = |what: &str| lasting.see(what, Duration::ZERO);
        assert!(!seen("down") && !seen("down"));
        assert!(seen("down") && seen("down"));
        assert!(!seen("stuck"), "another state begins anew");
        assert!(!seen("down"), "and so does the first one after it");
        assert_eq!(lasting.changes(), 3);
        lasting.is_over();
        assert!(!lasting.see("down", Duration::ZERO));
    }

    #[test]
    fn what_was_seen_often_has_to_last_too() {
        let mut lasting = Lasting::new();
        let hour = Duration::from_secs(3600);
        assert!((0..9).all(|_| !lasting.see("down", hour)));
    }
}
