//! Flux's kustomize-controller: builds a path of a source, substitutes, applies in order, prunes, waits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::api::{self, How};
use super::super::envsubst::{self, Variables};
use super::super::kinds;
use super::super::kustomize;
use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{
    condition, drop_condition, is_true, kind_of, list, members, place, put_condition, set, text,
};
use super::{health, sources};

const KIND: &str = "Kustomization.kustomize.toolkit.fluxcd.io";
const FINALIZER: &str = "finalizers.fluxcd.io";

/// Every Kustomization goes one step on.
pub(super) fn kustomizations(store: &mut dyn Store, outside: &mut Outside) {
    if store.list(KIND).is_empty() || !sources::runs(store, "kustomize-controller") {
        return;
    }
    let all: Vec<Value> = store.list(KIND).into_iter().cloned().collect();
    for kustomization in all {
        if kustomization["metadata"].get("deletionTimestamp").is_some() {
            going(store, kustomization);
        } else if kustomization["spec"]["suspend"] != true {
            one(store, outside, kustomization);
        }
    }
}

fn going(store: &mut dyn Store, mut kustomization: Value) {
    if kustomization["spec"]["prune"] == true {
        for entry in list(&kustomization, "/status/inventory/entries") {
            if let Some((kind, namespace, name)) = located(store, entry) {
                store.remove(&kind, &namespace, &name);
            }
        }
    }
    if let Some(finalizers) = kustomization["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    store.write(kustomization);
}

/// The object of an inventory entry `NAMESPACE_NAME_GROUP_KIND`.
fn located(store: &dyn Store, entry: &Value) -> Option<(String, String, String)> {
    let parts: Vec<&str> = text(entry, "/id").split('_').collect();
    let [namespace, name, group, kind] = parts[..] else {
        return None;
    };
    let kind = if group.is_empty() {
        kind.to_string()
    } else {
        format!("{kind}.{group}")
    };
    store
        .get(&kind, namespace, &name.replace("__", ":"))
        .map(|_| (kind, namespace.to_string(), name.to_string()))
}

fn entry(object: &Value) -> Value {
    let (namespace, name) = place(object);
    let api = text(object, "/apiVersion");
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    json!({ "id": format!("{namespace}_{name}_{group}_{}", text(object, "/kind")), "v": version })
}

/// Writes a failure; the next try is after the retry interval.
fn fail(store: &mut dyn Store, mut kustomization: Value, reason: &str, why: &str, retrying: bool) {
    let date = store.date();
    sources::handled(&mut kustomization);
    put_condition(&mut kustomization, &date, "Ready", "False", reason, why);
    if retrying {
        put_condition(
            &mut kustomization,
            &date,
            "Reconciling",
            "True",
            "ProgressingWithRetry",
            why,
        );
    } else {
        drop_condition(&mut kustomization, "Reconciling");
    }
    if reason == "HealthCheckFailed" {
        put_condition(&mut kustomization, &date, "Healthy", "False", reason, why);
    }
    sources::again(store, &kustomization);
    store.write(kustomization);
}

fn running(kustomization: &Value) -> bool {
    condition(kustomization, "Reconciling")
        .is_some_and(|found| text(found, "/message").starts_with("Running health checks"))
}

fn one(store: &mut dyn Store, outside: &mut Outside, mut kustomization: Value) {
    let (namespace, name) = place(&kustomization);
    let (namespace, name) = (namespace.to_string(), name.to_string());
    let uid = text(&kustomization, "/metadata/uid").to_string();
    if list(&kustomization, "/metadata/finalizers").is_empty() {
        kustomization["metadata"]["finalizers"] = json!([FINALIZER]);
        store.write(kustomization);
        return;
    }
    let generation = kustomization["metadata"]["generation"].clone();
    let reference = kustomization["spec"]["sourceRef"].clone();
    let kind = text(&reference, "/kind").to_string();
    let space = text(&reference, "/namespace");
    let space = if space.is_empty() {
        namespace.clone()
    } else {
        space.to_string()
    };
    let source_name = text(&reference, "/name").to_string();
    let source = store
        .get(
            &format!("{kind}.source.toolkit.fluxcd.io"),
            &space,
            &source_name,
        )
        .cloned();
    let revision = source
        .as_ref()
        .map(|source| text(source, "/status/artifact/revision").to_string())
        .unwrap_or_default();
    let ready = is_true(&kustomization, "Ready");
    let interval = if ready {
        sources::duration(&kustomization, "/spec/interval", 600_000)
    } else {
        sources::duration(&kustomization, "/spec/retryInterval", 60_000).min(60_000)
    };
    if running(&kustomization)
        && text(&kustomization, "/status/lastAttemptedRevision") == revision
        && generation == kustomization["status"]["checking"]
    {
        check(store, outside, kustomization);
        return;
    }
    let Some(source) = source else {
        if !ready
            && condition(&kustomization, "Ready").is_some()
            && !sources::due(store, &kustomization, 30_000)
        {
            return;
        }
        let why = format!("{kind}.source.toolkit.fluxcd.io \"{source_name}\" not found");
        fail(store, kustomization, "ArtifactFailed", &why, false);
        return;
    };
    if revision.is_empty() {
        fail(
            store,
            kustomization,
            "ArtifactFailed",
            "Source artifact not found, retrying in 30s",
            false,
        );
        return;
    }
    for dependency in list(&kustomization, "/spec/dependsOn").to_vec() {
        let space = text(&dependency, "/namespace");
        let space = if space.is_empty() { &namespace } else { space };
        let wanted = text(&dependency, "/name").to_string();
        let met = store.get(KIND, space, &wanted).is_some_and(|other| {
            is_true(other, "Ready")
                && other["metadata"]["generation"] == other["status"]["observedGeneration"]
                && (other["spec"]["sourceRef"] != reference
                    || text(other, "/status/lastAppliedRevision") == revision)
        });
        if !met {
            let why = format!("dependency '{space}/{wanted}' is not ready");
            let told = condition(&kustomization, "Ready").is_some_and(|found| {
                found["reason"] == "DependencyNotReady" && found["message"] == why.as_str()
            });
            if !told {
                fail(store, kustomization, "DependencyNotReady", &why, false);
            }
            return;
        }
    }
    let new_revision = text(&kustomization, "/status/lastAttemptedRevision") != revision;
    let waited = condition(&kustomization, "Ready").is_some_and(|found| {
        matches!(
            text(found, "/reason"),
            "DependencyNotReady" | "ArtifactFailed"
        )
    });
    let asked = sources::due(store, &kustomization, interval);
    let tried = kustomization["status"]["tried"] == generation && !new_revision;
    let request = text(
        &kustomization,
        "/metadata/annotations/reconcile.fluxcd.io~1requestedAt",
    ) != text(&kustomization, "/status/lastHandledReconcileAt");
    let over = store.passed(&format!("{uid} interval"), interval);
    if !(new_revision || waited || (asked && (!tried || request || over))) {
        return;
    }
    // Building and applying take a moment.
    let what = format!("{uid} applies {revision}");
    if !store.passed(
        &what,
        super::takes(outside, &format!("apply {name}"), 500, 2_000),
    ) {
        // What was wrong with the last revision is not said of this one.
        let failed =
            condition(&kustomization, "Ready").is_some_and(|found| found["status"] == "False");
        if failed && new_revision {
            let date = store.date();
            let said = format!("Fetching manifests for revision {revision}");
            put_condition(
                &mut kustomization,
                &date,
                "Reconciling",
                "True",
                "Progressing",
                &said,
            );
            let said = "Reconciliation in progress";
            put_condition(
                &mut kustomization,
                &date,
                "Ready",
                "Unknown",
                "Progressing",
                said,
            );
            store.write(kustomization);
        }
        return;
    }
    store.forget(&what);
    apply(store, outside, kustomization, &source, &revision);
}

fn strict(store: &dyn Store) -> bool {
    store
        .get("Deployment.apps", "flux-system", "kustomize-controller")
        .is_some_and(|found| {
            list(found, "/spec/template/spec/containers/0/args")
                .iter()
                .filter_map(Value::as_str)
                .any(|arg| arg.contains("StrictPostBuildSubstitutions=true"))
        })
}

fn variables(store: &dyn Store, kustomization: &Value) -> Result<Option<Variables>, String> {
    let (namespace, _) = place(kustomization);
    let build = &kustomization["spec"]["postBuild"];
    if !build.is_object() {
        return Ok(None);
    }
    let mut all = Variables::new();
    for source in list(build, "/substituteFrom") {
        let (kind, name) = (text(source, "/kind"), text(source, "/name"));
        match store.get(kind, namespace, name) {
            Some(found) => {
                for (name, value) in members(&found["data"]) {
                    all.insert(name, value.as_str().unwrap_or_default().to_string());
                }
            }
            None if source["optional"] == true => {}
            None => {
                let plural = if kind == "Secret" {
                    "secrets"
                } else {
                    "configmaps"
                };
                return Err(format!(
                    "substitute from '{kind}/{name}' error: {plural} \"{name}\" not found"
                ));
            }
        }
    }
    for (name, value) in members(&build["substitute"]) {
        all.insert(name, value.as_str().unwrap_or_default().to_string());
    }
    Ok(Some(all))
}

fn build(
    store: &dyn Store,
    outside: &Outside,
    kustomization: &Value,
    source: &Value,
) -> Result<Vec<Value>, (&'static str, String)> {
    if text(source, "/kind") != "GitRepository" {
        return Err((
            "ArtifactFailed",
            "the lab plays Kustomizations from a GitRepository only".to_string(),
        ));
    }
    let revision = text(source, "/status/artifact/revision");
    let commit = revision
        .rsplit_once(':')
        .map_or(revision, |(_, commit)| commit);
    let folder = kustomize::normal(text(kustomization, "/spec/path"));
    let top = folder.split('/').next().unwrap_or_default();
    let files = outside
        .remote
        .files(commit, top)
        .map_err(|why| ("ArtifactFailed", why))?;
    if !files
        .keys()
        .any(|path| folder.is_empty() || path.starts_with(&format!("{folder}/")))
    {
        return Err((
            "ArtifactFailed",
            format!(
                "kustomization path not found: stat /tmp/kustomization/{folder}: no such file or directory"
            ),
        ));
    }
    let built = kustomize::build_as_flux(&files, &folder)
        .map_err(|why| ("BuildFailed", format!("kustomize build failed: {why}")))?;
    for field in [
        "patches",
        "images",
        "components",
        "commonMetadata",
        "namePrefix",
        "targetNamespace",
        "decryption",
        "kubeConfig",
    ] {
        if kustomization["spec"].get(field).is_some() {
            return Err((
                "BuildFailed",
                format!("the lab does not play spec.{field} of a Kustomization"),
            ));
        }
    }
    let Some(first) = built.first() else {
        return Ok(built);
    };
    let variables = variables(store, kustomization).map_err(|why| {
        (
            "BuildFailed",
            format!(
                "post build failed for '{}': {why}",
                kustomize::short_id(first)
            ),
        )
    })?;
    let Some(variables) = variables else {
        return Ok(built);
    };
    let strict = strict(store);
    built
        .iter()
        .map(|object| {
            let off = ["annotations", "labels"].iter().any(|place| {
                text(object, &format!("/metadata/{place}/kustomize.toolkit.fluxcd.io~1substitute")) == "disabled"
            });
            if off {
                return Ok(object.clone());
            }
            envsubst::object(object, &variables, strict).map_err(|why| {
                ("BuildFailed", format!("post build failed for '{}': envsubst error: variable substitution failed: {why}", kustomize::short_id(object)))
            })
        })
        .collect()
}

fn apply(
    store: &mut dyn Store,
    outside: &mut Outside,
    mut kustomization: Value,
    source: &Value,
    revision: &str,
) {
    let (namespace, name) = place(&kustomization);
    let (namespace, name) = (namespace.to_string(), name.to_string());
    let generation = kustomization["metadata"]["generation"].clone();
    kustomization["status"]["tried"] = generation.clone();
    if kustomization["status"]["observedGeneration"] != json!(-1) {
        kustomization["status"]["observedGeneration"] = generation.clone();
    }
    let objects = match build(store, outside, &kustomization, source) {
        Ok(objects) => objects,
        Err((reason, why)) => {
            if reason == "BuildFailed" {
                kustomization["status"]["lastAttemptedRevision"] = json!(revision);
            }
            fail(store, kustomization, reason, &why, true);
            return;
        }
    };
    kustomization["status"]["lastAttemptedRevision"] = json!(revision);
    let (first, second): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .map(|mut object| {
            set(
                &mut object,
                "/metadata/labels/kustomize.toolkit.fluxcd.io~1name",
                json!(name),
            );
            set(
                &mut object,
                "/metadata/labels/kustomize.toolkit.fluxcd.io~1namespace",
                json!(namespace),
            );
            object
        })
        .partition(|object| matches!(kind_of(object).as_str(), "Namespace" | kinds::CRD));
    let mut inventory: Vec<Value> = Vec::new();
    for stage in [first, second] {
        // All of a stage is tried before any of it is applied.
        for dry in [true, false] {
            for object in &stage {
                let how = How {
                    manager: "kustomize-controller",
                    force: true,
                    dry,
                };
                let mut object = object.clone();
                let id = {
                    let located = api::locate(store, &mut object, &namespace);
                    let (space, own) = place(&object);
                    let space = if space.is_empty() {
                        String::new()
                    } else {
                        format!("{space}/")
                    };
                    located
                        .map_err(|refusal| {
                            (format!("{}/{space}{own}", text(&object, "/kind")), refusal)
                        })
                        .map(|_| format!("{}/{space}{own}", text(&object, "/kind")))
                };
                let done = match id {
                    Ok(id) => api::apply(store, outside, object.clone(), &namespace, how)
                        .map_err(|refusal| (id, refusal)),
                    Err(why) => Err(why),
                };
                if let Err((id, refusal)) = done {
                    let why = format!("{id} dry-run failed: {refusal}");
                    if !inventory.is_empty() {
                        merge_inventory(&mut kustomization, &inventory);
                    }
                    fail(store, kustomization, "ReconciliationFailed", &why, true);
                    return;
                }
                if !dry {
                    inventory.push(entry(&object));
                }
            }
        }
        // Definitions are served before what they define is applied.
        if stage.iter().any(|object| kind_of(object) == kinds::CRD) {
            super::namespaces::definitions(store, outside);
            let served = stage
                .iter()
                .filter(|object| kind_of(object) == kinds::CRD)
                .all(|object| {
                    store
                        .get(kinds::CRD, "", place(object).1)
                        .is_some_and(|found| is_true(found, "Established"))
                });
            if !served {
                kustomization["status"]["lastAttemptedRevision"] = json!("");
                kustomization["status"]["tried"] = Value::Null;
                store.passed(
                    &format!(
                        "{} waits for definitions",
                        text(&kustomization, "/metadata/uid")
                    ),
                    300,
                );
                store.write(kustomization);
                return;
            }
        }
    }
    if kustomization["spec"]["prune"] == true {
        for old in list(&kustomization, "/status/inventory/entries").to_vec() {
            if inventory.iter().all(|entry| entry["id"] != old["id"])
                && let Some((kind, space, own)) = located(store, &old)
            {
                let label = store.get(&kind, &space, &own).map(|object| {
                    text(object, "/metadata/labels/kustomize.toolkit.fluxcd.io~1name").to_string()
                });
                if label.as_deref() == Some(name.as_str()) {
                    store.remove(&kind, &space, &own);
                }
            }
        }
    }
    // A Kustomization may be among the objects that it applies: go on with what is stored.
    let mut current = store
        .get(KIND, &namespace, &name)
        .cloned()
        .unwrap_or_else(|| kustomization.clone());
    current["status"] = kustomization["status"].clone();
    let mut kustomization = current;
    inventory.sort_by(|one, other| text(one, "/id").cmp(text(other, "/id")));
    kustomization["status"]["inventory"] = json!({ "entries": inventory });
    kustomization["status"]["checking"] = kustomization["metadata"]["generation"].clone();
    let date = store.date();
    let timeout = text(&kustomization, "/spec/timeout").to_string();
    let said = format!("Running health checks for revision {revision} with a timeout of {timeout}");
    put_condition(
        &mut kustomization,
        &date,
        "Reconciling",
        "True",
        "Progressing",
        &said,
    );
    put_condition(
        &mut kustomization,
        &date,
        "Ready",
        "Unknown",
        "Progressing",
        "Reconciliation in progress",
    );
    sources::handled(&mut kustomization);
    sources::again(store, &kustomization);
    store.forget(&format!("{} health", text(&kustomization, "/metadata/uid")));
    store.write(kustomization.clone());
    check(store, outside, kustomization);
}

fn merge_inventory(kustomization: &mut Value, entries: &[Value]) {
    let mut all = list(kustomization, "/status/inventory/entries").to_vec();
    for entry in entries {
        if all.iter().all(|old| old["id"] != entry["id"]) {
            all.push(entry.clone());
        }
    }
    kustomization["status"]["inventory"] = json!({ "entries": all });
}

/// What is waited for: all objects, or those that are named, or nothing.
fn waited(store: &dyn Store, kustomization: &Value) -> Vec<(String, Option<Value>)> {
    let (own_namespace, own_name) = place(kustomization);
    if kustomization["spec"]["wait"] == true {
        return list(kustomization, "/status/inventory/entries")
            .iter()
            .map(|entry| {
                let found = located(store, entry).and_then(|(kind, namespace, name)| {
                    store.get(&kind, &namespace, &name).cloned()
                });
                let label = text(entry, "/id").replace('_', "/");
                (label, found)
            })
            .filter(|(_, found)| {
                found.as_ref().is_none_or(|object| {
                    kind_of(object) != KIND || place(object) != (own_namespace, own_name)
                })
            })
            .collect();
    }
    list(kustomization, "/spec/healthChecks")
        .iter()
        .map(|check| {
            let api = text(check, "/apiVersion");
            let kind = match api.split_once('/') {
                Some((group, _)) => format!("{}.{group}", text(check, "/kind")),
                None => text(check, "/kind").to_string(),
            };
            let space = text(check, "/namespace");
            let space = if space.is_empty() {
                own_namespace
            } else {
                space
            };
            let name = text(check, "/name");
            (
                format!("{}/{space}/{name}", text(check, "/kind")),
                store.get(&kind, space, name).cloned(),
            )
        })
        .collect()
}

fn check(store: &mut dyn Store, _: &mut Outside, mut kustomization: Value) {
    let uid = text(&kustomization, "/metadata/uid").to_string();
    let date = store.date();
    let revision = text(&kustomization, "/status/lastAttemptedRevision").to_string();
    let unmet: BTreeMap<String, &str> = waited(store, &kustomization)
        .into_iter()
        .filter_map(|(label, found)| match found {
            None => Some((label, "NotFound")),
            Some(object) => health::healthy(&object).map(|state| {
                let (namespace, name) = place(&object);
                (
                    format!("{}/{namespace}/{name}", text(&object, "/kind")),
                    state,
                )
            }),
        })
        .collect();
    let what = format!("{uid} health");
    if unmet.is_empty() {
        store.forget(&what);
        let waits = kustomization["spec"]["wait"] == true
            || kustomization["spec"].get("healthChecks").is_some();
        let generation = kustomization["metadata"]["generation"].clone();
        drop_condition(&mut kustomization, "Reconciling");
        put_condition(
            &mut kustomization,
            &date,
            "Ready",
            "True",
            "ReconciliationSucceeded",
            &format!("Applied revision: {revision}"),
        );
        if waits {
            put_condition(
                &mut kustomization,
                &date,
                "Healthy",
                "True",
                "Succeeded",
                "Health check passed in 43.11323ms",
            );
        }
        kustomization["status"]["lastAppliedRevision"] = json!(revision);
        kustomization["status"]["observedGeneration"] = generation.clone();
        for kind in ["Ready", "Healthy"] {
            if let Some(found) = kustomization
                .pointer_mut("/status/conditions")
                .and_then(Value::as_array_mut)
                .and_then(|all| all.iter_mut().find(|one| one["type"] == kind))
            {
                found["observedGeneration"] = generation.clone();
            }
        }
        store.write(kustomization);
        return;
    }
    let timeout = sources::duration(&kustomization, "/spec/timeout", 300_000).max(30_000);
    if store.passed(&what, timeout) {
        store.forget(&what);
        let all: Vec<String> = unmet
            .iter()
            .map(|(id, state)| format!("{id} status: '{state}'"))
            .collect();
        let why = format!(
            "health check failed after {}ms: timeout waiting for: [{}]",
            timeout,
            all.join(", ")
        );
        fail(store, kustomization, "HealthCheckFailed", &why, true);
    }
}
