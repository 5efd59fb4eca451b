//! What an edit made of a run that is not over: the verdict on each step, `accept`, and `sign-off`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::error::Error;
use crate::cli::{Context, exit, locks, reopen, work};
use crate::journal::{Durability, Record};
use crate::observe::put;
use crate::observe::words::{Tone, count, paint};
use crate::plan::fingerprint::with_tools;
use crate::plan::{self, Duty, Edit, Ingredients, TaskKey};
use crate::playbook::Judge;
use crate::project::Project;
use crate::run::{Event, SIGNED, TaskState};
use crate::workspace::RunId;

/// One line a step: the verdict, the step, and what differs.
pub(super) fn text(edits: &[(TaskKey, Edit)], colour: bool) -> String {
    let mut steps: Vec<((&str, &Edit), usize, &TaskKey)> = Vec::new();
    for (key, edit) in edits {
        let step = key.as_str().split('[').next().unwrap_or_default();
        match steps.iter_mut().find(|(known, ..)| *known == (step, edit)) {
            Some((_, number, _)) => *number += 1,
            None => steps.push(((step, edit), 1, key)),
        }
    }
    let mut text = String::new();
    for ((step, edit), number, key) in steps {
        let name = match number {
            1 => key.to_string(),
            _ => format!("{step} ({})", count(number, "task")),
        };
        let tone = if edit.differs() {
            Tone::Warn
        } else {
            Tone::Quiet
        };
        let line = format!("edited     {}  {name}: {edit}", edit.word());
        let _ = writeln!(text, "{}", paint(tone, &line, colour));
    }
    text
}

/// The verdicts for programs.
pub(super) fn json(edits: &[(TaskKey, Edit)]) -> serde_json::Value {
    edits
        .iter()
        .map(|(key, edit)| {
            serde_json::json!({ "task": key, "verdict": edit.word(), "why": edit.to_string() })
        })
        .collect()
}

/// What became of the tasks of a run since, as far as the playbook of now can be read. Nothing is started for it: versions of tools are
/// not compared.
pub(super) fn since(context: &Context, records: &[Record<Event>]) -> Vec<(TaskKey, Edit)> {
    let Some(Event::RunStarted {
        selection, options, ..
    }) = records.first().map(|record| &record.event)
    else {
        return Vec::new();
    };
    let Some(project) = context
        .root()
        .ok()
        .and_then(|root| Project::load(&root).ok())
    else {
        return Vec::new();
    };
    let Ok(plan) = plan::make(&project, selection, options.extent) else {
        return Vec::new();
    };
    reopen::past(records).edits(&plan, &with_tools(&plan, &BTreeMap::new()))
}

/// `accept`.
pub(super) fn accept(
    context: &Context,
    what: &[String],
    all: bool,
    why: Option<String>,
) -> Result<u8, Error> {
    let (run, tasks) = match what.split_first() {
        Some((first, rest)) if first.parse::<RunId>().is_ok() => (Some(first.as_str()), rest),
        _ => (None, what),
    };
    match (tasks.is_empty(), all) {
        (true, false) => {
            return Err(Error::usage("which tasks?").hint(
                "`bootstrap accept TASK…`, or `--all`; `bootstrap status` says which differ",
            ));
        }
        (false, true) => return Err(Error::usage("either tasks or `--all`")),
        (true, true) | (false, false) => {}
    }
    let mut opened = work::open(context, run)?;
    if work::is_done(&opened.records) {
        return Err(Error::usage(format!(
            "run {} is done: there is nothing to accept",
            opened.folder.id()
        )));
    }
    let project = Arc::new(context.project()?);
    let plan = work::make_plan(context, &project, &opened.selection, opened.options.extent)?;
    let made = with_tools(&plan, &work::need_tools(&project, &plan)?);
    let state = reopen::fold(&plan, &opened.records)?;
    let edits: BTreeMap<TaskKey, Edit> = reopen::past(&opened.records)
        .edits(&plan, &made)
        .into_iter()
        .collect();
    let differs = |key: &TaskKey| edits.get(key).is_some_and(Edit::differs);
    let mut chosen = Vec::new();
    for wanted in tasks {
        let step = |key: &TaskKey| {
            key.as_str() == wanted
                || key
                    .as_str()
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.starts_with('['))
        };
        let found: Vec<_> = plan.tasks().filter(|(_, task)| step(&task.key)).collect();
        if found.is_empty() {
            return Err(Error::usage(format!("this run has no task `{wanted}`"))
                .hint("`bootstrap status` lists them"));
        }
        let whole = found.len() > 1;
        for (ix, task) in found {
            let done =
                matches!(state.state(ix), TaskState::Settled(outcome) if outcome.satisfies());
            match (done, differs(&task.key)) {
                (true, true) => chosen.push(ix),
                _ if whole => {}
                (false, _) => {
                    return Err(Error::usage(format!(
                        "`{}` is not done, so it will be done as it is written now",
                        task.key
                    )));
                }
                (true, false) => {
                    return Err(Error::usage(format!(
                        "`{}` is what it was when it was done: there is nothing to accept",
                        task.key
                    )));
                }
            }
        }
    }
    if all {
        chosen.extend(plan.tasks().filter_map(|(ix, task)| {
            let done =
                matches!(state.state(ix), TaskState::Settled(outcome) if outcome.satisfies());
            (done && differs(&task.key)).then_some(ix)
        }));
    }
    chosen.sort_unstable();
    chosen.dedup();
    if chosen.is_empty() {
        return Err(Error::usage(
            "nothing that is done differs from what it was: there is nothing to accept",
        ));
    }
    let event = Event::Accepted {
        tasks: chosen
            .iter()
            .map(|&ix| {
                let task = plan.task(ix);
                (task.key.clone(), task.fingerprint.clone())
            })
            .collect(),
        made_of: Ingredients::collect(chosen.iter().map(|ix| &made[ix.index()])),
        who: locks::who().user,
        why: why.or_else(work::ask_why),
    };
    opened
        .journal
        .append(&event, Timestamp::now(), Durability::Sync)?;
    let mut text = String::new();
    for &ix in &chosen {
        let key = &plan.task(ix).key;
        let edit = edits.get(key).map_or(String::new(), Edit::to_string);
        let _ = writeln!(text, "accepted   {key}: {edit}");
    }
    let _ = writeln!(
        text,
        "{} of run {} accepted; to go on: bootstrap resume",
        count(chosen.len(), "task"),
        opened.folder.id()
    );
    put(&mut std::io::stdout().lock(), &text);
    Ok(exit::DONE)
}

/// `sign-off`.
pub(super) fn sign_off(
    context: &Context,
    story: &str,
    criterion: &str,
    note: &str,
    run: Option<&str>,
) -> Result<u8, Error> {
    if note.trim().is_empty() {
        return Err(Error::usage("a sign-off says what was looked at")
            .hint("--note \"the dashboards of both clusters, all green\""));
    }
    let mut opened = work::open(context, run)?;
    if work::is_done(&opened.records) {
        return Err(Error::usage(format!(
            "run {} is done: there is nothing to sign off",
            opened.folder.id()
        )));
    }
    let project = Arc::new(context.project()?);
    let plan = work::make_plan(context, &project, &opened.selection, opened.options.extent)?;
    let key = TaskKey::from(format!("{story}/criterion-{criterion}").as_str());
    let Some(ix) = plan.find(&key) else {
        let known: Vec<String> = plan
            .tasks()
            .filter(|(_, task)| is_sign_off(&task.duty))
            .map(|(_, task)| task.key.to_string().replacen("/criterion-", " ", 1))
            .collect();
        let hint = if known.is_empty() {
            "no criterion of this run is for people to judge".to_owned()
        } else {
            format!("for people to judge: {}", known.join(", "))
        };
        return Err(Error::usage(format!("this run has no `{key}`")).hint(hint));
    };
    if !is_sign_off(&plan.task(ix).duty) {
        return Err(Error::usage(format!("`{key}` is measured, not signed off"))
            .hint(format!("`bootstrap verify story {story}` asks it")));
    }
    let state = reopen::fold(&plan, &opened.records)?;
    if matches!(state.state(ix), TaskState::Settled(outcome) if outcome.satisfies())
        || reopen::past(&opened.records).signed().contains_key(&key)
    {
        return Err(Error::usage(format!("`{key}` is signed off already")));
    }
    let who = locks::who().user;
    let event = Event::Confirmed {
        task: key.clone(),
        who: who.clone(),
        how: SIGNED.into(),
        note: Some(note.trim().to_owned()),
    };
    opened
        .journal
        .append(&event, Timestamp::now(), Durability::Sync)?;
    let text = format!(
        "{key}: signed off by {who}; to go on: bootstrap resume\n  {}\n",
        plan.task(ix).title
    );
    put(&mut std::io::stdout().lock(), &text);
    Ok(exit::DONE)
}

fn is_sign_off(duty: &Duty) -> bool {
    matches!(duty, Duty::Criterion { judge, .. } if matches!(**judge, Judge::SignOff(_)))
}
