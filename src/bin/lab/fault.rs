//! Faults: what goes wrong in a world, each a named spec `NAME[:TARGET][=NUMBER]`.
//!
//! A fault is armed when the world is made and fires by itself; it counts how often. What a number means is the fault's
//! own: how many times, or how many seconds of lab time.

use serde::{Deserialize, Serialize};

use crate::chance;

/// The kinds of faults; the table below explains each, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    NtpLate,
    ApplyEof,
    ApplyLost,
    ApplyHang,
    BootstrapEof,
    BootstrapLost,
    BootstrapLate,
    MaintenanceLingers,
    LearnerSlow,
    NodeSlow,
    OpExpired,
    OpExpiredHeals,
    OpDuplicate,
    OpRateLimit,
    OpCreateLost,
    Foreign,
    Down,
    Late,
    DnsMissing,
    DnsLate,
    Unavailable,
    Hang,
    DiskMismatch,
    ImageMissing,
    ChartMissing,
    BgpDown,
    MeshCut,
    GitRefuses,
    ConnectDown,
    ItemMissing,
    DnsRefuses,
    MirrorEmpty,
    CniMissing,
    GitProtected,
}

/// Whether a fault wants a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    None,
    MayBe(&'static str),
    Must(&'static str),
}

/// One line of the table of faults.
struct Entry {
    kind: Kind,
    name: &'static str,
    target: Target,
    number: Option<u64>,
    transient: bool,
    text: &'static str,
}

const fn entry(
    kind: Kind,
    name: &'static str,
    target: Target,
    number: Option<u64>,
    transient: bool,
    text: &'static str,
) -> Entry {
    Entry {
        kind,
        name,
        target,
        number,
        transient,
        text,
    }
}

const IP: Target = Target::MayBe("IP");
const CLUSTER: Target = Target::MayBe("CLUSTER");

/// Every fault. Transient ones heal by themselves or when the call is repeated; `random` draws from them.
const TABLE: &[Entry] = &[
    entry(
        Kind::NtpLate,
        "ntp-late",
        IP,
        Some(180),
        true,
        "a node's clock is in sync only SECONDS after its API is up",
    ),
    entry(
        Kind::ApplyEof,
        "apply-eof",
        IP,
        Some(1),
        true,
        "TIMES: a config is applied, the reply is lost (EOF)",
    ),
    entry(
        Kind::ApplyLost,
        "apply-lost",
        IP,
        Some(1),
        true,
        "TIMES: a config is not applied, the connection fails",
    ),
    entry(
        Kind::ApplyHang,
        "apply-hang",
        IP,
        Some(1),
        false,
        "TIMES: a config is applied, the call never ends",
    ),
    entry(
        Kind::BootstrapEof,
        "bootstrap-eof",
        IP,
        Some(1),
        true,
        "TIMES: bootstrap is executed, the reply is lost (EOF)",
    ),
    entry(
        Kind::BootstrapLost,
        "bootstrap-lost",
        IP,
        Some(1),
        true,
        "TIMES: bootstrap is not executed, the connection fails",
    ),
    entry(
        Kind::BootstrapLate,
        "bootstrap-late",
        IP,
        Some(60),
        true,
        "bootstrap is not available yet for SECONDS after the API is up",
    ),
    entry(
        Kind::MaintenanceLingers,
        "maintenance-lingers",
        IP,
        Some(60),
        true,
        "maintenance mode answers for SECONDS after a config was accepted",
    ),
    entry(
        Kind::LearnerSlow,
        "learner-slow",
        IP,
        Some(420),
        true,
        "an etcd member stays a learner for SECONDS",
    ),
    entry(
        Kind::NodeSlow,
        "node-slow",
        Target::Must("IP"),
        Some(4),
        true,
        "everything on the node takes FACTOR times as long",
    ),
    entry(
        Kind::OpExpired,
        "op-expired",
        Target::None,
        Some(3),
        false,
        "the 1Password session expires after CALLS calls, until `op signin`",
    ),
    entry(
        Kind::OpExpiredHeals,
        "op-expired-heals",
        Target::None,
        Some(60),
        true,
        "the session expires after three calls and returns by itself after SECONDS",
    ),
    entry(
        Kind::OpDuplicate,
        "op-duplicate",
        Target::Must("ITEM"),
        None,
        false,
        "two items of this title are in the first vault from the start",
    ),
    entry(
        Kind::OpRateLimit,
        "op-rate-limit",
        Target::None,
        Some(60),
        true,
        "429 for SECONDS, from the third call on",
    ),
    entry(
        Kind::OpCreateLost,
        "op-create-lost",
        Target::None,
        Some(1),
        false,
        "TIMES: an item is created, the answer is lost",
    ),
    entry(
        Kind::Foreign,
        "foreign",
        Target::Must("IP"),
        None,
        false,
        "the node belongs to another cluster",
    ),
    entry(
        Kind::Down,
        "down",
        Target::Must("IP"),
        None,
        false,
        "the node is off until `lab hurt WORLD node IP up`",
    ),
    entry(
        Kind::Late,
        "late",
        Target::Must("IP"),
        Some(180),
        true,
        "the node is switched on after SECONDS",
    ),
    entry(
        Kind::DnsMissing,
        "dns-missing",
        Target::MayBe("NAME"),
        None,
        false,
        "the name (default: every name) is not in the DNS",
    ),
    entry(
        Kind::DnsLate,
        "dns-late",
        Target::MayBe("NAME"),
        Some(120),
        true,
        "the name (default: every name) is in the DNS only after SECONDS",
    ),
    entry(
        Kind::Unavailable,
        "unavailable",
        IP,
        Some(6),
        true,
        "TIMES: a reading call of talosctl or kubectl, one in four, finds no connection",
    ),
    entry(
        Kind::Hang,
        "hang",
        IP,
        Some(1),
        false,
        "TIMES: a reading call of talosctl hangs until it is killed",
    ),
    entry(
        Kind::DiskMismatch,
        "disk-mismatch",
        Target::Must("IP"),
        None,
        false,
        "the node's first disk is of another model",
    ),
    entry(
        Kind::ImageMissing,
        "image-missing",
        Target::Must("WORKLOAD"),
        None,
        false,
        "the image of a Deployment, DaemonSet or Pod of this name cannot be pulled",
    ),
    entry(
        Kind::ChartMissing,
        "chart-missing",
        Target::Must("CHART"),
        None,
        false,
        "the registry does not have the chart",
    ),
    entry(
        Kind::BgpDown,
        "bgp-down",
        IP,
        None,
        false,
        "the router refuses the BGP session of the node",
    ),
    entry(
        Kind::CniMissing,
        "cni-missing",
        Target::Must("IP"),
        None,
        false,
        "the node has no configuration of a network plugin: it is NotReady, its pods go on",
    ),
    entry(
        Kind::MeshCut,
        "mesh-cut",
        CLUSTER,
        None,
        false,
        "no cluster answers the cluster through the mesh",
    ),
    entry(
        Kind::GitRefuses,
        "git-refuses",
        CLUSTER,
        None,
        false,
        "the Git host refuses the token of the cluster's Flux",
    ),
    entry(
        Kind::GitProtected,
        "git-protected",
        Target::None,
        None,
        false,
        "the Git host takes no push to its branches",
    ),
    entry(
        Kind::ConnectDown,
        "connect-down",
        CLUSTER,
        None,
        false,
        "1Password Connect does not answer the cluster",
    ),
    entry(
        Kind::ItemMissing,
        "item-missing",
        Target::Must("ITEM"),
        None,
        false,
        "1Password Connect does not find the item",
    ),
    entry(
        Kind::DnsRefuses,
        "dns-refuses",
        CLUSTER,
        None,
        false,
        "the DNS zone takes no records of the cluster's external-dns",
    ),
    entry(
        Kind::MirrorEmpty,
        "mirror-empty",
        Target::MayBe("NODE"),
        None,
        false,
        "the image mirror on the node finds no image in the cluster",
    ),
];

/// A fault of a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// The spec as it was given or drawn.
    pub(crate) spec: String,
    /// Its kind.
    pub(crate) kind: Kind,
    /// What it is about; `None` means any.
    pub(crate) target: Option<String>,
    /// Its number.
    pub(crate) number: u64,
    /// How often it has fired.
    pub(crate) fired: u64,
}

impl Fault {
    /// Reads a spec.
    pub(crate) fn parse(spec: &str) -> Result<Self, String> {
        let (head, number) = match spec.rsplit_once('=') {
            Some((head, number)) => {
                let number = number
                    .parse()
                    .map_err(|_| format!("`{spec}`: `{number}` is not a number"))?;
                (head, Some(number))
            }
            None => (spec, None),
        };
        let (name, target) = match head.split_once(':') {
            Some((name, target)) => (name, Some(target.to_string())),
            None => (head, None),
        };
        let entry = TABLE
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| format!("no fault is called `{name}`; `lab faults` lists them"))?;
        match (entry.target, &target) {
            (Target::None, Some(_)) => return Err(format!("`{name}` takes no target")),
            (Target::Must(word), None) => {
                return Err(format!("`{name}` needs a target: {name}:{word}"));
            }
            _ => {}
        }
        Ok(Self {
            spec: spec.to_string(),
            kind: entry.kind,
            target,
            number: number.or(entry.number).unwrap_or(1),
            fired: 0,
        })
    }

    /// Returns whether the fault is about this.
    pub(crate) fn concerns(&self, kind: Kind, about: &str) -> bool {
        self.kind == kind && self.target.as_deref().is_none_or(|target| target == about)
    }
}

/// Returns the list for `lab faults`, one line a fault.
pub(crate) fn list() -> String {
    TABLE
        .iter()
        .map(|entry| {
            let target = match entry.target {
                Target::None => String::new(),
                Target::MayBe(word) => format!("[:{word}]"),
                Target::Must(word) => format!(":{word}"),
            };
            let number = entry
                .number
                .map_or_else(String::new, |number| format!("[={number}]"));
            let heals = if entry.transient { "heals" } else { "stays" };
            format!(
                "{:<28} {heals}  {}\n",
                format!("{}{target}{number}", entry.name),
                entry.text
            )
        })
        .chain([format!(
            "{:<28} {}  {}\n",
            "random", "heals", "two to four of those that heal, drawn from the seed"
        )])
        .collect()
}

/// Draws transient faults for a seed, in a world with these machines.
pub(crate) fn random(seed: u64, ips: &[String]) -> Vec<Fault> {
    let pool: Vec<&Entry> = TABLE.iter().filter(|entry| entry.transient).collect();
    let count = chance::between(seed, "faults", 2, 4);
    let mut drawn: Vec<Fault> = Vec::new();
    let mut turn = 0_u64;
    while (drawn.len() as u64) < count {
        turn += 1;
        let entry = pool[pick(seed, &format!("fault {turn}"), pool.len())];
        if drawn.iter().any(|fault| fault.kind == entry.kind) {
            continue;
        }
        let spec = match entry.target {
            Target::Must(_) | Target::MayBe("IP") if !ips.is_empty() => {
                format!(
                    "{}:{}",
                    entry.name,
                    ips[pick(seed, &format!("target {turn}"), ips.len())]
                )
            }
            _ => entry.name.to_string(),
        };
        drawn.push(Fault::parse(&spec).expect("the table can be read"));
    }
    drawn
}

fn pick(seed: u64, purpose: &str, length: usize) -> usize {
    usize::try_from(chance::mix(seed, purpose) % length as u64).expect("smaller than the length")
}

#[cfg(test)]
mod tests {
    use super::{Fault, Kind, TABLE, random};

    #[test]
    fn a_spec_has_a_name_a_target_and_a_number() {
        let fault = Fault::parse("late:10.25.11.12=30").unwrap();
        assert_eq!(
            (fault.kind, fault.target.as_deref(), fault.number),
            (Kind::Late, Some("10.25.11.12"), 30)
        );
        assert!(Fault::parse("late").unwrap_err().contains("needs a target"));
        assert!(
            Fault::parse("op-expired:x")
                .unwrap_err()
                .contains("no target")
        );
        assert!(Fault::parse("nope").unwrap_err().contains("lab faults"));
    }

    #[test]
    fn random_faults_all_heal_and_are_the_same_for_a_seed() {
        let ips = ["10.25.11.11".to_string(), "10.25.11.12".to_string()];
        for seed in 0..200 {
            let drawn = random(seed, &ips);
            assert_eq!(drawn, random(seed, &ips));
            for fault in drawn {
                assert!(
                    TABLE
                        .iter()
                        .any(|entry| entry.kind == fault.kind && entry.transient)
                );
            }
        }
    }
}
