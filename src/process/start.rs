//! stub
use super::{Cancel, Command, Ended, Identity, StartError, Stream};
use crate::secret::Mask;
/// Runs a command to its end, and the end of its whole tree.
pub async fn run(
    _command: Command,
    _mask: &Mask,
    _cancel: &Cancel,
    _started: impl FnOnce(Identity),
    _lines: impl Fn(Stream, &str) + Send + 'static,
) -> Result<Ended, StartError> {
    unimplemented!()
}
