//! Reading questions, probes, waits, guards and retries.

use std::time::Duration;

use crate::document::{Diagnostic, Diagnostics, Fields, Node, Shape};
use crate::kind::Field;
use crate::playbook::read::{as_template, expr, states, template};
use crate::playbook::read_action::{argv, stages};
use crate::playbook::{
    Argument, ArgumentValue, Ask, Exec, Guard, How, Probe, ProbeQuestion, Question, Retry, Stage,
    Until,
};

const QUESTION: &str = "a question";

pub(super) fn question(node: &Node, problems: &mut Diagnostics) -> Option<Question> {
    if let Some(word) = node.text() {
        problems.push(
            Diagnostic::at(node.span, "a question is a mapping, but this is text").help(format!(
                "write `{{ probe: {word}, is: STATE }}` or `{{ that: CONDITION }}`"
            )),
        );
        return None;
    }
    let mut fields = Fields::open(node, QUESTION, problems)?;
    let question = question_fields(&mut fields, node, problems);
    fields.close(problems);
    question
}

fn question_fields(
    fields: &mut Fields<'_>,
    node: &Node,
    problems: &mut Diagnostics,
) -> Option<Question> {
    if let Some(that) = fields.take("that") {
        if fields.has("probe") {
            problems.push(Diagnostic::at(
                that.span,
                "a question has one of `probe` and `that`, but this has both",
            ));
            for name in ["probe", "is", "is_not", "with", "for", "any"] {
                fields.take(name);
            }
        }
        return expr(that, "that", problems).map(Question::That);
    }
    if !fields.has("probe") {
        problems.push(Diagnostic::at(
            fields.span(),
            "a question needs `probe` (with `is`) or `that`",
        ));
        return None;
    }
    let (probe, span) = fields.need_text("probe", problems)?;
    let arguments = arguments(fields.take("with"), problems);
    let is = fields.take("is").map(|node| states(node, "is", problems));
    let is_not = fields
        .take("is_not")
        .map(|node| states(node, "is_not", problems));
    let each = fields
        .take("for")
        .and_then(|node| template(node, "for", problems));
    let any = fields.flag("any", problems);
    let (states, negated) = match (is, is_not) {
        (Some(states), None) => (states, false),
        (None, Some(states)) => (states, true),
        _ => {
            problems.push(Diagnostic::at(
                node.span,
                "a question to a probe needs one of `is` and `is_not`",
            ));
            return None;
        }
    };
    Some(Question::Probe(ProbeQuestion {
        probe,
        arguments,
        states,
        negated,
        each,
        any,
        span,
    }))
}

pub(super) fn until(node: &Node, problems: &mut Diagnostics) -> Option<Until> {
    let mut fields = Fields::open(node, "`until`", problems)?;
    let question = question_fields(&mut fields, node, problems);
    let every = fields
        .duration("every", problems)
        .unwrap_or(Duration::from_secs(1));
    let within = fields
        .duration("within", problems)
        .unwrap_or(Duration::from_secs(600));
    let lost = fields
        .take("lost")
        .map(|node| states(node, "lost", problems))
        .unwrap_or_default();
    let lost_after = fields
        .duration("lost_after", problems)
        .unwrap_or(Duration::from_secs(60));
    let say = fields
        .take("say")
        .and_then(|node| template(node, "say", problems));
    fields.close(problems);
    Some(Until {
        question: question?,
        every,
        within,
        lost,
        lost_after,
        say,
    })
}

pub(super) fn guard(node: &Node, problems: &mut Diagnostics) -> Option<Guard> {
    let mut fields = Fields::open(node, "a guard", problems)?;
    let when = fields.take("when");
    let unless = fields.take("unless");
    let say = fields
        .need("say", problems)
        .and_then(|node| template(node, "say", problems));
    fields.close(problems);
    let (asked, is_when) = match (when, unless) {
        (Some(node), None) => (node, true),
        (None, Some(node)) => (node, false),
        _ => {
            problems.push(Diagnostic::at(
                node.span,
                "a guard has one of `when` and `unless`, each with a question",
            ));
            return None;
        }
    };
    Some(Guard {
        question: question(asked, problems)?,
        when: is_when,
        say: say?,
    })
}

pub(super) fn retry(node: &Node, problems: &mut Diagnostics) -> Option<Retry> {
    let mut fields = Fields::open(node, "`retry`", problems)?;
    let gave_up = fields.has("attempts") || fields.has("within");
    let attempts = fields.count("attempts", problems);
    let within = fields.duration("within", problems);
    let every = fields
        .duration("every", problems)
        .unwrap_or(Duration::from_secs(5));
    let backoff = match fields.take("backoff").map(|node| (&node.shape, node.span)) {
        None => 1.0,
        Some((Shape::Int(factor @ 1..=10), _)) => f64::from(u32::try_from(*factor).unwrap_or(1)),
        Some((Shape::Float(factor), _)) if (1.0..=10.0).contains(factor) => *factor,
        Some((_, span)) => {
            problems.push(Diagnostic::at(span, "`backoff` is a number from 1 to 10"));
            1.0
        }
    };
    let at_most = fields
        .duration("at_most", problems)
        .unwrap_or(Duration::from_secs(60));
    let when = fields
        .take("when")
        .and_then(|node| expr(node, "when", problems));
    fields.close(problems);
    if attempts == Some(0) {
        problems.push(
            Diagnostic::at(
                node.span,
                "`attempts` is 1 or more: the first attempt counts",
            )
            .help("leave `retry` out to try once"),
        );
    }
    if attempts.is_none() && within.is_none() && !gave_up {
        problems.push(Diagnostic::at(
            node.span,
            "`retry` needs `attempts` or `within`: nothing is tried for ever",
        ));
    }
    Some(Retry {
        attempts,
        within,
        every,
        backoff,
        at_most,
        when,
    })
}

pub(super) fn arguments(node: Option<&Node>, problems: &mut Diagnostics) -> Vec<Argument> {
    let Some(node) = node else { return Vec::new() };
    let Shape::Map(entries) = &node.shape else {
        problems.push(Diagnostic::at(
            node.span,
            format!("`with` is a mapping, but this is {}", node.shape.noun()),
        ));
        return Vec::new();
    };
    entries
        .iter()
        .map(|(key, value)| Argument {
            name: key.text.clone(),
            value: match &value.shape {
                Shape::Text(text) => ArgumentValue::Text(as_template(text, value.span)),
                _ => ArgumentValue::Plain(value.to_json()),
            },
            span: key.span,
        })
        .collect()
}

pub(super) fn parameters(node: Option<&Node>, problems: &mut Diagnostics) -> Vec<Field> {
    let Some(node) = node else { return Vec::new() };
    let Shape::Map(entries) = &node.shape else {
        problems.push(Diagnostic::at(
            node.span,
            format!(
                "parameters are a mapping of names to types, but this is {}",
                node.shape.noun()
            ),
        ));
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|(key, node)| Field::read(&key.text, node, problems))
        .collect()
}

pub(super) fn probe(name: &str, node: &Node, problems: &mut Diagnostics) -> Option<Probe> {
    let mut fields = Fields::open(node, "a probe", problems)?;
    let title = fields
        .take("title")
        .and_then(|node| template(node, "title", problems));
    let parameters = parameters(fields.take("with"), problems);
    let settle = fields
        .duration("settle", problems)
        .unwrap_or(Duration::from_secs(30));
    let steady = fields.texts("steady", problems);
    let listed = !matches!(fields.peek("ask"), Some(node) if !matches!(node.shape, Shape::List(_)));
    let asks = fields.list("ask", problems);
    if asks.is_empty() && listed {
        problems.push(Diagnostic::at(
            fields.span(),
            format!("the probe `{name}` needs `ask`: a list of ways to ask"),
        ));
    }
    fields.close(problems);
    let asks = asks
        .into_iter()
        .filter_map(|node| ask(node, problems))
        .collect();
    Some(Probe {
        name: name.to_owned(),
        title,
        parameters,
        settle,
        steady,
        asks,
        span: node.span,
    })
}

fn run_stage(node: &Node, problems: &mut Diagnostics) -> Option<Stage> {
    Some(Stage::Exec(Exec {
        argv: argv(node, "run", problems)?,
        shell: false,
        env: Vec::new(),
        timeout: None,
        secret: false,
        span: node.span,
    }))
}

fn ask(node: &Node, problems: &mut Diagnostics) -> Option<Ask> {
    let mut fields = Fields::open(node, "a way to ask", problems)?;
    let run = fields.take("run");
    let pipe = fields.take("pipe");
    let file = fields.take("file");
    let tree = fields.take("tree");
    let timeout = fields
        .duration("timeout", problems)
        .unwrap_or(Duration::from_secs(30));
    let secret = fields.flag("secret", problems);
    let answers = fields.map("answers", problems);
    if answers.is_empty() {
        problems.push(Diagnostic::at(
            fields.span(),
            "a way to ask needs `answers`: names of states with their conditions",
        ));
    }
    fields.close(problems);
    let how = match (run, pipe, file, tree) {
        (Some(run), None, None, None) => How::Pipe(run_stage(run, problems).into_iter().collect()),
        (None, Some(pipe), None, None) => How::Pipe(stages(pipe, problems)),
        (None, None, Some(file), None) => How::File(template(file, "file", problems)?),
        (None, None, None, Some(tree)) => How::Tree(template(tree, "tree", problems)?),
        (None, None, None, None) => How::Nothing,
        _ => {
            problems.push(Diagnostic::at(
                node.span,
                "a way to ask has one of `run`, `pipe`, `file` and `tree`",
            ));
            return None;
        }
    };
    let answers = answers
        .iter()
        .filter_map(|(key, node)| {
            if key.text == "unknown" {
                problems.push(
                    Diagnostic::at(
                        key.span,
                        "`unknown` cannot be named: it is what fits no condition",
                    )
                    .help("leave it out"),
                );
                return None;
            }
            expr(node, &key.text, problems).map(|expr| (key.text.clone(), expr))
        })
        .collect();
    Some(Ask {
        how,
        timeout,
        secret,
        answers,
    })
}
