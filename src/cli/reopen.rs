//! What is open again when a run is resumed: what was edited, what was tampered with, what no longer holds in the world.
//!
//! Three kinds of evidence, in this order: the journal against the playbook of now ([`edited`]), the journal against the files that were
//! written ([`tampered`]), the journal against the world ([`decayed`]). Each opens tasks with a reason; none ever closes one. What would
//! destroy is never opened again by an edit or by what something else lost: a person says what is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::cli::error::Error;
use crate::journal::Record;
use crate::perform::{Performer, Verdict, question_of};
use crate::plan::fingerprint::programs;
use crate::plan::{Duty, Edit, Plan, TaskIx, TaskKey};
use crate::playbook::Effect;
use crate::run::past::Past;
use crate::run::{Event, FailureKind, Illegal, Outcome, OutputValue, Run, TaskState};
use crate::template;

/// How long one question about a settled task may take, all its patience included.
const ASKING: Duration = Duration::from_secs(60);
/// How many questions are asked at once.
const AT_ONCE: usize = 32;

/// What a journal knows besides where each task is.
pub(super) fn past(records: &[Record<Event>]) -> Past {
    Past::of(records.iter().map(|record| (&record.event, record.at)))
}

/// The state of a run from its records.
pub(super) fn fold(plan: &Plan, records: &[Record<Event>]) -> Result<Run, Error> {
    let mut run = Run::new(plan);
    for record in records {
        match run.apply(plan, &record.event, Duration::ZERO) {
            // A task that the playbook no longer has is history.
            Ok(()) | Err(Illegal::NoSuchTask(_)) => {}
            Err(error @ Illegal::Transition { .. }) => {
                return Err(Error::cannot_resume(
                    format!("the journal makes no sense at line {}", record.seq),
                    Some(&error),
                )
                .hint("`bootstrap run` starts a new run, which trusts only what it can see"));
            }
        }
    }
    Ok(run)
}

/// What a person says of attempts in doubt: the task, and whether its effect is there.
pub(super) fn assumed(
    plan: &Plan,
    run: &Run,
    said: &[String],
) -> Result<Vec<(TaskIx, bool)>, Error> {
    let mut all = Vec::new();
    for pair in said.chunks(2) {
        let [word, task] = pair else { continue };
        let done = match word.as_str() {
            "done" => true,
            "not-done" => false,
            _ => {
                return Err(Error::usage(format!(
                    "`{word}` is neither `done` nor `not-done`"
                )));
            }
        };
        let Some(ix) = plan.find(&TaskKey::from(task.as_str())) else {
            return Err(Error::usage(format!("this run has no task `{task}`"))
                .hint("`bootstrap status` lists them"));
        };
        let doubtful = matches!(
            run.state(ix),
            TaskState::Running { .. } | TaskState::InDoubt { .. }
        ) || matches!(run.outcome(ix), Some(Outcome::Cancelled { started: true }))
            || matches!(run.outcome(ix), Some(Outcome::Failed(failure)) if failure.kind == FailureKind::InDoubt);
        if !doubtful {
            return Err(Error::usage(format!("`{task}` is not in doubt"))
                .hint("only an attempt that was interrupted, and of which nobody knows how it ended, can be assumed"));
        }
        all.push((ix, done));
    }
    Ok(all)
}

/// What must happen once is never taken as not done while its question says that it is, or cannot tell.
pub(super) async fn refuse_against_probes(
    plan: &Plan,
    performer: &Performer,
    assumed: &[(TaskIx, bool)],
) -> Result<(), Error> {
    for &(ix, done) in assumed {
        let task = plan.task(ix);
        if done || task.effect != Effect::Once {
            continue;
        }
        let (says, seen) = match performer.probe_steadily(ix).await {
            Some(Verdict::Unmet(_)) => continue,
            Some(Verdict::Met(seen)) => ("says that it is done", seen),
            Some(Verdict::Unknown(why)) => ("cannot tell", why),
            None => (
                "is not there",
                "a step that must happen once has one".into(),
            ),
        };
        return Err(Error::cannot_resume(
            format!(
                "`{}` must happen once, and is not taken as not done: its question {says} ({seen})",
                task.key
            ),
            None,
        )
        .hint(
            "nothing was changed; `bootstrap resume` without --assume lets the question decide",
        ));
    }
    Ok(())
}

fn reopen(plan: &Plan, ix: TaskIx, why: impl Into<String>) -> (TaskIx, Event) {
    let event = Event::TaskReopened {
        task: plan.task(ix).key.clone(),
        why: why.into(),
    };
    (ix, event)
}

fn is_settled(run: &Run, ix: TaskIx) -> bool {
    matches!(run.state(ix), TaskState::Settled(outcome) if outcome.satisfies())
}

/// Whether a repetition destroys. What a run has emptied once is there to be filled again by what comes after: that its question says
/// *unmet* then is no reason to empty it once more, and neither is anything else.
fn destroys(plan: &Plan, ix: TaskIx) -> bool {
    plan.task(ix).effect == Effect::Destructive
}

/// Settled tasks that are made of something else now, or that gave a secret, which is never stored.
pub(super) fn edited(
    plan: &Plan,
    run: &Run,
    edits: &[(TaskKey, Edit)],
) -> Result<Vec<(TaskIx, Event)>, Error> {
    let edits: BTreeMap<&TaskKey, &Edit> = edits.iter().map(|(key, edit)| (key, edit)).collect();
    let mut opened = Vec::new();
    let mut secrets = Vec::new();
    for (ix, task) in plan.tasks().filter(|(ix, _)| is_settled(run, *ix)) {
        let gives_secret = run
            .outputs(ix)
            .values()
            .any(|output| *output == OutputValue::Secret);
        match edits.get(&task.key) {
            Some(edit) if edit.differs() => {
                if destroys(plan, ix) {
                    return Err(Error::cannot_resume(
                        format!(
                            "`{}` was done, it destroys, and it is another one now: {edit}",
                            task.key
                        ),
                        None,
                    )
                    .hint(format!(
                        "`bootstrap accept '{}'` lets count what was done; to do it once more, start a new run",
                        task.key
                    )));
                }
                opened.push(reopen(
                    plan,
                    ix,
                    format!("it was edited since ({}): {edit}", edit.word()),
                ));
            }
            _ if gives_secret => {
                secrets.push(reopen(plan, ix, "it gives a secret, which is never stored"));
            }
            _ => {}
        }
    }
    let readers = readers(plan, run, &opened);
    opened.extend(readers);
    let known: BTreeSet<TaskIx> = opened.iter().map(|(ix, _)| *ix).collect();
    opened.extend(secrets.into_iter().filter(|(ix, _)| !known.contains(ix)));
    Ok(opened)
}

/// Settled tasks that read what tasks give that are open again: it may be something else then.
fn readers(plan: &Plan, run: &Run, opened: &[(TaskIx, Event)]) -> Vec<(TaskIx, Event)> {
    let mut open: BTreeSet<TaskIx> = opened.iter().map(|(ix, _)| *ix).collect();
    let mut more = Vec::new();
    for (ix, task) in plan.tasks() {
        let source = task
            .sources
            .iter()
            .find(|(step, from)| from.iter().any(|ix| open.contains(ix)) && reads(task, step));
        if let Some((step, _)) = source
            && is_settled(run, ix)
            && !open.contains(&ix)
            && !destroys(plan, ix)
        {
            open.insert(ix);
            more.push(reopen(
                plan,
                ix,
                format!("it reads what the step `{step}` gives, which is done again"),
            ));
        }
    }
    more
}

/// Whether a task's texts name an output of a step.
fn reads(task: &crate::plan::Task, step: &str) -> bool {
    let name = format!("steps.{step}");
    let quoted = format!("steps['{step}']");
    let text = match &task.duty {
        Duty::Work(body) => format!("{body:?} {:?}", task.arguments),
        Duty::Criterion { judge, .. } => format!("{judge:?}"),
    };
    text.contains(&name) || text.contains(&quoted)
}

/// Settled tasks whose file is not what they wrote: by its content, not by its presence.
pub(super) fn tampered(
    plan: &Plan,
    run: &Run,
    past: &Past,
    performer: &Performer,
    root: &std::path::Path,
) -> Vec<(TaskIx, Event)> {
    let mut opened: BTreeMap<TaskIx, Event> = BTreeMap::new();
    let mut acting: Option<Vec<(TaskIx, String)>> = None;
    for (file, key, fingerprint) in past.files() {
        let Some(ix) = plan
            .find(key)
            .filter(|&ix| is_settled(run, ix) && !destroys(plan, ix))
        else {
            continue;
        };
        let asks = question_of(plan.task(ix)).is_some();
        let shared = asks
            && acting
                .get_or_insert_with(|| acting_of(plan))
                .iter()
                .any(|(other, action)| *other != ix && action.contains(file));
        if shared {
            // A file that several keep: what is right in it is for the question to say.
            continue;
        }
        let Ok(path) = template::below(root, file) else {
            continue;
        };
        let why = match std::fs::read(&path) {
            Ok(content) => match performer.fingerprint(&content) {
                Some(now) if now == *fingerprint => continue,
                Some(_) => format!("{file} is not what it wrote any more"),
                None => continue,
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                format!("{file}, which it wrote, is gone")
            }
            Err(error) => format!("{file}, which it wrote, cannot be read: {error}"),
        };
        let (ix, event) = reopen(plan, ix, why);
        opened.entry(ix).or_insert(event);
    }
    opened.into_iter().collect()
}

/// What the commands of tasks that act are made of, as text: to see which files they name.
fn acting_of(plan: &Plan) -> Vec<(TaskIx, String)> {
    plan.tasks()
        .filter_map(|(ix, task)| match &task.duty {
            Duty::Work(body) if task.effect != Effect::Reads && !programs(body).is_empty() => {
                Some((ix, format!("{:?}", body.action)))
            }
            Duty::Work(_) | Duty::Criterion { .. } => None,
        })
        .collect()
}

/// The world wins over the checkpoint: settled tasks whose question now says otherwise are open again, and with them what has no question
/// of its own and was built on them. What cannot be told stays as it was: it is neither work to do nor a reason to stop, and what depends
/// on it asks again itself. Gives also what could not be told.
pub(super) async fn decayed(
    plan: &Plan,
    run: &Run,
    performer: &Performer,
) -> (Vec<Event>, Vec<String>) {
    let settled: Vec<TaskIx> = plan
        .tasks()
        .filter(|(ix, task)| {
            let asks = match &task.duty {
                Duty::Work(_) => question_of(task).is_some(),
                Duty::Criterion { .. } => true,
            };
            asks && is_settled(run, *ix)
                && !destroys(plan, *ix)
                && !matches!(run.outcome(*ix), Some(Outcome::Skipped(_)))
        })
        .map(|(ix, _)| ix)
        .collect();
    let answers: BTreeMap<TaskIx, Verdict> = futures_util::stream::iter(settled)
        .map(|ix| async move {
            let answer = match performer.probe_within(ix, ASKING).await {
                // It becomes the reason of an event.
                Some(Verdict::Unmet(seen)) => Some(Verdict::Unmet(performer.uncited(&seen))),
                other => other,
            };
            (ix, answer)
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|(ix, answer)| std::future::ready(answer.map(|answer| (ix, answer))))
        .collect()
        .await;
    frontier(plan, run, &answers)
}

/// What is open again, from the answers alone.
fn frontier(
    plan: &Plan,
    run: &Run,
    answers: &BTreeMap<TaskIx, Verdict>,
) -> (Vec<Event>, Vec<String>) {
    let mut open: BTreeSet<TaskIx> = BTreeSet::new();
    let mut events = Vec::new();
    let mut unsure = Vec::new();
    for (ix, task) in plan.tasks() {
        if !is_settled(run, ix)
            || destroys(plan, ix)
            || matches!(run.outcome(ix), Some(Outcome::Skipped(_)))
        {
            continue;
        }
        let why = match answers.get(&ix) {
            Some(Verdict::Unmet(seen)) => format!("it no longer holds: {seen}"),
            Some(Verdict::Unknown(why)) => {
                unsure.push(format!("{}: {why}", task.key));
                continue;
            }
            Some(Verdict::Met(_)) => continue,
            None => match task.needs.iter().find(|need| open.contains(need)) {
                Some(need) => format!(
                    "it was built on {}, which no longer holds",
                    plan.task(*need).key
                ),
                None => continue,
            },
        };
        open.insert(ix);
        events.push(reopen(plan, ix, why).1);
    }
    (events, unsure)
}
