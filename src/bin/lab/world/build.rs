//! How a world begins, and what a person may do to it from outside.

use std::collections::BTreeMap;

use super::{Config, Etcd, Node, Phase, World};
use crate::chance;
use crate::facts::Facts;
use crate::fault::{self, Fault, Kind};
use crate::site::Site;
use crate::vault::{Field, Item, Session, Vault};

/// What a new world is made from.
#[derive(Debug, Clone)]
pub(crate) struct NewWorld {
    /// Its name.
    pub(crate) name: String,
    /// What chance depends on.
    pub(crate) seed: u64,
    /// How fast lab time runs.
    pub(crate) speed: f64,
    /// The wall clock.
    pub(crate) created_ms: u64,
    /// The room.
    pub(crate) site: Site,
    /// Fault specs; `random` draws some.
    pub(crate) faults: Vec<String>,
}

impl World {
    /// Makes a world.
    pub(crate) fn build(new: NewWorld) -> Result<Self, String> {
        let ips: Vec<String> = new
            .site
            .nodes
            .iter()
            .map(|machine| machine.ip.clone())
            .collect();
        let mut faults = Vec::new();
        for spec in &new.faults {
            if spec == "random" {
                faults.extend(fault::random(new.seed, &ips));
            } else {
                faults.push(Fault::parse(spec)?);
            }
        }
        let nodes = new.site.nodes.iter().map(|machine| {
            let boot_id = chance::uuid(new.seed, &format!("boot {} 1", machine.ip));
            (machine.ip.clone(), Node::new(machine.clone(), boot_id))
        });
        let mut world = Self {
            format: 1,
            name: new.name,
            seed: new.seed,
            speed: new.speed,
            created_ms: new.created_ms,
            skew_ms: 0,
            now_ms: 0,
            calls: 0,
            nodes: nodes.collect::<BTreeMap<_, _>>(),
            site: new.site,
            clusters: Vec::new(),
            bootstraps: Vec::new(),
            vaults: Vec::new(),
            session: Session::default(),
            faults,
            objects: BTreeMap::new(),
            essentials: BTreeMap::new(),
            zone: BTreeMap::new(),
            shelf: super::kubernetes::Shelf::default(),
        };
        world.fill_vaults();
        world.arm()?;
        Ok(world)
    }

    fn fill_vaults(&mut self) {
        for vault in self.site.vaults.clone() {
            let id = self.id(&format!("vault {}", vault.name));
            let mut filled = Vault {
                id,
                name: vault.name.clone(),
                ..Vault::default()
            };
            for item in vault.items {
                let fields = item.fields.iter().map(|field| Field {
                    id: self.id(&format!(
                        "field {} {} {}",
                        vault.name, item.title, field.label
                    )),
                    kind: field.kind.clone(),
                    label: field.label.clone(),
                    value: field.value.clone(),
                    ..Field::default()
                });
                let fields = [notes()].into_iter().chain(fields).collect();
                let id = self.id(&format!("item {} {}", vault.name, item.title));
                let made = Item {
                    id,
                    title: item.title,
                    category: item.category,
                    version: 1,
                    fields,
                    ..Item::default()
                };
                filled.remember(&made);
                filled.items.push(made);
            }
            self.vaults.push(filled);
        }
    }

    /// Lets a fault begin now.
    pub(crate) fn befall(&mut self, spec: &str) -> Result<(), String> {
        let fault = Fault::parse(spec)?;
        if self.faults.iter().any(|armed| armed.spec == fault.spec) {
            return Err(format!("`{spec}` is so already"));
        }
        self.begin(&fault)?;
        self.faults.push(fault);
        Ok(())
    }

    /// Ends a fault that lasts; returns whether there was one of this spec.
    pub(crate) fn relieve(&mut self, spec: &str) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.spec != spec);
        self.faults.len() < before
    }

    /// Lets the faults begin that are there from the start.
    fn arm(&mut self) -> Result<(), String> {
        for fault in self.faults.clone() {
            if self.begin(&fault)?
                && let Some(armed) = self
                    .faults
                    .iter_mut()
                    .find(|armed| armed.spec == fault.spec)
            {
                armed.fired += 1;
            }
        }
        Ok(())
    }

    /// Does what a fault does at its beginning; returns whether that was something.
    fn begin(&mut self, fault: &Fault) -> Result<bool, String> {
        let target = fault.target.clone().unwrap_or_default();
        let about_node = matches!(
            fault.kind,
            Kind::Foreign | Kind::Down | Kind::Late | Kind::NodeSlow | Kind::DiskMismatch
        );
        if about_node && !self.nodes.contains_key(&target) {
            return Err(format!(
                "`{}`: no machine has the address `{target}`",
                fault.spec
            ));
        }
        match fault.kind {
            Kind::Foreign => self.estrange(&target)?,
            Kind::Down => self.switch_off(&target, None)?,
            Kind::Late => self.switch_off(&target, Some(fault.number * 1_000))?,
            Kind::NodeSlow => self.slow(&target, fault.number)?,
            Kind::DiskMismatch => {
                if let Some(disk) = self.find(&target)?.machine.disks.first_mut() {
                    disk.model = "KINGSTON SA400S37240G".to_string();
                }
            }
            Kind::OpDuplicate => {
                for copy in ["first", "second"] {
                    let id = self.id(&format!("item duplicate {target} {copy}"));
                    let category = "SECURE_NOTE".to_string();
                    let title = target.clone();
                    let item = Item {
                        id,
                        title,
                        category,
                        version: 1,
                        fields: vec![notes()],
                        ..Item::default()
                    };
                    if let Some(vault) = self.vaults.first_mut() {
                        vault.items.push(item);
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns 26 letters as 1Password makes them.
    pub(crate) fn id(&self, purpose: &str) -> String {
        chance::word(self.seed, purpose, "abcdefghijklmnopqrstuvwxyz234567", 26)
    }

    fn find(&mut self, ip: &str) -> Result<&mut Node, String> {
        self.nodes
            .get_mut(ip)
            .ok_or_else(|| format!("no machine has the address `{ip}`"))
    }

    /// Puts a machine back into maintenance mode, its disk empty.
    pub(crate) fn wipe(&mut self, ip: &str) -> Result<(), String> {
        let seed = self.seed;
        let node = self.find(ip)?;
        let mut fresh = Node::new(node.machine.clone(), String::new());
        fresh.boots = node.boots + 1;
        fresh.boot_id = chance::uuid(seed, &format!("boot {ip} {}", fresh.boots));
        fresh.slowness = node.slowness;
        fresh.ceph = node.ceph;
        *node = fresh;
        Ok(())
    }

    /// Takes what lies on a machine's /var, and boots it.
    pub(crate) fn lose(&mut self, ip: &str) -> Result<(), String> {
        let until = self.now_ms + self.takes(ip, "firmware", 20, 40);
        let node = self.find(ip)?;
        node.data = None;
        node.restores = None;
        node.etcd = Etcd::Off;
        node.api_at = None;
        if node.is_up() {
            node.phase = Phase::Firmware { until };
        }
        Ok(())
    }

    /// Puts data of Ceph on the last disk of a machine.
    pub(crate) fn give_ceph(&mut self, ip: &str) -> Result<(), String> {
        let node = self.find(ip)?;
        node.ceph = true;
        Ok(())
    }

    /// Returns the machines whose config is of a cluster.
    pub(crate) fn machines_of(&self, cluster: &str) -> Vec<String> {
        let of = |node: &Node| node.facts().is_some_and(|facts| facts.cluster == cluster);
        let found = self.nodes.iter().filter(|(_, node)| of(node));
        found.map(|(ip, _)| ip.clone()).collect()
    }

    /// Puts another machine in the place of one: nothing on its disk, and other hardware addresses.
    pub(crate) fn exchange(&mut self, ip: &str) -> Result<(), String> {
        self.wipe(ip)?;
        self.find(ip)?.ceph = false;
        for link in &mut self.find(ip)?.machine.links {
            // The first three bytes are the maker's.
            link.mac.replace_range(..8, "52:54:00");
        }
        Ok(())
    }

    /// Takes a machine's power away, perhaps until a moment.
    pub(crate) fn switch_off(&mut self, ip: &str, until: Option<u64>) -> Result<(), String> {
        let node = self.find(ip)?;
        node.phase = Phase::Off { until };
        node.etcd = Etcd::Off;
        node.api_at = None;
        Ok(())
    }

    /// Gives a machine power.
    pub(crate) fn switch_on(&mut self, ip: &str) -> Result<(), String> {
        let until = self.now_ms + self.takes(ip, "firmware", 20, 40);
        let node = self.find(ip)?;
        if matches!(node.phase, Phase::Off { .. }) {
            node.phase = Phase::Firmware { until };
        }
        Ok(())
    }

    /// Makes everything on a machine take longer.
    pub(crate) fn slow(&mut self, ip: &str, factor: u64) -> Result<(), String> {
        self.find(ip)?.slowness = factor.max(1);
        Ok(())
    }

    /// Makes a machine belong to another cluster.
    pub(crate) fn estrange(&mut self, ip: &str) -> Result<(), String> {
        self.wipe(ip)?;
        let now = self.now_ms;
        let facts = Facts {
            kind: "controlplane".to_string(),
            hostname: Some("old-01".to_string()),
            ca: "another cluster's".to_string(),
            cluster: "old".to_string(),
            cluster_id: "another cluster's".to_string(),
            ..Facts::default()
        };
        let node = self.find(ip)?;
        node.installed = true;
        node.config = Some(Config {
            text: "# another cluster's config\n".to_string(),
            facts,
            at_ms: now,
        });
        node.phase = Phase::Up { since: now };
        node.etcd = Etcd::Waiting { since: now };
        Ok(())
    }
}

/// Returns the field that every item has.
pub(crate) fn notes() -> Field {
    Field {
        id: "notesPlain".to_string(),
        kind: "STRING".to_string(),
        purpose: Some("NOTES".to_string()),
        label: "notesPlain".to_string(),
        ..Field::default()
    }
}
