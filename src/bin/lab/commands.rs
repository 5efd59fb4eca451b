//! The lab's own commands. Every screen of them says that it is a lab.

mod git;

use std::collections::BTreeSet;
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
use crate::fault::{self, Fault};
use crate::real::{self, Setup, keeper};
use crate::site::Site;
use crate::text::{lines, pretty};
use crate::world::store::Folder;
use crate::world::{NewWorld, World};

/// The names under which the lab plays tools.
pub(crate) const TOOLS: [&str; 8] = [
    "talosctl",
    "op",
    "kubectl",
    "dig",
    "helm",
    "flux",
    "cilium",
    "kustomize",
];

/// A lab: a pretended machine room with pretended tools. No machine here is real.
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
        #[command(flatten)]
        real: Kind,
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
    /// Makes a project folder a Git repository, if it is none, and pushes it to the room's remote.
    Git {
        /// The folder of the world.
        world: PathBuf,
        /// The folder of the project.
        folder: PathBuf,
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
    /// Lets something go wrong in a lab world.
    Hurt {
        /// The folder.
        world: PathBuf,
        #[command(subcommand)]
        what: Hurt,
    },
    /// Heals a machine of a lab world: gives it power and its usual speed. Or ends a fault.
    Heal {
        /// The folder.
        world: PathBuf,
        /// The machine's address, or the fault as it was given.
        ip: String,
    },
    /// Ends every real process of a lab world; the next `lab exec` starts them again.
    End {
        /// The folder.
        world: PathBuf,
    },
    /// Keeps the real processes of a lab world; `lab exec` calls it.
    #[command(hide = true)]
    Keep {
        /// The folder.
        world: PathBuf,
        /// Stays, instead of leaving the work to a process of its own.
        #[arg(long)]
        stay: bool,
    },
    /// Ends the real processes of a lab world when its keeper is no more; the keeper calls it.
    #[command(hide = true)]
    Guard {
        /// The folder of what is real in the world.
        folder: PathBuf,
    },
    /// Becomes a program that ends with the keeper; the keeper calls it.
    #[command(hide = true)]
    Become {
        /// The keeper's process.
        parent: u32,
        /// The program.
        program: PathBuf,
        /// Its arguments.
        #[arg(last = true)]
        argv: Vec<OsString>,
    },
    /// Lets lab time pass at once.
    Tick {
        /// The folder.
        world: PathBuf,
        /// How long, as in `10m`.
        time: String,
    },
}

/// Whether the clusters are real.
#[derive(Debug, clap::Args)]
struct Kind {
    /// Gives the clusters real control planes, on loopback, and real kubectl, helm, flux, cilium, kustomize (Linux; `make real-tools`).
    #[arg(long)]
    real: bool,
    /// Where the real programs are; `.tools` if this is not said.
    #[arg(long, value_name = "DIR", requires = "real")]
    tools: Option<PathBuf>,
    /// How many seconds the real programs stay after the last `lab exec` has ended; `lab end` ends them at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "real")]
    linger: u64,
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
    /// Anything that `lab faults` lists, from now on; `lab heal WORLD SPEC` ends it.
    Fault {
        /// `NAME[:TARGET][=NUMBER]`.
        spec: String,
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
            real,
        } => new(&world, seed, speed, faults, site.as_deref(), &real),
        Word::Faults => Ok(format!(
            "# lab: faults, as NAME[:TARGET][=NUMBER]; `heals` by itself or when the call is repeated, or `stays`\n{}",
            fault::list()
        )),
        Word::Exec { world, command } => exec(&world, &command),
        Word::Git { world, folder } => change(&world, |world| Ok(world.remote()))
            .and_then(|remote| git::adopt(&remote, &folder)),
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
        Word::Hurt {
            world,
            what: Hurt::Fault { spec },
        } => befall(&world, &spec),
        Word::Heal { world, ip } => change(&world, |world| {
            if world.relieve(&ip) {
                return Ok(format!("lab: no longer: {ip}\n"));
            }
            world.switch_on(&ip)?;
            world.slow(&ip, 1)?;
            Ok(format!("lab: {ip} has power and its usual speed\n"))
        }),
        Word::End { world } => end(&world),
        Word::Keep { world, stay: true } => keeper::stay(&world),
        Word::Keep { world, stay: false } => keeper::leave(&world).map(|()| String::new()),
        Word::Guard { folder } => return Answer::fail(real::guard::run(&folder), ""),
        Word::Become {
            parent,
            program,
            argv,
        } => Err(real::program::become_it(parent, &program, &argv)),
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
    real: &Kind,
) -> Result<String, String> {
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("`{}` exists and is not empty", path.display()));
    }
    if !(speed.is_finite() && speed > 0.0) {
        return Err("the speed must be greater than zero".to_string());
    }
    let setup = if real.real {
        Some(Setup::find(real.tools.as_deref(), real.linger)?)
    } else {
        None
    };
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
    if setup.is_some() {
        world.faults.iter().try_for_each(real::plays)?;
    }
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
        let mut tools: BTreeSet<&str> = TOOLS.into();
        if let Some(setup) = &setup {
            setup.create(path, &world.site)?;
            tools.extend(real::TOOLS);
        }
        for tool in tools {
            symlink(&own, path.join("bin").join(tool))?;
        }
        Ok(())
    };
    make().map_err(|error| format!("`{}`: {error}", path.display()))?;
    let clusters = if setup.is_some() {
        ", real control planes"
    } else {
        ""
    };
    Ok(format!(
        "lab: a new world in {}: {machines} machines{clusters}, seed {seed}, time x{speed}, faults: {armed}\n",
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
    let (name, speed, remote, url) = Folder::new(&world)
        .change(|world| {
            let url = world.site.git.url.clone();
            (world.name.clone(), world.speed, world.remote(), url)
        })
        .map_err(|error| format!("`{}` is not a lab world: {error}", path.display()))?;
    let mut clusters = "";
    if Setup::of(&world).is_some() {
        keeper::ensure(&world)?;
        clusters = " with real control planes";
    }
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
        .envs(git::environment(&remote, &url))
        .env("BOOTSTRAP_TIME_SCALE", speed.to_string())
        .env(
            "BOOTSTRAP_REHEARSAL",
            format!("lab world {name}{clusters}, time x{speed}"),
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

fn end(path: &Path) -> Result<String, String> {
    let world = path
        .canonicalize()
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    match Setup::of(&world) {
        Some(_) => keeper::end(&world),
        None => Ok("lab: nothing runs in a played world; there is nothing to end\n".to_string()),
    }
}

fn show(path: &Path, secrets: bool) -> Result<String, String> {
    let world = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let real = Setup::of(&world).map(|_| keeper::show(&world));
    change(path, |world| {
        let mut value = if secrets {
            json!(world.secrets())
        } else {
            world.show()
        };
        if let (false, Some(real)) = (secrets, real) {
            value["real"] = real;
        }
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

fn befall(path: &Path, spec: &str) -> Result<String, String> {
    if Setup::of(path).is_some() {
        real::plays(&Fault::parse(spec)?)?;
    }
    change(path, |world| {
        world.befall(spec)?;
        Ok(format!("lab: from now on: {spec}\n"))
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
        world.settle();
        Ok(format!("lab: {time} have passed\n"))
    })
}

fn change<T>(path: &Path, work: impl FnOnce(&mut World) -> Result<T, String>) -> Result<T, String> {
    Folder::new(path)
        .change(work)
        .map_err(|error| format!("`{}` is not a lab world: {error}", path.display()))?
}
