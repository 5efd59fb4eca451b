//! The played `talosctl`, version 1.11.2.
//!
//! Each command declares which of the tool's flags it plays; the others end with the lab's own error. What the commands
//! say is the real tool's, word for word; what they find is the world's.

mod apply;
mod bootstrap;
mod config;
mod etcd;
mod get;
mod health;
mod kubeconfig;
pub(crate) mod offline;
mod power;
mod resources;
mod service;
mod small;
pub(crate) mod talosconfig;
mod wire;

use crate::answer::Answer;
use crate::cobra::{Invocation, Tool, parse};
use crate::room::Room;

/// The flags that every node command has and the lab plays.
const COMMON: [&str; 6] = [
    "talosconfig",
    "context",
    "endpoints",
    "nodes",
    "insecure",
    "help",
];

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Talosctl, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    if let Some(answer) = offline::run(&call) {
        return answer;
    }
    let room = match Room::open() {
        Ok(room) => room,
        Err(answer) => return answer,
    };
    let played = match call.path.as_str() {
        "version" => small::version(&call, &room),
        "time" => small::time(&call, &room),
        "read" => small::read(&call, &room),
        "apply-config" => apply::run(&call, &room),
        "bootstrap" => bootstrap::run(&call, &room),
        "get" => get::run(&call, &room),
        "etcd members" => etcd::members(&call, &room),
        "etcd status" => etcd::status(&call, &room),
        "etcd snapshot" => etcd::snapshot(&call, &room),
        "etcd remove-member" => etcd::remove_member(&call, &room),
        "service" => service::run(&call, &room),
        "health" => health::run(&call, &room),
        "kubeconfig" => kubeconfig::run(&call, &room),
        "reset" => power::reset(&call, &room),
        "reboot" => power::reboot(&call, &room),
        path if path.starts_with("config ") => config::run(&call),
        path => Err(Answer::not_played(&format!("talosctl {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

/// Refuses the flags that a command does not play.
fn plays(call: &Invocation, own: &[&str]) -> Result<(), Answer> {
    let all: Vec<&str> = COMMON.iter().chain(own).copied().collect();
    call.plays(&all)
}
