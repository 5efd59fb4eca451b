//! Which kinds of objects an API server knows: its own, and those of `CustomResourceDefinition`s.

use serde_json::Value;

use super::objects::Store;
use super::value::{list, text};

/// A kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "it is what Kubernetes calls it")]
pub(crate) struct Kind {
    /// `apps`; empty for the core.
    pub(crate) group: String,
    /// Its versions, the preferred one first.
    pub(crate) versions: Vec<String>,
    /// `Deployment`.
    pub(crate) kind: String,
    /// `deployments`.
    pub(crate) plural: String,
    /// `deployment`.
    pub(crate) singular: String,
    /// `deploy`.
    pub(crate) short: Vec<String>,
    /// Whether its objects are in namespaces.
    pub(crate) namespaced: bool,
}

/// Kind, plural, group/version, short names, namespaced.
const OWN: &[(&str, &str, &str, &str, bool)] = &[
    ("Binding", "bindings", "v1", "", true),
    ("ConfigMap", "configmaps", "v1", "cm", true),
    ("Endpoints", "endpoints", "v1", "ep", true),
    ("Event", "events", "v1", "ev", true),
    ("LimitRange", "limitranges", "v1", "limits", true),
    ("Namespace", "namespaces", "v1", "ns", false),
    ("Node", "nodes", "v1", "no", false),
    (
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "v1",
        "pvc",
        true,
    ),
    ("PersistentVolume", "persistentvolumes", "v1", "pv", false),
    ("Pod", "pods", "v1", "po", true),
    ("ResourceQuota", "resourcequotas", "v1", "quota", true),
    ("Secret", "secrets", "v1", "", true),
    ("ServiceAccount", "serviceaccounts", "v1", "sa", true),
    ("Service", "services", "v1", "svc", true),
    ("DaemonSet", "daemonsets", "apps/v1", "ds", true),
    ("Deployment", "deployments", "apps/v1", "deploy", true),
    ("ReplicaSet", "replicasets", "apps/v1", "rs", true),
    ("StatefulSet", "statefulsets", "apps/v1", "sts", true),
    ("CronJob", "cronjobs", "batch/v1", "cj", true),
    ("Job", "jobs", "batch/v1", "", true),
    (
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "autoscaling/v2",
        "hpa",
        true,
    ),
    (
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "policy/v1",
        "pdb",
        true,
    ),
    (
        "NetworkPolicy",
        "networkpolicies",
        "networking.k8s.io/v1",
        "netpol",
        true,
    ),
    ("Ingress", "ingresses", "networking.k8s.io/v1", "ing", true),
    (
        "IngressClass",
        "ingressclasses",
        "networking.k8s.io/v1",
        "",
        false,
    ),
    (
        "EndpointSlice",
        "endpointslices",
        "discovery.k8s.io/v1",
        "",
        true,
    ),
    (
        "ClusterRole",
        "clusterroles",
        "rbac.authorization.k8s.io/v1",
        "",
        false,
    ),
    (
        "ClusterRoleBinding",
        "clusterrolebindings",
        "rbac.authorization.k8s.io/v1",
        "",
        false,
    ),
    ("Role", "roles", "rbac.authorization.k8s.io/v1", "", true),
    (
        "RoleBinding",
        "rolebindings",
        "rbac.authorization.k8s.io/v1",
        "",
        true,
    ),
    (
        "StorageClass",
        "storageclasses",
        "storage.k8s.io/v1",
        "sc",
        false,
    ),
    ("Lease", "leases", "coordination.k8s.io/v1", "", true),
    (
        "PriorityClass",
        "priorityclasses",
        "scheduling.k8s.io/v1",
        "pc",
        false,
    ),
    (
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "apiextensions.k8s.io/v1",
        "crd,crds",
        false,
    ),
    (
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1",
        "",
        false,
    ),
    (
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/v1",
        "",
        false,
    ),
];

/// The kind of CRDs.
pub(crate) const CRD: &str = "CustomResourceDefinition.apiextensions.k8s.io";

impl Kind {
    /// Returns the kind's word for the store: `Deployment.apps`.
    pub(crate) fn id(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Returns the plural with its group, as errors name it: `deployments.apps`.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Returns the singular with its group, as `-o name` prints it: `deployment.apps`.
    pub(crate) fn name(&self) -> String {
        if self.group.is_empty() {
            self.singular.clone()
        } else {
            format!("{}.{}", self.singular, self.group)
        }
    }

    fn is_called(&self, word: &str) -> bool {
        let plain = [&self.plural, &self.singular];
        let word = word.to_lowercase();
        if plain.iter().any(|name| **name == word) || self.short.contains(&word) {
            return true;
        }
        let Some((name, rest)) = word.split_once('.') else {
            return false;
        };
        let of_group = rest == self.group
            || self
                .versions
                .iter()
                .any(|version| rest == format!("{version}.{}", self.group));
        plain.iter().any(|plain| **plain == name) && of_group
    }
}

fn own() -> impl Iterator<Item = Kind> {
    OWN.iter()
        .map(|&(kind, plural, version, short, namespaced)| {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            Kind {
                group: group.to_string(),
                versions: vec![version.to_string()],
                kind: kind.to_string(),
                plural: plural.to_string(),
                singular: kind.to_lowercase(),
                short: short
                    .split(',')
                    .filter(|word| !word.is_empty())
                    .map(ToString::to_string)
                    .collect(),
                namespaced,
            }
        })
}

fn defined(definition: &Value) -> Kind {
    let versions = list(definition, "/spec/versions")
        .iter()
        .filter(|version| version["served"] != false)
        .map(|version| text(version, "/name").to_string());
    let kind = text(definition, "/spec/names/kind").to_string();
    let singular = text(definition, "/spec/names/singular");
    Kind {
        group: text(definition, "/spec/group").to_string(),
        versions: versions.collect(),
        plural: text(definition, "/spec/names/plural").to_string(),
        singular: if singular.is_empty() {
            kind.to_lowercase()
        } else {
            singular.to_string()
        },
        short: list(definition, "/spec/names/shortNames")
            .iter()
            .filter_map(|word| word.as_str().map(ToString::to_string))
            .collect(),
        namespaced: text(definition, "/spec/scope") != "Cluster",
        kind,
    }
}

/// Returns every kind: the server's own, then those of CRDs that it serves.
pub(crate) fn all(store: &dyn Store) -> Vec<Kind> {
    let custom = store
        .list(CRD)
        .into_iter()
        .filter(|definition| super::value::is_true(definition, "Established"))
        .map(defined);
    own().chain(custom).collect()
}

/// Returns the kind that a person calls by a word.
pub(crate) fn called(store: &dyn Store, word: &str) -> Option<Kind> {
    all(store).into_iter().find(|kind| kind.is_called(word))
}

/// Returns the kind of an object, if it is served in this version.
pub(crate) fn of(store: &dyn Store, object: &Value) -> Option<Kind> {
    let api = text(object, "/apiVersion");
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let kind = text(object, "/kind");
    let fits = |found: &Kind| {
        found.kind == kind
            && found.group == group
            && found.versions.iter().any(|served| served == version)
    };
    own().find(fits).or_else(|| {
        let mut custom = store
            .list(CRD)
            .into_iter()
            .filter(|definition| super::value::is_true(definition, "Established"))
            .map(defined);
        custom.find(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::super::objects::Objects;
    use super::called;

    #[test]
    fn kinds_have_many_names() {
        let objects = Objects::new(1, 0, 0);
        for word in [
            "deploy",
            "deployment",
            "deployments",
            "deployments.apps",
            "Deployment",
            "deployments.v1.apps",
        ] {
            assert_eq!(
                called(&objects, word).unwrap().id(),
                "Deployment.apps",
                "{word}"
            );
        }
        assert!(called(&objects, "frobs").is_none());
        assert!(called(&objects, "deployments.example.com").is_none());
    }
}
