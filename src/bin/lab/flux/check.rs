//! `flux check`: is the cluster ready for Flux, and are all of its parts there?

use serde_json::Value;

use super::{failure, find_server, namespace, plays, timeout};
use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::front;
use crate::kubernetes::value::{list, place, text};
use crate::kubernetes::{Objects, Store as _, kinds, models};
use crate::room::Reply;

const LABEL: &str = "app.kubernetes.io/part-of";
const BEGIN: &str = "► checking prerequisites\n";

/// Plays a call.
pub(super) fn run(call: &Invocation) -> Result<Answer, Answer> {
    plays(call, &["pre"])?;
    let server = find_server(call).map_err(|why| {
        told(
            BEGIN,
            &format!("Kubernetes client initialization failed: kubernetes configuration load failed: {why}"),
        )
    })?;
    let unreachable = |trouble: &crate::client::NoWay| {
        let mut answer = told(
            BEGIN,
            &format!(
                "Kubernetes API call failed: {}",
                front::sentence(&server, "/version", trouble)
            ),
        );
        if !call.switch("pre", false) {
            let groups = super::no_groups(&server, trouble);
            answer.stderr.extend([
                "► checking version in cluster\n✗ checking failed: ",
                &groups,
                "\n► checking controllers\n► checking crds\n✗ check failed\n",
            ]);
        }
        answer
    };
    let pre = format!("{BEGIN}✔ Kubernetes 1.34.1 >=1.32.0-0\n");
    if call.switch("pre", false) {
        let done = pre + "✔ prerequisites checks passed\n";
        return Ok(front::ask(&server, 150, unreachable, |_, _| {
            Reply::Done(Answer {
                stderr: done.clone(),
                ..Answer::silent()
            })
        }));
    }
    let namespace = namespace(call);
    let timeout = timeout(call);
    let mut since = None;
    Ok(front::ask(&server, 300, unreachable, |objects, _| {
        let begun = *since.get_or_insert(objects.now());
        let late = objects.now() >= begun + timeout;
        if !late && !controllers_ready(objects, &namespace) {
            return Reply::Again(5_000.min(begun + timeout - objects.now()).max(1));
        }
        Reply::Done(report(objects, &namespace, &pre))
    }))
}

fn told(before: &str, why: &str) -> Answer {
    let end = failure(why);
    Answer {
        stderr: before.to_string() + &end.stderr,
        ..end
    }
}

fn controllers<'a>(objects: &'a Objects, namespace: &str) -> Vec<&'a Value> {
    let all = objects.list("Deployment.apps").into_iter();
    all.filter(|one| place(one).0 == namespace && is_of_flux(one))
        .collect()
}

fn is_of_flux(object: &Value) -> bool {
    object["metadata"]["labels"][LABEL] == "flux"
}

fn controllers_ready(objects: &Objects, namespace: &str) -> bool {
    let all = controllers(objects, namespace);
    all.iter()
        .all(|one| models::deployment_ready(objects, namespace, place(one).1))
}

/// Returns the picture of all parts.
fn report(objects: &Objects, namespace: &str, before: &str) -> Answer {
    let mut said = before.to_string();
    let mut failed = false;
    let mut line = |mark: &str, text: &str| {
        failed |= mark == "✗";
        said.extend([mark, " ", text, "\n"]);
    };
    line("►", "checking version in cluster");
    let definition = objects.get(kinds::CRD, "", "gitrepositories.source.toolkit.fluxcd.io");
    match definition {
        None => line(
            "✗",
            "checking failed: customresourcedefinitions.apiextensions.k8s.io \"gitrepositories.source.toolkit.fluxcd.io\" not found",
        ),
        Some(definition) => {
            let labels = &definition["metadata"]["labels"];
            let version = text(labels, "/app.kubernetes.io~1version");
            line("✔", &format!("distribution: flux-{version}"));
            // Flux bootstrapped applies its own definitions from Git, and marks them.
            let bootstrapped = labels
                .get("kustomize.toolkit.fluxcd.io/namespace")
                .is_some();
            line("✔", &format!("bootstrapped: {bootstrapped}"));
        }
    }
    line("►", "checking controllers");
    let all = controllers(objects, namespace);
    if all.is_empty() {
        line(
            "✗",
            &format!(
                "no controllers found in the '{namespace}' namespace with the label selector '{LABEL}=flux'"
            ),
        );
    }
    for one in all {
        let name = place(one).1;
        if models::deployment_ready(objects, namespace, name) {
            line("✔", &format!("{name}: deployment ready"));
        } else {
            line("✗", &format!("{name}: deployment not ready"));
        }
        for container in list(one, "/spec/template/spec/containers") {
            line("►", text(container, "/image"));
        }
    }
    line("►", "checking crds");
    let definitions: Vec<&Value> = objects
        .list(kinds::CRD)
        .into_iter()
        .filter(|one| is_of_flux(one))
        .collect();
    if definitions.is_empty() {
        line(
            "✗",
            &format!("no crds found with the label selector '{LABEL}=flux'"),
        );
    }
    for one in definitions {
        let name = place(one).1;
        match list(one, "/status/storedVersions").last() {
            Some(version) => line(
                "✔",
                &format!("{name}/{}", version.as_str().unwrap_or_default()),
            ),
            None => line("✗", &format!("no stored versions for {name}")),
        }
    }
    if failed {
        return told(&said, "check failed");
    }
    Answer {
        stderr: said + "✔ all checks passed\n",
        ..Answer::silent()
    }
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::kubernetes::{Objects, Store as _, charts};
    use serde_json::json;

    #[test]
    fn a_cluster_without_flux_fails_with_what_is_missing() {
        let objects = Objects::new(1, 1_790_000_000_000, 0);
        let answer = report(&objects, "flux-system", "");
        assert_eq!(answer.code, 1);
        assert_eq!(
            answer.stderr,
            "► checking version in cluster\n✗ checking failed: customresourcedefinitions.apiextensions.k8s.io \"gitrepositories.source.toolkit.fluxcd.io\" not found\n► checking controllers\n✗ no controllers found in the 'flux-system' namespace with the label selector 'app.kubernetes.io/part-of=flux'\n► checking crds\n✗ no crds found with the label selector 'app.kubernetes.io/part-of=flux'\n✗ check failed\n"
        );
    }

    #[test]
    fn a_controller_that_is_not_ready_fails_the_check() {
        let mut objects = Objects::new(1, 1_790_000_000_000, 0);
        for mut object in charts::flux(
            "v2.7.2",
            "ghcr.io/fluxcd",
            &["source-controller".to_string()],
        ) {
            if object["kind"] == "CustomResourceDefinition" {
                object["status"] = json!({ "storedVersions": ["v1"] });
            }
            objects.write(object);
        }
        let answer = report(&objects, "flux-system", "");
        assert_eq!(answer.code, 1);
        assert!(
            answer
                .stderr
                .contains("✔ distribution: flux-v2.7.2\n✔ bootstrapped: false\n"),
            "{}",
            answer.stderr
        );
        assert!(answer.stderr.contains(
            "✗ source-controller: deployment not ready\n► ghcr.io/fluxcd/source-controller:v1.7.2\n"
        ));
        assert!(
            answer
                .stderr
                .contains("✔ gitrepositories.source.toolkit.fluxcd.io/v1\n")
        );
        assert!(answer.stderr.ends_with("✗ check failed\n"));
    }
}
