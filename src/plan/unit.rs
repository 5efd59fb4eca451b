//! Steps and criteria of the selected stories, in an order in which what they need comes first: stories may be interleaved, because a step
//! may need a step of another story.

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

/// Finds out what an entry of a step's `needs` names: its own story's steps first, then `STORY/STEP`, then a story.
pub(super) fn resolve<'a>(playbook: &'a Playbook, story: &Story, need: &str) -> Option<Need<'a>> {
    if let Some(at) = story.steps.iter().position(|step| step.id == need) {
        return Some(Need::Own(at));
    }
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
pub(super) fn other_stories<'a>(
    playbook: &'a Playbook,
    story: &'a Story,
) -> impl Iterator<Item = &'a Story> {
    story
        .steps
        .iter()
        .flat_map(|step| &step.needs)
        .filter_map(|(need, _)| match resolve(playbook, story, need)? {
            Need::Own(_) => None,
            Need::Step(other, _) | Need::Story(other) => Some(other),
        })
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

/// All units of the selected stories, needs first. Cycles are told; then the order is that of the stories and files.
pub(super) fn order(
    playbook: &Playbook,
    stories: &[(&Story, bool)],
    problems: &mut Diagnostics,
) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (at, (story, criteria_only)) in stories.iter().enumerate() {
        if !criteria_only {
            let steps = 0..story.steps.len();
            units.extend(steps.map(|step| Unit {
                story: at,
                part: Part::Step(step),
            }));
        }
        units.push(Unit {
            story: at,
            part: Part::Criteria,
        });
    }
    let place = |unit: Unit| units.iter().position(|known| *known == unit);
    let of_story = |id: &str| stories.iter().position(|(story, _)| story.id == id);
    // The criteria of a story come last in it, so they stand for all of it.
    let whole = |id: &str| {
        of_story(id).and_then(|story| {
            place(Unit {
                story,
                part: Part::Criteria,
            })
        })
    };
    let mut needs: Vec<Vec<usize>> = Vec::with_capacity(units.len());
    for unit in &units {
        let (story, criteria_only) = stories[unit.story];
        let mut mine: Vec<usize> = Vec::new();
        let mut rooted = true;
        match unit.part {
            Part::Step(step) => {
                for (need, _) in &story.steps[step].needs {
                    match resolve(playbook, story, need) {
                        Some(Need::Own(at)) => {
                            rooted = false;
                            mine.extend(place(Unit {
                                story: unit.story,
                                part: Part::Step(at),
                            }));
                        }
                        Some(Need::Step(other, at)) => {
                            let step = of_story(&other.id).and_then(|story| {
                                place(Unit {
                                    story,
                                    part: Part::Step(at),
                                })
                            });
                            // Where only its criteria are asked, they must hold.
                            mine.extend(step.or_else(|| whole(&other.id)));
                        }
                        Some(Need::Story(other)) => mine.extend(whole(&other.id)),
                        None => {}
                    }
                }
            }
            Part::Criteria if !criteria_only => {
                let steps = 0..story.steps.len();
                mine.extend(steps.filter_map(|step| {
                    place(Unit {
                        story: unit.story,
                        part: Part::Step(step),
                    })
                }));
            }
            Part::Criteria => {}
        }
        if rooted {
            mine.extend(needed_stories(playbook, story).filter_map(|other| whole(&other.id)));
        }
        mine.sort_unstable();
        mine.dedup();
        needs.push(mine);
    }
    match graph::order(units.len(), &needs) {
        Ok(order) => order.into_iter().map(|at| units[at]).collect(),
        Err(cycle) => {
            tell(stories, &units, &cycle, problems);
            // There is no plan; the other problems of these steps are told all the same.
            units
        }
    }
}

/// The stories that a story needs as a whole.
pub(super) fn needed_stories<'a>(
    playbook: &'a Playbook,
    story: &'a Story,
) -> impl Iterator<Item = &'a Story> {
    story
        .needs
        .iter()
        .filter_map(|(need, _)| unfolded(playbook, need))
}

fn tell(stories: &[(&Story, bool)], units: &[Unit], cycle: &[usize], problems: &mut Diagnostics) {
    let one = cycle
        .iter()
        .all(|&at| units[at].story == units[cycle[0]].story);
    let name = |at: usize| {
        let (story, _) = stories[units[at].story];
        match units[at].part {
            Part::Step(step) if one => story.steps[step].id.clone(),
            Part::Step(step) => format!("{}/{}", story.id, story.steps[step].id),
            Part::Criteria => format!("story {}", story.id),
        }
    };
    let span = cycle.iter().find_map(|&at| match units[at].part {
        Part::Step(step) => Some(stories[units[at].story].0.steps[step].span),
        Part::Criteria => None,
    });
    let path: Vec<String> = cycle.iter().map(|&at| name(at)).collect();
    // Stories that need each other as a whole are told where the stories are selected.
    let Some(span) = span else { return };
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

/// Tells which entries of the steps' `needs` name nothing.
pub(super) fn check(playbook: &Playbook, story: &Story, problems: &mut Diagnostics) {
    for step in &story.steps {
        for (need, span) in &step.needs {
            if resolve(playbook, story, need).is_some()
                || playbook.is_broken("steps of story", &story.id)
            {
                // Perhaps it is the step without an id.
                continue;
            }
            problems.push(unresolved(playbook, story, need, *span));
        }
    }
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
