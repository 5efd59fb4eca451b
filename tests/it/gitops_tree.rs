//! The tree of Flux: what is rendered, and what stops it. No machine room is needed for any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, Outcome, repository, run};

/// The exit codes of the README.
const PENDING: u8 = 2;
const USAGE: u8 = 2;
const CANNOT_START: u8 = 4;
const INVALID: u8 = 3;

fn bootstrap<'a>(lab: &Lab, words: impl IntoIterator<Item = &'a str>) -> Outcome {
    run(lab.alone_command(words))
}

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> BTreeMap<String, String> {
    fn collect(root: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, all);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                all.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(folder, folder, &mut all);
    all
}

fn rendered(lab: &Lab) -> BTreeMap<String, String> {
    files(&lab.project().join("kubernetes"))
}

fn change(lab: &Lab, file: &str, from: &str, to: &str) {
    let text = lab.read(file);
    assert!(text.contains(from), "{file} has no `{from}`");
    lab.write(file, &text.replacen(from, to, 1));
}

fn yaml(text: &str) -> Vec<Value> {
    serde_yaml::from_multiple(text).unwrap()
}

#[test]
fn rendering_twice_writes_once_and_the_same() {
    let lab = Lab::project_alone();
    let first = bootstrap(&lab, ["render", "kubernetes"]).success();
    assert!(
        first
            .stdout
            .contains("wrote kubernetes/bases/cilium/helmrelease.yaml")
    );
    let tree = rendered(&lab);
    let again = bootstrap(&lab, ["render", "kubernetes"]).success();
    assert!(
        again
            .stdout
            .starts_with("kubernetes: 0 written, 0 removed, "),
        "{}",
        again.stdout
    );
    assert_eq!(rendered(&lab), tree);
    // Elsewhere, from nothing, the same bytes.
    bootstrap(&lab, ["render", "kubernetes", "--out", "elsewhere"]).success();
    assert_eq!(files(&lab.project().join("elsewhere")), tree);
    bootstrap(&lab, ["render", "kubernetes", "--diff"]).success();
}

#[test]
fn what_a_person_changed_stops_the_rendering_and_stays() {
    const FILE: &str = "kubernetes/infrastructure/networking/cilium/pool/pool.yaml";
    let lab = Lab::project_alone();
    bootstrap(&lab, ["render", "kubernetes"]).success();
    let was = lab.read(FILE);
    lab.write(FILE, "# mine\n");
    change(
        &lab,
        "talos/inventory.yaml",
        "mesh_ip: 10.25.11.100",
        "mesh_ip: 10.25.11.101",
    );
    let refused = bootstrap(&lab, ["render", "kubernetes"]).exit(CANNOT_START);
    assert!(refused.stderr.contains(FILE), "{}", refused.stderr);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(lab.read(FILE), "# mine\n");
    let settings = lab.read("kubernetes/clusters/infra/cluster-settings.yaml");
    assert!(
        settings.contains("CLUSTERMESH_IP: 10.25.11.100"),
        "all or nothing"
    );
    let diff = bootstrap(&lab, ["render", "kubernetes", "--diff"]).exit(PENDING);
    assert!(diff.stdout.contains("-# mine"), "{}", diff.stdout);
    assert!(
        diff.stdout.contains("+  CLUSTERMESH_IP: 10.25.11.101"),
        "{}",
        diff.stdout
    );
    assert_eq!(lab.read(FILE), "# mine\n", "a difference is only shown");
    bootstrap(&lab, ["render", "kubernetes", "--force"]).success();
    assert_eq!(lab.read(FILE), was);
}

#[test]
fn what_flux_writes_is_not_touched() {
    const FILE: &str = "kubernetes/clusters/infra/flux-system/gotk-sync.yaml";
    let lab = Lab::project_alone();
    bootstrap(&lab, ["render", "kubernetes"]).success();
    lab.write(FILE, "# by flux\n");
    bootstrap(&lab, ["render", "kubernetes"]).success();
    bootstrap(&lab, ["render", "kubernetes", "--diff"]).success();
    assert_eq!(lab.read(FILE), "# by flux\n");
}

#[test]
fn a_cluster_that_is_no_more_takes_its_files_along_and_one_cluster_alone_leaves_the_others() {
    let lab = Lab::project_alone();
    with_staging(&lab);
    bootstrap(&lab, ["render", "kubernetes"]).success();
    assert!(rendered(&lab).contains_key("clusters/staging/infrastructure.yaml"));
    change(
        &lab,
        "talos/inventory.yaml",
        "bgp_asn: 64513",
        "bgp_asn: 64599",
    );
    change(
        &lab,
        "talos/inventory.yaml",
        "bgp_asn: 64514",
        "bgp_asn: 64598",
    );
    let one = bootstrap(&lab, ["render", "kubernetes", "--cluster", "apps"]).success();
    assert!(
        one.stdout
            .contains("wrote kubernetes/clusters/apps/cluster-settings.yaml")
    );
    assert!(!one.stdout.contains("staging"), "{}", one.stdout);
    bootstrap(&lab, ["render", "kubernetes", "--cluster", "nope"]).exit(USAGE);
    let without = fs::read_to_string(repository().join("talos/inventory.yaml")).unwrap();
    lab.write("talos/inventory.yaml", &without);
    bootstrap(&lab, ["render", "kubernetes"]).success();
    assert!(!lab.project().join("kubernetes/clusters/staging").exists());
}

/// A third cluster: one more entry in the inventory, and nothing else.
fn with_staging(lab: &Lab) {
    const ENTRY: &str = "
  staging:
    id: 3
    endpoint: staging-k8s.monosense.io
    pod_cidr: 10.248.0.0/16
    service_cidr: 10.249.0.0/16
    coredns_ip: 10.249.0.10
    bootstrap_node: staging-01
    vault: Prod
    item: staging-talos
    bgp_asn: 64514
    lb_pool: { start: 10.25.11.200, end: 10.25.11.219 }
    mesh_ip: 10.25.11.200
    gateway_ip: 10.25.11.201
    nodes:
      staging-01:
        ip: 10.25.11.17
        role: controlplane
        mac: \"ac:1f:6b:2d:11:*\"
        install_disk: Samsung SSD 860*
        data_disk: TEAM TM8FP6512G

lints:
";
    change(lab, "talos/inventory.yaml", "\nlints:\n", ENTRY);
}

#[test]
fn a_third_cluster_needs_one_entry_of_the_inventory_and_nothing_else() {
    let lab = Lab::project_alone();
    bootstrap(&lab, ["render", "kubernetes"]).success();
    let before = rendered(&lab);
    with_staging(&lab);
    bootstrap(&lab, ["validate"]).success();
    bootstrap(&lab, ["render", "kubernetes"]).success();
    let after = rendered(&lab);

    // What it has is what the others have, and only what differs by nature differs.
    let of = |cluster: &str| -> BTreeSet<String> {
        let begin = format!("clusters/{cluster}/");
        after
            .keys()
            .filter_map(|path| path.strip_prefix(&begin))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(of("staging"), of("apps"));
    assert_eq!(
        after["clusters/staging/infrastructure.yaml"],
        after["clusters/apps/infrastructure.yaml"]
    );
    let settings = |cluster: &str| -> BTreeMap<String, String> {
        let text = &after[&format!("clusters/{cluster}/cluster-settings.yaml")];
        serde_json::from_value(yaml(text)[0]["data"].clone()).unwrap()
    };
    let (apps, staging) = (settings("apps"), settings("staging"));
    assert!(apps.keys().eq(staging.keys()));
    assert_eq!(staging["CLUSTER_ID"], "3");
    assert_eq!(staging["POD_CIDR"], r#"["10.248.0.0/16"]"#);
    assert_eq!(staging["CLUSTERMESH_IP"], "10.25.11.200");

    // The mesh is told of it, and nothing else that is shared changes.
    let changed: Vec<&String> = before
        .iter()
        .filter(|(path, text)| path.as_str() != ".rendered" && after.get(*path) != Some(*text))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, ["bases/cilium/helmrelease.yaml"]);
    assert!(after["bases/cilium/helmrelease.yaml"].contains("- name: staging"));

    // And the stories are about it, too.
    let plan = bootstrap(&lab, ["plan", "story", "3.3", "--json"])
        .success()
        .json();
    let keys: BTreeSet<&str> = plan["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["key"].as_str().unwrap())
        .collect();
    for key in [
        "2.2/cilium[staging]",
        "2.2/criterion-8[staging]",
        "2.3/mesh-test[staging]",
        "2.4/record[staging]",
        "3.3/flux[staging]",
        "3.3/criterion-4[staging]",
    ] {
        assert!(keys.contains(key), "{key} is not in the plan");
    }
}

#[test]
fn every_path_of_the_backlog_is_there_or_says_where_it_went() {
    let lab = Lab::project_alone();
    bootstrap(&lab, ["render", "kubernetes"]).success();
    let document = fs::read_to_string(repository().join("docs/gitops-tree.md")).unwrap();
    let table = document
        .split("\n## What the backlog calls its files\n")
        .nth(1)
        .unwrap();
    let mut seen = 0;
    for line in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let path = |cell: &str| cell.trim_matches('`').to_owned();
        let here = match cells[1].trim_matches(['|', ' ']) {
            "the same" => path(cells[0]),
            "none" | "the same, by `flux bootstrap`" => continue,
            other => path(other),
        };
        seen += 1;
        assert!(
            lab.project().join(&here).exists(),
            "{here} is not there after a render: {line}"
        );
    }
    assert!(seen > 20, "only {seen} paths were found in the table");
}

/// What is broken, where, how, and what must be said of it.
const BROKEN: [(&str, &str, &str, &str, &str); 22] = [
    (
        "a variable that no cluster sets",
        "infrastructure/networking/cilium/pool/pool.yaml",
        "${CILIUM_LB_POOL_END}",
        "${NOPE}",
        "the settings of apps have no NOPE",
    ),
    (
        "a shell's variable",
        "infrastructure/networking/cilium/pool/pool.yaml",
        "${CILIUM_LB_POOL_END}",
        "${X:-1}",
        "Flux would replace `${X…}`",
    ),
    (
        "a shell's length",
        "infrastructure/networking/cilium/pool/pool.yaml",
        "${CILIUM_LB_POOL_END}",
        "${#X}",
        "Flux would replace `${#X…}`",
    ),
    (
        "a dependency that is not there",
        "clusters/infrastructure.yaml",
        "- name: secret-store",
        "- name: secrets",
        "depends on secrets, which is not there",
    ),
    (
        "a circle of dependencies",
        "clusters/infrastructure.yaml",
        "- name: crds",
        "- name: cilium-pool",
        "these depend on each other: cilium → cilium-pool → cilium",
    ),
    (
        "a path that is not there",
        "clusters/infrastructure.yaml",
        "path: ./kubernetes/infrastructure/gitops/flux",
        "path: ./kubernetes/infrastructure/gitops/nix",
        "there is nothing at ./kubernetes/infrastructure/gitops/nix",
    ),
    (
        "nothing is waited for",
        "clusters/workloads.yaml",
        "  wait: true\n",
        "",
        "waits for nothing",
    ),
    (
        "no variables",
        "clusters/workloads.yaml",
        "name: cluster-settings",
        "name: settings",
        "takes no variables from cluster-settings",
    ),
    (
        "an interface that is not served",
        "infrastructure/networking/cilium/bgp/peer-config.yaml",
        "cilium.io/v2",
        "cilium.io/v2alpha1",
        "serve no CiliumBGPPeerConfig of cilium.io/v2alpha1",
    ),
    (
        "the seed's store",
        "infrastructure/networking/external-dns/externalsecret.yaml",
        "external-secrets.io/v1",
        "external-secrets.io/v1beta1",
        "serve no ExternalSecret of external-secrets.io/v1beta1",
    ),
    (
        "a namespace that nobody makes",
        "infrastructure/networking/cilium/gateway/gateway.yaml",
        "namespace: networking",
        "namespace: nowhere",
        "the namespace nowhere is made by nothing",
    ),
    (
        "no namespace",
        "infrastructure/networking/cilium/gateway/gateway.yaml",
        "  namespace: networking\n",
        "",
        "names no namespace",
    ),
    (
        "a secret that nobody makes",
        "infrastructure/networking/external-dns/externalsecret.yaml",
        "name: external-dns-cloudflare\n    creationPolicy",
        "name: other\n    creationPolicy",
        "nothing makes the Secret external-dns-cloudflare",
    ),
    (
        "a store before its time",
        "clusters/infrastructure.yaml",
        "- name: secret-store\n    - name: cilium-pool",
        "- name: cilium-pool",
        "the store ${EXTERNAL_SECRET_STORE} is made by nothing that comes earlier",
    ),
    (
        "a class that nobody makes",
        "infrastructure/networking/cilium/gateway/gateway.yaml",
        "gatewayClassName: cilium",
        "gatewayClassName: nginx",
        "nothing makes the class nginx",
    ),
    (
        "definitions before their time",
        "clusters/infrastructure.yaml",
        "  dependsOn:\n    - name: crds\n",
        "  dependsOn:\n    - name: namespaces\n",
        "makes ServiceMonitors, but nothing that comes earlier brings monitoring.coreos.com",
    ),
    (
        "a secret in Git",
        "infrastructure/networking/cilium/pool/pool.yaml",
        "stop: ${CILIUM_LB_POOL_END}",
        "stop: op://Infra/x/y",
        "a reference to 1Password means nothing to Flux",
    ),
    (
        "a chart of any version",
        "bases/cilium/ocirepository.yaml.j2",
        "{{ site.charts.cilium.version }}",
        "\">=1.18\"",
        "does not name one version",
    ),
    (
        "an image of any version",
        "workloads/platform/mesh-demo/deployment.yaml.j2",
        "whoami:v1.11.0",
        "whoami:latest",
        "is not pinned",
    ),
    (
        "a file that nobody reads",
        "infrastructure/networking/cilium/gateway/kustomization.yaml",
        "  - gateway.yaml\n",
        "",
        "gateway/gateway.yaml: no Kustomization leads to it",
    ),
    (
        "more of Kustomize",
        "workloads/kustomization.yaml",
        "resources:",
        "namePrefix: x-\nresources:",
        "uses nothing of Kustomize but `resources`",
    ),
    (
        "a name that the inventory does not know",
        "bases/cilium/ocirepository.yaml.j2",
        "site.charts.cilium.url",
        "site.charts.cillium.url",
        "`site.charts.cillium` is not defined here",
    ),
];

#[test]
fn what_is_wrong_with_a_tree_is_told_before_anything_is_written() {
    for (what, file, from, to, expected) in BROKEN {
        let lab = Lab::project_alone();
        change(&lab, &format!("templates/kubernetes/{file}"), from, to);
        let said = bootstrap(&lab, ["validate"]);
        assert_eq!(
            said.code,
            Some(i32::from(INVALID)),
            "{what}: {}",
            said.stdout
        );
        assert!(
            said.stderr.contains(expected),
            "{what}: `{expected}` is not said\n{}",
            said.stderr
        );
        let said = bootstrap(&lab, ["render", "kubernetes"]);
        assert_ne!(said.code, Some(0), "{what}");
        assert!(
            !lab.project().join("kubernetes").exists(),
            "{what}: something was written"
        );
    }
}

/// Inventories that cannot be: from, to, and what is said.
const IMPOSSIBLE: [(&str, &str, &str); 9] = [
    (
        "start: 10.25.11.150",
        "start: 10.25.11.149",
        "the load balancer pools must not share addresses",
    ),
    (
        "lb_pool: { start: 10.25.11.150, end: 10.25.11.199 }",
        "lb_pool: { start: 10.25.11.90, end: 10.25.11.199 }",
        "the load balancer pools must not share addresses",
    ),
    (
        "gateway_ip: 10.25.11.170",
        "gateway_ip: 10.25.11.200",
        "the gateway's address must be one of the load balancer pool",
    ),
    (
        "gateway_ip: 10.25.11.170",
        "gateway_ip: 10.25.11.150",
        "the gateway and the mesh need different addresses",
    ),
    (
        "coredns_ip: 10.247.0.10",
        "coredns_ip: 10.246.0.10",
        "CoreDNS must have it",
    ),
    ("hub: true", "hub: false", "exactly one cluster is the hub"),
    ("bgp_asn: 64513", "bgp_asn: 64512", "AS numbers must differ"),
    ("id: 2\n", "id: 1\n", "cluster ids must differ"),
    (
        "service_cidr: 10.247.0.0/16",
        "service_cidr: 10.244.0.0/16",
        "a pod network must not overlap any service network",
    ),
];

#[test]
fn networks_pools_and_numbers_that_cannot_be_are_told_by_the_inventory() {
    for (from, to, expected) in IMPOSSIBLE {
        let lab = Lab::project_alone();
        change(&lab, "talos/inventory.yaml", from, to);
        let said = bootstrap(&lab, ["validate"]).exit(INVALID);
        assert!(
            said.stderr.contains(expected),
            "{to}: `{expected}` is not said\n{}",
            said.stderr
        );
    }
}

#[test]
fn the_values_before_flux_are_those_of_its_release() {
    let lab = Lab::project_alone();
    bootstrap(&lab, ["render", "kubernetes"]).success();
    let project = bootstrap::project::Project::load(&lab.project()).unwrap();
    for cluster in project.inventory.clusters() {
        let settings = lab.read(&format!(
            "kubernetes/clusters/{}/cluster-settings.yaml",
            cluster.name()
        ));
        let settings: BTreeMap<String, String> =
            serde_json::from_value(yaml(&settings)[0]["data"].clone()).unwrap();
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

            // As Flux does: the file as it lies there, with the settings put in.
            let mut text = lab.read(&format!("kubernetes/bases/{release}/helmrelease.yaml"));
            for (name, value) in &settings {
                text = text.replace(&format!("${{{name}}}"), value);
            }
            assert!(!text.contains("${"), "{text}");
            let late = yaml(&text)[0]["spec"]["values"].clone();
            assert_eq!(early, late, "{release} in {}", cluster.name());
        }
    }
}

#[test]
fn stories_that_need_halves_of_each_other_are_interleaved_by_step_and_by_cluster() {
    let lab = Lab::without_world();
    lab.write(
        "inventory.yaml",
        "fields: { cluster: {}, node: {} }\nclusters: { a: { nodes: { a1: {} } }, b: { nodes: { b1: {} } } }\n",
    );
    lab.write(
        "playbooks/p.yaml",
        r#"
stories:
  - id: "1.1"
    title: Network
    steps:
      - { id: early, for_each: clusters, exec: ["true"] }
      - { id: late, for_each: clusters, needs: [early, "1.2/ready"], exec: ["true"] }
    criteria:
      - { text: It stands, for_each: clusters, check: { that: "1 == 1" } }
  - id: "1.2"
    title: GitOps
    steps:
      - { id: ready, for_each: clusters, needs: ["1.1/early"], exec: ["true"] }
      - { id: all, needs: [ready, "1.1"], exec: ["true"] }
"#,
    );
    let tasks = |words: &[&str]| -> Vec<(String, Vec<String>)> {
        let plan = bootstrap(&lab, words.iter().copied()).success().json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        plan["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| {
                let needs = task["needs"].as_array().into_iter().flatten();
                (text(&task["key"]), needs.map(text).collect())
            })
            .collect()
    };
    let all = tasks(&["plan", "story", "1.2", "--json"]);
    let needs: BTreeMap<&str, Vec<&str>> = all
        .iter()
        .map(|(key, needs)| (key.as_str(), needs.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(needs["1.2/ready[a]"], ["1.1/early[a]"]);
    assert_eq!(needs["1.1/late[b]"], ["1.1/early[b]", "1.2/ready[b]"]);
    assert_eq!(needs["1.1/criterion-1[b]"], ["1.1/late[b]"]);
    assert_eq!(
        needs["1.2/all"],
        [
            "1.2/ready[a]",
            "1.2/ready[b]",
            "1.1/criterion-1[a]",
            "1.1/criterion-1[b]"
        ]
    );
    // Whichever half is asked for, both are in the run.
    let other: BTreeSet<String> = tasks(&["plan", "story", "1.1", "--json"])
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert!(all.iter().all(|(key, _)| other.contains(key)));
}
