//! Deployments, `DaemonSet`s and Jobs: they make pods, and count them.

use serde_json::{Value, json};

use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{digest, list, place, put_condition, set, text};
use super::pods;

fn make_pod(store: &mut dyn Store, owner: &Value, hash: &str, suffix: &str, node: Option<&str>) {
    let (namespace, name) = place(owner);
    let template = &owner["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["namespace"] = json!(namespace);
    metadata["name"] = json!(format!("{name}-{suffix}"));
    let label = if owner["kind"] == "DaemonSet" {
        "controller-revision-hash"
    } else {
        "pod-template-hash"
    };
    set(&mut metadata, &format!("/labels/{label}"), json!(hash));
    metadata["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": owner["metadata"]["uid"], "controller": true,
    }]);
    let mut spec = template["spec"].clone();
    if let Some(node) = node {
        spec["nodeName"] = json!(node);
    }
    store.write(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": { "phase": "Pending" } }));
}

/// Returns the pods that an object has made.
pub(super) fn pods_of(store: &dyn Store, owner: &Value) -> Vec<Value> {
    let uid = &owner["metadata"]["uid"];
    store
        .list("Pod")
        .into_iter()
        .filter(|pod| {
            list(pod, "/metadata/ownerReferences")
                .iter()
                .any(|one| one["uid"] == *uid)
        })
        .cloned()
        .collect()
}

fn remove_pod(store: &mut dyn Store, pod: &Value) {
    let (namespace, name) = place(pod);
    store.remove("Pod", namespace, name);
}

fn going(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some()
}

/// Deployments keep so many pods of their template.
pub(super) fn deployments(store: &mut dyn Store, outside: &mut Outside) {
    let all: Vec<Value> = store.list("Deployment.apps").into_iter().cloned().collect();
    for deployment in all.iter().filter(|deployment| !going(deployment)) {
        one_deployment(store, outside, deployment);
    }
}

fn one_deployment(store: &mut dyn Store, outside: &mut Outside, deployment: &Value) {
    let wanted = usize::try_from(deployment["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(1);
    let hash = digest(&deployment["spec"]["template"]);
    let refused = pods::forbidden(store, deployment);
    let all = pods_of(store, deployment);
    let (mut new, old): (Vec<Value>, Vec<Value>) = all
        .into_iter()
        .partition(|pod| text(pod, "/metadata/labels/pod-template-hash") == hash);
    if refused.is_none() {
        let mut number = 0_u32;
        while new.len() < wanted {
            number += 1;
            let purpose = format!(
                "pod {} {hash} {number} {}",
                text(deployment, "/metadata/uid"),
                store.now()
            );
            let suffix =
                crate::chance::word(outside.seed, &purpose, "bcdfghjklmnpqrstvwxz2456789", 5);
            make_pod(store, deployment, &hash, &format!("{hash}-{suffix}"), None);
            new = pods_of(store, deployment)
                .into_iter()
                .filter(|pod| text(pod, "/metadata/labels/pod-template-hash") == hash)
                .collect();
            if number > 100 {
                break;
            }
        }
    }
    while new.len() > wanted {
        if let Some(pod) = new.pop() {
            remove_pod(store, &pod);
        }
    }
    let ready = |pods: &[Value]| pods.iter().filter(|pod| pods::is_ready(pod)).count();
    let new_ready = ready(&new);
    let mut left = old.len();
    for (index, pod) in old.iter().enumerate() {
        // The old ones go as the new ones come.
        if index < new_ready || new_ready >= wanted {
            remove_pod(store, pod);
            left -= 1;
        }
    }
    let available = new_ready + ready(&old[old.len() - left..]);
    let mut next = deployment.clone();
    let date = store.date();
    let before = next["status"]["conditions"].clone();
    let mut status = json!({ "observedGeneration": deployment["metadata"]["generation"] });
    let count = |status: &mut Value, name: &str, number: usize| {
        if number > 0 {
            status[name] = json!(number);
        }
    };
    count(&mut status, "replicas", new.len() + left);
    count(&mut status, "updatedReplicas", new.len());
    count(&mut status, "readyReplicas", available);
    count(&mut status, "availableReplicas", available);
    count(
        &mut status,
        "unavailableReplicas",
        wanted.saturating_sub(available),
    );
    status["conditions"] = before;
    next["status"] = status;
    if available >= wanted {
        put_condition(
            &mut next,
            &date,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        );
    } else {
        put_condition(
            &mut next,
            &date,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        );
    }
    let name = text(deployment, "/metadata/name");
    let late = format!("{} {hash} rolls out", text(deployment, "/metadata/uid"));
    if new_ready >= wanted && left == 0 {
        store.forget(&late);
        put_condition(
            &mut next,
            &date,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            &format!("ReplicaSet \"{name}-{hash}\" has successfully progressed."),
        );
    } else if store.passed(&late, 600_000) {
        put_condition(
            &mut next,
            &date,
            "Progressing",
            "False",
            "ProgressDeadlineExceeded",
            &format!("ReplicaSet \"{name}-{hash}\" has timed out progressing."),
        );
    } else {
        put_condition(
            &mut next,
            &date,
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            &format!("ReplicaSet \"{name}-{hash}\" is progressing."),
        );
    }
    failure(&mut next, &date, refused);
    store.write(next);
}

fn failure(object: &mut Value, date: &str, refused: Option<String>) {
    match refused {
        Some(why) => put_condition(object, date, "ReplicaFailure", "True", "FailedCreate", &why),
        None => super::super::value::drop_condition(object, "ReplicaFailure"),
    }
}

/// `DaemonSet`s keep a pod on every node.
pub(super) fn daemon_sets(store: &mut dyn Store, outside: &mut Outside) {
    let all: Vec<Value> = store.list("DaemonSet.apps").into_iter().cloned().collect();
    for set in all.iter().filter(|set| !going(set)) {
        one_daemon_set(store, outside, set);
    }
}

fn one_daemon_set(store: &mut dyn Store, outside: &mut Outside, daemon: &Value) {
    let hash = digest(&daemon["spec"]["template"]);
    let refused = pods::forbidden(store, daemon);
    let nodes: Vec<String> = store
        .list("Node")
        .into_iter()
        .map(|node| text(node, "/metadata/name").to_string())
        .collect();
    let all = pods_of(store, daemon);
    let current = |pod: &Value| text(pod, "/metadata/labels/controller-revision-hash") == hash;
    // One old pod goes at a time, when all the others are ready.
    let (old, new): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|pod| !current(pod));
    if let Some(next) = old.first()
        && new.iter().all(|pod| pods::is_ready(pod))
    {
        remove_pod(store, next);
    }
    for pod in &all {
        if !nodes.iter().any(|node| node == text(pod, "/spec/nodeName")) {
            remove_pod(store, pod);
        }
    }
    let all = pods_of(store, daemon);
    if refused.is_none() {
        for node in &nodes {
            if all.iter().all(|pod| text(pod, "/spec/nodeName") != node) {
                let purpose = format!(
                    "pod {} {hash} {node} {}",
                    text(daemon, "/metadata/uid"),
                    store.now()
                );
                let suffix =
                    crate::chance::word(outside.seed, &purpose, "bcdfghjklmnpqrstvwxz2456789", 5);
                make_pod(store, daemon, &hash, &suffix, Some(node));
            }
        }
    }
    let all = pods_of(store, daemon);
    let ready = all.iter().filter(|pod| pods::is_ready(pod)).count();
    let updated = all.iter().filter(|pod| current(pod)).count();
    let mut next = daemon.clone();
    let mut status = json!({
        "currentNumberScheduled": all.len(),
        "desiredNumberScheduled": nodes.len(),
        "numberMisscheduled": 0,
        "numberReady": ready,
        "observedGeneration": daemon["metadata"]["generation"],
    });
    for (name, number) in [
        ("updatedNumberScheduled", updated),
        ("numberAvailable", ready),
        ("numberUnavailable", nodes.len() - ready.min(nodes.len())),
    ] {
        if number > 0 {
            status[name] = json!(number);
        }
    }
    next["status"] = status;
    let date = store.date();
    if let Some(why) = refused {
        put_condition(
            &mut next,
            &date,
            "ReplicaFailure",
            "True",
            "FailedCreate",
            &why,
        );
    }
    store.write(next);
}

/// Jobs run one pod to its end.
pub(super) fn jobs(store: &mut dyn Store, outside: &mut Outside) {
    let all: Vec<Value> = store.list("Job.batch").into_iter().cloned().collect();
    for job in all {
        if going(&job)
            || super::super::value::is_true(&job, "Complete")
            || super::super::value::is_true(&job, "Failed")
        {
            continue;
        }
        let pods = pods_of(store, &job);
        if pods.is_empty() {
            if pods::forbidden(store, &job).is_none() {
                let suffix = crate::chance::word(
                    outside.seed,
                    &format!("job {}", text(&job, "/metadata/uid")),
                    "bcdfghjklmnpqrstvwxz2456789",
                    5,
                );
                make_pod(
                    store,
                    &job,
                    &digest(&job["spec"]["template"]),
                    &suffix,
                    None,
                );
            }
            continue;
        }
        let mut next = job.clone();
        let date = store.date();
        match text(&pods[0], "/status/phase") {
            "Succeeded" => {
                set(&mut next, "/status/succeeded", json!(1));
                put_condition(
                    &mut next,
                    &date,
                    "SuccessCriteriaMet",
                    "True",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                );
                put_condition(
                    &mut next,
                    &date,
                    "Complete",
                    "True",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                );
            }
            "Failed" => {
                set(&mut next, "/status/failed", json!(1));
                put_condition(
                    &mut next,
                    &date,
                    "Failed",
                    "True",
                    "BackoffLimitExceeded",
                    "Job has reached the specified backoff limit",
                );
            }
            _ => set(&mut next, "/status/active", json!(1)),
        }
        store.write(next);
    }
}

/// Returns whether a Deployment is there with all its replicas ready and of its newest template.
pub(crate) fn deployment_ready(store: &dyn Store, namespace: &str, name: &str) -> bool {
    store
        .get("Deployment.apps", namespace, name)
        .is_some_and(|deployment| rolled_out(deployment).is_none())
}

/// Returns what a Deployment or `DaemonSet` still waits for, in the words of `kubectl rollout status`.
pub(crate) fn rolled_out(object: &Value) -> Option<String> {
    let name = text(object, "/metadata/name");
    let number = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    if object["metadata"]["generation"] != object["status"]["observedGeneration"] {
        return Some(if object["kind"] == "DaemonSet" {
            "Waiting for daemon set spec update to be observed...".to_string()
        } else {
            "Waiting for deployment spec update to be observed...".to_string()
        });
    }
    if object["kind"] == "DaemonSet" {
        let desired = number("/status/desiredNumberScheduled");
        let updated = number("/status/updatedNumberScheduled");
        let available = number("/status/numberAvailable");
        if updated < desired {
            return Some(format!(
                "Waiting for daemon set \"{name}\" rollout to finish: {updated} out of {desired} new pods have been updated..."
            ));
        }
        return (available < desired).then(|| format!("Waiting for daemon set \"{name}\" rollout to finish: {available} of {desired} updated pods are available..."));
    }
    let wanted = object
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let (updated, all, available) = (
        number("/status/updatedReplicas"),
        number("/status/replicas"),
        number("/status/availableReplicas"),
    );
    if updated < wanted {
        return Some(format!(
            "Waiting for deployment \"{name}\" rollout to finish: {updated} out of {wanted} new replicas have been updated..."
        ));
    }
    if all > updated {
        return Some(format!(
            "Waiting for deployment \"{name}\" rollout to finish: {} old replicas are pending termination...",
            all - updated
        ));
    }
    (available < updated).then(|| format!("Waiting for deployment \"{name}\" rollout to finish: {available} of {updated} updated replicas are available..."))
}
