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

#[cfg(test)]
mod tests {
    use super::execute;
    use crate::facts::Facts;
    use crate::site::Site;
    use crate::world::{Config, Etcd, NewWorld, Phase, World};

    const IP: &str = "10.25.11.11";

    fn world(kind: &str, faults: &[&str]) -> World {
        let mut world = World::build(NewWorld {
            name: "test".to_string(),
            seed: 1,
            speed: 1.0,
            created_ms: 0,
            site: Site::built_in(),
            faults: faults.iter().map(ToString::to_string).collect(),
        })
        .unwrap();
        let node = world.nodes.get_mut(IP).unwrap();
        let facts = Facts {
            kind: kind.to_string(),
            ..Facts::default()
        };
        node.config = Some(Config {
            text: String::new(),
            facts,
            at_ms: 0,
        });
        node.phase = Phase::Booting { until: 1_000 };
        world.advance(1_000);
        world
    }

    fn said(world: &mut World) -> String {
        execute(world, IP).map_or_else(|rpc| rpc.to_string(), |()| "ok".to_string())
    }

    #[test]
    fn the_checks_come_in_the_order_of_the_node() {
        let mut world = world("controlplane", &["ntp-late=60", "bootstrap-late=30"]);
        assert!(said(&mut world).ends_with("bootstrap is not available yet"));
        world.advance(40_000);
        assert!(said(&mut world).ends_with("time is not in sync yet"));
        world.advance(70_000);
        assert_eq!(said(&mut world), "ok");
    }

    #[test]
    fn a_worker_cannot_be_bootstrapped() {
        let mut world = world("worker", &[]);
        world.advance(60_000);
        assert!(said(&mut world).contains("only be performed on a control plane"));
    }

    #[test]
    fn a_second_call_is_accepted_until_etcd_has_started() {
        let mut world = world("controlplane", &[]);
        world.advance(60_000);
        assert_eq!(said(&mut world), "ok");
        assert_eq!(said(&mut world), "ok");
        world.advance(120_000);
        assert!(matches!(world.nodes[IP].etcd, Etcd::Running { .. }));
        assert_eq!(
            said(&mut world),
            "rpc error: code = AlreadyExists desc = etcd data directory is not empty"
        );
    }
}
