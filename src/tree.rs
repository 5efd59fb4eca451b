//! Trees of files made from folders of templates, and what must hold for them before anybody writes them.
//!
//! Pure: the same project gives the same files. A tree is checked by templates that see all its files and print what is wrong, a line each;
//! so what a tree means to the tool that reads it is known to templates, not to the program.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::value::{Value, ValueKind};

use crate::document::{Diagnostic, Diagnostics};
use crate::inventory::Axis;
use crate::playbook::{ForEach, RenderTarget, Tree};
use crate::project::Project;
use crate::template::{self, Scope, Template};

/// A file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it says.
    pub text: String,
    /// The cluster that it is for; none if it is shared.
    pub cluster: Option<String>,
    /// The template that it was made from.
    pub from: String,
}

/// All files, by their path below the tree's folder.
pub type Files = BTreeMap<String, File>;

/// What stands at the end of the names of files that are templates.
const SUFFIX: &str = ".j2";

/// Makes all files of a target. What is wrong with them is told, a sentence each.
pub fn make(project: &Project, target: &RenderTarget) -> Result<Files, Vec<String>> {
    let mut files = Files::new();
    let mut problems = Vec::new();
    for tree in &target.trees {
        for (scope, cluster) in scopes(project, &tree.for_each) {
            grow(
                project,
                tree,
                &scope,
                cluster.as_deref(),
                &mut files,
                &mut problems,
            );
        }
    }
    if problems.is_empty() {
        problems = check(project, target, &files);
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

/// The files below the folders of a target, as they lie there: name and content. They are what a tree is made from, beside the inventory.
pub fn sources(project: &Project, target: &RenderTarget) -> Vec<(String, String)> {
    let checks = target.checks.iter().map(|name| name.source.clone());
    target
        .trees
        .iter()
        .flat_map(|tree| names(&project.root, &tree.from.source))
        .chain(checks)
        .map(|name| {
            let text = std::fs::read_to_string(project.root.join(&name)).unwrap_or_default();
            (name, text)
        })
        .collect()
}

/// Looks at a template file: its name, what it knows, and what it knows beside that.
pub(crate) type Look<'l> = dyn FnMut(&Template, &Scope, &[&str], &mut Diagnostics) + 'l;

/// Checks every template of a target: that it can be read, and that all names in it are known.
pub(crate) fn look(
    project: &Project,
    target: &RenderTarget,
    look: &mut Look<'_>,
    problems: &mut Diagnostics,
) {
    for tree in &target.trees {
        let named = |name: &str| Template {
            source: name.to_owned(),
            span: tree.from.span,
        };
        let inside = template::below(&project.root, &tree.from.source);
        if !inside.is_ok_and(|path| path.is_dir()) {
            problems.push(
                Diagnostic::at(
                    tree.from.span,
                    format!("there is no folder `{}`", tree.from.source),
                )
                .help("the path is relative to the project's folder"),
            );
            continue;
        }
        let Some((scope, _)) = scopes(project, &tree.for_each).into_iter().next() else {
            continue;
        };
        for name in names(&project.root, &tree.from.source) {
            if name.ends_with(SUFFIX) {
                look(&named(&name), &scope, &[], problems);
            }
        }
    }
    for name in &target.checks {
        look(name, &project.inventory.scope(), &["files"], problems);
    }
}

fn scopes(project: &Project, each: &ForEach) -> Vec<(Scope, Option<String>)> {
    let base = project.inventory.scope();
    match each {
        ForEach::Axis(Axis::Clusters) => project
            .inventory
            .clusters()
            .iter()
            .map(|cluster| {
                let scope = base.with("cluster", cluster.value());
                (scope, Some(cluster.name().to_owned()))
            })
            .collect(),
        ForEach::Once | ForEach::Axis(Axis::Nodes) | ForEach::List { .. } => vec![(base, None)],
    }
}

/// Every file below a folder of the project, sorted; hidden ones are left out.
fn names(root: &Path, folder: &str) -> Vec<String> {
    fn collect(root: &Path, folder: &str, all: &mut Vec<String>) {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let path = format!("{folder}/{name}");
            if root.join(&path).is_dir() {
                collect(root, &path, all);
            } else {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    collect(root, folder.trim_end_matches('/'), &mut all);
    all.sort();
    all
}

fn grow(
    project: &Project,
    tree: &Tree,
    scope: &Scope,
    cluster: Option<&str>,
    files: &mut Files,
    problems: &mut Vec<String>,
) {
    let into = match project.templates.text(&tree.into, scope) {
        Ok(into) => into,
        Err(error) => {
            problems.push(format!("`{}`: {error}", tree.into.source));
            return;
        }
    };
    let folder = tree.from.source.trim_end_matches('/');
    for name in names(&project.root, folder) {
        let below = name[folder.len() + 1..].trim_end_matches(SUFFIX);
        let path = if into.is_empty() {
            below.to_owned()
        } else {
            format!("{}/{below}", into.trim_end_matches('/'))
        };
        let text = if name.ends_with(SUFFIX) {
            project.templates.file(&name, scope).map_err(|error| {
                let file = error.file.clone().unwrap_or_else(|| name.clone());
                match error.line {
                    Some(line) => format!("{file}:{line}: {error}"),
                    None => format!("{file}: {error}"),
                }
            })
        } else {
            std::fs::read_to_string(project.root.join(&name))
                .map_err(|error| format!("{name} cannot be read: {error}"))
        };
        match text {
            Err(problem) => problems.push(problem),
            // A template that says nothing here makes no file: what belongs to one cluster only is only there.
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => {
                let file = File {
                    text,
                    cluster: cluster.map(str::to_owned),
                    from: name.clone(),
                };
                if let Some(other) = files.insert(path.clone(), file) {
                    problems.push(format!(
                        "{path} would be made twice: from {} and from {name}",
                        other.from
                    ));
                }
            }
        }
    }
}

/// What the checks of a target say about its files.
fn check(project: &Project, target: &RenderTarget, files: &Files) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = Vec::new();
    for (path, file) in files {
        let yaml = [".yaml", ".yml"].iter().any(|end| path.ends_with(end));
        let documents = if yaml {
            match template::parse_yaml_documents(&file.text) {
                Ok(documents) => documents,
                Err(error) => {
                    problems.push(format!("{path} (from {}) is not YAML: {error}", file.from));
                    continue;
                }
            }
        } else {
            Vec::new()
        };
        let documents: Vec<Value> = documents
            .into_iter()
            .filter(|document| document.kind() != ValueKind::None)
            .collect();
        seen.push(Value::from_pairs([
            ("path", Value::from(path.as_str())),
            ("text", Value::from(file.text.as_str())),
            ("from", Value::from(file.from.as_str())),
            ("cluster", Value::from(file.cluster.clone())),
            ("documents", Value::from(documents)),
        ]));
    }
    if !problems.is_empty() {
        return problems;
    }
    let scope = project.inventory.scope().with("files", Value::from(seen));
    for name in &target.checks {
        match project.templates.file(&name.source, &scope) {
            Ok(said) => problems.extend(
                said.lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned),
            ),
            Err(error) => {
                let line = error
                    .line
                    .map(|line| format!(":{line}"))
                    .unwrap_or_default();
                let file = error.file.as_deref().unwrap_or(&name.source);
                problems.push(format!("{file}{line}: {error}"));
            }
        }
    }
    problems
}
