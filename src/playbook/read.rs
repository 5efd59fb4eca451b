//! Text to [`Playbook`]: every file of a folder, all problems of shape at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::document::fields::text;
use crate::document::{self, Diagnostic, Diagnostics, Fields, Key, Node, Shape, Sources, Span};
use crate::inventory::Axis;
use crate::playbook::read_action::{self, overlay};
use crate::playbook::read_question::{arguments, parameters, probe, question};
use crate::playbook::read_rebuild::rebuild;
use crate::playbook::read_tool::{provider, render_target, rule, tool};
use crate::playbook::{Criterion, ForEach, Judge, Playbook, Step, Story, TaskDefinition};
use crate::template::{Expr, Template};

/// Reads every `*.yaml` and `*.yml` below `folder` (in the order of their names), as one playbook.
pub fn read(
    root: &Path,
    folder: &Path,
    sources: &mut Sources,
    problems: &mut Diagnostics,
) -> Playbook {
    let mut playbook = Playbook {
        whole: true,
        ..Playbook::default()
    };
    let mut files = Vec::new();
    match list(&root.join(folder), &mut files) {
        Ok(()) => files.sort(),
        Err(error) => problems.push(
            Diagnostic::without_place(format!(
                "cannot read the folder {}: {error}",
                folder.display()
            ))
            .help("a project has its playbooks in `playbooks/`; say -C DIR if it is elsewhere"),
        ),
    }
    if files.is_empty() && problems.is_empty() {
        problems.push(Diagnostic::without_place(format!(
            "there is no playbook (*.yaml) in {}",
            folder.display()
        )));
    }
    let mut pending = Vec::new();
    let mut seen = BTreeMap::new();
    for path in files {
        let shown = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
        let node = document::read(&path, &shown, sources, problems);
        playbook.whole &= node.is_some();
        if let Some(node) = node {
            file(&node, &mut playbook, &mut pending, &mut seen, problems);
        }
    }
    for step in pending {
        resolve_task(&step, &mut playbook, problems);
    }
    playbook
}

fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Where everything that has a name was given first: its kind and name.
type Seen = BTreeMap<(&'static str, String), Span>;

/// A step that uses a task, which may be read later.
struct UsesTask {
    story: String,
    step: usize,
    task: (String, Span),
    given: Vec<&'static str>,
}

fn file(
    node: &Node,
    playbook: &mut Playbook,
    pending: &mut Vec<UsesTask>,
    seen: &mut Seen,
    problems: &mut Diagnostics,
) {
    if node.shape == Shape::Null {
        return;
    }
    let Some(mut fields) = Fields::open(node, "a playbook file", problems) else {
        return;
    };
    if let Some((path, span)) = fields.text("inventory", problems) {
        if let Some((_, first)) = &playbook.inventory {
            problems.push(
                Diagnostic::at(span, "the inventory is named twice")
                    .also(*first, "first named here"),
            );
        }
        playbook.inventory = Some((path, span));
    }
    let may = fields.texts("may_hold_secrets", problems);
    playbook
        .may_hold_secrets
        .extend(may.into_iter().map(|(file, _)| file));
    for (key, node) in fields.map("epics", problems) {
        if let Some((title, _)) = text(node, "a title", problems) {
            playbook.epics.insert(key.text.clone(), title);
        }
    }
    named(
        fields.map("tools", problems),
        "tool",
        &mut playbook.tools,
        (seen, &mut playbook.broken),
        problems,
        |_, node, problems| tool(node, problems),
    );
    named(
        fields.map("providers", problems),
        "provider",
        &mut playbook.providers,
        (seen, &mut playbook.broken),
        problems,
        |_, node, problems| provider(node, problems),
    );
    named(
        fields.map("probes", problems),
        "probe",
        &mut playbook.probes,
        (seen, &mut playbook.broken),
        problems,
        probe,
    );
    named(
        fields.map("tasks", problems),
        "task",
        &mut playbook.tasks,
        (seen, &mut playbook.broken),
        problems,
        task,
    );
    named(
        fields.map("renders", problems),
        "render",
        &mut playbook.renders,
        (seen, &mut playbook.broken),
        problems,
        render_target,
    );
    named(
        fields.map("rebuilds", problems),
        "rebuild",
        &mut playbook.rebuilds,
        (seen, &mut playbook.broken),
        problems,
        rebuild,
    );
    for node in fields.list("rules", problems) {
        playbook.rules.extend(rule(node, problems));
    }
    for node in fields.list("stories", problems) {
        if let Some(story) = story(node, pending, &mut playbook.broken, problems) {
            if let Some(first) = playbook.stories.get(&story.id) {
                problems.push(
                    Diagnostic::at(story.span, format!("story {} is given twice", story.id))
                        .also(first.span, "first given here"),
                );
            }
            playbook.stories.insert(story.id.clone(), story);
        }
    }
    fields.close(problems);
}

fn named<T>(
    entries: &[(Key, Node)],
    what: &'static str,
    into: &mut BTreeMap<String, T>,
    (seen, broken): (&mut Seen, &mut BTreeSet<(&'static str, String)>),
    problems: &mut Diagnostics,
    read: impl Fn(&str, &Node, &mut Diagnostics) -> Option<T>,
) {
    for (key, node) in entries {
        match seen.get(&(what, key.text.clone())) {
            // Twice in one file is told of as a duplicate key.
            Some(first) if first.file != key.span.file => problems.push(
                Diagnostic::at(
                    key.span,
                    format!("the {what} `{}` is given in two files", key.text),
                )
                .also(*first, "first given here"),
            ),
            Some(_) => {}
            None => {
                seen.insert((what, key.text.clone()), key.span);
            }
        }
        let before = problems.len();
        if let Some(value) = read(&key.text, node, problems) {
            into.insert(key.text.clone(), value);
        }
        if problems.len() > before {
            broken.insert((what, key.text.clone()));
        }
    }
}

fn task(name: &str, node: &Node, problems: &mut Diagnostics) -> Option<TaskDefinition> {
    let mut fields = Fields::open(node, "a task", problems)?;
    let title = fields
        .take("title")
        .and_then(|node| template(node, "title", problems));
    let parameters = parameters(fields.take("with"), problems);
    let written = read_action::body(&mut fields, problems);
    if let Some((_, span)) = written.task {
        problems.push(Diagnostic::at(span, "a task cannot use another task"));
    }
    fields.close(problems);
    Some(TaskDefinition {
        name: name.to_owned(),
        title,
        parameters,
        body: written.body?,
        span: node.span,
    })
}

fn story(
    node: &Node,
    pending: &mut Vec<UsesTask>,
    broken: &mut BTreeSet<(&'static str, String)>,
    problems: &mut Diagnostics,
) -> Option<Story> {
    let mut fields = Fields::open(node, "a story", problems)?;
    let id = fields.need_text("id", problems);
    let title = fields.need_text("title", problems);
    let epic = fields.take("epic").and_then(|node| match &node.shape {
        Shape::Int(number) => Some(number.to_string()),
        _ => text(node, "epic", problems).map(|(epic, _)| epic),
    });
    let priority = fields.text("priority", problems).map(|(word, _)| word);
    let parameters = parameters(fields.take("with"), problems);
    let needs = fields.texts("needs", problems);
    let folded_into = fields.text("folded_into", problems);
    let criteria = fields.list("criteria", problems);
    let steps = fields.list("steps", problems);
    let span = fields.span();
    fields.close(problems);
    let named = id.is_some();
    let (id, id_span) = id.unwrap_or_else(|| ("?".into(), span));
    if title.is_none() {
        broken.insert(("story", id.clone()));
    }
    if !named {
        // Its steps are read all the same: their problems are to be told now.
    } else if id.is_empty()
        || !id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
    {
        problems.push(
            Diagnostic::at(id_span, cannot_be(&id, "the id of a story"))
                .help("ids are letters, digits, dots and hyphens"),
        );
    }
    if folded_into.is_some() && !(steps.is_empty() && criteria.is_empty() && needs.is_empty()) {
        problems.push(Diagnostic::at(
            span,
            format!("story {id} is folded into another one, so it has nothing of its own"),
        ));
    }
    let criteria = criteria
        .into_iter()
        .filter_map(|node| criterion(node, problems))
        .collect();
    let mut read: Vec<Step> = Vec::new();
    let mut firsts: BTreeMap<String, Span> = BTreeMap::new();
    for node in steps {
        let before = problems.len();
        let Some((step, task, items)) = step(node, problems) else {
            broken.insert(("steps of story", id.clone()));
            continue;
        };
        let name = format!("{id}/{}", step.id);
        if !items {
            broken.insert(("items of step", name.clone()));
        }
        if problems.len() > before {
            broken.insert(("step", name));
        }
        if let Some(first) = firsts.get(&step.id) {
            problems.push(
                Diagnostic::at(step.span, format!("story {id} has two steps `{}`", step.id))
                    .also(*first, "the first one"),
            );
        } else {
            firsts.insert(step.id.clone(), step.span);
        }
        if let Some((task, given)) = task {
            pending.push(UsesTask {
                story: id.clone(),
                step: read.len(),
                task,
                given,
            });
        }
        read.push(step);
    }
    if !named {
        return None;
    }
    Some(Story {
        id,
        title: title?.0,
        epic,
        priority,
        parameters,
        needs,
        folded_into,
        criteria,
        steps: read,
        span: id_span,
    })
}

/// `""` would not be seen in backticks.
fn cannot_be(word: &str, what: &str) -> String {
    if word.is_empty() {
        return format!("{what} cannot be empty");
    }
    format!("`{word}` cannot be {what}")
}

fn criterion(node: &Node, problems: &mut Diagnostics) -> Option<Criterion> {
    let mut fields = Fields::open(node, "a criterion", problems)?;
    let text = fields
        .need("text", problems)
        .and_then(|node| template(node, "text", problems));
    let each = for_each(fields.take("for_each"), problems);
    let check = fields.take("check");
    let sign_off = fields.take("sign_off");
    let span = fields.span();
    fields.close(problems);
    let judge = match (check, sign_off) {
        (Some(node), None) => Judge::Check(question(node, problems)?),
        (None, Some(node)) => Judge::SignOff(template(node, "sign_off", problems)?),
        _ => {
            problems.push(Diagnostic::at(span, "a criterion has one of `check` (a question) and `sign_off` (what a person looks at)"));
            return None;
        }
    };
    Some(Criterion {
        text: text?,
        for_each: each,
        judge,
        span,
    })
}

type TaskUse = ((String, Span), Vec<&'static str>);

/// Reads a step; also what it uses, and whether it is known what it iterates over.
fn step(node: &Node, problems: &mut Diagnostics) -> Option<(Step, Option<TaskUse>, bool)> {
    let mut fields = Fields::open(node, "a step", problems)?;
    let id = fields.need_text("id", problems);
    let title = fields
        .take("title")
        .and_then(|node| template(node, "title", problems));
    let before = problems.len();
    let each = for_each(fields.take("for_each"), problems);
    let items = problems.len() == before;
    let needs = fields.texts("needs", problems);
    let arguments = arguments(fields.take("with"), problems);
    let written = read_action::body(&mut fields, problems);
    let span = fields.span();
    fields.close(problems);
    let (id, id_span) = id?;
    let fine = !id.is_empty()
        && id
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fine || id.starts_with("criterion-") {
        problems.push(
            Diagnostic::at(id_span, cannot_be(&id, "the id of a step")).help(
                "ids are small letters, digits and hyphens, and do not begin with `criterion-`",
            ),
        );
    }
    if written.task.is_none() && !arguments.is_empty() {
        problems.push(Diagnostic::at(
            span,
            format!("the step `{id}` has `with`, but no `task` to give it to"),
        ));
    }
    let step = Step {
        id,
        title,
        for_each: each,
        needs,
        arguments,
        parameters: Vec::new(),
        body: written.body?,
        span: id_span,
    };
    Some((step, written.task.map(|task| (task, written.given)), items))
}

fn resolve_task(uses: &UsesTask, playbook: &mut Playbook, problems: &mut Diagnostics) {
    let (name, span) = &uses.task;
    playbook.used_tasks.insert(name.clone());
    let step = || {
        let story = playbook.stories.get(&uses.story)?;
        Some(format!("{}/{}", uses.story, story.steps.get(uses.step)?.id))
    };
    if playbook.is_broken("task", name) || !playbook.tasks.contains_key(name) {
        let step = step();
        playbook
            .broken
            .extend(step.clone().map(|step| ("step", step)));
        playbook
            .broken
            .extend(step.map(|step| ("items of step", step)));
    }
    if playbook.is_broken("task", name) {
        return;
    }
    let Some(task) = playbook.tasks.get(name) else {
        problems.push(
            Diagnostic::at(*span, format!("there is no task `{name}`"))
                .help(list_of("the tasks are", playbook.tasks.keys()))
                .suggest(name, playbook.tasks.keys().map(String::as_str)),
        );
        return;
    };
    let Some(step) = playbook
        .stories
        .get_mut(&uses.story)
        .and_then(|story| story.steps.get_mut(uses.step))
    else {
        return;
    };
    step.body = overlay(step.body.clone(), &uses.given, &task.body);
    if step.title.is_none() {
        step.title.clone_from(&task.title);
    }
    for argument in &step.arguments {
        if !task
            .parameters
            .iter()
            .any(|parameter| parameter.name == argument.name)
        {
            problems.push(
                Diagnostic::at(
                    argument.span,
                    format!("the task `{name}` has no parameter `{}`", argument.name),
                )
                .suggest(
                    &argument.name,
                    task.parameters
                        .iter()
                        .map(|parameter| parameter.name.as_str()),
                ),
            );
        }
    }
    step.parameters.clone_from(&task.parameters);
    for parameter in &task.parameters {
        if step
            .arguments
            .iter()
            .any(|argument| argument.name == parameter.name)
        {
            continue;
        }
        if let Some(default) = parameter
            .default
            .clone()
            .or_else(|| parameter.optional.then_some(serde_json::Value::Null))
        {
            step.arguments.push(crate::playbook::Argument {
                name: parameter.name.clone(),
                value: crate::playbook::ArgumentValue::Default(default),
                span: step.span,
            });
        }
    }
}

pub(super) fn for_each(node: Option<&Node>, problems: &mut Diagnostics) -> ForEach {
    let Some(node) = node else {
        return ForEach::Once;
    };
    match &node.shape {
        Shape::Text(word) if word == "clusters" => ForEach::Axis(Axis::Clusters),
        Shape::Text(word) if word == "nodes" => ForEach::Axis(Axis::Nodes),
        Shape::Map(entries) => {
            if let [(key, list)] = entries.as_slice() {
                match list.text() {
                    Some(text) => ForEach::List {
                        name: key.text.clone(),
                        list: as_template(text, list.span),
                    },
                    None => ForEach::List {
                        name: key.text.clone(),
                        list: as_template(&format!("{{{{ {} }}}}", list.to_json()), list.span),
                    },
                }
            } else {
                problems.push(Diagnostic::at(
                    node.span,
                    "`for_each` names one list: `{ NAME: \"{{ list }}\" }`",
                ));
                ForEach::Once
            }
        }
        Shape::Text(word) => {
            problems.push(
                Diagnostic::at(node.span, format!("`for_each` is clusters, nodes or `{{ NAME: \"{{{{ list }}}}\" }}`, but not `{word}`"))
                    .suggest(word, ["clusters", "nodes"]),
            );
            ForEach::Once
        }
        shape @ (Shape::Null
        | Shape::Bool(_)
        | Shape::Int(_)
        | Shape::Float(_)
        | Shape::List(_)) => {
            problems.push(
                Diagnostic::at(
                    node.span,
                    format!(
                        "`for_each` is clusters, nodes or one named list, but this is {}",
                        shape.noun()
                    ),
                )
                .help("give the list a name: `for_each: { disk: [sda, sdb] }`"),
            );
            ForEach::Once
        }
    }
}

/// A sentence that lists what there is; few words are listed, many would drown the rest.
pub(crate) fn list_of<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        return "there are none yet".into();
    }
    let more = names.len() > 20;
    names.truncate(20);
    format!(
        "{what}: {}{}",
        names.join(", "),
        if more { ", …" } else { "" }
    )
}

pub(super) fn as_template(text: &str, span: Span) -> Template {
    Template {
        source: text.to_owned(),
        span,
    }
}

pub(super) fn template(node: &Node, name: &str, problems: &mut Diagnostics) -> Option<Template> {
    text(node, name, problems).map(|(source, span)| Template { source, span })
}

pub(super) fn templates(
    node: &Node,
    name: &str,
    problems: &mut Diagnostics,
) -> Option<Vec<Template>> {
    let Shape::List(values) = &node.shape else {
        let diagnostic = Diagnostic::at(
            node.span,
            format!(
                "`{name}` is a list of words, but this is {}",
                node.shape.noun()
            ),
        );
        problems.push(match node.text() {
            Some(_) => diagnostic.help(format!(
                "write `{name}: [program, argument, ...]`; for a shell line there is `shell:`"
            )),
            None => diagnostic,
        });
        return None;
    };
    Some(
        values
            .iter()
            .filter_map(|value| template(value, name, problems))
            .collect(),
    )
}

pub(super) fn expr(node: &Node, name: &str, problems: &mut Diagnostics) -> Option<Expr> {
    if let Shape::Bool(value) = node.shape {
        return Some(Expr {
            source: value.to_string(),
            span: node.span,
        });
    }
    text(node, name, problems).map(|(source, span)| Expr { source, span })
}

pub(super) fn states(node: &Node, name: &str, problems: &mut Diagnostics) -> Vec<String> {
    match &node.shape {
        Shape::List(values) if values.is_empty() => {
            problems.push(Diagnostic::at(
                node.span,
                format!("`{name}` names no state"),
            ));
            Vec::new()
        }
        Shape::List(values) => values
            .iter()
            .filter_map(|value| text(value, name, problems))
            .map(|(word, _)| word)
            .collect(),
        _ => text(node, name, problems)
            .map(|(word, _)| word)
            .into_iter()
            .collect(),
    }
}
