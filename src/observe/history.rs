//! Runs of the past, from their journals alone: a run can be shown even when the playbook has changed since.
//!
//! Here is what can be told of a run. `history/fold.rs` reads it from a journal, `history/show.rs` puts it into words.

mod fold;
mod show;

pub use fold::fold;
pub use show::{RunLine, json, runs_json, runs_text, status_json, status_text};

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::observe::view::{Counts, failure_word, result_word};
use crate::observe::words::Tone;
use crate::plan::TaskKey;
use crate::run::Failure;
use crate::run::event::{Options, RunResult, Who};
use crate::workspace::RunFolder;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Somebody works on it.
    Running,
    /// The process that worked on it died.
    Interrupted,
    /// Every task is satisfied.
    Done,
    /// A task failed.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

impl Standing {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Done => result_word(RunResult::Done),
            Self::Failed => result_word(RunResult::Failed),
            Self::Stopped => result_word(RunResult::Cancelled),
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Running => Tone::Busy,
            Self::Interrupted | Self::Stopped => Tone::Warn,
            Self::Done => Tone::Good,
            Self::Failed => Tone::Bad,
        }
    }
}

/// Where a task is, as far as the journal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has not started.
    Pending,
    /// An attempt is being made.
    Running,
    /// Nobody knows how its last attempt ended.
    InDoubt,
    /// An attempt failed, and it may be tried again.
    Retry,
    /// It did its work.
    Changed,
    /// Nothing had to be done.
    Unchanged,
    /// Of a criterion: it holds.
    Met,
    /// It did not apply.
    Skipped,
    /// Something that it needs did not succeed.
    Blocked,
    /// It failed.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// A task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TaskSummary {
    /// Its name.
    pub key: String,
    /// Where it is.
    pub status: Status,
    /// How many attempts were made.
    pub attempts: u32,
    /// Why it is there, in a line.
    pub why: String,
    /// How long its attempts took, in milliseconds.
    pub elapsed_ms: u64,
    /// How its last attempt failed, unless it succeeded later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What a person has to do for it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// How much of that time it waited for people, in milliseconds.
    pub waited_ms: u64,
    /// What is known of its last attempt, where nobody knows how that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
}

/// What is known of an attempt that has no end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Doubt {
    /// Which, from 1.
    pub attempt: u32,
    /// When it began.
    pub began: Timestamp,
    /// Who made it: the user, the machine, the process of the runner.
    pub who: Who,
    /// The last process that it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// The command line of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl TaskSummary {
    fn new(key: &TaskKey) -> Self {
        Self {
            key: key.to_string(),
            status: Status::Pending,
            attempts: 0,
            why: String::new(),
            elapsed_ms: 0,
            failure: None,
            waits_for: None,
            waited_ms: 0,
            doubt: None,
        }
    }

    /// The story that it belongs to.
    pub fn story(&self) -> &str {
        self.key.split_once('/').map_or("", |(story, _)| story)
    }

    /// Whether it is an acceptance criterion.
    pub fn is_criterion(&self) -> bool {
        self.key
            .split_once("/criterion-")
            .is_some_and(|(_, number)| {
                let number = number.split('[').next().unwrap_or("");
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    }

    /// How long its attempts took, without waiting for people.
    pub fn worked_ms(&self) -> u64 {
        // A pause that a crash cut off may be longer than what is known of the attempts.
        self.elapsed_ms
            .checked_sub(self.waited_ms)
            .unwrap_or(self.elapsed_ms)
    }

    /// Returns the word for where it is.
    pub fn word(&self) -> &'static str {
        match (self.status, &self.failure) {
            (Status::Pending, _) => "pending",
            (Status::Running, _) => "running",
            (Status::InDoubt, _) => "in doubt",
            (Status::Retry, _) => "retry",
            (Status::Met, _) => "met",
            (Status::Changed, _) => "changed",
            (Status::Unchanged, _) => "unchanged",
            (Status::Skipped | Status::Blocked, _) => "skipped",
            (Status::Failed, Some(failure)) => failure_word(self.is_criterion(), failure),
            (Status::Failed, None) => "failed",
            (Status::Cancelled, _) => "cancelled",
        }
    }

    /// The word by which a criterion is counted: one that could not be reached was not checked.
    pub(crate) fn criterion_word(&self) -> &'static str {
        if self.status == Status::Blocked {
            "not checked"
        } else {
            self.word()
        }
    }

    fn tone(&self) -> Tone {
        match self.status {
            Status::Pending
            | Status::Unchanged
            | Status::Met
            | Status::Skipped
            | Status::Blocked => Tone::Quiet,
            Status::Running => Tone::Busy,
            Status::InDoubt | Status::Retry | Status::Cancelled => Tone::Warn,
            Status::Changed => Tone::Good,
            Status::Failed => Tone::Bad,
        }
    }
}

/// A run, as its journal tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunSummary {
    /// Its name.
    pub run: String,
    /// What was asked for.
    pub goal: String,
    /// How it stands.
    pub standing: Standing,
    /// The program's version that worked on it last.
    pub version: String,
    /// The plan's fingerprint.
    pub plan: String,
    /// When it began.
    pub began: Timestamp,
    /// When something happened last.
    pub last: Timestamp,
    /// Who worked on it last.
    pub who: Who,
    /// How it was asked for.
    pub options: Options,
    /// The lab's words, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<String>,
    /// How often another process went on with it.
    pub resumed: usize,
    /// The signals by which somebody wished to stop it, since it was last resumed.
    pub interrupts: Vec<String>,
    /// How long processes worked on it, in milliseconds.
    pub worked_ms: u64,
    /// How much of that it waited for people.
    pub people_ms: u64,
    /// How many tasks are where.
    pub counts: Counts,
    /// The tasks, in the plan's order.
    pub tasks: Vec<TaskSummary>,
}

impl RunSummary {
    /// Returns the stories that its tasks belong to, in order.
    pub fn stories(&self) -> Vec<&str> {
        let mut stories: Vec<&str> = Vec::new();
        for task in &self.tasks {
            if !stories.contains(&task.story()) {
                stories.push(task.story());
            }
        }
        stories
    }

    /// Returns the tasks of a story.
    pub fn story<'a>(&'a self, story: &'a str) -> impl Iterator<Item = &'a TaskSummary> {
        self.tasks.iter().filter(move |task| task.story() == story)
    }
}

/// The log of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    /// The task.
    pub task: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Where it should be. An attempt that started no process has none.
    pub path: PathBuf,
}

/// Returns the logs of all tasks that a person may mean: the task of this name; else those below it (`1.3`, `1.3/apply`); else those that
/// begin with it. In the plan's order, the attempts of a task in theirs.
pub fn logs(run: &RunSummary, folder: &RunFolder, wanted: &str) -> Vec<Log> {
    let below = |key: &str| {
        key.strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']))
    };
    let begins = |key: &str| key.starts_with(wanted);
    let equal = |key: &str| key == wanted;
    let matchers: [&dyn Fn(&str) -> bool; 3] = [&equal, &below, &begins];
    for matcher in matchers {
        let found: Vec<Log> = run
            .tasks
            .iter()
            .filter(|task| matcher(&task.key))
            .flat_map(|task| {
                (1..=task.attempts).map(|attempt| Log {
                    task: task.key.clone(),
                    attempt,
                    path: folder.log(&task.key, attempt),
                })
            })
            .collect();
        if run.tasks.iter().any(|task| matcher(&task.key)) {
            return found;
        }
    }
    Vec::new()
}
