//! An attempt at a task, from start to end: when → unless → refuse → act → until → outputs → cleanup.
//!
//! Everything that happens to the world happens here. Nothing is guessed: a question has three answers, and *unknown* stops. Whatever leaves
//! this module (outcomes, notes, logs) has passed the mask.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use minijinja::value::Value;

use crate::engine::{Executor, Order, Outputs, Reporter};
use crate::plan::bind::Binder;
use crate::plan::{Duty, Plan, Task, TaskIx};
use crate::playbook::{
    Action, Body, Confirm, Effect, Judge, Output, Parse, Question, RenderTarget, Until,
};
use crate::process::Cancel;
use crate::process::guardian::Guardian;
use crate::project::Project;
use crate::run::event::Note;
use crate::run::{AttemptEnd, Event, Failure, FailureKind, OutputValue};
use crate::secret::{Mask, Secret};
use crate::template::{self, Scope};
use crate::workspace::RunFolder;

pub mod ask;
mod command;
mod pace;
pub mod secrets;
mod stage;
mod wait;

pub use ask::Verdict;
pub use pace::Pace;

use stage::{PipeEnd, PipeOutput};
pub use stage::{unified_diff, write_file};

/// What a person is asked.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// What is about to happen.
    pub say: String,
    /// What has to be typed; otherwise yes or no.
    pub word: Option<String>,
    /// Whether a note may be given (for a sign-off).
    pub note: bool,
}

/// Asks a person and gives what they typed; `None` where nobody can be asked.
pub type Ask = Arc<dyn Fn(&Prompt) -> Option<String> + Send + Sync>;

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
    pub(crate) task: crate::plan::TaskKey,
    pub(crate) attempt: u32,
    /// Where the action's output goes.
    pub(crate) log: Option<PathBuf>,
}

/// An effect that is seen within this time was there already.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(100);

/// How an attempt comes to an early end.
pub(crate) enum Stop {
    /// It failed; whether trying again may help.
    Failed(Box<Failure>, bool),
    /// It was cut short.
    Cancelled,
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
        }
    }

    /// Says goodbye to what watches over the processes.
    pub fn goodbye(self) {
        // Whether or not it hears us, it finds nothing to end.
        self.guardian.goodbye().ok();
    }

    /// Asks whether a task has anything to do: its `unless`, or the question of its criterion. `None` where it has no question.
    pub async fn probe(&self, ix: TaskIx) -> Option<Verdict> {
        let task = self.plan.task(ix);
        let cancel = Cancel::new();
        let reporter = Reporter::nowhere(ix);
        let work = self.work(task, 0, &reporter, &cancel);
        let question = match &task.duty {
            Duty::Work(body) => body
                .unless
                .as_ref()
                .or(body.until.as_ref().map(|until| &until.question))?,
            Duty::Criterion { judge, .. } => match &**judge {
                Judge::Check(question) => question,
                Judge::SignOff(_) => return None,
            },
        };
        Some(
            match work
                .ask(question, &self.scope(task, &BTreeMap::new()), true)
                .await
            {
                Ok(verdict) => verdict,
                Err(Stop::Failed(failure, _)) => Verdict::Unknown(failure.line()),
                Err(Stop::Cancelled) => Verdict::Unknown("cancelled".into()),
            },
        )
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
            .difference(body, &self.scope(task, &BTreeMap::new()))
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
        let key = crate::plan::TaskKey::new("render", "render", "");
        let work = Work {
            performer: self,
            reporter: &reporter,
            cancel: &cancel,
            marker: format!("{}/render/0", self.settings.run),
            story: "render".into(),
            task: key,
            attempt: 0,
            log: None,
        };
        let result = work.render_target(target, scope, references).await;
        result.map_err(|stop| match stop {
            Stop::Failed(failure, _) => self.masked(*failure),
            Stop::Cancelled => Failure::new(FailureKind::System, "cancelled"),
        })
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
    fn scope(&self, task: &Task, outputs: &Outputs) -> Scope {
        let mut scope = task.scope.clone();
        scope.set(
            "run",
            template::value(&BTreeMap::from([("id", &self.settings.run)])),
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

impl Executor for Performer {
    async fn execute(&self, order: Order, reporter: Reporter) -> AttemptEnd {
        let task = self.plan.task(order.task);
        let work = self.work(task, order.attempt, &reporter, &order.cancel);
        let scope = self.scope(task, &order.outputs);
        let result = match &task.duty {
            Duty::Work(body) => work.step(task, body, scope, order.in_doubt).await,
            Duty::Criterion { judge, .. } => work.criterion(judge, &scope).await,
        };
        match result {
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
                work.write_log(&format!("! {}\n", failure.line()));
                AttemptEnd::Failed { failure, retry }
            }
        }
    }
}

/// What an action came to.
enum Acted {
    /// It did its work: what it printed, and whether anything changed.
    Done(PipeOutput),
    /// Nobody knows; `until` decides.
    Maybe(String),
}

impl Work<'_> {
    async fn step(
        &self,
        task: &Task,
        body: &Body,
        scope: Scope,
        in_doubt: bool,
    ) -> Result<AttemptEnd, Stop> {
        let binder = Binder {
            templates: &self.performer.project.templates,
            inventory: &self.performer.project.inventory,
            root: &self.performer.project.root,
        };
        let scope = binder
            .bind(&task.parameters, &task.arguments, &scope)
            .map_err(|error| Failure::new(FailureKind::Template, error.message))?;
        if !body.cleanup.is_empty() && (in_doubt || self.attempt > 1) {
            self.clean(body, &scope).await?;
        }
        let result = self.step_inner(body, &scope, in_doubt).await;
        if !body.cleanup.is_empty() {
            let cleaned = self.clean(body, &scope).await;
            // What failed first is the root cause; a failing cleanup after success is a failure of its own.
            if result.is_ok() {
                cleaned?;
            }
        }
        result
    }

    async fn step_inner(
        &self,
        body: &Body,
        scope: &Scope,
        in_doubt: bool,
    ) -> Result<AttemptEnd, Stop> {
        if let Some(when) = &body.when
            && !self.holds(when, scope)?
        {
            return Ok(AttemptEnd::Skipped {
                why: format!("does not apply: {}", when.source),
            });
        }
        if let Some(unless) = &body.unless {
            self.reporter
                .note(Note::Doing("asking whether it is done".into()));
            let verdict = self.ask(unless, scope, true).await?;
            let verdict = match verdict {
                Verdict::Unmet(_) if in_doubt && body.effect == Effect::Once => {
                    self.ask_steadily(unless, scope).await?
                }
                other => other,
            };
            match verdict {
                Verdict::Met(seen) => {
                    let why = if in_doubt {
                        format!("the interrupted attempt had done it: {seen}")
                    } else {
                        format!("already so: {seen}")
                    };
                    return Ok(AttemptEnd::Unchanged {
                        why,
                        outputs: BTreeMap::new(),
                    });
                }
                Verdict::Unmet(_) => {}
                Verdict::Unknown(why) => {
                    let message = if in_doubt {
                        format!(
                            "an earlier attempt was interrupted, and it cannot be told whether it had its effect: {why}"
                        )
                    } else {
                        format!("it cannot be told whether this is done already: {why}")
                    };
                    return Err(Failure::new(FailureKind::Unknown, message)
                        .hint("make sure that what was asked can answer, then type `bootstrap resume`; nothing was changed")
                        .into());
                }
            }
        } else if in_doubt && matches!(body.effect, Effect::Destructive | Effect::Manual) {
            match &body.until {
                Some(until) => match self.ask(&until.question, scope, true).await? {
                    Verdict::Met(seen) => {
                        return Ok(AttemptEnd::Unchanged {
                            why: format!("the interrupted attempt had done it: {seen}"),
                            outputs: BTreeMap::new(),
                        });
                    }
                    Verdict::Unmet(_) => {}
                    Verdict::Unknown(why) => return Err(in_doubt_failure(&why).into()),
                },
                None => return Err(in_doubt_failure("the step has no question that tells").into()),
            }
        }
        // An interrupted attempt whose effect takes its time is first given that time.
        if in_doubt
            && let Some(until) = &body.until
            && !until.lost.is_empty()
        {
            self.reporter.note(Note::Doing(
                "waiting whether the interrupted attempt arrives".into(),
            ));
            match self.wait(until, scope).await? {
                wait::Waited::Arrived { seen, .. } => {
                    return Ok(AttemptEnd::Unchanged {
                        why: format!("the interrupted attempt arrived: {seen}"),
                        outputs: BTreeMap::new(),
                    });
                }
                wait::Waited::Lost { .. } => {}
                wait::Waited::Late(failure) => return Err(Stop::Failed(Box::new(failure), true)),
            }
        }
        for guard in &body.refuse {
            let verdict = self.ask(&guard.question, scope, true).await?;
            let stops = match (&verdict, guard.when) {
                (Verdict::Met(_), true) | (Verdict::Unmet(_), false) | (Verdict::Unknown(_), _) => {
                    true
                }
                (Verdict::Met(_), false) | (Verdict::Unmet(_), true) => false,
            };
            if stops {
                let say = self.text(&guard.say, scope)?;
                return Err(Failure::new(FailureKind::Refused, say)
                    .hint(format!("seen: {}", verdict.seen()))
                    .into());
            }
        }
        if let Some(gate) = &body.gate {
            self.confirm(gate, scope, false).await?;
        }
        let (output, changed, why) = match &body.action {
            Action::Pipe(stages) => match self.act(body, stages, scope).await? {
                Acted::Done(output) => {
                    let changed = body.effect != Effect::Reads && output.changed;
                    let why = output.why.clone();
                    (Some(output), changed, why)
                }
                Acted::Maybe(why) => (None, body.effect != Effect::Reads, why),
            },
            Action::Confirm(confirm) => {
                let how = self.confirm(confirm, scope, false).await?;
                (None, false, how)
            }
            Action::Wait => (None, false, String::new()),
        };
        let mut why = why;
        if let Some(until) = &body.until {
            why = self.arrive(until, scope, why).await?;
        }
        let outputs = match output {
            Some(output) => self.outputs(&body.outputs, &output, scope)?,
            None => BTreeMap::new(),
        };
        if why.is_empty() {
            why = if changed {
                "done".into()
            } else {
                "read only".into()
            };
        }
        Ok(if changed {
            AttemptEnd::Changed { why, outputs }
        } else {
            AttemptEnd::Unchanged { why, outputs }
        })
    }

    /// Waits for the effect; gives the reason for the outcome.
    async fn arrive(&self, until: &Until, scope: &Scope, why: String) -> Result<String, Stop> {
        match self.wait(until, scope).await? {
            wait::Waited::Arrived { seen, after } if why.is_empty() || why == "done" => {
                Ok(if after < MOMENT {
                    format!("already so: {seen}")
                } else {
                    format!("{seen}, after {:.1}s", after.as_secs_f64())
                })
            }
            wait::Waited::Arrived { seen, .. } => Ok(format!("{why}; {seen}")),
            wait::Waited::Lost { seen } => {
                let failure = Failure::new(
                    FailureKind::Until,
                    format!("the effect was lost: still {seen}"),
                )
                .hint("it is safe to try again");
                Err(Stop::Failed(Box::new(failure), true))
            }
            wait::Waited::Late(failure) => Err(Stop::Failed(Box::new(failure), true)),
        }
    }

    async fn act(
        &self,
        body: &Body,
        stages: &[crate::playbook::Stage],
        scope: &Scope,
    ) -> Result<Acted, Stop> {
        let end = self.pipe(stages, body, scope).await?;
        let failed = match end {
            PipeEnd::Done(output) => return Ok(Acted::Done(output)),
            PipeEnd::Failed(failed) => failed,
        };
        let answer_scope = failed.answer.scope(scope);
        for (condition, met) in [(&body.met, true), (&body.maybe, false)] {
            if let Some(condition) = condition
                && self.holds(condition, &answer_scope)?
            {
                let line = failed.answer.last_line();
                return Ok(if met {
                    Acted::Done(PipeOutput {
                        changed: false,
                        why: format!("already so: {line}"),
                        bytes: zeroize::Zeroizing::default(),
                    })
                } else {
                    Acted::Maybe(format!("no clear answer ({line}), so its effect decides"))
                });
            }
        }
        let retry = match body.retry.as_ref().map(|retry| &retry.when) {
            None => false,
            Some(None) => true,
            Some(Some(when)) => self.holds(when, &answer_scope)?,
        };
        Err(Stop::Failed(Box::new(failed.failure()), retry))
    }

    async fn criterion(&self, judge: &Judge, scope: &Scope) -> Result<AttemptEnd, Stop> {
        match judge {
            Judge::Check(question) => match self.ask(question, scope, true).await? {
                Verdict::Met(seen) => Ok(AttemptEnd::Unchanged {
                    why: format!("met: {seen}"),
                    outputs: BTreeMap::new(),
                }),
                Verdict::Unmet(seen) => {
                    Err(Failure::new(FailureKind::Criterion, format!("not met: {seen}")).into())
                }
                Verdict::Unknown(why) => Err(Failure::new(
                    FailureKind::Unknown,
                    format!("it cannot be told: {why}"),
                )
                .into()),
            },
            Judge::SignOff(look) => {
                let confirm = Confirm {
                    say: look.clone(),
                    word: None,
                    span: look.span,
                };
                let how = self.confirm(&confirm, scope, true).await?;
                Ok(AttemptEnd::Unchanged {
                    why: how,
                    outputs: BTreeMap::new(),
                })
            }
        }
    }

    /// Asks a person; gives how they agreed.
    async fn confirm(
        &self,
        confirm: &Confirm,
        scope: &Scope,
        sign_off: bool,
    ) -> Result<String, Stop> {
        let say = self.text(&confirm.say, scope)?;
        let word = confirm
            .word
            .as_ref()
            .map(|word| self.text(word, scope))
            .transpose()?;
        let settings = &self.performer.settings;
        let in_advance = match &word {
            None => (settings.yes && !sign_off).then(|| "--yes".to_owned()),
            Some(word) => settings
                .confirm
                .contains(word)
                .then(|| format!("--confirm {word}")),
        };
        let (how, note) = if let Some(how) = in_advance {
            (how, None)
        } else {
            self.reporter
                .note(Note::Doing("waiting for a person".into()));
            let prompt = Prompt {
                say: say.clone(),
                word: word.clone(),
                note: sign_off,
            };
            let ask = Arc::clone(&settings.ask);
            let typed = tokio::task::spawn_blocking(move || ask(&prompt))
                .await
                .unwrap_or(None);
            let Some(typed) = typed else {
                let failure = Failure::new(
                    FailureKind::Unconfirmed,
                    format!("a person has to agree, and nobody can be asked: {say}"),
                );
                return Err(match &word {
                    Some(word) => failure.hint(format!("pass `--confirm {word}`")),
                    None if sign_off => {
                        failure.hint("run it at a terminal, to sign it off by name")
                    }
                    None => failure.hint("pass `--yes`"),
                }
                .into());
            };
            let agreed = match &word {
                Some(word) => typed.trim() == word,
                None if sign_off => !typed.trim().is_empty(),
                None => matches!(typed.trim().to_ascii_lowercase().as_str(), "y" | "yes"),
            };
            if !agreed {
                return Err(Failure::new(
                    FailureKind::Unconfirmed,
                    format!("not confirmed: {say}"),
                )
                .into());
            }
            (
                "at the terminal".to_owned(),
                sign_off.then(|| typed.trim().to_owned()),
            )
        };
        self.reporter.fact(Event::Confirmed {
            task: self.task.clone(),
            who: settings.who.clone(),
            how: how.clone(),
            note: note.map(|note| self.performer.mask.text(&note).into_owned()),
        });
        Ok(format!("confirmed by {} ({how})", settings.who))
    }

    async fn clean(&self, body: &Body, scope: &Scope) -> Result<(), Stop> {
        for stages in &body.cleanup {
            // A cancel ends the attempt, not its cleanup.
            let cancel = Cancel::new();
            let work = Work {
                performer: self.performer,
                reporter: self.reporter,
                cancel: &cancel,
                marker: self.marker.clone(),
                story: self.story.clone(),
                task: self.task.clone(),
                attempt: self.attempt,
                log: self.log.clone(),
            };
            if let PipeEnd::Failed(failed) = Box::pin(work.pipe(stages, body, scope)).await? {
                let mut failure = failed.failure();
                failure.message = format!("the cleanup failed: {}", failure.message);
                return Err(failure.into());
            }
        }
        Ok(())
    }

    fn outputs(
        &self,
        wanted: &[Output],
        output: &PipeOutput,
        scope: &Scope,
    ) -> Result<BTreeMap<String, OutputValue>, Stop> {
        let mut outputs = BTreeMap::new();
        for one in wanted {
            let text = String::from_utf8_lossy(&output.bytes);
            let broken = |why: String| {
                Failure::new(
                    FailureKind::Template,
                    format!("the output `{}` cannot be read: {why}", one.name),
                )
            };
            let value = match one.parse {
                Parse::Text => Value::from(text.trim()),
                Parse::Json => serde_json::from_str::<serde_json::Value>(&text)
                    .map(|json| template::value(&json))
                    .map_err(|error| broken(format!("stdout is not JSON: {error}")))?,
                Parse::Yaml => template::parse_yaml(&text)
                    .map_err(|error| broken(format!("stdout is not YAML: {error}")))?,
            };
            let value = match &one.select {
                None => value,
                Some(select) => {
                    let scope = scope
                        .with("value", value.clone())
                        .with("json", value.clone())
                        .with("yaml", value.clone())
                        .with("stdout", Value::from(text.as_ref()));
                    self.performer
                        .project
                        .templates
                        .eval(select, &scope)
                        .map_err(|error| broken(error.message))?
                }
            };
            let json = template::to_json(&value);
            let kept = if one.secret {
                let text = json
                    .as_str()
                    .map_or_else(|| json.to_string(), str::to_owned);
                self.performer.mask.add_text(&text);
                self.performer.secrets.keep_output(
                    self.task.as_str(),
                    &one.name,
                    Secret::new(text),
                );
                OutputValue::Secret
            } else {
                let text = json.to_string();
                if self.performer.mask.text(&text) != text {
                    return Err(Failure::new(
                        FailureKind::Secret,
                        format!(
                            "the output `{}` holds a secret, and outputs are kept in the journal",
                            one.name
                        ),
                    )
                    .hint("declare it with `secret: true`, or `select` the part that is not secret")
                    .into());
                }
                OutputValue::Value(json)
            };
            outputs.insert(one.name.clone(), kept);
        }
        Ok(outputs)
    }

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

fn in_doubt_failure(why: &str) -> Failure {
    Failure::new(FailureKind::InDoubt, format!("an earlier attempt was interrupted, and nobody knows whether it had its effect: {why}"))
        .hint("look at its log (`bootstrap logs`); then say `bootstrap resume --assume done STEP` or `--assume not-done STEP`")
}
