//! Reading what `rebuild` may do.

use crate::document::{Diagnostic, Diagnostics, Fields, Node, Shape};
use crate::inventory::Axis;
use crate::playbook::read::template;
use crate::playbook::read_question::{arguments, parameters, question};
use crate::playbook::{Choice, Path, Question, Rebuild};

pub(super) fn rebuild(name: &str, node: &Node, problems: &mut Diagnostics) -> Option<Rebuild> {
    let axis = match name {
        "cluster" => Axis::Clusters,
        "node" => Axis::Nodes,
        _ => {
            let diagnostic = Diagnostic::at(
                node.span,
                format!("what is rebuilt is a cluster or a node, but not a `{name}`"),
            );
            problems.push(diagnostic.suggest(name, ["cluster", "node"]));
            return None;
        }
    };
    let mut fields = Fields::open(node, "a rebuild", problems)?;
    let parameters = parameters(fields.take("with"), problems);
    for parameter in &parameters {
        if parameter.default.is_none() && !parameter.optional {
            problems.push(
                Diagnostic::at(
                    node.span,
                    format!(
                        "the parameter `{}` of a rebuild has no default",
                        parameter.name
                    ),
                )
                .help("whoever has lost a cluster must be able to begin without knowing it"),
            );
        }
    }
    let names = fields
        .map("let", problems)
        .iter()
        .filter_map(|(key, node)| Some((key.text.clone(), template(node, &key.text, problems)?)))
        .collect();
    let choices: Vec<Choice> = fields
        .list("choose", problems)
        .into_iter()
        .filter_map(|node| choice(node, problems))
        .collect();
    let span = fields.span();
    fields.close(problems);
    if choices.is_empty() && problems.is_empty() {
        problems.push(
            Diagnostic::at(span, "this rebuild has nothing to choose from")
                .help("give it `choose`, a list of `{ when, story }` and `{ when, refuse }`"),
        );
    }
    for pair in choices.windows(2) {
        if let [first, next] = pair
            && first.when.is_empty()
        {
            problems.push(
                Diagnostic::at(next.span, "this is never chosen")
                    .also(first.span, "this one has no `when`, so it always is"),
            );
        }
    }
    Some(Rebuild {
        axis,
        parameters,
        names,
        choices,
        span,
    })
}

fn choice(node: &Node, problems: &mut Diagnostics) -> Option<Choice> {
    let mut fields = Fields::open(node, "a choice", problems)?;
    let title = fields
        .take("title")
        .and_then(|node| template(node, "title", problems));
    let asked: Vec<&Node> = match fields.take("when") {
        None => Vec::new(),
        Some(node) => match &node.shape {
            Shape::List(all) => {
                if all.is_empty() {
                    problems.push(Diagnostic::at(node.span, "`when` asks nothing"));
                }
                all.iter().collect()
            }
            _ => vec![node],
        },
    };
    let when: Vec<Question> = asked
        .iter()
        .filter_map(|node| question(node, problems))
        .collect();
    let refuse = fields
        .take("refuse")
        .and_then(|node| template(node, "refuse", problems));
    let story = fields.text("story", problems);
    let with = fields.take("with");
    let arguments = arguments(with, problems);
    let span = fields.span();
    fields.close(problems);
    if when.len() < asked.len() {
        return None;
    }
    let path = match (refuse, story) {
        (Some(say), None) => {
            if let Some(with) = with {
                problems.push(Diagnostic::at(with.span, "`with` belongs to a `story`"));
            }
            Path::Refuse(say)
        }
        (None, Some((id, span))) => Path::Story {
            id,
            span,
            arguments,
        },
        _ => {
            problems.push(Diagnostic::at(
                span,
                "a choice has one of `story` (what is done) and `refuse` (why nothing is)",
            ));
            return None;
        }
    };
    Some(Choice {
        title,
        when,
        path,
        span,
    })
}
