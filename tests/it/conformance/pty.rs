//! A terminal: what is typed at it, what it shows, and that it can be closed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal with somebody before it.
pub(crate) struct Pty {
    master: Arc<File>,
    path: PathBuf,
    shown: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Pty {
    pub(crate) fn new() -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().to_str().unwrap());
        let master = Arc::new(File::from(master));
        let shown = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let reader = std::thread::spawn({
            let (master, shown, closed) =
                (Arc::clone(&master), Arc::clone(&shown), Arc::clone(&closed));
            move || {
                let mut chunk = [0; 4096];
                while !closed.load(Ordering::Relaxed) {
                    let wait = Timespec {
                        tv_sec: 0,
                        tv_nsec: 20_000_000,
                    };
                    let mut files = [PollFd::new(&*master, PollFlags::IN)];
                    if poll(&mut files, Some(&wait)).unwrap_or(0) == 0 {
                        continue;
                    }
                    match (&*master).read(&mut chunk) {
                        Ok(length) => shown.lock().unwrap().extend(&chunk[..length]),
                        // Nobody has the other side: before the first one comes, and after the last one has gone.
                        Err(_) => crate::wait::moment(),
                    }
                }
            }
        });
        Self {
            master,
            path,
            shown,
            closed,
            reader: Some(reader),
        }
    }

    /// Starts a program whose terminal this is: it leads the session that the terminal belongs to.
    #[expect(
        clippy::disallowed_methods,
        reason = "the program that a test is about"
    )]
    pub(crate) fn start(&self, command: &Command) -> Child {
        let side = || {
            File::from(
                rustix::fs::open(
                    &self.path,
                    OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .unwrap(),
            )
        };
        let mut leader = Command::new("setsid");
        leader
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            leader.env(name, value.unwrap_or_default());
        }
        leader
            .env("TERM", "xterm")
            .current_dir(command.get_current_dir().unwrap())
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap()
    }

    /// Types something.
    pub(crate) fn types(&self, text: &str) {
        (&*self.master).write_all(text.as_bytes()).unwrap();
    }

    /// What it has shown so far.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    /// Closes it: whoever uses it loses it.
    pub(crate) fn close(mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap();
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}
