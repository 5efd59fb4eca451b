//! A plan, as it is listed before anything runs. The same plan gives the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::observe::words::{Table, Tone, clean, count, paint};
use crate::plan::{Plan, TaskIx};

/// What asking the world gave for tasks: a word (`met`, `unmet`, `unknown`, `skipped`…) and why.
pub type Answers = BTreeMap<TaskIx, (String, String)>;

/// A plan as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listing {
    /// What was asked for.
    pub goal: String,
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// The stories, in order.
    pub stories: Vec<ListedStory>,
    /// The tasks, in order.
    pub tasks: Vec<Listed>,
}

/// A story of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedStory {
    /// Its id.
    pub id: String,
    /// One line.
    pub title: String,
}

/// A task of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Its name.
    pub key: String,
    /// Its story.
    pub story: String,
    /// One line.
    pub title: String,
    /// What a repetition would do.
    pub effect: String,
    /// The tasks that come before.
    pub needs: Vec<String>,
    /// Locks that it holds.
    pub locks: Vec<String>,
    /// What its work is made of.
    pub fingerprint: String,
    /// What its probe answered, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Returns what there is to list of a plan.
pub fn list(plan: &Plan, answers: Option<&Answers>) -> Listing {
    let tasks = plan
        .tasks()
        .map(|(ix, task)| {
            let answer = answers.and_then(|answers| answers.get(&ix));
            Listed {
                key: task.key.to_string(),
                story: task.story.clone(),
                title: clean(&task.title),
                effect: serde_json::to_value(task.effect)
                    .ok()
                    .and_then(|value| value.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                needs: task
                    .needs
                    .iter()
                    .map(|&need| plan.task(need).key.to_string())
                    .collect(),
                locks: task.locks.clone(),
                fingerprint: task.fingerprint.as_str().to_owned(),
                answer: answer.map(|(word, _)| word.clone()),
                why: answer.map(|(_, why)| clean(why)),
            }
        })
        .collect();
    Listing {
        goal: plan.goal.clone(),
        fingerprint: plan.fingerprint().as_str().to_owned(),
        stories: plan
            .stories
            .iter()
            .map(|(id, title)| ListedStory {
                id: id.clone(),
                title: clean(title),
            })
            .collect(),
        tasks,
    }
}

impl Listing {
    /// Returns it for people.
    pub fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        for story in &self.stories {
            let _ = writeln!(text, "story {}: {}", story.id, story.title);
            let mut table = Table::new(2);
            for task in self.tasks.iter().filter(|task| task.story == story.id) {
                table.row(task.cells());
            }
            text.push_str(&table.text(colour));
            text.push('\n');
        }
        let _ = write!(
            text,
            "{}: {} in {}",
            self.goal,
            count(self.tasks.len(), "task"),
            count(self.stories.len(), "story")
        );
        let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
        for answer in self.tasks.iter().filter_map(|task| task.answer.as_deref()) {
            *answers.entry(answer).or_default() += 1;
        }
        for (at, (answer, number)) in answers.iter().enumerate() {
            let comma = if at == 0 { ": " } else { ", " };
            let word = paint(answer_tone(answer), answer, colour);
            let _ = write!(text, "{comma}{number} {word}");
        }
        text.push('\n');
        text
    }

    /// Returns it for programs.
    pub fn json(&self) -> String {
        crate::observe::history::json(self)
    }
}

impl Listed {
    fn cells(&self) -> Vec<(Tone, String)> {
        let mut rest = Vec::new();
        if !self.needs.is_empty() {
            rest.push(format!("after {}", count(self.needs.len(), "task")));
        }
        if !self.locks.is_empty() {
            rest.push(format!("lock {}", self.locks.join(", ")));
        }
        let answer = self.answer.as_deref().unwrap_or("");
        let why = match (self.why.as_deref().unwrap_or(""), rest.join("; ")) {
            ("", rest) => rest,
            (why, rest) if rest.is_empty() => why.to_owned(),
            (why, rest) => format!("{why} ({rest})"),
        };
        vec![
            (answer_tone(answer), answer.to_owned()),
            (Tone::Plain, self.key.clone()),
            (effect_tone(&self.effect), self.effect.clone()),
            (Tone::Plain, self.title.clone()),
            (Tone::Quiet, why),
        ]
    }
}

fn answer_tone(answer: &str) -> Tone {
    match answer {
        "met" => Tone::Good,
        "unmet" => Tone::Warn,
        "unknown" => Tone::Bad,
        _ => Tone::Quiet,
    }
}

fn effect_tone(effect: &str) -> Tone {
    match effect {
        "destructive" => Tone::Bad,
        "once" | "manual" => Tone::Warn,
        _ => Tone::Quiet,
    }
}
