//! What the kubelet of a played machine tells a real API server about itself. Pure: objects from the world.

use serde_json::{Value, json};

use crate::clock;
use crate::kubernetes::models::nodes::PRESSURES;
use crate::world::{KubeNode, World};

/// How a kubelet does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kubelet {
    /// It runs, and has no network for pods.
    Alone,
    /// It runs, and pods have a network.
    Ready,
    /// Nothing is heard of it.
    Silent,
}

impl Kubelet {
    /// Returns how the kubelet of a node does.
    pub(crate) fn of(world: &World, node: &KubeNode, network: bool) -> Self {
        let up = world
            .nodes
            .get(&node.ip)
            .is_some_and(|machine| machine.is_up() && machine.hostname() == node.name);
        match (up, network) {
            (false, _) => Self::Silent,
            (true, false) => Self::Alone,
            (true, true) => Self::Ready,
        }
    }
}

/// Returns the object that a kubelet registers.
pub(crate) fn object(node: &KubeNode) -> Value {
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
    });
    if node.control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node.name, "labels": labels },
    })
}

/// Returns the status that a kubelet reports, or that is said of one that reports nothing. `port` is where the kubelets' stand-in listens.
pub(crate) fn status(node: &KubeNode, kubelet: Kubelet, port: u16) -> Value {
    let now = clock::rfc3339(clock::wall_ms());
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let mut conditions: Vec<Value> = PRESSURES
        .iter()
        .map(|(kind, reason, message)| match kubelet {
            Kubelet::Silent => unknown(kind, &condition),
            Kubelet::Alone | Kubelet::Ready => condition(kind, "False", reason, message),
        })
        .collect();
    conditions.push(match kubelet {
        Kubelet::Silent => unknown("Ready", &condition),
        Kubelet::Alone => condition(
            "Ready",
            "False",
            "KubeletNotReady",
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
        ),
        Kubelet::Ready => condition(
            "Ready",
            "True",
            "KubeletReady",
            "kubelet is posting ready status",
        ),
    });
    let room =
        json!({ "cpu": "16", "memory": "65536Mi", "pods": "110", "ephemeral-storage": "200Gi" });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": node.name },
        "status": {
            // API servers call kubelets by the last of these; the others are for people.
            "addresses": [
                { "type": "InternalIP", "address": node.ip },
                { "type": "Hostname", "address": node.name },
                { "type": "InternalDNS", "address": "localhost" },
            ],
            "allocatable": room,
            "capacity": room,
            "conditions": conditions,
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.12.48-talos",
                "kubeProxyVersion": "",
                "kubeletVersion": node.version,
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "Talos (v1.11.2)",
                "systemUUID": node.uid,
            },
        },
    })
}

fn unknown(kind: &str, condition: &impl Fn(&str, &str, &str, &str) -> Value) -> Value {
    condition(
        kind,
        "Unknown",
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
    )
}

/// Returns the lease by which a kubelet shows that it lives.
pub(crate) fn lease(node: &KubeNode) -> Value {
    let ms = clock::wall_ms();
    let now = clock::rfc3339(ms);
    let renewed = format!("{}.{:03}000Z", now.trim_end_matches('Z'), ms % 1_000);
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": node.name, "namespace": "kube-node-lease" },
        "spec": { "holderIdentity": node.name, "leaseDurationSeconds": 40, "renewTime": renewed },
    })
}
