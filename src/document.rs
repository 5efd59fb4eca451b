//! Text as it was written: YAML files as trees in which every key and value knows its place.
//!
//! A document says nothing about meaning. It promises that whatever is found wrong later can be pointed at: file, line, column and
//! the very characters. Reading stops at what is not YAML at all; everything above that is collected by the readers of [`Fields`], so
//! that all problems of a file are told at once.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

pub mod diagnostic;
pub mod fields;
mod syntax;

pub use diagnostic::{Diagnostic, Diagnostics};
pub use fields::Fields;

/// The largest file that is read, in bytes: a playbook is written by people.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A place in one of the files of a document: a range of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Which file, as an index into the document's sources.
    pub file: u32,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A place prints as nothing: fingerprints are made from what things print, and moving a line changes nothing.
impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("@")
    }
}

/// One file: where it is and what it says.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as people know it, relative to the project where possible.
    pub path: PathBuf,
    /// The text.
    pub text: String,
}

/// All files that were read, in the order in which they were read.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file and returns its number.
    pub fn add(&mut self, path: PathBuf, text: String) -> u32 {
        self.0.push(Source { path, text });
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// All texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|source| source.text.as_str())
    }

    /// The file that a span lies in.
    pub fn source(&self, span: Span) -> Option<&Source> {
        self.0.get(span.file as usize)
    }

    /// The text under a span; empty where the span is not of these files.
    pub fn slice(&self, span: Span) -> &str {
        self.source(span)
            .and_then(|source| source.text.get(span.start..span.end))
            .unwrap_or_default()
    }

    /// Line and column (both from 1, columns in characters) of a span's beginning.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let text = self.source(span).map_or("", |source| source.text.as_str());
        line_column(text, span.start)
    }

    /// The place of a part of a scalar. `decoded` is what the scalar says and `range` a part of that; quotes, escapes and folding may make
    /// the written text a different one, so the part is found by counting the same words before it.
    pub fn inside(&self, span: Span, decoded: &str, range: &Range<usize>) -> Span {
        // A parser may count in the middle of a character.
        let mut range = range.start.min(decoded.len())..range.end.min(decoded.len());
        while !decoded.is_char_boundary(range.start) {
            range.start -= 1;
        }
        while !decoded.is_char_boundary(range.end) {
            range.end += 1;
        }
        let (Some(word), Some(source)) = (decoded.get(range.clone()), self.source(span)) else {
            return span;
        };
        let Some(rest) = source.text.get(span.start..) else {
            return span;
        };
        if word.trim().is_empty() {
            return span;
        }
        let place = |at: usize| Span {
            file: span.file,
            start: span.start + at,
            end: span.start + at + word.len(),
        };
        // As written, at most behind a quotation mark.
        for begin in 0..=1 {
            if rest
                .get(begin..)
                .is_some_and(|rest| rest.starts_with(decoded))
            {
                return place(begin + range.start);
            }
        }
        let before = decoded[..range.start].matches(word).count();
        rest.match_indices(word)
            .nth(before)
            .map_or(span, |(at, _)| place(at))
    }
}

/// Line and column of a byte, both from 1, columns in characters.
fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let rest = before.rsplit('\n').next().unwrap_or_default();
    (line, rest.chars().count() + 1)
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub shape: Shape,
    /// Where it stands.
    pub span: Span,
}

/// A key of a mapping with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The word.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What a YAML value can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order in which it was written.
    Map(Vec<(Key, Node)>),
}

impl Shape {
    /// What to call it in a sentence.
    pub fn noun(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(_) => "text".into(),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
        }
    }
}

impl Node {
    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON, without places.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.shape {
            Shape::Null => Value::Null,
            Shape::Bool(value) => Value::from(*value),
            Shape::Int(value) => Value::from(*value),
            Shape::Float(value) => Value::from(*value),
            Shape::Text(value) => Value::from(value.clone()),
            Shape::List(values) => values.iter().map(Self::to_json).collect(),
            Shape::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.text.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    fn place(&mut self, file: u32) {
        self.span.file = file;
        match &mut self.shape {
            Shape::List(values) => values.iter_mut().for_each(|value| value.place(file)),
            Shape::Map(entries) => {
                for (key, value) in entries {
                    key.span.file = file;
                    value.place(file);
                }
            }
            Shape::Null | Shape::Bool(_) | Shape::Int(_) | Shape::Float(_) | Shape::Text(_) => {}
        }
    }
}

/// Reads one file. What cannot be read or is not YAML becomes a diagnostic.
pub fn read(
    path: &Path,
    shown: &Path,
    sources: &mut Sources,
    problems: &mut Diagnostics,
) -> Option<Node> {
    let text = match read_text(path) {
        Ok(Ok(text)) => text,
        Ok(Err(bytes)) => {
            problems.push(not_utf8(&bytes, shown, sources));
            return None;
        }
        Err(why) => {
            problems.push(Diagnostic::without_place(format!(
                "cannot read {}: {why}",
                shown.display()
            )));
            return None;
        }
    };
    let file = sources.add(shown.to_path_buf(), text.clone());
    parse(&text, file, problems)
}

fn read_text(path: &Path) -> Result<Result<String, Vec<u8>>, String> {
    let size = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if size > LARGEST {
        return Err(format!(
            "it has {size} bytes; a file of more than {LARGEST} is surely not meant"
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes))
}

/// Points at the first byte that is not UTF-8.
fn not_utf8(bytes: &[u8], shown: &Path, sources: &mut Sources) -> Diagnostic {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Diagnostic::without_place(format!("{} is UTF-16, not UTF-8", shown.display()))
            .help("save it as UTF-8");
    }
    let start = match std::str::from_utf8(bytes) {
        Ok(text) => text.len(),
        Err(error) => error.valid_up_to(),
    };
    let byte = bytes.get(start).copied().unwrap_or_default();
    let text = String::from_utf8_lossy(bytes).into_owned();
    let file = sources.add(shown.to_path_buf(), text);
    let span = Span {
        file,
        start,
        end: start + char::REPLACEMENT_CHARACTER.len_utf8(),
    };
    Diagnostic::at(span, format!("this is not UTF-8 text: byte 0x{byte:02x}"))
        .help("save the file as UTF-8")
}

/// Parses the text of file number `file`.
pub fn parse(text: &str, file: u32, problems: &mut Diagnostics) -> Option<Node> {
    let mut options = serde_yaml::Options::default();
    options.duplicate_keys = serde_yaml::DuplicateKeyPolicy::PassThrough;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.with_snippet = false;
    let mut budget = serde_yaml::Budget::default();
    budget.max_nodes = 100_000;
    budget.max_aliases = 100;
    options.budget = Some(budget);
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => {
            let mut node = root.value.into_node(span_of(&root.referenced, text), text);
            node.place(file);
            check_keys(&node, problems);
            Some(node)
        }
        Err(error) => {
            let start = error
                .location()
                .map_or(0, |at| byte_of(text, at.line(), at.column()));
            let message = error.without_snippet().to_string();
            let message = message
                .split(" at line ")
                .next()
                .unwrap_or(&message)
                .to_owned();
            let message = message
                .split_once(": ")
                .map_or(message.clone(), |(head, rest)| {
                    if head.starts_with("line ") || head == "error" {
                        rest.to_owned()
                    } else {
                        message.clone()
                    }
                });
            let wrong = syntax::explain(&message, text, start);
            let diagnostic = Diagnostic::at(
                Span {
                    file,
                    ..bounded(text, wrong.start, 1)
                },
                format!("this is not valid YAML: {}", wrong.message),
            );
            problems.push(match wrong.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
            None
        }
    }
}

fn check_keys(node: &Node, problems: &mut Diagnostics) {
    match &node.shape {
        Shape::Map(entries) => {
            let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
            for (key, value) in entries {
                if let Some(first) = seen.insert(&key.text, key.span) {
                    problems.push(
                        Diagnostic::at(key.span, format!("`{}` is given twice", key.text))
                            .also(first, "first given here"),
                    );
                }
                check_keys(value, problems);
            }
        }
        Shape::List(values) => values.iter().for_each(|value| check_keys(value, problems)),
        Shape::Null | Shape::Bool(_) | Shape::Int(_) | Shape::Float(_) | Shape::Text(_) => {}
    }
}

fn byte_of(text: &str, line: u64, column: u64) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let rest = text.get(start..).unwrap_or("").lines().next().unwrap_or("");
    start
        + rest
            .char_indices()
            .nth(column - 1)
            .map_or(rest.len(), |(at, _)| at)
}

fn span_of(location: &serde_yaml::Location, text: &str) -> Span {
    let span = location.span();
    let start = span
        .byte_offset()
        .and_then(|at| usize::try_from(at).ok())
        .unwrap_or_else(|| byte_of(text, location.line(), location.column()));
    let length = span
        .byte_len()
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(1);
    bounded(text, start, length)
}

/// A span of about so many bytes that lies inside a text and cuts no character.
fn bounded(text: &str, start: usize, length: usize) -> Span {
    let Range { start, end } = diagnostic::inside(start..start.saturating_add(length), text);
    Span {
        file: 0,
        start,
        end,
    }
}

/// A value as the deserialiser gives it, before spans are turned into ranges of bytes.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl Raw {
    fn into_node(self, span: Span, text: &str) -> Node {
        let shape = match self {
            Self::Null => Shape::Null,
            Self::Bool(value) => Shape::Bool(value),
            Self::Int(value) => Shape::Int(value),
            Self::Float(value) => Shape::Float(value),
            Self::Text(value) => Shape::Text(value),
            Self::List(values) => Shape::List(
                values
                    .into_iter()
                    .map(|value| {
                        let span = span_of(&value.referenced, text);
                        value.value.into_node(span, text)
                    })
                    .collect(),
            ),
            Self::Map(entries) => Shape::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let key = Key {
                            span: span_of(&key.referenced, text),
                            text: key.value,
                        };
                        let span = span_of(&value.referenced, text);
                        (key, value.value.into_node(span, text))
                    })
                    .collect(),
            ),
        };
        Node { shape, span }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Text(value.to_string()), Raw::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Raw::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
