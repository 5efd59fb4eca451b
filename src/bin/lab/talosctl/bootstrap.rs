//! `talosctl bootstrap`: once too often is allowed wherever the real node allows it.

use super::plays;
use super::wire::{Client, Partial, Rpc, unary};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::fault::Kind;
use crate::room::{Reply, Room};
use crate::world::World;

const PREFIX: &str = "error executing bootstrap: ";

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let client = Client::open(call)?;
    client.single(call, "bootstrap")?;
    Ok(room.play(200, |world| {
        let node = client.nodes[0].clone();
        if world.fires(Kind::BootstrapLost, &node) {
            return Reply::After(500, call.fail(format!("{PREFIX}{}", Rpc::eof())));
        }
        let reply = unary(
            world,
            call,
            &client,
            (PREFIX, Partial::Fails),
            |world, ip, _| {
                execute(world, ip)?;
                Ok(String::new())
            },
        );
        match reply {
            Reply::Done(answer) if answer.code == 0 && world.fires(Kind::BootstrapEof, &node) => {
                Reply::After(2_000, call.fail(format!("{PREFIX}{}", Rpc::eof())))
            }
            Reply::Done(answer) if answer.stderr.contains("time is not in sync") => {
                Reply::After(5_000, answer)
            }
            Reply::Done(answer) => Reply::After(1_000, answer),
            other => other,
        }
    }))
}

/// The node's own checks, in its order.
fn execute(world: &mut World, ip: &str) -> Result<(), Rpc> {
    let now = world.now_ms;
    let late = world
        .feels(Kind::BootstrapLate, ip)
        .map_or(4_000, |seconds| seconds * 1_000);
    let node = &world.nodes[ip];
    if node.up_since().is_none_or(|since| now < since + late) {
        return Err(Rpc::new(
            "FailedPrecondition",
            "bootstrap is not available yet",
        ));
    }
    if !node.is_control_plane() {
        return Err(Rpc::new(
            "FailedPrecondition",
            "bootstrap can only be performed on a control plane node",
        ));
    }
    if now < node.synced_at {
        return Err(Rpc::new("FailedPrecondition", "time is not in sync yet"));
    }
    if node.data.is_some() {
        return Err(Rpc::new(
            "AlreadyExists",
            "etcd data directory is not empty",
        ));
    }
    world.bootstrap(ip);
    Ok(())
}
