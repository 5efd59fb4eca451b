//! `cilium clustermesh status -o json`: how others reach this cluster, and whether its agents reach others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{fatal, is_running, json as text_of, plays, server};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::front;
use crate::kubernetes::models::{self, Agent, Peer};
use crate::kubernetes::value::{list, place, text};
use crate::kubernetes::{Objects, Outside, Store as _};
use crate::room::Reply;

const SPACE: &str = "kube-system";
const SERVER: &str = "clustermesh-apiserver";
const CERTIFICATE: &str = "clustermesh-apiserver-remote-cert";

/// Plays a call.
pub(super) fn run(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &[])?;
    if call.flag("output") != Some("json") {
        return Err(Answer::not_played(
            "cilium clustermesh status without -o json",
        ));
    }
    let server = server(call)?;
    let failed = |why: &str| fatal(&format!("Unable to determine status:  {why}"));
    Ok(front::ask(
        &server,
        500,
        |trouble| {
            let path = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
            let why = front::sentence(&server, path, trouble);
            failed(&format!(
                "unable to retrieve ConfigMap \"cilium-config\": {why}"
            ))
        },
        |objects, outside| {
            Reply::Done(match look(objects, outside) {
                Err(why) => failed(&why),
                Ok((value, said)) => Answer {
                    stdout: text_of(&value).into_bytes(),
                    stderr: said,
                    code: 0,
                },
            })
        },
    ))
}

fn look(objects: &Objects, outside: &mut Outside) -> Result<(Value, String), String> {
    let Some(config) = objects.get("ConfigMap", SPACE, "cilium-config") else {
        return Err("unable to retrieve ConfigMap \"cilium-config\": configmaps \"cilium-config\" not found".to_string());
    };
    let agent = models::agent(objects).unwrap_or(Agent {
        name: text(config, "/data/cluster-name").to_string(),
        id: text(config, "/data/cluster-id").to_string(),
        bgp: false,
        gateway: false,
        version: String::new(),
    });
    let (access, said) = access(objects, &agent)?;
    check(objects)?;
    let peers = models::mesh_peers(objects, outside);
    let value = json!({
        "access_information": access,
        "connectivity": connectivity(objects, outside, &peers),
        "kvstoremesh": { "enabled": false },
    });
    Ok((
        value,
        said + &format!("✅ Deployment {SERVER} is ready\nℹ️  KVStoreMesh is disabled\n"),
    ))
}

/// Returns how others reach this cluster.
fn access(objects: &Objects, agent: &Agent) -> Result<(Value, String), String> {
    let Some(service) = objects.get("Service", SPACE, SERVER) else {
        return Err(format!(
            "unable to get clustermesh service \"{SERVER}\": services \"{SERVER}\" not found"
        ));
    };
    let Some(secret) = objects.get("Secret", SPACE, CERTIFICATE) else {
        return Err("unable to get client secret to access clustermesh service: unable to get secret \"clustermesh-apiserver-client-certs\" and no deprecated names to try".to_string());
    };
    let authority = objects.get("Secret", SPACE, "cilium-ca").unwrap_or(secret);
    let kind = text(service, "/spec/type");
    let (port, addresses): (&Value, Vec<&str>) = match kind {
        "NodePort" => (
            &service["spec"]["ports"][0]["nodePort"],
            objects
                .list("Node")
                .first()
                .map(|node| text(node, "/status/addresses/0/address"))
                .into_iter()
                .collect(),
        ),
        "LoadBalancer" => (
            &service["spec"]["ports"][0]["port"],
            list(service, "/status/loadBalancer/ingress")
                .iter()
                .map(|found| text(found, "/ip"))
                .collect(),
        ),
        _ => (
            &service["spec"]["ports"][0]["port"],
            vec![text(service, "/spec/clusterIP")],
        ),
    };
    if addresses.iter().all(|address| address.is_empty()) {
        return Err("unable to derive service IPs automatically".to_string());
    }
    let mut said = format!(
        "✅ Service \"{SERVER}\" of type \"{kind}\" found\n✅ Cluster access information is available:\n"
    );
    for address in &addresses {
        said.extend(["  - ", address, ":", &port.to_string(), "\n"]);
    }
    let value = json!({
        "service_type": kind, "service_ips": addresses, "service_port": port, "cluster_id": agent.id, "cluster_name": agent.name,
        "ca": authority["data"]["ca.crt"], "client_cert": secret["data"]["tls.crt"], "client_key": secret["data"]["tls.key"], "max_connected_clusters": 255,
    });
    Ok((value, said))
}

fn check(objects: &Objects) -> Result<(), String> {
    let not_ready = |why: String| Err(format!("deployment {SERVER} is not ready: {why}"));
    let Some(found) = objects.get("Deployment.apps", SPACE, SERVER) else {
        return not_ready(format!("deployments.apps \"{SERVER}\" not found"));
    };
    let number = |name: &str| found["status"][name].as_u64().unwrap_or(0);
    let (seen, wanted) = (
        &found["status"]["observedGeneration"],
        &found["metadata"]["generation"],
    );
    if seen != wanted {
        return not_ready(format!(
            "observed generation ({}) is older than generation of the desired state ({wanted})",
            seen.as_u64().unwrap_or(0)
        ));
    }
    let all = number("replicas");
    if all == 0 {
        return not_ready("replicas count is zero".to_string());
    }
    for (name, word) in [
        ("availableReplicas", "available"),
        ("readyReplicas", "ready"),
        ("updatedReplicas", "up-to-date"),
    ] {
        if number(name) != all {
            return not_ready(format!(
                "only {} of {all} replicas are {word}",
                number(name)
            ));
        }
    }
    Ok(())
}

/// Returns what all agents say of the other clusters. Zeros are left out, as Go does.
fn connectivity(objects: &Objects, outside: &Outside, peers: &[Peer]) -> Value {
    let agents: Vec<&Value> = models::agent_pods(objects)
        .into_iter()
        .filter(|pod| is_running(pod))
        .collect();
    let total = agents.len();
    let connected = peers.iter().filter(|peer| peer.connected).count();
    let statistics = |each: usize| {
        if total == 0 || each == 0 {
            json!({})
        } else {
            json!({ "min": each, "avg": each, "max": each })
        }
    };
    let mut clusters = BTreeMap::new();
    for peer in peers {
        let mut one = json!({});
        if total > 0 {
            one["configured"] = json!(total);
            if peer.connected {
                one["connected"] = json!(total);
            }
        }
        clusters.insert(peer.name.clone(), one);
    }
    let mut errors: BTreeMap<String, Value> = BTreeMap::new();
    for pod in &agents {
        let mut own = json!({});
        for peer in peers.iter().filter(|peer| !peer.connected) {
            let why = format!("not-ready: {}", peer.why);
            own[peer.name.as_str()] = json!({ "Errors": [why], "Warnings": [], "Disabled": false });
        }
        if own.as_object().is_some_and(|own| !own.is_empty()) {
            errors.insert(place(pod).1.to_string(), own);
        }
    }
    let services = global_services(objects, outside, peers);
    let mut value =
        json!({ "global_services": statistics(services), "connected": statistics(connected) });
    if !clusters.is_empty() {
        value["clusters"] = json!(clusters);
    }
    if total > 0 {
        value["total"] = json!(total);
    }
    if total > 0 && connected < peers.len() {
        value["not_ready"] = json!(total);
    }
    if !errors.is_empty() {
        value["errors"] = json!(errors);
    }
    value
}

/// Returns how many global Services the agents know of, here and in the clusters that they reach.
fn global_services(objects: &Objects, outside: &Outside, peers: &[Peer]) -> usize {
    let here = objects.list("Service").into_iter().filter(|service| {
        text(service, "/metadata/annotations/service.cilium.io~1global") == "true"
    });
    let mut all: std::collections::BTreeSet<String> = here
        .map(|service| {
            let (namespace, name) = place(service);
            format!("{namespace}/{name}")
        })
        .collect();
    for peer in peers.iter().filter(|peer| peer.connected) {
        let far = outside
            .peers
            .iter()
            .filter(|far| far.mesh_name == peer.name);
        all.extend(far.flat_map(|far| far.global.keys().cloned()));
    }
    all.len()
}

#[cfg(test)]
mod tests {
    use super::look;
    use crate::kubernetes::models;
    use crate::kubernetes::tests::Cluster;
    use crate::kubernetes::{Objects, Outside};

    #[test]
    fn without_cilium_and_without_an_address_the_real_tools_words_are_said() {
        let objects = Objects::new(1, 1_790_000_000_000, 0);
        let why = look(&objects, &mut Outside::default()).unwrap_err();
        assert_eq!(
            why,
            "unable to retrieve ConfigMap \"cilium-config\": configmaps \"cilium-config\" not found"
        );
        let mut cluster = Cluster::with_network("one", 1);
        // Without a pool its Service has no address.
        let why = look(&cluster.objects, &mut cluster.outside).unwrap_err();
        assert_eq!(why, "unable to derive service IPs automatically");
    }

    #[test]
    fn two_clusters_are_connected_when_each_reaches_the_other() {
        let mut one = Cluster::with_network("one", 1);
        let mut two = Cluster::with_network("two", 2);
        one.bgp(1, 64_512);
        two.bgp(2, 64_513);
        let (value, said) = look(&one.objects, &mut one.outside).unwrap();
        assert_eq!(value["connectivity"]["total"], 3);
        assert_eq!(value["connectivity"]["not_ready"], 3, "{value:#}");
        assert_eq!(value["connectivity"]["clusters"]["two"]["configured"], 3);
        assert!(
            value["connectivity"]["clusters"]["two"]
                .get("connected")
                .is_none()
        );
        assert_eq!(
            value["connectivity"]["errors"].as_object().unwrap().len(),
            3
        );
        assert_eq!(value["access_information"]["service_ips"][0], "10.9.1.1");
        assert!(
            said.starts_with(
                "✅ Service \"clustermesh-apiserver\" of type \"LoadBalancer\" found\n"
            )
        );
        let mut far = models::essentials(&two.objects, &mut two.outside);
        let near = models::essentials(&one.objects, &mut one.outside);
        // Each made an authority of its own; the mesh needs the same one.
        far.mesh_ca = near.mesh_ca;
        one.outside.peers = vec![far];
        let (value, _) = look(&one.objects, &mut one.outside).unwrap();
        let mesh = &value["connectivity"];
        assert_eq!(mesh["clusters"]["two"]["connected"], 3, "{mesh:#}");
        assert_eq!(mesh["connected"]["min"], 1);
        assert!(mesh.get("not_ready").is_none() && mesh.get("errors").is_none());
        assert_eq!(
            mesh["clusters"].as_object().unwrap().len(),
            1,
            "it does not count itself"
        );
    }
}
