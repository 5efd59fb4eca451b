//! Playbook and inventory become tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::ValueKind;

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::inventory::Axis;
use crate::kind::Field;
use crate::plan::bind::Binder;
use crate::plan::unit::{Index, Need, Part, Unit};
use crate::plan::{
    Chosen, Duty, Extent, Item, Plan, Selection, Task, TaskIx, TaskKey, check, fingerprint, select,
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
        Selection::Story(_)
        | Selection::Epic(_)
        | Selection::Rebuild(_)
        | Selection::Everything => None,
    };
    let stories = match &single {
        Some(story) => vec![(story, false)],
        None => select::stories(&project.playbook, selection, extent, &mut problems),
    };
    check::definitions(project, &mut problems);
    // Whoever asks for one story learns it from the step that renders.
    if *selection == Selection::Everything && problems.is_empty() {
        check::trees_hold(project, &mut problems);
    }
    let index = Index::new(&project.playbook, &stories);
    index.check(&mut problems);
    let order = index.order(&mut problems);
    let bases = bases(project, selection, &stories, &mut problems);
    let mut maker = Maker {
        project,
        index: &index,
        bases,
        only: match selection {
            Selection::Rebuild(chosen) => Some(chosen),
            Selection::Story(_)
            | Selection::Epic(_)
            | Selection::Task { .. }
            | Selection::Everything => None,
        },
        problems,
        drafts: Vec::new(),
        made: BTreeMap::new(),
        sinks: BTreeMap::new(),
        before: BTreeMap::new(),
        unbound: BTreeSet::new(),
        written_files: fingerprint::written_files(project),
    };
    for unit in order {
        maker.unit(unit);
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

/// The names that every step and criterion of a story knows, story by story: those of the inventory, and the story's parameters.
fn bases(
    project: &Project,
    selection: &Selection,
    stories: &[(&Story, bool)],
    problems: &mut Diagnostics,
) -> Vec<Scope> {
    let given: Vec<Argument> = match selection {
        Selection::Rebuild(chosen) => chosen
            .arguments
            .iter()
            .map(|(name, value)| Argument {
                name: name.clone(),
                value: ArgumentValue::Plain(value.clone()),
                span: Span::default(),
            })
            .collect(),
        Selection::Story(_)
        | Selection::Epic(_)
        | Selection::Task { .. }
        | Selection::Everything => Vec::new(),
    };
    let binder = Binder {
        templates: &project.templates,
        inventory: &project.inventory,
        root: &project.root,
    };
    let mut bind = |story: &Story| {
        if story.parameters.is_empty() {
            return project.inventory.scope();
        }
        let Selection::Rebuild(_) = selection else {
            // Whoever looks at everything looks at its texts, not at one rebuild.
            return check::sample(project, &story.parameters);
        };
        let scope = project.inventory.scope();
        binder
            .bind(&story.parameters, &given, &scope)
            .unwrap_or_else(|error| {
                problems.push(Diagnostic::at(
                    story.span,
                    format!("this rebuild cannot be taken: {error}"),
                ));
                scope
            })
    };
    stories.iter().map(|(story, _)| bind(story)).collect()
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
        parameters: Vec::new(),
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
    /// The selected stories.
    index: &'a Index<'a>,
    /// The names that each of them knows.
    bases: Vec<Scope>,
    /// What is not for this is left out.
    only: Option<&'a Chosen>,
    problems: Diagnostics,
    drafts: Vec<Task>,
    /// The tasks of each unit that was made.
    made: BTreeMap<Unit, Range<usize>>,
    /// The last tasks of the stories that were made, and of what each story needs.
    sinks: BTreeMap<usize, Vec<usize>>,
    before: BTreeMap<usize, Vec<usize>>,
    /// Tasks whose parameters have no values: what would follow from that is not told.
    unbound: BTreeSet<TaskKey>,
    /// What some task writes is no input of any.
    written_files: BTreeSet<String>,
}

impl Maker<'_> {
    /// Adds the tasks of a step, or of a story's criteria.
    fn unit(&mut self, unit: Unit) {
        let begin = self.drafts.len();
        match unit.part {
            Part::Step(at) => self.step(unit.story, at),
            Part::Criteria => self.criteria(unit.story),
        }
        self.made.insert(unit, begin..self.drafts.len());
    }

    fn step(&mut self, number: usize, at: usize) {
        let story = self.index.story(number);
        let step = &story.steps[at];
        let mut before: Vec<usize> = Vec::new();
        let mut rooted = true;
        for (need, _) in &step.needs {
            match self.index.resolve(number, need) {
                Some(Need::Own(own)) => {
                    rooted = false;
                    before.extend(self.tasks(number, Part::Step(own)));
                }
                Some(Need::Step(other, own)) => before.extend(self.tasks_of(other, own)),
                Some(Need::Story(other)) => {
                    if let Some(other) = self.index.number(&other.id) {
                        before.extend(self.sinks(other));
                    }
                }
                None => {}
            }
        }
        // What comes before a story comes before those of its steps that need none of its own.
        if rooted {
            before.extend(self.sinks_of_needs(number));
        }
        let gives = self.index.gives(number);
        for (item, scope) in self.items(number, &step.for_each, step.span) {
            let needs = self.joined(&item, &before);
            let sources = if gives {
                self.outputs_of(story, &item, &needs)
            } else {
                Vec::new()
            };
            self.step_task(story, step, item, scope, needs, sources);
        }
    }

    fn criteria(&mut self, number: usize) {
        let story = self.index.story(number);
        let gives = self.index.gives(number);
        let steps: Vec<usize> = (0..story.steps.len())
            .flat_map(|step| self.tasks(number, Part::Step(step)))
            .collect();
        let sinks = self.unneeded(&steps);
        let after = if sinks.is_empty() {
            self.sinks_of_needs(number)
        } else {
            sinks
        };
        for (at, criterion) in story.criteria.iter().enumerate() {
            for (item, scope) in self.items(number, &criterion.for_each, criterion.span) {
                let needs = self.joined(&item, &after);
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
                    self.outputs_of(story, &item, &needs)
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
                    given_in: scope.clone(),
                    scope,
                    fingerprint: made_of.fingerprint(&key),
                    made_of,
                    key,
                    sources,
                    span: criterion.span,
                });
            }
        }
    }

    /// The tasks of a part of a story that was made before.
    fn tasks(&self, story: usize, part: Part) -> Range<usize> {
        self.made
            .get(&Unit { story, part })
            .cloned()
            .unwrap_or(0..0)
    }

    /// The tasks of a step of another story; those of all of it where only its criteria are asked.
    fn tasks_of(&mut self, story: &Story, step: usize) -> Vec<usize> {
        match self.index.number(&story.id) {
            Some(number) if self.index.criteria_only(number) => self.sinks(number),
            Some(number) => self.tasks(number, Part::Step(step)).collect(),
            None => Vec::new(),
        }
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
        let given_in = scope.clone();
        let scope = match binder.bind_known(&step.parameters, &step.arguments, &scope) {
            Ok(bound) => bound,
            Err(_)
                if !check::given(
                    self.project,
                    &binder.known(&step.arguments),
                    &scope,
                    &mut self.problems,
                ) =>
            {
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
            given_in,
            scope,
            fingerprint: made_of.fingerprint(&key),
            made_of,
            key,
            sources,
            span: step.span,
        });
    }

    /// The last tasks of the stories that a story needs.
    fn sinks_of_needs(&mut self, number: usize) -> Vec<usize> {
        if let Some(known) = self.before.get(&number) {
            return known.clone();
        }
        let before: Vec<usize> = self
            .index
            .needed(number)
            .into_iter()
            .flat_map(|needed| self.sinks(needed))
            .collect();
        self.before.insert(number, before.clone());
        before
    }

    /// The tasks of a story, all of which are made, on which no other of the story depends.
    fn sinks(&mut self, number: usize) -> Vec<usize> {
        if let Some(known) = self.sinks.get(&number) {
            return known.clone();
        }
        let steps = self.index.story(number).steps.len();
        let all: Vec<usize> = (0..steps)
            .map(Part::Step)
            .chain([Part::Criteria])
            .flat_map(|part| self.tasks(number, part))
            .collect();
        let sinks = self.unneeded(&all);
        self.sinks.insert(number, sinks.clone());
        sinks
    }

    /// Those on which no other of them depends.
    fn unneeded(&self, tasks: &[usize]) -> Vec<usize> {
        let needed: BTreeSet<usize> = tasks
            .iter()
            .flat_map(|&at| self.drafts[at].needs.iter().map(|need| need.0))
            .collect();
        tasks
            .iter()
            .copied()
            .filter(|at| !needed.contains(at))
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
        needs: &[TaskIx],
    ) -> Vec<(String, Vec<TaskIx>)> {
        let mut ancestors = BTreeSet::new();
        let mut stack: Vec<TaskIx> = needs.to_vec();
        while let Some(at) = stack.pop() {
            if ancestors.insert(at) {
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

    /// The items that are part of the run.
    fn items(&mut self, story: usize, each: &ForEach, span: Span) -> Vec<(Item, Scope)> {
        let mut items = self.all_items(story, each, span);
        if let Some(only) = self.only {
            items.retain(|(item, _)| only.admits(item));
        }
        items
    }

    fn all_items(&mut self, story: usize, each: &ForEach, span: Span) -> Vec<(Item, Scope)> {
        let base = self.bases[story].clone();
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

/// Whether a body asks a person before it acts.
pub(super) fn asks_first(body: &Body) -> bool {
    body.gate.is_some() || matches!(body.action, Action::Confirm(_))
}
