//! Nodes: Ready when the kubelet posts and a network plugin has been put in its place.

use serde_json::{Value, json};

use super::super::objects::Store;
use super::super::outside::{Machine, Outside};
use super::super::value::{put_condition, set, text};
use super::agents;
use crate::fault::Kind;

/// Node objects follow their machines.
pub(super) fn nodes(store: &mut dyn Store, outside: &mut Outside) {
    for machine in outside.machines.clone() {
        node(store, outside, &machine);
    }
}

fn fresh(machine: &Machine) -> Value {
    let mut labels = json!({ "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": machine.name, "kubernetes.io/os": "linux" });
    if machine.control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "labels": labels, "name": machine.name, "uid": machine.uid },
        "spec": { "podCIDR": machine.pod_cidr, "podCIDRs": [machine.pod_cidr] },
        "status": {
            "addresses": [{ "address": machine.ip, "type": "InternalIP" }, { "address": machine.name, "type": "Hostname" }],
            "nodeInfo": { "architecture": "amd64", "bootID": machine.boot, "containerRuntimeVersion": "containerd://2.1.4", "kernelVersion": "6.12.48-talos",
                "kubeletVersion": machine.version, "operatingSystem": "linux", "osImage": "Talos (v1.11.2)" },
        },
    })
}

/// The conditions of a node that is well besides `Ready`: each with the reason and the words for its being false.
pub(crate) const PRESSURES: [(&str, &str, &str); 3] = [
    (
        "MemoryPressure",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
];

fn node(store: &mut dyn Store, outside: &mut Outside, machine: &Machine) {
    let date = store.date();
    let mut node = store
        .get("Node", "", &machine.name)
        .cloned()
        .unwrap_or_else(|| fresh(machine));
    let silent = format!("kubelet of {} {} is silent", machine.name, machine.boot);
    if machine.up {
        store.forget(&silent);
        // A machine that was set up anew has another address or another network for its pods only if it is another machine.
        set(&mut node, "/status/nodeInfo/bootID", json!(machine.boot));
        set(
            &mut node,
            "/status/nodeInfo/kubeletVersion",
            json!(machine.version),
        );
        for (kind, reason, message) in PRESSURES {
            put_condition(&mut node, &date, kind, "False", reason, message);
        }
        let plugged = agents::runs_on(store, &machine.name)
            && outside.feels(Kind::CniMissing, &machine.ip).is_none();
        if plugged {
            put_condition(
                &mut node,
                &date,
                "Ready",
                "True",
                "KubeletReady",
                "kubelet is posting ready status",
            );
            put_condition(
                &mut node,
                &date,
                "NetworkUnavailable",
                "False",
                "CiliumIsUp",
                "Cilium is running on this node",
            );
            taint(&mut node, None);
        } else {
            put_condition(
                &mut node,
                &date,
                "Ready",
                "False",
                "KubeletNotReady",
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
            );
            taint(
                &mut node,
                Some(("node.kubernetes.io/not-ready", "NoSchedule")),
            );
        }
    } else if store.passed(&silent, 45_000) {
        for (kind, _, _) in PRESSURES {
            put_condition(
                &mut node,
                &date,
                kind,
                "Unknown",
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
            );
        }
        put_condition(
            &mut node,
            &date,
            "Ready",
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        );
        taint(
            &mut node,
            Some(("node.kubernetes.io/unreachable", "NoSchedule")),
        );
    }
    store.write(node);
}

fn taint(node: &mut Value, taint: Option<(&str, &str)>) {
    match taint {
        Some((key, effect)) => {
            set(
                node,
                "/spec/taints",
                json!([{ "effect": effect, "key": key }]),
            );
        }
        None => super::super::value::unset(node, "/spec", "taints"),
    }
}

/// Returns whether a node is there and Ready.
pub(super) fn is_ready(node: &Value) -> bool {
    super::super::value::is_true(node, "Ready")
}

/// Returns the machine of a node's name.
pub(super) fn machine<'a>(outside: &'a Outside, node: &str) -> Option<&'a Machine> {
    outside.machines.iter().find(|machine| machine.name == node)
}

/// Returns the names of the nodes that are Ready.
pub(super) fn ready(store: &dyn Store) -> Vec<String> {
    store
        .list("Node")
        .into_iter()
        .filter(|node| is_ready(node))
        .map(|node| text(node, "/metadata/name").to_string())
        .collect()
}
