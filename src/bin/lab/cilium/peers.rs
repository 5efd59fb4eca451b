//! `cilium bgp peers`: what every agent says of its sessions.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{fatal, is_running, json as text_of, plays, server};
use crate::answer::Answer;
use crate::clock::ago;
use crate::cobra::Invocation;
use crate::front;
use crate::kubernetes::models::{self, Session};
use crate::kubernetes::value::text;
use crate::kubernetes::{Objects, Outside, Store as _};
use crate::room::Reply;
use crate::text::{row, table};

/// Plays a call.
pub(super) fn run(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["wait-duration"])?;
    let server = server(call)?;
    let failed = |why: &str| fatal(&format!("Unable to get peering status: {why}"));
    let json_wanted = call.flag("output") == Some("json");
    Ok(front::ask(
        &server,
        400,
        |trouble| {
            let path = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium";
            let why = front::sentence(&server, path, trouble);
            failed(&format!("unable to list Cilium pods: {why}"))
        },
        |objects, outside| {
            Reply::Done(match peers(objects, outside) {
                Err(why) => failed(&why),
                Ok(all) if json_wanted => Answer::out(text_of(&as_json(&all, objects))),
                Ok(all) => Answer::out(as_table(&all, objects)),
            })
        },
    ))
}

type Peers = BTreeMap<String, Vec<Session>>;

/// Returns the sessions by node, or what the agents said that could not be asked.
fn peers(objects: &Objects, outside: &mut Outside) -> Result<Peers, String> {
    let mut all = Peers::new();
    let mut wrong = Vec::new();
    let enabled = models::agent(objects).is_some_and(|agent| agent.bgp);
    for pod in models::agent_pods(objects) {
        let name = text(pod, "/metadata/name");
        let why = if !is_running(pod) || !models::is_ready(pod) {
            "unable to upgrade connection: container not found (\"cilium-agent\")"
        } else if !enabled {
            "Error: cannot get peers list: [GET /bgp/peers][501] getBgpPeersDisabled \"BGP Control Plane disabled\""
        } else {
            all.insert(text(pod, "/spec/nodeName").to_string(), Vec::new());
            continue;
        };
        wrong.push(format!(
            "failed to fetch bgp state from {name}: command failed (pod=kube-system/{name}, container=cilium-agent): {why}"
        ));
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    for session in models::sessions(objects, outside) {
        if let Some(own) = all.get_mut(&session.node) {
            own.push(session);
        }
    }
    for own in all.values_mut() {
        own.sort_by(|one, other| (one.local, &one.address).cmp(&(other.local, &other.address)));
    }
    Ok(all)
}

fn state(session: &Session) -> &'static str {
    if session.established {
        "established"
    } else {
        "active"
    }
}

fn uptime_ms(session: &Session, objects: &Objects) -> u64 {
    let moment = |date: &str| {
        let found = date.parse::<jiff::Timestamp>();
        found.map_or(0, |found| {
            u64::try_from(found.as_millisecond()).unwrap_or(0)
        })
    };
    if session.established {
        moment(&objects.date()).saturating_sub(moment(&session.since))
    } else {
        0
    }
}

fn as_json(all: &Peers, objects: &Objects) -> Value {
    let one = |session: &Session| {
        json!({
            "local-asn": session.local, "peer-asn": session.peer, "peer-address": session.address, "peer-port": 179,
            "session-state": state(session), "uptime-nanoseconds": uptime_ms(session, objects) * 1_000_000,
            "families": [{ "afi": "ipv4", "safi": "unicast", "received": 0, "advertised": session.routes }],
        })
    };
    let nodes = all.iter().map(|(node, sessions)| {
        (
            node.clone(),
            Value::Array(sessions.iter().map(one).collect()),
        )
    });
    Value::Object(nodes.collect())
}

fn as_table(all: &Peers, objects: &Objects) -> String {
    let mut rows = vec![row(&[
        "Node",
        "Local AS",
        "Peer AS",
        "Peer Address",
        "Session State",
        "Uptime",
        "Family",
        "Received",
        "Advertised",
    ])];
    for (node, sessions) in all {
        for (index, session) in sessions.iter().enumerate() {
            rows.push(row(&[
                if index == 0 { node } else { "" },
                &session.local.to_string(),
                &session.peer.to_string(),
                &session.address,
                state(session),
                &ago(uptime_ms(session, objects)),
                "ipv4/unicast",
                "0",
                &session.routes.to_string(),
                "",
            ]));
        }
    }
    table(&rows, 3)
}

#[cfg(test)]
mod tests {
    use super::{as_json, as_table, peers};
    use crate::kubernetes::tests::Cluster;
    use crate::kubernetes::{Objects, Outside};
    use serde_json::json;

    #[test]
    fn without_cilium_there_is_an_empty_answer() {
        let objects = Objects::new(1, 1_790_000_000_000, 0);
        let all = peers(&objects, &mut Outside::default()).unwrap();
        assert_eq!(as_json(&all, &objects), json!({}));
        assert_eq!(
            as_table(&all, &objects),
            "Node   Local AS   Peer AS   Peer Address   Session State   Uptime   Family   Received   Advertised\n"
        );
    }

    #[test]
    fn every_node_says_whether_its_session_stands() {
        let mut cluster = Cluster::with_network("one", 1);
        let all = peers(&cluster.objects, &mut cluster.outside).unwrap();
        assert_eq!(
            as_json(&all, &cluster.objects),
            json!({ "one-01": [], "one-02": [], "one-03": [] })
        );
        cluster.bgp(1, 64_512);
        let all = peers(&cluster.objects, &mut cluster.outside).unwrap();
        let value = as_json(&all, &cluster.objects);
        assert_eq!(value.as_object().unwrap().len(), 3);
        assert_eq!(value["one-02"][0]["session-state"], "established");
        assert_eq!(value["one-02"][0]["local-asn"], 64_512);
        assert_eq!(value["one-02"][0]["peer-asn"], 64_501);
        assert_eq!(value["one-02"][0]["peer-address"], "10.25.11.1");
        assert!(value["one-02"][0]["uptime-nanoseconds"].as_u64().unwrap() >= 60_000_000_000);
        cluster.outside.router.asn = 65_000;
        let all = peers(&cluster.objects, &mut cluster.outside).unwrap();
        let value = as_json(&all, &cluster.objects);
        assert_eq!(value["one-02"][0]["session-state"], "active");
        assert_eq!(value["one-02"][0]["uptime-nanoseconds"], 0);
    }
}
