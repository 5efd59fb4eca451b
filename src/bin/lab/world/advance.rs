//! Moves a world on. Pure: what happens depends on the world and the moment only.
//!
//! The world holds no queue. Each step looks for what is due first, lets it happen, and looks again, so that a week of
//! lab time gives the same as a week of single seconds.

use super::{Cluster, Etcd, KubeNode, Member, Phase, Role, Then, World};
use crate::chance;
use crate::fault::Kind;

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A machine's phase ends.
    Phase(String),
    /// An etcd service has its image, or is looked at.
    Etcd(String),
    /// A waiting control plane adds itself to a cluster.
    Join(String, usize),
    /// A node registers with Kubernetes.
    Register(String, usize),
}

impl World {
    /// Moves the world on to a moment.
    pub(crate) fn advance(&mut self, to: u64) {
        while let Some((at, event)) = self.next_event().filter(|(at, _)| *at <= to) {
            self.now_ms = self.now_ms.max(at);
            match event {
                Event::Phase(ip) => self.end_phase(&ip),
                Event::Etcd(ip) => self.move_etcd(&ip),
                Event::Join(ip, cluster) => self.join(&ip, cluster),
                Event::Register(ip, cluster) => self.register(&ip, cluster),
            }
        }
        self.now_ms = self.now_ms.max(to);
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        self.nodes
            .keys()
            .flat_map(|ip| self.events_of(ip))
            .min_by_key(|(at, _)| *at)
    }

    fn events_of(&self, ip: &str) -> Vec<(u64, Event)> {
        let node = &self.nodes[ip];
        let mut due = Vec::new();
        let until = match node.phase {
            Phase::Off { until } => until,
            Phase::Firmware { until }
            | Phase::Lingering { until }
            | Phase::Installing { until }
            | Phase::Rebooting { until }
            | Phase::Booting { until }
            | Phase::Closing { until, .. } => Some(until),
            Phase::Maintenance | Phase::Up { .. } => None,
        };
        due.extend(until.map(|at| (at, Event::Phase(ip.to_string()))));
        match node.etcd {
            Etcd::Pulling { until, .. } => due.push((until, Event::Etcd(ip.to_string()))),
            Etcd::Running {
                next,
                checked: false,
            } => due.push((next, Event::Etcd(ip.to_string()))),
            Etcd::Waiting { since } => {
                if let Some(cluster) = self.joinable(node) {
                    let at = since
                        .max(self.clusters[cluster].changed_ms)
                        .max(node.synced_at)
                        + 3_000;
                    due.push((at, Event::Join(ip.to_string(), cluster)));
                }
            }
            Etcd::Off | Etcd::Running { checked: true, .. } | Etcd::Failed { .. } => {}
        }
        if let (Some(since), Some(cluster)) = (node.up_since(), self.kubernetes_of(ip)) {
            let known = &self.clusters[cluster].kube_nodes;
            if let Some(api) = self.api_since(cluster)
                && known.iter().all(|known| known.name != node.hostname())
            {
                let at = (since + 10_000).max(api) + self.takes(ip, "register", 3, 15);
                due.push((at, Event::Register(ip.to_string(), cluster)));
            }
        }
        due
    }

    fn end_phase(&mut self, ip: &str) {
        let now = self.now_ms;
        let (phase, config, installed) = {
            let node = &self.nodes[ip];
            (node.phase.clone(), node.config.is_some(), node.installed)
        };
        let next = match phase {
            Phase::Off { .. } => Phase::Firmware {
                until: now + self.takes(ip, "firmware", 20, 40),
            },
            Phase::Firmware { .. } if config => {
                self.boot(ip);
                Phase::Booting {
                    until: now + self.takes(ip, "boot", 10, 30),
                }
            }
            Phase::Firmware { .. } => Phase::Maintenance,
            Phase::Lingering { .. } if installed => Phase::Booting {
                until: now + self.takes(ip, "boot after config", 10, 30),
            },
            Phase::Lingering { .. } => Phase::Installing {
                until: now + self.takes(ip, "install", 60, 180),
            },
            Phase::Installing { .. } => {
                self.node_mut(ip).installed = true;
                Phase::Rebooting {
                    until: now + self.takes(ip, "kexec", 15, 40),
                }
            }
            Phase::Rebooting { .. } => {
                self.boot(ip);
                if self.nodes[ip].config.is_some() {
                    Phase::Booting {
                        until: now + self.takes(ip, "boot", 10, 30),
                    }
                } else {
                    Phase::Firmware {
                        until: now + self.takes(ip, "boot to maintenance", 10, 30),
                    }
                }
            }
            Phase::Booting { .. } => {
                self.come_up(ip);
                Phase::Up { since: now }
            }
            Phase::Closing { then, .. } => self.close(ip, &then),
            Phase::Maintenance | Phase::Up { .. } => phase,
        };
        self.node_mut(ip).phase = next;
    }

    fn node_mut(&mut self, ip: &str) -> &mut super::Node {
        self.nodes
            .get_mut(ip)
            .expect("events are about nodes of the world")
    }

    /// Starts a new kernel.
    fn boot(&mut self, ip: &str) {
        let seed = self.seed;
        let node = self.node_mut(ip);
        node.boots += 1;
        node.boot_id = chance::uuid(seed, &format!("boot {ip} {}", node.boots));
        node.etcd = Etcd::Off;
        node.restores = None;
        node.api_at = None;
        node.events.clear();
        if let Some(staged) = node.staged.take() {
            node.config = Some(staged);
        }
    }

    /// Starts the services that come with apid.
    fn come_up(&mut self, ip: &str) {
        let now = self.now_ms;
        let late = self
            .feels(Kind::NtpLate, ip)
            .map_or(2_000, |seconds| seconds * 1_000);
        let image = now + self.takes(ip, "etcd again", 3, 6);
        let node = self.node_mut(ip);
        node.synced_at = now + late;
        if !node.is_control_plane() {
            return;
        }
        node.note(now, "Starting", "Starting service");
        node.note(
            now,
            "Waiting",
            "Waiting for volume \"/var/lib\" to be mounted, volume \"ETCD\" to be mounted, service \"cri\" to be \"up\", time sync, network, etcd spec",
        );
        node.note(now, "Preparing", "Running pre state");
        node.etcd = if node.data.is_some() {
            Etcd::Pulling {
                until: image.max(node.synced_at),
                role: Role::Member,
            }
        } else {
            Etcd::Waiting { since: now }
        };
    }

    /// Ends a boot.
    fn close(&mut self, ip: &str, then: &Then) -> Phase {
        let now = self.now_ms;
        let reboot = Phase::Rebooting {
            until: now + self.takes(ip, "reboot", 15, 40),
        };
        let node = self.node_mut(ip);
        node.etcd = Etcd::Off;
        node.api_at = None;
        match *then {
            Then::Reboot => reboot,
            Then::Off => Phase::Off { until: None },
            Then::Reset {
                state,
                ephemeral,
                system,
                reboot: again,
            } => {
                if state || system {
                    node.config = None;
                    node.staged = None;
                }
                if ephemeral || system {
                    node.data = None;
                }
                if system {
                    node.installed = false;
                }
                if again {
                    reboot
                } else {
                    Phase::Off { until: None }
                }
            }
        }
    }

    fn move_etcd(&mut self, ip: &str) {
        match self.nodes[ip].etcd.clone() {
            Etcd::Pulling { role, .. } => self.start_etcd(ip, role),
            Etcd::Running { .. } => self.check_etcd(ip),
            Etcd::Off | Etcd::Waiting { .. } | Etcd::Failed { .. } => {}
        }
    }

    fn start_etcd(&mut self, ip: &str, role: Role) {
        let now = self.now_ms;
        let index = match role {
            Role::Founder => Some(self.found(ip)),
            Role::Learner(cluster) => Some(cluster),
            Role::Member => self.nodes[ip].data,
        };
        let node = self.node_mut(ip);
        node.data = index;
        node.note(now, "Preparing", "Creating service runner");
        let pid = 2_100 + now % 900;
        node.note(
            now,
            "Running",
            format!("Started task etcd (PID {pid}) for container etcd"),
        );
        if self.member(ip).is_none() {
            let node = self.node_mut(ip);
            node.note(
                now,
                "Failed",
                "the member has been permanently removed from the cluster",
            );
            node.etcd = Etcd::Failed {
                reason: "the member has been permanently removed from the cluster".to_string(),
            };
            return;
        }
        if let Some(index) = index
            && let Some(member) = self.clusters[index]
                .members
                .iter_mut()
                .find(|member| member.ip == ip)
        {
            member.started = true;
        }
        let next = if self.member(ip).is_some_and(|member| member.learner) {
            let slow = self.feels(Kind::LearnerSlow, ip);
            now + slow.map_or_else(
                || self.takes(ip, "promotion", 15, 60),
                |seconds| seconds * 1_000,
            )
        } else {
            now + 5_000
        };
        self.node_mut(ip).etcd = Etcd::Running {
            next,
            checked: false,
        };
    }

    /// Makes a new cluster of one.
    fn found(&mut self, ip: &str) -> usize {
        let node = &self.nodes[ip];
        let facts = node.facts().cloned().unwrap_or_default();
        let hostname = node.hostname();
        let member = self.new_member(ip, hostname, false);
        // What was restored knows the nodes of the snapshot's time.
        let restored = self.node_mut(ip).restores.take();
        let (kube_nodes, objects) =
            restored.map_or_else(Default::default, |from| (from.kube_nodes, from.objects));
        self.clusters.push(Cluster {
            identity: facts.cluster_id,
            name: facts.cluster,
            members: vec![member],
            founder: ip.to_string(),
            changed_ms: self.now_ms,
            born_ms: self.now_ms,
            kube_nodes,
        });
        let index = self.clusters.len() - 1;
        if let Some(objects) = objects {
            self.restore_objects(index, objects);
        }
        index
    }

    fn new_member(&self, ip: &str, hostname: String, learner: bool) -> Member {
        let purpose = format!("member {ip} {}", self.now_ms);
        Member {
            id: chance::word(self.seed, &purpose, "123456789abcdef", 16),
            hostname,
            ip: ip.to_string(),
            learner,
            started: false,
        }
    }

    /// Looks at a running etcd: its first health check, or a learner's promotion.
    fn check_etcd(&mut self, ip: &str) {
        let now = self.now_ms;
        let Some(index) = self.nodes[ip].data else {
            return;
        };
        if !self.has_quorum(index) {
            let node = self.node_mut(ip);
            if node
                .events
                .last()
                .is_none_or(|(_, _, message)| !message.starts_with("Health check failed"))
            {
                node.note(
                    now,
                    "Running",
                    "Health check failed: context deadline exceeded",
                );
            }
            node.etcd = Etcd::Running {
                next: now + 20_000,
                checked: false,
            };
            return;
        }
        let cluster = &mut self.clusters[index];
        if let Some(member) = cluster
            .members
            .iter_mut()
            .find(|member| member.ip == ip && member.learner)
        {
            member.learner = false;
        }
        cluster.changed_ms = now;
        let api_at = now + self.takes(ip, "api server", 30, 90);
        let node = self.node_mut(ip);
        node.note(now, "Running", "Health check successful");
        node.etcd = Etcd::Running {
            next: now,
            checked: true,
        };
        node.api_at = Some(api_at);
    }

    /// Adds a waiting control plane as a learner; a stale member of its name goes first.
    fn join(&mut self, ip: &str, index: usize) {
        let now = self.now_ms;
        let hostname = self.nodes[ip].hostname();
        let member = self.new_member(ip, hostname.clone(), true);
        let cluster = &mut self.clusters[index];
        cluster.members.retain(|member| member.hostname != hostname);
        cluster.members.push(member);
        cluster.changed_ms = now;
        let until = now + self.takes(ip, "etcd image", 10, 30);
        self.node_mut(ip).etcd = Etcd::Pulling {
            until,
            role: Role::Learner(index),
        };
    }

    fn register(&mut self, ip: &str, index: usize) {
        let node = &self.nodes[ip];
        let facts = node.facts().cloned().unwrap_or_default();
        let cluster = &self.clusters[index];
        let subnet = facts
            .pod_subnets
            .first()
            .cloned()
            .unwrap_or_else(|| "10.244.0.0/16".to_string());
        let known = KubeNode {
            name: node.hostname(),
            ip: ip.to_string(),
            pod_cidr: Self::pod_cidr(&subnet, cluster.kube_nodes.len()),
            at_ms: self.now_ms,
            control_plane: facts.is_control_plane(),
            version: facts.kubelet,
            uid: chance::uuid(self.seed, &format!("uid {ip} {}", self.now_ms)),
        };
        self.clusters[index].kube_nodes.push(known);
    }
}
