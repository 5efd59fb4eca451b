//! Whom a tool of Kubernetes talks to: the kubeconfig's context, and the node whose API server answers.
//!
//! Each tool has words of its own for what goes wrong here; the reasons, and Go's sentences in them, are the same for all.

use std::env;
use std::fs;
use std::net::IpAddr;

use serde_json::Value;

use crate::answer::Answer;
use crate::kube::Kubeconfig;
use crate::kubernetes::{Objects, Outside};
use crate::room::{Reply, Room};
use crate::world::{Port, World};

/// A server, and who asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// The server's address, as in the kubeconfig.
    pub(crate) url: String,
    /// The namespace of the context.
    pub(crate) namespace: String,
    host: String,
    ca: String,
    crt: String,
}

/// Why a server does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreachable {
    /// Go's sentence: `dial tcp …: connect: connection refused`.
    pub(crate) why: String,
    /// How long it takes until that is clear, in milliseconds.
    pub(crate) after: u64,
    /// Whether the server answered, and refused who asks.
    pub(crate) refused: bool,
}

impl Unreachable {
    fn new(after: u64, why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            after,
            refused: false,
        }
    }

    /// Returns the sentence about a request: `Get "https://…/version": dial tcp …`.
    pub(crate) fn of(&self, client: &Client, path: &str) -> String {
        if self.refused {
            self.why.clone()
        } else {
            format!("Get \"{}{path}\": {}", client.url, self.why)
        }
    }
}

impl Client {
    /// Reads the kubeconfig; an error is client-go's sentence.
    pub(crate) fn of(kubeconfig: Option<&str>, context: Option<&str>) -> Result<Self, String> {
        let given = kubeconfig.filter(|path| !path.is_empty());
        let path = given
            .map(ToString::to_string)
            .or_else(|| env::var("KUBECONFIG").ok().filter(|path| !path.is_empty()))
            .unwrap_or_else(|| format!("{}/.kube/config", env::var("HOME").unwrap_or_default()));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if given.is_some() => {
                return Err(format!("stat {path}: no such file or directory"));
            }
            Err(_) => String::new(),
        };
        let config = Kubeconfig::read(&text)
            .map_err(|why| format!("error loading config file \"{path}\": {why}"))?;
        Self::within(&config, context)
    }

    fn within(config: &Kubeconfig, context: Option<&str>) -> Result<Self, String> {
        let name = context.unwrap_or_else(|| config.current());
        let found = config.get("contexts", name);
        if found.is_none() && !name.is_empty() {
            return Err(format!("context \"{name}\" does not exist"));
        }
        let word = |value: Option<&Value>, key: &str| {
            let word = value.and_then(|value| value[key].as_str());
            word.unwrap_or_default().to_string()
        };
        let cluster = config.get("clusters", &word(found, "cluster"));
        let user = config.get("users", &word(found, "user"));
        let url = Some(word(cluster, "server")).filter(|url| !url.is_empty());
        let url = url.unwrap_or_else(|| "http://localhost:8080".to_string());
        let authority = url.split("://").last().unwrap_or_default();
        let host = authority.split(['/', ':']).next().unwrap_or_default();
        Ok(Self {
            host: host.to_string(),
            namespace: word(found, "namespace"),
            ca: word(cluster, "certificate-authority-data"),
            crt: word(user, "client-certificate-data"),
            url: url.trim_end_matches('/').to_string(),
        })
    }

    /// Connects; returns which cluster answers.
    pub(crate) fn connect(&self, world: &mut World) -> Result<usize, Unreachable> {
        let by_number = world.nodes.contains_key(&self.host) || self.host.parse::<IpAddr>().is_ok();
        let addresses = if by_number {
            vec![self.host.clone()]
        } else if self.host == "localhost" {
            vec!["127.0.0.1".to_string()]
        } else {
            world.resolve(&self.host)
        };
        let Some(first) = addresses.first() else {
            let why = format!(
                "dial tcp: lookup {} on {}:53: no such host",
                self.host, world.site.resolver
            );
            return Err(Unreachable::new(50, why));
        };
        // A client tries one address after the other until one accepts.
        let Some(ip) = addresses.iter().find(|ip| world.api_answers(ip)).cloned() else {
            let machine = world.nodes.get(first);
            let absent = machine.is_none_or(|machine| machine.port() == Port::Absent);
            if absent && addresses.len() == 1 && first != "127.0.0.1" {
                let why = format!("dial tcp {first}:6443: connect: no route to host");
                return Err(Unreachable::new(3_000, why));
            }
            let port = if first == "127.0.0.1" { 8_080 } else { 6_443 };
            let why = format!("dial tcp {first}:{port}: connect: connection refused");
            return Err(Unreachable::new(20, why));
        };
        let facts = world.nodes.get(&ip).and_then(crate::world::Node::facts);
        let ca = facts.map(|facts| facts.kube_ca.clone()).unwrap_or_default();
        if ca.trim() != self.ca.trim() {
            let why =
                "tls: failed to verify certificate: x509: certificate signed by unknown authority";
            return Err(Unreachable::new(20, why));
        }
        let cluster = world.kubernetes_of(&ip);
        let Some(cluster) = cluster.filter(|_| !self.crt.is_empty()) else {
            return Err(Unreachable {
                refused: true,
                ..Unreachable::new(
                    20,
                    "the server has asked for the client to provide credentials",
                )
            });
        };
        Ok(cluster)
    }

    /// Plays a call that looks at the objects of a cluster once, or again and again.
    pub(crate) fn ask(
        &self,
        latency: u64,
        tell: impl Fn(&Unreachable) -> Answer,
        mut question: impl FnMut(&Objects, &mut Outside) -> Reply,
    ) -> Answer {
        let room = match Room::open() {
            Ok(room) => room,
            Err(answer) => return answer,
        };
        room.play(latency, |world| match self.connect(world) {
            Err(trouble) => Reply::After(trouble.after, tell(&trouble)),
            Ok(cluster) => world.ask(cluster, &mut question),
        })
    }

    /// Plays a call that changes the objects of a cluster, once or in several steps.
    pub(crate) fn change(
        &self,
        latency: u64,
        tell: impl Fn(&Unreachable) -> Answer,
        mut work: impl FnMut(&mut Objects, &mut Outside) -> Reply,
    ) -> Answer {
        let room = match Room::open() {
            Ok(room) => room,
            Err(answer) => return answer,
        };
        room.play(latency, |world| match self.connect(world) {
            Err(trouble) => Reply::After(trouble.after, tell(&trouble)),
            Ok(cluster) => world.through_api(cluster, &mut work),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Client;
    use crate::kube::{Entry, Kubeconfig};

    fn config() -> Kubeconfig {
        Kubeconfig::of(&Entry {
            cluster: "infra".to_string(),
            server: "https://infra.example.org:6443".to_string(),
            ca: "Y2E=".to_string(),
            crt: "Y3J0".to_string(),
            key: "a2V5".to_string(),
        })
    }

    #[test]
    fn a_context_leads_to_a_server_and_an_unknown_one_is_named() {
        let client = Client::within(&config(), Some("admin@infra")).unwrap();
        assert_eq!(client.host, "infra.example.org");
        assert_eq!(client, Client::within(&config(), None).unwrap());
        assert_eq!(
            Client::within(&config(), Some("nope")).unwrap_err(),
            "context \"nope\" does not exist"
        );
    }

    #[test]
    fn without_a_kubeconfig_it_is_the_local_port() {
        let client = Client::within(&Kubeconfig::read("").unwrap(), None).unwrap();
        assert_eq!(client.url, "http://localhost:8080");
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        assert_eq!(
            Client::of(Some("/nonexistent/config"), None).unwrap_err(),
            "stat /nonexistent/config: no such file or directory"
        );
    }
}
