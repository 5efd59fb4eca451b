//! Over random plans and random lives of the processes that work on them: what is started may be started, what holds is never repeated,
//! and what is kept for the next decision is what one would find by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{any_plan, fold, key, plan_of, resumed, run_started};
use crate::plan::{Fingerprint, Ingredients, Plan, TaskIx, TaskKey};
use crate::run::event::RunResult;
use crate::run::{
    AttemptEnd, Decision, Event, Failure, FailureKind, Limits, Mode, Outcome, OutputValue, Run,
    TaskState, decide,
};

/// What chance has drawn. When it is used up, everything goes well.
struct Tape<'a>(&'a [u8]);

impl Tape<'_> {
    fn draw(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn one_in(&mut self, many: u8) -> bool {
        self.draw().is_some_and(|drawn| drawn % many == 0)
    }

    fn of(&mut self, count: usize) -> usize {
        usize::from(self.draw().unwrap_or(0)) % count
    }
}

/// A world in which attempts end when it is asked to, in an order and with an outcome that chance decides.
struct World<'a> {
    plan: &'a Plan,
    run: Run,
    limits: Limits,
    now: Duration,
    events: Vec<Event>,
    /// Whether everything that runs was told to stop.
    stopped: bool,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, run: Run, jobs: usize, mode: Mode) -> Self {
        Self {
            plan,
            run,
            limits: Limits { jobs, mode },
            now: Duration::ZERO,
            events: Vec::new(),
            stopped: false,
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
            let again = decide(self.plan, &self.run, self.now, self.limits);
            prop_assert_eq!(&decisions, &again, "the same run, the same decisions");
            let mut acted = false;
            let stopping =
                self.run.cancelled() || (self.run.failed() && self.limits.mode != Mode::KeepGoing);
            for decision in decisions {
                match decision {
                    Decision::Start {
                        task,
                        attempt,
                        in_doubt,
                    } => {
                        acted = true;
                        prop_assert!(!stopping, "started although it is to stop");
                        for &need in &self.plan.task(task).needs {
                            prop_assert!(
                                self.run.outcome(need).is_some_and(Outcome::satisfies),
                                "started before its needs"
                            );
                        }
                        match *self.run.state(task) {
                            TaskState::InDoubt { .. } => prop_assert!(in_doubt),
                            TaskState::Backoff { until, .. } => {
                                prop_assert!(until <= self.now, "started before its time");
                            }
                            TaskState::Pending => prop_assert!(!in_doubt),
                            TaskState::Running { .. } | TaskState::Settled(_) => {
                                return Err(TestCaseError::fail("started twice"));
                            }
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
                        prop_assert!(until > self.now, "sleeps until now");
                        if self.run.running().is_empty() {
                            acted = true;
                            self.now = until;
                        }
                    }
                    Decision::Stop => {
                        prop_assert_eq!(self.limits.mode, Mode::FailFast);
                        self.stopped = true;
                    }
                    Decision::Finish => {
                        prop_assert!(self.run.running().is_empty(), "over, and something runs");
                        return Ok(true);
                    }
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
                prop_assert!(
                    !self.run.running().is_empty(),
                    "nothing runs and nobody waits"
                );
                return Ok(false);
            }
        }
    }

    fn end_one(&mut self, tape: &mut Tape<'_>) {
        let running: Vec<TaskIx> = self.run.running().iter().copied().collect();
        let ix = running[tape.of(running.len())];
        let TaskState::Running { attempt, .. } = *self.run.state(ix) else {
            unreachable!("it runs")
        };
        let failed = |kind, retry| AttemptEnd::Failed {
            failure: Failure::new(kind, "no"),
            retry,
        };
        let outputs = BTreeMap::from([("out".to_owned(), OutputValue::Secret)]);
        let why = String::from("so");
        let end = match tape.draw().unwrap_or(u8::MAX) {
            0..=99 if self.stopped || self.run.cancelled() => AttemptEnd::Cancelled,
            0..=24 => failed(FailureKind::Command, true),
            25..=30 => failed(FailureKind::Refused, false),
            31..=36 => failed(FailureKind::InDoubt, false),
            37..=50 => AttemptEnd::Skipped { why },
            51..=90 => AttemptEnd::Unchanged { why, outputs },
            91..=u8::MAX => AttemptEnd::Changed { why, outputs },
        };
        let task = self.plan.task(ix).key.clone();
        self.emit(Event::AttemptEnded {
            task,
            attempt,
            end,
            elapsed_ms: 1,
        });
    }

    /// What happens besides, while something runs.
    fn happen(&mut self, tape: &mut Tape<'_>) {
        let Some(&ix) = self.run.running().first() else {
            return;
        };
        let task = self.plan.task(ix).key.clone();
        match tape.draw().unwrap_or(u8::MAX) {
            0..=9 => self.emit(Event::Interrupted {
                signal: "SIGINT".into(),
            }),
            10..=29 => self.emit(Event::ProcessStarted {
                task,
                attempt: self.run.attempts(ix),
                identity: serde_json::Value::Null,
                command: "x".into(),
            }),
            30..=44 => self.emit(Event::Paused {
                task,
                say: "sign in".into(),
            }),
            45..=59 => self.emit(Event::Continued { task, paused_ms: 5 }),
            60..=74 => self.emit(Event::Confirmed {
                task,
                who: "u".into(),
                how: "typed".into(),
                note: None,
            }),
            75..=89 => self.emit(Event::FileWritten {
                task,
                attempt: self.run.attempts(ix),
                file: "f".into(),
                fingerprint: Fingerprint::of(&["f"]),
            }),
            90..=u8::MAX => {}
        }
    }

    /// Runs to the end of this process.
    fn finish(&mut self, tape: &mut Tape<'_>) -> Result<(), TestCaseError> {
        for _ in 0..1000 {
            if self.decide()? {
                let result = if self.run.is_done() {
                    RunResult::Done
                } else if self.run.cancelled() {
                    RunResult::Cancelled
                } else {
                    RunResult::Failed
                };
                self.emit(Event::RunEnded { result });
                return Ok(());
            }
            self.happen(tape);
            self.end_one(tape);
        }
        Err(TestCaseError::fail("it never ends"))
    }

    /// A new process goes on: it ends survivors, hears what people say, and opens again what no longer holds.
    fn resume(&mut self, tape: &mut Tape<'_>) {
        self.stopped = false;
        self.now = Duration::ZERO;
        self.emit(resumed(self.plan));
        if tape.one_in(2) {
            self.emit(Event::SurvivorEnded {
                pid: 7,
                command: "x".into(),
            });
        }
        if tape.one_in(4) {
            self.emit(Event::Accepted {
                tasks: Vec::new(),
                made_of: Ingredients::default(),
                who: "u".into(),
                why: None,
            });
        }
        for (ix, task) in self.plan.tasks() {
            match self.run.state(ix) {
                TaskState::InDoubt { .. } if tape.one_in(4) => {
                    let done = tape.one_in(2);
                    self.emit(Event::Assumed {
                        task: task.key.clone(),
                        done,
                        who: "u".into(),
                        why: None,
                    });
                }
                TaskState::Settled(_) if tape.one_in(9) => self.emit(Event::TaskReopened {
                    task: task.key.clone(),
                    why: "it was wiped".into(),
                }),
                TaskState::Pending
                | TaskState::Running { .. }
                | TaskState::InDoubt { .. }
                | TaskState::Backoff { .. }
                | TaskState::Settled(_) => {}
            }
        }
    }
}

/// What a journal can hold: all kinds of events and of ends.
const KINDS: [&str; 22] = [
    "accepted",
    "assumed",
    "cancelled",
    "changed",
    "condition",
    "confirmed",
    "continued",
    "failed",
    "file-written",
    "interrupted",
    "need",
    "paused",
    "process-started",
    "run-ended",
    "run-resumed",
    "run-started",
    "started",
    "started in doubt",
    "survivor-ended",
    "task-reopened",
    "unchanged",
    "will be tried again",
];

fn kind(event: &Event) -> &'static str {
    match event {
        Event::RunStarted { .. } => "run-started",
        Event::RunResumed { .. } => "run-resumed",
        Event::SurvivorEnded { .. } => "survivor-ended",
        Event::AttemptStarted { in_doubt: true, .. } => "started in doubt",
        Event::AttemptStarted { .. } => "started",
        Event::ProcessStarted { .. } => "process-started",
        Event::AttemptEnded { end, .. } => match end {
            AttemptEnd::Changed { .. } => "changed",
            AttemptEnd::Unchanged { .. } => "unchanged",
            AttemptEnd::Skipped { .. } => "condition",
            AttemptEnd::Failed { retry: true, .. } => "will be tried again",
            AttemptEnd::Failed { .. } => "failed",
            AttemptEnd::Cancelled => "cancelled",
        },
        Event::TaskSkipped { .. } => "need",
        Event::TaskReopened { .. } => "task-reopened",
        Event::Assumed { .. } => "assumed",
        Event::Accepted { .. } => "accepted",
        Event::FileWritten { .. } => "file-written",
        Event::Confirmed { .. } => "confirmed",
        Event::Paused { .. } => "paused",
        Event::Continued { .. } => "continued",
        Event::Interrupted { .. } => "interrupted",
        Event::RunEnded { .. } => "run-ended",
    }
}

/// A plan, how it is run, and what chance has drawn for each of the processes that work on it.
type Lives = (
    (Vec<Vec<usize>>, Vec<Option<u8>>),
    usize,
    Mode,
    Vec<Vec<u8>>,
);

fn any_lives() -> impl Strategy<Value = Lives> {
    let mode = prop_oneof![
        Just(Mode::Drain),
        Just(Mode::KeepGoing),
        Just(Mode::FailFast)
    ];
    let life = proptest::collection::vec(any::<u8>(), 1..80);
    (
        any_plan(),
        1_usize..5,
        mode,
        proptest::collection::vec(life, 1..4),
    )
}

/// The journal of all lives. Each but the last is cut at a moment that chance decides, as by a kill.
fn journal_of(
    plan: &Plan,
    jobs: usize,
    mode: Mode,
    lives: &[Vec<u8>],
) -> Result<Vec<Event>, TestCaseError> {
    let mut world = World::new(plan, Run::new(plan), jobs, mode);
    world.emit(run_started(plan));
    for (at, life) in lives.iter().enumerate() {
        let mut tape = Tape(life);
        if at > 0 {
            let kept = world.events.len() - tape.of(world.events.len());
            let before = std::mem::take(&mut world.events);
            world = World::new(plan, fold(plan, &before[..kept]), jobs, mode);
            world.events = before[..kept].to_vec();
            world.resume(&mut tape);
        }
        world.finish(&mut tape)?;
        for (ix, _) in plan.tasks() {
            let over = matches!(world.run.state(ix), TaskState::Settled(_));
            let stopped = world.run.cancelled() || (world.run.failed() && mode != Mode::KeepGoing);
            prop_assert!(over || stopped, "it ended with work to do");
        }
    }
    Ok(world.events)
}

#[test]
fn law_05_after_any_prefix_of_any_journal_a_resumed_run_ends_well_and_repeats_nothing_settled() {
    let config = ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let tried = TestRunner::new(config).run(&any_lives(), |((needs, locks), jobs, mode, lives)| {
        let plan = plan_of(&needs, &locks);
        let events = journal_of(&plan, jobs, mode, &lives)?;
        seen.borrow_mut().extend(events.iter().map(kind));
        for kept in 0..=events.len() {
            let mut second = World::new(&plan, fold(&plan, &events[..kept]), jobs, mode);
            second.resume(&mut Tape(&[]));
            prop_assert!(!second.run.cancelled() && !second.run.failed() && !second.run.ended());
            let held: BTreeSet<TaskKey> = plan
                .tasks()
                .filter(|(ix, _)| second.run.outcome(*ix).is_some_and(Outcome::satisfies))
                .map(|(_, task)| task.key.clone())
                .collect();
            let doubtful: BTreeSet<TaskKey> = plan
                .tasks()
                .filter(|(ix, _)| matches!(second.run.state(*ix), TaskState::InDoubt { .. }))
                .map(|(_, task)| task.key.clone())
                .collect();
            second.finish(&mut Tape(&[]))?;
            prop_assert!(second.run.is_done());
            for event in &second.events {
                if let Event::AttemptStarted { task, in_doubt, .. } = event {
                    prop_assert!(!held.contains(task), "{} held and was repeated", task);
                    prop_assert_eq!(*in_doubt, doubtful.contains(task), "{}", task);
                }
            }
        }
        Ok(())
    });
    tried.unwrap();
    // A kind that no journal holds would be a kind that is not tested.
    assert_eq!(seen.into_inner().into_iter().collect::<Vec<_>>(), KINDS);
}

#[test]
fn law_03_only_a_good_end_or_a_person_takes_away_a_doubt() {
    let config = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let tried = TestRunner::new(config).run(&any_lives(), |((needs, locks), jobs, mode, lives)| {
        let plan = plan_of(&needs, &locks);
        let events = journal_of(&plan, jobs, mode, &lives)?;
        for kept in 0..=events.len() {
            // Told from the events alone, without the fold.
            let mut running: BTreeSet<&TaskKey> = BTreeSet::new();
            let mut doubtful: BTreeSet<&TaskKey> = BTreeSet::new();
            let mut skipped: BTreeSet<&TaskKey> = BTreeSet::new();
            for event in &events[..kept] {
                match event {
                    Event::RunResumed { .. } => doubtful.append(&mut running),
                    Event::AttemptStarted { task, .. } => {
                        running.insert(task);
                    }
                    Event::AttemptEnded { task, end, .. } => {
                        running.remove(task);
                        match end {
                            AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. } => {
                                doubtful.remove(task);
                            }
                            AttemptEnd::Cancelled => {
                                doubtful.insert(task);
                            }
                            AttemptEnd::Failed { failure, .. } => {
                                if failure.kind == FailureKind::InDoubt {
                                    doubtful.insert(task);
                                }
                            }
                            AttemptEnd::Skipped { .. } => {
                                skipped.insert(task);
                            }
                        }
                    }
                    Event::Assumed { task, .. } => {
                        doubtful.remove(task);
                    }
                    Event::TaskReopened { task, .. } => {
                        skipped.remove(task);
                    }
                    Event::RunStarted { .. }
                    | Event::TaskSkipped { .. }
                    | Event::SurvivorEnded { .. }
                    | Event::ProcessStarted { .. }
                    | Event::FileWritten { .. }
                    | Event::Accepted { .. }
                    | Event::Confirmed { .. }
                    | Event::Paused { .. }
                    | Event::Continued { .. }
                    | Event::Interrupted { .. }
                    | Event::RunEnded { .. } => {}
                }
            }
            doubtful.append(&mut running);
            let mut run = fold(&plan, &events[..kept]);
            run.apply(&plan, &resumed(&plan), Duration::ZERO).unwrap();
            for (ix, task) in plan.tasks() {
                let expected = doubtful.contains(&task.key) && !skipped.contains(&task.key);
                let found = matches!(run.state(ix), TaskState::InDoubt { .. });
                prop_assert_eq!(found, expected, "{}", task.key);
            }
        }
        Ok(())
    });
    tried.unwrap();
}

/// What is ripe, looked for in the whole plan: what the kept set must agree with.
fn ripe_by_looking(plan: &Plan, run: &Run) -> BTreeSet<TaskIx> {
    plan.tasks()
        .filter(|(ix, task)| {
            let open = !matches!(
                run.state(*ix),
                TaskState::Settled(_) | TaskState::Running { .. }
            );
            let all = task.needs.iter().all(|&need| run.outcome(need).is_some());
            let broken = task
                .needs
                .iter()
                .any(|&need| run.outcome(need).is_some_and(|how| !how.satisfies()));
            open && (all || broken)
        })
        .map(|(ix, _)| ix)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_ripe_is_kept_right_through_every_event_of_any_journal_and_reopenings(
        ((needs, locks), jobs, mode, lives) in any_lives(),
        reopened in proptest::collection::vec(0_usize..14, 0..5),
    ) {
        let plan = plan_of(&needs, &locks);
        let events = journal_of(&plan, jobs, mode, &lives)?;
        let mut run = Run::new(&plan);
        prop_assert_eq!(run.ripe(), &ripe_by_looking(&plan, &run));
        for event in &events {
            run.apply(&plan, event, Duration::ZERO).unwrap();
            prop_assert_eq!(run.ripe(), &ripe_by_looking(&plan, &run));
            let open = plan.tasks().any(|(ix, _)| run.outcome(ix).is_none());
            prop_assert_eq!(run.is_open(), open);
        }
        run.apply(&plan, &resumed(&plan), Duration::ZERO).unwrap();
        for at in reopened.into_iter().filter(|&at| at < plan.len()) {
            let task = key(at);
            run.apply(&plan, &Event::TaskReopened { task, why: String::new() }, Duration::ZERO).unwrap();
            prop_assert_eq!(run.ripe(), &ripe_by_looking(&plan, &run));
        }
    }
}
