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
mod remote;
mod room;
mod site;
mod talosctl;
mod text;
mod vault;
mod world;

use std::env;
use std::ffi::OsString;
use std::path::Path;
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
    let answer = if commands::TOOLS.contains(&name.as_str()) {
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
    let folder = env::var_os("LAB_WORLD").map(Folder::new);
    // A tool that is called outside a world has no log; it says so itself if it needs a world.
    let begun = folder
        .as_ref()
        .and_then(|folder| folder.begin_call(name, &argv).ok());
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
    let code = answer.deliver();
    if let (Some(folder), Some(call)) = (folder, begun)
        && folder.end_call(&call, code).is_err()
    {
        return 70;
    }
    code
}
