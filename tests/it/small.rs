//! The language of the tests that need no machine room: a small project of its own, and `bootstrap` in it.
//!
//! ```ignore
//! let small = Small::steps("      - { id: stop, shell: \"test -e go\" }\n");
//! small.bootstrap("run story 1.1").exit(1).says(&["test -e go"]);
//! small.write("go", "");
//! small.bootstrap("resume").success();
//! ```

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::lab::{Lab, Outcome, repository, run};
use crate::wait::eventually;

/// A project of its own, without a machine room.
pub(crate) struct Small {
    pub(crate) lab: Lab,
}

impl Small {
    /// A project with this playbook.
    pub(crate) fn of(playbook: &str) -> Self {
        let lab = Lab::without_world();
        lab.write("playbooks/p.yaml", playbook);
        Self { lab }
    }

    /// A project whose one story, 1.1, has these steps.
    pub(crate) fn steps(steps: &str) -> Self {
        Self::with("", steps)
    }

    /// A project whose one story, 1.1, has these steps, and in whose playbook something stands before it.
    pub(crate) fn with(before: &str, steps: &str) -> Self {
        Self::of(&format!(
            "{before}stories:\n  - id: \"1.1\"\n    title: Small\n    steps:\n{steps}"
        ))
    }

    /// The project of two machines, played by two folders, as it lies in the fixtures.
    pub(crate) fn house() -> Self {
        let lab = Lab::without_world();
        for file in [
            "inventory.yaml",
            "playbooks/home.yaml",
            "secrets.yaml",
            "templates/login.conf.j2",
        ] {
            let path = repository().join("tests/fixtures/house").join(file);
            lab.write(file, &fs::read_to_string(path).unwrap());
        }
        Self { lab }
    }

    /// `bootstrap …`, run to its end. Words stand between blanks; what stands behind `|=` is one word.
    pub(crate) fn bootstrap(&self, line: &str) -> Outcome {
        let words = line
            .split('|')
            .flat_map(|part| match part.strip_prefix('=') {
                Some(one) => vec![one],
                None => part.split_whitespace().collect(),
            });
        run(self.lab.alone_command(words))
    }

    /// What `bootstrap …` says in JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        self.bootstrap(line).success().json()
    }

    /// Starts `bootstrap …` in a group of its own, and waits until a file of the project is there.
    pub(crate) fn start(&self, line: &str, until: &str) -> Child {
        let mut child = self
            .lab
            .alone_command(line.split(' '))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        eventually(until, || {
            let over = child.try_wait().unwrap();
            assert_eq!(over, None, "it ended before {until} was there");
            self.has(until).then_some(())
        });
        child
    }

    /// Starts `bootstrap …`, waits until a file is there, and kills the runner alone.
    pub(crate) fn killed(&self, line: &str, when: &str) {
        let mut child = self.start(line, when);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, path: &str, text: &str) {
        self.lab.write(path, text);
    }

    /// Reads a file of the project.
    pub(crate) fn read(&self, path: &str) -> String {
        self.lab.read(path)
    }

    /// Puts another text in the place of one that a file must have.
    #[track_caller]
    pub(crate) fn change(&self, path: &str, old: &str, new: &str) {
        let text = self.read(path);
        assert!(text.contains(old), "{path} has no {old}");
        self.write(path, &text.replace(old, new));
    }

    /// Removes a file of the project.
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.lab.project().join(path)).unwrap();
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.lab.project().join(path).exists()
    }

    /// The newest journal.
    pub(crate) fn journal(&self) -> String {
        fs::read_to_string(self.lab.journals().last().unwrap()).unwrap()
    }

    /// The events of a kind in it.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.journal()
            .lines()
            .filter_map(|line| {
                let record: Value = serde_json::from_str(line).unwrap();
                record["event"].get(kind).cloned()
            })
            .collect()
    }
}
