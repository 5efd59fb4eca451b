//! How attempts and tasks end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::TaskKey;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum AttemptEnd {
    /// It did its work.
    Changed {
        /// What, in a line.
        why: String,
        /// What later steps may read.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, OutputValue>,
    },
    /// There was nothing to do, or it only read.
    Unchanged {
        /// Why, in a line.
        why: String,
        /// What later steps may read.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        outputs: BTreeMap<String, OutputValue>,
    },
    /// Its `when` does not hold.
    Skipped {
        /// Why.
        why: String,
    },
    /// It failed.
    Failed {
        /// How.
        failure: Failure,
        /// Whether trying again may help.
        retry: bool,
    },
    /// It was cut short.
    Cancelled,
}

impl AttemptEnd {
    /// The reason in a line.
    pub fn why(&self) -> String {
        match self {
            Self::Changed { why, .. } | Self::Unchanged { why, .. } | Self::Skipped { why } => {
                why.clone()
            }
            Self::Failed { failure, .. } => failure.line(),
            Self::Cancelled => "cancelled".into(),
        }
    }
}

/// A captured output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputValue {
    /// In the open.
    Value(serde_json::Value),
    /// It is there, and it is secret: it is fetched anew when it is needed after a resume.
    Secret,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Outcome {
    /// It did its work.
    Changed {
        /// What.
        why: String,
    },
    /// Nothing had to be done.
    Unchanged {
        /// Why.
        why: String,
    },
    /// It did not run.
    Skipped(SkipReason),
    /// It failed.
    Failed(Failure),
    /// It was stopped.
    Cancelled {
        /// Whether an attempt had started.
        started: bool,
    },
}

impl Outcome {
    /// Whether tasks that need this one may go.
    pub fn satisfies(&self) -> bool {
        match self {
            Self::Changed { .. }
            | Self::Unchanged { .. }
            | Self::Skipped(SkipReason::Condition { .. }) => true,
            Self::Skipped(SkipReason::Need { .. }) | Self::Failed(_) | Self::Cancelled { .. } => {
                false
            }
        }
    }

    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Changed { .. } => "changed",
            Self::Unchanged { .. } => "unchanged",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The reason in a line.
    pub fn why(&self) -> String {
        match self {
            Self::Changed { why } | Self::Unchanged { why } => why.clone(),
            Self::Skipped(reason) => reason.why(),
            Self::Failed(failure) => failure.line(),
            Self::Cancelled { .. } => "cancelled".into(),
        }
    }
}

/// Why a task did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum SkipReason {
    /// Its `when` does not hold.
    Condition {
        /// The condition.
        why: String,
    },
    /// Something that it needs did not succeed.
    Need {
        /// That task.
        task: TaskKey,
    },
}

impl SkipReason {
    /// The reason in a line.
    pub fn why(&self) -> String {
        match self {
            Self::Condition { why } => why.clone(),
            Self::Need { task } => format!("{task} did not succeed"),
        }
    }
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A command ended with an error.
    Command,
    /// A command took too long.
    Timeout,
    /// The effect did not arrive in time.
    Until,
    /// A question could not be answered.
    Unknown,
    /// A guard refused.
    Refused,
    /// An acceptance criterion is not met.
    Criterion,
    /// A confirmation was not given.
    Unconfirmed,
    /// Nobody knows whether an earlier attempt had its effect, and no probe can tell.
    InDoubt,
    /// A secret could not be had.
    Secret,
    /// A template or condition could not be evaluated.
    Template,
    /// A file could not be written, or a program not started.
    System,
}

/// How something failed: all that a person needs to see, masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// One sentence.
    pub message: String,
    /// The command line, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How it ended: `exit 1`, `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The last lines that it printed. Not in a journal: the log of the attempt has them (journals once had them too).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a sentence only.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            command: None,
            status: None,
            last_lines: Vec::new(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The reason in a line.
    pub fn line(&self) -> String {
        match (&self.status, self.last_lines.last()) {
            (Some(status), Some(last)) => format!("{} ({status}): {last}", self.message),
            (Some(status), None) => format!("{} ({status})", self.message),
            (None, _) => self.message.clone(),
        }
    }
}
