//! The machines: an inventory of clusters and their nodes, with every field typed and checked.
//!
//! The file itself declares which fields a site, a cluster and a node have (`fields:`), so that the program knows no domain: a playbook for
//! Kubernetes nodes and one for anybody's own machines are the same to it. Lints are conditions that must hold for the data.

use std::path::Path;

use indexmap::IndexMap;
use minijinja::value::Value;
use serde_json::Value as Json;

use crate::document::{
    Diagnostic, Diagnostics, Fields, Key, Node as Written, Shape, Sources, Span,
};
use crate::kind::{Field, Kind};
use crate::template::names::{Checker, Known};
use crate::template::{self, Expr, Scope, Template, Templates};

/// All machines.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    site: Json,
    clusters: Vec<Cluster>,
    lints: Vec<Lint>,
}

/// A group of nodes that belong together.
#[derive(Debug, Clone)]
pub struct Cluster {
    name: String,
    facts: serde_json::Map<String, Json>,
    nodes: Vec<Node>,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    cluster: String,
    facts: serde_json::Map<String, Json>,
}

/// A condition that must hold for the data.
#[derive(Debug, Clone)]
struct Lint {
    that: Expr,
    say: Template,
    each: Option<Axis>,
}

/// What an iteration goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Every cluster.
    Clusters,
    /// Every node of every cluster.
    Nodes,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The node as templates see it.
    pub fn value(&self) -> Value {
        template::value(&self.json())
    }

    fn json(&self) -> Json {
        let mut out = self.facts.clone();
        out.insert("name".into(), self.name.clone().into());
        out.insert("cluster".into(), self.cluster.clone().into());
        out.insert(
            "key".into(),
            format!("{}/{}", self.cluster, self.name).into(),
        );
        out.into()
    }
}

impl Cluster {
    /// What tells it from all other clusters: a hash of everything that is said of it.
    pub fn identity(&self) -> String {
        let text = self.json().to_string();
        blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its nodes, in the order of the file.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The cluster as templates see it.
    pub fn value(&self) -> Value {
        template::value(&self.json())
    }

    fn json(&self) -> Json {
        let mut out = self.facts.clone();
        out.insert("name".into(), self.name.clone().into());
        out.insert("nodes".into(), self.nodes.iter().map(Node::json).collect());
        out.into()
    }
}

impl Inventory {
    /// All clusters, in the order of the file.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// All nodes of all clusters.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.clusters.iter().flat_map(|cluster| &cluster.nodes)
    }

    /// A cluster by its name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// A node by its name, its key, or any address or other text among its facts that is called `ip`.
    pub fn node(&self, word: &str) -> Option<&Node> {
        self.nodes().find(|node| {
            node.name == word
                || format!("{}/{}", node.cluster, node.name) == word
                || node.facts.get("ip").and_then(Json::as_str) == Some(word)
        })
    }

    /// The names that are in scope everywhere: `site` and `clusters`.
    pub fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        scope.set("site", template::value(&self.site));
        let clusters: IndexMap<&str, Json> = self
            .clusters
            .iter()
            .map(|cluster| (cluster.name.as_str(), cluster.json()))
            .collect();
        scope.set("clusters", template::value(&clusters));
        scope
    }

    /// Reads an inventory; everything wrong with it becomes a diagnostic.
    pub fn read(root: &Path, document: &Written, problems: &mut Diagnostics) -> Option<Self> {
        let mut fields = Fields::open(document, "an inventory", problems)?;
        let declared = fields.take("fields");
        let site = fields.take("site");
        let clusters = fields.map("clusters", problems);
        let lints = fields.list("lints", problems);
        fields.close(problems);

        let kinds = declared
            .map(|node| read_fields(node, problems))
            .unwrap_or_default();
        let site = match site {
            Some(node) => kinds.site.check(node, "site", root, problems),
            None => Json::Object(serde_json::Map::new()),
        };
        let mut inventory = Self {
            site,
            clusters: Vec::new(),
            lints: Vec::new(),
        };
        let mut seen: IndexMap<&str, (&str, Span)> = IndexMap::new();
        for (key, node) in clusters {
            if let Some(cluster) = read_cluster(root, key, node, &kinds, problems) {
                inventory.clusters.push(cluster);
            }
            for name in node_names(node) {
                match seen.insert(&name.text, (&key.text, name.span)) {
                    // Twice in one cluster is told of as a duplicate key.
                    Some((other, first)) if other != key.text => problems.push(
                        Diagnostic::at(
                            name.span,
                            format!("the node `{}` stands in {other} and in {}", name.text, key.text),
                        )
                        .also(first, "first given here")
                        .help("`node=NAME` must mean one machine: names are unique in the whole inventory"),
                    ),
                    Some(_) | None => {}
                }
            }
        }
        inventory.lints = lints
            .into_iter()
            .filter_map(|node| read_lint(node, problems))
            .collect();
        Some(inventory)
    }

    /// Asks every lint; what does not hold becomes a diagnostic.
    pub fn lint(&self, templates: &Templates, sources: &Sources, problems: &mut Diagnostics) {
        let base = self.scope();
        let checker = Checker { templates, sources };
        for lint in &self.lints {
            let scopes: Vec<Scope> = match lint.each {
                None => vec![base.clone()],
                Some(Axis::Clusters) => self
                    .clusters
                    .iter()
                    .map(|cluster| base.with("cluster", cluster.value()))
                    .collect(),
                Some(Axis::Nodes) => self
                    .clusters
                    .iter()
                    .flat_map(|cluster| {
                        // Once a cluster: it holds all of its nodes.
                        let base = base.with("cluster", cluster.value());
                        let nodes = cluster.nodes.iter();
                        nodes.map(move |node| base.with("node", node.value()))
                    })
                    .collect(),
            };
            for scope in scopes {
                if problems.is_full() {
                    return;
                }
                let known = Known::default();
                let sound = checker.expr(&lint.that, &scope, known, problems);
                if !checker.template(&lint.say, &scope, known, problems) || !sound {
                    continue;
                }
                let say = templates
                    .text(&lint.say, &scope)
                    .unwrap_or_else(|_| lint.say.source.clone());
                match templates.holds(&lint.that, &scope) {
                    Ok(true) => {}
                    Ok(false) => problems.push(Diagnostic::at(
                        lint.that.span,
                        format!("the inventory does not hold: {say}"),
                    )),
                    Err(error) => problems.push(Diagnostic::at(
                        lint.that.span,
                        format!("this lint cannot be asked: {error}"),
                    )),
                }
            }
        }
    }
}

/// The names of a cluster's nodes, as they were written.
fn node_names(cluster: &Written) -> Vec<&Key> {
    let Shape::Map(entries) = &cluster.shape else {
        return Vec::new();
    };
    let nodes = entries.iter().find(|(key, _)| key.text == "nodes");
    match nodes.map(|(_, nodes)| &nodes.shape) {
        Some(Shape::Map(nodes)) => nodes.iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

struct Kinds {
    site: Kind,
    cluster: Vec<Field>,
    node: Vec<Field>,
}

impl Default for Kinds {
    fn default() -> Self {
        Self {
            site: Kind::Any,
            cluster: Vec::new(),
            node: Vec::new(),
        }
    }
}

fn read_fields(node: &Written, problems: &mut Diagnostics) -> Kinds {
    let mut kinds = Kinds::default();
    let Some(mut fields) = Fields::open(node, "`fields`", problems) else {
        return kinds;
    };
    let record = |node: &Written, problems: &mut Diagnostics| match Field::read("", node, problems)
    {
        Some(Field {
            kind: Kind::Record(fields),
            ..
        }) => fields,
        Some(_) => {
            problems.push(Diagnostic::at(
                node.span,
                "a mapping of names to types is expected here",
            ));
            Vec::new()
        }
        None => Vec::new(),
    };
    if let Some(node) = fields.take("site") {
        kinds.site = Kind::Record(record(node, problems));
    }
    if let Some(node) = fields.take("cluster") {
        kinds.cluster = record(node, problems);
    }
    if let Some(node) = fields.take("node") {
        kinds.node = record(node, problems);
    }
    fields.close(problems);
    kinds
}

fn read_cluster(
    root: &Path,
    key: &Key,
    node: &Written,
    kinds: &Kinds,
    problems: &mut Diagnostics,
) -> Option<Cluster> {
    check_name(&key.text, key.span, "cluster", problems);
    let Shape::Map(entries) = &node.shape else {
        problems.push(Diagnostic::at(
            node.span,
            format!("a cluster is a mapping, but this is {}", node.shape.noun()),
        ));
        return None;
    };
    let rest: Vec<_> = entries
        .iter()
        .filter(|(key, _)| key.text != "nodes")
        .cloned()
        .collect();
    let facts = Written {
        shape: Shape::Map(rest),
        span: node.span,
    };
    let facts = Kind::Record(kinds.cluster.clone()).check(&facts, &key.text, root, problems);
    let mut cluster = Cluster {
        name: key.text.clone(),
        facts: facts.as_object().cloned().unwrap_or_default(),
        nodes: Vec::new(),
    };
    match entries
        .iter()
        .find(|(key, _)| key.text == "nodes")
        .map(|(_, node)| node)
    {
        None => problems.push(Diagnostic::at(
            key.span,
            format!("the cluster `{}` needs `nodes`", key.text),
        )),
        Some(Written {
            shape: Shape::Map(nodes),
            ..
        }) => {
            for (name, written) in nodes {
                check_name(&name.text, name.span, "node", problems);
                let facts =
                    Kind::Record(kinds.node.clone()).check(written, &name.text, root, problems);
                cluster.nodes.push(Node {
                    name: name.text.clone(),
                    cluster: key.text.clone(),
                    facts: facts.as_object().cloned().unwrap_or_default(),
                });
            }
        }
        Some(other) => problems.push(Diagnostic::at(
            other.span,
            format!(
                "`nodes` is a mapping of names to nodes, but this is {}",
                other.shape.noun()
            ),
        )),
    }
    resolve_nodes(&mut cluster, entries, &kinds.cluster, problems);
    Some(cluster)
}

/// Puts nodes in the place of their names where a field of the cluster is of type `Node`.
fn resolve_nodes(
    cluster: &mut Cluster,
    entries: &[(Key, Written)],
    fields: &[Field],
    problems: &mut Diagnostics,
) {
    for field in fields {
        let Some((_, written)) = entries.iter().find(|(key, _)| key.text == field.name) else {
            continue;
        };
        let nodes = std::mem::take(&mut cluster.nodes);
        let mut find = |written: &Written| -> Option<Json> {
            // What is not text has been told of already.
            let name = written.text()?;
            let found = nodes.iter().find(|node| node.name == name);
            if found.is_none() {
                let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                problems.push(
                    Diagnostic::at(
                        written.span,
                        format!("the cluster `{}` has no node `{name}`", cluster.name),
                    )
                    .help(format!("its nodes are: {}", names.join(", ")))
                    .suggest(name, names.iter().copied()),
                );
            }
            found.map(Node::json)
        };
        let resolved = match (&field.kind, &written.shape) {
            (Kind::Node, _) => find(written),
            (Kind::List(inner), Shape::List(values)) if **inner == Kind::Node => {
                Some(values.iter().filter_map(&mut find).collect())
            }
            _ => None,
        };
        cluster.nodes = nodes;
        if let Some(json) = resolved {
            cluster.facts.insert(field.name.clone(), json);
        }
    }
}

fn read_lint(node: &Written, problems: &mut Diagnostics) -> Option<Lint> {
    let mut fields = Fields::open(node, "a lint", problems)?;
    let that = fields.need_text("that", problems);
    let say = fields.need_text("say", problems);
    let each = fields
        .text("for_each", problems)
        .and_then(|(word, span)| match word.as_str() {
            "clusters" => Some(Axis::Clusters),
            "nodes" => Some(Axis::Nodes),
            _ => {
                problems.push(Diagnostic::at(
                    span,
                    "`for_each` of a lint is `clusters` or `nodes`",
                ));
                None
            }
        });
    fields.close(problems);
    let ((that, that_span), (say, say_span)) = (that?, say?);
    Some(Lint {
        that: Expr {
            source: that,
            span: that_span,
        },
        say: Template {
            source: say,
            span: say_span,
        },
        each,
    })
}

fn check_name(name: &str, span: Span, what: &str, problems: &mut Diagnostics) {
    let fine = !name.is_empty()
        && name.len() <= 63
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !fine {
        problems.push(
            Diagnostic::at(span, format!("`{name}` cannot be the name of a {what}"))
                .help("names are small letters, digits, dots and hyphens"),
        );
    }
}
