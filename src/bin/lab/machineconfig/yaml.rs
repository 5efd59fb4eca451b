//! YAML as Go's `yaml.v3` reads it: nodes with line numbers, tags and styles, and its error texts.
//!
//! Scanning and parsing are libyaml's (of which `yaml.v3` is a translation), so the complaints have its words and lines.
//! Comments are not kept: no answer of the library that the lab plays shows them.

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

/// What a plain scalar means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text; also dates, which stay as they were written.
    Str,
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

/// Says what a plain scalar means: its tag and its value.
pub(crate) fn resolve(text: &str) -> (&'static str, Scalar) {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ("!!null", Scalar::Null),
        "true" | "True" | "TRUE" => return ("!!bool", Scalar::Bool(true)),
        "false" | "False" | "FALSE" => return ("!!bool", Scalar::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return ("!!float", Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return ("!!float", Scalar::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return ("!!float", Scalar::Float(f64::NEG_INFINITY)),
        "<<" => return ("!!merge", Scalar::Str),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => match float(text) {
            Some(number) => ("!!float", Scalar::Float(number)),
            None => ("!!str", Scalar::Str),
        },
        Some(b'+' | b'-' | b'0'..=b'9') => {
            if is_date(text) {
                return ("!!timestamp", Scalar::Str);
            }
            let plain = text.replace('_', "");
            if let Some(number) = integer(&plain) {
                return ("!!int", Scalar::Int(number));
            }
            match float(&plain) {
                Some(number) => ("!!float", Scalar::Float(number)),
                None => ("!!str", Scalar::Str),
            }
        }
        _ => ("!!str", Scalar::Str),
    }
}

/// Go's integers: decimal, `0x`, `0b`, `0o` and the old octals with a leading zero.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', rest @ ..] => (rest, 16),
        [b'0', b'b', rest @ ..] => (rest, 2),
        [b'0', b'o', rest @ ..] => (rest, 8),
        [b'0', rest @ ..] if !rest.is_empty() => (rest, 8),
        rest => (rest, 10),
    };
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    let number = i128::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&number)
        .then_some(number)
}

fn float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match mantissa.split_once('.') {
        Some((whole, part)) => {
            all_digits(whole) && all_digits(part) && !(whole.is_empty() && part.is_empty())
        }
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let power = exponent.is_none_or(|power| {
        let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
        !digits.is_empty() && all_digits(digits)
    });
    if fits && power {
        text.parse().ok()
    } else {
        None
    }
}

/// Dates and times as `yaml.v3` recognises them: year, month, day, and perhaps a time after `T`, `t` or a space.
pub(crate) fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let day = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = |part: &str, most: u32| {
        (1..=2).contains(&part.len())
            && part
                .parse::<u32>()
                .is_ok_and(|value| (1..=most).contains(&value))
    };
    if year.len() != 4
        || !year.bytes().all(|byte| byte.is_ascii_digit())
        || !number(month, 12)
        || !number(&rest[..day], 31)
    {
        return false;
    }
    let tail = &rest[day..];
    tail.is_empty()
        || (tail.starts_with(['T', 't'])
            && tail.contains(':')
            && (tail.ends_with('Z') || tail[1..].contains(['+', '-'])))
        || (tail.starts_with(' ')
            && tail[1..].contains(':')
            && tail[1..]
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b":.".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_go_takes_them_for() {
        for (text, tag) in [
            ("0o644", "!!int"),
            ("0644", "!!int"),
            ("089", "!!float"),
            ("1_000", "!!int"),
            ("1e3", "!!float"),
            ("yes", "!!str"),
            ("2001-12-14", "!!timestamp"),
            ("10.25.11.0/24", "!!str"),
            ("~", "!!null"),
            ("1:30", "!!str"),
        ] {
            assert_eq!(resolve(text).0, tag, "{text}");
        }
    }

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
