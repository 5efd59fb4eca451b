//! The loop with a pretended executor and a clock that does not tick by itself: no test waits.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::journal::Record;
use crate::plan::TaskKey;
use crate::run::tests::{any_plan, plan_of, resumed, run_started};
use crate::run::{Mode, Outcome, TaskState};

/// Does what a script says: by task, how long it takes and how often it fails first.
struct Pretender {
    script: Vec<(Duration, u32)>,
    log: Mutex<Vec<String>>,
    at_once: Mutex<(usize, usize)>,
}

impl Pretender {
    fn new(script: &[(u64, u32)]) -> Arc<Self> {
        let script = script
            .iter()
            .map(|(seconds, failures)| (Duration::from_secs(*seconds), *failures))
            .collect();
        Arc::new(Self {
            script,
            log: Mutex::default(),
            at_once: Mutex::default(),
        })
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn say(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

impl Executor for Pretender {
    async fn execute(&self, order: Order, _report: Reporter) -> AttemptEnd {
        let (takes, failures) = self.script[order.task.index()];
        {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        self.say(format!("start {}", order.task.index()));
        let end = tokio::select! {
            () = tokio::time::sleep(takes) => {
                if order.attempt <= failures {
                    AttemptEnd::Failed { failure: Failure::new(FailureKind::Command, "no"), retry: true }
                } else {
                    AttemptEnd::Changed { why: "done".into(), outputs: BTreeMap::new() }
                }
            }
            () = order.cancel.termed() => AttemptEnd::Cancelled,
        };
        self.say(format!("end {}", order.task.index()));
        self.at_once.lock().unwrap().0 -= 1;
        end
    }
}

struct Worked {
    result: RunResult,
    states: Vec<TaskState>,
    took: Duration,
}

/// Runs a plan; `wish` is wished after that many seconds.
async fn work(
    plan: &Plan,
    pretender: &Arc<Pretender>,
    jobs: usize,
    mode: Mode,
    wish: Option<(u64, Wish)>,
) -> Worked {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(&folder.path().join("journal.jsonl")).unwrap();
    let mut engine = Engine::new(
        plan,
        Run::new(plan),
        journal,
        Limits { jobs, mode },
        Vec::new(),
    );
    let (sender, mut wishes) = mpsc::unbounded_channel();
    if let Some((after, wish)) = wish {
        let sender = sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            sender.send(wish).unwrap();
        });
    }
    let begun = Instant::now();
    engine.emit(&run_started(plan)).unwrap();
    let result = engine
        .work(Arc::clone(pretender), &mut wishes)
        .await
        .unwrap();
    drop(sender);
    let states = plan
        .tasks()
        .map(|(ix, _)| engine.run().state(ix).clone())
        .collect();
    Worked {
        result,
        states,
        took: begun.elapsed(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_runs_in_order_and_retries_take_their_pauses() {
    let plan = plan_of(&[vec![], vec![0], vec![1]], &[]);
    let pretender = Pretender::new(&[(60, 0), (60, 2), (60, 0)]);
    let worked = work(&plan, &pretender, 4, Mode::Drain, None).await;
    assert_eq!(worked.result, RunResult::Done);
    assert_eq!(
        pretender.log().join(" "),
        "start 0 end 0 start 1 end 1 start 1 end 1 start 1 end 1 start 2 end 2"
    );
    // Five attempts of a minute, and pauses of 10 s and 20 s.
    assert_eq!(worked.took.as_secs(), 330);
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_allowed_and_a_lock_is_held_by_one() {
    let plan = plan_of(&vec![vec![]; 9], &[Some(0), Some(0), Some(0)]);
    let pretender = Pretender::new(&[(10, 0); 9]);
    let worked = work(&plan, &pretender, 4, Mode::Drain, None).await;
    assert_eq!(worked.result, RunResult::Done);
    assert_eq!(pretender.at_once.lock().unwrap().1, 4);
    assert_eq!(worked.took.as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn law_07_one_interrupt_drains() {
    let plan = plan_of(&[vec![], vec![0]], &[]);
    let pretender = Pretender::new(&[(60, 0), (60, 0)]);
    let worked = work(
        &plan,
        &pretender,
        4,
        Mode::Drain,
        Some((5, Wish::Drain("SIGINT"))),
    )
    .await;
    assert_eq!(worked.result, RunResult::Cancelled);
    assert!(
        matches!(
            &worked.states[0],
            TaskState::Settled(Outcome::Changed { .. })
        ),
        "what ran ended"
    );
    assert_eq!(worked.states[1], TaskState::Pending, "nothing new started");
}

#[tokio::test(start_paused = true)]
async fn law_07_a_stop_ends_what_runs() {
    let plan = plan_of(&[vec![], vec![]], &[]);
    let pretender = Pretender::new(&[(3600, 0), (3600, 0)]);
    let worked = work(
        &plan,
        &pretender,
        4,
        Mode::Drain,
        Some((5, Wish::Stop("SIGTERM"))),
    )
    .await;
    assert_eq!(worked.result, RunResult::Cancelled);
    assert_eq!(
        worked.states,
        [
            TaskState::Settled(Outcome::Cancelled { started: true }),
            TaskState::Settled(Outcome::Cancelled { started: true }),
        ]
    );
    assert_eq!(worked.took.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_failure_stops_its_siblings_at_once_only_when_asked_to() {
    let plan = plan_of(&[vec![], vec![], vec![1]], &[]);
    let script = [(10, 9), (200, 0), (10, 0)];
    let fast = work(&plan, &Pretender::new(&script), 4, Mode::FailFast, None).await;
    assert_eq!(fast.result, RunResult::Failed);
    assert_eq!(
        fast.states[1],
        TaskState::Settled(Outcome::Cancelled { started: true })
    );
    let drained = work(&plan, &Pretender::new(&script), 4, Mode::Drain, None).await;
    assert!(matches!(
        &drained.states[1],
        TaskState::Settled(Outcome::Changed { .. })
    ));
    assert_eq!(drained.states[2], TaskState::Pending);
    let kept = work(&plan, &Pretender::new(&script), 4, Mode::KeepGoing, None).await;
    assert!(matches!(
        &kept.states[2],
        TaskState::Settled(Outcome::Changed { .. })
    ));
    assert_eq!(kept.result, RunResult::Failed);
}

/// What is so and what was done, whoever did it: it outlives every process that works on it.
#[derive(Debug, Default)]
struct World {
    /// How often the effect of each task was had.
    effects: Vec<u32>,
    /// What went wrong.
    wrong: Vec<String>,
}

/// Changes a world that only knows what was done. Nothing may be done twice there: an attempt in doubt asks first, every other one acts.
struct Builder {
    plan: Plan,
    journal: PathBuf,
    world: Arc<Mutex<World>>,
    /// For each attempt of this process, in the order in which they start: how long, and how it goes.
    drawn: Mutex<Vec<(u8, u8)>>,
    held: Arc<Mutex<BTreeSet<String>>>,
    jobs: usize,
}

/// What an attempt holds while it lives, in a process that may die at any time.
struct Held {
    locks: Vec<String>,
    all: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap();
        for lock in &self.locks {
            all.remove(lock);
        }
    }
}

impl Builder {
    fn wrong(&self, what: String) {
        self.world.lock().unwrap().wrong.push(what);
    }

    /// What must hold when an attempt begins.
    fn check(&self, order: &Order) -> Held {
        let task = self.plan.task(order.task);
        for need in &task.needs {
            if self.world.lock().unwrap().effects[need.index()] == 0 {
                self.wrong(format!("{} began before its needs", task.key));
            }
        }
        let begun = Event::AttemptStarted {
            task: task.key.clone(),
            attempt: order.attempt,
            in_doubt: order.in_doubt,
        };
        let journal = Journal::<Event>::load_read_only(&self.journal).unwrap();
        if !journal.records.iter().any(|record| record.event == begun) {
            self.wrong(format!("{} began before its intent was written", task.key));
        }
        // Its own place among those that run, and its locks.
        let mut locks = task.locks.clone();
        locks.push(task.key.to_string());
        let mut all = self.held.lock().unwrap();
        for lock in &locks {
            if !all.insert(lock.clone()) {
                self.wrong(format!("{lock} is held twice"));
            }
        }
        if all.iter().filter(|name| name.starts_with("s/")).count() > self.jobs {
            self.wrong("more than allowed at once".into());
        }
        drop(all);
        Held {
            locks,
            all: Arc::clone(&self.held),
        }
    }
}

impl Executor for Builder {
    async fn execute(&self, order: Order, report: Reporter) -> AttemptEnd {
        let held = self.check(&order);
        let (takes, how) = self.drawn.lock().unwrap().pop().unwrap_or((1, u8::MAX));
        let half = Duration::from_secs(u64::from(takes % 8));
        let at = order.task.index();
        let outputs = BTreeMap::from([("at".to_owned(), OutputValue::Value(at.into()))]);
        let why = String::from("so");
        report.fact(Event::ProcessStarted {
            task: self.plan.task(order.task).key.clone(),
            attempt: order.attempt,
            identity: serde_json::Value::Null,
            command: "x".into(),
        });
        let failed = |kind, retry| AttemptEnd::Failed {
            failure: Failure::new(kind, "no"),
            retry,
        };
        let work = async {
            tokio::time::sleep(half).await;
            // Before there is any effect, and before any question is asked.
            match how {
                0..=29 => return failed(FailureKind::Command, true),
                30..=35 => return failed(FailureKind::Refused, false),
                36..=u8::MAX => {}
            }
            if order.in_doubt && self.world.lock().unwrap().effects[at] > 0 {
                return AttemptEnd::Unchanged { why, outputs };
            }
            self.world.lock().unwrap().effects[at] += 1;
            tokio::time::sleep(half).await;
            AttemptEnd::Changed { why, outputs }
        };
        let end = tokio::select! {
            end = work => end,
            () = order.cancel.termed() => AttemptEnd::Cancelled,
        };
        drop(held);
        end
    }
}

/// How one process works on a run: what becomes of each attempt, and when it is killed or asked to stop.
#[derive(Debug, Clone)]
struct Life {
    drawn: Vec<(u8, u8)>,
    mode: Mode,
    jobs: usize,
    /// After so many seconds it is killed, with all that it started.
    killed: Option<u64>,
    wish: Option<(u64, Wish)>,
}

fn any_life() -> impl Strategy<Value = Life> {
    let mode = prop_oneof![
        Just(Mode::Drain),
        Just(Mode::KeepGoing),
        Just(Mode::FailFast)
    ];
    let wish = prop_oneof![
        Just(Wish::Drain("SIGINT")),
        Just(Wish::Stop("SIGTERM")),
        Just(Wish::Kill("SIGINT"))
    ];
    (
        proptest::collection::vec(any::<(u8, u8)>(), 0..30),
        mode,
        1_usize..5,
        proptest::option::weighted(0.6, 0_u64..90),
        proptest::option::weighted(0.3, (0_u64..60, wish)),
    )
        .prop_map(|(drawn, mode, jobs, killed, wish)| Life {
            drawn,
            mode,
            jobs,
            killed,
            wish,
        })
}

/// A folder in memory where there is one: what is synced here is of no use to anybody.
fn quick_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

/// Lets one process work, from what the journal says; gives how it ended, if it was not killed.
async fn live(
    plan: &Plan,
    path: &Path,
    world: &Arc<Mutex<World>>,
    life: &Life,
) -> Option<RunResult> {
    let (journal, run, begins) = if path.exists() {
        let (journal, loaded) = Journal::<Event>::open(path).unwrap();
        let mut run = Run::new(plan);
        for record in &loaded.records {
            run.apply(plan, &record.event, Duration::ZERO).unwrap();
        }
        (journal, run, resumed(plan))
    } else {
        (
            Journal::create(path).unwrap(),
            Run::new(plan),
            run_started(plan),
        )
    };
    let limits = Limits {
        jobs: life.jobs,
        mode: life.mode,
    };
    let mut engine = Engine::new(plan, run, journal, limits, Vec::new());
    engine.emit(&begins).unwrap();
    let builder = Arc::new(Builder {
        plan: plan.clone(),
        journal: path.to_owned(),
        world: Arc::clone(world),
        drawn: Mutex::new(life.drawn.clone()),
        held: Arc::default(),
        jobs: life.jobs,
    });
    let (sender, mut wishes) = mpsc::unbounded_channel();
    if let Some((after, wish)) = life.wish {
        let sender = sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            // The run may be over.
            sender.send(wish).ok();
        });
    }
    let work = engine.work(builder, &mut wishes);
    match life.killed {
        Some(after) => tokio::time::timeout(Duration::from_secs(after), work)
            .await
            .ok()
            .map(Result::unwrap),
        None => Some(work.await.unwrap()),
    }
}

/// Complains about work on what was settled, and about work that nobody had settled twice.
fn repeated(records: &[Record<Event>]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut settled: BTreeSet<&TaskKey> = BTreeSet::new();
    for record in records {
        match &record.event {
            Event::AttemptStarted { task, .. } if settled.contains(task) => {
                wrong.push(format!(
                    "{task} held and was repeated in line {}",
                    record.seq
                ));
            }
            Event::AttemptEnded {
                task,
                end: AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. },
                ..
            } => {
                settled.insert(task);
            }
            _ => {}
        }
    }
    wrong
}

#[test]
fn law_04_and_05_whatever_kills_it_a_run_ends_as_one_without_interruption_and_does_nothing_twice() {
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let lives = proptest::collection::vec(any_life(), 0..4);
    let tried = TestRunner::new(config).run(&(any_plan(), lives), |((needs, locks), lives)| {
        let plan = plan_of(&needs, &locks);
        let folder = quick_folder();
        let path = folder.path().join("journal.jsonl");
        let world = Arc::new(Mutex::new(World {
            effects: vec![0; plan.len()],
            wrong: Vec::new(),
        }));
        let last = Life {
            drawn: Vec::new(),
            mode: Mode::Drain,
            jobs: 3,
            killed: None,
            wish: None,
        };
        let mut result = None;
        for life in lives.iter().chain([&last]) {
            // Each process has a clock and a runtime of its own; when it is dropped, nothing of it goes on.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            result = runtime.block_on(live(&plan, &path, &world, life));
            drop(runtime);
            if result == Some(RunResult::Done) {
                break;
            }
        }
        prop_assert_eq!(result, Some(RunResult::Done));
        let world = world.lock().unwrap();
        prop_assert!(world.wrong.is_empty(), "{:?}", world.wrong);
        prop_assert_eq!(&world.effects, &vec![1; plan.len()], "each effect once");
        let records = Journal::<Event>::load_read_only(&path).unwrap().records;
        let wrong = repeated(&records);
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
        let ended = Event::RunEnded {
            result: RunResult::Done,
        };
        prop_assert_eq!(&records.last().unwrap().event, &ended);
        Ok(())
    });
    tried.unwrap();
}

/// Panics, or does its work and reports it.
struct Clumsy;

impl Executor for Clumsy {
    async fn execute(&self, order: Order, _report: Reporter) -> AttemptEnd {
        assert!(order.task.index() > 0, "a bug of ours");
        AttemptEnd::Cancelled
    }
}

#[tokio::test(start_paused = true)]
async fn a_bug_in_one_step_fails_that_step() {
    let plan = plan_of(&[vec![]], &[]);
    let folder = quick_folder();
    let journal = Journal::create(&folder.path().join("journal.jsonl")).unwrap();
    let limits = Limits {
        jobs: 1,
        mode: Mode::Drain,
    };
    let mut engine = Engine::new(&plan, Run::new(&plan), journal, limits, Vec::new());
    let (_sender, mut wishes) = mpsc::unbounded_channel();
    let result = engine.work(Arc::new(Clumsy), &mut wishes).await.unwrap();
    assert_eq!(result, RunResult::Failed);
    let Some(Outcome::Failed(failure)) = engine.run().outcome(TaskIx(0)) else {
        panic!("{:?}", engine.run().state(TaskIx(0)))
    };
    assert_eq!(failure.kind, FailureKind::System);
}

#[tokio::test(start_paused = true)]
async fn outputs_of_what_came_before_are_given_to_what_comes_after() {
    struct Curious(Mutex<Vec<Outputs>>);
    impl Executor for Curious {
        async fn execute(&self, order: Order, _report: Reporter) -> AttemptEnd {
            let at = order.task.index();
            self.0.lock().unwrap().push(order.outputs);
            AttemptEnd::Changed {
                why: "done".into(),
                outputs: BTreeMap::from([("at".to_owned(), OutputValue::Value(at.into()))]),
            }
        }
    }
    let mut plan = plan_of(&[vec![], vec![0]], &[]);
    plan.tasks[1].sources = vec![("t0".into(), vec![TaskIx(0)])];
    let folder = quick_folder();
    let journal = Journal::create(&folder.path().join("journal.jsonl")).unwrap();
    let limits = Limits {
        jobs: 2,
        mode: Mode::Drain,
    };
    let mut engine = Engine::new(&plan, Run::new(&plan), journal, limits, Vec::new());
    let (_sender, mut wishes) = mpsc::unbounded_channel();
    let curious = Arc::new(Curious(Mutex::default()));
    let result = engine
        .work(Arc::clone(&curious), &mut wishes)
        .await
        .unwrap();
    assert_eq!(result, RunResult::Done);
    let given = BTreeMap::from([("at".to_owned(), OutputValue::Value(0.into()))]);
    let expected = Outputs::from([("t0".to_owned(), vec![(String::new(), given)])]);
    assert_eq!(*curious.0.lock().unwrap(), [Outputs::new(), expected]);
}
