//! An attempt at a task, from start to end: when → unless → refuse → act → until → outputs → cleanup.
//!
//! Everything that happens to the world happens here. Nothing is guessed: a question has three answers, and *unknown* stops. Whatever leaves
//! this module (outcomes, notes, logs) has passed the mask.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use minijinja::value::Value;

use crate::engine::{Executor, NotCommitted, Order, Outputs, Reporter};
use crate::plan::{Duty, Fingerprint, Plan, Task, TaskIx, TaskKey};
use crate::playbook::{Judge, Question, RenderTarget};
use crate::process::Cancel;
use crate::process::guardian::Guardian;
use crate::project::Project;
use crate::run::cited;
use crate::run::past::{Attempted, Signed};
use crate::run::{AttemptEnd, Failure, FailureKind, OutputValue};
use crate::secret::{Key, Mask, Secret};
use crate::template::{self, Scope};
use crate::workspace::RunFolder;

pub mod ask;
mod command;
mod confirm;
mod lasting;
mod pace;
mod scrub;
pub mod secrets;
mod stage;
mod step;
pub mod tree;
mod wait;

pub use ask::Verdict;
pub use confirm::{Ask, Prompt};
pub use pace::Pace;

pub use stage::{unified_diff, write_file};

/// What surrounds a run.
pub struct Settings {
    /// The run's name.
    pub run: String,
    /// Where logs go; nowhere for questions outside a run.
    pub folder: Option<RunFolder>,
    /// The caller's environment.
    pub env: BTreeMap<String, String>,
    /// How fast time runs: faster than the clock in a rehearsal.
    pub pace: Pace,
    /// Ordinary confirmations were given in advance.
    pub yes: bool,
    /// Words that were typed in advance.
    pub confirm: Vec<String>,
    /// Who confirms.
    pub who: String,
    /// The program that gives processes a session of their own; none where there is no terminal to keep them from.
    pub session: Option<PathBuf>,
    /// How a person is asked.
    pub ask: Ask,
    /// Values that stand in for every provider of secrets, by reference.
    pub secrets: Option<BTreeMap<String, Secret>>,
}

/// Does what tasks say.
pub struct Performer {
    pub(crate) project: Arc<Project>,
    plan: Arc<Plan>,
    pub(crate) settings: Settings,
    pub(crate) mask: Mask,
    /// All that anybody can read in the project's files: never masked on its own.
    pub(crate) public: String,
    pub(crate) secrets: secrets::Store,
    pub(crate) guardian: Guardian,
    pub(crate) pauses: BTreeMap<String, tokio::sync::Mutex<()>>,
    known: Known,
    /// The logs that are masked with all that the mask knew in this version.
    clean_logs: Mutex<BTreeMap<PathBuf, u64>>,
    /// What processes said that were asked outside attempts.
    cited: Mutex<BTreeSet<String>>,
    key: OnceLock<Option<Key>>,
}

/// What the journal of an interrupted run says that an attempt has to know.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last attempt at each task.
    pub attempts: BTreeMap<TaskKey, Attempted>,
    /// What people signed off.
    pub signed: BTreeMap<TaskKey, Signed>,
}

/// One attempt while it is being made.
pub(crate) struct Work<'a> {
    pub(crate) performer: &'a Performer,
    pub(crate) reporter: &'a Reporter,
    pub(crate) cancel: &'a Cancel,
    /// What the attempt's processes are known by.
    pub(crate) marker: String,
    /// The story, for which secrets are fetched once.
    pub(crate) story: String,
    pub(crate) task: TaskKey,
    pub(crate) attempt: u32,
    /// Where the action's output goes.
    pub(crate) log: Option<PathBuf>,
}

/// How an attempt comes to an early end.
pub(crate) enum Stop {
    /// It failed; whether trying again may help.
    Failed(Box<Failure>, bool),
    /// It was cut short.
    Cancelled,
}

impl From<NotCommitted> for Stop {
    fn from(_: NotCommitted) -> Self {
        // The run is being stopped, and says why itself.
        Self::Cancelled
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure), false)
    }
}

impl Performer {
    /// A performer for a plan of a project.
    pub fn new(
        project: Arc<Project>,
        plan: Arc<Plan>,
        settings: Settings,
        mask: Mask,
        guardian: Guardian,
    ) -> Self {
        let public = project.public_text();
        let pauses = project
            .playbook
            .tools
            .keys()
            .map(|tool| (tool.clone(), tokio::sync::Mutex::new(())))
            .collect();
        Self {
            project,
            plan,
            settings,
            mask,
            public,
            secrets: secrets::Store::default(),
            guardian,
            pauses,
            known: Known::default(),
            clean_logs: Mutex::default(),
            cited: Mutex::default(),
            key: OnceLock::new(),
        }
    }

    /// With what the journal of the run says.
    #[must_use]
    pub fn knowing(mut self, known: Known) -> Self {
        self.known = known;
        self
    }

    /// A fingerprint of what a file holds, made with the workspace's key: the file may hold secrets. None where no key can be had.
    pub fn fingerprint(&self, content: &[u8]) -> Option<Fingerprint> {
        let key = self.key.get_or_init(|| {
            let folder = self.settings.folder.as_ref()?;
            folder.key().ok()
        });
        key.as_ref()
            .map(|key| Fingerprint::kept(key.fingerprint(&[content])))
    }

    /// Says goodbye to what watches over the processes.
    pub fn goodbye(self) {
        // Whether or not it hears us, it finds nothing to end.
        self.guardian.goodbye().ok();
    }

    /// Asks whether a task has anything to do: its `unless`, or the question of its criterion. `None` where it has no question.
    pub async fn probe(&self, ix: TaskIx) -> Option<Verdict> {
        self.probe_with(ix, &Cancel::new(), false).await
    }

    /// The same, but for so long at most: what has not answered by then is unknown.
    pub async fn probe_within(&self, ix: TaskIx, limit: Duration) -> Option<Verdict> {
        let limit = self.settings.pace.wait(limit);
        let cancel = Cancel::new();
        let asking = self.probe_with(ix, &cancel, false);
        tokio::pin!(asking);
        tokio::select! {
            verdict = &mut asking => verdict,
            () = tokio::time::sleep(limit) => {
                cancel.term();
                // What was started is ended before it is given up.
                asking.await.map(|_| {
                    Verdict::Unknown(format!("no answer within {:.0}s", limit.as_secs_f64()))
                })
            }
        }
    }

    /// The same, and an *unmet* is asked again for as long as the probe says before it is believed.
    pub async fn probe_steadily(&self, ix: TaskIx) -> Option<Verdict> {
        self.probe_with(ix, &Cancel::new(), true).await
    }

    async fn probe_with(&self, ix: TaskIx, cancel: &Cancel, steadily: bool) -> Option<Verdict> {
        let task = self.plan.task(ix);
        let reporter = Reporter::nowhere(ix);
        let work = self.work(task, 0, &reporter, cancel);
        let question = question_of(task)?;
        let scope = self.scope(task, 0, &BTreeMap::new());
        let scope = match work.bound(task, &scope) {
            Ok(scope) => scope,
            Err(failure) => return Some(Verdict::Unknown(failure.line())),
        };
        let asked = if steadily {
            work.ask_steadily(question, &scope).await
        } else {
            work.ask(question, &scope, true).await
        };
        self.mask_cited(&reporter);
        self.cited
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(reporter.cited());
        Some(match asked {
            Ok(verdict) => verdict,
            Err(Stop::Failed(failure, _)) => Verdict::Unknown(failure.line()),
            Err(Stop::Cancelled) => Verdict::Unknown("cancelled".into()),
        })
    }

    /// How the file that a task writes would differ: empty if not at all, nothing if the task writes no file or its text cannot be known.
    pub async fn difference(&self, ix: TaskIx) -> Option<String> {
        let task = self.plan.task(ix);
        let Duty::Work(body) = &task.duty else {
            return None;
        };
        let cancel = Cancel::new();
        let reporter = Reporter::nowhere(ix);
        let work = self.work(task, 0, &reporter, &cancel);
        let difference = work
            .difference(body, &self.scope(task, 0, &BTreeMap::new()))
            .await
            .ok()??;
        Some(self.mask.text(&difference).into_owned())
    }

    /// Makes the texts of a render target: the file's name and its text.
    pub async fn render(
        &self,
        target: &RenderTarget,
        scope: &Scope,
        references: crate::playbook::References,
    ) -> Result<(String, String), Failure> {
        let cancel = Cancel::new();
        let reporter = Reporter::nowhere(TaskIx(0));
        let work = self.alone("render", &reporter, &cancel);
        let result = work.render_target(target, scope, references).await;
        result.map_err(|stop| match stop {
            Stop::Failed(failure, _) => self.masked(*failure),
            Stop::Cancelled => Failure::new(FailureKind::System, "cancelled"),
        })
    }

    /// Work that belongs to no task of the plan.
    fn alone<'a>(&'a self, name: &str, reporter: &'a Reporter, cancel: &'a Cancel) -> Work<'a> {
        Work {
            performer: self,
            reporter,
            cancel,
            marker: format!("{}/{name}/0", self.settings.run),
            story: name.to_owned(),
            task: TaskKey::new(name, name, ""),
            attempt: 0,
            log: None,
        }
    }

    fn work<'a>(
        &'a self,
        task: &Task,
        attempt: u32,
        reporter: &'a Reporter,
        cancel: &'a Cancel,
    ) -> Work<'a> {
        Work {
            performer: self,
            reporter,
            cancel,
            marker: format!("{}/{}/{attempt}", self.settings.run, task.key),
            story: task.story.clone(),
            task: task.key.clone(),
            attempt,
            log: self
                .settings
                .folder
                .as_ref()
                .map(|folder| folder.log(task.key.as_str(), attempt)),
        }
    }

    /// The names that a task knows: what the plan knew, the run, and the outputs of its ancestors.
    fn scope(&self, task: &Task, attempt: u32, outputs: &Outputs) -> Scope {
        let mut scope = task.scope.clone();
        scope.set(
            "run",
            Value::from_pairs([
                ("id", Value::from(self.settings.run.as_str())),
                ("attempt", Value::from(attempt)),
            ]),
        );
        let value_of = |task: &str, item: &str, name: &str, value: &OutputValue| match value {
            OutputValue::Value(json) => template::value(json),
            OutputValue::Secret => self
                .secrets
                .output(task, item, name)
                .map_or(Value::UNDEFINED, Value::from),
        };
        let steps: BTreeMap<String, Value> = outputs
            .iter()
            .map(|(step, given)| {
                let items: Vec<(String, Value)> = given
                    .iter()
                    .map(|(item, outputs)| {
                        let values: BTreeMap<String, Value> = outputs
                            .iter()
                            .map(|(name, value)| {
                                (
                                    name.clone(),
                                    value_of(&format!("{}/{step}", task.story), item, name, value),
                                )
                            })
                            .collect();
                        (item.clone(), Value::from_pairs(values))
                    })
                    .collect();
                let value = match items.as_slice() {
                    [(_, one)] => one.clone(),
                    _ => Value::from_pairs(items),
                };
                (step.clone(), value)
            })
            .collect();
        scope.set("steps", Value::from_pairs(steps));
        scope
    }

    /// A text as it may be shown.
    pub fn masked_text(&self, text: &str) -> String {
        self.mask.text(text).into_owned()
    }

    /// What a question saw, as it may stand in a journal: no process is cited.
    pub fn uncited(&self, seen: &str) -> String {
        let asked = self
            .cited
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        cited::omit(seen, &asked)
    }

    /// Texts are masked before they are shown: what is cited is to be found in them masked, too.
    fn mask_cited(&self, reporter: &Reporter) {
        for line in reporter.cited() {
            if let Cow::Owned(masked) = self.mask.text(&line) {
                reporter.cite(masked);
            }
        }
    }

    fn masked(&self, failure: Failure) -> Failure {
        let text = |text: String| self.mask.text(&text).into_owned();
        Failure {
            kind: failure.kind,
            message: text(failure.message),
            command: failure.command.map(text),
            status: failure.status,
            last_lines: failure.last_lines.into_iter().map(text).collect(),
            hint: failure.hint.map(text),
        }
    }
}

/// The question that tells whether a task has anything to do: its `unless`, else its `until`, or that of its criterion.
pub fn question_of(task: &Task) -> Option<&Question> {
    match &task.duty {
        Duty::Work(body) => body
            .unless
            .as_ref()
            .or(body.until.as_ref().map(|until| &until.question)),
        Duty::Criterion { judge, .. } => match &**judge {
            Judge::Check(question) => Some(question),
            Judge::SignOff(_) => None,
        },
    }
}

impl Executor for Performer {
    async fn execute(&self, order: Order, reporter: Reporter) -> AttemptEnd {
        let task = self.plan.task(order.task);
        let work = self.work(task, order.attempt, &reporter, &order.cancel);
        let scope = self.scope(task, order.attempt, &order.outputs);
        let knew = self.mask.version();
        let result = match &task.duty {
            Duty::Work(body) => work.step(task, body, scope, order.in_doubt).await,
            Duty::Criterion { judge, .. } => work.criterion(judge, &scope).await,
        };
        if let Some(log) = &work.log {
            self.scrub_log(log, knew).await;
        }
        let end = match result {
            Ok(end) => match end {
                AttemptEnd::Changed { why, outputs } => AttemptEnd::Changed {
                    why: self.mask.text(&why).into_owned(),
                    outputs,
                },
                AttemptEnd::Unchanged { why, outputs } => AttemptEnd::Unchanged {
                    why: self.mask.text(&why).into_owned(),
                    outputs,
                },
                AttemptEnd::Skipped { why } => AttemptEnd::Skipped {
                    why: self.mask.text(&why).into_owned(),
                },
                other @ (AttemptEnd::Failed { .. } | AttemptEnd::Cancelled) => other,
            },
            Err(Stop::Cancelled) => AttemptEnd::Cancelled,
            Err(Stop::Failed(failure, retry)) => {
                let failure = self.masked(*failure);
                AttemptEnd::Failed { failure, retry }
            }
        };
        self.mask_cited(&reporter);
        work.write_log(&cited::spoken(&end, &reporter.cited()));
        end
    }
}

impl Work<'_> {
    pub(crate) fn text(
        &self,
        template: &template::Template,
        scope: &Scope,
    ) -> Result<String, Failure> {
        self.performer
            .project
            .templates
            .text(template, scope)
            .map_err(|error| template_failure(&template.source, &error))
    }

    pub(crate) fn holds(&self, expr: &template::Expr, scope: &Scope) -> Result<bool, Failure> {
        self.performer
            .project
            .templates
            .holds(expr, scope)
            .map_err(|error| template_failure(&expr.source, &error))
    }

    /// Adds a line of our own to the log of the attempt.
    pub(crate) fn write_log(&self, text: &str) {
        let Some(path) = &self.log else { return };
        if text.is_empty() {
            return;
        }
        let masked = self.performer.mask.text(text);
        let opened = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        if let Ok(mut file) = opened {
            // A log that cannot be written must not stop a cluster; the journal says what happened.
            file.write_all(masked.as_bytes()).ok();
        }
    }

    /// Asks a question and gives the words for it, for steps that need nothing more.
    pub(crate) fn describe(question: &Question) -> String {
        match question {
            Question::That(expr) => expr.source.clone(),
            Question::Probe(asked) => {
                let mut words = asked.probe.clone();
                let is = if asked.negated { "is not" } else { "is" };
                // Writing to a String cannot fail.
                write!(words, " {is} {}", asked.states.join(" or ")).ok();
                words
            }
        }
    }
}

fn template_failure(source: &str, error: &template::Error) -> Failure {
    let place = match (&error.file, error.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        _ => format!("`{source}`"),
    };
    Failure::new(FailureKind::Template, format!("{place}: {}", error.message))
}
