//! `talosctl apply-config`, to a node in maintenance mode and to one that has a config.

use std::fs;

use serde_json::Value;
use similar::TextDiff;

use super::plays;
use super::wire::{Client, Partial, Rpc, unary};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::facts::{Facts, glob};
use crate::fault::Kind;
use crate::machineconfig;
use crate::room::{Reply, Room};
use crate::text::{lines, several};
use crate::world::{Config, Phase, Port, Then, World};

const PREFIX: &str = "error applying new configuration: ";

/// Plays the command.
pub(super) fn run(call: &Invocation, room: &Room) -> Result<Answer, Answer> {
    plays(
        call,
        &["file", "config-patch", "mode", "dry-run", "timeout"],
    )?;
    if let Some(word) = call.args.first() {
        return Err(call.fail(format!("unknown positional argument {word}")));
    }
    let text = read(call)?;
    let client = Client::open(call)?;
    let mode = call.flag("mode").unwrap_or("auto").to_string();
    let dry = call.switch("dry-run", false);
    Ok(room.play(400, |world| {
        let node = client.nodes.first().cloned().unwrap_or_default();
        if !dry && world.fires(Kind::ApplyLost, &node) {
            return Reply::After(1_000, call.fail(format!("{PREFIX}{}", Rpc::refused(&node))));
        }
        let mut said = String::new();
        let reply = unary(
            world,
            call,
            &client,
            (PREFIX, Partial::Fails),
            |world, ip, _| {
                said.push_str(&apply(world, ip, &text, &mode, dry)?);
                Ok(String::new())
            },
        );
        let Reply::Done(mut answer) = reply else {
            return reply;
        };
        if answer.code == 0 {
            answer.stderr.clone_from(&said);
            if !dry && world.fires(Kind::ApplyHang, &node) {
                return Reply::Hang;
            }
            if !dry && world.fires(Kind::ApplyEof, &node) {
                return Reply::After(1_500, call.fail(format!("{PREFIX}{}", Rpc::eof())));
            }
        }
        let slow = if answer.stderr.contains("error reading from server: EOF") {
            4_000
        } else {
            0
        };
        Reply::After(slow + 300, answer)
    }))
}

/// Reads and patches the config; all of it happens before any connection.
fn read(call: &Invocation) -> Result<String, Answer> {
    let Some(file) = call.flag("file").filter(|file| !file.is_empty()) else {
        return Err(call.fail("no filename supplied for configuration"));
    };
    let text = fs::read_to_string(file).map_err(|error| {
        call.fail(format!(
            "failed to read configuration from \"{file}\": open {file}: {}",
            go_words(&error)
        ))
    })?;
    if text.is_empty() {
        return Err(call.fail("no configuration data read"));
    }
    let mut patches = Vec::new();
    for given in call.every("config-patch") {
        patches.push(match given.strip_prefix('@') {
            Some(path) => fs::read_to_string(path)
                .map_err(|error| call.fail(format!("open {path}: {}", go_words(&error))))?,
            None => given.to_string(),
        });
    }
    if patches.is_empty() {
        return Ok(text);
    }
    machineconfig::patch(&text, &patches).map_err(|why| call.fail(why))
}

/// Returns what Go calls an error of the operating system.
fn go_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_string(),
        _ => error.to_string(),
    }
}

/// Gives a config to a node; returns what the node says.
fn apply(world: &mut World, ip: &str, text: &str, mode: &str, dry: bool) -> Result<String, Rpc> {
    if world.nodes[ip].port() == Port::Maintenance {
        first(world, ip, text, mode, dry)
    } else {
        again(world, ip, text, mode, dry)
    }
}

fn first(world: &mut World, ip: &str, text: &str, mode: &str, dry: bool) -> Result<String, Rpc> {
    if matches!(world.nodes[ip].phase, Phase::Lingering { .. }) {
        return Err(Rpc::eof());
    }
    if matches!(mode, "no-reboot" | "staged") {
        let text =
            format!("apply configuration --mode='{mode}' is not supported in maintenance mode");
        return Err(Rpc::new("Unimplemented", text));
    }
    let checked = machineconfig::validate(text, "metal", false);
    if let Some(error) = checked.error {
        let why = format!("configuration validation failed: {error}");
        return Err(Rpc::new("InvalidArgument", why));
    }
    let facts = Facts::read(text).map_err(|why| Rpc::new("Unknown", why))?;
    runtime(world, ip, &facts)?;
    let warnings: String = lines(
        checked
            .warnings
            .iter()
            .map(|warning| format!("WARNING: {warning}")),
    );
    if dry {
        return Ok(format!(
            "{warnings}Dry run summary:\nNode is running in maintenance mode and does not have a config yet.\n"
        ));
    }
    let lingers = match world.feels(Kind::MaintenanceLingers, ip) {
        Some(seconds) => seconds * 1_000,
        None => world.takes(ip, "maintenance stop", 2, 5),
    };
    let now = world.now_ms;
    let node = world.nodes.get_mut(ip).expect("the node was asked");
    node.config = Some(Config {
        text: text.to_string(),
        facts,
        at_ms: now,
    });
    node.phase = Phase::Lingering {
        until: now + lingers,
    };
    Ok(warnings)
}

/// What only the node can check: its disks, its Kubernetes.
fn runtime(world: &World, ip: &str, facts: &Facts) -> Result<(), Rpc> {
    let mut errors = Vec::new();
    let disks = &world.nodes[ip].machine.disks;
    if let Some(model) = &facts.disk_model
        && !disks.iter().any(|disk| glob(model, &disk.model))
    {
        errors.push(format!(
            "no disks matched the expression: glob(\"{model}\", disk.model) && disk.transport != \"\" && !disk.readonly &&\n!disk.cdrom"
        ));
    }
    if let Some(version) = facts.kubelet.strip_prefix('v') {
        let mut parts = version.split('.');
        let (major, minor) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if major == "1" && minor.parse::<u32>().is_ok_and(|minor| minor > 34) {
            errors.push(format!(
                "kubelet image is not valid: version of Kubernetes {version} is too new to be used with Talos 1.11.2"
            ));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let why = format!(
        "runtime configuration validation failed: {}",
        several(&errors)
    );
    Err(Rpc::new("InvalidArgument", why))
}

fn again(world: &mut World, ip: &str, text: &str, mode: &str, dry: bool) -> Result<String, Rpc> {
    let checked = machineconfig::validate(text, "metal", false);
    if let Some(error) = checked.error {
        return Err(Rpc::new("InvalidArgument", error));
    }
    let facts = Facts::read(text).map_err(|why| Rpc::new("Unknown", why))?;
    let old = world.nodes[ip]
        .config
        .as_ref()
        .map(|config| config.text.clone())
        .unwrap_or_default();
    let diff = diff(&old, text);
    let reboots = needs_reboot(&old, text);
    let reason = format!("this config change can't be applied in immediate mode\ndiff:\n{diff}");
    if reboots && matches!(mode, "no-reboot" | "try") {
        return Err(Rpc::new("InvalidArgument", reason));
    }
    let (line, boots, staged) = match mode {
        "reboot" => ("Applied configuration with a reboot".to_string(), true, false),
        "staged" => ("Staged configuration to be applied after the next reboot".to_string(), false, true),
        "try" => (
            "Applied configuration without a reboot\nThe config is applied in 'try' mode and will be automatically reverted back in 1m0s".to_string(),
            false,
            false,
        ),
        _ if reboots => (format!("Applied configuration with a reboot: {reason}"), true, false),
        _ => ("Applied configuration without a reboot".to_string(), false, false),
    };
    let warnings: String = lines(
        checked
            .warnings
            .iter()
            .map(|warning| format!("WARNING: {warning}")),
    );
    if dry {
        let shown = if diff.is_empty() {
            "No changes.".to_string()
        } else {
            diff
        };
        let line = line
            .lines()
            .next()
            .unwrap_or_default()
            .split(':')
            .next()
            .unwrap_or_default()
            .to_string();
        return Ok(format!(
            "{warnings}Dry run summary:\n{line} (skipped in dry-run).\nConfig diff:\n\n{shown}\n"
        ));
    }
    let now = world.now_ms;
    let node = world.nodes.get_mut(ip).expect("the node was asked");
    let config = Config {
        text: text.to_string(),
        facts,
        at_ms: now,
    };
    if staged {
        node.staged = Some(config);
    } else {
        node.config = Some(config);
    }
    if boots {
        node.phase = Phase::Closing {
            until: now + 10_000,
            then: Then::Reboot,
        };
    }
    Ok(format!("{warnings}{}\n", line.trim_end()))
}

fn diff(old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .header("a", "b")
        .to_string()
}

/// Returns whether more has changed than Talos can take in at once.
fn needs_reboot(old: &str, new: &str) -> bool {
    const IMMEDIATE: [&str; 20] = [
        "ca",
        "acceptedCAs",
        "time",
        "certSANs",
        "install",
        "network",
        "sysfs",
        "sysctls",
        "logging",
        "controlPlane",
        "kubelet",
        "kernel",
        "registries",
        "pods",
        "seccompProfiles",
        "nodeAnnotations",
        "nodeLabels",
        "nodeTaints",
        "features",
        "token",
    ];
    let machine = |text: &str| -> Value {
        let documents: Vec<Value> = serde_yaml::from_multiple(text).unwrap_or_default();
        let main = documents
            .into_iter()
            .find(|document| document.get("machine").is_some());
        main.and_then(|main| main.get("machine").cloned())
            .unwrap_or(Value::Null)
    };
    let rest = |mut machine: Value| {
        if let Some(members) = machine.as_object_mut() {
            members.retain(|key, _| !IMMEDIATE.contains(&key.as_str()));
        }
        machine
    };
    rest(machine(old)) != rest(machine(new))
}
