//! The lab's own commands. Every screen of them says that it is a lab.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::cobra;
use crate::fault;
use crate::site::Site;
use crate::text::{lines, pretty};
use crate::world::store::Folder;
use crate::world::{NewWorld, World};

/// The names under which the lab plays tools.
pub(crate) const TOOLS: [&str; 4] = ["talosctl", "op", "kubectl", "dig"];

/// A lab: a pretended machine room with pretended tools. Nothing here is real.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Makes a lab world in a folder that is absent or empty.
    New {
        /// The folder.
        world: PathBuf,
        /// What chance depends on.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many times faster lab time runs than the wall clock.
        #[arg(long, default_value_t = 20.0)]
        speed: f64,
        /// What goes wrong; `lab faults` lists the specs.
        #[arg(long = "fault", value_name = "SPEC")]
        faults: Vec<String>,
        /// A file with another room.
        #[arg(long, value_name = "FILE")]
        site: Option<PathBuf>,
    },
    /// Lists what can go wrong in a lab world.
    Faults,
    /// Runs a command with the lab's tools on its PATH.
    Exec {
        /// The folder.
        world: PathBuf,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Prints the calls of the lab's tools, one JSON object a line.
    Calls {
        /// The folder.
        world: PathBuf,
    },
    /// Prints what is true in a lab world, as JSON.
    Show {
        /// The folder.
        world: PathBuf,
        /// Prints every secret that any vault has ever held.
        #[arg(long)]
        secrets: bool,
    },
    /// Does something to a machine of a lab world.
    Hurt {
        /// The folder.
        world: PathBuf,
        #[command(subcommand)]
        what: Hurt,
    },
    /// Heals a machine of a lab world: gives it power and its usual speed.
    Heal {
        /// The folder.
        world: PathBuf,
        /// Its address.
        ip: String,
    },
    /// Lets lab time pass at once.
    Tick {
        /// The folder.
        world: PathBuf,
        /// How long, as in `10m`.
        time: String,
    },
}

#[derive(Debug, Subcommand)]
enum Hurt {
    /// A machine.
    Node {
        /// Its address.
        ip: String,
        /// What happens to it.
        how: How,
    },
    /// All machines of a cluster.
    Cluster {
        /// Its name.
        name: String,
        /// What happens to them.
        how: Disaster,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Disaster {
    /// Back to maintenance mode, the disks empty.
    Wipe,
    /// Power off.
    Down,
    /// Power on.
    Up,
    /// What lies on /var is gone, etcd's data with it; the configuration is not.
    Lose,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    /// Back to maintenance mode, the disk empty.
    Wipe,
    /// Power off.
    Down,
    /// Power on.
    Up,
    /// Part of another cluster.
    Foreign,
    /// Four times as slow.
    Slow,
    /// Another machine in its place, fresh: other hardware addresses.
    Exchange,
    /// What lies on /var is gone, etcd's data with it; the configuration is not.
    Lose,
    /// A disk of Ceph is found in it.
    Ceph,
}

/// Runs `lab` itself.
pub(crate) fn run(words: Vec<OsString>) -> Answer {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.to_string();
            return if error.use_stderr() {
                Answer::fail(2, text)
            } else {
                Answer::out(text)
            };
        }
    };
    let done = match cli.command {
        Word::New {
            world,
            seed,
            speed,
            faults,
            site,
        } => new(&world, seed, speed, faults, site.as_deref()),
        Word::Faults => Ok(format!(
            "# lab: faults, as NAME[:TARGET][=NUMBER]; `heals` by itself or when the call is repeated, or `stays`\n{}",
            fault::list()
        )),
        Word::Exec { world, command } => exec(&world, &command),
        Word::Calls { world } => calls(&world),
        Word::Show { world, secrets } => show(&world, secrets),
        Word::Hurt {
            world,
            what: Hurt::Node { ip, how },
        } => hurt(&world, &ip, how),
        Word::Hurt {
            world,
            what: Hurt::Cluster { name, how },
        } => hurt_cluster(&world, &name, how),
        Word::Heal { world, ip } => change(&world, |world| {
            world.switch_on(&ip)?;
            world.slow(&ip, 1)?;
            Ok(format!("lab: {ip} has power and its usual speed\n"))
        }),
        Word::Tick { world, time } => tick(&world, &time),
    };
    done.map_or_else(|why| Answer::fail(1, format!("lab: {why}\n")), Answer::out)
}

fn new(
    path: &Path,
    seed: u64,
    speed: f64,
    faults: Vec<String>,
    site: Option<&Path>,
) -> Result<String, String> {
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("`{}` exists and is not empty", path.display()));
    }
    if !(speed.is_finite() && speed > 0.0) {
        return Err("the speed must be greater than zero".to_string());
    }
    let site = match site {
        None => Site::built_in(),
        Some(file) => {
            let text = fs::read_to_string(file)
                .map_err(|error| format!("`{}`: {error}", file.display()))?;
            serde_yaml::from_str(&text).map_err(|error| format!("`{}`: {error}", file.display()))?
        }
    };
    let name = path.file_name().map_or_else(
        || "world".to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let machines = site.nodes.len();
    let world = World::build(NewWorld {
        name,
        seed,
        speed,
        created_ms: clock::wall_ms(),
        site,
        faults,
    })?;
    let specs: Vec<&str> = world
        .faults
        .iter()
        .map(|fault| fault.spec.as_str())
        .collect();
    let armed = if specs.is_empty() {
        "none".to_string()
    } else {
        specs.join(" ")
    };
    let make = || -> std::io::Result<()> {
        Folder::new(path).create(&world)?;
        fs::write(path.join("world.lock"), speed.to_string())?;
        fs::create_dir_all(path.join("bin"))?;
        let own = env::current_exe()?;
        for tool in TOOLS {
            symlink(&own, path.join("bin").join(tool))?;
        }
        Ok(())
    };
    make().map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok(format!(
        "lab: a new world in {}: {machines} machines, seed {seed}, time x{speed}, faults: {armed}\n",
        path.display()
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the lab hands its process over to the command; it starts none of its own"
)]
fn exec(path: &Path, words: &[OsString]) -> Result<String, String> {
    let world = path
        .canonicalize()
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    let (name, speed) = Folder::new(&world)
        .change(|world| (world.name.clone(), world.speed))
        .map_err(|error| format!("`{}` is not a lab world: {error}", path.display()))?;
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let mut places = vec![world.join("bin")];
    places.extend(own.parent().map(Path::to_path_buf));
    places.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let joined = env::join_paths(places).map_err(|error| error.to_string())?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("OP_") || matches!(name.as_ref(), "TALOSCONFIG" | "KUBECONFIG") {
            command.env_remove(&key);
        }
    }
    command
        .env("PATH", &joined)
        .env("LAB_WORLD", &world)
        .env("BOOTSTRAP_TIME_SCALE", speed.to_string())
        .env(
            "BOOTSTRAP_REHEARSAL",
            format!("lab world {name}, time x{speed}"),
        );
    // The command is looked up on the new PATH, as the shell would.
    let found = env::split_paths(&joined)
        .map(|place| place.join(&words[0]))
        .find(|file| file.is_file());
    if let Some(file) = found.filter(|_| !words[0].to_string_lossy().contains('/')) {
        let mut direct = Command::new(&file);
        direct.arg0(&words[0]).args(&words[1..]);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => direct.env(key, value),
                None => direct.env_remove(key),
            };
        }
        return Err(format!("`{}`: {}", file.display(), direct.exec()));
    }
    Err(format!(
        "`{}`: {}",
        words[0].to_string_lossy(),
        command.exec()
    ))
}

fn calls(path: &Path) -> Result<String, String> {
    let calls = Folder::new(path)
        .calls()
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    Ok(lines(calls.iter().map(ToString::to_string)))
}

fn show(path: &Path, secrets: bool) -> Result<String, String> {
    change(path, |world| {
        let value = if secrets {
            json!(world.secrets())
        } else {
            world.show()
        };
        Ok(pretty(&value, "  ") + "\n")
    })
}

fn hurt(path: &Path, ip: &str, how: How) -> Result<String, String> {
    change(path, |world| {
        match how {
            How::Wipe => world.wipe(ip)?,
            How::Down => world.switch_off(ip, None)?,
            How::Up => world.switch_on(ip)?,
            How::Foreign => world.estrange(ip)?,
            How::Slow => world.slow(ip, 4)?,
            How::Exchange => world.exchange(ip)?,
            How::Lose => world.lose(ip)?,
            How::Ceph => world.give_ceph(ip)?,
        }
        Ok(format!(
            "lab: {ip}: {}\n",
            format!("{how:?}").to_lowercase()
        ))
    })
}

fn hurt_cluster(path: &Path, name: &str, how: Disaster) -> Result<String, String> {
    change(path, |world| {
        let of = world.machines_of(name);
        if of.is_empty() {
            return Err(format!("no machine belongs to a cluster `{name}`"));
        }
        for ip in &of {
            match how {
                Disaster::Wipe => world.wipe(ip)?,
                Disaster::Down => world.switch_off(ip, None)?,
                Disaster::Up => world.switch_on(ip)?,
                Disaster::Lose => world.lose(ip)?,
            }
        }
        let word = format!("{how:?}").to_lowercase();
        Ok(format!("lab: {name} ({}): {word}\n", of.join(", ")))
    })
}

fn tick(path: &Path, time: &str) -> Result<String, String> {
    let passed = cobra::duration_ms(time)?;
    change(path, |world| {
        world.skew_ms += passed;
        let to = world.now_ms + passed;
        world.advance(to);
        Ok(format!("lab: {time} have passed\n"))
    })
}

fn change(
    path: &Path,
    work: impl FnOnce(&mut World) -> Result<String, String>,
) -> Result<String, String> {
    Folder::new(path)
        .change(work)
        .map_err(|error| format!("`{}` is not a lab world: {error}", path.display()))?
}
