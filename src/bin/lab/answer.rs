//! What a played tool says in the end: bytes for stdout, text for stderr, an exit code.
//!
//! Tools build an [`Answer`] and return it; only [`Answer::deliver`] writes, once, at the very end. So a tool that is
//! killed before has said nothing, and one that is killed after has said all of it.

use std::io::{self, Write as _};

/// The end of one call.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Data for stdout.
    pub(crate) stdout: Vec<u8>,
    /// Talk for stderr.
    pub(crate) stderr: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Answer {
    /// Returns success with this text on stdout.
    pub(crate) fn out(text: impl Into<String>) -> Self {
        Self {
            stdout: text.into().into_bytes(),
            ..Self::default()
        }
    }

    /// Returns success that says nothing.
    pub(crate) fn silent() -> Self {
        Self::default()
    }

    /// Returns a failure with this text, and nothing else, on stderr.
    pub(crate) fn fail(code: u8, text: impl Into<String>) -> Self {
        Self {
            stdout: Vec::new(),
            stderr: text.into(),
            code,
        }
    }

    /// Returns the lab's own refusal: the real tool has this, the lab does not play it.
    pub(crate) fn not_played(what: &str) -> Self {
        Self::fail(64, format!("lab: the lab does not play `{what}`\n"))
    }

    /// Writes everything and returns the exit code.
    pub(crate) fn deliver(&self) -> u8 {
        // A reader that has gone away is not an error of the call.
        let mut stdout = io::stdout().lock();
        if stdout
            .write_all(&self.stdout)
            .and_then(|()| stdout.flush())
            .is_err()
        {
            return self.code;
        }
        if io::stderr()
            .lock()
            .write_all(self.stderr.as_bytes())
            .is_err()
        {
            return self.code;
        }
        self.code
    }
}
