//! How runs of the past are shown: tables and sentences for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Doubt, RunSummary, Standing, Status, TaskSummary};
use crate::observe::view::{Counts, Criteria, Frame, failure_text};
use crate::observe::words::{Table, Tone, clean, command, count, duration, paint};
use crate::run::event::Who;

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
