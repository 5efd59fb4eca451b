//! One call of a tool in a world: its latency, its look at the world, its line in the call log.

use std::env;
use std::fs;
use std::io;

use crate::answer::Answer;
use crate::clock;
use crate::real::Setup;
use crate::world::World;
use crate::world::store::Folder;

/// What a tool finds out when it looks at the world.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The answer.
    Done(Answer),
    /// The answer, which comes after some milliseconds of lab time.
    After(u64, Answer),
    /// Nothing yet: look again after some milliseconds of lab time.
    Again(u64),
    /// A part of stderr that is seen at once; look again after some milliseconds of lab time.
    Tell(String, u64),
    /// No answer, ever.
    Hang,
}

/// The room that a tool was called in.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    folder: Folder,
    speed: f64,
}

impl Room {
    /// Opens the room that `LAB_WORLD` names.
    pub(crate) fn open() -> Result<Self, Answer> {
        let path = env::var_os("LAB_WORLD").filter(|path| !path.is_empty()).ok_or_else(|| {
            Answer::fail(70, "lab: this is a played tool and LAB_WORLD is not set; call it through `lab exec WORLD -- …`\n")
        })?;
        let folder = Folder::new(path);
        let speed =
            fs::read_to_string(folder.path().join("world.lock")).map_err(|error| broken(&error))?;
        let speed = speed.trim().parse().unwrap_or(1.0);
        Ok(Self { folder, speed })
    }

    /// Refuses what the lab plays only with clusters that are played as well.
    pub(crate) fn not_if_real(&self, what: &str) -> Result<(), Answer> {
        match Setup::of(self.folder.path()) {
            None => Ok(()),
            Some(_) => Err(Answer::not_played(&format!(
                "{what} in a world with real control planes"
            ))),
        }
    }

    /// Sleeps for some milliseconds of lab time.
    pub(crate) fn pause(&self, lab_ms: u64) {
        if lab_ms > 0 {
            clock::sleep(lab_ms, self.speed);
        }
    }

    /// Looks at the world once, without latency.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&mut World) -> T) -> Result<T, Answer> {
        self.folder.change(work).map_err(|error| broken(&error))
    }

    /// Plays a call: half of its latency passes before the world is asked, half after.
    pub(crate) fn play(&self, latency: u64, mut work: impl FnMut(&mut World) -> Reply) -> Answer {
        self.pause(latency / 2);
        loop {
            match self.look(&mut work) {
                Err(answer) => return answer,
                Ok(Reply::Done(answer)) => {
                    self.pause(latency / 2);
                    return answer;
                }
                Ok(Reply::After(wait, answer)) => {
                    self.pause(wait);
                    return answer;
                }
                Ok(Reply::Again(wait)) => self.pause(wait),
                Ok(Reply::Tell(text, wait)) => {
                    Answer::fail(0, text).deliver();
                    self.pause(wait);
                }
                Ok(Reply::Hang) => loop {
                    self.pause(3_600_000);
                },
            }
        }
    }
}

fn broken(error: &io::Error) -> Answer {
    Answer::fail(
        70,
        format!("lab: the world cannot be read or written: {error}\n"),
    )
}
