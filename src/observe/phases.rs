//! How long each part of a rebuild took: what is written down after a disaster.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::journal::Record;
use crate::observe::words::{Table, Tone, duration};
use crate::plan::{Chosen, Selection, TaskKey};
use crate::run::Event;
use crate::run::event::RunResult;

/// The phases of a rebuild: the steps of its story, and its criteria as the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Phases {
    /// What was chosen, and why.
    pub chosen: Chosen,
    /// The moment that everything is counted from: the outage, or else the beginning of the run.
    pub zero: Timestamp,
    /// In the order in which they began.
    pub phases: Vec<Phase>,
    /// When all was done, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
}

/// From the first attempt of a step to the end of its last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Phase {
    /// The step.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; nothing while it works, or where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How much of that it waited for people, in milliseconds.
    pub waited_ms: u64,
}

/// The phases that a journal tells of, or nothing if it is of no rebuild.
pub fn of(records: &[Record<Event>]) -> Option<Phases> {
    let first = records.first()?;
    let Event::RunStarted {
        selection: Selection::Rebuild(chosen),
        ..
    } = &first.event
    else {
        return None;
    };
    let mut phases: Vec<Phase> = Vec::new();
    let mut done = None;
    for record in records {
        match &record.event {
            Event::AttemptStarted { task, .. } => {
                let Some(name) = phase_of(&chosen.story, task) else {
                    continue;
                };
                match phases.iter_mut().find(|phase| phase.name == name) {
                    Some(phase) => phase.ended = None,
                    None => phases.push(Phase {
                        name: name.to_owned(),
                        began: record.at,
                        ended: None,
                        waited_ms: 0,
                    }),
                }
            }
            Event::AttemptEnded { task, .. } => {
                if let Some(phase) = phase(&mut phases, &chosen.story, task) {
                    phase.ended = Some(record.at);
                }
            }
            Event::Continued { task, paused_ms } => {
                if let Some(phase) = phase(&mut phases, &chosen.story, task) {
                    phase.waited_ms = phase.waited_ms.saturating_add(*paused_ms);
                }
            }
            Event::RunEnded { result } => {
                done = (*result == RunResult::Done).then_some(record.at);
            }
            _ => {}
        }
    }
    Some(Phases {
        zero: chosen.outage_since.unwrap_or(first.at),
        chosen: (**chosen).clone(),
        phases,
        done,
    })
}

fn phase<'a>(phases: &'a mut [Phase], story: &str, task: &TaskKey) -> Option<&'a mut Phase> {
    let name = phase_of(story, task)?;
    phases.iter_mut().find(|phase| phase.name == name)
}

/// The step of a task of the story.
fn phase_of<'a>(story: &str, task: &'a TaskKey) -> Option<&'a str> {
    let step = task.as_str().strip_prefix(story)?.strip_prefix('/')?;
    let step = step.split('[').next().unwrap_or(step);
    Some(if step.starts_with("criterion-") {
        "criteria"
    } else {
        step
    })
}

impl Phases {
    /// How long after the outage something was; never less than nothing.
    fn after(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.zero)).unwrap_or_default()
    }

    /// What the times are counted from.
    fn zero_words(&self) -> String {
        let what = match self.chosen.outage_since {
            Some(_) => "the outage",
            None => "the beginning of the run (say --outage-since to count from the outage)",
        };
        format!("{what}, {}", self.zero.strftime("%Y-%m-%d %H:%M:%S UTC"))
    }

    fn cells(&self, phase: &Phase) -> [String; 4] {
        let took = phase.ended.map_or_else(
            || "no end".to_owned(),
            |ended| {
                let took = ended.duration_since(phase.began);
                duration(Duration::try_from(took).unwrap_or_default())
            },
        );
        let waited = match phase.waited_ms {
            0 => String::new(),
            waited => format!("{} for people", duration(Duration::from_millis(waited))),
        };
        [
            phase.name.clone(),
            format!("+{}", duration(self.after(phase.began))),
            took,
            waited,
        ]
    }

    fn last_words(&self) -> String {
        match self.done {
            Some(done) => format!("all done +{}", duration(self.after(done))),
            None => "not all done yet".to_owned(),
        }
    }

    /// As it is printed after a rebuild.
    pub fn text(&self, colour: bool) -> String {
        let mut table = Table::new(2);
        for phase in &self.phases {
            let cells = self.cells(phase);
            table.row(cells.into_iter().map(|cell| (Tone::Plain, cell)).collect());
        }
        format!(
            "\nphases, counted from {}:\n{}  {}\n",
            self.zero_words(),
            table.text(colour),
            self.last_words()
        )
    }

    /// As a part of the report, in Markdown; `escape` keeps text from being markup.
    pub(crate) fn markdown(&self, escape: impl Fn(&str) -> String) -> String {
        let mut text = "\n## Why this way\n\n".to_owned();
        for found in &self.chosen.found {
            let word = if found.met { "yes" } else { "no" };
            let _ = writeln!(
                text,
                "- {} {word} ({})",
                escape(&found.question),
                escape(&found.seen)
            );
        }
        let _ = writeln!(text, "\n## Phases\n\nCounted from {}.\n", self.zero_words());
        text.push_str("| phase | began | took | waited |\n|---|---|---|---|\n");
        for phase in &self.phases {
            let [name, began, took, waited] = self.cells(phase);
            let _ = writeln!(text, "| {name} | {began} | {took} | {waited} |");
        }
        let _ = writeln!(text, "\n{}.", self.last_words());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, at: i64, event: Event) -> Record<Event> {
        Record {
            seq,
            at: Timestamp::from_second(at).unwrap(),
            event,
        }
    }

    fn started(outage_since: Option<Timestamp>) -> Event {
        serde_json::from_value(serde_json::json!({ "run-started": {
            "run": "r", "version": "0", "plan": "p", "tasks": [],
            "selection": { "rebuild": Chosen {
                cluster: "home".into(), node: None, story: "again".into(), arguments: Vec::new(), found: Vec::new(), outage_since,
            } },
            "options": { "jobs": 1, "mode": "drain" },
            "who": { "user": "u", "host": "h", "pid": 1 },
        } }))
        .unwrap()
    }

    fn begins(task: &str) -> Event {
        Event::AttemptStarted {
            task: TaskKey::from(task),
            attempt: 1,
            in_doubt: false,
        }
    }

    fn ends(task: &str) -> Event {
        serde_json::from_value(serde_json::json!({ "attempt-ended": {
            "task": task, "attempt": 1, "elapsed-ms": 1, "end": { "changed": { "why": "" } },
        } }))
        .unwrap()
    }

    #[test]
    fn a_phase_goes_from_the_first_beginning_to_the_last_end_and_is_counted_from_the_outage() {
        let events = [
            (1_000, started(Timestamp::from_second(400).ok())),
            (1_010, begins("again/wipe[home/attic]")),
            (1_011, begins("again/wipe[home/cellar]")),
            (1_020, begins("1.1/other")),
            (1_030, ends("again/wipe[home/attic]")),
            (1_040, ends("again/wipe[home/cellar]")),
            (1_041, begins("again/criterion-1")),
            (1_042, ends("again/criterion-1")),
            (
                1_043,
                Event::RunEnded {
                    result: RunResult::Done,
                },
            ),
        ];
        let records: Vec<Record<Event>> = events
            .into_iter()
            .enumerate()
            .map(|(at, (second, event))| record(at as u64 + 1, second, event))
            .collect();
        let phases = of(&records).unwrap();
        let names: Vec<&str> = phases
            .phases
            .iter()
            .map(|phase| phase.name.as_str())
            .collect();
        assert_eq!(names, ["wipe", "criteria"]);
        let text = phases.text(false);
        assert!(text.contains("wipe      +10m 10s  30s"), "{text}");
        assert!(text.contains("all done +10m 43s"), "{text}");
        assert_eq!(of(&records[1..]), None);
    }
}
