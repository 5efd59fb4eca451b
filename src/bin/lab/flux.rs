//! The played `flux`, 2.7.2: `check`, `bootstrap git`, `reconcile source git`, `envsubst`.
//!
//! Everything but data is said on stderr, as the real one does. What Flux's controllers do is in the models; here is what a call asks and waits
//! for.

mod bootstrap;
mod check;
mod reconcile;

use std::io::Read as _;

use serde_json::json;

use crate::answer::Answer;
use crate::client::{NoWay, Server};
use crate::cobra::{Invocation, Tool, duration_ms, parse};
use crate::front;
use crate::kubernetes::envsubst;
use crate::text::{lines, pretty};

/// The version of the command line, and of what it installs.
const VERSION: &str = "v2.7.2";

/// Flags that every command of the lab's `flux` takes.
const FLAGS: [&str; 5] = ["kubeconfig", "context", "namespace", "timeout", "help"];

/// How often the real tool looks while it waits, in milliseconds.
const POLL: u64 = 2_000;

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Flux, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    if call.path.is_empty() {
        return Answer::out(format!(
            "flux version {}\n",
            VERSION.trim_start_matches('v')
        ));
    }
    let played = match call.path.as_str() {
        "version" => version(&call),
        "check" => check::run(&call),
        "bootstrap git" => bootstrap::run(&call),
        "reconcile source git" => reconcile::run(&call),
        "envsubst" => substitute(&call),
        path => Err(Answer::not_played(&format!("flux {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

fn plays(call: &Invocation, own: &[&str]) -> Result<(), Answer> {
    let all: Vec<&str> = FLAGS.iter().chain(own).copied().collect();
    call.plays(&all)
}

/// How the real tool ends when something is wrong.
fn failure(why: &str) -> Answer {
    Answer::fail(1, format!("✗ {why}\n"))
}

fn server(call: &Invocation) -> Result<Server, Answer> {
    find_server(call).map_err(|why| failure(&why))
}

fn find_server(call: &Invocation) -> Result<Server, String> {
    front::server(call.flag("kubeconfig"), call.flag("context"))
}

/// What a call says that finds no way to the server, or is refused by it.
fn no_groups(server: &Server, trouble: &NoWay) -> String {
    format!(
        "failed to get server groups: {}",
        front::sentence(server, "/api", trouble)
    )
}

/// Returns the namespace; flux takes its own and not the context's.
fn namespace(call: &Invocation) -> String {
    call.flag("namespace").unwrap_or("flux-system").to_string()
}

/// Returns how long a call waits, in milliseconds.
fn timeout(call: &Invocation) -> u64 {
    let given = call.flag("timeout").and_then(|text| duration_ms(text).ok());
    given.unwrap_or(300_000)
}

fn version(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["client", "output"])?;
    if !call.switch("client", false) {
        return Err(Answer::not_played("flux version without --client"));
    }
    Ok(match call.flag("output").unwrap_or("yaml") {
        "json" => Answer::out(pretty(&json!({ "flux": VERSION }), "  ") + "\n"),
        "yaml" => Answer::out(format!("flux: {VERSION}\n")),
        other => failure(&format!("--output must be json or yaml, not {other}")),
    })
}

fn substitute(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["strict"])?;
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|why| failure(&why.to_string()))?;
    let variables = std::env::vars_os()
        .map(|(name, value)| {
            let word = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
            (word(name), word(value))
        })
        .collect();
    let mut done = Vec::new();
    // Line by line: what came before the line that fails is said.
    for line in text.lines() {
        match envsubst::text(line, &variables, call.switch("strict", false)) {
            Ok(line) => done.push(line),
            Err(why) => {
                return Ok(Answer {
                    stdout: lines(done).into_bytes(),
                    ..failure(&why)
                });
            }
        }
    }
    Ok(Answer::out(lines(done)))
}
