//! The Kubernetes of every etcd cluster: its objects, what it sees outside, and how it goes on.
//!
//! Objects are many and most calls do not ask for them, so each cluster's are a file of their own, read when they are needed. The world's own
//! file names the newest one: who is killed between the two files leaves the old state, whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::World;
use crate::kubernetes::{Essentials, Machine, Objects, Outside, Store as _, models};
use crate::remote::Remote;

/// The objects of clusters, as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    folder: Option<PathBuf>,
    loaded: BTreeMap<usize, Objects>,
    changed: BTreeSet<usize>,
    broken: Option<io::Error>,
}

// A copy of a world reads its objects again; nobody copies one in the middle of a call.
impl Clone for Shelf {
    fn clone(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            loaded: self.loaded.clone(),
            changed: self.changed.clone(),
            broken: None,
        }
    }
}

/// The folder of the files.
pub(crate) const FOLDER: &str = "objects";

impl Shelf {
    /// Returns the objects of the clusters of a world's folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_path_buf()),
            ..Self::default()
        }
    }

    fn read(&self, name: &str) -> io::Result<Objects> {
        let folder = self.folder.clone().unwrap_or_default();
        let text = fs::read(folder.join(FOLDER).join(name))?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl World {
    /// Says in which folder the world lives.
    pub(super) fn at_home(&mut self, folder: &Path) {
        self.shelf = Shelf::new(folder);
    }

    /// Returns the remote that the room's Git address means.
    pub(crate) fn remote(&self) -> Remote {
        Remote::new(
            self.shelf
                .folder
                .clone()
                .unwrap_or_default()
                .join("remote.git"),
        )
    }

    /// Returns the objects of a cluster, as they are now.
    pub(crate) fn objects(&mut self, cluster: usize) -> &Objects {
        if !self.shelf.loaded.contains_key(&cluster) {
            let objects = self.read_objects(cluster);
            self.shelf.loaded.insert(cluster, objects);
        }
        &self.shelf.loaded[&cluster]
    }

    fn read_objects(&mut self, cluster: usize) -> Objects {
        let none = Objects::new(self.seed, self.created_ms, self.now_ms);
        let Some(name) = self.objects.get(&cluster) else {
            return none;
        };
        self.shelf.read(name).unwrap_or_else(|error| {
            // Told when the call ends: nothing of it is kept then.
            self.shelf.broken = Some(io::Error::other(format!("{FOLDER}/{name}: {error}")));
            none
        })
    }

    /// Puts the objects of a snapshot into a new cluster.
    pub(super) fn restore_objects(&mut self, cluster: usize, objects: Objects) {
        self.put_objects(cluster, objects);
    }

    /// Returns the objects of a cluster for a snapshot.
    pub(super) fn copy_objects(&self, cluster: usize) -> Option<Objects> {
        if let Some(loaded) = self.shelf.loaded.get(&cluster) {
            return Some(loaded.clone());
        }
        self.shelf.read(self.objects.get(&cluster)?).ok()
    }

    fn put_objects(&mut self, cluster: usize, objects: Objects) {
        self.shelf.loaded.insert(cluster, objects);
        self.shelf.changed.insert(cluster);
    }

    /// Writes the objects that have changed, into new files; [`World::sweep_objects`] removes the old ones once the world's file names the new.
    pub(super) fn keep_objects(&mut self) -> io::Result<()> {
        if let Some(error) = self.shelf.broken.take() {
            return Err(error);
        }
        let Some(folder) = self.shelf.folder.clone() else {
            return Ok(());
        };
        for cluster in std::mem::take(&mut self.shelf.changed) {
            let name = format!("{cluster}.{}.json", self.calls);
            fs::create_dir_all(folder.join(FOLDER))?;
            let text = serde_json::to_vec(&self.shelf.loaded[&cluster])?;
            fs::write(folder.join(FOLDER).join(&name), text)?;
            self.objects.insert(cluster, name);
        }
        Ok(())
    }

    /// Removes the files of objects that nothing names any more.
    pub(super) fn sweep_objects(&self) -> io::Result<()> {
        let Some(folder) = &self.shelf.folder else {
            return Ok(());
        };
        let named: BTreeSet<&String> = self.objects.values().collect();
        let Ok(entries) = fs::read_dir(folder.join(FOLDER)) else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !named.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Lets every Kubernetes act up to now. Clusters see each other, so this goes on until none has anything left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            let mut acted = false;
            for cluster in 0..self.clusters.len() {
                acted |= self.settle_one(cluster);
            }
            if !acted {
                return;
            }
        }
    }

    /// Returns whether the Kubernetes of a cluster runs: it has an API server.
    fn runs(&self, cluster: usize) -> Option<u64> {
        self.is_alive(cluster)
            .then(|| self.api_since(cluster))
            .flatten()
            .filter(|since| *since <= self.now_ms)
    }

    fn settle_one(&mut self, cluster: usize) -> bool {
        let Some(since) = self.runs(cluster) else {
            return false;
        };
        let mut outside = self.outside(cluster);
        let known = self.essentials.get(&cluster);
        let as_it_was = known.is_some_and(|known| known.seen == outside.digest());
        let due = known.and_then(|known| known.due_ms);
        if as_it_was && due.is_none_or(|due| due > self.now_ms) {
            return false;
        }
        let mut objects = self.take_objects(cluster);
        // While there was no API server, nothing happened.
        objects.at_ms = objects.at_ms.max(since);
        if as_it_was {
            models::go_on(&mut objects, &mut outside, self.now_ms);
        } else {
            models::settle(&mut objects, &mut outside, self.now_ms);
        }
        self.finish(cluster, objects, outside);
        true
    }

    fn take_objects(&mut self, cluster: usize) -> Objects {
        match self.shelf.loaded.remove(&cluster) {
            Some(objects) => objects,
            None => self.read_objects(cluster),
        }
    }

    fn finish(&mut self, cluster: usize, mut objects: Objects, mut outside: Outside) {
        objects.sweep();
        let mut essentials = models::essentials(&objects, &mut outside);
        self.zone = std::mem::take(&mut outside.zone);
        for spec in std::mem::take(&mut outside.felt) {
            if let Some(fault) = self.faults.iter_mut().find(|fault| fault.spec == spec) {
                fault.fired += 1;
            }
        }
        essentials.due_ms = objects.due_ms;
        self.put_objects(cluster, objects);
        essentials.seen = self.outside(cluster).digest();
        self.essentials.insert(cluster, essentials);
    }

    /// Lets somebody use the API of a cluster, which acts on what was done at once.
    pub(crate) fn through_api<T>(
        &mut self,
        cluster: usize,
        work: impl FnOnce(&mut Objects, &mut Outside) -> T,
    ) -> T {
        let mut outside = self.outside(cluster);
        let mut objects = self.take_objects(cluster);
        objects.begin(self.now_ms);
        let result = work(&mut objects, &mut outside);
        models::go_on(&mut objects, &mut outside, self.now_ms);
        self.finish(cluster, objects, outside);
        result
    }

    /// Takes over what was seen in a real cluster: its objects are in a file of this name.
    pub(crate) fn saw(&mut self, cluster: usize, file: &str, seen: Essentials) {
        self.objects.insert(cluster, file.to_string());
        self.essentials.insert(cluster, seen);
    }

    /// Lets somebody ask models about a cluster, without changing anything.
    pub(crate) fn ask<T>(
        &mut self,
        cluster: usize,
        question: impl FnOnce(&Objects, &mut Outside) -> T,
    ) -> T {
        let mut outside = self.outside(cluster);
        question(self.objects(cluster), &mut outside)
    }

    /// Returns what a cluster meets outside of itself, now.
    pub(crate) fn outside(&self, cluster: usize) -> Outside {
        let own = &self.clusters[cluster];
        let machines = own.kube_nodes.iter().map(|known| {
            let machine = self.nodes.get(&known.ip);
            let mine = machine.filter(|machine| {
                machine.hostname() == known.name && self.kubernetes_of(&known.ip) == Some(cluster)
            });
            Machine {
                name: known.name.clone(),
                ip: known.ip.clone(),
                pod_cidr: known.pod_cidr.clone(),
                up: mine.is_some_and(super::Node::is_up),
                boot: mine.map_or_else(String::new, |machine| machine.boot_id.clone()),
                registered: self.rfc3339(known.at_ms),
                control_plane: known.control_plane,
                version: known.version.clone(),
                uid: known.uid.clone(),
            }
        });
        let facts = own
            .members
            .iter()
            .filter_map(|member| self.nodes.get(&member.ip)?.facts())
            .find(|facts| facts.cluster_id == own.identity);
        let peers = self.essentials.iter().filter(|(other, _)| {
            **other != cluster
                && self.clusters[**other].identity != own.identity
                && self.runs(**other).is_some()
        });
        Outside {
            seed: self.seed,
            cluster: own.name.clone(),
            machines: machines.collect(),
            service_cidr: facts
                .and_then(|facts| facts.service_subnets.first().cloned())
                .unwrap_or_else(|| "10.96.0.0/12".to_string()),
            router: self.site.router.clone(),
            git: self.site.git.clone(),
            remote: self.remote(),
            connect: self.site.connect.clone(),
            vaults: self.vaults.clone(),
            peers: peers
                .map(|(_, peer)| Essentials {
                    due_ms: None,
                    seen: String::new(),
                    ..peer.clone()
                })
                .collect(),
            zone: self.zone.clone(),
            faults: self.faults.clone(),
            felt: BTreeSet::new(),
            helm: None,
        }
    }

    /// Returns what is true in the Kubernetes of a cluster, for `lab show`: nodes that are Ready, and how many objects of each kind there are.
    pub(super) fn show_kubernetes(&self, cluster: usize) -> Value {
        let ready = self.essentials.get(&cluster).map(|known| &known.ready);
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        if let Some(objects) = self.copy_objects(cluster) {
            for object in objects.all() {
                *kinds.entry(crate::kubernetes::kind_of(object)).or_default() += 1;
            }
        }
        json!({ "ready": ready, "objects": kinds })
    }
}
