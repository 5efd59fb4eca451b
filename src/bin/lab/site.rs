//! What stands in the room: machines, DNS records, vaults. Data only; no address here is ever contacted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole room.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    /// What people call it.
    pub(crate) name: String,
    /// The default gateway of the machines.
    pub(crate) gateway: String,
    /// The address of the DNS server.
    pub(crate) resolver: String,
    /// Names and addresses of time servers that answer.
    pub(crate) ntp: Vec<String>,
    /// Names and their addresses.
    pub(crate) dns: BTreeMap<String, Vec<String>>,
    /// The machines.
    pub(crate) nodes: Vec<Machine>,
    /// The vaults, as they are before anybody works.
    pub(crate) vaults: Vec<SiteVault>,
    /// The router that speaks BGP.
    #[serde(default)]
    pub(crate) router: Router,
    /// Where the Git remote is known.
    #[serde(default)]
    pub(crate) git: Git,
    /// The URL of 1Password Connect.
    #[serde(default)]
    pub(crate) connect: String,
    /// The domain that the world sees.
    #[serde(default)]
    pub(crate) zone: Domain,
}

/// A domain, and who answers for it to the world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Domain {
    /// Its name.
    pub(crate) name: String,
    /// The name of its server; never contacted.
    pub(crate) server: String,
}

/// A router that speaks BGP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Router {
    /// Its address.
    pub(crate) address: String,
    /// Its AS number.
    pub(crate) asn: u64,
    /// The AS number that it expects of each neighbour.
    pub(crate) neighbours: BTreeMap<String, u64>,
}

/// A Git remote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Git {
    /// Its address; never contacted.
    pub(crate) url: String,
    /// The vault of its token.
    pub(crate) vault: String,
    /// The item.
    pub(crate) item: String,
    /// The field.
    pub(crate) field: String,
}

/// One machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    /// Its address, in maintenance mode and after.
    pub(crate) ip: String,
    /// The serial number of the board.
    pub(crate) serial: String,
    /// Who made it.
    pub(crate) manufacturer: String,
    /// What it is sold as.
    pub(crate) product: String,
    /// Its network cards.
    pub(crate) links: Vec<Link>,
    /// Its disks.
    pub(crate) disks: Vec<Disk>,
}

/// A network card.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// The kernel's name.
    pub(crate) name: String,
    /// The hardware address.
    pub(crate) mac: String,
    /// The kernel's driver.
    pub(crate) driver: String,
    /// Megabits a second.
    pub(crate) speed: u32,
    /// Whether a cable is in.
    pub(crate) up: bool,
}

/// A disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// The kernel's name.
    pub(crate) name: String,
    /// The model.
    pub(crate) model: String,
    /// The serial number.
    pub(crate) serial: String,
    /// The size in bytes.
    pub(crate) size: u64,
    /// `sata`, `nvme` …
    pub(crate) transport: String,
    /// The world wide id.
    pub(crate) wwid: String,
    /// Where it is plugged in.
    pub(crate) bus: String,
}

/// A vault before anybody works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteVault {
    /// Its name.
    pub(crate) name: String,
    /// Its items.
    pub(crate) items: Vec<SiteItem>,
}

/// An item before anybody works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteItem {
    /// Its title.
    pub(crate) title: String,
    /// Its category, as in JSON.
    pub(crate) category: String,
    /// Its fields.
    pub(crate) fields: Vec<SiteField>,
}

/// A field before anybody works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteField {
    /// Its label.
    pub(crate) label: String,
    /// Its type, as in JSON.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its value.
    pub(crate) value: String,
}

impl Site {
    /// Returns the room that the lab brings along.
    pub(crate) fn built_in() -> Self {
        serde_json::from_str(include_str!("site.json")).expect("the built-in site can be read")
    }
}
