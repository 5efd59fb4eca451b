//! Flux's substitution of `${VARIABLES}` in built objects.
//!
//! Flux puts the values into the objects' YAML text, so that a value may become a number or a list. Here the same is done on values: where a
//! text would stand without quotes, what comes of it is read as YAML again.

use std::collections::BTreeMap;

use serde_json::Value;

/// Variables.
pub(crate) type Variables = BTreeMap<String, String>;

/// Substitutes in a text. Without `strict`, what is not defined becomes nothing.
pub(crate) fn text(text: &str, variables: &Variables, strict: bool) -> Result<String, String> {
    let mut done = String::new();
    let mut left = text;
    while let Some(at) = left.find('$') {
        let (before, rest) = left.split_at(at);
        done.push_str(before);
        if let Some(escaped) = rest.strip_prefix("$${") {
            done.push_str("${");
            left = escaped;
            continue;
        }
        let Some(inside) = rest.strip_prefix("${") else {
            done.push('$');
            left = &rest[1..];
            continue;
        };
        let end = inside.find('}').ok_or("missing closing brace")?;
        done.push_str(&variable(&inside[..end], variables, strict)?);
        left = &inside[end + 1..];
    }
    done.push_str(left);
    Ok(done)
}

fn variable(inside: &str, variables: &Variables, strict: bool) -> Result<String, String> {
    let end = inside
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .unwrap_or(inside.len());
    let (name, function) = inside.split_at(end);
    let value = variables.get(name);
    let filled = value.filter(|value| !value.is_empty());
    for (operator, takes) in [(":-", filled), (":=", filled), ("-", value), ("=", value)] {
        if let Some(default) = function.strip_prefix(operator) {
            return Ok(takes
                .cloned()
                .unwrap_or_else(|| default.trim_matches('"').to_string()));
        }
    }
    if !function.is_empty() {
        return Err(format!("the lab does not play ${{{inside}}}"));
    }
    match value {
        Some(value) => Ok(value.clone()),
        None if strict => Err(format!("variable not set (strict mode): \"{name}\"")),
        None => Ok(String::new()),
    }
}

/// Substitutes in an object.
pub(crate) fn object(value: &Value, variables: &Variables, strict: bool) -> Result<Value, String> {
    Ok(match value {
        Value::Object(members) => {
            let mut done = serde_json::Map::new();
            for (name, inner) in members {
                done.insert(
                    text(name, variables, strict)?,
                    object(inner, variables, strict)?,
                );
            }
            Value::Object(done)
        }
        Value::Array(items) => {
            let items: Result<Vec<Value>, String> = items
                .iter()
                .map(|item| object(item, variables, strict))
                .collect();
            Value::Array(items?)
        }
        Value::String(word) if word.contains('$') => {
            let done = text(word, variables, strict)?;
            if is_plain(word) {
                serde_yaml::from_str(&done).unwrap_or(Value::String(done))
            } else {
                Value::String(done)
            }
        }
        other => other.clone(),
    })
}

/// Whether a text stands without quotes in YAML.
fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    !text.contains('\n')
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with(':')
        && text.trim() == text
        && first.is_some_and(|first| !"!&*-?:{}[],#|>@`\"'%".contains(first))
}

#[cfg(test)]
mod tests {
    use super::{Variables, object, text};
    use serde_json::json;

    fn variables() -> Variables {
        [
            ("ID", "1"),
            ("NET", "[\"10.0.0.0/8\"]"),
            ("NAME", "infra"),
            ("EMPTY", ""),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
    }

    #[test]
    fn the_recorded_answers() {
        let none = Variables::new();
        assert_eq!(text("a: ${X}", &none, false).unwrap(), "a: ");
        assert_eq!(
            text("a: ${X}", &none, true).unwrap_err(),
            "variable not set (strict mode): \"X\""
        );
        assert_eq!(
            text("a: ${X:-d} $Y $${Z}", &none, true).unwrap(),
            "a: d $Y ${Z}"
        );
        assert_eq!(
            text("${X", &none, false).unwrap_err(),
            "missing closing brace"
        );
        assert_eq!(
            text("${EMPTY:-d}${EMPTY-d}", &variables(), true).unwrap(),
            "d"
        );
    }

    #[test]
    fn a_value_without_quotes_becomes_what_it_looks_like() {
        let before = json!({ "id": "${ID}", "net": "${NET}", "text": "x ${ID}", "script": "echo ${ID}\n", "${NAME}": 1 });
        let after = object(&before, &variables(), true).unwrap();
        assert_eq!(
            after,
            json!({ "id": 1, "net": ["10.0.0.0/8"], "text": "x 1", "script": "echo 1\n", "infra": 1 })
        );
    }
}
