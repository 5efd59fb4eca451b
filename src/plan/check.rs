//! What must hold before anything runs: names exist, texts parse, claims have their proof, rules are kept.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::Value;

use crate::document::{Diagnostic, Diagnostics, Span};
use crate::inventory::Inventory;
use crate::kind::{Field, Kind};
use crate::plan::expand::asks_first;
use crate::plan::visit::{self, Text};
use crate::plan::{Duty, Task, TaskKey};
use crate::playbook::read::list_of;
use crate::playbook::{
    Argument, Body, Effect, Judge, Playbook, Probe, Question, RenderSource, Stage, Step, Story,
    TaskDefinition, Until,
};
use crate::project::Project;
use crate::template::names::{Checker, Known, constant};
use crate::template::{Scope, Template};

/// Everything that is not a task of this plan: probes, tools, providers, rules, stories that nobody selected.
pub(super) fn definitions(project: &Project, problems: &mut Diagnostics) {
    let playbook = &project.playbook;
    for probe in playbook.probes.values() {
        let scope = sample(project, &probe.parameters);
        let mut states = BTreeSet::new();
        for ask in &probe.asks {
            states.extend(ask.answers.iter().map(|(state, _)| state.as_str()));
            visit::ask(ask, &mut |text, more| {
                alone(project, &scope, text, more, problems);
            });
        }
        if let Some(title) = &probe.title {
            alone(project, &scope, Text::Template(title), &[], problems);
        }
        if states.is_empty() && !playbook.is_broken("probe", &probe.name) {
            problems.push(Diagnostic::at(
                probe.span,
                format!("the probe `{}` has no answers", probe.name),
            ));
        }
        for (state, span) in &probe.steady {
            if !states.is_empty() && !states.contains(state.as_str()) {
                problems.push(
                    Diagnostic::at(
                        *span,
                        format!("the probe `{}` never answers `{state}`", probe.name),
                    )
                    .suggest(state, states.iter().copied()),
                );
            }
        }
        answers(project, probe, problems);
    }
    for render in playbook.renders.values() {
        if !render.trees.is_empty() {
            let checker = Checker {
                templates: &project.templates,
                sources: &project.sources,
            };
            crate::tree::look(
                project,
                render,
                &mut |name, scope, more, problems| {
                    let known = Known {
                        more,
                        ..Known::default()
                    };
                    checker.file(name, scope, known, problems);
                },
                problems,
            );
            continue;
        }
        let scope = axis_sample(project, &render.for_each);
        alone(project, &scope, Text::Template(&render.file), &[], problems);
        for stage in &render.stages {
            visit::stage(stage, &mut |text, more| {
                alone(project, &scope, text, more, problems);
            });
        }
        for word in &render.check {
            alone(project, &scope, Text::Template(word), &[], problems);
        }
    }
    for (scheme, provider) in &playbook.providers {
        let mut scope = project.inventory.scope();
        for name in ["vault", "item"] {
            scope.set(name, Value::from("x"));
        }
        for word in &provider.item {
            alone(project, &scope, Text::Template(word), &[], problems);
        }
        alone(
            project,
            &scope,
            Text::Expr(&provider.value),
            &["json", "field", "section", "exit", "stdout"],
            problems,
        );
        if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_lowercase()) {
            problems.push(
                Diagnostic::at(
                    provider.value.span,
                    format!("`{scheme}` cannot be the scheme of references"),
                )
                .help("a scheme is small letters: `op` is the one of op://VAULT/ITEM/FIELD"),
            );
        }
    }
    for tool in playbook.tools.values() {
        let scope = project.inventory.scope();
        for expr in tool
            .again
            .iter()
            .chain(tool.pause.iter().map(|pause| &pause.when))
        {
            alone(project, &scope, Text::Expr(expr), &visit::ANSWER, problems);
        }
        for word in tool
            .pause
            .iter()
            .flat_map(|pause| &pause.until)
            .chain(tool.version.iter().flat_map(|version| &version.run))
        {
            alone(project, &scope, Text::Template(word), &[], problems);
        }
        for expr in tool
            .version
            .iter()
            .filter_map(|version| version.fits.as_ref())
        {
            alone(project, &scope, Text::Expr(expr), &["found"], problems);
        }
    }
    for task in playbook.tasks.values() {
        task_alone(project, task, problems);
    }
    for story in playbook.stories.values() {
        if let Some((into, span)) = &story.folded_into
            && let Some(target) = playbook.stories.get(into)
            && let Some((further, _)) = &target.folded_into
        {
            let why = if *into == story.id {
                format!("story {into} is folded into itself")
            } else {
                format!("story {into} is itself folded into {further}")
            };
            problems
                .push(Diagnostic::at(*span, why).help("name a story that has steps of its own"));
        }
        for (name, span) in story.needs.iter().chain(&story.folded_into) {
            if !playbook.stories.contains_key(name) && !playbook.is_broken("story", name) {
                problems.push(
                    Diagnostic::at(*span, format!("there is no story `{name}`"))
                        .suggest(name, playbook.stories.keys().map(String::as_str)),
                );
            }
        }
    }
    super::rebuild::check(project, problems);
    rules(project, problems);
}

fn rules(project: &Project, problems: &mut Diagnostics) {
    for rule in &project.playbook.rules {
        alone(
            project,
            &project.inventory.scope(),
            Text::Expr(&rule.must),
            &["argv"],
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
                    problems.push(
                        Diagnostic::at(
                            rule.must.span,
                            format!("this rule cannot be asked of every command line: {error}"),
                        )
                        .also(span, "not of this one"),
                    );
                    break;
                }
            }
        }
    }
}

/// Every task of the plan.
pub(super) fn drafts(
    project: &Project,
    tasks: &[Task],
    unbound: &BTreeSet<TaskKey>,
    problems: &mut Diagnostics,
) {
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    let mut told: BTreeSet<(&TaskKey, Span)> = BTreeSet::new();
    let mut giving: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for task in tasks {
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
        let elsewhere = giving.entry(task.story.as_str()).or_insert_with(|| {
            let story = project.playbook.stories.get(&task.story);
            story
                .into_iter()
                .flat_map(|story| &story.steps)
                .filter(|step| !step.body.outputs.is_empty())
                .map(|step| step.id.as_str())
                .collect()
        });
        let outputs = Outputs {
            before: &outputs,
            elsewhere,
        };
        let step = format!("{}/{}", task.story, task.step);
        if project.playbook.is_broken("items of step", &step) || unbound.contains(&task.key) {
            continue;
        }
        // Names are the same for every item of a step, unless the inventory has optional parts: every item is checked.
        match &task.duty {
            Duty::Work(body) => {
                // What the task is given by an earlier step has no value yet.
                let later: Vec<&str> = task
                    .parameters
                    .iter()
                    .map(|parameter| parameter.name.as_str())
                    .filter(|name| task.scope.get(name).is_none())
                    .collect();
                visit::body(body, &mut |text, more| {
                    let more = [more, &later].concat();
                    names(project, &task.scope, text, &more, outputs, problems);
                });
                visit::arguments(&task.arguments, &mut |text, more| {
                    names(project, &task.scope, text, more, outputs, problems);
                });
                if seen.insert((task.story.clone(), task.step.clone()))
                    && !project.playbook.is_broken("step", &step)
                {
                    claims(task, body, tasks, problems);
                    reached(project, task, body, problems);
                }
                body_asks(project, body, &task.scope, problems);
            }
            Duty::Criterion { judge, .. } => {
                visit::judge(judge, &mut |text, more| {
                    names(project, &task.scope, text, more, outputs, problems);
                });
                if let Judge::Check(question) = &**judge {
                    asked(project, question, &task.scope, problems);
                }
            }
        }
        if !told.insert((&task.key, task.span)) {
            problems.push(Diagnostic::at(
                task.span,
                format!("two tasks would be called `{}`", task.key),
            ));
        }
    }
}

fn claims(task: &Task, body: &Body, tasks: &[Task], problems: &mut Diagnostics) {
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
}

/// Whether a step can ever do something.
fn reached(project: &Project, task: &Task, body: &Body, problems: &mut Diagnostics) {
    if let Some(when) = &body.when
        && constant(&project.templates, when) == Some(false)
    {
        problems.push(
            Diagnostic::at(
                when.span,
                format!(
                    "the step `{}` is never reached: this is always false",
                    task.step
                ),
            )
            .help("take the step away, or say when it applies"),
        );
    }
    if let Some(Question::That(that)) = &body.unless
        && constant(&project.templates, that) == Some(true)
    {
        problems.push(
            Diagnostic::at(
                that.span,
                format!(
                    "the step `{}` is never reached: this is always true",
                    task.step
                ),
            )
            .help("`unless` asks whether the effect is there already"),
        );
    }
}

/// Whether every answer of a probe can be given.
fn answers(project: &Project, probe: &Probe, problems: &mut Diagnostics) {
    let mut always: Option<(&str, Span)> = None;
    for (state, condition) in probe.asks.iter().flat_map(|ask| &ask.answers) {
        if let Some((first, span)) = always {
            problems.push(
                Diagnostic::at(
                    condition.span,
                    format!("the probe `{}` never comes to `{state}` here", probe.name),
                )
                .also(span, format!("always true, so it is always `{first}`"))
                .help("the first condition that holds names the state: put this one first"),
            );
            continue;
        }
        match constant(&project.templates, condition) {
            Some(true) => always = Some((state.as_str(), condition.span)),
            Some(false) => problems.push(
                Diagnostic::at(
                    condition.span,
                    format!(
                        "the probe `{}` never answers `{state}` here: this is always false",
                        probe.name
                    ),
                )
                .help("take the answer away, or say when it is so"),
            ),
            None => {}
        }
    }
}

/// A task that no step uses is checked by itself: `run task` may be asked to do it.
fn task_alone(project: &Project, task: &TaskDefinition, problems: &mut Diagnostics) {
    let playbook = &project.playbook;
    if playbook.used_tasks.contains(&task.name) || playbook.is_broken("task", &task.name) {
        return;
    }
    let scope = sample(project, &task.parameters);
    if let Some(title) = &task.title {
        alone(project, &scope, Text::Template(title), &[], problems);
    }
    visit::body(&task.body, &mut |text, more| {
        alone(project, &scope, text, more, problems);
    });
    body_asks(project, &task.body, &scope, problems);
}

/// All questions of a body.
fn body_asks(project: &Project, body: &Body, scope: &Scope, problems: &mut Diagnostics) {
    for question in body
        .unless
        .iter()
        .chain(body.refuse.iter().map(|guard| &guard.question))
        .chain(body.until.iter().map(|until| &until.question))
    {
        asked(project, question, scope, problems);
    }
    if let Some(until) = &body.until {
        lost(project, until, problems);
    }
    for tree in trees(body) {
        let renders = &project.playbook.renders;
        if renders
            .get(&tree.source)
            .is_none_or(|target| target.trees.is_empty())
        {
            let known = renders
                .iter()
                .filter(|(_, target)| !target.trees.is_empty());
            problems.push(
                Diagnostic::at(tree.span, format!("there is no tree `{}`", tree.source))
                    .help("a tree is one of `renders` that has `trees`")
                    .suggest(&tree.source, known.map(|(name, _)| name.as_str())),
            );
        }
    }
}

/// Where a state of a question stands: the word after the probe's name.
fn state_span(project: &Project, probe: Span, state: &str) -> Span {
    let Some(rest) = project
        .sources
        .source(probe)
        .and_then(|source| source.text.get(probe.end..))
    else {
        return probe;
    };
    let word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    rest.match_indices(state)
        .map(|(at, _)| at)
        .take_while(|at| *at < 400)
        .find(|at| !rest[..*at].ends_with(word) && !rest[at + state.len()..].starts_with(word))
        .map_or(probe, |at| Span {
            file: probe.file,
            start: probe.end + at,
            end: probe.end + at + state.len(),
        })
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

pub(super) fn asked(
    project: &Project,
    question: &Question,
    scope: &Scope,
    problems: &mut Diagnostics,
) {
    let Question::Probe(asked) = question else {
        return;
    };
    if project.playbook.is_broken("probe", &asked.probe) {
        return;
    }
    let Some(probe) = project.playbook.probes.get(&asked.probe) else {
        problems.push(
            Diagnostic::at(asked.span, format!("there is no probe `{}`", asked.probe))
                .help(list_of("the probes are", project.playbook.probes.keys()))
                .suggest(
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
                    state_span(project, asked.span, state),
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

fn lost(project: &Project, until: &Until, problems: &mut Diagnostics) {
    let Question::Probe(asked) = &until.question else {
        if let (Question::That(that), false) = (&until.question, until.lost.is_empty()) {
            problems.push(Diagnostic::at(
                that.span,
                "`lost` names states of a probe, but this `until` asks none",
            ));
        }
        return;
    };
    if project.playbook.is_broken("probe", &asked.probe) {
        return;
    }
    let known = states_of(&project.playbook, &asked.probe);
    for state in &until.lost {
        if !known.is_empty() && !known.contains(&state.as_str()) {
            problems.push(
                Diagnostic::at(
                    state_span(project, asked.span, state),
                    format!("the probe `{}` never answers `{state}`", asked.probe),
                )
                .help(format!("its answers are: {}", known.join(", ")))
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
pub(super) fn names(
    project: &Project,
    scope: &Scope,
    text: Text<'_>,
    more: &[&str],
    outputs: Outputs<'_>,
    problems: &mut Diagnostics,
) -> bool {
    let checker = Checker {
        templates: &project.templates,
        sources: &project.sources,
    };
    let known = Known {
        more,
        outputs: outputs.before,
        elsewhere: outputs.elsewhere,
    };
    match text {
        Text::Template(template) => checker.template(template, scope, known, problems),
        Text::Expr(expr) => checker.expr(expr, scope, known, problems),
        Text::File(name) => {
            checker.file(name, scope, known, problems);
            true
        }
    }
}

/// The same, where no step has come before.
fn alone(
    project: &Project,
    scope: &Scope,
    text: Text<'_>,
    more: &[&str],
    problems: &mut Diagnostics,
) -> bool {
    names(project, scope, text, more, Outputs::default(), problems)
}

/// The outputs that a text may read, and the steps whose outputs it may not.
#[derive(Clone, Copy, Default)]
pub(super) struct Outputs<'a> {
    before: &'a [(&'a str, Vec<&'a str>)],
    elsewhere: &'a [&'a str],
}

/// Checks a text for people. It may name any output of its story: what is known only later stays as it was written.
pub(super) fn caption(
    project: &Project,
    story: &Story,
    text: &Template,
    scope: &Scope,
    problems: &mut Diagnostics,
) {
    let outputs: Vec<(&str, Vec<&str>)> = story
        .steps
        .iter()
        .filter(|step| !step.body.outputs.is_empty())
        .map(outputs_of)
        .collect();
    let outputs = Outputs {
        before: &outputs,
        elsewhere: &[],
    };
    names(project, scope, Text::Template(text), &[], outputs, problems);
}

/// Checks what a step gives to its task, before it is bound; gives whether all of it is sound.
pub(super) fn given(
    project: &Project,
    arguments: &[Argument],
    scope: &Scope,
    problems: &mut Diagnostics,
) -> bool {
    let mut sound = true;
    visit::arguments(arguments, &mut |text, more| {
        sound &= alone(project, scope, text, more, problems);
    });
    sound
}

fn outputs_of(step: &Step) -> (&str, Vec<&str>) {
    let names = step.body.outputs.iter();
    let names = names.map(|output| output.name.as_str()).collect();
    (step.id.as_str(), names)
}

/// A scope in which parameters have values of the right shape.
pub(super) fn sample(project: &Project, parameters: &[Field]) -> Scope {
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

pub(super) fn axis_sample(project: &Project, each: &crate::playbook::ForEach) -> Scope {
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

/// The trees that a body renders.
fn trees(body: &Body) -> impl Iterator<Item = &Template> {
    body.stages().filter_map(|stage| match stage {
        Stage::Render(render) => match &render.source {
            RenderSource::Tree(tree) => Some(tree),
            RenderSource::File(_) | RenderSource::Text(_) => None,
        },
        Stage::Exec(_) => None,
    })
}

/// Makes every tree, and tells what its checks find.
pub(super) fn trees_hold(project: &Project, problems: &mut Diagnostics) {
    for (name, target) in &project.playbook.renders {
        if target.trees.is_empty() {
            continue;
        }
        if let Err(told) = crate::tree::make(project, target) {
            for problem in told {
                problems.push(Diagnostic::at(
                    target.span,
                    format!("the tree `{name}` does not hold: {problem}"),
                ));
            }
        }
    }
}
