//! The played `cilium` command line: `status`, `bgp peers`, `clustermesh status`, each as JSON.
//!
//! The real one asks the agents in their pods; here the models say what the agents would. As there, exit 0 says only that all could be asked:
//! what is wrong stands in the answer.

mod mesh;
mod peers;
mod status;

use serde_json::Value;

use crate::answer::Answer;
use crate::client::Server;
use crate::cobra::{Invocation, Tool, parse};
use crate::front;
use crate::kubernetes::value::text;
use crate::text::pretty;

/// Flags that every command of the lab's `cilium` takes.
const FLAGS: [&str; 5] = ["kubeconfig", "context", "namespace", "output", "help"];

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Cilium, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    let played = match call.path.as_str() {
        "version" => version(&call),
        "status" => status::run(&call),
        "bgp peers" => peers::run(&call),
        "clustermesh status" => mesh::run(&call),
        path => Err(Answer::not_played(&format!("cilium {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

fn plays(call: &Invocation, own: &[&str]) -> Result<(), Answer> {
    let all: Vec<&str> = FLAGS.iter().chain(own).copied().collect();
    call.plays(&all)?;
    match call.flag("namespace") {
        None | Some("kube-system") => Ok(()),
        Some(other) => Err(Answer::not_played(&format!("cilium -n {other}"))),
    }
}

fn server(call: &Invocation) -> Result<Server, Answer> {
    front::server(call.flag("kubeconfig"), call.flag("context"))
        .map_err(|why| Answer::fail(1, format!("unable to create Kubernetes client: {why}\n")))
}

/// How the real one ends when it cannot go on.
fn fatal(why: &str) -> Answer {
    Answer::fail(1, format!("\nError: {why}\n"))
}

/// Returns JSON as the real one prints it: one space a level, Go's order of members.
fn json(value: &Value) -> String {
    let text = pretty(value, " ").replace('<', "\\u003c");
    text.replace('>', "\\u003e").replace('&', "\\u0026") + "\n"
}

/// Returns whether a pod's program runs.
fn is_running(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Running" && pod["metadata"].get("deletionTimestamp").is_none()
}

fn version(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["client"])?;
    if !call.switch("client", false) {
        return Err(Answer::not_played("cilium version without --client"));
    }
    Ok(Answer::out(
        "cilium-cli: v0.18.7 compiled with go1.25.0 on linux/amd64\ncilium image (default): v1.18.3\ncilium image (stable): unknown\n",
    ))
}
