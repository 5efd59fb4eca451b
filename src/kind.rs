//! The types of inventory fields and parameters: what a value must look like, checked before anything runs.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value as Json;

use crate::document::{Diagnostic, Diagnostics, Key, Node, Shape};

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Anything at all.
    Any,
    /// Text.
    Text,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Bool,
    /// An IP address.
    Ip,
    /// A network such as `10.0.0.0/16`.
    Cidr,
    /// A DNS name.
    Host,
    /// An absolute URL.
    Url,
    /// A MAC address, or the beginning of one.
    Mac,
    /// A version such as `v1.11.2`.
    Version,
    /// A length of time such as `10m`.
    Duration,
    /// A file or folder below the project folder.
    Path,
    /// A node of the inventory, by name or address.
    Node,
    /// A cluster of the inventory, by name.
    Cluster,
    /// A list of one type.
    List(Box<Self>),
    /// One of these words.
    OneOf(Vec<String>),
    /// A mapping with these keys.
    Record(Vec<Field>),
}

/// A named place for a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be absent; then it is nothing (null).
    pub optional: bool,
    /// What it is when it is absent.
    pub default: Option<Json>,
}

const WORDS: [(&str, Kind); 14] = [
    ("Cluster", Kind::Cluster),
    ("Node", Kind::Node),
    ("any", Kind::Any),
    ("bool", Kind::Bool),
    ("cidr", Kind::Cidr),
    ("duration", Kind::Duration),
    ("host", Kind::Host),
    ("int", Kind::Int),
    ("ip", Kind::Ip),
    ("mac", Kind::Mac),
    ("path", Kind::Path),
    ("text", Kind::Text),
    ("url", Kind::Url),
    ("version", Kind::Version),
];

impl Field {
    /// Reads a declaration such as `ip`, `text?`, `[cidr]`, `{ one_of: [a, b], default: a }` or a record.
    pub fn read(name: &str, node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let field = |kind| Self {
            name: name.to_owned(),
            kind,
            optional: false,
            default: None,
        };
        match &node.shape {
            Shape::Text(word) => {
                let (bare, optional) = word
                    .strip_suffix('?')
                    .map_or((word.as_str(), false), |bare| (bare, true));
                let Some((_, kind)) = WORDS.iter().find(|(known, _)| *known == bare) else {
                    problems.push(
                        Diagnostic::at(node.span, format!("there is no type `{bare}`"))
                            .help(format!(
                                "the types are: {}, [TYPE], {{ one_of: [...] }} or a record",
                                WORDS.map(|(word, _)| word).join(", ")
                            ))
                            .suggest(bare, WORDS.iter().map(|(word, _)| *word)),
                    );
                    return None;
                };
                Some(Self {
                    optional,
                    ..field(kind.clone())
                })
            }
            Shape::List(values) => {
                if let [one] = values.as_slice() {
                    Self::read(name, one, problems)
                        .map(|inner| field(Kind::List(Box::new(inner.kind))))
                } else {
                    problems.push(Diagnostic::at(
                        node.span,
                        "the type of a list has exactly one element, the type of its elements",
                    ));
                    None
                }
            }
            Shape::Map(entries) => {
                let get = |wanted: &str| {
                    entries
                        .iter()
                        .find(|(key, _)| key.text == wanted)
                        .map(|(_, node)| node)
                };
                if let Some(words) = get("one_of") {
                    let words = match &words.shape {
                        Shape::List(words) => words
                            .iter()
                            .filter_map(|word| word.text().map(str::to_owned))
                            .collect(),
                        _ => Vec::new(),
                    };
                    if words.is_empty() {
                        problems.push(Diagnostic::at(node.span, "`one_of` is a list of words"));
                    }
                    let kind = Kind::OneOf(words);
                    let default = default(&kind, name, get("default"), problems);
                    unknown(entries, &["one_of", "default"], problems);
                    return Some(Self {
                        default,
                        ..field(kind)
                    });
                }
                if let Some(kind) = get("type") {
                    let inner = Self::read(name, kind, problems)?;
                    let default = default(&inner.kind, name, get("default"), problems);
                    unknown(entries, &["type", "default"], problems);
                    return Some(Self { default, ..inner });
                }
                let fields = entries
                    .iter()
                    .filter_map(|(key, node)| Self::read(&key.text, node, problems))
                    .collect();
                Some(field(Kind::Record(fields)))
            }
            Shape::Null | Shape::Bool(_) | Shape::Int(_) | Shape::Float(_) => {
                problems.push(Diagnostic::at(
                    node.span,
                    format!("a type is expected, but this is {}", node.shape.noun()),
                ));
                None
            }
        }
    }
}

/// A declared default, which must be of the declared type.
fn default(
    kind: &Kind,
    name: &str,
    node: Option<&Node>,
    problems: &mut Diagnostics,
) -> Option<Json> {
    let node = node?;
    let json = node.to_json();
    // Whether a path exists or a node is known is asked when the value is used.
    let plain = !matches!(
        kind,
        Kind::Path | Kind::Node | Kind::Cluster | Kind::List(_) | Kind::Record(_)
    );
    if plain && !kind.accepts(&json, Path::new("")) {
        let found = match &node.shape {
            Shape::Text(text) => format!("`{text}` is not"),
            shape => format!("this is {}", shape.noun()),
        };
        problems.push(Diagnostic::at(
            node.span,
            format!("the default of `{name}` is {}, but {found}", kind.noun()),
        ));
    }
    Some(json)
}

/// Tells of keys that a declaration does not have.
fn unknown(entries: &[(Key, Node)], known: &[&str], problems: &mut Diagnostics) {
    for (key, _) in entries {
        if !known.contains(&key.text.as_str()) {
            problems.push(
                Diagnostic::at(key.span, format!("a type has no key `{}`", key.text))
                    .help(format!("it may have: {}", known.join(", ")))
                    .suggest(&key.text, known.iter().copied()),
            );
        }
    }
}

impl Kind {
    /// What to call it in a sentence.
    pub fn noun(&self) -> String {
        match self {
            Self::Any => "anything".into(),
            Self::Text => "text".into(),
            Self::Int => "a whole number".into(),
            Self::Bool => "true or false".into(),
            Self::Ip => "an IP address".into(),
            Self::Cidr => "a network such as 10.0.0.0/16".into(),
            Self::Host => "a DNS name".into(),
            Self::Url => "a URL such as https://example.org".into(),
            Self::Mac => "a MAC address such as 02:00:5e:00:53:01".into(),
            Self::Version => "a version such as v1.2.3".into(),
            Self::Duration => "a length of time such as 10m".into(),
            Self::Path => "a path below the project folder that exists".into(),
            Self::Node => "the name of a node".into(),
            Self::Cluster => "the name of a cluster".into(),
            Self::List(inner) => format!("a list, each element {}", inner.noun()),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Record(_) => "a mapping".into(),
        }
    }

    /// Whether a text (or number, or truth) has this type; records, lists, nodes and clusters are not told from text.
    pub fn accepts(&self, value: &Json, root: &Path) -> bool {
        let text = value.as_str();
        match self {
            Self::Any => true,
            Self::Node | Self::Cluster => text.is_some() || value.is_object(),
            Self::Text => text.is_some(),
            Self::Int => value.is_i64() || value.is_u64(),
            Self::Bool => value.is_boolean(),
            Self::Ip => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            Self::Cidr => text.is_some_and(|text| {
                text.parse::<ipnet::IpNet>()
                    .is_ok_and(|net| net.trunc() == net)
            }),
            Self::Host => text.is_some_and(is_host),
            Self::Url => text.is_some_and(|text| {
                text.split_once("://").is_some_and(|(scheme, rest)| {
                    !scheme.is_empty()
                        && !rest.is_empty()
                        && scheme.chars().all(|c| c.is_ascii_alphanumeric())
                })
            }),
            Self::Mac => text.is_some_and(is_mac),
            Self::Version => text.is_some_and(is_version),
            Self::Duration => text.is_some_and(|text| {
                text.parse::<jiff::SignedDuration>()
                    .is_ok_and(|time| !time.is_negative())
            }),
            Self::Path => text.is_some_and(|text| {
                crate::template::below(root, text).is_ok_and(|path| path.exists())
            }),
            Self::List(inner) => value
                .as_array()
                .is_some_and(|values| values.iter().all(|value| inner.accepts(value, root))),
            Self::OneOf(words) => text.is_some_and(|text| words.iter().any(|word| word == text)),
            Self::Record(_) => value.is_object(),
        }
    }

    /// Checks a written value and gives it as JSON, with defaults filled in.
    pub fn check(&self, node: &Node, name: &str, root: &Path, problems: &mut Diagnostics) -> Json {
        match (self, &node.shape) {
            (Self::Record(fields), Shape::Map(entries)) => {
                let mut out = serde_json::Map::new();
                for field in fields {
                    match entries.iter().find(|(key, _)| key.text == field.name) {
                        Some((_, node)) if node.shape == Shape::Null && field.optional => {
                            out.insert(field.name.clone(), Json::Null);
                        }
                        Some((_, node)) => {
                            out.insert(
                                field.name.clone(),
                                field.kind.check(node, &field.name, root, problems),
                            );
                        }
                        None if field.optional || field.default.is_some() => {
                            out.insert(
                                field.name.clone(),
                                field.default.clone().unwrap_or(Json::Null),
                            );
                        }
                        None => {
                            let span = entries.first().map_or(node.span, |(key, _)| key.span);
                            problems.push(
                                Diagnostic::at(span, format!("`{name}` needs `{}`", field.name))
                                    .help(format!("it is {}", field.kind.noun())),
                            );
                        }
                    }
                }
                for (key, _) in entries {
                    if !fields.iter().any(|field| field.name == key.text) {
                        problems.push(
                            Diagnostic::at(
                                key.span,
                                format!("`{name}` has no field `{}`", key.text),
                            )
                            .help("declare it under `fields`")
                            .suggest(&key.text, fields.iter().map(|field| field.name.as_str())),
                        );
                    }
                }
                out.into()
            }
            (Self::List(inner), Shape::List(values)) => values
                .iter()
                .map(|value| inner.check(value, name, root, problems))
                .collect(),
            _ => {
                let json = node.to_json();
                let whole =
                    !matches!(self, Self::Record(_) | Self::List(_)) && self.accepts(&json, root);
                if !whole {
                    let found = match &node.shape {
                        Shape::Text(text) if matches!(self, Self::Bool | Self::Int) => {
                            format!("this is the text `{text}`")
                        }
                        Shape::Text(text) => format!("`{text}` is not"),
                        shape => format!("this is {}", shape.noun()),
                    };
                    let diagnostic = Diagnostic::at(
                        node.span,
                        format!("`{name}` is {}, but {found}", self.noun()),
                    );
                    problems.push(match (self, &node.shape) {
                        (
                            Self::Text | Self::Version,
                            Shape::Int(_) | Shape::Float(_) | Shape::Bool(_),
                        ) => diagnostic.help("put it in quotes"),
                        (Self::Bool, Shape::Text(text)) if text == "true" || text == "false" => {
                            diagnostic.help("take away the quotes")
                        }
                        (Self::Bool, _) => diagnostic.help("write true or false"),
                        (Self::Int, Shape::Text(text)) if text.parse::<i64>().is_ok() => {
                            diagnostic.help("take away the quotes")
                        }
                        (Self::List(_), _) => diagnostic.help("write [ … ], also for one"),
                        (Self::OneOf(words), Shape::Text(text)) => {
                            diagnostic.suggest(text, words.iter().map(String::as_str))
                        }
                        (Self::Cidr, Shape::Text(text)) => match text.parse::<ipnet::IpNet>() {
                            Ok(net) => diagnostic.help(format!("the network is {}", net.trunc())),
                            Err(_) => diagnostic,
                        },
                        _ => diagnostic,
                    });
                }
                json
            }
        }
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text
        .trim_end_matches('*')
        .trim_end_matches(':')
        .split(':')
        .collect();
    (1..=6).contains(&parts.len())
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()))
        && (parts.len() == 6 || text.ends_with(':') || text.ends_with('*'))
}

fn is_version(text: &str) -> bool {
    let numbers = text
        .trim_start_matches('v')
        .split(['-', '+'])
        .next()
        .unwrap_or("");
    let parts: Vec<&str> = numbers.split('.').collect();
    (2..=3).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_must_be_written_as_networks() {
        let accepts = |kind: &Kind, text: &str| kind.accepts(&Json::from(text), Path::new("."));
        assert!(accepts(&Kind::Cidr, "10.244.0.0/16"));
        assert!(!accepts(&Kind::Cidr, "10.244.0.1/16"));
        assert!(accepts(&Kind::Mac, "02:00:5e:*"));
        assert!(!accepts(&Kind::Mac, "02:00:5e"));
        assert!(accepts(&Kind::Version, "v1.11.2"));
        assert!(!accepts(&Kind::Version, "1"));
        assert!(accepts(&Kind::Host, "infra-k8s.example.org"));
        assert!(!accepts(&Kind::Host, "-infra"));
    }
}
