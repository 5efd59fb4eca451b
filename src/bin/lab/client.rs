//! The way from a kubeconfig to a cluster, as every client of Kubernetes goes it.
//!
//! Which nodes a server's name stands for is the world's DNS; an API server is a node's, and answers when that node's etcd is healthy and its
//! pod has started. What a tool says about a way that does not lead there is the tool's own.

use crate::kube::Kubeconfig;
use crate::world::{Port, World};

/// Whom a call talks to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// `https://name:port`.
    pub(crate) url: String,
    /// The namespace of the context; `default` if it names none.
    pub(crate) namespace: String,
    host: String,
    ca: String,
    crt: String,
}

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoWay {
    /// Nobody there: what the dialler says.
    Unreachable(String),
    /// Somebody there, but no server: what the dialler says.
    Refused(String),
    /// The server is another's: what TLS says.
    Untrusted(String),
    /// No certificate was shown.
    Unauthorized,
}

impl NoWay {
    /// Returns what the network said; empty if it had nothing to say.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Unreachable(why) | Self::Refused(why) | Self::Untrusted(why) => why,
            Self::Unauthorized => "the server has asked for the client to provide credentials",
        }
    }

    /// Returns how many milliseconds of lab time it takes to find that out.
    pub(crate) fn takes(&self) -> u64 {
        match self {
            Self::Unreachable(why) if why.ends_with("no route to host") => 3_000,
            Self::Unreachable(_) => 50,
            Self::Refused(_) | Self::Untrusted(_) | Self::Unauthorized => 20,
        }
    }
}

impl Server {
    /// Returns the server of a context (the current one if none is named); nothing if there is no such context.
    pub(crate) fn of(
        config: &Kubeconfig,
        context: Option<&str>,
        server: Option<&str>,
    ) -> Option<Self> {
        let name = context.unwrap_or_else(|| config.current());
        let found = config.get("contexts", name);
        if found.is_none() && (context.is_some() || !name.is_empty()) {
            return None;
        }
        let word = |value: Option<&serde_json::Value>, key: &str| {
            value
                .and_then(|value| value[key].as_str())
                .unwrap_or_default()
                .to_string()
        };
        let cluster = config.get("clusters", &word(found, "cluster"));
        let user = config.get("users", &word(found, "user"));
        let url = server.map_or_else(|| word(cluster, "server"), ToString::to_string);
        let url = if url.is_empty() {
            "http://localhost:8080".to_string()
        } else {
            url
        };
        let authority = url.split("://").last().unwrap_or_default();
        let host = authority.split(['/', ':']).next().unwrap_or_default();
        let namespace = Some(word(found, "namespace")).filter(|name| !name.is_empty());
        Some(Self {
            host: host.to_string(),
            namespace: namespace.unwrap_or_else(|| "default".to_string()),
            ca: word(cluster, "certificate-authority-data"),
            crt: word(user, "client-certificate-data"),
            url,
        })
    }

    /// Returns `name:port`.
    pub(crate) fn authority(&self) -> &str {
        let authority = self.url.split("://").last().unwrap_or_default();
        authority.trim_end_matches('/')
    }

    /// Goes the way; returns the cluster whose API answers.
    pub(crate) fn reach(&self, world: &mut World) -> Result<usize, NoWay> {
        let named =
            world.nodes.contains_key(&self.host) || self.host.parse::<std::net::IpAddr>().is_ok();
        let resolved = if named {
            vec![self.host.clone()]
        } else if self.host == "localhost" {
            vec!["127.0.0.1".to_string()]
        } else {
            world.resolve(&self.host)
        };
        let Some(first) = resolved.first().cloned() else {
            return Err(NoWay::Unreachable(format!(
                "dial tcp: lookup {} on {}:53: no such host",
                self.host, world.site.resolver
            )));
        };
        let stumbles = world.stumbles(&first);
        // A client tries one address after the other until one accepts.
        let open = resolved
            .iter()
            .find(|ip| world.api_answers(ip))
            .filter(|_| !stumbles);
        let Some(ip) = open else {
            let absent = world
                .nodes
                .get(&first)
                .is_none_or(|node| node.port() == Port::Absent)
                && first != "127.0.0.1";
            return Err(if absent && resolved.len() == 1 {
                NoWay::Unreachable(format!("dial tcp {first}:6443: connect: no route to host"))
            } else {
                NoWay::Refused(format!(
                    "dial tcp {first}:6443: connect: connection refused"
                ))
            });
        };
        let ca = world.nodes[ip]
            .facts()
            .map(|facts| facts.kube_ca.clone())
            .unwrap_or_default();
        if ca.trim() != self.ca.trim() {
            let why =
                "tls: failed to verify certificate: x509: certificate signed by unknown authority";
            return Err(NoWay::Untrusted(why.to_string()));
        }
        if self.crt.is_empty() {
            return Err(NoWay::Unauthorized);
        }
        // An API server that answers stands on an etcd.
        world.kubernetes_of(ip).ok_or(NoWay::Unauthorized)
    }
}
