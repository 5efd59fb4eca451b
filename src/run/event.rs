//! The durable vocabulary: every fact of a run that outlives the process. And [`Note`], which does not.

use serde::{Deserialize, Serialize};

use crate::plan::{Fingerprint, Ingredients, Selection, TaskKey};
use crate::run::outcome::{AttemptEnd, SkipReason};

/// A durable fact. A journal is a list of these; new kinds may be added, old ones never change their meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// A run begins.
    RunStarted {
        /// What this is.
        run: String,
        /// The program's version.
        version: String,
        /// What was asked for.
        selection: Selection,
        /// How.
        options: Options,
        /// The plan's fingerprint.
        plan: Fingerprint,
        /// Every task with its fingerprint, in the plan's order.
        tasks: Vec<(TaskKey, Fingerprint)>,
        /// What each of these tasks is made of. Journals from before this was kept have none.
        #[serde(default, skip_serializing_if = "Ingredients::is_empty")]
        made_of: Ingredients,
        /// Who runs it.
        who: Who,
        /// The lab's words, if this is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rehearsal: Option<String>,
    },
    /// Another process goes on with it.
    RunResumed {
        /// The program's version.
        version: String,
        /// The plan's fingerprint now.
        plan: Fingerprint,
        /// Every task with its fingerprint, where the plan is not the one of before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tasks: Vec<(TaskKey, Fingerprint)>,
        /// What each of these tasks is made of.
        #[serde(default, skip_serializing_if = "Ingredients::is_empty")]
        made_of: Ingredients,
        /// Who runs it.
        who: Who,
    },
    /// A process of the dead runner was still there and was ended.
    SurvivorEnded {
        /// Its number.
        pid: u32,
        /// What it was.
        command: String,
    },
    /// An attempt is about to be made. Durable before any process of it exists.
    AttemptStarted {
        /// Of this task.
        task: TaskKey,
        /// From 1.
        attempt: u32,
        /// Whether an earlier attempt is in doubt.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_doubt: bool,
    },
    /// A process was started for an action.
    ProcessStarted {
        /// For this task.
        task: TaskKey,
        /// For this attempt.
        attempt: u32,
        /// Which process.
        identity: serde_json::Value,
        /// Its command line, masked.
        command: String,
    },
    /// An attempt is over. Durable before anything that depends on it starts.
    AttemptEnded {
        /// Of this task.
        task: TaskKey,
        /// Which attempt.
        attempt: u32,
        /// How.
        end: AttemptEnd,
        /// How long it took, in milliseconds.
        elapsed_ms: u64,
    },
    /// A task will not run.
    TaskSkipped {
        /// This one.
        task: TaskKey,
        /// Why.
        reason: SkipReason,
    },
    /// A task that was settled is open again.
    TaskReopened {
        /// This one.
        task: TaskKey,
        /// Why.
        why: String,
    },
    /// A person said how an attempt in doubt had ended, because no probe could tell.
    Assumed {
        /// Of this task.
        task: TaskKey,
        /// Whether its effect is there.
        done: bool,
        /// Who said so.
        who: String,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A person said that what was done before an edit counts as done after it.
    Accepted {
        /// These tasks, with their fingerprints after the edit.
        tasks: Vec<(TaskKey, Fingerprint)>,
        /// What each of them is made of now.
        made_of: Ingredients,
        /// Who said so.
        who: String,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A task has written a file, or found it as it would have written it.
    FileWritten {
        /// This task.
        task: TaskKey,
        /// In this attempt.
        attempt: u32,
        /// The file, below the project.
        file: String,
        /// Of what is in it, made with the workspace's key: the file may hold secrets.
        fingerprint: Fingerprint,
    },
    /// A person agreed to something, or signed it off.
    Confirmed {
        /// For this task.
        task: TaskKey,
        /// Who.
        who: String,
        /// How: at the terminal, or by an option.
        how: String,
        /// What they said besides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// The run waits for a person.
    Paused {
        /// For this task.
        task: TaskKey,
        /// What the person has to do.
        say: String,
    },
    /// The person has done it.
    Continued {
        /// For this task.
        task: TaskKey,
        /// How long the pause was, in milliseconds.
        paused_ms: u64,
    },
    /// Somebody asked to stop.
    Interrupted {
        /// By which signal.
        signal: String,
    },
    /// The run is over for this process.
    RunEnded {
        /// How.
        result: RunResult,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// Every task is satisfied.
    Done,
    /// A task failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// Who runs something, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Who {
    /// The user's name.
    pub user: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
}

/// How a run was asked for: what `resume` goes on with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Options {
    /// How many tasks at once.
    pub jobs: usize,
    /// What happens to the rest when a task fails.
    pub mode: crate::run::Mode,
    /// Ordinary confirmations were given in advance.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yes: bool,
    /// Words typed in advance for destructive confirmations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirm: Vec<String>,
    /// How much of what was asked for is meant.
    #[serde(default)]
    pub extent: crate::plan::Extent,
    /// A file that stands in for every provider of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_file: Option<std::path::PathBuf>,
}

/// Something to show and forget: never journaled, may be dropped, decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A line that a process printed, masked.
    Line(String),
    /// A wait: what was last seen, and how long it may still take.
    Waiting {
        /// What it waits for, and what was seen.
        seen: String,
        /// Milliseconds so far.
        elapsed_ms: u64,
        /// Milliseconds at most.
        within_ms: u64,
    },
    /// What is being done, in a word or two.
    Doing(String),
}
