//! `plan` and `validate`: show, do nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::cli::error::Error;
use crate::cli::printed::print;
use crate::cli::work::make_plan;
use crate::cli::{Context, PlanHow, all_problems, edits, environment, exit, own_sessions};
use crate::journal::Journal;
use crate::observe::listing;
use crate::perform::{Pace, Performer, Settings, Verdict};
use crate::plan::{Duty, Edit, Extent, Plan, Selection, TaskIx, TaskKey};
use crate::playbook::{Action, Body, Stage};
use crate::process::guardian::Guardian;
use crate::project::Project;
use crate::run::Event;
use crate::secret::Mask;
use crate::workspace::Workspace;

/// `plan`.
pub(super) fn plan(
    context: &Context,
    selection: &Selection,
    extent: Extent,
    how: &PlanHow,
) -> Result<u8, Error> {
    let project = Arc::new(context.project()?);
    let plan = Arc::new(make_plan(context, &project, selection, extent)?);
    let since = since(context, &project.root, selection, extent);
    if !how.probe && !how.diff {
        let listing = listing::list(&plan, None);
        return print(&shown(context, &listing, how.json, since), exit::DONE);
    }
    let performer = asking_performer(&project, &plan, how.secrets.secrets_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
    let (answers, diffs) = runtime.block_on(async {
        let tasks: Vec<TaskIx> = plan.tasks().map(|(ix, _)| ix).collect();
        let asked =
            futures_util::future::join_all(tasks.iter().map(|&ix| performer.probe(ix))).await;
        let mut answers: BTreeMap<TaskIx, (String, String)> = BTreeMap::new();
        for (&ix, verdict) in tasks.iter().zip(&asked) {
            if let Some(verdict) = verdict {
                answers.insert(ix, (verdict.word().to_owned(), verdict.seen().to_owned()));
            }
        }
        let mut diffs = String::new();
        let mut pending = asked
            .iter()
            .any(|verdict| matches!(verdict, Some(Verdict::Unmet(_))));
        for (ix, task) in plan.tasks() {
            let Duty::Work(body) = &task.duty else {
                continue;
            };
            if !answers.contains_key(&ix)
                && writes(body)
                && let Some(diff) = performer.difference(ix).await
            {
                pending = pending || !diff.is_empty();
                let word = if diff.is_empty() { "met" } else { "unmet" };
                let why = if diff.is_empty() {
                    "the file is already so"
                } else {
                    "the file would change"
                };
                answers.insert(ix, (word.to_owned(), why.to_owned()));
                diffs.push_str(&diff);
            }
        }
        performer.goodbye();
        ((answers, pending), diffs)
    });
    runtime.shutdown_background();
    let (answers, pending) = answers;
    let listing = listing::list(&plan, Some(&answers));
    let mut text = shown(context, &listing, how.json, since);
    if how.diff && !how.json && !diffs.is_empty() {
        text.push('\n');
        text.push_str(&diffs);
    }
    let code = if how.diff && pending {
        exit::PENDING
    } else {
        exit::DONE
    };
    print(&text, code)
}

/// What was edited since the newest run of the same: its name and the verdicts; nothing where there is none, or nothing differs.
type Since = Option<(String, Vec<(TaskKey, Edit)>)>;

fn since(context: &Context, root: &Path, selection: &Selection, extent: Extent) -> Since {
    let workspace = Workspace::of(root);
    for folder in workspace.runs().ok()? {
        let Ok(loaded) = Journal::<Event>::load_read_only(&folder.journal()) else {
            continue;
        };
        let same = matches!(
            loaded.records.first().map(|record| &record.event),
            Some(Event::RunStarted { selection: of, options, .. }) if of == selection && options.extent == extent
        );
        if same {
            let edits = edits::since(context, &loaded.records);
            return (!edits.is_empty()).then(|| (folder.id().to_string(), edits));
        }
    }
    None
}

/// A plan with what was edited since.
fn shown(context: &Context, listing: &listing::Listing, json: bool, since: Since) -> String {
    match (json, since) {
        (true, None) => listing.json(),
        (true, Some((run, edits))) => {
            let mut value = serde_json::to_value(listing).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                let since = serde_json::json!({ "run": run, "edits": edits::json(&edits) });
                object.insert("since".into(), since);
            }
            crate::observe::history::json(&value)
        }
        (false, None) => listing.text(context.colour_out),
        (false, Some((run, edits))) => format!(
            "{}\nsince run {run}:\n{}",
            listing.text(context.colour_out),
            edits::text(&edits, context.colour_out)
        ),
    }
}

/// Whether all that a body does is to write a file.
fn writes(body: &Body) -> bool {
    let Action::Pipe(stages) = &body.action else {
        return false;
    };
    stages.iter().all(|stage| matches!(stage, Stage::Render(_)))
        && matches!(stages.last(), Some(Stage::Render(render)) if render.to.is_some())
}

/// A performer that only asks: it has no run, no logs, and nobody to confirm.
pub(super) fn asking_performer(
    project: &Arc<Project>,
    plan: &Arc<Plan>,
    secrets_file: Option<&std::path::Path>,
) -> Result<Performer, Error> {
    let program = std::env::current_exe()
        .map_err(|error| Error::cannot_start("the program cannot find itself", Some(&error)))?;
    let run = format!("asking-{}", std::process::id());
    let guardian = Guardian::of(program, &format!("{run}/"));
    let secrets = match secrets_file {
        Some(path) => Some(
            crate::perform::secrets::read_secrets_file(path).map_err(|why| {
                Error::cannot_start(
                    format!("the secrets file {} cannot be used: {why}", path.display()),
                    None,
                )
            })?,
        ),
        None => None,
    };
    let settings = Settings {
        run,
        folder: None,
        env: environment(),
        pace: std::env::var("BOOTSTRAP_TIME_SCALE")
            .ok()
            .and_then(|scale| scale.parse().ok())
            .map_or_else(Pace::default, Pace::new),
        yes: false,
        confirm: Vec::new(),
        who: String::new(),
        session: own_sessions(),
        ask: Arc::new(|_| None),
        secrets,
    };
    Ok(Performer::new(
        Arc::clone(project),
        Arc::clone(plan),
        settings,
        Mask::new(),
        guardian,
    ))
}

/// `validate`.
pub(super) fn validate(context: &Context, json: bool) -> Result<u8, Error> {
    let root = context.root()?;
    let (sources, problems) = match Project::load(&root) {
        Ok(project) => match crate::plan::make(&project, &Selection::Everything, Extent::Whole) {
            Ok(plan) => {
                let stories = plan.stories.len();
                let tasks = plan.len();
                let noun = if stories == 1 { "story" } else { "stories" };
                let of_tasks = if tasks == 1 {
                    "task"
                } else {
                    "tasks and criteria"
                };
                let text = if json {
                    "{\"problems\":[]}\n".to_owned()
                } else {
                    format!("valid: {stories} {noun}, {tasks} {of_tasks} for this inventory\n")
                };
                return print(&text, exit::DONE);
            }
            Err(problems) => (project.sources, problems),
        },
        Err(broken) => all_problems(*broken),
    };
    if json {
        let findings = serde_json::json!({ "problems": problems.findings(&sources) });
        return print(&format!("{findings}\n"), exit::INVALID);
    }
    Err(Error::invalid(&sources, &problems, context.colour_err))
}
