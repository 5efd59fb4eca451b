//! Keys that the library does not know: all of them at once, as YAML.

use super::emitter::{self, Out};
use super::encode;
use super::schema::{self, Custom, Shape};
use super::yaml::{Kind, Node};

/// Complains about every key of a document that its type does not have.
pub(crate) fn check(node: &Node, ty: &'static str) -> Result<(), String> {
    match unknown(node, ty)? {
        None => Ok(()),
        Some(found) => Err(format!(
            "unknown keys found during decoding:\n{}",
            emitter::write(&found)
        )),
    }
}

fn unknown(node: &Node, ty: &'static str) -> Result<Option<Out>, String> {
    let ty = ty.trim_start_matches('*');
    let shape = schema::shape(ty);
    if shape == Shape::Any {
        return Ok(None);
    }
    match &node.kind {
        Kind::Mapping(entries, _) => {
            let mut found = Vec::new();
            for (key, value) in entries {
                let inner = match shape {
                    Shape::Struct(named) => named
                        .position(&key.value)
                        .map(|at| named.fields()[at].ty.as_str()),
                    Shape::Map(inner) => Some(inner),
                    Shape::Open => Some("any"),
                    Shape::Custom(Custom::CertificateAndKey) => pem(&["crt", "key"], &key.value),
                    Shape::Custom(Custom::Certificate) => pem(&["crt"], &key.value),
                    Shape::Custom(Custom::Key) => pem(&["key"], &key.value),
                    _ => {
                        return Err(format!(
                            "unexpected type for yaml mapping: {}",
                            schema::go_name(ty)
                        ));
                    }
                };
                match inner {
                    None => found.push((key.value.as_str(), encode::node(value))),
                    Some(inner) => {
                        if let Some(below) = unknown(value, inner)? {
                            found.push((key.value.as_str(), below));
                        }
                    }
                }
            }
            Ok((!found.is_empty()).then(|| encode::map(found.into_iter())))
        }
        Kind::Sequence(items, _) => {
            let Shape::List(inner) = shape else {
                return Err(format!(
                    "unexpected type for yaml sequence: {}",
                    schema::go_name(ty)
                ));
            };
            let mut found = Vec::new();
            for item in items {
                found.extend(unknown(item, inner)?);
            }
            Ok((!found.is_empty()).then_some(Out::List(found, false)))
        }
        Kind::Scalar(_) | Kind::Alias(_) => Ok(None),
    }
}

fn pem(keys: &[&str], key: &str) -> Option<&'static str> {
    keys.contains(&key).then_some("string")
}
