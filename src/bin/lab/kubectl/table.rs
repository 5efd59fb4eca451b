//! The tables that people read: those of the kinds that the lab's stories are about.

use serde_json::Value;

use crate::answer::Answer;
use crate::cobra::Invocation;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::value::{is_true, list, text, word};
use crate::text::{row, table};
use crate::world::World;

/// Returns the table of objects of one kind.
pub(super) fn of(
    call: &Invocation,
    found: &[(Kind, Value)],
    wide: bool,
    world: &World,
) -> Result<String, Answer> {
    let kind = found[0].0.id();
    if found.iter().any(|(other, _)| other.id() != kind) {
        return Err(Answer::not_played(
            "kubectl get of several kinds as a table",
        ));
    }
    let everywhere = call.switch("all-namespaces", false) && found[0].0.namespaced;
    let mut rows = Vec::new();
    for (_, object) in found {
        let age = age(object, world);
        let cells = match kind.as_str() {
            "Node" => node(object, &age, wide),
            _ if wide => None,
            "Pod" => Some(pod(object, &age)),
            "Namespace" => Some(vec![
                text(object, "/metadata/name").to_string(),
                text(object, "/status/phase").to_string(),
                age,
            ]),
            "Deployment.apps" => Some(deployment(object, &age)),
            "DaemonSet.apps" => Some(daemon_set(object, &age)),
            _ => None,
        };
        let Some(mut cells) = cells else {
            let what = format!(
                "kubectl get {} as a table; ask for -o json",
                found[0].0.plural
            );
            return Err(Answer::not_played(&what));
        };
        if everywhere {
            cells.insert(0, text(object, "/metadata/namespace").to_string());
        }
        rows.push(cells);
    }
    if !call.switch("no-headers", false) {
        rows.insert(0, heads(&kind, wide, everywhere));
    }
    Ok(table(&rows, 3))
}

fn heads(kind: &str, wide: bool, everywhere: bool) -> Vec<String> {
    let mut heads: Vec<&str> = match kind {
        "Node" => vec!["NAME", "STATUS", "ROLES", "AGE", "VERSION"],
        "Pod" => vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
        "Deployment.apps" => vec!["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"],
        "DaemonSet.apps" => vec![
            "NAME",
            "DESIRED",
            "CURRENT",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "NODE SELECTOR",
            "AGE",
        ],
        _ => vec!["NAME", "STATUS", "AGE"],
    };
    if wide {
        heads.extend([
            "INTERNAL-IP",
            "EXTERNAL-IP",
            "OS-IMAGE",
            "KERNEL-VERSION",
            "CONTAINER-RUNTIME",
        ]);
    }
    if everywhere {
        heads.insert(0, "NAMESPACE");
    }
    row(&heads)
}

fn age(object: &Value, world: &World) -> String {
    let made: Option<jiff::Timestamp> = text(object, "/metadata/creationTimestamp").parse().ok();
    let now = world.date_ms(world.now_ms) / 1_000;
    let age = made.map_or(0, |made| {
        now.saturating_sub(u64::try_from(made.as_second()).unwrap_or_default())
    });
    if age < 120 {
        format!("{age}s")
    } else {
        format!("{}m", age / 60)
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the other kinds have no wide table, and this one stands among them"
)]
fn node(object: &Value, age: &str, wide: bool) -> Option<Vec<String>> {
    let plane = object
        .pointer("/metadata/labels/node-role.kubernetes.io~1control-plane")
        .is_some();
    let mut cells = row(&[
        text(object, "/metadata/name"),
        if is_true(object, "Ready") {
            "Ready"
        } else {
            "NotReady"
        },
        if plane { "control-plane" } else { "<none>" },
        age,
        text(object, "/status/nodeInfo/kubeletVersion"),
    ]);
    if wide {
        cells.extend(row(&[
            text(object, "/status/addresses/0/address"),
            "<none>",
            text(object, "/status/nodeInfo/osImage"),
            text(object, "/status/nodeInfo/kernelVersion"),
            text(object, "/status/nodeInfo/containerRuntimeVersion"),
        ]));
    }
    Some(cells)
}

fn pod(object: &Value, age: &str) -> Vec<String> {
    let all = list(object, "/status/containerStatuses");
    let ready = all.iter().filter(|one| one["ready"] == true).count();
    let count = list(object, "/spec/containers").len();
    let reason = all
        .iter()
        .flat_map(|one| {
            ["waiting", "terminated"].map(|state| text(one, &format!("/state/{state}/reason")))
        })
        .find(|reason| !reason.is_empty());
    let status = reason.unwrap_or_else(|| text(object, "/status/phase"));
    row(&[
        text(object, "/metadata/name"),
        &format!("{ready}/{count}"),
        status,
        "0",
        age,
    ])
}

fn number(object: &Value, path: &str) -> String {
    let found = word(object, path);
    if found.is_empty() {
        "0".to_string()
    } else {
        found
    }
}

fn deployment(object: &Value, age: &str) -> Vec<String> {
    let ready = number(object, "/status/readyReplicas");
    row(&[
        text(object, "/metadata/name"),
        &format!("{ready}/{}", number(object, "/spec/replicas")),
        &number(object, "/status/updatedReplicas"),
        &number(object, "/status/availableReplicas"),
        age,
    ])
}

fn daemon_set(object: &Value, age: &str) -> Vec<String> {
    row(&[
        text(object, "/metadata/name"),
        &number(object, "/status/desiredNumberScheduled"),
        &number(object, "/status/currentNumberScheduled"),
        &number(object, "/status/numberReady"),
        &number(object, "/status/updatedNumberScheduled"),
        &number(object, "/status/numberAvailable"),
        "<none>",
        age,
    ])
}
