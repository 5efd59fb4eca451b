//! Playbook and inventory become tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::value::ValueKind;

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::inventory::Axis;
use crate::kind::Field;
use crate::plan::bind::Binder;
use crate::plan::{
    Duty, Extent, Item, Plan, Selection, Task, TaskIx, TaskKey, check, fingerprint, graph, select,
};
use crate::playbook::{Action, Argument, ArgumentValue, Body, Effect, ForEach, Judge, Step, Story};
use crate::project::Project;
use crate::template::names::{Checker, Known};
use crate::template::{Scope, Template};

/// Makes the plan for a selection; everything that is wrong with the selected part is told at once.
pub fn make(project: &Project, selection: &Selection, extent: Extent) -> Result<Plan, Diagnostics> {
    let mut problems = Diagnostics::default();
    make_with(project, selection, extent, &mut problems).ok_or(problems)
}

/// What is wrong beyond what was found when the project was read: for a project that has problems already.
pub fn further_problems(project: &Project, problems: &mut Diagnostics) {
    make_with(project, &Selection::Everything, Extent::Whole, problems);
}

fn make_with(
    project: &Project,
    selection: &Selection,
    extent: Extent,
    told: &mut Diagnostics,
) -> Option<Plan> {
    let mut problems = std::mem::take(told);
    let single = match selection {
        Selection::Task { name, arguments } => single_task(project, name, arguments, &mut problems),
        Selection::Story(_) | Selection::Epic(_) | Selection::Everything => None,
    };
    let stories = match &single {
        Some(story) => vec![(story, false)],
        None => select::stories(&project.playbook, selection, extent, &mut problems),
    };
    check::definitions(project, &mut problems);
    let mut maker = Maker {
        project,
        problems,
        drafts: Vec::new(),
        unbound: BTreeSet::new(),
        written_files: fingerprint::written_files(project),
    };
    let mut done: Vec<(String, std::ops::Range<usize>)> = Vec::new();
    for (story, criteria_only) in &stories {
        let range = maker.story(story, *criteria_only, &done);
        done.push((story.id.clone(), range));
    }
    let Maker {
        mut problems,
        drafts,
        unbound,
        ..
    } = maker;
    check::drafts(project, &drafts, &unbound, &mut problems);
    if !problems.is_empty() {
        *told = problems;
        return None;
    }
    let names = stories
        .iter()
        .map(|(story, _)| (story.id.clone(), story.title.clone()))
        .collect();
    Some(Plan {
        goal: selection.words(),
        stories: names,
        tasks: drafts,
    })
}

/// The story of what was typed as `run task NAME`.
const TYPED: &str = "task";

/// A story of one step, for `run task NAME`.
fn single_task(
    project: &Project,
    name: &str,
    typed: &[(String, String)],
    problems: &mut Diagnostics,
) -> Option<Story> {
    let Some(task) = project.playbook.tasks.get(name) else {
        let known: Vec<&str> = project.playbook.tasks.keys().map(String::as_str).collect();
        problems.push(
            Diagnostic::without_place(format!("there is no task `{name}`"))
                .help(format!("the tasks are: {}", known.join(", ")))
                .suggest(name, known.iter().copied()),
        );
        return None;
    };
    for (parameter, _) in typed {
        if !task.parameters.iter().any(|known| known.name == *parameter) {
            problems.push(
                Diagnostic::without_place(format!(
                    "the task `{name}` has no parameter `{parameter}`"
                ))
                .help(format!(
                    "its parameters are: {}",
                    parameters_words(&task.parameters)
                )),
            );
        }
    }
    let arguments = typed
        .iter()
        .map(|(parameter, text)| Argument {
            name: parameter.clone(),
            value: ArgumentValue::Plain(text.clone().into()),
            span: Span::default(),
        })
        .collect();
    let id: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let step = Step {
        id,
        title: task.title.clone(),
        for_each: ForEach::Once,
        needs: Vec::new(),
        arguments,
        parameters: task.parameters.clone(),
        body: task.body.clone(),
        span: task.span,
    };
    Some(Story {
        id: TYPED.into(),
        title: name.into(),
        epic: None,
        priority: None,
        needs: Vec::new(),
        folded_into: None,
        criteria: Vec::new(),
        steps: vec![step],
        span: task.span,
    })
}

fn parameters_words(parameters: &[Field]) -> String {
    parameters
        .iter()
        .map(|field| format!("{} ({})", field.name, field.kind.noun()))
        .collect::<Vec<_>>()
        .join(", ")
}

struct Maker<'a> {
    project: &'a Project,
    problems: Diagnostics,
    drafts: Vec<Task>,
    /// Tasks whose parameters have no values: what would follow from that is not told.
    unbound: BTreeSet<TaskKey>,
    /// What some task writes is no input of any.
    written_files: BTreeSet<String>,
}

impl Maker<'_> {
    /// Adds a story's tasks; gives their range.
    fn story(
        &mut self,
        story: &Story,
        criteria_only: bool,
        done: &[(String, std::ops::Range<usize>)],
    ) -> std::ops::Range<usize> {
        let first = self.drafts.len();
        let places = places(story);
        let gives = story.steps.iter().any(|step| !step.body.outputs.is_empty());
        let order = self.step_order(story, &places);
        // Where the tasks of each step of this story are, by the step's place in the file.
        let mut ranges: Vec<std::ops::Range<usize>> = vec![0..0; story.steps.len()];
        let before = self.sinks_of_needs(story, done);
        for at in order.into_iter().filter(|_| !criteria_only) {
            let step = &story.steps[at];
            let begin = self.drafts.len();
            let needed: Vec<usize> = step
                .needs
                .iter()
                .filter_map(|(need, _)| places.get(need.as_str()))
                .flat_map(|&need| ranges[need].clone())
                .collect();
            let candidates: &[usize] = if step.needs.is_empty() {
                &before
            } else {
                &needed
            };
            for (item, scope) in self.items(&step.for_each, step.span) {
                let needs = self.joined(&item, candidates);
                let sources = if gives {
                    self.outputs_of(story, &item, &(0..self.drafts.len()), &needs)
                } else {
                    Vec::new()
                };
                self.step_task(story, step, item, scope, needs, sources);
            }
            ranges[at] = begin..self.drafts.len();
        }
        let steps_end = self.drafts.len();
        let sinks = self.sinks(first..steps_end);
        let after: &[usize] = if sinks.is_empty() { &before } else { &sinks };
        for (at, criterion) in story.criteria.iter().enumerate() {
            for (item, scope) in self.items(&criterion.for_each, criterion.span) {
                let needs = self.joined(&item, after);
                check::caption(
                    self.project,
                    story,
                    &criterion.text,
                    &scope,
                    &mut self.problems,
                );
                let title = self.render(&criterion.text, &scope);
                let key = TaskKey::new(&story.id, &format!("criterion-{}", at + 1), &item.text());
                let made_of = fingerprint::of_criterion(self.project, criterion, &scope);
                let effect = match criterion.judge {
                    Judge::Check(_) => Effect::Reads,
                    Judge::SignOff(_) => Effect::Manual,
                };
                let sources = if gives {
                    self.outputs_of(story, &item, &(first..steps_end), &needs)
                } else {
                    Vec::new()
                };
                self.drafts.push(Task {
                    story: story.id.clone(),
                    step: format!("criterion-{}", at + 1),
                    item,
                    title,
                    duty: Duty::Criterion {
                        number: at + 1,
                        judge: Arc::new(criterion.judge.clone()),
                    },
                    effect,
                    needs,
                    locks: Vec::new(),
                    arguments: Arc::from([]),
                    parameters: Arc::from([]),
                    scope,
                    fingerprint: made_of.fingerprint(&key),
                    made_of,
                    key,
                    sources,
                    span: criterion.span,
                });
            }
        }
        first..self.drafts.len()
    }

    fn step_task(
        &mut self,
        story: &Story,
        step: &Step,
        item: Item,
        scope: Scope,
        needs: Vec<TaskIx>,
        sources: Vec<(String, Vec<TaskIx>)>,
    ) {
        let binder = Binder {
            templates: &self.project.templates,
            inventory: &self.project.inventory,
            root: &self.project.root,
        };
        // Parameters that are known now are in the plan; those that come from outputs are bound when the task starts.
        let scope = match binder.bind(&step.parameters, &step.arguments, &scope) {
            Ok(bound) => bound,
            Err(_) if uses_outputs(&step.arguments) => scope,
            Err(_) if !check::given(self.project, &step.arguments, &scope, &mut self.problems) => {
                scope
            }
            Err(error) if story.id == TYPED => {
                // What was typed on the command line stands in no file.
                let diagnostic = Diagnostic::without_place(error.message);
                let help = format!("its parameters are: {}", parameters_words(&step.parameters));
                self.problems.push(diagnostic.help(help));
                return;
            }
            Err(error) => {
                let argument = step
                    .arguments
                    .iter()
                    .find(|argument| argument.name == error.parameter);
                let mut diagnostic = Diagnostic::at(
                    argument.map_or(step.span, |argument| argument.span),
                    error.message,
                );
                if argument.is_none() && ["node", "cluster"].contains(&error.parameter.as_str()) {
                    diagnostic = diagnostic.help(format!(
                        "give the step `for_each: {0}s` or `with: {{ {0}: … }}`",
                        error.parameter
                    ));
                }
                self.problems.push(diagnostic);
                self.unbound
                    .insert(TaskKey::new(&story.id, &step.id, &item.text()));
                scope
            }
        };
        if let Some(title) = &step.title
            && !self
                .project
                .playbook
                .is_broken("items of step", &format!("{}/{}", story.id, step.id))
        {
            check::caption(self.project, story, title, &scope, &mut self.problems);
        }
        let key = TaskKey::new(&story.id, &step.id, &item.text());
        let title = step
            .title
            .as_ref()
            .map_or_else(|| step.id.clone(), |title| self.render(title, &scope));
        let locks = step
            .body
            .locks
            .iter()
            .map(|lock| self.render(lock, &scope))
            .collect();
        let made_of = fingerprint::of_step(self.project, &self.written_files, step, &scope);
        self.drafts.push(Task {
            story: story.id.clone(),
            step: step.id.clone(),
            item,
            title,
            effect: step.body.effect,
            duty: Duty::Work(Arc::new(step.body.clone())),
            needs,
            locks,
            arguments: step.arguments.clone().into(),
            parameters: step.parameters.clone().into(),
            scope,
            fingerprint: made_of.fingerprint(&key),
            made_of,
            key,
            sources,
            span: step.span,
        });
    }

    /// The order of a story's steps; unknown needs and cycles are told here.
    fn step_order(&mut self, story: &Story, places: &BTreeMap<&str, usize>) -> Vec<usize> {
        let mut needs = Vec::with_capacity(story.steps.len());
        for step in &story.steps {
            let mut mine = Vec::new();
            for (need, span) in &step.needs {
                if let Some(&at) = places.get(need.as_str()) {
                    mine.push(at);
                } else if self.project.playbook.is_broken("steps of story", &story.id) {
                    // Perhaps it is the step without an id.
                } else {
                    self.problems.push(
                        Diagnostic::at(*span, format!("story {} has no step `{need}`", story.id))
                            .help("`needs` of a step names steps of its own story; stories need stories")
                            .suggest(need, story.steps.iter().map(|step| step.id.as_str())),
                    );
                }
            }
            mine.sort_unstable();
            mine.dedup();
            needs.push(mine);
        }
        match graph::order(story.steps.len(), &needs) {
            Ok(order) => order,
            Err(cycle) => {
                let path: Vec<&str> = cycle
                    .iter()
                    .map(|&at| story.steps[at].id.as_str())
                    .collect();
                let span = cycle.first().map_or(story.span, |&at| story.steps[at].span);
                self.problems.push(
                    Diagnostic::at(
                        span,
                        format!("these steps need each other: {}", path.join(" → ")),
                    )
                    .help("one of them must be able to go first"),
                );
                // There is no plan; the other problems of these steps are told all the same.
                (0..story.steps.len()).collect()
            }
        }
    }

    fn sinks_of_needs(
        &self,
        story: &Story,
        done: &[(String, std::ops::Range<usize>)],
    ) -> Vec<usize> {
        story
            .needs
            .iter()
            .filter_map(|(need, _)| {
                let need = self
                    .project
                    .playbook
                    .stories
                    .get(need)?
                    .folded_into
                    .as_ref()
                    .map_or(need, |(into, _)| into);
                done.iter().find(|(id, _)| id == need)
            })
            .flat_map(|(_, range)| self.sinks(range.clone()))
            .collect()
    }

    /// The tasks of a range on which no other of the range depends.
    fn sinks(&self, range: std::ops::Range<usize>) -> Vec<usize> {
        let mut needed = vec![false; range.len()];
        for task in &self.drafts[range.clone()] {
            for need in &task.needs {
                if let Some(at) = need.0.checked_sub(range.start) {
                    needed[at] = true;
                }
            }
        }
        range
            .clone()
            .filter(|at| !needed[at - range.start])
            .collect()
    }

    fn joined(&self, item: &Item, candidates: &[usize]) -> Vec<TaskIx> {
        let mut needs: Vec<TaskIx> = candidates
            .iter()
            .copied()
            .filter(|&at| item.agrees(&self.drafts[at].item))
            .map(TaskIx)
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Ancestors of this story whose step has outputs.
    fn outputs_of(
        &self,
        story: &Story,
        item: &Item,
        range: &std::ops::Range<usize>,
        needs: &[TaskIx],
    ) -> Vec<(String, Vec<TaskIx>)> {
        let mut ancestors = std::collections::BTreeSet::new();
        let mut stack: Vec<TaskIx> = needs.to_vec();
        while let Some(at) = stack.pop() {
            if range.contains(&at.0) && ancestors.insert(at) {
                stack.extend(&self.drafts[at.0].needs);
            }
        }
        let mut sources: Vec<(String, Vec<TaskIx>)> = Vec::new();
        for at in ancestors {
            let task = &self.drafts[at.0];
            let gives = matches!(&task.duty, Duty::Work(body) if !body.outputs.is_empty());
            if gives && task.story == story.id && item.agrees(&task.item) {
                match sources.iter_mut().find(|(step, _)| *step == task.step) {
                    Some((_, tasks)) => tasks.push(at),
                    None => sources.push((task.step.clone(), vec![at])),
                }
            }
        }
        sources
    }

    fn items(&mut self, each: &ForEach, span: Span) -> Vec<(Item, Scope)> {
        let base = self.project.inventory.scope();
        let clusters = self.project.inventory.clusters();
        let items: Vec<(Item, Scope)> = match each {
            ForEach::Once => return vec![(Item::default(), base)],
            ForEach::Axis(Axis::Clusters) => clusters
                .iter()
                .map(|cluster| {
                    (
                        Item(vec![("cluster".into(), cluster.name().into())]),
                        base.with("cluster", cluster.value()),
                    )
                })
                .collect(),
            ForEach::Axis(Axis::Nodes) => clusters
                .iter()
                .flat_map(|cluster| {
                    // Once a cluster: it holds all of its nodes.
                    let base = base.with("cluster", cluster.value());
                    cluster.nodes().iter().map(move |node| {
                        let item = Item(vec![
                            ("cluster".into(), cluster.name().into()),
                            ("node".into(), node.name().into()),
                        ]);
                        (item, base.with("node", node.value()))
                    })
                })
                .collect(),
            ForEach::List { name, list } => match self.project.templates.value(list, &base) {
                Ok(value) if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) => {
                    self.problems.push(
                        Diagnostic::at(list.span, "`for_each` goes over a list, but this is none")
                            .help("write `{ NAME: [ … ] }` or name a list of the inventory"),
                    );
                    return Vec::new();
                }
                Ok(value) => value
                    .try_iter()
                    .map(|values| {
                        values
                            .map(|value| {
                                let key = value
                                    .get_attr("name")
                                    .ok()
                                    .and_then(|inner| inner.as_str().map(str::to_owned))
                                    .unwrap_or_else(|| value.to_string());
                                (
                                    Item(vec![(name.clone(), key)]),
                                    base.with(name.clone(), value),
                                )
                            })
                            .collect()
                    })
                    .unwrap_or_default(),
                Err(error) => {
                    let checker = Checker {
                        templates: &self.project.templates,
                        sources: &self.project.sources,
                    };
                    if checker.template(list, &base, Known::default(), &mut self.problems) {
                        self.problems
                            .push(checker.pointed(list.span, &list.source, &error));
                    }
                    return Vec::new();
                }
            },
        };
        if items.is_empty() {
            self.problems.push(match each {
                ForEach::List { list, .. } => Diagnostic::at(
                    list.span,
                    "this list is empty, so nothing is ever done for it",
                ),
                ForEach::Once | ForEach::Axis(_) => Diagnostic::at(
                    span,
                    "this is for each cluster or node, but the inventory has none",
                )
                .help(
                    "the inventory is `inventory.yaml`, or what a playbook names as `inventory:`",
                ),
            });
        }
        items
    }

    /// Renders for people; what is known only later stays as it was written.
    fn render(&self, template: &Template, scope: &Scope) -> String {
        self.project
            .templates
            .text(template, scope)
            .unwrap_or_else(|_| template.source.clone())
    }
}

/// Where each step of a story stands; of two that share a name (which is told elsewhere) the first.
fn places(story: &Story) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    for (at, step) in story.steps.iter().enumerate() {
        places.entry(step.id.as_str()).or_insert(at);
    }
    places
}

fn uses_outputs(arguments: &[Argument]) -> bool {
    arguments.iter().any(|argument| matches!(&argument.value, ArgumentValue::Text(text) if text.source.contains("steps.")))
}

/// Whether a body asks a person before it acts.
pub(super) fn asks_first(body: &Body) -> bool {
    body.gate.is_some() || matches!(body.action, Action::Confirm(_))
}
