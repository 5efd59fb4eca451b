//! What a command was asked for, on standard output. `render … > file` on a full disk must not pass for a whole file: a command that could not
//! print all of it does not end with 0. A reader that has had enough is another matter: that is its own decision.
//!
//! Only commands whose result is what they print are held to this. What works on a cluster never stops for want of a reader.

use std::io::{self, ErrorKind, StdoutLock, Write};

use crate::cli::error::Error;
use crate::observe::put;

/// Standard output, and the first error of writing to it.
pub(super) struct Printed {
    out: StdoutLock<'static>,
    lost: Option<io::Error>,
}

impl Printed {
    pub(super) fn new() -> Self {
        Self {
            out: io::stdout().lock(),
            lost: None,
        }
    }

    /// The end of the command: its exit code, if all that was printed has arrived.
    pub(super) fn end(mut self, code: u8) -> Result<u8, Error> {
        self.flush().ok();
        self.lost.map_or(Ok(code), |error| unwritten(&error, code))
    }

    /// Whether something could not be written.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    fn noted<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written
            && error.kind() != ErrorKind::Interrupted
            && self.lost.is_none()
        {
            let copy = error.raw_os_error().map(io::Error::from_raw_os_error);
            self.lost = Some(copy.unwrap_or_else(|| error.kind().into()));
        }
        written
    }
}

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.noted(flushed)
    }
}

/// What an error of writing means for the end of a command.
pub(super) fn unwritten(error: &io::Error, code: u8) -> Result<u8, Error> {
    if error.kind() == ErrorKind::BrokenPipe {
        return Ok(code);
    }
    let message = "standard output cannot be written: what was printed is not whole";
    Err(Error::cannot_start(message, Some(error)))
}

/// Prints all that a command was asked for, and ends it.
pub(super) fn print(text: &str, code: u8) -> Result<u8, Error> {
    let mut out = Printed::new();
    put(&mut out, text);
    out.end(code)
}
