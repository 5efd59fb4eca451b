//! Steps and criteria of the selected stories, in an order in which what they need comes first: stories may be interleaved, because a step
//! may need a step of another story.

use std::collections::BTreeMap;

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::plan::graph;
use crate::playbook::{Playbook, Story};

/// What an entry of a step's `needs` names.
pub(super) enum Need<'a> {
    /// A step of its own story.
    Own(usize),
    /// A step of another story.
    Step(&'a Story, usize),
    /// A whole story, criteria and all.
    Story(&'a Story),
}

/// A part of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A step, by its place in the file.
    Step(usize),
    /// All acceptance criteria.
    Criteria,
}

/// What becomes tasks at once: a step, or the criteria of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unit {
    /// The story, by its place among the selected ones.
    pub(super) story: usize,
    /// Which part of it.
    pub(super) part: Part,
}

/// A selected story.
struct Entry<'a> {
    story: &'a Story,
    criteria_only: bool,
    /// Its steps by id.
    places: BTreeMap<&'a str, usize>,
    /// The number of its first unit.
    first: usize,
    /// Whether any of its steps has outputs.
    gives: bool,
}

/// The selected stories, and where everything in them is.
pub(super) struct Index<'a> {
    playbook: &'a Playbook,
    entries: Vec<Entry<'a>>,
    numbers: BTreeMap<&'a str, usize>,
    units: usize,
}

impl<'a> Index<'a> {
    /// Of stories of which all is meant, or only the criteria.
    pub(super) fn new(playbook: &'a Playbook, stories: &[(&'a Story, bool)]) -> Self {
        let mut index = Self {
            playbook,
            entries: Vec::with_capacity(stories.len()),
            numbers: BTreeMap::new(),
            units: 0,
        };
        for &(story, criteria_only) in stories {
            index.numbers.insert(&story.id, index.entries.len());
            index.entries.push(Entry {
                story,
                criteria_only,
                places: places(story),
                first: index.units,
                gives: story.steps.iter().any(|step| !step.body.outputs.is_empty()),
            });
            index.units += 1 + if criteria_only { 0 } else { story.steps.len() };
        }
        index
    }

    /// A story by its place.
    pub(super) fn story(&self, number: usize) -> &'a Story {
        self.entries[number].story
    }

    /// Whether only the criteria of a story are meant.
    pub(super) fn criteria_only(&self, number: usize) -> bool {
        self.entries[number].criteria_only
    }

    /// Whether any step of a story has outputs.
    pub(super) fn gives(&self, number: usize) -> bool {
        self.entries[number].gives
    }

    /// The place of a story.
    pub(super) fn number(&self, id: &str) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    /// The places of the stories that a story needs as a whole.
    pub(super) fn needed(&self, number: usize) -> Vec<usize> {
        self.entries[number]
            .story
            .needs
            .iter()
            .filter_map(|(need, _)| self.number(&unfolded(self.playbook, need)?.id))
            .collect()
    }

    /// Finds out what an entry of a step's `needs` names.
    pub(super) fn resolve(&self, number: usize, need: &str) -> Option<Need<'a>> {
        let entry = &self.entries[number];
        match entry.places.get(need) {
            Some(&at) => Some(Need::Own(at)),
            None => elsewhere(self.playbook, entry.story, need),
        }
    }

    /// Tells which entries of the steps' `needs` name nothing.
    pub(super) fn check(&self, problems: &mut Diagnostics) {
        for (number, entry) in self.entries.iter().enumerate() {
            // Perhaps it is the step without an id.
            if self.playbook.is_broken("steps of story", &entry.story.id) {
                continue;
            }
            for (need, span) in entry.story.steps.iter().flat_map(|step| &step.needs) {
                if self.resolve(number, need).is_none() {
                    problems.push(unresolved(self.playbook, entry.story, need, *span));
                }
            }
        }
    }

    /// The number of a unit.
    fn place(&self, unit: Unit) -> usize {
        let entry = &self.entries[unit.story];
        entry.first
            + match unit.part {
                Part::Step(step) => step,
                Part::Criteria if entry.criteria_only => 0,
                Part::Criteria => entry.story.steps.len(),
            }
    }

    /// The number of a story's criteria: they come last in it, so they stand for all of it.
    fn whole(&self, story: usize) -> usize {
        self.place(Unit {
            story,
            part: Part::Criteria,
        })
    }

    /// All units, needs first. Cycles are told; then the order is that of the stories and files.
    pub(super) fn order(&self, problems: &mut Diagnostics) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::with_capacity(self.units);
        let mut needs: Vec<Vec<usize>> = Vec::with_capacity(self.units);
        for (story, entry) in self.entries.iter().enumerate() {
            let steps = if entry.criteria_only {
                0
            } else {
                entry.story.steps.len()
            };
            let before: Vec<usize> = self
                .needed(story)
                .into_iter()
                .map(|needed| self.whole(needed))
                .collect();
            for step in 0..steps {
                let part = Part::Step(step);
                units.push(Unit { story, part });
                needs.push(self.needs_of_step(story, step, &before));
            }
            let part = Part::Criteria;
            units.push(Unit { story, part });
            let mut mine: Vec<usize> = (entry.first..entry.first + steps).collect();
            mine.extend(before);
            mine.sort_unstable();
            mine.dedup();
            needs.push(mine);
        }
        match graph::order(units.len(), &needs) {
            Ok(order) => order.into_iter().map(|at| units[at]).collect(),
            Err(cycle) => {
                self.tell(&units, &cycle, problems);
                // There is no plan; the other problems of these steps are told all the same.
                units
            }
        }
    }

    fn needs_of_step(&self, number: usize, step: usize, before: &[usize]) -> Vec<usize> {
        let entry = &self.entries[number];
        let mut mine: Vec<usize> = Vec::new();
        let mut rooted = true;
        for (need, _) in &entry.story.steps[step].needs {
            match self.resolve(number, need) {
                Some(Need::Own(at)) => {
                    rooted = false;
                    mine.push(entry.first + at);
                }
                Some(Need::Step(other, at)) => {
                    if let Some(story) = self.number(&other.id) {
                        // Where only its criteria are asked, they must hold.
                        let part = if self.criteria_only(story) {
                            Part::Criteria
                        } else {
                            Part::Step(at)
                        };
                        mine.push(self.place(Unit { story, part }));
                    }
                }
                Some(Need::Story(other)) => {
                    mine.extend(self.number(&other.id).map(|story| self.whole(story)));
                }
                None => {}
            }
        }
        if rooted {
            mine.extend(before);
        }
        mine.sort_unstable();
        mine.dedup();
        mine
    }

    fn tell(&self, units: &[Unit], cycle: &[usize], problems: &mut Diagnostics) {
        let one = cycle
            .iter()
            .all(|&at| units[at].story == units[cycle[0]].story);
        let name = |at: usize| {
            let story = self.story(units[at].story);
            match units[at].part {
                Part::Step(step) if one => story.steps[step].id.clone(),
                Part::Step(step) => format!("{}/{}", story.id, story.steps[step].id),
                Part::Criteria => format!("story {}", story.id),
            }
        };
        let span = cycle.iter().find_map(|&at| match units[at].part {
            Part::Step(step) => Some(self.story(units[at].story).steps[step].span),
            Part::Criteria => None,
        });
        // Stories that need each other as a whole are told where the stories are selected.
        let Some(span) = span else { return };
        let path: Vec<String> = cycle.iter().map(|&at| name(at)).collect();
        let what = if path.iter().any(|name| name.starts_with("story ")) {
            "these need each other"
        } else {
            "these steps need each other"
        };
        problems.push(
            Diagnostic::at(span, format!("{what}: {}", path.join(" → ")))
                .help("one of them must be able to go first"),
        );
    }
}

/// The steps of a story by id; of two of one name, the first.
fn places(story: &Story) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    for (at, step) in story.steps.iter().enumerate() {
        places.entry(step.id.as_str()).or_insert(at);
    }
    places
}

/// What an entry of `needs` names that is no step of its own story: `STORY/STEP`, or a story.
fn elsewhere<'a>(playbook: &'a Playbook, story: &Story, need: &str) -> Option<Need<'a>> {
    if let Some((other, step)) = need.split_once('/') {
        let other = unfolded(playbook, other)?;
        let at = other.steps.iter().position(|known| known.id == step)?;
        return Some(if other.id == story.id {
            Need::Own(at)
        } else {
            Need::Step(other, at)
        });
    }
    let other = unfolded(playbook, need)?;
    (other.id != story.id).then_some(Need::Story(other))
}

/// A story by its id, or the one that it is folded into.
fn unfolded<'a>(playbook: &'a Playbook, id: &str) -> Option<&'a Story> {
    let story = playbook.stories.get(id)?;
    match &story.folded_into {
        Some((into, _)) => playbook.stories.get(into),
        None => Some(story),
    }
}

/// The other stories that the steps of a story need, whole or in part.
pub(super) fn other_stories<'a>(playbook: &'a Playbook, story: &'a Story) -> Vec<&'a Story> {
    let own = places(story);
    story
        .steps
        .iter()
        .flat_map(|step| &step.needs)
        .filter(|(need, _)| !own.contains_key(need.as_str()))
        .filter_map(|(need, _)| match elsewhere(playbook, story, need)? {
            Need::Own(_) => None,
            Need::Step(other, _) | Need::Story(other) => Some(other),
        })
        .collect()
}

fn unresolved(playbook: &Playbook, story: &Story, need: &str, span: Span) -> Diagnostic {
    if let Some((id, step)) = need.split_once('/') {
        let Some(other) = unfolded(playbook, id) else {
            return Diagnostic::at(span, format!("there is no story `{id}`"))
                .suggest(id, playbook.stories.keys().map(String::as_str));
        };
        return Diagnostic::at(span, format!("story {} has no step `{step}`", other.id))
            .suggest(step, other.steps.iter().map(|step| step.id.as_str()));
    }
    if need == story.id {
        return Diagnostic::at(
            span,
            format!("a step of story {need} cannot need all of it"),
        );
    }
    Diagnostic::at(span, format!("story {} has no step `{need}`", story.id))
        .help("`needs` of a step names steps of its own story, `STORY/STEP` of another one, or a whole story")
        .suggest(need, story.steps.iter().map(|step| step.id.as_str()))
}
