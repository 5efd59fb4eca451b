//! What happened in a run, on disk, one line an event.
//!
//! The journal is the commit point of everything: the engine appends an event, and only then acts on it. It knows nothing of what
//! an event says; any type that serde can write and read will do.
//!
//! It promises: a record that [`Journal::append`] confirmed with [`Durability::Sync`] is there after a power cut. A last line
//! that was cut by a crash is repaired, and said to be. Any other damage is refused with its line. After a write has failed once,
//! no other is tried. A journal of an older format loads for ever; one of a newer format is refused, never guessed at.
//!
//! It does not keep two writers apart: that is what the lock of the [`workspace`](crate::workspace) is for.
//!
//! `docs/journal.md` is the description for people.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The format that this version writes. It reads this one and all before it.
pub const FORMAT: u32 = 1;

/// The environment variable of crash drills: after this line is durable, the process kills its own process group.
pub const CRASH_AFTER_LINE: &str = "BOOTSTRAP_CRASH_AFTER_LINE";

/// When a record must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before `append` returns.
    Sync,
    /// With the next record that is synced, or when the system sees fit.
    Later,
}

/// What a journal is written to: a file, or what a test has in its place.
pub trait Disk: fmt::Debug + Send {
    /// Appends all of it, which need not last until it is synced.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes all that was appended durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Durably takes away what is behind this length.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Disk for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }
}

/// A journal that can be written to.
#[derive(Debug)]
pub struct Journal<E> {
    path: PathBuf,
    disk: Box<dyn Disk>,
    /// The number of the last record; 0 before the first.
    seq: u64,
    /// The checksum of the last record, which the next one goes on from.
    sum: u32,
    poisoned: bool,
    crash_after: Option<u64>,
    events: PhantomData<fn(E)>,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<E> {
    /// Its number, which is also its line; the first is 1.
    pub seq: u64,
    /// When it was written, to the millisecond, by the clock on the wall.
    pub at: Timestamp,
    /// What happened.
    pub event: E,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<E> {
    /// The whole records, in order.
    pub records: Vec<Record<E>>,
    /// What there is of a last line that was not written to its end.
    pub torn: Option<Torn>,
}

/// The remains of a record that was being written when the writer died. Nothing can have depended on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The line.
    pub line: u64,
    /// How many bytes of it there were.
    pub bytes: u64,
}

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {what} the journal `{}`", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is not the last is not as it was written.
    #[error("journal `{}` is damaged at line {line}: {why}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The first damaged line.
        line: u64,
        /// What is wrong with it.
        why: Damage,
    },
    /// A line is as it was written, but says something that this version does not know.
    #[error("journal `{}` line {line} is not an event that this version knows", path.display())]
    Unknown {
        /// The journal.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The journal was written by a newer version.
    #[error("journal `{}` has format {found}; this version reads up to {FORMAT}", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// An event could not be put into words.
    #[error("cannot serialise an event for the journal `{}`", path.display())]
    Serialise {
        /// The journal.
        path: PathBuf,
        /// What serde said.
        source: serde_json::Error,
    },
    /// An earlier write failed, so what is on the disk is not certain.
    #[error("journal `{}` could not be written earlier; nothing more is written to it", path.display())]
    Poisoned {
        /// The journal.
        path: PathBuf,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not end with a checksum.
    #[error("it does not end with a checksum")]
    NoSum,
    /// Its checksum is not that of its text after the lines before it.
    #[error("its checksum does not match: it was changed, moved, or a line before it is missing")]
    Sum,
    /// It is whole, but goes on.
    #[error("it goes on after its checksum")]
    End,
    /// It is not a record.
    #[error("it is not a record")]
    NotARecord,
    /// Its number is not one more than that of the line before.
    #[error("its number is not that of its line")]
    Sequence,
}

#[derive(Serialize)]
struct Head<'a, E> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    seq: u64,
    at: &'a str,
    event: &'a E,
}

#[derive(Deserialize)]
struct Line<E> {
    seq: u64,
    at: Timestamp,
    event: E,
}

#[derive(Deserialize)]
struct Format {
    format: Option<u32>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Makes a new journal, which must not exist yet. It has no line until the first event.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            what: "create",
            source,
        };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(io)?;
        Ok(Self::at(path, Box::new(file), 0, 0))
    }

    /// Opens a journal to go on with it. A torn last line is cut off.
    pub fn open(path: &Path) -> Result<(Self, Loaded<E>), Error> {
        let io = |what| {
            move |source| Error::Io {
                path: path.to_owned(),
                what,
                source,
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        Self::on(path, Box::new(file), &bytes)
    }

    /// Goes on with what a disk holds. A torn last line is cut off.
    pub(crate) fn on(
        path: &Path,
        mut disk: Box<dyn Disk>,
        bytes: &[u8],
    ) -> Result<(Self, Loaded<E>), Error> {
        let (loaded, whole, sum) = parse(path, bytes)?;
        if loaded.torn.is_some() {
            disk.cut(whole as u64).map_err(|source| Error::Io {
                path: path.to_owned(),
                what: "repair",
                source,
            })?;
        }
        let journal = Self::at(path, disk, loaded.records.len() as u64, sum);
        Ok((journal, loaded))
    }

    /// Reads a journal, and changes nothing: for one that another process may be writing at this moment.
    pub fn load_read_only(path: &Path) -> Result<Loaded<E>, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            what: "read",
            source,
        })?;
        Ok(parse(path, &bytes)?.0)
    }

    fn at(path: &Path, disk: Box<dyn Disk>, seq: u64, sum: u32) -> Self {
        Self {
            path: path.to_owned(),
            disk,
            seq,
            sum,
            poisoned: false,
            crash_after: std::env::var(CRASH_AFTER_LINE)
                .ok()
                .and_then(|line| line.parse().ok()),
            events: PhantomData,
        }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of the last record, or 0 if there is none.
    pub fn last(&self) -> u64 {
        self.seq
    }

    /// Appends an event and returns its number.
    ///
    /// After an error nothing is certain about the record, and the journal refuses all further ones.
    pub fn append(
        &mut self,
        event: &E,
        at: Timestamp,
        durability: Durability,
    ) -> Result<u64, Error> {
        if self.poisoned {
            return Err(Error::Poisoned {
                path: self.path.clone(),
            });
        }
        let seq = self.seq + 1;
        let (line, sum) = self.line(seq, event, at)?;
        let drill = self.dies_after(seq);
        self.write(&line, durability == Durability::Sync || drill)?;
        self.seq = seq;
        self.sum = sum;
        if drill {
            die();
        }
        Ok(seq)
    }

    /// Returns whether this is the line of a crash drill.
    fn dies_after(&self, seq: u64) -> bool {
        self.crash_after == Some(seq)
    }

    /// Makes all that was appended durable.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.write(&[], true)
    }

    fn line(&self, seq: u64, event: &E, at: Timestamp) -> Result<(Vec<u8>, u32), Error> {
        let head = Head {
            format: (seq == 1).then_some(FORMAT),
            seq,
            at: &format!("{at:.3}"),
            event,
        };
        let mut line = serde_json::to_vec(&head).map_err(|source| Error::Serialise {
            path: self.path.clone(),
            source,
        })?;
        line.pop();
        let sum = chain(self.sum, &line);
        line.extend_from_slice(tail(sum).as_bytes());
        line.push(b'\n');
        Ok((line, sum))
    }

    fn write(&mut self, line: &[u8], sync: bool) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned {
                path: self.path.clone(),
            });
        }
        // A write may have been done in part, and after a failed sync the kernel may have dropped the pages and will say
        // that all is well when asked again: neither can be tried twice.
        let written = self.disk.append(line).map_err(|source| ("write", source));
        let synced = written.and_then(|()| {
            if sync {
                self.disk.sync().map_err(|source| ("sync", source))
            } else {
                Ok(())
            }
        });
        synced.map_err(|(what, source)| {
            self.poisoned = true;
            Error::Io {
                path: self.path.clone(),
                what,
                source,
            }
        })
    }
}

fn chain(before: u32, text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(text);
    hasher.finalize()
}

fn tail(sum: u32) -> String {
    format!(",\"sum\":\"{sum:08x}\"}}")
}

const TAIL: usize = ",\"sum\":\"00000000\"}".len();

/// Returns what the journal holds, how many bytes of it are whole, and the checksum of the last whole record.
fn parse<E: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<(Loaded<E>, usize, u32), Error> {
    let mut records = Vec::new();
    let mut whole = 0;
    let mut sum = 0;
    let mut torn = None;
    while whole < bytes.len() {
        let rest = &bytes[whole..];
        let line = records.len() as u64 + 1;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let text = &rest[..end.unwrap_or(rest.len())];
        // Some file systems show zeros where a file had grown before its data arrived.
        let last =
            end.is_none_or(|end| end + 1 == rest.len()) || rest.iter().all(|&byte| byte == 0);
        let damaged = |why| Error::Damaged {
            path: path.to_owned(),
            line,
            why,
        };
        match check(text, sum) {
            Ok(next) if end.is_some() => sum = next,
            Err(_) if last && runs_on(text, sum) => return Err(damaged(Damage::End)),
            Err(why) if !last => return Err(damaged(why)),
            Ok(_) | Err(_) => {
                torn = Some(Torn {
                    line,
                    bytes: rest.len() as u64,
                });
                break;
            }
        }
        records.push(record(path, text, line)?);
        whole += text.len() + 1;
    }
    Ok((Loaded { records, torn }, whole, sum))
}

/// Returns the checksum of a line that is as it was written.
fn check(text: &[u8], before: u32) -> Result<u32, Damage> {
    let (head, found) = text
        .split_at_checked(text.len().saturating_sub(TAIL))
        .filter(|(_, found)| {
            found.len() == TAIL && found.starts_with(b",\"sum\":\"") && found.ends_with(b"\"}")
        })
        .ok_or(Damage::NoSum)?;
    let sum = chain(before, head);
    // As text, so that not even the case of a digit may change.
    if found == tail(sum).as_bytes() {
        Ok(sum)
    } else {
        Err(Damage::Sum)
    }
}

/// Returns whether a text begins with a whole record and goes on after it: nothing that was cut off does that.
fn runs_on(text: &[u8], before: u32) -> bool {
    (TAIL..text.len())
        .any(|end| text[end - 1] == b'}' && text[end] != 0 && check(&text[..end], before).is_ok())
}

fn record<E: DeserializeOwned>(path: &Path, text: &[u8], line: u64) -> Result<Record<E>, Error> {
    let damaged = |why| Error::Damaged {
        path: path.to_owned(),
        line,
        why,
    };
    if line == 1 {
        let Format { format } =
            serde_json::from_slice(text).map_err(|_| damaged(Damage::NotARecord))?;
        let found = format.ok_or_else(|| damaged(Damage::NotARecord))?;
        if found > FORMAT {
            return Err(Error::Newer {
                path: path.to_owned(),
                found,
            });
        }
    }
    let Line { seq, at, event } =
        serde_json::from_slice(text).map_err(|source| Error::Unknown {
            path: path.to_owned(),
            line,
            source,
        })?;
    if seq != line {
        return Err(damaged(Damage::Sequence));
    }
    Ok(Record { seq, at, event })
}

/// Dies as in a power cut, with everything in the same process group.
fn die() -> ! {
    let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
    // Killing oneself returns before it is done.
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests;
