//! What is true in a world, as JSON for `lab show`.

use serde_json::{Value, json};

use super::{Etcd, Node, Phase, World};

impl World {
    /// Returns everything that a test or a curious person may ask about.
    pub(crate) fn show(&self) -> Value {
        let nodes: Vec<Value> = self
            .nodes
            .iter()
            .map(|(ip, node)| self.show_node(ip, node))
            .collect();
        let clusters: Vec<Value> = (0..self.clusters.len())
            .map(|index| self.show_cluster(index))
            .collect();
        json!({
            "lab": "this is a lab, not a machine room",
            "world": self.name,
            "seed": self.seed,
            "speed": self.speed,
            "lab_time_ms": self.now_ms,
            "lab_date": self.rfc3339(self.now_ms),
            "nodes": nodes,
            "clusters": clusters,
            "split_brain": self.split_brains(),
            "bootstraps": self.bootstraps.iter().map(|call| json!({
                "ip": call.ip, "identity": call.identity, "at_ms": call.at_ms,
            })).collect::<Vec<_>>(),
            "vaults": self.vaults.iter().map(|vault| json!({
                "name": vault.name,
                "id": vault.id,
                "items": vault.items.iter().map(|item| json!({
                    "title": item.title, "id": item.id, "version": item.version, "archived": item.archived,
                    "fields": item.fields.iter().map(|field| field.label.clone()).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "session": format!("{:?}", self.session.over),
            "dns": self.site.dns,
            "zone": self.zone,
            "faults": self.faults.iter().map(|fault| json!({
                "spec": fault.spec, "number": fault.number, "fired": fault.fired,
            })).collect::<Vec<_>>(),
        })
    }

    fn show_node(&self, ip: &str, node: &Node) -> Value {
        let member = self.member(ip);
        let kubernetes = self.kubernetes_of(ip).is_some_and(|cluster| {
            self.clusters[cluster]
                .kube_nodes
                .iter()
                .any(|known| known.name == node.hostname())
        });
        json!({
            "ip": ip,
            "state": state(&node.phase),
            "stage": self.stage(ip).0,
            "hostname": node.config.as_ref().map(|_| node.hostname()),
            "type": node.facts().map(|facts| facts.kind.clone()),
            "cluster": node.facts().map(|facts| facts.cluster.clone()),
            "config_digest": node.config.as_ref().map(|config| blake3::hash(config.text.as_bytes()).to_hex()[..16].to_string()),
            "config_at_ms": node.config.as_ref().map(|config| config.at_ms),
            "installed": node.installed,
            "boot_id": node.boot_id,
            "boots": node.boots,
            "time_in_sync": node.is_up() && node.synced_at <= self.now_ms,
            "etcd": {
                "service": etcd_state(&node.etcd),
                "healthy": self.etcd_healthy(ip),
                "data": node.data.is_some(),
                "member": member.map(|member| member.id.clone()),
                "learner": member.is_some_and(|member| member.learner),
            },
            "api_server": self.api_answers(ip),
            "kubernetes_registered": kubernetes,
        })
    }

    fn show_cluster(&self, index: usize) -> Value {
        let cluster = &self.clusters[index];
        let bootstraps = self
            .bootstraps
            .iter()
            .filter(|call| call.identity == cluster.identity)
            .count();
        json!({
            "name": cluster.name,
            "identity": cluster.identity,
            "founder": cluster.founder,
            "alive": self.is_alive(index),
            "quorum": self.has_quorum(index),
            "bootstraps": bootstraps,
            "recoveries": self.bootstraps.iter().filter(|call| call.identity == cluster.identity && call.recovers).count(),
            "members": cluster.members.iter().map(|member| json!({
                "id": member.id, "hostname": member.hostname, "ip": member.ip,
                "learner": member.learner, "started": member.started, "healthy": self.etcd_healthy(&member.ip),
            })).collect::<Vec<_>>(),
            "kubernetes_nodes": cluster.kube_nodes.iter().map(|known| json!({
                "name": known.name, "ip": known.ip, "pod_cidr": known.pod_cidr,
            })).collect::<Vec<_>>(),
            "kubernetes": self.show_kubernetes(index),
        })
    }

    /// Returns the names of clusters that are alive more than once.
    pub(crate) fn split_brains(&self) -> Vec<String> {
        let alive: Vec<usize> = (0..self.clusters.len())
            .filter(|&index| self.is_alive(index))
            .collect();
        let mut split: Vec<String> = alive
            .iter()
            .filter(|&&one| {
                alive.iter().any(|&other| {
                    other != one && self.clusters[other].identity == self.clusters[one].identity
                })
            })
            .map(|&index| self.clusters[index].name.clone())
            .collect();
        split.dedup();
        split
    }

    /// Returns every secret that any vault has ever held.
    pub(crate) fn secrets(&self) -> Vec<&String> {
        self.vaults.iter().flat_map(|vault| &vault.ever).collect()
    }

    /// Returns the stage, whether it is ready, and the conditions that are not met.
    pub(crate) fn stage(&self, ip: &str) -> (&'static str, bool, Vec<(&'static str, String)>) {
        let Some(node) = self.nodes.get(ip) else {
            return ("unknown", false, Vec::new());
        };
        match &node.phase {
            Phase::Off { .. } => ("off", false, Vec::new()),
            Phase::Firmware { .. } | Phase::Booting { .. } => ("booting", false, Vec::new()),
            Phase::Maintenance | Phase::Lingering { .. } => ("maintenance", true, Vec::new()),
            Phase::Installing { .. } => ("installing", false, Vec::new()),
            Phase::Rebooting { .. } => ("rebooting", false, Vec::new()),
            Phase::Closing { then, .. } => {
                let stage = match then {
                    super::Then::Reboot => "rebooting",
                    super::Then::Off => "shutting down",
                    super::Then::Reset { .. } => "resetting",
                };
                (stage, false, Vec::new())
            }
            Phase::Up { .. } => self.stage_up(ip, node),
        }
    }

    fn stage_up(&self, ip: &str, node: &Node) -> (&'static str, bool, Vec<(&'static str, String)>) {
        let mut unmet = Vec::new();
        let hostname = node.hostname();
        if node.is_control_plane() && !self.etcd_healthy(ip) {
            let reason = if self.etcd_runs(ip) {
                "etcd not healthy"
            } else {
                "etcd not running"
            };
            unmet.push(("services", reason.to_string()));
        }
        let registered = self.kubernetes_of(ip).is_some_and(|cluster| {
            self.clusters[cluster]
                .kube_nodes
                .iter()
                .any(|known| known.name == hostname)
        });
        unmet.push((
            "nodeReady",
            if registered {
                format!("node \"{hostname}\" is not ready")
            } else {
                format!("node \"{hostname}\" status is not available yet")
            },
        ));
        // The boot sequence of a control plane ends when etcd is up, or when bootstrap has taken its place.
        let done = !node.is_control_plane()
            || matches!(
                node.etcd,
                Etcd::Running { .. }
                    | Etcd::Pulling {
                        role: super::Role::Founder,
                        ..
                    }
            );
        (if done { "running" } else { "booting" }, false, unmet)
    }
}

fn state(phase: &Phase) -> &'static str {
    match phase {
        Phase::Off { .. } => "off",
        Phase::Firmware { .. } => "firmware",
        Phase::Maintenance => "maintenance",
        Phase::Lingering { .. } => "lingering",
        Phase::Installing { .. } => "installing",
        Phase::Rebooting { .. } => "rebooting",
        Phase::Booting { .. } => "booting",
        Phase::Up { .. } => "up",
        Phase::Closing { .. } => "closing",
    }
}

/// Returns the state of the etcd service as Talos names it; empty if there is none.
pub(crate) fn etcd_state(etcd: &Etcd) -> &'static str {
    match etcd {
        Etcd::Off => "",
        Etcd::Waiting { .. } | Etcd::Pulling { .. } => "Preparing",
        Etcd::Running { .. } => "Running",
        Etcd::Failed { .. } => "Failed",
    }
}
