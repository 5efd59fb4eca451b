//! The world: everything that is true in a machine room, as one value.
//!
//! The world is a plain value that is read from a file, moved on to the present by pure functions (`advance`), asked or
//! changed by one call of a tool, and written back (`store`). Times are milliseconds of lab time since the world was
//! made.

mod advance;
pub(crate) mod build;
mod etcd;
pub(crate) mod kubernetes;
mod node;
pub(crate) mod show;
pub(crate) mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::chance;
use crate::fault::{Fault, Kind};
use crate::kubernetes::{Essentials, Zone};
use crate::site::Site;
use crate::vault::{Session, Vault};
pub(crate) use build::NewWorld;
pub(crate) use etcd::{BootstrapCall, Cluster, KubeNode, Member, Snapshot};
pub(crate) use node::{Config, Etcd, Node, Phase, Port, Role, Then};

/// A machine room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct World {
    /// The format of this file.
    pub(crate) format: u32,
    /// The world's name: the folder's.
    pub(crate) name: String,
    /// What chance depends on.
    pub(crate) seed: u64,
    /// How many times faster lab time runs than the wall clock.
    pub(crate) speed: f64,
    /// When the world was made, by the wall clock.
    pub(crate) created_ms: u64,
    /// What `lab tick` has added.
    pub(crate) skew_ms: u64,
    /// The moment that the world was last moved on to.
    pub(crate) now_ms: u64,
    /// How many calls have looked at the world.
    pub(crate) calls: u64,
    /// The room.
    pub(crate) site: Site,
    /// The machines by address.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// The etcd clusters that have ever come to be.
    pub(crate) clusters: Vec<Cluster>,
    /// The bootstrap calls that were accepted.
    pub(crate) bootstraps: Vec<BootstrapCall>,
    /// The vaults of 1Password.
    pub(crate) vaults: Vec<Vault>,
    /// The session of 1Password.
    pub(crate) session: Session,
    /// What goes wrong.
    pub(crate) faults: Vec<Fault>,
    /// The files of the clusters' objects, by the cluster's place in the list.
    #[serde(default)]
    pub(crate) objects: BTreeMap<usize, String>,
    /// What is seen of each cluster's Kubernetes from outside.
    #[serde(default)]
    pub(crate) essentials: BTreeMap<usize, Essentials>,
    /// The zone that external-dns writes to.
    #[serde(default)]
    pub(crate) zone: Zone,
    #[serde(skip)]
    shelf: kubernetes::Shelf,
}

impl World {
    /// Returns the lab's date for a moment, in milliseconds since 1970.
    pub(crate) fn date_ms(&self, at: u64) -> u64 {
        self.created_ms + at
    }

    /// Returns the lab's date for now, as in `2026-11-22T09:14:03Z`.
    pub(crate) fn rfc3339(&self, at: u64) -> String {
        crate::clock::rfc3339(self.date_ms(at))
    }

    /// Returns whether a fault of this kind is armed.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.faults.iter().any(|fault| fault.kind == kind)
    }

    /// Returns whether a fault lasts that concerns this.
    pub(crate) fn suffers(&self, kind: Kind, about: &str) -> bool {
        self.faults.iter().any(|fault| fault.concerns(kind, about))
    }

    /// Fires a fault that counts times, if one is left for this.
    pub(crate) fn fires(&mut self, kind: Kind, about: &str) -> bool {
        let armed = self
            .faults
            .iter_mut()
            .find(|fault| fault.concerns(kind, about) && fault.fired < fault.number);
        armed.map(|fault| fault.fired += 1).is_some()
    }

    /// Returns the number of a fault that lasts, and notes that it was felt.
    pub(crate) fn feels(&mut self, kind: Kind, about: &str) -> Option<u64> {
        let fault = self
            .faults
            .iter_mut()
            .find(|fault| fault.concerns(kind, about))?;
        fault.fired += 1;
        Some(fault.number)
    }

    /// Returns whether chance is against a reading call, and fires `unavailable` then.
    pub(crate) fn stumbles(&mut self, about: &str) -> bool {
        let unlucky = chance::mix(self.seed, &format!("stumble {}", self.calls)).is_multiple_of(4);
        unlucky && self.fires(Kind::Unavailable, about)
    }

    /// Returns the addresses of a name, as the room's DNS has them now.
    pub(crate) fn resolve(&mut self, name: &str) -> Vec<String> {
        let name = name.trim_end_matches('.').to_lowercase();
        if self.feels(Kind::DnsMissing, &name).is_some() {
            return Vec::new();
        }
        let now = self.now_ms;
        if self
            .feels(Kind::DnsLate, &name)
            .is_some_and(|seconds| now < seconds * 1_000)
        {
            return Vec::new();
        }
        self.site.dns.get(&name).cloned().unwrap_or_default()
    }

    /// Returns how long something takes on a node, between two numbers of seconds.
    pub(crate) fn takes(&self, ip: &str, what: &str, low: u64, high: u64) -> u64 {
        let node = self.nodes.get(ip);
        let boots = node.map_or(0, |node| node.boots);
        let base = chance::between(
            self.seed,
            &format!("{ip} {what} {boots}"),
            low * 1_000,
            high * 1_000,
        );
        base * node.map_or(1, |node| node.slowness)
    }
}

#[cfg(test)]
mod tests;
