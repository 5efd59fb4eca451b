//! What a task is made of, in parts that can be named: what its step says, what it reads, with which values and tools.
//!
//! Two questions are kept apart. *Does the work differ?* is answered by the definition and the inputs; a change of either opens a settled
//! task again on resume. *Is it only written differently?* (a title, a comment, the order of keys) changes nothing, and is said all the same.
//! The parts are public: values of the inventory, files of the project. A secret is in none of them, only references to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document::Span;
use crate::plan::visit::{self, Text};
use crate::plan::{Fingerprint, Plan, TaskKey};
use crate::playbook::{Body, Criterion, How, Judge, Question, RenderSource, Stage, Step};
use crate::project::Project;
use crate::template::names::included;
use crate::template::{self, Scope, Template};

/// What a task is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeOf {
    /// What its step says, without what is only for people.
    pub definition: Fingerprint,
    /// How that is written: also the title, comments, the order of keys.
    pub written: Fingerprint,
    /// What it reads: `template FILE`, `file FILE`, `value NAME`, `probe NAME`, `tool NAME`, each with a digest (of a tool: its version).
    pub inputs: BTreeMap<String, String>,
}

impl MadeOf {
    /// Of a task without inputs.
    pub fn of(definition: &[&str], written: &[&str]) -> Self {
        Self {
            definition: Fingerprint::of(definition),
            written: Fingerprint::of(written),
            inputs: BTreeMap::new(),
        }
    }

    /// Equal fingerprints, equal work.
    pub fn fingerprint(&self, key: &TaskKey) -> Fingerprint {
        let mut parts = vec![key.as_str(), self.definition.as_str()];
        for (name, digest) in &self.inputs {
            parts.extend([name.as_str(), digest.as_str()]);
        }
        Fingerprint::of(&parts)
    }
}

/// What the tasks of a plan are made of, as a journal keeps it: each input once, tasks in the order of the list beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ingredients {
    /// The inputs of all tasks: name and digest.
    pub inputs: Vec<(String, String)>,
    /// For each task: its definition, how it is written, and which of the inputs it has.
    pub tasks: Vec<(Fingerprint, Fingerprint, Vec<usize>)>,
}

impl Ingredients {
    /// Puts together what tasks are made of.
    pub fn collect<'a>(tasks: impl IntoIterator<Item = &'a MadeOf>) -> Self {
        let mut all = Self::default();
        let mut known: BTreeMap<(String, String), usize> = BTreeMap::new();
        for made in tasks {
            let inputs = made
                .inputs
                .iter()
                .map(|(name, digest)| {
                    let next = all.inputs.len();
                    let input = (name.clone(), digest.clone());
                    let at = *known.entry(input.clone()).or_insert(next);
                    if at == next {
                        all.inputs.push(input);
                    }
                    at
                })
                .collect();
            all.tasks
                .push((made.definition.clone(), made.written.clone(), inputs));
        }
        all
    }

    /// Whether nothing is kept: a journal of an earlier version.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// What the task at this place of the list is made of. A number that names no input names nothing.
    pub fn at(&self, place: usize) -> Option<MadeOf> {
        let (definition, written, inputs) = self.tasks.get(place)?;
        Some(MadeOf {
            definition: definition.clone(),
            written: written.clone(),
            inputs: inputs
                .iter()
                .filter_map(|&at| self.inputs.get(at).cloned())
                .collect(),
        })
    }
}

/// What a journal knows of a task's making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    /// All of it in one.
    pub fingerprint: Fingerprint,
    /// Its parts; journals of earlier versions have none.
    pub parts: Option<MadeOf>,
}

/// What an edit made of a task, against what it was made of when it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Nothing.
    Same,
    /// It is written differently, and says the same.
    Cosmetic,
    /// It says or reads something else.
    Changed {
        /// Whether the step says something else.
        definition: bool,
        /// The inputs that differ: name, and how.
        inputs: Vec<(String, String)>,
    },
    /// It differs, and the journal is too old to say in what.
    Unnamed,
    /// It was not in the plan.
    New,
    /// It is not in the plan any more.
    Removed,
}

impl Edit {
    /// Compares what was with what is. Tools are compared only where both sides know their version.
    pub fn between(then: &Print, now: &MadeOf, key: &TaskKey) -> Self {
        let Some(was) = &then.parts else {
            return if then.fingerprint == now.fingerprint(key) {
                Self::Same
            } else {
                Self::Unnamed
            };
        };
        let mut inputs = Vec::new();
        let names: BTreeSet<&String> = was.inputs.keys().chain(now.inputs.keys()).collect();
        for name in names {
            let tool = name.starts_with(TOOL);
            let how = match (was.inputs.get(name), now.inputs.get(name)) {
                (Some(was), Some(now)) if was == now => continue,
                (Some(was), Some(now)) if tool => format!("{was} was, {now} is"),
                (Some(_), Some(now)) if now == GONE => "is gone".to_owned(),
                (Some(_), Some(_)) => "differs".to_owned(),
                (None, Some(_)) | (Some(_), None) if tool => continue,
                (None, Some(_)) => "is new".to_owned(),
                (Some(_), None) => "is no longer one".to_owned(),
                (None, None) => continue,
            };
            inputs.push((name.clone(), how));
        }
        let definition = was.definition != now.definition;
        if definition || !inputs.is_empty() {
            Self::Changed { definition, inputs }
        } else if was.written == now.written {
            Self::Same
        } else {
            Self::Cosmetic
        }
    }

    /// Whether the work is another one than the one that was done.
    pub fn differs(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Unnamed)
    }

    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Cosmetic => "cosmetic",
            Self::Changed {
                definition: true, ..
            } => "definition",
            Self::Changed {
                definition: false, ..
            } => "input",
            Self::Unnamed => "changed",
            Self::New => "new",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => formatter.write_str("nothing differs"),
            Self::Cosmetic => formatter.write_str("only written differently"),
            Self::Changed { definition, inputs } => {
                if *definition {
                    formatter.write_str("what the step says differs")?;
                }
                for (at, (name, how)) in inputs.iter().enumerate() {
                    let comma = if at > 0 || *definition { ", " } else { "" };
                    write!(formatter, "{comma}{name} {how}")?;
                }
                Ok(())
            }
            Self::Unnamed => formatter.write_str(
                "it differs; the journal is of an earlier version and cannot say in what",
            ),
            Self::New => formatter.write_str("not in the plan before"),
            Self::Removed => formatter.write_str("no longer in the plan"),
        }
    }
}

/// How the name of an input begins that is a tool's version.
const TOOL: &str = "tool ";
/// The digest of a file that is not there.
const GONE: &str = "-";

/// The name of a tool's version among the inputs.
pub fn tool_input(tool: &str) -> String {
    format!("{TOOL}{tool}")
}

/// The programs that the action of a task starts, by the names that were written.
pub fn programs(body: &Body) -> BTreeSet<&str> {
    body.stages()
        .filter_map(|stage| match stage {
            Stage::Exec(exec) => exec.argv.first().map(|word| word.source.as_str()),
            Stage::Render(_) => None,
        })
        .collect()
}

/// The programs that the tasks of a plan can start: for their work, for their questions, and for the secrets in either.
pub fn needed_programs(project: &Project, plan: &Plan) -> BTreeSet<String> {
    fn of_stages<'a>(stages: impl IntoIterator<Item = &'a Stage>) -> Vec<String> {
        stages
            .into_iter()
            .filter_map(|stage| match stage {
                Stage::Exec(exec) => Some(exec.argv.first()?.source.clone()),
                Stage::Render(_) => None,
            })
            .collect()
    }
    let playbook = &project.playbook;
    let mut all = BTreeSet::new();
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for (_, task) in plan.tasks() {
        let questions: Vec<&Question> = match &task.duty {
            super::Duty::Work(body) => {
                all.extend(of_stages(body.stages()));
                questions(body).collect()
            }
            super::Duty::Criterion { judge, .. } => match &**judge {
                Judge::Check(question) => vec![question],
                Judge::SignOff(_) => Vec::new(),
            },
        };
        for question in questions {
            if let Question::Probe(question) = question {
                asked.insert(&question.probe);
            }
        }
    }
    for probe in asked.iter().filter_map(|name| playbook.probes.get(*name)) {
        for ask in &probe.asks {
            if let How::Pipe(stages) = &ask.how {
                all.extend(of_stages(stages));
            }
        }
    }
    let providers = playbook.providers.values();
    all.extend(providers.filter_map(|provider| Some(provider.item.first()?.source.clone())));
    let pauses: Vec<String> = all
        .iter()
        .filter_map(|tool| playbook.tools.get(tool)?.pause.as_ref())
        .filter_map(|pause| Some(pause.until.first()?.source.clone()))
        .collect();
    all.extend(pauses);
    all.retain(|program| !program.contains('{') && !program.contains('/'));
    all
}

/// What every task of a plan is made of, tools with their versions included: those of the programs that it starts.
pub fn with_tools(plan: &Plan, versions: &BTreeMap<String, String>) -> Vec<MadeOf> {
    plan.tasks()
        .map(|(_, task)| {
            let mut made = task.made_of.clone();
            if let super::Duty::Work(body) = &task.duty {
                for program in programs(body) {
                    if let Some(version) = versions.get(program) {
                        made.inputs.insert(tool_input(program), version.clone());
                    }
                }
            }
            made
        })
        .collect()
}

/// The files that any task of the playbook writes: what a task finds there is an effect, never an input.
pub(super) fn written_files(project: &Project) -> BTreeSet<String> {
    let playbook = &project.playbook;
    let bodies = playbook
        .stories
        .values()
        .flat_map(|story| story.steps.iter().map(|step| &step.body))
        .chain(playbook.tasks.values().map(|task| &task.body));
    bodies
        .flat_map(Body::stages)
        .filter_map(|stage| match stage {
            // A name that depends on an item is compared as it is written: `rack/{{ node.name }}/login.conf`.
            Stage::Render(render) => render.to.as_ref().map(|to| to.source.clone()),
            Stage::Exec(_) => None,
        })
        .collect()
}

/// What a step is made of for one item.
pub(super) fn of_step(
    project: &Project,
    written_files: &BTreeSet<String>,
    step: &Step,
    scope: &Scope,
) -> MadeOf {
    let mut body = step.body.clone();
    body.env.sort_by(|a, b| a.0.cmp(&b.0));
    body.outputs.sort_by(|a, b| a.name.cmp(&b.name));
    for question in questions_mut(&mut body) {
        if let Question::Probe(asked) = question {
            asked.arguments.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }
    let mut arguments = step.arguments.clone();
    arguments.sort_by(|a, b| a.name.cmp(&b.name));
    // What is known only while it runs (an output of another step) is known by how it is written.
    let mut reader = Reader {
        project,
        written_files,
        scope,
        inputs: BTreeMap::new(),
    };
    visit::body(&step.body, &mut |text, _| reader.names(text));
    for stage in step.body.stages() {
        reader.stage(stage);
    }
    for file in &step.body.inputs {
        if let Ok(name) = project.templates.text(file, scope) {
            reader.file(&name);
        }
    }
    for question in questions(&step.body) {
        reader.probe(question);
    }
    MadeOf {
        definition: Fingerprint::of(&[&format!("{body:?}"), &format!("{arguments:?}")]),
        written: Fingerprint::of(&[
            &format!("{:?} {:?}", step.title, step.needs),
            block(project, step.span),
        ]),
        inputs: reader.inputs,
    }
}

/// What a criterion is made of for one item.
pub(super) fn of_criterion(project: &Project, criterion: &Criterion, scope: &Scope) -> MadeOf {
    let nothing = BTreeSet::new();
    let mut reader = Reader {
        project,
        written_files: &nothing,
        scope,
        inputs: BTreeMap::new(),
    };
    visit::judge(&criterion.judge, &mut |text, _| reader.names(text));
    if let Judge::Check(question) = &criterion.judge {
        reader.probe(question);
    }
    MadeOf {
        definition: Fingerprint::of(&[&format!("{:?}", criterion.judge)]),
        written: Fingerprint::of(&[&format!("{criterion:?}"), block(project, criterion.span)]),
        inputs: reader.inputs,
    }
}

fn questions(body: &Body) -> impl Iterator<Item = &Question> {
    body.unless
        .iter()
        .chain(body.refuse.iter().map(|guard| &guard.question))
        .chain(body.until.iter().map(|until| &until.question))
}

fn questions_mut(body: &mut Body) -> impl Iterator<Item = &mut Question> {
    body.unless
        .iter_mut()
        .chain(body.refuse.iter_mut().map(|guard| &mut guard.question))
        .chain(body.until.iter_mut().map(|until| &mut until.question))
}

/// Collects what is read.
struct Reader<'a> {
    project: &'a Project,
    written_files: &'a BTreeSet<String>,
    scope: &'a Scope,
    inputs: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// The values of the inventory that a text uses.
    fn names(&mut self, text: Text<'_>) {
        let templates = &self.project.templates;
        let names = match text {
            Text::Template(template) => templates.names(template),
            Text::Expr(expr) => templates.names_expr(expr),
            Text::File(name) => {
                let mut names = templates.names(name);
                if let Ok(file) = templates.text(name, self.scope) {
                    names.extend(templates.names_file(&file).unwrap_or_default());
                }
                names
            }
        };
        for name in names {
            self.value(&name);
        }
    }

    /// The value under a dotted name, as far as it leads.
    fn value(&mut self, name: &str) {
        let mut parts = name.split('.');
        let root = parts.next().unwrap_or(name);
        let Some(value) = self.scope.get(root) else {
            return;
        };
        let mut value = value.clone();
        let mut path = root.to_owned();
        for part in parts {
            match value.get_attr(part) {
                Ok(inner) if !inner.is_undefined() => value = inner,
                _ => break,
            }
            path.push('.');
            path.push_str(part);
        }
        let text = template::to_json(&value).to_string();
        self.inputs
            .insert(format!("value {path}"), digest(text.as_bytes()));
    }

    /// The files that a stage reads: its template with what that includes, and what its texts name in `file(…)`.
    fn stage(&mut self, stage: &Stage) {
        match stage {
            Stage::Exec(exec) => {
                for word in &exec.argv {
                    self.argument(word);
                    self.named_files(&word.source);
                }
            }
            Stage::Render(render) => match &render.source {
                RenderSource::Text(text) => self.named_files(&text.source),
                RenderSource::File(name) => {
                    if let Ok(name) = self.project.templates.text(name, self.scope) {
                        self.template(&name);
                    }
                }
                RenderSource::Tree(name) => {
                    if let Some(target) = self.project.playbook.renders.get(&name.source) {
                        for (name, text) in crate::tree::sources(self.project, target) {
                            self.inputs
                                .insert(format!("template {name}"), digest(text.as_bytes()));
                        }
                    }
                    // Its templates may use anything of the inventory.
                    for name in ["site", "clusters"] {
                        self.value(name);
                    }
                }
            },
        }
    }

    /// `@FILE` in a command line means: read this file.
    fn argument(&mut self, word: &Template) {
        let Ok(word) = self.project.templates.text(word, self.scope) else {
            return;
        };
        if let Some(name) = word.strip_prefix('@')
            && !name.contains(['\n', '\0'])
            && template::below(&self.project.root, name).is_ok_and(|path| path.is_file())
        {
            self.file(name);
        }
    }

    fn template(&mut self, name: &str) {
        let input = format!("template {name}");
        if self.inputs.contains_key(&input) {
            return;
        }
        let Some(source) = self.project.templates.file_source(name) else {
            self.inputs.insert(input, GONE.into());
            return;
        };
        self.inputs.insert(input, digest(source.as_bytes()));
        for part in included(&source) {
            self.template(&part);
        }
        self.named_files(&source);
    }

    /// Files that a text reads by a plain name.
    fn named_files(&mut self, source: &str) {
        if !source.contains("file(") {
            return;
        }
        let pattern = r#"\b(?:yaml_)?file\(\s*["']([^"']+)["']"#;
        let regex = regex_lite::Regex::new(pattern).expect("the pattern is a regular expression");
        for found in regex.captures_iter(source) {
            self.file(&found[1]);
        }
    }

    fn file(&mut self, name: &str) {
        if self.written_files.iter().any(|written| fits(written, name)) {
            return;
        }
        let found = template::below(&self.project.root, name)
            .ok()
            .and_then(|path| read(&path));
        let digest = found.map_or_else(|| GONE.to_owned(), |bytes| digest(&bytes));
        self.inputs.insert(format!("file {name}"), digest);
    }

    fn probe(&mut self, question: &Question) {
        let Question::Probe(asked) = question else {
            return;
        };
        if let Some(probe) = self.project.playbook.probes.get(&asked.probe) {
            let mut probe = probe.clone();
            probe.title = None;
            let text = format!("{probe:?}");
            self.inputs
                .insert(format!("probe {}", asked.probe), digest(text.as_bytes()));
        }
    }
}

/// Whether a name can be one that a template such as `rack/{{ node.name }}/login.conf` gives.
fn fits(template: &str, name: &str) -> bool {
    let mut fixed = template.split("{{").enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once("}}").map_or("", |(_, after)| after),
    });
    let first = fixed.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut open = false;
    for part in fixed {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    rest.is_empty() || open
}

/// A file that is larger than this is no input of a playbook.
const LARGEST: u64 = 256 * 1024 * 1024;

fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = std::fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= LARGEST)
        .then(|| std::fs::read(path).ok())
        .flatten()
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// The text of the entry of a list or mapping that a span lies in: the lines from there on that are indented as deep.
fn block(project: &Project, span: Span) -> &str {
    let Some(source) = project.sources.source(span) else {
        return "";
    };
    let text = source.text.as_str();
    let Some(before) = text.get(..span.start) else {
        return "";
    };
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let rest = &text[start..];
    let first = rest.lines().next().unwrap_or_default();
    let dash = first.trim_start().strip_prefix('-');
    let depth = match dash {
        Some(entry) => first.len() - entry.trim_start().len(),
        None => first.len() - first.trim_start().len(),
    };
    let mut end = 0;
    for (at, line) in rest.split_inclusive('\n').enumerate() {
        let indent = line.len() - line.trim_start().len();
        if at > 0 && !line.trim().is_empty() && indent < depth {
            break;
        }
        end += line.len();
    }
    rest[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(definition: &str, written: &str, inputs: &[(&str, &str)]) -> MadeOf {
        MadeOf {
            inputs: inputs
                .iter()
                .map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()))
                .collect(),
            ..MadeOf::of(&[definition], &[written])
        }
    }

    fn edit(then: &MadeOf, now: &MadeOf) -> String {
        let key = TaskKey::from("1.1/x");
        let print = Print {
            fingerprint: then.fingerprint(&key),
            parts: Some(then.clone()),
        };
        let edit = Edit::between(&print, now, &key);
        format!("{}: {edit}", edit.word())
    }

    #[test]
    fn an_edit_says_which_part_differs() {
        let was = made(
            "a",
            "a",
            &[("file x", "1"), ("tool t", "1.0"), ("value v", "5")],
        );
        let now = |definition, written, x, t| {
            made(
                definition,
                written,
                &[("file x", x), ("tool t", t), ("value v", "5")],
            )
        };
        let more = [("file x", "1"), ("file y", "1"), ("value v", "5")];
        for (now, says) in [
            (now("a", "a", "1", "1.0"), "same: nothing differs"),
            (
                now("a", "b", "1", "1.0"),
                "cosmetic: only written differently",
            ),
            (now("a", "b", "2", "1.0"), "input: file x differs"),
            (now("a", "a", "-", "1.0"), "input: file x is gone"),
            (now("a", "a", "1", "1.1"), "input: tool t 1.0 was, 1.1 is"),
            (
                now("b", "b", "2", "1.0"),
                "definition: what the step says differs, file x differs",
            ),
            (made("a", "a", &more), "input: file y is new"),
        ] {
            assert_eq!(edit(&was, &now), says);
        }
    }

    #[test]
    fn a_version_that_nobody_asked_for_is_no_change() {
        let was = made("a", "a", &[("tool t", "1.0")]);
        assert_eq!(edit(&was, &made("a", "a", &[])), "same: nothing differs");
        assert_eq!(edit(&made("a", "a", &[]), &was), "same: nothing differs");
    }

    #[test]
    fn an_old_journal_knows_only_that_something_differs() {
        let key = TaskKey::from("1.1/x");
        let now = made("a", "a", &[]);
        let print = |fingerprint| Print {
            fingerprint,
            parts: None,
        };
        let same = Edit::between(&print(now.fingerprint(&key)), &now, &key);
        let other = Edit::between(&print(Fingerprint::of(&["old"])), &now, &key);
        assert_eq!((same.word(), other.word()), ("same", "changed"));
        assert!(other.differs() && !same.differs());
    }

    #[test]
    fn a_name_fits_the_template_that_gives_it() {
        assert!(fits("talos/talosconfig", "talos/talosconfig"));
        assert!(!fits("talos/talosconfig", "talos/talosconfig.old"));
        assert!(fits("rack/{{ node.name }}/conf", "rack/attic/conf"));
        assert!(!fits("rack/{{ node.name }}/conf", "rack/attic/other"));
        assert!(fits("rack/{{ node.name }}", "rack/attic"));
    }

    #[test]
    fn inputs_that_tasks_share_are_kept_once() {
        let tasks = [
            made("a", "a", &[("file x", "1"), ("file y", "1")]),
            made("b", "b", &[("file x", "1"), ("file y", "2")]),
        ];
        let kept = Ingredients::collect(&tasks);
        assert_eq!(kept.inputs.len(), 3);
        assert_eq!(kept.at(0).as_ref(), Some(&tasks[0]));
        assert_eq!(kept.at(1).as_ref(), Some(&tasks[1]));
        assert_eq!(kept.at(2), None);
        let json = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Ingredients>(&json).unwrap(), kept);
    }
}
