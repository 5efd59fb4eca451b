//! The declared work, as it was read: stories of steps, the questions they ask and the tools they use.
//!
//! A [`Playbook`] is only ever made by [`read`], which tells every problem of shape at once. Whether names exist, templates have what they
//! need and the graph has no cycle is settled when a [`crate::plan::Plan`] is made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indexmap::IndexMap;

use crate::document::Span;
use crate::inventory::Axis;
use crate::kind::Field;
use crate::template::{Expr, Template};

pub mod read;
mod read_action;
mod read_question;
mod read_rebuild;
mod read_tool;

/// Everything that the playbook files say.
#[derive(Debug, Clone, Default)]
pub struct Playbook {
    /// Where the inventory is, relative to the project.
    pub inventory: Option<(String, Span)>,
    /// Titles of epics.
    pub epics: BTreeMap<String, String>,
    /// What is known about command-line tools.
    pub tools: BTreeMap<String, Tool>,
    /// Where secret references are looked up, by scheme.
    pub providers: BTreeMap<String, Provider>,
    /// Named questions.
    pub probes: BTreeMap<String, Probe>,
    /// Reusable work.
    pub tasks: BTreeMap<String, TaskDefinition>,
    /// What `render NAME` makes.
    pub renders: BTreeMap<String, RenderTarget>,
    /// What must hold for every command line.
    pub rules: Vec<Rule>,
    /// Files below the project that may hold secrets: tools need them there.
    pub may_hold_secrets: BTreeSet<String>,
    /// What `rebuild` may do for a cluster or a node.
    pub rebuilds: BTreeMap<String, Rebuild>,
    /// The stories, in the order of the files.
    pub stories: IndexMap<String, Story>,
    /// Whether all files could be read as YAML.
    pub(crate) whole: bool,
    /// Tasks that steps use.
    pub(crate) used_tasks: BTreeSet<String>,
    /// What has problems of its own: its kind and name. What follows from those is not told.
    pub(crate) broken: BTreeSet<(&'static str, String)>,
}

/// A numbered part with one promise and its acceptance criteria.
#[derive(Debug, Clone)]
pub struct Story {
    /// Such as `1.3`.
    pub id: String,
    /// One line.
    pub title: String,
    /// The epic it belongs to.
    pub epic: Option<String>,
    /// For people.
    pub priority: Option<String>,
    /// What a rebuild that takes this story has to give it; other stories have none.
    pub parameters: Vec<Field>,
    /// Stories that come before.
    pub needs: Vec<(String, Span)>,
    /// The story that this id was folded into.
    pub folded_into: Option<(String, Span)>,
    /// What must be true in the end.
    pub criteria: Vec<Criterion>,
    /// The work.
    pub steps: Vec<Step>,
    /// Where it stands.
    pub span: Span,
}

/// What `rebuild` does for one cluster or one node: the first choice that fits what is found there.
#[derive(Debug, Clone)]
pub struct Rebuild {
    /// What is rebuilt: one of the clusters, or one of the nodes.
    pub axis: Axis,
    /// What may be said on the command line.
    pub parameters: Vec<Field>,
    /// Names for what follows from that, in order; found out once, before anything is asked.
    pub names: Vec<(String, Template)>,
    /// In order.
    pub choices: Vec<Choice>,
    /// Where it stands.
    pub span: Span,
}

/// A way to rebuild something, or a reason not to.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The question in words.
    pub title: Option<Template>,
    /// All of them met: this is chosen. Without a question it is chosen whenever nothing before it was.
    pub when: Vec<Question>,
    /// What is chosen.
    pub path: Path,
    /// Where it stands.
    pub span: Span,
}

/// What a rebuild comes to.
#[derive(Debug, Clone)]
pub enum Path {
    /// Nothing is touched, and a person is told why and what to do.
    Refuse(Template),
    /// This story is run, for the one cluster or node, with these values for its parameters.
    Story {
        /// Its id.
        id: String,
        /// Where that stands.
        span: Span,
        /// Values for its parameters.
        arguments: Vec<Argument>,
    },
}

/// One acceptance criterion.
#[derive(Debug, Clone)]
pub struct Criterion {
    /// The sentence.
    pub text: Template,
    /// What it iterates over.
    pub for_each: ForEach,
    /// How it is judged.
    pub judge: Judge,
    /// Where it stands.
    pub span: Span,
}

/// How a criterion is judged.
#[derive(Debug, Clone)]
pub enum Judge {
    /// By asking the world.
    Check(Question),
    /// By a person, by name.
    SignOff(Template),
}

/// One declared unit of work.
#[derive(Debug, Clone)]
pub struct Step {
    /// Unique in its story.
    pub id: String,
    /// One line.
    pub title: Option<Template>,
    /// What it iterates over.
    pub for_each: ForEach,
    /// Steps of the same story that come before.
    pub needs: Vec<(String, Span)>,
    /// Values for the parameters of the task that it uses.
    pub arguments: Vec<Argument>,
    /// The parameters of the task that it uses.
    pub parameters: Vec<Field>,
    /// What is done.
    pub body: Body,
    /// Where it stands.
    pub span: Span,
}

/// What a step or a task does, in the order in which it happens.
#[derive(Debug, Clone)]
pub struct Body {
    /// Whether it applies at all.
    pub when: Option<Expr>,
    /// Met: nothing has to be done.
    pub unless: Option<Question>,
    /// Guards that stop.
    pub refuse: Vec<Guard>,
    /// A person is asked before the action.
    pub gate: Option<Confirm>,
    /// The work.
    pub action: Action,
    /// Has the effect arrived?
    pub until: Option<Until>,
    /// A failure which means that the effect is there.
    pub met: Option<Expr>,
    /// A failure after which only `until` knows.
    pub maybe: Option<Expr>,
    /// When to try again.
    pub retry: Option<Retry>,
    /// The longest that the action may take.
    pub timeout: Duration,
    /// What a repetition would do.
    pub effect: Effect,
    /// Names of locks.
    pub locks: Vec<Template>,
    /// Always run, and before a re-run.
    pub cleanup: Vec<Vec<Stage>>,
    /// What later steps may read.
    pub outputs: Vec<Output>,
    /// Files that the work is made from, beyond the templates: what they say is part of what the task is.
    pub inputs: Vec<Template>,
    /// Environment of the processes.
    pub env: Vec<(String, Template)>,
    /// Folder of the processes.
    pub cwd: Option<Template>,
    /// Input of the first process.
    pub stdin: Option<Template>,
    /// Whether stdout is secret.
    pub secret: bool,
}

/// A claim about what a repetition of a step would do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing.
    Reads,
    /// May be repeated.
    Idempotent,
    /// Must happen once; needs a probe.
    Once,
    /// Destroys; needs a confirmation.
    Destructive,
    /// Is done by a person; needs a probe that sees it.
    Manual,
}

/// What an iteration goes over.
#[derive(Debug, Clone)]
pub enum ForEach {
    /// Nothing: once.
    Once,
    /// Clusters or nodes of the inventory.
    Axis(Axis),
    /// A list, with the name of its elements.
    List {
        /// The name that each element gets.
        name: String,
        /// The list.
        list: Template,
    },
}

/// A value for a parameter.
#[derive(Debug, Clone)]
pub struct Argument {
    /// Which parameter.
    pub name: String,
    /// The value.
    pub value: ArgumentValue,
    /// Where it stands.
    pub span: Span,
}

/// How an argument was written.
#[derive(Debug, Clone)]
pub enum ArgumentValue {
    /// As text, possibly with braces.
    Text(Template),
    /// As a number, a truth, a list or a mapping.
    Plain(serde_json::Value),
    /// A declared default.
    Default(serde_json::Value),
}

/// What is done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Stages; what one prints is the next one's input.
    Pipe(Vec<Stage>),
    /// A person is asked.
    Confirm(Confirm),
    /// Nothing is done; the step waits for its `until`.
    Wait,
}

/// One part of a pipe.
#[derive(Debug, Clone)]
pub enum Stage {
    /// A process.
    Exec(Exec),
    /// A template.
    Render(Render),
}

/// A process.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The program and its arguments; `sh -c` where it was written as `shell`.
    pub argv: Vec<Template>,
    /// Whether `shell:` was written.
    pub shell: bool,
    /// Environment of this process alone.
    pub env: Vec<(String, Template)>,
    /// The longest it may take.
    pub timeout: Option<Duration>,
    /// Whether what it prints is secret.
    pub secret: bool,
    /// Where it stands.
    pub span: Span,
}

/// A template that becomes text.
#[derive(Debug, Clone)]
pub struct Render {
    /// A file below the project, or the text itself.
    pub source: RenderSource,
    /// Where the text is written; otherwise it goes on.
    pub to: Option<Template>,
    /// Permissions of the written file.
    pub mode: u32,
    /// What becomes of references.
    pub secrets: References,
    /// How the previous stage's output is read.
    pub input: Option<Parse>,
    /// Where it stands.
    pub span: Span,
}

/// Where a template's text comes from.
#[derive(Debug, Clone)]
pub enum RenderSource {
    /// A file; its name may be a template itself.
    File(Template),
    /// Written in place.
    Text(Template),
    /// All files of a render target that is a tree, written to its folder.
    Tree(Template),
}

/// What becomes of references to secrets in rendered text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// They stay.
    Keep,
    /// They become the values.
    Resolve,
    /// They become base64 of themselves.
    Placeholders,
    /// They become values of the item that arrives on the pipe.
    Input,
}

/// How text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parse {
    /// As it is, without white space around it.
    Text,
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
}

/// A human gate.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// What is about to happen.
    pub say: Template,
    /// What has to be typed; otherwise yes or no.
    pub word: Option<Template>,
    /// Where it stands.
    pub span: Span,
}

/// A question with the answers that count as met.
#[derive(Debug, Clone)]
pub enum Question {
    /// A named probe.
    Probe(ProbeQuestion),
    /// A condition over what is known.
    That(Expr),
}

/// A question to a named probe.
#[derive(Debug, Clone)]
pub struct ProbeQuestion {
    /// Which.
    pub probe: String,
    /// Its parameters.
    pub arguments: Vec<Argument>,
    /// The states that count.
    pub states: Vec<String>,
    /// Whether they count as unmet instead.
    pub negated: bool,
    /// Asked for each element of this list.
    pub each: Option<Template>,
    /// Whether one element is enough.
    pub any: bool,
    /// Where it stands.
    pub span: Span,
}

/// A question that is asked until it is met.
#[derive(Debug, Clone)]
pub struct Until {
    /// What.
    pub question: Question,
    /// How often.
    pub every: Duration,
    /// How long.
    pub within: Duration,
    /// States in which the effect is lost…
    pub lost: Vec<String>,
    /// …when they last as long as this.
    pub lost_after: Duration,
    /// What to do if it does not come.
    pub say: Option<Template>,
}

/// A guard that stops the run with a sentence.
#[derive(Debug, Clone)]
pub struct Guard {
    /// What is asked.
    pub question: Question,
    /// True: stops if met or unknown. False: stops if unmet or unknown.
    pub when: bool,
    /// The sentence.
    pub say: Template,
}

/// When and how often to try again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// How many attempts in all.
    pub attempts: Option<u32>,
    /// How long in all.
    pub within: Option<Duration>,
    /// The first pause.
    pub every: Duration,
    /// What each pause is multiplied by.
    pub backoff: f64,
    /// The longest pause.
    pub at_most: Duration,
    /// Only failures for which this holds.
    pub when: Option<Expr>,
}

/// Something that later steps may read.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// How stdout is read.
    pub parse: Parse,
    /// Which part of it: an expression over `value`.
    pub select: Option<Expr>,
    /// Whether it is secret.
    pub secret: bool,
    /// Where it stands.
    pub span: Span,
}

/// A named, read-only question.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name.
    pub name: String,
    /// The question in words.
    pub title: Option<Template>,
    /// Its parameters.
    pub parameters: Vec<Field>,
    /// How long an unknown answer is asked again.
    pub settle: Duration,
    /// States that are only believed when they last as long as that: a moment can look like them.
    pub steady: Vec<(String, Span)>,
    /// The ways to ask, in order.
    pub asks: Vec<Ask>,
    /// Where it stands.
    pub span: Span,
}

/// One way to ask.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How.
    pub how: How,
    /// The longest it may take.
    pub timeout: Duration,
    /// Whether the answer is secret.
    pub secret: bool,
    /// State and condition, in order.
    pub answers: Vec<(String, Expr)>,
}

/// How a probe asks.
#[derive(Debug, Clone)]
pub enum How {
    /// By running commands.
    Pipe(Vec<Stage>),
    /// By reading a file.
    File(Template),
    /// By comparing a tree with what lies in its folder.
    Tree(Template),
    /// By its conditions alone.
    Nothing,
}

/// Reusable work with typed parameters.
#[derive(Debug, Clone)]
pub struct TaskDefinition {
    /// Its name.
    pub name: String,
    /// One line.
    pub title: Option<Template>,
    /// Its parameters.
    pub parameters: Vec<Field>,
    /// What it does.
    pub body: Body,
    /// Where it stands.
    pub span: Span,
}

/// What is known about a command-line tool.
#[derive(Debug, Clone, Default)]
pub struct Tool {
    /// How to ask for its version, and which ones do.
    pub version: Option<ToolVersion>,
    /// Variables that reach this tool only.
    pub env: Vec<String>,
    /// When the run has to pause for a person.
    pub pause: Option<Pause>,
    /// An answer that means: no effect, ask again later.
    pub again: Option<Expr>,
}

/// How to ask a tool for its version.
#[derive(Debug, Clone)]
pub struct ToolVersion {
    /// The command.
    pub run: Vec<Template>,
    /// A regular expression with one group.
    pub find: String,
    /// Whether `found` will do.
    pub fits: Option<Expr>,
    /// What to say if not.
    pub say: Option<String>,
}

/// A pause until a person has done something.
#[derive(Debug, Clone)]
pub struct Pause {
    /// Which answers pause.
    pub when: Expr,
    /// What to do.
    pub say: String,
    /// The command that says when to go on.
    pub until: Vec<Template>,
    /// How often it is asked.
    pub every: Duration,
    /// How long.
    pub within: Duration,
}

/// Where secret references of a scheme are looked up.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The command that gives a whole item as JSON.
    pub item: Vec<Template>,
    /// The value or values of `field` (and `section`) in `json`.
    pub value: Expr,
}

/// What `render NAME` makes.
#[derive(Debug, Clone)]
pub struct RenderTarget {
    /// One line.
    pub title: String,
    /// What it iterates over.
    pub for_each: ForEach,
    /// The file below the output folder.
    pub file: Template,
    /// How it is made.
    pub stages: Vec<Stage>,
    /// A command that gets the text and must exit 0.
    pub check: Vec<Template>,
    /// Folders of templates that become a tree of files; then the fields above are empty.
    pub trees: Vec<Tree>,
    /// The folder of the tree, below the project.
    pub into: String,
    /// Templates that see all files of the tree and print what is wrong with them.
    pub checks: Vec<Template>,
    /// Where it stands.
    pub span: Span,
}

/// A folder of templates.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The folder below the project.
    pub from: Template,
    /// The folder below the tree's.
    pub into: Template,
    /// Once, or once a cluster.
    pub for_each: ForEach,
}

/// What must hold for every command line of a tool.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The tool.
    pub tool: String,
    /// The condition over `argv`.
    pub must: Expr,
    /// What it says.
    pub say: String,
}

impl Body {
    /// What surrounds the commands of a question: nothing but a deadline.
    pub fn for_question(timeout: Duration, secret: bool) -> Self {
        Self {
            when: None,
            unless: None,
            refuse: Vec::new(),
            gate: None,
            action: Action::Wait,
            until: None,
            met: None,
            maybe: None,
            retry: None,
            timeout,
            effect: Effect::Reads,
            locks: Vec::new(),
            cleanup: Vec::new(),
            outputs: Vec::new(),
            inputs: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: None,
            secret,
        }
    }

    /// All stages of the body: the action's and the cleanup's.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        let action: &[Stage] = match &self.action {
            Action::Pipe(stages) => stages,
            Action::Confirm(_) | Action::Wait => &[],
        };
        action.iter().chain(self.cleanup.iter().flatten())
    }
}

impl Playbook {
    /// Whether something has problems of its own.
    pub(crate) fn is_broken(&self, what: &'static str, name: &str) -> bool {
        self.broken.contains(&(what, name.to_owned()))
    }

    /// The rebuild that may take a story; such a story is run by nothing else.
    pub fn rebuild_of(&self, story: &str) -> Option<&str> {
        self.rebuilds
            .iter()
            .find(|(_, rebuild)| {
                rebuild
                    .choices
                    .iter()
                    .any(|choice| matches!(&choice.path, Path::Story { id, .. } if id == story))
            })
            .map(|(name, _)| name.as_str())
    }

    /// Every command line that the playbook can issue, with where it stands.
    pub fn commands(&self) -> Vec<(&[Template], Span)> {
        fn of(stage: &Stage) -> Option<(&[Template], Span)> {
            match stage {
                Stage::Exec(exec) => Some((&exec.argv, exec.span)),
                Stage::Render(_) => None,
            }
        }
        let mut all: Vec<(&[Template], Span)> = Vec::new();
        for story in self.stories.values() {
            all.extend(
                story
                    .steps
                    .iter()
                    .flat_map(|step| step.body.stages())
                    .filter_map(of),
            );
        }
        all.extend(
            self.tasks
                .values()
                .flat_map(|task| task.body.stages())
                .filter_map(of),
        );
        for probe in self.probes.values() {
            for ask in &probe.asks {
                if let How::Pipe(stages) = &ask.how {
                    all.extend(stages.iter().filter_map(of));
                }
            }
        }
        for render in self.renders.values() {
            all.extend(render.stages.iter().filter_map(of));
            all.extend(
                render
                    .check
                    .first()
                    .map(|first| (render.check.as_slice(), first.span)),
            );
        }
        for tool in self.tools.values() {
            let version = tool.version.iter().map(|version| version.run.as_slice());
            let pause = tool.pause.iter().map(|pause| pause.until.as_slice());
            all.extend(
                version
                    .chain(pause)
                    .filter_map(|argv| argv.first().map(|first| (argv, first.span))),
            );
        }
        for provider in self.providers.values() {
            all.extend(
                provider
                    .item
                    .first()
                    .map(|first| (provider.item.as_slice(), first.span)),
            );
        }
        all.sort_by_key(|(argv, span)| (*span, argv.len()));
        all.dedup_by(|a, b| a.1 == b.1 && a.0 == b.0);
        all
    }

    /// The same by tool, as texts: what `commands('tool')` gives.
    pub fn commands_by_tool(&self) -> BTreeMap<String, Vec<Vec<String>>> {
        let mut by_tool: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for (argv, _) in self.commands() {
            let words: Vec<String> = argv.iter().map(|word| word.source.clone()).collect();
            if let Some(tool) = words.first() {
                by_tool.entry(tool.clone()).or_default().push(words);
            }
        }
        by_tool
    }
}
