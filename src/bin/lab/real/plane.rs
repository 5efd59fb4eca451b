//! One real control plane: etcd, API server, controller manager, scheduler, and the kubelets' stand-in, for one cluster of the world.
//!
//! It is there as long as any machine has data of the cluster's etcd, and its data are gone with those. The keys are the machines' own, so
//! a kubeconfig that a node hands out opens it. Whether a machine answers is not its business: the proxy asks the world.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::api::Api;
use super::keeper::{Shared, pause};
use super::node::{self, Kubelet};
use super::program::{Running, Start};
use super::{agent, folder, tool};
use crate::facts::Facts;
use crate::fault::Kind;
use crate::kube::{Entry, Kubeconfig};
use crate::pki;
use crate::world::{KubeNode, World};

/// How often a kubelet renews its lease.
const RENEWAL: Duration = Duration::from_secs(3);
/// A program that ends sooner has not found its port free, or worse.
const SHORT: Duration = Duration::from_secs(3);

/// Flux's controllers that are real.
const CONTROLLERS: [&str; 2] = ["source-controller", "kustomize-controller"];

/// The ports of a control plane, all on loopback.
#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    peer: u16,
    server: u16,
    kubelet: u16,
}

/// A control plane.
#[derive(Debug)]
pub(crate) struct Plane {
    index: usize,
    shared: Arc<Shared>,
    /// Its folder, seen from the keeper's.
    name: String,
    folder: PathBuf,
    api: Api,
    ports: Option<Ports>,
    running: BTreeMap<&'static str, Running>,
    /// Programs that ended soon after their start, in a row.
    failures: u32,
    rest_until: Option<Instant>,
    /// What was last told of each node.
    told: BTreeMap<String, Kubelet>,
    renewed: Option<Instant>,
}

impl Plane {
    /// Returns the control plane of a cluster; nothing of it runs yet.
    pub(crate) fn new(index: usize, shared: Arc<Shared>) -> Self {
        let name = format!("cluster-{index}");
        Self {
            index,
            folder: folder(&shared.world).join(&name),
            api: Api {
                socket: PathBuf::from(&name).join("api.sock"),
            },
            shared,
            name,
            ports: None,
            running: BTreeMap::new(),
            failures: 0,
            rest_until: None,
            told: BTreeMap::new(),
            renewed: None,
        }
    }

    /// Runs until the keeper ends.
    pub(crate) fn run(mut self) {
        loop {
            let world = self.shared.world();
            let done = if world.is_alive(self.index) {
                self.keep(&world)
            } else {
                self.forget()
            };
            if let Err(error) = done {
                complain(&self.name, &error.to_string());
                self.rest_until = Some(Instant::now() + Duration::from_secs(1));
            }
            pause(Duration::from_millis(250));
        }
    }

    /// Ends everything, and its data with it.
    fn forget(&mut self) -> io::Result<()> {
        self.end();
        self.told.clear();
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }

    fn end(&mut self) {
        self.announce(None);
        for (_, mut running) in std::mem::take(&mut self.running) {
            running.end();
        }
        self.ports = None;
    }

    /// Says where the API server listens.
    fn announce(&self, server: Option<u16>) {
        let mut servers = self
            .shared
            .servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = match server {
            Some(port) => servers.insert(self.index, port),
            None => servers.remove(&self.index),
        };
        if before == server {
            return;
        }
        let shown: BTreeMap<String, u16> = servers
            .iter()
            .map(|(index, port)| (index.to_string(), *port))
            .collect();
        // For `lab show` only.
        fs::write("servers.json", json!(shown).to_string()).ok();
    }

    fn keep(&mut self, world: &World) -> io::Result<()> {
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let Some(facts) = facts(world, self.index) else {
            return Ok(());
        };
        let ports = match self.ports {
            Some(ports) => ports,
            None => self.prepare(&facts, world)?,
        };
        self.watch();
        for (name, start) in self.first(ports, &facts)? {
            self.start(name, &start)?;
        }
        self.announce(Some(ports.server));
        if !self.api.get("/readyz").is_ok_and(|said| said.good()) {
            return Ok(());
        }
        for (name, start) in self.second(ports, &facts, world) {
            self.start(name, &start)?;
        }
        self.kubelets(world, ports)?;
        self.controllers(world)
    }

    /// Looks after those who have ended; ports may have been taken by others since they were chosen.
    fn watch(&mut self) {
        let mut ended = Vec::new();
        for (name, running) in &mut self.running {
            if !running.runs() {
                ended.push((*name, running.age()));
            }
        }
        for (name, age) in ended {
            self.running.remove(name);
            complain(
                &self.name,
                &format!(
                    "{name} has ended after {} ms; it is started again",
                    age.as_millis()
                ),
            );
            self.rest_until = Some(Instant::now() + Duration::from_millis(500));
            self.failures = if age < SHORT { self.failures + 1 } else { 0 };
        }
        if self.failures >= 3 {
            self.failures = 0;
            self.end();
        }
    }

    fn start(&mut self, name: &'static str, start: &Start) -> io::Result<()> {
        if self.ports.is_none() || self.running.contains_key(name) {
            return Ok(());
        }
        if name == "api" {
            fs::remove_file(&self.api.socket).ok();
        }
        let running = start.start(&folder(&self.shared.world))?;
        self.running.insert(name, running);
        Ok(())
    }

    /// Chooses ports and writes keys, certificates and settings.
    fn prepare(&mut self, facts: &Facts, world: &World) -> io::Result<Ports> {
        fs::create_dir_all(&self.folder)?;
        // All are held until all are chosen, so that they differ.
        let held: Vec<TcpListener> = (0..4)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<io::Result<_>>()?;
        let numbers: Vec<u16> = held
            .iter()
            .map(|one| one.local_addr().map(|address| address.port()))
            .collect::<io::Result<_>>()?;
        let ports = Ports {
            etcd: numbers[0],
            peer: numbers[1],
            server: numbers[2],
            kubelet: numbers[3],
        };
        let (ca, key) = (&facts.kube_ca, &facts.kube_ca_key);
        let names = names(world, facts);
        let issue = |name: &str, names: &[String]| {
            pki::issue_server(ca, key, name, names, 365).map_err(io::Error::other)
        };
        let (server, server_key) = issue("kube-apiserver", &names)?;
        let loopback = ["127.0.0.1", "localhost"].map(str::to_string);
        let (kubelet, kubelet_key) = issue("kubelet", &loopback)?;
        for (file, value) in [
            ("ca.crt", ca),
            ("ca.key", key),
            ("server.crt", &server),
            ("server.key", &server_key),
            ("kubelet.crt", &kubelet),
            ("kubelet.key", &kubelet_key),
            ("accounts.key", &facts.account_key),
        ] {
            let text = STANDARD.decode(value).map_err(io::Error::other)?;
            self.write(file, &text)?;
        }
        let (crt, key) =
            pki::issue_client(ca, key, "lab", "system:masters", 365).map_err(io::Error::other)?;
        let entry = Entry {
            cluster: facts.cluster.clone(),
            server: format!("https://127.0.0.1:{}", ports.server),
            ca: ca.clone(),
            crt,
            key,
        };
        self.write("kubeconfig", Kubeconfig::of(&entry).to_yaml().as_bytes())?;
        self.write("kwok.yaml", self.kwok().as_bytes())?;
        let programs = folder(&self.shared.world).join("pods");
        fs::create_dir_all(&programs)?;
        if !programs.join("cilium").exists() {
            symlink(std::env::current_exe()?, programs.join("cilium"))?;
        }
        self.ports = Some(ports);
        self.told.clear();
        Ok(ports)
    }

    fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(self.folder.join(name))?;
        file.write_all(text)
    }

    /// Nodes are the lab's own business; pods are played as kwok does.
    fn kwok(&self) -> String {
        let never = json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": { "name": "nodes-are-told-by-the-lab" },
            "spec": {
                "resourceRef": { "apiGroup": "v1", "kind": "Node" },
                "selector": { "matchLabels": { "lab/never": "true" } },
                "next": { "statusTemplate": "phase: Running" },
            },
        });
        let exec = json!({
            "apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterExec", "metadata": { "name": "all" },
            "spec": { "execs": [{ "local": {
                "workDir": self.folder,
                "envs": [{ "name": agent::ANSWERS, "value": self.path("agent.json") }],
            } }] },
        });
        format!("{never}\n---\n{exec}\n")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn program(&self, name: &str, argv: &[String]) -> Start {
        Start {
            program: self.shared.setup.tools.join(name),
            argv: argv.to_vec(),
            // Whatever one of them would call outside ends at the proxy.
            env: tool::surroundings(&self.shared.world, self.shared.proxy, Some(self.index)),
            log: folder(&self.shared.world)
                .join("log")
                .join(format!("{}-{name}.log", self.name)),
        }
    }

    /// What comes first: etcd, the API server, and the lab's own way to it.
    fn first(&self, ports: Ports, facts: &Facts) -> io::Result<Vec<(&'static str, Start)>> {
        let etcd = format!("http://127.0.0.1:{}", ports.etcd);
        let peer = format!("http://127.0.0.1:{}", ports.peer);
        let etcd_words = words(&[
            ("--data-dir", &self.path("etcd")),
            // Nothing here must outlive the machine.
            ("--unsafe-no-fsync", "true"),
            ("--listen-client-urls", &etcd),
            ("--advertise-client-urls", &etcd),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
            ("--log-level", "warn"),
        ]);
        let mut server = words(&[
            ("--etcd-servers", &etcd),
            ("--bind-address", "127.0.0.1"),
            ("--secure-port", &ports.server.to_string()),
            ("--advertise-address", &self.advertised()),
            ("--tls-cert-file", &self.path("server.crt")),
            ("--tls-private-key-file", &self.path("server.key")),
            ("--client-ca-file", &self.path("ca.crt")),
            ("--service-account-key-file", &self.path("accounts.key")),
            (
                "--service-account-signing-key-file",
                &self.path("accounts.key"),
            ),
            ("--service-account-issuer", &facts.endpoint),
            ("--service-cluster-ip-range", &services(facts)),
            ("--authorization-mode", "Node,RBAC"),
            ("--allow-privileged", "true"),
            // The kubelets' stand-in listens on loopback, not where the nodes are.
            ("--kubelet-preferred-address-types", "InternalDNS"),
            ("--profiling", "false"),
        ]);
        server.extend(
            facts
                .api_args
                .iter()
                .map(|(name, value)| format!("--{name}={value}")),
        );
        if !facts.admission.is_empty() {
            let file = "admission.json";
            let plugins: Value = serde_json::from_str(&facts.admission)?;
            let text = json!({
                "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins,
            });
            self.write(file, text.to_string().as_bytes())?;
            server.push(format!(
                "--admission-control-config-file={}",
                self.path(file)
            ));
        }
        let way = words(&[
            ("--kubeconfig", &self.path("kubeconfig")),
            ("--unix-socket", &self.api.socket.to_string_lossy()),
        ]);
        let way = [vec!["proxy".to_string()], way].concat();
        Ok(vec![
            ("etcd", self.program("etcd", &etcd_words)),
            ("kube-apiserver", self.program("kube-apiserver", &server)),
            ("api", self.program("kubectl", &way)),
        ])
    }

    /// What can only live with an API server.
    fn second(&self, ports: Ports, facts: &Facts, world: &World) -> Vec<(&'static str, Start)> {
        let kubeconfig = self.path("kubeconfig");
        // A node is missed after fifty seconds of the lab's time, but not before this machine can have renewed a lease.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 10 and 50"
        )]
        let grace = (50.0 / world.speed).clamp(12.0, 50.0) as u64;
        let pods = facts
            .pod_subnets
            .first()
            .cloned()
            .unwrap_or_else(|| "10.244.0.0/16".to_string());
        let manager = words(&[
            ("--kubeconfig", &kubeconfig),
            ("--leader-elect", "false"),
            ("--secure-port", "0"),
            ("--root-ca-file", &self.path("ca.crt")),
            ("--cluster-signing-cert-file", &self.path("ca.crt")),
            ("--cluster-signing-key-file", &self.path("ca.key")),
            (
                "--service-account-private-key-file",
                &self.path("accounts.key"),
            ),
            ("--use-service-account-credentials", "true"),
            ("--allocate-node-cidrs", "true"),
            ("--cluster-cidr", &pods),
            ("--service-cluster-ip-range", &services(facts)),
            ("--node-monitor-grace-period", &format!("{grace}s")),
        ]);
        let scheduler = words(&[
            ("--kubeconfig", &kubeconfig),
            ("--leader-elect", "false"),
            ("--secure-port", "0"),
        ]);
        let kwok = words(&[
            ("--kubeconfig", &kubeconfig),
            ("--config", &self.path("kwok.yaml")),
            ("--manage-all-nodes", "true"),
            // The lab renews the leases, as far as a machine lives.
            ("--node-lease-duration-seconds", "0"),
            ("--cidr", &pods),
            ("--node-ip", "127.0.0.1"),
            ("--node-port", &ports.kubelet.to_string()),
            ("--server-address", &format!("127.0.0.1:{}", ports.kubelet)),
            ("--tls-cert-file", &self.path("kubelet.crt")),
            ("--tls-private-key-file", &self.path("kubelet.key")),
        ]);
        vec![
            (
                "kube-controller-manager",
                self.program("kube-controller-manager", &manager),
            ),
            ("kube-scheduler", self.program("kube-scheduler", &scheduler)),
            (
                "kwok",
                with_programs(self.program("kwok", &kwok), &self.shared),
            ),
        ]
    }

    /// Flux's real controllers run where their Deployments are ready, and end with these.
    fn controllers(&mut self, world: &World) -> io::Result<()> {
        for name in CONTROLLERS {
            let path = format!("/apis/apps/v1/namespaces/flux-system/deployments/{name}");
            let found = self.api.get(&path)?;
            let wanted = found.good() && found.json()["status"]["readyReplicas"].as_u64() > Some(0);
            if wanted && !self.running.contains_key(name) {
                let start = self.controller(name, world)?;
                self.start(name, &start)?;
            } else if !wanted && let Some(mut running) = self.running.remove(name) {
                running.end();
            }
        }
        Ok(())
    }

    fn controller(&self, name: &str, world: &World) -> io::Result<Start> {
        let own = self.path(name);
        let port = self.kept_port(name)?;
        fs::create_dir_all(self.folder.join(name).join("tmp"))?;
        let mut argv = words(&[
            ("--metrics-addr", "0"),
            ("--health-addr", "127.0.0.1:0"),
            ("--events-addr", ""),
            ("--enable-leader-election", "false"),
            ("--watch-all-namespaces", "true"),
        ]);
        if name == "source-controller" {
            let address = format!("127.0.0.1:{port}");
            argv.extend(words(&[
                ("--storage-path", &own),
                ("--storage-addr", &address),
                ("--storage-adv-addr", &address),
            ]));
        } else {
            // Half a minute of the lab's time, as in a real cluster.
            let seconds = (30.0 / world.speed).max(1.0);
            argv.extend(words(&[(
                "--requeue-dependency",
                &format!("{seconds:.1}s"),
            )]));
        }
        let mut start = self.program(name, &argv);
        start.env.extend(
            [
                ("KUBECONFIG", self.path("kubeconfig")),
                ("RUNTIME_NAMESPACE", "flux-system".to_string()),
                ("HOME", own.clone()),
                ("TMPDIR", format!("{own}/tmp")),
            ]
            .map(|(key, value)| (key.to_string(), value)),
        );
        Ok(start)
    }

    /// Returns the port that a controller had before, if it is free, or another one: what it has stored is known to others by its address.
    fn kept_port(&self, name: &str) -> io::Result<u16> {
        let file = self.folder.join(format!("{name}.port"));
        let known = fs::read_to_string(&file).ok();
        let known = known.and_then(|text| text.trim().parse::<u16>().ok());
        let free = known.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let listener = free.map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok)?;
        let port = listener.local_addr()?.port();
        fs::write(file, port.to_string())?;
        Ok(port)
    }

    /// The address that the cluster's own Service leads to: data, never called by anybody here.
    fn advertised(&self) -> String {
        let world = self.shared.world();
        world.clusters[self.index].founder.clone()
    }

    /// Plays the kubelets: they register, report, and renew their leases, or fall silent.
    fn kubelets(&mut self, world: &World, ports: Ports) -> io::Result<()> {
        let nodes = &world.clusters[self.index].kube_nodes;
        if nodes.is_empty() {
            return Ok(());
        }
        let networked = self.networked()?;
        let renews = self
            .renewed
            .is_none_or(|renewed| renewed.elapsed() > RENEWAL);
        if renews {
            self.renewed = Some(Instant::now());
        }
        for known in nodes {
            let path = format!("/api/v1/nodes/{}", known.name);
            let plugged = !world.suffers(Kind::CniMissing, &known.ip);
            let kubelet = Kubelet::of(world, known, plugged && networked.contains(&known.name));
            if !self.told.contains_key(&known.name) {
                self.tell(&path, "kubelet", &node::object(known))?;
            }
            if kubelet != Kubelet::Silent && (renews || !self.told.contains_key(&known.name)) {
                let path = format!(
                    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{}",
                    known.name
                );
                self.tell(&path, "kubelet", &node::lease(known))?;
            }
            if self.told.get(&known.name) != Some(&kubelet) {
                self.report(&path, known, kubelet, ports)?;
                self.told.insert(known.name.clone(), kubelet);
            }
        }
        Ok(())
    }

    fn report(
        &self,
        path: &str,
        known: &KubeNode,
        kubelet: Kubelet,
        ports: Ports,
    ) -> io::Result<()> {
        let status = node::status(known, kubelet, ports.kubelet);
        self.tell(&format!("{path}/status"), "kubelet", &status)
    }

    fn tell(&self, path: &str, manager: &str, object: &Value) -> io::Result<()> {
        let said = self.api.apply(path, manager, object)?;
        if said.good() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{path}: {} {}",
            said.status,
            String::from_utf8_lossy(&said.body).trim()
        )))
    }

    /// Returns the nodes on which a CNI runs.
    fn networked(&self) -> io::Result<BTreeSet<String>> {
        let said = self
            .api
            .get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium")?;
        let list = said.json();
        let pods = list["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(pods
            .iter()
            .filter(|pod| {
                let conditions = pod["status"]["conditions"].as_array();
                conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            })
            .filter_map(|pod| pod["spec"]["nodeName"].as_str().map(ToString::to_string))
            .collect())
    }
}

/// What is executed in pods is found among the lab's programs.
fn with_programs(mut start: Start, shared: &Shared) -> Start {
    let own = folder(&shared.world).join("pods");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", own.display());
    start.env.push(("PATH".to_string(), path));
    start
}

/// Returns the facts that the machines of a cluster agree in.
fn facts(world: &World, index: usize) -> Option<Facts> {
    world
        .nodes
        .values()
        .filter(|node| node.data == Some(index))
        .find_map(|node| node.facts())
        .filter(|facts| !facts.kube_ca_key.is_empty())
        .cloned()
}

fn services(facts: &Facts) -> String {
    facts
        .service_subnets
        .first()
        .cloned()
        .unwrap_or_else(|| "10.96.0.0/12".to_string())
}

/// Returns all names under which the API servers of a cluster are called.
fn names(world: &World, facts: &Facts) -> Vec<String> {
    let mut names: BTreeSet<String> = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_string)
    .into();
    names.extend(facts.api_sans.iter().cloned());
    let host = facts.endpoint.split("://").last().unwrap_or_default();
    names.insert(
        host.split([':', '/'])
            .next()
            .unwrap_or_default()
            .to_string(),
    );
    // Every machine may become one of the cluster's later.
    names.extend(world.nodes.keys().cloned());
    let first = services(facts).parse::<ipnet::Ipv4Net>().ok();
    names.extend(
        first
            .and_then(|net| net.hosts().next())
            .map(|ip| IpAddr::V4(ip).to_string()),
    );
    names.remove("");
    names.into_iter().collect()
}

/// Returns `--flag=value` words.
fn words(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(flag, value)| format!("{flag}={value}"))
        .collect()
}

/// Writes a line into the keeper's log.
pub(super) fn complain(name: &str, what: &str) {
    let line = format!(
        "{} {name}: {what}\n",
        crate::clock::rfc3339(crate::clock::wall_ms())
    );
    io::stderr().lock().write_all(line.as_bytes()).ok();
}
