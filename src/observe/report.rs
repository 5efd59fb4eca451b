//! A run as Markdown, for the record: what was done, by whom, who agreed to what, and what is not met.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::journal::Record;
use crate::observe::history::{RunSummary, Status, TaskSummary, fold};
use crate::observe::phases::{self, Phases};
use crate::observe::view::Criteria;
use crate::observe::words::{clean, count, duration};
use crate::run::Event;

/// Returns the report of a run, or nothing if the journal does not begin as one. `held` is whether somebody works on the run now.
pub fn markdown(records: &[Record<Event>], held: bool) -> Option<String> {
    let run = fold(records, held)?;
    let mut text = head(&run);
    if let Some(phases) = phases::of(records) {
        text.push_str(&phases.markdown(escape));
    }
    for story in run.stories() {
        let tasks: Vec<&TaskSummary> = run.story(story).collect();
        let _ = writeln!(text, "\n## Story {}\n", escape(story));
        let mut criteria = Criteria::default();
        for task in tasks.iter().filter(|task| task.is_criterion()) {
            criteria.add(task.criterion_word());
        }
        if criteria.total > 0 {
            let sentence = criteria.sentence(story);
            let _ = writeln!(text, "{}.\n", escape(&sentence));
        }
        text.push_str("| state | task | attempts | took | waited for people | why |\n|---|---|---|---|---|---|\n");
        for task in tasks {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                task.word(),
                code(&task.key),
                task.attempts,
                if task.attempts > 0 {
                    duration(Duration::from_millis(task.worked_ms()))
                } else {
                    String::new()
                },
                if task.waited_ms > 0 {
                    duration(Duration::from_millis(task.waited_ms))
                } else {
                    String::new()
                },
                escape(&task.why)
            );
        }
    }
    text.push_str(&confirmations(records));
    text.push_str(&failures(&run));
    Some(text)
}

/// A run for programs: all that its journal tells, its criteria by story, and who agreed to what.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report<'a> {
    /// The run, with every task: durations, attempts, waiting for people.
    pub run: &'a RunSummary,
    /// Its acceptance criteria, by story.
    pub criteria: BTreeMap<&'a str, Criteria>,
    /// What people agreed to, signed off, assumed and accepted.
    pub people: Vec<Said<'a>>,
    /// Of a rebuild: why it went this way, and how long its parts took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Phases>,
}

/// What a person said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Said<'a> {
    /// When.
    pub at: Timestamp,
    /// To what.
    pub tasks: Vec<&'a str>,
    /// Who.
    pub who: &'a str,
    /// What: confirmed, assumed done, assumed not done, accepted.
    pub what: &'static str,
    /// How, or why, in their words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<&'a str>,
}

impl<'a> Report<'a> {
    /// The report of a run that was folded from these records.
    pub fn of(run: &'a RunSummary, records: &'a [Record<Event>]) -> Self {
        let mut criteria: BTreeMap<&str, Criteria> = BTreeMap::new();
        for task in run.tasks.iter().filter(|task| task.is_criterion()) {
            criteria
                .entry(task.story())
                .or_default()
                .add(task.criterion_word());
        }
        Self {
            run,
            criteria,
            people: people(records),
            rebuild: phases::of(records),
        }
    }
}

/// Everything that people said in a run.
fn people(records: &[Record<Event>]) -> Vec<Said<'_>> {
    records
        .iter()
        .filter_map(|record| {
            let (tasks, who, what, words) = match &record.event {
                Event::Confirmed {
                    task,
                    who,
                    how,
                    note,
                } => {
                    let words = std::iter::once(how).chain(note).map(String::as_str);
                    (vec![task.as_str()], who, "confirmed", words.collect())
                }
                Event::Assumed {
                    task,
                    done,
                    who,
                    why,
                } => {
                    let what = if *done {
                        "assumed done"
                    } else {
                        "assumed not done"
                    };
                    let words = why.iter().map(String::as_str).collect();
                    (vec![task.as_str()], who, what, words)
                }
                Event::Accepted {
                    tasks, who, why, ..
                } => {
                    let tasks = tasks.iter().map(|(key, _)| key.as_str()).collect();
                    let words = why.iter().map(String::as_str).collect();
                    (tasks, who, "accepted", words)
                }
                _ => return None,
            };
            Some(Said {
                at: record.at,
                tasks,
                who,
                what,
                words,
            })
        })
        .collect()
}

fn head(run: &RunSummary) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# Run {}: {}\n", run.run, escape(&run.goal));
    if let Some(words) = &run.rehearsal {
        let _ = writeln!(text, "**A rehearsal: {}**\n", escape(&clean(words)));
    }
    let _ = writeln!(text, "- result: **{}**", run.standing.word());
    let _ = writeln!(
        text,
        "- began: {}",
        run.began.strftime("%Y-%m-%d %H:%M:%S UTC")
    );
    let _ = writeln!(
        text,
        "- worked: {}, {} of it waiting for people",
        duration(Duration::from_millis(run.worked_ms)),
        duration(Duration::from_millis(run.people_ms))
    );
    let who = format!("{}@{}", run.who.user, run.who.host);
    let _ = writeln!(text, "- by: {}", escape(&clean(&who)));
    let _ = writeln!(text, "- resumed: {}", count(run.resumed, "time"));
    let _ = writeln!(
        text,
        "- program {}, plan {}",
        code(&clean(&run.version)),
        code(&run.plan)
    );
    let _ = writeln!(text, "- {}", run.counts.words());
    text
}

fn confirmations(records: &[Record<Event>]) -> String {
    let mut text = String::new();
    for said in people(records) {
        if text.is_empty() {
            text.push_str("\n## Said by people\n\n");
        }
        let tasks: Vec<String> = said.tasks.iter().map(|task| code(task)).collect();
        let words: Vec<String> = said.words.iter().map(|word| escape(&clean(word))).collect();
        let words = match words.as_slice() {
            [] => String::new(),
            words => format!(": {}", words.join(": ")),
        };
        let _ = writeln!(
            text,
            "- {} {}, {} by {}{words}",
            said.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            tasks.join(", "),
            said.what,
            escape(&clean(said.who)),
        );
    }
    text
}

fn failures(run: &RunSummary) -> String {
    let mut text = String::new();
    for task in &run.tasks {
        let (Status::Failed | Status::Retry, Some(failure)) = (task.status, &task.failure) else {
            continue;
        };
        if text.is_empty() {
            text.push_str("\n## Failures\n");
        }
        let _ = writeln!(text, "\n### {}\n", code(&task.key));
        let _ = writeln!(text, "{}\n", escape(&clean(&failure.message)));
        if let Some(command) = &failure.command {
            let _ = writeln!(text, "- command: {}", code(&clean(command)));
        }
        if let Some(status) = &failure.status {
            let _ = writeln!(text, "- status: {}", escape(&clean(status)));
        }
        if let Some(hint) = &failure.hint {
            let _ = writeln!(text, "- hint: {}", escape(&clean(hint)));
        }
        if !failure.last_lines.is_empty() {
            let lines = clean_lines(&failure.last_lines);
            // Longer than any that is in it, so that nothing in it can end it.
            let fence = "`".repeat(longest_ticks(&lines).max(2) + 1);
            let _ = writeln!(text, "\n{fence}text\n{lines}{fence}");
        }
    }
    text
}

/// Keeps text from being markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if "\\`*_[]<>|#&".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// A code span, also of a text with backticks, also in a table.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    let longest = longest_ticks(&text);
    let fence = "`".repeat(longest + 1);
    if longest == 0 {
        format!("{fence}{text}{fence}")
    } else {
        format!("{fence} {text} {fence}")
    }
}

fn longest_ticks(text: &str) -> usize {
    text.split(|letter| letter != '`')
        .map(str::len)
        .max()
        .unwrap_or(0)
}

fn clean_lines(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{}", clean(line));
    }
    text
}
