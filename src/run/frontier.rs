//! What can be decided about next, kept up to date with every change of a state instead of being looked for.
//!
//! A change costs as much as the task has dependents, so a whole run costs as much as its plan has tasks and edges.

use std::collections::BTreeSet;

use crate::plan::{Plan, TaskIx};
use crate::run::TaskState;

#[derive(Debug, Clone)]
pub(super) struct Frontier {
    dependents: Vec<Vec<TaskIx>>,
    tasks: Vec<Counts>,
    ripe: BTreeSet<TaskIx>,
    open: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// How many of its needs are not settled.
    waiting: usize,
    /// How many of its needs are settled in a way that does not satisfy.
    broken: usize,
    standing: Standing,
}

/// What counts of a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Open,
    Running,
    Satisfied,
    Broken,
}

impl Standing {
    fn of(state: &TaskState) -> Self {
        match state {
            TaskState::Pending | TaskState::InDoubt { .. } | TaskState::Backoff { .. } => {
                Self::Open
            }
            TaskState::Running { .. } => Self::Running,
            TaskState::Settled(outcome) if outcome.satisfies() => Self::Satisfied,
            TaskState::Settled(_) => Self::Broken,
        }
    }

    fn is_settled(self) -> bool {
        matches!(self, Self::Satisfied | Self::Broken)
    }
}

impl Frontier {
    /// The frontier of a run of which nothing has happened.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut frontier = Self {
            dependents: vec![Vec::new(); plan.len()],
            tasks: vec![Counts::default(); plan.len()],
            ripe: BTreeSet::new(),
            open: plan.len(),
        };
        for (ix, task) in plan.tasks() {
            for need in &task.needs {
                frontier.dependents[need.index()].push(ix);
            }
            frontier.tasks[ix.index()].waiting = task.needs.len();
        }
        for (ix, _) in plan.tasks() {
            frontier.place(ix);
        }
        frontier
    }

    pub(super) fn ripe(&self) -> &BTreeSet<TaskIx> {
        &self.ripe
    }

    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// Takes in the new state of one task.
    pub(super) fn note(&mut self, ix: TaskIx, state: &TaskState) {
        let is = Standing::of(state);
        let was = std::mem::replace(&mut self.tasks[ix.index()].standing, is);
        if was.is_settled() != is.is_settled() {
            if is.is_settled() {
                self.open -= 1;
            } else {
                self.open += 1;
            }
        }
        self.place(ix);
        if was == is {
            return;
        }
        for at in 0..self.dependents[ix.index()].len() {
            let dependent = self.dependents[ix.index()][at];
            let counts = &mut self.tasks[dependent.index()];
            // Added before taken away, so that no count is ever below zero.
            counts.waiting += usize::from(!is.is_settled());
            counts.waiting -= usize::from(!was.is_settled());
            counts.broken += usize::from(is == Standing::Broken);
            counts.broken -= usize::from(was == Standing::Broken);
            self.place(dependent);
        }
    }

    /// Takes in all states anew.
    pub(super) fn restart(&mut self, states: &[TaskState]) {
        for (at, state) in states.iter().enumerate() {
            self.note(TaskIx(at), state);
        }
    }

    fn place(&mut self, ix: TaskIx) {
        let counts = self.tasks[ix.index()];
        if counts.standing == Standing::Open && (counts.waiting == 0 || counts.broken > 0) {
            self.ripe.insert(ix);
        } else {
            self.ripe.remove(&ix);
        }
    }
}
