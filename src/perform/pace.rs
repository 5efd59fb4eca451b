//! How fast time runs: as the clock does, or faster in a rehearsal.

use std::time::Duration;

/// The shortest pause between two questions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// The shortest time that a command is given, however fast a rehearsal runs: the machine does not get faster.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest time that a state has to last before it is believed.
const SHORTEST_GRACE: Duration = Duration::from_millis(300);
/// The shortest time that a wait is given.
const SHORTEST_WAIT: Duration = Duration::from_secs(20);

/// A factor by which time runs faster than the clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace(f64);

impl Default for Pace {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Pace {
    /// A pace of so many times the clock's; less than one, or no number, is the clock's own.
    pub fn new(factor: f64) -> Self {
        if factor.is_finite() && factor > 1.0 {
            Self(factor.min(10_000.0))
        } else {
            Self::default()
        }
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        self.0
    }

    /// A pause between two questions.
    pub fn pause(self, length: Duration) -> Duration {
        if self.0 > 1.0 {
            length.div_f64(self.0).max(SHORTEST_PAUSE.min(length))
        } else {
            length
        }
    }

    /// The longest that a command may take.
    pub fn timeout(self, length: Duration) -> Duration {
        if self.0 > 1.0 {
            length.div_f64(self.0).max(SHORTEST_TIMEOUT.min(length))
        } else {
            length
        }
    }

    /// How long a state has to last before it is believed: time of the world, not of this machine.
    pub fn grace(self, length: Duration) -> Duration {
        if self.0 > 1.0 {
            length.div_f64(self.0).max(SHORTEST_GRACE.min(length))
        } else {
            length
        }
    }

    /// The longest that a wait may take.
    pub fn wait(self, length: Duration) -> Duration {
        if self.0 > 1.0 {
            length.div_f64(self.0).max(SHORTEST_WAIT.min(length))
        } else {
            length
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_shortens_waits_but_not_below_what_a_machine_needs() {
        let pace = Pace::new(60.0);
        assert_eq!(
            pace.pause(Duration::from_secs(6)),
            Duration::from_millis(100)
        );
        assert_eq!(pace.timeout(Duration::from_secs(60)), SHORTEST_TIMEOUT);
        assert_eq!(
            pace.wait(Duration::from_secs(3600)),
            Duration::from_secs(60)
        );
        assert_eq!(
            Pace::default().wait(Duration::from_secs(7)),
            Duration::from_secs(7)
        );
    }
}
