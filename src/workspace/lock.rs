//! One writer at a time.
//!
//! The kernel holds the lock, on a file that is never deleted, and lets go of it when its holder dies, however it dies. The file is
//! closed in every process that the holder starts. What is written in the file is for people: it says who holds the lock, and
//! has no part in holding it. On network file systems the lock may hold on one machine only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The machine.
    pub host: String,
    /// The user.
    pub user: String,
    /// What was typed, without secrets.
    pub command: String,
    /// When it began.
    pub since: Timestamp,
    /// The run, if one is known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    left_by: Option<Holder>,
}

/// Somebody else holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is held{}", path.display(), by(holder.as_deref()))]
pub struct Busy {
    /// The lock file.
    pub path: PathBuf,
    /// Who holds it, unless they are just about to write it down.
    pub holder: Option<Box<Holder>>,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The file could not be used.
    #[error("cannot use the lock `{}`", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether somebody holds a lock now. Takes nothing that could stand in the way of whoever wants it.
pub fn is_held(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Lock {
    /// Takes the lock, or says who has it. Never waits.
    pub fn take(path: &Path, holder: &Holder) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Busy {
                    path: path.to_owned(),
                    holder: read(&mut file).map(Box::new),
                }
                .into());
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let left_by = read(&mut file);
        let mut lock = Self {
            path: path.to_owned(),
            file,
            left_by,
        };
        lock.write(holder).map_err(io)?;
        Ok(lock)
    }

    /// Changes what the file says of the holder: the run, when it is known.
    pub fn describe(&mut self, holder: &Holder) -> Result<(), LockError> {
        self.write(holder).map_err(|source| LockError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Returns the holder before, if it died without letting go.
    pub fn left_by(&self) -> Option<&Holder> {
        self.left_by.as_ref()
    }

    fn write(&mut self, holder: &Holder) -> io::Result<()> {
        let mut text = serde_json::to_string(holder)?;
        text.push('\n');
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only words: closing the file is what frees the lock.
        self.file.set_len(0).ok();
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn by(holder: Option<&Holder>) -> String {
    let Some(holder) = holder else {
        return " by another process".to_owned();
    };
    let Holder {
        pid,
        host,
        user,
        command,
        since,
        run,
    } = holder;
    let run = run
        .as_ref()
        .map_or(String::new(), |run| format!(" (run {run})"));
    format!(" by `{command}`{run}, process {pid} of {user} on {host}, since {since:.0}")
}
