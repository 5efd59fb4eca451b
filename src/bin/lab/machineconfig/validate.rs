//! What the library checks before a configuration is used: the old document, the others, and both against each other.
//!
//! Only what `talosctl validate` sees without a machine. Not played: the types inside `baseRuntimeSpecOverrides`, and the
//! grammar of disk expressions beyond their names (`expression.rs`).

mod cluster;
mod documents;
mod expression;
mod labels;
mod network;

use super::Validation;
use super::document::Container;
use super::go::{Errors, quote};
use super::value::{Value, View};

/// What a machine is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    ControlPlane,
    Worker,
    Unknown,
}

impl Role {
    fn of(word: &str) -> Self {
        match word {
            "init" | "controlplane" => Self::ControlPlane,
            "worker" | "join" | "" => Self::Worker,
            _ => Self::Unknown,
        }
    }
}

/// Warnings and errors while they are gathered.
#[derive(Debug, Default)]
struct Findings {
    warnings: Vec<String>,
    errors: Errors,
}

impl Findings {
    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn error(&mut self, text: impl Into<String>) {
        self.errors.push(text);
    }

    fn take(&mut self, other: Self) {
        self.warnings.extend(other.warnings);
        self.errors.append(other.errors);
    }
}

/// Checks a configuration.
pub(crate) fn validate(container: &Container, mode: &str, strict: bool) -> Validation {
    let mut findings = Findings::default();
    if let Some(old) = container.old() {
        findings = check_old(old, mode);
        if strict {
            for warning in std::mem::take(&mut findings.warnings) {
                findings.error(format!("warning: {warning}"));
            }
        }
    }
    documents::check(container, &mut findings);
    Validation {
        warnings: findings.warnings,
        error: findings.errors.text(),
    }
}

fn is_present(view: View<'_>, path: &str) -> bool {
    view.at(path).is_some()
}

fn check_old(old: View<'_>, mode: &str) -> Findings {
    let mut found = Findings::default();
    let Some(machine) = old.at("machine") else {
        found.error("machine instructions are required");
        return found;
    };
    let word = machine.text("type");
    let role = Role::of(word);
    found.errors.append(cluster::check(old, role));
    check_install(machine, mode, &mut found);
    if mode == "container" {
        if machine.flag("features.hostDNS.enabled") != Some(true) {
            found.error("feature HostDNS should be enabled in container mode (.machine.features.hostDNS.enabled)");
        }
        if machine.flag("features.hostDNS.forwardKubeDNSToHost") != Some(true) {
            found.error("feature HostDNS should forward kube-dns to host in container mode (.machine.features.hostDNS.forwardKubeDNSToHost)");
        }
    }
    let proper = match word {
        "join" | "" => "worker",
        other => other,
    };
    if role != Role::Unknown && proper != word {
        found.warn(format!(
            "use {} instead of {} for machine type",
            quote(proper),
            quote(word)
        ));
    }
    check_role(old, machine, role, word, &mut found);
    network::check(machine, &mut found);
    check_disks(machine, &mut found);
    check_kubelet(machine, &mut found);
    check_disk_encryption(machine, &mut found);
    network::check_kubespan(old, machine, &mut found);
    check_logging(machine, &mut found);
    check_extensions(machine, &mut found);
    for (path, what, fault) in [
        (
            "nodeLabels",
            "labels",
            labels::labels as fn(&[(&str, &str)]) -> Errors,
        ),
        ("nodeAnnotations", "annotations", labels::annotations),
        ("nodeTaints", "taints", labels::taints),
    ] {
        let entries: Vec<(&str, &str)> = machine
            .entries(path)
            .into_iter()
            .map(|(key, value)| (key, as_text(value)))
            .collect();
        if let Some(text) = fault(&entries).text() {
            found.error(format!("invalid machine node {what}: {text}"));
        }
    }
    check_features(machine, role, &mut found);
    if old.flag("persist") == Some(false) {
        found.error(".persist should be enabled");
    }
    for (path, what) in [
        ("registries.config", "config"),
        ("registries.mirrors", "mirrors"),
    ] {
        for (key, value) in machine.entries(path) {
            if *value.value() == Value::Nil {
                found.error(format!("registries.{what}[{}] is null", quote(key)));
            }
        }
    }
    found
}

fn as_text(view: View<'_>) -> &str {
    match view.value() {
        Value::Str(text) => text,
        _ => "",
    }
}

fn check_install(machine: View<'_>, mode: &str, found: &mut Findings) {
    if mode != "metal" {
        return;
    }
    let Some(install) = machine.at("install") else {
        found.error(format!(
            "install instructions are required in {} mode",
            quote(mode)
        ));
        return;
    };
    let kind = install.text("diskSelector.type");
    let unsupported = if !install.text("diskSelector.name").is_empty() {
        Some("selector on name is not supported".to_owned())
    } else if !["", "ssd", "hdd", "nvme", "sd"].contains(&kind) {
        Some(format!("unsupported disk type {}", quote(kind)))
    } else {
        None
    };
    let selects = is_present(install, "diskSelector") && unsupported.is_none();
    if let Some(fault) = unsupported {
        found.error(format!("install disk selector is invalid: {fault}"));
    }
    if install.text("disk").is_empty() && !selects {
        found.error("either install disk or diskSelector should be defined");
    }
}

fn has_key(view: View<'_>) -> bool {
    !view.text("key").is_empty()
}

fn check_role(old: View<'_>, machine: View<'_>, role: Role, word: &str, found: &mut Findings) {
    let ca = machine.at("ca");
    let accepted = !machine.items("acceptedCAs").is_empty();
    if ca.is_none() && !accepted {
        found.error(
            "issuing CA or some accepted CAs are required (.machine.ca, machine.acceptedCAs)",
        );
    }
    match role {
        Role::ControlPlane => {
            let cni = cluster::check_cni(old);
            found.take(cni);
            match ca {
                None => found.error("issuing CA is required (.machine.ca)"),
                Some(ca) if !has_key(ca) => found
                    .error("issuing CA key is required for controlplane nodes (.machine.ca.key)"),
                Some(_) => {}
            }
        }
        Role::Worker => {
            for device in machine.items("network.interfaces") {
                let vlans = device.items("vlans");
                for _ in std::iter::once(device)
                    .chain(vlans)
                    .filter(|link| is_present(*link, "vip"))
                {
                    found.error("virtual (shared) IP is not allowed on non-controlplane nodes");
                }
            }
            if let Some(ca) = ca {
                if has_key(ca) {
                    found.error("issuing Talos API CA key is not allowed on non-controlplane nodes (.machine.ca)");
                }
                if ca.text("crt").is_empty() && !accepted {
                    found.error("trusted CA certificates are required on non-controlplane nodes (.machine.ca.crt, .machine.acceptedCAs)");
                }
            }
            if old.at("cluster.ca").is_some_and(has_key) {
                found.error("issuing Kubernetes API CA key is not allowed on non-controlplane nodes (.cluster.ca)");
            }
        }
        Role::Unknown => found.error(format!("unknown machine type {}", quote(word))),
    }
}

fn check_disks(machine: View<'_>, found: &mut Findings) {
    for (at, disk) in machine.items("disks").into_iter().enumerate() {
        if *disk.value() == Value::Nil {
            found.error(format!("machine.disks[{at}] is null"));
            continue;
        }
        let partitions = disk.items("partitions");
        let early = partitions
            .iter()
            .rev()
            .skip(1)
            .filter(|partition| partition.number("size") == 0);
        for _ in early {
            found.error(format!(
                "partition for disk {} is set to occupy full disk, but it's not the last partition in the list",
                quote(disk.text("device"))
            ));
        }
    }
}

const PROTECTED: [&str; 13] = [
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kind",
    "kubeletCgroups",
    "port",
    "protectKernelDefaults",
    "resolvConf",
    "rotateCertificates",
    "systemCgroups",
    "staticPodPath",
    "seccompDefault",
];

fn check_kubelet(machine: View<'_>, found: &mut Findings) {
    for subnet in machine.texts("kubelet.nodeIP.validSubnets") {
        let subnet = subnet.strip_prefix('!').unwrap_or(subnet);
        if !network::is_subnet_or_address(subnet) {
            found.error(format!(
                "kubelet nodeIP subnet is not valid: {}",
                quote(subnet)
            ));
        }
    }
    let extra = machine.entries("kubelet.extraConfig");
    for field in PROTECTED {
        if extra.iter().any(|(key, _)| *key == field) {
            found.error(format!(
                "kubelet configuration field {} can't be overridden",
                quote(field)
            ));
        }
    }
}

fn check_disk_encryption(machine: View<'_>, found: &mut Findings) {
    for (key, label) in [("ephemeral", "EPHEMERAL"), ("state", "STATE")] {
        let Some(encryption) = machine.at(&format!("systemDiskEncryption.{key}")) else {
            continue;
        };
        let keys = encryption.items("keys");
        if keys.is_empty() {
            found.error(format!(
                "partition \"{label}\": no encryption keys provided"
            ));
        }
        let mut slots = Vec::new();
        for key in keys {
            let slot = key.number("slot");
            if slots.contains(&slot) {
                found.error(format!(
                    "partition \"{label}\": encryption key slot {slot} is already in use"
                ));
            }
            slots.push(slot);
            if !["nodeID", "static", "kms", "tpm"]
                .iter()
                .any(|kind| is_present(key, kind))
            {
                found.error(format!("partition \"{label}\": encryption key at slot {slot} doesn't have the configuration parameters"));
            }
        }
    }
}

fn check_logging(machine: View<'_>, found: &mut Findings) {
    for destination in machine.items("logging.destinations") {
        match super::url::Url::parse(destination.text("endpoint")) {
            Ok(endpoint) if is_present(destination, "endpoint") => {
                if endpoint.host.is_empty() {
                    found.error("empty logging endpoint's host");
                }
                if endpoint.scheme != "tcp" && endpoint.scheme != "udp" {
                    found.error(format!(
                        "unexpected logging endpoint scheme {}",
                        quote(&endpoint.scheme)
                    ));
                }
            }
            _ => found.error("empty logging endpoint"),
        }
        let format = destination.text("format");
        if format != "json_lines" {
            found.error(format!("unknown logging format {}", quote(format)));
        }
    }
}

fn check_extensions(machine: View<'_>, found: &mut Findings) {
    let mut images = Vec::new();
    for extension in machine.items("install.extensions") {
        let image = extension.text("image");
        if images.contains(&image) {
            found.error(format!("duplicate system extension {}", quote(image)));
        }
        images.push(image);
    }
    if !images.is_empty() {
        found.warn(
            ".machine.install.extensions is deprecated, please see https://www.talos.dev/latest/talos-guides/install/boot-assets/",
        );
    }
}

fn check_features(machine: View<'_>, role: Role, found: &mut Findings) {
    if machine.flag("features.kubernetesTalosAPIAccess.enabled") == Some(true) {
        if machine.flag("features.rbac") != Some(true) {
            found.error("feature API RBAC should be enabled when Kubernetes Talos API Access feature is enabled");
        }
        if role != Role::ControlPlane {
            found.error(
                "feature Kubernetes Talos API Access can only be enabled on control plane machines",
            );
        }
        for name in machine.texts("features.kubernetesTalosAPIAccess.allowedRoles") {
            if ![
                "os:admin",
                "os:operator",
                "os:reader",
                "os:etcd:backup",
                "os:impersonator",
            ]
            .contains(&name)
            {
                found.error(format!(
                    "invalid role {} in allowed roles for Kubernetes Talos API Access",
                    quote(name)
                ));
            }
        }
    }
    let sort = machine.text("features.nodeAddressSortAlgorithm");
    if !["", "v1", "v2"].contains(&sort.to_lowercase().as_str()) {
        found.error(format!("invalid node address sort algorithm: {sort} does not belong to AddressSortAlgorithm values"));
    }
}
