//! What to do next: a pure function of the plan, the run and the time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, TaskIx};
use crate::run::outcome::SkipReason;
use crate::run::{Elapsed, Run, TaskState};

/// What happens to the rest when a task fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What runs may end, nothing new starts.
    #[default]
    Drain,
    /// What does not depend on it goes on.
    KeepGoing,
    /// What runs is stopped at once.
    FailFast,
}

/// How much may happen at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tasks at once.
    pub jobs: usize,
    /// What happens to the rest when a task fails.
    pub mode: Mode,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Make an attempt.
    Start {
        /// At this task.
        task: TaskIx,
        /// Which attempt.
        attempt: u32,
        /// Whether an earlier one is in doubt.
        in_doubt: bool,
    },
    /// Settle a task without running it.
    Skip {
        /// This one.
        task: TaskIx,
        /// Why.
        reason: SkipReason,
    },
    /// Stop everything that runs.
    Stop,
    /// Nothing to do before this time, unless something ends.
    Sleep(Elapsed),
    /// It is over.
    Finish,
}

/// What to do next. Deterministic: the same run gives the same decisions, in the plan's order.
pub fn decide(plan: &Plan, run: &Run, now: Elapsed, limits: Limits) -> Vec<Decision> {
    let mut decisions = Vec::new();
    let mut running = run.running().len();
    let mut held: BTreeSet<&str> = run
        .running()
        .iter()
        .flat_map(|&ix| plan.task(ix).locks.iter().map(String::as_str))
        .collect();
    let stopping = run.cancelled() || (run.failed() && limits.mode != Mode::KeepGoing);
    if run.failed() && limits.mode == Mode::FailFast && running > 0 {
        decisions.push(Decision::Stop);
    }
    let mut wake: Option<Elapsed> = None;
    // Only what is ripe is looked at: a long chain must not be walked along at each of its events.
    for &ix in run.ripe() {
        if stopping || running >= limits.jobs {
            // Nothing more can start; what has to be skipped is skipped when there is room again.
            break;
        }
        let task = plan.task(ix);
        let (attempt, in_doubt, due) = match run.state(ix) {
            TaskState::Settled(_) | TaskState::Running { .. } => continue,
            TaskState::Pending => (run.attempts(ix) + 1, false, None),
            TaskState::InDoubt { attempt } => (attempt + 1, true, None),
            TaskState::Backoff { next, until, .. } => (*next, run.in_doubt(ix), Some(*until)),
        };
        let failed_need = task
            .needs
            .iter()
            .copied()
            .find(|&need| run.outcome(need).is_some_and(|how| !how.satisfies()));
        if let Some(need) = failed_need {
            decisions.push(Decision::Skip {
                task: ix,
                reason: SkipReason::Need {
                    task: plan.task(need).key.clone(),
                },
            });
            continue;
        }
        if let Some(until) = due
            && until > now
        {
            wake = Some(wake.map_or(until, |earlier| earlier.min(until)));
            continue;
        }
        let free = !task.locks.iter().any(|lock| held.contains(lock.as_str()));
        if free {
            running += 1;
            held.extend(task.locks.iter().map(String::as_str));
            decisions.push(Decision::Start {
                task: ix,
                attempt,
                in_doubt,
            });
        }
    }
    let acts = decisions
        .iter()
        .any(|decision| matches!(decision, Decision::Start { .. } | Decision::Skip { .. }));
    if !acts && running == 0 && (stopping || !run.is_open()) {
        decisions.push(Decision::Finish);
    } else if !acts && let Some(until) = wake {
        decisions.push(Decision::Sleep(until));
    }
    decisions
}
