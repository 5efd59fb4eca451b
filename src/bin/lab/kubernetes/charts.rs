//! Charts as data: which objects a chart of a name and version makes from its values.
//!
//! A chart is two files: what it is (`NAME/chart.yaml`: registry address, versions, default values) and its objects (`NAME/objects.yaml`, a
//! template). Templates use a small part of a template language only: values, `if`, `for`, and the filter `tojson`.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::objects::Store;
use super::outside::Outside;
use super::value::{members, place};
use crate::fault::Kind;

/// Folder, what it is, objects.
const ALL: &[(&str, &str)] = &[
    (
        include_str!("charts/cilium/chart.yaml"),
        include_str!("charts/cilium/objects.yaml"),
    ),
    (
        include_str!("charts/coredns/chart.yaml"),
        include_str!("charts/coredns/objects.yaml"),
    ),
    (
        include_str!("charts/external-dns/chart.yaml"),
        include_str!("charts/external-dns/objects.yaml"),
    ),
    (
        include_str!("charts/external-secrets/chart.yaml"),
        include_str!("charts/external-secrets/objects.yaml"),
    ),
    (
        include_str!("charts/prometheus-operator-crds/chart.yaml"),
        include_str!("charts/prometheus-operator-crds/objects.yaml"),
    ),
    (
        include_str!("charts/spegel/chart.yaml"),
        include_str!("charts/spegel/objects.yaml"),
    ),
];

/// What Flux's own manifests hold.
const FLUX: &str = include_str!("charts/flux.yaml");
/// The definitions of the Gateway API, standard channel.
const GATEWAY: &str = include_str!("charts/gateway-api.yaml");

/// A chart of one version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// What it installs, by version.
    pub(crate) app_version: String,
    defaults: Value,
    template: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: String,
    urls: Vec<String>,
    /// The chart's versions and what each installs.
    versions: std::collections::BTreeMap<String, String>,
    values: Value,
}

/// What the charts are is read once a call; the test of all charts shows that it can be.
static READ: LazyLock<Vec<(About, &'static str)>> = LazyLock::new(|| {
    let all = ALL.iter().filter_map(|(about, template)| {
        let about: About = serde_yaml::from_str(about).ok()?;
        Some((about, *template))
    });
    all.collect()
});

/// Pulls a chart from its registry.
pub(crate) fn pull(outside: &mut Outside, url: &str, version: &str) -> Result<Chart, String> {
    let bare = url.trim_start_matches("oci://");
    let missing = outside
        .feels(
            Kind::ChartMissing,
            bare.rsplit('/').next().unwrap_or_default(),
        )
        .is_some();
    for (about, template) in READ.iter() {
        if missing || !about.urls.iter().any(|known| known == bare) {
            continue;
        }
        if let Some(app) = about.versions.get(version) {
            return Ok(Chart {
                name: about.name.clone(),
                version: version.to_string(),
                app_version: app.clone(),
                defaults: about.values.clone(),
                template,
            });
        }
    }
    Err(format!(
        "failed to perform \"FetchReference\" on source: {bare}:{version}: not found"
    ))
}

/// Returns every chart, in every version, with the addresses that it is known under.
pub(crate) fn all() -> Result<Vec<(Vec<String>, Chart)>, String> {
    let mut all = Vec::new();
    for (about, template) in ALL {
        let about: About = serde_yaml::from_str(about)
            .map_err(|error| format!("a chart of the lab cannot be read: {error}"))?;
        for (version, app) in &about.versions {
            let chart = Chart {
                name: about.name.clone(),
                version: version.clone(),
                app_version: app.clone(),
                defaults: about.values.clone(),
                template,
            };
            all.push((about.urls.clone(), chart));
        }
    }
    Ok(all)
}

/// Returns the first address that a chart is known under.
pub(crate) fn address(chart: &Chart) -> Result<String, String> {
    let known = all()?.into_iter().find(|(_, known)| known == chart);
    known
        .and_then(|(urls, _)| urls.into_iter().next())
        .ok_or_else(|| format!("no registry has a chart {}", chart.name))
}

impl Chart {
    /// Returns the values that count where none are given.
    pub(crate) fn defaults(&self) -> &Value {
        &self.defaults
    }

    /// Returns the template of its objects.
    pub(crate) fn template(&self) -> &'static str {
        self.template
    }

    /// Returns the digest that a registry would name.
    pub(crate) fn digest(&self) -> String {
        format!(
            "sha256:{}",
            blake3::hash(format!("{} {} {}", self.name, self.version, self.template).as_bytes())
                .to_hex()
        )
    }

    /// Returns the values with the defaults below them.
    pub(crate) fn merged(&self, values: &Value) -> Value {
        let mut all = self.defaults.clone();
        lay_over(&mut all, values);
        all
    }

    /// Returns the objects that the chart makes from values.
    pub(crate) fn render(
        &self,
        store: &dyn Store,
        release: &str,
        namespace: &str,
        values: &Value,
    ) -> Result<Vec<Value>, String> {
        let merged = self.merged(values);
        let secrets: serde_json::Map<String, Value> = store
            .list("Secret")
            .into_iter()
            .filter(|secret| place(secret).0 == namespace && secret["type"] != "helm.sh/release.v1")
            .map(|secret| (place(secret).1.to_string(), secret["data"].clone()))
            .collect();
        let context = json!({
            "Values": merged,
            "Release": { "Name": release, "Namespace": namespace },
            "Chart": { "Name": self.name, "Version": self.version, "AppVersion": self.app_version },
            "Secrets": secrets,
            "Kinds": super::kinds::all(store).iter().map(super::kinds::Kind::resource).collect::<Vec<_>>(),
        });
        let mut engine = minijinja::Environment::new();
        engine.set_undefined_behavior(minijinja::UndefinedBehavior::Chainable);
        engine.add_filter("base64", |text: String| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(text)
        });
        let text = engine
            .render_str(self.template, minijinja::value::Serde(&context))
            .map_err(|error| {
                format!("template: {}/templates/objects.yaml: {error:#}", self.name)
            })?;
        documents(&text).map_err(|error| {
            format!(
                "YAML parse error on {}/templates/objects.yaml: {error}",
                self.name
            )
        })
    }
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    let all: Vec<Value> = serde_yaml::from_multiple(text).map_err(|error| error.to_string())?;
    Ok(all.into_iter().filter(|object| !object.is_null()).collect())
}

fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (below @ Value::Object(_), Value::Object(_)) => {
            for (name, value) in members(above) {
                if value.is_null() {
                    super::value::unset(below, "", &name);
                } else if below.get(&name).is_some_and(Value::is_object) && value.is_object() {
                    lay_over(&mut below[name.as_str()], &value);
                } else {
                    below[name.as_str()] = value;
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// One line a definition: group, kind, plural, versions, scope.
fn definitions(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter_map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let [group, kind, plural, versions, scope] = cells[..] else {
                return None;
            };
            Some(super::models::definition(
                group,
                kind,
                plural,
                versions,
                scope == "Namespaced",
            ))
        })
        .collect()
}

/// Returns the definitions that an address holds, if the lab knows it.
pub(crate) fn at_address(url: &str) -> Option<Vec<Value>> {
    let rest = url
        .strip_prefix("https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.0/")?;
    (rest == "standard-install.yaml").then(|| {
        let mut all = definitions(GATEWAY);
        for one in &mut all {
            super::value::set(
                one,
                "/metadata/annotations/gateway.networking.k8s.io~1bundle-version",
                json!("v1.4.0"),
            );
            super::value::set(
                one,
                "/metadata/annotations/gateway.networking.k8s.io~1channel",
                json!("standard"),
            );
        }
        all
    })
}

/// Returns Flux's own objects: namespace, definitions, controllers.
pub(crate) fn flux(version: &str, registry: &str, components: &[String]) -> Vec<Value> {
    let labels = json!({ "app.kubernetes.io/instance": "flux-system", "app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": version });
    let mut all = vec![json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "flux-system", "labels": labels_with(&labels, &[("pod-security.kubernetes.io/warn", "restricted"), ("pod-security.kubernetes.io/warn-version", "latest")]) },
    })];
    let (rows, images): (Vec<&str>, Vec<&str>) = FLUX
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .partition(|line| !line.starts_with("image "));
    for mut one in definitions(&rows.join("\n")) {
        one["metadata"]["labels"] = labels.clone();
        all.push(one);
    }
    for line in images {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let [_, name, tag] = cells[..] else {
            continue;
        };
        if !components.iter().any(|wanted| wanted == name) {
            continue;
        }
        all.push(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "flux-system", "labels": labels } }));
        let mut args = vec![
            "--watch-all-namespaces=true".to_string(),
            "--log-level=info".to_string(),
        ];
        if name != "notification-controller" {
            args.push("--enable-leader-election".to_string());
        }
        if name != "source-controller" {
            all.push(json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "flux-system", "labels": labels },
                "spec": { "type": "ClusterIP", "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] } }));
        }
        let meta = labels_with(
            &labels,
            &[
                ("app.kubernetes.io/component", name),
                ("control-plane", "controller"),
            ],
        );
        all.push(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": "flux-system", "labels": meta },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name, "app.kubernetes.io/part-of": "flux" } },
                    "spec": { "serviceAccountName": name, "containers": [{ "name": "manager", "image": format!("{registry}/{name}:{tag}"), "args": args }] },
                },
            },
        }));
    }
    all
}

fn labels_with(labels: &Value, more: &[(&str, &str)]) -> Value {
    let mut all = labels.clone();
    for (name, value) in more {
        all[*name] = json!(value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{ALL, About, at_address, flux};
    use crate::kubernetes::objects::Objects;
    use crate::kubernetes::outside::Outside;
    use serde_json::json;

    #[test]
    fn every_chart_renders_with_its_defaults() {
        let mut outside = Outside::default();
        let store = Objects::new(1, 0, 0);
        for (about, _) in ALL {
            let about: About = serde_yaml::from_str(about).unwrap();
            let version = about.versions.keys().next().unwrap();
            let chart = super::pull(&mut outside, &about.urls[0], version).unwrap();
            let objects = chart
                .render(&store, &about.name, "here", &json!({}))
                .unwrap();
            assert!(!objects.is_empty(), "{}", about.name);
            for object in objects {
                assert!(
                    object["kind"].is_string() && object["metadata"]["name"].is_string(),
                    "{}: {object}",
                    about.name
                );
            }
        }
        assert!(
            super::pull(&mut outside, "quay.io/cilium/charts/cilium", "0.0.1")
                .unwrap_err()
                .ends_with("quay.io/cilium/charts/cilium:0.0.1: not found")
        );
    }

    #[test]
    fn definitions_and_controllers_are_there() {
        assert_eq!(at_address("https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.0/standard-install.yaml").unwrap().len(), 6);
        assert!(at_address("https://example.com/x").is_none());
        let all = flux(
            "v2.7.2",
            "ghcr.io/fluxcd",
            &["source-controller".to_string()],
        );
        assert!(all.iter().any(|object| object["kind"] == "Deployment"
            && object["metadata"]["name"] == "source-controller"));
    }
}
