//! A small part of kubectl's `JSONPath`: paths, `[*]`, `[n]`, quoted text, `{range …}{end}`.

use serde_json::Value;

/// Evaluates a template such as `{.spec.stage}` or `{range .items[*]}{.metadata.name}{"\n"}{end}`.
pub(crate) fn evaluate(template: &str, root: &Value) -> Result<String, String> {
    let mut text = String::new();
    run(&pieces(template)?, root, root, &mut text)?;
    Ok(text)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Action(String),
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut found = Vec::new();
    let mut left = template;
    while let Some(open) = left.find('{') {
        if open > 0 {
            found.push(Piece::Text(left[..open].to_string()));
        }
        let close = left[open..]
            .find('}')
            .ok_or_else(|| format!("error parsing jsonpath {template}, unclosed action"))?;
        found.push(Piece::Action(
            left[open + 1..open + close].trim().to_string(),
        ));
        left = &left[open + close + 1..];
    }
    if !left.is_empty() {
        found.push(Piece::Text(left.to_string()));
    }
    Ok(found)
}

fn run(pieces: &[Piece], root: &Value, here: &Value, text: &mut String) -> Result<(), String> {
    let mut index = 0;
    while index < pieces.len() {
        match &pieces[index] {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Action(action) if action.starts_with("range ") => {
                let end = (index..pieces.len())
                    .find(|&at| pieces[at] == Piece::Action("end".to_string()))
                    .ok_or("error parsing jsonpath: not in range, nothing to end")?;
                for item in walk(action["range ".len()..].trim(), root, here)? {
                    run(&pieces[index + 1..end], root, item, text)?;
                }
                index = end;
            }
            Piece::Action(action) if action.starts_with('"') => {
                let plain = action.trim_matches('"');
                text.push_str(&plain.replace("\\n", "\n").replace("\\t", "\t"));
            }
            Piece::Action(action) => {
                let words: Vec<String> = walk(action, root, here)?.into_iter().map(plain).collect();
                text.push_str(&words.join(" "));
            }
        }
        index += 1;
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn walk<'a>(path: &str, root: &'a Value, here: &'a Value) -> Result<Vec<&'a Value>, String> {
    let (mut found, path) = match path.strip_prefix('$') {
        Some(rest) => (vec![root], rest),
        None => (vec![here], path.strip_prefix('@').unwrap_or(path)),
    };
    let mut left = path;
    while !left.is_empty() {
        if let Some(rest) = left.strip_prefix('[') {
            let close = rest
                .find(']')
                .ok_or_else(|| format!("error parsing jsonpath {path}, unterminated array"))?;
            let inside = rest[..close].trim();
            left = &rest[close + 1..];
            found = bracket(inside, &found)?;
        } else {
            let rest = left.strip_prefix('.').unwrap_or(left);
            let mut end = rest.len();
            let mut escaped = false;
            for (at, letter) in rest.char_indices() {
                if !escaped && matches!(letter, '.' | '[') {
                    end = at;
                    break;
                }
                escaped = letter == '\\';
            }
            let key = rest[..end].replace('\\', "");
            left = &rest[end..];
            found = match key.as_str() {
                "" => found,
                "*" => found.into_iter().flat_map(inner).collect(),
                key => found
                    .into_iter()
                    .filter_map(|value| value.get(key))
                    .collect(),
            };
        }
    }
    Ok(found)
}

fn bracket<'a>(inside: &str, found: &[&'a Value]) -> Result<Vec<&'a Value>, String> {
    if inside == "*" {
        return Ok(found.iter().flat_map(|value| inner(value)).collect());
    }
    if let Some(key) = inside
        .strip_prefix('\'')
        .and_then(|key| key.strip_suffix('\''))
    {
        return Ok(found.iter().filter_map(|value| value.get(key)).collect());
    }
    if let Some(filter) = inside
        .strip_prefix("?(@")
        .and_then(|filter| filter.strip_suffix(')'))
    {
        let (path, wanted) = filter
            .split_once("==")
            .ok_or("the lab plays only == in a jsonpath filter")?;
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        let items = found.iter().flat_map(|value| inner(value));
        return Ok(items
            .filter(|item| {
                walk(path.trim(), item, item)
                    .is_ok_and(|hits| hits.iter().any(|hit| plain(hit) == wanted))
            })
            .collect());
    }
    let index: i64 = inside
        .parse()
        .map_err(|_| format!("the lab does not play jsonpath [{inside}]"))?;
    let mut hits = Vec::new();
    for value in found {
        let items = inner(value);
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = if index < 0 { length + index } else { index };
        let item = usize::try_from(at)
            .ok()
            .and_then(|at| items.get(at).copied());
        hits.push(
            item.ok_or_else(|| {
                format!("array index out of bounds: index {index}, length {length}")
            })?,
        );
    }
    Ok(hits)
}

fn inner(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::evaluate;
    use serde_json::json;

    #[test]
    fn paths_ranges_and_filters() {
        let value = json!({ "items": [{ "n": "a", "t": "x" }, { "n": "b", "t": "y" }] });
        assert_eq!(evaluate("{.items[*].n}", &value).unwrap(), "a b");
        assert_eq!(evaluate("{.items[1].n}", &value).unwrap(), "b");
        assert_eq!(
            evaluate("{range .items[*]}{.n}={.t}{\"\\n\"}{end}", &value).unwrap(),
            "a=x\nb=y\n"
        );
        assert_eq!(evaluate("{.items[?(@.n==\"b\")].t}", &value).unwrap(), "y");
        assert_eq!(evaluate("{.nope.x[0]}", &value).unwrap(), "");
        assert!(evaluate("{.items[5]}", &value).is_err());
        assert!(evaluate("{.bad", &value).is_err());
    }
}
