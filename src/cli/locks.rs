//! Who works here: the locks of the project and of its clusters, who holds them, and what those left behind who held them once.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::cli::error::Error;
use crate::journal::Journal;
use crate::plan::Plan;
use crate::playbook::Effect;
use crate::process::{Identity, end_survivors_of};
use crate::project::Project;
use crate::run::Event;
use crate::run::event::Who;
use crate::workspace::{Holder, Lock, LockError, Workspace};

/// How long a lock of a dead process is waited for.
const DEAD_HOLDER: Duration = Duration::from_secs(3);

/// Whoever runs this.
pub(super) fn who() -> Who {
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

pub(super) fn take_workspace_lock(workspace: &Workspace, run: Option<&str>) -> Result<Lock, Error> {
    take_lock(&workspace.lock_file(), &holder(run))
        .map_err(|error| busy(error, "another run works in this project"))
}

/// One lock for each cluster that the plan touches, in the user's state folder: another checkout of the same clusters finds it too.
pub(super) fn take_cluster_locks(
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
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(super) fn state_folder() -> Option<PathBuf> {
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

/// Ends what dead runs of this project left running, whichever they are; what it was becomes part of the journal. To be called under the
/// lock of the project: nobody else's run is alive.
pub(super) fn end_what_is_left(workspace: &Workspace) -> Result<Vec<Event>, Error> {
    let mut marker_prefixes = Vec::new();
    let mut known: Vec<Identity> = Vec::new();
    for folder in workspace.runs()? {
        if !folder.journal().exists() || has_ended(&folder.journal()) {
            continue;
        }
        marker_prefixes.push(format!("{}/", folder.id()));
        // A damaged journal names nobody; the mark does.
        if let Ok(loaded) = Journal::<Event>::load_read_only(&folder.journal()) {
            known.extend(
                loaded
                    .records
                    .iter()
                    .filter_map(|record| match &record.event {
                        Event::ProcessStarted { identity, .. } => {
                            serde_json::from_value(identity.clone()).ok()
                        }
                        _ => None,
                    }),
            );
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
