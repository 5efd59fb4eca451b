//! What becomes of processes when the one that started them is killed. The runner is this test binary, started once more: [`helper`].
//!
//! Nothing is timed. A fifo that every process of a tree holds open tells when the tree is there, and when the last of it is gone.

use bootstrap::journal::{CRASH_AFTER_LINE, Durability, Journal};
use bootstrap::process::guardian::Guardian;
use bootstrap::process::{Cancel, Command, Identity, MARK, end_survivors, run};
use bootstrap::secret::Mask;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// Never reached, unless something is wrong.
const FOR_EVER: Duration = Duration::from_secs(100);
const BOOTSTRAP: &str = env!("CARGO_BIN_EXE_bootstrap");
/// A group, one that left it, and one that also ignores TERM; all hold the fifo.
const TREE: &str = "exec 9>\"$FIFO\"; sleep 1000 & setsid sleep 1000 & setsid sh -c 'trap \"\" TERM; echo up; sleep 1000; sleep 1000' & wait";

#[expect(
    clippy::disallowed_methods,
    reason = "the process that a test is about"
)]
fn program(program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
    std::process::Command::new(program)
}

/// A runner in a process of its own, and a fifo for its tree.
struct Runner {
    child: Child,
    stdout: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Runner {
    fn start(what: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            program("mkfifo")
                .arg(folder.path().join("fifo"))
                .status()
                .unwrap()
                .success()
        );
        let mut child = program(std::env::current_exe().unwrap())
            .args([
                "process::helper",
                "--exact",
                "--ignored",
                "--nocapture",
                "--quiet",
            ])
            .env("HELPER", what)
            .env("FOLDER", folder.path())
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdout,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until the tree is there.
    fn tree(&self) -> File {
        let path = self.path("fifo");
        within(move || File::open(path).unwrap())
    }

    /// Returns what the helper says after this word.
    fn said(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.stdout.read_line(&mut line).unwrap(),
                0,
                "it ended without `{word}`"
            );
            if let Some((_, said)) = line.split_once(word) {
                return said.trim().to_owned();
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits until the last process of the tree is gone.
fn is_gone(mut tree: File) {
    within(move || tree.read_to_end(&mut Vec::new()).unwrap());
}

fn within<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(act()));
    told.recv_timeout(FOR_EVER).expect("it takes for ever")
}

fn prefix(folder: &Path) -> String {
    format!("{}/", folder.display())
}

#[test]
#[ignore = "not a test, but the runner that tests start and kill"]
#[expect(clippy::print_stdout, reason = "its way to speak to the test")]
fn helper() {
    let Ok(what) = std::env::var("HELPER") else {
        return;
    };
    let folder = PathBuf::from(std::env::var("FOLDER").unwrap());
    let script = match what.as_str() {
        "drill" => return drill(&folder),
        "stray" => {
            "mkfifo up; env -i setsid sh -c 'exec 9>fifo; echo >up; exec sleep 1000' >/dev/null 2>&1 & read x <up"
        }
        _ => TREE,
    };
    let guardian = Guardian::of(BOOTSTRAP.into(), &prefix(&folder));
    if what == "guarded" {
        guardian.ensure().unwrap();
    }
    let env = BTreeMap::from([
        ("PATH".to_owned(), std::env::var("PATH").unwrap()),
        ("FIFO".to_owned(), folder.join("fifo").display().to_string()),
    ]);
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let marker = format!("{}1.3~apply.1", prefix(&folder));
    let command = Command::new(argv, env, folder, marker);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(run(
        command,
        &Mask::new(),
        &Cancel::new(),
        |identity| println!("STARTED {}", serde_json::to_string(&identity).unwrap()),
        |_, line| println!("LINE {line}"),
    ));
    println!("SURVIVORS {}", ended.unwrap().survivors_ended);
}

fn drill(folder: &Path) {
    let mut journal = Journal::create(&folder.join("journal.jsonl")).unwrap();
    for number in 1..10u32 {
        journal
            .append(&number, Timestamp::UNIX_EPOCH, Durability::Later)
            .unwrap();
    }
}

#[test]
fn when_the_runner_is_killed_its_guardian_ends_the_trees() {
    let mut runner = Runner::start("guarded", &[]);
    let tree = runner.tree();
    runner.said("LINE up");
    runner.kill();
    is_gone(tree);
}

#[test]
fn what_a_dead_run_left_is_found_by_its_mark() {
    let mut runner = Runner::start("alone", &[]);
    let tree = runner.tree();
    runner.said("LINE up");
    runner.kill();
    assert_eq!(end_survivors("no such run/", &[]), []);
    let survivors = end_survivors(&prefix(runner.folder.path()), &[]);
    assert!(survivors.len() >= 4, "{survivors:?}");
    assert!(survivors.iter().all(|survivor| survivor.ended));
    assert!(
        survivors
            .iter()
            .any(|survivor| survivor.command.contains("sleep 1000")),
        "{survivors:?}"
    );
    is_gone(tree);
    assert_eq!(end_survivors(&prefix(runner.folder.path()), &[]), []);
}

#[test]
fn what_a_dead_run_left_is_found_by_its_identity_and_never_by_its_number_alone() {
    let mut runner = Runner::start("alone", &[]);
    let tree = runner.tree();
    let identity: Identity = serde_json::from_str(&runner.said("STARTED ")).unwrap();
    runner.said("LINE up");
    runner.kill();
    let earlier = Identity {
        started: identity.started - 1,
        ..identity.clone()
    };
    let other_boot = Identity {
        boot: "another".to_owned(),
        ..identity.clone()
    };
    let nowhere = Identity {
        boot: String::new(),
        ..identity.clone()
    };
    assert_eq!(end_survivors("", &[earlier, other_boot, nowhere]), []);
    let survivors = end_survivors("", &[identity]);
    assert!(survivors.len() >= 4, "{survivors:?}");
    is_gone(tree);
}

#[test]
fn who_hides_its_mark_ends_with_the_last_attempt() {
    let mut runner = Runner::start("stray", &[]);
    let tree = runner.tree();
    assert_eq!(runner.said("SURVIVORS "), "1");
    is_gone(tree);
    assert!(runner.child.wait().unwrap().success());
}

#[test]
fn a_guardian_that_is_told_goodbye_touches_nothing_and_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mark = prefix(folder.path());
    let mut bystander = program("sleep")
        .arg("1000")
        .env(MARK, format!("{mark}x"))
        .spawn()
        .unwrap();
    let guardian = Guardian::of(BOOTSTRAP.into(), &mark);
    assert_eq!(guardian.pid(), None);
    guardian.ensure().unwrap();
    let pid = guardian.pid().unwrap();
    guardian.ensure().unwrap();
    assert_eq!(guardian.pid(), Some(pid));
    guardian.goodbye().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(bystander.try_wait().unwrap().is_none());

    // Without a goodbye it does what it is for.
    let guardian = Guardian::of(BOOTSTRAP.into(), &mark);
    guardian.ensure().unwrap();
    drop(guardian);
    let status = within(move || bystander.wait().unwrap());
    assert_eq!(status.signal(), Some(15));
}

#[test]
fn a_drill_kills_after_the_line_and_the_journal_is_whole() {
    let mut runner = Runner::start("drill", &[(CRASH_AFTER_LINE, "3")]);
    assert_eq!(runner.child.wait().unwrap().signal(), Some(9));
    let loaded = Journal::<u32>::load_read_only(&runner.path("journal.jsonl")).unwrap();
    assert_eq!(loaded.records.len(), 3);
    assert_eq!(loaded.torn, None);
}
