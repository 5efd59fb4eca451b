//! From a journal to what it tells: every event changes what is known of its task, and the end of it all decides what an open one is.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Doubt, RunSummary, Standing, Status, TaskSummary};
use crate::journal::Record;
use crate::observe::view::{Counts, People, assumed, why_open};
use crate::observe::words::clean;
use crate::plan::TaskKey;
use crate::run::event::RunResult;
use crate::run::{AttemptEnd, Event, FailureKind, Past, SIGNED, SkipReason};

/// Returns what a journal tells, or nothing if it does not begin as one of a run. `held` is whether somebody works on the run now.
pub fn fold(records: &[Record<Event>], held: bool) -> Option<RunSummary> {
    let first = records.first()?;
    let Event::RunStarted {
        run,
        version,
        selection,
        options,
        plan,
        tasks,
        who,
        rehearsal,
        ..
    } = &first.event
    else {
        return None;
    };
    let mut fold = Fold {
        tasks: tasks.iter().map(|(key, _)| TaskSummary::new(key)).collect(),
        index: tasks
            .iter()
            .enumerate()
            .map(|(at, (key, _))| (key.to_string(), at))
            .collect(),
        result: None,
    };
    let mut summary = RunSummary {
        run: run.clone(),
        goal: selection.words(),
        standing: Standing::Running,
        version: version.clone(),
        plan: plan.as_str().to_owned(),
        began: first.at,
        last: first.at,
        who: who.clone(),
        options: options.clone(),
        rehearsal: rehearsal.clone(),
        resumed: 0,
        interrupts: Vec::new(),
        worked_ms: 0,
        people_ms: 0,
        counts: Counts::default(),
        tasks: Vec::new(),
    };
    let mut people = People::default();
    let mut before = first.at;
    for record in records {
        if let Event::RunResumed {
            version, plan, who, ..
        } = &record.event
        {
            summary.version.clone_from(version);
            plan.as_str().clone_into(&mut summary.plan);
            summary.who = who.clone();
            summary.resumed += 1;
            summary.interrupts.clear();
        } else if !said_between(&record.event) {
            summary.worked_ms += millis(before, record.at);
        }
        if let Event::Interrupted { signal } = &record.event {
            summary.interrupts.push(signal.clone());
        }
        people.event(
            &record.event,
            Duration::from_millis(millis(first.at, record.at)),
        );
        fold.event(&record.event);
        before = record.at;
    }
    summary.last = before;
    summary.people_ms = u64::try_from(people.total().as_millis()).unwrap_or(u64::MAX);
    summary.standing = match fold.result {
        Some(RunResult::Done) => Standing::Done,
        Some(RunResult::Failed) => Standing::Failed,
        Some(RunResult::Cancelled) => Standing::Stopped,
        None if held => Standing::Running,
        None => Standing::Interrupted,
    };
    if summary.standing == Standing::Interrupted {
        for task in &mut fold.tasks {
            task.lose();
        }
    }
    let past = Past::of(records.iter().map(|record| (&record.event, record.at)));
    for task in &mut fold.tasks {
        if task.status == Status::InDoubt
            && let Some(last) = past.attempts().get(&TaskKey::from(task.key.as_str()))
        {
            task.doubt = Some(Doubt {
                attempt: last.attempt,
                began: last.at,
                who: last.who.clone(),
                pid: last.process.as_ref().map(|(pid, _)| *pid),
                command: last.process.as_ref().map(|(_, command)| clean(command)),
            });
        }
    }
    let failed = fold.tasks.iter().find(|task| task.status == Status::Failed);
    let failed = failed.map(|task| task.key.clone());
    for task in &mut fold.tasks {
        if task.why.is_empty() {
            let attempt = (task.status == Status::Running).then_some(task.attempts);
            task.why = why_open(attempt, summary.standing, failed.as_deref());
        }
    }
    summary.tasks = fold.tasks;
    summary.counts = counts(&summary.tasks);
    Some(summary)
}

/// Whether an event was said by a command of its own, while nobody worked on the run.
fn said_between(event: &Event) -> bool {
    match event {
        Event::Accepted { .. } => true,
        Event::Confirmed { how, .. } => how == SIGNED,
        _ => false,
    }
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    // A clock that was set back gives nothing rather than something wrong.
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

fn counts(tasks: &[TaskSummary]) -> Counts {
    let mut counts = Counts {
        total: tasks.len(),
        ..Counts::default()
    };
    for task in tasks {
        match task.status {
            Status::Pending => counts.pending += 1,
            Status::Running => counts.running += 1,
            Status::InDoubt => counts.in_doubt += 1,
            Status::Retry => counts.retry += 1,
            Status::Changed => counts.changed += 1,
            Status::Unchanged | Status::Met => counts.unchanged += 1,
            Status::Skipped | Status::Blocked => counts.skipped += 1,
            Status::Failed => counts.failed += 1,
            Status::Cancelled => counts.cancelled += 1,
        }
        counts.done += usize::from(matches!(
            task.status,
            Status::Changed | Status::Unchanged | Status::Met | Status::Skipped
        ));
    }
    counts
}

struct Fold {
    tasks: Vec<TaskSummary>,
    index: BTreeMap<String, usize>,
    result: Option<RunResult>,
}

impl Fold {
    /// A task of which the start of the run knew nothing came with a later plan.
    fn task(&mut self, key: &TaskKey) -> &mut TaskSummary {
        let next = self.tasks.len();
        let at = *self.index.entry(key.to_string()).or_insert(next);
        if at == next {
            self.tasks.push(TaskSummary::new(key));
        }
        &mut self.tasks[at]
    }

    /// The run goes on with another plan: its tasks, in its order, with what is known of them.
    fn replan<'k>(&mut self, keys: impl Iterator<Item = &'k TaskKey>) {
        let mut known: BTreeMap<String, TaskSummary> = std::mem::take(&mut self.tasks)
            .into_iter()
            .map(|task| (task.key.clone(), task))
            .collect();
        self.index.clear();
        for key in keys {
            self.index.insert(key.to_string(), self.tasks.len());
            let task = known
                .remove(key.as_str())
                .unwrap_or_else(|| TaskSummary::new(key));
            self.tasks.push(task);
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::RunResumed { tasks, .. } => {
                self.result = None;
                if !tasks.is_empty() {
                    self.replan(tasks.iter().map(|(key, _)| key));
                }
                for task in &mut self.tasks {
                    task.resume();
                }
            }
            Event::AttemptStarted { task, attempt, .. } => {
                let task = self.task(task);
                task.status = Status::Running;
                task.attempts = *attempt;
                task.why.clear();
            }
            Event::AttemptEnded {
                task,
                end,
                elapsed_ms,
                ..
            } => {
                let task = self.task(task);
                task.elapsed_ms += elapsed_ms;
                task.waits_for = None;
                task.end(end);
            }
            Event::TaskSkipped { task, reason } => {
                let task = self.task(task);
                task.status = match reason {
                    SkipReason::Condition { .. } => Status::Skipped,
                    SkipReason::Need { .. } => Status::Blocked,
                };
                task.why = clean(&reason.why());
            }
            Event::Assumed {
                task,
                done,
                who,
                why,
            } => {
                let task = self.task(task);
                task.status = if *done {
                    Status::Unchanged
                } else {
                    Status::Pending
                };
                task.why = clean(&assumed(*done, who, why.as_deref()));
            }
            Event::TaskReopened { task, why } => {
                let task = self.task(task);
                task.status = Status::Pending;
                task.why = clean(why);
                task.failure = None;
            }
            Event::Paused { task, say } => self.task(task).waits_for = Some(clean(say)),
            Event::Continued { task, paused_ms } => {
                let task = self.task(task);
                task.waits_for = None;
                task.waited_ms += paused_ms;
            }
            Event::RunEnded { result } => {
                self.result = Some(*result);
                for task in &mut self.tasks {
                    if task.status == Status::Retry {
                        // It is not tried again any more.
                        task.status = Status::Failed;
                    }
                }
            }
            Event::RunStarted { .. }
            | Event::SurvivorEnded { .. }
            | Event::ProcessStarted { .. }
            | Event::Confirmed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::Interrupted { .. } => {}
        }
    }
}

impl TaskSummary {
    fn end(&mut self, end: &AttemptEnd) {
        self.why = clean(&end.why());
        self.failure = None;
        self.status = match end {
            AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. } if self.is_criterion() => {
                Status::Met
            }
            AttemptEnd::Changed { .. } => Status::Changed,
            AttemptEnd::Unchanged { .. } => Status::Unchanged,
            AttemptEnd::Skipped { .. } => Status::Skipped,
            AttemptEnd::Cancelled => Status::Cancelled,
            AttemptEnd::Failed { failure, retry } => {
                self.failure = Some(failure.clone());
                if *retry {
                    Status::Retry
                } else {
                    Status::Failed
                }
            }
        };
    }

    /// The process that worked on it is gone.
    fn lose(&mut self) {
        self.waits_for = None;
        match self.status {
            Status::Running => self.doubt(),
            Status::Retry => self.status = Status::Failed,
            Status::Pending
            | Status::InDoubt
            | Status::Changed
            | Status::Unchanged
            | Status::Met
            | Status::Skipped
            | Status::Blocked
            | Status::Failed
            | Status::Cancelled => {}
        }
    }

    /// Another process goes on.
    fn resume(&mut self) {
        self.lose();
        let in_doubt = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.kind == FailureKind::InDoubt);
        match self.status {
            Status::Cancelled => self.doubt(),
            Status::Failed if in_doubt => self.doubt(),
            Status::Failed | Status::Blocked => {
                self.status = Status::Pending;
                self.why.clear();
            }
            Status::Pending
            | Status::Running
            | Status::InDoubt
            | Status::Retry
            | Status::Changed
            | Status::Unchanged
            | Status::Met
            | Status::Skipped => {}
        }
    }

    fn doubt(&mut self) {
        self.status = Status::InDoubt;
        self.why = format!(
            "attempt {} may have had its effect; its probe decides",
            self.attempts
        );
    }
}
