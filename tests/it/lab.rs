//! The language of the tests that need a machine room: a lab world, a copy of the shipped project, and `bootstrap` between them.
//!
//! ```ignore
//! let lab = Lab::new();
//! lab.bootstrap(["run", "story", "1.3", "--yes"]).success();
//! lab.lab(["hurt", "WORLD", "node", "10.25.11.12", "wipe"]).success();
//! lab.bootstrap(["run", "story", "1.3", "--yes"]).success();
//! assert_eq!(lab.calls("talosctl apply-config").len(), 7);
//! ```
//!
//! Strict: what is run must be judged, by [`Outcome::exit`] or [`Outcome::success`], which show everything when the code is another. Hermetic: the
//! environment is empty but for what is named in [`Lab::command`], and everything is written below one temporary folder.

#![expect(clippy::disallowed_methods, reason = "tests start what they are about")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::wait::within;

/// How many times faster the lab's time runs, unless a test says otherwise.
pub(crate) const SPEED: u32 = 200;
/// A command that takes longer than this hangs.
const TOO_LONG: Duration = Duration::from_secs(900);
/// What of the repository is the project.
const PROJECT: [&str; 3] = ["playbooks", "templates", "talos"];

/// The folder of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A machine room and a project.
pub(crate) struct Lab {
    folder: TempDir,
}

/// A call of one of the lab's tools.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// `talosctl`, `op`, `kubectl` or `dig`.
    pub(crate) tool: String,
    /// Its arguments, without its name.
    pub(crate) argv: Vec<String>,
    /// `None`: it did not end by itself.
    pub(crate) exit: Option<i64>,
    /// Milliseconds since 1970.
    pub(crate) started_ms: u64,
    /// `None`: it did not end by itself.
    pub(crate) ended_ms: Option<u64>,
}

impl Call {
    /// The whole line, as one would type it (without quoting).
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.tool, self.argv.join(" "))
    }

    /// What follows a flag.
    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        let at = self.argv.iter().position(|word| word == flag)?;
        self.argv.get(at + 1).map(String::as_str)
    }
}

/// How a command ended, and what it said.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The exit code; `None`: ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// It ended with this code.
    #[track_caller]
    pub(crate) fn exit(self, code: u8) -> Self {
        assert_eq!(
            self.code,
            Some(i32::from(code)),
            "another exit code\n-- stdout\n{}\n-- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// It ended with 0.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.exit(0)
    }

    /// Standard error has all these parts.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        has_all(&self.stderr, parts);
        self
    }

    /// Standard output has all these parts.
    #[track_caller]
    pub(crate) fn tells(self, parts: &[&str]) -> Self {
        has_all(&self.stdout, parts);
        self
    }

    /// Standard output is one JSON text.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}\n{}", self.stdout, self.stderr))
    }
}

impl Lab {
    /// A new world without faults, and the shipped project.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A new world with more arguments for `lab new`: `["--fault", "ntp-late"]`, `["--speed", "60"]`.
    pub(crate) fn with(more: &[&str]) -> Self {
        let lab = Self::without_world();
        let speed = SPEED.to_string();
        let mut words = vec!["new", "WORLD"];
        if !more.contains(&"--speed") {
            words.extend(["--speed", &speed]);
        }
        words.extend(more);
        lab.lab(words).success();
        for name in PROJECT {
            copy(&repository().join(name), &lab.project().join(name));
        }
        lab
    }

    /// The shipped project and no world.
    pub(crate) fn project_alone() -> Self {
        let lab = Self::without_world();
        for name in PROJECT {
            copy(&repository().join(name), &lab.project().join(name));
        }
        lab
    }

    /// An empty project and no world.
    pub(crate) fn without_world() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["project", "home", "state", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// Another one in which everything is as it is in this one now.
    pub(crate) fn twin(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder(), folder.path());
        Self { folder }
    }

    /// Leaves everything where it is, for a person who wants to look at it; tells where.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// Where everything is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The project's folder.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The world's folder.
    pub(crate) fn world(&self) -> PathBuf {
        self.folder.path().join("world")
    }

    /// A program in the project's folder, with an environment that is the same everywhere.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.project())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.folder.path().join("home"))
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("TMPDIR", self.folder.path().join("tmp"))
            .env("USER", "tester")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("COLUMNS", "120")
            .stdin(Stdio::null());
        command
    }

    /// `lab …`; the word `WORLD` stands for the world's folder.
    #[must_use = "say `.success()` or `.exit(…)`"]
    pub(crate) fn lab<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Outcome {
        let world = self.world();
        let mut command = self.command(env!("CARGO_BIN_EXE_lab"));
        for word in words {
            if word == "WORLD" {
                command.arg(&world);
            } else {
                command.arg(word);
            }
        }
        run(command)
    }

    /// `bootstrap …`, ready to be changed or started: in the project's folder, with the lab's tools on its PATH.
    pub(crate) fn bootstrap_command<'a>(
        &self,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_lab"));
        command
            .arg("exec")
            .arg(self.world())
            .args(["--", env!("CARGO_BIN_EXE_bootstrap")])
            .args(words);
        command
    }

    /// `bootstrap …`, run to its end.
    #[must_use = "say `.success()` or `.exit(…)`"]
    pub(crate) fn bootstrap<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Outcome {
        run(self.bootstrap_command(words))
    }

    /// `bootstrap …`, ready to be changed or started, without a machine room around it.
    pub(crate) fn alone_command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_bootstrap"));
        command.args(words);
        command
    }

    /// The calls of the lab's tools so far whose line begins with these words, in the order of their beginning; `""` is all of them.
    pub(crate) fn calls(&self, begin: &str) -> Vec<Call> {
        let said = self.lab(["calls", "WORLD"]).success();
        said.stdout
            .lines()
            .map(|line| {
                let call: Value = serde_json::from_str(line).unwrap();
                let words = call["argv"].as_array().unwrap().iter();
                Call {
                    tool: call["tool"].as_str().unwrap().to_owned(),
                    argv: words
                        .map(|word| word.as_str().unwrap().to_owned())
                        .collect(),
                    exit: call["exit"].as_i64(),
                    started_ms: call["started_ms"].as_u64().unwrap(),
                    ended_ms: call["ended_ms"].as_u64(),
                }
            })
            .filter(|call| call.line().starts_with(begin))
            .collect()
    }

    /// What is true in the world.
    pub(crate) fn show(&self) -> Value {
        self.lab(["show", "WORLD"]).success().json()
    }

    /// Every secret that any vault of the world has ever held.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let said = self.lab(["show", "WORLD", "--secrets"]).success().json();
        serde_json::from_value(said).unwrap()
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the project.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project().join(path)).unwrap()
    }

    /// The journals of the project, oldest first.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let Ok(runs) = fs::read_dir(self.project().join(".bootstrap/runs")) else {
            return Vec::new();
        };
        let mut all: Vec<PathBuf> = runs
            .map(|run| run.unwrap().path().join("journal.jsonl"))
            .filter(|journal| journal.exists())
            .collect();
        all.sort();
        all
    }
}

/// Runs a command to its end. One that hangs is killed, and fails the test.
#[track_caller]
#[must_use = "say `.success()` or `.exit(…)`"]
pub(crate) fn run(mut command: Command) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = command
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let status = within(TOO_LONG, || child.try_wait().unwrap()).unwrap_or_else(|| {
        child.kill().ok();
        child.wait().ok();
        panic!("{command:?} hangs\n{}\n{}", text(&out), text(&err));
    });
    Outcome {
        code: status.code(),
        stdout: text(&out),
        stderr: text(&err),
    }
}

/// A text has all these parts.
#[track_caller]
pub(crate) fn has_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// Copies what is in a folder into another one.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
