//! etcd clusters and the Kubernetes that stands on each.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Etcd, Node, World};
use crate::kubernetes::Objects;

/// An etcd cluster, alive or dead.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// `cluster.id` of the configs of its members.
    pub(crate) identity: String,
    /// `cluster.clusterName`.
    pub(crate) name: String,
    /// Its members.
    pub(crate) members: Vec<Member>,
    /// The node that it was bootstrapped on.
    pub(crate) founder: String,
    /// When its membership last changed.
    pub(crate) changed_ms: u64,
    /// When it came to be.
    pub(crate) born_ms: u64,
    /// The nodes that have registered with its Kubernetes.
    pub(crate) kube_nodes: Vec<KubeNode>,
}

/// A member of an etcd cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Member {
    /// 16 hex digits.
    pub(crate) id: String,
    /// The host's name.
    pub(crate) hostname: String,
    /// The host's address.
    pub(crate) ip: String,
    /// Whether it has no vote yet.
    pub(crate) learner: bool,
    /// Whether it has ever been heard of.
    pub(crate) started: bool,
}

/// A node that Kubernetes knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KubeNode {
    /// Its name.
    pub(crate) name: String,
    /// Its address.
    pub(crate) ip: String,
    /// Its pods' network.
    pub(crate) pod_cidr: String,
    /// When it registered.
    pub(crate) at_ms: u64,
    /// Whether it is a control plane.
    pub(crate) control_plane: bool,
    /// The kubelet's version.
    pub(crate) version: String,
    /// The object's uid.
    pub(crate) uid: String,
}

/// A bootstrap call that a node accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BootstrapCall {
    /// The node.
    pub(crate) ip: String,
    /// `cluster.id` of its config.
    pub(crate) identity: String,
    /// When.
    pub(crate) at_ms: u64,
    /// Whether it restored a snapshot.
    #[serde(default)]
    pub(crate) recovers: bool,
}

/// What a snapshot of an etcd holds, as far as the lab knows what is in one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// `cluster.clusterName`.
    pub(crate) cluster: String,
    /// How much had been written when it was taken.
    pub(crate) revision: u64,
    /// The nodes that Kubernetes knew then.
    pub(crate) kube_nodes: Vec<KubeNode>,
    /// All of Kubernetes' objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) objects: Option<Objects>,
}

/// The first line of a snapshot's file.
const SNAPSHOT: &str = "lab etcd snapshot";
/// A snapshot ends with the hash of all before it…
const HASH: usize = 32;
/// …which is a whole number of these: so etcd knows whether there is a hash.
const PAGE: usize = 512;

impl Snapshot {
    /// Its file, with the outside of etcd's: pages, and their hash.
    pub(crate) fn write(&self) -> Vec<u8> {
        let body = serde_json::to_string(self).unwrap_or_default();
        let mut file = format!("{SNAPSHOT}\n{body}\n").into_bytes();
        file.resize(file.len().next_multiple_of(PAGE), 0);
        let hash = Sha256::digest(&file);
        file.extend_from_slice(&hash);
        file
    }

    /// Reads a file; nothing if it is none, or not a whole one. Also whether its hash is right.
    pub(crate) fn read(file: &[u8]) -> Option<(Self, bool)> {
        let (pages, hash) = file.split_at(file.len().checked_sub(HASH)?);
        if pages.len() % PAGE != 0 {
            return None;
        }
        let right = Sha256::digest(pages).as_slice() == hash;
        let end = pages.iter().rposition(|byte| *byte != 0)?;
        let body = std::str::from_utf8(&pages[..=end]).ok()?;
        let body = body
            .strip_prefix(SNAPSHOT)?
            .strip_prefix('\n')?
            .strip_suffix('\n')?;
        Some((serde_json::from_str(body).ok()?, right))
    }

    /// What the tool prints about it.
    pub(crate) fn info(&self) -> String {
        let body = serde_json::to_string(self).unwrap_or_default();
        format!(
            "hash {}, revision {}, total keys {}, total size 3035136",
            &blake3::hash(body.as_bytes()).to_hex()[..8],
            self.revision,
            self.revision / 3
        )
    }
}

impl World {
    /// Returns a snapshot of a cluster.
    pub(crate) fn snapshot(&self, cluster: usize) -> Snapshot {
        let objects = self.copy_objects(cluster);
        let cluster = &self.clusters[cluster];
        Snapshot {
            cluster: cluster.name.clone(),
            revision: 1_000 + (self.now_ms - cluster.born_ms) / 300,
            kube_nodes: cluster.kube_nodes.clone(),
            objects,
        }
    }

    /// Returns the member of a cluster that a node is.
    pub(crate) fn member(&self, ip: &str) -> Option<&Member> {
        let node = self.nodes.get(ip)?;
        let cluster = &self.clusters[node.data?];
        cluster
            .members
            .iter()
            .find(|member| member.ip == ip && member.hostname == node.hostname())
    }

    /// Returns whether the etcd process of a node runs.
    pub(crate) fn etcd_runs(&self, ip: &str) -> bool {
        self.nodes
            .get(ip)
            .is_some_and(|node| matches!(node.etcd, Etcd::Running { .. }))
    }

    /// Returns whether more than half of the voters of a cluster run.
    pub(crate) fn has_quorum(&self, cluster: usize) -> bool {
        let voters = self.clusters[cluster]
            .members
            .iter()
            .filter(|member| !member.learner);
        let (mut all, mut alive) = (0, 0);
        for voter in voters {
            all += 1;
            let runs = self.etcd_runs(&voter.ip) && self.nodes[&voter.ip].data == Some(cluster);
            alive += usize::from(runs);
        }
        alive * 2 > all
    }

    /// Returns whether the etcd service of a node is running and healthy.
    pub(crate) fn etcd_healthy(&self, ip: &str) -> bool {
        let Some(node) = self.nodes.get(ip) else {
            return false;
        };
        matches!(node.etcd, Etcd::Running { checked: true, .. })
            && self.member(ip).is_some_and(|member| !member.learner)
            && node.data.is_some_and(|cluster| self.has_quorum(cluster))
    }

    /// Returns whether any node still has data of a cluster.
    pub(crate) fn is_alive(&self, cluster: usize) -> bool {
        self.nodes.values().any(|node| node.data == Some(cluster))
    }

    /// Returns the cluster that a waiting node may join now.
    pub(super) fn joinable(&self, node: &Node) -> Option<usize> {
        let identity = &node.facts()?.cluster_id;
        (0..self.clusters.len()).find(|&index| {
            let cluster = &self.clusters[index];
            cluster.identity == *identity
                && self.is_alive(index)
                && self.has_quorum(index)
                && cluster
                    .members
                    .iter()
                    .any(|member| self.etcd_healthy(&member.ip))
                && cluster.members.iter().all(|member| !member.learner)
        })
    }

    /// Returns whether the API server of a node answers.
    pub(crate) fn api_answers(&self, ip: &str) -> bool {
        let now = self.now_ms;
        self.nodes.get(ip).is_some_and(|node| {
            node.is_up() && node.api_at.is_some_and(|at| at <= now) && self.etcd_healthy(ip)
        })
    }

    /// Returns the cluster whose Kubernetes a node belongs to.
    pub(crate) fn kubernetes_of(&self, ip: &str) -> Option<usize> {
        let node = self.nodes.get(ip)?;
        if node.data.is_some() {
            return node.data;
        }
        let identity = &node.facts()?.cluster_id;
        (0..self.clusters.len())
            .find(|&index| self.clusters[index].identity == *identity && self.is_alive(index))
    }

    /// Returns when the first API server of a cluster came up, if one is up now.
    pub(super) fn api_since(&self, cluster: usize) -> Option<u64> {
        let members = self.clusters[cluster].members.iter();
        members
            .filter(|member| {
                self.nodes
                    .get(&member.ip)
                    .is_some_and(|node| node.data == Some(cluster))
            })
            .filter(|member| self.etcd_healthy(&member.ip))
            .filter_map(|member| self.nodes[&member.ip].api_at)
            .min()
    }

    /// Accepts a bootstrap call on a node, perhaps with a snapshot to begin from.
    pub(crate) fn bootstrap(&mut self, ip: &str, from: Option<Snapshot>) {
        let until = self.now_ms + self.takes(ip, "etcd image", 10, 30);
        let now = self.now_ms;
        let node = self.nodes.get_mut(ip).expect("the node was asked");
        node.note(
            now,
            "Failed",
            "Failed to run pre stage: failed to build initial etcd cluster: context canceled",
        );
        node.note(now, "Finished", "Bootstrap requested");
        node.note(now, "Starting", "Starting service");
        node.note(now, "Preparing", "Running pre state");
        node.etcd = Etcd::Pulling {
            until,
            role: super::Role::Founder,
        };
        let identity = node
            .facts()
            .map(|facts| facts.cluster_id.clone())
            .unwrap_or_default();
        self.bootstraps.push(BootstrapCall {
            ip: ip.to_string(),
            identity,
            at_ms: now,
            recovers: from.is_some(),
        });
        let node = self.nodes.get_mut(ip).expect("the node was asked");
        node.restores = from;
    }

    /// Returns the network of the pods of the next node of a cluster: the n-th /24 of the first pod subnet.
    pub(super) fn pod_cidr(subnet: &str, index: usize) -> String {
        let net: ipnet::Ipv4Net = subnet
            .parse()
            .unwrap_or_else(|_| "10.244.0.0/16".parse().expect("a network"));
        let prefix = net.prefix_len().max(24);
        let mut nets = net
            .subnets(prefix)
            .expect("24 is not shorter than the prefix");
        nets.nth(index)
            .map_or_else(|| net.to_string(), |net| net.to_string())
    }
}
