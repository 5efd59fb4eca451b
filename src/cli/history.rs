//! `status`, `runs` and `logs`: what journals tell.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::cli::error::Error;
use crate::cli::printed::{Printed, print};
use crate::cli::{Context, edits, exit};
use crate::journal::{Journal, Record};
use crate::observe::history::{self as told, RunSummary, Standing};
use crate::observe::{put, report, view::Frame, words::clean};
use crate::run::{Event, cited};
use crate::workspace::{RunFolder, Workspace};

/// The longest piece of a line that is shown at once.
const LONGEST: u64 = 64 * 1024;

/// `status`.
pub(super) fn status(context: &Context, wanted: Option<&str>, json: bool) -> Result<u8, Error> {
    let workspace = Workspace::of(&context.root()?);
    let (folder, run) = find(&workspace, wanted)?;
    // A run that is over, or that somebody works on, is not gone on with as it is written now.
    let edits = match run.standing {
        Standing::Done | Standing::Running => Vec::new(),
        Standing::Interrupted | Standing::Failed | Standing::Stopped => {
            let records = Journal::<Event>::load_read_only(&folder.journal())?.records;
            edits::since(context, &records)
        }
    };
    let frame = Frame {
        directory: context.given.clone(),
        folder: Some(folder),
        colour: context.colour_out,
    };
    let text = if json {
        told::status_json(&run, edits::json(&edits))
    } else {
        edits::text(&edits, context.colour_out) + &told::status_text(&run, &frame)
    };
    print(&text, exit::DONE)
}

/// `report`.
pub(super) fn report(context: &Context, wanted: Option<&str>, json: bool) -> Result<u8, Error> {
    let workspace = Workspace::of(&context.root()?);
    let folder = folder(&workspace, wanted)?;
    let records = records(&folder)?;
    let held = holder_run(&workspace).is_some_and(|path| path == folder.path());
    let text = if json {
        told::fold(&records, held).map(|run| told::json(&report::Report::of(&run, &records)))
    } else {
        report::markdown(&records, held)
    };
    let Some(text) = text else {
        return Err(Error::cannot_resume(
            format!(
                "run {} has no beginning: nothing had been done",
                folder.id()
            ),
            None,
        ));
    };
    print(&text, exit::DONE)
}

/// The folder of a run that is named, or of the newest that says anything.
pub(super) fn folder(workspace: &Workspace, wanted: Option<&str>) -> Result<RunFolder, Error> {
    find(workspace, wanted).map(|(folder, _)| folder)
}

/// `runs`.
pub(super) fn runs(context: &Context, json: bool) -> Result<u8, Error> {
    let workspace = Workspace::of(&context.root()?);
    let mut runs = Vec::new();
    let held = holder_run(&workspace);
    if workspace.exists() {
        for folder in workspace.runs()? {
            match load(&folder, held.as_ref()) {
                Ok(Some(run)) => runs.push(run),
                Ok(None) => {}
                Err(error) => {
                    put(
                        &mut std::io::stderr().lock(),
                        &error.render(context.colour_err),
                    );
                }
            }
        }
    }
    let text = if json {
        told::runs_json(&runs)
    } else {
        told::runs_text(&runs, context.colour_out)
    };
    print(&text, exit::DONE)
}

/// `logs`.
pub(super) fn logs(
    context: &Context,
    task: Option<&str>,
    wanted: Option<&str>,
    files: bool,
) -> Result<u8, Error> {
    let workspace = Workspace::of(&context.root()?);
    let (folder, run) = find(&workspace, wanted)?;
    let logs = told::logs(&run, &folder, task.unwrap_or_default());
    let there: Vec<_> = logs.iter().filter(|log| log.path.exists()).collect();
    if there.is_empty() {
        let what = task.map_or_else(String::new, |task| format!(" of `{task}`"));
        return Err(
            Error::usage(format!("run {} has no log{what}", folder.id())).hint(
                "`bootstrap status` lists its tasks; a task that started no process has no log",
            ),
        );
    }
    let mut out = Printed::new();
    for log in there {
        if files {
            put(&mut out, &format!("{}\n", log.path.display()));
            continue;
        }
        put(
            &mut out,
            &format!("==> {} (attempt {})\n", log.task, log.attempt),
        );
        let mut file =
            std::fs::File::open(&log.path).map_err(|error| unreadable(&log.path, &error))?;
        let shown = if std::io::stdout().is_terminal() {
            show(file, &mut out)
        } else {
            std::io::copy(&mut file, &mut out).map(drop)
        };
        if out.is_lost() {
            break;
        }
        shown.map_err(|error| unreadable(&log.path, &error))?;
    }
    out.end(exit::DONE)
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::cannot_start(format!("{} cannot be read", path.display()), Some(error))
}

/// Shows a log on a terminal: nothing in it may move the cursor, ring the bell or name the window.
fn show(log: std::fs::File, out: &mut dyn Write) -> std::io::Result<()> {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end is shown in pieces.
        if log.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let ends = line.ends_with(b"\n");
        let text = clean(&String::from_utf8_lossy(&line));
        out.write_all(text.as_bytes())?;
        if ends {
            out.write_all(b"\n")?;
        }
    }
}

fn find(workspace: &Workspace, wanted: Option<&str>) -> Result<(RunFolder, RunSummary), Error> {
    let nothing = || {
        Error::cannot_resume("no run has been started here", None)
            .hint("`bootstrap run story ID` starts one")
    };
    if !workspace.exists() {
        return Err(nothing());
    }
    let held = holder_run(workspace);
    let runs = workspace.runs()?;
    for folder in runs {
        if wanted.is_some_and(|name| folder.id().as_str() != name) {
            continue;
        }
        match load(&folder, held.as_ref())? {
            Some(run) => return Ok((folder, run)),
            None if wanted.is_some() => break,
            None => {}
        }
    }
    Err(match wanted {
        Some(name) => {
            Error::usage(format!("there is no run `{name}`")).hint("`bootstrap runs` lists them")
        }
        None => nothing(),
    })
}

fn load(folder: &RunFolder, held: Option<&PathBuf>) -> Result<Option<RunSummary>, Error> {
    Ok(told::fold(
        &records(folder)?,
        held.is_some_and(|path| path == folder.path()),
    ))
}

/// What the journal of a run says, and what its logs say that it leaves out.
fn records(folder: &RunFolder) -> Result<Vec<Record<Event>>, Error> {
    let mut records = Journal::<Event>::load_read_only(&folder.journal())?.records;
    recall(&mut records, folder);
    Ok(records)
}

/// Puts back what the records of a run leave out, as far as its logs have it.
pub(super) fn recall(records: &mut [Record<Event>], folder: &RunFolder) {
    for record in records {
        if let Event::AttemptEnded {
            task, attempt, end, ..
        } = &mut record.event
            && cited::omits(end)
            && let Ok(log) = ending(&folder.log(task.as_str(), *attempt))
        {
            cited::recall(end, &log);
        }
    }
}

/// The end of a log.
fn ending(log: &Path) -> std::io::Result<String> {
    const MUCH: u64 = 16 * 1024;
    let mut file = std::fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MUCH)))?;
    let mut bytes = Vec::new();
    file.take(MUCH).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The folder of the run that somebody works on now: the newest, if the lock is held.
fn holder_run(workspace: &Workspace) -> Option<PathBuf> {
    if !workspace.exists() || !crate::workspace::is_held(&workspace.lock_file()) {
        return None;
    }
    workspace
        .newest()
        .ok()
        .flatten()
        .map(|folder| folder.path().to_path_buf())
}
