//! Whether an object is as it should be, by the rules of `kstatus` that Flux and Helm use.

use serde_json::Value;

use super::super::value::{condition, is_true, kind_of, list, text};
use super::workloads;

/// Returns what an object still waits for (`InProgress`, `Failed`, `Terminating`), or `None` if it is current.
pub(crate) fn healthy(object: &Value) -> Option<&'static str> {
    if object["metadata"].get("deletionTimestamp").is_some() {
        return Some("Terminating");
    }
    match kind_of(object).as_str() {
        "Deployment.apps" => {
            let late = condition(object, "Progressing")
                .is_some_and(|found| found["reason"] == "ProgressDeadlineExceeded");
            if late {
                return Some("Failed");
            }
            workloads::rolled_out(object).map(|_| "InProgress")
        }
        "DaemonSet.apps" => workloads::rolled_out(object).map(|_| "InProgress"),
        "Job.batch" => {
            if is_true(object, "Failed") {
                return Some("Failed");
            }
            (!is_true(object, "Complete")).then_some("InProgress")
        }
        "Pod" => (text(object, "/status/phase") != "Succeeded" && !is_true(object, "Ready"))
            .then_some("InProgress"),
        "Service" => (text(object, "/spec/type") == "LoadBalancer"
            && list(object, "/status/loadBalancer/ingress").is_empty())
        .then_some("InProgress"),
        "Namespace" => (text(object, "/status/phase") != "Active").then_some("InProgress"),
        "CustomResourceDefinition.apiextensions.k8s.io" => {
            (!is_true(object, "Established")).then_some("InProgress")
        }
        _ => {
            let seen = object.pointer("/status/observedGeneration");
            if seen.is_some() && seen != object.pointer("/metadata/generation") {
                return Some("InProgress");
            }
            if is_true(object, "Stalled") {
                return Some("Failed");
            }
            if is_true(object, "Reconciling") {
                return Some("InProgress");
            }
            condition(object, "Ready")
                .and_then(|ready| (ready["status"] != "True").then_some("InProgress"))
        }
    }
}
