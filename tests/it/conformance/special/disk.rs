//! Disks that are full, read-only, or not ours any more.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::room::{Found, Kind, Room};
use super::{SKIPPED, resume_and_judge, skipped, with_paper};
use crate::drill::runs;

/// Mounts need rights of their own, which many systems give to everybody in a namespace.
fn may_mount(room: &mut Room) -> bool {
    let mut probe = room
        .program("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "effects"])
        .spawn()
        .unwrap();
    room.wait(&mut probe) == "0"
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

pub(super) fn disk_full(long: bool, found: &mut Found) -> (String, String) {
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

pub(super) fn state_read_only(_: bool, found: &mut Found) -> (String, String) {
    // The user's state folder, where the locks of clusters are, is as necessary.
    let locks = read_only("../state", found);
    if locks.0 == SKIPPED || locks != ("4".to_owned(), "0".to_owned()) {
        return locks;
    }
    read_only(".bootstrap", found)
}

pub(super) fn file_read_only(_: bool, found: &mut Found) -> (String, String) {
    read_only("out", found)
}

pub(super) fn permissions_lost(_: bool, found: &mut Found) -> (String, String) {
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
