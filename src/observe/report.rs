//! A run as Markdown, for the record: what was done, by whom, who agreed to what, and what is not met.

use std::fmt::Write as _;
use std::time::Duration;

use crate::journal::Record;
use crate::observe::history::{RunSummary, Status, TaskSummary, fold};
use crate::observe::view::Criteria;
use crate::observe::words::{clean, count, duration};
use crate::run::Event;

/// Returns the report of a run, or nothing if the journal does not begin as one. `held` is whether somebody works on the run now.
pub fn markdown(records: &[Record<Event>], held: bool) -> Option<String> {
    let run = fold(records, held)?;
    let mut text = head(&run);
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
        text.push_str("| state | task | attempts | took | why |\n|---|---|---|---|---|\n");
        for task in tasks {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                task.word(),
                code(&task.key),
                task.attempts,
                if task.attempts > 0 {
                    duration(Duration::from_millis(task.elapsed_ms))
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
    for record in records {
        if let Event::Confirmed {
            task,
            who,
            how,
            note,
        } = &record.event
        {
            if text.is_empty() {
                text.push_str("\n## Confirmed by people\n\n");
            }
            let note = note
                .as_ref()
                .map_or_else(String::new, |note| format!(": {}", escape(&clean(note))));
            let _ = writeln!(
                text,
                "- {} {}, {} ({}){note}",
                record.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                code(task.as_str()),
                escape(&clean(who)),
                escape(&clean(how))
            );
        }
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
