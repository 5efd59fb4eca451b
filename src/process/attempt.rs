//! Attends to one process on one thread: a single `poll` over its pipes, its end, and our orders.

use super::output::Output;
use super::standstill::Stopwatch;
use super::tree::Tree;
use super::{Command, Ended, Exit, Identity, Input, MARK, StartError, Stream, session};
use crate::secret::Mask;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// The order to end.
pub(super) const TERM: &[u8] = b"T";
/// The order to end now.
pub(super) const KILL: &[u8] = b"K";

/// How long output is still waited for when the process has ended but something holds its pipes.
const TRAILING: Duration = Duration::from_millis(250);
/// How long what is left of a tree may take to end, when the process itself ended well.
const LEFTOVER: Duration = Duration::from_millis(500);
/// How long a killed process may take to be gone, before we stop waiting. Only one that hangs in the kernel takes so long.
const STUCK: Duration = Duration::from_secs(20);
/// How often is looked after what no file tells about.
const TICK: Duration = Duration::from_millis(4);
/// How much is still read from pipes whose writers cannot be ended.
const LAST_BYTES: usize = 4 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;
/// Most processes print little, and what is never used need be neither zeroed nor wiped.
const FIRST_CHUNK: usize = 4 * 1024;

/// Runs a command from start to end.
pub(super) fn attempt(
    command: Command,
    mask: &Mask,
    orders: PipeReader,
    tell: oneshot::Sender<Identity>,
    lines: impl Fn(Stream, &str),
) -> Result<Ended, StartError> {
    let begun = Stopwatch::start();
    let log = command.log.as_ref().map(open_log).transpose()?;
    let output = Output::new(mask, log, command.capture, lines);
    let (mut attendant, grace, timeout) = start(command, orders, output)?;
    // Whoever asked may be gone; the process is attended to nevertheless, and killed, because the orders ended too.
    tell.send(attendant.tree.identity().clone()).ok();
    let cause = attendant.until_exit_or(|| timeout.and_then(|timeout| begun.reaches(timeout)));
    let mut ends = Instant::now() + LEFTOVER.min(grace);
    if cause.is_some() {
        ends = Instant::now() + grace;
        attendant.end_leader(ends);
    } else {
        attendant.trailing_output();
    }
    attendant.stdin = None;
    let status = attendant.tree.reap();
    let survivors_ended = attendant.end_rest(ends);
    attendant.last_output();

    let Attendant { output, .. } = attendant;
    let kept = output.finish();
    let exit = cause.unwrap_or_else(|| match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        },
        None => Exit::Signal(0),
    });
    Ok(Ended {
        exit,
        stdout: kept.stdout,
        stdout_truncated: kept.stdout_truncated,
        stderr: kept.stderr,
        survivors_ended,
        elapsed: begun.elapsed(),
        log_error: kept.log_error,
    })
}

struct Attendant<L> {
    tree: Tree,
    stdin: Option<Feed>,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    orders: Option<PipeReader>,
    /// The strongest order so far.
    order: Order,
    output: Output<L>,
    chunk: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    GoOn,
    Term,
    Kill,
}

struct Feed {
    pipe: PipeWriter,
    bytes: Zeroizing<Vec<u8>>,
    fed: usize,
}

fn open_log(path: &PathBuf) -> Result<File, StartError> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| StartError::Log {
            path: path.clone(),
            source,
        })
}

/// Returns the absolute path of the program. (A bare name would also make `std` leave the fast way of starting it.)
fn find(command: &Command) -> Result<PathBuf, StartError> {
    let name = command.argv.first().ok_or(StartError::Empty)?;
    let path = command.env.get("PATH");
    let found = which::which_in(name, path, &command.cwd).map_err(|_| StartError::NotFound {
        program: name.clone(),
        path: path.cloned().unwrap_or_default(),
    })?;
    std::path::absolute(command.cwd.join(found)).map_err(|source| StartError::Spawn {
        program: name.clone(),
        source,
    })
}

fn start<L: Fn(Stream, &str)>(
    command: Command,
    orders: PipeReader,
    output: Output<L>,
) -> Result<(Attendant<L>, Duration, Option<Duration>), StartError> {
    let cwd_error = |source| StartError::Cwd {
        path: command.cwd.clone(),
        source,
    };
    if !std::fs::metadata(&command.cwd).map_err(cwd_error)?.is_dir() {
        return Err(cwd_error(io::ErrorKind::NotADirectory.into()));
    }
    let program = find(&command)?;
    let Command {
        argv,
        mut env,
        cwd,
        stdin,
        timeout,
        grace,
        marker,
        session,
        ..
    } = command;
    env.insert(MARK.to_owned(), marker.clone());
    let spawn_error = |source| StartError::Spawn {
        program: argv[0].clone(),
        source,
    };
    let connect = || -> io::Result<_> {
        let (stdout, child_stdout) = io::pipe()?;
        let (stderr, child_stderr) = io::pipe()?;
        non_blocking(&stdout)?;
        non_blocking(&stderr)?;
        let expression = match &session {
            // Whoever begins a session must not lead a group before: it has one of its own by that.
            Some(through) => {
                let words = [session::ARGUMENT.as_ref(), program.as_os_str()];
                let rest = argv[1..].iter().map(AsRef::as_ref);
                duct::cmd(through, words.into_iter().chain(rest))
            }
            // A group of its own, in the way that keeps the fast start (`pre_exec` does not).
            None => duct::cmd(&program, &argv[1..]).before_spawn(|command| {
                command.process_group(0);
                Ok(())
            }),
        };
        let expression = expression
            .full_env(&env)
            .dir(&cwd)
            .stdout_file(child_stdout)
            .stderr_file(child_stderr)
            .unchecked();
        let (expression, feed) = match stdin {
            Input::Null => (expression.stdin_null(), None),
            Input::Bytes(bytes) => {
                let (child_stdin, pipe) = io::pipe()?;
                non_blocking(&pipe)?;
                let feed = Feed {
                    pipe,
                    bytes,
                    fed: 0,
                };
                (expression.stdin_file(child_stdin), Some(feed))
            }
        };
        // The expression holds the child's ends of the pipes, and is dropped here.
        let tree = Tree::start(&expression, &marker)?;
        Ok((tree, feed, stdout, stderr))
    };
    let (tree, stdin, stdout, stderr) = connect().map_err(spawn_error)?;
    let attendant = Attendant {
        tree,
        stdin,
        stdout: Some(stdout),
        stderr: Some(stderr),
        orders: Some(orders),
        order: Order::GoOn,
        output,
        chunk: Zeroizing::new(vec![0; FIRST_CHUNK]),
    };
    Ok((attendant, grace, timeout))
}

fn non_blocking(file: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(&file)?;
    Ok(fcntl_setfl(&file, flags | OFlags::NONBLOCK)?)
}

impl<L: Fn(Stream, &str)> Attendant<L> {
    /// Attends until the process has ended by itself, or must be ended: then returns why.
    fn until_exit_or(&mut self, deadline: impl Fn() -> Option<Instant>) -> Option<Exit> {
        loop {
            let deadline = deadline();
            if self.tree.has_exited() {
                return None;
            }
            if self.order > Order::GoOn {
                return Some(Exit::Cancelled);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Some(Exit::TimedOut);
            }
            self.turn(deadline);
        }
    }

    /// Ends the process: asks its group, waits, kills the group.
    fn end_leader(&mut self, ends: Instant) {
        if self.order < Order::Kill {
            self.tree.signal(Signal::TERM);
            // One that is stopped hears nothing until it goes on.
            self.tree.signal(Signal::CONT);
        }
        while !self.tree.has_exited() && self.order < Order::Kill && Instant::now() < ends {
            self.turn(Some(ends));
        }
        if self.tree.has_exited() {
            return;
        }
        self.tree.signal(Signal::KILL);
        let stuck = Instant::now() + STUCK;
        while !self.tree.has_exited() && Instant::now() < stuck {
            self.turn(Some(stuck));
        }
    }

    /// Attends to output that comes after the process has ended, for a short time.
    fn trailing_output(&mut self) {
        let until = Instant::now() + TRAILING;
        while (self.stdout.is_some() || self.stderr.is_some())
            && self.order == Order::GoOn
            && Instant::now() < until
        {
            self.turn(Some(until));
        }
    }

    /// Ends what is left of the tree, and returns how many processes that were.
    fn end_rest(&mut self, ends: Instant) -> usize {
        let mut rest = self.tree.rest();
        if rest.is_empty() {
            return self.tree.leave();
        }
        rest.signal(Signal::TERM);
        while !rest.is_gone() && self.order < Order::Kill && Instant::now() < ends {
            self.turn(Some(Instant::now() + TICK));
        }
        let stuck = Instant::now() + STUCK;
        while !rest.is_gone() && Instant::now() < stuck {
            // Each time anew: what is being killed may start others until it is dead.
            rest.signal(Signal::KILL);
            self.turn(Some(Instant::now() + TICK));
        }
        rest.count() + self.tree.leave()
    }

    /// Reads what is still in the pipes, and closes them.
    fn last_output(&mut self) {
        let mut budget = LAST_BYTES / CHUNK;
        while budget > 0 && self.read(Stream::Stdout) {
            budget -= 1;
        }
        while budget > 0 && self.read(Stream::Stderr) {
            budget -= 1;
        }
    }

    /// Waits until something happens or the time is over, and moves what can be moved.
    fn turn(&mut self, until: Option<Instant>) {
        let mut wait = until.map(|until| until.saturating_duration_since(Instant::now()));
        let has_exited = self.tree.has_exited();
        // Once it has ended its file is readable for ever, and waiting for it would be no waiting.
        let exit = if has_exited {
            None
        } else {
            self.tree.exit_file()
        };
        if exit.is_none() && !has_exited {
            wait = Some(wait.map_or(TICK, |wait| wait.min(TICK)));
        }
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let ready = {
            let files = [
                (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
                (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
                (self.orders.as_ref().map(AsFd::as_fd), PollFlags::IN),
                (
                    self.stdin.as_ref().map(|feed| feed.pipe.as_fd()),
                    PollFlags::OUT,
                ),
                (exit, PollFlags::IN),
            ];
            let mut ready = [false; 5];
            let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(files.len());
            for (file, flags) in &files {
                if let Some(file) = file {
                    polled.push(PollFd::from_borrowed_fd(*file, *flags));
                }
            }
            if poll(&mut polled, wait.as_ref()).is_err() {
                // Interrupted: whoever called looks at the clock and comes again.
                return;
            }
            let mut polled = polled.iter();
            for (ready, (file, _)) in ready.iter_mut().zip(&files) {
                if file.is_some() {
                    *ready = polled.next().is_some_and(|file| !file.revents().is_empty());
                }
            }
            ready
        };
        let [stdout, stderr, orders, stdin, exit] = ready;
        if stdout {
            self.read(Stream::Stdout);
        }
        if stderr {
            self.read(Stream::Stderr);
        }
        if orders {
            self.take_orders();
        }
        if stdin {
            self.feed();
        }
        if exit {
            self.tree.look();
        }
    }

    /// Moves one chunk; returns whether there was one.
    fn read(&mut self, stream: Stream) -> bool {
        let pipe = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(open) = pipe else {
            return false;
        };
        match open.read(&mut self.chunk) {
            Ok(0) => {
                *pipe = None;
                self.output.close(stream);
                false
            }
            Ok(length) => {
                self.output.take(stream, &self.chunk[..length]);
                if length == self.chunk.len() && length < CHUNK {
                    self.chunk = Zeroizing::new(vec![0; CHUNK]);
                }
                true
            }
            Err(error) => {
                if !is_passing(&error) {
                    *pipe = None;
                    self.output.close(stream);
                }
                false
            }
        }
    }

    fn feed(&mut self) {
        let Some(feed) = &mut self.stdin else {
            return;
        };
        match feed.pipe.write(&feed.bytes[feed.fed..]) {
            Ok(length) => feed.fed += length,
            Err(error) if is_passing(&error) => return,
            // It does not want to read, which is its right.
            Err(_) => feed.fed = feed.bytes.len(),
        }
        if feed.fed == feed.bytes.len() {
            self.stdin = None;
        }
    }

    fn take_orders(&mut self) {
        let Some(orders) = &mut self.orders else {
            return;
        };
        let mut bytes = [0; 8];
        let order = match orders.read(&mut bytes) {
            Ok(0) | Err(_) => {
                self.orders = None;
                Order::Kill
            }
            Ok(length) if bytes[..length].contains(&KILL[0]) => Order::Kill,
            Ok(_) => Order::Term,
        };
        self.order = self.order.max(order);
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
