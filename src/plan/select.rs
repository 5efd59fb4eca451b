//! What a run is asked to do: stories, an epic, or one task.

use std::collections::BTreeSet;

use crate::document::{Diagnostic, Diagnostics, diagnostic::nearest};
use crate::plan::{Item, unit};
use crate::playbook::{Playbook, Story};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// One story, with what it needs.
    Story(String),
    /// All stories of an epic, with what they need.
    Epic(String),
    /// One reusable task with its parameters.
    Task {
        /// Its name.
        name: String,
        /// Its parameters, as typed.
        arguments: Vec<(String, String)>,
    },
    /// What a rebuild has chosen.
    Rebuild(Box<Chosen>),
    /// Every story: what `validate` looks at.
    Everything,
}

/// What a rebuild has chosen, and why. It is not chosen anew when the run is resumed: by then the world is another one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chosen {
    /// The cluster; tasks that are for another one are left out.
    pub cluster: String,
    /// The node, if only that is rebuilt; tasks that are for another one are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The story.
    pub story: String,
    /// Values for its parameters.
    pub arguments: Vec<(String, serde_json::Value)>,
    /// What was asked, and what the answers were.
    pub found: Vec<Found>,
    /// Since when what is rebuilt was out of order, as far as anybody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_since: Option<jiff::Timestamp>,
}

/// An answer that a rebuild was chosen by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// The question, in words.
    pub question: String,
    /// Whether it was so.
    pub met: bool,
    /// What was seen.
    pub seen: String,
}

impl Chosen {
    /// Whether a task for this item is part of it.
    pub(super) fn admits(&self, item: &Item) -> bool {
        item.0.iter().all(|(axis, value)| match axis.as_str() {
            "cluster" => *value == self.cluster,
            "node" => self.node.as_ref().is_none_or(|node| node == value),
            _ => true,
        })
    }
}

/// How much of a selection is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// What was selected and everything that it needs.
    #[default]
    Whole,
    /// What was selected; of what it needs only the acceptance criteria, so that it is refused if they do not hold.
    Only,
    /// The acceptance criteria of what was selected, and nothing else.
    Criteria,
}

impl Selection {
    /// What it is called in a sentence.
    pub fn words(&self) -> String {
        match self {
            Self::Story(id) => format!("story {id}"),
            Self::Epic(id) => format!("epic {id}"),
            Self::Task { name, .. } => format!("task {name}"),
            Self::Rebuild(chosen) => match &chosen.node {
                Some(node) => format!("rebuild node {node}"),
                None => format!("rebuild {}", chosen.cluster),
            },
            Self::Everything => "everything".into(),
        }
    }
}

/// The stories of a selection with all that they need, needs first; and whether only its criteria are meant.
pub(super) fn stories<'a>(
    playbook: &'a Playbook,
    selection: &Selection,
    extent: Extent,
    problems: &mut Diagnostics,
) -> Vec<(&'a Story, bool)> {
    let roots: Vec<&Story> = match selection {
        Selection::Story(id) => find(playbook, id, problems).into_iter().collect(),
        Selection::Epic(epic) => {
            let found: Vec<&Story> = playbook
                .stories
                .values()
                .filter(|story| story.epic.as_deref() == Some(epic) && story.folded_into.is_none())
                .collect();
            if found.is_empty() {
                let mut known: Vec<&str> = playbook
                    .stories
                    .values()
                    .filter_map(|story| story.epic.as_deref())
                    .collect();
                known.dedup();
                problems.push(
                    Diagnostic::without_place(format!("no story belongs to an epic `{epic}`"))
                        .help(format!("the epics are: {}", known.join(", "))),
                );
            }
            found
        }
        Selection::Task { .. } => Vec::new(),
        // The journal's word; the story may be gone from the playbook by now.
        Selection::Rebuild(chosen) => match playbook.stories.get(&chosen.story) {
            Some(story) => vec![story],
            None => find(playbook, &chosen.story, problems)
                .into_iter()
                .collect(),
        },
        Selection::Everything => playbook
            .stories
            .values()
            .filter(|story| story.folded_into.is_none())
            .collect(),
    };
    if extent == Extent::Criteria {
        return roots.into_iter().map(|story| (story, true)).collect();
    }
    let chosen: BTreeSet<&str> = roots.iter().map(|story| story.id.as_str()).collect();
    let mut visitor = Visitor {
        playbook,
        open: BTreeSet::new(),
        done: BTreeSet::new(),
        order: Vec::new(),
        problems,
    };
    for root in roots {
        visitor.visit(root, &mut Vec::new());
    }
    visitor
        .order
        .into_iter()
        .map(|story| {
            (
                story,
                extent == Extent::Only && !chosen.contains(story.id.as_str()),
            )
        })
        .collect()
}

/// Collects stories, needs first.
struct Visitor<'a, 'p> {
    playbook: &'a Playbook,
    /// Those whose needs are being collected.
    open: BTreeSet<&'a str>,
    done: BTreeSet<&'a str>,
    order: Vec<&'a Story>,
    problems: &'p mut Diagnostics,
}

impl<'a> Visitor<'a, '_> {
    /// `path` is the way by which whole stories need each other.
    fn visit(&mut self, story: &'a Story, path: &mut Vec<&'a str>) {
        if let Some(at) = path.iter().position(|id| *id == story.id) {
            let mut cycle: Vec<&str> = path[at..].to_vec();
            cycle.push(&story.id);
            self.problems.push(
                Diagnostic::at(
                    story.span,
                    format!("these stories need each other: {}", cycle.join(" → ")),
                )
                .help("one of them must be able to go first"),
            );
            return;
        }
        // One that is open on another way is needed by a step: whether that is a cycle is found step by step.
        if self.done.contains(story.id.as_str()) || !self.open.insert(&story.id) {
            return;
        }
        path.push(&story.id);
        for (need, span) in &story.needs {
            match self.playbook.stories.get(need) {
                Some(needed) => {
                    let needed = needed
                        .folded_into
                        .as_ref()
                        .and_then(|(into, _)| self.playbook.stories.get(into))
                        .unwrap_or(needed);
                    self.visit(needed, path);
                }
                None if self.playbook.is_broken("story", need) => {}
                None => self.problems.push(
                    Diagnostic::at(*span, format!("there is no story `{need}`"))
                        .suggest(need, self.playbook.stories.keys().map(String::as_str)),
                ),
            }
        }
        path.pop();
        // Steps may need steps of other stories: those are in the run too.
        for other in unit::other_stories(self.playbook, story) {
            self.visit(other, &mut Vec::new());
        }
        self.done.insert(&story.id);
        self.order.push(story);
    }
}

fn find<'a>(playbook: &'a Playbook, id: &str, problems: &mut Diagnostics) -> Option<&'a Story> {
    let Some(story) = playbook.stories.get(id) else {
        let diagnostic = Diagnostic::without_place(format!("there is no story `{id}`"));
        let known: Vec<&str> = playbook.stories.keys().map(String::as_str).collect();
        problems.push(match nearest(id, known.iter().copied()) {
            Some(near) => diagnostic.help(format!(
                "did you mean `{near}`? The stories are: {}",
                known.join(", ")
            )),
            None => diagnostic.help(format!("the stories are: {}", known.join(", "))),
        });
        return None;
    };
    if let Some(rebuild) = playbook.rebuild_of(id) {
        let words = match rebuild {
            "node" => "bootstrap rebuild node NAME",
            _ => "bootstrap rebuild CLUSTER",
        };
        problems.push(
            Diagnostic::without_place(format!("story {id} is a way to rebuild a {rebuild}")).help(
                format!("type `{words}`: it finds out whether this is the way"),
            ),
        );
        return None;
    }
    if let Some((into, _)) = &story.folded_into {
        problems.push(
            Diagnostic::without_place(format!("story {id} is folded into {into}"))
                .help(format!("run story {into}")),
        );
        return None;
    }
    Some(story)
}
