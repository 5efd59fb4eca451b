//! `talosctl gen config`: the client's configuration and the machines', made from a secrets bundle.
//!
//! Without comments and examples; for Talos 1.11 only (`talos_version` of another minor is not played).

use super::document::Container;
use super::go::{Errors, quote};
use super::url::Url;
use super::yaml::{self, Node};
use crate::pki;
use std::collections::BTreeMap;

/// What a configuration is made from.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The URL of its Kubernetes API.
    pub(crate) endpoint: String,
    /// The text of the secrets bundle.
    pub(crate) bundle: String,
    /// Kubernetes version, without `v`.
    pub(crate) kubernetes: String,
    /// The disk to install to.
    pub(crate) disk: String,
    /// The installer image; none is written when empty.
    pub(crate) image: String,
    /// Domain of the cluster's DNS.
    pub(crate) domain: String,
    /// Further names for the certificates.
    pub(crate) names: Vec<String>,
}

/// Makes one output: `talosconfig`, `controlplane` or `worker`.
pub(crate) fn gen_config(input: &Generated, output: &str) -> Result<String, String> {
    let secrets = Secrets::read(&input.bundle)?;
    if output == "talosconfig" {
        let os = secrets.pair("os");
        let (crt, key) = pki::issue_client(&os.0, &os.1, "", "os:admin", 365)?;
        let name = &input.cluster;
        return Ok(format!(
            "context: {name}\ncontexts:\n    {name}:\n        endpoints: []\n        ca: {}\n        crt: {crt}\n        key: {key}\n",
            os.0
        ));
    }
    let text = match output {
        "controlplane" => machine(input, &secrets, true) + &control_plane(input, &secrets),
        "worker" => machine(input, &secrets, false) + &worker(input, &secrets),
        _ => return Err(format!("invalid output type: {}", quote(output))),
    };
    Container::load(&text)?.write()
}

/// Complains about a bundle that lacks something.
pub(crate) fn check_bundle(bundle: &str) -> Result<(), String> {
    Secrets::read(bundle).map(drop)
}

struct Secrets {
    values: BTreeMap<String, String>,
}

impl Secrets {
    fn read(text: &str) -> Result<Self, String> {
        let (nodes, fault) = yaml::documents(text);
        if let Some(fault) = fault {
            return Err(format!("failed to load secrets bundle: {fault}"));
        }
        let Some(root) = nodes.first() else {
            return Err("failed to load secrets bundle: EOF".to_owned());
        };
        let mut values = BTreeMap::new();
        collect(root, "", &mut values);
        let secrets = Self { values };
        match secrets.faults().text() {
            None => Ok(secrets),
            Some(faults) => Err(format!("failed to validate secrets bundle: {faults}")),
        }
    }

    fn faults(&self) -> Errors {
        let mut faults = Errors::default();
        let has_section = |section: &str| self.values.keys().any(|key| key.starts_with(section));
        for (section, keys) in [
            ("cluster", &["id", "secret"][..]),
            ("secrets", &["bootstraptoken"]),
            ("trustdinfo", &["token"]),
            (
                "certs",
                &[
                    "etcd.crt",
                    "k8s.crt",
                    "k8saggregator.crt",
                    "os.crt",
                    "k8sserviceaccount.key",
                ],
            ),
        ] {
            if !has_section(&format!("{section}.")) {
                faults.push(format!("{section} is required"));
                continue;
            }
            for key in keys
                .iter()
                .filter(|key| self.get(&format!("{section}.{key}")).is_empty())
            {
                let key = if section == "certs" {
                    key.split('.').next().unwrap_or(key)
                } else {
                    key
                };
                faults.push(format!("{section}.{key} is required"));
            }
            let neither = ["secretboxencryptionsecret", "aescbcencryptionsecret"]
                .iter()
                .all(|key| self.get(&format!("secrets.{key}")).is_empty());
            if section == "secrets" && neither {
                faults.push("one of [secrets.secretboxencryptionsecret, secrets.aescbcencryptionsecret] is required");
            }
        }
        faults
    }

    fn get(&self, path: &str) -> &str {
        self.values.get(path).map_or("", String::as_str)
    }

    fn pair(&self, name: &str) -> (String, String) {
        let part = |part: &str| self.get(&format!("certs.{name}.{part}")).to_owned();
        (part("crt"), part("key"))
    }
}

fn collect(node: &Node, path: &str, values: &mut BTreeMap<String, String>) {
    let Some(entries) = node.entries() else {
        values.insert(path.to_owned(), node.value.clone());
        return;
    };
    for (key, value) in entries {
        let path = if path.is_empty() {
            key.value.clone()
        } else {
            format!("{path}.{}", key.value)
        };
        collect(value, &path, values);
    }
}

fn list(items: &[String]) -> String {
    serde_json::to_string(items).expect("texts are JSON")
}

fn machine(input: &Generated, secrets: &Secrets, is_control_plane: bool) -> String {
    let (crt, key) = secrets.pair("os");
    let kind = if is_control_plane {
        "controlplane"
    } else {
        "worker"
    };
    let key = if is_control_plane { key } else { String::new() };
    let image = if input.image.is_empty() {
        String::new()
    } else {
        format!(", image: {}", quote(&input.image))
    };
    let kubelet = if input.kubernetes.is_empty() {
        String::new()
    } else {
        format!("image: ghcr.io/siderolabs/kubelet:v{}, ", input.kubernetes)
    };
    let labels = if is_control_plane {
        "  nodeLabels: {node.kubernetes.io/exclude-from-external-load-balancers: \"\"}\n"
    } else {
        ""
    };
    format!(
        "version: v1alpha1\ndebug: false\npersist: true\nmachine:\n  type: {kind}\n  token: {token}\n  ca: {{crt: {crt}, key: \"{key}\"}}
  certSANs: {names}\n  kubelet: {{{kubelet}defaultRuntimeSeccompProfileEnabled: true, disableManifestsDirectory: true}}
  network: {{}}\n  install: {{disk: {disk}, wipe: false{image}}}\n  features:\n    rbac: true\n    stableHostname: true
    apidCheckExtKeyUsage: true\n    diskQuotaSupport: true\n    kubePrism: {{enabled: true, port: 7445}}
    hostDNS: {{enabled: true, forwardKubeDNSToHost: true}}\n{labels}",
        token = secrets.get("trustdinfo.token"),
        names = list(&input.names),
        disk = quote(&input.disk),
    )
}

/// What both kinds of machine know of the cluster.
fn cluster(input: &Generated, secrets: &Secrets, ca_key: &str) -> String {
    let (crt, _) = secrets.pair("k8s");
    format!(
        "cluster:\n  id: {id}\n  secret: {secret}\n  controlPlane: {{endpoint: {endpoint}}}\n  clusterName: {name}
  network: {{dnsDomain: {domain}, podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12]}}\n  token: {token}
  ca: {{crt: {crt}, key: \"{ca_key}\"}}\n  discovery: {{enabled: true, registries: {{kubernetes: {{disabled: true}}, service: {{}}}}}}\n",
        id = quote(secrets.get("cluster.id")),
        secret = quote(secrets.get("cluster.secret")),
        endpoint = quote(&input.endpoint),
        name = quote(&input.cluster),
        domain = input.domain,
        token = secrets.get("secrets.bootstraptoken"),
    )
}

fn worker(input: &Generated, secrets: &Secrets) -> String {
    cluster(input, secrets, "")
}

fn control_plane(input: &Generated, secrets: &Secrets) -> String {
    let host = Url::parse(&input.endpoint)
        .map(|url| url.hostname().to_owned())
        .unwrap_or_default();
    let names: Vec<String> = std::iter::once(host)
        .chain(input.names.iter().cloned())
        .collect();
    let component = |key: &str, name: &str| match input.kubernetes.as_str() {
        "" => format!("  {key}: {{}}\n"),
        version => format!("  {key}: {{image: registry.k8s.io/{name}:v{version}}}\n"),
    };
    let (aggregator_crt, aggregator_key) = secrets.pair("k8saggregator");
    let (etcd_crt, etcd_key) = secrets.pair("etcd");
    let image = match input.kubernetes.as_str() {
        "" => String::new(),
        version => format!("    image: registry.k8s.io/kube-apiserver:v{version}\n"),
    };
    let mut encryption = String::new();
    for (key, field) in [
        ("secretboxencryptionsecret", "secretboxEncryptionSecret"),
        ("aescbcencryptionsecret", "aescbcEncryptionSecret"),
    ] {
        let secret = secrets.get(&format!("secrets.{key}"));
        if !secret.is_empty() {
            encryption = format!("  {field}: {}\n", quote(secret));
            break;
        }
    }
    [
        cluster(input, secrets, &secrets.pair("k8s").1),
        encryption,
        format!("  aggregatorCA: {{crt: {aggregator_crt}, key: \"{aggregator_key}\"}}\n"),
        format!(
            "  serviceAccount: {{key: {}}}\n",
            secrets.get("certs.k8sserviceaccount.key")
        ),
        format!(
            "  apiServer:\n{image}    certSANs: {}\n{API_SERVER}",
            list(&names)
        ),
        component("controllerManager", "kube-controller-manager"),
        component("proxy", "kube-proxy"),
        component("scheduler", "kube-scheduler"),
        format!("  etcd: {{ca: {{crt: {etcd_crt}, key: \"{etcd_key}\"}}}}\n"),
    ]
    .concat()
}

const API_SERVER: &str = "    disablePodSecurityPolicy: true
    admissionControl:
      - name: PodSecurity
        configuration:
          apiVersion: pod-security.admission.config.k8s.io/v1alpha1
          kind: PodSecurityConfiguration
          defaults: {audit: restricted, audit-version: latest, enforce: baseline, enforce-version: latest, warn: restricted, warn-version: latest}
          exemptions: {namespaces: [kube-system], runtimeClasses: [], usernames: []}
    auditPolicy: {apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}
";
