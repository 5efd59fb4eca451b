//! One real program that the keeper starts and watches.
//!
//! Between the keeper and the program stands a process of the lab's own, which asks the kernel to be ended with the keeper and then becomes the
//! program. So nothing is left even if keeper and guard are killed at once.

use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::identity::MARK;

/// How to start a program.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) argv: Vec<String>,
    /// What its environment has besides the usual.
    pub(crate) env: Vec<(String, String)>,
    /// Where what it says goes.
    pub(crate) log: PathBuf,
}

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    begun: Instant,
}

impl Start {
    /// Starts it: in a group of its own, with the mark of the world in whose folder it works, nothing on its standard input.
    pub(crate) fn start(&self, folder: &Path) -> io::Result<Running> {
        let file = appended(&self.log)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the keeper starts the processes of a real world"
        )]
        let mut command = Command::new(env::current_exe()?);
        let child = command
            .args(["become", &std::process::id().to_string()])
            .arg(&self.program)
            .arg("--")
            .args(&self.argv)
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env(MARK, folder)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        Ok(Running {
            child,
            begun: Instant::now(),
        })
    }
}

impl Running {
    /// Returns whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Returns for how long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends it and buries it.
    pub(crate) fn end(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `lab become PARENT PROGRAM -- …`: becomes a program that ends when the thread that started it does, and with that its process. Returns only if it
/// cannot.
pub(crate) fn become_it(parent: u32, program: &Path, argv: &[OsString]) -> String {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!(
            "the kernel does not end {} with its keeper: {error}",
            program.display()
        );
    }
    // It may have been ended before the kernel was asked.
    if getppid().is_none_or(|found| found.as_raw_nonzero().get().unsigned_abs() != parent) {
        return "the keeper is no more".to_string();
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the keeper starts the processes of a real world"
    )]
    let error = Command::new(program).args(argv).exec();
    format!("`{}`: {error}", program.display())
}

/// Opens a log, to write at its end.
pub(crate) fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
