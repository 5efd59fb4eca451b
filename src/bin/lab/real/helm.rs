//! The real helm in the place of Flux's helm-controller, and what it keeps of its releases.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::identity::MARK;
use crate::kubernetes::helm::{Release, Request};
use crate::kubernetes::value::{place, text};
use crate::kubernetes::{Store, charts};

/// How to call it for one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Helm {
    /// The program.
    pub(crate) program: PathBuf,
    /// The cluster's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// The folder of what is real, whose mark it bears.
    pub(crate) folder: PathBuf,
    /// What else its environment has.
    pub(crate) env: Vec<(String, String)>,
}

impl Helm {
    fn call(&self, words: &[&str], input: &str) -> io::Result<Output> {
        #[expect(clippy::disallowed_methods, reason = "this is the real helm")]
        let mut command = Command::new(&self.program);
        let mut child = command
            .args(words)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env(MARK, &self.folder)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Helm may refuse before it has read anything.
            stdin.write_all(input.as_bytes()).ok();
        }
        child.wait_with_output()
    }

    fn done(&self, words: &[&str], input: &str) -> Result<(), String> {
        let said = self.call(words, input).map_err(|error| error.to_string())?;
        if said.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&said.stderr);
        let last = why.trim().lines().last().unwrap_or_default();
        Err(last.trim_start_matches("Error: ").to_string())
    }

    /// Installs or upgrades a release; returns what is known of it before the cluster is looked at again.
    pub(crate) fn upgrade(
        &self,
        store: &dyn Store,
        request: &Request<'_>,
    ) -> Result<Release, String> {
        let url = charts::address(request.chart)?;
        let values = request.values.to_string();
        self.done(
            &[
                "upgrade",
                "--install",
                request.name,
                &format!("oci://{url}"),
                "--version",
                &request.chart.version,
                "-n",
                request.namespace,
                "--reset-values",
                "-f",
                "-",
                "--timeout",
                "1m",
            ],
            &values,
        )?;
        let before = crate::kubernetes::helm::last(store, request.namespace, request.name);
        Ok(Release {
            name: request.name.to_string(),
            namespace: request.namespace.to_string(),
            version: before.map_or(1, |release| release.version + 1),
            status: "deployed".to_string(),
            description: String::new(),
            chart: request.chart.name.clone(),
            chart_version: request.chart.version.clone(),
            app_version: request.chart.app_version.clone(),
            config: request.values.clone(),
            manifest: Vec::new(),
            first: store.date(),
            last: store.date(),
        })
    }

    /// Removes a release, if it is there.
    pub(crate) fn uninstall(&self, namespace: &str, name: &str) -> Result<(), String> {
        let words = [
            "uninstall",
            name,
            "-n",
            namespace,
            "--ignore-not-found",
            "--timeout",
            "1m",
        ];
        self.done(&words, "")
    }
}

/// Returns whether an object is a record of helm's.
pub(crate) fn is_record(object: &Value) -> bool {
    object["type"] == "helm.sh/release.v1"
}

/// Reads a record of the real helm; says it in the lab's form. Nothing if it cannot be read.
pub(crate) fn translate(record: &Value) -> Option<Value> {
    let coded = STANDARD.decode(text(record, "/data/release")).ok()?;
    let packed = STANDARD.decode(coded).ok()?;
    let known: Value = serde_json::from_slice(&unpack(&packed).ok()?).ok()?;
    let manifest: Vec<Value> = serde_yaml::from_multiple(text(&known, "/manifest")).ok()?;
    let namespace = text(&known, "/namespace");
    let manifest: Vec<Value> = manifest
        .into_iter()
        .filter(|object| !object.is_null())
        .map(|mut object| {
            if place(&object).0.is_empty() && !is_cluster_wide(&object) {
                object["metadata"]["namespace"] = json!(namespace);
            }
            object
        })
        .collect();
    let release = Release {
        name: text(&known, "/name").to_string(),
        namespace: namespace.to_string(),
        version: known["version"].as_u64()?,
        status: text(&known, "/info/status").to_string(),
        description: text(&known, "/info/description").to_string(),
        chart: text(&known, "/chart/metadata/name").to_string(),
        chart_version: text(&known, "/chart/metadata/version").to_string(),
        app_version: text(&known, "/chart/metadata/appVersion").to_string(),
        config: known["config"].clone(),
        manifest,
        first: text(&known, "/info/first_deployed").to_string(),
        last: text(&known, "/info/last_deployed").to_string(),
    };
    let mut said = record.clone();
    let text = serde_json::to_string(&release).ok()?;
    said["data"] = json!({ "release": STANDARD.encode(text) });
    Some(said)
}

/// The kinds without a namespace that the lab's charts have.
fn is_cluster_wide(object: &Value) -> bool {
    matches!(
        text(object, "/kind"),
        "CustomResourceDefinition"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "GatewayClass"
            | "Namespace"
    )
}

/// Unpacks what gzip has packed, by gzip.
fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "gzip is read by gzip")]
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take();
    // Both ends at once: a pipe holds less than a record.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Some(stdin) = &mut stdin {
                stdin.write_all(packed).ok();
            }
        });
        child.wait_with_output().map(|said| said.stdout)
    })
}
