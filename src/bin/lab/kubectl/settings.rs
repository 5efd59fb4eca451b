//! `kubectl config …`: reads the kubeconfig, without a server.

use serde_json::json;

use super::{config, error, plays};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::jsonpath;
use crate::text::{lines, row, table};

/// Plays `config get-contexts`.
pub(super) fn contexts(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["no-headers"])?;
    let config = config(call)?;
    let mut names = config.names("contexts");
    names.sort();
    if !call.args.is_empty() {
        if let Some(missing) = call.args.iter().find(|name| !names.contains(name)) {
            return Err(error(&format!("error: context {missing} not found")));
        }
        names.retain(|name| call.args.contains(name));
    }
    match call.flag("output") {
        Some("name") => return Ok(Answer::out(lines(&names))),
        None | Some("") => {}
        Some(other) => {
            return Err(error(&format!(
                "error: output must be one of '' or 'name': {other}"
            )));
        }
    }
    let mut rows = vec![row(&[
        "CURRENT",
        "NAME",
        "CLUSTER",
        "AUTHINFO",
        "NAMESPACE",
    ])];
    for name in &names {
        let context = config.get("contexts", name);
        let word = |key: &str| {
            context
                .and_then(|context| context[key].as_str())
                .unwrap_or_default()
                .to_string()
        };
        let mark = if name == config.current() { "*" } else { "" };
        rows.push(row(&[
            mark,
            name,
            &word("cluster"),
            &word("user"),
            &word("namespace"),
        ]));
    }
    Ok(Answer::out(table(&rows, 3)))
}

/// Plays `config current-context`.
pub(super) fn current(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &[])?;
    let config = config(call)?;
    if config.current().is_empty() {
        return Err(error("error: current-context is not set"));
    }
    Ok(Answer::out(format!("{}\n", config.current())))
}

/// Plays `config view`.
pub(super) fn view(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["raw", "minify", "flatten"])?;
    let config = config(call)?;
    let mut value = config.value();
    if call.switch("minify", false) {
        let name = call.flag("context").unwrap_or(config.current()).to_string();
        let Some(context) = config.get("contexts", &name) else {
            return Err(error(&format!("error: cannot locate context {name}")));
        };
        for (list, wanted) in [
            ("contexts", json!(name)),
            ("clusters", context["cluster"].clone()),
            ("users", context["user"].clone()),
        ] {
            if let Some(entries) = value[list].as_array_mut() {
                entries.retain(|entry| entry["name"] == wanted);
            }
        }
        value["current-context"] = json!(name);
    }
    if !call.switch("raw", false) {
        for (list, member, keys) in [
            (
                "clusters",
                "cluster",
                ["certificate-authority-data", "certificate-authority-data"],
            ),
            (
                "users",
                "user",
                ["client-certificate-data", "client-key-data"],
            ),
        ] {
            for entry in value[list].as_array_mut().into_iter().flatten() {
                for key in keys {
                    if entry[member].get(key).is_some() {
                        entry[member][key] = json!("DATA+OMITTED");
                    }
                }
            }
        }
    }
    match call.flag("output") {
        None | Some("yaml") => Ok(Answer::out(
            serde_yaml::to_string(&value).unwrap_or_default(),
        )),
        Some("json") => Ok(Answer::out(crate::text::pretty(&value, "    ") + "\n")),
        Some(output) if output.starts_with("jsonpath=") => {
            let text = jsonpath::evaluate(output.trim_start_matches("jsonpath="), &value);
            text.map(Answer::out)
                .map_err(|why| error(&format!("error: {why}")))
        }
        Some(other) => Err(Answer::not_played(&format!(
            "kubectl config view -o {other}"
        ))),
    }
}
