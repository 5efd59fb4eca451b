//! `talosctl config …`: looks after the talosconfig file.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::plays;
use super::talosconfig::{Context, Talosconfig};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::facts::glob;
use crate::text::{go_json, lines, row, table};

/// Plays one of the commands.
pub(super) fn run(call: &Invocation) -> Result<Answer, Answer> {
    plays(
        call,
        &["ca", "crt", "key", "output", "noconfirm", "dry-run"],
    )?;
    let (mut config, path) = Talosconfig::load(call)?;
    let save = |config: &Talosconfig| config.save(&path).map_err(|why| call.fail(why));
    let word = call.args.first().cloned().unwrap_or_default();
    match call.path.as_str() {
        "config endpoint" => {
            current(call, &mut config)?.endpoints.clone_from(&call.args);
            save(&config)?;
            Ok(Answer::silent())
        }
        "config node" => {
            current(call, &mut config)?.nodes.clone_from(&call.args);
            save(&config)?;
            Ok(Answer::silent())
        }
        "config context" => {
            if !config.contexts.contains_key(&word) {
                return Err(call.fail(format!("context \"{word}\" is not defined")));
            }
            config.context = word;
            save(&config)?;
            Ok(Answer::silent())
        }
        "config contexts" => Ok(Answer::out(contexts(&config))),
        "config info" => info(call, &config),
        "config merge" => merge(call, &mut config, &path, &word),
        "config add" => add(call, &mut config, &path, &word),
        "config remove" => remove(call, &mut config, &path, &word),
        path => Err(Answer::not_played(&format!("talosctl {path}"))),
    }
}

fn current<'a>(call: &Invocation, config: &'a mut Talosconfig) -> Result<&'a mut Context, Answer> {
    if config.context.is_empty() {
        return Err(call.fail("no context is set"));
    }
    let name = call
        .flag("context")
        .map_or_else(|| config.context.clone(), ToString::to_string);
    config
        .contexts
        .get_mut(&name)
        .ok_or_else(|| call.fail(format!("context \"{name}\" is not defined")))
}

fn contexts(config: &Talosconfig) -> String {
    let mut rows = vec![row(&["CURRENT", "NAME", "ENDPOINTS", "NODES"])];
    for (name, context) in &config.contexts {
        let mark = if *name == config.context { "*" } else { "" };
        let nodes = if context.nodes.len() > 3 {
            format!("{}...", context.nodes[..3].join(","))
        } else {
            context.nodes.join(",")
        };
        rows.push(row(&[mark, name, &context.endpoints.join(","), &nodes]));
    }
    table(&rows, 3)
}

/// Returns the end of a certificate's validity, read from its DER: the second time after the first.
fn not_after(crt: &str) -> Option<jiff::Timestamp> {
    let pem = String::from_utf8(STANDARD.decode(crt).ok()?).ok()?;
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = STANDARD.decode(body).ok()?;
    let times: Vec<String> = (0..der.len().saturating_sub(17))
        .filter(|&at| matches!((der[at], der[at + 1]), (0x17, 13) | (0x18, 15)))
        .filter_map(|at| {
            let text = std::str::from_utf8(&der[at + 2..at + 2 + usize::from(der[at + 1])]).ok()?;
            let text = if der[at] == 0x17 {
                format!("20{text}")
            } else {
                text.to_string()
            };
            (text.ends_with('Z') && text.len() == 15).then_some(text)
        })
        .collect();
    let text = times.get(1)?;
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &text[..4],
        &text[4..6],
        &text[6..8],
        &text[8..10],
        &text[10..12],
        &text[12..14]
    );
    iso.parse().ok()
}

fn info(call: &Invocation, config: &Talosconfig) -> Result<Answer, Answer> {
    let name = call.flag("context").unwrap_or(&config.context).to_string();
    let context = config
        .contexts
        .get(&name)
        .ok_or_else(|| call.fail(format!("context \"{name}\" is not defined")))?;
    let or_not = |words: &[String]| {
        if words.is_empty() {
            "not defined".to_string()
        } else {
            words.join(", ")
        }
    };
    let end = not_after(&context.crt);
    let days = end.map_or(365, |end| {
        (end.as_second() - jiff::Timestamp::now().as_second()) / 86_400
    });
    let until = end.map_or_else(String::new, |end| end.strftime("%Y-%m-%d").to_string());
    if let Some(output) = call.flag("output").filter(|output| *output != "text") {
        let value = json!({
            "context": name, "nodes": context.nodes, "endpoints": context.endpoints,
            "roles": ["os:admin"], "certTTL": format!("{}h0m0s", days * 24), "certNotAfter": end.map(|end| end.to_string()),
        });
        return match output {
            "json" => Ok(Answer::out(go_json(&value, "    ") + "\n")),
            "yaml" => Ok(Answer::out(
                serde_yaml::to_string(&value).unwrap_or_default(),
            )),
            other => Err(call.fail(format!("unknown output format: \"{other}\""))),
        };
    }
    let mut text = format!(
        "Current context:     {name}\nNodes:               {}\nEndpoints:           {}\n",
        or_not(&context.nodes),
        or_not(&context.endpoints)
    );
    if !context.crt.is_empty() {
        let when = match days {
            ..0 => format!("{} days ago", -days),
            0..60 => format!("{days} days from now"),
            60..360 => format!("{} months from now", days / 30),
            _ => "1 year from now".to_string(),
        };
        text.push_str("Roles:               os:admin\nCertificate expires: ");
        text += &lines([format!("{when} ({until})")]);
    }
    Ok(Answer::out(text))
}

fn merge(
    call: &Invocation,
    config: &mut Talosconfig,
    path: &Path,
    from: &str,
) -> Result<Answer, Answer> {
    let other = Talosconfig::read(Path::new(from))
        .map_err(|why| call.fail(format!("error reading config: {why}")))?;
    let mut answer = Answer::silent();
    for (name, context) in other.contexts {
        let mut free = name.clone();
        let mut number = 0;
        while config.contexts.contains_key(&free) {
            number += 1;
            free = format!("{name}-{number}");
        }
        if free != name {
            answer.stderr += &lines([format!(
                "renamed talosconfig context \"{name}\" -> \"{free}\""
            )]);
        }
        if name == other.context {
            config.context.clone_from(&free);
        }
        config.contexts.insert(free, context);
    }
    config.save(path).map_err(|why| call.fail(why))?;
    Ok(answer)
}

fn add(
    call: &Invocation,
    config: &mut Talosconfig,
    path: &Path,
    name: &str,
) -> Result<Answer, Answer> {
    let read = |flag: &str| -> Result<String, Answer> {
        let Some(file) = call.flag(flag).filter(|file| !file.is_empty()) else {
            return Ok(String::new());
        };
        let bytes = std::fs::read(file)
            .map_err(|error| call.fail(format!("error reading {flag}: open {file}: {error}")))?;
        Ok(STANDARD.encode(bytes))
    };
    let (ca, crt, key) = (read("ca")?, read("crt")?, read("key")?);
    if crt.is_empty() != key.is_empty() {
        return Err(call.fail("if either the 'crt' or 'key' flag is specified, both are required"));
    }
    config.contexts.insert(
        name.to_string(),
        Context {
            ca,
            crt,
            key,
            ..Context::default()
        },
    );
    if config.context.is_empty() {
        config.context = name.to_string();
    }
    config.save(path).map_err(|why| call.fail(why))?;
    Ok(Answer::silent())
}

fn remove(
    call: &Invocation,
    config: &mut Talosconfig,
    path: &Path,
    pattern: &str,
) -> Result<Answer, Answer> {
    let matched: Vec<String> = config
        .contexts
        .keys()
        .filter(|name| glob(pattern, name))
        .cloned()
        .collect();
    if matched.is_empty() {
        return Err(call.fail(format!("no contexts matched \"{pattern}\"")));
    }
    let mut answer = Answer::silent();
    for name in matched {
        if name == config.context {
            answer.stderr += &lines([format!(
                "skipping removal of current context \"{name}\", please change it to another before removing"
            )]);
        } else if call.switch("noconfirm", false) {
            answer.stderr += &lines([format!("removing context \"{name}\"")]);
            if !call.switch("dry-run", false) {
                config.contexts.remove(&name);
            }
        } else {
            // Nobody answers the question of a tool that has no terminal.
            answer
                .stdout
                .extend(format!("remove context \"{name}\"? (y/N): ").into_bytes());
        }
    }
    config.save(path).map_err(|why| call.fail(why))?;
    Ok(answer)
}
