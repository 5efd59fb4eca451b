//! Strategic merge of values, rule by rule as the library does it by reflection.
//!
//! A value that Go calls zero does not replace anything, except a plain `bool`, which always does.

use super::schema::{self, Custom, Shape, go_name};
use super::url::Url;
use super::value::Value;

/// Merges the right into the left.
pub(crate) fn merge(
    left: &mut Value,
    right: &Value,
    ty: &'static str,
    replace: bool,
) -> Result<(), String> {
    match ty {
        "v1alpha1.NetworkDeviceList" => return devices(left, right),
        "v1alpha1.VlanList" => return keyed(left, right, ty, "vlanId"),
        "v1alpha1.AdmissionPluginConfigList" => return keyed(left, right, ty, "name"),
        "extensions.ConfigFileList" => return keyed(left, right, ty, "mountPath"),
        // These two take over even nothing.
        "block.ByteSize" | "cel.Expression" => {
            right.clone_into(left);
            return Ok(());
        }
        _ => {}
    }
    match schema::shape(ty) {
        Shape::Ptr(inner) => match (&*left, right) {
            (_, Value::Nil) => Ok(()),
            (Value::Nil, _) => {
                right.clone_into(left);
                Ok(())
            }
            _ => merge(left, right, inner, replace),
        },
        Shape::List(_) => {
            list(left, right, replace);
            Ok(())
        }
        Shape::Map(inner) => map(left, right, inner, &go_name(ty), replace),
        Shape::Open => map(left, right, "any", "map[string]interface {}", replace)
            .map_err(|fault| format!("merge field {}.Object: {fault}", go_name(ty))),
        Shape::Struct(named) => {
            let (Value::Struct(lefts), Value::Struct(rights)) = (left, right) else {
                return Ok(());
            };
            for ((field, left), right) in named.fields().iter().zip(lefts).zip(rights) {
                merge(left, right, &field.ty, field.replace).map_err(|fault| {
                    format!("merge field {}.{}: {fault}", go_name(ty), field.go)
                })?;
            }
            Ok(())
        }
        Shape::Custom(kind) => custom(kind, left, right),
        Shape::Bool => {
            right.clone_into(left);
            Ok(())
        }
        Shape::Any => anything(left, right),
        Shape::Int(..) | Shape::Str => {
            if !right.is_zero() {
                right.clone_into(left);
            }
            Ok(())
        }
    }
}

fn list(left: &mut Value, right: &Value, replace: bool) {
    match (&mut *left, right) {
        (_, Value::Nil) => {}
        (Value::List(lefts), Value::List(rights)) if !replace => {
            lefts.extend(rights.iter().cloned());
        }
        _ => right.clone_into(left),
    }
}

fn map(
    left: &mut Value,
    right: &Value,
    inner: &'static str,
    name: &str,
    replace: bool,
) -> Result<(), String> {
    let Value::Map(rights) = right else {
        return Ok(());
    };
    if replace || *left == Value::Nil {
        right.clone_into(left);
        return Ok(());
    }
    let Value::Map(lefts) = left else {
        return Ok(());
    };
    for (key, right) in rights {
        match lefts.get_mut(key) {
            Some(left) if *left != Value::Nil => {
                if inner == "any" && own_type(left) != own_type(right) {
                    return Err(format!(
                        "merge type mismatch left {} right {}",
                        own_type(left),
                        own_type(right)
                    ));
                }
                merge(left, right, inner, false)
                    .map_err(|fault| format!("merge map key {name}[{key}]: {fault}"))?;
            }
            _ => {
                lefts.insert(key.clone(), right.clone());
            }
        }
    }
    Ok(())
}

/// Values of no declared type merge if they happen to have the same one.
fn anything(left: &mut Value, right: &Value) -> Result<(), String> {
    let (one, other) = (own_type(left), own_type(right));
    if one != other {
        return Err(format!("merge type mismatch left {one} right {other}"));
    }
    match right {
        Value::List(_) => list(left, right, false),
        Value::Map(_) => return map(left, right, "any", "map[string]interface {}", false),
        Value::Bool(_) => right.clone_into(left),
        _ if !right.is_zero() => right.clone_into(left),
        _ => {}
    }
    Ok(())
}

fn own_type(value: &Value) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) | Value::Struct(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}

fn custom(kind: Custom, left: &mut Value, right: &Value) -> Result<(), String> {
    match (kind, &mut *left, right) {
        (Custom::SizeMatcher, Value::Str(condition), Value::Str(_)) => {
            return Err(format!(
                "merge field v1alpha1.InstallDiskSizeMatcher.condition: merge not possible, left {condition} is not settable"
            ));
        }
        (Custom::Url, Value::Str(text), Value::Str(other)) => {
            let (mut url, other) = (Url::parse(text)?, Url::parse(other)?);
            url.merge(other);
            *text = url.text();
        }
        // Nothing, and the zero of a number, replace nothing.
        (_, _, Value::Nil | Value::Int(0)) => {}
        _ => right.clone_into(left),
    }
    Ok(())
}

/// Lists whose items are the same when one key says so.
fn keyed(left: &mut Value, right: &Value, ty: &'static str, key: &str) -> Result<(), String> {
    let same = |item: &Value, other: &Value, at: usize| match (item, other) {
        (Value::Struct(item), Value::Struct(other)) => item[at] == other[at],
        _ => false,
    };
    items(left, right, ty, |item, other, fields| {
        fields.position(key).is_some_and(|at| same(item, other, at))
    })
}

/// Interfaces are the same by name, or without one by their selector.
fn devices(left: &mut Value, right: &Value) -> Result<(), String> {
    items(
        left,
        right,
        "v1alpha1.NetworkDeviceList",
        |item, other, fields| {
            let (Value::Struct(item), Value::Struct(other)) = (item, other) else {
                return false;
            };
            let at = |key: &str| fields.position(key).unwrap_or_default();
            if !other[at("interface")].is_zero() {
                return item[at("interface")] == other[at("interface")];
            }
            same_selector(&item[at("deviceSelector")], &other[at("deviceSelector")])
        },
    )
}

/// Go compares pointers inside as pointers: two of them are never the same.
fn same_selector(left: &Value, right: &Value) -> bool {
    let named = schema::named("v1alpha1.NetworkDeviceSelector");
    let pointers = |values: &[Value]| {
        named
            .fields()
            .iter()
            .zip(values)
            .any(|(field, value)| field.ty.starts_with('*') && *value != Value::Nil)
    };
    match (left, right) {
        (Value::Struct(lefts), Value::Struct(rights)) => lefts == rights && !pointers(lefts),
        _ => false,
    }
}

fn items(
    left: &mut Value,
    right: &Value,
    ty: &'static str,
    same: impl Fn(&Value, &Value, &schema::Named) -> bool,
) -> Result<(), String> {
    let (Shape::List(inner), Value::List(rights)) = (schema::shape(ty), right) else {
        return Ok(());
    };
    if *left == Value::Nil && !rights.is_empty() {
        *left = Value::List(Vec::new());
    }
    let Value::List(lefts) = left else {
        return Ok(());
    };
    let named = schema::named(inner);
    for right in rights {
        match lefts.iter_mut().find(|left| same(left, right, named)) {
            Some(left) => merge(left, right, inner, false)?,
            None => lefts.push(right.clone()),
        }
    }
    Ok(())
}
