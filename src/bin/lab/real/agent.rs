//! What Cilium's agents answer in their pods: the real `cilium` asks them by `exec`, which the kubelets' stand-in leads here.
//!
//! The answers are the models', written down for each cluster whenever its operators have looked. The stand-in does not say which pod is
//! asked, so every agent of a cluster answers for all of it: what goes wrong with one is said by each.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::kubernetes::models::{self, Peer, Session};
use crate::kubernetes::{Objects, Outside};

/// The variable that names the file with the answers.
pub(crate) const ANSWERS: &str = "LAB_AGENT";

/// Returns what the agents of a cluster answer now.
pub(super) fn answers(objects: &Objects, outside: &mut Outside) -> Value {
    let mesh = models::mesh_peers(objects, outside);
    let sessions = models::sessions(objects, outside);
    json!({
        "status": status(&mesh, models::essentials(objects, outside).global.len()),
        "bgp": sessions_of_one(&sessions),
        "endpoints": [],
    })
}

fn status(mesh: &[Peer], services: usize) -> Value {
    let clusters: Vec<Value> = mesh
        .iter()
        .map(|peer| {
            let ok = peer.connected;
            json!({
                "name": peer.name, "ready": ok, "connected": ok, "status": if ok { "ready" } else { peer.why.as_str() },
                "config": { "required": true, "retrieved": ok },
                "synced": { "nodes": ok, "endpoints": ok, "identities": ok, "services": ok },
            })
        })
        .collect();
    json!({
        "cilium": { "state": "Ok", "msg": "" },
        "kubernetes": { "state": "Ok", "msg": "1.34 (v1.34.1) [linux/amd64]" },
        "cluster": {},
        "controllers": [],
        "cluster-mesh": { "clusters": clusters, "num-global-services": services },
    })
}

/// One node's sessions, each as bad as on the worst node.
fn sessions_of_one(all: &[Session]) -> Value {
    let Some(first) = all.first() else {
        return json!([]);
    };
    let own = all.iter().filter(|session| session.node == first.node);
    own.map(|session| {
        let same = |other: &&Session| other.address == session.address && other.peer == session.peer;
        let established = all.iter().filter(same).all(|other| other.established);
        json!({
            "local-asn": session.local,
            "peer-asn": session.peer,
            "peer-address": session.address,
            "session-state": if established { "established" } else { "active" },
            "uptime-nanoseconds": if established { 60_000_000_000_u64 } else { 0 },
            "families": [{ "afi": "ipv4", "safi": "unicast", "received": 0, "accepted": 0, "advertised": session.routes }],
        })
    })
    .collect()
}

/// Plays the agent's own command line in a pod.
pub(crate) fn run(file: &Path, words: &[String]) -> Answer {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let wanted = match words[..] {
        ["status", "-o", "json"] => "status",
        ["bgp", "peers", "-o", "json"] => "bgp",
        ["endpoint", "list", "-o", "json"] => "endpoints",
        _ => return Answer::not_played(&format!("cilium {} in a pod", words.join(" "))),
    };
    let known = fs::read_to_string(file)
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    match known {
        Some(known) => Answer::out(format!("{}\n", known[wanted])),
        None => Answer::fail(
            1,
            "Error: Cannot get status: Get \"http://localhost/v1/healthz\": dial unix /var/run/cilium/cilium.sock: connect: no such file or directory\n",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{sessions_of_one, status};
    use crate::kubernetes::models::{Peer, Session};

    fn session(node: &str, established: bool) -> Session {
        Session {
            node: node.to_string(),
            local: 1,
            peer: 2,
            address: "10.0.0.1".to_string(),
            established,
            routes: 3,
            since: String::new(),
        }
    }

    #[test]
    fn a_session_that_is_down_on_one_node_is_told_by_all() {
        let good = sessions_of_one(&[session("a", true), session("b", true)]);
        assert_eq!(good.as_array().unwrap().len(), 1);
        assert_eq!(good[0]["session-state"], "established");
        let bad = sessions_of_one(&[session("a", true), session("b", false)]);
        assert_eq!(bad[0]["session-state"], "active");
        assert_eq!(sessions_of_one(&[]), serde_json::json!([]));
    }

    #[test]
    fn another_cluster_that_is_not_reached_says_why() {
        let peer = Peer {
            name: "apps".to_string(),
            connected: false,
            why: "no such cluster answers".to_string(),
        };
        let said = status(&[peer], 0);
        let cluster = &said["cluster-mesh"]["clusters"][0];
        assert_eq!(cluster["ready"], false);
        assert_eq!(cluster["status"], "no such cluster answers");
    }
}
