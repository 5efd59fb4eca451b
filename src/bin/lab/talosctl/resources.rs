//! The resources that a node shows: their names, and how each is made from the world.

use serde_json::{Value, json};

use super::service;
use super::wire::Rpc;
use crate::chance;
use crate::site::Disk;
use crate::world::{Node, World};

/// A resource of a node.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    /// Its id.
    pub(super) id: String,
    /// Its version.
    pub(super) version: u64,
    /// When it was made.
    pub(super) created: String,
    /// When it last changed.
    pub(super) updated: String,
    /// Its spec.
    pub(super) spec: Value,
    /// Its own cells in a table.
    pub(super) cells: Vec<String>,
}

/// The types that the lab plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    MachineStatus,
    Member,
    EtcdMember,
    Disk,
    SystemDisk,
    DiscoveredVolume,
    VolumeStatus,
    MachineType,
    Address,
    MachineConfig,
    Link,
    Extension,
    Service,
    TimeStatus,
    SystemInformation,
    Hostname,
}

/// Type, namespace, names it is asked by, full name, owner, columns.
type Line = (
    Kind,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static [&'static str],
);

const LINES: [Line; 16] = [
    (
        Kind::MachineStatus,
        "runtime",
        &["machinestatus", "machinestatuses"],
        "MachineStatuses.runtime.talos.dev",
        "runtime.MachineStatusController",
        &["STAGE", "READY"],
    ),
    (
        Kind::Member,
        "cluster",
        &["member", "members"],
        "Members.cluster.talos.dev",
        "cluster.MemberController",
        &["HOSTNAME", "MACHINE TYPE", "OS", "ADDRESSES"],
    ),
    (
        Kind::EtcdMember,
        "etcd",
        &["etcdmember", "etcdmembers", "em"],
        "EtcdMembers.etcd.talos.dev",
        "etcd.MemberController",
        &["MEMBER ID"],
    ),
    (
        Kind::Disk,
        "runtime",
        &["disk", "disks"],
        "Disks.block.talos.dev",
        "block.DisksController",
        &[
            "SIZE",
            "READ ONLY",
            "TRANSPORT",
            "ROTATIONAL",
            "WWID",
            "MODEL",
            "SERIAL",
        ],
    ),
    (
        Kind::SystemDisk,
        "runtime",
        &["systemdisk", "systemdisks"],
        "SystemDisks.block.talos.dev",
        "block.SystemDiskController",
        &["DISK"],
    ),
    (
        Kind::DiscoveredVolume,
        "runtime",
        &["discoveredvolume", "discoveredvolumes", "dv"],
        "DiscoveredVolumes.block.talos.dev",
        "block.DiscoveryController",
        &["TYPE", "SIZE", "DISCOVERED", "LABEL", "PARTITIONLABEL"],
    ),
    (
        Kind::VolumeStatus,
        "runtime",
        &["volumestatus", "volumestatuses", "vs"],
        "VolumeStatuses.block.talos.dev",
        "block.VolumeManagerController",
        &["TYPE", "PHASE", "LOCATION", "SIZE"],
    ),
    (
        Kind::MachineType,
        "config",
        &["machinetype", "machinetypes", "mt"],
        "MachineTypes.config.talos.dev",
        "config.MachineTypeController",
        &["TYPE"],
    ),
    (
        Kind::Address,
        "network",
        &["address", "addresses", "addressstatus", "addressstatuses"],
        "AddressStatuses.net.talos.dev",
        "network.AddressStatusController",
        &["ADDRESS", "LINK"],
    ),
    (
        Kind::MachineConfig,
        "config",
        &["mc", "machineconfig", "machineconfigs"],
        "MachineConfigs.config.talos.dev",
        "",
        &[],
    ),
    (
        Kind::Link,
        "network",
        &["link", "links", "linkstatus", "linkstatuses"],
        "LinkStatuses.net.talos.dev",
        "network.LinkStatusController",
        &["TYPE", "KIND", "HW ADDR", "OPER STATE", "LINK STATE"],
    ),
    (
        Kind::Extension,
        "runtime",
        &[
            "extension",
            "extensions",
            "extensionstatus",
            "extensionstatuses",
        ],
        "ExtensionStatuses.runtime.talos.dev",
        "runtime.ExtensionStatusController",
        &["NAME", "VERSION"],
    ),
    (
        Kind::Service,
        "runtime",
        &["svc", "service", "services"],
        "Services.v1alpha1.talos.dev",
        "v1alpha1.ServiceController",
        &["RUNNING", "HEALTHY", "HEALTH UNKNOWN"],
    ),
    (
        Kind::TimeStatus,
        "runtime",
        &["timestatus", "timestatuses"],
        "TimeStatuses.v1alpha1.talos.dev",
        "time.SyncController",
        &["SYNCED"],
    ),
    (
        Kind::SystemInformation,
        "hardware",
        &["systeminformation", "systeminformations"],
        "SystemInformations.hardware.talos.dev",
        "hardware.SystemInfoController",
        &["MANUFACTURER", "PRODUCT NAME", "SERIAL NUMBER"],
    ),
    (
        Kind::Hostname,
        "network",
        &["hostname", "hostnamestatus", "hostnamestatuses"],
        "HostnameStatuses.net.talos.dev",
        "network.HostnameMergeController",
        &["HOSTNAME", "DOMAINNAME"],
    ),
];

/// Finds a type by one of its names.
pub(super) fn kind_of(word: &str) -> Result<Kind, Rpc> {
    let asked = word.to_lowercase();
    if asked == "ms" {
        let text = "resource type \"ms\" is ambiguous: [manifeststatuses.kubernetes.talos.dev machinestatuses.runtime.talos.dev]";
        return Err(Rpc::new("InvalidArgument", text));
    }
    let line = LINES.iter().find(|(_, _, names, full, ..)| {
        let full = full.to_lowercase();
        asked == full
            || full.strip_suffix(".talos.dev") == Some(&asked)
            || names.iter().any(|name| *name == asked)
    });
    line.map(|line| line.0)
        .ok_or_else(|| Rpc::new("NotFound", format!("resource \"{word}\" is not registered")))
}

impl Kind {
    fn line(self) -> &'static Line {
        LINES
            .iter()
            .find(|line| line.0 == self)
            .expect("every type is in the table")
    }

    /// Returns the namespace.
    pub(super) fn namespace(self) -> &'static str {
        self.line().1
    }

    /// Returns the full name.
    pub(super) fn full_name(self) -> &'static str {
        self.line().3
    }

    /// Returns the controller that owns it; empty for none.
    pub(super) fn owner(self) -> &'static str {
        self.line().4
    }

    /// Returns its own columns.
    pub(super) fn columns(self) -> &'static [&'static str] {
        self.line().5
    }

    /// Returns the name in a table's TYPE column.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::MachineStatus => "MachineStatus",
            Self::Member => "Member",
            Self::EtcdMember => "EtcdMember",
            Self::Disk => "Disk",
            Self::SystemDisk => "SystemDisk",
            Self::DiscoveredVolume => "DiscoveredVolume",
            Self::VolumeStatus => "VolumeStatus",
            Self::MachineType => "MachineType",
            Self::Address => "AddressStatus",
            Self::MachineConfig => "MachineConfig",
            Self::Link => "LinkStatus",
            Self::Extension => "ExtensionStatus",
            Self::Service => "Service",
            Self::TimeStatus => "TimeStatus",
            Self::SystemInformation => "SystemInformation",
            Self::Hostname => "HostnameStatus",
        }
    }

    /// Returns whether it needs os:admin.
    pub(super) fn is_sensitive(self) -> bool {
        self == Self::MachineConfig
    }

    /// Returns the resources of this type on a node.
    pub(super) fn list(self, world: &World, ip: &str) -> Vec<Resource> {
        let node = &world.nodes[ip];
        let since = node.up_since().unwrap_or_default();
        let make = |id: &str, version: u64, spec: Value, cells: Vec<String>| Resource {
            id: id.to_string(),
            version,
            created: world.rfc3339(since),
            updated: world.rfc3339(since),
            spec,
            cells,
        };
        match self {
            Self::MachineStatus => machine_status(world, ip, &make),
            Self::Member => members(world, node, &make),
            Self::EtcdMember => {
                let member = world.member(ip).filter(|_| world.etcd_healthy(ip));
                let shown =
                    |id: &String| make("local", 1, json!({ "memberID": id }), vec![id.clone()]);
                member.map(|member| shown(&member.id)).into_iter().collect()
            }
            Self::Disk => node
                .machine
                .disks
                .iter()
                .map(|disk| disk_resource(disk, &make))
                .collect(),
            Self::SystemDisk => {
                let disk = node.machine.disks.first().filter(|_| node.installed);
                let spec = |disk: &Disk| json!({ "devPath": format!("/dev/{}", disk.name), "diskID": disk.name });
                disk.map(|disk| make("system-disk", 1, spec(disk), vec![disk.name.clone()]))
                    .into_iter()
                    .collect()
            }
            Self::DiscoveredVolume => discovered(node, &make),
            Self::VolumeStatus => volumes(node, &make),
            Self::MachineType => {
                let kind = node.facts().map_or("unknown", |facts| facts.kind.as_str());
                vec![make("machine-type", 1, json!(kind), vec![kind.to_string()])]
            }
            Self::Address => {
                let link = node.machine.links.iter().find(|link| link.up);
                let name = link.map_or("eth0", |link| link.name.as_str());
                let spec = json!({ "address": format!("{ip}/24"), "family": "inet4", "flags": "permanent", "linkIndex": 3, "linkName": name, "priority": 1024, "scope": "global" });
                vec![make(
                    &format!("{name}/{ip}/24"),
                    1,
                    spec,
                    vec![format!("{ip}/24"), name.to_string()],
                )]
            }
            Self::MachineConfig => node.config.as_ref().map_or_else(Vec::new, |config| {
                ["v1alpha1", "persistent"]
                    .iter()
                    .map(|id| make(id, 1, json!(config.text), Vec::new()))
                    .collect()
            }),
            Self::Link => links(node, &make),
            Self::Extension => extensions(node, &make),
            Self::Service => service::running(world, ip)
                .into_iter()
                .map(|(id, healthy, unknown)| {
                    let spec = json!({ "running": true, "healthy": healthy, "unknown": unknown });
                    make(
                        &id,
                        2,
                        spec,
                        vec!["true".to_string(), healthy.to_string(), unknown.to_string()],
                    )
                })
                .collect(),
            Self::TimeStatus => {
                let synced = node.is_up() && node.synced_at <= world.now_ms;
                let spec =
                    json!({ "epoch": u64::from(synced), "synced": synced, "syncDisabled": false });
                vec![make("node", 2, spec, vec![synced.to_string()])]
            }
            Self::SystemInformation => {
                let machine = &node.machine;
                let uuid = chance::uuid(world.seed, &format!("machine {ip}"));
                let spec = json!({ "manufacturer": machine.manufacturer, "productname": machine.product, "serialnumber": machine.serial, "uuid": uuid, "waketype": "Power Switch" });
                let cells = vec![
                    machine.manufacturer.clone(),
                    machine.product.clone(),
                    machine.serial.clone(),
                ];
                vec![make("systeminformation", 1, spec, cells)]
            }
            Self::Hostname => {
                let name = node.hostname();
                vec![make(
                    "hostname",
                    1,
                    json!({ "hostname": name, "domainname": "" }),
                    vec![name, String::new()],
                )]
            }
        }
    }
}

/// Makes a resource of a node: id, version, spec, cells.
type Make<'a> = dyn Fn(&str, u64, Value, Vec<String>) -> Resource + 'a;

fn machine_status(world: &World, ip: &str, make: &Make<'_>) -> Vec<Resource> {
    let (stage, ready, unmet) = world.stage(ip);
    let unmet: Vec<Value> = unmet
        .iter()
        .map(|(name, reason)| json!({ "name": name, "reason": reason }))
        .collect();
    let spec = json!({ "stage": stage, "status": { "ready": ready, "unmetConditions": unmet } });
    vec![make(
        "machine",
        5,
        spec,
        vec![stage.to_string(), ready.to_string()],
    )]
}

fn members(world: &World, node: &Node, make: &Make<'_>) -> Vec<Resource> {
    let Some(facts) = node.facts() else {
        return Vec::new();
    };
    // Discovery needs a while after apid before it has told everybody.
    let known = |other: &&Node| {
        other
            .up_since()
            .is_some_and(|since| since + 5_000 <= world.now_ms)
            && other
                .facts()
                .is_some_and(|theirs| theirs.cluster_id == facts.cluster_id)
    };
    let mut found: Vec<Resource> = world
        .nodes
        .values()
        .filter(known)
        .map(|other| {
            let (name, ip) = (other.hostname(), other.machine.ip.clone());
            let kind = other.facts().map(|facts| facts.kind.clone()).unwrap_or_default();
            let mut spec = json!({
                "addresses": [ip], "hostname": name, "machineType": kind,
                "nodeId": chance::word(world.seed, &format!("node id {ip} {name}"), "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", 44),
                "operatingSystem": "Talos (v1.11.2)",
            });
            if other.is_control_plane() {
                spec["controlPlane"] = json!({ "port": 6443 });
            }
            make(&name, 1, spec, vec![name.clone(), kind, "Talos (v1.11.2)".to_string(), format!("[\"{ip}\"]")])
        })
        .collect();
    found.sort_by(|one, other| one.id.cmp(&other.id));
    found
}

fn pretty_size(size: u64) -> String {
    match size {
        0..1_000_000_000 => format!("{} MB", size / 1_000_000),
        1_000_000_000..1_000_000_000_000 => format!("{} GB", (size + 500_000_000) / 1_000_000_000),
        _ => format!(
            "{}.{} TB",
            size / 1_000_000_000_000,
            size / 100_000_000_000 % 10
        ),
    }
}

fn disk_resource(disk: &Disk, make: &Make<'_>) -> Resource {
    let id_name = format!(
        "{}-{}_{}",
        if disk.transport == "nvme" {
            "nvme"
        } else {
            "ata"
        },
        disk.model.replace(' ', "_"),
        disk.serial
    );
    let spec = json!({
        "bus_path": disk.bus, "cdrom": false, "dev_path": format!("/dev/{}", disk.name), "io_size": 512,
        "model": disk.model, "pretty_size": pretty_size(disk.size), "readonly": false, "sector_size": 512,
        "serial": disk.serial, "size": disk.size, "sub_system": "/sys/class/block",
        "symlinks": [format!("/dev/disk/by-id/{id_name}"), format!("/dev/disk/by-id/wwn-{}", disk.wwid)],
        "transport": disk.transport, "wwid": disk.wwid,
    });
    let cells = [
        pretty_size(disk.size),
        "false".to_string(),
        disk.transport.clone(),
        String::new(),
        disk.wwid.clone(),
        disk.model.clone(),
        disk.serial.clone(),
    ];
    make(&disk.name, 2, spec, cells.to_vec())
}

/// The partitions of an installed system disk: number, label, file system, size.
const PARTITIONS: [(u32, &str, &str, u64); 4] = [
    (1, "EFI", "vfat", 2_202_009_600),
    (2, "META", "talosmeta", 1_048_576),
    (3, "STATE", "xfs", 104_857_600),
    (4, "EPHEMERAL", "xfs", 0),
];

fn discovered(node: &Node, make: &Make<'_>) -> Vec<Resource> {
    let mut found = Vec::new();
    for (index, disk) in node.machine.disks.iter().enumerate() {
        let system = index == 0 && node.installed;
        let osd = node.ceph && index + 1 == node.machine.disks.len();
        let name = match (system, osd) {
            (true, _) => "gpt",
            (false, true) => "ceph_bluestore",
            (false, false) => "",
        };
        let spec = json!({ "dev_path": format!("/dev/{}", disk.name), "device_path": disk.bus, "io_size": 4096, "name": name, "pretty_size": pretty_size(disk.size), "sector_size": 512, "size": disk.size, "type": "disk" });
        let cells = vec![
            "disk".to_string(),
            pretty_size(disk.size),
            name.to_string(),
            String::new(),
            String::new(),
        ];
        found.push(make(&disk.name, 1, spec, cells));
        for (number, label, kind, size) in PARTITIONS.iter().filter(|_| system) {
            let size = if *size == 0 {
                disk.size - 2_400_000_000
            } else {
                *size
            };
            let spec = json!({
                "dev_path": format!("/dev/{}{number}", disk.name), "io_size": 4096, "label": label, "name": kind,
                "parent": disk.name, "parent_dev_path": format!("/dev/{}", disk.name), "partition_index": number,
                "partition_label": label, "pretty_size": pretty_size(size), "sector_size": 512, "size": size, "type": "partition",
            });
            let cells = vec![
                "partition".to_string(),
                pretty_size(size),
                (*kind).to_string(),
                (*label).to_string(),
                (*label).to_string(),
            ];
            found.push(make(&format!("{}{number}", disk.name), 1, spec, cells));
        }
    }
    found
}

fn volumes(node: &Node, make: &Make<'_>) -> Vec<Resource> {
    let Some(disk) = node.machine.disks.first() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (number, label, kind, size) in PARTITIONS.iter().skip(1) {
        let size = if *size == 0 {
            disk.size - 2_400_000_000
        } else {
            *size
        };
        let place = format!("/dev/{}{number}", disk.name);
        if node.installed {
            let spec = json!({ "filesystem": kind, "location": place, "mountLocation": place, "parentLocation": format!("/dev/{}", disk.name), "partitionIndex": number, "phase": "ready", "prettySize": pretty_size(size), "size": size, "type": "partition" });
            found.push(make(
                label,
                6,
                spec,
                vec![
                    "partition".to_string(),
                    "ready".to_string(),
                    place,
                    pretty_size(size),
                ],
            ));
        } else if *label != "EPHEMERAL" {
            let spec = json!({ "phase": "missing", "type": "partition" });
            found.push(make(
                label,
                2,
                spec,
                vec![
                    "partition".to_string(),
                    "missing".to_string(),
                    String::new(),
                    String::new(),
                ],
            ));
        }
    }
    for (name, selector) in node
        .facts()
        .map(|facts| facts.volumes.clone())
        .unwrap_or_default()
    {
        let fits = |disk: &&Disk| {
            selector.contains(&format!("\"{}\"", disk.model)) || selector.contains(&disk.model)
        };
        let id = format!("u-{name}");
        if let Some(disk) = node.machine.disks.iter().find(fits) {
            let place = format!("/dev/{}p1", disk.name);
            let spec = json!({ "filesystem": "xfs", "location": place, "mountLocation": place, "parentLocation": format!("/dev/{}", disk.name), "partitionIndex": 1, "phase": "ready", "prettySize": pretty_size(disk.size), "size": disk.size, "type": "partition" });
            found.push(make(
                &id,
                5,
                spec,
                vec![
                    "partition".to_string(),
                    "ready".to_string(),
                    place,
                    pretty_size(disk.size),
                ],
            ));
        } else {
            let spec = json!({ "phase": "failed", "type": "partition", "errorMessage": "no disks matched selector for volume" });
            found.push(make(
                &id,
                3,
                spec,
                vec![
                    "partition".to_string(),
                    "failed".to_string(),
                    String::new(),
                    String::new(),
                ],
            ));
        }
    }
    found
}

fn links(node: &Node, make: &Make<'_>) -> Vec<Resource> {
    let shown = node.machine.links.iter().map(|link| {
        let oper = if link.up { "up" } else { "down" };
        let spec = json!({
            "busPath": "0000:b7:00.0", "driver": link.driver, "duplex": "Full", "hardwareAddr": link.mac, "permanentAddr": link.mac,
            "kind": "", "linkState": link.up, "mtu": 1500, "operationalState": oper, "port": "Direct Attach Copper",
            "speedMbit": link.speed, "type": "ether",
        });
        make(&link.name, 2, spec, vec!["ether".to_string(), String::new(), link.mac.clone(), oper.to_string(), link.up.to_string()])
    });
    shown.collect()
}

/// The only extension that a node shows: the schematic that its installer image names.
fn extensions(node: &Node, make: &Make<'_>) -> Vec<Resource> {
    let Some(facts) = node.facts().filter(|_| node.installed) else {
        return Vec::new();
    };
    let path = facts.installer.split(':').next().unwrap_or_default();
    let schematic = path.rsplit('/').next().filter(|id| id.len() == 64);
    let shown = schematic.map(|id| {
        let metadata = json!({ "name": "schematic", "version": id, "author": "Image Factory", "description": "Virtual extension which specifies the schematic of the image built with Image Factory.", "compatibility": { "talos": { "version": ">= 1.0.0" } } });
        make("0", 1, json!({ "image": "", "metadata": metadata }), vec!["schematic".to_string(), id.to_string()])
    });
    shown.into_iter().collect()
}
