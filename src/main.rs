//! The command line of `bootstrap`.

use std::process::ExitCode;

use bootstrap::cli;
use bootstrap::process::{guardian, session};

fn main() -> ExitCode {
    // First of all: a guardian is to cost next to nothing.
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    if first
        .as_ref()
        .is_some_and(|first| first == session::ARGUMENT)
    {
        return session::main(&arguments.collect::<Vec<_>>());
    }
    if first.is_some_and(|first| first == guardian::ARGUMENT) {
        let rest: Vec<String> = arguments
            .filter_map(|argument| argument.into_string().ok())
            .collect();
        return guardian::main(&rest);
    }
    cli::main()
}
