//! How to say it: rows and sentences of a plan and its run. Pure.
//!
//! One state has one word, everywhere: `pending`, `running`, `retry`, `in doubt`; `changed`, `unchanged`, `skipped`, `failed`, `cancelled`; an
//! acceptance criterion is `met`, `unmet` or, where it could not be asked, `unknown`, which is never the same as unmet.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::observe::history::Standing;
use crate::observe::words::{Table, Tone, clean, command, count, duration, limit, paint};
use crate::plan::{Duty, Plan, Task, TaskIx};
use crate::run::event::{Note, RunResult};
use crate::run::{AttemptEnd, Elapsed, Event, Failure, FailureKind, Outcome, Run, TaskState};
use crate::workspace::RunFolder;

/// A task as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What colour may repeat.
    pub tone: Tone,
    /// Its state in a word.
    pub word: &'static str,
    /// Its name.
    pub key: String,
    /// What it is.
    pub title: String,
    /// Why it is in this state, in a line.
    pub why: String,
    /// How long its attempts have taken, if there was one.
    pub took: Option<Duration>,
}

/// Returns how a task stands.
pub fn row(plan: &Plan, run: &Run, ix: TaskIx, at: Elapsed) -> Row {
    let task = plan.task(ix);
    let state = run.state(ix);
    let (tone, word) = match state {
        // It is not tried again any more.
        TaskState::Backoff { .. } if run.ended() => (Tone::Bad, "failed"),
        state => word(task, state),
    };
    let took = match state {
        TaskState::Running { since, .. } => {
            Some(run.spent(ix).saturating_add(at.saturating_sub(*since)))
        }
        TaskState::Pending
        | TaskState::InDoubt { .. }
        | TaskState::Backoff { .. }
        | TaskState::Settled(_) => (run.attempts(ix) > 0).then(|| run.spent(ix)),
    };
    Row {
        tone,
        word,
        key: task.key.to_string(),
        title: clean(&task.title),
        why: clean(&why(plan, run, ix, at)),
        took,
    }
}

/// Returns the word for a state of a task.
pub fn word(task: &Task, state: &TaskState) -> (Tone, &'static str) {
    match state {
        TaskState::Pending => (Tone::Quiet, "pending"),
        TaskState::Running { .. } => (Tone::Busy, "running"),
        TaskState::InDoubt { .. } => (Tone::Warn, "in doubt"),
        TaskState::Backoff { .. } => (Tone::Warn, "retry"),
        TaskState::Settled(outcome) => outcome_word(is_criterion(task), outcome),
    }
}

fn outcome_word(criterion: bool, outcome: &Outcome) -> (Tone, &'static str) {
    match outcome {
        Outcome::Changed { .. } | Outcome::Unchanged { .. } if criterion => (Tone::Good, "met"),
        Outcome::Changed { .. } => (Tone::Good, "changed"),
        Outcome::Unchanged { .. } => (Tone::Quiet, "unchanged"),
        Outcome::Skipped(_) => (Tone::Quiet, "skipped"),
        Outcome::Failed(failure) => (Tone::Bad, failure_word(criterion, failure)),
        Outcome::Cancelled { .. } => (Tone::Warn, "cancelled"),
    }
}

/// Returns the word for a failure.
pub fn failure_word(criterion: bool, failure: &Failure) -> &'static str {
    match failure.kind {
        FailureKind::InDoubt => "in doubt",
        FailureKind::Criterion => "unmet",
        FailureKind::Unknown if criterion => "unknown",
        FailureKind::Command
        | FailureKind::Timeout
        | FailureKind::Until
        | FailureKind::Unknown
        | FailureKind::Refused
        | FailureKind::Unconfirmed
        | FailureKind::Secret
        | FailureKind::Template
        | FailureKind::System => "failed",
    }
}

/// Returns whether a task is an acceptance criterion.
pub fn is_criterion(task: &Task) -> bool {
    matches!(task.duty, Duty::Criterion { .. })
}

/// Returns why a task is where it is.
fn why(plan: &Plan, run: &Run, ix: TaskIx, at: Elapsed) -> String {
    match run.state(ix) {
        TaskState::Settled(outcome) => outcome.why(),
        TaskState::Running { attempt, .. } => why_open(Some(*attempt), Standing::Running, None),
        TaskState::InDoubt { attempt } => {
            format!("attempt {attempt} may have had its effect; its probe decides")
        }
        TaskState::Backoff { why, .. } if run.ended() => why.clone(),
        TaskState::Backoff { next, until, why } => {
            format!(
                "attempt {next} in {}: {why}",
                limit(until.saturating_sub(at))
            )
        }
        TaskState::Pending => {
            let failed = plan.tasks().find(|(ix, _)| {
                matches!(
                    run.state(*ix),
                    TaskState::Settled(Outcome::Failed(_)) | TaskState::Backoff { .. }
                )
            });
            let failed = failed.map(|(_, task)| task.key.as_str());
            why_open(None, standing(run), failed)
        }
    }
}

/// Returns how a run stands that lives in this process.
fn standing(run: &Run) -> Standing {
    if !run.ended() {
        Standing::Running
    } else if run.is_done() {
        Standing::Done
    } else if run.cancelled() {
        Standing::Stopped
    } else {
        Standing::Failed
    }
}

/// Returns why a task has no outcome: at the end of a run, in `status` and in the report alike.
pub(crate) fn why_open(attempt: Option<u32>, standing: Standing, failed: Option<&str>) -> String {
    match (attempt, standing, failed) {
        (Some(attempt), _, _) => format!("attempt {attempt}"),
        (None, Standing::Running | Standing::Done, _) => "its turn has not come".to_owned(),
        (None, Standing::Interrupted, _) => "the run died before its turn came".to_owned(),
        (None, Standing::Stopped, _) => "the run was stopped before its turn came".to_owned(),
        (None, Standing::Failed, Some(failed)) => format!("not begun, because {failed} failed"),
        (None, Standing::Failed, None) => "the run failed before its turn came".to_owned(),
    }
}

/// How many tasks are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// They did their work.
    pub changed: usize,
    /// Nothing had to be done.
    pub unchanged: usize,
    /// They did not apply, or a need of theirs did not succeed.
    pub skipped: usize,
    /// They failed.
    pub failed: usize,
    /// They were stopped.
    pub cancelled: usize,
    /// Nobody knows how they ended.
    pub in_doubt: usize,
    /// An attempt is being made.
    pub running: usize,
    /// They will be tried again.
    pub retry: usize,
    /// They have not started.
    pub pending: usize,
    /// Those that satisfy what needs them.
    pub done: usize,
}

impl Counts {
    /// Returns the counts of a run.
    pub fn of(plan: &Plan, run: &Run) -> Self {
        let mut counts = Self::default();
        for (ix, _) in plan.tasks() {
            counts.total += 1;
            match run.state(ix) {
                TaskState::Pending => counts.pending += 1,
                TaskState::Running { .. } => counts.running += 1,
                TaskState::InDoubt { .. } => counts.in_doubt += 1,
                TaskState::Backoff { .. } => counts.retry += 1,
                TaskState::Settled(outcome) => {
                    counts.done += usize::from(outcome.satisfies());
                    match outcome {
                        Outcome::Changed { .. } => counts.changed += 1,
                        Outcome::Unchanged { .. } => counts.unchanged += 1,
                        Outcome::Skipped(_) => counts.skipped += 1,
                        Outcome::Failed(_) => counts.failed += 1,
                        Outcome::Cancelled { .. } => counts.cancelled += 1,
                    }
                }
            }
        }
        counts
    }

    /// Returns them in words, without those that are zero: `3 tasks: 2 changed, 1 unchanged`.
    pub fn words(&self) -> String {
        let parts: Vec<String> = [
            (self.changed, "changed"),
            (self.unchanged, "unchanged"),
            (self.skipped, "skipped"),
            (self.running, "running"),
            (self.retry, "to be tried again"),
            (self.pending, "not started"),
            (self.cancelled, "cancelled"),
            (self.in_doubt, "in doubt"),
            (self.failed, "failed"),
        ]
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
        if parts.is_empty() {
            count(self.total, "task")
        } else {
            format!("{}: {}", count(self.total, "task"), parts.join(", "))
        }
    }
}

/// Returns what an event means to people, or nothing if it is not for them.
pub fn said(plan: &Plan, run: &Run, event: &Event, at: Elapsed) -> Option<Said> {
    let said = match event {
        Event::RunStarted { run: id, tasks, .. } => Said::new(
            Tone::Plain,
            "run",
            id,
            &format!("{}, {}", plan.goal, count(tasks.len(), "task")),
        ),
        Event::RunResumed { .. } => {
            let counts = Counts::of(plan, run);
            let text = format!(
                "{} of {} done before",
                counts.done,
                count(counts.total, "task")
            );
            Said::new(Tone::Plain, "resume", &plan.goal, &text)
        }
        Event::SurvivorEnded { pid, command } => Said::new(
            Tone::Warn,
            "ended",
            &format!("process {pid}"),
            &format!("left over from the run that died: {command}"),
        ),
        Event::AttemptStarted {
            task,
            attempt,
            in_doubt,
        } => {
            let title = run.find(task).map_or("", |ix| plan.task(ix).title.as_str());
            match (in_doubt, attempt) {
                (true, _) => Said::new(
                    Tone::Warn,
                    "in doubt",
                    task.as_str(),
                    "an earlier attempt may have had its effect; its probe decides",
                ),
                (false, 1) => Said::new(Tone::Busy, "start", task.as_str(), title),
                (false, _) => {
                    let text = format!("{title} (attempt {attempt})");
                    Said::new(Tone::Busy, "start", task.as_str(), &text)
                }
            }
        }
        Event::AttemptEnded {
            task,
            attempt,
            end,
            elapsed_ms,
        } => ended(plan, run, (task.as_str(), *attempt), end, at)
            .took(Duration::from_millis(*elapsed_ms)),
        Event::TaskSkipped { task, reason } => {
            Said::new(Tone::Quiet, "skipped", task.as_str(), &reason.why())
        }
        Event::TaskReopened { task, why } => Said::new(Tone::Warn, "again", task.as_str(), why),
        Event::Assumed {
            task,
            done,
            who,
            why,
        } => Said::new(
            Tone::Warn,
            "assumed",
            task.as_str(),
            &assumed(*done, who, why.as_deref()),
        ),
        Event::Accepted {
            tasks, who, why, ..
        } => {
            let text = format!(
                "{who} says that it counts as done{}",
                because(why.as_deref())
            );
            let what = count(tasks.len(), "task");
            Said::new(Tone::Warn, "accepted", &what, &text)
        }
        Event::Confirmed {
            task,
            who,
            how,
            note,
        } => {
            let note = note
                .as_ref()
                .map_or(String::new(), |note| format!(": {note}"));
            let text = format!("by {who}, {how}{note}");
            Said::new(Tone::Plain, "confirmed", task.as_str(), &text)
        }
        Event::Paused { task, say } => Said::new(Tone::Warn, "paused", task.as_str(), say),
        Event::Continued { task, paused_ms } => {
            let text = format!("after {}", duration(Duration::from_millis(*paused_ms)));
            Said::new(Tone::Plain, "continued", task.as_str(), &text)
        }
        Event::RunEnded { result } => Said::new(
            result_tone(*result),
            "end",
            &plan.goal,
            &format!("{} after {}", result_word(*result), duration(at)),
        ),
        Event::ProcessStarted { .. } | Event::FileWritten { .. } | Event::Interrupted { .. } => {
            return None;
        }
    };
    Some(said)
}

/// Who said how an attempt in doubt had ended.
pub(crate) fn assumed(done: bool, who: &str, why: Option<&str>) -> String {
    let word = if done { "done" } else { "not done" };
    format!("{who} says that it was {word}{}", because(why))
}

/// A person's reason, if they gave one.
pub(crate) fn because(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(": {why}"))
}

fn ended(
    plan: &Plan,
    run: &Run,
    (key, attempt): (&str, u32),
    end: &AttemptEnd,
    at: Elapsed,
) -> Said {
    let ix = run.find(&key.into());
    let criterion = ix.is_some_and(|ix| is_criterion(plan.task(ix)));
    let backoff = ix.map(|ix| run.state(ix));
    match end {
        AttemptEnd::Changed { why, .. } | AttemptEnd::Unchanged { why, .. } if criterion => {
            Said::new(Tone::Good, "met", key, why)
        }
        AttemptEnd::Changed { why, .. } => Said::new(Tone::Good, "changed", key, why),
        AttemptEnd::Unchanged { why, .. } => Said::new(Tone::Quiet, "unchanged", key, why),
        AttemptEnd::Skipped { why } => Said::new(Tone::Quiet, "skipped", key, why),
        AttemptEnd::Cancelled => Said::new(Tone::Warn, "cancelled", key, "it was stopped"),
        AttemptEnd::Failed { failure, .. } => match backoff {
            Some(TaskState::Backoff { next, until, .. }) => {
                let pause = limit(until.saturating_sub(at));
                let text = format!(
                    "attempt {attempt} failed, attempt {next} in {pause}: {}",
                    failure.line()
                );
                Said::new(Tone::Warn, "retry", key, &text)
            }
            _ => Said::new(
                Tone::Bad,
                failure_word(criterion, failure),
                key,
                &failure.line(),
            ),
        },
    }
}

/// Returns what is said when somebody wishes to stop, for the `nth` time (from 1).
pub fn stopping(plan: &Plan, run: &Run, signal: &str, nth: u32) -> String {
    let keys: Vec<&str> = run
        .running()
        .iter()
        .map(|&ix| plan.task(ix).key.as_str())
        .collect();
    if keys.is_empty() {
        return format!("stopping ({signal}): nothing runs");
    }
    let names = match keys.len() {
        0..=3 => keys.join(", "),
        more => format!("{}, … and {} more", keys[..3].join(", "), more - 3),
    };
    let tasks = count(keys.len(), "task");
    let run_verb = if keys.len() == 1 { "runs" } else { "run" };
    match (signal, nth) {
        ("SIGINT", 1) => {
            let them = if keys.len() == 1 { "it" } else { "them" };
            format!(
                "stopping: {tasks} still {run_verb} ({names}); press Ctrl-C again to stop {them} now"
            )
        }
        ("SIGINT", 2) => format!(
            "stopping now: ending {tasks} ({names}); press Ctrl-C again to kill what does not end"
        ),
        (_, 1) => format!("stopping now ({signal}): ending {tasks} ({names})"),
        _ => format!("killing {tasks} ({names})"),
    }
}

/// Returns a note in a line.
pub fn noted(note: &Note) -> String {
    match note {
        Note::Line(line) => clean(line),
        Note::Doing(what) => clean(what),
        Note::Waiting {
            seen,
            elapsed_ms,
            within_ms,
        } => format!(
            "{} ({} of {})",
            clean(seen),
            duration(Duration::from_millis(*elapsed_ms)),
            limit(Duration::from_millis(*within_ms))
        ),
    }
}

/// What is said of an event: a word, whom it is about, and the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// What colour may repeat.
    pub tone: Tone,
    /// What happened.
    pub word: &'static str,
    /// To what.
    pub subject: String,
    /// How long it took.
    pub took: Option<Duration>,
    /// The rest.
    pub text: String,
}

impl Said {
    pub(crate) fn new(tone: Tone, word: &'static str, subject: &str, text: &str) -> Self {
        Self {
            tone,
            word,
            subject: clean(subject),
            took: None,
            text: clean(text),
        }
    }

    fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }

    /// Returns it in a line, without the line break. The word has a column of its own.
    pub fn line(&self) -> String {
        let mut line = format!("{:<10} {}", self.word, self.subject);
        if let Some(took) = self.took {
            let _ = write!(line, "  {}", duration(took));
        }
        if !self.text.is_empty() {
            let _ = write!(line, "  {}", self.text);
        }
        line
    }

    /// Returns the line with its word in colour, if there is colour.
    pub fn painted(&self, line: &str, colour: bool) -> String {
        match line.strip_prefix(self.word) {
            Some(rest) => format!("{}{rest}", paint(self.tone, self.word, colour)),
            None => line.to_owned(),
        }
    }
}

/// Returns the word for the result of a run.
pub fn result_word(result: RunResult) -> &'static str {
    match result {
        RunResult::Done => "done",
        RunResult::Failed => "failed",
        RunResult::Cancelled => "stopped",
    }
}

fn result_tone(result: RunResult) -> Tone {
    match result {
        RunResult::Done => Tone::Good,
        RunResult::Failed => Tone::Bad,
        RunResult::Cancelled => Tone::Warn,
    }
}

/// How a summary is to be made.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// What was given with `-C`.
    pub directory: Option<PathBuf>,
    /// Where the run keeps its logs.
    pub folder: Option<RunFolder>,
    /// Whether there is colour.
    pub colour: bool,
}

/// Returns the summary at the end of a run: each story with its tasks and criteria, the totals, and last of all what failed and how to
/// go on. `total` is how long this process worked, `people` how much of that it waited for people.
pub fn summary(
    plan: &Plan,
    run: &Run,
    result: RunResult,
    (total, people): (Duration, Duration),
    frame: &Frame,
) -> String {
    let mut text = String::new();
    for (story, title) in &plan.stories {
        let _ = writeln!(text, "story {story}: {}", clean(title));
        let mut table = Table::new(2);
        let mut pending = 0;
        for (ix, _) in plan.tasks().filter(|(_, task)| task.story == *story) {
            if matches!(run.state(ix), TaskState::Pending) {
                pending += 1;
                continue;
            }
            let row = row(plan, run, ix, total);
            table.row(vec![
                (row.tone, row.word.to_owned()),
                (Tone::Plain, row.key),
                (Tone::Quiet, row.took.map_or(String::new(), duration)),
                (Tone::Plain, row.why),
            ]);
        }
        text.push_str(&table.text(frame.colour));
        if pending > 0 {
            let _ = writeln!(text, "  not started: {}", count(pending, "task"));
        }
        if let Some(met) = criteria(plan, run, story) {
            let tone = if met.met == met.total {
                Tone::Good
            } else {
                Tone::Bad
            };
            let _ = writeln!(text, "{}", paint(tone, &met.sentence(story), frame.colour));
        }
        text.push('\n');
    }
    let waited = if people.is_zero() {
        String::new()
    } else {
        format!(" ({} of it waiting for people)", duration(people))
    };
    let _ = writeln!(
        text,
        "{}: {} after {}{waited}; {}",
        plan.goal,
        paint(result_tone(result), result_word(result), frame.colour),
        duration(total),
        Counts::of(plan, run).words()
    );
    for (ix, task) in plan.tasks() {
        if let Some(Outcome::Failed(failure)) = run.outcome(ix) {
            text.push('\n');
            let log = frame
                .folder
                .as_ref()
                .filter(|_| run.attempts(ix) > 0)
                .map(|folder| folder.log(task.key.as_str(), run.attempts(ix)));
            let word = failure_word(is_criterion(task), failure);
            let head = format!("{}: {}", task.key, clean(&task.title));
            text.push_str(&failure_text(word, &head, failure, log, frame.colour));
        }
    }
    if result != RunResult::Done {
        let _ = writeln!(
            text,
            "\nto go on: {}",
            command(frame.directory.as_deref(), "resume")
        );
    }
    text
}

/// Returns all that there is to say about a failure.
pub(crate) fn failure_text(
    word: &str,
    head: &str,
    failure: &Failure,
    log: Option<PathBuf>,
    colour: bool,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} {head}", paint(Tone::Bad, word, colour));
    let _ = writeln!(text, "  {}", clean(&failure.message));
    if let Some(command) = &failure.command {
        let _ = writeln!(text, "  command: {}", clean(command));
    }
    if let Some(status) = &failure.status {
        let _ = writeln!(text, "  status: {}", clean(status));
    }
    if !failure.last_lines.is_empty() {
        let _ = writeln!(text, "  last lines:");
        for line in &failure.last_lines {
            let _ = writeln!(text, "    | {}", clean(line));
        }
    }
    if let Some(log) = log {
        let _ = writeln!(text, "  log: {}", log.display());
    }
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "  hint: {}", clean(hint));
    }
    text
}

/// How many acceptance criteria of a story are met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Criteria {
    /// All that apply.
    pub total: usize,
    /// Those that are met.
    pub met: usize,
    /// Those that are not met.
    pub unmet: usize,
    /// Those that could not be asked.
    pub unknown: usize,
}

impl Criteria {
    pub(crate) fn add(&mut self, word: &str) {
        match word {
            "skipped" => return,
            "met" => self.met += 1,
            "unmet" => self.unmet += 1,
            "unknown" => self.unknown += 1,
            _ => {}
        }
        self.total += 1;
    }

    /// Returns them in words: `story 1.3: 8 of 8 criteria met`.
    pub fn sentence(&self, story: &str) -> String {
        let mut text = format!(
            "story {story}: {} of {} met",
            self.met,
            count(self.total, "criterion")
        );
        let unchecked = self.total - self.met - self.unmet - self.unknown;
        for (number, word) in [
            (self.unmet, "unmet"),
            (self.unknown, "unknown"),
            (unchecked, "not checked"),
        ] {
            if number > 0 {
                let _ = write!(text, ", {number} {word}");
            }
        }
        text
    }
}

/// Returns how many criteria of a story are met, or nothing if it has none that apply.
pub fn criteria(plan: &Plan, run: &Run, story: &str) -> Option<Criteria> {
    let mut criteria = Criteria::default();
    for (ix, task) in plan.tasks() {
        if task.story == story && is_criterion(task) {
            let reason_is_need = matches!(
                run.outcome(ix),
                Some(Outcome::Skipped(crate::run::SkipReason::Need { .. }))
            );
            criteria.add(if reason_is_need {
                "not checked"
            } else {
                word(task, run.state(ix)).1
            });
        }
    }
    (criteria.total > 0).then_some(criteria)
}

/// How long a run waits for people: the time during which at least one task is paused.
#[derive(Debug, Clone, Default)]
pub struct People {
    open: std::collections::BTreeSet<String>,
    since: Duration,
    total: Duration,
}

impl People {
    /// Takes an event in.
    pub fn event(&mut self, event: &Event, at: Duration) {
        match event {
            Event::Paused { task, .. } => {
                if self.open.is_empty() {
                    self.since = at;
                }
                self.open.insert(task.to_string());
            }
            Event::Continued { task, .. } | Event::AttemptEnded { task, .. } => {
                if self.open.remove(task.as_str()) && self.open.is_empty() {
                    self.total += at.saturating_sub(self.since);
                }
            }
            Event::RunResumed { .. } => self.open.clear(),
            Event::RunEnded { .. } => {
                if !self.open.is_empty() {
                    self.total += at.saturating_sub(self.since);
                    self.open.clear();
                }
            }
            Event::RunStarted { .. }
            | Event::SurvivorEnded { .. }
            | Event::AttemptStarted { .. }
            | Event::ProcessStarted { .. }
            | Event::TaskSkipped { .. }
            | Event::TaskReopened { .. }
            | Event::Assumed { .. }
            | Event::Accepted { .. }
            | Event::FileWritten { .. }
            | Event::Confirmed { .. }
            | Event::Interrupted { .. } => {}
        }
    }

    /// Returns how long it was.
    pub fn total(&self) -> Duration {
        self.total
    }
}
