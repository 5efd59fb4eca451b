//! `run`, `verify` and `resume`: where everything is wired.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::error::Error;
use crate::cli::{Advance, Context, How, Output, environment, exit, own_sessions};
use crate::engine::{Engine, Observer, interrupt};
use crate::journal::{Journal, Record};
use crate::observe::{Detached, Ending, JsonLines, Lines, Progress, Terminal, view::Frame};
use crate::perform::secrets::read_secrets_file;
use crate::perform::{Ask, Pace, Performer, Prompt, Settings, Verdict};
use crate::plan::{self, Duty, Extent, Plan, Selection, TaskIx};
use crate::playbook::Effect;
use crate::process::guardian::Guardian;
use crate::process::{Identity, end_survivors_of, leash};
use crate::project::Project;
use crate::run::event::{Options, RunResult, Who};
use crate::run::{Event, Limits, OutputValue, Run, TaskState};
use crate::secret::Mask;
use crate::workspace::{Holder, Lock, LockError, RunFolder, Workspace};

/// How long a lock of a dead process is waited for.
const DEAD_HOLDER: std::time::Duration = std::time::Duration::from_secs(3);

/// What is wired together for one process.
struct Session<'a> {
    context: &'a Context,
    project: Arc<Project>,
    plan: Arc<Plan>,
    options: Options,
    folder: RunFolder,
    output: Output,
    /// What the interrupted run had started.
    survivors: Vec<Event>,
    /// Held for as long as the process works.
    _locks: Vec<Lock>,
}

/// `run` and `verify`.
pub(super) fn run(
    context: &Context,
    selection: Selection,
    extent: Extent,
    how: &How,
) -> Result<u8, Error> {
    let project = Arc::new(context.project()?);
    let plan = Arc::new(make_plan(context, &project, &selection, extent)?);
    need_tools(&project)?;
    let options = Options {
        jobs: usize::from(how.jobs),
        mode: how.mode(),
        yes: how.advance.yes,
        confirm: how.advance.confirm.clone(),
        extent,
        secrets_file: portable(&project.root, how.secrets.secrets_file.as_deref())?,
    };
    let workspace = Workspace::open_or_create(&project.root)?;
    let locks = take_locks(&workspace, &project, &plan, None)?;
    let survivors = end_what_is_left(&workspace)?;
    let now = Timestamp::now();
    let chance = u16::try_from(now.subsec_nanosecond().unsigned_abs() / 15_259).unwrap_or(0)
        ^ u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
    let folder = workspace.create_run(now, chance)?;
    let journal = Journal::create(&folder.journal()).map_err(|error| {
        Error::cannot_start("the journal cannot be made", Some(&error))
            .hint("make room or mend the permissions, then type the same again; nothing was run")
    })?;
    let started = Event::RunStarted {
        run: folder.id().to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        selection,
        options: options.clone(),
        plan: plan.fingerprint(),
        tasks: fingerprints(&plan),
        who: who(),
        rehearsal: std::env::var("BOOTSTRAP_REHEARSAL").ok(),
    };
    let run = Run::new(&plan);
    let session = Session {
        context,
        project,
        plan,
        options,
        folder,
        output: how.output,
        survivors,
        _locks: locks,
    };
    session.work(run, journal, &started, &[])
}

/// `resume`.
pub(super) fn resume(
    context: &Context,
    wanted: Option<&str>,
    assume: &[String],
    advance: &Advance,
    output: Output,
) -> Result<u8, Error> {
    let root = context.root()?;
    let workspace = Workspace::of(&root);
    let nothing = || {
        Error::cannot_resume("there is nothing to resume here", None)
            .hint("`bootstrap run story ID` starts a run; `bootstrap runs` lists them")
    };
    if !workspace.exists() {
        return Err(nothing());
    }
    // The lock is taken before anything is read: nobody else writes to what is read now.
    let early = take_workspace_lock(&workspace, None)?;
    let folder = match wanted {
        Some(name) => workspace
            .runs()?
            .into_iter()
            .find(|folder| folder.id().as_str() == name)
            .ok_or_else(|| {
                Error::cannot_resume(format!("there is no run `{name}`"), None)
                    .hint("`bootstrap runs` lists them")
            })?,
        None => newest_to_resume(&workspace)?.ok_or_else(nothing)?,
    };
    let (journal, loaded) = Journal::<Event>::open(&folder.journal())?;
    let Some(Event::RunStarted {
        selection,
        options,
        plan: was,
        tasks,
        ..
    }) = loaded.records.first().map(|record| record.event.clone())
    else {
        return Err(Error::cannot_resume(
            format!(
                "run {} has no beginning: nothing had been done",
                folder.id()
            ),
            None,
        )
        .hint("start it again with `bootstrap run`"));
    };
    if matches!(
        loaded.records.last().map(|record| &record.event),
        Some(Event::RunEnded {
            result: RunResult::Done
        })
    ) {
        // Whoever resumes until it is done must come to an end, also when the runner died after its last word.
        let text = format!(
            "run {} is done: there is nothing to go on with; `bootstrap run` asks everything again\n",
            folder.id()
        );
        crate::observe::put(&mut std::io::stderr().lock(), &text);
        return Ok(exit::DONE);
    }
    let options = Options {
        yes: options.yes || advance.yes,
        confirm: options
            .confirm
            .iter()
            .chain(&advance.confirm)
            .cloned()
            .collect(),
        ..options
    };
    let project = Arc::new(context.project()?);
    let plan = Arc::new(make_plan(context, &project, &selection, options.extent)?);
    need_tools(&project)?;
    let mut locks = vec![early];
    locks.extend(take_cluster_locks(
        &project,
        &plan,
        Some(folder.id().as_str()),
    )?);
    let survivors = end_what_is_left(&workspace)?;
    let (run, known) = fold(&plan, &loaded.records, tasks)?;
    let mut reopened = assumed(&plan, &run, assume)?;
    reopened.extend(changed_since(&plan, &run, &known));
    let changed = plan.fingerprint() != was;
    let resumed = Event::RunResumed {
        version: env!("CARGO_PKG_VERSION").into(),
        plan: plan.fingerprint(),
        tasks: if changed {
            fingerprints(&plan)
        } else {
            Vec::new()
        },
        who: who(),
    };
    let session = Session {
        context,
        project,
        plan,
        options,
        folder,
        output,
        survivors,
        _locks: locks,
    };
    session.work(run, journal, &resumed, &reopened)
}

impl Session<'_> {
    /// Works on a run until it is over, and gives the exit code.
    fn work(
        self,
        run: Run,
        journal: Journal<Event>,
        first: &Event,
        reopened: &[Event],
    ) -> Result<u8, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(1024)
            .enable_all()
            .build()
            .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
        let mask = Mask::new();
        let terminal = self.terminal();
        let performer = self.performer(&mask, terminal.as_ref())?;
        let observers = self.observers(terminal.as_ref());
        let _leash = leash(self.folder.path());
        let plan = Arc::clone(&self.plan);
        let limits = Limits {
            jobs: self.options.jobs,
            mode: self.options.mode,
        };
        let resuming = matches!(first, Event::RunResumed { .. });
        let (result, interrupted) = runtime.block_on(async {
            let mut wishes = interrupt::listen()
                .map_err(|error| Error::cannot_start("signals cannot be heard", Some(&error)))?;
            let mut engine = Engine::new(&plan, run, journal, limits, observers);
            engine.emit(first)?;
            for event in self.survivors.iter().chain(reopened) {
                engine.emit(event)?;
            }
            if resuming {
                for event in decayed(&plan, engine.run(), &performer).await {
                    engine.emit(&event)?;
                }
            }
            let performer = Arc::new(performer);
            let result = engine.work(Arc::clone(&performer), &mut wishes).await;
            let interrupted = engine.interrupted_by().map(str::to_owned);
            drop(engine);
            if let Ok(performer) = Arc::try_unwrap(performer).map_err(drop) {
                performer.goodbye();
            }
            Ok::<_, Error>((result?, interrupted))
        })?;
        runtime.shutdown_background();
        Ok(match (result, interrupted) {
            (RunResult::Done, _) => exit::DONE,
            (RunResult::Cancelled, Some(signal)) => exit::signal(&signal),
            (RunResult::Cancelled, None) | (RunResult::Failed, _) => exit::FAILED,
        })
    }

    fn terminal(&self) -> Option<Terminal> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb")
            || std::env::var_os("CI").is_some();
        let live = self.output == Output::Auto && std::io::stderr().is_terminal() && !dumb;
        live.then(Terminal::stderr)
    }

    fn performer(&self, mask: &Mask, terminal: Option<&Terminal>) -> Result<Performer, Error> {
        let pace = std::env::var("BOOTSTRAP_TIME_SCALE")
            .ok()
            .and_then(|scale| scale.parse().ok())
            .map_or_else(Pace::default, Pace::new);
        let secrets = match &self.options.secrets_file {
            Some(path) => Some(read_secrets_file(&self.project.root.join(path)).map_err(|why| {
                Error::cannot_start(
                    format!("the secrets file {} cannot be used: {why}", path.display()),
                    None,
                )
            })?),
            None => None,
        };
        let settings = Settings {
            run: self.folder.id().to_string(),
            folder: Some(self.folder.clone()),
            env: environment(),
            pace,
            yes: self.options.yes,
            confirm: self.options.confirm.clone(),
            who: who().user,
            session: own_sessions(),
            ask: ask(terminal.cloned()),
            secrets,
        };
        let program = std::env::current_exe()
            .map_err(|error| Error::cannot_start("the program cannot find itself", Some(&error)))?;
        let guardian = Guardian::of(program, &format!("{}/", self.folder.id()));
        Ok(Performer::new(
            Arc::clone(&self.project),
            Arc::clone(&self.plan),
            settings,
            mask.clone(),
            guardian,
        ))
    }

    fn observers(&self, terminal: Option<&Terminal>) -> Vec<Box<dyn Observer>> {
        let colour = self.context.colour_err;
        let frame = Frame {
            directory: self.context.given.clone(),
            folder: Some(self.folder.clone()),
            colour,
        };
        let out = match self.output {
            Output::Json => Detached::new(std::io::stdout()),
            Output::Auto | Output::Plain => Detached::new(std::io::stderr()),
        };
        match (self.output, terminal) {
            (Output::Json, _) => vec![Box::new(JsonLines::new(Box::new(out)))],
            (Output::Auto, Some(terminal)) => vec![
                Box::new(Progress::new(terminal.clone(), colour)),
                Box::new(Ending::new(Box::new(out), frame)),
            ],
            (Output::Auto | Output::Plain, _) => vec![
                Box::new(Lines::new(Box::new(out.clone()), colour)),
                Box::new(Ending::new(Box::new(out), frame)),
            ],
        }
    }
}

/// The plan, or everything that is wrong with it.
pub(super) fn make_plan(
    context: &Context,
    project: &Project,
    selection: &Selection,
    extent: Extent,
) -> Result<Plan, Error> {
    plan::make(project, selection, extent).map_err(|problems| match selection_problem(&problems) {
        Some(error) => error,
        None => Error::invalid(&project.sources, &problems, context.colour_err),
    })
}

/// A selection that names what does not exist is a wrong argument, not an invalid playbook.
fn selection_problem(problems: &crate::document::Diagnostics) -> Option<Error> {
    let all = problems.sorted();
    let [only] = all.as_slice() else { return None };
    if only.span.is_some() {
        return None;
    }
    let error = Error::usage(only.message.clone());
    Some(match &only.help {
        Some(help) => error.hint(help.clone()),
        None => error,
    })
}

/// Every program that the playbook starts is here, in a version that it can use.
fn need_tools(project: &Project) -> Result<(), Error> {
    let missing: Vec<String> = super::doctor::programs(&project.playbook)
        .into_iter()
        .filter(|program| which::which(program).is_err())
        .collect();
    if missing.is_empty() {
        let wrong = super::doctor::wrong_versions(project)?;
        if wrong.is_empty() {
            return Ok(());
        }
        return Err(Error::cannot_start(wrong.join("; "), None)
            .hint("`bootstrap doctor` lists what the playbook needs; nothing was run"));
    }
    Err(Error::cannot_start(format!("not on PATH: {}", missing.join(", ")), None)
        .hint("install what is missing; `bootstrap doctor` lists what the playbook needs, and `lab exec` plays it"))
}

fn fingerprints(plan: &Plan) -> Vec<(crate::plan::TaskKey, crate::plan::Fingerprint)> {
    plan.tasks()
        .map(|(_, task)| (task.key.clone(), task.fingerprint.clone()))
        .collect()
}

/// A path that still leads there when the project has moved, if it leads into the project.
fn portable(root: &Path, path: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    path.map(|path| {
        let path = std::path::absolute(path).map_err(|error| {
            Error::cannot_start(format!("{} is no path", path.display()), Some(&error))
        })?;
        Ok(path.strip_prefix(root).map(Path::to_path_buf).unwrap_or(path))
    })
    .transpose()
}

fn who() -> Who {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string());
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Who {
        user,
        host,
        pid: std::process::id(),
    }
}

fn holder(run: Option<&str>) -> Holder {
    let Who { user, host, pid } = who();
    let words: Vec<String> = std::env::args().collect();
    let command = words
        .iter()
        .enumerate()
        .map(|(at, word)| if at == 0 { "bootstrap" } else { word.as_str() })
        .collect::<Vec<_>>()
        .join(" ");
    Holder {
        pid,
        host,
        user,
        command,
        since: Timestamp::now(),
        run: run.map(str::to_owned),
    }
}

fn take_locks(
    workspace: &Workspace,
    project: &Project,
    plan: &Plan,
    run: Option<&str>,
) -> Result<Vec<Lock>, Error> {
    let mut locks = vec![take_workspace_lock(workspace, run)?];
    locks.extend(take_cluster_locks(project, plan, run)?);
    Ok(locks)
}

fn take_workspace_lock(workspace: &Workspace, run: Option<&str>) -> Result<Lock, Error> {
    take_lock(&workspace.lock_file(), &holder(run))
        .map_err(|error| busy(error, "another run works in this project"))
}

/// One lock for each cluster that the plan touches, in the user's state folder: another checkout of the same clusters finds it too.
fn take_cluster_locks(
    project: &Project,
    plan: &Plan,
    run: Option<&str>,
) -> Result<Vec<Lock>, Error> {
    let Some(state) = state_folder() else {
        return Ok(Vec::new());
    };
    let mut locks = Vec::new();
    for cluster in project.inventory.clusters() {
        let touched = plan.tasks().any(|(_, task)| {
            task.effect != Effect::Reads
                && task
                    .item
                    .cluster()
                    .is_none_or(|name| name == cluster.name())
        });
        if !touched {
            continue;
        }
        let folder = state.join("bootstrap").join("clusters");
        std::fs::create_dir_all(&folder).map_err(|error| {
            Error::cannot_start(format!("{} cannot be made", folder.display()), Some(&error))
        })?;
        let name = format!("{}-{}.lock", cluster.name(), cluster.identity());
        let what = format!("another run works on the cluster {}", cluster.name());
        locks
            .push(take_lock(&folder.join(name), &holder(run)).map_err(|error| busy(error, &what))?);
    }
    Ok(locks)
}

/// Takes a lock. A process that its dead holder was just starting has it for a moment yet, until it becomes another program.
fn take_lock(path: &Path, holder: &Holder) -> Result<Lock, LockError> {
    let begun = std::time::Instant::now();
    loop {
        let taken = Lock::take(path, holder);
        let Err(LockError::Busy(busy)) = &taken else {
            return taken;
        };
        let dead = busy.holder.as_ref().is_some_and(|by| {
            by.host == holder.host
                && i32::try_from(by.pid)
                    .ok()
                    .and_then(rustix::process::Pid::from_raw)
                    .is_some_and(|pid| {
                        rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
                    })
        });
        if !dead || begun.elapsed() > DEAD_HOLDER {
            return taken;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

fn state_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| {
            std::env::var_os("HOME")
                .map(|home| PathBuf::from(home).join(".local/state"))
                .filter(|path| path.is_absolute())
        })
}

fn busy(error: LockError, what: &str) -> Error {
    match error {
        LockError::Busy(busy) => {
            let by = busy.holder.map_or_else(String::new, |holder| {
                let run = holder
                    .run
                    .as_ref()
                    .map_or_else(String::new, |run| format!(", run {run}"));
                format!(
                    ": `{}` (process {} of {} on {}{run}, since {:.0})",
                    holder.command, holder.pid, holder.user, holder.host, holder.since
                )
            });
            Error::cannot_resume(format!("{what}{by}"), None)
                .hint("wait for it, or stop it with Ctrl-C; the lock frees itself")
        }
        io @ LockError::Io { .. } => Error::cannot_start("the lock cannot be used", Some(&io)),
    }
}

fn newest_to_resume(workspace: &Workspace) -> Result<Option<RunFolder>, Error> {
    for folder in workspace.runs()? {
        // Whoever made it died before it could write down that a run began.
        if !folder.journal().exists() {
            continue;
        }
        let Ok(loaded) = Journal::<Event>::load_read_only(&folder.journal()) else {
            return Ok(Some(folder));
        };
        let Some(Record {
            event: Event::RunStarted { options, .. },
            ..
        }) = loaded.records.first()
        else {
            continue;
        };
        if options.extent != Extent::Criteria {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// Ends what dead runs of this project left running, whichever they are; what it was becomes part of the journal. To be called under the
/// lock of the project: nobody else's run is alive.
fn end_what_is_left(workspace: &Workspace) -> Result<Vec<Event>, Error> {
    let mut marker_prefixes = Vec::new();
    let mut known: Vec<Identity> = Vec::new();
    for folder in workspace.runs()? {
        if !folder.journal().exists() || has_ended(&folder.journal()) {
            continue;
        }
        marker_prefixes.push(format!("{}/", folder.id()));
        // A damaged journal names nobody; the mark does.
        if let Ok(loaded) = Journal::<Event>::load_read_only(&folder.journal()) {
            known.extend(loaded.records.iter().filter_map(|record| match &record.event {
                Event::ProcessStarted { identity, .. } => {
                    serde_json::from_value(identity.clone()).ok()
                }
                _ => None,
            }));
        }
    }
    if marker_prefixes.is_empty() {
        return Ok(Vec::new());
    }
    let survivors = end_survivors_of(&marker_prefixes, &known);
    Ok(survivors
        .into_iter()
        .map(|survivor| Event::SurvivorEnded {
            pid: survivor.pid,
            command: survivor.command,
        })
        .collect())
}

/// Whether the last line of a journal is the end of the run: then its runner has ended all that it had started. Reads that line only,
/// because there may be many runs.
fn has_ended(journal: &Path) -> bool {
    const LINE: u64 = 512;
    let end = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(journal)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LINE)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(end)
    };
    let Ok(end) = end() else { return false };
    let Some(lines) = end.strip_suffix(b"\n") else {
        return false;
    };
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or(lines);
    String::from_utf8_lossy(last).contains("\"event\":{\"run-ended\":")
}

/// The state of a run from its records, and the fingerprints under which each task was last planned.
fn fold(
    plan: &Plan,
    records: &[Record<Event>],
    tasks: Vec<(crate::plan::TaskKey, crate::plan::Fingerprint)>,
) -> Result<(Run, Vec<(crate::plan::TaskKey, crate::plan::Fingerprint)>), Error> {
    let mut run = Run::new(plan);
    let mut known = tasks;
    for record in records {
        if let Event::RunResumed { tasks, .. } = &record.event
            && !tasks.is_empty()
        {
            known.clone_from(tasks);
        }
        match run.apply(plan, &record.event, std::time::Duration::ZERO) {
            // A task that the playbook no longer has is history.
            Ok(()) | Err(crate::run::Illegal::NoSuchTask(_)) => {}
            Err(error @ crate::run::Illegal::Transition { .. }) => {
                return Err(Error::cannot_resume(
                    format!("the journal makes no sense at line {}", record.seq),
                    Some(&error),
                )
                .hint("`bootstrap run` starts a new run, which trusts only what it can see"));
            }
        }
    }
    Ok((run, known))
}

/// What the person says of attempts in doubt.
fn assumed(plan: &Plan, run: &Run, said: &[String]) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
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
        let key = crate::plan::TaskKey::from(task.as_str());
        let Some(ix) = plan.find(&key) else {
            return Err(Error::usage(format!("this run has no task `{task}`"))
                .hint("`bootstrap status` lists them"));
        };
        let doubtful = matches!(
            run.state(ix),
            TaskState::Running { .. } | TaskState::InDoubt { .. }
        ) || matches!(run.outcome(ix), Some(crate::run::Outcome::Failed(failure)) if failure.kind == crate::run::FailureKind::InDoubt);
        if !doubtful {
            return Err(Error::usage(format!("`{task}` is not in doubt"))
                .hint("only an attempt that was interrupted, and of which nobody knows how it ended, can be assumed"));
        }
        events.push(Event::Assumed {
            task: key,
            done,
            who: who().user,
        });
    }
    Ok(events)
}

/// Settled tasks that have to be open again: their definition has changed, or they gave a secret that was never stored.
fn changed_since(
    plan: &Plan,
    run: &Run,
    known: &[(crate::plan::TaskKey, crate::plan::Fingerprint)],
) -> Vec<Event> {
    let known: std::collections::BTreeMap<_, _> = known
        .iter()
        .map(|(key, fingerprint)| (key, fingerprint))
        .collect();
    let mut events = Vec::new();
    for (ix, task) in plan.tasks() {
        let TaskState::Settled(outcome) = run.state(ix) else {
            continue;
        };
        if !outcome.satisfies() {
            continue;
        }
        let why = match known.get(&task.key) {
            Some(then) if **then != task.fingerprint => {
                Some("its definition or its inputs have changed since")
            }
            _ if run
                .outputs(ix)
                .values()
                .any(|output| *output == OutputValue::Secret) =>
            {
                Some("it gives a secret, which is never stored")
            }
            _ => None,
        };
        if let Some(why) = why {
            events.push(Event::TaskReopened {
                task: task.key.clone(),
                why: why.into(),
            });
        }
    }
    events
}

/// The world wins over the checkpoint: settled tasks whose question now says otherwise are open again.
async fn decayed(plan: &Plan, run: &Run, performer: &Performer) -> Vec<Event> {
    let settled: Vec<TaskIx> = plan
        .tasks()
        .filter(|(ix, task)| {
            let asks = match &task.duty {
                Duty::Work(body) => body.unless.is_some() || body.until.is_some(),
                Duty::Criterion { .. } => true,
            };
            asks && matches!(run.state(*ix), TaskState::Settled(outcome) if outcome.satisfies() && !matches!(outcome, crate::run::Outcome::Skipped(_)))
        })
        .map(|(ix, _)| ix)
        .collect();
    let answers =
        futures_util::future::join_all(settled.iter().map(|&ix| performer.probe(ix))).await;
    settled
        .iter()
        .zip(answers)
        .filter_map(|(&ix, answer)| match answer {
            Some(Verdict::Unmet(seen)) => Some(Event::TaskReopened {
                task: plan.task(ix).key.clone(),
                why: format!("it no longer holds: {seen}"),
            }),
            Some(Verdict::Met(_) | Verdict::Unknown(_)) | None => None,
        })
        .collect()
}

/// How a person is asked: at the terminal, one question at a time, with the display out of the way.
fn ask(terminal: Option<Terminal>) -> Ask {
    let turn = std::sync::Mutex::new(());
    Arc::new(move |prompt: &Prompt| {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return None;
        }
        let one_at_a_time = turn
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let question = || {
            let mut out = std::io::stderr().lock();
            let what = match (&prompt.word, prompt.note) {
                (Some(word), _) => format!("Type `{word}` to go on: "),
                (None, true) => "Sign off with a note (empty: no): ".to_owned(),
                (None, false) => "Go on? [y/N] ".to_owned(),
            };
            write!(out, "\n{}\n{what}", prompt.say)
                .and_then(|()| out.flush())
                .ok()?;
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .ok()
                .filter(|read| *read > 0)?;
            Some(line.trim_end().to_owned())
        };
        let typed = match &terminal {
            Some(terminal) => terminal.suspend(question),
            None => question(),
        };
        drop(one_at_a_time);
        typed
    })
}
