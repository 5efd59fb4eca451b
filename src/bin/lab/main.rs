//! `lab`: the machine room that the program is rehearsed in.
//!
//! One program under many names. Called as `lab` it makes and shows worlds; called as `talosctl`, `op`, `kubectl`,
//! `helm`, `flux`, `cilium`, `kustomize` or `dig`, through the links in a world's `bin` folder, it plays that tool. It
//! uses nothing of the library, so that a mistake made there cannot be made here again and cancel out.

mod answer;
mod chance;
mod cilium;
mod client;
mod clock;
mod cobra;
mod commands;
mod dig;
mod facts;
mod fault;
mod flux;
mod front;
mod helm;
mod jsonpath;
mod kube;
mod kubectl;
mod kubernetes;
mod kustomize;
mod machineconfig;
mod op;
mod pki;
mod real;
mod remote;
mod room;
mod site;
mod talosctl;
mod text;
mod vault;
mod world;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use answer::Answer;
use world::store::Folder;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    let name = words
        .first()
        .map(Path::new)
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if let (Some(answers), "cilium") = (env::var_os(real::agent::ANSWERS), name.as_str()) {
        let argv: Vec<String> = words
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return ExitCode::from(real::agent::run(Path::new(&answers), &argv).deliver());
    }
    let tool = commands::TOOLS.contains(&name.as_str()) || real::TOOLS.contains(&name.as_str());
    let answer = if tool {
        play(&name, &words)
    } else {
        return own(words);
    };
    ExitCode::from(answer)
}

fn own(words: Vec<OsString>) -> ExitCode {
    ExitCode::from(commands::run(words).deliver())
}

/// Plays a tool, with its line in the call log before and after.
fn play(name: &str, words: &[OsString]) -> u8 {
    let argv: Vec<String> = words
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let world = env::var_os("LAB_WORLD").map(PathBuf::from);
    let folder = world.as_deref().map(Folder::new);
    // A tool that is called outside a world has no log; it says so itself if it needs a world.
    let begun = folder
        .as_ref()
        .and_then(|folder| folder.begin_call(name, &argv).ok());
    if let Some(world) =
        world.filter(|world| is_real(name, world) && !real::tool::is_played(name, &argv))
    {
        let code = real::tool::run(name, &world, &argv)
            .unwrap_or_else(|why| Answer::fail(70, format!("lab: {why}\n")).deliver());
        return end(folder.zip(begun), code);
    }
    let answer: Answer = match name {
        "talosctl" => talosctl::run(&argv),
        "op" => op::run(&argv),
        "kubectl" => kubectl::run(&argv),
        "helm" => helm::run(&argv),
        "kustomize" => kustomize::run(&argv),
        "cilium" => cilium::run(&argv),
        "flux" => flux::run(&argv),
        _ => dig::run(&argv),
    };
    end(folder.zip(begun), answer.deliver())
}

/// Returns whether a tool is the real one in a world.
fn is_real(name: &str, world: &Path) -> bool {
    real::TOOLS.contains(&name) && real::Setup::of(world).is_some()
}

/// Writes the end of a call into the log.
fn end(call: Option<(Folder, String)>, code: u8) -> u8 {
    match call {
        Some((folder, call)) if folder.end_call(&call, code).is_err() => 70,
        _ => code,
    }
}
