//! The real back end: real control planes, real tools, in a world whose machines stay played.
//!
//! A world made with `lab new WORLD --real` has a folder `real`. The first `lab exec` starts a *keeper* there, a process of the lab that
//! starts and watches everything else: for each cluster that the played machines have made, etcd, the API server, the controller manager,
//! the scheduler and the kubelets' stand-in; and the one proxy through which the tools reach them under the room's own names and addresses.
//! A *guard* beside the keeper ends all of it as soon as the keeper is no more, however that came. Everything listens on loopback only.

pub(crate) mod agent;
pub(crate) mod api;
mod chart;
pub(crate) mod guard;
pub(crate) mod helm;
pub(crate) mod identity;
pub(crate) mod keeper;
mod node;
mod operators;
mod plane;
pub(crate) mod program;
mod proxy;
pub(crate) mod tool;
mod web;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};
use crate::site::Site;

/// The tools that are real in a real world; the others are played.
pub(crate) const TOOLS: [&str; 5] = ["kubectl", "helm", "flux", "cilium", "kustomize"];

/// The programs that a real world needs besides.
const PROGRAMS: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "web",
    "source-controller",
    "kustomize-controller",
];

/// What is written down once, when the world is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The folder of the real programs.
    pub(crate) tools: PathBuf,
    /// How many seconds everything stays after the last command of `lab exec` has ended.
    pub(crate) linger: u64,
}

impl Setup {
    /// Finds the real programs, or says what is missing and how to get it.
    pub(crate) fn find(tools: Option<&Path>, linger: u64) -> Result<Self, String> {
        if !cfg!(target_os = "linux") {
            return Err(
                "a real world can only be had on Linux: the lab tells its processes apart by /proc"
                    .to_string(),
            );
        }
        let given = tools.unwrap_or(Path::new(".tools"));
        let missing: Vec<&str> = PROGRAMS
            .into_iter()
            .chain(TOOLS)
            .filter(|name| !given.join(name).is_file())
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "a real world needs real programs, and `{}` has no {}; build them with `make real-tools` (or name their folder: --tools DIR)",
                given.display(),
                missing.join(", ")
            ));
        }
        let tools = given
            .canonicalize()
            .map_err(|error| format!("`{}`: {error}", given.display()))?;
        Ok(Self { tools, linger })
    }

    /// Reads the setup of a world; `None` if its clusters are played.
    pub(crate) fn of(world: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder(world).join("setup.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes the setup of a new world.
    pub(crate) fn create(&self, world: &Path, site: &Site) -> std::io::Result<()> {
        for place in ["log", "users"] {
            fs::create_dir_all(folder(world).join(place))?;
        }
        web::create(world, &self.tools, site)?;
        fs::write(
            folder(world).join("setup.json"),
            serde_json::to_string(self)?,
        )
    }
}

/// Refuses a fault that a world with real control planes cannot play.
pub(crate) fn plays(fault: &Fault) -> Result<(), String> {
    match fault.kind {
        Kind::ImageMissing => Err(format!(
            "`{}` cannot be played in a world with real control planes: kwok starts every pod there, whatever its image; a played world can",
            fault.spec
        )),
        _ => Ok(()),
    }
}

/// Returns the folder of everything real in a world.
pub(crate) fn folder(world: &Path) -> PathBuf {
    world.join("real")
}
