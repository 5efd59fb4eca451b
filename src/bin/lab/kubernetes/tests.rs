//! Clusters by themselves: no files, no clock, no tools.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::{self, How};
use super::charts;
use super::helm::{self, Request};
use super::models;
use super::objects::{Objects, Store as _};
use super::outside::{Machine, Outside};
use super::value::{condition, is_true, text};
use crate::fault::{Fault, Kind};
use crate::remote::Remote;
use crate::site::{Git, Router};
use crate::vault::{Field, Item, Vault};

const MINUTE: u64 = 60_000;

/// A cluster and what is outside of it.
pub(crate) struct Cluster {
    pub(crate) objects: Objects,
    pub(crate) outside: Outside,
}

fn item(title: &str, fields: &[(&str, &str)]) -> Item {
    let fields = fields.iter().map(|(label, value)| Field {
        label: (*label).to_string(),
        value: (*value).to_string(),
        kind: "CONCEALED".to_string(),
        ..Field::default()
    });
    Item {
        title: title.to_string(),
        fields: fields.collect(),
        ..Item::default()
    }
}

impl Cluster {
    fn new(name: &str, asn: u64) -> Self {
        let machines: Vec<Machine> = (1..=3)
            .map(|number| Machine {
                name: format!("{name}-0{number}"),
                ip: format!("10.25.{asn}.{number}"),
                pod_cidr: format!("10.244.{number}.0/24"),
                up: true,
                boot: "first".to_string(),
                control_plane: true,
                version: "v1.34.1".to_string(),
                ..Machine::default()
            })
            .collect();
        let neighbours: BTreeMap<String, u64> = machines
            .iter()
            .map(|machine| (machine.ip.clone(), asn))
            .collect();
        let vault = Vault {
            name: "Infra".to_string(),
            items: vec![
                item("onepassword-connect", &[("token", "connect-token")]),
                item("flux-git", &[("token", "git-token")]),
                item("cloudflare", &[("api_token", "dns-token")]),
            ],
            ..Vault::default()
        };
        let outside = Outside {
            seed: 7,
            cluster: name.to_string(),
            machines,
            service_cidr: "10.245.0.0/16".to_string(),
            router: Router {
                address: "10.25.11.1".to_string(),
                asn: 64_501,
                neighbours,
            },
            git: Git {
                url: "https://example.org/tree".to_string(),
                vault: "Infra".to_string(),
                item: "flux-git".to_string(),
                field: "token".to_string(),
            },
            connect: "http://connect".to_string(),
            vaults: vec![vault],
            ..Outside::default()
        };
        let mut cluster = Self {
            objects: Objects::new(7, 1_790_000_000_000, 0),
            outside,
        };
        cluster.after(0);
        cluster
    }

    pub(crate) fn after(&mut self, time: u64) {
        // What a test has just done is seen now, as in a world, where whoever does it lets the cluster act.
        let now = self.objects.at_ms;
        models::settle(&mut self.objects, &mut self.outside, now);
        let to = now + time;
        models::settle(&mut self.objects, &mut self.outside, to);
    }

    fn apply(&mut self, object: Value) {
        let how = How {
            manager: "test",
            force: true,
            dry: false,
        };
        api::apply(&mut self.objects, &self.outside, object, "default", how).unwrap();
        self.after(0);
    }

    fn yaml(&mut self, text: &str) {
        for object in serde_yaml::from_multiple::<Value>(text).unwrap() {
            self.apply(object);
        }
    }

    fn install(
        &mut self,
        name: &str,
        namespace: &str,
        url: &str,
        version: &str,
        values: &Value,
    ) -> Result<helm::Release, String> {
        let chart = charts::pull(&mut self.outside, url, version)?;
        let request = Request {
            name,
            namespace,
            chart: &chart,
            values,
        };
        let done = helm::upgrade(&mut self.objects, &mut self.outside, &request);
        self.after(0);
        done
    }

    fn cilium(&mut self, name: &str, id: u64) {
        let values = json!({
            "cluster": { "name": name, "id": id },
            "securityContext": { "capabilities": { "ciliumAgent": ["NET_ADMIN"] } },
            "bgpControlPlane": { "enabled": true },
            "gatewayAPI": { "enabled": true, "gatewayClass": { "create": "true" } },
            "clustermesh": { "useAPIServer": true, "apiserver": { "service": { "type": "LoadBalancer", "annotations": { "lbipam.cilium.io/ips": format!("10.9.{id}.1") } } },
                "config": { "enabled": true, "clusters": [{ "name": "one", "port": 2379, "ips": ["10.9.1.1"] }, { "name": "two", "port": 2379, "ips": ["10.9.2.1"] }] } },
        });
        self.install(
            "cilium",
            "kube-system",
            "oci://quay.io/cilium/charts/cilium",
            "1.18.3",
            &values,
        )
        .unwrap();
    }

    fn gateway_definitions(&mut self) {
        for one in charts::at_address("https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.4.0/standard-install.yaml").unwrap() {
            self.apply(one);
        }
        self.after(MINUTE);
    }

    fn coredns(&mut self) {
        let values = json!({ "fullnameOverride": "coredns", "replicaCount": 2, "service": { "name": "kube-dns", "clusterIP": "10.245.0.10" } });
        self.install(
            "coredns",
            "kube-system",
            "oci://ghcr.io/coredns/charts/coredns",
            "1.45.0",
            &values,
        )
        .unwrap();
    }

    /// A cluster with its network, and DNS.
    pub(crate) fn with_network(name: &str, id: u64) -> Self {
        let mut cluster = Self::new(name, 64_511 + id);
        cluster.gateway_definitions();
        cluster.cilium(name, id);
        cluster.after(5 * MINUTE);
        cluster.coredns();
        cluster.after(5 * MINUTE);
        cluster
    }

    pub(crate) fn bgp(&mut self, id: u64, asn: u64) {
        self.yaml(&format!(
            "apiVersion: cilium.io/v2\nkind: CiliumLoadBalancerIPPool\nmetadata: {{ name: pool }}\nspec: {{ blocks: [{{ start: 10.9.{id}.1, stop: 10.9.{id}.9 }}] }}\n---\n\
             apiVersion: cilium.io/v2\nkind: CiliumBGPAdvertisement\nmetadata: {{ name: all, labels: {{ advertise: router }} }}\nspec: {{ advertisements: [{{ advertisementType: Service, service: {{ addresses: [LoadBalancerIP] }}, selector: {{ matchExpressions: [{{ key: none, operator: NotIn, values: [x] }}] }} }}] }}\n---\n\
             apiVersion: cilium.io/v2\nkind: CiliumBGPPeerConfig\nmetadata: {{ name: router }}\nspec: {{ families: [{{ afi: ipv4, safi: unicast, advertisements: {{ matchLabels: {{ advertise: router }} }} }}] }}\n---\n\
             apiVersion: cilium.io/v2\nkind: CiliumBGPClusterConfig\nmetadata: {{ name: router }}\nspec: {{ bgpInstances: [{{ name: x, localASN: {asn}, peers: [{{ name: router, peerASN: 64501, peerAddress: 10.25.11.1, peerConfigRef: {{ name: router }} }}] }}] }}\n"
        ));
        self.after(MINUTE);
    }

    pub(crate) fn get(&self, kind: &str, namespace: &str, name: &str) -> &Value {
        self.objects
            .get(kind, namespace, name)
            .unwrap_or_else(|| panic!("no {kind} {namespace}/{name}"))
    }

    fn ready_nodes(&self) -> usize {
        self.objects
            .list("Node")
            .iter()
            .filter(|node| is_true(node, "Ready"))
            .count()
    }

    fn ready(&self, kind: &str, namespace: &str, name: &str) -> bool {
        is_true(self.get(kind, namespace, name), "Ready")
    }

    fn fault(&mut self, kind: Kind, target: Option<&str>) {
        self.outside.faults.push(Fault {
            spec: "test".to_string(),
            kind,
            target: target.map(ToString::to_string),
            number: 1,
            fired: 0,
        });
    }
}

#[test]
fn nodes_are_not_ready_until_a_network_plugin_runs() {
    let mut cluster = Cluster::new("one", 64_512);
    cluster.after(10 * MINUTE);
    assert_eq!(cluster.ready_nodes(), 0);
    let node = cluster.get("Node", "", "one-01");
    let ready = condition(node, "Ready").unwrap();
    assert_eq!(ready["reason"], "KubeletNotReady");
    assert!(text(ready, "/message").contains("cni plugin not initialized"));
    cluster.coredns();
    cluster.after(MINUTE);
    assert!(
        !models_ready(&cluster, "coredns"),
        "without a network nothing is scheduled"
    );
    cluster.gateway_definitions();
    cluster.cilium("one", 1);
    cluster.after(5 * MINUTE);
    assert_eq!(cluster.ready_nodes(), 3);
    assert!(models_ready(&cluster, "coredns"));
}

fn models_ready(cluster: &Cluster, name: &str) -> bool {
    let deployment = cluster.get("Deployment.apps", "kube-system", name);
    deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"]
}

#[test]
fn on_talos_an_agent_that_loads_modules_never_starts() {
    let mut cluster = Cluster::new("one", 64_512);
    cluster
        .install(
            "cilium",
            "kube-system",
            "oci://quay.io/cilium/charts/cilium",
            "1.18.3",
            &json!({}),
        )
        .unwrap();
    cluster.after(10 * MINUTE);
    assert_eq!(cluster.ready_nodes(), 0);
}

#[test]
fn a_machine_that_reboots_is_not_ready_and_comes_back_with_its_pods() {
    let mut cluster = Cluster::with_network("one", 1);
    cluster.outside.machines[0].up = false;
    cluster.after(2 * MINUTE);
    assert_eq!(cluster.ready_nodes(), 2);
    assert_eq!(
        condition(cluster.get("Node", "", "one-01"), "Ready").unwrap()["reason"],
        "NodeStatusUnknown"
    );
    cluster.outside.machines[0].up = true;
    cluster.outside.machines[0].boot = "second".to_string();
    cluster.after(5 * MINUTE);
    assert_eq!(cluster.ready_nodes(), 3);
}

#[test]
fn an_address_comes_from_a_pool_and_from_nowhere_else() {
    let mut cluster = Cluster::with_network("one", 1);
    // Cilium takes waiting Services in no order, the lab in that of their names: who has not asked for an address might take that of one who has.
    cluster.yaml("apiVersion: v1\nkind: Namespace\nmetadata: { name: web }\n");
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "web" }, "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] } });
    cluster.apply(service);
    cluster.after(MINUTE);
    let web = cluster.get("Service", "web", "web");
    assert_eq!(
        condition(web, "cilium.io/IPAMRequestSatisfied").unwrap()["reason"],
        "no_pool"
    );
    cluster.bgp(1, 64_512);
    let ip = text(
        cluster.get("Service", "web", "web"),
        "/status/loadBalancer/ingress/0/ip",
    )
    .to_string();
    assert!(ip.starts_with("10.9.1."), "{ip}");
    assert_eq!(
        text(
            cluster.get("Service", "kube-system", "clustermesh-apiserver"),
            "/status/loadBalancer/ingress/0/ip"
        ),
        "10.9.1.1",
        "the one that was asked for"
    );
    assert_ne!(ip, "10.9.1.1");
    cluster.yaml("apiVersion: v1\nkind: Service\nmetadata: { name: late, annotations: { lbipam.cilium.io/ips: 10.9.1.1 } }\nspec: { type: LoadBalancer, ports: [{ port: 80 }] }\n");
    let late = cluster.get("Service", "default", "late");
    assert_eq!(
        condition(late, "cilium.io/IPAMRequestSatisfied").unwrap()["reason"],
        "already_allocated"
    );
}

#[test]
fn bgp_stands_only_with_what_the_router_expects() {
    let mut cluster = Cluster::with_network("one", 1);
    cluster.bgp(1, 64_999);
    let sessions = models::sessions(&cluster.objects, &mut cluster.outside);
    assert_eq!(sessions.len(), 3);
    assert!(
        sessions.iter().all(|session| !session.established),
        "the router expects another AS"
    );
    cluster.bgp(1, 64_512);
    let sessions = models::sessions(&cluster.objects, &mut cluster.outside);
    assert!(
        sessions
            .iter()
            .all(|session| session.established && session.routes > 0)
    );
    cluster.fault(Kind::BgpDown, Some("10.25.64512.1"));
    let sessions = models::sessions(&cluster.objects, &mut cluster.outside);
    assert_eq!(
        sessions
            .iter()
            .filter(|session| session.established)
            .count(),
        2
    );
}

#[test]
fn a_gateway_needs_its_class_and_an_address() {
    let mut cluster = Cluster::with_network("one", 1);
    let class = cluster.get("GatewayClass.gateway.networking.k8s.io", "", "cilium");
    assert!(is_true(class, "Accepted"));
    cluster.yaml("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: external }\nspec: { gatewayClassName: cilium, listeners: [{ name: http, protocol: HTTP, port: 80 }] }\n");
    cluster.after(MINUTE);
    let gateway = cluster.get("Gateway.gateway.networking.k8s.io", "default", "external");
    assert_eq!(
        condition(gateway, "Programmed").unwrap()["reason"],
        "AddressNotAssigned"
    );
    cluster.bgp(1, 64_512);
    assert!(is_true(
        cluster.get("Gateway.gateway.networking.k8s.io", "default", "external"),
        "Programmed"
    ));
}

/// Two clusters that tell each other about themselves.
fn mesh(second_id: u64, authority: &str) -> (Cluster, Cluster) {
    let mut both: Vec<Cluster> = Vec::new();
    for (name, id, ca) in [("one", 1, "same"), ("two", second_id, authority)] {
        let mut cluster = Cluster::new(name, 64_511 + id);
        cluster.apply(json!({ "apiVersion": "v1", "kind": "Secret", "data": { "ca.crt": STANDARD.encode(ca), "ca.key": "" },
            "metadata": { "name": "cilium-ca", "namespace": "kube-system", "labels": { "app.kubernetes.io/managed-by": "Helm" },
                "annotations": { "meta.helm.sh/release-name": "cilium", "meta.helm.sh/release-namespace": "kube-system" } } }));
        cluster.gateway_definitions();
        cluster.cilium(name, id);
        cluster.after(5 * MINUTE);
        cluster.coredns();
        cluster.after(5 * MINUTE);
        cluster.bgp(id, 64_511 + id);
        both.push(cluster);
    }
    let (mut second, mut first) = (both.pop().unwrap(), both.pop().unwrap());
    tell(&mut first, &mut second);
    (first, second)
}

fn tell(first: &mut Cluster, second: &mut Cluster) {
    let one = models::essentials(&first.objects, &mut first.outside);
    let two = models::essentials(&second.objects, &mut second.outside);
    first.outside.peers = vec![two];
    second.outside.peers = vec![one];
}

#[test]
fn meshes_refuse_another_authority_and_the_same_id() {
    let (mut first, _) = mesh(2, "same");
    let peers = models::mesh_peers(&first.objects, &mut first.outside);
    assert_eq!((peers.len(), peers[0].connected), (1, true), "{peers:?}");
    let (mut first, _) = mesh(2, "another");
    let peers = models::mesh_peers(&first.objects, &mut first.outside);
    assert!(peers[0].why.contains("unknown authority"), "{peers:?}");
    let (mut first, _) = mesh(1, "same");
    let peers = models::mesh_peers(&first.objects, &mut first.outside);
    assert!(!peers[0].connected, "{peers:?}");
}

#[test]
fn a_global_service_is_reached_through_the_mesh_unless_a_policy_forbids_it() {
    let (mut first, mut second) = mesh(2, "same");
    let service = "apiVersion: v1\nkind: Service\nmetadata: { name: mesh, annotations: { service.cilium.io/global: 'true' } }\nspec: { selector: { app: mesh }, ports: [{ port: 80 }] }\n";
    let client = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec: {{ restartPolicy: Never, containers: [{{ name: c, image: curl, command: [curl, -fsS, http://mesh.default.svc.cluster.local] }}] }}\n"
        )
    };
    first.yaml(service);
    second.yaml(service);
    first.yaml("apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: mesh }\nspec: { selector: { matchLabels: { app: mesh } }, template: { metadata: { labels: { app: mesh } }, spec: { containers: [{ name: w, image: web }] } } }\n");
    first.after(MINUTE);
    tell(&mut first, &mut second);
    second.yaml(&client("allowed"));
    second.after(MINUTE);
    assert_eq!(
        second.get("Pod", "default", "allowed")["status"]["phase"],
        "Succeeded"
    );
    first.yaml("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: { name: deny }\nspec: { endpointSelector: { matchLabels: { app: mesh } }, ingress: [{ fromEndpoints: [{ matchLabels: { io.cilium.k8s.policy.cluster: one } }] }] }\n");
    tell(&mut first, &mut second);
    second.yaml(&client("denied"));
    second.after(MINUTE);
    assert_eq!(
        second.get("Pod", "default", "denied")["status"]["phase"],
        "Failed"
    );
}

#[test]
fn pod_security_forbids_host_paths_outside_of_kube_system() {
    let mut cluster = Cluster::with_network("one", 1);
    cluster.yaml("apiVersion: v1\nkind: Namespace\nmetadata: { name: spegel }\n");
    for namespace in ["spegel", "kube-system"] {
        cluster
            .install(
                "spegel",
                namespace,
                "oci://ghcr.io/spegel-org/helm-charts/spegel",
                "0.4.0",
                &json!({}),
            )
            .unwrap();
    }
    cluster.after(2 * MINUTE);
    assert_eq!(
        cluster.get("DaemonSet.apps", "spegel", "spegel")["status"]["numberReady"],
        0
    );
    let failure = condition(
        cluster.get("DaemonSet.apps", "spegel", "spegel"),
        "ReplicaFailure",
    )
    .unwrap()
    .clone();
    assert!(text(&failure, "/message").contains("violates PodSecurity \"baseline:latest\""));
    assert_eq!(
        cluster.get("DaemonSet.apps", "kube-system", "spegel")["status"]["numberReady"],
        3
    );
}

#[test]
fn helm_takes_only_what_is_its_own_and_the_same_again_restarts_nothing() {
    let mut cluster = Cluster::with_network("one", 1);
    let pods = |cluster: &Cluster| -> Vec<String> {
        cluster
            .objects
            .list("Pod")
            .iter()
            .map(|pod| text(pod, "/metadata/uid").to_string())
            .collect()
    };
    let before = pods(&cluster);
    cluster.cilium("one", 1);
    cluster.after(5 * MINUTE);
    assert_eq!(pods(&cluster), before);
    assert_eq!(
        helm::last(&cluster.objects, "kube-system", "cilium")
            .unwrap()
            .version,
        2
    );
    cluster.yaml("apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: external-dns }\n");
    let refused = cluster
        .install(
            "external-dns",
            "default",
            "oci://ghcr.io/home-operations/charts-mirror/external-dns",
            "1.19.0",
            &json!({}),
        )
        .unwrap_err();
    assert!(refused.starts_with("Unable to continue with install: ServiceAccount \"external-dns\" in namespace \"default\" exists"), "{refused}");
    let refused = cluster
        .install(
            "x",
            "default",
            "oci://ghcr.io/coredns/charts/coredns",
            "1.45.0",
            &json!({ "prometheus": { "monitor": { "enabled": true } } }),
        )
        .unwrap_err();
    assert!(
        refused.contains("no matches for kind \"ServiceMonitor\""),
        "{refused}"
    );
}

fn dns(cluster: &mut Cluster) {
    let values = json!({ "provider": { "name": "cloudflare" }, "policy": "sync", "txtOwnerId": "one", "txtPrefix": "k8s-one-", "domainFilters": ["example.org"] });
    cluster
        .install(
            "external-dns",
            "default",
            "oci://ghcr.io/home-operations/charts-mirror/external-dns",
            "1.19.0",
            &values,
        )
        .unwrap();
    cluster.bgp(1, 64_512);
    cluster.yaml("apiVersion: v1\nkind: Service\nmetadata: { name: web, annotations: { external-dns.alpha.kubernetes.io/hostname: web.example.org } }\nspec: { type: LoadBalancer, ports: [{ port: 80 }] }\n");
    cluster.after(5 * MINUTE);
}

#[test]
fn a_record_comes_and_goes_with_its_service() {
    let mut cluster = Cluster::with_network("one", 1);
    cluster
        .outside
        .zone
        .insert("other.example.org".to_string(), BTreeMap::new());
    dns(&mut cluster);
    let ip = text(
        cluster.get("Service", "default", "web"),
        "/status/loadBalancer/ingress/0/ip",
    )
    .to_string();
    assert_eq!(cluster.outside.zone["web.example.org"]["A"], [ip]);
    assert_eq!(
        cluster.outside.zone["k8s-one-a-web.example.org"]["TXT"],
        ["heritage=external-dns,external-dns/owner=one,external-dns/resource=service/default/web"]
    );
    cluster.objects.remove("Service", "default", "web");
    cluster.after(5 * MINUTE);
    assert_eq!(
        cluster.outside.zone.keys().collect::<Vec<_>>(),
        ["other.example.org"]
    );
}

#[test]
fn a_namespace_goes_with_all_that_is_in_it() {
    let mut cluster = Cluster::with_network("one", 1);
    cluster.yaml("apiVersion: v1\nkind: Namespace\nmetadata: { name: gone }\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: a, namespace: gone }\n");
    cluster.objects.remove("Namespace", "", "gone");
    cluster.after(1_000);
    assert_eq!(
        cluster.get("Namespace", "", "gone")["status"]["phase"],
        "Terminating"
    );
    cluster.after(MINUTE);
    assert!(cluster.objects.get("Namespace", "", "gone").is_none());
    assert!(cluster.objects.get("ConfigMap", "gone", "a").is_none());
}

/// A remote with these files on `main`, and Flux in the cluster that follows it.
fn follow(cluster: &mut Cluster, folder: &std::path::Path, files: &[(&str, &str)], password: &str) {
    let remote = Remote::new(folder.join("remote.git"));
    remote.create().unwrap();
    push(&remote, files);
    cluster.outside.remote = remote;
    let components = [
        "source-controller",
        "kustomize-controller",
        "helm-controller",
        "notification-controller",
    ]
    .map(ToString::to_string);
    let all = charts::flux("v2.7.2", "ghcr.io/fluxcd", &components);
    for object in all {
        cluster.apply(object);
        cluster.after(300);
    }
    cluster.apply(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "flux-system", "namespace": "flux-system" }, "stringData": { "username": "git", "password": password } }));
    cluster.yaml("apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: { name: flux-system, namespace: flux-system }\nspec: { interval: 1m, url: https://example.org/tree.git, ref: { branch: main }, secretRef: { name: flux-system } }\n---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: { name: flux-system, namespace: flux-system }\nspec: { interval: 10m, path: ./tree/clusters/one, prune: true, sourceRef: { kind: GitRepository, name: flux-system } }\n");
    cluster.after(10 * MINUTE);
}

fn push(remote: &Remote, files: &[(&str, &str)]) {
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_string(), (*text).to_string()))
        .collect();
    remote
        .commit("main", &files, "test", ("tester", "tester@example.org"))
        .unwrap();
}

const ORDER: &str = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: { name: first, namespace: flux-system }\nspec: { interval: 10m, retryInterval: 1m, timeout: 2m, wait: true, prune: true, path: ./tree/first, sourceRef: { kind: GitRepository, name: flux-system }, postBuild: { substituteFrom: [{ kind: ConfigMap, name: settings }] } }\n---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: { name: second, namespace: flux-system }\nspec: { interval: 10m, retryInterval: 1m, timeout: 2m, wait: true, prune: true, path: ./tree/second, dependsOn: [{ name: first }], sourceRef: { kind: GitRepository, name: flux-system } }\n";
const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings, namespace: flux-system }\ndata: { NAME: one, ID: '1' }\n";
const FIRST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: made, namespace: default }\ndata: { who: '${NAME} ${ID}' }\n";
const SECOND: &str = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: { name: coredns, namespace: kube-system }\nspec: { interval: 1h, url: 'oci://ghcr.io/coredns/charts/coredns', ref: { tag: 1.45.0 } }\n---\napiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: { name: coredns, namespace: kube-system }\nspec: { interval: 1h, releaseName: coredns, chartRef: { kind: OCIRepository, name: coredns }, values: { fullnameOverride: coredns, replicaCount: 2, service: { name: kube-dns, clusterIP: 10.245.0.10 } } }\n";

const TREE: [(&str, &str); 4] = [
    ("tree/clusters/one/order.yaml", ORDER),
    ("tree/clusters/one/settings.yaml", SETTINGS),
    ("tree/first/made.yaml", FIRST),
    ("tree/second/release.yaml", SECOND),
];

#[test]
fn flux_applies_a_tree_in_order_and_adopts_a_release_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::with_network("one", 1);
    let pods = |cluster: &Cluster| -> Vec<String> {
        let all = cluster.objects.list("Pod").into_iter();
        all.filter(|pod| text(pod, "/metadata/namespace") == "kube-system")
            .map(|pod| text(pod, "/metadata/uid").to_string())
            .collect()
    };
    let before = pods(&cluster);
    follow(&mut cluster, folder.path(), &TREE, "git-token");
    let head = cluster.outside.remote.head("main").unwrap();
    for name in ["flux-system", "first", "second"] {
        let found = cluster.get(
            "Kustomization.kustomize.toolkit.fluxcd.io",
            "flux-system",
            name,
        );
        assert!(is_true(found, "Ready"), "{name}: {:#}", found["status"]);
        assert_eq!(
            text(found, "/status/lastAppliedRevision"),
            format!("main@sha1:{head}")
        );
        assert_eq!(
            found["status"]["observedGeneration"],
            found["metadata"]["generation"]
        );
    }
    assert_eq!(
        cluster.get("ConfigMap", "default", "made")["data"]["who"],
        "one 1"
    );
    let release = cluster.get(
        "HelmRelease.helm.toolkit.fluxcd.io",
        "kube-system",
        "coredns",
    );
    assert!(is_true(release, "Ready"), "{:#}", release["status"]);
    assert_eq!(
        helm::last(&cluster.objects, "kube-system", "coredns")
            .unwrap()
            .version,
        2
    );
    assert_eq!(pods(&cluster), before, "adoption restarts nothing");
}

#[test]
fn what_leaves_the_tree_is_pruned_and_what_cannot_be_built_keeps_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::with_network("one", 1);
    follow(&mut cluster, folder.path(), &TREE, "git-token");
    push(
        &cluster.outside.remote,
        &[(
            "tree/first/made.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: other, namespace: default }\n",
        )],
    );
    cluster.after(10 * MINUTE);
    assert!(
        cluster
            .objects
            .get("ConfigMap", "default", "made")
            .is_none()
    );
    assert!(
        cluster
            .objects
            .get("ConfigMap", "default", "other")
            .is_some()
    );
    let good = cluster.outside.remote.head("main").unwrap();
    push(
        &cluster.outside.remote,
        &[("tree/first/kustomization.yaml", "resources: [none.yaml]\n")],
    );
    cluster.after(5 * MINUTE);
    let first = cluster.get(
        "Kustomization.kustomize.toolkit.fluxcd.io",
        "flux-system",
        "first",
    );
    assert_eq!(condition(first, "Ready").unwrap()["reason"], "BuildFailed");
    assert_eq!(
        condition(first, "Reconciling").unwrap()["reason"],
        "ProgressingWithRetry"
    );
    assert_eq!(
        text(first, "/status/lastAppliedRevision"),
        format!("main@sha1:{good}")
    );
    let second = cluster.get(
        "Kustomization.kustomize.toolkit.fluxcd.io",
        "flux-system",
        "second",
    );
    assert_eq!(
        condition(second, "Ready").unwrap()["reason"],
        "DependencyNotReady"
    );
}

#[test]
fn a_wrong_token_for_git_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::with_network("one", 1);
    follow(&mut cluster, folder.path(), &TREE, "wrong");
    let source = cluster.get(
        "GitRepository.source.toolkit.fluxcd.io",
        "flux-system",
        "flux-system",
    );
    let ready = condition(source, "Ready").unwrap();
    assert_eq!(ready["reason"], "GitOperationFailed");
    assert!(text(ready, "/message").contains("authentication required"));
}

fn secret_store(cluster: &mut Cluster, token: &str) {
    cluster.yaml("apiVersion: v1\nkind: Namespace\nmetadata: { name: external-secrets }\n");
    cluster
        .install(
            "external-secrets",
            "external-secrets",
            "oci://ghcr.io/external-secrets/charts/external-secrets",
            "0.20.3",
            &json!({}),
        )
        .unwrap();
    cluster.after(2 * MINUTE);
    cluster.apply(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "connect", "namespace": "external-secrets" }, "stringData": { "token": token } }));
    cluster.yaml("apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: { name: onepassword }\nspec: { provider: { onepassword: { connectHost: 'http://connect', vaults: { Infra: 1 }, auth: { secretRef: { connectTokenSecretRef: { name: connect, namespace: external-secrets, key: token } } } } } }\n---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: { name: dns }\nspec: { secretStoreRef: { kind: ClusterSecretStore, name: onepassword }, target: { name: dns }, data: [{ secretKey: api_token, remoteRef: { key: cloudflare, property: api_token } }] }\n");
    cluster.after(MINUTE);
}

#[test]
fn secrets_come_from_the_vaults_through_a_store_with_the_right_token() {
    let mut cluster = Cluster::with_network("one", 1);
    secret_store(&mut cluster, "connect-token");
    assert!(cluster.ready("ExternalSecret.external-secrets.io", "default", "dns"));
    assert_eq!(
        cluster.get("Secret", "default", "dns")["data"]["api_token"],
        STANDARD.encode("dns-token")
    );
    let mut cluster = Cluster::with_network("one", 1);
    secret_store(&mut cluster, "wrong");
    assert!(!cluster.ready("ClusterSecretStore.external-secrets.io", "", "onepassword"));
    assert!(cluster.objects.get("Secret", "default", "dns").is_none());
}

#[test]
fn a_cluster_that_was_stored_goes_on_where_it_was() {
    let mut cluster = Cluster::new("one", 64_512);
    cluster.cilium_soon();
    let stored = serde_json::to_string(&cluster.objects).unwrap();
    let mut again = Cluster {
        objects: serde_json::from_str(&stored).unwrap(),
        outside: Cluster::new("one", 64_512).outside,
    };
    assert_eq!(again.objects, cluster.objects);
    for one in [&mut cluster, &mut again] {
        one.after(5 * MINUTE);
    }
    assert_eq!(again.objects, cluster.objects);
    assert_eq!(again.ready_nodes(), 3);
}

impl Cluster {
    fn cilium_soon(&mut self) {
        self.gateway_definitions();
        self.cilium("one", 1);
    }
}
