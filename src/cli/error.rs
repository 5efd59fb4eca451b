//! What stops a command: the one error of the command line, with its kind, its hints and so its exit code.

use std::error::Error as StdError;
use std::fmt::Write as _;

use crate::cli::exit;
use crate::document::{Diagnostics, Sources};
use crate::engine;
use crate::journal;
use crate::observe::words::{Tone, paint};
use crate::workspace;

/// Which kind of error; the kind decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was typed cannot be done.
    Usage,
    /// Playbooks, inventory or templates are invalid.
    Invalid,
    /// It cannot start.
    CannotStart,
    /// It cannot resume.
    CannotResume,
    /// A bug of ours.
    Bug,
}

/// An error with what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>, source: Option<&dyn StdError>) -> Self {
        let mut message = message.into();
        let mut source = source;
        while let Some(error) = source {
            // Writing to a String cannot fail.
            write!(message, ": {error}").ok();
            source = error.source();
        }
        Self {
            kind,
            message,
            hints: Vec::new(),
        }
    }

    /// What was typed cannot be done.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message, None)
    }

    /// It cannot start.
    pub fn cannot_start(message: impl Into<String>, source: Option<&dyn StdError>) -> Self {
        Self::new(Kind::CannotStart, message, source)
    }

    /// It cannot resume.
    pub fn cannot_resume(message: impl Into<String>, source: Option<&dyn StdError>) -> Self {
        Self::new(Kind::CannotResume, message, source)
    }

    /// The project is invalid: all problems with their places.
    pub fn invalid(sources: &Sources, problems: &Diagnostics, colour: bool) -> Self {
        let count = problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        let text = problems.render(sources, colour);
        Self {
            kind: Kind::Invalid,
            message: format!("{text}{count} {noun} found; nothing was run"),
            hints: Vec::new(),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self.kind {
            Kind::Usage => exit::USAGE,
            Kind::Invalid => exit::INVALID,
            Kind::CannotStart => exit::CANNOT_START,
            Kind::CannotResume => exit::CANNOT_RESUME,
            Kind::Bug => exit::BUG,
        }
    }

    /// As people read it.
    pub fn render(&self, colour: bool) -> String {
        let mut text = match self.kind {
            Kind::Invalid => format!("{}\n", self.message),
            Kind::Usage | Kind::CannotStart | Kind::CannotResume | Kind::Bug => {
                format!("{} {}\n", paint(Tone::Bad, "error:", colour), self.message)
            }
        };
        for hint in &self.hints {
            writeln!(text, "  {} {hint}", paint(Tone::Quiet, "help:", colour)).ok();
        }
        text
    }
}

impl From<workspace::Error> for Error {
    fn from(error: workspace::Error) -> Self {
        Self::cannot_start("the state folder cannot be used", Some(&error))
            .hint("state lives in `.bootstrap` of the project's folder, which must be writable")
    }
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        Self::cannot_resume("the journal cannot be used", Some(&error))
            .hint("`bootstrap run` starts a new run, which trusts only what it can see")
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        match &error {
            engine::Error::Journal(_) => Self::cannot_start("the run stopped", Some(&error))
                .hint("make room or mend the permissions, then type `bootstrap resume`"),
            engine::Error::Illegal(_) => Self::new(Kind::Bug, "the run stopped", Some(&error))
                .hint("this is a bug of ours: please report it; `bootstrap resume` is safe"),
        }
    }
}
