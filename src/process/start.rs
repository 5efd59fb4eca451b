//! From the asynchronous world to the thread that attends to one process, and back.

use super::{Cancel, Command, Ended, Identity, StartError, Stream, attempt};
use crate::secret::Mask;
use std::io::{self, Write as _};
use tokio::sync::oneshot;

/// Runs a command to its end, and to the end of its whole tree.
///
/// `started` is called once there is a process, and before this returns; a first line may overtake it. `lines` is called with every line of output,
/// masked, on the thread that attends to the process: it must be quick, and may drop what it has no room for.
///
/// If the returned future is dropped, the tree is killed, but not waited for.
pub async fn run(
    command: Command,
    mask: &Mask,
    cancel: &Cancel,
    started: impl FnOnce(Identity),
    lines: impl Fn(Stream, &str) + Send + 'static,
) -> Result<Ended, StartError> {
    if cancel.is_term() {
        return Err(StartError::Cancelled);
    }
    let spawn_error = |source: io::Error| StartError::Spawn {
        program: command.argv.first().cloned().unwrap_or_default(),
        source,
    };
    // The attendant waits in `poll`, so it must be woken by a file. That this end closes means: kill.
    let (orders, mut order) = io::pipe().map_err(spawn_error)?;
    let (tell, mut told) = oneshot::channel();
    let mask = mask.clone();
    let mut attendant =
        tokio::task::spawn_blocking(move || attempt::attempt(command, &mask, orders, tell, lines));
    let mut started = Some(started);
    let (mut termed, mut killed) = (false, false);
    loop {
        tokio::select! {
            // In this order, so that no end is told before its beginning.
            biased;
            identity = &mut told, if started.is_some() => {
                if let (Some(started), Ok(identity)) = (started.take(), identity) {
                    started(identity);
                }
            }
            ended = &mut attendant => {
                return match ended {
                    Ok(ended) => ended,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime was shut down before the attendant began.
                        Err(_) => Err(StartError::Cancelled),
                    },
                };
            }
            // An order cannot be refused: if the attendant is gone, so is the process.
            () = cancel.killed(), if !killed => {
                order.write_all(attempt::KILL).ok();
                (termed, killed) = (true, true);
            }
            () = cancel.termed(), if !termed => {
                order.write_all(attempt::TERM).ok();
                termed = true;
            }
        }
    }
}
