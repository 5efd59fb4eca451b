//! One line of JSON an event, for programs.

use std::io::Write;

use serde::Serialize;

use crate::engine::Observer;
use crate::observe::Sink;
use crate::plan::{Plan, TaskIx};
use crate::run::event::Note;
use crate::run::{Elapsed, Event, Run};

/// Writes each durable event as `{"elapsed-ms":…,"event":{…}}`: the event has the shape that it has in the journal, and the time is that
/// since this process began. Notes are not written, so a line is never about something that may be lost.
pub struct JsonLines<'a> {
    out: Sink<'a>,
}

impl<'a> JsonLines<'a> {
    /// Events for this output.
    pub fn new(out: Box<dyn Write + Send + 'a>) -> Self {
        Self {
            out: Sink::new(out),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    elapsed_ms: u64,
    event: &'a Event,
}

impl Observer for JsonLines<'_> {
    fn event(&mut self, _plan: &Plan, _run: &Run, event: &Event, at: Elapsed) {
        let line = Line {
            elapsed_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            event,
        };
        // What the journal could write, this can.
        if let Ok(text) = serde_json::to_string(&line) {
            self.out.put(&format!("{text}\n"));
        }
    }

    fn note(&mut self, _plan: &Plan, _run: &Run, _task: TaskIx, _note: &Note, _at: Elapsed) {}
}
