//! Pods: scheduled, started, ready; those that end run a program.

use serde_json::{Value, json};

use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{list, place, put_condition, set, text};
use super::{nodes, programs, takes};
use crate::fault::Kind;

/// Returns whether a pod is ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    super::super::value::is_true(pod, "Ready")
}

/// Returns why Pod Security forbids the pods of a workload. Talos enforces `baseline` everywhere but in kube-system.
pub(super) fn forbidden(store: &dyn Store, owner: &Value) -> Option<String> {
    let (namespace, _) = place(owner);
    let level = store
        .get("Namespace", "", namespace)
        .map(|found| {
            text(
                found,
                "/metadata/labels/pod-security.kubernetes.io~1enforce",
            )
            .to_string()
        })
        .unwrap_or_default();
    let level = match level.as_str() {
        "" if namespace == "kube-system" => "privileged",
        "" => "baseline",
        other => other,
    };
    let spec = owner
        .pointer("/spec/template/spec")
        .unwrap_or(&owner["spec"]);
    let mut reasons = Vec::new();
    if level != "privileged" {
        if spec["hostNetwork"] == true {
            reasons.push("host namespaces (hostNetwork=true)".to_string());
        }
        let paths: Vec<String> = list(spec, "/volumes")
            .iter()
            .filter(|volume| volume.get("hostPath").is_some())
            .map(|volume| format!("\"{}\"", text(volume, "/name")))
            .collect();
        if !paths.is_empty() {
            reasons.push(format!("hostPath volumes (volumes {})", paths.join(", ")));
        }
        for container in list(spec, "/containers")
            .iter()
            .chain(list(spec, "/initContainers"))
        {
            let name = text(container, "/name");
            if container.pointer("/securityContext/privileged") == Some(&json!(true)) {
                reasons.push(format!(
                    "privileged (container \"{name}\" must not set securityContext.privileged=true)"
                ));
            }
            if list(container, "/ports")
                .iter()
                .any(|port| port.get("hostPort").is_some_and(|port| *port != 0))
            {
                reasons.push(format!("hostPort (container \"{name}\" uses hostPorts)"));
            }
        }
    }
    if level == "restricted" && spec.pointer("/securityContext/runAsNonRoot") != Some(&json!(true))
    {
        reasons.push(
            "runAsNonRoot != true (pod or container must set securityContext.runAsNonRoot=true)"
                .to_string(),
        );
    }
    (!reasons.is_empty()).then(|| {
        format!(
            "pods \"{}\" is forbidden: violates PodSecurity \"{level}:latest\": {}",
            text(owner, "/metadata/name"),
            reasons.join(", ")
        )
    })
}

/// All pods go one step on.
pub(super) fn pods(store: &mut dyn Store, outside: &mut Outside) {
    let all: Vec<Value> = store.list("Pod").into_iter().cloned().collect();
    for pod in all {
        if !matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed") {
            step(store, outside, pod);
        }
    }
}

fn tolerates(pod: &Value) -> bool {
    list(pod, "/spec/tolerations").iter().any(|toleration| {
        toleration["operator"] == "Exists"
            && matches!(
                text(toleration, "/key"),
                "" | "node.kubernetes.io/not-ready"
            )
    })
}

fn step(store: &mut dyn Store, outside: &mut Outside, mut pod: Value) {
    let date = store.date();
    let uid = text(&pod, "/metadata/uid").to_string();
    if text(&pod, "/spec/nodeName").is_empty() {
        let Some(node) = choose(store, outside, &pod) else {
            let all = store.list("Node").len();
            put_condition(
                &mut pod,
                &date,
                "PodScheduled",
                "False",
                "Unschedulable",
                &format!(
                    "0/{all} nodes are available: {all} node(s) had untolerated taint(s). preemption: 0/{all} nodes are available: {all} Preemption is not helpful for scheduling."
                ),
            );
            store.write(pod);
            return;
        };
        pod["spec"]["nodeName"] = json!(node);
        store.write(pod.clone());
    }
    let node = text(&pod, "/spec/nodeName").to_string();
    let Some(machine) = nodes::machine(outside, &node).cloned() else {
        return;
    };
    put_condition(&mut pod, &date, "PodScheduled", "True", "", "");
    let silent = format!("{uid} on {node} {} is silent", machine.boot);
    if !machine.up {
        if is_ready(&pod) && store.passed(&silent, 45_000) {
            put_condition(&mut pod, &date, "Ready", "False", "", "");
            store.write(pod);
        }
        return;
    }
    store.forget(&silent);
    let restarted =
        text(&pod, "/status/boot") != machine.boot && pod["status"].get("boot").is_some();
    if restarted {
        put_condition(&mut pod, &date, "Ready", "False", "", "");
    }
    if is_ready(&pod) {
        return;
    }
    if let Some((reason, message)) = waits(store, outside, &pod, &node) {
        wait(store, pod, &json!({ "reason": reason, "message": message }));
        return;
    }
    let start = takes(
        outside,
        &format!("start {uid} {}", machine.boot),
        2_000,
        8_000,
    );
    if !store.passed(&format!("{uid} starts on {}", machine.boot), start) {
        if list(&pod, "/status/containerStatuses").is_empty() {
            wait(store, pod, &json!({ "reason": "ContainerCreating" }));
        }
        return;
    }
    let host = pod["spec"]["hostNetwork"] == true;
    set(&mut pod, "/status/hostIP", json!(machine.ip));
    let ip = if host {
        machine.ip.clone()
    } else {
        pod_ip(&machine.pod_cidr, &uid, outside.seed)
    };
    set(&mut pod, "/status/podIP", json!(ip));
    set(&mut pod, "/status/boot", json!(machine.boot));
    set(&mut pod, "/status/startTime", json!(date));
    set(&mut pod, "/status/phase", json!("Running"));
    let ends = !text(&pod, "/spec/restartPolicy").is_empty()
        && text(&pod, "/spec/restartPolicy") != "Always";
    containers(
        &mut pod,
        &date,
        &json!({ "running": { "startedAt": date } }),
        true,
    );
    put_condition(&mut pod, &date, "Ready", "True", "", "");
    if ends {
        let time = takes(outside, &format!("run {uid}"), 300, 1_500);
        if store.passed(&format!("{uid} runs"), time) {
            let (code, said) = programs::run(store, outside, &pod);
            set(
                &mut pod,
                "/status/phase",
                json!(if code == 0 { "Succeeded" } else { "Failed" }),
            );
            let reason = if code == 0 { "Completed" } else { "Error" };
            containers(
                &mut pod,
                &date,
                &json!({ "terminated": { "exitCode": code, "reason": reason, "finishedAt": date } }),
                false,
            );
            put_condition(&mut pod, &date, "Ready", "False", "PodCompleted", "");
            set(&mut pod, "/status/said", json!(said));
        } else {
            put_condition(&mut pod, &date, "Ready", "False", "", "");
        }
    }
    store.write(pod);
}

/// Pods that somebody else has started, and whose program comes to an end. Those of Jobs end with whoever plays these.
pub(super) fn ends(store: &mut dyn Store, outside: &mut Outside) {
    let all: Vec<Value> = store.list("Pod").into_iter().cloned().collect();
    for mut pod in all {
        let owned = !list(&pod, "/metadata/ownerReferences").is_empty();
        let ends = matches!(text(&pod, "/spec/restartPolicy"), "Never" | "OnFailure");
        let going = pod["metadata"].get("deletionTimestamp").is_some();
        if owned || !ends || going || text(&pod, "/status/phase") != "Running" {
            continue;
        }
        let uid = text(&pod, "/metadata/uid").to_string();
        let time = takes(outside, &format!("run {uid}"), 300, 1_500);
        if store.passed(&format!("{uid} runs"), time) {
            end(store, outside, &mut pod);
            store.write(pod);
        }
    }
}

/// Runs a pod's program to its end.
fn end(store: &dyn Store, outside: &mut Outside, pod: &mut Value) {
    let date = store.date();
    let (code, said) = programs::run(store, outside, pod);
    set(
        pod,
        "/status/phase",
        json!(if code == 0 { "Succeeded" } else { "Failed" }),
    );
    let reason = if code == 0 { "Completed" } else { "Error" };
    containers(
        pod,
        &date,
        &json!({ "terminated": { "exitCode": code, "reason": reason, "finishedAt": date, "message": said } }),
        false,
    );
    put_condition(pod, &date, "Ready", "False", "PodCompleted", "");
}

/// A pod's containers wait for something.
fn wait(store: &mut dyn Store, mut pod: Value, why: &Value) {
    let date = store.date();
    containers(&mut pod, &date, &json!({ "waiting": why }), false);
    let why = "containers with unready status";
    put_condition(&mut pod, &date, "Ready", "False", "ContainersNotReady", why);
    store.write(pod);
}

fn containers(pod: &mut Value, _date: &str, state: &Value, ready: bool) {
    let statuses: Vec<Value> = list(pod, "/spec/containers")
        .iter()
        .map(|container| {
            json!({ "name": container["name"], "image": container["image"], "ready": ready, "started": ready, "restartCount": 0, "state": state })
        })
        .collect();
    set(pod, "/status/containerStatuses", Value::Array(statuses));
}

fn pod_ip(net: &str, uid: &str, seed: u64) -> String {
    let net: Option<ipnet::Ipv4Net> = net.parse().ok();
    let pick = usize::try_from(crate::chance::between(seed, uid, 2, 250)).unwrap_or(2);
    net.and_then(|net| net.hosts().nth(pick))
        .map_or_else(String::new, |ip| ip.to_string())
}

fn choose(store: &dyn Store, outside: &Outside, pod: &Value) -> Option<String> {
    let fits: Vec<String> = if tolerates(pod) {
        let all = store.list("Node").into_iter();
        all.map(|node| text(node, "/metadata/name").to_string())
            .filter(|name| nodes::machine(outside, name).is_some_and(|machine| machine.up))
            .collect()
    } else {
        nodes::ready(store)
    };
    let count = |name: &String| {
        store
            .list("Pod")
            .into_iter()
            .filter(|pod| text(pod, "/spec/nodeName") == name)
            .count()
    };
    fits.into_iter()
        .min_by_key(|name| (count(name), name.clone()))
}

/// Why a pod's containers cannot start yet.
fn waits(
    store: &dyn Store,
    outside: &mut Outside,
    pod: &Value,
    node: &str,
) -> Option<(&'static str, String)> {
    let (namespace, name) = place(pod);
    let owner = text(pod, "/metadata/ownerReferences/0/name");
    let about = if owner.is_empty() { name } else { owner };
    if outside.feels(Kind::ImageMissing, about).is_some() {
        let image = text(pod, "/spec/containers/0/image");
        return Some((
            "ImagePullBackOff",
            format!("Back-off pulling image \"{image}\""),
        ));
    }
    let there = store.get("Node", "", node).is_some_and(nodes::is_ready);
    if pod["spec"]["hostNetwork"] != true && !there {
        return Some((
            "ContainerCreating",
            "network is not ready: container runtime network not ready".to_string(),
        ));
    }
    let spec = &pod["spec"];
    for container in list(spec, "/containers")
        .iter()
        .chain(list(spec, "/initContainers"))
    {
        // Talos lets no container load kernel modules.
        if list(container, "/securityContext/capabilities/add")
            .iter()
            .any(|one| one == "SYS_MODULE")
        {
            return Some((
                "CreateContainerError",
                "failed to create containerd task: unable to apply caps: operation not permitted"
                    .to_string(),
            ));
        }
        let sources = list(container, "/env")
            .iter()
            .map(|env| &env["valueFrom"])
            .chain(list(container, "/envFrom"));
        for source in sources {
            for (member, kind, word) in [
                ("secretKeyRef", "Secret", "secret"),
                ("secretRef", "Secret", "secret"),
                ("configMapKeyRef", "ConfigMap", "configmap"),
                ("configMapRef", "ConfigMap", "configmap"),
            ] {
                let wanted = &source[member];
                if !wanted.is_object() || wanted["optional"] == true {
                    continue;
                }
                let asked = text(wanted, "/name");
                let Some(found) = store.get(kind, namespace, asked) else {
                    return Some((
                        "CreateContainerConfigError",
                        format!("{word} \"{asked}\" not found"),
                    ));
                };
                let key = text(wanted, "/key");
                if !key.is_empty() && found["data"].get(key).is_none() {
                    return Some((
                        "CreateContainerConfigError",
                        format!("couldn't find key {key} in {kind} {namespace}/{asked}"),
                    ));
                }
            }
        }
    }
    for volume in list(spec, "/volumes") {
        for (path, kind, word) in [
            ("secret", "Secret", "secretName"),
            ("configMap", "ConfigMap", "name"),
        ] {
            let asked = text(&volume[path], &format!("/{word}"));
            if !asked.is_empty()
                && volume[path]["optional"] != true
                && store.get(kind, namespace, asked).is_none()
            {
                return Some((
                    "ContainerCreating",
                    format!(
                        "MountVolume.SetUp failed for volume \"{}\" : {} \"{asked}\" not found",
                        text(volume, "/name"),
                        kind.to_lowercase()
                    ),
                ));
            }
        }
    }
    None
}
