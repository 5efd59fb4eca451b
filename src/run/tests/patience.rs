//! How long attempts are made again, and how long is waited between them.

use std::sync::Arc;
use std::time::Duration;

use super::{failed, failed_for_good, fold, plan_of, resumed, started};
use crate::plan::{Duty, TaskIx};
use crate::run::{Event, Outcome, Run, TaskState};

#[test]
fn pauses_between_attempts_grow_and_attempts_end() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    let mut pauses = Vec::new();
    for attempt in 1..=3 {
        run.apply(&plan, &started(0, attempt), Duration::ZERO)
            .unwrap();
        run.apply(&plan, &failed(0, attempt), Duration::ZERO)
            .unwrap();
        if let TaskState::Backoff { until, .. } = run.state(TaskIx(0)) {
            pauses.push(until.as_secs());
        }
    }
    assert_eq!(pauses, [10, 20]);
    assert!(matches!(run.outcome(TaskIx(0)), Some(Outcome::Failed(_))));
}

#[test]
fn a_factor_that_grows_beyond_all_clocks_ends_at_the_longest_pause() {
    let mut plan = plan_of(&[vec![]], &[]);
    let Duty::Work(body) = &mut plan.tasks[0].duty else {
        unreachable!("it is work")
    };
    let retry = Arc::get_mut(body).unwrap().retry.as_mut().unwrap();
    retry.attempts = None;
    retry.backoff = 10.0;
    let mut run = Run::new(&plan);
    for attempt in 1..=60 {
        run.apply(&plan, &started(0, attempt), Duration::ZERO)
            .unwrap();
        run.apply(&plan, &failed(0, attempt), Duration::ZERO)
            .unwrap();
        let TaskState::Backoff { until, .. } = run.state(TaskIx(0)) else {
            panic!("{:?}", run.state(TaskIx(0)))
        };
        let expected = if attempt == 1 { 10 } else { 60 };
        assert_eq!(until.as_secs(), expected, "after attempt {attempt}");
    }
    assert_eq!(run.spent(TaskIx(0)), Duration::from_millis(5 * 60));
}

#[test]
fn law_05_a_run_that_was_killed_often_is_as_patient_as_one_that_was_not() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    for attempt in 1..=7 {
        run.apply(&plan, &started(0, attempt), Duration::ZERO)
            .unwrap();
        run.apply(&plan, &resumed(&plan), Duration::ZERO).unwrap();
    }
    let mut pauses = Vec::new();
    for attempt in 8..=10 {
        run.apply(&plan, &started(0, attempt), Duration::ZERO)
            .unwrap();
        run.apply(&plan, &failed(0, attempt), Duration::ZERO)
            .unwrap();
        if let TaskState::Backoff { next, until, .. } = run.state(TaskIx(0)) {
            pauses.push((*next, until.as_secs()));
        }
    }
    assert_eq!(pauses, [(9, 10), (10, 20)]);
    assert!(matches!(run.outcome(TaskIx(0)), Some(Outcome::Failed(_))));
}

#[test]
fn more_time_than_there_is_can_be_spent() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    for attempt in 1..=3 {
        run.apply(&plan, &started(0, attempt), Duration::MAX)
            .unwrap();
        let mut end = failed(0, attempt);
        if let Event::AttemptEnded { elapsed_ms, .. } = &mut end {
            *elapsed_ms = u64::MAX;
        }
        run.apply(&plan, &end, Duration::MAX).unwrap();
    }
    assert!(matches!(run.outcome(TaskIx(0)), Some(Outcome::Failed(_))));
}

#[test]
fn what_is_not_to_be_tried_again_is_not_and_nothing_is_once_the_run_is_stopped() {
    let plan = plan_of(&[vec![]], &[]);
    let stopped = Event::Interrupted {
        signal: "SIGINT".into(),
    };
    for before in [
        vec![started(0, 1), failed_for_good(0, 1)],
        vec![started(0, 1), stopped, failed(0, 1)],
    ] {
        let run = fold(&plan, &before);
        assert!(matches!(run.outcome(TaskIx(0)), Some(Outcome::Failed(_))));
    }
}

#[test]
fn no_attempt_begins_after_the_time_that_all_of_them_have() {
    // The second begins 10 s after the first, the third would begin 20 s after the second.
    for (within, third) in [(30, true), (29, false)] {
        let mut plan = plan_of(&[vec![]], &[]);
        let Duty::Work(body) = &mut plan.tasks[0].duty else {
            unreachable!("it is work")
        };
        let retry = Arc::get_mut(body).unwrap().retry.as_mut().unwrap();
        retry.within = Some(Duration::from_secs(within));
        let mut run = Run::new(&plan);
        for (attempt, at) in [(1, 100), (2, 110)] {
            let at = Duration::from_secs(at);
            run.apply(&plan, &started(0, attempt), at).unwrap();
            run.apply(&plan, &failed(0, attempt), at).unwrap();
        }
        let again = matches!(run.state(TaskIx(0)), TaskState::Backoff { next: 3, .. });
        assert_eq!(again, third, "within {within} s");
    }
}
