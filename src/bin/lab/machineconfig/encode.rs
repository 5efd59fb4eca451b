//! From values to YAML: the library's order of keys, and what it leaves out.

use super::custom;
use super::emitter::Out;
use super::schema::{self, Shape};
use super::value::Value;
use super::yaml::{Kind, Node};
use std::cmp::Ordering;

/// What is written for a value of a type.
pub(crate) fn encode(value: &Value, ty: &'static str) -> Out {
    match (schema::shape(ty), value) {
        (Shape::Ptr(_), Value::Nil) => Out::plain("null"),
        (Shape::Ptr(inner), value) => encode(value, inner),
        (Shape::Custom(kind), value) => custom::write(kind, value),
        (Shape::Struct(named), Value::Struct(values)) => {
            let written = named
                .fields()
                .iter()
                .zip(values)
                .filter(|(field, value)| !(field.omit_empty && value.is_empty(&field.ty)));
            Out::Map(
                written
                    .map(|(field, value)| (Out::text(&field.name), encode(value, &field.ty)))
                    .collect(),
                false,
            )
        }
        (Shape::List(inner), Value::List(items)) => Out::List(
            items.iter().map(|item| encode(item, inner)).collect(),
            false,
        ),
        (Shape::List(_), Value::Nil) => Out::List(Vec::new(), false),
        (Shape::Map(_) | Shape::Open, Value::Nil) => Out::Map(Vec::new(), false),
        (Shape::Map(inner), Value::Map(entries)) => map(entries
            .iter()
            .map(|(key, value)| (key.as_str(), encode(value, inner)))),
        (_, value) => anything(value),
    }
}

/// What is written for a value whose type is its own.
pub(crate) fn anything(value: &Value) -> Out {
    match value {
        Value::Nil => Out::plain("null"),
        Value::Bool(value) => Out::plain(value.to_string()),
        Value::Int(value) => Out::plain(value.to_string()),
        Value::Float(value) => Out::plain(float(*value)),
        Value::Str(text) => Out::text(text),
        Value::List(items) | Value::Struct(items) => {
            Out::List(items.iter().map(anything).collect(), false)
        }
        Value::Map(entries) => map(entries
            .iter()
            .map(|(key, value)| (key.as_str(), anything(value)))),
    }
}

/// What is written for a node as it was read, in its own style.
pub(crate) fn node(node: &Node) -> Out {
    match &node.kind {
        Kind::Scalar(style) => Out::Scalar(node.value.clone(), *style),
        Kind::Sequence(items, flow) => Out::List(items.iter().map(self::node).collect(), *flow),
        Kind::Mapping(entries, flow) => Out::Map(
            entries
                .iter()
                .map(|(key, value)| (self::node(key), self::node(value)))
                .collect(),
            *flow,
        ),
        Kind::Alias(_) => Out::plain(format!("*{}", node.value)),
    }
}

/// A mapping with its keys in the order in which Go's YAML libraries write them.
pub(crate) fn map<'a>(entries: impl Iterator<Item = (&'a str, Out)>) -> Out {
    let mut entries: Vec<(&str, Out)> = entries.collect();
    entries.sort_by(|(left, _), (right, _)| natural(left, right));
    Out::Map(
        entries
            .into_iter()
            .map(|(key, value)| (Out::text(key), value))
            .collect(),
        false,
    )
}

/// Go's `strconv.FormatFloat` with format `g`.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..21).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", power.abs())
        }
        _ => value.to_string(),
    }
}

/// Numbers inside keys count as numbers, letters come after everything else.
fn natural(left: &str, right: &str) -> Ordering {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut digits = false;
    for (at, (&one, &other)) in left.iter().zip(&right).enumerate() {
        if one == other {
            digits = one.is_ascii_digit();
            continue;
        }
        return match (one.is_alphabetic(), other.is_alphabetic()) {
            (true, true) => one.cmp(&other),
            (is_letter, false) | (false, is_letter) if is_letter || other.is_alphabetic() => {
                let letter_first = digits;
                if one.is_alphabetic() == letter_first {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            _ => number(&left, at, one == '0' || other == '0')
                .cmp(&number(&right, at, one == '0' || other == '0'))
                .then(one.cmp(&other)),
        };
    }
    left.len().cmp(&right.len())
}

/// The number that goes on at a place, and where it ends. A nought after other digits does not begin a number.
fn number(text: &[char], at: usize, nought: bool) -> (u64, usize) {
    let before = text[..at]
        .iter()
        .rev()
        .take_while(|letter| letter.is_ascii_digit());
    let mut value = u64::from(nought && before.into_iter().any(|digit| *digit != '0'));
    let mut end = at;
    while let Some(digit) = text.get(end).and_then(|letter| letter.to_digit(10)) {
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        end += 1;
    }
    (value, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_people_count() {
        let mut keys = ["b10", "b2", "a/b", "a", "a.b", "ab", "B", "x1y", "x01y"];
        keys.sort_by(|left, right| natural(left, right));
        assert_eq!(
            keys,
            ["B", "a", "a.b", "a/b", "ab", "b2", "b10", "x1y", "x01y"]
        );
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, text) in [
            (1.5, "1.5"),
            (1e21, "1e+21"),
            (0.00001, "1e-05"),
            (100.0, "100"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}
