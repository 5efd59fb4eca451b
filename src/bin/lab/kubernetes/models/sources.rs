//! Flux's source-controller: what a Git branch or a chart registry holds.

use serde_json::{Value, json};

use super::super::charts;
use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{drop_condition, place, put_condition, set, text};
use super::programs;
use crate::fault::Kind;
use base64::Engine as _;

/// Whether a controller of Flux runs.
pub(super) fn runs(store: &dyn Store, controller: &str) -> bool {
    programs::works(store, "flux-system", controller)
}

/// Returns whether an object of Flux should be looked at: it is new, it was changed, somebody asks, or its interval is over.
pub(super) fn due(store: &mut dyn Store, object: &Value, interval: u64) -> bool {
    let asked = text(
        object,
        "/metadata/annotations/reconcile.fluxcd.io~1requestedAt",
    );
    let handled = text(object, "/status/lastHandledReconcileAt");
    let changed = object["metadata"]["generation"] != object["status"]["observedGeneration"];
    let what = interval_of(object);
    let over = store.passed(&what, interval);
    changed || asked != handled || over
}

/// Begins an object's interval anew.
pub(super) fn again(store: &mut dyn Store, object: &Value) {
    store.forget(&interval_of(object));
}

fn interval_of(object: &Value) -> String {
    format!("{} interval", text(object, "/metadata/uid"))
}

/// Returns a duration of a spec in milliseconds.
pub(super) fn duration(object: &Value, path: &str, default: u64) -> u64 {
    let given = text(object, path);
    if given.is_empty() {
        default
    } else {
        crate::cobra::duration_ms(given).unwrap_or(default)
    }
}

/// Notes that somebody's request was seen.
pub(super) fn handled(object: &mut Value) {
    let asked = text(
        object,
        "/metadata/annotations/reconcile.fluxcd.io~1requestedAt",
    )
    .to_string();
    if !asked.is_empty() {
        set(object, "/status/lastHandledReconcileAt", json!(asked));
    }
}

fn finish(
    object: &mut Value,
    date: &str,
    outcome: Result<Value, (&str, String)>,
    message: impl Fn(&Value) -> String,
) {
    handled(object);
    let generation = object["metadata"]["generation"].clone();
    match outcome {
        Ok(artifact) => {
            let said = message(&artifact);
            let same = object["status"]["artifact"]["revision"] == artifact["revision"];
            if !same {
                set(object, "/status/artifact", artifact);
            }
            put_condition(object, date, "Ready", "True", "Succeeded", &said);
            put_condition(
                object,
                date,
                "ArtifactInStorage",
                "True",
                "Succeeded",
                &said,
            );
            drop_condition(object, "FetchFailed");
            drop_condition(object, "Reconciling");
        }
        Err((reason, why)) => {
            put_condition(object, date, "FetchFailed", "True", reason, &why);
            put_condition(object, date, "Ready", "False", reason, &why);
            drop_condition(object, "Reconciling");
        }
    }
    set(object, "/status/observedGeneration", generation);
}

/// `GitRepository` objects follow their branch.
pub(super) fn git(store: &mut dyn Store, outside: &mut Outside) {
    let kind = "GitRepository.source.toolkit.fluxcd.io";
    if store.list(kind).is_empty() || !runs(store, "source-controller") {
        return;
    }
    let all: Vec<Value> = store.list(kind).into_iter().cloned().collect();
    for mut source in all {
        if source["spec"]["suspend"] == true
            || source["metadata"].get("deletionTimestamp").is_some()
        {
            continue;
        }
        // A host is asked again soon after it did not answer.
        let interval = if super::super::value::is_true(&source, "Ready") {
            duration(&source, "/spec/interval", 60_000)
        } else {
            10_000
        };
        if !due(store, &source, interval)
            || !store.passed(&format!("{} fetch", text(&source, "/metadata/uid")), 800)
        {
            continue;
        }
        store.forget(&format!("{} fetch", text(&source, "/metadata/uid")));
        again(store, &source);
        let date = store.date();
        let outcome = fetch(store, outside, &source);
        finish(&mut source, &date, outcome, |artifact| {
            format!(
                "stored artifact for revision '{}'",
                text(artifact, "/revision")
            )
        });
        store.write(source);
    }
}

/// Two addresses of one repository: with and without `.git`, a slash, a user.
fn same_address(one: &str, other: &str) -> bool {
    let bare = |url: &str| {
        let rest = url.split("://").nth(1).unwrap_or(url);
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        rest.trim_end_matches('/')
            .trim_end_matches(".git")
            .to_string()
    };
    bare(one) == bare(other)
}

/// Returns whether a repository's address and password are those of the room.
pub(crate) fn may_read(
    outside: &mut Outside,
    url: &str,
    password: Option<&str>,
) -> Result<(), String> {
    if !same_address(url, &outside.git.url) {
        return Err("repository not found".to_string());
    }
    let token = outside
        .secret(&outside.git.vault, &outside.git.item, &outside.git.field)
        .unwrap_or_default()
        .to_string();
    if outside
        .feels(Kind::GitRefuses, &outside.cluster.clone())
        .is_some()
        || password.is_some_and(|given| given != token)
    {
        return Err("authentication required: Invalid username or token.".to_string());
    }
    Ok(())
}

fn fetch(
    store: &dyn Store,
    outside: &mut Outside,
    source: &Value,
) -> Result<Value, (&'static str, String)> {
    let url = text(source, "/spec/url").to_string();
    let failed = |why: String| {
        (
            "GitOperationFailed",
            format!("failed to checkout and determine revision: unable to clone '{url}': {why}"),
        )
    };
    if !programs::resolves(store) {
        return Err(failed("dial tcp: lookup: i/o timeout".to_string()));
    }
    let (namespace, _) = place(source);
    let secret = text(source, "/spec/secretRef/name");
    let password = if secret.is_empty() {
        None
    } else {
        let Some(found) = store.get("Secret", namespace, secret) else {
            return Err((
                "AuthenticationFailed",
                format!(
                    "failed to get secret '{namespace}/{secret}': secrets \"{secret}\" not found"
                ),
            ));
        };
        let coded = text(found, "/data/password");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(coded)
            .unwrap_or_default();
        Some(String::from_utf8_lossy(&bytes).trim().to_string())
    };
    may_read(outside, &url, password.as_deref()).map_err(failed)?;
    let branch = text(source, "/spec/ref/branch");
    let branch = if branch.is_empty() { "master" } else { branch };
    let Some(commit) = outside.remote.head(branch) else {
        return Err(failed(format!(
            "couldn't find remote ref \"refs/heads/{branch}\""
        )));
    };
    let (namespace, name) = place(source);
    let path = format!("gitrepository/{namespace}/{name}/{commit}.tar.gz");
    Ok(json!({
        "digest": format!("sha256:{}", blake3::hash(commit.as_bytes()).to_hex()),
        "lastUpdateTime": store.date(),
        "path": path,
        "revision": format!("{branch}@sha1:{commit}"),
        "size": 4_096,
        "url": format!("http://source-controller.flux-system.svc.cluster.local./{path}"),
    }))
}

/// `OCIRepository` objects hold charts.
pub(super) fn charts(store: &mut dyn Store, outside: &mut Outside) {
    let kind = "OCIRepository.source.toolkit.fluxcd.io";
    if store.list(kind).is_empty() || !runs(store, "source-controller") {
        return;
    }
    let all: Vec<Value> = store.list(kind).into_iter().cloned().collect();
    for mut source in all {
        if source["spec"]["suspend"] == true
            || source["metadata"].get("deletionTimestamp").is_some()
        {
            continue;
        }
        // A registry answers again soon after it did not.
        let interval = if super::super::value::is_true(&source, "Ready") {
            duration(&source, "/spec/interval", 60_000)
        } else {
            10_000
        };
        let what = format!("{} pull", text(&source, "/metadata/uid"));
        if !due(store, &source, interval) || !store.passed(&what, 500) {
            continue;
        }
        store.forget(&what);
        again(store, &source);
        let date = store.date();
        let (url, tag) = (
            text(&source, "/spec/url").to_string(),
            text(&source, "/spec/ref/tag").to_string(),
        );
        let (namespace, name) = place(&source);
        let path = format!("ocirepository/{namespace}/{name}/{tag}.tar.gz");
        let outcome = if programs::resolves(store) {
            charts::pull(outside, &url, &tag)
                .map(|chart| {
                    json!({
                        "digest": chart.digest(), "lastUpdateTime": date, "path": path, "revision": format!("{tag}@{}", chart.digest()), "size": 2_048,
                        "url": format!("http://source-controller.flux-system.svc.cluster.local./{path}"),
                    })
                })
                .map_err(|why| ("OCIArtifactPullFailed", format!("failed to determine artifact digest: {why}")))
        } else {
            Err((
                "OCIArtifactPullFailed",
                format!(
                    "failed to determine artifact digest: Get \"https://{}/v2/\": dial tcp: lookup: i/o timeout",
                    url.trim_start_matches("oci://")
                        .split('/')
                        .next()
                        .unwrap_or_default()
                ),
            ))
        };
        finish(&mut source, &date, outcome, |artifact| {
            format!(
                "stored artifact for digest '{}'",
                text(artifact, "/revision")
            )
        });
        store.write(source);
    }
}
