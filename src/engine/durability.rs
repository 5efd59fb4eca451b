//! A disk that loses what was not synced. Law 3 and law 5 against it: whatever a power cut takes, no effect began of which the journal
//! does not know, nothing began before the ends that let it begin were safe, and the run goes on to its end from what is left.
//!
//! The disk keeps synced and unsynced bytes apart. A run is watched to its end, and at each moment (each write, each sync, each step of
//! an effect) disk and world are photographed. From each photograph the machine is started again, with the synced bytes and any
//! beginning of the others, torn or with zeros in their place as file systems leave them.

use std::io;
use std::path::Path;

use super::*;
use crate::journal::{Disk, Loaded};
use crate::plan::Selection;
use crate::run::event::{Options, Who};
use crate::run::tests::plan_of;
use crate::run::{Mode, TaskState};

/// How a disk may be worse than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// It is not.
    None,
    /// It never syncs.
    Never,
    /// It syncs when it is next written to: too late.
    Late,
}

/// Everything outside the program: the disk, and what the effects did.
#[derive(Debug, Clone)]
struct World {
    durable: Vec<u8>,
    cached: Vec<u8>,
    lie: Lie,
    owed: bool,
    /// The write or sync that fails, counted from the first, and all after it.
    broken_from: Option<usize>,
    operations: usize,
    effects: Vec<Effect>,
    /// What was not as it must be.
    wrong: Vec<String>,
}

/// What an effect came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Effect {
    begun: bool,
    done: bool,
}

impl World {
    fn new(tasks: usize, lie: Lie) -> Self {
        Self {
            durable: Vec::new(),
            cached: Vec::new(),
            lie,
            owed: false,
            broken_from: None,
            operations: 0,
            effects: vec![Effect::default(); tasks],
            wrong: Vec::new(),
        }
    }

    fn sync(&mut self) {
        let cached = std::mem::take(&mut self.cached);
        self.durable.extend(cached);
    }

    /// After a power cut, with so many of the unsynced bytes on the disk, and so many zeros where others had been.
    fn after_a_cut(&self, kept: usize, zeros: usize) -> Self {
        let mut durable = self.durable.clone();
        durable.extend(&self.cached[..kept]);
        durable.extend(std::iter::repeat_n(0, zeros));
        Self {
            durable,
            effects: self.effects.clone(),
            ..Self::new(0, Lie::None)
        }
    }
}

/// The world, and its photographs.
#[derive(Debug, Clone)]
struct Watched {
    world: Arc<Mutex<World>>,
    photographs: Arc<Mutex<Vec<World>>>,
}

impl Watched {
    fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            photographs: Arc::default(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes the world, and photographs it before and after.
    fn at<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let mut photographs = self.photographs.lock().unwrap();
        photographs.push(world.clone());
        let result = change(&mut world);
        photographs.push(world.clone());
        result
    }
}

impl Disk for Watched {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at(|world| {
            if world.owed {
                world.owed = false;
                world.sync();
            }
            world.operations += 1;
            if world
                .broken_from
                .is_some_and(|from| world.operations > from)
            {
                // Full in the middle of a line.
                world.cached.extend(&bytes[..bytes.len() / 2]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            world.cached.extend(bytes);
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.at(|world| {
            world.operations += 1;
            if world
                .broken_from
                .is_some_and(|from| world.operations > from)
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            match world.lie {
                Lie::None => world.sync(),
                Lie::Never => {}
                Lie::Late => world.owed = true,
            }
            Ok(())
        })
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.at(|world| world.durable.truncate(usize::try_from(length).unwrap()));
        Ok(())
    }
}

fn path() -> &'static Path {
    Path::new("journal.jsonl")
}

/// What is in a journal of these bytes, whatever its last line is.
fn load(bytes: &[u8]) -> Loaded<Event> {
    let nowhere = Watched::new(World::new(0, Lie::None));
    Journal::on(path(), Box::new(nowhere), bytes).unwrap().1
}

/// Has effects, and looks at the disk when one begins.
struct Actor {
    plan: Arc<Plan>,
    watched: Watched,
    seed: u64,
}

impl Actor {
    /// What must be on the disk for this attempt to begin.
    fn examine(&self, world: &mut World, order: &Order) {
        let records = load(&world.durable).records;
        let key = &self.plan.task(order.task).key;
        let known = records.iter().rev().find_map(|record| match &record.event {
            Event::AttemptStarted { task, attempt, .. } if task == key => Some(*attempt),
            _ => None,
        });
        if known != Some(order.attempt) {
            world
                .wrong
                .push(format!("{key} began, and a power cut would hide it"));
        }
        for &need in &self.plan.task(order.task).needs {
            let need = &self.plan.task(need).key;
            let safe = records.iter().any(|record| {
                matches!(&record.event, Event::AttemptEnded { task, end: AttemptEnd::Changed { .. } | AttemptEnd::Unchanged { .. }, .. }
                    if task == need)
            });
            if !safe {
                world.wrong.push(format!(
                    "{key} began, and the end of {need} could still be lost"
                ));
            }
        }
        let effect = world.effects[order.task.index()];
        if effect.begun && !order.in_doubt {
            world.wrong.push(format!(
                "{key} had begun before, and nobody knows: it would be done blindly again"
            ));
        }
    }

    fn chance(&self, order: &Order, of: u64) -> u64 {
        let mixed = self
            .seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(order.task.index() as u64 * 7919 + u64::from(order.attempt));
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33 & (of - 1)
    }
}

impl Executor for Actor {
    async fn execute(&self, order: Order, report: Reporter) -> AttemptEnd {
        let task = order.task.index();
        let found = self.watched.world().effects[task];
        let Ok(_) = report.commit().await else {
            return AttemptEnd::Cancelled;
        };
        self.watched.at(|world| {
            self.examine(world, &order);
        });
        if found.done {
            return AttemptEnd::Unchanged {
                why: "it was there".into(),
                outputs: BTreeMap::new(),
            };
        }
        self.watched.at(|world| world.effects[task].begun = true);
        report.fact(Event::ProcessStarted {
            task: self.plan.task(order.task).key.clone(),
            attempt: order.attempt,
            identity: serde_json::Value::Null,
            command: "act".into(),
        });
        let takes = Duration::from_secs(1 + self.chance(&order, 8));
        tokio::select! {
            () = tokio::time::sleep(takes) => {}
            () = order.cancel.termed() => return AttemptEnd::Cancelled,
        }
        if order.attempt == 1 && self.chance(&order, 4) == 0 {
            // It failed before it had any effect.
            self.watched.at(|world| world.effects[task].begun = false);
            return AttemptEnd::Failed {
                failure: Failure::new(FailureKind::Command, "no"),
                retry: true,
            };
        }
        self.watched.at(|world| world.effects[task].done = true);
        AttemptEnd::Changed {
            why: "done".into(),
            outputs: BTreeMap::new(),
        }
    }
}

/// Works on the run that is on the disk of this world, or on a new one, until it is over.
async fn work(plan: &Arc<Plan>, watched: &Watched, seed: u64) -> Result<RunResult, Error> {
    let limits = Limits {
        jobs: 3,
        mode: Mode::Drain,
    };
    let bytes = watched.world().durable.clone();
    let (journal, loaded) =
        Journal::<Event>::on(path(), Box::new(watched.clone()), &bytes).unwrap();
    let mut run = Run::new(plan);
    for record in &loaded.records {
        run.apply(plan, &record.event, Duration::ZERO).unwrap();
    }
    let who = Who {
        user: "u".into(),
        host: "h".into(),
        pid: 1,
    };
    let first = if loaded.records.is_empty() {
        Event::RunStarted {
            run: "r".into(),
            version: "0".into(),
            selection: Selection::Everything,
            options: Options::default(),
            plan: plan.fingerprint(),
            tasks: Vec::new(),
            made_of: crate::plan::Ingredients::default(),
            who,
            rehearsal: None,
        }
    } else {
        Event::RunResumed {
            version: "0".into(),
            plan: plan.fingerprint(),
            tasks: Vec::new(),
            made_of: crate::plan::Ingredients::default(),
            who,
        }
    };
    let mut engine = Engine::new(plan, run, journal, limits, Vec::new());
    let (_sender, mut wishes) = mpsc::unbounded_channel();
    engine.emit(&first)?;
    let actor = Arc::new(Actor {
        plan: Arc::clone(plan),
        watched: watched.clone(),
        seed,
    });
    engine.work(actor, &mut wishes).await
}

fn plan(seed: u64) -> Arc<Plan> {
    let shapes: [&[&[usize]]; 4] = [
        &[&[], &[0], &[1], &[2]],
        &[&[], &[], &[], &[0, 1], &[2, 3], &[3]],
        &[&[], &[0], &[0], &[0], &[1, 2, 3]],
        &[&[], &[], &[1], &[1], &[0, 2], &[4], &[3, 5]],
    ];
    let shape: Vec<Vec<usize>> = shapes[usize::try_from(seed % 4).unwrap()]
        .iter()
        .map(|needs| needs.to_vec())
        .collect();
    Arc::new(plan_of(&shape, &[]))
}

/// What a power cut may leave of the bytes that were not synced.
fn losses(world: &World) -> Vec<(usize, usize)> {
    let cached = world.cached.len();
    let mut losses = vec![(0, 0)];
    if cached > 0 {
        losses.extend([(cached, 0), (cached - 1, 0), (0, cached), (cached / 2, 9)]);
        losses.push((cached * 2 / 3, 0));
    }
    losses
}

/// Starts again from a photograph, and gives what was wrong.
async fn again(plan: &Arc<Plan>, photograph: &World, seed: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kept, zeros) in losses(photograph) {
        let watched = Watched::new(photograph.after_a_cut(kept, zeros));
        let result = work(plan, &watched, seed + 1).await;
        let world = watched.world();
        wrong.extend(world.wrong.iter().cloned());
        if !matches!(result, Ok(RunResult::Done)) || !world.effects.iter().all(|it| it.done) {
            wrong.push(format!("it does not end: {result:?}, {:?}", world.effects));
        }
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn law_03_a_power_cut_at_any_moment_hides_no_effect_and_the_run_goes_on() {
    let mut cuts = 0;
    for seed in 0..8 {
        let plan = plan(seed);
        let watched = Watched::new(World::new(plan.len(), Lie::None));
        let result = work(&plan, &watched, seed).await;
        assert!(matches!(result, Ok(RunResult::Done)), "{result:?}");
        assert_eq!(watched.world().wrong, [""; 0], "seed {seed}");
        let photographs = watched.photographs.lock().unwrap().clone();
        for (at, photograph) in photographs.iter().enumerate() {
            cuts += losses(photograph).len();
            let wrong = again(&plan, photograph, seed).await;
            assert_eq!(wrong, [""; 0], "seed {seed}, moment {at}");
        }
    }
    assert!(cuts > 1000, "only {cuts}");
}

#[tokio::test(start_paused = true)]
async fn law_03_after_a_failed_write_or_sync_nothing_starts_and_the_run_goes_on_later() {
    for seed in 0..4 {
        let plan = plan(seed);
        for from in 0.. {
            let mut world = World::new(plan.len(), Lie::None);
            world.broken_from = Some(from);
            let watched = Watched::new(world);
            let result = work(&plan, &watched, seed).await;
            let world = watched.world().clone();
            assert_eq!(world.wrong, [""; 0], "seed {seed}, operation {from}");
            if result.is_ok() {
                assert!(from > 8, "only {from} operations");
                break;
            }
            assert!(matches!(result, Err(Error::Journal(_))), "{result:?}");
            let wrong = again(&plan, &world, seed).await;
            assert_eq!(wrong, [""; 0], "seed {seed}, operation {from}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_is_left_out_or_comes_late_is_seen() {
    for lie in [Lie::Never, Lie::Late] {
        for seed in 0..4 {
            let plan = plan(seed);
            let watched = Watched::new(World::new(plan.len(), lie));
            work(&plan, &watched, seed).await.unwrap();
            let wrong = watched.world().wrong.join("\n");
            assert!(wrong.contains("a power cut would hide it"), "{lie:?}");
            assert!(wrong.contains("could still be lost"), "{lie:?}");
            // And whoever starts again from it does something twice, blindly.
            let photographs = watched.photographs.lock().unwrap().clone();
            let mut blindly = false;
            for photograph in &photographs {
                blindly |= again(&plan, photograph, seed)
                    .await
                    .iter()
                    .any(|wrong| wrong.contains("blindly"));
            }
            assert!(blindly, "{lie:?}");
        }
    }
}

/// Ends its attempts without touching anything, a moment after each began.
struct Idler;

impl Executor for Idler {
    async fn execute(&self, _: Order, _: Reporter) -> AttemptEnd {
        tokio::time::sleep(Duration::from_millis(1)).await;
        AttemptEnd::Unchanged {
            why: "it was there".into(),
            outputs: BTreeMap::new(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_that_touch_nothing_wait_for_no_disk_and_their_ends_are_safe_soon() {
    const TASKS: usize = 1000;
    let plan = Arc::new(plan_of(&vec![Vec::new(); TASKS], &[]));
    let watched = Watched::new(World::new(TASKS, Lie::None));
    let (journal, _) = Journal::<Event>::on(path(), Box::new(watched.clone()), &[]).unwrap();
    let limits = Limits {
        jobs: 2,
        mode: Mode::Drain,
    };
    let mut engine = Engine::new(&plan, Run::new(&plan), journal, limits, Vec::new());
    let (_sender, mut wishes) = mpsc::unbounded_channel();
    engine.work(Arc::new(Idler), &mut wishes).await.unwrap();
    // Up to a second of work: one sync each tenth of it, and one for the end; not one for each of a thousand.
    let world = watched.world();
    let syncs = world.operations - (2 * TASKS + 1);
    assert!((2..=16).contains(&syncs), "{syncs} syncs");
}

#[tokio::test(start_paused = true)]
async fn what_a_power_cut_leaves_in_doubt_is_in_doubt() {
    // A photograph in the middle of an effect: the fold of what is safe says so.
    let plan = plan(0);
    let watched = Watched::new(World::new(plan.len(), Lie::None));
    work(&plan, &watched, 0).await.unwrap();
    let photographs = watched.photographs.lock().unwrap().clone();
    let mut seen = 0;
    for world in &photographs {
        let mut run = Run::new(&plan);
        for record in load(&world.durable).records {
            run.apply(&plan, &record.event, Duration::ZERO).unwrap();
        }
        for (ix, task) in plan.tasks() {
            if world.effects[ix.index()].begun {
                seen += 1;
                assert!(
                    !matches!(run.state(ix), TaskState::Pending),
                    "{} has begun, and is pending",
                    task.key
                );
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
