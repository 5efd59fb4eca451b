//! Reading what is known about tools, providers of secrets, render targets and rules.

use std::time::Duration;

use crate::document::{Diagnostic, Diagnostics, Fields, Node};
use crate::inventory::Axis;
use crate::playbook::read::{expr, for_each, template};
use crate::playbook::read_action::{argv, stages};
use crate::playbook::{ForEach, Pause, Provider, RenderTarget, Rule, Tool, ToolVersion, Tree};
use crate::template::Template;

pub(super) fn tool(node: &Node, problems: &mut Diagnostics) -> Option<Tool> {
    let mut fields = Fields::open(node, "a tool", problems)?;
    let version = fields
        .take("version")
        .and_then(|node| version(node, problems));
    let env = fields
        .texts("env", problems)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let pause = fields.take("pause").and_then(|node| pause(node, problems));
    let again = fields
        .take("again")
        .and_then(|node| expr(node, "again", problems));
    fields.close(problems);
    Some(Tool {
        version,
        env,
        pause,
        again,
    })
}

fn version(node: &Node, problems: &mut Diagnostics) -> Option<ToolVersion> {
    let mut fields = Fields::open(node, "`version`", problems)?;
    let run = fields
        .need("run", problems)
        .and_then(|node| argv(node, "run", problems));
    let find = fields.need_text("find", problems);
    let fits = fields
        .take("is")
        .and_then(|node| expr(node, "is", problems));
    let say = fields.text("say", problems).map(|(say, _)| say);
    fields.close(problems);
    let (find, span) = find?;
    if let Err(error) = regex_lite::Regex::new(&find) {
        problems.push(crate::document::Diagnostic::at(
            span,
            format!("`find` is not a regular expression: {error}"),
        ));
    }
    Some(ToolVersion {
        run: run?,
        find,
        fits,
        say,
    })
}

fn pause(node: &Node, problems: &mut Diagnostics) -> Option<Pause> {
    let mut fields = Fields::open(node, "`pause`", problems)?;
    let when = fields
        .need("when", problems)
        .and_then(|node| expr(node, "when", problems));
    let say = fields.need_text("say", problems);
    let until = fields
        .need("until", problems)
        .and_then(|node| argv(node, "until", problems));
    let every = fields
        .duration("every", problems)
        .unwrap_or(Duration::from_secs(2));
    let within = fields
        .duration("within", problems)
        .unwrap_or(Duration::from_secs(1800));
    fields.close(problems);
    Some(Pause {
        when: when?,
        say: say?.0,
        until: until?,
        every,
        within,
    })
}

pub(super) fn provider(node: &Node, problems: &mut Diagnostics) -> Option<Provider> {
    let mut fields = Fields::open(node, "a provider", problems)?;
    let item = fields
        .need("item", problems)
        .and_then(|node| argv(node, "item", problems));
    let value = fields
        .need("value", problems)
        .and_then(|node| expr(node, "value", problems));
    fields.close(problems);
    Some(Provider {
        item: item?,
        value: value?,
    })
}

pub(super) fn render_target(
    name: &str,
    node: &Node,
    problems: &mut Diagnostics,
) -> Option<RenderTarget> {
    let mut fields = Fields::open(node, "a render", problems)?;
    let title = fields
        .text("title", problems)
        .map_or_else(|| name.to_owned(), |(title, _)| title);
    if fields.has("trees") {
        return tree_target(title, fields, problems);
    }
    let each = for_each(fields.take("for_each"), problems);
    let file = fields
        .need("file", problems)
        .and_then(|node| template(node, "file", problems));
    let pipe = fields
        .need("pipe", problems)
        .map(|node| stages(node, problems));
    let check = fields
        .take("check")
        .and_then(|node| argv(node, "check", problems))
        .unwrap_or_default();
    fields.close(problems);
    Some(RenderTarget {
        title,
        for_each: each,
        file: file?,
        stages: pipe?,
        check,
        trees: Vec::new(),
        into: String::new(),
        checks: Vec::new(),
        span: node.span,
    })
}

/// A target that is a tree of files.
fn tree_target(
    title: String,
    mut fields: Fields<'_>,
    problems: &mut Diagnostics,
) -> Option<RenderTarget> {
    let span = fields.span();
    let into = fields.need_text("into", problems);
    let trees: Vec<Tree> = fields
        .list("trees", problems)
        .into_iter()
        .filter_map(|node| tree(node, problems))
        .collect();
    let checks = fields
        .texts("checks", problems)
        .into_iter()
        .map(|(name, span)| Template { source: name, span })
        .collect();
    fields.close(problems);
    let (into, into_span) = into?;
    if into.trim_matches('/').is_empty() || into.starts_with('/') || into.contains("..") {
        problems.push(Diagnostic::at(
            into_span,
            format!("`{into}` is no folder below the project"),
        ));
        return None;
    }
    Some(RenderTarget {
        title,
        for_each: ForEach::Once,
        file: Template {
            source: String::new(),
            span,
        },
        stages: Vec::new(),
        check: Vec::new(),
        trees,
        into: into.trim_end_matches('/').to_owned(),
        checks,
        span,
    })
}

fn tree(node: &Node, problems: &mut Diagnostics) -> Option<Tree> {
    let mut fields = Fields::open(node, "a tree", problems)?;
    let from = fields
        .need("from", problems)
        .and_then(|node| template(node, "from", problems));
    let into = fields
        .need("into", problems)
        .and_then(|node| template(node, "into", problems));
    let each = for_each(fields.take("for_each"), problems);
    fields.close(problems);
    if !matches!(each, ForEach::Once | ForEach::Axis(Axis::Clusters)) {
        problems.push(Diagnostic::at(
            node.span,
            "a tree is made once, or `for_each: clusters`",
        ));
        return None;
    }
    Some(Tree {
        from: from?,
        into: into?,
        for_each: each,
    })
}

pub(super) fn rule(node: &Node, problems: &mut Diagnostics) -> Option<Rule> {
    let mut fields = Fields::open(node, "a rule", problems)?;
    let tool = fields.need_text("commands", problems);
    let must = fields
        .need("must", problems)
        .and_then(|node| expr(node, "must", problems));
    let say = fields.need_text("say", problems);
    fields.close(problems);
    Some(Rule {
        tool: tool?.0,
        must: must?,
        say: say?.0,
    })
}
