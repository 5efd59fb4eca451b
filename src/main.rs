//! The command line of `bootstrap`.

use std::process::ExitCode;

use bootstrap::cli;
use bootstrap::process::guardian;

fn main() -> ExitCode {
    // First of all: a guardian is to cost next to nothing.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == guardian::ARGUMENT)
    {
        let rest: Vec<String> = arguments
            .filter_map(|argument| argument.into_string().ok())
            .collect();
        return guardian::main(&rest);
    }
    cli::main()
}
