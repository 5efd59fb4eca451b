//! One machine: where it stands in its life, what it has on disk, what its etcd does.

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::site::Machine;

/// A machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Its hardware.
    pub(crate) machine: Machine,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// How often it has booted; times are drawn anew for each boot.
    pub(crate) boots: u64,
    /// The kernel's boot id.
    pub(crate) boot_id: String,
    /// Whether Talos is on its disk.
    pub(crate) installed: bool,
    /// The config on STATE.
    pub(crate) config: Option<Config>,
    /// A config for the next boot.
    pub(crate) staged: Option<Config>,
    /// The etcd cluster whose data is in /var/lib/etcd.
    pub(crate) data: Option<usize>,
    /// The snapshot that its etcd begins from when it is bootstrapped.
    #[serde(default)]
    pub(crate) restores: Option<super::Snapshot>,
    /// What its etcd service does.
    pub(crate) etcd: Etcd,
    /// The events of the etcd service: when, state, message.
    pub(crate) events: Vec<(u64, String, String)>,
    /// When its clock is in sync, in this boot.
    pub(crate) synced_at: u64,
    /// When its API server answers, in this boot.
    pub(crate) api_at: Option<u64>,
    /// How many times as long everything takes.
    pub(crate) slowness: u64,
    /// Whether its last disk has data of Ceph.
    #[serde(default)]
    pub(crate) ceph: bool,
}

/// A machine config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// The YAML text.
    pub(crate) text: String,
    /// What the node reads out of it.
    pub(crate) facts: Facts,
    /// When it was accepted.
    pub(crate) at_ms: u64,
}

/// Where a machine stands in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// No power; perhaps until a moment.
    Off {
        /// When somebody switches it on.
        until: Option<u64>,
    },
    /// Firmware, kernel, early boot.
    Firmware {
        /// When it is through.
        until: u64,
    },
    /// Maintenance mode: no config, and everybody may give one.
    Maintenance,
    /// A config was accepted, and the maintenance service has not stopped yet.
    Lingering {
        /// When it has.
        until: u64,
    },
    /// Talos is written to the disk.
    Installing {
        /// When it is.
        until: u64,
    },
    /// Between two kernels.
    Rebooting {
        /// When the next one runs.
        until: u64,
    },
    /// The kernel runs, apid does not yet.
    Booting {
        /// When it does.
        until: u64,
    },
    /// apid answers.
    Up {
        /// Since when.
        since: u64,
    },
    /// A reboot, reset or shutdown is under way and apid still answers.
    Closing {
        /// When it is over.
        until: u64,
        /// What comes then.
        then: Then,
    },
}

/// What follows the end of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    /// The next boot.
    Reboot,
    /// No power.
    Off,
    /// The disk is wiped, wholly or in part.
    Reset {
        /// Whether the config goes.
        state: bool,
        /// Whether /var goes.
        ephemeral: bool,
        /// Whether Talos itself goes.
        system: bool,
        /// Whether a boot follows.
        reboot: bool,
    },
}

/// What the etcd service of a node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Etcd {
    /// Nothing: no control plane, or the node is not up.
    Off,
    /// It looks for a cluster to join, or waits to be bootstrapped.
    Waiting {
        /// Since when.
        since: u64,
    },
    /// It pulls its image.
    Pulling {
        /// When it has it.
        until: u64,
        /// What it will be.
        role: Role,
    },
    /// It runs.
    Running {
        /// When it is next looked at: the first health check, or a learner's promotion.
        next: u64,
        /// Whether that has gone well.
        checked: bool,
    },
    /// It has given up.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What an etcd that starts will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The first member of a new cluster.
    Founder,
    /// A learner of this cluster.
    Learner(usize),
    /// What it was before a reboot.
    Member,
}

/// Who listens on port 50000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// No machine has the address.
    Absent,
    /// Nobody.
    Closed,
    /// The maintenance service.
    Maintenance,
    /// apid.
    Apid,
}

impl Node {
    /// Returns a machine that stands in maintenance mode.
    pub(crate) fn new(machine: Machine, boot_id: String) -> Self {
        Self {
            machine,
            phase: Phase::Maintenance,
            boots: 1,
            boot_id,
            installed: false,
            config: None,
            staged: None,
            data: None,
            restores: None,
            etcd: Etcd::Off,
            events: Vec::new(),
            synced_at: 0,
            api_at: None,
            slowness: 1,
            ceph: false,
        }
    }

    /// Returns who listens on port 50000.
    pub(crate) fn port(&self) -> Port {
        match self.phase {
            Phase::Off { .. } => Port::Absent,
            Phase::Firmware { .. }
            | Phase::Installing { .. }
            | Phase::Rebooting { .. }
            | Phase::Booting { .. } => {
                if self.elsewhere() {
                    Port::Absent
                } else {
                    Port::Closed
                }
            }
            Phase::Maintenance | Phase::Lingering { .. } => Port::Maintenance,
            Phase::Up { .. } | Phase::Closing { .. } if self.elsewhere() => Port::Absent,
            Phase::Up { .. } | Phase::Closing { .. } => Port::Apid,
        }
    }

    /// Returns whether the config has moved the node to another address.
    fn elsewhere(&self) -> bool {
        let addresses = self.config.as_ref().map(|config| &config.facts.addresses);
        addresses
            .is_some_and(|addresses| !addresses.is_empty() && !addresses.contains(&self.machine.ip))
    }

    /// Returns whether apid answers and no end of the boot is under way.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Returns the facts of the config.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        self.config.as_ref().map(|config| &config.facts)
    }

    /// Returns whether the node is a control plane.
    pub(crate) fn is_control_plane(&self) -> bool {
        self.facts().is_some_and(Facts::is_control_plane)
    }

    /// Returns the name that the node goes by.
    pub(crate) fn hostname(&self) -> String {
        let named = self.facts().and_then(|facts| facts.hostname.clone());
        named.unwrap_or_else(|| format!("talos-{}", &self.boot_id[..7].replace('-', "")))
    }

    /// Returns when apid began to answer, if it does.
    pub(crate) fn up_since(&self) -> Option<u64> {
        match self.phase {
            Phase::Up { since } => Some(since),
            Phase::Off { .. }
            | Phase::Firmware { .. }
            | Phase::Maintenance
            | Phase::Lingering { .. }
            | Phase::Installing { .. }
            | Phase::Rebooting { .. }
            | Phase::Booting { .. }
            | Phase::Closing { .. } => None,
        }
    }

    /// Notes an event of the etcd service.
    pub(crate) fn note(&mut self, at: u64, state: &str, message: impl Into<String>) {
        self.events.push((at, state.to_string(), message.into()));
        if self.events.len() > 64 {
            self.events.remove(0);
        }
    }
}
