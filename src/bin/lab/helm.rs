//! The played `helm`, 3.19: releases of the lab's charts.
//!
//! What a release is and how one is installed is in [`crate::kubernetes::helm`]; here is what a call takes and says. An installation has two
//! steps, with a record that says `pending-…` between them: who is killed there leaves it, and the next call is refused, as with the real tool.

use std::io::Read as _;

use regex_lite::Regex;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::client::{NoWay, Server};
use crate::cobra::{Invocation, Tool, parse};
use crate::front;
use crate::kubernetes::charts::{self, Chart};
use crate::kubernetes::helm::{self, Release, Request};
use crate::kubernetes::{Objects, Outside, Store as _};
use crate::room::Reply;
use crate::text::{lines, sorted};

/// What the command line says of itself.
const VERSION: &str = "v3.19.0";

/// Flags that every command of the lab's `helm` takes.
const FLAGS: [&str; 4] = ["kubeconfig", "kube-context", "namespace", "help"];

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Helm, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    let played = match call.path.as_str() {
        "version" => version(&call),
        "list" => list(&call),
        "get values" => get_values(&call),
        "history" => history(&call),
        "status" => status(&call),
        "upgrade" => upgrade(&call),
        "uninstall" => uninstall(&call),
        "rollback" => rollback(&call),
        path => Err(Answer::not_played(&format!("helm {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

fn plays(call: &Invocation, own: &[&str]) -> Result<(), Answer> {
    let all: Vec<&str> = FLAGS.iter().chain(own).copied().collect();
    call.plays(&all)
}

fn error(text: &str) -> Answer {
    Answer::fail(1, format!("Error: {text}\n"))
}

fn server(call: &Invocation) -> Result<Server, Answer> {
    front::server(call.flag("kubeconfig"), call.flag("kube-context"))
        .map_err(|why| error(&format!("Kubernetes cluster unreachable: {why}")))
}

fn unreachable(server: &Server, trouble: &NoWay) -> Answer {
    error(&format!(
        "Kubernetes cluster unreachable: {}",
        front::sentence(server, "/version", trouble)
    ))
}

fn namespace(call: &Invocation, server: &Server) -> String {
    call.flag("namespace")
        .unwrap_or(&server.namespace)
        .to_string()
}

/// Asks about releases.
fn ask(call: &Invocation, question: impl Fn(&Objects, &str) -> Answer) -> Result<Answer, Answer> {
    let server = server(call)?;
    let namespace = namespace(call, &server);
    Ok(front::ask(
        &server,
        150,
        |trouble| unreachable(&server, trouble),
        |objects, _| Reply::Done(question(objects, &namespace)),
    ))
}

fn version(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["short", "template", "client"])?;
    Ok(Answer::out(match call.flag("template") {
        Some("{{.Version}}") => VERSION.to_string(),
        Some(template) => {
            return Err(Answer::not_played(&format!(
                "helm version --template {template}"
            )));
        }
        None if call.switch("short", false) => format!("{VERSION}\n"),
        None => format!(
            "version.BuildInfo{{Version:\"{VERSION}\", GitCommit:\"3d8990f0836691f0229297773f3524598f46bda6\", GitTreeState:\"clean\", GoVersion:\"go1.24.7\"}}\n"
        ),
    }))
}

fn list(call: &Invocation) -> Result<Answer, Answer> {
    plays(
        call,
        &[
            "all",
            "all-namespaces",
            "filter",
            "output",
            "short",
            "no-headers",
        ],
    )?;
    let filter = match call.flag("filter") {
        None => None,
        // Go's expressions and these agree on all that a release's name can need.
        Some(text) => Some(Regex::new(text).map_err(|why| error(&why.to_string()))?),
    };
    ask(call, |objects, namespace| {
        let namespace = if call.switch("all-namespaces", false) {
            ""
        } else {
            namespace
        };
        let chosen = listed(
            objects,
            namespace,
            filter.as_ref(),
            call.switch("all", false),
        );
        show_list(call, &chosen)
    })
}

/// Returns the newest revision of every release, by name; without `all`, those that stand or failed.
fn listed(objects: &Objects, namespace: &str, filter: Option<&Regex>, all: bool) -> Vec<Release> {
    let mut found: Vec<Release> = Vec::new();
    for release in helm::records(objects, namespace) {
        if filter.is_some_and(|filter| !filter.is_match(&release.name)) {
            continue;
        }
        let known = found
            .iter_mut()
            .find(|known| known.name == release.name && known.namespace == release.namespace);
        match known {
            Some(known) if known.version < release.version => *known = release,
            Some(_) => {}
            None => found.push(release),
        }
    }
    found.retain(|release| all || matches!(release.status.as_str(), "deployed" | "failed"));
    found.sort_by(|one, other| (&one.name, &one.namespace).cmp(&(&other.name, &other.namespace)));
    found
}

fn show_list(call: &Invocation, chosen: &[Release]) -> Answer {
    let short = call.switch("short", false);
    let names: Vec<&str> = chosen.iter().map(|release| release.name.as_str()).collect();
    let value = if short {
        json!(names)
    } else {
        let element = |release: &Release| {
            json!({
                "name": release.name, "namespace": release.namespace, "revision": release.version.to_string(), "updated": updated(&release.last),
                "status": release.status, "chart": chart_name(release), "app_version": release.app_version,
            })
        };
        Value::Array(chosen.iter().map(element).collect())
    };
    match call.flag("output").unwrap_or("table") {
        "json" => Answer::out(format!("{value}\n")),
        "yaml" => Answer::out(serde_yaml::to_string(&value).unwrap_or_default()),
        _ if short => Answer::out(lines(names)),
        _ => {
            let mut rows = vec![words(&[
                "NAME",
                "NAMESPACE",
                "REVISION",
                "UPDATED",
                "STATUS",
                "CHART",
                "APP VERSION",
            ])];
            if call.switch("no-headers", false) {
                rows.clear();
            }
            rows.extend(chosen.iter().map(|release| {
                words(&[
                    &release.name,
                    &release.namespace,
                    &release.version.to_string(),
                    &updated(&release.last),
                    &release.status,
                    &chart_name(release),
                    &release.app_version,
                ])
            }));
            Answer::out(columns(&rows))
        }
    }
}

fn words(cells: &[&str]) -> Vec<String> {
    crate::text::row(cells)
}

/// Returns rows as Helm shows them: every cell padded, a tab between two.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    lines(rows.iter().map(|row| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("\t")
    }))
}

fn chart_name(release: &Release) -> String {
    format!("{}-{}", release.chart, release.chart_version)
}

/// Returns a date as Go prints it: `2026-11-23 01:10:03 +0000 UTC`.
fn updated(date: &str) -> String {
    format!("{} +0000 UTC", date.trim_end_matches('Z').replace('T', " "))
}

/// Returns a date as C prints it: `Mon Nov 23 01:10:00 2026`.
fn ansi(date: &str) -> String {
    let moment = date
        .parse::<jiff::Timestamp>()
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    moment.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

fn get_values(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["output"])?;
    ask(call, |objects, namespace| {
        let Some(release) = helm::last(objects, namespace, &call.args[0]) else {
            return error("release: not found");
        };
        let empty = release
            .config
            .as_object()
            .is_none_or(serde_json::Map::is_empty);
        let values = if empty {
            Value::Null
        } else {
            sorted(&release.config)
        };
        let yaml = || {
            if empty {
                "null\n".to_string()
            } else {
                serde_yaml::to_string(&values).unwrap_or_default()
            }
        };
        Answer::out(match call.flag("output").unwrap_or("table") {
            "json" => compact(&values),
            "yaml" => yaml(),
            _ => format!("USER-SUPPLIED VALUES:\n{}", yaml()),
        })
    })
}

/// Returns JSON on one line, as Go's encoder writes it.
fn compact(value: &Value) -> String {
    let line = sorted(value).to_string();
    let line = line.replace('<', "\\u003c").replace('>', "\\u003e");
    line.replace('&', "\\u0026") + "\n"
}

fn history(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["output"])?;
    ask(call, |objects, namespace| {
        let all = helm::history(objects, namespace, &call.args[0]);
        if all.is_empty() {
            return error("release: not found");
        }
        let element = |release: &Release| {
            json!({
                "revision": release.version, "updated": release.last, "status": release.status, "chart": chart_name(release),
                "app_version": release.app_version, "description": release.description,
            })
        };
        let value = Value::Array(all.iter().map(element).collect());
        match call.flag("output").unwrap_or("table") {
            "json" => Answer::out(format!("{value}\n")),
            "yaml" => Answer::out(serde_yaml::to_string(&value).unwrap_or_default()),
            _ => {
                let mut rows = vec![words(&[
                    "REVISION",
                    "UPDATED",
                    "STATUS",
                    "CHART",
                    "APP VERSION",
                    "DESCRIPTION",
                ])];
                rows.extend(all.iter().map(|release| {
                    words(&[
                        &release.version.to_string(),
                        &ansi(&release.last),
                        &release.status,
                        &chart_name(release),
                        &release.app_version,
                        &release.description,
                    ])
                }));
                Answer::out(columns(&rows))
            }
        }
    })
}

/// What Helm says of a release after it was changed, and in `helm status`.
fn picture(release: &Release) -> String {
    format!(
        "NAME: {}\nLAST DEPLOYED: {}\nNAMESPACE: {}\nSTATUS: {}\nREVISION: {}\nTEST SUITE: None\n",
        release.name,
        ansi(&release.last),
        release.namespace,
        release.status,
        release.version
    )
}

fn status(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &[])?;
    ask(call, |objects, namespace| {
        helm::last(objects, namespace, &call.args[0]).map_or_else(
            || error("release: not found"),
            |release| Answer::out(picture(&release)),
        )
    })
}

/// Reads the values of all `-f`, later ones over earlier ones.
fn values(call: &Invocation) -> Result<Value, Answer> {
    let mut all = json!({});
    for file in call.list("values") {
        let text = if file == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|why| error(&format!("open -: {why}")))?;
            text
        } else {
            std::fs::read_to_string(&file)
                .map_err(|_| error(&format!("open {file}: no such file or directory")))?
        };
        lay_over(&mut all, read_values(&file, &text)?);
    }
    Ok(all)
}

fn read_values(file: &str, text: &str) -> Result<Value, Answer> {
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let value: Value = serde_yaml::from_str(text).map_err(|why| {
        error(&format!(
            "failed to parse {file}: error converting YAML to JSON: {why}"
        ))
    })?;
    match value {
        Value::Null => Ok(json!({})),
        Value::Object(_) => Ok(value),
        other => {
            let kind = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            Err(error(&format!(
                "failed to parse {file}: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
            )))
        }
    }
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(known) if known.is_object() && value.is_object() => lay_over(known, value),
                    _ => {
                        below.insert(name, value);
                    }
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// How far an installation has come.
enum Step {
    Begin,
    Apply(Box<Order>),
}

/// What is going to be installed.
struct Order {
    chart: Chart,
    values: Value,
    /// Whether there is a release that this replaces.
    standing: bool,
    /// What was already said on stdout.
    said: String,
    pulled: String,
}

fn upgrade(call: &Invocation) -> Result<Answer, Answer> {
    plays(
        call,
        &["install", "version", "values", "reset-values", "timeout"],
    )?;
    let name = call.args[0].clone();
    let url = call.args[1].clone();
    if !url.starts_with("oci://") {
        return Err(Answer::not_played(
            "helm upgrade with a chart that is not in a registry",
        ));
    }
    let Some(wanted) = call.flag("version").map(ToString::to_string) else {
        return Err(Answer::not_played("helm upgrade without --version"));
    };
    let server = server(call)?;
    let space = namespace(call, &server);
    let given = values(call)?;
    let mut step = Step::Begin;
    Ok(front::change(
        &server,
        300,
        |trouble| unreachable(&server, trouble),
        |objects, outside| match std::mem::replace(&mut step, Step::Begin) {
            Step::Begin => match begin(
                call,
                objects,
                outside,
                (&space, &name),
                (&url, &wanted),
                &given,
            ) {
                Err(answer) => Reply::Done(answer),
                Ok(order) => {
                    step = Step::Apply(Box::new(order));
                    Reply::Again(900)
                }
            },
            Step::Apply(order) => Reply::Done(apply(objects, outside, &space, &name, &order)),
        },
    ))
}

fn pending(objects: &mut Objects, space: &str, name: &str, order: &Order) {
    let last = helm::last(objects, space, name);
    let date = objects.date();
    let (status, description) = if order.standing {
        ("pending-upgrade", "Preparing upgrade")
    } else {
        ("pending-install", "Initial install underway")
    };
    let release = Release {
        name: name.to_string(),
        namespace: space.to_string(),
        version: last.as_ref().map_or(1, |last| last.version + 1),
        status: status.to_string(),
        description: description.to_string(),
        chart: order.chart.name.clone(),
        chart_version: order.chart.version.clone(),
        app_version: order.chart.app_version.clone(),
        config: order.values.clone(),
        manifest: Vec::new(),
        first: last.map_or_else(|| date.clone(), |last| last.first),
        last: date,
    };
    helm::record(objects, &release);
}

/// Looks whether it can be done, and says in the cluster that it is being done.
fn begin(
    call: &Invocation,
    objects: &mut Objects,
    outside: &mut Outside,
    (space, name): (&str, &str),
    (url, wanted): (&str, &str),
    given: &Value,
) -> Result<Order, Answer> {
    let last = helm::last(objects, space, name);
    let standing = last
        .as_ref()
        .is_some_and(|last| last.status != "uninstalled");
    let said = if standing {
        String::new()
    } else {
        format!("Release \"{name}\" does not exist. Installing it now.\n")
    };
    if !standing && !call.switch("install", false) {
        return Err(error(&format!(
            "UPGRADE FAILED: \"{name}\" has no deployed releases"
        )));
    }
    let fail = |why: &str| Answer {
        stdout: said.clone().into_bytes(),
        ..error(why)
    };
    let chart = charts::pull(outside, url, wanted).map_err(|why| fail(&why))?;
    let pulled = format!(
        "Pulled: {}:{wanted}\nDigest: {}\n",
        url.trim_start_matches("oci://"),
        chart.digest()
    );
    let told = |why: &str| Answer {
        stdout: said.clone().into_bytes(),
        stderr: format!(
            "{pulled}Error: {}{why}\n",
            if standing { "UPGRADE FAILED: " } else { "" }
        ),
        code: 1,
    };
    // Without values of its own a call takes those of the last one, also of one that failed.
    let empty = given.as_object().is_none_or(serde_json::Map::is_empty);
    let values = match last.filter(|_| standing && empty && !call.switch("reset-values", false)) {
        Some(last) => last.config,
        None => given.clone(),
    };
    let order = Order {
        chart,
        values,
        standing,
        said: said.clone(),
        pulled: pulled.clone(),
    };
    // What cannot be rendered or is not Helm's leaves no record; what the server refuses does.
    let mut trial = objects.clone();
    let request = request(space, name, &order);
    if let Err(why) = helm::upgrade(&mut trial, outside, &request) {
        *objects = trial;
        return Err(told(&why));
    }
    pending(objects, space, name, &order);
    Ok(order)
}

fn request<'a>(space: &'a str, name: &'a str, order: &'a Order) -> Request<'a> {
    Request {
        name,
        namespace: space,
        chart: &order.chart,
        values: &order.values,
    }
}

fn apply(
    objects: &mut Objects,
    outside: &mut Outside,
    space: &str,
    name: &str,
    order: &Order,
) -> Answer {
    // The record that says so is this call's own: it becomes the release.
    if let Some(own) =
        helm::last(objects, space, name).filter(|own| own.status.starts_with("pending-"))
    {
        let record = format!("sh.helm.release.v1.{name}.v{}", own.version);
        objects.remove("Secret", space, &record);
    }
    match helm::upgrade(objects, outside, &request(space, name, order)) {
        Err(why) => Answer {
            stdout: order.said.clone().into_bytes(),
            stderr: format!(
                "{}Error: {}{why}\n",
                order.pulled,
                if order.standing {
                    "UPGRADE FAILED: "
                } else {
                    ""
                }
            ),
            code: 1,
        },
        Ok(release) => {
            let done = if order.standing {
                format!("Release \"{name}\" has been upgraded. Happy Helming!\n")
            } else {
                order.said.clone()
            };
            Answer {
                stdout: (done + &picture(&release)).into_bytes(),
                stderr: order.pulled.clone(),
                code: 0,
            }
        }
    }
}

fn uninstall(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["ignore-not-found", "timeout"])?;
    let server = server(call)?;
    let space = namespace(call, &server);
    Ok(front::change(
        &server,
        400,
        |trouble| unreachable(&server, trouble),
        |objects, _| {
            let mut said = String::new();
            for name in &call.args {
                let done = helm::uninstall(objects, &space, name);
                if let Err(why) = done
                    && !call.switch("ignore-not-found", false)
                {
                    return Reply::Done(Answer {
                        stdout: said.into_bytes(),
                        ..error(&why)
                    });
                }
                said.push_str(&lines([format!("release \"{name}\" uninstalled")]));
            }
            Reply::Done(Answer::out(said))
        },
    ))
}

fn rollback(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["timeout"])?;
    let to = match call.args.get(1) {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            error(&format!(
                "could not convert revision to a number: strconv.Atoi: parsing \"{text}\": invalid syntax"
            ))
        })?,
    };
    let server = server(call)?;
    let space = namespace(call, &server);
    Ok(front::change(
        &server,
        600,
        |trouble| unreachable(&server, trouble),
        |objects, outside| {
            let done = helm::rollback(objects, outside, &space, &call.args[0], to);
            Reply::Done(match done {
                Ok(_) => Answer::out("Rollback was a success! Happy Helming!\n"),
                Err(why) => error(&why),
            })
        },
    ))
}

#[cfg(test)]
mod tests;
