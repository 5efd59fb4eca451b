//! The world's folder: `world.json` under a lock, and `calls.jsonl`.
//!
//! Nobody keeps a world in memory between calls. [`change`] locks, reads, moves the world on to now, lets the caller
//! look at or change it, replaces the file as a whole, and unlocks; a process that is killed leaves the old world or the
//! new one. Nobody sleeps while holding the lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::World;
use crate::clock;
use crate::fault::Kind;
use crate::remote::Remote;

/// A world's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Returns the folder at a path, which need not exist.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a world for the first time.
    pub(crate) fn create(&self, world: &World) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        File::create(self.path.join("world.lock"))?;
        File::create(self.path.join("calls.jsonl"))?;
        Remote::new(self.path.join("remote.git")).create()?;
        self.replace(&serde_json::to_string(world)?)
    }

    /// Moves the world on to now and lets the caller look at it or change it.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut World) -> T) -> io::Result<T> {
        let lock = File::open(self.path.join("world.lock"))?;
        lock.lock()?;
        let before = fs::read_to_string(self.path.join("world.json"))?;
        let mut world: World = serde_json::from_str(&before)?;
        let to = lab_now(&world);
        world.at_home(&self.path);
        world.advance(to);
        world.calls += 1;
        world.settle();
        let result = work(&mut world);
        world.keep_objects()?;
        world.remote().protect(world.has(Kind::GitProtected))?;
        self.replace(&serde_json::to_string(&world)?)?;
        world.sweep_objects()?;
        lock.unlock()?;
        Ok(result)
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        // One name is enough: only the holder of the lock writes it, and a dead writer's is overwritten.
        let next = self.path.join("world.json.next");
        fs::write(&next, text)?;
        fs::rename(&next, self.path.join("world.json"))
    }

    /// Notes that a call begins; returns the name that [`Folder::end_call`] wants.
    pub(crate) fn begin_call(&self, tool: &str, argv: &[String]) -> io::Result<String> {
        let started = clock::wall_ms();
        let name = format!("{started}-{}", std::process::id());
        let line = json!({ "call": name, "tool": tool, "argv": argv, "pid": std::process::id(), "started_ms": started });
        self.append(&line)?;
        Ok(name)
    }

    /// Notes that a call has ended.
    pub(crate) fn end_call(&self, name: &str, exit: u8) -> io::Result<()> {
        self.append(&json!({ "call": name, "exit": exit, "ended_ms": clock::wall_ms() }))
    }

    fn append(&self, line: &Value) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.path.join("calls.jsonl"))?;
        // One write of a whole line at the end of the file is never mixed with another's.
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Returns the calls in the order of their beginning.
    pub(crate) fn calls(&self) -> io::Result<Vec<Value>> {
        let text = fs::read_to_string(self.path.join("calls.jsonl"))?;
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let (begun, ended): (Vec<&Value>, Vec<&Value>) =
            lines.iter().partition(|line| line.get("tool").is_some());
        Ok(begun
            .iter()
            .map(|call| {
                let end = ended.iter().find(|end| end["call"] == call["call"]);
                json!({
                    "tool": call["tool"],
                    "argv": call["argv"],
                    "exit": end.map_or(Value::Null, |end| end["exit"].clone()),
                    "started_ms": call["started_ms"],
                    "ended_ms": end.map_or(Value::Null, |end| end["ended_ms"].clone()),
                    "pid": call["pid"],
                })
            })
            .collect())
    }
}

/// Returns the lab's time at the present moment.
fn lab_now(world: &World) -> u64 {
    let wall = clock::wall_ms().saturating_sub(world.created_ms);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "lab time is a small positive number of milliseconds"
    )]
    let scaled = (wall as f64 * world.speed) as u64;
    scaled + world.skew_ms
}
