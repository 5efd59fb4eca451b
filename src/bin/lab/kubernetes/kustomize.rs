//! The part of kustomize that the project's tree uses: `resources`, `namespace`, `labels`. All else is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::value::{list, members, set, text};

/// Files by their path.
pub(crate) type Files = BTreeMap<String, String>;

const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Why a folder cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The real one would say so, too.
    Build(String),
    /// The real one could, the lab does not.
    NotPlayed(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Build(text) => f.write_str(text),
            Self::NotPlayed(what) => write!(f, "the lab does not play {what}"),
        }
    }
}

/// Kinds that have no namespace, as kustomize knows them.
const CLUSTER_WIDE: [&str; 10] = [
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "GatewayClass",
    "PriorityClass",
    "StorageClass",
    "IngressClass",
    "PersistentVolume",
    "Node",
];

/// Builds a folder.
pub(crate) fn build(files: &Files, folder: &str) -> Result<Vec<Value>, Fault> {
    let folder = normal(folder);
    let Some((path, plan)) = plan(files, &folder)? else {
        return Err(Fault::Build(format!(
            "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{folder}'"
        )));
    };
    run(files, &folder, &path, &plan)
}

/// Builds a folder as Flux does: without a kustomization file, one is made that names everything below.
pub(crate) fn build_as_flux(files: &Files, folder: &str) -> Result<Vec<Value>, Fault> {
    let folder = normal(folder);
    if plan(files, &folder)?.is_some() {
        return build(files, &folder);
    }
    let mut resources: Vec<String> = Vec::new();
    let mut whole: BTreeSet<String> = BTreeSet::new();
    let head = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    for path in files.keys() {
        let Some(rest) = path.strip_prefix(&head) else {
            continue;
        };
        let (below, name) = rest.rsplit_once('/').unwrap_or(("", rest));
        // A folder with a kustomization of its own counts as one.
        let mut above = String::new();
        let mut taken = false;
        for part in below.split('/').filter(|part| !part.is_empty()) {
            above = if above.is_empty() {
                part.to_string()
            } else {
                format!("{above}/{part}")
            };
            if plan(files, &format!("{head}{above}"))?.is_some() {
                if whole.insert(above.clone()) {
                    resources.push(above.clone());
                }
                taken = true;
                break;
            }
        }
        let yaml = [".yaml", ".yml"].iter().any(|end| name.ends_with(end));
        if !taken && yaml {
            resources.push(rest.to_string());
        }
    }
    let plan = json!({ "resources": resources });
    run(files, &folder, "kustomization.yaml", &plan)
}

/// Returns a path without `.` and `..`.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_string()
    } else {
        format!("{folder}/{name}")
    }
}

fn plan(files: &Files, folder: &str) -> Result<Option<(String, Value)>, Fault> {
    for name in NAMES {
        let path = join(folder, name);
        if let Some(text) = files.get(&path) {
            let plan: Value = serde_yaml::from_str(text)
                .map_err(|error| Fault::Build(format!("invalid Kustomization: {error}")))?;
            return Ok(Some((path, plan)));
        }
    }
    Ok(None)
}

fn run(files: &Files, folder: &str, path: &str, plan: &Value) -> Result<Vec<Value>, Fault> {
    for (field, _) in members(plan) {
        match field.as_str() {
            "apiVersion" | "kind" | "resources" | "namespace" | "labels" | "metadata" => {}
            "components"
            | "patches"
            | "patchesStrategicMerge"
            | "patchesJson6902"
            | "configMapGenerator"
            | "secretGenerator"
            | "generatorOptions"
            | "images"
            | "replacements"
            | "namePrefix"
            | "nameSuffix"
            | "commonLabels"
            | "commonAnnotations"
            | "helmCharts"
            | "transformers"
            | "generators"
            | "replicas"
            | "configurations"
            | "crds"
            | "openapi"
            | "bases"
            | "sortOptions"
            | "buildMetadata"
            | "validators" => {
                return Err(Fault::NotPlayed(format!(
                    "`{field}` of a kustomization ({path})"
                )));
            }
            field => {
                return Err(Fault::Build(format!(
                    "invalid Kustomization: json: unknown field \"{field}\""
                )));
            }
        }
    }
    let mut all: Vec<Value> = Vec::new();
    for resource in list(plan, "/resources").iter().filter_map(Value::as_str) {
        let target = normal(&join(folder, resource));
        let found = if let Some(text) = files.get(&target) {
            documents(text, resource)?
        } else if files
            .keys()
            .any(|path| path.starts_with(&format!("{target}/")))
        {
            build(files, &target)?
        } else {
            return Err(Fault::Build(format!(
                "accumulating resources: accumulation err='accumulating resources from '{resource}': evalsymlink failure on '/{target}' : lstat /{target}: no such file or directory': must build at directory: not a valid directory: evalsymlink failure on '/{target}' : lstat /{target}: no such file or directory"
            )));
        };
        for object in found {
            if all.iter().any(|other| id(other) == id(&object)) {
                return Err(Fault::Build(format!(
                    "accumulating resources: accumulation err='merging resources from '{resource}': may not add resource with an already registered id: {}': must build at directory: '/{target}': file is not directory",
                    id(&object)
                )));
            }
            all.push(object);
        }
    }
    let namespace = text(plan, "/namespace");
    for object in &mut all {
        if !namespace.is_empty() && !CLUSTER_WIDE.contains(&text(object, "/kind")) {
            set(object, "/metadata/namespace", json!(namespace));
        }
        for entry in list(plan, "/labels") {
            if entry["includeSelectors"] == true || entry["includeTemplates"] == true {
                return Err(Fault::NotPlayed(format!(
                    "`labels` with includeSelectors or includeTemplates ({path})"
                )));
            }
            for (name, value) in members(&entry["pairs"]) {
                set(
                    object,
                    &format!(
                        "/metadata/labels/{}",
                        name.replace('~', "~0").replace('/', "~1")
                    ),
                    value,
                );
            }
        }
    }
    Ok(all)
}

/// Takes a file of several documents apart.
fn documents(text: &str, name: &str) -> Result<Vec<Value>, Fault> {
    let all: Vec<Value> = serde_yaml::from_multiple(text).map_err(|error| {
        Fault::Build(format!("accumulating resources: accumulating resources from '{name}': MalformedYAMLError: yaml: {error} in File: {name}"))
    })?;
    let mut objects = Vec::new();
    for object in all.into_iter().filter(|object| !object.is_null()) {
        if object["kind"] == "List"
            || text_of(&object, "/kind").ends_with("List") && object.get("items").is_some()
        {
            objects.extend(list(&object, "/items").iter().cloned());
            continue;
        }
        if text_of(&object, "/metadata/name").is_empty() {
            return Err(Fault::Build(format!(
                "accumulating resources: accumulating resources from '{name}': missing metadata.name in object {object}"
            )));
        }
        objects.push(object);
    }
    Ok(objects)
}

fn text_of<'a>(object: &'a Value, path: &str) -> &'a str {
    text(object, path)
}

/// `ConfigMap.v1.[noGrp]/c1.default`.
fn id(object: &Value) -> String {
    let api = text(object, "/apiVersion");
    let (group, version) = api.split_once('/').unwrap_or(("[noGrp]", api));
    let namespace = text(object, "/metadata/namespace");
    let namespace = if namespace.is_empty() {
        "[noNs]"
    } else {
        namespace
    };
    format!(
        "{}.{version}.{group}/{}.{namespace}",
        text(object, "/kind"),
        text(object, "/metadata/name")
    )
}

/// Returns objects as YAML, one document after the other.
pub(crate) fn yaml(objects: &[Value]) -> String {
    let all: Vec<String> = objects
        .iter()
        .map(|object| serde_yaml::to_string(&crate::text::sorted(object)).unwrap_or_default())
        .map(|text| {
            if text.ends_with('\n') {
                text
            } else {
                text + "\n"
            }
        })
        .collect();
    all.join("---\n")
}

/// Returns the name that Flux gives an object in messages: `ConfigMap.v1.[noGrp]/fs`.
pub(crate) fn short_id(object: &Value) -> String {
    let full = id(object);
    let name = text(object, "/metadata/name");
    full.split('/')
        .next()
        .map_or_else(String::new, |kind| format!("{kind}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::{Fault, Files, build, build_as_flux, normal};

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter()
            .map(|(path, text)| ((*path).to_string(), (*text).to_string()))
            .collect()
    }

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c1\n";

    #[test]
    fn a_folder_names_files_and_other_folders() {
        let files = files(&[
            (
                "a/kustomization.yaml",
                "resources:\n  - ../b\nnamespace: x\nlabels:\n  - pairs: { team: one }\n",
            ),
            ("b/kustomization.yaml", "resources:\n  - c.yaml\n"),
            ("b/c.yaml", MAP),
        ]);
        let built = build(&files, "./a").unwrap();
        assert_eq!(built[0]["metadata"]["namespace"], "x");
        assert_eq!(built[0]["metadata"]["labels"]["team"], "one");
    }

    #[test]
    fn what_the_lab_does_not_play_is_told_from_what_is_wrong() {
        let one = files(&[("a/kustomization.yaml", "patches: []\n")]);
        assert!(matches!(build(&one, "a"), Err(Fault::NotPlayed(_))));
        let two = files(&[("a/kustomization.yaml", "foo: []\n")]);
        assert_eq!(
            build(&two, "a"),
            Err(Fault::Build(
                "invalid Kustomization: json: unknown field \"foo\"".to_string()
            ))
        );
        let three = files(&[("a/kustomization.yaml", "resources: [none.yaml]\n")]);
        assert!(
            build(&three, "a")
                .unwrap_err()
                .to_string()
                .contains("no such file or directory")
        );
        let four = files(&[
            ("a/kustomization.yaml", "resources: [b.yaml, c.yaml]\n"),
            ("a/b.yaml", MAP),
            ("a/c.yaml", MAP),
        ]);
        assert!(
            build(&four, "a")
                .unwrap_err()
                .to_string()
                .contains("already registered id: ConfigMap.v1.[noGrp]/c1.[noNs]")
        );
    }

    #[test]
    fn flux_makes_a_kustomization_where_there_is_none() {
        let files = files(&[
            ("clusters/x/settings.yaml", MAP),
            ("clusters/x/README.md", "no"),
            (
                "clusters/x/flux-system/kustomization.yaml",
                "resources: [sync.yaml]\n",
            ),
            (
                "clusters/x/flux-system/sync.yaml",
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n",
            ),
            (
                "clusters/x/flux-system/stray.yaml",
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: stray\n",
            ),
        ]);
        let names: Vec<String> = build_as_flux(&files, "./clusters/x")
            .unwrap()
            .iter()
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_string())
            .collect();
        assert_eq!(names, ["s", "c1"]);
        assert_eq!(normal("./a/../b/./c"), "b/c");
    }
}
