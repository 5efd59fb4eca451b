//! Where a row happens: a small project of its own, whose steps are shell scripts that can misbehave, and a judge that is the same for all.
//!
//! Every process of a room has the room's token among its arguments or in its environment, beside the mark that `bootstrap` gives it: what
//! hides from the mark is found here all the same. Effects are files that are only appended to, so that nothing can be done twice unseen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};

use bootstrap::journal::{Journal, Record};
use bootstrap::process::end_survivors;
use bootstrap::run::{AttemptEnd, Event};
use rustix::process::{Pid, Signal, kill_process};

use crate::drill::{forms, guardian, processes, repeated, runs};
use crate::lab::Lab;
use crate::wait::eventually;

/// The steps of the project, in the order of their needs.
const STEPS: [&str; 4] = ["before", "subject", "sibling", "after"];

/// What the step does that an event happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Plain,
    Deaf,
    Background,
    ForkedTwice,
    Session,
    DeafSession,
    Hidden,
    Unread,
    Talker,
    OnceHalf,
    OnceDone,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Plain,
        Self::Deaf,
        Self::Background,
        Self::ForkedTwice,
        Self::Session,
        Self::DeafSession,
        Self::Hidden,
        Self::Unread,
        Self::Talker,
        Self::OnceHalf,
        Self::OnceDone,
    ];

    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Plain => "does its work and nothing else",
            Self::Deaf => "ignores every signal that can be ignored, and so does its child",
            Self::Background => "has a child that holds its pipes open",
            Self::ForkedTwice => "has a child that forked twice",
            Self::Session => "has a child in a session of its own",
            Self::DeafSession => "has a child in a session of its own that ignores signals",
            Self::Hidden => {
                "has a child in a session of its own, forked twice, with an empty environment and no pipe"
            }
            Self::Unread => "never reads its input, half a megabyte",
            Self::Talker => "prints without end",
            Self::OnceHalf => "must not happen twice, and has not had its effect",
            Self::OnceDone => "must not happen twice, and has had its effect",
        }
    }

    /// What it starts before it says that it is there.
    fn starts(self) -> &'static str {
        match self {
            Self::Plain | Self::Unread | Self::OnceHalf => "",
            Self::Deaf => "trap '' TERM INT HUP QUIT\nsh -c 'while :; do sleep 1; done' \"$1\" &\n",
            Self::Background => "sh -c 'while :; do sleep 1; done' \"$1\" &\n",
            Self::ForkedTwice => "( ( sh -c 'while :; do sleep 1; done' \"$1\" & ) & )\n",
            Self::Session => "setsid sh -c 'while :; do sleep 1; done' \"$1\" &\n",
            Self::DeafSession => {
                "setsid sh -c 'trap \"\" TERM INT HUP QUIT; while :; do sleep 1; done' \"$1\" &\n"
            }
            Self::Hidden => {
                "env -i setsid sh -c 'while :; do /bin/sleep 1; done & exit 0' \"$1\" </dev/null >/dev/null 2>&1\n"
            }
            Self::Talker => {
                "sh -c 'while :; do head -c 65536 /dev/zero; sleep 0.1; done' \"$1\" &\n"
            }
            Self::OnceDone => "echo had >effects/subject.had\n",
        }
    }
}

/// A small project, and all that was said and done in it.
pub(crate) struct Room {
    lab: Lab,
    pub(crate) project: PathBuf,
    pub(crate) token: String,
    pub(crate) secret: String,
    outputs: usize,
    /// Tasks that may be open again, because the row is about that.
    pub(crate) may_reopen: bool,
}

/// What a row came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) survivors: usize,
    pub(crate) false_done: usize,
    pub(crate) leaks: usize,
    pub(crate) repeated: usize,
    /// Everything that is not as it should be, in words.
    pub(crate) wrong: Vec<String>,
}

/// How a process ended, in a word.
pub(crate) fn word(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(9)) => "SIGKILL".to_owned(),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

impl Room {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::at("project", kind)
    }

    /// A room whose project has this name.
    pub(crate) fn at(name: &str, kind: Kind) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let lab = Lab::without_world();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let token = format!("conformance-{}-{number}-", std::process::id());
        let room = Self {
            project: lab.folder().join(name),
            lab,
            secret: format!("k9Xw{number:04}-{}-vZq7LmT2sR8p", std::process::id()),
            token,
            outputs: 0,
            may_reopen: false,
        };
        room.furnish(kind);
        room
    }

    fn furnish(&self, kind: Kind) {
        for folder in ["playbooks", "steps", "effects", "templates"] {
            fs::create_dir_all(self.project.join(folder)).unwrap();
        }
        self.write("inventory.yaml", "fields: { site: {}, cluster: {}, node: {} }\nsite: {}\nclusters: { home: { nodes: { attic: {} } } }\n");
        self.write(
            "secrets.yaml",
            &format!("op://House/door/KEY: {}\n", self.secret),
        );
        let input = if kind == Kind::Unread {
            self.write("templates/input", &"unread\n".repeat(70_000));
            "template: templates/input"
        } else {
            "text: \"op://House/door/KEY\\n\""
        };
        let once = match kind {
            Kind::OnceHalf | Kind::OnceDone => {
                "effect: once\n        unless: { that: \"exists('effects/subject.had')\" }\n        "
            }
            _ => "",
        };
        let playbook = PLAYBOOK
            .replace("TOKEN", &self.token)
            .replace("INPUT", input)
            .replace("ONCE", once);
        self.write("playbooks/house.yaml", &playbook);
        for step in STEPS {
            self.write(&format!("steps/{step}.sh"), &SIMPLE.replace("STEP", step));
        }
        let reads = if kind == Kind::Unread { "" } else { TELLS };
        let starts = kind.starts();
        let subject = format!(
            "echo begin >>effects/subject.log\nprintf half >effects/subject.file\n{reads}if [ ! -e gate ]; then\n{starts}: >up\nwhile [ ! -e gate ]; do sleep 0.1; done\nfi\n\
             printf whole >effects/subject.file\necho had >effects/subject.had\necho end >>effects/subject.log\n"
        );
        self.write("steps/subject.sh", &subject);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.lab.folder()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.project.join(path), text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project.join(path)).unwrap_or_default()
    }

    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, &text.replace(from, to));
    }

    /// Lets the subject go on, now and for ever.
    pub(crate) fn open_gate(&self) {
        self.write("gate", "");
    }

    /// `bootstrap …` in the project, whose output is kept.
    pub(crate) fn command(&mut self, words: &[&str]) -> Command {
        let mut command = self.lab.alone_command(words.iter().copied());
        self.wire(&mut command);
        command
    }

    /// Any program in the project, whose output is kept.
    pub(crate) fn program(&mut self, program: &str) -> Command {
        let mut command = self.lab.command(program);
        self.wire(&mut command);
        command
    }

    fn wire(&mut self, command: &mut Command) {
        self.outputs += 1;
        let file = |what: &str| {
            fs::File::create(
                self.lab
                    .folder()
                    .join(format!("said-{}.{what}", self.outputs)),
            )
            .unwrap()
        };
        command
            .current_dir(&self.project)
            .stdout(file("out"))
            .stderr(file("err"));
    }

    pub(crate) fn run_words() -> Vec<&'static str> {
        vec![
            "run",
            "story",
            "1.1",
            "--output",
            "plain",
            "--secrets-file",
            "secrets.yaml",
        ]
    }

    /// Starts the run.
    pub(crate) fn run(&mut self, more: &[&str]) -> Child {
        let mut words = Self::run_words();
        words.extend(more);
        self.spawn(&words)
    }

    /// Starts `bootstrap` as a shell does: in a group of its own.
    pub(crate) fn spawn(&mut self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.process_group(0).spawn().unwrap()
    }

    /// What the last program said on standard error.
    pub(crate) fn said(&self) -> String {
        let path = self.lab.folder().join(format!("said-{}.err", self.outputs));
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// What the last program said on standard output.
    pub(crate) fn told(&self) -> String {
        let path = self.lab.folder().join(format!("said-{}.out", self.outputs));
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Runs it to its end, and gives how it ended.
    pub(crate) fn whole_run(&mut self, words: &[&str]) -> String {
        let mut child = self.spawn(words);
        self.wait(&mut child)
    }

    pub(crate) fn wait(&self, child: &mut Child) -> String {
        word(eventually(
            &format!("the end of bootstrap in {}", self.project.display()),
            || child.try_wait().unwrap(),
        ))
    }

    /// Waits until the subject is at work, and all is written down that happened beside it.
    pub(crate) fn is_up(&self, child: &mut Child) {
        let alone = self.read("steps/sibling.sh").contains("failed");
        eventually("the subject", || {
            let over = child.try_wait().unwrap();
            // Where its sibling fails as soon as it is up, the run may be over before anybody has looked.
            if alone && self.project.join("up").exists() {
                return Some(());
            }
            assert!(over.is_none(), "{over:?}: {}", self.said());
            let beside = || {
                self.records().iter().any(|record| {
                    matches!(&record.event, Event::AttemptEnded { task, .. } if task.as_str() == "1.1/sibling")
                })
            };
            (self.project.join("up").exists() && beside()).then_some(())
        });
        // If it is not ended before it has printed so much, as above.
        if !alone && self.read("steps/subject.sh").contains("head -c") {
            eventually("its words", || {
                (self.log("1.1~subject.1.log").len() > 70_000).then_some(())
            });
        }
    }

    /// The log of an attempt of the newest run.
    pub(crate) fn log(&self, name: &str) -> Vec<u8> {
        let Some(run) = runs(&self.project).pop() else {
            return Vec::new();
        };
        fs::read(self.run_folder(&run).join("logs").join(name)).unwrap_or_default()
    }

    pub(crate) fn run_folder(&self, run: &str) -> PathBuf {
        self.project.join(".bootstrap/runs").join(run)
    }

    /// The newest journal's file.
    pub(crate) fn journal(&self) -> PathBuf {
        let run = runs(&self.project).pop().unwrap();
        self.run_folder(&run).join("journal.jsonl")
    }

    pub(crate) fn records(&self) -> Vec<Record<Event>> {
        let Some(run) = runs(&self.project).pop() else {
            return Vec::new();
        };
        let path = self.run_folder(&run).join("journal.jsonl");
        if !path.exists() {
            return Vec::new();
        }
        Journal::<Event>::load_read_only(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .records
    }

    /// Waits for a line of the newest journal.
    pub(crate) fn until(&self, what: &str, from: usize, wanted: impl Fn(&Event) -> bool) {
        eventually(what, || {
            self.records()
                .iter()
                .skip(from)
                .any(|record| wanted(&record.event))
                .then_some(())
        });
    }

    /// The processes of this room that are alive, but for the runner: number and command line.
    pub(crate) fn alive(&self) -> Vec<(u32, String)> {
        let token = self.token.as_bytes();
        let has = |text: &[u8]| text.windows(token.len()).any(|part| part == token);
        processes()
            .into_iter()
            .filter(|(_, command, environ)| has(command) || has(environ))
            .map(|(pid, command, _)| {
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                (pid, command)
            })
            .collect()
    }

    /// Waits until nothing of this room is alive, and no guardian of it.
    pub(crate) fn is_empty_soon(&self) {
        eventually("the end of all that the run started", || {
            (self.alive().is_empty()
                && runs(&self.project)
                    .iter()
                    .all(|run| guardian(run).is_none()))
            .then_some(())
        });
    }

    pub(crate) fn kill_guardian(&self) {
        let run = runs(&self.project).pop().unwrap();
        let guardian = eventually("the guardian", || guardian(&run));
        kill_process(guardian, Signal::KILL).unwrap();
        eventually("the end of the guardian", || {
            crate::drill::guardian(&run).is_none().then_some(())
        });
    }

    /// Kills all that this room has started, by number, until nothing is left.
    pub(crate) fn kill_the_rest(&self) {
        eventually("the end of all of it", || {
            let alive = self.alive();
            for (pid, _) in &alive {
                if let Some(pid) = Pid::from_raw(i32::try_from(*pid).unwrap()) {
                    kill_process(pid, Signal::KILL).ok();
                }
            }
            alive.is_empty().then_some(())
        });
    }

    /// Goes on with the run, lets the subject end once the resumed run has looked around, and gives how it ended.
    pub(crate) fn resume(&mut self, words: &[&str]) -> String {
        let mut all = vec!["resume"];
        all.extend(words);
        let from = self.records().len();
        let mut child = self.spawn(&all);
        eventually("the resumed run", || {
            (child.try_wait().unwrap().is_some() || self.records().len() > from).then_some(())
        });
        self.open_gate();
        self.wait(&mut child)
    }

    /// What must hold at every moment: nothing is called done that is not, no secret is anywhere, the journals load.
    pub(crate) fn judge(&self, found: &mut Found) {
        self.judge_journals(found);
        let leaks = self.leaks();
        found.leaks += leaks.len();
        if !leaks.is_empty() {
            found.wrong.push(format!("the secret is in {leaks:?}"));
        }
    }

    fn judge_journals(&self, found: &mut Found) {
        let records = self.records();
        let mut settled: BTreeMap<String, bool> = BTreeMap::new();
        let mut attempts: BTreeMap<String, usize> = BTreeMap::new();
        for record in &records {
            match &record.event {
                Event::AttemptStarted { task, .. } => {
                    *attempts.entry(task.to_string()).or_default() += 1;
                    settled.insert(task.to_string(), false);
                }
                Event::AttemptEnded { task, end, .. } => {
                    let done = matches!(
                        end,
                        AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. }
                    );
                    settled.insert(task.to_string(), done);
                }
                Event::TaskReopened { task, .. } => {
                    settled.insert(task.to_string(), false);
                }
                _ => {}
            }
        }
        for step in STEPS {
            let task = format!("1.1/{step}");
            let whole = self.read(&format!("effects/{step}.file")) == "whole"
                || (step == "subject" && !self.read("effects/subject.had").is_empty());
            if settled.get(&task) == Some(&true) && !whole {
                found.false_done += 1;
                found.wrong.push(format!(
                    "{task} is called done, and its effect is not there"
                ));
            }
            let begun = self
                .read(&format!("effects/{step}.log"))
                .lines()
                .filter(|line| *line == "begin")
                .count();
            let attempted = attempts.get(&task).copied().unwrap_or(0);
            if begun > attempted {
                found.repeated += 1;
                found.wrong.push(format!(
                    "{task} was begun {begun} times in {attempted} attempts"
                ));
            }
        }
        let mut wrong = Vec::new();
        let reopened = repeated(&records, &mut wrong);
        if !self.may_reopen {
            wrong.extend(
                reopened
                    .iter()
                    .map(|(task, why)| format!("{task} is open again: {why}")),
            );
        }
        found.repeated += wrong.len();
        found.wrong.extend(wrong);
    }

    /// What must hold at the end.
    pub(crate) fn judge_end(&self, found: &mut Found) {
        self.judge(found);
        for step in STEPS {
            let whole = self.read(&format!("effects/{step}.file")) == "whole"
                || (step == "subject" && !self.read("effects/subject.had").is_empty());
            if !whole {
                found.repeated += 1;
                found.wrong.push(format!("the effect of {step} is lost"));
            }
        }
        for step in ["before", "sibling", "after"] {
            let log = self.read(&format!("effects/{step}.log"));
            let ends = log.lines().filter(|line| *line == "end").count();
            if ends != 1 && !self.may_reopen {
                found.repeated += 1;
                found
                    .wrong
                    .push(format!("{step} was done {ends} times to its end"));
            }
        }
        self.judge_alive(found);
    }

    pub(crate) fn judge_alive(&self, found: &mut Found) {
        let alive = self.alive();
        found.survivors += alive.len();
        if !alive.is_empty() {
            found.wrong.push(format!("still alive: {alive:?}"));
        }
        for run in runs(&self.project) {
            if guardian(&run).is_some() {
                found.survivors += 1;
                found.wrong.push(format!("the guardian of {run} is alive"));
            }
        }
    }

    /// The files of the whole room that hold the secret, but for the one that is meant to.
    fn leaks(&self) -> Vec<PathBuf> {
        let forms = aho_corasick::AhoCorasick::new(forms(&self.secret)).unwrap();
        let mut leaks = Vec::new();
        let mut folders = vec![self.lab.folder().to_path_buf()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                let path = entry.path();
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && entry.file_name() != "secrets.yaml" {
                    let text = fs::read(&path).unwrap_or_default();
                    if forms.is_match(&text) {
                        leaks.push(path);
                    }
                }
            }
        }
        leaks
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // When a row goes wrong, nothing of it is to stay.
        if std::thread::panicking() {
            for run in runs(&self.project) {
                end_survivors(&format!("{run}/"), &[]);
            }
            for (pid, _) in self.alive() {
                if let Some(pid) = Pid::from_raw(i32::try_from(pid).unwrap_or_default()) {
                    kill_process(pid, Signal::KILL).ok();
                }
            }
        }
    }
}

/// The lines of a table of what was found, for people.
pub(crate) fn wrong_lines(name: &str, found: &Found) -> String {
    found.wrong.iter().fold(String::new(), |mut text, wrong| {
        writeln!(text, "{name}: {wrong}").unwrap();
        text
    })
}

const PLAYBOOK: &str = r#"epics: { "1": The house }
providers:
  op:
    item: ["false"]
    value: "'none'"
stories:
  - id: "1.1"
    title: A step is hurt
    epic: 1
    criteria:
      - text: All is done
        check: { that: "exists('effects/after.log')" }
    steps:
      - id: before
        title: What was done before
        env: { CONFORMANCE: TOKEN }
        exec: [sh, steps/before.sh, TOKEN]

      - id: subject
        title: What is hurt
        needs: [before]
        timeout: 10m
        ONCEenv: { CONFORMANCE: TOKEN }
        pipe:
          - render: { INPUT, secrets: resolve }
          - exec: [sh, steps/subject.sh, TOKEN]

      - id: sibling
        title: What happens beside it
        needs: [before]
        env: { CONFORMANCE: TOKEN }
        exec: [sh, steps/sibling.sh, TOKEN]

      - id: after
        title: What comes after it
        needs: [subject, sibling]
        env: { CONFORMANCE: TOKEN }
        exec: [sh, steps/after.sh, TOKEN]
"#;

const SIMPLE: &str = "echo begin >>effects/STEP.log\nprintf half >effects/STEP.file\nprintf whole >effects/STEP.file\necho end >>effects/STEP.log\n";

/// The secret is shown whole, in base64, and in two pieces.
const TELLS: &str = "read -r key\nprintf '%s\\n' \"$key\"\nprintf '%s' \"$key\" | base64\nrest=${key#???????}\nprintf '%s' \"${key%\"$rest\"}\"; printf '%s\\n' \"$rest\"\n";
