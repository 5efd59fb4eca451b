//! What a journal remembers of attempts, files and people.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{changed, key, plan_of, resumed, run_started, started};
use crate::plan::{Fingerprint, Ingredients, MadeOf, TaskKey};
use crate::run::past::{Attempted, Signed};
use crate::run::{Event, Past};

/// The past of these events, a second apart.
fn past(events: &[Event]) -> Past {
    Past::of((0_i64..).zip(events).map(|(at, event)| (event, second(at))))
}

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

fn process(at: usize, attempt: u32, pid: u64) -> Event {
    Event::ProcessStarted {
        task: key(at),
        attempt,
        identity: serde_json::json!({ "pid": pid }),
        command: format!("apply {attempt}"),
    }
}

fn asking(at: usize, attempt: u32) -> Event {
    Event::AttemptStarted {
        task: key(at),
        attempt,
        in_doubt: true,
    }
}

#[test]
fn law_03_an_attempt_that_only_asked_does_not_hide_the_one_in_doubt() {
    let plan = plan_of(&[vec![]], &[]);
    let mut events = vec![
        run_started(&plan),
        started(0, 1),
        process(0, 1, 7),
        resumed(&plan),
        asking(0, 2),
    ];
    let told = |events: &[Event]| -> (u32, i64, Option<(u64, String)>) {
        let past = past(events);
        let Attempted {
            attempt,
            at,
            process,
            who,
        } = past.attempts()[&key(0)].clone();
        assert_eq!((who.user.as_str(), who.pid), ("u", 1));
        (attempt, at.as_second(), process)
    };
    assert_eq!(told(&events), (1, 1, Some((7, "apply 1".to_owned()))));
    // With a process of its own it may have done something itself.
    events.push(process(0, 2, 8));
    assert_eq!(told(&events), (2, 4, Some((8, "apply 2".to_owned()))));
    events.push(started(0, 3));
    assert_eq!(told(&events), (3, 6, None));
}

#[test]
fn the_last_writer_of_a_file_and_what_people_signed_are_remembered() {
    let plan = plan_of(&[vec![], vec![]], &[]);
    let wrote = |at, text: &str| Event::FileWritten {
        task: key(at),
        attempt: 1,
        file: "out".into(),
        fingerprint: Fingerprint::of(&[text]),
    };
    let said = |at, note: Option<&str>| Event::Confirmed {
        task: key(at),
        who: "u".into(),
        how: "typed".into(),
        note: note.map(str::to_owned),
    };
    let past = past(&[
        run_started(&plan),
        wrote(0, "a"),
        changed(0, 1),
        wrote(1, "b"),
        said(0, None),
        said(1, Some("warm")),
    ]);
    let files: Vec<_> = past.files().collect();
    assert_eq!(files, [("out", &key(1), &Fingerprint::of(&["b"]))]);
    let signed = Signed {
        who: "u".into(),
        at: second(5),
        note: "warm".into(),
    };
    assert_eq!(*past.signed(), BTreeMap::from([(key(1), signed)]));
}

/// What tasks are made of, as a run writes it down.
fn written(made: &[MadeOf]) -> (Vec<(TaskKey, Fingerprint)>, Ingredients) {
    let tasks = made.iter().enumerate();
    let tasks = tasks.map(|(at, made)| (key(at), made.fingerprint(&key(at))));
    (tasks.collect(), Ingredients::collect(made))
}

#[test]
fn law_06_a_task_is_compared_with_what_it_was_made_of_when_it_was_last_attempted() {
    let plan = plan_of(&[vec![], vec![]], &[]);
    let made = |text: &str| MadeOf::of(&[text], &[]);
    let planned = |mut event: Event, texts: &[MadeOf]| {
        if let Event::RunStarted { tasks, made_of, .. } | Event::RunResumed { tasks, made_of, .. } =
            &mut event
        {
            (*tasks, *made_of) = written(texts);
        }
        event
    };
    let edits = |events: &[Event], now: &[MadeOf]| -> Vec<(TaskKey, &str)> {
        let edits = past(events).edits(&plan, now);
        edits
            .into_iter()
            .map(|(key, edit)| (key, edit.word()))
            .collect()
    };
    let before = [made("a"), made("b")];
    let after = [made("a"), made("c")];
    let mut events = vec![planned(run_started(&plan), &before), started(1, 1)];
    assert_eq!(edits(&events, &before), []);
    assert_eq!(edits(&events, &after), [(key(1), "definition")]);

    // A resume that dies at once has planned the edited task, and not made it; a third task was planned, and is no more.
    events.push(planned(
        resumed(&plan),
        &[made("a"), made("c"), made("third")],
    ));
    assert_eq!(
        edits(&events, &after),
        [(key(1), "definition"), (key(2), "removed")]
    );
    events.push(started(1, 2));
    assert_eq!(edits(&events, &after), [(key(2), "removed")]);
    assert_eq!(edits(&[], &after), [(key(0), "new"), (key(1), "new")]);

    let past = past(&[planned(run_started(&plan), &before)]);
    for (texts, same) in [
        (&before[..], true),
        (&after[..], false),
        (&before[..1], false),
    ] {
        let (tasks, made_of) = written(texts);
        assert_eq!(past.planned_as(&tasks, &made_of), same);
    }
}
