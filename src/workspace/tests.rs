//! The state folder and law 11.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

fn now() -> Timestamp {
    "2026-11-23T04:45:12.987Z".parse().unwrap()
}

fn holder(pid: u32) -> Holder {
    Holder {
        pid,
        host: "laptop".to_owned(),
        user: "jo".to_owned(),
        command: "bootstrap run story 1.3".to_owned(),
        since: now(),
        run: Some("20261123-044512-7f3a".to_owned()),
    }
}

#[test]
fn the_folder_is_private_and_ignored_and_may_be_there_already() {
    let project = tempfile::tempdir().unwrap();
    assert!(!Workspace::of(project.path()).exists());
    assert_eq!(Workspace::of(project.path()).runs().unwrap(), []);
    let workspace = Workspace::open_or_create(project.path()).unwrap();
    assert_eq!(
        Workspace::open_or_create(project.path()).unwrap(),
        workspace
    );
    assert!(workspace.exists());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(workspace.path()), 0o700);
    assert_eq!(
        fs::read_to_string(workspace.path().join(".gitignore")).unwrap(),
        "*\n"
    );
    let run = workspace.create_run(now(), 1).unwrap();
    assert_eq!(mode(run.path()), 0o700);
    assert!(run.logs().is_dir());
    let first = workspace.key().unwrap().fingerprint(&[b"x"]);
    assert_eq!(workspace.key().unwrap().fingerprint(&[b"x"]), first);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let project = tempfile::tempdir().unwrap();
    fs::write(project.path().join(FOLDER), "a file").unwrap();
    let error = Workspace::open_or_create(project.path()).unwrap_err();
    let path = project.path().join(FOLDER);
    assert_eq!(
        error.to_string(),
        format!("cannot create `{}`", path.display())
    );
}

#[test]
fn runs_are_listed_with_the_newest_first() {
    let project = tempfile::tempdir().unwrap();
    let workspace = Workspace::open_or_create(project.path()).unwrap();
    let later = now() + jiff::SignedDuration::from_secs(1);
    for (at, chance) in [
        (now(), 0x7f3a),
        (later, 0),
        (now(), 0xffff),
        (now(), 0xffff),
    ] {
        workspace.create_run(at, chance).unwrap();
    }
    fs::create_dir(workspace.path().join("runs/not-a-run")).unwrap();
    let runs: Vec<_> = workspace
        .runs()
        .unwrap()
        .iter()
        .map(|run| run.id().to_string())
        .collect();
    let expected = [
        // The clock went back: what was made later comes later nevertheless.
        "20261123-044513-0002",
        "20261123-044513-0001",
        "20261123-044513-0000",
        "20261123-044512-7f3a",
    ];
    assert_eq!(runs, expected);
    assert_eq!(
        workspace.newest().unwrap().unwrap().id().as_str(),
        expected[0]
    );
}

#[test]
fn only_the_name_of_a_run_is_one() {
    for bad in [
        "",
        "x",
        "20261123-044512-7F3A",
        "20261123_044512-7f3a",
        "20261123-044512-7f3",
        "../20261123-044512-7",
    ] {
        let error = bad.parse::<RunId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`{bad}` is not a run, as `20261123-044512-7f3a` is one")
        );
        assert!(serde_json::from_value::<RunId>(bad.into()).is_err());
    }
    let id: RunId = "20261123-044512-7f3a".parse().unwrap();
    assert_eq!(id, RunId::new(now(), 0x7f3a));
    assert_eq!(
        serde_json::to_string(&id).unwrap(),
        "\"20261123-044512-7f3a\""
    );
}

#[test]
fn a_second_run_is_told_who_holds_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = Lock::take(&path, &holder(1)).unwrap();
    assert_eq!(lock.left_by(), None);
    let Err(LockError::Busy(busy)) = Lock::take(&path, &holder(2)) else {
        panic!("taken twice");
    };
    assert_eq!(busy.holder.as_deref(), Some(&holder(1)));
    assert_eq!(
        busy.to_string(),
        format!(
            "`{}` is held by `bootstrap run story 1.3` (run 20261123-044512-7f3a), process 1 of jo on laptop, since 2026-11-23T04:45:12Z",
            path.display()
        )
    );
    drop(lock);
    let mut lock = Lock::take(&path, &holder(2)).unwrap();
    assert_eq!(lock.left_by(), None);
    lock.describe(&holder(3)).unwrap();
    let Err(LockError::Busy(busy)) = Lock::take(&path, &holder(4)) else {
        panic!("taken twice");
    };
    assert_eq!(busy.holder.unwrap().pid, 3);
}

#[test]
fn the_words_of_a_dead_holder_do_not_hold_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    fs::write(&path, serde_json::to_string(&holder(1)).unwrap()).unwrap();
    let lock = Lock::take(&path, &holder(2)).unwrap();
    assert_eq!(lock.left_by(), Some(&holder(1)));
}

#[test]
fn words_that_are_not_written_yet_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let file = File::create(&path).unwrap();
    file.try_lock().unwrap();
    let error = Lock::take(&path, &holder(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{}` is held by another process", path.display())
    );
}

#[cfg(target_os = "linux")]
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child that is simpler than ours"
)]
fn a_child_does_not_keep_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let lock = Lock::take(&path, &holder(1)).unwrap();
    // It lives until its input ends.
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(lock);
    // Another test may be starting a process at this moment, which has the lock until it becomes another program; this child never has.
    assert!((0..100_000).any(|_| {
        std::thread::yield_now();
        Lock::take(&path, &holder(2)).is_ok()
    }));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn logs_are_named_for_their_task() {
    assert_eq!(
        log_name("1.3/apply[infra/infra-01]", 1),
        "1.3~apply[infra~infra-01].1.log"
    );
    assert_eq!(log_name("../a b", 12), "%2e.~a%20b.12.log");
    let long = "n".repeat(300);
    assert!(log_name(&long, u32::MAX).len() <= 255);
    assert_ne!(log_name(&long, 1), log_name(&format!("{long}n"), 1));
    assert_eq!(task_of_log(&log_name(&long, 1)), None);
    assert_eq!(task_of_log("x.log"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_name_of_a_log_says_its_task(task in "[a-c./~%\\[ü \\PC]{0,15}", attempt in 1..100u32) {
        let name = log_name(&task, attempt);
        prop_assert!(!name.contains('/') && !name.starts_with('.') || task.is_empty());
        prop_assert_eq!(task_of_log(&name), Some((task, attempt)));
    }

    #[test]
    fn long_tasks_have_different_names(tasks in prop::collection::btree_set("(aaaaaaaaaaaaaaaaaaaa/){9,12}[ab]{1,3}", 2..6)) {
        let names: BTreeSet<_> = tasks.iter().map(|task| log_name(task, 1)).collect();
        prop_assert_eq!(names.len(), tasks.len());
        prop_assert!(names.iter().all(|name| name.len() < 255));
    }
}

#[test]
fn of_two_runs_of_one_second_the_later_is_the_newest() {
    let project = tempfile::tempdir().unwrap();
    let workspace = Workspace::open_or_create(project.path()).unwrap();
    workspace.create_run(now(), 0x7f3a).unwrap();
    let second = workspace.create_run(now(), 0x0001).unwrap();
    assert_eq!(second.id().as_str(), "20261123-044512-7f3b");
    assert_eq!(workspace.newest().unwrap().unwrap().id(), second.id());
}

#[test]
fn a_run_is_the_newest_although_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = Workspace::open_or_create(folder.path()).unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let names: Vec<String> = [
        ("2036-11-23T04:45:12Z", 0xfffe),
        ("2026-11-23T04:45:12Z", 7),
        ("2026-11-23T04:45:13Z", 7),
        ("2036-11-23T04:45:13Z", 0),
    ]
    .into_iter()
    .map(|(now, chance)| {
        let run = workspace.create_run(at(now), chance).unwrap();
        assert_eq!(workspace.newest().unwrap().unwrap().id(), run.id());
        run.id().to_string()
    })
    .collect();
    assert_eq!(
        names,
        [
            "20361123-044512-fffe",
            "20361123-044512-ffff",
            "20361123-044513-0000",
            "20361123-044513-0001"
        ]
    );
}

#[test]
fn every_name_that_a_run_needs_is_durable_when_the_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let names = |path: &Path| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    // What of each folder a power cut would leave: what was in it when it was last synced.
    let mut durable = std::collections::BTreeMap::new();
    let mut sync = |path: &Path| {
        durable.insert(path.to_owned(), names(path));
        Ok(())
    };
    let workspace = Workspace::made(folder.path(), &mut sync).unwrap();
    let first = workspace
        .run_made(Timestamp::UNIX_EPOCH, 0, &mut sync)
        .unwrap();
    let second = workspace
        .run_made(Timestamp::UNIX_EPOCH, 0, &mut sync)
        .unwrap();
    let runs = workspace.runs_folder();
    for path in [
        folder.path(),
        workspace.path(),
        &runs,
        first.path(),
        second.path(),
    ] {
        assert_eq!(durable.get(path), Some(&names(path)), "{}", path.display());
    }
}
