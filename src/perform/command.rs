//! One command, with what is known about its tool: which variables it may see, when it pauses the run, when it is asked again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use minijinja::value::Value;
use zeroize::Zeroizing;

use crate::engine::Committed;
use crate::perform::stage::PipeOutput;
use crate::perform::{Stop, Work};
use crate::playbook::{Pause, Tool};
use crate::process::{self, Command, Ended, Exit, Input, StartError, Stopwatch};
use crate::run::event::Note;
use crate::run::{Event, Failure, FailureKind};
use crate::template::{self, Scope};

/// How many lines of a failed command are kept for the summary.
const LAST_LINES: usize = 12;
/// How much of the end of a log is looked at for its last lines.
const TAIL: u64 = 16 * 1024;
/// How much of a stage's output is kept: what flows through a pipe must be whole.
const CAPTURE: usize = 64 * 1024 * 1024;
/// How much is kept where nobody needs it whole: enough to say how it failed.
const GLIMPSE: usize = 256 * 1024;
/// How often a command that said *again* is asked again at first, and at most.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// How long a command may say *again*.
const AGAIN_WITHIN: Duration = Duration::from_secs(900);

/// What a command answered.
pub(crate) struct Answer {
    exit: Exit,
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<String>,
}

/// What is to be run.
pub(crate) struct Request {
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) stdin: Option<Zeroizing<Vec<u8>>>,
    pub(crate) timeout: Duration,
    /// Where its output goes; nowhere for questions and for what is secret.
    pub(crate) log: Option<PathBuf>,
    /// Whether it acts on the world: then its start is a fact, and its lines are shown.
    pub(crate) acts: bool,
    /// Whether what it prints is needed, and so must be whole.
    pub(crate) whole: bool,
}

impl Answer {
    /// An answer of a pipe that ended well.
    pub(crate) fn of_output(output: &PipeOutput) -> Self {
        Self {
            exit: Exit::Code(0),
            stdout: output.bytes.clone(),
            stderr: Zeroizing::default(),
        }
    }

    /// The names that conditions about an answer see.
    pub(crate) fn scope(&self, scope: &Scope) -> Scope {
        let mut scope = scope.clone();
        let (exit, signal) = match self.exit {
            Exit::Code(code) => (code, None),
            Exit::Signal(signal) => (128 + signal, Some(signal)),
            Exit::TimedOut => (124, None),
            Exit::Cancelled => (130, None),
        };
        let stdout = String::from_utf8_lossy(&self.stdout);
        scope.set("exit", Value::from(exit));
        scope.set("signal", template::value(&signal));
        scope.set("timed_out", Value::from(self.exit == Exit::TimedOut));
        scope.set("stdout", Value::from(stdout.as_ref()));
        scope.set("stderr", Value::from(self.stderr.as_str()));
        if let Ok(documents) = template::parse_json_documents(&stdout) {
            if let [one] = documents.as_slice() {
                scope.set("json", one.clone());
                scope.set("value", one.clone());
            }
            scope.set("jsons", Value::from(documents));
        }
        if !stdout.trim().is_empty()
            && let Ok(documents) = template::parse_yaml_documents(&stdout)
        {
            match documents.as_slice() {
                [one] => scope.set("yaml", one.clone()),
                _ => scope.set("yaml", Value::from(documents.clone())),
            }
            scope.set("yamls", Value::from(documents));
        }
        scope
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    pub(crate) fn into_stdout(self) -> Zeroizing<Vec<u8>> {
        self.stdout
    }

    /// How it ended, in a word.
    pub(crate) fn status(&self) -> String {
        match self.exit {
            Exit::Code(code) => format!("exit {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
            Exit::TimedOut => "timed out".into(),
            Exit::Cancelled => "cancelled".into(),
        }
    }

    /// The last lines that it printed: of stderr, else of stdout.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        let last = |text: &str| -> Vec<String> {
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            lines[lines.len().saturating_sub(LAST_LINES)..]
                .iter()
                .map(|line| clean(line))
                .collect()
        };
        let lines = last(&self.stderr);
        if lines.is_empty() {
            last(&String::from_utf8_lossy(&self.stdout))
        } else {
            lines
        }
    }

    pub(crate) fn last_line(&self) -> String {
        match self.last_lines().pop() {
            Some(line) => format!("{}: {line}", self.status()),
            None => self.status(),
        }
    }

    /// A line about a probe's answer; nothing of its output where that is secret.
    pub(crate) fn line(&self, secret: bool) -> String {
        if self.succeeded() && self.stderr.is_empty() {
            return String::from("exit 0");
        }
        if secret && self.succeeded() {
            self.status()
        } else {
            self.last_line()
        }
    }
}

/// A line without control characters and of a sane length.
fn clean(line: &str) -> String {
    let cleaned: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(400)
        .collect();
    cleaned.trim().to_owned()
}

/// The last lines of a log, as it lies there: masked when it was written.
pub(crate) fn tail(log: &Path) -> Vec<String> {
    let Ok(mut file) = File::open(log) else {
        return Vec::new();
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .and_then(|_| file.take(TAIL).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..]
        .iter()
        .map(|line| clean(line))
        .collect()
}

impl Work<'_> {
    /// Runs a command to its end. A tool that answers *locked* pauses the run, one that answers *again* is asked again: in both cases the
    /// command had no effect, as the playbook says of that tool.
    pub(crate) async fn command(&self, request: &Request) -> Result<Answer, Stop> {
        let tool = self.tool(&request.argv);
        let mut pause = AGAIN;
        let begun = Stopwatch::start();
        loop {
            let answer = self.start(request).await?;
            let Some((name, tool)) = tool else {
                return Ok(answer);
            };
            if answer.succeeded() {
                return Ok(answer);
            }
            let scope = answer.scope(&Scope::default());
            if let Some(rule) = &tool.pause
                && self.holds(&rule.when, &scope)?
            {
                self.pause(name, rule).await?;
                continue;
            }
            let pace = self.performer.settings.pace;
            if let Some(again) = &tool.again
                && self.holds(again, &scope)?
                && begun.elapsed() < pace.wait(AGAIN_WITHIN)
            {
                self.reporter.note(Note::Doing(
                    self.performer
                        .mask
                        .text(&format!("{name} asks to wait: {}", answer.last_line()))
                        .into_owned(),
                ));
                tokio::select! {
                    () = tokio::time::sleep(pace.pause(pause)) => {}
                    () = self.cancel.termed() => return Err(Stop::Cancelled),
                }
                pause = (pause * 2).min(AGAIN_AT_MOST);
                continue;
            }
            return Ok(answer);
        }
    }

    fn tool(&self, argv: &[String]) -> Option<(&str, &Tool)> {
        let program = argv.first()?;
        let (name, tool) = self
            .performer
            .project
            .playbook
            .tools
            .get_key_value(program.as_str())?;
        Some((name.as_str(), tool))
    }

    /// The only way to a process: past the journal.
    async fn attended(
        &self,
        _: Committed,
        command: Command,
        started: impl FnOnce(process::Identity),
        lines: impl Fn(process::Stream, &str) + Send + 'static,
    ) -> Result<Ended, StartError> {
        process::run(command, &self.performer.mask, self.cancel, started, lines).await
    }

    async fn start(&self, request: &Request) -> Result<Answer, Stop> {
        let settings = &self.performer.settings;
        let mut env = self.environment(&request.argv);
        env.extend(request.env.clone());
        let mut command = Command::new(
            request.argv.clone(),
            env,
            request
                .cwd
                .clone()
                .unwrap_or_else(|| self.performer.project.root.clone()),
            self.marker.clone(),
        );
        command.stdin = request.stdin.clone().map_or(Input::Null, Input::Bytes);
        command.timeout = Some(settings.pace.timeout(request.timeout));
        command.log.clone_from(&request.log);
        command.capture = if request.whole { CAPTURE } else { GLIMPSE };
        command.session.clone_from(&settings.session);
        let shown = self
            .performer
            .mask
            .text(&shell_words(&request.argv))
            .into_owned();
        if request.acts {
            self.reporter.note(Note::Doing(shown.clone()));
            self.write_log(&format!("$ {shown}\n"));
        }
        let committed = self.reporter.commit().await?;
        self.performer.guardian.ensure().map_err(|error| {
            Failure::new(
                FailureKind::System,
                format!("the guardian of processes cannot be started: {error}"),
            )
        })?;
        let reporter = self.reporter.clone();
        let started = |identity: process::Identity| {
            if request.acts {
                self.reporter.fact(Event::ProcessStarted {
                    task: self.task.clone(),
                    attempt: self.attempt,
                    identity: serde_json::to_value(&identity).unwrap_or_default(),
                    command: shown.clone(),
                });
            }
        };
        let acts = request.acts;
        let lines = move |_, line: &str| {
            if acts {
                reporter.note(Note::Line(clean(line)));
            }
        };
        let ended = self.attended(committed, command, started, lines).await;
        let Ended {
            exit,
            stdout,
            stderr,
            stdout_truncated,
            log_error,
            ..
        } = ended.map_err(|error| match error {
            StartError::Cancelled => Stop::Cancelled,
            StartError::NotFound { .. } => Failure::new(FailureKind::System, error.to_string())
                .hint("install it, or put it on PATH; `bootstrap doctor` lists what is needed")
                .into(),
            other @ (StartError::Empty
            | StartError::Cwd { .. }
            | StartError::Log { .. }
            | StartError::Spawn { .. }) => {
                let source = std::error::Error::source(&other)
                    .map_or_else(String::new, |source| format!(": {source}"));
                Failure::new(FailureKind::System, format!("{other}{source}")).into()
            }
        })?;
        if exit == Exit::Cancelled {
            return Err(Stop::Cancelled);
        }
        if stdout_truncated && request.whole {
            return Err(Failure::new(
                FailureKind::System,
                format!(
                    "`{shown}` printed more than {} MiB, which is surely not meant",
                    CAPTURE >> 20
                ),
            )
            .into());
        }
        if let Some(error) = log_error {
            self.reporter
                .note(Note::Doing(format!("the log is not whole: {error}")));
        }
        let answer = Answer {
            exit,
            stdout,
            stderr,
        };
        // Whatever sentence is made of it: these lines may be cited, and a journal must not have them.
        if !answer.succeeded() || !answer.stderr.is_empty() {
            for line in answer.last_lines() {
                self.reporter.cite(line);
            }
        }
        Ok(answer)
    }

    /// The environment of a command: the caller's, without what is meant for other tools and for this program.
    fn environment(&self, argv: &[String]) -> BTreeMap<String, String> {
        let program = argv.first().map_or("", String::as_str);
        let tools = &self.performer.project.playbook.tools;
        let mine = tools
            .get(program)
            .map(|tool| tool.env.as_slice())
            .unwrap_or_default();
        self.performer
            .settings
            .env
            .iter()
            .filter(|(name, _)| {
                let claimed = tools
                    .values()
                    .any(|tool| tool.env.iter().any(|claim| matches(claim, name)));
                (!claimed || mine.iter().any(|claim| matches(claim, name)))
                    && !name.starts_with("BOOTSTRAP_")
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Waits for a person, once for all tasks that need the same.
    async fn pause(&self, name: &str, rule: &Pause) -> Result<(), Stop> {
        let Some(turn) = self.performer.pauses.get(name) else {
            return Ok(());
        };
        let pace = self.performer.settings.pace;
        let argv: Vec<String> = rule
            .until
            .iter()
            .map(|word| self.text(word, &self.performer.project.inventory.scope()))
            .collect::<Result<_, _>>()?;
        let check = Request {
            argv,
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
            timeout: Duration::from_secs(60),
            log: None,
            acts: false,
            whole: false,
        };
        let turn = tokio::select! {
            turn = turn.lock() => turn,
            () = self.cancel.termed() => return Err(Stop::Cancelled),
        };
        let begun = Stopwatch::start();
        let mut told = false;
        loop {
            if Box::pin(self.start(&check)).await?.succeeded() {
                break;
            }
            if !told {
                told = true;
                self.reporter.fact(Event::Paused {
                    task: self.task.clone(),
                    say: rule.say.clone(),
                });
            }
            if begun.elapsed() >= pace.wait(rule.within) {
                drop(turn);
                return Err(Failure::new(
                    FailureKind::Secret,
                    format!("nobody answered: {}", rule.say),
                )
                .hint("do that, then type `bootstrap resume`")
                .into());
            }
            self.reporter.note(Note::Doing(rule.say.clone()));
            tokio::select! {
                () = tokio::time::sleep(pace.pause(rule.every)) => {}
                () = self.cancel.termed() => return Err(Stop::Cancelled),
            }
        }
        if told {
            let paused_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.reporter.fact(Event::Continued {
                task: self.task.clone(),
                paused_ms,
            });
        }
        drop(turn);
        Ok(())
    }
}

/// Whether a variable is claimed: by its name, or by a beginning with `*`.
fn matches(claim: &str, name: &str) -> bool {
    claim
        .strip_suffix('*')
        .map_or(claim == name, |beginning| name.starts_with(beginning))
}

/// A command line as people would type it.
pub(crate) fn shell_words(argv: &[String]) -> String {
    argv.iter()
        .map(|word| {
            let plain = !word.is_empty()
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_=./:,@%+{}".contains(c));
            if plain {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
