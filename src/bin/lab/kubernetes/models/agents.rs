//! Cilium: its agents and its operator, BGP sessions, and the mesh of clusters.

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::{Value, json};

use super::super::kinds::CRD;
use super::super::objects::Store;
use super::super::outside::{Essentials, Outside};
use super::super::value::{digest, has_labels, list, place, selects, text, word};
use super::{pods, programs};
use crate::fault::Kind;

/// How a cluster's Cilium is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    /// `cluster-name`.
    pub(crate) name: String,
    /// `cluster-id`.
    pub(crate) id: String,
    /// Whether BGP is on.
    pub(crate) bgp: bool,
    /// Whether the Gateway API is on.
    pub(crate) gateway: bool,
    /// The version of the agent.
    pub(crate) version: String,
}

/// A BGP session of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// The node.
    pub(crate) node: String,
    /// Its AS number.
    pub(crate) local: u64,
    /// The other's AS number, as configured.
    pub(crate) peer: u64,
    /// The other's address.
    pub(crate) address: String,
    /// Whether it stands.
    pub(crate) established: bool,
    /// How many routes are announced.
    pub(crate) routes: usize,
    /// Since when it is configured, as a date.
    pub(crate) since: String,
}

/// Another cluster, as an agent is told to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is reached.
    pub(crate) connected: bool,
    /// Why not.
    pub(crate) why: String,
}

/// Returns how Cilium is set up, if it is.
pub(crate) fn agent(store: &dyn Store) -> Option<Agent> {
    let config = store.get("ConfigMap", "kube-system", "cilium-config")?;
    let daemon = store.get("DaemonSet.apps", "kube-system", "cilium")?;
    let image = text(daemon, "/spec/template/spec/containers/0/image");
    let on = |key: &str| text(config, &format!("/data/{key}")) == "true";
    Some(Agent {
        name: text(config, "/data/cluster-name").to_string(),
        id: text(config, "/data/cluster-id").to_string(),
        bgp: on("enable-bgp-control-plane"),
        gateway: on("enable-gateway-api"),
        version: image
            .rsplit_once(':')
            .map_or("", |(_, tag)| tag)
            .split('@')
            .next()
            .unwrap_or_default()
            .to_string(),
    })
}

/// Returns the agents' pods.
pub(crate) fn agent_pods(store: &dyn Store) -> Vec<&Value> {
    let pods = store.list("Pod").into_iter();
    pods.filter(|pod| {
        place(pod).0 == "kube-system" && text(pod, "/metadata/labels/k8s-app") == "cilium"
    })
    .collect()
}

/// Returns whether the agent of a node has put the network plugin in its place.
pub(super) fn runs_on(store: &dyn Store, node: &str) -> bool {
    agent_pods(store)
        .iter()
        .any(|pod| text(pod, "/spec/nodeName") == node && pods::is_ready(pod))
}

const DEFINITIONS: &[(&str, &str, &str, bool)] = &[
    (
        "CiliumBGPAdvertisement",
        "ciliumbgpadvertisements",
        "v2,v2alpha1",
        false,
    ),
    (
        "CiliumBGPClusterConfig",
        "ciliumbgpclusterconfigs",
        "v2,v2alpha1",
        false,
    ),
    (
        "CiliumBGPNodeConfig",
        "ciliumbgpnodeconfigs",
        "v2,v2alpha1",
        false,
    ),
    (
        "CiliumBGPNodeConfigOverride",
        "ciliumbgpnodeconfigoverrides",
        "v2,v2alpha1",
        false,
    ),
    (
        "CiliumBGPPeerConfig",
        "ciliumbgppeerconfigs",
        "v2,v2alpha1",
        false,
    ),
    ("CiliumCIDRGroup", "ciliumcidrgroups", "v2,v2alpha1", false),
    (
        "CiliumClusterwideNetworkPolicy",
        "ciliumclusterwidenetworkpolicies",
        "v2",
        false,
    ),
    ("CiliumEndpoint", "ciliumendpoints", "v2", true),
    ("CiliumIdentity", "ciliumidentities", "v2", false),
    (
        "CiliumL2AnnouncementPolicy",
        "ciliuml2announcementpolicies",
        "v2alpha1",
        false,
    ),
    (
        "CiliumLoadBalancerIPPool",
        "ciliumloadbalancerippools",
        "v2,v2alpha1",
        false,
    ),
    ("CiliumNetworkPolicy", "ciliumnetworkpolicies", "v2", true),
    ("CiliumNode", "ciliumnodes", "v2", false),
    ("CiliumPodIPPool", "ciliumpodippools", "v2alpha1", false),
];

/// Returns a CRD.
pub(crate) fn definition(
    group: &str,
    kind: &str,
    plural: &str,
    versions: &str,
    namespaced: bool,
) -> Value {
    let all: Vec<&str> = versions.split(',').collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
            "versions": all.iter().enumerate().map(|(index, name)| json!({ "name": name, "served": true, "storage": index == 0 })).collect::<Vec<_>>(),
        },
    })
}

/// The operator registers Cilium's kinds when it starts.
pub(super) fn operator(store: &mut dyn Store, _: &mut Outside) {
    if !operates(store) {
        return;
    }
    for (kind, plural, versions, namespaced) in DEFINITIONS {
        if store.get(CRD, "", &format!("{plural}.cilium.io")).is_none() {
            store.write(definition("cilium.io", kind, plural, versions, *namespaced));
        }
    }
}

/// Returns whether an operator runs.
pub(super) fn operates(store: &dyn Store) -> bool {
    operators(store).iter().any(|pod| pods::is_ready(pod))
}

/// Returns the operator's pods.
pub(super) fn operators(store: &dyn Store) -> Vec<&Value> {
    let pods = store.list("Pod").into_iter();
    pods.filter(|pod| {
        place(pod).0 == "kube-system" && text(pod, "/metadata/labels/io.cilium~1app") == "operator"
    })
    .collect()
}

/// Returns the BGP sessions of every node that an agent runs on.
pub(crate) fn sessions(store: &dyn Store, outside: &mut Outside) -> Vec<Session> {
    let mut all = Vec::new();
    if !agent(store).is_some_and(|agent| agent.bgp) || !operates(store) {
        return all;
    }
    for machine in outside.machines.clone() {
        let Some(node) = store.get("Node", "", &machine.name) else {
            continue;
        };
        if !runs_on(store, &machine.name) {
            continue;
        }
        for config in store.list("CiliumBGPClusterConfig.cilium.io") {
            let selector = config.pointer("/spec/nodeSelector");
            if selector.is_some() && !selects(selector, &node["metadata"]["labels"]) {
                continue;
            }
            for instance in list(config, "/spec/bgpInstances") {
                let local = word(instance, "/localASN").parse().unwrap_or(0);
                for peer in list(instance, "/peers") {
                    let peer_asn = word(peer, "/peerASN").parse().unwrap_or(0);
                    let address = text(peer, "/peerAddress").to_string();
                    let settings = store.get(
                        "CiliumBGPPeerConfig.cilium.io",
                        "",
                        text(peer, "/peerConfigRef/name"),
                    );
                    let router = &outside.router;
                    let agreed = settings.is_some()
                        && settings.is_some_and(|settings| {
                            settings.pointer("/spec/authSecretRef").is_none()
                        })
                        && address == router.address
                        && peer_asn == router.asn
                        && router.neighbours.get(&machine.ip) == Some(&local);
                    let refused = outside.feels(Kind::BgpDown, &machine.ip).is_some();
                    let established = agreed && !refused && machine.up;
                    let routes = settings.map_or(0, |settings| announced(store, settings).len());
                    all.push(Session {
                        node: machine.name.clone(),
                        local,
                        peer: peer_asn,
                        address,
                        established,
                        routes: if established { routes } else { 0 },
                        since: text(config, "/metadata/creationTimestamp").to_string(),
                    });
                }
            }
        }
    }
    all
}

/// The Services whose addresses a peer is told.
fn announced<'a>(store: &'a dyn Store, settings: &Value) -> Vec<&'a Value> {
    let mut found = Vec::new();
    for family in list(settings, "/spec/families") {
        for advertisement in store.list("CiliumBGPAdvertisement.cilium.io") {
            if !selects(
                family.pointer("/advertisements"),
                &advertisement["metadata"]["labels"],
            ) {
                continue;
            }
            for entry in list(advertisement, "/spec/advertisements") {
                let addresses = list(entry, "/service/addresses");
                if text(entry, "/advertisementType") != "Service"
                    || !addresses.contains(&json!("LoadBalancerIP"))
                {
                    continue;
                }
                found.extend(store.list("Service").into_iter().filter(|service| {
                    let none = json!({});
                    let labels = service["metadata"].get("labels").unwrap_or(&none);
                    !text(service, "/status/loadBalancer/ingress/0/ip").is_empty()
                        && selects(entry.pointer("/selector"), labels)
                }));
            }
        }
    }
    found
}

/// Returns whether the address of a Service is known to the router.
pub(super) fn reachable(
    store: &dyn Store,
    outside: &mut Outside,
    namespace: &str,
    name: &str,
) -> bool {
    let told = store
        .list("CiliumBGPPeerConfig.cilium.io")
        .into_iter()
        .any(|settings| {
            announced(store, settings)
                .iter()
                .any(|service| place(service) == (namespace, name))
        });
    told && sessions(store, outside)
        .iter()
        .any(|session| session.established)
}

/// Returns a digest of the certificate of the mesh's authority.
fn authority(store: &dyn Store) -> String {
    store
        .get("Secret", "kube-system", "cilium-ca")
        .map_or_else(String::new, |secret| {
            let crt = text(secret, "/data/ca.crt");
            if crt.is_empty() {
                String::new()
            } else {
                digest(&json!(crt))
            }
        })
}

/// Returns the other clusters that the agents are told of, and whether they are reached.
pub(crate) fn mesh_peers(store: &dyn Store, outside: &mut Outside) -> Vec<Peer> {
    let Some(me) = agent(store) else {
        return Vec::new();
    };
    let Some(secret) = store.get("Secret", "kube-system", "cilium-clustermesh") else {
        return Vec::new();
    };
    let secret = secret.clone();
    let mut peers = Vec::new();
    for (name, coded) in super::super::value::members(&secret["data"]) {
        if name.contains('.') || name == me.name {
            continue;
        }
        let config = base64::engine::general_purpose::STANDARD
            .decode(coded.as_str().unwrap_or_default())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let cut = outside
            .feels(Kind::MeshCut, &outside.cluster.clone())
            .is_some();
        let found = outside.peers.iter().find(|peer| peer.mesh_name == name);
        let why = match found {
            _ if cut => "connection timed out",
            None => "no such cluster answers",
            Some(peer) if !peer.mesh_open => "context deadline exceeded",
            Some(peer) if !config.contains(&peer.mesh_ip) => "dial tcp: i/o timeout",
            Some(peer) if peer.mesh_ca != authority(store) || peer.mesh_ca.is_empty() => {
                "tls: failed to verify certificate: x509: certificate signed by unknown authority"
            }
            Some(peer) if peer.mesh_id == me.id || me.id == "0" => "ClusterID conflict",
            Some(_) => "",
        };
        peers.push(Peer {
            name,
            connected: why.is_empty(),
            why: why.to_string(),
        });
    }
    peers
}

/// Returns whether pods of a cluster may reach the pods behind a Service.
pub(super) fn may_enter(store: &dyn Store, service: &Value, from: &str) -> bool {
    entrants(store, service).is_none_or(|names| names.contains(from))
}

/// The clusters that policies let in; `None`: no policy is about these pods.
fn entrants(store: &dyn Store, service: &Value) -> Option<BTreeSet<String>> {
    let (namespace, _) = place(service);
    let own = agent(store).map(|agent| agent.name).unwrap_or_default();
    let pods: Vec<&Value> = store
        .list("Pod")
        .into_iter()
        .filter(|pod| {
            place(pod).0 == namespace
                && has_labels(&service["spec"]["selector"], &pod["metadata"]["labels"])
        })
        .collect();
    let policies: Vec<&Value> = store
        .list("CiliumNetworkPolicy.cilium.io")
        .into_iter()
        .filter(|policy| place(policy).0 == namespace)
        .filter(|policy| {
            pods.iter().any(|pod| {
                selects(
                    policy.pointer("/spec/endpointSelector"),
                    &pod["metadata"]["labels"],
                )
            })
        })
        .collect();
    if policies.is_empty() {
        return None;
    }
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut known: Vec<String> = vec![own.clone()];
    for rule in policies
        .iter()
        .flat_map(|policy| list(policy, "/spec/ingress"))
    {
        for selector in list(rule, "/fromEndpoints") {
            known.extend(named_clusters(selector));
        }
    }
    let denies = policies
        .iter()
        .any(|policy| policy.pointer("/spec/ingressDeny").is_some());
    let allows = policies
        .iter()
        .any(|policy| policy.pointer("/spec/ingress").is_some());
    if denies && !allows {
        // Everybody but those who are denied: the lab knows clusters by name only.
        let denied: BTreeSet<String> = policies
            .iter()
            .flat_map(|policy| list(policy, "/spec/ingressDeny"))
            .flat_map(|rule| list(rule, "/fromEndpoints"))
            .flat_map(named_clusters)
            .collect();
        let seen = store.get("Secret", "kube-system", "cilium-clustermesh");
        let mut all: BTreeSet<String> = seen
            .map(|secret| {
                super::super::value::members(&secret["data"])
                    .keys()
                    .cloned()
                    .collect()
            })
            .unwrap_or_default();
        all.insert(own);
        all.retain(|name| !denied.contains(name));
        return Some(all);
    }
    for rule in policies
        .iter()
        .flat_map(|policy| list(policy, "/spec/ingress"))
    {
        for selector in list(rule, "/fromEndpoints") {
            let clusters = named_clusters(selector);
            // Without a word about clusters, a selector means the own one's pods.
            names.extend(if clusters.is_empty() {
                vec![own.clone()]
            } else {
                clusters
            });
        }
        if rule.as_object().is_some_and(serde_json::Map::is_empty)
            || list(rule, "/fromEntities")
                .iter()
                .any(|one| one == "all" || one == "cluster")
        {
            names.extend(known.iter().cloned());
        }
    }
    Some(names)
}

fn named_clusters(selector: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for key in [
        "io.cilium.k8s.policy.cluster",
        "k8s:io.cilium.k8s.policy.cluster",
    ] {
        if let Some(name) = selector["matchLabels"].get(key).and_then(Value::as_str) {
            names.push(name.to_string());
        }
        for rule in list(selector, "/matchExpressions") {
            if text(rule, "/key") == key && text(rule, "/operator") == "In" {
                names.extend(
                    list(rule, "/values")
                        .iter()
                        .filter_map(|value| value.as_str().map(ToString::to_string)),
                );
            }
        }
    }
    names
}

/// Returns what others see of this cluster.
pub(crate) fn essentials(store: &dyn Store, outside: &mut Outside) -> Essentials {
    let mut seen = Essentials {
        ready: super::nodes::ready(store).into_iter().collect(),
        ..Essentials::default()
    };
    let Some(agent) = agent(store) else {
        return seen;
    };
    seen.mesh_name = agent.name;
    seen.mesh_id = agent.id;
    seen.mesh_ca = authority(store);
    if let Some(service) = store.get("Service", "kube-system", "clustermesh-apiserver") {
        seen.mesh_ip = text(service, "/status/loadBalancer/ingress/0/ip").to_string();
        seen.mesh_open = programs::works(store, "kube-system", "clustermesh-apiserver")
            && !seen.mesh_ip.is_empty()
            && reachable(store, outside, "kube-system", "clustermesh-apiserver");
    }
    for service in store.list("Service") {
        let global = text(service, "/metadata/annotations/service.cilium.io~1global") == "true"
            && text(service, "/metadata/annotations/service.cilium.io~1shared") != "false";
        if global && programs::backends(store, service) > 0 {
            let (namespace, name) = place(service);
            seen.global
                .insert(format!("{namespace}/{name}"), entrants(store, service));
        }
    }
    seen
}
