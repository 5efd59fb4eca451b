//! What runs in pods that end: `curl` against a Service, and look-ups of names. Anything else ends well.

use serde_json::Value;

use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{has_labels, list, place, text};
use super::{agents, pods, workloads};
use crate::fault::Kind;

/// Runs a pod's program; returns its exit code and what it says.
pub(super) fn run(store: &dyn Store, outside: &mut Outside, pod: &Value) -> (u8, String) {
    let words: Vec<&str> = list(pod, "/spec/containers/0/command")
        .iter()
        .chain(list(pod, "/spec/containers/0/args"))
        .filter_map(Value::as_str)
        .flat_map(str::split_whitespace)
        .collect();
    if let Some(url) = words
        .iter()
        .find(|word| word.starts_with("http://") || word.starts_with("https://"))
    {
        return fetch(store, outside, pod, url);
    }
    if let Some(at) = words
        .iter()
        .position(|word| matches!(*word, "nslookup" | "getent" | "dig" | "host"))
    {
        let host = words[at + 1..]
            .iter()
            .find(|word| !word.starts_with('-') && **word != "hosts")
            .copied()
            .unwrap_or_default();
        return if resolves(store) {
            (0, format!("{host} has an address\n"))
        } else {
            (
                1,
                format!(";; connection timed out; no servers could be reached ({host})\n"),
            )
        };
    }
    (0, String::new())
}

/// Whether names can be looked up in the cluster.
pub(super) fn resolves(store: &dyn Store) -> bool {
    let dns = store.list("Service").into_iter().find(|service| {
        place(service).0 == "kube-system"
            && list(service, "/spec/ports")
                .iter()
                .any(|port| port["port"] == 53)
    });
    dns.is_some_and(|service| backends(store, service) > 0)
}

/// Returns how many ready pods a Service has.
pub(super) fn backends(store: &dyn Store, service: &Value) -> usize {
    let (namespace, _) = place(service);
    store
        .list("Pod")
        .into_iter()
        .filter(|pod| place(pod).0 == namespace && pods::is_ready(pod))
        .filter(|pod| has_labels(&service["spec"]["selector"], &pod["metadata"]["labels"]))
        .count()
}

fn fetch(store: &dyn Store, outside: &mut Outside, pod: &Value, url: &str) -> (u8, String) {
    let host = url
        .split("://")
        .nth(1)
        .unwrap_or_default()
        .split(['/', ':'])
        .next()
        .unwrap_or_default()
        .to_string();
    if !resolves(store) {
        return (6, format!("curl: (6) Could not resolve host: {host}\n"));
    }
    let parts: Vec<&str> = host.split('.').collect();
    let (own, _) = place(pod);
    let (name, namespace) = match parts[..] {
        [name] => (name, own),
        [name, namespace, "svc", ..] => (name, namespace),
        [name, namespace] if store.get("Namespace", "", namespace).is_some() => (name, namespace),
        // What is outside of the cluster is reached if names can be looked up.
        _ => return (0, "ok\n".to_string()),
    };
    let Some(service) = store.get("Service", namespace, name) else {
        return (6, format!("curl: (6) Could not resolve host: {host}\n"));
    };
    let port = url
        .split("://")
        .nth(1)
        .unwrap_or_default()
        .split('/')
        .next()
        .unwrap_or_default()
        .split(':')
        .nth(1)
        .map_or(80, |port| port.parse().unwrap_or(0));
    if list(service, "/spec/ports")
        .iter()
        .all(|known| known["port"] != port)
    {
        return (
            7,
            format!("curl: (7) Failed to connect to {host} port {port}\n"),
        );
    }
    let silent = || {
        (
            28,
            "curl: (28) Connection timed out after 10001 milliseconds\n".to_string(),
        )
    };
    let near = backends(store, service);
    if near > 0 {
        let allowed = agents::may_enter(
            store,
            service,
            &agents::agent(store)
                .map(|agent| agent.name)
                .unwrap_or_default(),
        );
        return if allowed {
            (0, "ok\n".to_string())
        } else {
            silent()
        };
    }
    let global = text(service, "/metadata/annotations/service.cilium.io~1global") == "true";
    if !global {
        return (
            7,
            format!("curl: (7) Failed to connect to {host} port {port}: no endpoints\n"),
        );
    }
    let me = agents::agent(store)
        .map(|agent| agent.name)
        .unwrap_or_default();
    let key = format!("{namespace}/{name}");
    let connected: Vec<String> = agents::mesh_peers(store, outside)
        .into_iter()
        .filter(|peer| peer.connected)
        .map(|peer| peer.name)
        .collect();
    let far: Vec<_> = outside
        .peers
        .iter()
        .filter(|peer| connected.contains(&peer.mesh_name))
        .filter_map(|peer| peer.global.get(&key))
        .collect();
    if far.is_empty() {
        return (
            7,
            format!("curl: (7) Failed to connect to {host} port {port}: no endpoints\n"),
        );
    }
    if far
        .iter()
        .any(|allowed| allowed.as_ref().is_none_or(|names| names.contains(&me)))
    {
        (0, "ok\n".to_string())
    } else {
        silent()
    }
}

/// Returns what a registry mirror on a node says about an image that is asked for through the API server, if one runs there.
///
/// `NODE:29999` is the mirror's port on the host; it hands out what any node of the cluster has.
pub(crate) fn through_node(
    store: &dyn Store,
    outside: &mut Outside,
    node: &str,
    asked: &str,
) -> Option<String> {
    let (node, port) = node.split_once(':')?;
    let machine = super::nodes::machine(outside, node).filter(|machine| machine.up)?;
    let node = machine.name.clone();
    let mirror = store.list("Pod").into_iter().find(|pod| {
        text(pod, "/metadata/labels/app.kubernetes.io~1name") == "spegel"
            && text(pod, "/spec/nodeName") == node
            && pods::is_ready(pod)
    });
    if port != "29999" || mirror.is_none() {
        return None;
    }
    let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
    let (name, tag) = path.strip_prefix("v2/")?.split_once("/manifests/")?;
    let registry = query.strip_prefix("ns=")?;
    if outside.feels(Kind::MirrorEmpty, &node).is_some() {
        return None;
    }
    let wanted = format!("{registry}/{name}:{tag}");
    let held = store
        .list("Pod")
        .into_iter()
        .filter(|pod| text(pod, "/status/phase") == "Running")
        .flat_map(|pod| list(pod, "/spec/containers"))
        .any(|container| {
            let image = text(container, "/image");
            image.split('@').next() == Some(wanted.as_str())
        });
    held.then(|| {
        serde_json::json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] })
            .to_string()
    })
}

/// Whether a Deployment that does the work of something is ready.
pub(super) fn works(store: &dyn Store, namespace: &str, name: &str) -> bool {
    workloads::deployment_ready(store, namespace, name)
}
