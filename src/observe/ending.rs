//! The summary at the end of a run.

use std::io::Write;

use crate::engine::Observer;
use crate::observe::Sink;
use crate::observe::view::{Frame, People, summary};
use crate::plan::{Plan, TaskIx};
use crate::run::event::Note;
use crate::run::{Elapsed, Event, Run};

/// Writes the summary when the run ends. Comes after the display that has to make room for it.
pub struct Ending<'a> {
    out: Sink<'a>,
    frame: Frame,
    people: People,
}

impl<'a> Ending<'a> {
    /// A summary for this output.
    pub fn new(out: Box<dyn Write + Send + 'a>, frame: Frame) -> Self {
        Self {
            out: Sink::new(out),
            frame,
            people: People::default(),
        }
    }
}

impl Observer for Ending<'_> {
    fn event(&mut self, plan: &Plan, run: &Run, event: &Event, at: Elapsed) {
        self.people.event(event, at);
        if let Event::RunEnded { result } = event {
            let text = summary(plan, run, *result, (at, self.people.total()), &self.frame);
            self.out.put(&format!("\n{text}"));
        }
    }

    fn note(&mut self, _plan: &Plan, _run: &Run, _task: TaskIx, _note: &Note, _at: Elapsed) {}
}
