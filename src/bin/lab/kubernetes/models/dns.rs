//! external-dns: records for Services and routes that name a host, each with a record of who owns it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::objects::Store;
use super::super::outside::{Outside, Zone};
use super::super::value::{list, place, text};
use super::programs;
use crate::fault::Kind;

struct Settings {
    owner: String,
    prefix: String,
    domains: Vec<String>,
    sources: Vec<String>,
    sync: bool,
}

fn settings(deployment: &Value) -> Settings {
    let args: Vec<&str> = list(deployment, "/spec/template/spec/containers/0/args")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let all = |name: &str| -> Vec<String> {
        let head = format!("--{name}=");
        args.iter()
            .filter_map(|arg| arg.strip_prefix(&head))
            .map(ToString::to_string)
            .collect()
    };
    let one = |name: &str| all(name).pop().unwrap_or_default();
    Settings {
        owner: Some(one("txt-owner-id"))
            .filter(|owner| !owner.is_empty())
            .unwrap_or_else(|| "default".to_string()),
        prefix: one("txt-prefix"),
        domains: all("domain-filter"),
        sources: all("source"),
        sync: one("policy") != "upsert-only",
    }
}

/// What is wanted: host, address, resource.
fn wanted(store: &dyn Store, settings: &Settings) -> BTreeMap<String, (String, String)> {
    let mut all = BTreeMap::new();
    let within = |host: &str| {
        settings.domains.is_empty()
            || settings
                .domains
                .iter()
                .any(|domain| host == domain || host.ends_with(&format!(".{domain}")))
    };
    if settings.sources.iter().any(|source| source == "service") {
        for service in store.list("Service") {
            let ip = text(service, "/status/loadBalancer/ingress/0/ip");
            let hosts = text(
                service,
                "/metadata/annotations/external-dns.alpha.kubernetes.io~1hostname",
            );
            let (namespace, name) = place(service);
            for host in hosts
                .split(',')
                .map(|host| host.trim().trim_end_matches('.'))
                .filter(|host| !host.is_empty() && within(host))
            {
                if !ip.is_empty() && text(service, "/spec/type") == "LoadBalancer" {
                    all.insert(
                        host.to_string(),
                        (ip.to_string(), format!("service/{namespace}/{name}")),
                    );
                }
            }
        }
    }
    if settings
        .sources
        .iter()
        .any(|source| source == "gateway-httproute")
    {
        for route in store.list("HTTPRoute.gateway.networking.k8s.io") {
            let (namespace, name) = place(route);
            let parent = &list(route, "/status/parents")
                .first()
                .map(|parent| parent["parentRef"].clone())
                .unwrap_or_default();
            let space = text(parent, "/namespace");
            let gateway = store.get(
                "Gateway.gateway.networking.k8s.io",
                if space.is_empty() { namespace } else { space },
                text(parent, "/name"),
            );
            let ip = gateway
                .map(|gateway| text(gateway, "/status/addresses/0/value"))
                .unwrap_or_default();
            for host in list(route, "/spec/hostnames")
                .iter()
                .filter_map(Value::as_str)
                .filter(|host| within(host))
            {
                if !ip.is_empty() {
                    all.insert(
                        host.to_string(),
                        (ip.to_string(), format!("httproute/{namespace}/{name}")),
                    );
                }
            }
        }
    }
    all
}

/// The name of the record that says who owns an A record: prefix, and the record's type before the name.
fn mark_name(prefix: &str, host: &str) -> String {
    format!("{prefix}a-{host}")
}

/// Records follow the objects; those of other owners are left alone.
pub(super) fn records(store: &mut dyn Store, outside: &mut Outside) {
    let found = store
        .list("Deployment.apps")
        .into_iter()
        .find(|deployment| {
            text(deployment, "/metadata/labels/app.kubernetes.io~1name") == "external-dns"
        });
    let Some(deployment) = found.cloned() else {
        return;
    };
    let (namespace, name) = place(&deployment);
    if !programs::works(store, namespace, name) || !programs::resolves(store) {
        return;
    }
    if outside
        .feels(Kind::DnsRefuses, &outside.cluster.clone())
        .is_some()
    {
        return;
    }
    let settings = settings(&deployment);
    let wanted = wanted(store, &settings);
    let mine = format!(
        "heritage=external-dns,external-dns/owner={},",
        settings.owner
    );
    let mut zone: Zone = outside.zone.clone();
    let owned: Vec<String> = zone
        .iter()
        .filter(|(_, records)| {
            records
                .get("TXT")
                .is_some_and(|texts| texts.iter().any(|text| text.starts_with(&mine)))
        })
        .filter_map(|(mark, _)| {
            mark.strip_prefix(&settings.prefix)?
                .strip_prefix("a-")
                .map(ToString::to_string)
        })
        .collect();
    let differs = wanted.iter().any(|(host, (ip, _))| {
        zone.get(host).and_then(|records| records.get("A")) != Some(&vec![ip.clone()])
    }) || owned
        .iter()
        .any(|host| settings.sync && !wanted.contains_key(host));
    // It looks once a minute; what it finds then is written at once.
    let what = format!("{} looks", text(&deployment, "/metadata/uid"));
    if !differs {
        store.forget(&what);
        return;
    }
    if !store.passed(&what, 20_000) {
        return;
    }
    store.forget(&what);
    for (host, (ip, resource)) in &wanted {
        let taken = zone.contains_key(host) && !owned.contains(host);
        if taken {
            continue;
        }
        zone.entry(host.clone())
            .or_default()
            .insert("A".to_string(), vec![ip.clone()]);
        let mark = format!("{mine}external-dns/resource={resource}");
        zone.entry(mark_name(&settings.prefix, host))
            .or_default()
            .insert("TXT".to_string(), vec![mark]);
    }
    if settings.sync {
        for host in owned.iter().filter(|host| !wanted.contains_key(*host)) {
            zone.remove(host);
            zone.remove(&mark_name(&settings.prefix, host));
        }
    }
    outside.zone = zone;
}
