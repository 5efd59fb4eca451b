//! Interfaces of the old document: addresses, routes, bonds, VLANs, `WireGuard`.

use super::super::go::{base64, quote};
use super::super::value::{Value, View};
use super::{Findings, is_present};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Checks `.machine.network.interfaces` and the limits of `KubeSpan`.
pub(super) fn check(machine: View<'_>, found: &mut Findings) {
    if !is_present(machine, "network") {
        return;
    }
    let devices = machine.items("network.interfaces");
    let mut members: BTreeMap<&str, &str> = BTreeMap::new();
    for device in &devices {
        let name = device.text("interface");
        if is_present(*device, "bond") && is_present(*device, "bridge") {
            found.error(format!(
                "interface has both bridge and bond sections set {}: config sections are mutually exclusive",
                quote(name)
            ));
        }
        let mut mine = device.texts("bond.interfaces");
        if !mine.is_empty() && !device.items("bond.deviceSelectors").is_empty() {
            found.error(format!(
                "interface {} has both interfaces and selectors set: config sections are mutually exclusive",
                quote(name)
            ));
        }
        if is_present(*device, "bridge") {
            mine = device.texts("bridge.interfaces");
        }
        for member in mine {
            if let Some(other) = members.get(member).filter(|other| **other != name) {
                found.error(format!(
                    "interface {} is declared as part of two separate links: {} and {}",
                    quote(member),
                    quote(other),
                    quote(name)
                ));
            }
            members.insert(member, name);
        }
    }
    for device in devices {
        if *device.value() == Value::Nil {
            found.error("empty device");
        } else if device.flag("ignore") != Some(true) {
            check_interface(device, found);
            check_addressing(
                device,
                members.contains_key(device.text("interface")),
                found,
            );
            check_routes(device, found);
        }
    }
    let mtu = machine
        .at("network.kubespan.mtu")
        .map(|_| machine.number("network.kubespan.mtu"));
    if machine.flag("network.kubespan.enabled") == Some(true)
        && mtu.is_some_and(|mtu| mtu != 0 && mtu < 1280)
    {
        found.error("kubespan link MTU must be at least 1280");
    }
}

/// Checks what `KubeSpan` needs of the cluster.
pub(super) fn check_kubespan(old: View<'_>, machine: View<'_>, found: &mut Findings) {
    if machine.flag("network.kubespan.enabled") != Some(true) {
        return;
    }
    if old.flag("cluster.discovery.enabled") != Some(true) {
        found.error(
            ".cluster.discovery should be enabled when .machine.network.kubespan is enabled",
        );
    }
    for key in ["id", "secret"] {
        if old.text(&format!("cluster.{key}")).is_empty() {
            found.error(format!(
                ".cluster.{key} should be set when .machine.network.kubespan is enabled"
            ));
        }
    }
    for subnet in machine.texts("network.kubespan.filters.endpoints") {
        let subnet = subnet.strip_prefix('!').unwrap_or(subnet);
        if !is_subnet_or_address(subnet) {
            found.error(format!(
                "KubeSpan endpoint filer is not valid: {}",
                quote(subnet)
            ));
        }
    }
}

/// Whether Go takes it for a subnet or an address.
pub(super) fn is_subnet_or_address(text: &str) -> bool {
    super::super::custom::prefix(text).is_ok() || text.parse::<IpAddr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    !bits.is_empty()
        && bits.bytes().all(|byte| byte.is_ascii_digit())
        && bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}

fn address_fault(text: &str) -> Option<String> {
    if text.contains('/') {
        (!is_cidr(text)).then(|| format!("invalid CIDR address: {text}"))
    } else {
        text.parse::<IpAddr>()
            .is_err()
            .then(|| format!("failed to parse IP address {}", quote(text)))
    }
}

fn check_interface(device: View<'_>, found: &mut Findings) {
    let sections = "[networking.os.device.interface], [networking.os.device.deviceSelector]";
    let named = !device.text("interface").is_empty();
    match (named, device.at("deviceSelector")) {
        (false, None) => found.error(format!(
            "{sections}: required either config section to be set"
        )),
        (true, Some(_)) => found.error(format!(
            "{sections}: config sections are mutually exclusive"
        )),
        _ => {}
    }
    if device
        .at("deviceSelector")
        .is_some_and(|selector| selector.value().is_zero())
    {
        found.error("[networking.os.device.deviceSelector]: config section should contain at least one field");
    }
    if let Some(bond) = device.at("bond") {
        check_bond(bond, found);
    }
    if let Some(wireguard) = device.at("wireguard") {
        check_wireguard(wireguard, found);
    }
    for vlan in device.items("vlans") {
        let name = format!("{}.{}", device.text("interface"), vlan.number("vlanId"));
        let (cidr, addresses) = (vlan.text("cidr"), vlan.texts("addresses"));
        if !addresses.is_empty() && !cidr.is_empty() {
            found.error(format!(
                "[networking.os.device.vlan] {name}: vlan can't have both .cidr and .addresses set"
            ));
        }
        if let Some(fault) = (!cidr.is_empty()).then(|| address_fault(cidr)).flatten() {
            found.error(format!("[networking.os.device.vlan.CIDR] {name}: {fault}"));
        }
        for fault in addresses.into_iter().filter_map(address_fault) {
            found.error(format!(
                "[networking.os.device.vlan.addresses] {name}: {fault}"
            ));
        }
    }
}

fn check_addressing(device: View<'_>, is_member: bool, found: &mut Findings) {
    let name = quote(device.text("interface"));
    let (cidr, addresses) = (device.text("cidr"), device.texts("addresses"));
    let vip = device.at("vip");
    if is_member
        && (device.flag("dhcp") == Some(true)
            || !cidr.is_empty()
            || !addresses.is_empty()
            || vip.is_some())
    {
        found.error(format!(
            "[networking.os.device] {name}: bonded/bridged interface shouldn't have any addressing methods configured"
        ));
    }
    if !addresses.is_empty() && !cidr.is_empty() {
        found.error(format!(
            "[networking.os.device] {name}: interface can't have both .cidr and .addresses set"
        ));
    }
    if !cidr.is_empty() {
        if let Some(fault) = address_fault(cidr) {
            found.error(format!("[networking.os.device.CIDR] {name}: {fault}"));
        }
        found.warn(format!("{name}: machine.network.interface.cidr is deprecated, please use machine.network.interface.addresses"));
    }
    for fault in addresses.into_iter().filter_map(address_fault) {
        found.error(format!("[networking.os.device.addresses] {name}: {fault}"));
    }
    if let Some(vip) = vip {
        let ip = vip.text("ip");
        if ip.parse::<IpAddr>().is_err() {
            found.error(format!(
                "[networking.os.device.vip] failed to parse {} as IP address",
                quote(ip)
            ));
        }
    }
}

fn check_routes(device: View<'_>, found: &mut Findings) {
    for (at, route) in device.items("routes").into_iter().enumerate() {
        let place = format!("networking.os.device.route[{at}]");
        let (network, gateway, source) = (
            route.text("network"),
            route.text("gateway"),
            route.text("source"),
        );
        let mut wrong = |key: &str, value: &str| {
            found.error(format!(
                "[{place}.{key}] {}: invalid network address",
                quote(value)
            ));
        };
        if !network.is_empty() && !is_cidr(network) {
            wrong("network", network);
        }
        if !gateway.is_empty() && gateway.parse::<IpAddr>().is_err() {
            wrong("gateway", gateway);
        }
        if gateway.is_empty() && network.is_empty() {
            found.error(format!(
                "[{place}]: either network or gateway should be set"
            ));
        }
        if !source.is_empty() && source.parse::<IpAddr>().is_err() {
            found.error(format!(
                "[{place}.source] {}: invalid network address",
                quote(source)
            ));
        }
    }
}

/// Keys of a bond that take one of a few words; the first word is what nothing means.
const BOND_WORDS: [(&str, &str, &[&str]); 8] = [
    (
        "mode",
        "bond type",
        &[
            "balance-rr",
            "active-backup",
            "balance-xor",
            "broadcast",
            "802.3ad",
            "balance-tlb",
            "balance-alb",
        ],
    ),
    (
        "xmitHashPolicy",
        "xmit hash policy",
        &["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"],
    ),
    ("lacpRate", "lacp rate", &["slow", "fast"]),
    (
        "arpValidate",
        "arp_validate mode",
        &["none", "active", "backup", "all"],
    ),
    ("arpAllTargets", "arp_all_targets mode", &["any", "all"]),
    (
        "primaryReselect",
        "primary_reselect mode",
        &["always", "better", "failure"],
    ),
    (
        "failOverMac",
        "fail_over_mac value",
        &["none", "active", "follow"],
    ),
    (
        "adSelect",
        "ad_select mode",
        &["stable", "bandwidth", "count"],
    ),
];

fn check_bond(bond: View<'_>, found: &mut Findings) {
    for (key, what, words) in BOND_WORDS {
        let word = bond.text(key);
        if !word.is_empty() && !words.contains(&word) {
            found.error(format!("invalid {what} {word}"));
        }
    }
    let modes = BOND_WORDS[0].2;
    let mode = modes
        .iter()
        .find(|mode| **mode == bond.text("mode"))
        .unwrap_or(&modes[0]);
    let (lacp, balances) = (
        *mode == "802.3ad",
        ["balance-tlb", "balance-alb"].contains(mode),
    );
    let (miimon, up, down) = (
        bond.number("miimon"),
        bond.number("updelay"),
        bond.number("downdelay"),
    );
    for (name, delay) in [("upDelay", up), ("downDelay", down)] {
        if miimon == 0 && delay != 0 {
            found.error(format!("bond.{name} can't be set if miiMon is zero"));
        } else if miimon != 0 && delay % miimon != 0 {
            found.error(format!("bond.{name} should be a multiple of miiMon"));
        }
    }
    if !bond.items("arpIPTarget").is_empty() {
        found.error("bond.arpIPTarget is not supported");
    }
    if !bond.text("lacpRate").is_empty() && !lacp {
        found.error("bond.lacpRate is only available in 802.3ad mode");
    }
    if !bond.text("adActorSystem").is_empty() {
        found.error("bond.adActorSystem is not supported");
    }
    for (name, given) in [
        (
            "arpValidate",
            (lacp || balances) && !bond.text("arpValidate").is_empty(),
        ),
        (
            "primary",
            !(*mode == "active-backup" || balances || bond.text("primary").is_empty()),
        ),
        (
            "arpInterval",
            (lacp || balances) && bond.number("arpInterval") > 0,
        ),
        (
            "packetsPerSlave",
            *mode != "balance-rr" && bond.number("packetsPerSlave") > 1,
        ),
        (
            "tlbDynamicTLB",
            !balances && bond.number("tlbDynamicLb") > 0,
        ),
    ] {
        if given {
            found.error(format!("bond.{name} is not available in {mode} mode"));
        }
    }
    for key in ["adActorSysPrio", "adUserPortKey"] {
        if !lacp && bond.number(key) > 0 {
            found.error(format!("bond.{key} is only available in 802.3ad mode"));
        }
    }
}

fn key_fault(key: &str) -> Option<String> {
    match base64(key) {
        Err(fault) => Some(fault),
        Ok(raw) if raw.len() != 32 => {
            Some(format!("wrong key {} length: {}", quote(key), raw.len()))
        }
        Ok(_) => None,
    }
}

fn check_wireguard(wireguard: View<'_>, found: &mut Findings) {
    if let Some(fault) = key_fault(wireguard.text("privateKey")) {
        found.error(format!("private key is invalid: {fault}"));
    }
    for peer in wireguard.items("peers") {
        if let Some(fault) = key_fault(peer.text("publicKey")) {
            found.error(format!("public key invalid: {fault}"));
        }
        let endpoint = peer.text("endpoint");
        if !endpoint.is_empty()
            && !endpoint
                .rsplit_once(':')
                .is_some_and(|(host, _)| !host.contains(':') || host.starts_with('['))
        {
            found.error(format!("peer endpoint {} is invalid", quote(endpoint)));
        }
        for allowed in peer.texts("allowedIPs") {
            if !is_cidr(allowed) {
                found.error(format!(
                    "peer allowed IP {} is invalid: invalid CIDR address: {allowed}",
                    quote(allowed)
                ));
            }
        }
    }
}
