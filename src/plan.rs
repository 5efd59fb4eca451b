//! What is going to happen: every task of a run, in order, with its needs and its fingerprint.
//!
//! *The file says steps, the plan does tasks*: a step that iterates over nodes becomes one task a node. Making a plan is pure: it starts no
//! process, asks no clock and writes nothing, and the same files give the same plan, byte for byte. `plan` and `run` use this one planner,
//! so nothing runs that `plan` did not show.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::document::Span;
use crate::kind::Field;
use crate::playbook::{Argument, Body, Effect, Judge};
use crate::template::Scope;

pub mod bind;
mod check;
mod expand;
pub mod fingerprint;
mod graph;
mod rebuild;
mod select;
mod unit;
mod visit;

pub use expand::{further_problems, make};
pub use fingerprint::{Edit, Ingredients, MadeOf, Print};
pub use rebuild::{Rebuilding, chosen, questions};
pub use select::{Chosen, Extent, Found, Selection};

/// Which task of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIx(pub(crate) usize);

impl TaskIx {
    /// Its place in the plan, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A task's name: stable between runs, and what people type. `1.3/apply[infra/infra-01]`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TaskKey(String);

impl TaskKey {
    /// Makes a key of its parts; `item` is empty for a step without iteration.
    pub fn new(story: &str, step: &str, item: &str) -> Self {
        if item.is_empty() {
            Self(format!("{story}/{step}"))
        } else {
            Self(format!("{story}/{step}[{item}]"))
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TaskKey {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which element of which iteration a task is for: names of axes with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item(pub(crate) Vec<(String, String)>);

impl Item {
    /// The values, joined: what stands in brackets in a key.
    pub fn text(&self) -> String {
        self.0
            .iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join("/")
    }

    /// The cluster that it is for, if it is for one.
    pub fn cluster(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|(axis, _)| axis == "cluster")
            .map(|(_, name)| name.as_str())
    }

    /// Whether two items agree on every axis that both have: how `needs` joins.
    pub fn agrees(&self, other: &Self) -> bool {
        self.0.iter().all(|(axis, value)| {
            other
                .0
                .iter()
                .all(|(theirs, their)| theirs != axis || their == value)
        })
    }
}

/// A claim about content: equal fingerprints, equal work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// One that was kept: a journal's, or that of a file.
    pub fn kept(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A fingerprint of parts.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"bootstrap fingerprint 2");
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.finalize().to_hex()[..16].to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a task is.
#[derive(Debug, Clone)]
pub enum Duty {
    /// A step's work.
    Work(Arc<Body>),
    /// An acceptance criterion: its number in the story, and how it is judged.
    Criterion {
        /// From 1.
        number: usize,
        /// How it is judged.
        judge: Arc<Judge>,
    },
}

/// One step for one item: a node of the plan.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name.
    pub key: TaskKey,
    /// The story that it belongs to.
    pub story: String,
    /// The step that it is of.
    pub step: String,
    /// What it is for.
    pub item: Item,
    /// One line for people.
    pub title: String,
    /// What it does.
    pub duty: Duty,
    /// What a repetition would do.
    pub effect: Effect,
    /// Tasks that come before, in order.
    pub needs: Vec<TaskIx>,
    /// Names of locks that it holds while it works.
    pub locks: Vec<String>,
    /// Values for task parameters.
    pub arguments: Arc<[Argument]>,
    /// The parameters.
    pub parameters: Arc<[Field]>,
    /// The names that are known before anything runs, the parameters among them.
    pub scope: Scope,
    /// The names that its arguments may use: those of the step, without the parameters.
    pub given_in: Scope,
    /// What its work is made of, in one.
    pub fingerprint: Fingerprint,
    /// What its work is made of, in parts that can be named.
    pub made_of: MadeOf,
    /// Ancestors with outputs: step id, and the tasks to read from.
    pub sources: Vec<(String, Vec<TaskIx>)>,
    /// Where the step stands.
    pub span: Span,
}

/// All tasks of a run, in an order in which needs come first.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was asked for, in words.
    pub goal: String,
    /// The stories in it, in order: id and title.
    pub stories: Vec<(String, String)>,
    pub(crate) tasks: Vec<Task>,
}

impl Plan {
    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// A task.
    pub fn task(&self, ix: TaskIx) -> &Task {
        &self.tasks[ix.0]
    }

    /// All tasks with their places.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskIx, &Task)> {
        self.tasks
            .iter()
            .enumerate()
            .map(|(at, task)| (TaskIx(at), task))
    }

    /// A task by its name.
    pub fn find(&self, key: &TaskKey) -> Option<TaskIx> {
        self.tasks
            .iter()
            .position(|task| task.key == *key)
            .map(TaskIx)
    }

    /// A fingerprint of the whole plan.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut parts: Vec<&str> = Vec::with_capacity(self.tasks.len() * 2);
        for task in &self.tasks {
            parts.push(task.key.as_str());
            parts.push(task.fingerprint.as_str());
        }
        Fingerprint::of(&parts)
    }
}
