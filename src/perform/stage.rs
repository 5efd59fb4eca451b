//! Pipes: what one stage prints is the next one's input, in memory and never in a file.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use minijinja::value::Value;
use zeroize::Zeroizing;

use crate::engine::Committed;
use crate::perform::command::{Answer, Request, shell_words};
use crate::perform::secrets::Store;
use crate::perform::{Stop, Work};
use crate::playbook::{
    Action, Body, Effect, Exec, Parse, References, Render, RenderSource, RenderTarget, Stage,
};
use crate::run::{Event, Failure, FailureKind};
use crate::template::{self, Scope};

/// What came out of a pipe.
pub(crate) struct PipeOutput {
    /// What the last stage printed.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Whether anything can have changed.
    pub(crate) changed: bool,
    /// What happened, in a line; empty where there is nothing to say.
    pub(crate) why: String,
}

/// A stage that failed.
pub(crate) struct FailedStage {
    pub(crate) command: String,
    pub(crate) answer: Answer,
}

/// How a pipe ended.
pub(crate) enum PipeEnd {
    Done(PipeOutput),
    Failed(FailedStage),
}

impl FailedStage {
    pub(crate) fn failure(&self) -> Failure {
        let program = self
            .command
            .split(' ')
            .next()
            .unwrap_or("the command")
            .to_owned();
        let status = self.answer.status();
        let kind = if status == "timed out" {
            FailureKind::Timeout
        } else {
            FailureKind::Command
        };
        Failure {
            kind,
            message: format!("`{program}` failed"),
            command: Some(self.command.clone()),
            status: Some(status),
            last_lines: self.answer.last_lines(),
            hint: None,
        }
    }
}

impl Work<'_> {
    /// Runs the stages one after the other.
    pub(crate) async fn pipe(
        &self,
        stages: &[Stage],
        body: &Body,
        scope: &Scope,
    ) -> Result<PipeEnd, Stop> {
        let mut flowing: Option<Zeroizing<Vec<u8>>> = match &body.stdin {
            Some(text) => Some(Zeroizing::new(self.text(text, scope)?.into_bytes())),
            None => None,
        };
        let mut changed = false;
        let mut why = String::new();
        for (at, stage) in stages.iter().enumerate() {
            let last = at + 1 == stages.len();
            match stage {
                Stage::Exec(exec) => {
                    let secret = exec.secret || (last && body.secret);
                    let mut request =
                        self.request(exec, body, scope, flowing.take(), last && !secret)?;
                    request.whole = !last || secret || needs_words(body) || !request.acts;
                    let answer = self.command(&request).await?;
                    if !answer.succeeded() {
                        let command = self
                            .performer
                            .mask
                            .text(&shell_words(&request.argv))
                            .into_owned();
                        return Ok(PipeEnd::Failed(FailedStage { command, answer }));
                    }
                    let stdout = answer.into_stdout();
                    if secret {
                        Store::learn(&self.performer.mask, &stdout, &self.performer.public);
                    }
                    changed = true;
                    flowing = Some(stdout);
                }
                Stage::Render(render) => {
                    let text = self.rendered(render, flowing.take(), scope).await?;
                    if let Some(to) = &render.to {
                        let name = self.text(to, scope)?;
                        let committed = self.reporter.commit().await?;
                        let wrote = self.write(committed, &name, &text, render.mode)?;
                        self.written(&name, &text);
                        // A written file is all that such a pipe changes: what came before only made its text.
                        changed = wrote;
                        why = if wrote {
                            format!("wrote {name}")
                        } else {
                            format!("{name} is already so")
                        };
                        flowing = Some(Zeroizing::default());
                    } else {
                        flowing = Some(text);
                    }
                }
            }
        }
        Ok(PipeEnd::Done(PipeOutput {
            bytes: flowing.unwrap_or_default(),
            changed,
            why,
        }))
    }

    fn request(
        &self,
        exec: &Exec,
        body: &Body,
        scope: &Scope,
        stdin: Option<Zeroizing<Vec<u8>>>,
        logged: bool,
    ) -> Result<Request, Stop> {
        let mut argv = Vec::with_capacity(exec.argv.len());
        for word in &exec.argv {
            argv.push(self.text(word, scope)?);
        }
        let mut env = BTreeMap::new();
        for (name, text) in body.env.iter().chain(&exec.env) {
            env.insert(name.clone(), self.text(text, scope)?);
        }
        let cwd = match &body.cwd {
            Some(cwd) => Some(self.performer.project.root.join(self.text(cwd, scope)?)),
            None => None,
        };
        let acts = self.log.is_some();
        let log = if logged { self.log.clone() } else { None };
        Ok(Request {
            argv,
            env,
            cwd,
            stdin,
            timeout: exec.timeout.unwrap_or(body.timeout),
            log,
            acts,
            whole: true,
        })
    }

    /// The text of a render stage, with its references treated as it says.
    pub(crate) async fn rendered(
        &self,
        render: &Render,
        input: Option<Zeroizing<Vec<u8>>>,
        scope: &Scope,
    ) -> Result<Zeroizing<Vec<u8>>, Stop> {
        let mut scope = scope.clone();
        let arrived = input
            .as_ref()
            .map(|bytes| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned()));
        if let (Some(parse), Some(text)) = (render.input, &arrived) {
            let broken = |what: &str, why: String| {
                Failure::new(
                    FailureKind::Template,
                    format!("what arrived on the pipe is not {what}: {why}"),
                )
            };
            let value = match parse {
                Parse::Text => Value::from(text.as_str()),
                Parse::Json => serde_json::from_str::<serde_json::Value>(text)
                    .map(|json| template::value(&json))
                    .map_err(|error| broken("JSON", error.to_string()))?,
                Parse::Yaml => template::parse_yaml(text).map_err(|error| broken("YAML", error))?,
            };
            scope.set("input", value);
        }
        let text = match &render.source {
            RenderSource::Text(text) => self.text(text, &scope)?,
            RenderSource::File(file) => {
                let name = self.text(file, &scope)?;
                self.performer
                    .project
                    .templates
                    .file(&name, &scope)
                    .map_err(|error| {
                        let place = match (&error.file, error.line) {
                            (Some(file), Some(line)) => format!("{file}:{line}"),
                            _ => name.clone(),
                        };
                        Failure::new(FailureKind::Template, format!("{place}: {}", error.message))
                    })?
            }
        };
        let text = Zeroizing::new(text);
        let done = match render.secrets {
            References::Keep => text,
            References::Placeholders => self.performer.placeholders(&text),
            References::Resolve => self.resolve(&text).await?,
            References::Input => {
                let item = arrived.as_ref().map_or("", |text| text.as_str());
                self.resolve_from(&text, item)?
            }
        };
        Ok(Zeroizing::new(done.as_bytes().to_vec()))
    }

    /// Writes a file below the project, whole or not at all, and only if it is different. Gives whether it was written.
    fn write(&self, _: Committed, name: &str, text: &[u8], mode: u32) -> Result<bool, Stop> {
        let root = &self.performer.project.root;
        let path = template::below(root, name).map_err(|error| {
            Failure::new(
                FailureKind::Template,
                error.detail().unwrap_or("not below the project").to_owned(),
            )
        })?;
        write_file(&path, text, mode).map_err(|error| {
            Failure::new(FailureKind::System, format!("cannot write {name}: {error}")).into()
        })
    }

    /// Keeps what a file that this task wrote has to hold from now on.
    fn written(&self, name: &str, text: &[u8]) {
        if self.log.is_none() {
            return;
        }
        if let Some(fingerprint) = self.performer.fingerprint(text) {
            self.reporter.fact(Event::FileWritten {
                task: self.task.clone(),
                attempt: self.attempt,
                file: name.to_owned(),
                fingerprint,
            });
        }
    }

    pub(super) async fn difference(
        &self,
        body: &Body,
        scope: &Scope,
    ) -> Result<Option<String>, Stop> {
        let Action::Pipe(stages) = &body.action else {
            return Ok(None);
        };
        let mut flowing = None;
        for stage in stages {
            let Stage::Render(render) = stage else {
                return Ok(None);
            };
            let text = self.rendered(render, flowing.take(), scope).await?;
            if let Some(to) = &render.to {
                let name = self.text(to, scope)?;
                let old = template::below(&self.performer.project.root, &name)
                    .ok()
                    .and_then(|path| std::fs::read_to_string(path).ok())
                    .unwrap_or_default();
                return Ok(Some(unified_diff(
                    &name,
                    &old,
                    &String::from_utf8_lossy(&text),
                )));
            }
            flowing = Some(text);
        }
        Ok(None)
    }

    pub(super) async fn render_target(
        &self,
        target: &RenderTarget,
        scope: &Scope,
        references: References,
    ) -> Result<(String, String), Stop> {
        let name = self.text(&target.file, scope)?;
        let stages: Vec<Stage> = target
            .stages
            .iter()
            .map(|stage| match stage {
                Stage::Render(render) if render.secrets == References::Keep => {
                    Stage::Render(Render {
                        secrets: references,
                        ..render.clone()
                    })
                }
                other => other.clone(),
            })
            .collect();
        let mut body = Body::for_question(std::time::Duration::from_secs(60), true);
        body.effect = Effect::Reads;
        let failed = |failed: &FailedStage| Stop::from(failed.failure());
        let output = match Box::pin(self.pipe(&stages, &body, scope)).await? {
            PipeEnd::Done(output) => output.bytes,
            PipeEnd::Failed(stage) => return Err(failed(&stage)),
        };
        if !target.check.is_empty() {
            let exec = Exec {
                argv: target.check.clone(),
                shell: false,
                env: Vec::new(),
                timeout: None,
                secret: true,
                span: target.span,
            };
            let request = self.request(&exec, &body, scope, Some(output.clone()), false)?;
            let answer = self.command(&request).await?;
            if !answer.succeeded() {
                let command = shell_words(&request.argv);
                return Err(failed(&FailedStage { command, answer }));
            }
        }
        Ok((name, String::from_utf8_lossy(&output).into_owned()))
    }
}

/// Whether anything is done with what an action prints.
fn needs_words(body: &Body) -> bool {
    let retries = body.retry.as_ref().and_then(|retry| retry.when.as_ref());
    !body.outputs.is_empty() || body.met.is_some() || body.maybe.is_some() || retries.is_some()
}

/// Writes a file whole or not at all, and only if it is different. Gives whether it was written.
pub fn write_file(path: &Path, text: &[u8], mode: u32) -> std::io::Result<bool> {
    if let Ok(old) = std::fs::read(path)
        && old == text
        && std::fs::metadata(path)?.permissions().mode() & 0o777 == mode
    {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folders(folder)?;
    let file = tempfile::Builder::new()
        .prefix(".bootstrap-")
        .make_in(folder, |path| {
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        })?;
    let mut file = file;
    file.write_all(text)?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(true)
}

/// Makes a folder with all above it, so that they outlive a power cut as the file does.
fn make_folders(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
        std::fs::create_dir(folder).or_else(|error| {
            let made = error.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir();
            if made { Ok(()) } else { Err(error) }
        })?;
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// How two texts of a file differ, as `diff -u` shows it; empty if they do not.
pub fn unified_diff(name: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string()
}
