//! What people see of a run: while it works, when it ends, and afterwards.
//!
//! Everything here reads: [`view`] and [`history`] turn a plan, a run or a journal into sentences; [`lines`], [`json`], [`progress`] and
//! [`ending`] are the observers that say them at the right moment. Nothing feeds back, and nothing can fail: an output that is gone (a
//! closed pipe) is not written to any more, one that nobody reads is not waited for ([`detached`]), and the run goes on.
//!
//! All wording lives in [`view`] and [`words`], so that one state of a task is called by one word everywhere. Every word can be
//! understood without colour. Text that came from elsewhere is [cleaned](words::clean) before it is shown: what a process prints must not
//! move the cursor.

use std::io::Write;

pub mod detached;
pub mod ending;
pub mod history;
pub mod json;
pub mod lines;
pub mod listing;
pub mod phases;
pub mod progress;
pub mod report;
pub mod view;
pub mod words;

pub use detached::Detached;
pub use ending::Ending;
pub use json::JsonLines;
pub use lines::Lines;
pub use progress::{Progress, Terminal};

/// Writes a text and flushes it. Returns whether somebody still reads: after `false` there is nobody to write to.
pub fn put(out: &mut dyn Write, text: &str) -> bool {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

/// An output that falls silent when nobody reads it any more.
pub(crate) struct Sink<'a> {
    out: Box<dyn Write + Send + 'a>,
    open: bool,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(out: Box<dyn Write + Send + 'a>) -> Self {
        Self { out, open: true }
    }

    pub(crate) fn put(&mut self, text: &str) {
        if self.open {
            self.open = put(&mut *self.out, text);
        }
    }
}

#[cfg(test)]
mod tests;
