//! What journals tell of runs that are over, or were.

use super::*;

#[test]
fn a_run_is_shown_from_its_journal_alone() {
    let run = fold(&records(&story(&plan())), false).unwrap();
    let frame = Frame {
        folder: Some(folder()),
        ..Frame::default()
    };
    insta::assert_snapshot!(history::status_text(&run, &frame), @r"
    story 1.1
      unchanged  1.1/look  0.4s  it only reads

    story 1.3
      failed   1.3/apply[infra/infra-01]  2m 08s  talosctl did not apply the configuration (exit 1): error: no route to host
      changed  1.3/apply[infra/infra-02]  3.2s    applied
      skipped  1.3/criterion-1                    1.3/apply[infra/infra-01] did not succeed
    story 1.3: 0 of 1 criterion met, 1 not checked

    run 20261123-044512-7f3a: story 1.3, failed
      began 2026-11-23 04:45:12 UTC by anna@laptop
      worked 2m 14s (12s of it waiting for people), last at 2026-11-23 04:47:25 UTC
      4 tasks: 1 changed, 1 unchanged, 1 skipped, 1 failed

    failed 1.3/apply[infra/infra-01]
      talosctl did not apply the configuration
      command: talosctl apply-config --nodes 10.25.11.11
      status: exit 1
      last lines:
        | connecting
        | error: no route to host
      log: /p/.bootstrap/runs/20261123-044512-7f3a/logs/1.3~apply[infra~infra-01].2.log
      hint: is the node on?

    to go on: bootstrap resume
    ");
    insta::assert_snapshot!(history::runs_text(&[run], false), @r"
    RUN                   RESULT  BEGAN                    WORKED  TASKS  WHO          GOAL
    20261123-044512-7f3a  failed  2026-11-23 04:45:12 UTC  2m 14s  2/4    anna@laptop  story 1.3
    ");
}

#[test]
fn a_report_says_who_agreed_and_what_failed() {
    let mut events = story(&plan());
    events.insert(
        1,
        (
            0,
            event(json!({ "confirmed": {
                "task": "1.1/look", "who": "anna", "how": "at the terminal", "note": "*sure*",
            } })),
        ),
    );
    insta::assert_snapshot!(report::markdown(&records(&events), false).unwrap(), @r"
    # Run 20261123-044512-7f3a: story 1.3

    - result: **failed**
    - began: 2026-11-23 04:45:12 UTC
    - worked: 2m 14s, 12s of it waiting for people
    - by: anna@laptop
    - resumed: 0 times
    - program `0.1.0`, plan `0011223344556677`
    - 4 tasks: 1 changed, 1 unchanged, 1 skipped, 1 failed

    ## Story 1.1

    | state | task | attempts | took | waited for people | why |
    |---|---|---|---|---|---|
    | unchanged | `1.1/look` | 1 | 0.4s |  | it only reads |

    ## Story 1.3

    story 1.3: 0 of 1 criterion met, 1 not checked.

    | state | task | attempts | took | waited for people | why |
    |---|---|---|---|---|---|
    | failed | `1.3/apply[infra/infra-01]` | 2 | 2m 08s |  | talosctl did not apply the configuration (exit 1): error: no route to host |
    | changed | `1.3/apply[infra/infra-02]` | 1 | 3.2s | 12s | applied |
    | skipped | `1.3/criterion-1` | 0 |  |  | 1.3/apply\[infra/infra-01\] did not succeed |

    ## Said by people

    - 2026-11-23 04:45:12 UTC `1.1/look`, confirmed by anna: at the terminal: \*sure\*

    ## Failures

    ### `1.3/apply[infra/infra-01]`

    talosctl did not apply the configuration

    - command: `talosctl apply-config --nodes 10.25.11.11`
    - status: exit 1
    - hint: is the node on?

    ```text
    connecting
    error: no route to host
    ```
    ");
}

#[test]
fn a_run_without_an_end_is_interrupted_unless_somebody_works_on_it() {
    let events = &story(&plan())[..5];
    let dead = fold(&records(events), false).unwrap();
    assert_eq!(dead.standing, Standing::Interrupted);
    assert_eq!(dead.tasks[1].word(), "in doubt");
    let alive = fold(&records(events), true).unwrap();
    assert_eq!(alive.standing, Standing::Running);
    assert_eq!(alive.tasks[1].word(), "running");
}

#[test]
fn law_12_what_is_under_way_or_not_begun_says_why() {
    let whys = |upto: usize, end: Option<&str>, held: bool| -> Vec<String> {
        let mut events = story(&plan())[..upto].to_vec();
        events.extend(end.map(|result| (900_000, over(result))));
        let run = fold(&records(&events), held).unwrap();
        run.tasks.into_iter().map(|task| task.why).collect()
    };
    assert_eq!(whys(1, None, true)[0], "its turn has not come");
    assert_eq!(whys(5, None, true)[1], "attempt 1");
    for (upto, end, why) in [
        (5, None, "the run died before its turn came"),
        (
            5,
            Some("cancelled"),
            "the run was stopped before its turn came",
        ),
        (5, Some("failed"), "the run failed before its turn came"),
        (
            9,
            Some("failed"),
            "not begun, because 1.3/apply[infra/infra-01] failed",
        ),
    ] {
        assert_eq!(whys(upto, end, false)[3], why);
    }
}

#[test]
fn a_resumed_run_forgets_the_end_but_not_the_work() {
    let mut events = story(&plan());
    events.push((
        500_000,
        event(json!({ "run-resumed": {
            "version": "0.2.0", "plan": "ffff", "who": { "user": "ben", "host": "desk", "pid": 7 },
        } })),
    ));
    events.push((500_000, start(ONE, 3)));
    events.push((501_000, start("1.9/new", 1)));
    let run = fold(&records(&events), true).unwrap();
    assert_eq!(run.standing, Standing::Running);
    assert_eq!(run.who.user, "ben");
    assert_eq!(run.resumed, 1);
    // The time between the processes is nobody's work.
    assert_eq!(run.worked_ms, 134_600);
    let words: Vec<&str> = run.tasks.iter().map(history::TaskSummary::word).collect();
    assert_eq!(
        words,
        ["unchanged", "running", "changed", "pending", "running"]
    );
}

#[test]
fn a_run_that_goes_on_with_another_plan_has_its_tasks() {
    let mut events = story(&plan());
    events.push((
        500_000,
        event(json!({ "run-resumed": {
            "version": "0.2.0", "plan": "ffff", "who": { "user": "ben", "host": "desk", "pid": 7 },
            "tasks": [["1.1/new", "a"], [TWO, "b"]],
        } })),
    ));
    let run = fold(&records(&events), true).unwrap();
    let tasks: Vec<(&str, &str)> = run
        .tasks
        .iter()
        .map(|task| (task.key.as_str(), task.word()))
        .collect();
    assert_eq!(tasks, [("1.1/new", "pending"), (TWO, "changed")]);
}

#[test]
fn a_journal_that_does_not_begin_a_run_is_no_run() {
    assert_eq!(fold(&[], false), None);
    assert_eq!(fold(&records(&[(0, start(ONE, 1))]), false), None);
}

#[test]
fn the_json_of_a_run_keeps_its_names() {
    let run = fold(&records(&story(&plan())), false).unwrap();
    let value: Value = serde_json::from_str(&history::json(&run)).unwrap();
    let names: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "run",
            "goal",
            "standing",
            "version",
            "plan",
            "began",
            "last",
            "who",
            "options",
            "resumed",
            "interrupts",
            "worked-ms",
            "people-ms",
            "counts",
            "tasks"
        ]
    );
    assert_eq!(value["standing"], "failed");
    assert_eq!(value["people-ms"], 12_000);
    assert_eq!(value["tasks"][1]["status"], "failed");
    assert_eq!(value["tasks"][1]["failure"]["kind"], "command");
    let runs: Value = serde_json::from_str(&history::runs_json(&[run])).unwrap();
    assert_eq!(runs[0]["counts"]["failed"], 1);
}

#[test]
fn logs_are_found_by_name_by_story_and_by_beginning() {
    let run = fold(&records(&story(&plan())), false).unwrap();
    let names = |wanted: &str| -> Vec<String> {
        history::logs(&run, &folder(), wanted)
            .iter()
            .map(|log| log.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(
        names(ONE),
        [
            "1.3~apply[infra~infra-01].1.log",
            "1.3~apply[infra~infra-01].2.log"
        ]
    );
    assert_eq!(names("1.3/apply").len(), 3);
    assert_eq!(names("1.1"), ["1.1~look.1.log"]);
    assert_eq!(names("1.3/app").len(), 3);
    assert!(names("2").is_empty());
}
