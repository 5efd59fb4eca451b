//! Where what is printed is the result, a result that did not arrive is no success: `bootstrap render … > file` on a full disk.

use std::fs::File;
use std::process::{Output, Stdio};

use crate::small::Small;

/// Commands whose result is what they print.
const COMMANDS: [&str; 17] = [
    "--help",
    "--version",
    "run --help",
    "completions bash",
    "validate",
    "validate --json",
    "plan story 1.1",
    "plan story 1.1 --probe",
    "status",
    "status --json",
    "runs",
    "logs",
    "logs --files",
    "report",
    "audit",
    "render card",
    "doctor",
];

fn small() -> Small {
    let small = Small::with(
        "renders: { card: { title: Card, file: card.txt, pipe: [{ render: { text: a card } }] } }\n",
        "      - { id: hello, exec: [echo, hello] }\n",
    );
    small.bootstrap("run story 1.1").success();
    small
}

fn printing_to(small: &Small, line: &str, out: Stdio) -> Output {
    let mut command = small.lab.alone_command(line.split_whitespace());
    command.stdin(Stdio::null()).stdout(out);
    command.output().unwrap()
}

#[test]
fn law_01_what_could_not_be_printed_whole_is_not_called_done() {
    let small = small();
    for line in COMMANDS {
        small.bootstrap(line).success();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let outcome = printing_to(&small, line, full.into());
        assert_eq!(
            String::from_utf8(outcome.stderr).unwrap(),
            "error: standard output cannot be written: what was printed is not whole: No space left on device (os error 28)\n",
            "{line}"
        );
        assert_eq!(outcome.status.code(), Some(4), "{line}");
    }
}

#[test]
fn a_reader_that_has_had_enough_makes_no_error() {
    let small = small();
    for line in COMMANDS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outcome = printing_to(&small, line, writer.into());
        assert_eq!(String::from_utf8(outcome.stderr).unwrap(), "", "{line}");
        assert_eq!(outcome.status.code(), Some(0), "{line}");
    }
}
