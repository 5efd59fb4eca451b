//! How `talosctl` reaches a node: endpoints, nodes, certificates, and what goes wrong on the way.

use std::fmt::{self, Display, Formatter};

use super::talosconfig::{Context, Talosconfig};
use crate::answer::Answer;
use crate::chance;
use crate::cobra::Invocation;
use crate::fault::Kind;
use crate::room::Reply;
use crate::text::several;
use crate::world::{Port, World};

/// A gRPC status that is not OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rpc {
    code: &'static str,
    text: String,
}

impl Rpc {
    /// Returns a status.
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// Returns the status of a connection that was lost during the call.
    pub(crate) fn eof() -> Self {
        Self::new("Unavailable", "error reading from server: EOF")
    }

    fn connection(text: &str) -> Self {
        Self::new(
            "Unavailable",
            format!("connection error: desc = \"{text}\""),
        )
    }

    /// Returns the status of an address that nobody listens on.
    pub(crate) fn refused(ip: &str) -> Self {
        Self::dialing(ip, "connection refused")
    }

    fn dialing(ip: &str, why: &str) -> Self {
        Self::connection(&format!(
            "transport: Error while dialing: dial tcp {ip}:50000: connect: {why}"
        ))
    }

    fn handshake(why: &str) -> Self {
        Self::connection(&format!(
            "transport: authentication handshake failed: {why}"
        ))
    }
}

impl Display for Rpc {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rpc error: code = {} desc = {}", self.code, self.text)
    }
}

/// A status, and the time until it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Late {
    /// The status.
    pub(crate) rpc: Rpc,
    /// Milliseconds of lab time.
    pub(crate) after: u64,
}

/// Who calls whom.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoints: Vec<String>,
    /// The nodes as they were named.
    pub(crate) nodes: Vec<String>,
    credentials: Option<Context>,
}

/// A node that a call is for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name in answers; empty without a certificate.
    pub(crate) label: String,
    /// Its address, or why it cannot be reached.
    pub(crate) ip: Result<String, Rpc>,
}

impl Client {
    /// Reads flags and talosconfig.
    pub(crate) fn open(call: &Invocation) -> Result<Self, Answer> {
        if call.switch("insecure", false) {
            return Self::insecure(call);
        }
        let (config, _path) = Talosconfig::load(call)?;
        let endpoints = call.list("endpoints");
        let context = config.pick(call.flag("context"));
        let endpoints = match (&context, endpoints.is_empty()) {
            (Ok(context), true) => context.endpoints.clone(),
            (_, true) => Vec::new(),
            (_, false) => endpoints,
        };
        if endpoints.is_empty() {
            return Err(call.fail("error constructing client: failed to determine endpoints"));
        }
        let context = context.map_err(|why| {
            let head = "error constructing client: failed to create client connection: failed to resolve configuration context";
            call.fail(format!("{head}: {why}"))
        })?;
        let nodes = call.list("nodes");
        let nodes = if nodes.is_empty() {
            context.nodes.clone()
        } else {
            nodes
        };
        if nodes.is_empty() {
            return Err(call.fail(
                "nodes are not set for the command: please use `--nodes` flag or configuration file to set the nodes to run the command against",
            ));
        }
        Ok(Self {
            endpoints,
            nodes,
            credentials: Some(context),
        })
    }

    fn insecure(call: &Invocation) -> Result<Self, Answer> {
        let nodes = call.list("nodes");
        if nodes.is_empty() {
            return Err(call.fail("failed to determine endpoints"));
        }
        Ok(Self {
            endpoints: nodes.clone(),
            nodes,
            credentials: None,
        })
    }

    /// Refuses several nodes, where the command does.
    pub(crate) fn single(&self, call: &Invocation, name: &str) -> Result<(), Answer> {
        if self.nodes.len() > 1 {
            return Err(call.fail(format!(
                "command \"{name}\" is not supported with multiple nodes"
            )));
        }
        Ok(())
    }

    /// Returns whether no certificate is used.
    pub(crate) fn is_insecure(&self) -> bool {
        self.credentials.is_none()
    }

    /// Connects to one of the endpoints and finds the nodes behind it.
    pub(crate) fn reach(&self, world: &mut World, reads: bool) -> Result<Vec<Target>, Late> {
        let mut order: Vec<&String> = self.endpoints.iter().collect();
        let turn = world.calls;
        order.sort_by_key(|endpoint| {
            chance::mix(world.seed, &format!("endpoint {turn} {endpoint}"))
        });
        let mut last = None;
        for endpoint in order {
            match self.dial(world, endpoint, reads) {
                Ok(via) if self.is_insecure() => {
                    return Ok(vec![Target {
                        label: String::new(),
                        ip: Ok(via),
                    }]);
                }
                Ok(via) => {
                    return Ok(self
                        .nodes
                        .iter()
                        .map(|node| forward(world, &via, node))
                        .collect());
                }
                Err(late) => last = Some(late),
            }
        }
        Err(last.expect("there is at least one endpoint"))
    }

    /// Connects to an address as one's own endpoint.
    fn dial(&self, world: &mut World, endpoint: &str, reads: bool) -> Result<String, Late> {
        let soon = |rpc| Late { rpc, after: 20 };
        let (ip, named) = if world.nodes.contains_key(endpoint) {
            (endpoint.to_string(), None)
        } else if endpoint.parse::<std::net::IpAddr>().is_ok() {
            return Err(Late {
                rpc: Rpc::dialing(endpoint, "no route to host"),
                after: 3_000,
            });
        } else {
            let found = world.resolve(endpoint);
            let Some(ip) = found.first() else {
                return Err(soon(Rpc::new(
                    "Unavailable",
                    "name resolver error: produced zero addresses",
                )));
            };
            (ip.clone(), Some(endpoint))
        };
        if reads && world.stumbles(&ip) {
            return Err(soon(Rpc::refused(&ip)));
        }
        let Some(node) = world.nodes.get(&ip) else {
            return Err(Late {
                rpc: Rpc::dialing(&ip, "no route to host"),
                after: 3_000,
            });
        };
        match (node.port(), &self.credentials) {
            (Port::Absent, _) => Err(Late {
                rpc: Rpc::dialing(&ip, "no route to host"),
                after: 3_000,
            }),
            (Port::Closed, _) => Err(soon(Rpc::refused(&ip))),
            (Port::Maintenance, None) => Ok(ip),
            (Port::Maintenance, Some(_)) => Err(soon(Rpc::handshake(
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ))),
            (Port::Apid, None) => Err(soon(Rpc::connection(
                "error reading server preface: remote error: tls: certificate required",
            ))),
            (Port::Apid, Some(context)) => {
                let facts = node.facts();
                let ca = facts.map(|facts| facts.ca.clone()).unwrap_or_default();
                let sans = facts
                    .map(|facts| facts.cert_sans.clone())
                    .unwrap_or_default();
                let hostname = node.hostname();
                if context.ca.trim() != ca.trim() {
                    return Err(soon(Rpc::handshake(
                        "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \\\"x509: Ed25519 verification failure\\\" while trying to verify candidate authority certificate \\\"talos\\\")",
                    )));
                }
                if let Some(name) = named
                    && name != hostname
                    && !sans.iter().any(|san| san == name)
                {
                    return Err(soon(Rpc::handshake(&format!(
                        "tls: failed to verify certificate: x509: certificate is valid for {hostname}, not {name}"
                    ))));
                }
                if context.crt.is_empty() {
                    let text =
                        "error reading server preface: remote error: tls: certificate required";
                    return Err(soon(Rpc::connection(text)));
                }
                Ok(ip)
            }
        }
    }
}

/// Lets an endpoint pass a call on.
fn forward(world: &mut World, via: &str, node: &str) -> Target {
    let label = node.to_string();
    let ip = if world.nodes.contains_key(node) || node.parse::<std::net::IpAddr>().is_ok() {
        node.to_string()
    } else if node.contains(':') {
        let rpc = Rpc::new("Internal", format!("invalid target \"{node}\""));
        return Target {
            label,
            ip: Err(rpc),
        };
    } else {
        let named = world
            .nodes
            .iter()
            .find(|(_, known)| known.config.is_some() && known.hostname() == node);
        named.map_or_else(|| node.to_string(), |(ip, _)| ip.clone())
    };
    if ip == via {
        return Target { label, ip: Ok(ip) };
    }
    let forwards = world
        .nodes
        .get(via)
        .is_some_and(super::super::world::Node::is_control_plane);
    if !forwards {
        return Target {
            label,
            ip: Err(Rpc::new("PermissionDenied", "no request forwarding")),
        };
    }
    let ours = world
        .nodes
        .get(via)
        .and_then(|node| node.facts())
        .map(|facts| facts.ca.clone());
    let found = match world
        .nodes
        .get(&ip)
        .map(|node| (node.port(), node.facts().map(|facts| facts.ca.clone())))
    {
        None | Some((Port::Absent, _)) => Err(Rpc::dialing(&ip, "no route to host")),
        Some((Port::Closed, _)) => Err(Rpc::refused(&ip)),
        Some((Port::Apid, theirs)) if theirs == ours => Ok(ip),
        Some((Port::Apid | Port::Maintenance, _)) => Err(Rpc::handshake(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        )),
    };
    Target { label, ip: found }
}

/// What a unary call does with the nodes that fail while others answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partial {
    /// A warning; the rows of the others are shown.
    Warns,
    /// An error; nothing of the others is shown.
    Fails,
}

/// Makes a unary call: one call for all nodes. `ask` gives a node's part of stdout.
pub(crate) fn unary(
    world: &mut World,
    call: &Invocation,
    client: &Client,
    (prefix, partial): (&str, Partial),
    mut ask: impl FnMut(&mut World, &str, &Target) -> Result<String, Rpc>,
) -> Reply {
    let reads = partial == Partial::Warns;
    let targets = match client.reach(world, reads) {
        Ok(targets) => targets,
        Err(late) => return Reply::After(late.after, call.fail(format!("{prefix}{}", late.rpc))),
    };
    let (mut rows, mut errors) = (String::new(), Vec::new());
    let mut answered = false;
    for target in &targets {
        let result = target.ip.clone().and_then(|ip| ask(world, &ip, target));
        match result {
            Ok(text) => {
                rows.push_str(&text);
                answered = true;
            }
            Err(rpc) if target.label.is_empty() => errors.push(rpc.to_string()),
            Err(rpc) => errors.push(format!("{}: {rpc}", target.label)),
        }
    }
    let bare = client.is_insecure() && errors.len() == 1;
    let shown = if bare {
        format!("{}\n", errors[0])
    } else {
        several(&errors)
    };
    Reply::Done(if errors.is_empty() {
        Answer::out(rows)
    } else if partial == Partial::Warns && answered {
        Answer {
            stdout: rows.into_bytes(),
            stderr: format!("WARNING: {shown}\n"),
            code: 0,
        }
    } else if bare {
        call.fail(format!("{prefix}{}", errors[0]))
    } else {
        call.fail(format!("{prefix}{shown}"))
    })
}

/// Returns `Hang` if that fault fires for one of the nodes.
pub(crate) fn hangs(world: &mut World, client: &Client) -> bool {
    client
        .nodes
        .clone()
        .iter()
        .any(|node| world.fires(Kind::Hang, node))
}

#[cfg(test)]
mod tests {
    use super::{Client, Late};
    use crate::facts::Facts;
    use crate::site::Site;
    use crate::talosctl::talosconfig::Context;
    use crate::world::{Config, NewWorld, Phase, World};

    const ONE: &str = "10.25.11.11";
    const TWO: &str = "10.25.11.12";

    fn world() -> World {
        let mut world = World::build(NewWorld {
            name: "test".to_string(),
            seed: 1,
            speed: 1.0,
            created_ms: 0,
            site: Site::built_in(),
            faults: Vec::new(),
        })
        .unwrap();
        let facts = Facts {
            kind: "controlplane".to_string(),
            ca: "ours".to_string(),
            ..Facts::default()
        };
        let node = world.nodes.get_mut(ONE).unwrap();
        node.config = Some(Config {
            text: String::new(),
            facts,
            at_ms: 0,
        });
        node.phase = Phase::Up { since: 0 };
        world
    }

    fn client(endpoint: &str, node: &str, ca: Option<&str>) -> Client {
        let credentials = ca.map(|ca| Context {
            ca: ca.to_string(),
            crt: "crt".to_string(),
            ..Context::default()
        });
        Client {
            endpoints: vec![endpoint.to_string()],
            nodes: vec![node.to_string()],
            credentials,
        }
    }

    fn why(result: Result<Vec<super::Target>, Late>) -> String {
        result.unwrap_err().rpc.to_string()
    }

    #[test]
    fn certificates_tell_ours_foreign_fresh_and_configured_apart() {
        let mut world = world();
        let ours = client(ONE, ONE, Some("ours"))
            .reach(&mut world, true)
            .unwrap();
        assert_eq!(ours[0].ip.as_deref(), Ok(ONE));
        let foreign = why(client(ONE, ONE, Some("theirs")).reach(&mut world, true));
        assert!(foreign.contains("x509: Ed25519 verification failure"));
        let fresh = why(client(TWO, TWO, Some("ours")).reach(&mut world, true));
        assert!(fresh.ends_with("x509: certificate signed by unknown authority\""));
        let insecure = why(client(ONE, ONE, None).reach(&mut world, true));
        assert!(insecure.contains("tls: certificate required"));
        assert!(client(TWO, TWO, None).reach(&mut world, true).is_ok());
    }

    #[test]
    fn an_endpoint_passes_calls_on_only_to_its_own_kind() {
        let mut world = world();
        let targets = client(ONE, TWO, Some("ours"))
            .reach(&mut world, true)
            .unwrap();
        let rpc = targets[0].ip.clone().unwrap_err().to_string();
        assert!(rpc.contains("certificate signed by unknown authority"));
        world.switch_off(TWO, None).unwrap();
        let targets = client(ONE, TWO, Some("ours"))
            .reach(&mut world, true)
            .unwrap();
        assert!(
            targets[0]
                .ip
                .clone()
                .unwrap_err()
                .to_string()
                .contains("no route to host")
        );
    }

    #[test]
    fn what_nobody_listens_on_is_refused_or_has_no_route() {
        let mut world = world();
        world.nodes.get_mut(TWO).unwrap().phase = Phase::Installing { until: 9_000 };
        assert!(why(client(TWO, TWO, None).reach(&mut world, true)).contains("connection refused"));
        assert!(
            why(client("10.9.9.9", TWO, None).reach(&mut world, true)).contains("no route to host")
        );
        let unnamed = why(client("nope.example", TWO, None).reach(&mut world, true));
        assert_eq!(
            unnamed,
            "rpc error: code = Unavailable desc = name resolver error: produced zero addresses"
        );
    }
}
