//! The played `kubectl`, 1.34.1: nodes, raw paths, and the kubeconfig.
//!
//! An API server is a node's: it answers when that node's etcd is healthy and its pod has started. Which nodes a
//! server's name stands for is the world's DNS.

mod settings;

use std::env;
use std::fs;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::cobra::{Invocation, Tool, parse};
use crate::jsonpath;
use crate::kube::Kubeconfig;
use crate::room::{Reply, Room};
use crate::text::{go_json, lines, row, table};
use crate::world::{Cluster, KubeNode, World};

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
        "get" => get(&call),
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

/// Whom a call talks to, and as whom.
struct Server {
    url: String,
    host: String,
    ca: String,
    crt: String,
}

fn server(call: &Invocation) -> Result<Server, Answer> {
    let config = config(call)?;
    let name = call
        .flag("context")
        .map_or_else(|| config.current().to_string(), ToString::to_string);
    let context = config.get("contexts", &name);
    if context.is_none() && (call.flag("context").is_some() || !name.is_empty()) {
        let text = if call.flag("context").is_some() {
            format!("error: context \"{name}\" does not exist")
        } else {
            format!("error: context was not found for specified context: {name}")
        };
        return Err(error(&text));
    }
    let word = |value: Option<&Value>, key: &str| {
        value
            .and_then(|value| value[key].as_str())
            .unwrap_or_default()
            .to_string()
    };
    let cluster = config.get("clusters", &word(context, "cluster"));
    let user = config.get("users", &word(context, "user"));
    let url = call
        .flag("server")
        .map_or_else(|| word(cluster, "server"), ToString::to_string);
    let url = if url.is_empty() {
        "http://localhost:8080".to_string()
    } else {
        url
    };
    let host = url
        .split("://")
        .last()
        .unwrap_or_default()
        .split(['/', ':'])
        .next()
        .unwrap_or_default()
        .to_string();
    Ok(Server {
        url,
        host,
        ca: word(cluster, "certificate-authority-data"),
        crt: word(user, "client-certificate-data"),
    })
}

/// Connects; returns the address of the node whose API server answers, or how kubectl ends.
fn connect(world: &mut World, server: &Server, repeats: usize) -> Result<String, Reply> {
    let resolved = if world.nodes.contains_key(&server.host)
        || server.host.parse::<std::net::IpAddr>().is_ok()
    {
        vec![server.host.clone()]
    } else if server.host == "localhost" {
        vec!["127.0.0.1".to_string()]
    } else {
        world.resolve(&server.host)
    };
    let authority = server
        .url
        .split("://")
        .last()
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_string();
    let fail = |after: u64, why: &str, last: String| {
        let klog = format!(
            "E1123 01:08:13.124222   27311 memcache.go:265] \"Unhandled Error\" err=\"couldn't get current server API group list: Get \\\"{}/api?timeout=32s\\\": {why}\"\n",
            server.url
        );
        Err(Reply::After(
            after,
            error(&format!("{}{last}", klog.repeat(repeats))),
        ))
    };
    if resolved.is_empty() {
        let why = format!(
            "dial tcp: lookup {} on {}:53: no such host",
            server.host, world.site.resolver
        );
        return fail(50, &why, format!("Unable to connect to the server: {why}"));
    }
    let stumbles = world.stumbles(&resolved[0]);
    // A client tries one address after the other until one accepts.
    let open = resolved
        .iter()
        .find(|ip| world.api_answers(ip))
        .cloned()
        .filter(|_| !stumbles);
    let Some(ip) = open else {
        let ip = &resolved[0];
        let absent = world
            .nodes
            .get(ip)
            .is_none_or(|node| node.port() == crate::world::Port::Absent)
            && ip != "127.0.0.1";
        if absent && resolved.len() == 1 {
            let why = format!("dial tcp {ip}:6443: connect: no route to host");
            return fail(
                3_000,
                &why,
                format!("Unable to connect to the server: {why}"),
            );
        }
        let why = format!("dial tcp {ip}:6443: connect: connection refused");
        let last = format!(
            "The connection to the server {authority} was refused - did you specify the right host or port?"
        );
        return fail(20, &why, last);
    };
    let ca = world.nodes[&ip]
        .facts()
        .map(|facts| facts.kube_ca.clone())
        .unwrap_or_default();
    if ca.trim() != server.ca.trim() {
        let why =
            "tls: failed to verify certificate: x509: certificate signed by unknown authority";
        return fail(20, why, format!("Unable to connect to the server: {why}"));
    }
    if server.crt.is_empty() {
        return Err(Reply::Done(error(
            "error: You must be logged in to the server (Unauthorized)",
        )));
    }
    Ok(ip)
}

fn get(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["raw", "ignore-not-found", "no-headers", "selector"])?;
    if let Some(path) = call.flag("raw") {
        return raw(call, path);
    }
    if call
        .flag("selector")
        .is_some_and(|selector| !selector.is_empty())
    {
        return Err(Answer::not_played("kubectl get --selector"));
    }
    let Some(kind) = call.args.first() else {
        return Err(Answer::fail(
            1,
            "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples\n",
        ));
    };
    let (kind, inline) = kind
        .split_once('/')
        .map_or((kind.as_str(), None), |(kind, name)| {
            (kind, Some(name.to_string()))
        });
    if !matches!(kind, "nodes" | "node" | "no") {
        return Err(Answer::not_played(&format!("kubectl get {kind}")));
    }
    let output = call.flag("output").unwrap_or_default().to_string();
    let known = matches!(output.as_str(), "" | "wide" | "json" | "yaml" | "name")
        || output.starts_with("jsonpath=");
    if !known {
        return Err(Answer::not_played(&format!("kubectl get -o {output}")));
    }
    let server = server(call)?;
    let room = Room::open()?;
    let names: Vec<String> = inline
        .into_iter()
        .chain(call.args.iter().skip(1).cloned())
        .collect();
    Ok(room.play(120, |world| {
        let ip = match connect(world, &server, 5) {
            Ok(ip) => ip,
            Err(Reply::After(after, mut answer)) if output == "json" && names.is_empty() => {
                answer.stdout = (empty_list() + "\n").into_bytes();
                return Reply::After(after, answer);
            }
            Err(reply) => return reply,
        };
        let Some(index) = world.kubernetes_of(&ip) else {
            return Reply::Done(error("error: the lab has lost a cluster"));
        };
        let objects: Vec<Value> = nodes(world, &world.clusters[index]);
        Reply::Done(show(call, &objects, &names, &output, world))
    }))
}

fn empty_list() -> String {
    go_json(
        &json!({ "apiVersion": "v1", "items": [], "kind": "List", "metadata": { "resourceVersion": "" } }),
        "    ",
    )
}

fn show(
    call: &Invocation,
    objects: &[Value],
    names: &[String],
    output: &str,
    world: &World,
) -> Answer {
    let mut missing = String::new();
    let mut found: Vec<Value> = Vec::new();
    for name in names {
        match objects
            .iter()
            .find(|object| object["metadata"]["name"] == name.as_str())
        {
            Some(object) => found.push(object.clone()),
            None if call.switch("ignore-not-found", false) => {}
            None => {
                missing += &lines([format!(
                    "Error from server (NotFound): nodes \"{name}\" not found"
                )]);
            }
        }
    }
    if names.is_empty() {
        found = objects.to_vec();
    }
    let single = names.len() == 1;
    let list = json!({ "apiVersion": "v1", "items": found, "kind": "List", "metadata": { "resourceVersion": "" } });
    let whole = if single {
        found.first().cloned()
    } else {
        Some(list)
    };
    let text = match (output, whole) {
        (_, None) => String::new(),
        ("json", Some(whole)) => go_json(&whole, "    ") + "\n",
        ("yaml", Some(whole)) => serde_yaml::to_string(&whole).unwrap_or_default(),
        ("name", _) => lines(found.iter().map(|object| {
            format!(
                "node/{}",
                object["metadata"]["name"].as_str().unwrap_or_default()
            )
        })),
        ("" | "wide", _) if found.is_empty() => {
            if missing.is_empty() && names.is_empty() {
                missing.push_str("No resources found\n");
                return Answer {
                    stdout: Vec::new(),
                    stderr: missing,
                    code: 0,
                };
            }
            String::new()
        }
        ("" | "wide", _) => human(call, &found, output == "wide", world),
        (template, Some(whole)) => {
            let template = template.trim_start_matches("jsonpath=");
            match jsonpath::evaluate(template, &whole) {
                Ok(text) => text,
                Err(why) if why.starts_with("error parsing") => {
                    return error(&format!("error: {why}"));
                }
                Err(why) => {
                    return error(&format!(
                        "error: error executing jsonpath \"{template}\": Error executing template: {why}. Printing more information for debugging the template:"
                    ));
                }
            }
        }
    };
    Answer {
        code: u8::from(!missing.is_empty()),
        stdout: text.into_bytes(),
        stderr: missing,
    }
}

fn human(call: &Invocation, found: &[Value], wide: bool, world: &World) -> String {
    let mut rows = Vec::new();
    if !call.switch("no-headers", false) {
        rows.push(row(&["NAME", "STATUS", "ROLES", "AGE", "VERSION"]));
        if wide {
            rows[0].extend(row(&[
                "INTERNAL-IP",
                "EXTERNAL-IP",
                "OS-IMAGE",
                "KERNEL-VERSION",
                "CONTAINER-RUNTIME",
            ]));
        }
    }
    for object in found {
        let word = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_string()
        };
        let plane = object
            .pointer("/metadata/labels/node-role.kubernetes.io~1control-plane")
            .is_some();
        let made: Option<jiff::Timestamp> = word("/metadata/creationTimestamp").parse().ok();
        let now = world.date_ms(world.now_ms) / 1_000;
        let age = made.map_or(0, |made| {
            now.saturating_sub(u64::try_from(made.as_second()).unwrap_or_default())
        });
        let age = if age < 120 {
            format!("{age}s")
        } else {
            format!("{}m", age / 60)
        };
        let mut cells = vec![
            word("/metadata/name"),
            "NotReady".to_string(),
            if plane { "control-plane" } else { "<none>" }.to_string(),
            age,
            word("/status/nodeInfo/kubeletVersion"),
        ];
        if wide {
            cells.extend(row(&[
                &word("/status/addresses/0/address"),
                "<none>",
                "Talos (v1.11.2)",
                "6.12.48-talos",
                "containerd://2.1.4",
            ]));
        }
        rows.push(cells);
    }
    table(&rows, 3)
}

fn nodes(world: &World, cluster: &Cluster) -> Vec<Value> {
    let mut nodes: Vec<&KubeNode> = cluster.kube_nodes.iter().collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    nodes.into_iter().map(|node| object(world, node)).collect()
}

fn object(world: &World, node: &KubeNode) -> Value {
    let made = world.rfc3339(node.at_ms);
    let now = world.rfc3339(world.now_ms);
    let up = world
        .nodes
        .get(&node.ip)
        .is_some_and(|machine| machine.is_up() && machine.hostname() == node.name);
    let conditions: Vec<Value> = if up {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({ "lastHeartbeatTime": now, "lastTransitionTime": made, "message": message, "reason": reason, "status": status, "type": kind });
        vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            condition(
                "Ready",
                "False",
                "KubeletNotReady",
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
            ),
        ]
    } else {
        ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]
            .iter()
            .map(|kind| json!({ "lastHeartbeatTime": made, "lastTransitionTime": now, "message": "Kubelet stopped posting node status.", "reason": "NodeStatusUnknown", "status": "Unknown", "type": kind }))
            .collect()
    };
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux",
    });
    if node.control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "creationTimestamp": made, "labels": labels, "name": node.name, "resourceVersion": (1_000 + world.now_ms / 10_000).to_string(), "uid": node.uid },
        "spec": {
            "podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr],
            "taints": [{ "effect": "NoSchedule", "key": "node.kubernetes.io/not-ready", "timeAdded": made }],
        },
        "status": {
            "addresses": [{ "address": node.ip, "type": "InternalIP" }, { "address": node.name, "type": "Hostname" }],
            "conditions": conditions,
            "nodeInfo": { "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.4", "kernelVersion": "6.12.48-talos", "kubeletVersion": node.version, "operatingSystem": "linux", "osImage": "Talos (v1.11.2)" },
        },
    })
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

fn raw(call: &Invocation, path: &str) -> Result<Answer, Answer> {
    if let Some(word) = call.args.first() {
        return Err(error(&format!(
            "error: arguments may not be passed when --raw is specified: {word}"
        )));
    }
    let server = server(call)?;
    let room = Room::open()?;
    let path = path.split('?').next().unwrap_or_default().to_string();
    Ok(room.play(100, |world| match connect(world, &server, 0) {
        Err(reply) => reply,
        Ok(ip) => Reply::Done(match path.as_str() {
            "/version" => Answer::out(SERVER_VERSION),
            "/readyz" | "/livez" | "/healthz" => Answer::out("ok"),
            "/api/v1/nodes" => {
                let items = world.kubernetes_of(&ip).map(|index| nodes(world, &world.clusters[index])).unwrap_or_default();
                Answer::out(json!({ "kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": items }).to_string())
            }
            _ => error("Error from server (NotFound): the server could not find the requested resource"),
        }),
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
