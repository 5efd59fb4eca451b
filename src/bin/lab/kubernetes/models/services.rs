//! Addresses of Services of type `LoadBalancer`: from Cilium's pools, and from nowhere else.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{list, place, put_condition, selects, set, text};
use super::agents;

const POOL: &str = "CiliumLoadBalancerIPPool.cilium.io";

/// The addresses of a pool; ranges are inclusive.
fn addresses_of(pool: &Value) -> Vec<Ipv4Addr> {
    let mut all = Vec::new();
    for block in list(pool, "/spec/blocks") {
        let (start, stop): (Option<Ipv4Addr>, Option<Ipv4Addr>) = (
            text(block, "/start").parse().ok(),
            text(block, "/stop").parse().ok(),
        );
        if let Some(start) = start {
            let stop = stop.unwrap_or(start);
            all.extend(
                (u32::from(start)..=u32::from(stop))
                    .take(65_536)
                    .map(Ipv4Addr::from),
            );
        }
        if let Ok(net) = text(block, "/cidr").parse::<ipnet::Ipv4Net>() {
            all.extend(net.hosts().take(65_536));
        }
    }
    all
}

/// Gives every Service of type `LoadBalancer` an address of a pool that is for it.
pub(super) fn addresses(store: &mut dyn Store, _: &mut Outside) {
    if !agents::operates(store) {
        return;
    }
    let pools: Vec<Value> = store.list(POOL).into_iter().cloned().collect();
    let all: Vec<Value> = store.list("Service").into_iter().cloned().collect();
    let mut taken: BTreeMap<Ipv4Addr, (String, String)> = BTreeMap::new();
    for service in &all {
        if let Ok(ip) = text(service, "/status/loadBalancer/ingress/0/ip").parse() {
            let (namespace, name) = place(service);
            taken.insert(ip, (namespace.to_string(), name.to_string()));
        }
    }
    for service in all {
        if text(&service, "/spec/type") != "LoadBalancer" {
            if service.pointer("/status/loadBalancer/ingress").is_some() {
                let mut service = service;
                set(&mut service, "/status/loadBalancer", json!({}));
                store.write(service);
            }
            continue;
        }
        one(store, service, &pools, &mut taken);
    }
}

fn one(
    store: &mut dyn Store,
    mut service: Value,
    pools: &[Value],
    taken: &mut BTreeMap<Ipv4Addr, (String, String)>,
) {
    let (namespace, name) = place(&service);
    let me = (namespace.to_string(), name.to_string());
    let none = json!({});
    let mut labels = service["metadata"].get("labels").unwrap_or(&none).clone();
    labels["io.kubernetes.service.namespace"] = json!(me.0);
    labels["io.kubernetes.service.name"] = json!(me.1);
    let fitting: Vec<Ipv4Addr> = pools
        .iter()
        .filter(|pool| pool["spec"]["disabled"] != true)
        .filter(|pool| {
            pool.pointer("/spec/serviceSelector")
                .is_none_or(|selector| selects(Some(selector), &labels))
        })
        .flat_map(addresses_of)
        .collect();
    let annotation = ["lbipam.cilium.io~1ips", "io.cilium~1lb-ipam-ips"]
        .iter()
        .map(|name| text(&service, &format!("/metadata/annotations/{name}")))
        .find(|asked| !asked.is_empty())
        .map(ToString::to_string);
    let date = store.date();
    let current: Option<Ipv4Addr> = text(&service, "/status/loadBalancer/ingress/0/ip")
        .parse()
        .ok();
    let free = |ip: &Ipv4Addr| taken.get(ip).is_none_or(|owner| *owner == me);
    let (ip, reason, message) = match annotation {
        Some(asked) => match asked.split(',').next().unwrap_or_default().trim().parse() {
            Ok(ip) if !fitting.contains(&ip) => (None, "no_pool", format!("No pool exists with a CIDR containing '{ip}'")),
            Ok(ip) if !free(&ip) => (None, "already_allocated", format!("The IP '{ip}' is already allocated to another service")),
            Ok(ip) => (Some(ip), "satisfied", String::new()),
            Err(_) => (None, "invalid_ip", format!("The value '{asked}' is not a valid IP")),
        },
        None => match current.filter(|ip| fitting.contains(ip)).or_else(|| fitting.iter().find(|ip| free(ip)).copied()) {
            Some(ip) => (Some(ip), "satisfied", String::new()),
            None if fitting.is_empty() => (None, "no_pool", "There are no enabled CiliumLoadBalancerIPPools that match this service".to_string()),
            None => (None, "out_of_ips", "All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs".to_string()),
        },
    };
    taken.retain(|_, owner| *owner != me);
    match ip {
        Some(ip) => {
            taken.insert(ip, me);
            set(
                &mut service,
                "/status/loadBalancer/ingress",
                json!([{ "ip": ip.to_string(), "ipMode": "VIP" }]),
            );
        }
        None => set(&mut service, "/status/loadBalancer", json!({})),
    }
    let status = if ip.is_some() { "True" } else { "False" };
    put_condition(
        &mut service,
        &date,
        "cilium.io/IPAMRequestSatisfied",
        status,
        reason,
        &message,
    );
    store.write(service);
}

/// Counts the addresses of every pool, and names pools that share some.
pub(super) fn pools(store: &mut dyn Store, _: &mut Outside) {
    if !agents::operates(store) {
        return;
    }
    let all: Vec<Value> = store.list(POOL).into_iter().cloned().collect();
    let used: Vec<Ipv4Addr> = store
        .list("Service")
        .into_iter()
        .filter_map(|service| {
            text(service, "/status/loadBalancer/ingress/0/ip")
                .parse()
                .ok()
        })
        .collect();
    for pool in &all {
        let own = addresses_of(pool);
        let clash = all.iter().find(|other| {
            place(other) != place(pool) && addresses_of(other).iter().any(|ip| own.contains(ip))
        });
        let mut next = pool.clone();
        let date = store.date();
        let (status, message) = match clash {
            Some(other) => (
                "True",
                format!("Pool conflicts with pool '{}'", place(other).1),
            ),
            None => ("False", String::new()),
        };
        put_condition(
            &mut next,
            &date,
            "cilium.io/PoolConflict",
            status,
            "cidr_overlap",
            &message,
        );
        let taken = used.iter().filter(|ip| own.contains(ip)).count();
        for (kind, number) in [
            ("cilium.io/IPsTotal", own.len()),
            ("cilium.io/IPsAvailable", own.len() - taken),
            ("cilium.io/IPsUsed", taken),
        ] {
            put_condition(
                &mut next,
                &date,
                kind,
                "Unknown",
                "noreason",
                &number.to_string(),
            );
        }
        store.write(next);
    }
}
