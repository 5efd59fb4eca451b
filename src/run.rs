//! One execution: the fold of its events over its plan.
//!
//! A [`Run`] is the only state that changes while the program works, and it changes in one place, [`Run::apply`], whose transitions are
//! all that is legal. What cannot follow is an error: a bug of ours while running, a damaged journal while loading. Running and resuming
//! are the same thing; a resumed run only starts from a fold that is not empty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::plan::{Duty, Plan, TaskIx, TaskKey};

pub mod cited;
pub mod decide;
pub mod event;
mod frontier;
pub mod outcome;
pub mod past;
#[cfg(test)]
pub(crate) mod tests;

pub use decide::{Decision, Limits, Mode, decide};
pub use event::Event;
pub use outcome::{AttemptEnd, Failure, FailureKind, Outcome, OutputValue, SkipReason};
pub use past::{Past, SIGNED};

use frontier::Frontier;

/// Time since this process began to work on the run. Wall-clock time decides nothing.
pub type Elapsed = Duration;

/// Where a task is.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskState {
    /// It has not started.
    Pending,
    /// An attempt is being made.
    Running {
        /// Which, from 1.
        attempt: u32,
        /// Since when.
        since: Elapsed,
    },
    /// An attempt started in a process that died: nobody knows how it ended.
    InDoubt {
        /// Which attempt.
        attempt: u32,
    },
    /// It failed and will be tried again.
    Backoff {
        /// The next attempt.
        next: u32,
        /// Not before this time.
        until: Elapsed,
        /// Why the last attempt failed, in a line.
        why: String,
    },
    /// It is over.
    Settled(Outcome),
}

/// An event that cannot follow what was before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The plan has no such task.
    #[error("the plan has no task {0}")]
    NoSuchTask(TaskKey),
    /// The task is somewhere else.
    #[error("{what} cannot follow for {task}, which is {state}")]
    Transition {
        /// The task.
        task: TaskKey,
        /// The event.
        what: &'static str,
        /// Where the task is.
        state: String,
    },
}

/// One execution of a plan.
#[derive(Debug, Clone)]
pub struct Run {
    states: Vec<TaskState>,
    first_attempt: Vec<Option<Elapsed>>,
    /// Whether nobody knows how an attempt ended. It stays so until an attempt ends well or a person knows: an attempt that fails before
    /// it has asked, or a skip, says nothing about it.
    doubt: Vec<bool>,
    attempts: Vec<u32>,
    /// How many of the attempts do not count against the patience of the step: those of processes before this one.
    earlier: Vec<u32>,
    outputs: Vec<BTreeMap<String, OutputValue>>,
    spent: Vec<Duration>,
    index: BTreeMap<TaskKey, TaskIx>,
    running: BTreeSet<TaskIx>,
    frontier: Frontier,
    cancelled: bool,
    failed: bool,
    ended: bool,
}

impl Run {
    /// A run of which nothing has happened.
    pub fn new(plan: &Plan) -> Self {
        let count = plan.len();
        Self {
            states: vec![TaskState::Pending; count],
            first_attempt: vec![None; count],
            doubt: vec![false; count],
            attempts: vec![0; count],
            earlier: vec![0; count],
            outputs: vec![BTreeMap::new(); count],
            spent: vec![Duration::ZERO; count],
            index: plan
                .tasks()
                .map(|(ix, task)| (task.key.clone(), ix))
                .collect(),
            running: BTreeSet::new(),
            frontier: Frontier::new(plan),
            cancelled: false,
            failed: false,
            ended: false,
        }
    }

    /// Where a task is.
    pub fn state(&self, ix: TaskIx) -> &TaskState {
        &self.states[ix.index()]
    }

    /// How a task ended, if it did.
    pub fn outcome(&self, ix: TaskIx) -> Option<&Outcome> {
        match &self.states[ix.index()] {
            TaskState::Settled(outcome) => Some(outcome),
            TaskState::Pending
            | TaskState::Running { .. }
            | TaskState::InDoubt { .. }
            | TaskState::Backoff { .. } => None,
        }
    }

    /// What a task gave to later ones.
    pub fn outputs(&self, ix: TaskIx) -> &BTreeMap<String, OutputValue> {
        &self.outputs[ix.index()]
    }

    /// Whether an attempt was made of which nobody knows how it ended, so that only the task's question may tell what is to be done.
    pub fn in_doubt(&self, ix: TaskIx) -> bool {
        self.doubt[ix.index()]
    }

    /// How many attempts a task has had.
    pub fn attempts(&self, ix: TaskIx) -> u32 {
        self.attempts[ix.index()]
    }

    /// How long the attempts of a task took.
    pub fn spent(&self, ix: TaskIx) -> Duration {
        self.spent[ix.index()]
    }

    /// The tasks of which an attempt is being made.
    pub fn running(&self) -> &BTreeSet<TaskIx> {
        &self.running
    }

    /// The tasks about which something can be decided, in the plan's order: not settled, not running, and either nothing that they need
    /// is open or something that they need did not succeed.
    pub fn ripe(&self) -> &BTreeSet<TaskIx> {
        self.frontier.ripe()
    }

    /// Whether some task is not settled.
    pub fn is_open(&self) -> bool {
        self.frontier.is_open()
    }

    /// Whether somebody asked to stop.
    pub fn cancelled(&self) -> bool {
        self.cancelled
    }

    /// Whether a task failed for good since the run was started or resumed.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether the run was declared over.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether every task is settled in a way that satisfies.
    pub fn is_done(&self) -> bool {
        self.states
            .iter()
            .all(|state| matches!(state, TaskState::Settled(outcome) if outcome.satisfies()))
    }

    /// Where in the plan a key is.
    pub fn find(&self, key: &TaskKey) -> Option<TaskIx> {
        self.index.get(key).copied()
    }

    /// Takes in what has happened. `now` is the time at which it did, in the clock of this process.
    pub fn apply(&mut self, plan: &Plan, event: &Event, now: Elapsed) -> Result<(), Illegal> {
        match event {
            Event::RunStarted { .. }
            | Event::ProcessStarted { .. }
            | Event::Paused { .. }
            | Event::Continued { .. }
            | Event::Confirmed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::SurvivorEnded { .. } => {}
            Event::RunResumed { .. } => self.resume(),
            Event::RunEnded { .. } => self.ended = true,
            Event::Interrupted { .. } => self.cancelled = true,
            Event::AttemptStarted { task, attempt, .. } => {
                let at = self.locate(task)?;
                let next = self.attempts[at].checked_add(1) == Some(*attempt);
                match &self.states[at] {
                    TaskState::Pending | TaskState::InDoubt { .. } | TaskState::Backoff { .. }
                        if next => {}
                    TaskState::Pending | TaskState::InDoubt { .. } | TaskState::Backoff { .. } => {
                        return Err(self.illegal(task, at, "an attempt with another number"));
                    }
                    TaskState::Running { .. } | TaskState::Settled(_) => {
                        return Err(self.illegal(task, at, "an attempt"));
                    }
                }
                self.first_attempt[at].get_or_insert(now);
                self.attempts[at] = *attempt;
                self.states[at] = TaskState::Running {
                    attempt: *attempt,
                    since: now,
                };
            }
            Event::AttemptEnded {
                task,
                attempt,
                end,
                elapsed_ms,
            } => {
                let at = self.locate(task)?;
                match &self.states[at] {
                    TaskState::Running {
                        attempt: running, ..
                    } if running == attempt => {}
                    TaskState::Running { .. }
                    | TaskState::Pending
                    | TaskState::InDoubt { .. }
                    | TaskState::Backoff { .. }
                    | TaskState::Settled(_) => {
                        return Err(self.illegal(task, at, "the end of an attempt"));
                    }
                }
                self.spent[at] = self.spent[at].saturating_add(Duration::from_millis(*elapsed_ms));
                self.end_attempt(plan, at, *attempt, end, now);
            }
            Event::TaskSkipped { task, reason } => {
                let at = self.locate(task)?;
                match &self.states[at] {
                    TaskState::Pending | TaskState::InDoubt { .. } | TaskState::Backoff { .. } => {}
                    TaskState::Running { .. } | TaskState::Settled(_) => {
                        return Err(self.illegal(task, at, "a skip"));
                    }
                }
                self.states[at] = TaskState::Settled(Outcome::Skipped(reason.clone()));
            }
            Event::Assumed {
                task, done, who, ..
            } => {
                let at = self.locate(task)?;
                let TaskState::InDoubt { .. } = &self.states[at] else {
                    return Err(self.illegal(task, at, "an assumption"));
                };
                self.doubt[at] = false;
                self.states[at] = if *done {
                    TaskState::Settled(Outcome::Unchanged {
                        why: format!("{who} says that the interrupted attempt had done it"),
                    })
                } else {
                    TaskState::Pending
                };
            }
            Event::TaskReopened { task, .. } => {
                let at = self.locate(task)?;
                match &self.states[at] {
                    TaskState::Settled(_) | TaskState::InDoubt { .. } | TaskState::Pending => {}
                    TaskState::Running { .. } | TaskState::Backoff { .. } => {
                        return Err(self.illegal(task, at, "a reopening"));
                    }
                }
                self.states[at] = self.open(at);
                self.outputs[at].clear();
            }
        }
        self.note_progress(event);
        Ok(())
    }

    /// Keeps the two shortcuts that make deciding cheap.
    fn note_progress(&mut self, event: &Event) {
        match event {
            Event::AttemptStarted { task, .. } => {
                self.running.extend(self.find(task));
                self.note_state(task);
            }
            Event::AttemptEnded { task, .. } => {
                if let Some(ix) = self.find(task) {
                    self.running.remove(&ix);
                }
                self.note_state(task);
            }
            Event::RunResumed { .. } => {
                self.running.clear();
                self.frontier.restart(&self.states);
            }
            Event::TaskSkipped { task, .. }
            | Event::TaskReopened { task, .. }
            | Event::Assumed { task, .. } => self.note_state(task),
            Event::RunStarted { .. }
            | Event::SurvivorEnded { .. }
            | Event::ProcessStarted { .. }
            | Event::Confirmed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::Paused { .. }
            | Event::Continued { .. }
            | Event::Interrupted { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    fn note_state(&mut self, task: &TaskKey) {
        if let Some(ix) = self.find(task) {
            self.frontier.note(ix, &self.states[ix.index()]);
        }
    }

    /// A new process goes on: what ran is in doubt, what failed may be tried again, what held still counts.
    fn resume(&mut self) {
        self.cancelled = false;
        self.failed = false;
        self.ended = false;
        for at in 0..self.states.len() {
            match &self.states[at] {
                // An attempt that was cut short by a cancel may have had its effect, too.
                TaskState::Running { .. }
                | TaskState::Settled(Outcome::Cancelled { started: true }) => self.doubt[at] = true,
                TaskState::Settled(_)
                | TaskState::InDoubt { .. }
                | TaskState::Pending
                | TaskState::Backoff { .. } => {}
            }
            let holds =
                matches!(&self.states[at], TaskState::Settled(outcome) if outcome.satisfies());
            if !holds {
                self.states[at] = self.open(at);
            }
            // A run that was killed often has the same patience as one that was not.
            self.first_attempt[at] = None;
            self.earlier[at] = self.attempts[at];
        }
    }

    /// Where a task is that has not ended.
    fn open(&self, at: usize) -> TaskState {
        if self.doubt[at] {
            TaskState::InDoubt {
                attempt: self.attempts[at],
            }
        } else {
            TaskState::Pending
        }
    }

    fn end_attempt(
        &mut self,
        plan: &Plan,
        at: usize,
        attempt: u32,
        end: &AttemptEnd,
        now: Elapsed,
    ) {
        match end {
            AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. } => self.doubt[at] = false,
            AttemptEnd::Failed { failure, .. } => {
                self.doubt[at] |= failure.kind == FailureKind::InDoubt;
            }
            AttemptEnd::Skipped { .. } | AttemptEnd::Cancelled => {}
        }
        self.states[at] = match end {
            AttemptEnd::Changed { outputs, .. } => {
                self.outputs[at].clone_from(outputs);
                TaskState::Settled(Outcome::Changed { why: end.why() })
            }
            AttemptEnd::Unchanged { outputs, .. } => {
                self.outputs[at].clone_from(outputs);
                TaskState::Settled(Outcome::Unchanged { why: end.why() })
            }
            AttemptEnd::Skipped { why } => {
                TaskState::Settled(Outcome::Skipped(SkipReason::Condition { why: why.clone() }))
            }
            AttemptEnd::Cancelled => TaskState::Settled(Outcome::Cancelled { started: true }),
            AttemptEnd::Failed { failure, retry } => {
                if let Some(until) = self.next_attempt(plan, at, attempt, *retry, now) {
                    TaskState::Backoff {
                        next: attempt + 1,
                        until,
                        why: failure.line(),
                    }
                } else {
                    self.failed = true;
                    TaskState::Settled(Outcome::Failed(failure.clone()))
                }
            }
        };
    }

    /// When to try again, if at all.
    fn next_attempt(
        &self,
        plan: &Plan,
        at: usize,
        attempt: u32,
        retry: bool,
        now: Elapsed,
    ) -> Option<Elapsed> {
        if !retry || self.cancelled {
            return None;
        }
        let Duty::Work(body) = &plan.task(TaskIx(at)).duty else {
            return None;
        };
        let policy = body.retry.as_ref()?;
        let made = attempt.saturating_sub(self.earlier[at]);
        if policy.attempts.is_some_and(|most| made >= most) {
            return None;
        }
        let factor = policy
            .backoff
            .powi(i32::try_from(made.saturating_sub(1)).unwrap_or(30).min(30));
        let longest = policy.at_most.max(policy.every);
        // A factor soon grows beyond what a clock can hold.
        let pause = Duration::try_from_secs_f64(policy.every.as_secs_f64() * factor)
            .map_or(longest, |pause| pause.min(longest));
        let until = now.saturating_add(pause);
        let begun = self.first_attempt[at].unwrap_or(now);
        (policy
            .within
            .is_none_or(|within| until.saturating_sub(begun) <= within))
        .then_some(until)
    }

    fn locate(&self, task: &TaskKey) -> Result<usize, Illegal> {
        self.find(task)
            .map(TaskIx::index)
            .ok_or_else(|| Illegal::NoSuchTask(task.clone()))
    }

    fn illegal(&self, task: &TaskKey, at: usize, what: &'static str) -> Illegal {
        let state = match &self.states[at] {
            TaskState::Pending => "pending".to_owned(),
            TaskState::Running { attempt, .. } => format!("in attempt {attempt}"),
            TaskState::InDoubt { attempt } => format!("in doubt since attempt {attempt}"),
            TaskState::Backoff { next, .. } => format!("waiting for attempt {next}"),
            TaskState::Settled(outcome) => format!("settled ({})", outcome.word()),
        };
        Illegal::Transition {
            task: task.clone(),
            what,
            state,
        }
    }
}
