//! The journal is cut, changed, or the last thing that was written.

use std::fs;
use std::os::unix::process::CommandExt as _;

use bootstrap::journal::{CRASH_AFTER_LINE, Record};
use bootstrap::run::Event as Fact;

use super::super::room::{Found, Kind, Room};
use super::{kill_all, resume_and_judge};
use crate::lab::copy;

pub(super) fn any_line(long: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn cut_anywhere(long: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn changed_anywhere(long: bool, found: &mut Found) -> (String, String) {
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
