//! Namespaces, CRDs, and what goes with its owner.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::kinds::CRD;
use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{is_true, kind_of, list, place, put_condition, set, text};

/// A new API server makes its own namespaces.
pub(super) fn begin(store: &mut dyn Store, outside: &mut Outside) {
    if store.get("Namespace", "", "kube-system").is_some() {
        return;
    }
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        store.write(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        }));
    }
    store.write(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": { "component": "apiserver", "provider": "kubernetes" } },
        "spec": { "type": "ClusterIP", "clusterIP": first_host(&outside.service_cidr), "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443 }] },
        "status": { "loadBalancer": {} },
    }));
}

fn first_host(net: &str) -> String {
    let net: Option<ipnet::Ipv4Net> = net.parse().ok();
    net.and_then(|net| net.hosts().next())
        .map_or_else(|| "10.96.0.1".to_string(), |ip| ip.to_string())
}

/// A namespace has a service account, and goes when all in it has gone.
pub(super) fn namespaces(store: &mut dyn Store, _: &mut Outside) {
    let all: Vec<Value> = store.list("Namespace").into_iter().cloned().collect();
    for mut namespace in all {
        let name = text(&namespace, "/metadata/name").to_string();
        if namespace["metadata"].get("deletionTimestamp").is_none() {
            if store.get("ServiceAccount", &name, "default").is_none() {
                store.write(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default", "namespace": name } }));
            }
            continue;
        }
        if text(&namespace, "/status/phase") != "Terminating" {
            set(&mut namespace, "/status/phase", json!("Terminating"));
            store.write(namespace);
        }
        let inside: Vec<(String, String)> = store
            .all()
            .iter()
            .filter(|object| text(object, "/metadata/namespace") == name)
            .map(|object| (kind_of(object), text(object, "/metadata/name").to_string()))
            .collect();
        for (kind, inner) in &inside {
            store.remove(kind, &name, inner);
        }
        let what = format!("namespace {name} is empty");
        let empty = store
            .all()
            .iter()
            .all(|object| text(object, "/metadata/namespace") != name);
        if empty && store.passed(&what, 5_000) {
            store.forget(&what);
            store.remove("Namespace", "", &name);
        }
    }
}

/// A CRD is served a moment after it was made; its objects go with it.
pub(super) fn definitions(store: &mut dyn Store, _: &mut Outside) {
    let kind_of_definition = |definition: &Value| {
        format!(
            "{}.{}",
            text(definition, "/spec/names/kind"),
            text(definition, "/spec/group")
        )
    };
    let definitions = store.list(CRD);
    let groups: BTreeSet<String> = definitions
        .iter()
        .map(|definition| kind_of_definition(definition))
        .collect();
    let new: Vec<Value> = definitions
        .into_iter()
        .filter(|definition| !is_true(definition, "Established"))
        .cloned()
        .collect();
    for mut definition in new {
        let what = format!("{} established", text(&definition, "/metadata/uid"));
        if store.passed(&what, 200) {
            let date = store.date();
            put_condition(
                &mut definition,
                &date,
                "NamesAccepted",
                "True",
                "NoConflicts",
                "no conflicts found",
            );
            put_condition(
                &mut definition,
                &date,
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            );
            let names = definition["spec"]["names"].clone();
            set(&mut definition, "/status/acceptedNames", names);
            let stored: Vec<Value> = list(&definition, "/spec/versions")
                .iter()
                .filter(|version| version["storage"] == true)
                .map(|version| version["name"].clone())
                .collect();
            set(&mut definition, "/status/storedVersions", json!(stored));
            store.write(definition);
        }
    }
    let own: BTreeSet<String> = super::super::kinds::all(store)
        .iter()
        .map(super::super::kinds::Kind::id)
        .collect();
    let lost: Vec<(String, String, String)> = store
        .all()
        .iter()
        .map(|object| (kind_of(object), place(object)))
        .filter(|(kind, _)| !own.contains(kind) && !groups.contains(kind))
        .map(|(kind, (namespace, name))| (kind, namespace.to_string(), name.to_string()))
        .collect();
    for (kind, namespace, name) in lost {
        if let Some(mut object) = store.get(&kind, &namespace, &name).cloned() {
            set(&mut object, "/metadata/finalizers", json!([]));
            store.write(object);
        }
        store.remove(&kind, &namespace, &name);
    }
}

/// What has an owner goes with it.
pub(super) fn orphans(store: &mut dyn Store, _: &mut Outside) {
    let uids: BTreeSet<String> = store
        .all()
        .iter()
        .map(|object| text(object, "/metadata/uid").to_string())
        .collect();
    let lost: Vec<(String, String, String)> = store
        .all()
        .iter()
        .filter(|object| {
            let owners = list(object, "/metadata/ownerReferences");
            !owners.is_empty()
                && owners
                    .iter()
                    .all(|owner| !uids.contains(text(owner, "/uid")))
        })
        .map(|object| {
            let (namespace, name) = place(object);
            (kind_of(object), namespace.to_string(), name.to_string())
        })
        .collect();
    for (kind, namespace, name) in lost {
        store.remove(&kind, &namespace, &name);
    }
}
