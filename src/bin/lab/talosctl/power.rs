//! `talosctl reset` and `talosctl reboot`, with their wait.

use super::plays;
use super::wire::{Client, Partial, Rpc, unary};
use crate::answer::Answer;
use crate::chance;
use crate::cobra::Invocation;
use crate::room::{Reply, Room};
use crate::text::lines;
use crate::world::{Phase, Port, Then, World};

/// Plays `reset`.
pub(super) fn reset(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(
        call,
        &[
            "graceful",
            "reboot",
            "wait",
            "timeout",
            "system-labels-to-wipe",
            "wipe-mode",
            "debug",
        ],
    )?;
    let labels = call.list("system-labels-to-wipe");
    for label in &labels {
        if !matches!(label.as_str(), "STATE" | "EPHEMERAL" | "META") && !label.starts_with("u-") {
            let text = format!(
                "rpc error: code = Unknown desc = failed to get volume status with label \"{label}\": resource VolumeStatuses.block.talos.dev(runtime/{label}@undefined) doesn't exist"
            );
            let node = call.list("nodes").first().cloned().unwrap_or_default();
            return Err(call.fail(format!("\"{node}\": {text}")));
        }
    }
    let then = Then::Reset {
        state: labels.is_empty() || labels.iter().any(|label| label == "STATE"),
        ephemeral: labels.is_empty() || labels.iter().any(|label| label == "EPHEMERAL"),
        system: labels.is_empty() && call.flag("wipe-mode") != Some("user-disks"),
        reboot: call.switch("reboot", false),
    };
    run(call, room, "reset", &then, call.switch("graceful", true))
}

/// Plays `reboot`.
pub(super) fn reboot(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["wait", "timeout", "debug", "mode"])?;
    if let Some(mode) = call
        .flag("mode")
        .filter(|mode| !matches!(*mode, "default" | "powercycle" | "force"))
    {
        return Err(call.fail(format!("invalid reboot mode: \"{mode}\"")));
    }
    run(call, room, "reboot", &Then::Reboot, false)
}

fn run(
    call: &Invocation,
    room: &Room,
    name: &str,
    then: &Then,
    graceful: bool,
) -> Result<Answer, Answer> {
    let waits = call.switch("wait", true);
    if waits && call.switch("insecure", false) {
        return Err(call.fail("cannot use --wait and --insecure together"));
    }
    let limit = call.flag("timeout").map_or(1_800_000, |text| {
        crate::cobra::duration_ms(text).unwrap_or(1_800_000)
    });
    let client = Client::open(call)?;
    let prefix = format!("error executing {name}: ");
    let mut begun = None;
    let mut told = Vec::new();
    Ok(room.play(300, |world| {
        if let Some(start) = begun {
            return watch(call, world, &client, name, then, (start, limit));
        }
        let reply = unary(
            world,
            call,
            &client,
            (&prefix, Partial::Fails),
            |world, ip, _| {
                if client.is_insecure() {
                    return Err(Rpc::new(
                        "Unimplemented",
                        "API is not implemented in maintenance mode",
                    ));
                }
                start(world, ip, then, graceful);
                Ok(String::new())
            },
        );
        match reply {
            Reply::Done(answer) if waits && answer.code == 0 => {
                begun = Some(world.now_ms);
                for node in &client.nodes {
                    let actor = chance::uuid(world.seed, &format!("actor {} {node}", world.calls));
                    told.push(format!("\"{node}\": waiting for actor ID"));
                    told.push(format!("\"{node}\": actor ID: {actor}"));
                    told.push(format!("\"{node}\": sequence: {name} action: START"));
                    told.push(format!("\"{node}\": phase: cleanup action: START"));
                    told.push(format!("\"{node}\": task: stopAllPods action: START"));
                    told.push(format!("\"{node}\": events check condition met"));
                }
                Reply::Tell(lines(std::mem::take(&mut told)), 2_000)
            }
            Reply::After(wait, answer) if waits => {
                let text = answer
                    .stderr
                    .trim_start_matches(&prefix)
                    .trim_end()
                    .to_string();
                let node = client.nodes.first().cloned().unwrap_or_default();
                Reply::After(wait, call.fail(format!("\"{node}\": {text}")))
            }
            other => other,
        }
    }))
}

fn start(world: &mut World, ip: &str, then: &Then, graceful: bool) {
    let now = world.now_ms;
    let until = now + world.takes(ip, "closing", 8, 20);
    let leaves = graceful
        && matches!(
            then,
            Then::Reset {
                ephemeral: true,
                ..
            }
        );
    if leaves && let Some(cluster) = world.nodes[ip].data {
        if !world.has_quorum(cluster) {
            // Leaving wants a majority to agree: it waits for one, and nothing else happens.
            return;
        }
        world.clusters[cluster]
            .members
            .retain(|member| member.ip != ip);
        world.clusters[cluster].changed_ms = now;
    }
    let node = world.nodes.get_mut(ip).expect("the node was asked");
    if node.is_up() {
        node.phase = Phase::Closing {
            until,
            then: then.clone(),
        };
    }
}

fn watch(
    call: &Invocation,
    world: &World,
    client: &Client,
    name: &str,
    then: &Then,
    (start, limit): (u64, u64),
) -> Reply {
    let comes_back = matches!(then, Then::Reboot | Then::Reset { reboot: true, .. });
    let done = client.nodes.iter().all(|ip| {
        world.nodes.get(ip).is_none_or(|node| {
            if comes_back {
                matches!(node.port(), Port::Maintenance)
                    || (node.is_up() && node.up_since().is_some_and(|since| since > start))
            } else {
                matches!(node.phase, Phase::Off { .. })
            }
        })
    });
    // A reboot ends only when the node is ready, which it is not while there is no CNI.
    let late = world.now_ms >= start + limit;
    if done && (name == "reset" || !comes_back) {
        let nodes = client.nodes.iter().filter(|_| comes_back);
        let told = nodes.flat_map(|node| {
            ["unavailable, retrying...", "post check passed"]
                .map(|text| format!("\"{node}\": {text}"))
        });
        return Reply::Done(Answer::fail(0, lines(told)));
    }
    if late {
        return Reply::Done(call.fail("context deadline exceeded"));
    }
    Reply::Again(2_000)
}
