//! What a node reads out of its machine config: the few facts that decide how it behaves.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The facts of a config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// `controlplane` or `worker`.
    pub(crate) kind: String,
    /// The host name, if the config says one.
    pub(crate) hostname: Option<String>,
    /// Static addresses without their prefix.
    pub(crate) addresses: Vec<String>,
    /// The machine CA, base64.
    pub(crate) ca: String,
    /// Names that apid's certificate has besides its own.
    pub(crate) cert_sans: Vec<String>,
    /// `cluster.clusterName`.
    pub(crate) cluster: String,
    /// `cluster.id`: nodes with the same one find each other.
    pub(crate) cluster_id: String,
    /// `cluster.controlPlane.endpoint`.
    pub(crate) endpoint: String,
    /// The Kubernetes CA, base64.
    pub(crate) kube_ca: String,
    /// Its key, base64.
    pub(crate) kube_ca_key: String,
    /// Names that the API server's certificate has besides its own.
    pub(crate) api_sans: Vec<String>,
    /// `cluster.network.podSubnets`.
    pub(crate) pod_subnets: Vec<String>,
    /// `cluster.network.serviceSubnets`.
    #[serde(default)]
    pub(crate) service_subnets: Vec<String>,
    /// `machine.time.servers`.
    pub(crate) time_servers: Vec<String>,
    /// The Kubernetes version of the kubelet's image.
    pub(crate) kubelet: String,
    /// The model of the install disk's selector.
    pub(crate) disk_model: Option<String>,
    /// The install disk by path.
    pub(crate) disk_path: Option<String>,
    /// The installer image.
    pub(crate) installer: String,
    /// User volumes: name, and the disk selector's expression.
    pub(crate) volumes: Vec<(String, String)>,
}

impl Facts {
    /// Reads the facts of a config that was found valid.
    pub(crate) fn read(config: &str) -> Result<Self, String> {
        let documents: Vec<Value> = serde_yaml::from_multiple(config)
            .map_err(|error| format!("failed to parse config: {error}"))?;
        let mut facts = Self::default();
        for document in &documents {
            match document.get("kind").and_then(Value::as_str) {
                None => facts.main(document),
                Some("HostnameConfig") => facts.hostname = text(document, "/hostname"),
                Some("UserVolumeConfig") => facts.volumes.push((
                    text(document, "/name").unwrap_or_default(),
                    text(document, "/provisioning/diskSelector/match").unwrap_or_default(),
                )),
                Some(_) => {}
            }
        }
        if facts.cluster_id.is_empty() {
            // Without discovery, nodes find each other at their endpoint.
            facts.cluster_id.clone_from(&facts.endpoint);
        }
        Ok(facts)
    }

    fn main(&mut self, document: &Value) {
        let word = |path: &str| text(document, path).unwrap_or_default();
        self.kind = word("/machine/type");
        if let Some(hostname) = text(document, "/machine/network/hostname") {
            self.hostname = Some(hostname);
        }
        self.ca = word("/machine/ca/crt");
        self.cert_sans = list(document, "/machine/certSANs");
        self.cluster = word("/cluster/clusterName");
        self.cluster_id = word("/cluster/id");
        self.endpoint = word("/cluster/controlPlane/endpoint");
        self.kube_ca = word("/cluster/ca/crt");
        self.kube_ca_key = word("/cluster/ca/key");
        self.api_sans = list(document, "/cluster/apiServer/certSANs");
        self.pod_subnets = list(document, "/cluster/network/podSubnets");
        self.service_subnets = list(document, "/cluster/network/serviceSubnets");
        self.time_servers = list(document, "/machine/time/servers");
        self.kubelet = word("/machine/kubelet/image").rsplit_once(':').map_or_else(
            || "v1.34.1".to_string(),
            |(_, tag)| tag.split('@').next().unwrap_or_default().to_string(),
        );
        self.disk_model = text(document, "/machine/install/diskSelector/model");
        self.disk_path = text(document, "/machine/install/disk");
        self.installer = word("/machine/install/image");
        let interfaces = document
            .pointer("/machine/network/interfaces")
            .and_then(Value::as_array);
        for interface in interfaces.into_iter().flatten() {
            let addresses = list(interface, "/addresses").into_iter();
            self.addresses.extend(
                addresses.map(|address| address.split('/').next().unwrap_or_default().to_string()),
            );
        }
    }

    /// Returns whether the node is a control plane.
    pub(crate) fn is_control_plane(&self) -> bool {
        matches!(self.kind.as_str(), "controlplane" | "init")
    }
}

fn text(value: &Value, path: &str) -> Option<String> {
    match value.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn list(value: &Value, path: &str) -> Vec<String> {
    let words = value.pointer(path).and_then(Value::as_array);
    words
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str().map(ToString::to_string))
        .collect()
}

/// Returns whether a text fits a pattern in which `*` stands for anything (Talos's `glob`: without `*`, equality).
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return left.is_empty();
    };
    for part in middle {
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Facts, glob};

    #[test]
    fn facts_come_from_several_documents() {
        let facts = Facts::read(
            "version: v1alpha1\nmachine:\n  type: controlplane\n  network:\n    interfaces:\n      - addresses: [10.0.0.1/24]\ncluster:\n  network:\n    podSubnets: [10.244.0.0/16]\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n",
        )
        .unwrap();
        assert_eq!(facts.hostname.as_deref(), Some("a"));
        assert_eq!(facts.addresses, ["10.0.0.1"]);
        assert!(facts.is_control_plane());
    }

    #[test]
    fn a_pattern_without_a_star_must_be_equal() {
        assert!(!glob("Samsung SSD 860", "Samsung SSD 860 EVO 250GB"));
        assert!(glob("Samsung SSD 860*", "Samsung SSD 860 EVO 250GB"));
        assert!(glob("*860*250GB", "Samsung SSD 860 EVO 250GB"));
    }
}
