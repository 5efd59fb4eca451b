//! Which way something is rebuilt: the questions that tell, and what was chosen.

use std::sync::Arc;

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::inventory::{Axis, Cluster, Node};
use crate::kind::Field;
use crate::plan::bind::{Binder, Error};
use crate::plan::check::{self, Outputs};
use crate::plan::visit::{self, Text};
use crate::plan::{Chosen, Duty, Found, Item, Plan, Task, TaskKey, fingerprint};
use crate::playbook::{
    Argument, ArgumentValue, Criterion, Effect, ForEach, Judge, Path, Rebuild, Story,
};
use crate::project::Project;
use crate::template::names::FUNCTIONS;
use crate::template::{self, Scope, Template};

/// What is to be rebuilt, and all that is known of it before anything is asked.
pub struct Rebuilding<'a> {
    rebuild: &'a Rebuild,
    cluster: &'a Cluster,
    node: Option<&'a Node>,
    scope: Scope,
}

impl<'a> Rebuilding<'a> {
    /// Of this cluster, or of this node of it, with what was typed about it.
    pub fn new(
        project: &'a Project,
        rebuild: &'a Rebuild,
        (cluster, node): (&'a Cluster, Option<&'a Node>),
        typed: &[(String, String)],
    ) -> Result<Self, Error> {
        let mut scope = project.inventory.scope().with("cluster", cluster.value());
        if let Some(node) = node {
            scope.set("node", node.value());
        }
        if let Some((name, _)) = typed
            .iter()
            .find(|(name, _)| rebuild.parameters.iter().all(|known| known.name != *name))
        {
            return Err(Error {
                message: format!("there is nothing called `{name}` to say about it"),
                parameter: name.clone(),
            });
        }
        let arguments: Vec<Argument> = typed
            .iter()
            .map(|(name, text)| Argument {
                name: name.clone(),
                value: ArgumentValue::Plain(text.clone().into()),
                span: Span::default(),
            })
            .collect();
        let mut scope = binder(project).bind(&rebuild.parameters, &arguments, &scope)?;
        for (name, text) in &rebuild.names {
            let value = project
                .templates
                .value(text, &scope)
                .map_err(|error| Error {
                    message: format!("`{name}`: {error}"),
                    parameter: name.clone(),
                })?;
            scope.set(name.clone(), value);
        }
        Ok(Self {
            rebuild,
            cluster,
            node,
            scope,
        })
    }

    /// A sentence of the playbook about it.
    pub fn text(&self, project: &Project, text: &Template) -> String {
        project
            .templates
            .text(text, &self.scope)
            .unwrap_or_else(|_| text.source.clone())
    }
}

fn binder(project: &Project) -> Binder<'_> {
    Binder {
        templates: &project.templates,
        inventory: &project.inventory,
        root: &project.root,
    }
}

/// The questions of a rebuild, as criteria: those of each choice, in their order.
pub fn questions(project: &Project, rebuilding: &Rebuilding<'_>) -> Plan {
    let mut tasks = Vec::new();
    let choices = rebuilding.rebuild.choices.iter();
    for (choice, question) in
        choices.flat_map(|choice| choice.when.iter().map(move |question| (choice, question)))
    {
        let at = tasks.len();
        let key = TaskKey::new("rebuild", &format!("criterion-{}", at + 1), "");
        let text = match &choice.title {
            Some(title) => title.clone(),
            None => Template {
                source: format!("question {}", at + 1),
                span: choice.span,
            },
        };
        let title = rebuilding.text(project, &text);
        let criterion = Criterion {
            text,
            for_each: ForEach::Once,
            judge: Judge::Check(question.clone()),
            span: choice.span,
        };
        let made_of = fingerprint::of_criterion(project, &criterion, &rebuilding.scope);
        tasks.push(Task {
            story: "rebuild".into(),
            step: format!("criterion-{}", at + 1),
            item: Item::default(),
            title,
            duty: Duty::Criterion {
                number: at + 1,
                judge: Arc::new(criterion.judge),
            },
            effect: Effect::Reads,
            needs: Vec::new(),
            locks: Vec::new(),
            arguments: Arc::from([]),
            parameters: Arc::from([]),
            given_in: rebuilding.scope.clone(),
            scope: rebuilding.scope.clone(),
            fingerprint: made_of.fingerprint(&key),
            made_of,
            key,
            sources: Vec::new(),
            span: choice.span,
        });
    }
    Plan {
        goal: "the way to rebuild it".into(),
        stories: vec![("rebuild".into(), "The way to rebuild it".into())],
        tasks,
    }
}

/// What the story of a choice is run with.
pub fn chosen(
    project: &Project,
    rebuilding: &Rebuilding<'_>,
    (story, arguments): (&str, &[Argument]),
    found: Vec<Found>,
    outage_since: Option<jiff::Timestamp>,
) -> Result<Chosen, Error> {
    let parameters: &[Field] = project
        .playbook
        .stories
        .get(story)
        .map_or(&[], |story| &story.parameters);
    let bound = binder(project).bind(parameters, arguments, &rebuilding.scope)?;
    let arguments = parameters
        .iter()
        .filter_map(|parameter| {
            let value = bound.get(&parameter.name)?;
            Some((parameter.name.clone(), template::to_json(value)))
        })
        .collect();
    Ok(Chosen {
        cluster: rebuilding.cluster.name().to_owned(),
        node: rebuilding.node.map(|node| node.name().to_owned()),
        story: story.to_owned(),
        arguments,
        found,
        outage_since,
    })
}

/// What must hold before anything is rebuilt.
pub(super) fn check(project: &Project, problems: &mut Diagnostics) {
    let playbook = &project.playbook;
    for rebuild in playbook.rebuilds.values() {
        let mut scope = check::axis_sample(project, &ForEach::Axis(rebuild.axis));
        for parameter in &rebuild.parameters {
            let value = parameter.default.clone().unwrap_or_default();
            scope.set(parameter.name.clone(), template::value(&value));
            hides_nothing(&parameter.name, rebuild.span, problems);
        }
        for (name, text) in &rebuild.names {
            let text = Text::Template(text);
            check::names(project, &scope, text, &[], Outputs::default(), problems);
            scope.set(name.clone(), template::value(&name));
            hides_nothing(name, rebuild.span, problems);
        }
        let look = |text: Text<'_>, more: &[&str], problems: &mut Diagnostics| {
            check::names(project, &scope, text, more, Outputs::default(), problems);
        };
        for choice in &rebuild.choices {
            if let Some(title) = &choice.title {
                look(Text::Template(title), &[], problems);
            }
            for question in &choice.when {
                visit::question(question, &mut |text, more| look(text, more, problems));
                check::asked(project, question, &scope, problems);
            }
            match &choice.path {
                Path::Refuse(say) => look(Text::Template(say), &[], problems),
                Path::Story {
                    id,
                    span,
                    arguments,
                } => {
                    visit::arguments(arguments, &mut |text, more| look(text, more, problems));
                    match playbook.stories.get(id) {
                        Some(story) => of_story(playbook_name(rebuild), story, arguments, problems),
                        None if playbook.is_broken("story", id) => {}
                        None => problems.push(
                            Diagnostic::at(*span, format!("there is no story `{id}`"))
                                .suggest(id, playbook.stories.keys().map(String::as_str)),
                        ),
                    }
                }
            }
        }
    }
    for story in playbook.stories.values() {
        for parameter in &story.parameters {
            hides_nothing(&parameter.name, story.span, problems);
        }
        if !story.parameters.is_empty() && playbook.rebuild_of(&story.id).is_none() {
            problems.push(
                Diagnostic::at(
                    story.span,
                    format!("story {} has parameters, but nothing gives them", story.id),
                )
                .help("only a story that a rebuild takes has `with`"),
            );
        }
        for (need, span) in &story.needs {
            if let Some(rebuild) = playbook.rebuild_of(need) {
                problems.push(Diagnostic::at(
                    *span,
                    format!("story {need} is a way to rebuild a {rebuild}: no story can need it"),
                ));
            }
        }
    }
}

/// What a rebuild or its story calls something reaches every probe and task that they use, so it must not be called like a function: what
/// calls that would find the value.
fn hides_nothing(name: &str, span: Span, problems: &mut Diagnostics) {
    if FUNCTIONS.contains(&name) {
        problems.push(
            Diagnostic::at(
                span,
                format!("nothing here can be called `{name}`: that is a function"),
            )
            .help("texts that call it would find this value instead; give it another name"),
        );
    }
}

fn playbook_name(rebuild: &Rebuild) -> &'static str {
    match rebuild.axis {
        Axis::Clusters => "cluster",
        Axis::Nodes => "node",
    }
}

/// A story that a rebuild takes gets what it wants, and is part of nothing else.
fn of_story(what: &str, story: &Story, arguments: &[Argument], problems: &mut Diagnostics) {
    if story.epic.is_some() || story.folded_into.is_some() {
        problems.push(Diagnostic::at(
            story.span,
            format!(
                "story {} is a way to rebuild a {what}, so it belongs to no epic and is folded into nothing",
                story.id
            ),
        ));
    }
    for argument in arguments {
        if story
            .parameters
            .iter()
            .all(|parameter| parameter.name != argument.name)
        {
            let known = story.parameters.iter().map(|known| known.name.as_str());
            problems.push(
                Diagnostic::at(
                    argument.span,
                    format!("story {} has no parameter `{}`", story.id, argument.name),
                )
                .suggest(&argument.name, known),
            );
        }
    }
    for parameter in &story.parameters {
        let given = arguments
            .iter()
            .any(|argument| argument.name == parameter.name);
        if !given && parameter.default.is_none() && !parameter.optional {
            problems.push(Diagnostic::at(
                story.span,
                format!(
                    "story {} needs `{}`, which the rebuild of a {what} does not give it",
                    story.id, parameter.name
                ),
            ));
        }
    }
}
