//! The only place that starts processes, and that sees to it that none of them is left.
//!
//! [`run`] starts one command in a process group of its own, with exactly the environment that it is given and the absolute path
//! that `which` finds in that environment's `PATH`. One thread per process moves its output, in bounded memory, through the
//! [`Mask`](crate::secret::Mask) into a log file and to whoever watches; keeps what was asked for; watches the deadline and the cancellation.
//!
//! **Trees.** When `run` returns, however the attempt ended, nothing of its tree is alive. The process group is signalled. What left the
//! group (`setsid`, double fork) is found on Linux: this process is the *child sub-reaper*, so orphans become its children, and
//! every process carries [`MARK`] in its environment. On other systems orphans that left their group are not found, and a
//! dead run's processes are not either (no `/proc`); what stays in its group is ended there too.
//!
//! **When the runner itself dies**, the [`guardian`] ends what carries its mark; and [`end_survivors`] does so again when the run
//! is resumed, by the mark, by [`Identity`] or by the [`leash`], never by a process number alone.
//!
//! A process has no terminal to read from: its input is what it was given, or nothing, and where there is a terminal it gets a
//! [`session`] of its own. When the run is stopped from there (Ctrl-Z), all of it [stands still](stand_still).

mod attempt;
mod cancel;
pub mod guardian;
mod output;
mod registry;
pub mod session;
mod standstill;
mod start;
mod survivors;
mod tree;

#[cfg_attr(target_os = "linux", path = "process/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "process/elsewhere.rs")]
mod system;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub use cancel::Cancel;
pub use standstill::{Stopwatch, stand_still};
pub use start::run;
pub use survivors::{Survivor, end_survivors, end_survivors_of};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// The environment variable that every process of ours carries, and its descendants with it.
pub const MARK: &str = "BOOTSTRAP_MARK";

/// A folder that is open in every process that is started from here, by which those are known that hide their mark.
#[derive(Debug)]
pub struct Leash {
    /// Held, and nothing else.
    _folder: OwnedFd,
}

/// Takes what is started from now on on a leash: the folder of the run, whose name is how the marks begin. `None` where there is no such
/// thing: then only marks tell.
pub fn leash(folder: &Path) -> Option<Leash> {
    let folder = system::leash(folder).ok()?;
    Some(Leash { _folder: folder })
}

/// A process to be started.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program and its arguments. Never a place for secrets: everybody on the machine can read it.
    pub argv: Vec<String>,
    /// The complete environment; [`MARK`] is added.
    pub env: BTreeMap<String, String>,
    /// The folder it runs in.
    pub cwd: PathBuf,
    /// What it reads.
    pub stdin: Input,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// How long it may take to end after it was asked to, before it is killed.
    pub grace: Duration,
    /// Where its output goes, masked; appended to if it exists.
    pub log: Option<PathBuf>,
    /// How many bytes of its output are kept.
    pub capture: usize,
    /// The program that gives it a [`session`] of its own, where there is a terminal that it must not have.
    pub session: Option<PathBuf>,
    /// What its tree is known by: unique to the attempt, and beginning with what is unique to the run.
    pub marker: String,
}

impl Command {
    /// Returns a command with no input, no deadline and no log, which keeps 16 MiB of output and has 5 s to end when asked.
    pub fn new(
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        cwd: PathBuf,
        marker: String,
    ) -> Self {
        Self {
            argv,
            env,
            cwd,
            stdin: Input::Null,
            timeout: None,
            grace: Duration::from_secs(5),
            log: None,
            capture: 16 * 1024 * 1024,
            session: None,
            marker,
        }
    }
}

/// What a process reads from its standard input.
#[derive(Clone)]
pub enum Input {
    /// Nothing.
    Null,
    /// These bytes, which may be secret: they are wiped, and never seen in `Debug`.
    Bytes(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// Which of its two outputs a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that we did not send.
    Signal(i32),
    /// By us, because its time was over.
    TimedOut,
    /// By us, because it was cancelled.
    Cancelled,
}

/// What is left of a process that has ended.
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// The beginning of its output, as it was written, **not masked**.
    pub stdout: Zeroizing<Vec<u8>>,
    /// Whether there was more output than was kept.
    pub stdout_truncated: bool,
    /// The end of its error output, **not masked**; at most 64 KiB.
    pub stderr: Zeroizing<String>,
    /// How many processes of its tree were still alive when it had ended, and were ended.
    pub survivors_ended: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Why the log is not whole, if it is not: the process is not stopped for that.
    pub log_error: Option<io::Error>,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("exit", &self.exit)
            .field("stdout", &format_args!("{} bytes", self.stdout.len()))
            .field("stdout_truncated", &self.stdout_truncated)
            .field("stderr", &format_args!("{} bytes", self.stderr.len()))
            .field("survivors_ended", &self.survivors_ended)
            .field("elapsed", &self.elapsed)
            .field("log_error", &self.log_error)
            .finish()
    }
}

/// Which process this is, for good: numbers of processes come again, this does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The number of the process.
    pub pid: u32,
    /// Its process group.
    pub group: u32,
    /// When it was started, in clock ticks since the machine was; 0 where that cannot be known.
    pub started: u64,
    /// Which start of the machine that was; empty where that cannot be known.
    pub boot: String,
    /// The mark of its tree.
    pub marker: String,
}

/// Why a process could not be started. In every case there is none.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no program to start.
    #[error("a command needs at least the name of a program")]
    Empty,
    /// The program is not there, or may not be executed.
    #[error("`{program}` is not an executable program on the path `{path}`")]
    NotFound {
        /// The program.
        program: String,
        /// The `PATH` that was searched.
        path: String,
    },
    /// The folder is not there.
    #[error("the working directory `{}` cannot be used", path.display())]
    Cwd {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log cannot be written.
    #[error("the log `{}` cannot be opened", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("`{program}` cannot be started")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was cancelled before.
    #[error("cancelled before it was started")]
    Cancelled,
}
