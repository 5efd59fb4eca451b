//! `cilium status -o json`: the agents, the operator, and what belongs to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{is_running, json as text_of, plays, server};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::front;
use crate::kubernetes::value::{list, place, text};
use crate::kubernetes::{Objects, Store as _, models};
use crate::room::Reply;

const SPACE: &str = "kube-system";

/// Plays a call.
pub(super) fn run(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["interactive"])?;
    if call.flag("output") != Some("json") {
        return Err(Answer::not_played("cilium status without -o json"));
    }
    let server = server(call)?;
    Ok(front::ask(
        &server,
        500,
        |trouble| {
            let asked = [
                "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium",
                "/apis/apps/v1/namespaces/kube-system/deployments/cilium-operator",
                "/apis/apps/v1/namespaces/kube-system/daemonsets/cilium",
                "/api/v1/pods",
            ];
            let mut wrong: Vec<String> = asked
                .iter()
                .map(|path| front::sentence(&server, path, trouble))
                .collect();
            let config = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
            let why = front::sentence(&server, config, trouble);
            wrong.push(format!(
                "unable to retrieve ConfigMap \"cilium-config\": {why}"
            ));
            end(&Picture::default(), &wrong)
        },
        |objects, _| {
            let (picture, wrong) = look(objects);
            Reply::Done(end(&picture, &wrong))
        },
    ))
}

/// The errors and warnings of one thing.
#[derive(Debug, Default, Clone)]
struct Count {
    errors: Vec<String>,
    warnings: Vec<String>,
    disabled: bool,
}

/// What is found; the members are those of the answer.
#[derive(Debug, Default)]
struct Picture {
    images: BTreeMap<String, BTreeMap<String, u64>>,
    phases: BTreeMap<String, BTreeMap<String, u64>>,
    states: BTreeMap<String, Value>,
    all: usize,
    managed: usize,
    agents: BTreeMap<String, Value>,
    counts: BTreeMap<String, BTreeMap<String, Count>>,
    chart: String,
}

fn end(picture: &Picture, wrong: &[String]) -> Answer {
    let stdout = text_of(&picture.value(wrong.len())).into_bytes();
    if wrong.is_empty() {
        return Answer {
            stdout,
            ..Answer::silent()
        };
    }
    Answer {
        stdout,
        stderr: format!("status check failed: [{}]\n", wrong.join(", ")),
        code: 1,
    }
}

impl Picture {
    fn count(&mut self, component: &str, name: &str) -> &mut Count {
        let all = self.counts.entry(component.to_string()).or_default();
        all.entry(name.to_string()).or_default()
    }

    /// Returns the answer; Go leaves out what is empty.
    fn value(&self, wrong: usize) -> Value {
        let mut value = json!({});
        let counts: BTreeMap<&String, Value> = self
            .counts
            .iter()
            .map(|(component, all)| {
                let all = all.iter().map(|(name, count)| {
                    let found = json!({ "Errors": count.errors, "Warnings": count.warnings, "Disabled": count.disabled });
                    (name.clone(), found)
                });
                (component, Value::Object(all.collect()))
            })
            .collect();
        let endpoints: BTreeMap<&String, Value> =
            self.agents.keys().map(|name| (name, json!([]))).collect();
        let mut put = |name: &str, found: Value| {
            if found.as_object().is_some_and(|members| !members.is_empty()) {
                value[name] = found;
            }
        };
        put("image_count", json!(self.images));
        put("phase_count", json!(self.phases));
        put("pod_state", json!(self.states));
        put(
            "pods_count",
            json!({ "all": self.all, "by_cilium": self.managed }),
        );
        put("cilium_status", json!(self.agents));
        put("cilium_endpoints", json!(endpoints));
        put("errors", json!(counts));
        if wrong > 0 {
            // Go's errors have no members that JSON sees.
            value["collection_errors"] = json!(vec![json!({}); wrong]);
        }
        if !self.chart.is_empty() {
            value["helm_chart_version"] = json!(self.chart);
        }
        value
    }

    fn pods(&mut self, objects: &Objects, component: &str, key: &str, label: &str) {
        let pods: Vec<Value> = objects
            .list("Pod")
            .into_iter()
            .filter(|pod| place(pod).0 == SPACE && pod["metadata"]["labels"][key] == label)
            .cloned()
            .collect();
        let (mut phases, mut images) = (BTreeMap::new(), BTreeMap::new());
        for pod in &pods {
            let name = place(pod).1;
            let phase = text(pod, "/status/phase");
            *phases.entry(phase.to_string()).or_insert(0) += 1;
            match phase {
                "Pending" => self
                    .count(component, name)
                    .warnings
                    .push("pod is pending".to_string()),
                "Failed" => self.count(component, name).errors.push(format!(
                    "pod has failed: {} - {}",
                    text(pod, "/status/reason"),
                    text(pod, "/status/message")
                )),
                _ => {}
            }
            for container in list(pod, "/spec/containers") {
                *images
                    .entry(text(container, "/image").to_string())
                    .or_insert(0) += 1;
            }
        }
        self.phases.insert(component.to_string(), phases);
        self.images.insert(component.to_string(), images);
    }

    fn daemon_set(&mut self, found: &Value) {
        let number = |name: &str| found["status"][name].as_u64().unwrap_or(0);
        let name = place(found).1.to_string();
        let (desired, ready) = (number("desiredNumberScheduled"), number("numberReady"));
        let unavailable = number("numberUnavailable");
        self.states.insert(
            name.clone(),
            json!({ "Type": "DaemonSet", "Desired": desired, "Ready": ready, "Available": number("numberAvailable"), "Unavailable": unavailable }),
        );
        let updated = number("updatedNumberScheduled");
        let fresh = found["metadata"]["generation"] == found["status"]["observedGeneration"];
        let count = self.count(&name, &name);
        let waiting = desired.saturating_sub(ready);
        if waiting > 0 {
            count
                .errors
                .push(format!("{waiting} pods of DaemonSet {name} are not ready"));
        }
        if unavailable > waiting {
            let more = unavailable - waiting;
            count
                .warnings
                .push(format!("{more} pods of DaemonSet {name} are not available"));
        }
        if !fresh {
            count.errors.push(format!(
                "daemonset {name} is updated but rollout has not started"
            ));
        }
        if updated < desired {
            count.errors.push(format!(
                "daemonset {name} is rolling out - {updated} out of {desired} pods updated"
            ));
        }
    }

    fn deployment(&mut self, objects: &Objects, name: &str) {
        let Some(found) = objects.get("Deployment.apps", SPACE, name) else {
            self.count(name, name).disabled = true;
            return;
        };
        let number = |name: &str| found["status"][name].as_u64().unwrap_or(0);
        let (desired, ready) = (number("replicas"), number("readyReplicas"));
        let unavailable = number("unavailableReplicas");
        self.states.insert(
            name.to_string(),
            json!({ "Type": "Deployment", "Desired": desired, "Ready": ready, "Available": number("availableReplicas"), "Unavailable": unavailable }),
        );
        let updated = number("updatedReplicas");
        let fresh = found["metadata"]["generation"] == found["status"]["observedGeneration"];
        let count = self.count(name, name);
        let waiting = desired.saturating_sub(ready);
        if waiting > 0 {
            count
                .errors
                .push(format!("{waiting} pods of Deployment {name} are not ready"));
        }
        if unavailable > waiting {
            let more = unavailable - waiting;
            count.warnings.push(format!(
                "{more} pods of Deployment {name} are not available"
            ));
        }
        if !fresh {
            count.errors.push(format!(
                "deployment {name} is updated but rollout has not started"
            ));
        }
        if updated < desired {
            count.errors.push(format!(
                "deployment {name} is rolling out - {updated} out of {desired} pods updated"
            ));
        }
    }

    fn agent(&mut self, pod: &Value, version: &str) {
        let name = place(pod).1.to_string();
        if !is_running(pod) {
            return;
        }
        if models::is_ready(pod) {
            self.agents.insert(
                name,
                json!({
                    "cilium": { "state": "Ok", "msg": version }, "kubernetes": { "state": "Ok" }, "kvstore": { "state": "Disabled" },
                    "container-runtime": { "state": "Ok" }, "controllers": [], "cluster-mesh": { "clusters": [] },
                }),
            );
            return;
        }
        self.agents.insert(name.clone(), Value::Null);
        let why = format!(
            "unable to retrieve cilium status: container cilium-agent is not running: try 'kubectl -n {SPACE} logs -c cilium-agent {name}'"
        );
        self.count("cilium", &name).errors.push(why);
    }
}

/// Looks at everything; returns what was found, and what could not be asked for.
fn look(objects: &Objects) -> (Picture, Vec<String>) {
    let mut picture = Picture::default();
    let mut wrong = Vec::new();
    if let Some(found) = objects.get("DaemonSet.apps", SPACE, "cilium") {
        picture.daemon_set(found);
    } else {
        let why = "daemonsets.apps \"cilium\" not found".to_string();
        picture.count("cilium", "cilium").errors.push(why.clone());
        wrong.push(why);
    }
    match objects.get("DaemonSet.apps", SPACE, "cilium-envoy") {
        Some(found) => picture.daemon_set(found),
        None => picture.count("cilium-envoy", "cilium-envoy").disabled = true,
    }
    for name in [
        "cilium-operator",
        "hubble-relay",
        "hubble-ui",
        "clustermesh-apiserver",
    ] {
        picture.deployment(objects, name);
    }
    picture.pods(objects, "cilium", "k8s-app", "cilium");
    picture.pods(objects, "cilium-operator", "io.cilium/app", "operator");
    picture.pods(objects, "hubble-relay", "k8s-app", "hubble-relay");
    picture.pods(
        objects,
        "clustermesh-apiserver",
        "k8s-app",
        "clustermesh-apiserver",
    );
    let version = models::agent(objects)
        .map(|agent| agent.version)
        .unwrap_or_default();
    for pod in models::agent_pods(objects) {
        picture.agent(pod, version.trim_start_matches('v'));
    }
    if objects.get("ConfigMap", SPACE, "cilium-config").is_none() {
        wrong.push("unable to retrieve ConfigMap \"cilium-config\": configmaps \"cilium-config\" not found".to_string());
    }
    let pods = objects
        .list("Pod")
        .into_iter()
        .filter(|pod| is_running(pod) && pod["spec"]["hostNetwork"] != true);
    picture.all = pods.count();
    if !picture.agents.is_empty() {
        picture.managed = picture.all;
    }
    let release = crate::kubernetes::helm::last(objects, SPACE, "cilium");
    picture.chart = release
        .map(|release| release.chart_version)
        .unwrap_or_default();
    (picture, wrong)
}

#[cfg(test)]
mod tests {
    use super::{end, look};
    use crate::kubernetes::tests::Cluster;
    use crate::kubernetes::{Objects, Store as _};
    use serde_json::Value;

    fn asked(objects: &Objects) -> (Value, String, u8) {
        let (picture, wrong) = look(objects);
        let answer = end(&picture, &wrong);
        let value = serde_json::from_slice(&answer.stdout).unwrap();
        (value, answer.stderr, answer.code)
    }

    #[test]
    fn without_cilium_the_check_fails_and_says_what_is_not_there() {
        let (value, said, code) = asked(&Objects::new(1, 1_790_000_000_000, 0));
        assert_eq!(code, 1);
        assert_eq!(
            said,
            "status check failed: [daemonsets.apps \"cilium\" not found, unable to retrieve ConfigMap \"cilium-config\": configmaps \"cilium-config\" not found]\n"
        );
        assert_eq!(value["collection_errors"].as_array().unwrap().len(), 2);
        assert_eq!(
            value["errors"]["cilium-operator"]["cilium-operator"]["Disabled"],
            true
        );
    }

    #[test]
    fn a_healthy_cilium_has_no_errors_and_all_its_agents() {
        let cluster = Cluster::with_network("one", 1);
        let (value, said, code) = asked(&cluster.objects);
        assert_eq!((said.as_str(), code), ("", 0));
        assert_eq!(value["pod_state"]["cilium"]["Ready"], 3);
        assert_eq!(value["pod_state"]["cilium"]["Type"], "DaemonSet");
        assert_eq!(value["phase_count"]["cilium"]["Running"], 3);
        assert_eq!(value["cilium_status"].as_object().unwrap().len(), 3);
        assert_eq!(value["helm_chart_version"], "1.18.3");
        assert!(value.get("collection_errors").is_none());
        for (component, all) in value["errors"].as_object().unwrap() {
            for (name, count) in all.as_object().unwrap() {
                assert!(
                    count["Errors"].as_array().unwrap().is_empty(),
                    "{component} {name}: {count}"
                );
            }
        }
    }

    #[test]
    fn what_is_wrong_with_agents_is_in_the_answer_and_not_in_the_exit_code() {
        let mut cluster = Cluster::with_network("one", 1);
        let mut found = cluster
            .get("DaemonSet.apps", "kube-system", "cilium")
            .clone();
        found["status"]["numberReady"] = 2.into();
        found["status"]["updatedNumberScheduled"] = 1.into();
        cluster.objects.write(found);
        let (value, said, code) = asked(&cluster.objects);
        assert_eq!((said.as_str(), code), ("", 0));
        assert_eq!(
            value["errors"]["cilium"]["cilium"]["Errors"],
            serde_json::json!([
                "1 pods of DaemonSet cilium are not ready",
                "daemonset cilium is rolling out - 1 out of 3 pods updated"
            ])
        );
    }
}
