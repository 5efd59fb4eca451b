//! The two promises of the core, over random plans: what is started may be started, and what holds is never repeated.

use std::sync::Arc;

use proptest::prelude::*;

use super::event::{RunResult, Who};
use super::*;
use crate::document::Span;
use crate::plan::{Fingerprint, Item, Task};
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

fn any_plan() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<Option<u8>>)> {
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

/// A world in which attempts end when it is asked to, in an order and with an outcome that chance decides.
struct World<'a> {
    plan: &'a Plan,
    run: Run,
    limits: Limits,
    now: Duration,
    events: Vec<Event>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, run: Run, jobs: usize) -> Self {
        Self {
            plan,
            run,
            limits: Limits {
                jobs,
                mode: Mode::KeepGoing,
            },
            now: Duration::ZERO,
            events: Vec::new(),
        }
    }

    fn emit(&mut self, event: Event) {
        self.run.apply(self.plan, &event, self.now).unwrap();
        self.events.push(event);
    }

    /// Makes all decisions that can be made now; gives whether the run is over.
    fn decide(&mut self) -> Result<bool, TestCaseError> {
        loop {
            let decisions = decide(self.plan, &self.run, self.now, self.limits);
            let mut acted = false;
            for decision in decisions {
                match decision {
                    Decision::Start {
                        task,
                        attempt,
                        in_doubt,
                    } => {
                        acted = true;
                        for &need in &self.plan.task(task).needs {
                            prop_assert!(
                                self.run.outcome(need).is_some_and(Outcome::satisfies),
                                "started before its needs"
                            );
                        }
                        let key = self.plan.task(task).key.clone();
                        self.emit(Event::AttemptStarted {
                            task: key,
                            attempt,
                            in_doubt,
                        });
                    }
                    Decision::Skip { task, reason } => {
                        acted = true;
                        let key = self.plan.task(task).key.clone();
                        self.emit(Event::TaskSkipped { task: key, reason });
                    }
                    Decision::Sleep(until) => {
                        acted = true;
                        self.now = until;
                    }
                    Decision::Stop => {}
                    Decision::Finish => return Ok(true),
                }
            }
            prop_assert!(
                self.run.running().len() <= self.limits.jobs,
                "wider than allowed"
            );
            let locks: Vec<&String> = self
                .run
                .running()
                .iter()
                .flat_map(|&ix| &self.plan.task(ix).locks)
                .collect();
            let distinct: BTreeSet<&&String> = locks.iter().collect();
            prop_assert_eq!(locks.len(), distinct.len(), "a lock is held twice");
            if !acted {
                return Ok(false);
            }
        }
    }

    fn end_one(&mut self, which: usize, fails: bool) {
        let running: Vec<TaskIx> = self.run.running().iter().copied().collect();
        let ix = running[which % running.len()];
        let TaskState::Running { attempt, .. } = *self.run.state(ix) else {
            unreachable!("it runs")
        };
        let end = if fails {
            AttemptEnd::Failed {
                failure: Failure::new(FailureKind::Command, "no"),
                retry: true,
            }
        } else {
            AttemptEnd::Changed {
                why: "done".into(),
                outputs: BTreeMap::new(),
            }
        };
        let task = self.plan.task(ix).key.clone();
        self.emit(Event::AttemptEnded {
            task,
            attempt,
            end,
            elapsed_ms: 1,
        });
    }

    /// Runs to the end; `chances` decide who ends next, and whether it fails.
    fn finish(&mut self, chances: &[(usize, bool)]) -> Result<(), TestCaseError> {
        let mut at = 0;
        for _ in 0..1000 {
            if self.decide()? {
                return Ok(());
            }
            let (which, fails) = chances[at % chances.len()];
            at += 1;
            self.end_one(which, fails && at < chances.len());
        }
        Err(TestCaseError::fail("it never ends"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_settles_and_starts_nothing_that_may_not_start(
        (needs, locks) in any_plan(),
        jobs in 1_usize..5,
        chances in proptest::collection::vec((0_usize..9, proptest::bool::weighted(0.2)), 1..60),
    ) {
        let plan = plan_of(&needs, &locks);
        let mut world = World::new(&plan, Run::new(&plan), jobs);
        world.finish(&chances)?;
        for (ix, _) in plan.tasks() {
            prop_assert!(matches!(world.run.state(ix), TaskState::Settled(_)));
        }
    }

    #[test]
    fn law_05_after_any_prefix_of_a_journal_a_resumed_run_ends_well_and_repeats_nothing_settled(
        (needs, locks) in any_plan(),
        jobs in 1_usize..5,
        chances in proptest::collection::vec((0_usize..9, proptest::bool::weighted(0.1)), 1..60),
        cut in 0.0_f64..1.0,
    ) {
        let plan = plan_of(&needs, &locks);
        let mut first = World::new(&plan, Run::new(&plan), jobs);
        first.finish(&chances)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short list")]
        let kept = (first.events.len() as f64 * cut) as usize;
        let mut run = Run::new(&plan);
        for event in &first.events[..kept] {
            run.apply(&plan, event, Duration::ZERO).unwrap();
        }
        let held: Vec<TaskKey> = plan
            .tasks()
            .filter(|(ix, _)| run.outcome(*ix).is_some_and(Outcome::satisfies))
            .map(|(_, task)| task.key.clone())
            .collect();
        let mut second = World::new(&plan, run, jobs);
        let who = Who { user: "u".into(), host: "h".into(), pid: 1 };
        second.emit(Event::RunResumed { version: "0".into(), plan: plan.fingerprint(), tasks: Vec::new(), made_of: crate::plan::Ingredients::default(), who });
        second.finish(&[(0, false)])?;
        prop_assert!(second.run.is_done());
        for event in &second.events {
            if let Event::AttemptStarted { task, .. } = event {
                prop_assert!(!held.contains(task), "{} held and was repeated", task);
            }
        }
    }
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

fn failed(at: usize, attempt: u32) -> Event {
    let failure = Failure::new(FailureKind::Command, "no");
    Event::AttemptEnded {
        task: key(at),
        attempt,
        end: AttemptEnd::Failed {
            failure,
            retry: true,
        },
        elapsed_ms: 5,
    }
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
fn law_03_an_attempt_without_an_end_is_in_doubt() {
    let plan = plan_of(&[vec![]], &[]);
    let mut run = Run::new(&plan);
    run.apply(&plan, &started(0, 1), Duration::ZERO).unwrap();
    let who = Who {
        user: "u".into(),
        host: "h".into(),
        pid: 1,
    };
    let resumed = Event::RunResumed {
        version: "0".into(),
        plan: plan.fingerprint(),
        tasks: Vec::new(),
        made_of: crate::plan::Ingredients::default(),
        who,
    };
    run.apply(&plan, &resumed, Duration::ZERO).unwrap();
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
