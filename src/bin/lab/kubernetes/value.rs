//! Small helpers for objects as JSON values.

use serde_json::{Map, Value, json};

/// Returns the text at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Returns what stands at a JSON pointer as text, numbers and switches too.
pub(crate) fn word(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Returns the elements at a JSON pointer.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Sets what stands at a JSON pointer, with the objects on the way.
pub(crate) fn set(value: &mut Value, path: &str, new: Value) {
    let mut here = value;
    for part in path.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        if !here.is_object() {
            *here = json!({});
        }
        let Value::Object(members) = here else {
            return;
        };
        here = members.entry(name).or_insert(Value::Null);
    }
    *here = new;
}

/// Removes a member.
pub(crate) fn unset(value: &mut Value, parent: &str, name: &str) {
    if let Some(members) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
        members.shift_remove(name);
    }
}

/// Returns a kind with its group: `Pod`, `Deployment.apps`.
pub(crate) fn kind_of(object: &Value) -> String {
    let kind = text(object, "/kind");
    match text(object, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind.to_string(),
    }
}

/// Returns the namespace and the name.
pub(crate) fn place(object: &Value) -> (&str, &str) {
    (
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name"),
    )
}

/// Returns a condition's status.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Returns whether a condition is true.
pub(crate) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Sets a condition; its time of transition stays as long as its status does.
pub(crate) fn put_condition(
    object: &mut Value,
    date: &str,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
) {
    let old = condition(object, kind).cloned();
    let since = match &old {
        Some(old) if old["status"] == status => old["lastTransitionTime"].clone(),
        _ => json!(date),
    };
    let mut new = old.unwrap_or_else(|| json!({ "type": kind }));
    new["status"] = json!(status);
    new["reason"] = json!(reason);
    new["message"] = json!(message);
    new["lastTransitionTime"] = since;
    if !list(object, "/status/conditions").is_empty()
        && let Some(all) = object
            .pointer_mut("/status/conditions")
            .and_then(Value::as_array_mut)
    {
        match all.iter_mut().find(|condition| condition["type"] == kind) {
            Some(old) => *old = new,
            None => all.push(new),
        }
        return;
    }
    set(object, "/status/conditions", json!([new]));
}

/// Removes a condition.
pub(crate) fn drop_condition(object: &mut Value, kind: &str) {
    if let Some(all) = object
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut)
    {
        all.retain(|condition| condition["type"] != kind);
    }
}

/// Returns whether labels fulfil a selector: `matchLabels` and `matchExpressions`; an absent one selects nothing.
pub(crate) fn selects(selector: Option<&Value>, labels: &Value) -> bool {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else {
        return false;
    };
    let equal = selector["matchLabels"].as_object().is_none_or(|wanted| {
        wanted
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    });
    equal
        && list(selector, "/matchExpressions").iter().all(|rule| {
            let have = labels.get(text(rule, "/key"));
            let within = have.is_some_and(|have| list(rule, "/values").contains(have));
            match text(rule, "/operator") {
                "In" => within,
                "NotIn" => !within,
                "Exists" => have.is_some(),
                "DoesNotExist" => have.is_none(),
                _ => false,
            }
        })
}

/// Returns whether labels have all of these (a Service's selector); an empty one selects nothing.
pub(crate) fn has_labels(wanted: &Value, labels: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| {
        !wanted.is_empty()
            && wanted
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
    })
}

/// Returns a hash of a value as a short word that does not depend on the order of keys.
pub(crate) fn digest(value: &Value) -> String {
    let text = crate::text::sorted(value).to_string();
    blake3::hash(text.as_bytes()).to_hex()[..10].to_string()
}

/// Returns an empty object if there is none.
pub(crate) fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
