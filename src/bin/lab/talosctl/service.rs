//! `talosctl service`: the services of a node, above all etcd.

use super::plays;
use super::wire::{Client, Partial, unary};
use crate::answer::Answer;
use crate::clock::ago;
use crate::cobra::Invocation;
use crate::room::{Reply, Room};
use crate::text::{row, table};
use crate::world::show::etcd_state;
use crate::world::{Etcd, World};

/// A service as it is shown.
struct Shown {
    id: &'static str,
    state: String,
    health: &'static str,
    events: Vec<(u64, String, String)>,
}

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    if call.args.get(1).is_some_and(|word| word != "status") {
        return Err(Answer::not_played(&format!(
            "talosctl service {}",
            call.args.join(" ")
        )));
    }
    let client = Client::open(call)?;
    let wanted = call.args.first().cloned();
    Ok(room.play(150, |world| {
        if super::wire::hangs(world, &client) {
            return Reply::Hang;
        }
        let mut rows = vec![row(&[
            "NODE",
            "SERVICE",
            "STATE",
            "HEALTH",
            "LAST CHANGE",
            "LAST EVENT",
        ])];
        let mut known = false;
        let reply = unary(
            world,
            call,
            &client,
            ("error listing services: ", Partial::Warns),
            |world, ip, target| {
                let shown = services(world, ip);
                let now = world.now_ms;
                let Some(wanted) = &wanted else {
                    rows.extend(
                        shown
                            .iter()
                            .map(|service| line(&target.label, service, now)),
                    );
                    return Ok(String::new());
                };
                let Some(service) = shown.iter().find(|service| service.id == wanted) else {
                    return Ok(String::new());
                };
                known = true;
                Ok(block(&target.label, service, now))
            },
        );
        match (reply, &wanted) {
            (Reply::Done(mut answer), None) if answer.code == 0 => {
                answer.stdout = table(&rows, 3).into_bytes();
                Reply::Done(answer)
            }
            (Reply::Done(answer), Some(wanted)) if answer.code == 0 && !known => {
                Reply::Done(call.fail(format!(
                    "service \"{wanted}\" is not registered on any nodes"
                )))
            }
            (reply, _) => reply,
        }
    }))
}

fn line(label: &str, service: &Shown, now: u64) -> Vec<String> {
    let last = service.events.last();
    let when = last.map_or_else(
        || " ago".to_string(),
        |(at, ..)| format!("{} ago", ago(now.saturating_sub(*at))),
    );
    let what = last.map_or("<none>", |(_, _, message)| message.as_str());
    row(&[
        label,
        service.id,
        &service.state,
        service.health,
        &when,
        what,
    ])
}

fn block(label: &str, service: &Shown, now: u64) -> String {
    let mut rows = vec![
        row(&["NODE", label]),
        row(&["ID", service.id]),
        row(&["STATE", &service.state]),
        row(&["HEALTH", service.health]),
    ];
    let failing = service
        .events
        .last()
        .filter(|(_, _, message)| message.starts_with("Health check failed: "));
    if let Some((_, _, message)) = failing {
        rows.push(row(&[
            "LAST HEALTH MESSAGE",
            message.trim_start_matches("Health check failed: "),
        ]));
    }
    for (index, (at, state, message)) in service.events.iter().rev().enumerate() {
        let head = if index == 0 { "EVENTS" } else { "" };
        rows.push(vec![
            head.to_string(),
            format!(
                "[{state}]: {message} ({} ago)",
                ago(now.saturating_sub(*at))
            ),
        ]);
    }
    table(&rows, 3)
}

fn services(world: &World, ip: &str) -> Vec<Shown> {
    let node = &world.nodes[ip];
    let since = node.up_since().unwrap_or(world.now_ms);
    let names = [
        "apid",
        "auditd",
        "containerd",
        "cri",
        "dashboard",
        "etcd",
        "kubelet",
        "machined",
        "syslogd",
        "trustd",
        "udevd",
    ];
    names
        .iter()
        .filter(|name| node.is_control_plane() || !matches!(**name, "etcd" | "trustd"))
        .map(|name| match *name {
            "etcd" => etcd(world, ip),
            "dashboard" => Shown {
                id: name,
                state: "Running".to_string(),
                health: "?",
                events: vec![(
                    since,
                    "Running".to_string(),
                    "Process Process([\"/sbin/dashboard\"]) started with PID 2213".to_string(),
                )],
            },
            _ => Shown {
                id: name,
                state: "Running".to_string(),
                health: "OK",
                events: vec![(
                    since,
                    "Running".to_string(),
                    "Health check successful".to_string(),
                )],
            },
        })
        .collect()
}

fn etcd(world: &World, ip: &str) -> Shown {
    let node = &world.nodes[ip];
    let mut events = node.events.clone();
    let learner = world.member(ip).is_some_and(|member| member.learner);
    let health = match node.etcd {
        Etcd::Running { .. } if world.etcd_healthy(ip) => "OK",
        Etcd::Running { .. } if learner => {
            let message = "Health check failed: etcdserver: rpc not supported for learner";
            events.push((world.now_ms, "Running".to_string(), message.to_string()));
            "Fail"
        }
        Etcd::Running { checked: true, .. } => "Fail",
        _ => "?",
    };
    let state = match etcd_state(&node.etcd) {
        "" => "Waiting".to_string(),
        state => state.to_string(),
    };
    Shown {
        id: "etcd",
        state,
        health,
        events,
    }
}

/// Returns the services that run on a node, as resources: id, healthy, unknown.
pub(super) fn running(world: &World, ip: &str) -> Vec<(String, bool, bool)> {
    if !world.nodes[ip].is_up() {
        return Vec::new();
    }
    let shown = services(world, ip)
        .into_iter()
        .filter(|service| service.state == "Running");
    shown
        .map(|service| {
            (
                service.id.to_string(),
                service.health == "OK",
                service.health == "?",
            )
        })
        .collect()
}
