//! Reading a mapping key by key, so that all that is wrong with it is told at once.

use std::time::Duration;

use super::{Diagnostic, Diagnostics, Key, Node, Shape, Span};

/// A mapping that is being read: every key must be taken by somebody.
pub struct Fields<'a> {
    what: &'static str,
    span: Span,
    entries: Vec<(&'a Key, &'a Node, bool)>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping; `what` is what it is, for messages ("a step").
    pub fn open(node: &'a Node, what: &'static str, problems: &mut Diagnostics) -> Option<Self> {
        let Shape::Map(entries) = &node.shape else {
            problems.push(Diagnostic::at(
                node.span,
                format!("{what} is a mapping, but this is {}", node.shape.noun()),
            ));
            return None;
        };
        let entries = entries
            .iter()
            .map(|(key, value)| (key, value, false))
            .collect();
        Some(Self {
            what,
            span: node.span,
            entries,
            known: Vec::new(),
        })
    }

    /// Where the mapping stands.
    pub fn span(&self) -> Span {
        self.entries
            .first()
            .map_or(self.span, |(key, _, _)| key.span)
    }

    /// Takes a key; nothing where it is absent or empty.
    pub fn take(&mut self, name: &'static str) -> Option<&'a Node> {
        self.take_entry(name).map(|(_, node)| node)
    }

    /// Takes a key with its own place.
    pub fn take_entry(&mut self, name: &'static str) -> Option<(&'a Key, &'a Node)> {
        self.known.push(name);
        // A key that is given twice is told of elsewhere; here all of them are known.
        let mut found = None;
        for (key, node, taken) in &mut self.entries {
            if key.text == name {
                *taken = true;
                found = Some((*key, *node));
            }
        }
        found
    }

    /// Takes a key that must be there.
    pub fn need(&mut self, name: &'static str, problems: &mut Diagnostics) -> Option<&'a Node> {
        let found = self.take(name);
        if found.is_none() {
            problems.push(Diagnostic::at(
                self.span(),
                format!("{} needs `{name}`", self.what),
            ));
        }
        found
    }

    /// Takes text.
    pub fn text(
        &mut self,
        name: &'static str,
        problems: &mut Diagnostics,
    ) -> Option<(String, Span)> {
        let node = self.take(name)?;
        text(node, name, problems)
    }

    /// Takes text that must be there.
    pub fn need_text(
        &mut self,
        name: &'static str,
        problems: &mut Diagnostics,
    ) -> Option<(String, Span)> {
        let node = self.need(name, problems)?;
        text(node, name, problems)
    }

    /// Takes a length of time such as `90s`, `10m`, `1h30m`.
    pub fn duration(&mut self, name: &'static str, problems: &mut Diagnostics) -> Option<Duration> {
        let node = self.take(name)?;
        duration(node, name, problems)
    }

    /// Takes `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &'static str, problems: &mut Diagnostics) -> bool {
        match self.take(name).map(|node| (&node.shape, node.span)) {
            None => false,
            Some((Shape::Bool(value), _)) => *value,
            Some((shape, span)) => {
                problems.push(Diagnostic::at(
                    span,
                    format!("`{name}` is true or false, but this is {}", shape.noun()),
                ));
                false
            }
        }
    }

    /// Takes a whole number that is not negative.
    pub fn count(&mut self, name: &'static str, problems: &mut Diagnostics) -> Option<u32> {
        let node = self.take(name)?;
        if let Shape::Int(value) = node.shape
            && let Ok(value) = u32::try_from(value)
        {
            return Some(value);
        }
        problems.push(Diagnostic::at(
            node.span,
            format!(
                "`{name}` is a whole number, but this is {}",
                node.shape.noun()
            ),
        ));
        None
    }

    /// Takes a list; something single is not a list.
    pub fn list(&mut self, name: &'static str, problems: &mut Diagnostics) -> Vec<&'a Node> {
        match self.take(name) {
            None => Vec::new(),
            Some(Node {
                shape: Shape::List(values),
                ..
            }) => values.iter().collect(),
            Some(node) => {
                problems.push(
                    Diagnostic::at(
                        node.span,
                        format!("`{name}` is a list, but this is {}", node.shape.noun()),
                    )
                    .help(format!("write `{name}: [ … ]`, also for one")),
                );
                Vec::new()
            }
        }
    }

    /// Takes a list of texts.
    pub fn texts(&mut self, name: &'static str, problems: &mut Diagnostics) -> Vec<(String, Span)> {
        let values = self.list(name, problems);
        values
            .into_iter()
            .filter_map(|value| text(value, name, problems))
            .collect()
    }

    /// Takes a mapping as it was written.
    pub fn map(&mut self, name: &'static str, problems: &mut Diagnostics) -> &'a [(Key, Node)] {
        match self.take(name) {
            None => &[],
            Some(Node {
                shape: Shape::Map(entries),
                ..
            }) => entries,
            Some(node) => {
                problems.push(Diagnostic::at(
                    node.span,
                    format!("`{name}` is a mapping, but this is {}", node.shape.noun()),
                ));
                &[]
            }
        }
    }

    /// Whether a key that nobody took is near to one of these: then that one was meant.
    pub fn misspells(&self, names: &[&str]) -> bool {
        self.entries.iter().any(|(key, _, taken)| {
            !taken && super::diagnostic::nearest(&key.text, names.iter().copied()).is_some()
        })
    }

    /// Looks at a key without taking it.
    pub fn peek(&self, name: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .rfind(|(key, _, _)| key.text == name)
            .map(|(_, node, _)| *node)
    }

    /// Whether a key is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _, _)| key.text == name)
    }

    /// Closes the mapping: what nobody took is unknown.
    pub fn close(self, problems: &mut Diagnostics) {
        for (key, _, taken) in &self.entries {
            if !taken {
                let mut known = self.known.clone();
                known.sort_unstable();
                let diagnostic =
                    Diagnostic::at(key.span, format!("{} has no key `{}`", self.what, key.text))
                        .help(format!("it may have: {}", known.join(", ")));
                let near = diagnostic.clone().suggest(&key.text, known.iter().copied());
                problems.push(near);
            }
        }
    }
}

/// The text of a node; numbers and the like are refused with the hint to quote them.
pub fn text(node: &Node, name: &str, problems: &mut Diagnostics) -> Option<(String, Span)> {
    if let Shape::Text(text) = &node.shape {
        return Some((text.clone(), node.span));
    }
    let diagnostic = Diagnostic::at(
        node.span,
        format!("`{name}` is text, but this is {}", node.shape.noun()),
    );
    problems.push(match node.shape {
        Shape::Int(_) | Shape::Float(_) | Shape::Bool(_) => diagnostic.help("put it in quotes"),
        Shape::Null | Shape::Text(_) | Shape::List(_) | Shape::Map(_) => diagnostic,
    });
    None
}

/// No step and no wait takes longer. It keeps sums of times far from what a clock can hold.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A length of time.
pub fn duration(node: &Node, name: &str, problems: &mut Diagnostics) -> Option<Duration> {
    let parsed = match &node.shape {
        Shape::Text(text) => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .filter(|duration| !duration.is_negative())
            .and_then(|duration| Duration::try_from(duration).ok()),
        Shape::Int(0) => Some(Duration::ZERO),
        Shape::Null
        | Shape::Bool(_)
        | Shape::Int(_)
        | Shape::Float(_)
        | Shape::List(_)
        | Shape::Map(_) => None,
    };
    match parsed {
        Some(length) if length > LONGEST => {
            problems.push(Diagnostic::at(
                node.span,
                format!("`{name}` is longer than a year"),
            ));
            None
        }
        Some(length) => Some(length),
        None => {
            problems.push(
                Diagnostic::at(node.span, format!("`{name}` is not a length of time"))
                    .help("write 90s, 10m or 1h30m"),
            );
            None
        }
    }
}
