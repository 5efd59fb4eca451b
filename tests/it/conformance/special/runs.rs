//! Other runs, and other playbooks.

use std::fs::{self, File};
use std::io::Write as _;

use bootstrap::run::Event as Fact;
use rustix::process::{Signal, kill_process};

use super::super::room::{Found, Kind, Room};
use super::{kill_all, pid, resume_and_judge, with_paper};
use crate::drill::runs;

pub(super) fn meanwhile(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn dead_lock(long: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn older_run(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn edited(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn other_steps(_: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn tampered(_: bool, found: &mut Found) -> (String, String) {
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
