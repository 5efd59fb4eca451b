//! The loop with a pretended executor and a clock that does not tick by itself: no test waits.

use std::sync::Mutex;

use super::*;
use crate::plan::Selection;
use crate::run::event::{Options, Who};
use crate::run::tests::plan_of;
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

fn first(plan: &Plan) -> Event {
    Event::RunStarted {
        run: "r".into(),
        version: "0".into(),
        selection: Selection::Everything,
        options: Options::default(),
        plan: plan.fingerprint(),
        tasks: Vec::new(),
        made_of: crate::plan::Ingredients::default(),
        who: Who {
            user: "u".into(),
            host: "h".into(),
            pid: 1,
        },
        rehearsal: None,
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
    engine.emit(&first(plan)).unwrap();
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
