//! Exit codes: one table, which `--help` and the README repeat.

/// Done.
pub const DONE: u8 = 0;
/// A task failed.
pub const FAILED: u8 = 1;
/// The arguments are wrong.
pub const USAGE: u8 = 2;
/// `plan --diff`: changes are pending.
pub const PENDING: u8 = 2;
/// A playbook, the inventory or a template is invalid.
pub const INVALID: u8 = 3;
/// It cannot start: a tool is missing, a folder cannot be read.
pub const CANNOT_START: u8 = 4;
/// It cannot resume: locked, damaged, or nothing to resume.
pub const CANNOT_RESUME: u8 = 5;
/// A bug of ours.
pub const BUG: u8 = 70;
/// Interrupted by this signal's number and 128.
pub const fn signal(name: &str) -> u8 {
    match name.as_bytes() {
        b"SIGHUP" => 129,
        b"SIGQUIT" => 131,
        b"SIGTERM" => 143,
        _ => 130,
    }
}

/// The table, for documents and their test.
pub const TABLE: [(u8, &str); 9] = [
    (DONE, "done"),
    (FAILED, "a task failed, or a criterion is not met"),
    (
        USAGE,
        "the arguments are wrong; for `plan --diff`: changes are pending",
    ),
    (
        INVALID,
        "a playbook, the inventory or a template is invalid",
    ),
    (
        CANNOT_START,
        "it cannot start: a tool is missing, a folder cannot be read or written",
    ),
    (
        CANNOT_RESUME,
        "it cannot resume: another run works here, the journal is damaged, or there is nothing to resume",
    ),
    (BUG, "a bug of ours"),
    (130, "interrupted by Ctrl-C (SIGINT)"),
    (143, "ended by SIGTERM (129: SIGHUP, 131: SIGQUIT)"),
];
