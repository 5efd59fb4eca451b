//! Helm's part: what a release is, and how one is installed, upgraded, rolled back, removed.
//!
//! Records are Secrets, as Helm's are: `sh.helm.release.v1.NAME.vN`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{self, How};
use super::charts::Chart;
use super::objects::Store;
use super::outside::Outside;
use super::value::{kind_of, place, set, text};

/// A release, at one of its revisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Release {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its revision.
    pub(crate) version: u64,
    /// `deployed`, `failed`, `superseded`, `pending-install` …
    pub(crate) status: String,
    /// Helm's sentence about it.
    pub(crate) description: String,
    /// The chart's name.
    pub(crate) chart: String,
    /// The chart's version.
    pub(crate) chart_version: String,
    /// What the chart installs, by version.
    pub(crate) app_version: String,
    /// The values that were given.
    pub(crate) config: Value,
    /// The objects.
    pub(crate) manifest: Vec<Value>,
    /// When it was first deployed, as a date.
    pub(crate) first: String,
    /// When it was last deployed, as a date.
    pub(crate) last: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The release.
    pub(crate) name: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// The chart.
    pub(crate) chart: &'a Chart,
    /// The values.
    pub(crate) values: &'a Value,
}

impl Release {
    /// Returns the objects of the release as they are now; what is gone is left out.
    pub(crate) fn objects(&self, store: &dyn Store) -> Vec<Value> {
        self.manifest
            .iter()
            .filter_map(|object| {
                let (namespace, name) = place(object);
                store.get(&kind_of(object), namespace, name).cloned()
            })
            .collect()
    }
}

/// Returns all revisions of a release, oldest first.
pub(crate) fn history(store: &dyn Store, namespace: &str, name: &str) -> Vec<Release> {
    let mut all: Vec<Release> = store
        .list("Secret")
        .into_iter()
        .filter(|secret| {
            place(secret).0 == namespace && text(secret, "/metadata/labels/name") == name
        })
        .filter_map(read)
        .collect();
    all.sort_by_key(|release| release.version);
    all
}

/// Returns every record in a namespace; of all namespaces if that is empty.
pub(crate) fn records(store: &dyn Store, namespace: &str) -> Vec<Release> {
    store
        .list("Secret")
        .into_iter()
        .filter(|secret| namespace.is_empty() || place(secret).0 == namespace)
        .filter_map(read)
        .collect()
}

fn read(secret: &Value) -> Option<Release> {
    if text(secret, "/type") != "helm.sh/release.v1" {
        return None;
    }
    let bytes = STANDARD.decode(text(secret, "/data/release")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Returns the newest revision.
pub(crate) fn last(store: &dyn Store, namespace: &str, name: &str) -> Option<Release> {
    let newest = store
        .list("Secret")
        .into_iter()
        .filter(|secret| {
            place(secret).0 == namespace && text(secret, "/metadata/labels/name") == name
        })
        .max_by_key(|secret| {
            let version = text(secret, "/metadata/labels/version");
            version.parse::<u64>().unwrap_or_default()
        });
    newest.and_then(read)
}

/// Writes a record.
pub(crate) fn record(store: &mut dyn Store, release: &Release) {
    let text = serde_json::to_string(release).unwrap_or_default();
    store.write(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {
            "name": format!("sh.helm.release.v1.{}.v{}", release.name, release.version), "namespace": release.namespace,
            "labels": { "name": release.name, "owner": "helm", "status": release.status, "version": release.version.to_string() },
        },
        "data": { "release": STANDARD.encode(text) },
    }));
}

/// Gives the newest revision another status.
pub(crate) fn mark(
    store: &mut dyn Store,
    namespace: &str,
    name: &str,
    status: &str,
    description: &str,
) {
    if let Some(mut release) = last(store, namespace, name) {
        release.status = status.to_string();
        release.description = description.to_string();
        record(store, &release);
    }
}

fn owned(store: &dyn Store, object: &Value, request: &Request<'_>) -> Result<(), String> {
    let (namespace, name) = place(object);
    let Some(found) = store.get(&kind_of(object), namespace, name) else {
        return Ok(());
    };
    let mut wrong = Vec::new();
    let managed = text(found, "/metadata/labels/app.kubernetes.io~1managed-by");
    if managed != "Helm" {
        wrong.push(if managed.is_empty() {
            "label validation error: missing key \"app.kubernetes.io/managed-by\": must be set to \"Helm\"".to_string()
        } else {
            format!("label validation error: key \"app.kubernetes.io/managed-by\" must equal \"Helm\": current value is \"{managed}\"")
        });
    }
    for (key, wanted) in [
        ("release-name", request.name),
        ("release-namespace", request.namespace),
    ] {
        let has = text(found, &format!("/metadata/annotations/meta.helm.sh~1{key}"));
        if has != wanted {
            wrong.push(if has.is_empty() {
                format!("annotation validation error: missing key \"meta.helm.sh/{key}\": must be set to \"{wanted}\"")
            } else {
                format!("annotation validation error: key \"meta.helm.sh/{key}\" must equal \"{wanted}\": current value is \"{has}\"")
            });
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "Unable to continue with install: {} \"{name}\" in namespace \"{namespace}\" exists and cannot be imported into the current release: invalid ownership metadata; {}",
        text(object, "/kind"),
        wrong.join("; ")
    ))
}

/// Installs or upgrades; the record says `deployed` as soon as all objects are applied (who waits, waits himself).
pub(crate) fn upgrade(
    store: &mut dyn Store,
    outside: &mut Outside,
    request: &Request<'_>,
) -> Result<Release, String> {
    if let Some(real) = &outside.helm {
        return real.upgrade(store, request);
    }
    let before = history(store, request.namespace, request.name);
    let newest = before.last().cloned();
    if newest
        .as_ref()
        .is_some_and(|release| release.status.starts_with("pending-"))
    {
        return Err("another operation (install/upgrade/rollback) is in progress".to_string());
    }
    let standing = newest
        .as_ref()
        .filter(|release| release.status != "uninstalled");
    if store.get("Namespace", "", request.namespace).is_none() {
        return Err(format!(
            "create: failed to create: namespaces \"{}\" not found",
            request.namespace
        ));
    }
    let objects = request
        .chart
        .render(store, request.name, request.namespace, request.values)?;
    let mut manifest = Vec::new();
    for mut object in objects {
        set(
            &mut object,
            "/metadata/labels/app.kubernetes.io~1managed-by",
            json!("Helm"),
        );
        set(
            &mut object,
            "/metadata/annotations/meta.helm.sh~1release-name",
            json!(request.name),
        );
        set(
            &mut object,
            "/metadata/annotations/meta.helm.sh~1release-namespace",
            json!(request.namespace),
        );
        let located = api::locate(store, &mut object, request.namespace);
        if let Err(refusal) = located {
            let name = place(&object).1;
            return Err(format!(
                "unable to build kubernetes objects from release manifest: resource mapping not found for name: \"{name}\" namespace: \"\" from \"\": {refusal}\nensure CRDs are installed first"
            ));
        }
        manifest.push(object);
    }
    let old: Vec<Value> = standing
        .map(|release| release.manifest.clone())
        .unwrap_or_default();
    for object in &manifest {
        let known = old
            .iter()
            .any(|one| kind_of(one) == kind_of(object) && place(one) == place(object));
        if !known {
            owned(store, object, request)?;
        }
    }
    let date = store.date();
    let version = newest.as_ref().map_or(1, |release| release.version + 1);
    let mut release = Release {
        name: request.name.to_string(),
        namespace: request.namespace.to_string(),
        version,
        status: "deployed".to_string(),
        description: if standing.is_none() {
            "Install complete"
        } else {
            "Upgrade complete"
        }
        .to_string(),
        chart: request.chart.name.clone(),
        chart_version: request.chart.version.clone(),
        app_version: request.chart.app_version.clone(),
        config: request.values.clone(),
        manifest: manifest.clone(),
        first: newest
            .as_ref()
            .map_or_else(|| date.clone(), |release| release.first.clone()),
        last: date,
    };
    for object in manifest {
        let (kind, (namespace, name)) = (text(&object, "/kind").to_string(), place(&object));
        let (namespace, name) = (namespace.to_string(), name.to_string());
        // Helm merges three ways: it never finds a conflict, and both of its drivers write over each other.
        let how = How {
            manager: "helm",
            force: true,
            dry: false,
        };
        if let Err(refusal) = api::apply(store, outside, object, &namespace, how) {
            let why = if standing.is_none() {
                format!("{refusal}")
            } else {
                format!("cannot patch \"{name}\" with kind {kind}: {refusal}")
            };
            release.status = "failed".to_string();
            release.description = format!("Release \"{}\" failed: {why}", release.name);
            record(store, &release);
            return Err(why);
        }
    }
    for gone in old.iter().filter(|one| {
        !release
            .manifest
            .iter()
            .any(|new| kind_of(new) == kind_of(one) && place(new) == place(one))
    }) {
        let (namespace, name) = place(gone);
        store.remove(&kind_of(gone), namespace, name);
    }
    for mut earlier in before {
        if earlier.status == "deployed" {
            earlier.status = "superseded".to_string();
            record(store, &earlier);
        }
    }
    record(store, &release);
    Ok(release)
}

/// Removes a release and its objects.
pub(crate) fn uninstall(store: &mut dyn Store, namespace: &str, name: &str) -> Result<(), String> {
    let all = history(store, namespace, name);
    let Some(newest) = all.last() else {
        return Err(format!(
            "uninstall: Release not loaded: {name}: release: not found"
        ));
    };
    for object in &newest.manifest {
        let (space, own) = place(object);
        store.remove(&kind_of(object), space, own);
    }
    for release in &all {
        store.remove(
            "Secret",
            namespace,
            &format!("sh.helm.release.v1.{name}.v{}", release.version),
        );
    }
    Ok(())
}

/// Rolls back to a revision; `0` means the one before.
pub(crate) fn rollback(
    store: &mut dyn Store,
    outside: &mut Outside,
    namespace: &str,
    name: &str,
    to: u64,
) -> Result<u64, String> {
    let all = history(store, namespace, name);
    let Some(newest) = all.last() else {
        return Err("release: not found".to_string());
    };
    let to = if to == 0 { newest.version - 1 } else { to };
    let Some(wanted) = all.iter().find(|release| release.version == to) else {
        return Err(format!("release has no {to} version"));
    };
    for object in &wanted.manifest {
        let how = How {
            manager: "helm",
            force: true,
            dry: false,
        };
        api::apply(store, outside, object.clone(), namespace, how)
            .map_err(|refusal| refusal.to_string())?;
    }
    let mut next = wanted.clone();
    next.version = newest.version + 1;
    next.status = "deployed".to_string();
    next.description = format!("Rollback to {to}");
    next.last = store.date();
    for mut earlier in all.clone() {
        if earlier.status == "deployed" {
            earlier.status = "superseded".to_string();
            record(store, &earlier);
        }
    }
    record(store, &next);
    Ok(next.version)
}
