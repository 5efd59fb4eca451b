//! YAML as Go's `yaml.v3` reads it: nodes with line numbers, tags and styles, and its error texts.
//!
//! Scanning and parsing are libyaml's (of which `yaml.v3` is a translation), so the complaints have its words and lines.
//! Comments are not kept: no answer of the library that the lab plays shows them.

use super::scalar::resolve;
use libyaml_safer::{
    Error, ErrorKind, EventData, MappingStyle, Parser, ScalarStyle, Scanner, SequenceStyle,
    TokenData,
};
use std::collections::BTreeMap;

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A scalar with the style it was written in.
    Scalar(ScalarStyle),
    /// A list; `true` when written in flow style.
    Sequence(Vec<Node>, bool),
    /// Keys and values in the order of the file; `true` when written in flow style.
    Mapping(Vec<(Node, Node)>, bool),
    /// A reference to an anchor, with what it stands for.
    Alias(Box<Node>),
}

/// One node of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// What it is, with its children.
    pub(crate) kind: Kind,
    /// Its short tag (`!!str`), given or resolved.
    pub(crate) tag: String,
    /// Whether the tag was written in the file.
    pub(crate) tagged: bool,
    /// The text of a scalar, the name of an alias.
    pub(crate) value: String,
    /// The line it begins on, from 1.
    pub(crate) line: u64,
}

impl Node {
    /// Tells whether the node is null for the library: an alias to null counts.
    pub(crate) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Alias(target) => target.is_null(),
            Kind::Scalar(_) => self.tag == "!!null",
            Kind::Sequence(..) | Kind::Mapping(..) => false,
        }
    }

    /// Tells whether the scalar was quoted, or a block, and not tagged: then it is text whatever it says.
    pub(crate) fn indicated_string(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(style) if *style != ScalarStyle::Plain && (!self.tagged || self.tag == "!!str"))
    }

    /// The entries of a mapping, if it is one.
    pub(crate) fn entries(&self) -> Option<&[(Self, Self)]> {
        match &self.kind {
            Kind::Mapping(entries, _) => Some(entries),
            Kind::Scalar(_) | Kind::Sequence(..) | Kind::Alias(_) => None,
        }
    }
}

/// Reads every document of a text. Documents before a fault are given together with it.
pub(crate) fn documents(text: &str) -> (Vec<Node>, Option<String>) {
    let mut input = text.as_bytes();
    let mut reader = Reader {
        parser: Parser::new(),
        anchors: BTreeMap::new(),
        ahead: Ahead::of(text),
    };
    reader.parser.set_input_string(&mut input);
    let mut found = Vec::new();
    loop {
        match reader.document() {
            Ok(Some(node)) => found.push(node),
            Ok(None) => return (found, None),
            Err(fault) => return (found, Some(fault)),
        }
    }
}

struct Reader<'r, 'b> {
    parser: Parser<&'b mut &'r [u8]>,
    anchors: BTreeMap<String, Node>,
    ahead: Ahead,
}

/// `yaml.v3` scans two tokens further than libyaml before it parses, so that a fault of the scanner comes before one of the
/// parser, and before the end of a document just ahead of it.
struct Ahead {
    starts: Vec<u64>,
    fault: Option<String>,
}

impl Ahead {
    fn of(text: &str) -> Self {
        let mut input = text.as_bytes();
        let mut scanner = Scanner::new();
        scanner.set_input_string(&mut input);
        let mut starts = Vec::new();
        loop {
            match Scanner::scan(&mut scanner) {
                Ok(token) if token.data == TokenData::StreamEnd => {
                    return Self {
                        starts,
                        fault: None,
                    };
                }
                Ok(token) => starts.push(token.start_mark.index),
                Err(error) => {
                    let fault = Some(complaint(&error));
                    return Self { starts, fault };
                }
            }
        }
    }

    /// The fault that is in sight from a place in the text.
    fn fault(&self, index: u64) -> Option<String> {
        let head = self.starts.partition_point(|start| *start < index);
        self.fault.clone().filter(|_| head + 2 >= self.starts.len())
    }
}

impl Reader<'_, '_> {
    fn event(&mut self) -> Result<(EventData, u64), String> {
        match self.parser.parse() {
            Ok(event) => match self.ahead.fault(event.start_mark.index) {
                Some(fault) => Err(fault),
                None => Ok((event.data, event.start_mark.line + 1)),
            },
            Err(error) => {
                let sight = error
                    .problem_mark()
                    .and_then(|mark| self.ahead.fault(mark.index));
                Err(sight.unwrap_or_else(|| complaint(&error)))
            }
        }
    }

    fn document(&mut self) -> Result<Option<Node>, String> {
        loop {
            match self.event()?.0 {
                EventData::StreamEnd => return Ok(None),
                EventData::DocumentStart { .. } => {
                    self.anchors.clear();
                    let (event, line) = self.event()?;
                    return self.node(event, line).map(Some);
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: EventData, line: u64) -> Result<Node, String> {
        match event {
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let tagged = tag.as_deref().is_some_and(|tag| tag != "!");
                let tag = if tagged {
                    short_tag(&tag.unwrap_or_default())
                } else if style != ScalarStyle::Plain {
                    "!!str".to_owned()
                } else {
                    resolve(&value).0.to_owned()
                };
                let node = Node {
                    kind: Kind::Scalar(style),
                    tag,
                    tagged,
                    value,
                    line,
                };
                Ok(self.anchored(anchor, node))
            }
            EventData::SequenceStart {
                anchor, tag, style, ..
            } => {
                let mut items = Vec::new();
                loop {
                    match self.event()? {
                        (EventData::SequenceEnd, _) => break,
                        (event, line) => items.push(self.node(event, line)?),
                    }
                }
                let kind = Kind::Sequence(items, style == SequenceStyle::Flow);
                Ok(self.anchored(anchor, collection(kind, tag, "!!seq", line)))
            }
            EventData::MappingStart {
                anchor, tag, style, ..
            } => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.event()? {
                        (EventData::MappingEnd, _) => break,
                        (event, line) => self.node(event, line)?,
                    };
                    let (event, line) = self.event()?;
                    entries.push((key, self.node(event, line)?));
                }
                let kind = Kind::Mapping(entries, style == MappingStyle::Flow);
                Ok(self.anchored(anchor, collection(kind, tag, "!!map", line)))
            }
            EventData::Alias { anchor } => {
                let Some(target) = self.anchors.get(&anchor) else {
                    return Err(format!("yaml: unknown anchor '{anchor}' referenced"));
                };
                Ok(Node {
                    kind: Kind::Alias(Box::new(target.clone())),
                    tag: String::new(),
                    tagged: false,
                    value: anchor,
                    line,
                })
            }
            other => Err(format!("yaml: unexpected {other:?}")),
        }
    }

    fn anchored(&mut self, anchor: Option<String>, node: Node) -> Node {
        if let Some(name) = anchor {
            self.anchors.insert(name, node.clone());
        }
        node
    }
}

fn collection(kind: Kind, tag: Option<String>, default: &str, line: u64) -> Node {
    let tagged = tag.is_some();
    Node {
        kind,
        tag: tag.map_or_else(|| default.to_owned(), |tag| short_tag(&tag)),
        tagged,
        value: String::new(),
        line,
    }
}

fn short_tag(tag: &str) -> String {
    tag.strip_prefix("tag:yaml.org,2002:")
        .map_or_else(|| tag.to_owned(), |word| format!("!!{word}"))
}

/// `yaml.v3` names the line of the context if there is one, else that of the problem; scanner faults count from 0.
fn complaint(error: &Error) -> String {
    let counted = |line: u64| {
        if error.kind() == ErrorKind::Scanner {
            line + 1
        } else {
            line
        }
    };
    let line = [error.context_mark(), error.problem_mark()]
        .into_iter()
        .flatten()
        .map(|mark| mark.line)
        .find(|line| *line != 0)
        .map(counted);
    match line {
        Some(line) => format!("yaml: line {line}: {}", error.problem()),
        None => format!("yaml: {}", error.problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_line_that_yaml_v3_names() {
        assert_eq!(
            documents("a: b: c\n").1.as_deref(),
            Some("yaml: mapping values are not allowed in this context")
        );
        assert_eq!(
            documents("a:\n  b: c: d\n").1.as_deref(),
            Some("yaml: line 2: mapping values are not allowed in this context")
        );
    }
}
