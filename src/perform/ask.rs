//! Questions and their three answers.

use std::time::Duration;

use futures_util::future::join_all;
use minijinja::value::Value;

use crate::perform::command::Answer;
use crate::perform::lasting::Lasting;
use crate::perform::stage::PipeEnd;
use crate::perform::tree;
use crate::perform::{Stop, Work};
use crate::plan::bind::Binder;
use crate::playbook::{Argument, Ask, Body, How, Probe, ProbeQuestion, Question};
use crate::process::Stopwatch;
use crate::run::{Failure, FailureKind};
use crate::template::{self, Scope};

/// What a question was answered with, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    Met(String),
    /// It is not so.
    Unmet(String),
    /// It could not be asked. Never the same as unmet.
    Unknown(String),
}

impl Verdict {
    /// What was seen, or why nothing was.
    pub fn seen(&self) -> &str {
        match self {
            Self::Met(seen) | Self::Unmet(seen) | Self::Unknown(seen) => seen,
        }
    }

    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Met(_) => "met",
            Self::Unmet(_) => "unmet",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The state that a probe named.
enum State {
    Named(String),
    Unknown(String),
}

/// The pause between two questions of which the first was not answered.
const AGAIN: Duration = Duration::from_secs(2);
/// Through so many states that have to last, and do not, something may go before it is said that it cannot be told.
const CHANGES: u32 = 6;

impl Work<'_> {
    /// Asks. With patience, an unknown answer is asked again for as long as the probe says before it counts.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        scope: &Scope,
        patient: bool,
    ) -> Result<Verdict, Stop> {
        match question {
            Question::That(expr) => Ok(match self.performer.project.templates.holds(expr, scope) {
                Ok(true) => Verdict::Met(expr.source.clone()),
                Ok(false) => Verdict::Unmet(format!("not so: {}", expr.source)),
                Err(error) => Verdict::Unknown(format!("`{}`: {error}", expr.source)),
            }),
            Question::Probe(asked) => self.ask_probe(asked, scope, patient).await,
        }
    }

    /// Asks a question that said *unmet* again for the probe's settling time: only if it stays so is it believed. For work that must
    /// happen once and may have been started.
    pub(crate) async fn ask_steadily(
        &self,
        question: &Question,
        scope: &Scope,
    ) -> Result<Verdict, Stop> {
        let settle = match question {
            Question::That(_) => Duration::ZERO,
            Question::Probe(asked) => self.definition(asked)?.settle,
        };
        let settle = self.performer.settings.pace.grace(settle);
        let mut unmet = Lasting::new();
        loop {
            let verdict = self.ask(question, scope, true).await?;
            if !matches!(verdict, Verdict::Unmet(_))
                || settle.is_zero()
                || unmet.see(verdict.word(), settle)
            {
                return Ok(verdict);
            }
            self.sleep(AGAIN).await?;
        }
    }

    async fn sleep(&self, length: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(self.performer.settings.pace.pause(length)) => Ok(()),
            () = self.cancel.termed() => Err(Stop::Cancelled),
        }
    }

    fn definition(&self, asked: &ProbeQuestion) -> Result<&Probe, Stop> {
        self.performer
            .project
            .playbook
            .probes
            .get(&asked.probe)
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::Template,
                    format!("there is no probe `{}`", asked.probe),
                )
                .into()
            })
    }

    async fn ask_probe(
        &self,
        asked: &ProbeQuestion,
        scope: &Scope,
        patient: bool,
    ) -> Result<Verdict, Stop> {
        let probe = self.definition(asked)?;
        let Some(each) = &asked.each else {
            let state = self.state(probe, &asked.arguments, scope, patient).await?;
            return Ok(judge(asked, &[(String::new(), state)]));
        };
        let templates = &self.performer.project.templates;
        let list = templates.value(each, scope).map_err(|error| {
            Failure::new(FailureKind::Template, format!("`{}`: {error}", each.source))
        })?;
        let elements: Vec<Value> = list
            .try_iter()
            .map_err(|_| {
                Failure::new(
                    FailureKind::Template,
                    format!("`{}` is not a list", each.source),
                )
            })?
            .collect();
        let first = probe
            .parameters
            .first()
            .map_or("item", |parameter| parameter.name.as_str());
        let asking = elements.iter().map(|element| {
            let scope = scope.with(first, element.clone());
            let name = element
                .get_attr("name")
                .ok()
                .and_then(|name| name.as_str().map(str::to_owned))
                .unwrap_or_else(|| element.to_string());
            async move {
                (
                    name,
                    self.state(probe, &asked.arguments, &scope, patient).await,
                )
            }
        });
        let mut states = Vec::new();
        for (name, state) in join_all(asking).await {
            states.push((name, state?));
        }
        Ok(judge(asked, &states))
    }

    /// The state of one thing, asked again while it is unknown and there is patience.
    async fn state(
        &self,
        probe: &Probe,
        arguments: &[Argument],
        scope: &Scope,
        patient: bool,
    ) -> Result<State, Stop> {
        let binder = Binder {
            templates: &self.performer.project.templates,
            inventory: &self.performer.project.inventory,
            root: &self.performer.project.root,
        };
        let scope = binder
            .bind(&probe.parameters, arguments, scope)
            .map_err(|error| {
                Failure::new(
                    FailureKind::Template,
                    format!("probe `{}`: {error}", probe.name),
                )
            })?;
        let pace = self.performer.settings.pace;
        let (settle, steady) = (pace.wait(probe.settle), pace.grace(probe.settle));
        let begun = Stopwatch::start();
        let mut lasting = Lasting::new();
        loop {
            let state = Box::pin(self.ask_once(probe, &scope)).await?;
            match &state {
                State::Named(name)
                    if patient && probe.steady.iter().any(|(state, _)| state == name) =>
                {
                    if lasting.see(name, steady) {
                        return Ok(state);
                    }
                    if lasting.changes() > CHANGES {
                        let why = format!("it does not stay as it is: {name} last");
                        return Ok(State::Unknown(why));
                    }
                }
                State::Unknown(_) if patient && begun.elapsed() < settle => lasting.is_over(),
                State::Named(_) | State::Unknown(_) => return Ok(state),
            }
            self.sleep(AGAIN).await?;
        }
    }

    async fn ask_once(&self, probe: &Probe, scope: &Scope) -> Result<State, Stop> {
        let mut why = String::from("no answer fits");
        for ask in &probe.asks {
            let (answer_scope, heard) = match self.hear(ask, scope).await? {
                Ok(heard) => heard,
                Err(reason) => return Ok(State::Unknown(reason)),
            };
            for (state, condition) in &ask.answers {
                match self
                    .performer
                    .project
                    .templates
                    .holds(condition, &answer_scope)
                {
                    Ok(true) => return Ok(State::Named(state.clone())),
                    Ok(false) => {}
                    Err(error) => {
                        let reason = format!("`{}`: {error}{}", condition.source, suffix(&heard));
                        return Ok(State::Unknown(
                            self.performer.mask.text(&reason).into_owned(),
                        ));
                    }
                }
            }
            if !heard.is_empty() {
                why = self.performer.mask.text(&heard).into_owned();
            }
        }
        Ok(State::Unknown(why))
    }

    /// Hears one answer: the names that its conditions see, and a line for people.
    async fn hear(
        &self,
        ask: &Ask,
        scope: &Scope,
    ) -> Result<Result<(Scope, String), String>, Stop> {
        match &ask.how {
            How::Nothing => Ok(Ok((scope.clone(), String::new()))),
            How::File(path) => {
                let path = self.text(path, scope)?;
                let full =
                    template::below(&self.performer.project.root, &path).map_err(|error| {
                        Failure::new(
                            FailureKind::Template,
                            error.detail().unwrap_or("not below the project").to_owned(),
                        )
                    })?;
                match std::fs::read_to_string(&full) {
                    Ok(text) => Ok(Ok((file_scope(scope, Some(&text)), String::new()))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        Ok(Ok((file_scope(scope, None), format!("there is no {path}"))))
                    }
                    Err(error) => Ok(Err(format!("cannot read {path}: {error}"))),
                }
            }
            How::Tree(name) => match self.tree(&self.text(name, scope)?) {
                Ok((folder, _, files)) => {
                    let differs: Vec<String> = tree::differences(&folder, &files, None)
                        .into_iter()
                        .map(|(path, _)| path)
                        .collect();
                    let heard = differs.first().map_or_else(String::new, |path| {
                        format!("{path} differs ({} in all)", differs.len())
                    });
                    Ok(Ok((scope.with("differs", Value::from(differs)), heard)))
                }
                Err(Stop::Failed(failure, _)) => Ok(Err(failure.line())),
                Err(Stop::Cancelled) => Err(Stop::Cancelled),
            },
            How::Pipe(stages) => {
                let body = Body::for_question(ask.timeout, ask.secret);
                match Box::pin(self.quietly().pipe(stages, &body, scope)).await {
                    Ok(PipeEnd::Done(output)) => {
                        let answer = Answer::of_output(&output);
                        Ok(Ok((answer.scope(scope), answer.line(ask.secret))))
                    }
                    Ok(PipeEnd::Failed(failed)) => {
                        let heard = failed.answer.line(ask.secret);
                        Ok(Ok((failed.answer.scope(scope), heard)))
                    }
                    Err(Stop::Cancelled) => Err(Stop::Cancelled),
                    Err(Stop::Failed(failure, _)) => Ok(Err(failure.line())),
                }
            }
        }
    }

    /// The same work without a log and without facts: a question leaves no trace but its answer.
    fn quietly(&self) -> Work<'_> {
        Work {
            performer: self.performer,
            reporter: self.reporter,
            cancel: self.cancel,
            marker: self.marker.clone(),
            story: self.story.clone(),
            task: self.task.clone(),
            attempt: self.attempt,
            log: None,
        }
    }
}

fn suffix(heard: &str) -> String {
    if heard.is_empty() {
        String::new()
    } else {
        format!(" ({heard})")
    }
}

fn file_scope(scope: &Scope, text: Option<&str>) -> Scope {
    let mut scope = scope.with("exists", Value::from(text.is_some()));
    if let Some(text) = text {
        scope.set("text", Value::from(text));
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(text) {
            scope.set("json", template::value(&json));
        }
        if let Ok(documents) = template::parse_yaml_documents(text) {
            scope.set("yamls", Value::from(documents.clone()));
            if let [one] = documents.as_slice() {
                scope.set("yaml", one.clone());
            } else {
                scope.set("yaml", Value::from(documents));
            }
        }
    }
    scope
}

/// Three-valued judgement over one or many states.
fn judge(asked: &ProbeQuestion, states: &[(String, State)]) -> Verdict {
    let mut met = 0_u32;
    let mut unmet = 0_u32;
    let mut unknown = 0_u32;
    let mut seen = Vec::new();
    for (name, state) in states {
        let prefix = if name.is_empty() {
            String::new()
        } else {
            format!("{name}=")
        };
        match state {
            State::Named(word) => {
                seen.push(format!("{prefix}{word}"));
                if asked.states.contains(word) == asked.negated {
                    unmet += 1;
                } else {
                    met += 1;
                }
            }
            State::Unknown(why) => {
                seen.push(format!("{prefix}unknown ({why})"));
                if asked.states.iter().any(|state| state == "unknown") {
                    if asked.negated { unmet += 1 } else { met += 1 }
                } else {
                    unknown += 1;
                }
            }
        }
    }
    let mut seen = seen.join(", ");
    if seen.is_empty() {
        seen = "nothing to ask about".into();
    }
    let seen = format!("{} {seen}", asked.probe);
    if asked.any {
        match (met, unknown) {
            (1.., _) => Verdict::Met(seen),
            (0, 0) => Verdict::Unmet(seen),
            (0, _) => Verdict::Unknown(seen),
        }
    } else {
        match (unmet, unknown) {
            (1.., _) => Verdict::Unmet(seen),
            (0, 0) => Verdict::Met(seen),
            (0, _) => Verdict::Unknown(seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Span;

    fn question(states: &[&str], any: bool) -> ProbeQuestion {
        ProbeQuestion {
            probe: "node".into(),
            arguments: Vec::new(),
            states: states.iter().map(|state| (*state).to_owned()).collect(),
            negated: false,
            each: None,
            any,
            span: Span::default(),
        }
    }

    fn states(words: &[&str]) -> Vec<(String, State)> {
        words
            .iter()
            .enumerate()
            .map(|(at, word)| {
                let state = match *word {
                    "?" => State::Unknown("no answer".into()),
                    word => State::Named(word.into()),
                };
                (format!("n{at}"), state)
            })
            .collect()
    }

    #[test]
    fn law_02_unknown_is_neither_met_nor_unmet() {
        let all = |words: &[&str]| judge(&question(&["ours"], false), &states(words)).word();
        let any = |words: &[&str]| judge(&question(&["ours"], true), &states(words)).word();
        assert_eq!(all(&["ours", "ours"]), "met");
        assert_eq!(all(&["ours", "?"]), "unknown");
        assert_eq!(all(&["fresh", "?"]), "unmet");
        assert_eq!(any(&["fresh", "?"]), "unknown");
        assert_eq!(any(&["ours", "?"]), "met");
        assert_eq!(any(&["fresh", "down"]), "unmet");
        assert_eq!(
            judge(&question(&["unknown"], true), &states(&["ours", "?"])).word(),
            "met"
        );
    }
}
