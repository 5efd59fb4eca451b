//! `$patch: delete`: found in a patch, taken out of it, applied to a document.

use super::document::{OLD, value_of};
use super::schema::{self, Shape};
use super::value::Value;
use super::yaml::{Kind, Node};

/// What a patch wants to be gone: a document, a key, or the item of a list that has a key with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    path: Vec<String>,
    version: String,
    /// The kind of the document; `v1alpha1` for the one without.
    pub(crate) kind: String,
    name: String,
    key: String,
    value: String,
}

impl Selector {
    /// What the document is matched by.
    pub(crate) fn id(&self) -> String {
        if self.name.is_empty() {
            format!("{}/{}", self.version, self.kind)
        } else {
            format!("{}/{}/{}", self.version, self.kind, self.name)
        }
    }

    /// Whether it is for a document with a name.
    pub(crate) fn has_name(&self) -> bool {
        !self.name.is_empty()
    }

    /// Deletes from a document; `true` when the whole document is to go.
    pub(crate) fn apply(&self, value: &mut Value, ty: &'static str) -> Result<bool, String> {
        if self.path.is_empty() {
            return Ok(true);
        }
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        self.remove(value, ty, &path).map_err(|fault| {
            if fault.starts_with("panic: ") {
                return fault;
            }
            let what = format!("failed to delete path '{}': {fault}", self.path.join("."));
            if self.name.is_empty() {
                format!(
                    "patch delete: path '{}' in document '{}/{}': {what}",
                    self.path.join("."),
                    self.version,
                    self.kind
                )
            } else {
                format!(
                    "named patch delete: document {}/{}: {what}",
                    self.version, self.kind
                )
            }
        })?;
        Ok(false)
    }

    fn remove(&self, value: &mut Value, ty: &'static str, path: &[&str]) -> Result<(), String> {
        let missing = || "lookup failed".to_owned();
        let (first, rest) = path.split_first().ok_or_else(missing)?;
        match (schema::shape(ty), value) {
            // The library follows a pointer to nothing and breaks down.
            (Shape::Ptr(_), Value::Nil) => {
                Err("panic: reflect: call of reflect.Value.Type on zero Value".to_owned())
            }
            (Shape::Ptr(inner), value) => self.remove(value, inner, path),
            (Shape::Struct(named), Value::Struct(values)) => {
                let at = named.position(first).ok_or_else(missing)?;
                let field = &named.fields()[at];
                if rest.is_empty() {
                    values[at] = Value::zero(&field.ty);
                    return Ok(());
                }
                self.remove(&mut values[at], &field.ty, rest)
            }
            (Shape::Map(inner), Value::Map(entries)) => {
                let found = entries.get_mut(*first).ok_or_else(missing)?;
                if rest.is_empty() {
                    entries.remove(*first);
                    return Ok(());
                }
                self.remove(found, inner, rest)
            }
            (Shape::Any, Value::Map(entries)) => {
                let found = entries.get_mut(*first).ok_or_else(missing)?;
                if rest.is_empty() {
                    entries.remove(*first);
                    return Ok(());
                }
                self.remove(found, "any", rest)
            }
            (Shape::List(inner), Value::List(items)) => {
                if !rest.is_empty() {
                    return Err("searching for complex paths in slices is not supported".to_owned());
                }
                if !first.starts_with('[') {
                    return Err(
                        "searching for non-integer keys in slices is not supported".to_owned()
                    );
                }
                let at = items
                    .iter()
                    .position(|item| self.selects(item, inner))
                    .ok_or_else(missing)?;
                items.remove(at);
                Ok(())
            }
            _ => Err(missing()),
        }
    }

    fn selects(&self, item: &Value, ty: &'static str) -> bool {
        let (Shape::Struct(named), Value::Struct(values)) =
            (schema::shape(ty.trim_start_matches('*')), item)
        else {
            return false;
        };
        named
            .position(&self.key)
            .is_some_and(|at| values[at] == Value::Str(self.value.clone()))
    }
}

/// Takes every deletion out of a document of a patch. The flag says that nothing is left of it.
pub(crate) fn take(root: &mut Node) -> Result<(Vec<Selector>, bool), String> {
    let mut finder = Finder {
        version: value_of(root, "apiVersion").to_owned(),
        kind: value_of(root, "kind").to_owned(),
        name: value_of(root, "name").to_owned(),
        found: Vec::new(),
    };
    let gone = finder.visit(root, &mut Vec::new(), false)?;
    let left = match root.entries() {
        Some(entries) => entries.iter().any(|(key, value)| {
            let scalar = |node: &Node| matches!(node.kind, Kind::Scalar(_));
            !scalar(key)
                || !scalar(value)
                || !matches!(key.value.as_str(), "version" | "kind" | "name")
        }),
        None => true,
    };
    Ok((finder.found, gone || !left))
}

struct Finder {
    version: String,
    kind: String,
    name: String,
    found: Vec<Selector>,
}

impl Finder {
    /// Visits a node; `true` when it is to be taken out of its parent.
    fn visit(
        &mut self,
        node: &mut Node,
        path: &mut Vec<String>,
        in_list: bool,
    ) -> Result<bool, String> {
        match &mut node.kind {
            Kind::Mapping(entries, _) => {
                let mut at = 0;
                while at < entries.len() {
                    if is_delete(&entries[at]) {
                        let (key, value) = subject(entries, path, in_list)?;
                        self.add(path, key, value)?;
                        return Ok(true);
                    }
                    path.push(entries[at].0.value.clone());
                    let gone = self.visit(&mut entries[at].1, path, false)?;
                    path.pop();
                    if gone {
                        entries.remove(at);
                        if entries.is_empty() {
                            return Ok(true);
                        }
                    } else {
                        at += 1;
                    }
                }
                Ok(false)
            }
            Kind::Sequence(items, _) => {
                let mut at = 0;
                while at < items.len() {
                    path.push(format!("[{at}]"));
                    let gone = self.visit(&mut items[at], path, true)?;
                    path.pop();
                    if gone {
                        items.remove(at);
                        if items.is_empty() {
                            return Ok(true);
                        }
                    } else {
                        at += 1;
                    }
                }
                Ok(false)
            }
            Kind::Scalar(_) | Kind::Alias(_) => Ok(false),
        }
    }

    fn add(&mut self, path: &[String], key: String, value: String) -> Result<(), String> {
        if path.is_empty() {
            for (word, text) in [("apiVersion", &self.version), ("kind", &self.kind)] {
                if text.is_empty() {
                    return Err(format!(
                        "missing {word} in document for which $patch: delete is used"
                    ));
                }
            }
        }
        if self.version.is_empty() != self.kind.is_empty() {
            return Err(format!(
                "kind and apiVersion must be both set for path {}",
                path.join(".")
            ));
        }
        self.found.push(Selector {
            path: path.to_vec(),
            version: self.version.clone(),
            kind: if self.kind.is_empty() {
                OLD.to_owned()
            } else {
                self.kind.clone()
            },
            name: self.name.clone(),
            key,
            value,
        });
        Ok(())
    }
}

fn is_delete((key, value): &(Node, Node)) -> bool {
    matches!(value.kind, Kind::Scalar(_)) && key.value == "$patch" && value.value == "delete"
}

/// In a list, the first key beside `$patch` says which item is meant.
fn subject(
    entries: &[(Node, Node)],
    path: &[String],
    in_list: bool,
) -> Result<(String, String), String> {
    if !in_list {
        if path.iter().any(|part| part.starts_with('[')) {
            return Err(format!(
                "cannot delete an inner key in '{}'",
                path.join(".")
            ));
        }
        return Ok((String::new(), String::new()));
    }
    match entries.iter().find(|entry| !is_delete(entry)) {
        Some((key, value)) => Ok((key.value.clone(), value.value.clone())),
        None => Err(format!(
            "no key:val found in sequence node for path {}",
            path.join(".")
        )),
    }
}
