//! The guard: ends everything when the keeper is no more.
//!
//! The keeper holds the other end of the guard's standard input and never writes anything. When the pipe is closed, by whatever ended the
//! keeper, the guard ends every process that bears the world's mark, and itself.

use std::io::{Read as _, stdin};
use std::path::Path;

use super::identity::end_marked;

/// Runs until the keeper is no more; returns the exit code.
pub(crate) fn run(folder: &Path) -> u8 {
    let mut rest = Vec::new();
    // An error is an end as well: the guard has nobody else to wait for.
    stdin().lock().read_to_end(&mut rest).ok();
    u8::from(end_marked(folder).is_err())
}
