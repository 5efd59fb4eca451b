//! Runs of the past, from their journals alone: a run can be shown even when the playbook has changed since.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::journal::Record;
use crate::observe::view::{
    Counts, Criteria, Frame, People, assumed, failure_text, failure_word, result_word,
};
use crate::observe::words::{Table, Tone, clean, command, count, duration, paint};
use crate::plan::TaskKey;
use crate::run::event::{Options, RunResult, Who};
use crate::run::{AttemptEnd, Event, Failure, FailureKind, Past, SIGNED, SkipReason};
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
    /// Why it is there, in a line; empty where there is nothing to say.
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

/// Returns a value for programs: indented JSON and a line break.
pub fn json<T: Serialize>(value: &T) -> String {
    // None of our types has keys that are not text, which is all that could fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Returns a run for programs, with what an edit made of its tasks since, where there is such a thing.
pub fn status_json(run: &RunSummary, edits: serde_json::Value) -> String {
    let mut value = serde_json::to_value(run).unwrap_or_default();
    if let Some(object) = value.as_object_mut()
        && edits.as_array().is_some_and(|edits| !edits.is_empty())
    {
        object.insert("edits".into(), edits);
    }
    json(&value)
}

/// Returns the table of runs; the caller puts the newest first.
pub fn runs_text(runs: &[RunSummary], colour: bool) -> String {
    if runs.is_empty() {
        return "no runs yet\n".into();
    }
    let mut table = Table::new(0);
    table.row(
        ["RUN", "RESULT", "BEGAN", "WORKED", "TASKS", "WHO", "GOAL"]
            .iter()
            .map(|head| (Tone::Quiet, (*head).to_owned()))
            .collect(),
    );
    for run in runs {
        let rehearsal = match &run.rehearsal {
            Some(_) => " (rehearsal)",
            None => "",
        };
        table.row(vec![
            (Tone::Plain, run.run.clone()),
            (run.standing.tone(), run.standing.word().to_owned()),
            (Tone::Plain, time(run.began)),
            (Tone::Plain, duration(Duration::from_millis(run.worked_ms))),
            (
                Tone::Plain,
                format!("{}/{}", run.counts.done, run.counts.total),
            ),
            (
                Tone::Plain,
                format!("{}@{}", clean(&run.who.user), clean(&run.who.host)),
            ),
            (Tone::Plain, format!("{}{rehearsal}", run.goal)),
        ]);
    }
    table.text(colour)
}

/// A line of the table of runs, for programs: a run without its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunLine<'a> {
    /// Its name.
    pub run: &'a str,
    /// What was asked for.
    pub goal: &'a str,
    /// How it stands.
    pub standing: Standing,
    /// When it began.
    pub began: Timestamp,
    /// When something happened last.
    pub last: Timestamp,
    /// How long processes worked on it, in milliseconds.
    pub worked_ms: u64,
    /// Who worked on it last.
    pub who: &'a Who,
    /// How many tasks are where.
    pub counts: Counts,
}

/// Returns the table of runs for programs.
pub fn runs_json(runs: &[RunSummary]) -> String {
    let lines: Vec<RunLine<'_>> = runs
        .iter()
        .map(|run| RunLine {
            run: &run.run,
            goal: &run.goal,
            standing: run.standing,
            began: run.began,
            last: run.last,
            worked_ms: run.worked_ms,
            who: &run.who,
            counts: run.counts,
        })
        .collect();
    json(&lines)
}

/// Returns how a run stands: what is done, what is not, why, and last of all what failed and what to do next.
pub fn status_text(run: &RunSummary, frame: &Frame) -> String {
    let mut text = String::new();
    for story in run.stories() {
        let _ = writeln!(text, "story {story}");
        let mut table = Table::new(2);
        let mut criteria = Criteria::default();
        for task in run.story(story) {
            let took = Duration::from_millis(task.elapsed_ms);
            let why = task
                .waits_for
                .as_ref()
                .map_or_else(|| task.why.clone(), |say| format!("waits for you: {say}"));
            table.row(vec![
                (task.tone(), task.word().to_owned()),
                (Tone::Plain, task.key.clone()),
                (
                    Tone::Quiet,
                    if task.attempts > 0 && task.status != Status::Running {
                        duration(took)
                    } else {
                        String::new()
                    },
                ),
                (Tone::Plain, why),
            ]);
            if task.is_criterion() {
                criteria.add(task.criterion_word());
            }
        }
        text.push_str(&table.text(frame.colour));
        if criteria.total > 0 {
            let tone = if criteria.met == criteria.total {
                Tone::Good
            } else {
                Tone::Plain
            };
            let _ = writeln!(
                text,
                "{}",
                paint(tone, &criteria.sentence(story), frame.colour)
            );
        }
        text.push('\n');
    }
    text.push_str(&head(run, frame.colour));
    for task in &run.tasks {
        if let (Status::Failed | Status::Retry, Some(failure)) = (task.status, &task.failure) {
            let log = frame
                .folder
                .as_ref()
                .map(|folder| folder.log(&task.key, task.attempts));
            text.push('\n');
            text.push_str(&failure_text(
                task.word(),
                &task.key,
                failure,
                log,
                frame.colour,
            ));
        }
    }
    for task in &run.tasks {
        if let Some(doubt) = &task.doubt {
            text.push('\n');
            text.push_str(&doubt_text(task, doubt, frame));
        }
    }
    if let Some(next) = next(run, frame.directory.as_deref()) {
        let _ = writeln!(text, "\n{next}");
    }
    text
}

/// What is known of an attempt in doubt, and what a person can say.
fn doubt_text(task: &TaskSummary, doubt: &Doubt, frame: &Frame) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} {}",
        paint(Tone::Warn, "in doubt", frame.colour),
        task.key
    );
    let _ = writeln!(
        text,
        "  attempt {} began {} by {}@{} (process {})",
        doubt.attempt,
        time(doubt.began),
        clean(&doubt.who.user),
        clean(&doubt.who.host),
        doubt.who.pid
    );
    match (&doubt.command, doubt.pid) {
        (Some(command), Some(pid)) => {
            let _ = writeln!(text, "  command: {command} (process {pid})");
        }
        _ => text.push_str("  it had started no process\n"),
    }
    if let Some(folder) = &frame.folder {
        let log = folder.log(&task.key, doubt.attempt);
        let lines = last_lines(&log);
        if !lines.is_empty() {
            text.push_str("  last lines:\n");
            for line in lines {
                let _ = writeln!(text, "    | {line}");
            }
            let _ = writeln!(text, "  log: {}", log.display());
        }
    }
    let directory = frame.directory.as_deref();
    let _ = writeln!(
        text,
        "  to say how it ended, where no question can: {}",
        command(directory, &format!("resume --assume done '{}'", task.key))
    );
    let _ = writeln!(
        text,
        "    or: {}",
        command(
            directory,
            &format!("resume --assume not-done '{}'", task.key)
        )
    );
    let _ = writeln!(
        text,
        "    to find out: {}",
        command(directory, &format!("verify story {}", task.story()))
    );
    text
}

/// The last lines of a log.
fn last_lines(log: &Path) -> Vec<String> {
    const LINES: usize = 12;
    const END: u64 = 16 * 1024;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
        file.take(END).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .lines()
        .map(clean)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

fn head(run: &RunSummary, colour: bool) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "run {}: {}, {}",
        run.run,
        run.goal,
        paint(run.standing.tone(), run.standing.word(), colour)
    );
    if let Some(words) = &run.rehearsal {
        let _ = writeln!(text, "  rehearsal: {}", clean(words));
    }
    let _ = writeln!(
        text,
        "  began {} by {}@{}{}",
        time(run.began),
        clean(&run.who.user),
        clean(&run.who.host),
        match run.resumed {
            0 => String::new(),
            times => format!(", resumed {}", count(times, "time")),
        }
    );
    let people = match run.people_ms {
        0 => String::new(),
        people => format!(
            " ({} of it waiting for people)",
            duration(Duration::from_millis(people))
        ),
    };
    let _ = writeln!(
        text,
        "  worked {}{people}, last at {}",
        duration(Duration::from_millis(run.worked_ms)),
        time(run.last)
    );
    let _ = writeln!(text, "  {}", run.counts.words());
    text
}

/// Returns what a person does next, in a line.
fn next(run: &RunSummary, directory: Option<&Path>) -> Option<String> {
    let waits = run
        .tasks
        .iter()
        .find_map(|task| task.waits_for.as_ref().map(|say| (&task.key, say)));
    match (run.standing, waits) {
        (Standing::Done, _) => None,
        (Standing::Running, Some((key, say))) => Some(format!("{key} waits for you: {say}")),
        (Standing::Running, None) => Some(format!(
            "process {} on {} works on it",
            run.who.pid, run.who.host
        )),
        (Standing::Interrupted | Standing::Failed | Standing::Stopped, _) => {
            Some(format!("to go on: {}", command(directory, "resume")))
        }
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
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
