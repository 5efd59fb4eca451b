//! With real processes. No test waits for a time to pass that matters; all that is measured in seconds is meant never to be reached.

use super::system::{Snapshot, mark};
use super::tree::pause;
use super::{Cancel, Command, Ended, Exit, Input, MARK, StartError, Stream, run};
use crate::secret::{Mask, Secret};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

fn marker() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "unit-{}-{}/",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn command(argv: &[&str]) -> Command {
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    Command::new(argv, env, "/".into(), marker())
}

fn sh(script: &str) -> Command {
    command(&["sh", "-c", script])
}

async fn end(command: Command) -> Ended {
    let marker = command.marker.clone();
    let ended = run(command, &Mask::new(), &Cancel::new(), |_| {}, |_, _| {})
        .await
        .unwrap();
    assert_eq!(alive(&marker), 0, "something of the tree is alive");
    ended
}

fn alive(marker: &str) -> usize {
    Snapshot::take()
        .trees(|process| mark(process.pid).as_deref() == Some(marker))
        .len()
}

/// Runs a command, and does something when it prints `ready`.
async fn when_ready(command: Command, act: impl Fn(&Cancel) + Send + 'static) -> Ended {
    let marker = command.marker.clone();
    let cancel = Cancel::new();
    let asked = cancel.clone();
    let lines = move |_, line: &str| {
        if line == "ready" {
            act(&asked);
        }
    };
    let ended = run(command, &Mask::new(), &cancel, |_| {}, lines)
        .await
        .unwrap();
    assert_eq!(alive(&marker), 0, "something of the tree is alive");
    ended
}

async fn logged(mut command: Command, mask: &Mask) -> (Ended, Vec<u8>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    command.log = Some(log.clone());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let note = move |_, line: &str| seen.lock().unwrap().push(line.to_owned());
    let ended = run(command, mask, &Cancel::new(), |_| {}, note)
        .await
        .unwrap();
    let lines = lines.lock().unwrap().clone();
    (ended, std::fs::read(log).unwrap(), lines)
}

#[tokio::test]
async fn code_output_and_errors_come_back() {
    let ended = end(sh("echo out; echo err >&2; exit 3")).await;
    assert_eq!(ended.exit, Exit::Code(3));
    assert_eq!(*ended.stdout, b"out\n");
    assert_eq!(*ended.stderr, "err\n");
    assert_eq!(ended.survivors_ended, 0);
    assert!(!ended.stdout_truncated);
}

#[tokio::test]
async fn a_signal_that_is_not_ours_is_told() {
    assert_eq!(end(sh("kill -9 $$")).await.exit, Exit::Signal(9));
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_the_mark() {
    let mut command = command(&["env"]);
    command.env.insert("ONLY".to_owned(), "this".to_owned());
    let mark = format!("{MARK}={}", command.marker);
    let ended = end(command).await;
    let text = String::from_utf8(ended.stdout.to_vec()).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [mark.as_str(), "ONLY=this", "PATH=/usr/bin:/bin"]);
}

#[tokio::test]
async fn started_is_told_with_an_identity_before_the_end() {
    let command = command(&["true"]);
    let marker = command.marker.clone();
    let mut identity = None;
    run(
        command,
        &Mask::new(),
        &Cancel::new(),
        |it| identity = Some(it),
        |_, _| {},
    )
    .await
    .unwrap();
    let identity = identity.unwrap();
    assert!(identity.started > 0 && identity.pid > 0 && identity.boot.len() == 36);
    assert_eq!(identity.marker, marker);
    let json = serde_json::to_string(&identity).unwrap();
    assert_eq!(
        serde_json::from_str::<super::Identity>(&json).unwrap(),
        identity
    );
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let mut command = sh("sleep 1000 & sleep 1000");
    command.timeout = Some(Duration::from_millis(50));
    let ended = end(command).await;
    assert_eq!(ended.exit, Exit::TimedOut);
    assert!(ended.elapsed < Duration::from_secs(100));
}

#[tokio::test]
async fn who_ignores_term_is_killed() {
    let mut command = sh("trap '' TERM; echo ready; while :; do sleep 1000; done");
    command.grace = Duration::from_millis(50);
    let ended = when_ready(command, Cancel::term).await;
    assert_eq!(ended.exit, Exit::Cancelled);
}

#[tokio::test]
async fn who_heeds_term_may_finish_its_words() {
    let mut command = sh("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    command.grace = Duration::from_secs(1000);
    let ended = when_ready(command, Cancel::term).await;
    assert_eq!(ended.exit, Exit::Cancelled);
    assert_eq!(*ended.stdout, b"ready\nbye\n");
}

#[tokio::test]
async fn kill_does_not_wait_for_the_grace() {
    let mut command = sh("trap '' TERM; echo ready; while :; do sleep 1000; done");
    command.grace = Duration::from_secs(1000);
    let ended = when_ready(command, Cancel::kill).await;
    assert_eq!(ended.exit, Exit::Cancelled);
}

#[tokio::test]
async fn a_second_word_cuts_the_grace_short() {
    let mut command = sh("trap 'echo ready' TERM; echo ready; while :; do sleep 0.01; done");
    command.grace = Duration::from_secs(1000);
    let words = AtomicUsize::new(0);
    let ended = when_ready(command, move |cancel| {
        if words.fetch_add(1, Ordering::Relaxed) == 0 {
            cancel.term();
        } else {
            cancel.kill();
        }
    })
    .await;
    assert_eq!(ended.exit, Exit::Cancelled);
}

#[tokio::test]
async fn law_07_the_whole_group_is_asked_to_end() {
    // A shell that waits for its child heeds a signal only when the child has ended: who asks the shell alone waits for its grace, and
    // what is killed after it says no goodbye.
    let script = "trap 'echo shell ends; exit 0' TERM; \
                  sh -c 'trap \"echo child ends; exit 0\" TERM; echo ready; while :; do sleep 0.01; done'";
    let mut command = sh(script);
    command.grace = Duration::from_secs(30);
    let ended = when_ready(command, Cancel::term).await;
    assert_eq!(ended.exit, Exit::Cancelled);
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(said, "ready\nchild ends\nshell ends\n");
}

#[tokio::test]
async fn law_07_the_whole_group_is_killed_at_one_stroke() {
    // Only the shell holds the pipe open: a child that outlives it by a moment sees that, and acts alone.
    let folder = tempfile::tempdir().unwrap();
    let script =
        "mkfifo pipe; { cat pipe; echo acts alone; touch acted; } & exec 3>pipe; echo ready; wait";
    for _ in 0..5 {
        let mut command = sh(&format!("trap '' TERM; rm -f pipe; {script}"));
        command.cwd = folder.path().to_owned();
        command.grace = Duration::from_secs(1000);
        let ended = when_ready(command, Cancel::kill).await;
        assert_eq!(ended.exit, Exit::Cancelled);
        assert_eq!(*ended.stdout, b"ready\n");
        assert!(!folder.path().join("acted").exists());
    }
}

#[tokio::test]
async fn law_07_what_is_left_of_a_group_is_killed_at_one_stroke() {
    // The first holds the pipe open, the last sees when nobody does, and between them stand so many that killing one after the other
    // gives it the time to act.
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; mkfifo pipe hold up; (exec 3>pipe; echo > up; : <hold) & \
                  for i in $(seq 200); do : <hold & done; (read line <pipe; : >acted) & read line <up";
    for _ in 0..8 {
        let mut command = sh(&format!("rm -f pipe hold up; {script}"));
        command.cwd = folder.path().to_owned();
        command.grace = Duration::from_millis(20);
        let ended = end(command).await;
        assert_eq!(ended.exit, Exit::Code(0));
        assert_eq!(ended.survivors_ended, 202);
        assert!(!folder.path().join("acted").exists());
    }
}

#[tokio::test]
async fn a_stopped_process_can_be_ended() {
    let mut command = sh("trap 'exit 0' TERM; echo ready; kill -STOP $$");
    command.grace = Duration::from_secs(1000);
    let ended = when_ready(command, Cancel::term).await;
    assert_eq!(ended.exit, Exit::Cancelled);
}

#[tokio::test]
async fn a_background_child_does_not_outlive_success() {
    let ended = end(sh("sleep 1000 >/dev/null 2>&1 & exit 0")).await;
    assert_eq!(ended.exit, Exit::Code(0));
    assert_eq!(ended.survivors_ended, 1);
}

#[tokio::test]
async fn who_left_the_group_is_found() {
    let ended = end(sh("setsid sleep 1000 >/dev/null 2>&1 & exit 0")).await;
    assert_eq!(ended.exit, Exit::Code(0));
    assert_eq!(ended.survivors_ended, 1);
}

#[tokio::test]
async fn who_forked_twice_and_ignores_term_is_found() {
    let script =
        "setsid sh -c '(trap \"\" TERM; sleep 1000; sleep 1000) & exit 0' >/dev/null 2>&1; exit 7";
    let ended = end(sh(script)).await;
    assert_eq!(ended.exit, Exit::Code(7));
    assert!(ended.survivors_ended >= 1, "{ended:?}");
}

#[tokio::test]
async fn who_left_the_group_is_found_after_a_timeout_too() {
    let mut command = sh("setsid sleep 1000 & setsid sleep 1000 & sleep 1000");
    command.timeout = Some(Duration::from_millis(100));
    let ended = end(command).await;
    assert_eq!(ended.exit, Exit::TimedOut);
}

#[tokio::test]
async fn a_pipe_held_open_does_not_hang_us() {
    for script in [
        "sleep 1000 & echo hi",
        "setsid sleep 1000 & echo hi",
        "yes >&2 & echo hi",
    ] {
        let ended = end(sh(script)).await;
        assert_eq!(ended.exit, Exit::Code(0));
        assert_eq!(*ended.stdout, b"hi\n");
        assert!(ended.elapsed < Duration::from_secs(100));
    }
}

#[tokio::test]
async fn a_child_may_close_its_pipes_and_go_on() {
    let ended = end(sh("exec >&- 2>&- <&-; sleep 0.05; exit 4")).await;
    assert_eq!(ended.exit, Exit::Code(4));
}

#[tokio::test]
async fn input_is_given_and_need_not_be_read() {
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut cat = command(&["cat"]);
    cat.stdin = Input::Bytes(Zeroizing::new(bytes.clone()));
    let ended = end(cat).await;
    assert_eq!(ended.exit, Exit::Code(0));
    assert!(*ended.stdout == bytes);

    let mut deaf = command(&["true"]);
    deaf.stdin = Input::Bytes(Zeroizing::new(bytes));
    assert_eq!(end(deaf).await.exit, Exit::Code(0));

    let mut empty = command(&["cat"]);
    empty.stdin = Input::Bytes(Zeroizing::new(Vec::new()));
    assert_eq!(end(empty).await.exit, Exit::Code(0));

    assert_eq!(end(command(&["cat"])).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn any_amount_of_output_needs_little_memory() {
    let mut command = sh("head -c 100000000 /dev/zero; head -c 1000000 /dev/zero >&2");
    command.capture = 1 << 20;
    command.log = Some("/dev/null".into());
    let before = peak();
    let ended = end(command).await;
    assert_eq!(ended.exit, Exit::Code(0));
    assert_eq!(ended.stdout.len(), 1 << 20);
    assert!(ended.stdout_truncated);
    assert_eq!(ended.stderr.len(), 64 * 1024);
    // Other tests run beside this one; a hundred megabytes would show nevertheless.
    assert!(
        peak() - before < 64 * 1024,
        "{before} kB before, {} kB after",
        peak()
    );
}

fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_log_has_the_bytes_as_they_were() {
    let (_, log, lines) = logged(sh(r"printf 'a\377\000b\r\nc\rd\n\nlast'"), &Mask::new()).await;
    assert_eq!(log, b"a\xff\x00b\r\nc\rd\n\nlast");
    assert_eq!(lines, ["a\u{fffd}\0b", "d", "", "last"]);
}

#[tokio::test]
async fn a_secret_in_pieces_is_in_no_log_and_no_line() {
    let mask = Mask::new();
    mask.add(&Secret::new("hunter22-of-the-west"));
    let script = "printf hunter; sleep 0.02; printf 22-of; printf -- '-the-west\\n'; printf hunter22 >&2; \
                  sleep 0.02; printf -- '-of-the-west' >&2; printf hunter22-of-the-wes >&2";
    let (ended, log, lines) = logged(sh(script), &mask).await;
    let log = String::from_utf8(log).unwrap();
    assert!(!log.contains("hunter22-of-the-west"), "{log}");
    assert_eq!(log.matches("[masked]").count(), 2, "{log}");
    assert!(log.ends_with("hunter22-of-the-wes"));
    assert_eq!(lines, ["[masked]", "[masked]hunter22-of-the-wes"]);
    // For probes and pipes it is what it is.
    assert_eq!(*ended.stdout, b"hunter22-of-the-west\n");
    assert!(!format!("{ended:?}").contains("hunter"));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let start = async |command: Command| {
        run(
            command,
            &Mask::new(),
            &Cancel::new(),
            |_| panic!("started"),
            |_, _| {},
        )
        .await
        .unwrap_err()
    };
    let error = start(command(&["no-such-program"])).await;
    assert!(
        matches!(&error, StartError::NotFound { program, .. } if program == "no-such-program"),
        "{error}"
    );
    let mut nowhere = command(&["true"]);
    nowhere.cwd = "/no/such/folder".into();
    assert!(matches!(start(nowhere).await, StartError::Cwd { .. }));
    let mut unlogged = command(&["true"]);
    unlogged.log = Some("/no/such/folder/log".into());
    assert!(matches!(start(unlogged).await, StartError::Log { .. }));
    assert!(matches!(start(command(&[])).await, StartError::Empty));
    assert!(matches!(
        start(command(&["true", "a\0b"])).await,
        StartError::Spawn { .. }
    ));
    let mut pathless = command(&["true"]);
    pathless.env.clear();
    assert!(matches!(start(pathless).await, StartError::NotFound { .. }));
}

#[tokio::test]
async fn a_program_beside_the_working_directory_is_found() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/pwd", folder.path().join("here")).unwrap();
    let mut command = command(&["./here"]);
    command.cwd = folder.path().to_owned();
    let ended = end(command).await;
    assert_eq!(ended.exit, Exit::Code(0));
    let said = String::from_utf8(ended.stdout.to_vec()).unwrap();
    assert_eq!(
        Path::new(said.trim()),
        folder.path().canonicalize().unwrap()
    );
}

#[tokio::test]
async fn nothing_is_started_after_a_cancellation() {
    let cancel = Cancel::new();
    let child = cancel.child();
    cancel.term();
    let error = run(command(&["true"]), &Mask::new(), &child, |_| {}, |_, _| {}).await;
    assert!(matches!(error, Err(StartError::Cancelled)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once() {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        tasks.spawn(end(sh(&format!(
            "setsid sleep 1000 >/dev/null 2>&1 & echo {number}"
        ))));
    }
    let mut said = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.unwrap();
        assert_eq!(ended.survivors_ended, 1);
        said.push(
            String::from_utf8(ended.stdout.to_vec())
                .unwrap()
                .trim()
                .parse::<u32>()
                .unwrap(),
        );
    }
    said.sort_unstable();
    assert!(said.into_iter().eq(0..64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_leaves_nothing() {
    let command = sh("trap '' TERM; setsid sleep 1000 & sleep 1000");
    let marker = command.marker.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let started = |_| tell.send(()).unwrap();
        run(command, &Mask::new(), &Cancel::new(), started, |_, _| {}).await
    });
    told.await.unwrap();
    task.abort();
    gone(&marker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_who_watches_leaves_nothing() {
    let command = sh("echo ready; setsid sleep 1000 & sleep 1000");
    let marker = command.marker.clone();
    let watcher = |_: Stream, _: &str| panic!("the terminal is broken");
    let run =
        tokio::spawn(
            async move { run(command, &Mask::new(), &Cancel::new(), |_| {}, watcher).await },
        );
    assert!(run.await.unwrap_err().is_panic());
    gone(&marker);
}

fn gone(marker: &str) {
    let begun = Instant::now();
    while alive(marker) > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(100),
            "something of the tree is alive"
        );
        pause(Duration::from_millis(5));
    }
}
