//! RFC 6902 patches as the library applies them: through JSON and back, which sorts the keys and indents by 2.

use super::decode;
use super::emitter::Out;
use super::encode;
use super::value::Value;
use super::yaml::{self, Kind, Node};
use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, SequenceStyle};
use std::collections::BTreeMap;

/// One step of a patch.
pub(crate) type Operation = BTreeMap<String, Value>;

/// Reads a patch: a list of steps, in JSON or in YAML. `None` when it is no such list.
pub(crate) fn read(text: &str) -> Option<Vec<Operation>> {
    let (nodes, fault) = yaml::documents(text);
    let Some(root) = nodes.first() else {
        return fault.is_none().then(Vec::new);
    };
    let Ok(Value::List(steps)) = decode::decode(root, "[]map[string]any") else {
        return None;
    };
    let step = |step| match step {
        Value::Map(step) => Some(step),
        _ => None,
    };
    steps.into_iter().map(step).collect()
}

/// Applies steps to a configuration.
pub(crate) fn apply(config: &str, steps: &[Operation]) -> Result<String, String> {
    let (nodes, fault) = yaml::documents(config);
    if let Some(fault) = fault {
        return Err(format!("failure decoding talos machine config: {fault}"));
    }
    let [root] = nodes.as_slice() else {
        return Err(
            "JSON6902 patches are not supported for multi-document machine configuration"
                .to_owned(),
        );
    };
    let mut document = old_yaml(root);
    for step in steps {
        one(&mut document, step).map_err(|fault| {
            format!("failure applying rfc6902 patches to talos machine config: {fault}")
        })?;
    }
    Ok(write(&document))
}

/// The other YAML library on this way still takes the old words for truths.
fn old_yaml(node: &Node) -> Value {
    match &node.kind {
        Kind::Alias(target) => old_yaml(target),
        Kind::Sequence(items, _) => Value::List(items.iter().map(old_yaml).collect()),
        Kind::Mapping(entries, _) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| (key.value.clone(), old_yaml(value)))
                .collect(),
        ),
        Kind::Scalar(_) if node.indicated_string() || node.tagged => Value::Str(node.value.clone()),
        Kind::Scalar(_) => match node.value.as_str() {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
            _ => decode::decode(node, "any").unwrap_or(Value::Nil),
        },
    }
}

fn one(document: &mut Value, step: &Operation) -> Result<(), String> {
    let text = |key: &str| match step.get(key) {
        Some(Value::Str(text)) => Some(text.as_str()),
        _ => None,
    };
    let kind = text("op").unwrap_or("unknown");
    let path = || {
        text("path").ok_or_else(|| format!("{kind} operation failed to decode path: missing value"))
    };
    let from = || {
        text("from").ok_or_else(|| format!("{kind} operation failed to decode from: operation, missing from field: missing value"))
    };
    let value = || step.get("value").cloned().unwrap_or(Value::Nil);
    match kind {
        "add" => {
            let path = path()?;
            let (parent, key) = find(document, path).ok_or_else(|| {
                format!(
                    "add operation does not apply: doc is missing path: \"{path}\": missing value"
                )
            })?;
            add(parent, &key, value())
                .map_err(|fault| format!("error in add for path: '{path}': {fault}"))
        }
        "remove" => {
            let path = path()?;
            let (parent, key) = find(document, path)
                .ok_or_else(|| format!("remove operation does not apply: doc is missing path: \"{path}\": missing value"))?;
            remove(parent, &key)
                .map(drop)
                .map_err(|fault| format!("error in remove for path: '{path}': {fault}"))
        }
        "replace" => {
            let path = path()?;
            if path.is_empty() {
                *document = value();
                return Ok(());
            }
            let (parent, key) = find(document, path).ok_or_else(|| {
                format!(
                    "replace operation does not apply: doc is missing path: {path}: missing value"
                )
            })?;
            let place = get(parent, &key).map_err(|_| {
                format!(
                    "replace operation does not apply: doc is missing key: {path}: missing value"
                )
            })?;
            *place = value();
            Ok(())
        }
        "move" => {
            let from = from()?;
            let (parent, key) = find(document, from).ok_or_else(|| {
                format!(
                    "move operation does not apply: doc is missing from path: {from}: missing value"
                )
            })?;
            let moved = remove(parent, &key)
                .map_err(|fault| format!("error in move for path: '{key}': {fault}"))?;
            let path = path()?;
            let (parent, key) = find(document, path)
                .ok_or_else(|| format!("move operation does not apply: doc is missing destination path: {path}: missing value"))?;
            add(parent, &key, moved)
                .map_err(|fault| format!("error in move for path: '{path}': {fault}"))
        }
        "copy" => {
            let from = from()?;
            let (parent, key) = find(document, from).ok_or_else(|| {
                format!(
                    "copy operation does not apply: doc is missing from path: {from}: missing value"
                )
            })?;
            let copied = get(parent, &key)
                .map_err(|fault| format!("error in copy for from: '{from}': {fault}"))?
                .clone();
            let path = path()?;
            let (parent, key) = find(document, path)
                .ok_or_else(|| format!("copy operation does not apply: doc is missing destination path: {path}: missing value"))?;
            add(parent, &key, copied)
                .map_err(|fault| format!("error while adding value during copy: {fault}"))
        }
        "test" => {
            let path = path()?;
            let differs = || Err(format!("testing value {path} failed: test failed"));
            if path.is_empty() {
                return if *document == value() {
                    Ok(())
                } else {
                    differs()
                };
            }
            let (parent, key) = find(document, path).ok_or_else(|| {
                format!("test operation does not apply: is missing path: {path}: missing value")
            })?;
            let found = get(parent, &key)
                .map_err(|fault| format!("error in test for path: '{path}': {fault}"))?;
            if *found == value() { Ok(()) } else { differs() }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// The object or list in which the last part of a path is looked for.
fn find<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let parts: Vec<String> = path
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect();
    if parts.len() < 2 {
        return None;
    }
    let mut here = document;
    for part in &parts[1..parts.len() - 1] {
        here = get(here, part).ok()?;
        if !matches!(here, Value::Map(_) | Value::List(_)) {
            return None;
        }
    }
    Some((here, parts.last()?.clone()))
}

fn index(key: &str, length: usize) -> Result<usize, String> {
    let fault = |at: i64| format!("Unable to access invalid index: {at}: invalid index referenced");
    let at: i64 = key.parse().map_err(|_| {
        format!(
            "strconv.Atoi: parsing {}: invalid syntax",
            super::go::quote(key)
        )
    })?;
    let counted = if at < 0 {
        at + i64::try_from(length).unwrap_or(i64::MAX)
    } else {
        at
    };
    usize::try_from(counted)
        .ok()
        .filter(|counted| *counted < length)
        .ok_or_else(|| fault(at))
}

fn get<'a>(parent: &'a mut Value, key: &str) -> Result<&'a mut Value, String> {
    match parent {
        // An absent key is nothing, which may be replaced, copied and compared.
        Value::Map(entries) => Ok(entries.entry(key.to_owned()).or_insert(Value::Nil)),
        Value::List(items) => {
            let at = index(key, items.len())?;
            Ok(&mut items[at])
        }
        _ => Err("missing value".to_owned()),
    }
}

fn add(parent: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match parent {
        Value::Map(entries) => {
            entries.insert(key.to_owned(), value);
        }
        Value::List(items) if key == "-" => items.push(value),
        Value::List(items) => {
            let at = index(key, items.len() + 1).map_err(|fault| {
                if fault.starts_with("strconv") {
                    format!("value was not a proper array index: '{key}': {fault}")
                } else {
                    fault
                }
            })?;
            items.insert(at, value);
        }
        _ => return Err("missing value".to_owned()),
    }
    Ok(())
}

fn remove(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Map(entries) => entries
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
        Value::List(items) => {
            let at = index(key, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err("missing value".to_owned()),
    }
}

/// Writes through libyaml's own emitter, of which the older Go library is a translation: it folds at 80 columns.
fn write(document: &Value) -> String {
    let mut bytes = Vec::new();
    {
        let mut emitter = Emitter::new();
        emitter.set_output_string(&mut bytes);
        emitter.set_unicode(true);
        emitter.set_indent(2);
        let mut events = vec![
            Event::stream_start(Encoding::Utf8),
            Event::document_start(None, &[], true),
        ];
        push(&encode::anything(document), &mut events);
        events.extend([Event::document_end(true), Event::stream_end()]);
        for event in events {
            emitter
                .emit(event)
                .expect("a tree of values makes a lawful stream of events");
        }
    }
    String::from_utf8(bytes).expect("the emitter writes UTF-8")
}

fn push(out: &Out, events: &mut Vec<Event>) {
    match out {
        Out::Scalar(text, style) => {
            events.push(Event::scalar(None, None, text, true, true, *style));
        }
        Out::List(items, _) => {
            events.push(Event::sequence_start(
                None,
                None,
                true,
                SequenceStyle::Block,
            ));
            for item in items {
                push(item, events);
            }
            events.push(Event::sequence_end());
        }
        Out::Map(entries, _) => {
            events.push(Event::mapping_start(None, None, true, MappingStyle::Block));
            for (key, value) in entries {
                push(key, events);
                push(value, events);
            }
            events.push(Event::mapping_end());
        }
    }
}
