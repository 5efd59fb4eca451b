//! The loop that owns a run: it performs decisions and puts every fact through one door.
//!
//! The door is [`Engine::emit`]: **journal, then fold, then observers.** An attempt's start is durable before its process exists, its end
//! before anything that depends on it touches the world: an attempt asks for that ([`Reporter::commit`]) when it is about to, and those
//! that ask at once share one sync. One that only finds that nothing is to be done asks for none. A journal that fails stops the run, because a run that cannot be resumed must not go on;
//! an observer cannot fail. Everything that happens in the world is behind [`Executor`]; everything shown is behind [`Observer`]. Neither
//! feeds back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::journal::{self, Durability, Journal};
use crate::plan::{Plan, TaskIx};
use crate::process::Cancel;
use crate::run::cited;
use crate::run::event::{Note, RunResult};
use crate::run::{
    AttemptEnd, Decision, Event, Failure, FailureKind, Illegal, Limits, OutputValue, Run, decide,
};

#[cfg(test)]
mod durability;
pub mod interrupt;
#[cfg(test)]
mod tests;

/// Outputs of ancestors: step, then item, then name.
pub type Outputs = BTreeMap<String, Vec<(String, BTreeMap<String, OutputValue>)>>;

/// What an attempt is asked to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which task.
    pub task: TaskIx,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Whether an earlier attempt is in doubt: only the task's probe may tell whether the work is to be done.
    pub in_doubt: bool,
    /// Outputs of ancestors: step, then item, then name.
    pub outputs: Outputs,
    /// Ends the attempt.
    pub cancel: Cancel,
}

/// Does what a task says. The only place where anything happens to the world.
pub trait Executor: Send + Sync + 'static {
    /// Makes one attempt. Facts and notes go through `report` while it works.
    fn execute(&self, order: Order, report: Reporter) -> impl Future<Output = AttemptEnd> + Send;
}

/// Sees everything, changes nothing.
pub trait Observer: Send {
    /// A durable fact, already journaled and folded.
    fn event(&mut self, plan: &Plan, run: &Run, event: &Event, at: Elapsed);
    /// Something to show and forget.
    fn note(&mut self, plan: &Plan, run: &Run, task: TaskIx, note: &Note, at: Elapsed);
    /// Time passes; for displays that move.
    fn tick(&mut self, _plan: &Plan, _run: &Run, _at: Elapsed) {}
}

type Elapsed = Duration;

/// How long what was written may wait to be durable when nobody asks for it.
const LATEST: Duration = Duration::from_millis(100);

/// Where an attempt reports to while it works.
#[derive(Debug, Clone)]
pub struct Reporter {
    task: TaskIx,
    facts: mpsc::UnboundedSender<Event>,
    notes: mpsc::Sender<(TaskIx, Note)>,
    /// Whoever waits for the disk; nobody does outside a run.
    waiting: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
    /// Whether it has been on the disk since.
    committed: Arc<AtomicBool>,
    /// What processes said, and how the attempt ends may cite.
    cited: Cited,
}

/// Lines that processes said, as they may stand in the end of an attempt.
type Cited = Arc<Mutex<BTreeSet<String>>>;

/// It is on the disk that an attempt is made: it may touch the world. Only [`Reporter::commit`] makes one.
#[derive(Debug, Clone, Copy)]
#[must_use = "whatever touches the world asks for it"]
pub struct Committed(());

/// The journal cannot be written any more: nothing may be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written")]
pub struct NotCommitted;

impl Reporter {
    /// A reporter to whom nobody listens: for questions outside a run.
    pub fn nowhere(task: TaskIx) -> Self {
        Self {
            task,
            facts: mpsc::unbounded_channel().0,
            notes: mpsc::channel(1).0,
            waiting: None,
            committed: Arc::default(),
            cited: Cited::default(),
        }
    }

    /// Reports a line of a process that the end of the attempt may cite: the journal leaves it out.
    pub fn cite(&self, line: impl Into<String>) {
        heard(&self.cited).insert(line.into());
    }

    /// All that may be cited.
    pub fn cited(&self) -> BTreeSet<String> {
        heard(&self.cited).clone()
    }

    /// Waits until it is on the disk that this attempt is made, with all that let it start.
    ///
    /// To be awaited before anything of the attempt touches the world: before a process is started, before a file is written. After an
    /// error nothing may be touched; the run is being stopped.
    pub async fn commit(&self) -> Result<Committed, NotCommitted> {
        let Some(waiting) = &self.waiting else {
            return Ok(Committed(()));
        };
        if self.committed.load(Ordering::Relaxed) {
            return Ok(Committed(()));
        }
        let (tell, told) = oneshot::channel();
        waiting.send(tell).map_err(|_| NotCommitted)?;
        told.await.map_err(|_| NotCommitted)?;
        self.committed.store(true, Ordering::Relaxed);
        Ok(Committed(()))
    }

    /// Reports a durable fact.
    pub fn fact(&self, event: Event) {
        // The engine outlives its attempts; when it is gone nobody is left to tell.
        drop(self.facts.send(event));
    }

    /// Reports something to show; dropped when the display is behind.
    pub fn note(&self, note: Note) {
        drop(self.notes.try_send((self.task, note)));
    }
}

fn heard(cited: &Cited) -> MutexGuard<'_, BTreeSet<String>> {
    cited.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stopped an engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal could not be written.
    #[error("the journal could not be written, so the run stopped")]
    Journal(#[from] journal::Error),
    /// An event that cannot follow: a bug of ours.
    #[error("an event cannot follow what was before it")]
    Illegal(#[from] Illegal),
}

/// Somebody's wish to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Start nothing new; let what runs end.
    Drain(&'static str),
    /// End what runs now.
    Stop(&'static str),
    /// End it without grace.
    Kill(&'static str),
}

/// Owns a run until it is over.
pub struct Engine<'a> {
    plan: &'a Plan,
    run: Run,
    journal: Journal<Event>,
    observers: Vec<Box<dyn Observer + 'a>>,
    begun: Instant,
    limits: Limits,
    interrupted_by: Option<String>,
    /// Since when ends or starts of attempts are written and not durable.
    uncommitted: Option<Elapsed>,
}

impl<'a> Engine<'a> {
    /// An engine for a plan, from where a run stands.
    pub fn new(
        plan: &'a Plan,
        run: Run,
        journal: Journal<Event>,
        limits: Limits,
        observers: Vec<Box<dyn Observer + 'a>>,
    ) -> Self {
        Self {
            plan,
            run,
            journal,
            observers,
            begun: Instant::now(),
            limits,
            interrupted_by: None,
            uncommitted: None,
        }
    }

    /// The run as it stands.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The first signal that asked to stop.
    pub fn interrupted_by(&self) -> Option<&str> {
        self.interrupted_by.as_deref()
    }

    /// Puts a fact through the door.
    pub fn emit(&mut self, event: &Event) -> Result<(), Error> {
        self.emit_as(event, event)
    }

    /// Puts a fact through the door, of which the journal has another form: one that cites no process.
    fn emit_as(&mut self, event: &Event, kept: &Event) -> Result<(), Error> {
        let durability = match event {
            Event::RunStarted { .. }
            | Event::RunResumed { .. }
            | Event::TaskReopened { .. }
            | Event::Assumed { .. }
            | Event::Confirmed { .. }
            | Event::Accepted { .. }
            | Event::RunEnded { .. } => Durability::Sync,
            // Made durable together by `commit`, before anything is touched that depends on them.
            Event::AttemptStarted { .. } | Event::AttemptEnded { .. } => {
                self.uncommitted.get_or_insert_with(|| self.begun.elapsed());
                Durability::Later
            }
            // A process does not outlive a power cut, and a skip is decided again just the same.
            Event::ProcessStarted { .. }
            | Event::SurvivorEnded { .. }
            // Comes before the end of its attempt, which is made durable.
            | Event::FileWritten { .. }
            | Event::TaskSkipped { .. }
            | Event::Paused { .. }
            | Event::Continued { .. }
            | Event::Interrupted { .. } => Durability::Later,
        };
        self.journal.append(kept, Timestamp::now(), durability)?;
        let now = self.begun.elapsed();
        self.run.apply(self.plan, event, now)?;
        for observer in &mut self.observers {
            observer.event(self.plan, &self.run, event, now);
        }
        Ok(())
    }

    /// Makes all that was emitted durable: one sync for the ends that came and the starts that follow from them.
    fn commit(&mut self) -> Result<(), Error> {
        if self.uncommitted.take().is_some() {
            self.journal.sync()?;
        }
        Ok(())
    }

    /// Works until nothing is left to do, or somebody wishes to stop.
    pub async fn work<E: Executor>(
        &mut self,
        executor: Arc<E>,
        wishes: &mut mpsc::UnboundedReceiver<Wish>,
    ) -> Result<RunResult, Error> {
        let cancel = Cancel::new();
        let outcome = self.turn(executor, wishes, &cancel).await;
        if outcome.is_err() {
            // The journal is gone: what runs is ended, and nothing more is claimed.
            cancel.kill();
        }
        outcome
    }

    async fn turn<E: Executor>(
        &mut self,
        executor: Arc<E>,
        wishes: &mut mpsc::UnboundedReceiver<Wish>,
        cancel: &Cancel,
    ) -> Result<RunResult, Error> {
        let (facts, mut fact_inbox) = mpsc::unbounded_channel();
        let (notes, mut note_inbox) = mpsc::channel(256);
        let (waiting, mut waiting_inbox) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let mut attempts: JoinSet<AttemptEnd> = JoinSet::new();
        let mut whose: BTreeMap<tokio::task::Id, (TaskIx, u32, Instant, Cited)> = BTreeMap::new();
        let mut ticks = tokio::time::interval(LATEST);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let now = self.begun.elapsed();
            // Nobody may be waiting for it, and a power cut would leave in doubt what has come to an end.
            if self
                .uncommitted
                .is_some_and(|since| now.saturating_sub(since) >= LATEST)
            {
                self.commit()?;
            }
            let mut wake = None;
            let mut finished = false;
            let mut starts = Vec::new();
            for decision in decide(self.plan, &self.run, now, self.limits) {
                match decision {
                    Decision::Start {
                        task,
                        attempt,
                        in_doubt,
                    } => {
                        let key = self.plan.task(task).key.clone();
                        self.emit(&Event::AttemptStarted {
                            task: key,
                            attempt,
                            in_doubt,
                        })?;
                        starts.push(Order {
                            task,
                            attempt,
                            in_doubt,
                            outputs: self.outputs_for(task),
                            cancel: cancel.child(),
                        });
                    }
                    Decision::Skip { task, reason } => {
                        let key = self.plan.task(task).key.clone();
                        self.emit(&Event::TaskSkipped { task: key, reason })?;
                    }
                    Decision::Stop => cancel.term(),
                    Decision::Sleep(until) => wake = Some(self.begun + until),
                    Decision::Finish => finished = true,
                }
            }
            for order in starts {
                let (task, attempt) = (order.task, order.attempt);
                let reporter = Reporter {
                    task,
                    facts: facts.clone(),
                    notes: notes.clone(),
                    waiting: Some(waiting.clone()),
                    committed: Arc::default(),
                    cited: Cited::default(),
                };
                let cited = Arc::clone(&reporter.cited);
                let executor = Arc::clone(&executor);
                let handle = attempts.spawn(async move { executor.execute(order, reporter).await });
                whose.insert(handle.id(), (task, attempt, Instant::now(), cited));
            }
            if finished && attempts.is_empty() {
                break;
            }
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(event) = fact_inbox.recv() => self.emit(&event)?,
                Some(joined) = attempts.join_next_with_id() => {
                    while let Ok(event) = fact_inbox.try_recv() {
                        self.emit(&event)?;
                    }
                    let (id, end) = match joined {
                        Ok((id, end)) => (id, end),
                        Err(error) => (error.id(), AttemptEnd::Failed {
                            failure: Failure::new(FailureKind::System, "the program had a bug in this step (see the terminal)"),
                            retry: false,
                        }),
                    };
                    if let Some((task, attempt, begun, cited_lines)) = whose.remove(&id) {
                        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                        let key = self.plan.task(task).key.clone();
                        let ended = |end| Event::AttemptEnded { task: key.clone(), attempt, end, elapsed_ms };
                        let kept = ended(cited::kept(&end, &heard(&cited_lines)));
                        self.emit_as(&ended(end), &kept)?;
                    }
                }
                Some(wish) = wishes.recv() => self.heed(wish, cancel)?,
                Some(first) = waiting_inbox.recv() => {
                    // Intent before effect: on disk is what is about to begin, and all that let it begin.
                    self.commit()?;
                    // Whoever has asked by now began before the sync: its start was written when it was given its order.
                    let mut next = Some(first);
                    while let Some(tell) = next {
                        // One that was cancelled meanwhile does not wait any more.
                        tell.send(()).ok();
                        next = waiting_inbox.try_recv().ok();
                    }
                }
                Some((task, note)) = note_inbox.recv() => {
                    let now = self.begun.elapsed();
                    for observer in &mut self.observers {
                        observer.note(self.plan, &self.run, task, &note, now);
                    }
                }
                () = sleep => {}
                _ = ticks.tick() => {
                    let now = self.begun.elapsed();
                    for observer in &mut self.observers {
                        observer.tick(self.plan, &self.run, now);
                    }
                }
            }
        }
        let result = if self.run.is_done() {
            RunResult::Done
        } else if self.run.cancelled() {
            RunResult::Cancelled
        } else {
            RunResult::Failed
        };
        self.emit(&Event::RunEnded { result })?;
        Ok(result)
    }

    fn heed(&mut self, wish: Wish, cancel: &Cancel) -> Result<(), Error> {
        let signal = match wish {
            Wish::Drain(signal) => signal,
            Wish::Stop(signal) => {
                cancel.term();
                signal
            }
            Wish::Kill(signal) => {
                cancel.kill();
                signal
            }
        };
        self.interrupted_by.get_or_insert_with(|| signal.to_owned());
        self.emit(&Event::Interrupted {
            signal: signal.to_owned(),
        })
    }

    fn outputs_for(&self, ix: TaskIx) -> Outputs {
        self.plan
            .task(ix)
            .sources
            .iter()
            .map(|(step, from)| {
                let given = from
                    .iter()
                    .map(|&ix| (self.plan.task(ix).item.text(), self.run.outputs(ix).clone()))
                    .collect();
                (step.clone(), given)
            })
            .collect()
    }
}
