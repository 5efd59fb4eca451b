//! `talosctl bootstrap`: once too often is allowed wherever the real node allows it.

use super::plays;
use super::wire::{Client, Partial, Rpc, unary};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::fault::Kind;
use crate::room::{Reply, Room};
use crate::world::{Etcd, Snapshot, World};

const PREFIX: &str = "error executing bootstrap: ";

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["recover-from", "recover-skip-hash-check"])?;
    let client = Client::open(call)?;
    client.single(call, "bootstrap")?;
    let from = call.flag("recover-from").map(str::to_string);
    if from.is_some() {
        room.not_if_real("talosctl bootstrap --recover-from")?;
    }
    let from = from.map(|path| open(call, &path)).transpose()?;
    let told = from
        .as_ref()
        .map_or_else(String::new, |(told, _)| told.clone());
    let skips = call.switch("recover-skip-hash-check", false);
    let mut answer = room.play(200, |world| {
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
                execute(world, ip, from.as_ref().map(|(_, from)| from), skips)?;
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
    });
    // It is told before anything is sent.
    answer.stdout.splice(0..0, told.into_bytes());
    Ok(answer)
}

/// A snapshot, and whether its hash is right.
type Given = (Snapshot, bool);

/// Reads the snapshot's file, and gives what is told about it.
fn open(call: &Invocation, path: &str) -> Result<(String, Given), Answer> {
    let file = std::fs::read(path)
        .map_err(|_| call.fail(format!("stat {path}: no such file or directory")))?;
    let from = Snapshot::read(&file).ok_or_else(|| call.fail("invalid database"))?;
    let told = format!("recovering from snapshot \"{path}\": {}\n", from.0.info());
    Ok((told, from))
}

/// The node's own checks, in its order.
fn execute(world: &mut World, ip: &str, from: Option<&Given>, skips: bool) -> Result<(), Rpc> {
    let now = world.now_ms;
    let late = world
        .feels(Kind::BootstrapLate, ip)
        .map_or(4_000, |seconds| seconds * 1_000);
    let node = &world.nodes[ip];
    let early = node.up_since().is_none_or(|since| now < since + late);
    if from.is_some() && !node.is_control_plane() {
        return Err(Rpc::new(
            "Unimplemented",
            "etcd recover is only available on control plane nodes",
        ));
    }
    if from.is_some() && early {
        return Err(Rpc::new(
            "FailedPrecondition",
            "etcd service is not ready for recovery yet",
        ));
    }
    if early {
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
    if from.is_some_and(|(_, right)| !right && !skips) {
        // The node finds it, after the answer.
        let reason = "Failed to run pre stage: error recovering from the snapshot: expected sha256 […], got […]";
        let node = world.nodes.get_mut(ip).expect("the node was asked");
        node.note(now, "Failed", reason);
        node.etcd = Etcd::Failed {
            reason: reason.to_string(),
        };
        return Ok(());
    }
    world.bootstrap(ip, from.map(|(from, _)| from.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::execute;
    use crate::facts::Facts;
    use crate::site::Site;
    use crate::world::{Config, Etcd, KubeNode, NewWorld, Phase, Snapshot, World};

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
        execute(world, IP, None, false).map_or_else(|rpc| rpc.to_string(), |()| "ok".to_string())
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

    fn snapshot() -> Snapshot {
        Snapshot {
            cluster: "infra".to_string(),
            revision: 4_193,
            objects: None,
            kube_nodes: vec![KubeNode {
                name: "infra-09".to_string(),
                ip: "10.25.11.19".to_string(),
                pod_cidr: "10.244.0.0/24".to_string(),
                at_ms: 0,
                control_plane: true,
                version: "v1.34.1".to_string(),
                uid: String::new(),
            }],
        }
    }

    #[test]
    fn a_restored_cluster_knows_the_nodes_of_the_time_of_its_snapshot() {
        let mut world = world("controlplane", &[]);
        world.advance(60_000);
        let (read, right) = Snapshot::read(&snapshot().write()).unwrap();
        assert!(right);
        execute(&mut world, IP, Some(&(read, right)), false).unwrap();
        world.advance(120_000);
        assert_eq!(world.clusters.len(), 1);
        assert_eq!(world.clusters[0].kube_nodes[0].name, "infra-09");
        assert!(world.bootstraps[0].recovers);
        let again = execute(&mut world, IP, Some(&(snapshot(), true)), false).unwrap_err();
        assert!(
            again
                .to_string()
                .contains("etcd data directory is not empty")
        );
    }

    #[test]
    fn a_snapshot_waits_until_the_node_is_ready_for_recovery() {
        let mut world = world("controlplane", &["bootstrap-late=30"]);
        let early = execute(&mut world, IP, Some(&(snapshot(), true)), false).unwrap_err();
        assert!(early.to_string().contains("not ready for recovery yet"));
    }

    #[test]
    fn a_wrong_hash_is_found_by_the_node_alone_and_after_the_answer() {
        let mut world = world("controlplane", &[]);
        world.advance(60_000);
        execute(&mut world, IP, Some(&(snapshot(), false)), false).unwrap();
        assert!(matches!(world.nodes[IP].etcd, Etcd::Failed { .. }));
        assert_eq!(world.clusters.len(), 0);
        execute(&mut world, IP, Some(&(snapshot(), false)), true).unwrap();
        world.advance(120_000);
        assert_eq!(world.clusters.len(), 1);
    }

    #[test]
    fn a_snapshot_that_is_cut_anywhere_is_no_database() {
        let whole = snapshot().write();
        for end in 0..whole.len() {
            let cut = Snapshot::read(&whole[..end]);
            assert!(cut.is_none(), "cut after {end} bytes");
        }
    }
}
