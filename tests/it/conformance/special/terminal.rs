//! The terminal: closed, typed at, read from.

use std::os::unix::process::CommandExt as _;

use bootstrap::run::Event as Fact;

use super::super::pty::Pty;
use super::super::room::{Found, Kind, Room};
use super::{resume_and_judge, skipped};
use crate::wait::eventually;

pub(super) fn reads_terminal(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    room.open_gate();
    room.replace(
        "playbooks/house.yaml",
        "exec: [sh, steps/sibling.sh",
        "timeout: 60s\n        exec: [sh, steps/sibling.sh",
    );
    let simple = room.read("steps/sibling.sh");
    room.write(
        "steps/sibling.sh",
        &format!(
            "{simple}( read -r key </dev/tty && echo \"$key\" >effects/stolen ) 2>/dev/null\n\
             read -r key && echo \"$key\" >effects/stolen\n: >effects/has-read\n"
        ),
    );
    let pty = Pty::new();
    pty.types("typed for another\n");
    let mut run = pty.start(&room.command(&Room::run_words()));
    let exit = room.wait(&mut run);
    assert!(room.project.join("effects/has-read").exists() || exit != "0");
    if room.project.join("effects/stolen").exists() {
        found.wrong.push("it got what was typed".to_owned());
    }
    room.judge_end(found);
    if exit != "0" {
        found
            .wrong
            .push(String::from_utf8_lossy(&pty.shown()).into_owned());
    }
    (exit, "-".to_owned())
}

fn live_words() -> Vec<&'static str> {
    Room::run_words()
        .into_iter()
        .filter(|word| !["--output", "plain"].contains(word))
        .collect()
}

pub(super) fn terminal_closed(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::DeafSession);
    let pty = Pty::new();
    let mut run = pty.start(&room.command(&live_words()));
    room.is_up(&mut run);
    pty.close();
    let exit = room.wait(&mut run);
    room.judge_alive(found);
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

pub(super) fn typed_interrupt(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Deaf);
    let pty = Pty::new();
    let mut run = pty.start(&room.command(&live_words()));
    room.is_up(&mut run);
    let from = room.records().len();
    pty.types("\x03");
    room.until("the first Ctrl-C", from, |event| {
        matches!(event, Fact::Interrupted { .. })
    });
    pty.types("\x03");
    let exit = room.wait(&mut run);
    room.judge_alive(found);
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

/// What a shell does for who sits at the terminal: the run is a job of its own, and `fg` goes on with it.
const JOB: &str = "set -m; \"$@\"; while [ ! -e gate ]; do sleep 0.05; done; fg; exit $?";

pub(super) fn typed_stop(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Session);
    let pty = Pty::new();
    let mut job = room.program("sh");
    job.args(["-c", JOB, "sh", env!("CARGO_BIN_EXE_bootstrap")])
        .args(live_words());
    let mut shell = pty.start(&job);
    room.is_up(&mut shell);
    pty.types("\x1a");
    eventually("all of it to stop", || {
        room.alive()
            .iter()
            .all(|(pid, _)| super::super::is_stopped(*pid))
            .then_some(())
    });
    assert!(!room.alive().is_empty());
    room.open_gate();
    let exit = room.wait(&mut shell);
    room.judge_end(found);
    if exit != "0" {
        found
            .wrong
            .push(String::from_utf8_lossy(&pty.shown()).into_owned());
    }
    (exit, "-".to_owned())
}

/// Stops what it has started, lets the subject go on, and continues it. Session 0 is one that no process here leads, and so is group 0.
const CONTAINED: &str = r#"
case $1 in own-group) set -m;; esac
shift
read -r _ _ _ _ group session _ </proc/self/stat
[ "$group/$session" = 0/0 ] || { echo "no container: group $group, session $session"; exit 97; }
"$@" & us=$!
patience() { [ $((n += 1)) -lt 4000 ] || { echo "$1 never comes"; kill -9 $us; exit 98; }; sleep 0.05; }
while [ ! -e up ]; do patience 'the subject'; done
kill -TSTP $us
while ! grep -q '^State:.T' /proc/$us/status; do patience 'the stop'; done
: >gate
kill -CONT $us
# A shell with jobs also comes back from `wait` because of the stop.
until wait $us; code=$?; ! kill -0 $us 2>/dev/null; do :; done
exit $code
"#;

pub(super) fn stopped_in_container(_: bool, found: &mut Found) -> (String, String) {
    const APART: &str = "-rpf";
    let mut room = Room::new(Kind::Plain);
    let mut probe = room.program("unshare");
    let mut probe = probe.args([APART, "--mount-proc", "true"]).spawn().unwrap();
    if room.wait(&mut probe) != "0" {
        return skipped("no PID namespace may be made here");
    }
    let mut exit = String::new();
    for group in ["own-group", "shell's-group"] {
        let mut room = Room::new(Kind::Session);
        let mut words = vec![APART, "--mount-proc", "bash", "-c", CONTAINED, "bash"];
        words.extend([group, env!("CARGO_BIN_EXE_bootstrap")]);
        words.extend(Room::run_words());
        let mut shell = room.program("unshare");
        let mut shell = shell.args(words).process_group(0).spawn().unwrap();
        exit = room.wait(&mut shell);
        room.judge_end(found);
        if exit != "0" {
            found
                .wrong
                .push(format!("{group}: {}{}", room.told(), room.said()));
            break;
        }
    }
    (exit, "-".to_owned())
}
