//! How a process is told to end, in two stages.

use tokio_util::sync::CancellationToken;

/// A request to end, shared by all clones. It can be made stronger, never taken back.
///
/// What a process is asked is decided here; what is still started meanwhile is the engine's concern.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    term: CancellationToken,
    kill: CancellationToken,
}

impl Cancel {
    /// Returns a request that was not made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a request that is made when this one is, and can also be made alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            term: self.term.child_token(),
            kill: self.kill.child_token(),
        }
    }

    /// Asks to end: TERM to the group, and KILL after the grace.
    pub fn term(&self) {
        self.term.cancel();
    }

    /// Ends now: KILL to the group.
    pub fn kill(&self) {
        self.term.cancel();
        self.kill.cancel();
    }

    /// Returns whether it was asked to end.
    pub fn is_term(&self) -> bool {
        self.term.is_cancelled()
    }

    /// Returns whether it was told to end now.
    pub fn is_kill(&self) -> bool {
        self.kill.is_cancelled()
    }

    /// Waits until it is asked to end.
    pub async fn termed(&self) {
        self.term.cancelled().await;
    }

    /// Waits until it is told to end now.
    pub async fn killed(&self) {
        self.kill.cancelled().await;
    }
}
