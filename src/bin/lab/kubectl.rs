//! The played `kubectl`, 1.34.1: objects of a cluster, raw paths, and the kubeconfig.

mod apply;
mod delete;
mod get;
mod settings;
mod table;
mod wait;

use std::env;
use std::fs;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::client::{NoWay, Server};
use crate::cobra::{Invocation, Tool, parse};
use crate::kube::Kubeconfig;
use crate::kubernetes::kinds::{self, Kind};
use crate::kubernetes::value::text;
use crate::kubernetes::{Objects, Store as _};
use crate::room::{Reply, Room};
use crate::world::World;

const FLAGS: [&str; 8] = [
    "kubeconfig",
    "context",
    "server",
    "output",
    "help",
    "request-timeout",
    "cache-dir",
    "namespace",
];

/// Plays a call.
pub(crate) fn run(words: &[String]) -> Answer {
    let call = match parse(Tool::Kubectl, words) {
        Ok(call) => call,
        Err(answer) => return answer,
    };
    let played = match call.path.as_str() {
        "get" => get::get(&call),
        "apply" => apply::apply(&call),
        "delete" => delete::delete(&call),
        "wait" => wait::wait(&call),
        "rollout status" => wait::rollout(&call),
        "version" => version(&call),
        "config get-contexts" => settings::contexts(&call),
        "config current-context" => settings::current(&call),
        "config view" => settings::view(&call),
        path => Err(Answer::not_played(&format!("kubectl {path}"))),
    };
    played.unwrap_or_else(|answer| answer)
}

fn plays(call: &Invocation, own: &[&str]) -> Result<(), Answer> {
    let all: Vec<&str> = FLAGS.iter().chain(own).copied().collect();
    call.plays(&all)
}

fn error(text: &str) -> Answer {
    Answer::fail(1, format!("{text}\n"))
}

/// Reads the kubeconfig that flag or environment name.
fn config(call: &Invocation) -> Result<Kubeconfig, Answer> {
    let given = call.flag("kubeconfig").filter(|path| !path.is_empty());
    let path = given
        .map(ToString::to_string)
        .or_else(|| env::var("KUBECONFIG").ok().filter(|path| !path.is_empty()));
    let path =
        path.unwrap_or_else(|| format!("{}/.kube/config", env::var("HOME").unwrap_or_default()));
    match fs::read_to_string(&path) {
        Ok(text) => Kubeconfig::read(&text).map_err(|why| {
            error(&format!(
                "error: error loading config file \"{path}\": {why}"
            ))
        }),
        Err(_) if given.is_some() => Err(error(&format!(
            "error: stat {path}: no such file or directory"
        ))),
        Err(_) => Ok(Kubeconfig::read("").expect("an empty text is an empty config")),
    }
}

fn server(call: &Invocation) -> Result<Server, Answer> {
    let config = config(call)?;
    Server::of(&config, call.flag("context"), call.flag("server")).ok_or_else(|| {
        error(&match call.flag("context") {
            Some(name) => format!("error: context \"{name}\" does not exist"),
            None => format!(
                "error: context was not found for specified context: {}",
                config.current()
            ),
        })
    })
}

/// Connects; returns the cluster whose API answers, or how kubectl ends. Discovery is tried several times.
fn connect(world: &mut World, server: &Server, repeats: usize) -> Result<usize, Reply> {
    server.reach(world).map_err(|way| {
        if way == NoWay::Unauthorized {
            return Reply::Done(error(
                "error: You must be logged in to the server (Unauthorized)",
            ));
        }
        let why = way.why();
        let klog = format!(
            "E1123 01:08:13.124222   27311 memcache.go:265] \"Unhandled Error\" err=\"couldn't get current server API group list: Get \\\"{}/api?timeout=32s\\\": {why}\"\n",
            server.url
        );
        let last = match &way {
            NoWay::Refused(_) => format!(
                "The connection to the server {} was refused - did you specify the right host or port?",
                server.authority()
            ),
            _ => format!("Unable to connect to the server: {why}"),
        };
        Reply::After(
            way.takes(),
            error(&format!("{}{last}", klog.repeat(repeats))),
        )
    })
}

/// Returns the namespace that a call is about.
fn namespace(call: &Invocation, server: &Server) -> String {
    let given = call.flag("namespace").filter(|name| !name.is_empty());
    given.map_or_else(|| server.namespace.clone(), ToString::to_string)
}

/// Returns the kind that a word means, or kubectl's refusal (which cuts the group off).
fn kind_called(objects: &Objects, word: &str) -> Result<Kind, Answer> {
    kinds::called(objects, word).ok_or_else(|| {
        let plain = word.split('.').next().unwrap_or_default();
        error(&format!(
            "error: the server doesn't have a resource type \"{plain}\""
        ))
    })
}

fn not_found(kind: &Kind, name: &str) -> String {
    format!(
        "Error from server (NotFound): {} \"{name}\" not found",
        kind.resource()
    )
}

/// What a call is about: kinds, and names if it says some.
#[derive(Debug, Default, PartialEq, Eq)]
struct Operands {
    /// Kind and name.
    named: Vec<(String, String)>,
    /// Kinds without names.
    kinds: Vec<String>,
}

/// Reads `TYPE[,TYPE] [NAME …]` or `TYPE/NAME …`.
fn operands(call: &Invocation) -> Result<Operands, Answer> {
    let mut all = Operands::default();
    if call.args.iter().any(|word| word.contains('/')) {
        for word in &call.args {
            let Some((kind, name)) = word.split_once('/') else {
                return Err(error(&format!(
                    "error: there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'): {word}"
                )));
            };
            all.named.push((kind.to_string(), name.to_string()));
        }
        return Ok(all);
    }
    let Some((kinds, names)) = call.args.split_first() else {
        return Ok(all);
    };
    let kinds: Vec<String> = kinds.split(',').map(ToString::to_string).collect();
    if names.is_empty() {
        all.kinds = kinds;
        return Ok(all);
    }
    for kind in kinds {
        let named = names.iter().map(|name| (kind.clone(), name.clone()));
        all.named.extend(named);
    }
    Ok(all)
}

/// Returns whether labels fulfil a selector of equalities, as `-l` takes it.
fn selected(selector: &str, object: &Value) -> Result<bool, Answer> {
    let mut all = true;
    for part in selector.split(',').filter(|part| !part.is_empty()) {
        if part.contains(['(', ' ', '!']) {
            return Err(Answer::not_played(&format!("kubectl -l {part}")));
        }
        let path = |key: &str| {
            let key = key.replace('~', "~0").replace('/', "~1");
            object.pointer(&format!("/metadata/labels/{key}")).cloned()
        };
        all &= match part.split_once('=') {
            Some((key, value)) => {
                path(key) == Some(json!(value.strip_prefix('=').unwrap_or(value)))
            }
            None => path(part).is_some(),
        };
    }
    Ok(all)
}

/// Returns an object as a reader sees it: without the managers of its fields and what the lab alone knows about it.
fn presented(object: &Value, now: &str) -> Value {
    let mut seen = object.clone();
    let hide = |seen: &mut Value, parent: &str, name: &str| {
        if let Some(members) = seen.pointer_mut(parent).and_then(Value::as_object_mut) {
            members.shift_remove(name);
        }
    };
    hide(&mut seen, "/metadata", "managedFields");
    match text(object, "/kind") {
        "Pod" => {
            hide(&mut seen, "/status", "boot");
            hide(&mut seen, "/status", "said");
        }
        "Kustomization" => {
            hide(&mut seen, "/status", "tried");
            hide(&mut seen, "/status", "checking");
        }
        "Node" => {
            let conditions = seen
                .pointer_mut("/status/conditions")
                .and_then(Value::as_array_mut);
            // A kubelet that posts does so all the time; the store is not written for that.
            for condition in conditions.into_iter().flatten() {
                if condition["status"] == "Unknown" {
                    condition["lastHeartbeatTime"] = condition["lastTransitionTime"].clone();
                } else {
                    condition["lastHeartbeatTime"] = json!(now);
                }
            }
        }
        _ => {}
    }
    seen
}

const SERVER_VERSION: &str = r#"{
  "major": "1",
  "minor": "34",
  "emulationMajor": "1",
  "emulationMinor": "34",
  "minCompatibilityMajor": "1",
  "minCompatibilityMinor": "33",
  "gitVersion": "v1.34.1",
  "gitCommit": "93248f9ae092f571eb870b7664c534bfc7d00f03",
  "gitTreeState": "clean",
  "buildDate": "2025-09-09T19:37:50Z",
  "goVersion": "go1.24.6",
  "compiler": "gc",
  "platform": "linux/amd64"
}"#;

/// Returns what a raw path of a cluster's API leads to.
fn raw(call: &Invocation, path: &str) -> Result<Answer, Answer> {
    if let Some(word) = call.args.first() {
        return Err(error(&format!(
            "error: arguments may not be passed when --raw is specified: {word}"
        )));
    }
    let server = server(call)?;
    let room = Room::open()?;
    let path = path.to_string();
    Ok(room.play(100, |world| {
        let cluster = match connect(world, &server, 0) {
            Ok(cluster) => cluster,
            Err(reply) => return reply,
        };
        let bare = path.split('?').next().unwrap_or_default();
        let proxied = path
            .strip_prefix("/api/v1/nodes/")
            .and_then(|rest| rest.split_once("/proxy/"));
        Reply::Done(match bare {
            "/version" => Answer::out(SERVER_VERSION),
            "/readyz" | "/livez" | "/healthz" => Answer::out("ok"),
            "/api/v1/nodes" => {
                let now = world.rfc3339(world.now_ms);
                let objects = world.objects(cluster);
                let items: Vec<Value> = objects.list("Node").into_iter().map(|node| presented(node, &now)).collect();
                Answer::out(json!({ "kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": items }).to_string())
            }
            _ if proxied.is_some() => {
                let (node, asked) = proxied.unwrap_or_default();
                world.ask(cluster, |objects, outside| crate::kubernetes::models::through_node(objects, outside, node, asked)).map_or_else(
                    || error("Error from server (ServiceUnavailable): the server is currently unable to handle the request"),
                    Answer::out,
                )
            }
            path if path.starts_with("/api/") || path.starts_with("/apis/") => Answer::not_played(&format!("kubectl get --raw {path}")),
            _ => error("Error from server (NotFound): the server could not find the requested resource"),
        })
    }))
}

fn version(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["client"])?;
    let json_wanted = match call.flag("output") {
        None => false,
        Some("json") => true,
        Some(other) => return Err(Answer::not_played(&format!("kubectl version -o {other}"))),
    };
    let known: Value = serde_json::from_str(SERVER_VERSION).unwrap_or_default();
    let client = "Client Version: v1.34.1\nKustomize Version: v5.7.1\n";
    let both = |server: Option<&Value>| {
        let mut value = json!({ "clientVersion": known, "kustomizeVersion": "v5.7.1" });
        if let Some(server) = server {
            value["serverVersion"] = server.clone();
        }
        crate::text::pretty(&value, "  ") + "\n"
    };
    if call.switch("client", false) {
        return Ok(Answer::out(if json_wanted {
            both(None)
        } else {
            client.to_string()
        }));
    }
    let server = server(call)?;
    let room = Room::open()?;
    Ok(room.play(100, |world| match connect(world, &server, 0) {
        Ok(_) if json_wanted => Reply::Done(Answer::out(both(Some(&known)))),
        Ok(_) => Reply::Done(Answer::out(format!("{client}Server Version: v1.34.1\n"))),
        Err(Reply::After(after, mut answer)) => {
            answer.stdout = if json_wanted {
                both(None).into_bytes()
            } else {
                client.into()
            };
            Reply::After(after, answer)
        }
        Err(other) => other,
    }))
}
