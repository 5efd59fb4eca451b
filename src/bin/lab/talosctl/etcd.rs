//! `talosctl etcd …`: asks a node's own etcd, and waits for it without end while it is down.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::plays;
use super::wire::{Client, Partial, Rpc, hangs, unary};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::room::{Reply, Room};
use crate::text::{row, table};
use crate::world::{Member, World};

/// What stands between a call and the node's etcd.
enum Obstacle {
    /// The node answers with an error.
    Error(Rpc),
    /// The node waits for its etcd, and talosctl for the node.
    Waits,
}

fn ready(world: &World, ip: &str, what: &str, learner_may: bool) -> Result<usize, Obstacle> {
    let node = &world.nodes[ip];
    if !node.is_control_plane() {
        let text = format!("{what} is only available on control plane nodes");
        return Err(Obstacle::Error(Rpc::new("Unimplemented", text)));
    }
    if world.now_ms < node.synced_at {
        let text = "error building etcd client TLS config: open /system/secrets/etcd/admin.crt: no such file or directory";
        return Err(Obstacle::Error(Rpc::new("Unknown", text)));
    }
    let (Some(cluster), true) = (node.data, world.etcd_runs(ip)) else {
        return Err(Obstacle::Waits);
    };
    if !learner_may && world.member(ip).is_some_and(|member| member.learner) {
        return Err(Obstacle::Error(Rpc::new(
            "Unknown",
            "etcdserver: rpc not supported for learner",
        )));
    }
    if !world.has_quorum(cluster) {
        return Err(Obstacle::Error(Rpc::new(
            "Unknown",
            "etcdserver: request timed out",
        )));
    }
    Ok(cluster)
}

/// Asks every node; if one of them waits, everything does.
fn ask(
    world: &mut World,
    call: &Invocation,
    client: &Client,
    prefix: &str,
    check: impl Fn(&World, &str) -> Result<usize, Obstacle>,
    mut tell: impl FnMut(&mut World, &str, &str, usize) -> Result<(), Rpc>,
) -> Reply {
    if hangs(world, client) {
        return Reply::Hang;
    }
    let mut waits = false;
    let reply = unary(
        world,
        call,
        client,
        (prefix, Partial::Warns),
        |world, ip, target| match check(world, ip) {
            Ok(cluster) => tell(world, ip, &target.label, cluster).map(|()| String::new()),
            Err(Obstacle::Error(rpc)) => Err(rpc),
            Err(Obstacle::Waits) => {
                waits = true;
                Ok(String::new())
            }
        },
    );
    if waits { Reply::Again(3_000) } else { reply }
}

fn with_table(reply: Reply, rows: &[Vec<String>]) -> Reply {
    match reply {
        Reply::Done(mut answer) if answer.code == 0 => {
            answer.stdout = table(rows, 3).into_bytes();
            Reply::Done(answer)
        }
        other => other,
    }
}

/// Plays `etcd members`.
pub(super) fn members(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let client = Client::open(call)?;
    Ok(room.play(200, |world| {
        let mut rows = vec![row(&[
            "NODE",
            "ID",
            "HOSTNAME",
            "PEER URLS",
            "CLIENT URLS",
            "LEARNER",
        ])];
        let check = |world: &World, ip: &str| ready(world, ip, "member list", false);
        let reply = ask(
            world,
            call,
            &client,
            "error getting members: ",
            check,
            |world, _, label, cluster| {
                for member in &world.clusters[cluster].members {
                    let (name, url) = if member.started {
                        (
                            member.hostname.clone(),
                            format!("https://{}:2379", member.ip),
                        )
                    } else {
                        (String::new(), String::new())
                    };
                    let peer = format!("https://{}:2380", member.ip);
                    rows.push(row(&[
                        label,
                        &member.id,
                        &name,
                        &peer,
                        &url,
                        &member.learner.to_string(),
                    ]));
                }
                Ok(())
            },
        );
        with_table(reply, &rows)
    }))
}

/// Plays `etcd status`.
pub(super) fn status(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let client = Client::open(call)?;
    Ok(room.play(200, |world| {
        let mut rows = vec![row(&[
            "NODE",
            "MEMBER",
            "DB SIZE",
            "IN USE",
            "LEADER",
            "RAFT INDEX",
            "RAFT TERM",
            "RAFT APPLIED INDEX",
            "LEARNER",
            "PROTOCOL",
            "STORAGE",
            "ERRORS",
        ])];
        let check = |world: &World, ip: &str| ready(world, ip, "etcd status", true);
        let reply = ask(
            world,
            call,
            &client,
            "error getting status: ",
            check,
            |world, ip, label, cluster| {
                let leader = world.clusters[cluster]
                    .members
                    .first()
                    .map(|member| member.id.clone())
                    .unwrap_or_default();
                let (id, learner) = world
                    .member(ip)
                    .map(|member| (member.id.clone(), member.learner))
                    .unwrap_or_default();
                let index =
                    (1_000 + (world.now_ms - world.clusters[cluster].born_ms) / 200).to_string();
                rows.push(row(&[
                    label,
                    &id,
                    "21 MB",
                    "6.0 MB (29.08%)",
                    &leader,
                    &index,
                    "2",
                    &index,
                    &learner.to_string(),
                    "3.6.4",
                    "3.6.0",
                    "",
                ]));
                Ok(())
            },
        );
        with_table(reply, &rows)
    }))
}

/// Plays `etcd remove-member`.
pub(super) fn remove_member(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let word = call.args[0].clone();
    let id = u64::from_str_radix(&word, 16).map_err(|_| {
        let head = "error parsing member ID: error parsing etcd member id";
        call.fail(format!(
            "{head}: strconv.ParseUint: parsing \"{word}\": invalid syntax"
        ))
    })?;
    let client = Client::open(call)?;
    Ok(room.play(300, |world| {
        let check = |world: &World, ip: &str| ready(world, ip, "etcd remove member", false);
        ask(world, call, &client, "", check, |world, _, _, cluster| {
            let is_meant = |member: &Member| u64::from_str_radix(&member.id, 16) == Ok(id);
            let members = &world.clusters[cluster].members;
            let Some(meant) = members.iter().find(|member| is_meant(member)) else {
                let text = format!("failed to remove member {id}: etcdserver: member not found");
                return Err(Rpc::new("NotFound", text));
            };
            // What stays must have its majority among those that run.
            let voters = || members.iter().filter(|member| !member.learner && !is_meant(member));
            let run = voters().filter(|member| world.etcd_runs(&member.ip)).count();
            if !meant.learner && run * 2 <= voters().count() {
                let text = format!("failed to remove member: failed to remove member {id}: etcdserver: re-configuration failed due to not enough started members");
                return Err(Rpc::new("Unknown", text));
            }
            let now = world.now_ms;
            let cluster = &mut world.clusters[cluster];
            cluster.members.retain(|member| !is_meant(member));
            cluster.changed_ms = now;
            Ok(())
        })
    }))
}

/// Plays `etcd snapshot`.
pub(super) fn snapshot(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let client = Client::open(call)?;
    client.single(call, "etcd snapshot")?;
    room.not_if_real("talosctl etcd snapshot")?;
    let path = call.args[0].clone();
    Ok(room.play(800, |world| {
        let targets = match client.reach(world, true) {
            Ok(targets) => targets,
            Err(late) => {
                return Reply::After(
                    late.after,
                    call.fail(format!("error reading file: {}", late.rpc)),
                );
            }
        };
        let found = targets[0]
            .ip
            .clone()
            .map(|ip| ready(world, &ip, "etcd snapshot", true));
        match found {
            Ok(Ok(cluster)) => {
                let snapshot = world.snapshot(cluster);
                let file = snapshot.write();
                if let Err(error) = save(&path, &file) {
                    return Reply::Done(call.fail(format!(
                        "error creating temporary file: open {path}.part: {error}"
                    )));
                }
                Reply::Done(Answer::out(format!(
                    "etcd snapshot saved to \"{path}\" ({} bytes)\nsnapshot info: {}\n",
                    file.len(),
                    snapshot.info()
                )))
            }
            Ok(Err(Obstacle::Waits)) => Reply::Again(1_000),
            Ok(Err(Obstacle::Error(rpc))) | Err(rpc) => {
                Reply::Done(call.fail(format!("error reading: {rpc}")))
            }
        }
    }))
}

/// Writes a snapshot as the tool does: for its owner only, and never half.
fn save(path: &str, file: &[u8]) -> std::io::Result<()> {
    let part = format!("{path}.part");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&part)?.write_all(file)?;
    fs::rename(part, path)
}
