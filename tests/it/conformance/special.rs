//! The rows that are single cases.

mod disk;
mod journal;
mod outputs;
mod place;
mod runs;
mod terminal;

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::room::{Found, Room};

use disk::{disk_full, file_read_only, permissions_lost, state_read_only};
use journal::{any_line, changed_anywhere, cut_anywhere};
use outputs::{
    leaves_children, many_words, nobody_reads, outputs_closed, reader_gone, strange_words,
};
use place::{clock_back, clock_forward, copied, copied_alive, moved, strange_path};
use runs::{dead_lock, edited, meanwhile, older_run, other_steps, tampered};
use terminal::{
    reads_terminal, stopped_in_container, terminal_closed, typed_interrupt, typed_stop,
};

/// The exit of a row that this machine cannot try; its other word says why.
pub(super) const SKIPPED: &str = "skipped";

/// A row: what it is called, how the run and the resumed run must end, and how it is done.
pub(super) struct Special {
    pub(super) name: &'static str,
    pub(super) exit: &'static str,
    pub(super) resume: &'static str,
    pub(super) act: fn(long: bool, found: &mut Found) -> (String, String),
}

const fn row(
    name: &'static str,
    exit: &'static str,
    resume: &'static str,
    act: fn(bool, &mut Found) -> (String, String),
) -> Special {
    Special {
        name,
        exit,
        resume,
        act,
    }
}

pub(super) const ROWS: [Special; 30] = [
    row(
        "killed right after any line of the journal",
        "SIGKILL",
        "0",
        any_line,
    ),
    row(
        "the journal is cut at any byte",
        "SIGKILL",
        "0",
        cut_anywhere,
    ),
    row(
        "any byte before the journal's last line is changed",
        "SIGKILL",
        "5",
        changed_anywhere,
    ),
    row(
        "a step leaves four kinds of children behind when it ends",
        "0",
        "-",
        leaves_children,
    ),
    row(
        "a step prints binary, no newline, escape sequences, no UTF-8",
        "1",
        "0",
        strange_words,
    ),
    row("a step prints ten gigabytes", "0", "-", many_words),
    row("a step reads from the terminal", "0", "-", reads_terminal),
    row("the terminal is closed", "129", "0", terminal_closed),
    row("Ctrl-C at the terminal, twice", "130", "0", typed_interrupt),
    row("Ctrl-Z at the terminal, then SIGCONT", "0", "-", typed_stop),
    row(
        "SIGTSTP and SIGCONT in a container whose session began outside",
        "0",
        "-",
        stopped_in_container,
    ),
    row("the outputs are closed", "0", "-", outputs_closed),
    row("the outputs' reader is gone", "0", "-", reader_gone),
    row("nobody reads the outputs", "0", "-", nobody_reads),
    row(
        "the disk is full, at every write",
        "0, 1 or 4",
        "0",
        disk_full,
    ),
    row(
        "the state folder cannot be written",
        "4",
        "0",
        state_read_only,
    ),
    row(
        "a file that a step writes cannot be written",
        "1",
        "0",
        file_read_only,
    ),
    row(
        "permissions are lost on the way",
        "1",
        "0",
        permissions_lost,
    ),
    row(
        "the clock is set ten years back before the resume",
        "SIGKILL",
        "0",
        clock_back,
    ),
    row(
        "the clock is set ten years forward before the resume",
        "SIGKILL",
        "0",
        clock_forward,
    ),
    row(
        "the project is at a path with spaces and letters of all kinds",
        "SIGKILL",
        "0",
        strange_path,
    ),
    row(
        "the project is moved before the resume",
        "SIGKILL",
        "0",
        moved,
    ),
    row(
        "the project is copied before the resume",
        "SIGKILL",
        "0",
        copied,
    ),
    row(
        "a copy of a project at work is resumed",
        "5",
        "-",
        copied_alive,
    ),
    row(
        "a second run, resume, status, runs and logs meanwhile",
        "5",
        "-",
        meanwhile,
    ),
    row(
        "the lock of a dead run is taken at once",
        "SIGKILL",
        "0",
        dead_lock,
    ),
    row(
        "an older run has left processes, and a new one starts",
        "SIGKILL",
        "0",
        older_run,
    ),
    row(
        "the step is edited before the resume",
        "SIGKILL",
        "0",
        edited,
    ),
    row(
        "a step is added and one is taken away before the resume",
        "SIGKILL",
        "0",
        other_steps,
    ),
    row(
        "a rendered file is changed before the resume",
        "SIGKILL",
        "0",
        tampered,
    ),
];

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Kills everything at once: guardian, runner, steps.
fn kill_all(room: &mut Room) -> String {
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    room.kill_guardian();
    kill_process(pid(&run), Signal::KILL).unwrap();
    let exit = room.wait(&mut run);
    room.kill_the_rest();
    exit
}

fn resume_and_judge(room: &mut Room, found: &mut Found) -> String {
    room.judge(found);
    let resume = room.resume(&[]);
    room.judge_end(found);
    if resume != "0" || !found.wrong.is_empty() {
        found.wrong.push(room.said());
    }
    resume
}

/// A run that is not hurt, to its end.
fn whole(room: &mut Room, found: &mut Found) -> (String, String) {
    room.open_gate();
    let exit = room.whole_run(&Room::run_words());
    room.judge_end(found);
    if exit != "0" {
        found.wrong.push(room.said());
    }
    (exit, "-".to_owned())
}

/// A step that writes a file from a template.
fn with_paper(room: &Room) {
    room.write("templates/paper", &"a line of the paper\n".repeat(1000));
    room.replace(
        "playbooks/house.yaml",
        "      - id: after\n",
        "      - id: paper\n        needs: [before]\n        render: { template: templates/paper, to: out/paper.txt }\n\n      - id: after\n",
    );
    room.replace(
        "playbooks/house.yaml",
        "needs: [subject, sibling]",
        "needs: [subject, sibling, paper]",
    );
}

fn skipped(why: &str) -> (String, String) {
    (SKIPPED.to_owned(), why.to_owned())
}
