//! A step and a criterion, in the order in which they happen.

use std::collections::BTreeMap;
use std::time::Duration;

use minijinja::value::Value;

use crate::perform::ask::Verdict;
use crate::perform::stage::{PipeEnd, PipeOutput};
use crate::perform::{Stop, Work, wait};
use crate::plan::Task;
use crate::plan::bind::Binder;
use crate::playbook::{Action, Body, Confirm, Effect, Judge, Output, Parse, Until};
use crate::process::Cancel;
use crate::run::event::Note;
use crate::run::past::Attempted;
use crate::run::{AttemptEnd, Failure, FailureKind, OutputValue};
use crate::secret::Secret;
use crate::template::names::RUN;
use crate::template::{self, Scope};

/// An effect that is seen within this time was there already.
const MOMENT: Duration = Duration::from_millis(100);

/// What an action came to.
enum Acted {
    /// It did its work: what it printed, and whether anything changed.
    Done(PipeOutput),
    /// Nobody knows; `until` decides.
    Maybe(String),
}

impl Work<'_> {
    /// The names that a task knows, its parameters among them.
    pub(super) fn bound(&self, task: &Task, scope: &Scope) -> Result<Scope, Failure> {
        let binder = Binder {
            templates: &self.performer.project.templates,
            inventory: &self.performer.project.inventory,
            root: &self.performer.project.root,
        };
        // An argument is read where the step stands: a parameter may be called like what it is made of.
        let mut given_in = task.given_in.clone();
        for name in RUN {
            if let Some(value) = scope.get(name) {
                given_in.set(name, value.clone());
            }
        }
        let bound = binder
            .bind(&task.parameters, &task.arguments, &given_in)
            .map_err(|error| Failure::new(FailureKind::Template, error.message))?;
        let mut scope = scope.clone();
        for parameter in &*task.parameters {
            if let Some(value) = bound.get(&parameter.name) {
                scope.set(parameter.name.clone(), value.clone());
            }
        }
        Ok(scope)
    }

    pub(super) async fn step(
        &self,
        task: &Task,
        body: &Body,
        scope: Scope,
        in_doubt: bool,
    ) -> Result<AttemptEnd, Stop> {
        let scope = self.bound(task, &scope)?;
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
            let Some(until) = &body.until else {
                let why = "the step has no question that tells";
                return Err(self.in_doubt(why).into());
            };
            match self.ask(&until.question, scope, true).await? {
                Verdict::Met(seen) => {
                    return Ok(AttemptEnd::Unchanged {
                        why: format!("the interrupted attempt had done it: {seen}"),
                        outputs: BTreeMap::new(),
                    });
                }
                Verdict::Unmet(_) => {}
                Verdict::Unknown(why) => return Err(self.in_doubt(&why).into()),
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

    pub(super) async fn criterion(&self, judge: &Judge, scope: &Scope) -> Result<AttemptEnd, Stop> {
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

    /// Nobody knows how an attempt ended: all that is known of it, and what a person can say.
    fn in_doubt(&self, why: &str) -> Failure {
        let mut failure = Failure::new(
            FailureKind::InDoubt,
            format!(
                "an earlier attempt was interrupted, and nobody knows whether it had its effect: {why}"
            ),
        );
        let task = self.task.as_str();
        let mut known = String::new();
        if let Some(last) = self.performer.known.attempts.get(&self.task) {
            known = attempted(last);
            failure.command = last.process.as_ref().map(|(_, command)| command.clone());
            let log = self.performer.settings.folder.as_ref();
            if let Some(log) = log.map(|folder| folder.log(task, last.attempt)) {
                failure.last_lines = crate::perform::command::tail(&log);
            }
        }
        failure.hint(format!(
            "{known}find out, then say `bootstrap resume --assume done '{task}'` or `bootstrap resume --assume not-done '{task}'`; \
             `bootstrap verify story {}` asks what can be asked",
            self.story
        ))
    }
}

/// When an attempt began, by whom, and which process it was.
fn attempted(last: &Attempted) -> String {
    let process = match &last.process {
        Some((pid, _)) => format!("its process was {pid}"),
        None => "it had started no process".to_owned(),
    };
    format!(
        "attempt {}, begun {} by {}@{} (process {}); {process}; ",
        last.attempt,
        last.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        last.who.user,
        last.who.host,
        last.who.pid,
    )
}
