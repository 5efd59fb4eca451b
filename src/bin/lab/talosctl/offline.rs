//! The commands of `talosctl` that need no node: `gen secrets`, `gen config`, `machineconfig patch`, `validate`.
//!
//! They read and write files as the real ones do, quirks included: `-o -` of `gen secrets` is a file named `-`, and
//! `machineconfig patch` ends its output with one newline too many.

use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::machineconfig::{self, Generated};
use crate::pki;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The versions that `talosctl` 1.11.2 is made with.
const INSTALLER: &str = "ghcr.io/siderolabs/installer:v1.11.2";
const KUBERNETES: &str = "1.34.0";
const TALOS: &str = "v1.11";

type Played = Result<Answer, Answer>;

/// Plays the command, or returns `None` if it is not one of these.
pub(crate) fn run(call: &Invocation) -> Option<Answer> {
    let played = match call.path.as_str() {
        "gen secrets" => gen_secrets(call),
        "gen config" => gen_config(call),
        "machineconfig patch" => patch(call),
        "validate" => validate(call),
        _ => return None,
    };
    Some(played.unwrap_or_else(|answer| answer))
}

/// An error of the file system, as Go words it.
fn open_fault(path: &str, fault: &io::Error) -> String {
    let reason = match fault.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => return format!("read {path}: is a directory"),
        _ => fault.to_string().to_lowercase(),
    };
    format!("open {path}: {reason}")
}

fn read(call: &Invocation, path: &str) -> Result<String, Answer> {
    let bytes = fs::read(path).map_err(|fault| call.fail(open_fault(path, &fault)))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(call: &Invocation, path: &str, text: &str, mode: u32) -> Result<(), Answer> {
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|fault| call.fail(open_fault(path, &fault)))
}

fn refuse_existing(call: &Invocation, path: &str) -> Result<(), Answer> {
    if !call.switch("force", false) && Path::new(path).exists() {
        return Err(call.fail(format!(
            "file \"{path}\" already exists, use --force to overwrite"
        )));
    }
    Ok(())
}

fn gen_secrets(call: &Invocation) -> Played {
    call.plays(&["output-file", "talos-version", "force", "help"])?;
    let path = call.flag("output-file").unwrap_or("secrets.yaml");
    let version = call.flag("talos-version").unwrap_or(TALOS);
    pki::contract(version).map_err(|fault| call.fail(format!("invalid talos-version: {fault}")))?;
    refuse_existing(call, path)?;
    let bundle = pki::generate_bundle(version).map_err(|fault| call.fail(fault))?;
    write(call, path, &bundle, 0o600)?;
    Ok(Answer::silent())
}

fn patch(call: &Invocation) -> Played {
    call.plays(&["patch", "output", "help"])?;
    let base = read(call, &call.args[0])?;
    let mut patches = Vec::new();
    for given in call.every("patch") {
        patches.push(match given.strip_prefix('@') {
            Some(path) => read(call, path)?,
            None => given.to_owned(),
        });
    }
    let patched = machineconfig::patch(&base, &patches).map_err(|fault| {
        // Where the real one breaks down, it does so with Go's exit code.
        let code = if fault.starts_with("panic: ") { 2 } else { 1 };
        Answer {
            code,
            ..call.fail(fault)
        }
    })?;
    match call.flag("output") {
        None | Some("") => Ok(Answer::out(patched + "\n")),
        Some(path) => write(call, path, &patched, 0o644).map(|()| Answer::silent()),
    }
}

fn validate(call: &Invocation) -> Played {
    call.plays(&["config", "mode", "strict", "help"])?;
    let path = call.flag("config").unwrap_or_default();
    let mode = call.flag("mode").unwrap_or_default();
    let found = machineconfig::validate(&read(call, path)?, mode, call.switch("strict", false));
    let mut stderr = String::new();
    for warning in found.warnings {
        writeln!(stderr, "WARNING: {warning}").expect("a string takes any text");
    }
    match found.error {
        None => Ok(Answer {
            stderr,
            ..Answer::out(format!("{path} is valid for {mode} mode\n"))
        }),
        Some(fault) => {
            let mut answer = call.fail(fault);
            answer.stderr.insert_str(0, &stderr);
            Err(answer)
        }
    }
}

fn gen_config(call: &Invocation) -> Played {
    call.plays(&[
        "with-secrets",
        "output",
        "output-types",
        "force",
        "with-docs",
        "with-examples",
        "install-disk",
        "install-image",
        "kubernetes-version",
        "talos-version",
        "dns-domain",
        "additional-sans",
        "config-patch",
        "config-patch-control-plane",
        "config-patch-worker",
        "help",
    ])?;
    let (cluster, endpoint) = (&call.args[0], &call.args[1]);
    check_endpoint(call, endpoint)?;
    let types = match call.list("output-types") {
        types if types.is_empty() => ["controlplane", "worker", "talosconfig"]
            .map(str::to_owned)
            .to_vec(),
        types => types,
    };
    check_types(call, &types)?;
    let plain = !call.switch("with-docs", true) && !call.switch("with-examples", true);
    if !plain && types.iter().any(|kind| kind != "talosconfig") {
        return Err(Answer::not_played(
            "talosctl gen config without --with-docs=false --with-examples=false",
        ));
    }
    let version = call.flag("talos-version").unwrap_or(TALOS);
    match pki::contract(version) {
        Err(fault) => return Err(call.fail(format!("invalid talos-version: {fault}"))),
        Ok((1, 11)) => {}
        Ok(_) => {
            return Err(Answer::not_played(
                "talosctl gen config --talos-version of another minor",
            ));
        }
    }
    let bundle = match call.flag("with-secrets") {
        None => pki::generate_bundle(version).map_err(|fault| call.fail(fault))?,
        Some(path) => {
            let read = fs::read_to_string(path).map_err(|fault| {
                call.fail(format!(
                    "failed to load secrets bundle: {}",
                    open_fault(path, &fault)
                ))
            })?;
            machineconfig::check_bundle(&read).map_err(|fault| call.fail(fault))?;
            read
        }
    };
    let input = Generated {
        cluster: cluster.clone(),
        endpoint: endpoint.clone(),
        bundle,
        kubernetes: call
            .flag("kubernetes-version")
            .unwrap_or(KUBERNETES)
            .trim_start_matches('v')
            .to_owned(),
        disk: call.flag("install-disk").unwrap_or("/dev/sda").to_owned(),
        image: call.flag("install-image").unwrap_or(INSTALLER).to_owned(),
        domain: call
            .flag("dns-domain")
            .unwrap_or("cluster.local")
            .to_owned(),
        names: call.list("additional-sans"),
    };
    let mut answer = Answer {
        stderr: "generating PKI and tokens\n".to_owned(),
        ..Answer::silent()
    };
    for kind in ["controlplane", "worker", "talosconfig"]
        .into_iter()
        .filter(|kind| types.iter().any(|given| given == kind))
    {
        let made = made(call, &input, kind)?;
        let name = if kind == "talosconfig" {
            kind.to_owned()
        } else {
            format!("{kind}.yaml")
        };
        let path = match (call.flag("output"), types.len()) {
            (Some("-"), _) => {
                answer.stdout.extend(made.into_bytes());
                continue;
            }
            (Some(output), 1) if !Path::new(output).is_dir() => output.to_owned(),
            (Some(output), _) => {
                fs::create_dir_all(output)
                    .map_err(|fault| call.fail(open_fault(output, &fault)))?;
                format!("{}/{name}", output.trim_end_matches('/'))
            }
            (None, _) => match std::env::current_dir() {
                Ok(folder) => folder.join(&name).to_string_lossy().into_owned(),
                Err(_) => name,
            },
        };
        refuse_existing(call, &path).map_err(|refusal| after(&answer, refusal))?;
        write(call, &path, &made, 0o644).map_err(|refusal| after(&answer, refusal))?;
        writeln!(answer.stderr, "Created {path}").expect("a string takes any text");
    }
    Ok(answer)
}

/// A refusal keeps what was said before it.
fn after(before: &Answer, mut refusal: Answer) -> Answer {
    refusal.stderr.insert_str(0, &before.stderr);
    refusal
}

/// One output, with the patches that are meant for it.
fn made(call: &Invocation, input: &Generated, kind: &str) -> Result<String, Answer> {
    let made = machineconfig::gen_config(input, kind).map_err(|fault| call.fail(fault))?;
    if kind == "talosconfig" {
        return Ok(made);
    }
    let own = if kind == "worker" {
        "config-patch-worker"
    } else {
        "config-patch-control-plane"
    };
    let mut patches = Vec::new();
    for given in call
        .every("config-patch")
        .into_iter()
        .chain(call.every(own))
    {
        patches.push(match given.strip_prefix('@') {
            Some(path) => read(call, path)?,
            None => given.to_owned(),
        });
    }
    machineconfig::patch(&made, &patches).map_err(|fault| call.fail(fault))
}

fn check_types(call: &Invocation, types: &[String]) -> Result<(), Answer> {
    let wrong: Vec<String> = types
        .iter()
        .filter(|kind| !["controlplane", "worker", "talosconfig"].contains(&kind.as_str()))
        .map(|kind| format!("\t* invalid output type: \"{kind}\"\n"))
        .collect();
    let (count, plural) = (
        wrong.len(),
        if wrong.len() == 1 { "error" } else { "errors" },
    );
    if count > 0 {
        return Err(call.fail(format!("{count} {plural} occurred:\n{}\n", wrong.concat())));
    }
    if call.flag("output") == Some("-") && types.len() > 1 {
        return Err(call.fail("can't use multiple output types with stdout"));
    }
    Ok(())
}

fn check_endpoint(call: &Invocation, endpoint: &str) -> Result<(), Answer> {
    let Some((scheme, rest)) = endpoint.split_once("://") else {
        let port = endpoint
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let text = if port {
            format!("no scheme specified for the cluster endpoint URL\ntry: \"https://{endpoint}\"")
        } else {
            format!(
                "no scheme and port specified for the cluster endpoint URL\ntry: \"https://{endpoint}:6443\""
            )
        };
        return Err(call.fail(text));
    };
    if scheme != "https" {
        return Err(call.fail(format!(
            "the control plane endpoint URL should have scheme https://\ntry: \"https://{rest}\""
        )));
    }
    Ok(())
}
