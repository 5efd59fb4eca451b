//! Every text of a body, with the names that are defined only while it runs.

use crate::playbook::{
    Action, Argument, ArgumentValue, Ask, Body, How, Judge, Question, Render, RenderSource, Stage,
};
use crate::template::{Expr, Template};

/// A text that has to be checked.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    /// With braces.
    Template(&'a Template),
    /// Without.
    Expr(&'a Expr),
    /// The name of a template file (may itself have braces).
    File(&'a Template),
}

/// Names that exist only beside a command's answer.
pub(super) const ANSWER: [&str; 10] = [
    "exit",
    "signal",
    "timed_out",
    "stdout",
    "stderr",
    "json",
    "yaml",
    "jsons",
    "yamls",
    "value",
];
/// Names that exist only in a rendered stage.
pub(super) const INPUT: [&str; 1] = ["input"];
/// Names that an answer about a tree has.
pub(super) const TREE: [&str; 1] = ["differs"];
/// Names that a file answer has.
pub(super) const FILE: [&str; 6] = ["exists", "text", "json", "yaml", "jsons", "yamls"];

type Visitor<'v> = dyn FnMut(Text<'_>, &[&str]) + 'v;

pub(super) fn body(body: &Body, visit: &mut Visitor<'_>) {
    if let Some(expr) = &body.when {
        visit(Text::Expr(expr), &[]);
    }
    for asked in body
        .unless
        .iter()
        .chain(body.refuse.iter().map(|guard| &guard.question))
        .chain(body.until.iter().map(|until| &until.question))
    {
        question(asked, visit);
    }
    body.refuse
        .iter()
        .map(|guard| &guard.say)
        .chain(body.until.iter().filter_map(|until| until.say.as_ref()))
        .for_each(|say| visit(Text::Template(say), &[]));
    for gate in body.gate.iter().chain(match &body.action {
        Action::Confirm(confirm) => Some(confirm),
        Action::Pipe(_) | Action::Wait => None,
    }) {
        visit(Text::Template(&gate.say), &[]);
        gate.word
            .iter()
            .for_each(|word| visit(Text::Template(word), &[]));
    }
    body.stages().for_each(|one| stage(one, visit));
    for expr in body
        .met
        .iter()
        .chain(&body.maybe)
        .chain(body.retry.iter().filter_map(|retry| retry.when.as_ref()))
    {
        visit(Text::Expr(expr), &ANSWER);
    }
    for output in &body.outputs {
        output
            .select
            .iter()
            .for_each(|expr| visit(Text::Expr(expr), &ANSWER));
    }
    body.locks
        .iter()
        .for_each(|lock| visit(Text::Template(lock), &[]));
    body.inputs
        .iter()
        .for_each(|file| visit(Text::Template(file), &[]));
    body.env
        .iter()
        .for_each(|(_, text)| visit(Text::Template(text), &[]));
    body.cwd
        .iter()
        .chain(&body.stdin)
        .for_each(|text| visit(Text::Template(text), &[]));
}

pub(super) fn judge(judged: &Judge, visit: &mut Visitor<'_>) {
    match judged {
        Judge::Check(asked) => question(asked, visit),
        Judge::SignOff(text) => visit(Text::Template(text), &[]),
    }
}

pub(super) fn question(asked: &Question, visit: &mut Visitor<'_>) {
    match asked {
        Question::That(expr) => visit(Text::Expr(expr), &[]),
        Question::Probe(probe) => {
            arguments(&probe.arguments, visit);
            probe
                .each
                .iter()
                .for_each(|each| visit(Text::Template(each), &[]));
        }
    }
}

pub(super) fn arguments(given: &[Argument], visit: &mut Visitor<'_>) {
    for argument in given {
        if let ArgumentValue::Text(text) = &argument.value {
            visit(Text::Template(text), &[]);
        }
    }
}

pub(super) fn stage(one: &Stage, visit: &mut Visitor<'_>) {
    match one {
        Stage::Exec(exec) => {
            exec.argv
                .iter()
                .for_each(|word| visit(Text::Template(word), &[]));
            exec.env
                .iter()
                .for_each(|(_, text)| visit(Text::Template(text), &[]));
        }
        Stage::Render(Render { source, to, .. }) => {
            match source {
                RenderSource::File(file) => visit(Text::File(file), &INPUT),
                RenderSource::Text(text) => visit(Text::Template(text), &INPUT),
                // Its templates are checked where the target is.
                RenderSource::Tree(_) => {}
            }
            if let Some(to) = to {
                visit(Text::Template(to), &[]);
            }
        }
    }
}

pub(super) fn ask(one: &Ask, visit: &mut Visitor<'_>) {
    let names: &[&str] = match &one.how {
        How::Pipe(stages) => {
            for one in stages {
                stage(one, visit);
            }
            &ANSWER
        }
        How::File(file) => {
            visit(Text::Template(file), &[]);
            &FILE
        }
        How::Tree(_) => &TREE,
        How::Nothing => &[],
    };
    one.answers
        .iter()
        .for_each(|(_, expr)| visit(Text::Expr(expr), names));
}
