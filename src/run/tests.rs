//! What may follow what, what is in doubt, what is decided about; and plans and events for the tests of this module and of its neighbours.

mod lives;
mod outcome;
mod past;
mod patience;

use std::sync::Arc;

use proptest::prelude::*;

use super::event::{Options, RunResult, Who};
use super::*;
use crate::document::Span;
use crate::plan::{Fingerprint, Ingredients, Item, Selection, Task};
use crate::playbook::{Body, Effect, Retry};
use crate::template::Scope;

/// A plan of tasks `s/t0`, `s/t1`, …: each needs some of those before it; some share a lock; all may be tried three times.
pub(crate) fn plan_of(needs: &[Vec<usize>], locks: &[Option<u8>]) -> Plan {
    let mut body = Body::for_question(Duration::from_secs(1), false);
    body.effect = Effect::Idempotent;
    body.retry = Some(Retry {
        attempts: Some(3),
        within: None,
        every: Duration::from_secs(10),
        backoff: 2.0,
        at_most: Duration::from_secs(60),
        when: None,
    });
    let body = Arc::new(body);
    let tasks = needs
        .iter()
        .enumerate()
        .map(|(at, needs)| Task {
            key: TaskKey::new("s", &format!("t{at}"), ""),
            story: "s".into(),
            step: format!("t{at}"),
            item: Item::default(),
            title: String::new(),
            duty: Duty::Work(Arc::clone(&body)),
            effect: Effect::Idempotent,
            needs: needs.iter().map(|&need| TaskIx(need)).collect(),
            locks: locks
                .get(at)
                .copied()
                .flatten()
                .map(|lock| format!("lock/{lock}"))
                .into_iter()
                .collect(),
            arguments: Arc::from([]),
            parameters: Arc::from([]),
            given_in: Scope::default(),
            scope: Scope::default(),
            fingerprint: Fingerprint::of(&[&at.to_string()]),
            made_of: crate::plan::MadeOf::of(&[&at.to_string()], &[]),
            sources: Vec::new(),
            span: Span::default(),
        })
        .collect();
    Plan {
        goal: "story s".into(),
        stories: vec![("s".into(), "S".into())],
        tasks,
    }
}

pub(crate) fn any_plan() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<Option<u8>>)> {
    (1_usize..14).prop_flat_map(|count| {
        let needs = (0..count)
            .map(|at| {
                proptest::collection::vec(0..at.max(1), 0..3.min(at + 1)).prop_map(
                    move |mut needs| {
                        needs.retain(|&need| need < at);
                        needs.sort_unstable();
                        needs.dedup();
                        needs
                    },
                )
            })
            .collect::<Vec<_>>();
        (
            needs,
            proptest::collection::vec(proptest::option::weighted(0.3, 0_u8..3), count),
        )
    })
}

pub(crate) fn resumed(plan: &Plan) -> Event {
    Event::RunResumed {
        version: "0".into(),
        plan: plan.fingerprint(),
        tasks: Vec::new(),
        made_of: Ingredients::default(),
        who: Who {
            user: "u".into(),
            host: "h".into(),
            pid: 1,
        },
    }
}

pub(crate) fn run_started(plan: &Plan) -> Event {
    Event::RunStarted {
        run: "r".into(),
        version: "0".into(),
        selection: Selection::Everything,
        options: Options::default(),
        plan: plan.fingerprint(),
        tasks: Vec::new(),
        made_of: Ingredients::default(),
        who: Who {
            user: "u".into(),
            host: "h".into(),
            pid: 1,
        },
        rehearsal: None,
    }
}

fn fold(plan: &Plan, events: &[Event]) -> Run {
    let mut run = Run::new(plan);
    for event in events {
        run.apply(plan, event, Duration::ZERO).unwrap();
    }
    run
}

fn key(at: usize) -> TaskKey {
    TaskKey::new("s", &format!("t{at}"), "")
}

fn started(at: usize, attempt: u32) -> Event {
    Event::AttemptStarted {
        task: key(at),
        attempt,
        in_doubt: false,
    }
}

fn changed(at: usize, attempt: u32) -> Event {
    Event::AttemptEnded {
        task: key(at),
        attempt,
        end: AttemptEnd::Changed {
            why: "done".into(),
            outputs: BTreeMap::new(),
        },
        elapsed_ms: 1,
    }
}

fn failed(at: usize, attempt: u32) -> Event {
    ended_badly(at, attempt, true)
}

/// Another attempt would be of no use.
fn failed_for_good(at: usize, attempt: u32) -> Event {
    ended_badly(at, attempt, false)
}

fn ended_badly(at: usize, attempt: u32, retry: bool) -> Event {
    let failure = Failure::new(FailureKind::Command, "no");
    Event::AttemptEnded {
        task: key(at),
        attempt,
        end: AttemptEnd::Failed { failure, retry },
        elapsed_ms: 5,
    }
}

#[test]
fn after_the_first_failure_what_runs_is_stopped_if_anything_does() {
    let plan = plan_of(&[vec![], vec![]], &[]);
    let limits = Limits {
        jobs: 2,
        mode: Mode::FailFast,
    };
    let alone = fold(&plan, &[started(0, 1), failed_for_good(0, 1)]);
    let decisions = decide(&plan, &alone, Duration::ZERO, limits);
    assert_eq!(decisions, [Decision::Finish]);
    let beside = fold(
        &plan,
        &[started(0, 1), started(1, 1), failed_for_good(0, 1)],
    );
    let decisions = decide(&plan, &beside, Duration::ZERO, limits);
    assert_eq!(decisions, [Decision::Stop]);
}

#[test]
fn what_cannot_follow_is_refused() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    let zero = Duration::ZERO;
    assert!(matches!(
        run.apply(&plan, &failed(0, 1), zero),
        Err(Illegal::Transition { .. })
    ));
    run.apply(&plan, &started(0, 1), zero).unwrap();
    assert!(matches!(
        run.apply(&plan, &started(0, 2), zero),
        Err(Illegal::Transition { .. })
    ));
    assert!(matches!(
        run.apply(&plan, &failed(0, 2), zero),
        Err(Illegal::Transition { .. })
    ));
    assert!(matches!(
        run.apply(&plan, &started(7, 1), zero),
        Err(Illegal::NoSuchTask(_))
    ));
}

#[test]
fn attempts_are_numbered_without_gaps() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    let zero = Duration::ZERO;
    for wrong in [0, 2, u32::MAX] {
        let refused = run.apply(&plan, &started(0, wrong), zero).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "an attempt with another number cannot follow for s/t0, which is pending"
        );
    }
    run.apply(&plan, &started(0, 1), zero).unwrap();
    run.apply(&plan, &failed(0, 1), zero).unwrap();
    assert!(run.apply(&plan, &started(0, 1), zero).is_err());
    run.apply(&plan, &started(0, 2), zero).unwrap();
}

#[test]
fn law_03_an_attempt_without_an_end_is_in_doubt() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    run.apply(&plan, &started(0, 1), Duration::ZERO).unwrap();
    run.apply(&plan, &resumed(&plan), Duration::ZERO).unwrap();
    assert_eq!(*run.state(TaskIx(0)), TaskState::InDoubt { attempt: 1 });
    let limits = Limits {
        jobs: 1,
        mode: Mode::Drain,
    };
    let decisions = decide(&plan, &run, Duration::ZERO, limits);
    assert_eq!(
        decisions,
        [Decision::Start {
            task: TaskIx(0),
            attempt: 2,
            in_doubt: true
        }]
    );
}

#[test]
fn what_failed_and_said_so_is_tried_again_without_a_doubt() {
    let plan = plan_of(&[vec![]], &[]);
    let run = fold(&plan, &[started(0, 1), failed(0, 1)]);
    let limits = Limits {
        jobs: 1,
        mode: Mode::Drain,
    };
    let second = Decision::Start {
        task: TaskIx(0),
        attempt: 2,
        in_doubt: false,
    };
    let pause = Duration::from_secs(10);
    assert_eq!(
        decide(&plan, &run, Duration::ZERO, limits),
        [Decision::Sleep(pause)]
    );
    assert_eq!(decide(&plan, &run, pause, limits), [second]);
}

#[test]
fn law_03_a_doubt_outlives_a_failed_attempt_to_settle_it_and_a_need_that_failed_meanwhile() {
    let plan = plan_of(&[vec![], vec![0]], &[]);
    let zero = Duration::ZERO;
    let mut run = fold(
        &plan,
        &[started(0, 1), changed(0, 1), started(1, 1), resumed(&plan)],
    );
    let limits = Limits {
        jobs: 1,
        mode: Mode::KeepGoing,
    };
    let again = |run: &Run, now, attempt| {
        let start = Decision::Start {
            task: TaskIx(1),
            attempt,
            in_doubt: true,
        };
        assert_eq!(decide(&plan, run, now, limits), [start]);
    };
    again(&run, zero, 2);
    run.apply(&plan, &started(1, 2), zero).unwrap();
    run.apply(&plan, &failed(1, 2), zero).unwrap();
    again(&run, Duration::from_secs(60), 3);

    // Meanwhile what it needs was wiped, and cannot be had.
    run.apply(&plan, &resumed(&plan), zero).unwrap();
    let reopened = Event::TaskReopened {
        task: key(0),
        why: "wiped".into(),
    };
    run.apply(&plan, &reopened, zero).unwrap();
    for attempt in 2..=4 {
        run.apply(&plan, &started(0, attempt), zero).unwrap();
        run.apply(&plan, &failed(0, attempt), zero).unwrap();
    }
    let decisions = decide(&plan, &run, zero, limits);
    let [Decision::Skip { task, reason }] = decisions.as_slice() else {
        panic!("{decisions:?}")
    };
    let skipped = Event::TaskSkipped {
        task: plan.task(*task).key.clone(),
        reason: reason.clone(),
    };
    run.apply(&plan, &skipped, zero).unwrap();
    run.apply(&plan, &resumed(&plan), zero).unwrap();
    assert_eq!(*run.state(TaskIx(1)), TaskState::InDoubt { attempt: 2 });
}

#[test]
fn a_failed_need_skips_its_dependents_and_the_rest_goes_on_when_asked_to() {
    let plan = plan_of(&[vec![], vec![0], vec![]], &[]);
    let mut run = Run::new(&plan);
    for attempt in 1..=3 {
        run.apply(&plan, &started(0, attempt), Duration::ZERO)
            .unwrap();
        run.apply(&plan, &failed(0, attempt), Duration::ZERO)
            .unwrap();
    }
    let goes_on = decide(
        &plan,
        &run,
        Duration::ZERO,
        Limits {
            jobs: 4,
            mode: Mode::KeepGoing,
        },
    );
    assert_eq!(
        goes_on,
        [
            Decision::Skip {
                task: TaskIx(1),
                reason: SkipReason::Need { task: key(0) }
            },
            Decision::Start {
                task: TaskIx(2),
                attempt: 1,
                in_doubt: false
            },
        ]
    );
    let drains = decide(
        &plan,
        &run,
        Duration::ZERO,
        Limits {
            jobs: 4,
            mode: Mode::Drain,
        },
    );
    assert_eq!(drains, [Decision::Finish]);
    run.apply(
        &plan,
        &Event::RunEnded {
            result: RunResult::Failed,
        },
        Duration::ZERO,
    )
    .unwrap();
    assert!(run.ended());
}

#[test]
fn a_chain_of_ten_thousand_is_decided_about_without_walking_along_it() {
    let count = 10_000;
    let needs: Vec<Vec<usize>> = (0..count)
        .map(|at: usize| at.checked_sub(1).into_iter().collect())
        .collect();
    let plan = plan_of(&needs, &[]);
    let mut run = Run::new(&plan);
    let limits = Limits {
        jobs: 2,
        mode: Mode::Drain,
    };
    for at in 0..count {
        // One look at one task: what cannot be decided about is not looked at.
        assert_eq!(run.ripe().len(), 1);
        let decisions = decide(&plan, &run, Duration::ZERO, limits);
        let [Decision::Start { task, .. }] = decisions.as_slice() else {
            panic!("{decisions:?}");
        };
        assert_eq!(task.index(), at);
        run.apply(&plan, &started(at, 1), Duration::ZERO).unwrap();
        assert!(run.ripe().is_empty());
        run.apply(&plan, &changed(at, 1), Duration::ZERO).unwrap();
    }
    assert_eq!(
        decide(&plan, &run, Duration::ZERO, limits),
        [Decision::Finish]
    );
}
