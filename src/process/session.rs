//! A process without a terminal, where there is one.
//!
//! A process in a group of its own still belongs to the session of our terminal: when it reads from `/dev/tty` the kernel stops it, and it
//! hangs until its time is over; when it writes there, it is in the picture. A session of its own has no terminal: opening one is an error
//! at once. Only a process itself can begin a session, so there is a step in between: the program starts itself with [`ARGUMENT`], begins
//! a session and becomes what was to be started. That costs a millisecond, and is done only where there is a terminal.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

/// The hidden first argument with which a program begins a session and becomes another one.
pub const ARGUMENT: &str = "__session";

/// Whether this process has a terminal that one of its children could read from.
pub fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// What the program does when its first argument is [`ARGUMENT`]; `arguments` are those after it: a program's path, and its own.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let [program, rest @ ..] = arguments else {
        return ExitCode::from(2);
    };
    // It fails for the leader of a group only, which this is not: it was started so.
    rustix::process::setsid().ok();
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing is started: this process becomes it"
    )]
    let error = std::process::Command::new(program).args(rest).exec();
    crate::process::session::complain(program, &error);
    ExitCode::from(126)
}

#[expect(clippy::print_stderr, reason = "it is all that is left to say")]
fn complain(program: &OsString, error: &std::io::Error) {
    eprintln!("{}: {error}", program.display());
}
