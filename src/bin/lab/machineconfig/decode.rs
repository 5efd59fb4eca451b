//! From nodes to values: Go's rules for fitting YAML into its types, and the texts when it does not fit.

use super::custom;
use super::go::{duration, quote};
use super::scalar::{self, Scalar};
use super::schema::{self, Custom, Shape};
use super::value::Value;
use super::yaml::{Kind, Node};
use std::collections::BTreeMap;

/// Decodes a document into a type. The error is what follows `error decoding  to *T: `.
pub(crate) fn decode(node: &Node, ty: &'static str) -> Result<Value, String> {
    let mut out = Value::zero(ty);
    let mut decoder = Decoder { faults: Vec::new() };
    decoder.fill(node, ty, &mut out)?;
    if decoder.faults.is_empty() {
        Ok(out)
    } else {
        Err(format!(
            "yaml: unmarshal errors:\n  {}",
            decoder.faults.join("\n  ")
        ))
    }
}

struct Decoder {
    faults: Vec<String>,
}

/// An entry that a merge key (`<<`) brought in counts only where the mapping has no such key.
fn entries(node: &Node) -> Vec<(&Node, &Node)> {
    let Some(own) = node.entries() else {
        return Vec::new();
    };
    let is_merge = |key: &Node| key.value == "<<" && key.tag == "!!merge";
    let mut found: Vec<(&Node, &Node)> = own
        .iter()
        .filter(|(key, _)| !is_merge(key))
        .map(|(key, value)| (key, value))
        .collect();
    for (_, value) in own.iter().filter(|(key, _)| is_merge(key)) {
        let sources: Vec<&Node> = match &value.kind {
            Kind::Sequence(items, _) => items.iter().collect(),
            Kind::Scalar(_) | Kind::Mapping(..) | Kind::Alias(_) => vec![value],
        };
        for source in sources {
            let source = match &source.kind {
                Kind::Alias(target) => target,
                Kind::Scalar(_) | Kind::Sequence(..) | Kind::Mapping(..) => source,
            };
            for (key, value) in entries(source) {
                if !found.iter().any(|(known, _)| known.value == key.value) {
                    found.push((key, value));
                }
            }
        }
    }
    found
}

impl Decoder {
    /// Fills a value. `Ok(false)` means that nothing was set; `Err` ends the decoding.
    fn fill(&mut self, node: &Node, ty: &'static str, out: &mut Value) -> Result<bool, String> {
        if let Kind::Alias(target) = &node.kind {
            return self.fill(target, ty, out);
        }
        let shape = schema::shape(ty);
        if node.is_null() {
            let nilable = matches!(
                shape,
                Shape::Ptr(_)
                    | Shape::List(_)
                    | Shape::Map(_)
                    | Shape::Any
                    | Shape::Custom(Custom::Base64)
            );
            if nilable {
                *out = Value::Nil;
            }
            return Ok(nilable);
        }
        match shape {
            Shape::Ptr(inner) => {
                if *out == Value::Nil {
                    *out = Value::zero(inner);
                }
                self.fill(node, inner, out)
            }
            Shape::Custom(kind) => self.custom(node, kind, ty, out),
            _ => match &node.kind {
                Kind::Scalar(_) => Ok(self.scalar(node, shape, ty, out)),
                Kind::Sequence(items, _) => self.sequence(node, items, shape, ty, out),
                Kind::Mapping(..) => self.mapping(node, shape, ty, out),
                Kind::Alias(_) => Ok(false),
            },
        }
    }

    fn misfit(&mut self, node: &Node, ty: &str) -> bool {
        let collection = node.tag == "!!seq" || node.tag == "!!map";
        let value = if collection {
            String::new()
        } else if node.value.len() > 10 {
            format!(" `{}...`", node.value.chars().take(7).collect::<String>())
        } else {
            format!(" `{}`", node.value)
        };
        let name = schema::go_name(ty);
        self.faults.push(format!(
            "line {}: cannot unmarshal {}{value} into {name}",
            node.line, node.tag
        ));
        false
    }

    fn scalar(&mut self, node: &Node, shape: Shape, ty: &'static str, out: &mut Value) -> bool {
        let meaning = if node.indicated_string() || (node.tagged && node.tag == "!!str") {
            Scalar::Str
        } else {
            scalar::resolve(&node.value).1
        };
        let value = match (shape, meaning) {
            (Shape::Str, _) | (Shape::Any, Scalar::Str) => Value::Str(node.value.clone()),
            (Shape::Any, Scalar::Null) => Value::Nil,
            (Shape::Any | Shape::Bool, Scalar::Bool(value)) => Value::Bool(value),
            (Shape::Any, Scalar::Int(value)) => Value::Int(value),
            (Shape::Any, Scalar::Float(value)) => Value::Float(value),
            (Shape::Int(least, most), Scalar::Int(value)) if (least..=most).contains(&value) => {
                Value::Int(value)
            }
            (Shape::Int(least, most), Scalar::Float(value)) => match whole(value) {
                Some(value) if (least..=most).contains(&value) => Value::Int(value),
                _ => return self.misfit(node, ty),
            },
            (Shape::Bool, Scalar::Str) => match node.value.as_str() {
                "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
                "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
                _ => return self.misfit(node, ty),
            },
            _ => return self.misfit(node, ty),
        };
        *out = value;
        true
    }

    fn sequence(
        &mut self,
        node: &Node,
        items: &[Node],
        shape: Shape,
        ty: &'static str,
        out: &mut Value,
    ) -> Result<bool, String> {
        let inner = match shape {
            Shape::List(inner) => inner,
            Shape::Any => "any",
            _ => return Ok(self.misfit(node, ty)),
        };
        let mut list = Vec::new();
        for item in items {
            let mut value = Value::zero(inner);
            if self.fill(item, inner, &mut value)? {
                list.push(value);
            }
        }
        if ty == "v1alpha1.ClusterInlineManifests" {
            list.iter_mut().for_each(custom::trim_manifest);
        }
        *out = Value::List(list);
        Ok(true)
    }

    fn mapping(
        &mut self,
        node: &Node,
        shape: Shape,
        ty: &'static str,
        out: &mut Value,
    ) -> Result<bool, String> {
        if self.repeats(node) {
            return Ok(false);
        }
        let inner = match shape {
            Shape::Struct(named) => {
                let Value::Struct(values) = out else {
                    return Ok(false);
                };
                for (key, value) in entries(node) {
                    if let Some(at) = named.position(&key.value) {
                        self.fill(value, &named.fields()[at].ty, &mut values[at])?;
                    }
                }
                return Ok(true);
            }
            Shape::Map(inner) => inner,
            Shape::Any | Shape::Open => "any",
            _ => return Ok(self.misfit(node, ty)),
        };
        let found = entries(node);
        if shape == Shape::Open && found.is_empty() {
            return Ok(true);
        }
        let mut map = match (shape, std::mem::replace(out, Value::Nil)) {
            (Shape::Map(_) | Shape::Open, Value::Map(map)) => map,
            _ => BTreeMap::new(),
        };
        for (key, value) in found {
            let mut made = Value::zero(inner);
            if self.fill(value, inner, &mut made)? || value.is_null() {
                map.insert(key.value.clone(), made);
            }
        }
        *out = Value::Map(map);
        Ok(true)
    }

    fn repeats(&mut self, node: &Node) -> bool {
        let before = self.faults.len();
        let keys: Vec<&Node> = node
            .entries()
            .unwrap_or_default()
            .iter()
            .map(|(key, _)| key)
            .collect();
        for (at, first) in keys.iter().enumerate() {
            for second in &keys[at + 1..] {
                if first.value == second.value {
                    self.faults.push(format!(
                        "line {}: mapping key {} already defined at line {}",
                        second.line,
                        quote(&second.value),
                        first.line
                    ));
                }
            }
        }
        self.faults.len() > before
    }

    fn custom(
        &mut self,
        node: &Node,
        kind: Custom,
        ty: &'static str,
        out: &mut Value,
    ) -> Result<bool, String> {
        let scalar = matches!(node.kind, Kind::Scalar(_));
        match kind {
            Custom::CertificateAndKey | Custom::Certificate | Custom::Key => {
                let keys: &[&str] = match kind {
                    Custom::Certificate => &["crt"],
                    Custom::Key => &["key"],
                    _ => &["crt", "key"],
                };
                if !matches!(node.kind, Kind::Mapping(..)) {
                    return Ok(self.misfit(node, custom::pem_struct(kind)));
                }
                if self.repeats(node) {
                    return Ok(false);
                }
                let mut texts = vec![Value::Str(String::new()); keys.len()];
                let before = self.faults.len();
                for (key, value) in entries(node) {
                    if let Some(at) = keys.iter().position(|known| *known == key.value) {
                        self.fill(value, "string", &mut texts[at])?;
                    }
                }
                if self.faults.len() > before {
                    return Ok(false);
                }
                *out = custom::pem(kind, texts)?;
            }
            Custom::FileMode => {
                return Ok(self.integer_scalar(node, Shape::Int(0, u32::MAX.into()), ty, out));
            }
            Custom::Duration => match duration(&node.value) {
                Some(span) if scalar && scalar::resolve(&node.value).1 == Scalar::Str => {
                    *out = Value::Int(span);
                }
                _ => return Ok(self.misfit(node, ty)),
            },
            Custom::PortRange
                if scalar
                    && !node.indicated_string()
                    && let Scalar::Int(port) = scalar::resolve(&node.value).1 =>
            {
                *out = Value::Str(
                    u16::try_from(port)
                        .map_err(|_| format!("invalid port range: {}", quote(&node.value)))?
                        .to_string(),
                );
            }
            // The ones that unmarshal themselves ask for a string, the others are handed the text.
            _ if !scalar => {
                let itself = matches!(
                    kind,
                    Custom::Url
                        | Custom::Base64
                        | Custom::DiskSize
                        | Custom::SizeMatcher
                        | Custom::PortRange
                );
                return Ok(self.misfit(node, if itself { "string" } else { ty }));
            }
            _ => *out = custom::read(kind, ty, &node.value)?,
        }
        Ok(true)
    }

    fn integer_scalar(
        &mut self,
        node: &Node,
        shape: Shape,
        ty: &'static str,
        out: &mut Value,
    ) -> bool {
        if matches!(node.kind, Kind::Scalar(_)) {
            self.scalar(node, shape, ty, out)
        } else {
            self.misfit(node, ty)
        }
    }
}

/// The whole part of a number, as Go converts it.
#[expect(clippy::cast_possible_truncation, reason = "Go truncates too")]
fn whole(value: f64) -> Option<i128> {
    value.is_finite().then_some(value as i128)
}
