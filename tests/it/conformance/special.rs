//! The rows that are single cases.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Child;

use bootstrap::journal::{CRASH_AFTER_LINE, Record};
use bootstrap::run::Event as Fact;
use rustix::process::{Pid, Signal, kill_process};

use super::pty::Pty;
use super::room::{Found, Kind, Room};
use crate::drill::runs;
use crate::lab::copy;
use crate::wait::eventually;

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

fn any_line(long: bool, found: &mut Found) -> (String, String) {
    let mut ends = ("SIGKILL".to_owned(), "0".to_owned());
    for line in (1..).step_by(if long { 1 } else { 5 }) {
        let mut room = Room::new(Kind::Plain);
        room.open_gate();
        let mut command = room.command(&Room::run_words());
        let mut run = command
            .env(CRASH_AFTER_LINE, line.to_string())
            .process_group(0)
            .spawn()
            .unwrap();
        let exit = room.wait(&mut run);
        if exit == "0" {
            assert!(line > 15, "the journal has only {line} lines");
            break;
        }
        room.is_empty_soon();
        // What was at work may have come to its end without a word: it is done again, and says of itself that it may be.
        room.may_reopen = is_at_work(&room.records());
        let resume = resume_and_judge(&mut room, found);
        if (exit.as_str(), resume.as_str()) != ("SIGKILL", "0") {
            ends = (format!("{exit} at line {line}"), resume);
        }
    }
    ends
}

/// Whether an attempt has begun and has no end.
fn is_at_work(records: &[Record<Fact>]) -> bool {
    let open = records.iter().fold(0, |open, record| match record.event {
        Fact::AttemptStarted { .. } => open + 1,
        Fact::AttemptEnded { .. } => open - 1,
        _ => open,
    });
    open > 0
}

fn cut_anywhere(long: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    room.open_gate();
    let (journal, original) = (room.journal(), room.project.clone());
    let bytes = fs::read(&journal).unwrap();
    let name = journal.strip_prefix(&original).unwrap().to_owned();
    let first = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let mut resume = "0".to_owned();
    for cut in (0..=bytes.len()).step_by(if long { 13 } else { 397 }) {
        room.project = room.folder().join(format!("cut at {cut}"));
        copy(&original, &room.project);
        fs::write(room.project.join(&name), &bytes[..cut]).unwrap();
        let ended = room.whole_run(&["resume"]);
        // Without its first line it is no run: then nothing had been done, and a new one does all.
        let good = if cut < first {
            ended == "5" && room.whole_run(&Room::run_words()) == "0"
        } else {
            ended == "0"
        };
        if !good || room.read("effects/after.file") != "whole" {
            resume = format!("{ended} when cut at {cut}");
            found.wrong.push(room.said());
        }
        room.judge_alive(found);
        room.records();
    }
    (exit, resume)
}

fn changed_anywhere(long: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    let journal = room.journal();
    let bytes = fs::read(&journal).unwrap();
    let last = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap();
    let effects = room.read("effects/subject.log");
    let mut resume = "5".to_owned();
    for at in (0..=last).step_by(if long { 5 } else { 211 }) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&journal, &changed).unwrap();
        let line = bytes[..at].split(|&byte| byte == b'\n').count();
        let ended = room.whole_run(&["resume"]);
        let said = room.said();
        if ended != "5" || !said.contains(&format!("damaged at line {line}:")) {
            resume = format!("{ended} when byte {at} is changed");
            found.wrong.push(said);
        }
        assert_eq!(fs::read(&journal).unwrap(), changed, "it is not touched");
    }
    assert_eq!(room.read("effects/subject.log"), effects, "nothing is done");
    fs::write(&journal, &bytes).unwrap();
    room.judge(found);
    (exit, resume)
}

fn leaves_children(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let simple = room.read("steps/sibling.sh");
    room.write(
        "steps/sibling.sh",
        &format!(
            "{simple}sh -c 'while :; do sleep 1; done' \"$1\" &\n\
             ( ( sh -c 'trap \"\" TERM; while :; do sleep 1; done' \"$1\" & ) & )\n\
             setsid sh -c 'while :; do sleep 1; done' \"$1\" &\n\
             env -i setsid sh -c 'while :; do /bin/sleep 1; done & exit 0' \"$1\" </dev/null >/dev/null 2>&1\n"
        ),
    );
    whole(&mut room, found)
}

/// Binary, a title for the window, a cleared screen, a bell, half a letter, and no newline.
const STRANGE: &str = r"printf 'a\000\377\376b\n\033]0;stolen\007\033[2J\033[31mred\n\302' ; printf 'x\033]0;stolen\007\033[2Jy\r\nlast\303' >&2";

fn strange_words(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    room.open_gate();
    let simple = room.read("steps/sibling.sh");
    room.write(
        "steps/sibling.sh",
        &format!("{STRANGE}\n[ -e failed ] || {{ : >failed; exit 3; }}\n{simple}"),
    );
    let harmful = |text: &[u8]| {
        text.iter()
            .any(|byte| (*byte < 0x20 && *byte != b'\n') || *byte == 0x7f)
    };
    let exit = room.whole_run(&Room::run_words());
    assert!(room.said().contains("last"), "{}", room.said());
    for words in [&["status"][..], &["runs"], &["report"]] {
        if harmful(room.said().as_bytes()) || harmful(room.told().as_bytes()) {
            found
                .wrong
                .push(format!("control characters before {words:?}"));
        }
        room.whole_run(words);
    }
    // A file or a pipe gets the bytes as they were; a terminal gets nothing that it would obey.
    assert_eq!(room.whole_run(&["logs", "1.1/sibling"]), "0");
    let log = room.log("1.1~sibling.1.log");
    let raw = b"a\0\xff\xfeb\n\x1b]0;stolen\x07\x1b[2J\x1b[31mred\n\xc2";
    assert!(
        log.windows(raw.len()).any(|part| part == raw),
        "{}",
        String::from_utf8_lossy(&log)
    );
    assert!(room.told().contains("\x1b]0;stolen"));
    let pty = Pty::new();
    let mut logs = pty.start(room.command(&["logs", "1.1/sibling"]).env("NO_COLOR", "1"));
    assert_eq!(room.wait(&mut logs), "0");
    eventually("the log on the terminal", || {
        String::from_utf8_lossy(&pty.shown())
            .contains("last")
            .then_some(())
    });
    let shown: Vec<u8> = pty
        .shown()
        .into_iter()
        .filter(|byte| *byte != b'\r')
        .collect();
    if harmful(&shown) {
        found
            .wrong
            .push(format!("control characters on the terminal: {shown:?}"));
    }
    // The moving display, too.
    let mut resume = pty.start(&room.command(&["resume"]));
    let ended = room.wait(&mut resume);
    if pty.shown().windows(2).any(|part| part == b"\x1b]") {
        found.wrong.push("the window got another title".to_owned());
    }
    room.judge_end(found);
    (exit, ended)
}

fn many_words(long: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    room.open_gate();
    let simple = room.read("steps/sibling.sh");
    let half: u64 = if long { 5_000_000_000 } else { 90_000_000 };
    room.write(
        "steps/sibling.sh",
        &format!(
            "yes 'a line of a talkative tool' | head -c {half}\nhead -c {half} /dev/zero\n{simple}"
        ),
    );
    let mut run = room.run(&[]);
    let status = format!("/proc/{}/status", run.id());
    let mut peak = 0;
    let ended = eventually("the end", || {
        let now = fs::read_to_string(&status).unwrap_or_default();
        let now = now.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = now.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(now.unwrap_or(0));
        run.try_wait().unwrap()
    });
    if peak > 100 * 1024 {
        found.wrong.push(format!("it took {peak} kB of memory"));
    }
    let log = room.log("1.1~sibling.1.log").len();
    if log > 80_000_000 {
        found.wrong.push(format!("its log has {log} bytes"));
    }
    room.judge_end(found);
    let exit = super::room::word(ended);
    if exit != "0" {
        found.wrong.push(room.said());
    }
    (exit, "-".to_owned())
}

fn reads_terminal(_: bool, found: &mut Found) -> (String, String) {
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

fn terminal_closed(_: bool, found: &mut Found) -> (String, String) {
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

fn typed_interrupt(_: bool, found: &mut Found) -> (String, String) {
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

fn typed_stop(_: bool, found: &mut Found) -> (String, String) {
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
            .all(|(pid, _)| super::is_stopped(*pid))
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

fn stopped_in_container(_: bool, found: &mut Found) -> (String, String) {
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

fn outputs_closed(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    room.open_gate();
    let mut words = vec![
        "-c",
        "exec \"$0\" \"$@\" <&- >&- 2>&-",
        env!("CARGO_BIN_EXE_bootstrap"),
    ];
    words.extend(Room::run_words());
    let mut run = room.program("sh").args(words).spawn().unwrap();
    let exit = room.wait(&mut run);
    room.judge_end(found);
    (exit, "-".to_owned())
}

fn reader_gone(_: bool, found: &mut Found) -> (String, String) {
    let mut exit = String::new();
    for form in ["plain", "json"] {
        let mut room = Room::new(Kind::Plain);
        room.open_gate();
        let (reader, out) = io::pipe().unwrap();
        drop(reader);
        let mut command = room.command(&Room::run_words());
        command.args(["--output", form]);
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let at = words.iter().position(|word| word == "--output").unwrap();
        let mut run = room
            .program(env!("CARGO_BIN_EXE_bootstrap"))
            .args(&words[..at])
            .args(&words[at + 2..])
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        exit = room.wait(&mut run);
        room.judge_end(found);
        if exit != "0" {
            break;
        }
    }
    (exit, "-".to_owned())
}

fn nobody_reads(_: bool, found: &mut Found) -> (String, String) {
    let mut exit = String::new();
    for form in ["plain", "json"] {
        let mut room = Room::new(Kind::Plain);
        room.open_gate();
        let (reader, mut out) = io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&out).unwrap();
        rustix::fs::fcntl_setfl(&out, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        while out.write(&[b'.'; 4096]).is_ok() {}
        rustix::fs::fcntl_setfl(&out, flags).unwrap();
        let mut words = Room::run_words();
        let at = words.iter().position(|word| *word == "plain").unwrap();
        words[at] = form;
        let mut command = room.command(&words);
        let mut run = command
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        drop(command);
        exit = room.wait(&mut run);
        drop(reader);
        room.judge_end(found);
        if exit != "0" {
            break;
        }
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

/// Mounts need rights of their own, which many systems give to everybody in a namespace.
fn may_mount(room: &mut Room) -> bool {
    let mut probe = room
        .program("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "effects"])
        .spawn()
        .unwrap();
    room.wait(&mut probe) == "0"
}

fn skipped(why: &str) -> (String, String) {
    (SKIPPED.to_owned(), why.to_owned())
}

/// Lets the state folder be a disk of so many pages and files, makes more room when the run has ended, and goes on.
const FULL: &str = r#"
mkdir .bootstrap out && mount -t tmpfs -o "$1" none .bootstrap && mount -t tmpfs -o "$2" none out || exit 99
shift 2
"$@" ; echo $? >first
mount -o remount,nr_blocks=10000,nr_inodes=10000 .bootstrap && mount -o remount,nr_blocks=10000 out || exit 99
"$1" resume; code=$?
[ $code = 0 ] || [ $code = 1 ] && [ $code != 1 ] || { echo "no resume: $code"; "$@"; code=$?; }
echo $code >second
cp -R .bootstrap state; cp -R out written
"#;

fn disk_full(long: bool, found: &mut Found) -> (String, String) {
    if !may_mount(&mut Room::new(Kind::Plain)) {
        return skipped("nothing may be mounted here, not even in a namespace");
    }
    let mut disks: Vec<(String, &str)> = Vec::new();
    let step = if long { 1 } else { 4 };
    for pages in (1..=24).step_by(step) {
        disks.push((format!("nr_blocks={pages},nr_inodes=1000"), "nr_blocks=100"));
    }
    for files in (2..=16).step_by(step) {
        disks.push((format!("nr_blocks=1000,nr_inodes={files}"), "nr_blocks=100"));
    }
    disks.push(("nr_blocks=1000".to_owned(), "nr_blocks=2"));
    let mut resume = "0".to_owned();
    let mut refused = 0;
    for (disk, out) in &disks {
        let mut room = Room::new(Kind::Plain);
        with_paper(&room);
        room.open_gate();
        let mut words = vec!["-rm", "sh", "-c", FULL, "sh", disk, out];
        words.push(env!("CARGO_BIN_EXE_bootstrap"));
        words.extend(Room::run_words());
        let mut driver = room.program("unshare").args(words).spawn().unwrap();
        assert_eq!(room.wait(&mut driver), "0", "{}", room.said());
        let (first, second) = (room.read("first"), room.read("second"));
        if !["0", "1", "4"].contains(&first.trim()) || second.trim() != "0" {
            resume = format!(
                "{}, then {} on a disk of {disk}",
                first.trim(),
                second.trim()
            );
            found.wrong.push(room.said());
        }
        refused += usize::from(first.trim() != "0");
        // The disks are gone with their namespace; what was on them is not.
        fs::remove_dir(room.project.join(".bootstrap")).unwrap();
        fs::rename(room.project.join("state"), room.project.join(".bootstrap")).unwrap();
        // A run that could not even begin is followed by another one, which is the one to judge.
        room.may_reopen = runs(&room.project).len() > 1;
        if runs(&room.project).len() == 1 {
            room.judge_end(found);
        } else {
            room.judge_alive(found);
        }
        if room.read("written/paper.txt") != room.read("templates/paper") {
            found.wrong.push("the written file is not whole".to_owned());
        }
    }
    assert!(refused > disks.len() / 3, "the disk was hardly ever full");
    ("0, 1 or 4".to_owned(), resume)
}

/// The same with a folder that is read-only at first.
const READ_ONLY: &str = r#"
mkdir -p "$1" && mount -t tmpfs none "$1" && mount -o remount,ro "$1" || exit 99
folder=$1; shift
"$@"; echo $? >first
mount -o remount,rw "$folder" || exit 99
code=5; [ -e .bootstrap/runs ] && { "$1" resume; code=$?; }
[ $code != 5 ] || { "$@"; code=$?; }
echo $code >second
[ "$folder" = .bootstrap ] && cp -R .bootstrap state
cp -R out written 2>/dev/null
exit 0
"#;

fn read_only(folder: &str, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    if !may_mount(&mut room) {
        return skipped("nothing may be mounted here, not even in a namespace");
    }
    with_paper(&room);
    room.open_gate();
    let mut words = vec!["-rm", "sh", "-c", READ_ONLY, "sh", folder];
    words.push(env!("CARGO_BIN_EXE_bootstrap"));
    words.extend(Room::run_words());
    let mut driver = room.program("unshare").args(words).spawn().unwrap();
    assert_eq!(room.wait(&mut driver), "0", "{}", room.said());
    let said = room.said();
    if room.project.join("state").exists() {
        fs::remove_dir(room.project.join(".bootstrap")).unwrap();
        fs::rename(room.project.join("state"), room.project.join(".bootstrap")).unwrap();
    }
    if !said.contains("Read-only") {
        found.wrong.push(format!("it does not say why: {said}"));
    }
    room.judge_end(found);
    if room.read("written/paper.txt") != room.read("templates/paper")
        && room.read("out/paper.txt") != room.read("templates/paper")
    {
        found.wrong.push("the written file is not whole".to_owned());
    }
    let ends = (
        room.read("first").trim().to_owned(),
        room.read("second").trim().to_owned(),
    );
    if ends.1 != "0" {
        found.wrong.push(said);
    }
    ends
}

fn state_read_only(_: bool, found: &mut Found) -> (String, String) {
    // The user's state folder, where the locks of clusters are, is as necessary.
    let locks = read_only("../state", found);
    if locks.0 == SKIPPED || locks != ("4".to_owned(), "0".to_owned()) {
        return locks;
    }
    read_only(".bootstrap", found)
}

fn file_read_only(_: bool, found: &mut Found) -> (String, String) {
    read_only("out", found)
}

fn permissions_lost(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    // The superuser may do everything, unless it is told that it may not.
    let mut words = if rustix::process::geteuid().is_root() {
        vec!["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    } else {
        vec!["env"]
    };
    words.push(env!("CARGO_BIN_EXE_bootstrap"));
    words.extend(Room::run_words());
    let mut run = room.program(words[0]).args(&words[1..]).spawn().unwrap();
    room.is_up(&mut run);
    let state = room.project.join(".bootstrap");
    let mode = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    mode(0);
    room.open_gate();
    let exit = room.wait(&mut run);
    mode(0o700);
    room.judge_alive(found);
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

/// Moves the times of a journal by so many years, with checksums that fit, and its folder's name.
fn set_clock(room: &Room, years: i64) {
    let journal = room.journal();
    let text = fs::read_to_string(&journal).unwrap();
    let year = |text: &str| -> i64 { text[..4].parse().unwrap() };
    let mut sum = 0;
    let mut moved = String::new();
    for line in text.lines() {
        let head = &line[..line.len() - 18];
        let (before, at) = head.split_once("\"at\":\"").unwrap();
        let head = format!("{before}\"at\":\"{}{}", year(at) + years, &at[4..]);
        let mut hasher = crc32fast::Hasher::new_with_initial(sum);
        hasher.update(head.as_bytes());
        sum = hasher.finalize();
        writeln!(moved, "{head},\"sum\":\"{sum:08x}\"}}").unwrap();
    }
    fs::write(&journal, moved).unwrap();
    let run = runs(&room.project).pop().unwrap();
    let name = format!("{}{}", year(&run) + years, &run[4..]);
    fs::rename(room.run_folder(&run), room.run_folder(&name)).unwrap();
}

fn clock(years: i64, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    set_clock(&room, years);
    let resume = resume_and_judge(&mut room, found);
    // Whatever the clock says: what was started last is what people mean.
    let before = runs(&room.project);
    assert_eq!(room.whole_run(&Room::run_words()), "0", "{}", room.said());
    let new = runs(&room.project)
        .into_iter()
        .find(|run| !before.contains(run))
        .unwrap();
    room.whole_run(&["status"]);
    if !room.told().contains(&new) {
        found
            .wrong
            .push(format!("{new} is not the last run: {}", room.told()));
    }
    (exit, resume)
}

fn clock_back(_: bool, found: &mut Found) -> (String, String) {
    // The journal is from the future.
    clock(10, found)
}

fn clock_forward(_: bool, found: &mut Found) -> (String, String) {
    clock(-10, found)
}

fn strange_path(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::at("ein Haus, grün & \"雪\" $HOME 'x' %41", Kind::Session);
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    kill_process(pid(&run), Signal::KILL).unwrap();
    let exit = room.wait(&mut run);
    room.is_empty_soon();
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

fn moved(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    let there = room.folder().join("another place");
    fs::rename(&room.project, &there).unwrap();
    room.project = there;
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

fn copied(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    let journal = room.journal();
    let before = fs::read(&journal).unwrap();
    let there = room.folder().join("another place");
    copy(&room.project, &there);
    room.project = there;
    let resume = resume_and_judge(&mut room, found);
    assert_eq!(
        fs::read(&journal).unwrap(),
        before,
        "the original is as it was"
    );
    (exit, resume)
}

fn copied_alive(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    let here = room.project.clone();
    let there = room.folder().join("another place");
    copy(&here, &there);
    room.project = there;
    let exit = room.whole_run(&["resume"]);
    let said = room.said();
    if !said.contains(&format!("process {}", run.id())) {
        found.wrong.push(format!("it does not say who: {said}"));
    }
    room.project = here;
    room.open_gate();
    assert_eq!(room.wait(&mut run), "0", "the original is not disturbed");
    room.judge_end(found);
    (exit, "-".to_owned())
}

fn meanwhile(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    let lines = room.records().len();
    let mut exits = Vec::new();
    for words in [&Room::run_words()[..], &["resume"]] {
        exits.push(room.whole_run(words));
        let said = room.said();
        let host = rustix::system::uname()
            .nodename()
            .to_str()
            .unwrap()
            .to_owned();
        for part in [
            format!("process {}", run.id()),
            "bootstrap run story 1.1".to_owned(),
            "of tester".to_owned(),
            format!("on {host}"),
            "since 20".to_owned(),
        ] {
            if !said.contains(&part) {
                found.wrong.push(format!("`{part}` is not said: {said}"));
            }
        }
    }
    for words in [&["status"][..], &["runs"], &["logs"], &["status", "--json"]] {
        if room.whole_run(words) != "0" {
            found.wrong.push(format!("{words:?}: {}", room.said()));
        }
    }
    assert_eq!(room.records().len(), lines, "nobody else writes");
    assert_eq!(runs(&room.project).len(), 1, "who is refused has no run");
    room.open_gate();
    assert_eq!(room.wait(&mut run), "0");
    room.judge_end(found);
    let exit = if exits == ["5", "5"] {
        "5".to_owned()
    } else {
        exits.join(", ")
    };
    (exit, "-".to_owned())
}

fn dead_lock(long: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Session);
    let mut run = room.run(&[]);
    let mut exit = String::new();
    for _ in 0..if long { 25 } else { 4 } {
        room.is_up(&mut run);
        fs::remove_file(room.project.join("up")).unwrap();
        kill_process(pid(&run), Signal::KILL).unwrap();
        exit = room.wait(&mut run);
        // At once: what the dead one had started is still being ended.
        run = room.spawn(&["resume"]);
    }
    room.is_up(&mut run);
    room.open_gate();
    let resume = room.wait(&mut run);
    room.is_empty_soon();
    room.judge_end(found);
    if resume != "0" {
        found.wrong.push(room.said());
    }
    (exit, resume)
}

fn older_run(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::DeafSession);
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    room.kill_guardian();
    kill_process(pid(&run), Signal::KILL).unwrap();
    let exit = room.wait(&mut run);
    let left = room.alive();
    assert!(!left.is_empty());
    room.judge(found);
    // A later run died before its first line; and then a third one starts.
    let old = runs(&room.project).pop().unwrap();
    let later = room.run_folder("29991231-235959-0000").join("logs");
    fs::create_dir_all(later).unwrap();
    fs::remove_file(room.project.join("up")).unwrap();
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    let alive = room.alive();
    let survivors: Vec<_> = left.iter().filter(|one| alive.contains(one)).collect();
    if !survivors.is_empty() {
        found.survivors += survivors.len();
        found
            .wrong
            .push(format!("the old run's {survivors:?} are alive"));
    }
    let named = room
        .records()
        .iter()
        .filter(|record| matches!(record.event, Fact::SurvivorEnded { .. }))
        .count();
    if named == 0 {
        found.wrong.push("nobody says what was ended".to_owned());
    }
    assert!(runs(&room.project).contains(&old));
    room.open_gate();
    let second = room.wait(&mut run);
    room.kill_the_rest();
    (exit, second)
}

fn edited(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::OnceDone);
    let exit = kill_all(&mut room);
    room.replace("playbooks/house.yaml", "timeout: 10m", "timeout: 9m");
    room.replace(
        "playbooks/house.yaml",
        "exec: [sh, steps/sibling.sh",
        "timeout: 4m\n        exec: [sh, steps/sibling.sh",
    );
    room.may_reopen = true;
    let resume = resume_and_judge(&mut room, found);
    let subject = room.read("effects/subject.log");
    if subject != "begin\n" {
        found.repeated += 1;
        found
            .wrong
            .push(format!("what must not happen twice: {subject}"));
    }
    (exit, resume)
}

fn other_steps(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    with_paper(&room);
    // The sibling had been done, and is no longer a step.
    let playbook = room.read("playbooks/house.yaml");
    let from = playbook.find("      - id: sibling\n").unwrap();
    let to = playbook.find("      - id: paper\n").unwrap();
    let without = format!("{}{}", &playbook[..from], &playbook[to..]);
    room.write(
        "playbooks/house.yaml",
        &without.replace("subject, sibling, paper", "subject, paper"),
    );
    room.may_reopen = true;
    let resume = resume_and_judge(&mut room, found);
    if room.read("out/paper.txt") != room.read("templates/paper") {
        found.wrong.push("the new step was not done".to_owned());
    }
    (exit, resume)
}

fn tampered(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    with_paper(&room);
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    room.until(
        "the written file",
        0,
        |event| matches!(event, Fact::AttemptEnded { task, .. } if task.as_str() == "1.1/paper"),
    );
    kill_process(pid(&run), Signal::KILL).unwrap();
    let exit = room.wait(&mut run);
    room.is_empty_soon();
    File::options()
        .append(true)
        .open(room.project.join("out/paper.txt"))
        .unwrap()
        .write_all(b"a line of somebody else\n")
        .unwrap();
    room.may_reopen = true;
    let resume = resume_and_judge(&mut room, found);
    if room.read("out/paper.txt") != room.read("templates/paper") {
        found.false_done += 1;
        found
            .wrong
            .push("the file is not what the step writes, and nobody says so".to_owned());
    }
    (exit, resume)
}
