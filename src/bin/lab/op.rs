//! The played 1Password CLI, `op` 2.32.

use crate::answer::Answer;

/// Plays a call.
pub(crate) fn run(_words: &[String]) -> Answer {
    Answer::not_played("op")
}
