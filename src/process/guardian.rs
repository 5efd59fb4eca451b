//! One small process per run that outlives the runner, whatever happens to it.
//!
//! It waits at a pipe that the runner holds. If the runner says goodbye, it goes. If the pipe ends without that (SIGKILL, out of
//! memory, a panic), it ends every process that carries the mark of the run. It has a group of its own, no mark and no
//! environment, so what kills the runner's group does not kill it.

use super::{end_survivors, registry};
use std::io::{self, PipeWriter, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The hidden first argument with which a program becomes a guardian.
pub const ARGUMENT: &str = "__guardian";

const GOODBYE: u8 = b'.';

/// The guardian of a run: started when it is first needed, gone after [`Guardian::goodbye`].
///
/// Dropped without goodbye it does its work, as if the runner had died.
#[derive(Debug)]
pub struct Guardian {
    program: PathBuf,
    marker_prefix: String,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    handle: duct::Handle,
    line: PipeWriter,
}

/// Starts a guardian now, of the program that is running.
pub fn start(marker_prefix: &str) -> io::Result<Guardian> {
    let guardian = Guardian::of(std::env::current_exe()?, marker_prefix);
    guardian.ensure()?;
    Ok(guardian)
}

impl Guardian {
    /// Returns a guardian that is started when it is first needed: `program __guardian marker_prefix`.
    pub fn of(program: PathBuf, marker_prefix: &str) -> Self {
        Self {
            program,
            marker_prefix: marker_prefix.to_owned(),
            running: Mutex::new(None),
        }
    }

    /// Starts it, if it was not. To be called before the first process is started.
    pub fn ensure(&self) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let (stdin, line) = io::pipe()?;
            let handle = duct::cmd(&self.program, [ARGUMENT, &self.marker_prefix])
                .full_env(std::iter::empty::<(&str, &str)>())
                .dir("/")
                .stdin_file(stdin)
                .stdout_null()
                .stderr_null()
                .unchecked()
                .before_spawn(|command| {
                    command.process_group(0);
                    Ok(())
                })
                .start()?;
            for pid in handle.pids() {
                registry::guardian(pid);
            }
            *running = Some(Running { handle, line });
        }
        Ok(())
    }

    /// Returns the number of its process, if it was started.
    pub fn pid(&self) -> Option<u32> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref()?.handle.pids().first().copied()
    }

    /// Tells it that all is well, and waits for its end (a millisecond).
    pub fn goodbye(self) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Running { handle, mut line }) = running.take() else {
            return Ok(());
        };
        // If somebody killed it, there is nobody to say goodbye to.
        line.write_all(&[GOODBYE]).ok();
        drop(line);
        if handle.wait_timeout(Duration::from_secs(5))?.is_none() {
            handle.kill()?;
        }
        for pid in handle.pids() {
            registry::guardian_left(pid);
        }
        Ok(())
    }
}

/// What the program does when its first argument is [`ARGUMENT`]; `arguments` are those after it.
pub fn main(arguments: &[String]) -> ExitCode {
    let [marker_prefix] = arguments else {
        return ExitCode::from(2);
    };
    let mut said = Vec::new();
    // An error is an end, too.
    io::stdin().lock().read_to_end(&mut said).ok();
    if said.contains(&GOODBYE) {
        return ExitCode::SUCCESS;
    }
    end_survivors(marker_prefix, &[]);
    ExitCode::SUCCESS
}
