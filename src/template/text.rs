//! Texts with variables for somebody else: `variables(text)`, `text | expand(values)`; and what follows from pairs of names:
//! `reach(pairs, name)`, `cycle(pairs)`, `beside(path, relative)`.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_function("variables", |text: &str| -> Value {
        variables(text)
            .into_iter()
            .map(|found| {
                Value::from_pairs([
                    ("name", Value::from(found.name)),
                    ("line", Value::from(found.line)),
                    ("form", Value::from(found.form)),
                ])
            })
            .collect::<Vec<_>>()
            .into()
    });
    environment.add_filter("expand", |text: &str, values: &Value| expand(text, values));
    environment.add_function(
        "reach",
        |pairs: &Value, from: &str| -> Result<Vec<String>, Error> {
            let pairs = read_pairs(pairs)?;
            let mut seen = BTreeSet::new();
            let mut stack = vec![from.to_owned()];
            while let Some(at) = stack.pop() {
                for (_, to) in pairs.iter().filter(|(name, _)| *name == at) {
                    if seen.insert(to.clone()) {
                        stack.push(to.clone());
                    }
                }
            }
            Ok(seen.into_iter().collect())
        },
    );
    environment.add_function("cycle", |pairs: &Value| -> Result<Vec<String>, Error> {
        Ok(cycle(&read_pairs(pairs)?))
    });
    environment.add_function("beside", |path: &str, relative: &str| {
        beside(path, relative)
    });
    environment.add_filter("fromyaml", |text: &str| {
        super::parse_yaml(text).map_err(|error| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("this is not YAML: {error}"),
            )
        })
    });
}

/// A variable in a text.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: String,
    line: usize,
    /// `plain` for `${NAME}`, `default` for `${NAME:=…}`, `shell` for everything else between braces.
    form: &'static str,
}

/// Every `${…}` that is not written `$${…}`.
fn variables(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("${") {
            if escaped(line, at) {
                continue;
            }
            let inner = &line[at + 2..];
            let inner = inner.find('}').map_or(inner, |end| &inner[..end]);
            let (name, _, form) = parts(inner);
            found.push(Found {
                name: name.to_owned(),
                line: number + 1,
                form,
            });
        }
    }
    found
}

/// Whether the dollar before the braces is itself behind one: then the braces stay.
fn escaped(text: &str, at: usize) -> bool {
    text[..at].ends_with('$')
}

/// Name, default and form of what stands between the braces.
fn parts(inner: &str) -> (&str, Option<&str>, &'static str) {
    let end = inner
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return (inner, None, "shell");
    }
    match rest {
        "" => (name, None, "plain"),
        _ => match rest.strip_prefix(":=") {
            Some(default) => (name, Some(default), "default"),
            None => (name, None, "shell"),
        },
    }
}

/// Puts values in place of `${NAME}` and `${NAME:=default}`, strictly: a name without a value is an error. `$${…}` becomes `${…}`.
fn expand(text: &str, values: &Value) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let inner = &after[2..];
        let Some(end) = inner.find('}') else {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "`${` without its closing brace",
            ));
        };
        let inner = &inner[..end];
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str(&after[..end + 3]);
        } else {
            out.push_str(before);
            let (name, default, form) = parts(inner);
            let value = values
                .get_attr(name)
                .ok()
                .filter(|value| !value.is_undefined());
            match (value, default, form) {
                (Some(value), _, "plain" | "default") => {
                    if matches!(
                        value.kind(),
                        ValueKind::Map | ValueKind::Seq | ValueKind::None
                    ) {
                        return Err(Error::new(
                            ErrorKind::InvalidOperation,
                            format!("the value of `${{{name}}}` is no text"),
                        ));
                    }
                    out.push_str(&value.to_string());
                }
                (None, Some(default), _) => out.push_str(default),
                _ => {
                    return Err(Error::new(
                        ErrorKind::InvalidOperation,
                        format!("`${{{inner}}}` has no value"),
                    ));
                }
            }
        }
        rest = &after[end + 3..];
    }
    out.push_str(rest);
    Ok(out)
}

fn read_pairs(pairs: &Value) -> Result<Vec<(String, String)>, Error> {
    let broken = || {
        Error::new(
            ErrorKind::InvalidOperation,
            "pairs are a list of lists of two names",
        )
    };
    pairs
        .try_iter()?
        .map(|pair| {
            let mut names = pair.try_iter().map_err(|_| broken())?;
            match (names.next(), names.next(), names.next()) {
                (Some(from), Some(to), None) => Ok((from.to_string(), to.to_string())),
                _ => Err(broken()),
            }
        })
        .collect()
}

/// A way along the pairs that comes back to where it began; empty where there is none.
fn cycle(pairs: &[(String, String)]) -> Vec<String> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in pairs {
        next.entry(from).or_default().push(to);
    }
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for &start in next.keys() {
        let mut path: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((at, tried)) = path.last_mut() {
            let Some(&to) = next.get(*at).and_then(|all| all.get(*tried)) else {
                done.insert(*at);
                path.pop();
                continue;
            };
            *tried += 1;
            if let Some(begin) = path.iter().position(|(name, _)| *name == to) {
                let mut names: Vec<String> = path[begin..]
                    .iter()
                    .map(|(name, _)| (*name).to_owned())
                    .collect();
                names.push(to.to_owned());
                return names;
            }
            if !done.contains(to) {
                path.push((to, 0));
            }
        }
    }
    Vec::new()
}

/// The path that a relative one means in the folder of a file: `beside('a/b/c.yaml', '../d')` is `a/d`.
fn beside(path: &str, relative: &str) -> Result<String, Error> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| *part != ".").collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::new(
                        ErrorKind::InvalidOperation,
                        format!("`{relative}` beside `{path}` leads out"),
                    ));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Value {
        Value::from_pairs([("A", Value::from("1")), ("LIST", Value::from(r#"["x"]"#))])
    }

    #[test]
    fn variables_are_told_by_line_and_form() {
        let told: Vec<(String, usize, &str)> = variables("a ${A} ${B:=x}\n$${C} ${D:-y} $E\n${#F}")
            .into_iter()
            .map(|found| (found.name, found.line, found.form))
            .collect();
        assert_eq!(
            told,
            [
                ("A".into(), 1, "plain"),
                ("B".into(), 1, "default"),
                ("D".into(), 2, "shell"),
                ("#F".into(), 3, "shell"),
            ]
        );
    }

    #[test]
    fn what_has_no_value_is_an_error() {
        assert_eq!(
            expand("x: ${A}, ${LIST}, ${B:=d}, $${A} $A", &values()).unwrap(),
            r#"x: 1, ["x"], d, ${A} $A"#
        );
        for text in ["${B}", "${A:-x}", "${A", "${B:-x}"] {
            assert!(expand(text, &values()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cycle_is_shown_as_a_path() {
        let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter()
                .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
                .collect()
        };
        assert_eq!(
            cycle(&pairs(&[("a", "b"), ("b", "c"), ("a", "c")])),
            [] as [String; 0]
        );
        assert_eq!(
            cycle(&pairs(&[("a", "b"), ("b", "c"), ("c", "b")])),
            ["b", "c", "b"]
        );
        assert_eq!(cycle(&pairs(&[("a", "a")])), ["a", "a"]);
    }

    #[test]
    fn a_path_beside_another_stays_inside() {
        assert_eq!(beside("a/b/k.yaml", "../c").unwrap(), "a/c");
        assert_eq!(beside("k.yaml", "./c.yaml").unwrap(), "c.yaml");
        assert!(beside("a/k.yaml", "../../c").is_err());
    }
}
