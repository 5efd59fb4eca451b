//! `talosctl health`: sixteen checks in order; without a CNI it never ends well.

use super::plays;
use super::wire::Client;
use crate::answer::Answer;
use crate::cobra::{Invocation, duration_ms};
use crate::room::{Reply, Room};
use crate::text::{lines, several};
use crate::world::World;

const CHECKS: [&str; 13] = [
    "etcd to be healthy",
    "etcd members to be consistent across nodes",
    "etcd members to be control plane nodes",
    "apid to be ready",
    "all nodes memory sizes",
    "all nodes disk sizes",
    "no diagnostics",
    "kubelet to be healthy",
    "all nodes to finish boot sequence",
    "all k8s nodes to report",
    "all control plane static pods to be running",
    "all control plane components to be ready",
    "all k8s nodes to report ready",
];

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(
        call,
        &[
            "control-plane-nodes",
            "worker-nodes",
            "wait-timeout",
            "server",
        ],
    )?;
    let client = Client::open(call)?;
    client.single(call, "health")?;
    for word in call.list("control-plane-nodes") {
        if word.parse::<std::net::IpAddr>().is_err() {
            return Err(call.fail(format!("ParseAddr(\"{word}\"): unable to parse IP")));
        }
    }
    let limit = call
        .flag("wait-timeout")
        .map_or(1_200_000, |text| duration_ms(text).unwrap_or(1_200_000));
    let (mut told, mut last): (Vec<String>, String) = (Vec::new(), String::new());
    let (mut begun, mut entered, mut index) = (None, 0, 0);
    Ok(room.play(300, |world| {
        let targets = match client.reach(world, true) {
            Ok(targets) => targets,
            Err(late) => return Reply::After(late.after, call.fail(late.rpc.to_string())),
        };
        let ip = match &targets[0].ip {
            Ok(ip) => ip.clone(),
            Err(rpc) => return Reply::Done(call.fail(rpc.to_string())),
        };
        let nodes = nodes(call, world, &ip);
        if begun.is_none() {
            begun = Some(world.now_ms);
            entered = world.now_ms;
            let shown: Vec<String> = nodes.iter().map(|ip| format!("\"{ip}\"")).collect();
            told.push(format!("discovered nodes: [{}]", shown.join(" ")));
            told.push(format!("waiting for {}: ...", CHECKS[0]));
        }
        while let Ok(()) = check(world, &nodes, index) {
            told.push(format!("waiting for {}: OK", CHECKS[index]));
            index += 1;
            entered = world.now_ms;
            told.push(format!("waiting for {}: ...", CHECKS[index]));
        }
        if let Err(why) = check(world, &nodes, index) {
            let line = format!("waiting for {}: {why}", CHECKS[index]);
            if last != line {
                told.push(line.clone());
                last = line;
            }
        }
        let news = lines(std::mem::take(&mut told));
        let own = if index == 12 { 600_000 } else { 300_000 };
        if world.now_ms - entered >= own || world.now_ms - begun.unwrap_or_default() >= limit {
            let end = call.fail("healthcheck error: rpc error: code = DeadlineExceeded desc = context deadline exceeded");
            return Reply::Done(Answer::fail(1, news + &end.stderr));
        }
        Reply::Tell(news, 5_000)
    }))
}

fn nodes(call: &Invocation, world: &World, ip: &str) -> Vec<String> {
    let given: Vec<String> = call
        .list("control-plane-nodes")
        .into_iter()
        .chain(call.list("worker-nodes"))
        .collect();
    if !given.is_empty() {
        return given;
    }
    let identity = world.nodes[ip]
        .facts()
        .map(|facts| facts.cluster_id.clone());
    let ours = world.nodes.iter().filter(|(_, node)| {
        node.is_up() && node.facts().map(|facts| facts.cluster_id.clone()) == identity
    });
    ours.map(|(ip, _)| ip.clone()).collect()
}

fn check(world: &World, nodes: &[String], index: usize) -> Result<(), String> {
    let planes: Vec<&String> = nodes
        .iter()
        .filter(|ip| {
            world
                .nodes
                .get(*ip)
                .is_some_and(crate::world::Node::is_control_plane)
        })
        .collect();
    match index {
        0 => match planes.iter().find(|ip| !world.etcd_healthy(ip)) {
            None => Ok(()),
            Some(ip) if world.etcd_runs(ip) => Err(several(&[format!("{ip}: service is not healthy: etcd")]).trim_end().to_string()),
            Some(ip) => Err(several(&[format!(
                "{ip}: service \"etcd\" not in expected state \"Running\": current state [Preparing] Running pre state"
            )])
            .trim_end()
            .to_string()),
        },
        9 => {
            let registered = |ip: &String| {
                world.kubernetes_of(ip).is_some_and(|cluster| world.clusters[cluster].kube_nodes.iter().any(|node| node.ip == *ip))
            };
            match nodes.iter().find(|ip| !registered(ip)) {
                None => Ok(()),
                Some(ip) => Err(format!("can't find expected node with IPs [\"{ip}\"]")),
            }
        }
        11 => match planes.iter().find(|ip| !world.api_answers(ip)) {
            None => Ok(()),
            Some(_) => Err("missing static pods on some nodes".to_string()),
        },
        12 => {
            let names: Vec<String> = nodes.iter().filter_map(|ip| world.nodes.get(ip)).map(crate::world::Node::hostname).collect();
            Err(format!("some nodes are not ready: [{}]", names.join(" ")))
        }
        _ => Ok(()),
    }
}
