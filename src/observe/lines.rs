//! Plain lines, for logs and for everything that is not a terminal.
//!
//! A line begins with its word, then the task's name; what stands in the first two columns does not change between releases.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use crate::engine::Observer;
use crate::observe::Sink;
use crate::observe::view::{Said, noted, said, stopping};
use crate::observe::words::{Tone, duration};
use crate::plan::{Plan, TaskIx};
use crate::run::event::Note;
use crate::run::{Elapsed, Event, Run, TaskState};

/// How long a task may be silent before a line says that it still works.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// Writes a line when something happens, and a heartbeat when nothing does.
pub struct Lines<'a> {
    out: Sink<'a>,
    colour: bool,
    last: BTreeMap<TaskIx, Last>,
    interrupts: u32,
}

struct Last {
    said: Elapsed,
    /// What is going on.
    note: Option<Note>,
    paused: bool,
}

impl<'a> Lines<'a> {
    /// Lines for this output.
    pub fn new(out: Box<dyn Write + Send + 'a>, colour: bool) -> Self {
        Self {
            out: Sink::new(out),
            colour,
            last: BTreeMap::new(),
            interrupts: 0,
        }
    }

    fn say(&mut self, said: &Said) {
        let line = said.painted(&said.line(), self.colour);
        self.out.put(&format!("{line}\n"));
    }

    fn beat(&mut self, plan: &Plan, run: &Run, at: Elapsed) {
        let mut due = Vec::new();
        for (&ix, last) in &mut self.last {
            let TaskState::Running { since, .. } = run.state(ix) else {
                continue;
            };
            if last.paused || at.saturating_sub(last.said) < HEARTBEAT {
                continue;
            }
            last.said = at;
            let running = duration(at.saturating_sub(*since));
            let key = plan.task(ix).key.as_str();
            due.push(match &last.note {
                Some(note @ Note::Waiting { .. }) => {
                    Said::new(Tone::Busy, "waiting", key, &noted(note))
                }
                Some(note) => {
                    let text = format!("for {running}: {}", noted(note));
                    Said::new(Tone::Busy, "running", key, &text)
                }
                None => Said::new(Tone::Busy, "running", key, &format!("for {running}")),
            });
        }
        for said in due {
            self.say(&said);
        }
    }
}

impl Observer for Lines<'_> {
    fn event(&mut self, plan: &Plan, run: &Run, event: &Event, at: Elapsed) {
        match event {
            Event::Interrupted { signal } => {
                self.interrupts += 1;
                let text = stopping(plan, run, signal, self.interrupts);
                self.out.put(&format!("{text}\n"));
            }
            Event::AttemptStarted { task, .. } => {
                let last = Last {
                    said: at,
                    note: None,
                    paused: false,
                };
                self.last.extend(run.find(task).map(|ix| (ix, last)));
            }
            Event::AttemptEnded { task, .. } => {
                if let Some(ix) = run.find(task) {
                    self.last.remove(&ix);
                }
            }
            Event::Paused { task, .. } | Event::Continued { task, .. } => {
                if let Some(last) = run.find(task).and_then(|ix| self.last.get_mut(&ix)) {
                    last.paused = matches!(event, Event::Paused { .. });
                    last.said = at;
                }
            }
            Event::RunStarted { .. }
            | Event::RunResumed { .. }
            | Event::SurvivorEnded { .. }
            | Event::ProcessStarted { .. }
            | Event::TaskSkipped { .. }
            | Event::TaskReopened { .. }
            | Event::Assumed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::Confirmed { .. }
            | Event::RunEnded { .. } => {}
        }
        if let Some(said) = said(plan, run, event, at) {
            self.say(&said);
        }
    }

    fn note(&mut self, plan: &Plan, run: &Run, task: TaskIx, note: &Note, at: Elapsed) {
        if let Some(last) = self.last.get_mut(&task) {
            last.note = Some(note.clone());
        }
        self.beat(plan, run, at);
    }

    fn tick(&mut self, plan: &Plan, run: &Run, at: Elapsed) {
        self.beat(plan, run, at);
    }
}
