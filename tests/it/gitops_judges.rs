//! The tree of Flux before the real programs: kustomize builds it, flux puts the settings in, kubeconform compares every object with the published
//! definitions, helm renders Cilium's real chart with its values. `make fidelity` builds them and sets the variables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::lab::{Lab, run};

/// The folders of the judges and of the published schemas; nothing where they are not built.
pub(crate) fn judges() -> Option<(PathBuf, PathBuf)> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    Some((folder("BOOTSTRAP_JUDGES")?, folder("BOOTSTRAP_SCHEMAS")?))
}

pub(crate) fn yaml(text: &str) -> Vec<Value> {
    let mut documents: Vec<Value> = serde_yaml::from_multiple(text).unwrap();
    documents.retain(|document| !document.is_null());
    documents
}

/// A program that gets a text; its answer. It must end with 0.
fn piped(
    lab: &Lab,
    program: &Path,
    words: &[&str],
    env: &BTreeMap<String, String>,
    text: &str,
) -> String {
    let mut command = lab.command(program);
    command
        .args(words)
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{} {words:?}: {}\n{}\n{text}",
        program.display(),
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The settings of a cluster, as Flux reads them.
fn settings(lab: &Lab, cluster: &str) -> BTreeMap<String, String> {
    let text = lab.read(&format!(
        "kubernetes/clusters/{cluster}/cluster-settings.yaml"
    ));
    serde_json::from_value(yaml(&text)[0]["data"].clone()).unwrap()
}

/// The Kustomizations of a cluster: name and path.
fn kustomizations(lab: &Lab, cluster: &str) -> Vec<(String, String)> {
    ["infrastructure", "workloads"]
        .iter()
        .flat_map(|name| yaml(&lab.read(&format!("kubernetes/clusters/{cluster}/{name}.yaml"))))
        .map(|unit| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&unit["metadata"]["name"]), text(&unit["spec"]["path"]))
        })
        .collect()
}

/// What Flux would apply for a cluster, by Kustomization.
pub(crate) fn applied(lab: &Lab, judges: &Path, cluster: &str) -> BTreeMap<String, Vec<Value>> {
    let settings = settings(lab, cluster);
    kustomizations(lab, cluster)
        .into_iter()
        .map(|(name, path)| {
            let mut build = lab.command(judges.join("kustomize"));
            build.args(["build", &path]);
            let built = run(build).success().stdout;
            let text = piped(
                lab,
                &judges.join("flux"),
                &["envsubst", "--strict"],
                &settings,
                &built,
            );
            (name, yaml(&text))
        })
        .collect()
}

fn rendered() -> Lab {
    let lab = Lab::project_alone();
    run(lab.alone_command(["render", "kubernetes"])).success();
    lab
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn every_entry_point_builds_with_every_clusters_settings_and_gives_the_same_objects() {
    let Some((judges, _)) = judges() else { return };
    let lab = rendered();
    let names = |cluster: &str| -> BTreeSet<String> {
        let all = applied(&lab, &judges, cluster);
        assert!(all.len() >= 14, "{}", all.len());
        all.iter()
            .flat_map(|(unit, objects)| {
                objects.iter().map(move |object| {
                    // The pool bears its cluster's name.
                    let name = object["metadata"]["name"]
                        .as_str()
                        .unwrap()
                        .replace(cluster, "CLUSTER");
                    format!(
                        "{unit}: {} {}/{name}",
                        object["kind"], object["metadata"]["namespace"]
                    )
                })
            })
            .collect()
    };
    let (infra, apps) = (names("infra"), names("apps"));
    assert!(infra.len() > 25, "{}", infra.len());
    assert_eq!(infra, apps);
    // The root, as Flux makes it where there is no kustomization.yaml.
    for cluster in ["infra", "apps"] {
        let folder = format!("kubernetes/clusters/{cluster}");
        let mut create = lab.command(judges.join("kustomize"));
        create.current_dir(lab.project().join(&folder)).args([
            "create",
            "--autodetect",
            "--recursive",
        ]);
        run(create).success();
        let mut build = lab.command(judges.join("kustomize"));
        build.args(["build", &folder]);
        let root = yaml(&run(build).success().stdout);
        let kinds: BTreeSet<&str> = root
            .iter()
            .filter_map(|object| object["kind"].as_str())
            .collect();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            ["ConfigMap", "Kustomization"]
        );
    }
}

/// The folders below `kubernetes/` that kustomize can build.
fn folders(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![lab.project().join("kubernetes")];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.ends_with("kustomization.yaml") {
                let relative = folder.strip_prefix(lab.project()).unwrap();
                found.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Objects in an order of their own, so that two lists can be compared as sets of JSON.
fn as_set(objects: &[Value]) -> BTreeSet<String> {
    let set: BTreeSet<String> = objects.iter().map(Value::to_string).collect();
    assert_eq!(set.len(), objects.len(), "an object is there twice");
    set
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn the_labs_kustomize_and_substitution_give_the_objects_of_the_real_ones() {
    let Some((judges, _)) = judges() else { return };
    let lab = Lab::new();
    run(lab.alone_command(["render", "kubernetes"])).success();
    let played = |words: &[&str]| {
        let mut command = lab.command(env!("CARGO_BIN_EXE_lab"));
        command.arg("exec").arg(lab.world()).arg("--").args(words);
        run(command).success().stdout
    };
    let folders = folders(&lab);
    assert!(folders.len() > 20, "{folders:?}");
    for folder in &folders {
        let mut build = lab.command(judges.join("kustomize"));
        build.args(["build", folder]);
        let real = yaml(&run(build).success().stdout);
        let ours = yaml(&played(&["kustomize", "build", folder]));
        assert!(!real.is_empty(), "{folder}");
        assert_eq!(as_set(&ours), as_set(&real), "{folder}");
    }
    let entries: BTreeSet<String> = ["infra", "apps"]
        .iter()
        .flat_map(|cluster| kustomizations(&lab, cluster))
        .map(|(_, path)| path.trim_start_matches("./").to_owned())
        .collect();
    let left: Vec<&String> = entries
        .iter()
        .filter(|path| !folders.contains(path))
        .collect();
    assert_eq!(left, [] as [&String; 0], "no entry point is left out");
    let world = lab.world().to_str().unwrap().to_owned();
    let substitute = ["exec", &world, "--", "flux", "envsubst", "--strict"];
    for cluster in ["infra", "apps"] {
        let settings = settings(&lab, cluster);
        for path in &entries {
            let mut build = lab.command(judges.join("kustomize"));
            build.args(["build", path]);
            let built = run(build).success().stdout;
            let flux = judges.join("flux");
            let real = piped(&lab, &flux, &["envsubst", "--strict"], &settings, &built);
            let program = Path::new(env!("CARGO_BIN_EXE_lab"));
            let ours = piped(&lab, program, &substitute, &settings, &built);
            assert_eq!(ours, real, "{path} in {cluster}");
        }
    }
    // A name that nobody defines is refused by both.
    let text = "a: ${NOBODY_DEFINES_THIS}\n";
    lab.write("undefined.yaml", text);
    for (program, words) in [
        (judges.join("flux"), &substitute[4..]),
        (PathBuf::from(env!("CARGO_BIN_EXE_lab")), &substitute[..]),
    ] {
        let mut command = lab.command(program);
        command
            .args(words)
            .stdin(fs::File::open(lab.project().join("undefined.yaml")).unwrap());
        run(command)
            .exit(1)
            .says(&["variable not set (strict mode): \"NOBODY_DEFINES_THIS\""]);
    }
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn the_values_before_flux_are_what_the_real_flux_makes_of_its_release() {
    let Some((judges, _)) = judges() else { return };
    let lab = rendered();
    let project = bootstrap::project::Project::load(&lab.project()).unwrap();
    for cluster in project.inventory.clusters() {
        let all = applied(&lab, &judges, cluster.name());
        for release in ["prometheus-operator-crds", "cilium", "coredns"] {
            let scope = project
                .inventory
                .scope()
                .with("cluster", cluster.value())
                .with("release", release.into());
            let early = project
                .templates
                .file("templates/helm/values.yaml.j2", &scope)
                .unwrap();
            let early: Value = serde_yaml::from_str(&early).unwrap();
            let late = all
                .values()
                .flatten()
                .find(|object| {
                    object["kind"] == "HelmRelease" && object["metadata"]["name"] == release
                })
                .unwrap();
            assert_eq!(
                early,
                late["spec"]["values"],
                "{release} in {}",
                cluster.name()
            );
        }
    }
}

#[test]
#[ignore = "needs the judges: make fidelity"]
fn ciliums_real_chart_takes_the_values_and_makes_what_the_stories_ask_for() {
    let Some((judges, schemas)) = judges() else {
        return;
    };
    let lab = rendered();
    for cluster in ["infra", "apps"] {
        let all = applied(&lab, &judges, cluster);
        let release = all["cilium"]
            .iter()
            .find(|object| object["kind"] == "HelmRelease")
            .unwrap();
        lab.write("values.json", &release["spec"]["values"].to_string());
        let mut template = lab.command(judges.join("helm"));
        template
            .args(["template", "cilium"])
            .arg(schemas.join("charts/cilium"))
            .args([
                "-n",
                "kube-system",
                "-f",
                "values.json",
                "--kube-version",
                "1.34.1",
            ])
            .args([
                "--api-versions",
                "monitoring.coreos.com/v1",
                "--api-versions",
                "gateway.networking.k8s.io/v1/GatewayClass",
            ]);
        let made = yaml(&run(template).success().stdout);
        let find = |kind: &str, name: &str| {
            made.iter()
                .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
                .unwrap_or_else(|| panic!("the chart makes no {kind} {name}"))
        };
        find("DaemonSet", "cilium");
        find("Deployment", "cilium-operator");
        find("Deployment", "clustermesh-apiserver");
        find("Deployment", "hubble-relay");
        let service = find("Service", "clustermesh-apiserver");
        assert_eq!(service["spec"]["type"], "LoadBalancer");
        let settings = settings(&lab, cluster);
        assert_eq!(
            service["metadata"]["annotations"]["lbipam.cilium.io/ips"],
            settings["CLUSTERMESH_IP"].as_str()
        );
        let config = &find("ConfigMap", "cilium-config")["data"];
        assert_eq!(config["cluster-name"], cluster);
        assert_eq!(config["cluster-id"], settings["CLUSTER_ID"].as_str());
        assert_eq!(config["ipam"], "kubernetes");
        assert_eq!(config["enable-bgp-control-plane"], "true");
        assert_eq!(config["enable-gateway-api"], "true");
        // Two owners would fight over these.
        assert!(!made.iter().any(|object| object["kind"] == "GatewayClass"));
        assert!(made.iter().any(|object| object["kind"] == "Secret"
            && object["metadata"]["name"] == "cilium-clustermesh"));
        assert!(
            made.iter()
                .any(|object| object["kind"] == "Secret"
                    && object["metadata"]["name"] == "cilium-ca")
        );
        assert!(made.iter().any(|object| object["kind"] == "ServiceMonitor"));
    }
}

/// Kinds of Kubernetes itself: the real API server judges them.
const UNJUDGED: &str = "Namespace,ConfigMap,Service,Deployment,Secret";

#[test]
#[ignore = "needs the judges: make fidelity"]
fn every_object_is_of_the_published_shape() {
    let Some((judges, schemas)) = judges() else {
        return;
    };
    let lab = rendered();
    let shapes = lab.project().join("shapes");
    fs::create_dir(&shapes).unwrap();
    let mut known = 0;
    for entry in fs::read_dir(schemas.join("definitions")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for definition in yaml(&text) {
            if definition["kind"] != "CustomResourceDefinition" {
                continue;
            }
            for version in definition["spec"]["versions"].as_array().unwrap() {
                if version["served"] != true {
                    continue;
                }
                let mut shape = version["schema"]["openAPIV3Schema"].clone();
                close(&mut shape);
                let name = format!(
                    "{}_{}_{}.json",
                    definition["spec"]["group"].as_str().unwrap(),
                    definition["spec"]["names"]["kind"]
                        .as_str()
                        .unwrap()
                        .to_lowercase(),
                    version["name"].as_str().unwrap()
                );
                fs::write(shapes.join(name), shape.to_string()).unwrap();
                known += 1;
            }
        }
    }
    assert!(known > 30, "{known} shapes");
    let mut wrong = String::new();
    for cluster in ["infra", "apps"] {
        let objects = objects(&lab, &judges, cluster);
        let text: Vec<String> = objects.iter().map(Value::to_string).collect();
        fs::write(lab.project().join("objects.yaml"), text.join("\n---\n")).unwrap();
        let mut conform = lab.command(judges.join("kubeconform"));
        let location = format!(
            "{}/{{{{.Group}}}}_{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json",
            shapes.display()
        );
        conform.args([
            "-strict",
            "-summary",
            "-skip",
            UNJUDGED,
            "-schema-location",
            &location,
            "objects.yaml",
        ]);
        let said = run(conform);
        if said.code != Some(0) {
            wrong.push_str(&said.stdout);
        }
        assert!(
            said.stdout.contains("Errors: 0"),
            "{}{}",
            said.stdout,
            said.stderr
        );
    }
    assert_eq!(wrong, "");
}

/// Every object that a cluster gets of the rendered tree, and what the tests of the playbook make.
pub(crate) fn objects(lab: &Lab, judges: &Path, cluster: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = applied(lab, judges, cluster)
        .into_values()
        .flatten()
        .collect();
    for name in ["cluster-settings", "infrastructure", "workloads"] {
        objects.extend(yaml(
            &lab.read(&format!("kubernetes/clusters/{cluster}/{name}.yaml")),
        ));
    }
    objects.extend(
        ["loadbalancer", "mesh-policy"]
            .iter()
            .flat_map(|name| test_object(lab, cluster, name)),
    );
    objects
}

/// What a test of the playbook makes.
fn test_object(lab: &Lab, cluster: &str, name: &str) -> Vec<Value> {
    let project = bootstrap::project::Project::load(&lab.project()).unwrap();
    let cluster = project.inventory.cluster(cluster).unwrap().value();
    let scope = project.inventory.scope().with("cluster", cluster);
    yaml(
        &project
            .templates
            .file(&format!("templates/test/{name}.yaml.j2"), &scope)
            .unwrap(),
    )
}

/// Makes a published shape one that JSON Schema reads the same way, and that takes no key it does not know.
fn close(shape: &mut Value) {
    let Some(map) = shape.as_object_mut() else {
        return;
    };
    if map.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        map.remove("type");
        map.insert(
            "anyOf".into(),
            json!([{ "type": "integer" }, { "type": "string" }]),
        );
    }
    let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if map.get("type") == Some(&json!("object"))
        && map.contains_key("properties")
        && !map.contains_key("additionalProperties")
        && !open
    {
        map.insert("additionalProperties".into(), json!(false));
    }
    for key in ["properties", "patternProperties"] {
        for (name, inner) in map
            .get_mut(key)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            // Every object has metadata of any shape here; Kubernetes itself judges it.
            if name != "metadata" {
                close(inner);
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            close(inner);
        }
    }
}
