//! What steps print, and who reads what is said.

use std::fs;
use std::io::{self, Write as _};

use super::super::pty::Pty;
use super::super::room::{Found, Kind, Room};
use super::whole;
use crate::wait::eventually;

pub(super) fn leaves_children(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn strange_words(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn many_words(long: bool, found: &mut Found) -> (String, String) {
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
    let exit = super::super::room::word(ended);
    if exit != "0" {
        found.wrong.push(room.said());
    }
    (exit, "-".to_owned())
}

pub(super) fn outputs_closed(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn reader_gone(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn nobody_reads(_: bool, found: &mut Found) -> (String, String) {
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
