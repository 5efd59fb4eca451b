//! The commands of `talosctl` that need no node: `gen secrets`, `gen config`, `machineconfig patch`, `validate`.

use crate::answer::Answer;
use crate::cobra::Invocation;

/// Plays the command, or returns `None` if it is not one of these.
pub(crate) fn run(call: &Invocation) -> Option<Answer> {
    match call.path.as_str() {
        "gen secrets" | "gen config" | "machineconfig patch" | "validate" => {
            Some(Answer::not_played(&format!("talosctl {}", call.path)))
        }
        _ => None,
    }
}
