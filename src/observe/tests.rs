//! What is shown, at chosen moments of a run that is told by hand.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::engine::Observer;
use crate::journal::Record;
use crate::observe::history::{self, Standing, fold};
use crate::observe::view::{Counts, Frame, criteria, row, summary};
use crate::observe::words::{clean, command, count, cut, duration, limit, width};
use crate::observe::{Ending, JsonLines, Lines, listing, report};
use crate::plan::{Extent, Plan, Selection, make};
use crate::project::Project;
use crate::run::event::{Note, RunResult};
use crate::run::{Event, Run};
use crate::workspace::{RunFolder, Workspace};

mod told;

const PLAYBOOK: &str = r#"
stories:
  - id: "1.1"
    title: Prepare
    steps:
      - id: look
        title: Look around
        effect: reads
        exec: ["true"]
  - id: "1.3"
    title: Bring the control plane up
    needs: ["1.1"]
    criteria:
      - text: The API answers
        check: { that: "1 == 1" }
    steps:
      - id: apply
        title: Apply the configuration
        for_each: nodes
        exec: ["true"]
        retry: { attempts: 2, every: 5s }
        lock: etcd
"#;

const INVENTORY: &str = "
fields:
  node: { ip: ip }
clusters:
  infra:
    nodes:
      infra-01: { ip: 10.25.11.11 }
      infra-02: { ip: 10.25.11.12 }
";

const ONE: &str = "1.3/apply[infra/infra-01]";
const TWO: &str = "1.3/apply[infra/infra-02]";

pub(super) fn plan() -> Plan {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("playbooks")).unwrap();
    std::fs::write(folder.path().join("playbooks/all.yaml"), PLAYBOOK).unwrap();
    std::fs::write(folder.path().join("inventory.yaml"), INVENTORY).unwrap();
    let project = Project::load(folder.path()).unwrap();
    make(&project, &Selection::Story("1.3".into()), Extent::default()).unwrap()
}

fn event(value: Value) -> Event {
    serde_json::from_value(value).unwrap()
}

pub(super) fn begun(plan: &Plan) -> Event {
    let tasks: Vec<Value> = plan
        .tasks()
        .map(|(_, task)| json!([task.key, task.fingerprint]))
        .collect();
    event(json!({ "run-started": {
        "run": "20261123-044512-7f3a", "version": "0.1.0", "selection": { "story": "1.3" },
        "options": { "jobs": 4, "mode": "drain" }, "plan": "0011223344556677", "tasks": tasks,
        "who": { "user": "anna", "host": "laptop", "pid": 42 },
    } }))
}

pub(super) fn start(task: &str, attempt: u32) -> Event {
    event(json!({ "attempt-started": { "task": task, "attempt": attempt } }))
}

fn end(task: &str, attempt: u32, end: &Value, elapsed_ms: u64) -> Event {
    event(json!({ "attempt-ended": {
        "task": task, "attempt": attempt, "end": end, "elapsed-ms": elapsed_ms,
    } }))
}

pub(super) fn changed(task: &str, why: &str) -> Event {
    end(task, 1, &json!({ "changed": { "why": why } }), 3_200)
}

fn failed(task: &str, attempt: u32, retry: bool) -> Event {
    let failure = json!({
        "kind": "command", "message": "talosctl did not apply the configuration", "status": "exit 1",
        "command": "talosctl apply-config --nodes 10.25.11.11",
        "last-lines": ["connecting", "error: \u{1b}[31mno route\u{1b}[0m to host"],
        "hint": "is the node on?",
    });
    let how = json!({ "failed": { "failure": failure, "retry": retry } });
    end(task, attempt, &how, 64_000)
}

fn over(result: &str) -> Event {
    event(json!({ "run-ended": { "result": result } }))
}

/// A run that begins, is paused, has a retry, and fails.
fn story(plan: &Plan) -> Vec<(u64, Event)> {
    vec![
        (0, begun(plan)),
        (0, start("1.1/look", 1)),
        (
            400,
            end(
                "1.1/look",
                1,
                &json!({ "unchanged": { "why": "it only reads" } }),
                400,
            ),
        ),
        (500, start(ONE, 1)),
        (500, start(TWO, 1)),
        (
            1_000,
            event(json!({ "paused": { "task": TWO, "say": "1Password is locked: op signin" } })),
        ),
        (
            13_000,
            event(json!({ "continued": { "task": TWO, "paused-ms": 12_000 } })),
        ),
        (16_200, changed(TWO, "applied")),
        (64_500, failed(ONE, 1, true)),
        (69_500, start(ONE, 2)),
        (133_500, failed(ONE, 2, true)),
        (
            133_500,
            event(
                json!({ "task-skipped": { "task": "1.3/criterion-1", "reason": { "need": { "task": ONE } } } }),
            ),
        ),
        (133_600, over("failed")),
    ]
}

/// Plays events to an observer and returns the run.
pub(super) fn play(
    plan: &Plan,
    run: &mut Run,
    observer: &mut dyn Observer,
    events: &[(u64, Event)],
) {
    for (at, event) in events {
        let at = Duration::from_millis(*at);
        run.apply(plan, event, at).unwrap();
        observer.event(plan, run, event, at);
    }
}

/// An output to look into.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn out(&self) -> Box<dyn Write + Send> {
        Box::new(self.clone())
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn records(events: &[(u64, Event)]) -> Vec<Record<Event>> {
    let began: Timestamp = "2026-11-23T04:45:12Z".parse().unwrap();
    (1..)
        .zip(events)
        .map(|(seq, (at, event))| Record {
            seq,
            at: began + Duration::from_millis(*at),
            event: event.clone(),
        })
        .collect()
}

fn folder() -> RunFolder {
    Workspace::of(Path::new("/p")).run("20261123-044512-7f3a".parse().unwrap())
}

#[test]
fn lines_tell_a_run_that_fails() {
    let plan = plan();
    let paper = Paper::default();
    play(
        &plan,
        &mut Run::new(&plan),
        &mut Lines::new(paper.out(), false),
        &story(&plan),
    );
    insta::assert_snapshot!(paper.text(), @r"
    run        20261123-044512-7f3a  story 1.3, 4 tasks
    start      1.1/look  Look around
    unchanged  1.1/look  0.4s  it only reads
    start      1.3/apply[infra/infra-01]  Apply the configuration
    start      1.3/apply[infra/infra-02]  Apply the configuration
    paused     1.3/apply[infra/infra-02]  1Password is locked: op signin
    continued  1.3/apply[infra/infra-02]  after 12s
    changed    1.3/apply[infra/infra-02]  3.2s  applied
    retry      1.3/apply[infra/infra-01]  1m 04s  attempt 1 failed, attempt 2 in 5s: talosctl did not apply the configuration (exit 1): error: no route to host
    start      1.3/apply[infra/infra-01]  Apply the configuration (attempt 2)
    failed     1.3/apply[infra/infra-01]  1m 04s  talosctl did not apply the configuration (exit 1): error: no route to host
    skipped    1.3/criterion-1  1.3/apply[infra/infra-01] did not succeed
    end        story 1.3  failed after 2m 14s
    ");
}

#[test]
fn a_wait_is_told_once_in_thirty_seconds() {
    let plan = plan();
    let paper = Paper::default();
    let mut run = Run::new(&plan);
    let mut lines = Lines::new(paper.out(), false);
    play(
        &plan,
        &mut run,
        &mut lines,
        &[(0, begun(&plan)), (0, start("1.1/look", 1))],
    );
    let before = paper.text().len();
    let ix = plan.find(&"1.1/look".into()).unwrap();
    for second in 1..=70 {
        let note = Note::Waiting {
            seen: "node 10.25.11.11: connection refused".into(),
            elapsed_ms: second * 1000,
            within_ms: 600_000,
        };
        lines.note(&plan, &run, ix, &note, Duration::from_secs(second));
        lines.tick(&plan, &run, Duration::from_secs(second));
    }
    assert_eq!(
        &paper.text()[before..],
        "waiting    1.1/look  node 10.25.11.11: connection refused (30s of 10m)\n\
         waiting    1.1/look  node 10.25.11.11: connection refused (1m 00s of 10m)\n"
    );
}

#[test]
fn a_wish_to_stop_says_what_still_runs_and_what_to_press() {
    let plan = plan();
    let paper = Paper::default();
    let mut run = Run::new(&plan);
    let mut lines = Lines::new(paper.out(), false);
    let interrupt = || event(json!({ "interrupted": { "signal": "SIGINT" } }));
    play(
        &plan,
        &mut run,
        &mut lines,
        &[
            (0, begun(&plan)),
            (0, start("1.1/look", 1)),
            (1, interrupt()),
            (2, interrupt()),
            (3, interrupt()),
        ],
    );
    let text = paper.text();
    let said: Vec<&str> = text.lines().skip(2).collect();
    assert_eq!(
        said,
        [
            "stopping: 1 task still runs (1.1/look); press Ctrl-C again to stop it now",
            "stopping now: ending 1 task (1.1/look); press Ctrl-C again to kill what does not end",
            "killing 1 task (1.1/look)",
        ]
    );
}

#[test]
fn json_lines_have_the_events_of_the_journal() {
    let plan = plan();
    let paper = Paper::default();
    play(
        &plan,
        &mut Run::new(&plan),
        &mut JsonLines::new(paper.out()),
        &story(&plan)[..3],
    );
    let text = paper.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1..],
        [
            r#"{"elapsed-ms":0,"event":{"attempt-started":{"task":"1.1/look","attempt":1}}}"#,
            r#"{"elapsed-ms":400,"event":{"attempt-ended":{"task":"1.1/look","attempt":1,"end":{"unchanged":{"why":"it only reads"}},"elapsed-ms":400}}}"#,
        ]
    );
    for (line, (_, event)) in lines.iter().zip(&story(&plan)) {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            serde_json::from_value::<Event>(value["event"].clone()).unwrap(),
            *event
        );
    }
}

#[test]
fn the_summary_ends_with_what_failed_and_how_to_go_on() {
    let plan = plan();
    let paper = Paper::default();
    let frame = Frame {
        directory: Some(PathBuf::from("my home")),
        folder: Some(folder()),
        colour: false,
    };
    play(
        &plan,
        &mut Run::new(&plan),
        &mut Ending::new(paper.out(), frame),
        &story(&plan),
    );
    insta::assert_snapshot!(paper.text(), @r"

    story 1.1: Prepare
      unchanged  1.1/look  0.4s  it only reads

    story 1.3: Bring the control plane up
      failed   1.3/apply[infra/infra-01]  2m 08s  talosctl did not apply the configuration (exit 1): error: no route to host
      changed  1.3/apply[infra/infra-02]  3.2s    applied
      skipped  1.3/criterion-1                    1.3/apply[infra/infra-01] did not succeed
    story 1.3: 0 of 1 criterion met, 1 not checked

    story 1.3: failed after 2m 14s (12s of it waiting for people); 4 tasks: 1 changed, 1 unchanged, 1 skipped, 1 failed

    failed 1.3/apply[infra/infra-01]: Apply the configuration
      talosctl did not apply the configuration
      command: talosctl apply-config --nodes 10.25.11.11
      status: exit 1
      last lines:
        | connecting
        | error: no route to host
      log: /p/.bootstrap/runs/20261123-044512-7f3a/logs/1.3~apply[infra~infra-01].2.log
      hint: is the node on?

    to go on: bootstrap -C 'my home' resume
    ");
}

#[test]
fn law_12_the_end_of_a_run_and_status_give_the_same_reasons() {
    let plan = plan();
    let events = story(&plan);
    for end in [None, Some("failed"), Some("cancelled")] {
        for upto in 1..events.len() {
            let mut events = events[..upto].to_vec();
            if end == Some("cancelled") {
                let signal = json!({ "interrupted": { "signal": "SIGINT" } });
                events.push((900_000, event(signal)));
            }
            events.extend(end.map(|result| (900_000, over(result))));
            let mut run = Run::new(&plan);
            play(
                &plan,
                &mut run,
                &mut Lines::new(Paper::default().out(), false),
                &events,
            );
            if end.is_none() && upto == 1 {
                assert_eq!(Counts::of(&plan, &run).words(), "4 tasks: 4 not started");
            }
            let told = fold(&records(&events), true).unwrap();
            for ((ix, task), told) in plan.tasks().zip(told.tasks) {
                let shown = row(&plan, &run, ix, Duration::ZERO).why;
                assert_ne!(shown, "", "{} of {upto}", task.key);
                // What is tried again says also when, which a journal does not know.
                let shown = match shown.split_once(": ") {
                    Some((when, why)) if when.starts_with("attempt ") => why,
                    _ => shown.as_str(),
                };
                assert_eq!(shown, told.why, "{} of {upto}, {end:?}", task.key);
            }
        }
    }
}

#[test]
fn criteria_are_counted_for_their_story() {
    let plan = plan();
    let mut run = Run::new(&plan);
    let paper = Paper::default();
    let mut events = story(&plan);
    events.truncate(8);
    events.push((17_000, changed(ONE, "applied")));
    events.push((17_000, start("1.3/criterion-1", 1)));
    play(
        &plan,
        &mut run,
        &mut Lines::new(paper.out(), false),
        &events,
    );
    assert_eq!(
        criteria(&plan, &run, "1.3").unwrap().sentence("1.3"),
        "story 1.3: 0 of 1 criterion met, 1 not checked"
    );
    let rest = [
        (
            18_000,
            end(
                "1.3/criterion-1",
                1,
                &json!({ "unchanged": { "why": "1 == 1" } }),
                10,
            ),
        ),
        (18_000, over("done")),
    ];
    play(&plan, &mut run, &mut Lines::new(paper.out(), false), &rest);
    assert_eq!(criteria(&plan, &run, "1.1"), None);
    let times = (Duration::from_secs(18), Duration::ZERO);
    let text = summary(&plan, &run, RunResult::Done, times, &Frame::default());
    assert!(text.contains("\nstory 1.3: 1 of 1 criterion met\n"));
    assert!(
        text.ends_with(
            "story 1.3: done after 18s; 4 tasks: 2 changed, 2 unchanged
"
        ),
        "{text}"
    );
}

#[test]
fn a_plan_is_listed_the_same_each_time() {
    let text = listing::list(&plan(), None).text(false);
    assert_eq!(text, listing::list(&plan(), None).text(false));
    insta::assert_snapshot!(text, @r"
    story 1.1: Prepare
      1.1/look  reads  Look around

    story 1.3: Bring the control plane up
      1.3/apply[infra/infra-01]  idempotent  Apply the configuration  after 1 task; lock etcd
      1.3/apply[infra/infra-02]  idempotent  Apply the configuration  after 1 task; lock etcd
      1.3/criterion-1            reads       The API answers          after 2 tasks

    story 1.3: 4 tasks in 2 stories
    ");
}

#[test]
fn a_plan_shows_what_the_world_answered() {
    let plan = plan();
    let ix = plan.find(&ONE.into()).unwrap();
    let answers = [(ix, ("met".to_owned(), "node is ours".to_owned()))].into();
    let listed = listing::list(&plan, Some(&answers));
    assert!(
        listed.text(false).contains("met  1.3/apply[infra/infra-01]  idempotent  Apply the configuration  node is ours (after 1 task; lock etcd)"),
        "{}",
        listed.text(false)
    );
    let value: Value = serde_json::from_str(&listed.json()).unwrap();
    assert_eq!(value["tasks"][1]["answer"], "met");
    assert_eq!(value["tasks"][1]["needs"], json!(["1.1/look"]));
}

#[test]
fn an_output_that_is_gone_is_not_written_to_again() {
    struct Gone(Arc<Mutex<u32>>);
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            *self.0.lock().unwrap() += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let plan = plan();
    let writes = Arc::new(Mutex::new(0));
    let mut lines = Lines::new(Box::new(Gone(Arc::clone(&writes))), false);
    play(&plan, &mut Run::new(&plan), &mut lines, &story(&plan));
    assert_eq!(*writes.lock().unwrap(), 1);
}

#[test]
fn durations_are_for_people() {
    let said = |ms| duration(Duration::from_millis(ms));
    assert_eq!(
        [
            said(0),
            said(3_240),
            said(9_949),
            said(9_950),
            said(59_499),
            said(59_500),
            said(64_000),
            said(3_599_600),
            said(7_384_000)
        ],
        [
            "0.0s", "3.2s", "9.9s", "10s", "59s", "1m 00s", "1m 04s", "1h 00m", "2h 03m"
        ]
    );
    let at_most = |seconds| limit(Duration::from_secs(seconds));
    assert_eq!(
        [
            at_most(5),
            at_most(30),
            at_most(600),
            at_most(90),
            at_most(7200)
        ],
        ["5s", "30s", "10m", "1m 30s", "2h"]
    );
}

#[test]
fn plurals_are_right() {
    assert_eq!(count(1, "task"), "1 task");
    assert_eq!(count(0, "task"), "0 tasks");
    assert_eq!(count(8, "criterion"), "8 criteria");
    assert_eq!(count(2, "story"), "2 stories");
}

#[test]
fn text_from_elsewhere_cannot_move_the_cursor() {
    assert_eq!(
        clean("a\u{1b}[2Jb\tc\r\nd\u{7}\u{1b}]0;title\u{7}\u{202e}e  "),
        "ab c  de"
    );
}

#[test]
fn text_is_cut_by_columns_and_not_by_characters() {
    assert_eq!(cut("abcdef", 6), "abcdef");
    assert_eq!(cut("abcdef", 4), "abc…");
    assert_eq!(cut("漢字漢字", 6), "漢字…");
    assert_eq!(cut("abc", 0), "");
    for columns in 0..12 {
        assert!(width(&cut("e\u{301} 漢字 🚀 done", columns)) <= columns);
    }
}

#[test]
fn a_command_line_can_be_typed_as_it_is_shown() {
    assert_eq!(command(None, "resume"), "bootstrap resume");
    assert_eq!(
        command(Some(Path::new("/srv/it's here")), "resume"),
        "bootstrap -C '/srv/it'\\''s here' resume"
    );
}
