//! A configuration: its documents as the library loads, merges and writes them.

use super::delete::{self, Selector};
use super::emitter;
use super::go::quote;
use super::value::{Value, View};
use super::yaml::{self, Kind, Node};
use super::{decode, encode, merge, schema, unknown};

/// The kind of the document that has none.
pub(crate) const OLD: &str = "v1alpha1";

/// One document of a configuration or of a patch.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    /// A decoded document.
    Config {
        /// Its kind; [`OLD`] for the one without.
        kind: String,
        /// Its type.
        ty: &'static str,
        /// What it says.
        value: Value,
    },
    /// `$patch: delete` somewhere in a patch.
    Delete(Selector),
}

impl Document {
    fn kind(&self) -> &str {
        match self {
            Self::Config { kind, .. } => kind,
            Self::Delete(selector) => &selector.kind,
        }
    }

    /// What a document of a patch is matched by.
    fn id(&self) -> String {
        match self {
            Self::Config { kind, .. } if kind == OLD => "/v1alpha1".to_owned(),
            Self::Config { kind, .. } => match self.name() {
                Some(name) => format!("{}/{kind}/{name}", self.view("apiVersion")),
                None => format!("{}/{kind}", self.view("apiVersion")),
            },
            Self::Delete(selector) => selector.id(),
        }
    }

    fn view(&self, key: &str) -> &str {
        match self {
            Self::Config { ty, value, .. } => View::new(value, ty).text(key),
            Self::Delete(_) => "",
        }
    }

    /// Its name, if documents of its kind have one.
    pub(crate) fn name(&self) -> Option<&str> {
        schema::document(self.kind())
            .filter(|document| document.named)
            .map(|_| self.view("name"))
    }

    fn is_old(&self) -> bool {
        matches!(self, Self::Config { kind, .. } if kind == OLD)
    }
}

/// A loaded configuration, in the library's order: the old document first.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    documents: Vec<Document>,
}

impl Container {
    /// Reads a configuration.
    pub(crate) fn load(text: &str) -> Result<Self, String> {
        Self::read(text, false)
    }

    /// Reads a patch, in which `$patch: delete` may stand.
    pub(crate) fn load_patch(text: &str) -> Result<Self, String> {
        Self::read(text, true)
    }

    fn read(text: &str, with_deletes: bool) -> Result<Self, String> {
        let (nodes, fault) = yaml::documents(text);
        let mut documents = Vec::new();
        let mut known = Vec::new();
        for mut node in nodes {
            if with_deletes {
                let (selectors, is_empty) = delete::take(&mut node)?;
                documents.extend(selectors.into_iter().map(Document::Delete));
                if is_empty {
                    continue;
                }
            }
            if !matches!(node.kind, Kind::Mapping(..)) {
                return Err("recovered: expected a mapping node".to_owned());
            }
            let kind = value_of(&node, "kind");
            let kind = if kind.is_empty() { OLD } else { kind };
            let id = format!(
                "{}/{kind}/{}",
                value_of(&node, "apiVersion"),
                value_of(&node, "name")
            );
            if known.contains(&id) {
                return Err(format!("duplicate document {id} is not allowed"));
            }
            documents.push(decode_document(&node)?);
            known.push(id);
        }
        if let Some(fault) = fault {
            return Err(format!("decode error: {fault}"));
        }
        if documents.is_empty() {
            return Err("config not found".to_owned());
        }
        Self::new(documents)
    }

    /// Puts documents together, unless two say they are the same.
    fn new(documents: Vec<Document>) -> Result<Self, String> {
        let (old, others): (Vec<Document>, Vec<Document>) =
            documents.into_iter().partition(Document::is_old);
        if old.len() > 1 {
            return Err("duplicate v1alpha1.Config".to_owned());
        }
        let mut seen: Vec<String> = Vec::new();
        let mut conflicting: Vec<(String, String)> = Vec::new();
        for document in &others {
            let Document::Config { kind, .. } = document else {
                continue;
            };
            let id = format!("{kind}/{}", document.name().unwrap_or_default());
            if seen.contains(&id) {
                return Err(format!("duplicate document: {id}"));
            }
            seen.push(id.clone());
            if let Some((_, other)) = conflicting.iter().find(|(forbidden, _)| *forbidden == id) {
                return Err(format!("conflicting documents: {other} and {id}"));
            }
            for kind in schema::document(kind)
                .map(|known| known.conflicts.as_slice())
                .unwrap_or_default()
            {
                let other = format!("{kind}/{}", document.name().unwrap_or_default());
                if seen.contains(&other) {
                    return Err(format!("conflicting documents: {other} and {id}"));
                }
                conflicting.push((other, id.clone()));
            }
        }
        Ok(Self {
            documents: old.into_iter().chain(others).collect(),
        })
    }

    /// The documents, in order.
    pub(crate) fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The old document.
    pub(crate) fn old(&self) -> Option<View<'_>> {
        self.documents.iter().find_map(|document| match document {
            Document::Config { kind, ty, value } if kind == OLD => Some(View::new(value, ty)),
            _ => None,
        })
    }

    /// Merges a patch into the configuration.
    pub(crate) fn merge(self, patch: &Self) -> Result<Self, String> {
        let mut left: Vec<Option<Document>> = self.documents.into_iter().map(Some).collect();
        let index: Vec<String> = left.iter().flatten().map(Document::id).collect();
        let mut added = Vec::new();
        // What a patch deletes from the old document goes before what it says about it.
        let first = |document: &&Document| matches!(document, Document::Delete(selector) if selector.kind == OLD);
        let order = patch
            .documents
            .iter()
            .filter(first)
            .chain(patch.documents.iter().filter(|document| !first(document)));
        for right in order {
            let id = right.id();
            let found = index
                .iter()
                .position(|known| *known == id)
                .filter(|at| left[*at].is_some());
            let Some(at) = found else {
                added.push(right.clone());
                continue;
            };
            match (&mut left[at], right) {
                (
                    Some(Document::Config { ty, value, .. }),
                    Document::Config { value: other, .. },
                ) => {
                    merge::merge(value, other, ty, false)?;
                }
                (Some(Document::Config { ty, value, .. }), Document::Delete(selector)) => {
                    let gone = selector.apply(value, ty)?;
                    left[at] = left[at].take().filter(|_| !gone);
                }
                _ => {}
            }
        }
        Self::new(left.into_iter().flatten().chain(added).collect())
    }

    /// Writes every document.
    ///
    /// A deletion that found no document is still among them: the library writes an empty one, or breaks down if the
    /// deletion has a name. The lab's text then is the first line of that breakdown.
    pub(crate) fn write(&self) -> Result<String, String> {
        let text = |document: &Document| {
            match document {
            Document::Config { ty, value, .. } => Ok(emitter::write(&encode::encode(value, ty))),
            Document::Delete(selector) if selector.has_name() => {
                Err("panic: reflect.Value.Interface: cannot return value obtained from unexported field or method".to_owned())
            }
            Document::Delete(_) => Ok("{}\n".to_owned()),
        }
        };
        Ok(self
            .documents
            .iter()
            .map(text)
            .collect::<Result<Vec<_>, _>>()?
            .join("---\n"))
    }
}

/// The text behind a key of a mapping; empty when it is absent.
pub(crate) fn value_of<'a>(node: &'a Node, key: &str) -> &'a str {
    let entries = node.entries().unwrap_or_default();
    let found = entries
        .iter()
        .find(|(name, _)| matches!(name.kind, Kind::Scalar(_)) && name.value == key);
    found.map_or("", |(_, value)| value.value.as_str())
}

fn decode_document(node: &Node) -> Result<Document, String> {
    let (mut kind, mut version) = (String::new(), String::new());
    for (key, value) in node.entries().unwrap_or_default() {
        match key.value.as_str() {
            "kind" => kind = text(value, "kind")?,
            "apiVersion" => version = text(value, "version")?,
            _ => {}
        }
        // Values are looked at as well as keys; so does the library.
        if [key, value].iter().any(|node| {
            matches!(
                node.value.as_str(),
                "machine" | "cluster" | "debug" | "persist"
            )
        }) {
            OLD.clone_into(&mut version);
        }
    }
    let known = match (kind.as_str(), version.as_str()) {
        ("", OLD) => schema::document(OLD),
        ("", _) => return Err("missing kind".to_owned()),
        (_, OLD) => schema::document(&kind),
        _ => None,
    };
    let Some(known) = known else {
        return Err(format!(
            "{} {}: not registered",
            quote(&kind),
            quote(&version)
        ));
    };
    let value = decode::decode(node, &known.ty)
        .map_err(|fault| format!("error decoding {kind} to *{}: {fault}", known.ty))?;
    unknown::check(node, &known.ty)?;
    if kind.is_empty() {
        OLD.clone_into(&mut kind);
    }
    Ok(Document::Config {
        kind,
        ty: &known.ty,
        value,
    })
}

fn text(node: &Node, what: &str) -> Result<String, String> {
    match decode::decode(node, "string") {
        Ok(Value::Str(text)) => Ok(text),
        Ok(_) => Ok(String::new()),
        Err(fault) => Err(format!("{what} decode: {fault}")),
    }
}
