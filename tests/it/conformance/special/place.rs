//! Another time, another place.

use std::fmt::Write as _;
use std::fs;

use rustix::process::{Signal, kill_process};

use super::super::room::{Found, Kind, Room};
use super::{kill_all, pid, resume_and_judge};
use crate::drill::runs;
use crate::lab::copy;

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

pub(super) fn clock_back(_: bool, found: &mut Found) -> (String, String) {
    // The journal is from the future.
    clock(10, found)
}

pub(super) fn clock_forward(_: bool, found: &mut Found) -> (String, String) {
    clock(-10, found)
}

pub(super) fn strange_path(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::at("ein Haus, grün & \"雪\" $HOME 'x' %41", Kind::Session);
    let mut run = room.run(&[]);
    room.is_up(&mut run);
    kill_process(pid(&run), Signal::KILL).unwrap();
    let exit = room.wait(&mut run);
    room.is_empty_soon();
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

pub(super) fn moved(_: bool, found: &mut Found) -> (String, String) {
    let mut room = Room::new(Kind::Plain);
    let exit = kill_all(&mut room);
    let there = room.folder().join("another place");
    fs::rename(&room.project, &there).unwrap();
    room.project = there;
    let resume = resume_and_judge(&mut room, found);
    (exit, resume)
}

pub(super) fn copied(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn copied_alive(_: bool, found: &mut Found) -> (String, String) {
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
