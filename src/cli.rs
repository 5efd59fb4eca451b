//! The command line: the only reader of arguments, environment and terminal, and the only place where everything is wired.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::document::{Diagnostics, Sources};
use crate::observe::{Detached, put};
use crate::plan::{Extent, Selection};
use crate::project::{Broken, PLAYBOOKS, Project};
use crate::run::Mode;

mod audit;
mod doctor;
mod edits;
pub mod error;
pub mod exit;
mod history;
mod locks;
mod look;
mod printed;
mod rebuild;
mod render;
mod reopen;
mod work;

use error::Error;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "bootstrap", version, about = ABOUT, max_term_width = 100, after_help = AFTER_HELP)]
struct Args {
    /// The project's folder [default: the nearest one upwards with `playbooks/`].
    #[arg(
        short = 'C',
        long,
        global = true,
        value_name = "DIR",
        env = "BOOTSTRAP_DIRECTORY"
    )]
    directory: Option<PathBuf>,

    /// When to use colour.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "BOOTSTRAP_COLOR"
    )]
    color: Colour,

    /// Say what the program itself does, on standard error (twice: more).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

/// The first line of `--help`.
const ABOUT: &str = "Takes Talos Linux Kubernetes clusters from bare metal to a running GitOps platform, by playbooks; and goes on after anything";

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 a task failed, 2 usage (plan: changes are pending), 3 invalid playbook or inventory, 4 cannot start,
5 cannot resume (locked, damaged, nothing to resume), 70 a bug of ours, 130/143/129/131 interrupted by a signal.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Live progress on a terminal, plain lines elsewhere.
    Auto,
    /// Plain lines.
    Plain,
    /// One event a line, as JSON, on standard output.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a story, an epic or a task, with everything that it needs and that does not hold yet.
    Run {
        #[command(subcommand)]
        what: What<How>,
    },
    /// Go on with the last run, or with a named one, after anything that stopped it.
    Resume(ResumeHow),
    /// Rebuild a cluster, or one node of it, after a disaster; finds out which way, shows why, and asks before it destroys.
    Rebuild(rebuild::RebuildArgs),
    /// Let count what was done before an edit of the playbook, without doing it again.
    Accept {
        /// The run [default: the newest that can be gone on with], then the tasks.
        #[arg(value_name = "RUN|TASK")]
        what: Vec<String>,
        /// All tasks that are done and differ.
        #[arg(long)]
        all: bool,
        /// Why, for the journal.
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Sign off a criterion that only people can judge: `sign-off 2.1 3 --note "looked at the dashboards"`; then `resume`.
    SignOff {
        /// The story.
        story: String,
        /// The criterion: its number, with its item in brackets if it has one.
        criterion: String,
        /// What was looked at, and what was seen.
        #[arg(long, value_name = "TEXT")]
        note: String,
        /// The run [default: the newest that can be gone on with].
        #[arg(long)]
        run: Option<String>,
    },
    /// Search all that a run left behind for secrets, in every form; exit 1 if one is found.
    Audit {
        /// The run [default: the newest].
        run: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        secrets: SecretsFile,
    },
    /// Tell for the record what a run did: durations, attempts, waiting for people, criteria.
    Report {
        /// The run [default: the newest].
        run: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a run would do, and why; nothing is changed.
    Plan {
        #[command(subcommand)]
        what: What<PlanHow>,
    },
    /// Ask whether the acceptance criteria of a story or epic hold; nothing is changed.
    Verify {
        #[command(subcommand)]
        what: VerifyWhat,
    },
    /// Show where the last run, or a named one, stands.
    Status {
        /// The run [default: the newest].
        run: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the runs of this project, newest first.
    Runs {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what the processes of a run printed.
    Logs {
        /// A task, or the beginning of its name.
        task: Option<String>,
        /// The run [default: the newest].
        #[arg(long)]
        run: Option<String>,
        /// Only the names of the files.
        #[arg(long)]
        files: bool,
    },
    /// Make the files of a render target, such as `talos`.
    Render(render::RenderArgs),
    /// Check playbooks, inventory and templates; all that is wrong is told at once.
    Validate {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check what this machine has: tools and their versions, what the system lets the program do.
    Doctor {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// Which.
        shell: clap_complete::Shell,
    },
}

/// What is run or planned, and how.
#[derive(Debug, Subcommand)]
enum What<H: ClapArgs> {
    /// A story, with what it needs: `story 1.3`.
    Story {
        /// Its id.
        id: String,
        #[command(flatten)]
        how: H,
        /// Not with what it needs: refused if the criteria of those stories do not hold.
        #[arg(long)]
        only: bool,
    },
    /// All stories of an epic, with what they need.
    Epic {
        /// Its number.
        id: String,
        #[command(flatten)]
        how: H,
        /// Not with what it needs.
        #[arg(long)]
        only: bool,
    },
    /// One reusable task: `task talos:apply-node node=10.25.11.11`.
    Task {
        /// Its name.
        name: String,
        /// Its parameters, as NAME=VALUE.
        #[arg(value_name = "NAME=VALUE", value_parser = pair)]
        arguments: Vec<(String, String)>,
        #[command(flatten)]
        how: H,
    },
}

#[derive(Debug, Subcommand)]
enum VerifyWhat {
    /// The criteria of one story.
    Story {
        /// Its id.
        id: String,
        #[command(flatten)]
        how: How,
    },
    /// The criteria of all stories of an epic.
    Epic {
        /// Its number.
        id: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, ClapArgs)]
struct PlanHow {
    /// Ask the read-only questions that tell which steps have something to do.
    #[arg(long)]
    probe: bool,
    /// Like --probe, and show how written files would differ; exit 2 when changes are pending.
    #[arg(long)]
    diff: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    secrets: SecretsFile,
}

#[derive(Debug, ClapArgs)]
struct How {
    #[command(flatten)]
    advance: Advance,
    /// How many tasks at once.
    #[arg(short, long, value_name = "N", default_value_t = 16, env = "BOOTSTRAP_JOBS", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// When a task fails, go on with everything that does not depend on it.
    #[arg(short, long, conflicts_with = "fail_fast")]
    keep_going: bool,
    /// When a task fails, stop everything at once [default: let what runs end].
    #[arg(short = 'F', long)]
    fail_fast: bool,
    /// How to tell what happens.
    #[arg(short, long, value_name = "FORM", default_value = "auto")]
    output: Output,
    #[command(flatten)]
    secrets: SecretsFile,
}

#[derive(Debug, ClapArgs)]
struct ResumeHow {
    /// The run [default: the newest unfinished one].
    run: Option<String>,
    /// Say how an interrupted attempt ended that no probe can tell: `--assume done TASK`, `--assume not-done TASK`.
    #[arg(long, num_args = 2, value_names = ["done|not-done", "TASK"], action = clap::ArgAction::Append)]
    assume: Vec<String>,
    /// Why that is assumed, for the journal.
    #[arg(long, value_name = "TEXT", requires = "assume")]
    why: Option<String>,
    #[command(flatten)]
    advance: Advance,
    /// How to tell what happens.
    #[arg(short, long, value_name = "FORM", default_value = "auto")]
    output: Output,
}

#[derive(Debug, ClapArgs)]
struct Advance {
    /// Agree to ordinary confirmations in advance.
    #[arg(short, long)]
    yes: bool,
    /// Give a word in advance that a destructive step wants to be typed.
    #[arg(long, value_name = "WORD")]
    confirm: Vec<String>,
}

#[derive(Debug, ClapArgs)]
struct SecretsFile {
    /// A YAML file of references and values that stands in for every provider (tests and drills).
    #[arg(long, value_name = "FILE", env = "BOOTSTRAP_SECRETS_FILE")]
    secrets_file: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

impl<H: ClapArgs> What<H> {
    fn parts(self) -> (Selection, Extent, H) {
        let extent = |only| if only { Extent::Only } else { Extent::Whole };
        match self {
            Self::Story { id, how, only } => (Selection::Story(id), extent(only), how),
            Self::Epic { id, how, only } => (Selection::Epic(id), extent(only), how),
            Self::Task {
                name,
                arguments,
                how,
            } => (Selection::Task { name, arguments }, Extent::Whole, how),
        }
    }
}

impl How {
    fn mode(&self) -> Mode {
        match (self.keep_going, self.fail_fast) {
            (true, _) => Mode::KeepGoing,
            (false, true) => Mode::FailFast,
            (false, false) => Mode::Drain,
        }
    }
}

/// What surrounds every command.
struct Context {
    /// What was given with `-C`.
    given: Option<PathBuf>,
    /// Whether standard output and standard error are painted.
    colour_out: bool,
    colour_err: bool,
}

/// Says what stopped a command, and gives the exit code.
fn ended(end: Result<u8, Error>, colour: bool) -> ExitCode {
    let code = end.unwrap_or_else(|error| {
        // Not even the last word waits for somebody who does not read.
        put(&mut Detached::new(std::io::stderr()), &error.render(colour));
        error.code()
    });
    ExitCode::from(code)
}

/// Parses the arguments, does what they say and gives the exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are printed by clap to standard output, with exit code 0.
            let code = if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
            let printed = match error.print() {
                Err(error) if code == exit::DONE => printed::unwritten(&error, code),
                _ => Ok(code),
            };
            return ended(printed, false);
        }
    };
    trace(args.verbose);
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let coloured = |terminal: bool| match args.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && !no_colour && !dumb,
    };
    let context = Context {
        given: args.directory,
        colour_out: coloured(std::io::stdout().is_terminal()),
        colour_err: coloured(std::io::stderr().is_terminal()),
    };
    ended(dispatch(args.command, &context), context.colour_err)
}

fn dispatch(command: Command, context: &Context) -> Result<u8, Error> {
    match command {
        Command::Run { what } => {
            let (selection, extent, how) = what.parts();
            work::run(context, selection, extent, &how, None)
        }
        Command::Verify { what } => {
            let (selection, how) = match what {
                VerifyWhat::Story { id, how } => (Selection::Story(id), how),
                VerifyWhat::Epic { id, how } => (Selection::Epic(id), how),
            };
            work::run(context, selection, Extent::Criteria, &how, None)
        }
        Command::Resume(how) => work::resume(context, &how),
        Command::Rebuild(args) => rebuild::rebuild(context, args),
        Command::Accept { what, all, why } => edits::accept(context, &what, all, why),
        Command::SignOff {
            story,
            criterion,
            note,
            run,
        } => edits::sign_off(context, &story, &criterion, &note, run.as_deref()),
        Command::Audit { run, json, secrets } => {
            audit::audit(context, run.as_deref(), &secrets, json)
        }
        Command::Report { run, json } => history::report(context, run.as_deref(), json),
        Command::Plan { what } => {
            let (selection, extent, how) = what.parts();
            look::plan(context, &selection, extent, &how)
        }
        Command::Status { run, json } => history::status(context, run.as_deref(), json),
        Command::Runs { json } => history::runs(context, json),
        Command::Logs { task, run, files } => {
            history::logs(context, task.as_deref(), run.as_deref(), files)
        }
        Command::Render(args) => render::render(context, &args),
        Command::Validate { json } => look::validate(context, json),
        Command::Doctor { json } => doctor::doctor(context, json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "bootstrap", &mut script);
            printed::print(&String::from_utf8_lossy(&script), exit::DONE)
        }
    }
}

fn trace(verbose: u8) {
    let wanted = std::env::var("BOOTSTRAP_LOG").ok();
    if verbose == 0 && wanted.is_none() {
        return;
    }
    let filter = wanted.unwrap_or_else(|| {
        if verbose > 1 {
            "bootstrap=trace".into()
        } else {
            "bootstrap=debug".into()
        }
    });
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
}

impl Context {
    /// The project's folder: as given, or the nearest one upwards that has playbooks.
    fn root(&self) -> Result<PathBuf, Error> {
        let start = match &self.given {
            Some(given) => given.clone(),
            None => std::env::current_dir().map_err(|error| {
                Error::cannot_start("the current folder cannot be read", Some(&error))
            })?,
        };
        let start = start.canonicalize().map_err(|error| {
            Error::cannot_start(
                format!("there is no folder {}", start.display()),
                Some(&error),
            )
            .hint("-C names the project's folder")
        })?;
        if self.given.is_some() {
            return Ok(start);
        }
        let found = start
            .ancestors()
            .find(|folder| folder.join(PLAYBOOKS).is_dir())
            .map(Path::to_path_buf);
        Ok(found.unwrap_or(start))
    }

    fn project(&self) -> Result<Project, Error> {
        let root = self.root()?;
        Project::load(&root).map_err(|broken| {
            let (sources, problems) = all_problems(*broken);
            Error::invalid(&sources, &problems, self.colour_err)
        })
    }
}

/// What is wrong with a project: also what only a plan would tell.
fn all_problems(broken: Broken) -> (Sources, Diagnostics) {
    let mut problems = broken.problems;
    if let Some(project) = &broken.partial {
        crate::plan::further_problems(project, &mut problems);
    }
    (broken.sources, problems)
}

/// The program that gives processes a session of their own, where there is a terminal that they must not have.
fn own_sessions() -> Option<PathBuf> {
    if crate::process::session::has_terminal() {
        std::env::current_exe().ok()
    } else {
        None
    }
}

/// The caller's environment, as far as it is text.
fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Args::command().debug_assert();
    }
}
