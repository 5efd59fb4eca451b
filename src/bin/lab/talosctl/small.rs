//! The small commands of `talosctl`: `version`, `time`, `read`.

use super::plays;
use super::wire::{Client, Partial, Rpc, hangs, unary};
use crate::answer::Answer;
use crate::clock::timestamp;
use crate::cobra::Invocation;
use crate::room::{Reply, Room};
use crate::text::{row, table};

const LONG: &str = "\tTag:         v1.11.2\n\tSHA:         511b4d2e\n\tBuilt:       \n\tGo version:  go1.24.6\n\tOS/Arch:     linux/amd64\n";

/// Plays `version`.
pub(super) fn version(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["client", "short"])?;
    let own = if call.switch("short", false) {
        "Client:\nTalos v1.11.2\n".to_string()
    } else {
        format!("Client:\n{LONG}")
    };
    if call.switch("client", false) {
        return Ok(Answer::out(own));
    }
    let head = format!("{own}Server:\n");
    let with_head = |mut answer: Answer| {
        let mut stdout = head.clone().into_bytes();
        stdout.append(&mut answer.stdout);
        Answer { stdout, ..answer }
    };
    let client = Client::open(call).map_err(&with_head)?;
    Ok(with_head(room.play(150, |world| {
        if hangs(world, &client) {
            return Reply::Hang;
        }
        unary(
            world,
            call,
            &client,
            ("error getting version: ", Partial::Warns),
            |_, _, target| {
                if client.is_insecure() {
                    return Err(Rpc::new(
                        "Unimplemented",
                        "API is not implemented in maintenance mode",
                    ));
                }
                Ok(format!(
                    "\tNODE:        {}\n{LONG}\tEnabled:     RBAC\n",
                    target.label
                ))
            },
        )
    })))
}

/// Plays `time`.
pub(super) fn time(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["check"])?;
    let client = Client::open(call)?;
    let check = call.flag("check").map(ToString::to_string);
    Ok(room.play(250, |world| {
        let mut rows = vec![row(&["NODE", "NTP-SERVER", "NODE-TIME", "NTP-SERVER-TIME"])];
        let reply = unary(world, call, &client, ("error fetching time: ", Partial::Warns), |world, ip, target| {
            let node = &world.nodes[ip];
            let configured = node.facts().and_then(|facts| facts.time_servers.first().cloned());
            let server = check.clone().or(configured).unwrap_or_else(|| "time.cloudflare.com".to_string());
            if world.now_ms < node.synced_at || !world.site.ntp.contains(&server) {
                let text = format!("error querying NTP server \"{server}\": read udp {ip}:41230->162.159.200.1:123: i/o timeout");
                return Err(Rpc::new("Unknown", text));
            }
            let now = timestamp(world.date_ms(world.now_ms)).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC").to_string();
            rows.push(row(&[&target.label, &server, &now, &now]));
            Ok(String::new())
        });
        match reply {
            Reply::Done(mut answer) if answer.code == 0 => {
                answer.stdout = table(&rows, 3).into_bytes();
                Reply::Done(answer)
            }
            other => other,
        }
    }))
}

/// Plays `read`, for the few files that the lab's nodes have.
pub(super) fn read(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let client = Client::open(call)?;
    client.single(call, "read")?;
    let path = call.args[0].clone();
    Ok(room.play(150, |world| {
        let targets = match client.reach(world, true) {
            Ok(targets) => targets,
            Err(late) => {
                return Reply::After(
                    late.after,
                    call.fail(format!("error reading file: {}", late.rpc)),
                );
            }
        };
        let text = targets[0].ip.clone().and_then(|ip| {
            let node = &world.nodes[&ip];
            match path.as_str() {
                "/proc/sys/kernel/random/boot_id" => Ok(format!("{}\n", node.boot_id)),
                "/etc/hostname" | "/proc/sys/kernel/hostname" => {
                    Ok(format!("{}\n", node.hostname()))
                }
                _ => Err(Rpc::new(
                    "NotFound",
                    format!("stat {path}: no such file or directory"),
                )),
            }
        });
        Reply::Done(match text {
            Ok(text) => Answer::out(text),
            Err(rpc) => call.fail(format!("error reading: {rpc}")),
        })
    }))
}
