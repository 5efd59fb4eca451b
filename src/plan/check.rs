//! What must hold before anything runs: names exist, texts parse, claims have their proof, rules are kept.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::{Value, ValueKind};

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::inventory::Inventory;
use crate::kind::{Field, Kind};
use crate::plan::expand::asks_first;
use crate::plan::visit::{self, Text};
use crate::plan::{Duty, Fingerprint, Task, TaskKey};
use crate::playbook::{
    Argument, Body, Effect, Judge, Playbook, Question, Render, RenderSource, Stage, Step,
};
use crate::project::Project;
use crate::template::{Error, Scope};

/// Names that are functions everywhere.
const FUNCTIONS: [&str; 17] = [
    "commands",
    "debug",
    "dict",
    "exists",
    "false",
    "file",
    "loop",
    "namespace",
    "network",
    "none",
    "now",
    "range",
    "seconds",
    "self",
    "true",
    "version",
    "yaml_file",
];

/// Names that every run has.
const RUN: [&str; 2] = ["run", "steps"];

/// A template error, with its place in the YAML file where that can be told.
pub(super) fn pointed(project: &Project, span: Span, source: &str, error: &Error) -> Diagnostic {
    if let Some(file) = &error.file {
        let line = error
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        return Diagnostic::at(span, format!("{file}{line}: {}", error.message));
    }
    Diagnostic::at(
        inner_span(project, span, source, error.range.clone()),
        error.message.clone(),
    )
}

/// The part of a scalar's place that a range of its text has; the whole where the text is not written plainly.
fn inner_span(
    project: &Project,
    span: Span,
    source: &str,
    range: Option<std::ops::Range<usize>>,
) -> Span {
    let written = project.sources.slice(span);
    match (written.find(source), range) {
        (Some(at), Some(range)) if range.end <= source.len() && !range.is_empty() => Span {
            file: span.file,
            start: span.start + at + range.start,
            end: span.start + at + range.end,
        },
        _ => span,
    }
}

/// Everything that is not a task of this plan: probes, tools, providers, rules, stories that nobody selected.
pub(super) fn definitions(project: &Project, problems: &mut Diagnostics) {
    let playbook = &project.playbook;
    for probe in playbook.probes.values() {
        let scope = sample(project, &probe.parameters);
        let mut states = BTreeSet::new();
        for ask in &probe.asks {
            states.extend(ask.answers.iter().map(|(state, _)| state.as_str()));
            visit::ask(ask, &mut |text, more| {
                names(project, &scope, text, more, &[], problems);
            });
        }
        probe
            .title
            .iter()
            .for_each(|title| names(project, &scope, Text::Template(title), &[], &[], problems));
        if states.is_empty() {
            problems.push(Diagnostic::at(
                probe.span,
                format!("the probe `{}` has no answers", probe.name),
            ));
        }
    }
    for render in playbook.renders.values() {
        let scope = axis_sample(project, &render.for_each);
        names(
            project,
            &scope,
            Text::Template(&render.file),
            &[],
            &[],
            problems,
        );
        for stage in &render.stages {
            visit::stage(stage, &mut |text, more| {
                names(project, &scope, text, more, &[], problems);
            });
        }
        for word in &render.check {
            names(project, &scope, Text::Template(word), &[], &[], problems);
        }
    }
    for (scheme, provider) in &playbook.providers {
        let mut scope = project.inventory.scope();
        for name in ["vault", "item"] {
            scope.set(name, Value::from("x"));
        }
        provider
            .item
            .iter()
            .for_each(|word| names(project, &scope, Text::Template(word), &[], &[], problems));
        names(
            project,
            &scope,
            Text::Expr(&provider.value),
            &["json", "field", "section", "exit", "stdout"],
            &[],
            problems,
        );
        if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_lowercase()) {
            problems.push(Diagnostic::at(
                provider.value.span,
                format!("`{scheme}` cannot be the scheme of references"),
            ));
        }
    }
    for tool in playbook.tools.values() {
        let scope = project.inventory.scope();
        for expr in tool
            .again
            .iter()
            .chain(tool.pause.iter().map(|pause| &pause.when))
        {
            names(
                project,
                &scope,
                Text::Expr(expr),
                &visit::ANSWER,
                &[],
                problems,
            );
        }
        for expr in tool
            .version
            .iter()
            .filter_map(|version| version.fits.as_ref())
        {
            names(project, &scope, Text::Expr(expr), &["found"], &[], problems);
        }
    }
    for story in playbook.stories.values() {
        for (name, span) in story.needs.iter().chain(&story.folded_into) {
            if !playbook.stories.contains_key(name) {
                problems.push(
                    Diagnostic::at(*span, format!("there is no story `{name}`"))
                        .suggest(name, playbook.stories.keys().map(String::as_str)),
                );
            }
        }
    }
    rules(project, problems);
}

fn rules(project: &Project, problems: &mut Diagnostics) {
    for rule in &project.playbook.rules {
        names(
            project,
            &project.inventory.scope(),
            Text::Expr(&rule.must),
            &["argv"],
            &[],
            problems,
        );
        if project.templates.check_expr(&rule.must).is_err() {
            continue;
        }
        for (argv, span) in project.playbook.commands() {
            let words: Vec<&str> = argv.iter().map(|word| word.source.as_str()).collect();
            if words.first() != Some(&rule.tool.as_str()) {
                continue;
            }
            let scope = project
                .inventory
                .scope()
                .with("argv", crate::template::value(&words));
            match project.templates.holds(&rule.must, &scope) {
                Ok(true) => {}
                Ok(false) => problems.push(
                    Diagnostic::at(
                        span,
                        format!(
                            "every `{}` command {}, but this does not",
                            rule.tool, rule.say
                        ),
                    )
                    .also(rule.must.span, "the rule"),
                ),
                Err(error) => {
                    problems.push(pointed(project, rule.must.span, &rule.must.source, &error));
                }
            }
        }
    }
}

/// Every task of the plan.
pub(super) fn drafts(project: &Project, tasks: &[Task], problems: &mut Diagnostics) {
    let mut seen: BTreeMap<(String, String), ()> = BTreeMap::new();
    for (at, task) in tasks.iter().enumerate() {
        let outputs: Vec<(&str, Vec<&str>)> = task
            .sources
            .iter()
            .map(|(step, from)| {
                let names = from
                    .first()
                    .map_or_else(Vec::new, |ix| match &tasks[ix.0].duty {
                        Duty::Work(body) => body
                            .outputs
                            .iter()
                            .map(|output| output.name.as_str())
                            .collect(),
                        Duty::Criterion { .. } => Vec::new(),
                    });
                (step.as_str(), names)
            })
            .collect();
        // Names are the same for every item of a step, unless the inventory has optional parts: every item is checked.
        match &task.duty {
            Duty::Work(body) => {
                visit::body(body, &mut |text, more| {
                    names(project, &task.scope, text, more, &outputs, problems);
                });
                visit::arguments(&task.arguments, &mut |text, more| {
                    names(project, &task.scope, text, more, &outputs, problems);
                });
                if seen
                    .insert((task.story.clone(), task.step.clone()), ())
                    .is_none()
                {
                    claims(project, task, body, tasks, problems);
                }
                for question in body
                    .unless
                    .iter()
                    .chain(body.refuse.iter().map(|guard| &guard.question))
                    .chain(body.until.iter().map(|until| &until.question))
                {
                    asked(project, question, &task.scope, problems);
                }
                if let Some(until) = &body.until {
                    lost(
                        &project.playbook,
                        &until.question,
                        &until.lost,
                        task.span,
                        problems,
                    );
                }
            }
            Duty::Criterion { judge, .. } => {
                visit::judge(judge, &mut |text, more| {
                    names(project, &task.scope, text, more, &outputs, problems);
                });
                if let Judge::Check(question) = &**judge {
                    asked(project, question, &task.scope, problems);
                }
            }
        }
        if tasks[..at].iter().any(|other| other.key == task.key) && tasks.len() < 2000 {
            problems.push(Diagnostic::at(
                task.span,
                format!("two tasks would be called `{}`", task.key),
            ));
        }
    }
}

fn claims(project: &Project, task: &Task, body: &Body, tasks: &[Task], problems: &mut Diagnostics) {
    let wants = |what: &str, help: &str| {
        Diagnostic::at(task.span, format!("the step `{}` {what}", task.step)).help(help.to_owned())
    };
    match body.effect {
        Effect::Once if body.unless.is_none() => problems.push(wants(
            "must happen once, but nothing tells whether it already has",
            "give it `unless`, with a probe that sees the effect",
        )),
        Effect::Destructive if !asks_first(body) && !ancestor_asks(task, tasks) => {
            problems.push(wants(
                "destroys, but nobody is asked",
                "give it `confirm`, or let it need a step that has one",
            ));
        }
        Effect::Manual if body.until.is_none() && body.unless.is_none() => problems.push(wants(
            "is done by a person, but nothing sees that it was done",
            "give it `until` or `unless`",
        )),
        Effect::Reads
        | Effect::Idempotent
        | Effect::Once
        | Effect::Destructive
        | Effect::Manual => {}
    }
    for output in &body.outputs {
        if output.secret && body.effect != Effect::Reads {
            problems.push(
                Diagnostic::at(
                    output.span,
                    format!(
                        "the output `{}` is secret, so the step must be `effect: reads`",
                        output.name
                    ),
                )
                .help(
                    "a secret output is never stored; on resume the step is run again to have it",
                ),
            );
        }
    }
    for stage in body.stages() {
        if let Stage::Render(render) = stage {
            template_file(project, render, task, problems);
        }
    }
}

fn template_file(project: &Project, render: &Render, task: &Task, problems: &mut Diagnostics) {
    let RenderSource::File(name) = &render.source else {
        return;
    };
    if let Ok(name) = project.templates.text(name, &task.scope)
        && let Err(error) = project.templates.names_file(&name)
    {
        problems.push(pointed(project, render.span, &name, &error));
    }
}

fn ancestor_asks(task: &Task, tasks: &[Task]) -> bool {
    let mut stack: Vec<_> = task.needs.clone();
    let mut seen = BTreeSet::new();
    while let Some(ix) = stack.pop() {
        if seen.insert(ix) {
            let other = &tasks[ix.0];
            if matches!(&other.duty, Duty::Work(body) if asks_first(body)) {
                return true;
            }
            stack.extend(&other.needs);
        }
    }
    false
}

fn asked(project: &Project, question: &Question, scope: &Scope, problems: &mut Diagnostics) {
    let Question::Probe(asked) = question else {
        return;
    };
    let Some(probe) = project.playbook.probes.get(&asked.probe) else {
        problems.push(
            Diagnostic::at(asked.span, format!("there is no probe `{}`", asked.probe)).suggest(
                &asked.probe,
                project.playbook.probes.keys().map(String::as_str),
            ),
        );
        return;
    };
    let known = states_of(&project.playbook, &asked.probe);
    for state in &asked.states {
        if state != "unknown" && !known.contains(&state.as_str()) {
            problems.push(
                Diagnostic::at(
                    asked.span,
                    format!("the probe `{}` never answers `{state}`", asked.probe),
                )
                .help(format!("its answers are: {}", known.join(", ")))
                .suggest(state, known.iter().copied()),
            );
        }
    }
    for argument in &asked.arguments {
        if !probe
            .parameters
            .iter()
            .any(|parameter| parameter.name == argument.name)
        {
            problems.push(
                Diagnostic::at(
                    argument.span,
                    format!(
                        "the probe `{}` has no parameter `{}`",
                        asked.probe, argument.name
                    ),
                )
                .suggest(
                    &argument.name,
                    probe
                        .parameters
                        .iter()
                        .map(|parameter| parameter.name.as_str()),
                ),
            );
        }
    }
    let first = probe
        .parameters
        .first()
        .filter(|_| asked.each.is_some())
        .map(|parameter| parameter.name.as_str());
    for parameter in &probe.parameters {
        let given = asked
            .arguments
            .iter()
            .any(|argument: &Argument| argument.name == parameter.name)
            || first == Some(parameter.name.as_str())
            || scope.get(&parameter.name).is_some()
            || parameter.default.is_some()
            || parameter.optional;
        if !given {
            problems.push(
                Diagnostic::at(
                    asked.span,
                    format!(
                        "the probe `{}` needs `{}` ({})",
                        asked.probe,
                        parameter.name,
                        parameter.kind.noun()
                    ),
                )
                .help(format!("write `with: {{ {}: ... }}`", parameter.name)),
            );
        }
    }
    if asked.each.is_some() && probe.parameters.is_empty() {
        problems.push(Diagnostic::at(
            asked.span,
            format!(
                "the probe `{}` has no parameter for the elements of `for`",
                asked.probe
            ),
        ));
    }
}

fn lost(
    playbook: &Playbook,
    question: &Question,
    lost: &[String],
    span: Span,
    problems: &mut Diagnostics,
) {
    let Question::Probe(asked) = question else {
        if !lost.is_empty() {
            problems.push(Diagnostic::at(
                span,
                "`lost` names states of a probe, but this `until` asks none",
            ));
        }
        return;
    };
    let known = states_of(playbook, &asked.probe);
    for state in lost {
        if !known.is_empty() && !known.contains(&state.as_str()) {
            problems.push(
                Diagnostic::at(
                    asked.span,
                    format!("the probe `{}` never answers `{state}`", asked.probe),
                )
                .suggest(state, known.iter().copied()),
            );
        }
    }
}

fn states_of<'a>(playbook: &'a Playbook, probe: &str) -> Vec<&'a str> {
    let mut known: Vec<&str> = playbook
        .probes
        .get(probe)
        .map(|probe| {
            probe
                .asks
                .iter()
                .flat_map(|ask| ask.answers.iter().map(|(state, _)| state.as_str()))
                .collect()
        })
        .unwrap_or_default();
    let mut seen = BTreeSet::new();
    known.retain(|state| seen.insert(*state));
    known
}

/// Checks one text: it parses, and every name in it is known now or will be.
fn names(
    project: &Project,
    scope: &Scope,
    text: Text<'_>,
    more: &[&str],
    outputs: &[(&str, Vec<&str>)],
    problems: &mut Diagnostics,
) {
    let (used, span, source) = match text {
        Text::Template(template) => {
            if let Err(error) = project.templates.check(template) {
                problems.push(pointed(project, template.span, &template.source, &error));
                return;
            }
            (
                project.templates.names(template),
                template.span,
                template.source.as_str(),
            )
        }
        Text::Expr(expr) => {
            if let Err(error) = project.templates.check_expr(expr) {
                problems.push(pointed(project, expr.span, &expr.source, &error));
                return;
            }
            (
                project.templates.names_expr(expr),
                expr.span,
                expr.source.as_str(),
            )
        }
        Text::File(name) => {
            let name_at = name.span;
            let Ok(file) = project.templates.text(name, scope) else {
                names(project, scope, Text::Template(name), &[], outputs, problems);
                return;
            };
            match project.templates.names_file(&file) {
                Ok(used) => {
                    for name in used {
                        if let Err((word, near)) = known(&name, scope, more, outputs) {
                            let at = Diagnostic::at(
                                name_at,
                                format!("{file} uses `{word}`, which is not defined"),
                            );
                            problems.push(match near {
                                Some(near) => at.help(format!("did you mean `{near}`?")),
                                None => at,
                            });
                        }
                    }
                }
                Err(error) => problems.push(pointed(project, name.span, &name.source, &error)),
            }
            return;
        }
    };
    for name in used {
        if let Err((word, near)) = known(&name, scope, more, outputs) {
            let range = source.find(&word).map(|at| at..at + word.len());
            let place = inner_span(project, span, source, range);
            let diagnostic = Diagnostic::at(place, format!("`{word}` is not defined here"));
            problems.push(match near {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    }
}

/// Whether a dotted name is known; otherwise the part that is not, and what may have been meant.
fn known(
    name: &str,
    scope: &Scope,
    more: &[&str],
    outputs: &[(&str, Vec<&str>)],
) -> Result<(), (String, Option<String>)> {
    let mut parts = name.split('.');
    let root = parts.next().unwrap_or(name);
    if root == "steps" {
        return step_output(name, outputs);
    }
    let Some(value) = scope.get(root) else {
        if more.contains(&root) || FUNCTIONS.contains(&root) || RUN.contains(&root) {
            return Ok(());
        }
        let candidates = scope.names().chain(more.iter().copied());
        return Err((
            root.to_owned(),
            crate::document::diagnostic::nearest(root, candidates).map(str::to_owned),
        ));
    };
    let mut value = value.clone();
    let mut path = root.to_owned();
    for part in parts {
        if value.kind() != ValueKind::Map {
            return Ok(());
        }
        path = format!("{path}.{part}");
        match value.get_attr(part) {
            Ok(inner) if !inner.is_undefined() => value = inner,
            _ => {
                let keys: Vec<String> = value
                    .try_iter()
                    .map(|keys| keys.map(|key| key.to_string()).collect())
                    .unwrap_or_default();
                // A method of mappings, such as `items`, is not a key.
                if ["items", "keys", "values", "get"].contains(&part) {
                    return Ok(());
                }
                let near =
                    crate::document::diagnostic::nearest(part, keys.iter().map(String::as_str))
                        .map(str::to_owned);
                return Err((path, near));
            }
        }
    }
    Ok(())
}

fn step_output(name: &str, outputs: &[(&str, Vec<&str>)]) -> Result<(), (String, Option<String>)> {
    let mut parts = name.split('.').skip(1);
    let Some(step) = parts.next() else {
        return Ok(());
    };
    let Some((_, names)) = outputs.iter().find(|(known, _)| *known == step) else {
        let near =
            crate::document::diagnostic::nearest(step, outputs.iter().map(|(known, _)| *known))
                .map(|near| format!("steps.{near}"));
        return Err((format!("steps.{step}"), near));
    };
    match parts.next() {
        Some(output) if !names.contains(&output) => {
            let near = crate::document::diagnostic::nearest(output, names.iter().copied())
                .map(|near| format!("steps.{step}.{near}"));
            Err((format!("steps.{step}.{output}"), near))
        }
        _ => Ok(()),
    }
}

/// A scope in which parameters have values of the right shape.
fn sample(project: &Project, parameters: &[Field]) -> Scope {
    let mut scope = project.inventory.scope();
    for parameter in parameters {
        scope.set(
            parameter.name.clone(),
            sample_value(&project.inventory, &parameter.kind),
        );
    }
    scope
}

fn sample_value(inventory: &Inventory, kind: &Kind) -> Value {
    match kind {
        Kind::Node => inventory
            .nodes()
            .next()
            .map_or_else(|| Value::from("node"), crate::inventory::Node::value),
        Kind::Cluster => inventory
            .clusters()
            .first()
            .map_or_else(|| Value::from("cluster"), crate::inventory::Cluster::value),
        _ => Value::from("sample"),
    }
}

fn axis_sample(project: &Project, each: &crate::playbook::ForEach) -> Scope {
    use crate::inventory::Axis;
    use crate::playbook::ForEach;
    let scope = project.inventory.scope();
    let cluster = sample_value(&project.inventory, &Kind::Cluster);
    match each {
        ForEach::Once => scope,
        ForEach::Axis(Axis::Clusters) => scope.with("cluster", cluster),
        ForEach::Axis(Axis::Nodes) => scope
            .with("cluster", cluster)
            .with("node", sample_value(&project.inventory, &Kind::Node)),
        ForEach::List { name, .. } => scope.with(name.clone(), Value::from("sample")),
    }
}

/// What a task's work is made of: its definition, the probes it asks, the texts that can be known now, and the template files.
pub(super) fn fingerprint(
    project: &Project,
    key: &TaskKey,
    step: &Step,
    scope: &Scope,
) -> Fingerprint {
    let mut parts: Vec<String> = vec![
        key.to_string(),
        format!("{:?}", step.body),
        format!("{:?}", step.arguments),
    ];
    let written: Vec<String> = step
        .body
        .stages()
        .filter_map(|stage| match stage {
            Stage::Render(render) => project.templates.text(render.to.as_ref()?, scope).ok(),
            Stage::Exec(_) => None,
        })
        .collect();
    let mut add = |text: Text<'_>, _: &[&str]| match text {
        Text::Template(template) => parts.extend(project.templates.text(template, scope)),
        Text::Expr(_) => {}
        Text::File(name) => {
            if let Ok(name) = project.templates.text(name, scope) {
                let source = crate::template::below(&project.root, &name)
                    .ok()
                    .and_then(|path| std::fs::read_to_string(path).ok())
                    .unwrap_or_default();
                // A template that reads the file that it writes would make a task of its own effect: a resume would find it changed.
                if !written.iter().any(|path| source.contains(path)) {
                    parts.extend(project.templates.file(&name, scope));
                }
                parts.push(source);
            }
        }
    };
    visit::body(&step.body, &mut add);
    let questions = step
        .body
        .unless
        .iter()
        .chain(step.body.until.iter().map(|until| &until.question));
    for question in questions {
        if let Question::Probe(asked) = question
            && let Some(probe) = project.playbook.probes.get(&asked.probe)
        {
            parts.push(format!("{probe:?}"));
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Fingerprint::of(&parts)
}
