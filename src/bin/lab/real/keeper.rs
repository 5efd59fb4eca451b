//! The keeper of a real world: one process that starts, watches and mends all others, for as long as somebody works there.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::identity::{Identity, MARK, end_marked, marked};
use super::plane::Plane;
use super::program::appended;
use super::proxy::{self, Connections};
use super::{Setup, folder, operators, web};
use crate::clock;
use crate::world::World;
use crate::world::store::Folder;

/// How often the keeper looks at the world.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a keeper may take to be there.
const READY: Duration = Duration::from_secs(30);

/// What a keeper says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    /// Which folder it keeps: a copied world has no keeper yet.
    folder: PathBuf,
    keeper: Identity,
    guard: Option<Identity>,
    proxy: u16,
}

/// What the keeper's threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The world's folder.
    pub(crate) world: PathBuf,
    /// The real programs.
    pub(crate) setup: Setup,
    /// The proxy's port.
    pub(crate) proxy: u16,
    /// Where the API server of each cluster listens.
    pub(crate) servers: Mutex<BTreeMap<usize, u16>>,
    /// Where what is outside of the room is served.
    pub(crate) web: Mutex<Option<web::Ports>>,
    /// What goes through the proxy now.
    pub(crate) connections: Connections,
    /// The world as it was last seen.
    seen: Mutex<World>,
}

impl Shared {
    /// Returns the world as it was last seen.
    pub(crate) fn world(&self) -> World {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Waits a little, by the wall clock.
pub(crate) fn pause(time: Duration) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "pauses are a few milliseconds"
    )]
    clock::sleep(time.as_millis() as u64, 1.0);
}

/// Makes sure that somebody keeps the real clusters of a world for as long as this process lives; returns the proxy's port.
pub(crate) fn ensure(world: &Path) -> Result<u16, String> {
    let folder = folder(world);
    let own = Identity::own().ok_or("/proc cannot be read")?;
    let user = folder.join(format!("users/{}-{}", own.pid, own.started));
    File::create(&user).map_err(|error| format!("`{}`: {error}", user.display()))?;
    let begun = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(port) = proxy(world) {
            return Ok(port);
        }
        if begun.elapsed() > READY {
            return Err(format!(
                "the keeper of the real clusters does not start; it says why in `{}`",
                folder.join("log/keeper.log").display()
            ));
        }
        if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(5)) {
            call(world).map_err(|error| format!("the keeper cannot be started: {error}"))?;
            asked = Some(Instant::now());
        }
        pause(Duration::from_millis(20));
    }
}

/// Returns the port of the proxy of a world that is kept.
pub(crate) fn proxy(world: &Path) -> Option<u16> {
    let state = state(world)?;
    state.keeper.lives().then_some(state.proxy)
}

fn state(world: &Path) -> Option<State> {
    let folder = folder(world);
    let text = fs::read_to_string(folder.join("keeper.json")).ok()?;
    serde_json::from_str(&text)
        .ok()
        .filter(|state: &State| state.folder == folder)
}

/// Starts a keeper that belongs to nobody: the process that starts it ends at once.
fn call(world: &Path) -> io::Result<()> {
    let log = appended(&folder(world).join("log/keeper.log"))?;
    let mut first = lab(&["keep"], world, log)?;
    first.wait()?;
    Ok(())
}

fn lab(words: &[&str], world: &Path, log: File) -> io::Result<Child> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the keeper starts the processes of a real world"
    )]
    let mut command = Command::new(env::current_exe()?);
    command
        .args(words)
        .arg(world)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Ends everything real in a world; returns a sentence.
pub(crate) fn end(world: &Path) -> Result<String, String> {
    let folder = folder(world);
    let before = state(world);
    let count = end_marked(&folder).map_err(|left| {
        let pids: Vec<String> = left.iter().map(|one| one.pid.to_string()).collect();
        format!("these processes do not end: {}", pids.join(" "))
    })?;
    // The guard ends by itself when the keeper is no more; nothing may be left of a world that was ended.
    if let Some(guard) = before.and_then(|state| state.guard)
        && !guard.gone_within(Duration::from_secs(10))
    {
        guard.end();
    }
    fs::remove_file(folder.join("keeper.json")).ok();
    Ok(format!(
        "lab: {count} processes ended; what they knew is kept until the folder is removed\n"
    ))
}

/// Returns what is real in a world, as JSON for `lab show`.
pub(crate) fn show(world: &Path) -> Value {
    let folder = folder(world);
    let servers = fs::read_to_string(folder.join("servers.json")).unwrap_or_default();
    json!({
        "kept": proxy(world).is_some(),
        "proxy": proxy(world),
        "processes": marked(&folder).iter().map(|process| process.pid).collect::<Vec<_>>(),
        "clusters": serde_json::from_str::<Value>(&servers).unwrap_or_default(),
    })
}

/// `lab keep WORLD`: starts the keeper proper, and leaves it alone.
pub(crate) fn leave(world: &Path) -> Result<(), String> {
    let work = || -> io::Result<()> {
        let world = world.canonicalize()?;
        let log = appended(&folder(&world).join("log/keeper.log"))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the keeper starts the processes of a real world"
        )]
        let child = Command::new(env::current_exe()?)
            .args(["keep", "--stay"])
            .arg(&world)
            .env(MARK, folder(&world))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        // Nobody waits for it: when this process ends, the keeper is nobody's child.
        drop(child);
        Ok(())
    };
    work().map_err(|error| format!("`{}`: {error}", world.display()))
}

/// `lab keep --stay WORLD`: keeps the real clusters of a world until nobody needs them.
pub(crate) fn stay(world: &Path) -> Result<String, String> {
    keep(world).map_err(|error| format!("{error}\n"))
}

fn keep(world: &Path) -> io::Result<String> {
    rustix::process::setsid().ok();
    let folder = folder(world);
    // Sockets have short names, so everything is named from here.
    env::set_current_dir(&folder)?;
    let lock = File::create("keeper.lock")?;
    if lock.try_lock().is_err() {
        return Ok("somebody keeps this world already\n".to_string());
    }
    let inode = lock.metadata()?.ino();
    let setup = Setup::of(world).ok_or_else(|| io::Error::other("this world is not real"))?;
    let own = Identity::own().ok_or_else(|| io::Error::other("/proc cannot be read"))?;
    // What an earlier keeper left, if its guard was ended with it.
    end_marked(&folder)
        .map_err(|_| io::Error::other("processes of an earlier keeper do not end"))?;
    let mut guard = guard(&folder)?;
    let listener = listen(state(world).map(|state| state.proxy))?;
    let port = listener.local_addr()?.port();
    let shared = Arc::new(Shared {
        world: world.to_path_buf(),
        setup,
        proxy: port,
        servers: Mutex::default(),
        web: Mutex::default(),
        connections: Connections::default(),
        seen: Mutex::new(Folder::new(world).peek()?),
    });
    let doors = Arc::clone(&shared);
    std::thread::spawn(move || proxy::serve(&listener, &doors));
    let outside = Arc::clone(&shared);
    std::thread::spawn(move || web::run(&outside));
    write_state(&folder, own, &guard, port)?;
    let mut planes = 0;
    let mut needed = Instant::now();
    loop {
        if fs::metadata(folder.join("keeper.lock"))
            .map(|file| file.ino())
            .ok()
            != Some(inode)
        {
            return Ok("the world was removed\n".to_string());
        }
        if anybody() {
            needed = Instant::now();
        } else if needed.elapsed() > Duration::from_secs(shared.setup.linger) {
            return Ok("nobody works here any more\n".to_string());
        }
        if guard.try_wait()?.is_some() {
            guard = self::guard(&folder)?;
            write_state(&folder, own, &guard, port)?;
        }
        // A world that is being written is read again the next time.
        if let Ok(world) = Folder::new(world).peek() {
            shared.connections.cut(&world);
            *shared.seen.lock().unwrap_or_else(PoisonError::into_inner) = world.clone();
            while planes < world.clusters.len() {
                let plane = Plane::new(planes, Arc::clone(&shared));
                std::thread::spawn(move || plane.run());
                let (index, operated) = (planes, Arc::clone(&shared));
                std::thread::spawn(move || operators::run(index, &operated));
                planes += 1;
            }
        }
        pause(GLANCE);
    }
}

fn write_state(folder: &Path, keeper: Identity, guard: &Child, proxy: u16) -> io::Result<()> {
    let state = State {
        folder: folder.to_path_buf(),
        keeper,
        guard: Identity::of(guard.id()),
        proxy,
    };
    fs::write("keeper.json.next", serde_json::to_string(&state)?)?;
    fs::rename("keeper.json.next", "keeper.json")
}

/// Starts the guard: it has no mark, because it ends those who have.
fn guard(folder: &Path) -> io::Result<Child> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the keeper starts the processes of a real world"
    )]
    Command::new(env::current_exe()?)
        .arg("guard")
        .arg(folder)
        .env_remove(MARK)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(appended(Path::new("log/guard.log"))?)
        .process_group(0)
        .spawn()
}

/// Listens on the port that running tools may know, or on a free one.
fn listen(known: Option<u16>) -> io::Result<TcpListener> {
    known
        .and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok)
}

/// Returns whether somebody works in the world, and forgets those who are gone.
fn anybody() -> bool {
    let mut any = false;
    for entry in fs::read_dir("users").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let identity = name
            .to_str()
            .and_then(|name| name.split_once('-'))
            .and_then(|(pid, started)| {
                Some(Identity {
                    pid: pid.parse().ok()?,
                    started: started.parse().ok()?,
                })
            });
        if identity.is_some_and(Identity::lives) {
            any = true;
        } else {
            fs::remove_file(entry.path()).ok();
        }
    }
    any
}
