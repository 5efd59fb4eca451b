//! Reading what is done: processes, pipes, templates, human gates, and the body that surrounds them.

use std::time::Duration;

use crate::document::fields::text;
use crate::document::{Diagnostic, Diagnostics, Fields, Node, Shape, Span};
use crate::playbook::read::{as_template, expr, template, templates};
use crate::playbook::read_question::{guard, question, retry, until};
use crate::playbook::{
    Action, Body, Confirm, Effect, Exec, Output, Parse, References, Render, RenderSource, Stage,
};
use crate::template::Template;

/// A body as it was written on a step or task: what was not written is not there, so that a step can take it from its task.
#[derive(Default)]
pub(super) struct WrittenBody {
    pub(super) body: Option<Body>,
    pub(super) given: Vec<&'static str>,
    pub(super) task: Option<(String, Span)>,
}

const ACTIONS: [&str; 6] = ["exec", "shell", "pipe", "render", "confirm", "task"];

pub(super) fn body(fields: &mut Fields<'_>, problems: &mut Diagnostics) -> WrittenBody {
    let mut given: Vec<&'static str> = Vec::new();
    let mut take = |fields: &mut Fields<'_>, name: &'static str| {
        let node = fields.has(name);
        if node {
            given.push(name);
        }
        node
    };
    for name in [
        "when", "unless", "refuse", "until", "met", "maybe", "retry", "timeout", "effect", "lock",
        "cleanup", "outputs", "inputs", "env", "cwd", "stdin", "secret",
    ] {
        take(fields, name);
    }
    let written: Vec<&'static str> = ACTIONS
        .into_iter()
        .filter(|name| fields.has(name))
        .collect();
    let task = fields.text("task", problems);
    let acts: Vec<&'static str> = written
        .iter()
        .copied()
        .filter(|name| *name != "confirm")
        .collect();
    if acts.len() > 1 {
        problems.push(
            Diagnostic::at(
                fields.span(),
                format!("a step has one action, but this has {}", acts.join(" and ")),
            )
            .help("make two steps of it, or a `pipe`"),
        );
    }
    let secret = fields.flag("secret", problems);
    let confirm = fields
        .take("confirm")
        .and_then(|node| confirm(node, problems));
    let exec = fields
        .take("exec")
        .and_then(|node| parse_stage("exec", node, problems));
    let shell = fields
        .take("shell")
        .and_then(|node| parse_stage("shell", node, problems));
    let render = fields
        .take("render")
        .and_then(|node| parse_stage("render", node, problems));
    let pipe = fields.take("pipe").map(|node| stages(node, problems));
    let mut gate = None;
    let action = match (pipe, exec.or(shell).or(render)) {
        (Some(pipe), _) => {
            gate = confirm;
            Action::Pipe(pipe)
        }
        (None, Some(stage)) => {
            gate = confirm;
            Action::Pipe(vec![stage])
        }
        (None, None) => match confirm {
            Some(confirm) if task.is_none() => Action::Confirm(confirm),
            confirm => {
                gate = confirm;
                Action::Wait
            }
        },
    };
    if gate.is_some() {
        given.push("gate");
    }
    let body = Body {
        when: fields
            .take("when")
            .and_then(|node| expr(node, "when", problems)),
        unless: fields
            .take("unless")
            .and_then(|node| question(node, problems)),
        refuse: fields
            .list("refuse", problems)
            .into_iter()
            .filter_map(|node| guard(node, problems))
            .collect(),
        gate,
        action,
        until: fields.take("until").and_then(|node| until(node, problems)),
        met: fields
            .take("met")
            .and_then(|node| expr(node, "met", problems)),
        maybe: fields
            .take("maybe")
            .and_then(|node| expr(node, "maybe", problems)),
        retry: fields.take("retry").and_then(|node| retry(node, problems)),
        timeout: fields
            .duration("timeout", problems)
            .unwrap_or(Duration::from_secs(600)),
        effect: effect(fields, problems),
        locks: locks(fields.take("lock"), problems),
        cleanup: fields
            .list("cleanup", problems)
            .into_iter()
            .filter_map(|node| cleanup(node, problems))
            .collect(),
        outputs: fields
            .map("outputs", problems)
            .iter()
            .filter_map(|(key, node)| output(&key.text, node, problems))
            .collect(),
        inputs: fields
            .take("inputs")
            .and_then(|node| templates(node, "inputs", problems))
            .unwrap_or_default(),
        env: env(fields, problems),
        cwd: fields
            .take("cwd")
            .and_then(|node| template(node, "cwd", problems)),
        stdin: fields
            .take("stdin")
            .and_then(|node| template(node, "stdin", problems)),
        secret,
    };
    let meant = !written.is_empty() || fields.misspells(&ACTIONS);
    let waits = matches!(body.action, Action::Wait);
    if waits && !meant && !given.contains(&"until") && !fields.misspells(&["until"]) {
        problems.push(
            Diagnostic::at(
                fields.span(),
                "this step does nothing and waits for nothing",
            )
            .help(format!(
                "give it one of: {}; or `until`",
                ACTIONS.join(", ")
            )),
        );
    }
    WrittenBody {
        body: Some(body),
        given,
        task,
    }
}

/// Lays what a step says over what its task says.
pub(super) fn overlay(step: Body, given: &[&'static str], task: &Body) -> Body {
    let has = |name: &str| given.contains(&name);
    let mut merged = task.clone();
    if has("when") {
        merged.when = step.when;
    }
    if has("unless") {
        merged.unless = step.unless;
    }
    if has("refuse") {
        merged.refuse = step.refuse;
    }
    if has("gate") {
        merged.gate = step.gate;
    }
    if has("until") {
        merged.until = step.until;
    }
    if has("met") {
        merged.met = step.met;
    }
    if has("maybe") {
        merged.maybe = step.maybe;
    }
    if has("retry") {
        merged.retry = step.retry;
    }
    if has("timeout") {
        merged.timeout = step.timeout;
    }
    if has("effect") {
        merged.effect = step.effect;
    }
    if has("lock") {
        merged.locks = step.locks;
    }
    if has("cleanup") {
        merged.cleanup = step.cleanup;
    }
    if has("outputs") {
        merged.outputs = step.outputs;
    }
    if has("inputs") {
        merged.inputs = step.inputs;
    }
    if has("env") {
        merged.env = step.env;
    }
    if has("cwd") {
        merged.cwd = step.cwd;
    }
    if has("stdin") {
        merged.stdin = step.stdin;
    }
    if has("secret") {
        merged.secret = step.secret;
    }
    merged
}

pub(super) fn parse_stage(kind: &str, node: &Node, problems: &mut Diagnostics) -> Option<Stage> {
    match kind {
        "shell" => {
            let (script, span) = text(node, "shell", problems)?;
            if script.trim().is_empty() {
                problems.push(Diagnostic::at(
                    span,
                    "`shell` is empty: it is what the shell is to do",
                ));
                return None;
            }
            let argv = vec![
                as_template("sh", span),
                as_template("-c", span),
                as_template(&script, span),
            ];
            Some(Stage::Exec(Exec {
                argv,
                shell: true,
                env: Vec::new(),
                timeout: None,
                secret: false,
                span,
            }))
        }
        "render" => render(node, problems).map(Stage::Render),
        _ => {
            let argv = argv(node, "exec", problems)?;
            Some(Stage::Exec(Exec {
                argv,
                shell: false,
                env: Vec::new(),
                timeout: None,
                secret: false,
                span: node.span,
            }))
        }
    }
}

pub(super) fn argv(node: &Node, name: &str, problems: &mut Diagnostics) -> Option<Vec<Template>> {
    let words = templates(node, name, problems)?;
    let elements = match &node.shape {
        Shape::List(values) => values.len(),
        _ => 0,
    };
    if elements == 0
        || words
            .first()
            .is_some_and(|word| word.source.trim().is_empty())
    {
        problems.push(Diagnostic::at(
            node.span,
            format!("`{name}` names no program: it is a program and its arguments"),
        ));
        return None;
    }
    Some(words)
}

pub(super) fn stages(node: &Node, problems: &mut Diagnostics) -> Vec<Stage> {
    let Shape::List(values) = &node.shape else {
        problems.push(Diagnostic::at(
            node.span,
            format!(
                "`pipe` is a list of stages, but this is {}",
                node.shape.noun()
            ),
        ));
        return Vec::new();
    };
    if values.is_empty() {
        problems.push(Diagnostic::at(node.span, "`pipe` is empty"));
    }
    values
        .iter()
        .filter_map(|value| stage(value, problems))
        .collect()
}

fn stage(node: &Node, problems: &mut Diagnostics) -> Option<Stage> {
    let mut fields = Fields::open(node, "a stage", problems)?;
    let env = env(&mut fields, problems);
    let timeout = fields.duration("timeout", problems);
    let secret = fields.flag("secret", problems);
    let found: Vec<(&'static str, &Node)> = ["exec", "shell", "render"]
        .into_iter()
        .filter_map(|name| fields.take(name).map(|node| (name, node)))
        .collect();
    let misspelt = fields.misspells(&ACTIONS);
    fields.close(problems);
    let [(kind, inner)] = found.as_slice() else {
        if !(found.is_empty() && misspelt) {
            problems.push(Diagnostic::at(
                node.span,
                "a stage has one of `exec`, `shell` and `render`",
            ));
        }
        return None;
    };
    match parse_stage(kind, inner, problems)? {
        Stage::Exec(exec) => Some(Stage::Exec(Exec {
            env,
            timeout,
            secret,
            ..exec
        })),
        render @ Stage::Render(_) => Some(render),
    }
}

fn render(node: &Node, problems: &mut Diagnostics) -> Option<Render> {
    if let Some(file) = node.text() {
        if file.trim().is_empty() {
            problems.push(Diagnostic::at(node.span, "`render` names no template file"));
            return None;
        }
        let source = RenderSource::File(as_template(file, node.span));
        return Some(Render {
            source,
            to: None,
            mode: 0o644,
            secrets: References::Keep,
            input: None,
            span: node.span,
        });
    }
    let mut fields = Fields::open(node, "`render`", problems)?;
    let file = fields
        .take("template")
        .and_then(|node| template(node, "template", problems));
    let inline = fields
        .take("text")
        .and_then(|node| template(node, "text", problems));
    let to = fields
        .take("to")
        .and_then(|node| template(node, "to", problems));
    let mode = fields
        .text("mode", problems)
        .map_or(Some(0o644), |(mode, span)| {
            let parsed = u32::from_str_radix(&mode, 8)
                .ok()
                .filter(|mode| *mode <= 0o777);
            if parsed.is_none() {
                problems.push(Diagnostic::at(
                    span,
                    format!("`{mode}` is not a file mode such as \"0600\""),
                ));
            }
            parsed
        });
    let secrets =
        fields
            .text("secrets", problems)
            .map_or(Some(References::Keep), |(word, span)| match word.as_str() {
                "keep" => Some(References::Keep),
                "resolve" => Some(References::Resolve),
                "placeholders" => Some(References::Placeholders),
                "input" => Some(References::Input),
                _ => {
                    problems.push(
                    Diagnostic::at(
                        span,
                        format!(
                            "`secrets` is keep, resolve, placeholders or input, but not `{word}`"
                        ),
                    )
                    .suggest(&word, ["keep", "resolve", "placeholders", "input"]),
                );
                    None
                }
            });
    let input = fields
        .take("input")
        .and_then(|node| parse(node, "input", problems));
    fields.close(problems);
    let source = match (file, inline) {
        (Some(file), None) => RenderSource::File(file),
        (None, Some(inline)) => RenderSource::Text(inline),
        _ => {
            problems.push(Diagnostic::at(
                node.span,
                "`render` has one of `template` and `text`",
            ));
            return None;
        }
    };
    Some(Render {
        source,
        to,
        mode: mode?,
        secrets: secrets?,
        input,
        span: node.span,
    })
}

fn parse(node: &Node, name: &str, problems: &mut Diagnostics) -> Option<Parse> {
    let (word, span) = text(node, name, problems)?;
    match word.as_str() {
        "text" => Some(Parse::Text),
        "json" => Some(Parse::Json),
        "yaml" => Some(Parse::Yaml),
        _ => {
            problems.push(Diagnostic::at(
                span,
                format!("`{name}` is text, json or yaml, but not `{word}`"),
            ));
            None
        }
    }
}

fn confirm(node: &Node, problems: &mut Diagnostics) -> Option<Confirm> {
    let mut fields = Fields::open(node, "`confirm`", problems)?;
    let say = fields
        .need("say", problems)
        .and_then(|node| template(node, "say", problems));
    let word = fields
        .take("word")
        .and_then(|node| template(node, "word", problems));
    fields.close(problems);
    Some(Confirm {
        say: say?,
        word,
        span: node.span,
    })
}

fn effect(fields: &mut Fields<'_>, problems: &mut Diagnostics) -> Effect {
    const WORDS: [(&str, Effect); 5] = [
        ("reads", Effect::Reads),
        ("idempotent", Effect::Idempotent),
        ("once", Effect::Once),
        ("destructive", Effect::Destructive),
        ("manual", Effect::Manual),
    ];
    let Some((word, span)) = fields.text("effect", problems) else {
        return Effect::Idempotent;
    };
    if let Some((_, effect)) = WORDS.iter().find(|(known, _)| *known == word) {
        return *effect;
    }
    problems.push(
        Diagnostic::at(span, format!("there is no effect `{word}`"))
            .help(format!(
                "the effects are: {}",
                WORDS.map(|(word, _)| word).join(", ")
            ))
            .suggest(&word, WORDS.iter().map(|(word, _)| *word)),
    );
    Effect::Idempotent
}

fn locks(node: Option<&Node>, problems: &mut Diagnostics) -> Vec<Template> {
    match node {
        None => Vec::new(),
        Some(Node {
            shape: Shape::List(values),
            ..
        }) => values
            .iter()
            .filter_map(|value| template(value, "lock", problems))
            .collect(),
        Some(node) => template(node, "lock", problems).into_iter().collect(),
    }
}

fn cleanup(node: &Node, problems: &mut Diagnostics) -> Option<Vec<Stage>> {
    let mut fields = Fields::open(node, "a cleanup", problems)?;
    let pipe = fields.take("pipe");
    let single: Vec<(&'static str, &Node)> = ["exec", "shell"]
        .into_iter()
        .filter_map(|name| fields.take(name).map(|node| (name, node)))
        .collect();
    let misspelt = fields.misspells(&ACTIONS);
    fields.close(problems);
    match (pipe, single.as_slice()) {
        (None, []) if misspelt => None,
        (Some(pipe), []) => Some(stages(pipe, problems)),
        (None, [(kind, node)]) => parse_stage(kind, node, problems).map(|stage| vec![stage]),
        _ => {
            problems.push(Diagnostic::at(
                node.span,
                "a cleanup has one of `exec`, `shell` and `pipe`",
            ));
            None
        }
    }
}

fn output(name: &str, node: &Node, problems: &mut Diagnostics) -> Option<Output> {
    let mut fields = Fields::open(node, "an output", problems)?;
    if let Some((from, span)) = fields.text("from", problems)
        && from != "stdout"
    {
        problems.push(Diagnostic::at(span, "an output comes from `stdout`"));
    }
    let parse = fields
        .take("parse")
        .and_then(|node| parse(node, "parse", problems))
        .unwrap_or(Parse::Text);
    let select = fields
        .take("select")
        .and_then(|node| expr(node, "select", problems));
    let secret = fields.flag("secret", problems);
    fields.close(problems);
    Some(Output {
        name: name.to_owned(),
        parse,
        select,
        secret,
        span: node.span,
    })
}

pub(super) fn env(fields: &mut Fields<'_>, problems: &mut Diagnostics) -> Vec<(String, Template)> {
    let entries = fields.map("env", problems);
    entries
        .iter()
        .filter_map(|(key, node)| {
            if key.text.is_empty() || key.text.contains(['=', '\0', ' ']) {
                problems.push(Diagnostic::at(
                    key.span,
                    format!("`{}` cannot be the name of a variable", key.text),
                ));
            }
            template(node, &key.text, problems).map(|value| (key.text.clone(), value))
        })
        .collect()
}
