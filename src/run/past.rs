//! What a journal knows besides where each task is: what tasks were made of, which files they wrote, who did what when.
//!
//! A task is compared with what it was made of *when it was last attempted*, not with what the run was last resumed with: a run that is
//! resumed after an edit and dies at once has still done the old work, and the next resume says so again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::plan::{Edit, Fingerprint, Ingredients, MadeOf, Plan, Print, TaskKey};
use crate::run::Event;
use crate::run::event::Who;

/// How a sign-off was given that was given by a command of its own.
pub const SIGNED: &str = "by `bootstrap sign-off`";

/// The last attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub at: Timestamp,
    /// Who made it: the user, the machine, the process of the runner.
    pub who: Who,
    /// The last process that it started: its number and its command line.
    pub process: Option<(u64, String)>,
}

/// A person's name under something that only people can judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Who.
    pub who: String,
    /// When.
    pub at: Timestamp,
    /// What they said.
    pub note: String,
}

/// What a journal knows of its run.
#[derive(Debug, Clone, Default)]
pub struct Past {
    who: Option<Who>,
    order: Vec<TaskKey>,
    planned: BTreeMap<TaskKey, Print>,
    made: BTreeMap<TaskKey, Print>,
    files: BTreeMap<String, (TaskKey, Fingerprint)>,
    attempts: BTreeMap<TaskKey, Attempted>,
    /// Attempts at what was in doubt, which have started nothing yet: what is in doubt is the one before.
    asking: BTreeMap<TaskKey, Attempted>,
    signed: BTreeMap<TaskKey, Signed>,
}

impl Past {
    /// The past of these events, each with its time.
    pub fn of<'e>(events: impl IntoIterator<Item = (&'e Event, Timestamp)>) -> Self {
        let mut past = Self::default();
        for (event, at) in events {
            past.event(event, at);
        }
        past
    }

    /// Takes an event in.
    pub fn event(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::RunStarted {
                tasks,
                made_of,
                who,
                ..
            } => {
                self.who = Some(who.clone());
                self.plan(tasks, made_of);
            }
            Event::RunResumed {
                tasks,
                made_of,
                who,
                ..
            } => {
                self.who = Some(who.clone());
                if !tasks.is_empty() {
                    self.plan(tasks, made_of);
                }
            }
            Event::AttemptStarted {
                task,
                attempt,
                in_doubt,
            } => {
                self.begin(task);
                if let Some(who) = &self.who {
                    let attempted = Attempted {
                        attempt: *attempt,
                        at,
                        who: who.clone(),
                        process: None,
                    };
                    if *in_doubt && self.attempts.contains_key(task) {
                        self.asking.insert(task.clone(), attempted);
                    } else {
                        self.asking.remove(task);
                        self.attempts.insert(task.clone(), attempted);
                    }
                }
            }
            Event::TaskSkipped { task, .. } => self.begin(task),
            Event::ProcessStarted {
                task,
                identity,
                command,
                ..
            } => {
                if let Some(acts) = self.asking.remove(task) {
                    self.attempts.insert(task.clone(), acts);
                }
                if let Some(attempted) = self.attempts.get_mut(task) {
                    let pid = identity.get("pid").and_then(serde_json::Value::as_u64);
                    attempted.process = Some((pid.unwrap_or(0), command.clone()));
                }
            }
            Event::Accepted { tasks, made_of, .. } => {
                self.made.extend(prints(tasks, made_of));
            }
            Event::FileWritten {
                task,
                file,
                fingerprint,
                ..
            } => {
                self.files
                    .insert(file.clone(), (task.clone(), fingerprint.clone()));
            }
            Event::Confirmed {
                task,
                who,
                note: Some(note),
                ..
            } => {
                let signed = Signed {
                    who: who.clone(),
                    at,
                    note: note.clone(),
                };
                self.signed.insert(task.clone(), signed);
            }
            Event::Confirmed { note: None, .. }
            | Event::SurvivorEnded { .. }
            | Event::AttemptEnded { .. }
            | Event::TaskReopened { .. }
            | Event::Assumed { .. }
            | Event::Paused { .. }
            | Event::Continued { .. }
            | Event::Interrupted { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    fn plan(&mut self, tasks: &[(TaskKey, Fingerprint)], made_of: &Ingredients) {
        self.order = tasks.iter().map(|(key, _)| key.clone()).collect();
        self.planned = prints(tasks, made_of).collect();
    }

    fn begin(&mut self, task: &TaskKey) {
        if let Some(print) = self.planned.get(task) {
            self.made.insert(task.clone(), print.clone());
        }
    }

    /// Whether the run was last planned with just these tasks.
    pub fn planned_as(&self, tasks: &[(TaskKey, Fingerprint)], made_of: &Ingredients) -> bool {
        self.order.len() == tasks.len()
            && prints(tasks, made_of).all(|(key, print)| self.planned.get(&key) == Some(&print))
    }

    /// What became of each task since it was done, where that is not *the same*; in the order of the plan, then what is removed.
    pub fn edits(&self, plan: &Plan, now: &[MadeOf]) -> Vec<(TaskKey, Edit)> {
        let mut edits = Vec::new();
        for ((_, task), made) in plan.tasks().zip(now) {
            let then = self
                .made
                .get(&task.key)
                .or_else(|| self.planned.get(&task.key));
            let edit = then.map_or(Edit::New, |then| Edit::between(then, made, &task.key));
            if edit != Edit::Same {
                edits.push((task.key.clone(), edit));
            }
        }
        let there: BTreeSet<&TaskKey> = plan.tasks().map(|(_, task)| &task.key).collect();
        let gone = self.order.iter().filter(|key| !there.contains(key));
        edits.extend(gone.map(|key| (key.clone(), Edit::Removed)));
        edits
    }

    /// The files that were written, each with the task that wrote it last, and what it wrote.
    pub fn files(&self) -> impl Iterator<Item = (&str, &TaskKey, &Fingerprint)> {
        self.files
            .iter()
            .map(|(file, (task, fingerprint))| (file.as_str(), task, fingerprint))
    }

    /// The last attempt at each task that may have done something: one that only asked whether an earlier one had is none.
    pub fn attempts(&self) -> &BTreeMap<TaskKey, Attempted> {
        &self.attempts
    }

    /// What people signed off.
    pub fn signed(&self) -> &BTreeMap<TaskKey, Signed> {
        &self.signed
    }
}

fn prints<'a>(
    tasks: &'a [(TaskKey, Fingerprint)],
    made_of: &'a Ingredients,
) -> impl Iterator<Item = (TaskKey, Print)> + 'a {
    tasks.iter().enumerate().map(|(at, (key, fingerprint))| {
        let print = Print {
            fingerprint: fingerprint.clone(),
            parts: made_of.at(at),
        };
        (key.clone(), print)
    })
}
