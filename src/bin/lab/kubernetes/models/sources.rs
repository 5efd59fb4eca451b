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

fn finish(object: &mut Value, date: &str, asked: Asked, word: &str) {
    handled(object);
    let generation = object["metadata"]["generation"].clone();
    match asked {
        Ok(artifact) => {
            let revision = text(&artifact, "/revision");
            let said = format!("stored artifact for {word} '{revision}'");
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

/// What source-controller does with a kind of source.
struct Follow {
    kind: &'static str,
    /// How long it takes to ask, in milliseconds.
    takes: u64,
    ask: fn(&dyn Store, &mut Outside, &Value) -> Asked,
    /// What the revision is called.
    word: &'static str,
}

/// An artifact, or the reason why there is none, with its sentence.
type Asked = Result<Value, (&'static str, String)>;

/// `GitRepository` objects follow their branch.
pub(super) fn git(store: &mut dyn Store, outside: &mut Outside) {
    follow(
        store,
        outside,
        &Follow {
            kind: "GitRepository.source.toolkit.fluxcd.io",
            takes: 800,
            ask: fetch,
            word: "revision",
        },
    );
}

/// `OCIRepository` objects hold charts.
pub(super) fn charts(store: &mut dyn Store, outside: &mut Outside) {
    follow(
        store,
        outside,
        &Follow {
            kind: "OCIRepository.source.toolkit.fluxcd.io",
            takes: 500,
            ask: pull,
            word: "digest",
        },
    );
}

fn follow(store: &mut dyn Store, outside: &mut Outside, how: &Follow) {
    if store.list(how.kind).is_empty() || !runs(store, "source-controller") {
        return;
    }
    let all: Vec<Value> = store.list(how.kind).into_iter().cloned().collect();
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
        let asking = format!("{} asking", text(&source, "/metadata/uid"));
        if !due(store, &source, interval) || !store.passed(&asking, how.takes) {
            continue;
        }
        store.forget(&asking);
        again(store, &source);
        let date = store.date();
        let asked = (how.ask)(store, outside, &source);
        finish(&mut source, &date, asked, how.word);
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

fn fetch(store: &dyn Store, outside: &mut Outside, source: &Value) -> Asked {
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
    Ok(artifact(
        store,
        &format!("gitrepository/{namespace}/{name}/{commit}.tar.gz"),
        &format!("sha256:{}", blake3::hash(commit.as_bytes()).to_hex()),
        &format!("{branch}@sha1:{commit}"),
        4_096,
    ))
}

fn pull(store: &dyn Store, outside: &mut Outside, source: &Value) -> Asked {
    let (url, tag) = (text(source, "/spec/url"), text(source, "/spec/ref/tag"));
    let failed = |why: String| {
        (
            "OCIArtifactPullFailed",
            format!("failed to determine artifact digest: {why}"),
        )
    };
    if !programs::resolves(store) {
        let host = url.trim_start_matches("oci://").split('/').next();
        return Err(failed(format!(
            "Get \"https://{}/v2/\": dial tcp: lookup: i/o timeout",
            host.unwrap_or_default()
        )));
    }
    let chart = charts::pull(outside, url, tag).map_err(failed)?;
    let (namespace, name) = place(source);
    Ok(artifact(
        store,
        &format!("ocirepository/{namespace}/{name}/{tag}.tar.gz"),
        &chart.digest(),
        &format!("{tag}@{}", chart.digest()),
        2_048,
    ))
}

/// What source-controller keeps of a source.
fn artifact(store: &dyn Store, path: &str, digest: &str, revision: &str, size: u64) -> Value {
    json!({
        "digest": digest,
        "lastUpdateTime": store.date(),
        "path": path,
        "revision": revision,
        "size": size,
        "url": format!("http://source-controller.flux-system.svc.cluster.local./{path}"),
    })
}
