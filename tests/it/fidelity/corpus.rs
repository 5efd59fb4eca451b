//! The cases, their recorded answers, and the lab's.
//!
//! `patch/NNN-name/` has `base.yaml` and patches in order; the answer is `want.yaml` (the merged configuration) or `want.txt`
//! (the error). `invalid/name.yaml` is validated; `name.txt` beside it is all that is said. A first line `# mode: cloud` or
//! `# strict` asks for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What a program said.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Answer {
    /// Runs a program to its end.
    #[expect(
        clippy::disallowed_methods,
        reason = "the lab and the judges are programs"
    )]
    pub(super) fn of(program: &Path, folder: &Path, words: &[&str]) -> Self {
        let done = Command::new(program)
            .args(words)
            .current_dir(folder)
            .env_clear()
            .output()
            .unwrap();
        Self {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8(done.stdout).unwrap(),
            stderr: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// Everything, as it is recorded for a validated configuration.
    pub(super) fn text(&self) -> String {
        format!("exit {}\n{}{}", self.code, self.stderr, self.stdout)
    }

    /// The parts of a complaint that two programs can have in common: a usage is the command line's own, and of Go's
    /// breakdown only the first line is.
    fn plain(mut self) -> Self {
        if let Some((fault, _)) = self.stderr.split_once("\n\nUsage:") {
            self.stderr = format!("{fault}\n");
        }
        if self.stderr.starts_with("panic: ") {
            let line = self.stderr.lines().next().unwrap_or_default();
            let line = line.split(" [recovered").next().unwrap_or_default();
            self.stderr = format!("{line}\n");
        }
        self
    }
}

static LINK: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("talosctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lab"), &link).unwrap();
    (folder, link)
});

/// Calls the lab's `talosctl`.
pub(super) fn lab(folder: &Path, words: &[&str]) -> Answer {
    Answer::of(&LINK.1, folder, words)
}

/// One question.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    question: Question,
}

#[derive(Debug)]
enum Question {
    Patch { patches: Vec<String> },
    Validate { mode: String, strict: bool },
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fidelity")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The cases of `machineconfig patch`.
pub(super) fn patches() -> Vec<Case> {
    let root = root().join("patch");
    let case = |name: String| {
        let folder = root.join(&name);
        let patches = names(&folder)
            .into_iter()
            .filter(|file| file.starts_with("patch"))
            .collect();
        Case {
            name,
            folder,
            question: Question::Patch { patches },
        }
    };
    names(&root).into_iter().map(case).collect()
}

/// The cases of `validate`.
pub(super) fn configs() -> Vec<Case> {
    let folder = root().join("invalid");
    let case = |file: String| {
        let name = file.strip_suffix(".yaml")?.to_owned();
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let first = text.lines().next().unwrap_or_default();
        let question = Question::Validate {
            mode: first.strip_prefix("# mode: ").unwrap_or("metal").to_owned(),
            strict: first == "# strict",
        };
        Some(Case {
            name,
            folder: folder.clone(),
            question,
        })
    };
    names(&folder).into_iter().filter_map(case).collect()
}

impl Case {
    /// Whether the answer is not the library's but the command line's around it.
    pub(super) fn is_ours(&self) -> bool {
        self.name == "unknown-mode"
    }

    /// The words for the judge.
    pub(super) fn words(&self) -> Vec<String> {
        match &self.question {
            Question::Patch { patches } => ["patch", "-config", "base.yaml"]
                .map(str::to_owned)
                .into_iter()
                .chain(patches.iter().cloned())
                .collect(),
            Question::Validate { mode, strict } => {
                let strict = if *strict { "-strict" } else { "-strict=false" };
                [
                    "validate",
                    "-mode",
                    mode,
                    strict,
                    &format!("{}.yaml", self.name),
                ]
                .map(str::to_owned)
                .to_vec()
            }
        }
    }

    /// The lab's answer, in the judge's form.
    pub(super) fn lab(&self) -> Answer {
        match &self.question {
            Question::Patch { patches } => {
                let patches: Vec<String> =
                    patches.iter().map(|patch| format!("-p=@{patch}")).collect();
                let words: Vec<&str> = ["machineconfig", "patch", "base.yaml"]
                    .into_iter()
                    .chain(patches.iter().map(String::as_str))
                    .collect();
                let mut answer = lab(&self.folder, &words).plain();
                if answer.code == 0 {
                    // talosctl ends with one newline more than the configuration has.
                    assert_eq!(answer.stdout.pop(), Some('\n'), "{}", self.name);
                }
                answer
            }
            Question::Validate { mode, strict } => {
                let file = format!("{}.yaml", self.name);
                let strict = if *strict {
                    "--strict"
                } else {
                    "--strict=false"
                };
                lab(&self.folder, &["validate", "-c", &file, "-m", mode, strict]).plain()
            }
        }
    }

    /// The judge's answer, made comparable.
    pub(super) fn judged(answer: Answer) -> Answer {
        answer.plain()
    }

    /// The answer that stands beside the case.
    pub(super) fn recorded(&self) -> Answer {
        let read = |file: &str| fs::read_to_string(self.folder.join(file));
        let (want, fault) = (read("want.yaml"), read("want.txt"));
        match &self.question {
            Question::Patch { .. } => match (want, fault) {
                (Ok(stdout), Err(_)) => Answer {
                    stdout,
                    ..Answer::default()
                },
                (Err(_), Ok(stderr)) => Answer {
                    code: if stderr.starts_with("panic: ") { 2 } else { 1 },
                    stderr,
                    ..Answer::default()
                },
                _ => Answer::default(),
            },
            Question::Validate { .. } => {
                let text = read(&format!("{}.txt", self.name)).unwrap_or_default();
                let (exit, rest) = text.split_once('\n').unwrap_or_default();
                let code = exit
                    .strip_prefix("exit ")
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(-1);
                let split = if code == 0 {
                    rest.trim_end_matches('\n')
                        .rfind('\n')
                        .map_or(0, |at| at + 1)
                } else {
                    rest.len()
                };
                Answer {
                    code,
                    stdout: rest[split..].to_owned(),
                    stderr: rest[..split].to_owned(),
                }
            }
        }
    }

    /// Puts an answer beside the case.
    pub(super) fn record(&self, answer: &Answer) {
        let write = |file: &str, text: &str| fs::write(self.folder.join(file), text).unwrap();
        match &self.question {
            Question::Patch { .. } => {
                for file in ["want.yaml", "want.txt"] {
                    fs::remove_file(self.folder.join(file)).ok();
                }
                if answer.code == 0 {
                    write("want.yaml", &answer.stdout);
                } else {
                    write("want.txt", &answer.stderr);
                }
            }
            Question::Validate { .. } => {
                write(&format!("{}.txt", self.name), &answer.text());
            }
        }
    }
}
