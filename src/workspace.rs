//! The state folder of a project: `.bootstrap/`.
//!
//! ```text
//! .bootstrap/            0700
//!   .gitignore           *
//!   lock                 who runs here; locked by the kernel while they do
//!   key                  32 random bytes, for fingerprints
//!   runs/
//!     20261123-044512-7f3a/
//!       journal.jsonl
//!       logs/
//!         1.3~apply[infra~infra-01].1.log
//! ```
//!
//! Names only what is where, and sees to it that one writer is there at a time. It does not know what is in a journal.

mod lock;

pub use lock::is_held;
pub use lock::{Busy, Holder, Lock, LockError};

use crate::secret::{Key, KeyError};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of the state folder.
pub const FOLDER: &str = ".bootstrap";
/// How the second in which a run began is written in its name.
const SECOND: &str = "%Y%m%d-%H%M%S";

/// Makes durable what is in a folder: which names, not what is in the files.
type Sync<'a> = &'a mut dyn FnMut(&Path) -> Result<(), Error>;

/// The state folder of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    path: PathBuf,
}

/// Why the state folder could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{}`", path.display())]
pub struct Error {
    /// What was tried.
    pub what: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Workspace {
    /// Names the state folder of a project, and touches nothing.
    pub fn of(project: &Path) -> Self {
        Self {
            path: project.join(FOLDER),
        }
    }

    /// Makes the state folder of a project, if it is not there.
    pub fn open_or_create(project: &Path) -> Result<Self, Error> {
        Self::made(project, &mut sync_folder)
    }

    fn made(project: &Path, sync: Sync<'_>) -> Result<Self, Error> {
        let workspace = Self::of(project);
        create_folder(&workspace.path, sync)?;
        let ignore = workspace.path.join(".gitignore");
        match File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&ignore)
        {
            Ok(mut file) => file.write_all(b"*\n").map_err(error("write", &ignore))?,
            Err(found) if found.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(error("create", &ignore)(source)),
        }
        create_folder(&workspace.runs_folder(), sync)?;
        Ok(workspace)
    }

    /// Returns whether there is a state folder.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Returns the state folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the lock file.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Returns the key of this workspace, which is made when it is first asked for.
    pub fn key(&self) -> Result<Key, KeyError> {
        Key::open_or_create(&self.path.join("key"))
    }

    /// Makes the folder of a new run, whose name comes after those of all runs before it. `chance` tells apart those of one second.
    pub fn create_run(&self, now: Timestamp, chance: u16) -> Result<RunFolder, Error> {
        self.run_made(now, chance, &mut sync_folder)
    }

    fn run_made(&self, now: Timestamp, chance: u16, sync: Sync<'_>) -> Result<RunFolder, Error> {
        let mut id = RunId::new(now, chance);
        // Invariant: the names of a workspace's runs sort by the order in which they were made, also within one second and when the clock
        // was set back; else the newest could not be told.
        if let Some(newest) = self.newest()?
            && newest.id >= id
        {
            id = newest.id.next().unwrap_or(id);
        }
        loop {
            let run = self.run(id);
            match DirBuilder::new().mode(0o700).create(&run.path) {
                Ok(()) => {
                    create_folder(&run.logs(), sync)?;
                    sync(&self.runs_folder())?;
                    return Ok(run);
                }
                Err(found) if found.kind() == io::ErrorKind::AlreadyExists => {
                    id = run
                        .id
                        .next()
                        .ok_or(found)
                        .map_err(error("create", &run.path))?;
                }
                Err(source) => return Err(error("create", &run.path)(source)),
            }
        }
    }

    /// Names the folder of a run, which may not exist.
    pub fn run(&self, id: RunId) -> RunFolder {
        RunFolder {
            path: self.runs_folder().join(&id.0),
            id,
        }
    }

    /// Returns all runs, the newest first. What is not named as a run is not one.
    pub fn runs(&self) -> Result<Vec<RunFolder>, Error> {
        let folder = self.runs_folder();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(found) if found.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(error("list", &folder)(source)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(error("list", &folder))?;
            if let Some(Ok(id)) = entry.file_name().to_str().map(RunId::from_str) {
                ids.push(id);
            }
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids.into_iter().map(|id| self.run(id)).collect())
    }

    /// Returns the newest run.
    pub fn newest(&self) -> Result<Option<RunFolder>, Error> {
        Ok(self.runs()?.into_iter().next())
    }

    fn runs_folder(&self) -> PathBuf {
        self.path.join("runs")
    }
}

/// The name of a run: when it began (UTC), and four digits of chance. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text is not the name of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run, as `20261123-044512-7f3a` is one")]
pub struct NotARunId(pub String);

impl RunId {
    /// Names a run that begins now.
    pub fn new(now: Timestamp, chance: u16) -> Self {
        let now = now.to_zoned(TimeZone::UTC);
        Self(format!("{}-{chance:04x}", now.strftime(SECOND)))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that comes next, if there is one.
    fn next(&self) -> Option<Self> {
        let (second, chance) = self.0.rsplit_once('-')?;
        let chance = u16::from_str_radix(chance, 16).ok()?;
        if let Some(chance) = chance.checked_add(1) {
            return Some(Self(format!("{second}-{chance:04x}")));
        }
        let next = DateTime::strptime(SECOND, second)
            .ok()?
            .checked_add(SignedDuration::from_secs(1))
            .ok()?;
        Some(Self(format!("{}-0000", next.strftime(SECOND))))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let shape = |(at, byte): (usize, u8)| match at {
            8 | 15 => byte == b'-',
            16.. => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            _ => byte.is_ascii_digit(),
        };
        if text.len() == 20 && text.bytes().enumerate().all(shape) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARunId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = NotARunId;

    fn try_from(text: String) -> Result<Self, NotARunId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    id: RunId,
    path: PathBuf,
}

impl RunFolder {
    /// Returns the name of the run.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// Returns the key of the workspace that the run is in.
    pub fn key(&self) -> Result<Key, KeyError> {
        let runs = self.path.parent().unwrap_or(&self.path);
        Key::open_or_create(&runs.parent().unwrap_or(runs).join("key"))
    }

    /// Returns the folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Returns the log of an attempt at a task.
    pub fn log(&self, task: &str, attempt: u32) -> PathBuf {
        self.logs().join(log_name(task, attempt))
    }
}

/// The longest name that a task may have in a file name; with attempt and ending this stays below the 255 bytes of all systems.
const LONGEST: usize = 200;

/// Returns the file name of the log of an attempt. Different tasks have different names (where upper and lower case differ).
///
/// `/` becomes `~`; letters, digits and `.-_[]=,+@` stay; any other byte is `%` and two digits. A very long name is cut, and ends
/// with a hash of the whole.
pub fn log_name(task: &str, attempt: u32) -> String {
    let mut name = String::with_capacity(task.len() + 8);
    for (at, byte) in task.bytes().enumerate() {
        match byte {
            b'/' => name.push('~'),
            b'.' if at == 0 => name.push_str("%2e"),
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'.'
            | b'-'
            | b'_'
            | b'['
            | b']'
            | b'='
            | b','
            | b'+'
            | b'@' => {
                name.push(char::from(byte));
            }
            _ => {
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    if name.len() > LONGEST {
        name.truncate(LONGEST);
        let hash = blake3::hash(task.as_bytes()).to_hex();
        let _ = write!(name, "%%{}", &hash[..16]);
    }
    format!("{name}.{attempt}.log")
}

/// Returns the task and the attempt that a log is named for; nothing if the name was cut or is not one of ours.
pub fn task_of_log(name: &str) -> Option<(String, u32)> {
    let (name, attempt) = name.strip_suffix(".log")?.rsplit_once('.')?;
    let attempt = attempt.parse().ok()?;
    let mut task = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        task.push(match byte {
            b'~' => b'/',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some((String::from_utf8(task).ok()?, attempt))
}

/// Makes a folder that outlives a power cut, if it is not there.
fn create_folder(path: &Path, sync: Sync<'_>) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync),
        Err(found) if found.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(error("create", path)(source)),
    }
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(error("sync", path))
}

fn error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
