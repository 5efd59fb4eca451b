//! `talosctl kubeconfig`: made from the machine config alone, so it works before bootstrap.

use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::plays;
use super::wire::{Client, Rpc};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::kube::{Clash, Entry, Kubeconfig};
use crate::pki;
use crate::room::{Reply, Room};
use crate::text::lines;

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(call, &["force", "force-context-name", "merge"])?;
    let client = Client::open(call)?;
    client.single(call, "kubeconfig")?;
    let path = place(call);
    let merges = call.switch("merge", true);
    let force = call.switch("force", false);
    let exists = path.exists();
    if exists && !merges && !force {
        let text = format!(
            "kubeconfig file already exists, use --force to overwrite: \"{}\"",
            path.display()
        );
        return Err(call.fail(text));
    }
    let mut fetched = None;
    let refused = room.play(400, |world| {
        let targets = match client.reach(world, true) {
            Ok(targets) => targets,
            Err(late) => {
                return Reply::After(
                    late.after,
                    call.fail(format!("error copying: {}", late.rpc)),
                );
            }
        };
        let entry = targets[0].ip.clone().and_then(|ip| {
            let facts = world.nodes[&ip].facts().cloned().unwrap_or_default();
            if !facts.is_control_plane() {
                return Err(Rpc::new(
                    "Unimplemented",
                    "kubeconfig is only available on control plane nodes",
                ));
            }
            let (crt, key) = pki::issue_client(
                &facts.kube_ca,
                &facts.kube_ca_key,
                "admin",
                "system:masters",
                365,
            )
            .map_err(|why| Rpc::new("Unknown", why))?;
            Ok(Entry {
                cluster: facts.cluster,
                server: facts.endpoint,
                ca: facts.kube_ca,
                crt,
                key,
            })
        });
        Reply::Done(match entry {
            Ok(entry) => {
                fetched = Some(entry);
                Answer::silent()
            }
            Err(rpc) => call.fail(format!("error initializing gzip: {rpc}")),
        })
    });
    let Some(entry) = fetched else {
        return Err(refused);
    };
    if !merges && call.args.first().is_some_and(|path| path == "-") && !exists {
        return Ok(Answer::out(Kubeconfig::of(&entry).to_yaml()));
    }
    if !exists || !merges {
        save(call, &path, &Kubeconfig::of(&entry))?;
        return Ok(Answer::silent());
    }
    let text = fs::read_to_string(&path).map_err(|error| call.fail(error.to_string()))?;
    let mut config = Kubeconfig::read(&text)
        .map_err(|why| call.fail(format!("error loading kubeconfig: {why}")))?;
    let clash = if force {
        Clash::Overwrite
    } else {
        Clash::Rename
    };
    let renamed = config.merge(
        &entry,
        clash,
        call.flag("force-context-name")
            .filter(|name| !name.is_empty()),
    );
    save(call, &path, &config)?;
    Ok(Answer::out(lines(renamed)))
}

/// Returns the file that is meant; a folder means a file in it.
fn place(call: &Invocation) -> PathBuf {
    let path = match call.args.first() {
        Some(path) => PathBuf::from(path),
        None => env::var_os("KUBECONFIG")
            .filter(|path| !path.is_empty())
            .map_or_else(
                || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".kube/config"),
                PathBuf::from,
            ),
    };
    if path.is_dir() {
        path.join("kubeconfig")
    } else {
        path
    }
}

fn save(call: &Invocation, path: &Path, config: &Kubeconfig) -> Result<(), Answer> {
    let written = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(config.to_yaml().as_bytes())
    };
    written().map_err(|error| call.fail(format!("open {}: {error}", path.display())))
}
