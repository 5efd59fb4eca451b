//! `run`, `verify` and `resume`: where everything is wired.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::cli::error::Error;
use crate::cli::locks::{end_what_is_left, take_cluster_locks, take_workspace_lock, who};
use crate::cli::{
    Context, How, Output, ResumeHow, environment, exit, history, own_sessions, reopen,
};
use crate::engine::{Engine, Observer, interrupt};
use crate::journal::{Journal, Record};
use crate::observe::{Detached, Ending, JsonLines, Lines, Progress, Terminal, phases, view::Frame};
use crate::perform::secrets::read_secrets_file;
use crate::perform::{Ask, Known, Pace, Performer, Prompt, Settings};
use crate::plan::fingerprint::with_tools;
use crate::plan::{self, Extent, Ingredients, Plan, Selection, TaskIx};
use crate::process::guardian::Guardian;
use crate::process::leash;
use crate::project::Project;
use crate::run::event::{Options, RunResult};
use crate::run::{Event, Limits, Past, Run};
use crate::secret::Mask;
use crate::workspace::{Lock, RunFolder, Workspace};

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

/// `run` and `verify`; of a rebuild the lock of the project is held already.
pub(super) fn run(
    context: &Context,
    selection: Selection,
    extent: Extent,
    how: &How,
    held: Option<Lock>,
) -> Result<u8, Error> {
    let project = Arc::new(context.project()?);
    let plan = Arc::new(make_plan(context, &project, &selection, extent)?);
    let versions = need_tools(&project, &plan)?;
    let made = with_tools(&plan, &versions);
    let options = Options {
        jobs: usize::from(how.jobs),
        mode: how.mode(),
        yes: how.advance.yes,
        confirm: how.advance.confirm.clone(),
        extent,
        secrets_file: portable(&project.root, how.secrets.secrets_file.as_deref())?,
    };
    let workspace = Workspace::open_or_create(&project.root)?;
    let mut locks = vec![match held {
        Some(lock) => lock,
        None => take_workspace_lock(&workspace, None)?,
    }];
    locks.extend(take_cluster_locks(&project, &plan, None)?);
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
        made_of: Ingredients::collect(&made),
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
    session.finish(run, journal, &started, None)
}

/// `resume`.
pub(super) fn resume(context: &Context, how: &ResumeHow) -> Result<u8, Error> {
    let (advance, output) = (&how.advance, how.output);
    let Opened {
        folder,
        journal,
        records,
        selection,
        options,
        lock: early,
    } = open(context, how.run.as_deref())?;
    if is_done(&records) {
        // Whoever resumes until it is done must come to an end, also when the runner died after its last word.
        let text = format!(
            "run {} is done: there is nothing to go on with; `bootstrap run` asks everything again\n",
            folder.id()
        );
        crate::observe::put(&mut Detached::new(std::io::stderr()), &text);
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
    let versions = need_tools(&project, &plan)?;
    let made = with_tools(&plan, &versions);
    let mut locks = vec![early];
    locks.extend(take_cluster_locks(
        &project,
        &plan,
        Some(folder.id().as_str()),
    )?);
    let survivors = end_what_is_left(&Workspace::of(&project.root))?;
    let past = reopen::past(&records);
    let run = reopen::fold(&plan, &records)?;
    let assumed = reopen::assumed(&plan, &run, &how.assume)?;
    let why = match (&how.why, assumed.is_empty()) {
        (Some(why), _) => Some(why.clone()),
        (None, true) => None,
        (None, false) => ask_why(),
    };
    let edits = past.edits(&plan, &made);
    let opened = reopen::edited(&plan, &run, &edits)?;
    if output != Output::Json {
        crate::observe::put(
            &mut Detached::new(std::io::stderr()),
            &super::edits::text(&edits, context.colour_err),
        );
    }
    let (tasks, made_of) = (fingerprints(&plan), Ingredients::collect(&made));
    let same = past.planned_as(&tasks, &made_of);
    let resumed = Event::RunResumed {
        version: env!("CARGO_PKG_VERSION").into(),
        plan: plan.fingerprint(),
        tasks: if same { Vec::new() } else { tasks },
        made_of: if same {
            Ingredients::default()
        } else {
            made_of
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
    let again = Again {
        past,
        assumed,
        why,
        opened,
    };
    session.finish(run, journal, &resumed, Some(&again))
}

/// What a resumed run takes up.
struct Again {
    past: Past,
    assumed: Vec<(TaskIx, bool)>,
    why: Option<String>,
    opened: Vec<(TaskIx, Event)>,
}

/// A run of the past, opened to be written to.
pub(super) struct Opened {
    pub(super) folder: RunFolder,
    pub(super) journal: Journal<Event>,
    pub(super) records: Vec<Record<Event>>,
    pub(super) selection: Selection,
    pub(super) options: Options,
    /// Held for as long as something is written.
    pub(super) lock: Lock,
}

/// Opens a run that is named, or the newest one that can be gone on with.
pub(super) fn open(context: &Context, wanted: Option<&str>) -> Result<Opened, Error> {
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
    // A workspace that was copied may have come without what is only for people.
    std::fs::create_dir_all(folder.logs()).map_err(|error| {
        Error::cannot_start(
            format!("{} cannot be made", folder.logs().display()),
            Some(&error),
        )
    })?;
    let (journal, mut loaded) = Journal::<Event>::open(&folder.journal())?;
    history::recall(&mut loaded.records, &folder);
    let Some(Event::RunStarted {
        selection, options, ..
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
    Ok(Opened {
        folder,
        journal,
        records: loaded.records,
        selection,
        options,
        lock: early,
    })
}

/// Whether the last word of a journal is that all is done.
pub(super) fn is_done(records: &[Record<Event>]) -> bool {
    matches!(
        records.last().map(|record| &record.event),
        Some(Event::RunEnded {
            result: RunResult::Done
        })
    )
}

/// A person's reason, asked for where there is a terminal.
pub(super) fn ask_why() -> Option<String> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut out = std::io::stderr().lock();
    write!(out, "Why (for the journal; may be empty): ")
        .and_then(|()| out.flush())
        .ok()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    Some(line.trim().to_owned()).filter(|why| !why.is_empty())
}

impl Session<'_> {
    /// Works on a run until it is over; of a rebuild it is told how long each part took. Gives the exit code.
    fn finish(
        self,
        run: Run,
        journal: Journal<Event>,
        first: &Event,
        again: Option<&Again>,
    ) -> Result<u8, Error> {
        let (path, output, colour) = (self.folder.journal(), self.output, self.context.colour_err);
        let code = self.work(run, journal, first, again)?;
        if output != Output::Json
            && let Ok(loaded) = Journal::<Event>::load_read_only(&path)
            && let Some(phases) = phases::of(&loaded.records)
        {
            let mut err = Detached::new(std::io::stderr());
            crate::observe::put(&mut err, &phases.text(colour));
        }
        Ok(code)
    }

    /// Works on a run until it is over, and gives the exit code.
    fn work(
        self,
        run: Run,
        journal: Journal<Event>,
        first: &Event,
        again: Option<&Again>,
    ) -> Result<u8, Error> {
        // One thread decides and every process has its own: a step is not handed from thread to thread in between. What takes long
        // without waiting (masking output, asking a person, masking a log again) is on threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1024)
            .enable_all()
            .build()
            .map_err(|error| Error::cannot_start("the runtime cannot be started", Some(&error)))?;
        let mask = Mask::new();
        let terminal = self.terminal();
        let mut performer = self.performer(&mask, terminal.as_ref())?;
        if let Some(again) = again {
            performer = performer.knowing(Known {
                attempts: again.past.attempts().clone(),
                signed: again.past.signed().clone(),
            });
        }
        let observers = self.observers(terminal.as_ref());
        let _leash = leash(self.folder.path());
        let plan = Arc::clone(&self.plan);
        let limits = Limits {
            jobs: self.options.jobs,
            mode: self.options.mode,
        };
        let (result, interrupted) = runtime.block_on(async {
            let mut wishes = interrupt::listen()
                .map_err(|error| Error::cannot_start("signals cannot be heard", Some(&error)))?;
            if let Some(again) = again {
                // Before the first word is written: what is refused leaves the run as it was.
                reopen::refuse_against_probes(&plan, &performer, &again.assumed).await?;
            }
            let mut engine = Engine::new(&plan, run, journal, limits, observers);
            engine.emit(first)?;
            for event in &self.survivors {
                engine.emit(event)?;
            }
            if let Some(again) = again {
                self.take_up(&mut engine, again, &performer, terminal.as_ref())
                    .await?;
            }
            let performer = Arc::new(performer);
            let result = engine.work(Arc::clone(&performer), &mut wishes).await;
            let interrupted = engine.interrupted_by().map(str::to_owned);
            drop(engine);
            for log in performer.scrub_logs() {
                let text = format!(
                    "warning: a secret may be left in a log, which could not be masked again: {log}\n"
                );
                crate::observe::put(&mut std::io::stderr().lock(), &text);
            }
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

    /// Says what a person assumed, and opens what is not as it was when it was done.
    async fn take_up(
        &self,
        engine: &mut Engine<'_>,
        again: &Again,
        performer: &Performer,
        terminal: Option<&Terminal>,
    ) -> Result<(), Error> {
        for &(ix, done) in &again.assumed {
            engine.emit(&Event::Assumed {
                task: self.plan.task(ix).key.clone(),
                done,
                who: who().user,
                why: again.why.clone(),
            })?;
        }
        for (_, event) in &again.opened {
            engine.emit(event)?;
        }
        let root = &self.project.root;
        let tampered = reopen::tampered(&self.plan, engine.run(), &again.past, performer, root);
        for (_, event) in tampered {
            engine.emit(&event)?;
        }
        let (opened, unsure) = reopen::decayed(&self.plan, engine.run(), performer).await;
        for event in opened {
            engine.emit(&event)?;
        }
        if self.output != Output::Json && !unsure.is_empty() {
            let text = unsure.iter().fold(String::new(), |text, line| {
                let line = performer.masked_text(line);
                text + &format!("unsure     {line}; left as it was\n")
            });
            let say = || {
                crate::observe::put(&mut std::io::stderr().lock(), &text);
            };
            match terminal {
                Some(terminal) => terminal.suspend(say),
                None => say(),
            }
        }
        Ok(())
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
            Some(path) => Some(read_secrets_file(&self.project.root.join(path)).map_err(
                |why| {
                    Error::cannot_start(
                        format!("the secrets file {} cannot be used: {why}", path.display()),
                        None,
                    )
                },
            )?),
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

/// Every program that the plan can start is here, in a version that it can use. Gives the versions that were found.
pub(super) fn need_tools(
    project: &Project,
    plan: &Plan,
) -> Result<BTreeMap<String, String>, Error> {
    let needed = crate::plan::fingerprint::needed_programs(project, plan);
    let missing: Vec<&String> = needed
        .iter()
        .filter(|program| which::which(program).is_err())
        .collect();
    if missing.is_empty() {
        let (versions, wrong) = super::doctor::versions(project, &needed)?;
        if wrong.is_empty() {
            return Ok(versions);
        }
        return Err(Error::cannot_start(wrong.join("; "), None)
            .hint("`bootstrap doctor` lists what the playbook needs; nothing was run"));
    }
    let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
    Err(Error::cannot_start(format!("not on PATH: {}", missing.join(", ")), None)
        .hint("install what is missing; `bootstrap doctor` lists what the playbook needs, and `lab exec` plays it"))
}

pub(super) fn fingerprints(plan: &Plan) -> Vec<(crate::plan::TaskKey, crate::plan::Fingerprint)> {
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
        Ok(path
            .strip_prefix(root)
            .map(Path::to_path_buf)
            .unwrap_or(path))
    })
    .transpose()
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
            (prompt.asked)();
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
