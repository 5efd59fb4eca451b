//! What a cluster meets outside of itself: machines, the router, other clusters, the vaults, the DNS zone, the Git remote.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};
use crate::remote::Remote;
use crate::site::{Git, Router};
use crate::vault::Vault;

/// The outside of one cluster at one moment.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// What chance depends on.
    pub(crate) seed: u64,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// Its machines that have registered.
    pub(crate) machines: Vec<Machine>,
    /// The network of Services.
    pub(crate) service_cidr: String,
    /// The router that the machines stand behind.
    pub(crate) router: Router,
    /// Where the Git remote is known.
    pub(crate) git: Git,
    /// The remote itself.
    pub(crate) remote: Remote,
    /// The URL of 1Password Connect.
    pub(crate) connect: String,
    /// The vaults.
    pub(crate) vaults: Vec<Vault>,
    /// The other clusters, as far as they are known.
    pub(crate) peers: Vec<Essentials>,
    /// The DNS zone that external-dns writes to.
    pub(crate) zone: Zone,
    /// What goes wrong.
    pub(crate) faults: Vec<Fault>,
    /// Which faults were felt.
    pub(crate) felt: BTreeSet<String>,
}

/// Records of a zone: name, type, values.
pub(crate) type Zone = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// A machine as its kubelet is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name.
    pub(crate) name: String,
    /// Its address.
    pub(crate) ip: String,
    /// Its pods' network.
    pub(crate) pod_cidr: String,
    /// Whether its kubelet runs.
    pub(crate) up: bool,
    /// Which boot this is.
    pub(crate) boot: String,
    /// When it registered, as a date.
    pub(crate) registered: String,
    /// Whether it is a control plane.
    pub(crate) control_plane: bool,
    /// The kubelet's version.
    pub(crate) version: String,
    /// The object's uid.
    pub(crate) uid: String,
}

/// What other clusters and the room see of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Essentials {
    /// When the next thing is due there.
    pub(crate) due_ms: Option<u64>,
    /// A digest of what it saw outside.
    pub(crate) seen: String,
    /// The nodes that are Ready.
    pub(crate) ready: BTreeSet<String>,
    /// `cluster.name` of its Cilium; empty without one.
    pub(crate) mesh_name: String,
    /// `cluster.id` of its Cilium.
    pub(crate) mesh_id: String,
    /// A digest of the certificate of its mesh's authority.
    pub(crate) mesh_ca: String,
    /// The address of its mesh's API server.
    pub(crate) mesh_ip: String,
    /// Whether that API server is ready and its address is announced.
    pub(crate) mesh_open: bool,
    /// Its global Services with ready backends: namespace/name, and the clusters that may come in (`None`: all).
    pub(crate) global: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Outside {
    /// Returns a digest of everything that a cluster can see; as long as it is the same, only time makes a cluster act.
    pub(crate) fn digest(&self) -> String {
        let machines: Vec<String> = self
            .machines
            .iter()
            .map(|machine| format!("{} {} {}", machine.name, machine.up, machine.boot))
            .collect();
        let faults: Vec<&str> = self
            .faults
            .iter()
            .map(|fault| fault.spec.as_str())
            .collect();
        let all = serde_json::json!([
            machines,
            self.remote.heads(),
            self.vaults,
            self.peers,
            self.zone,
            faults
        ]);
        blake3::hash(all.to_string().as_bytes()).to_hex()[..16].to_string()
    }

    /// Returns the number of a fault that concerns this, and notes that it was felt.
    pub(crate) fn feels(&mut self, kind: Kind, about: &str) -> Option<u64> {
        let fault = self
            .faults
            .iter()
            .find(|fault| fault.concerns(kind, about))?;
        self.felt.insert(fault.spec.clone());
        Some(fault.number)
    }

    /// Returns the value of a field of an item in a vault.
    pub(crate) fn secret(&self, vault: &str, item: &str, field: &str) -> Option<&str> {
        let vault = self.vaults.iter().find(|known| known.name == vault)?;
        let mut items = vault.items.iter();
        let item = items.find(|known| known.title == item && !known.archived)?;
        item.fields
            .iter()
            .find(|known| known.label == field)
            .map(|field| field.value.as_str())
    }
}
