//! Flux's helm-controller: releases from charts.

use serde_json::{Value, json};

use super::super::charts;
use super::super::helm::{self, Request};
use super::super::objects::Store;
use super::super::outside::Outside;
use super::super::value::{
    condition, digest, drop_condition, is_true, list, place, put_condition, set, text,
};
use super::{health, sources};

const KIND: &str = "HelmRelease.helm.toolkit.fluxcd.io";

/// Every `HelmRelease` goes one step on.
pub(super) fn releases(store: &mut dyn Store, outside: &mut Outside) {
    if store.list(KIND).is_empty() || !sources::runs(store, "helm-controller") {
        return;
    }
    let all: Vec<Value> = store.list(KIND).into_iter().cloned().collect();
    for mut release in all {
        if release["metadata"].get("deletionTimestamp").is_some() {
            let (namespace, name) = (target(&release), name_of(&release));
            // What was never installed is gone already.
            match &outside.helm {
                Some(real) => real.uninstall(&namespace, &name).ok(),
                None => helm::uninstall(store, &namespace, &name).ok(),
            };
            release["metadata"]["finalizers"] = json!([]);
            store.write(release);
        } else if release["spec"]["suspend"] != true {
            one(store, outside, release);
        }
    }
}

fn target(release: &Value) -> String {
    let own = text(release, "/spec/targetNamespace");
    if own.is_empty() {
        place(release).0.to_string()
    } else {
        own.to_string()
    }
}

fn name_of(release: &Value) -> String {
    let own = text(release, "/spec/releaseName");
    if own.is_empty() {
        place(release).1.to_string()
    } else {
        own.to_string()
    }
}

fn fail(store: &mut dyn Store, mut release: Value, reason: &str, why: &str) {
    let date = store.date();
    sources::handled(&mut release);
    put_condition(&mut release, &date, "Ready", "False", reason, why);
    let generation = release["metadata"]["generation"].clone();
    set(&mut release, "/status/observedGeneration", generation);
    sources::again(store, &release);
    store.write(release);
}

fn one(store: &mut dyn Store, outside: &mut Outside, mut release: Value) {
    let uid = text(&release, "/metadata/uid").to_string();
    if list(&release, "/metadata/finalizers").is_empty() {
        release["metadata"]["finalizers"] = json!(["finalizers.fluxcd.io"]);
        store.write(release);
        return;
    }
    let date = store.date();
    let (own, _) = place(&release);
    let own = own.to_string();
    for dependency in list(&release, "/spec/dependsOn") {
        let space = text(dependency, "/namespace");
        let space = if space.is_empty() { &own } else { space };
        let wanted = text(dependency, "/name");
        if !store
            .get(KIND, space, wanted)
            .is_some_and(|other| is_true(other, "Ready"))
        {
            let why = format!("dependency '{space}/{wanted}' is not ready");
            fail(store, release.clone(), "DependencyNotReady", &why);
            return;
        }
    }
    if release["spec"].get("valuesFrom").is_some()
        || release["spec"].get("chart").is_some()
        || release["spec"].get("postRenderers").is_some()
    {
        fail(
            store,
            release,
            "ArtifactFailed",
            "the lab plays HelmReleases with chartRef and values only",
        );
        return;
    }
    let reference = text(&release, "/spec/chartRef/name").to_string();
    let space = text(&release, "/spec/chartRef/namespace");
    let space = if space.is_empty() {
        own.clone()
    } else {
        space.to_string()
    };
    let Some(source) = store
        .get("OCIRepository.source.toolkit.fluxcd.io", &space, &reference)
        .cloned()
    else {
        let why = format!(
            "could not get Source object: OCIRepository.source.toolkit.fluxcd.io \"{reference}\" not found"
        );
        fail(store, release, "ArtifactFailed", &why);
        return;
    };
    if !is_true(&source, "Ready") {
        fail(
            store,
            release,
            "SourceNotReady",
            &format!("OCIRepository '{space}/{reference}' is not ready"),
        );
        return;
    }
    let chart = match charts::pull(
        outside,
        text(&source, "/spec/url"),
        text(&source, "/spec/ref/tag"),
    ) {
        Ok(chart) => chart,
        Err(why) => {
            fail(store, release, "ArtifactFailed", &why);
            return;
        }
    };
    let values = release["spec"]
        .get("values")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let wish = digest(&json!([chart.name, chart.version, values]));
    let (namespace, name) = (target(&release), name_of(&release));
    if running(&release) && text(&release, "/status/lastAttemptedConfigDigest") == wish {
        check(store, release, &wish);
        return;
    }
    let done =
        is_true(&release, "Ready") && text(&release, "/status/lastAttemptedConfigDigest") == wish;
    let standing =
        helm::last(store, &namespace, &name).is_some_and(|found| found.status == "deployed");
    if done && standing {
        if sources::due(
            store,
            &release,
            sources::duration(&release, "/spec/interval", 600_000),
        ) {
            sources::handled(&mut release);
            sources::again(store, &release);
            let generation = release["metadata"]["generation"].clone();
            set(&mut release, "/status/observedGeneration", generation);
            store.write(release);
        }
        return;
    }
    let same = text(&release, "/status/lastAttemptedConfigDigest") == wish;
    let failures = if same {
        release["status"]["failures"].as_u64().unwrap_or(0)
    } else {
        0
    };
    let retries = ["install", "upgrade"]
        .iter()
        .filter_map(|act| release.pointer(&format!("/spec/{act}/remediation/retries")))
        .filter_map(Value::as_u64)
        .max()
        .unwrap_or(0);
    let request = text(
        &release,
        "/metadata/annotations/reconcile.fluxcd.io~1requestedAt",
    ) != text(&release, "/status/lastHandledReconcileAt");
    if failures > retries && !request {
        if !is_true(&release, "Stalled") {
            let why = format!("Failed to install after {failures} attempt(s)");
            put_condition(
                &mut release,
                &date,
                "Stalled",
                "True",
                "RetriesExceeded",
                &why,
            );
            store.write(release);
        }
        return;
    }
    let what = format!("{uid} acts {failures}");
    if !store.passed(&what, if failures == 0 { 1_500 } else { 30_000 }) {
        return;
    }
    store.forget(&what);
    let request = Request {
        name: &name,
        namespace: &namespace,
        chart: &chart,
        values: &values,
    };
    let existed =
        helm::last(store, &namespace, &name).is_some_and(|found| found.status == "deployed");
    sources::handled(&mut release);
    sources::again(store, &release);
    set(
        &mut release,
        "/status/lastAttemptedConfigDigest",
        json!(wish),
    );
    set(
        &mut release,
        "/status/lastAttemptedRevision",
        json!(chart.version),
    );
    set(
        &mut release,
        "/status/lastAttemptedReleaseAction",
        json!(if existed { "upgrade" } else { "install" }),
    );
    drop_condition(&mut release, "Stalled");
    match helm::upgrade(store, outside, &request) {
        Ok(made) => {
            let word = if existed { "upgrade" } else { "install" };
            put_condition(
                &mut release,
                &date,
                "Reconciling",
                "True",
                "Progressing",
                &format!("Running '{word}' action with timeout of 5m0s"),
            );
            put_condition(
                &mut release,
                &date,
                "Ready",
                "Unknown",
                "Progressing",
                &format!("Running '{word}' action with timeout of 5m0s"),
            );
            set(
                &mut release,
                "/status/history",
                json!([{ "name": name, "namespace": namespace, "version": made.version, "chartName": chart.name, "chartVersion": chart.version, "status": "deployed", "configDigest": wish }]),
            );
            set(&mut release, "/status/storageNamespace", json!(namespace));
            store.forget(&format!("{uid} health"));
            store.write(release.clone());
            check(store, release, &wish);
        }
        Err(why) => {
            set(&mut release, "/status/failures", json!(failures + 1));
            let (reason, word) = if existed {
                ("UpgradeFailed", "upgrade")
            } else {
                ("InstallFailed", "install")
            };
            let why = format!(
                "Helm {word} failed for release {namespace}/{name} with chart {}@{}: {why}",
                chart.name, chart.version
            );
            put_condition(&mut release, &date, "Released", "False", reason, &why);
            fail(store, release, reason, &why);
        }
    }
}

fn running(release: &Value) -> bool {
    condition(release, "Reconciling")
        .is_some_and(|found| text(found, "/message").starts_with("Running '"))
}

fn check(store: &mut dyn Store, mut release: Value, _: &str) {
    let (namespace, name) = (target(&release), name_of(&release));
    let uid = text(&release, "/metadata/uid").to_string();
    let date = store.date();
    let existed = text(&release, "/status/lastAttemptedReleaseAction") == "upgrade";
    let act = if existed { "upgrade" } else { "install" };
    let quick = release.pointer(&format!("/spec/{act}/disableWait")) == Some(&json!(true));
    let Some(made) = helm::last(store, &namespace, &name) else {
        return;
    };
    let unmet = if quick {
        None
    } else {
        made.objects(store)
            .iter()
            .find_map(|object| health::healthy(object))
    };
    let chart = format!("{}@{}", made.chart, made.chart_version);
    if unmet.is_none() {
        let (reason, word) = if existed {
            ("UpgradeSucceeded", "upgrade")
        } else {
            ("InstallSucceeded", "install")
        };
        let said = format!(
            "Helm {word} succeeded for release {namespace}/{name}.v{} with chart {chart}",
            made.version
        );
        drop_condition(&mut release, "Reconciling");
        put_condition(&mut release, &date, "Ready", "True", reason, &said);
        put_condition(&mut release, &date, "Released", "True", reason, &said);
        let generation = release["metadata"]["generation"].clone();
        set(&mut release, "/status/observedGeneration", generation);
        set(&mut release, "/status/failures", json!(0));
        store.write(release);
        return;
    }
    let what = format!("{uid} health");
    let timeout = sources::duration(&release, "/spec/timeout", 300_000);
    if store.passed(&what, timeout) {
        store.forget(&what);
        let failures = release["status"]["failures"].as_u64().unwrap_or(0);
        let (reason, word) = if existed {
            ("UpgradeFailed", "upgrade")
        } else {
            ("InstallFailed", "install")
        };
        let why = format!(
            "Helm {word} failed for release {namespace}/{name} with chart {chart}: context deadline exceeded"
        );
        set(&mut release, "/status/failures", json!(failures + 1));
        drop_condition(&mut release, "Reconciling");
        helm::mark(
            store,
            &namespace,
            &name,
            "failed",
            &format!("Release \"{name}\" failed: context deadline exceeded"),
        );
        put_condition(&mut release, &date, "Released", "False", reason, &why);
        fail(store, release, reason, &why);
    }
}
