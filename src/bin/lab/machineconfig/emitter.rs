//! Writing YAML as Go's `yaml.v3` writes it: 4 spaces, lists indented under their key, its quotes and block scalars.
//!
//! The state (column, whether only blanks precede) is that of its emitter, because it decides where lines break.

use super::quoting::{Facts, escape, is_base60, is_old_bool};
use super::scalar;
use libyaml_safer::ScalarStyle;

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Out {
    /// A scalar, with the style asked for: the emitter takes another where that one is impossible.
    Scalar(String, ScalarStyle),
    /// A list; `true` for flow style.
    List(Vec<Self>, bool),
    /// A mapping; `true` for flow style.
    Map(Vec<(Self, Self)>, bool),
}

impl Out {
    /// A scalar that is no text: a number, a truth, null.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::Scalar(text.into(), ScalarStyle::Plain)
    }

    /// A text, quoted if it would mean something else without quotes.
    pub(crate) fn text(text: &str) -> Self {
        let style = if text.contains('\n') {
            ScalarStyle::Literal
        } else if scalar::resolve(text).0 == "!!str" && !is_base60(text) && !is_old_bool(text) {
            ScalarStyle::Plain
        } else {
            ScalarStyle::DoubleQuoted
        };
        Self::Scalar(text.to_owned(), style)
    }
}

/// Writes one document.
pub(crate) fn write(out: &Out) -> String {
    let mut writer = Writer {
        text: String::new(),
        column: 0,
        whitespace: true,
        indention: true,
        flow: 0,
    };
    writer.node(out, Place::Root, -1, false);
    writer.indent(0);
    writer.text
}

/// Where a node stands; it decides how far its children are indented.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Value,
    Item,
}

struct Writer {
    text: String,
    column: i32,
    whitespace: bool,
    indention: bool,
    flow: u32,
}

const STEP: i32 = 4;

fn deeper(indent: i32, place: Place, flow: bool) -> i32 {
    match place {
        _ if indent < 0 => {
            if flow {
                STEP
            } else {
                0
            }
        }
        Place::Item => indent + 2,
        Place::Root | Place::Value => STEP * ((indent + STEP) / STEP),
    }
}

impl Writer {
    fn node(&mut self, out: &Out, place: Place, indent: i32, key: bool) {
        match out {
            Out::Scalar(text, style) => self.scalar(text, *style, deeper(indent, place, true), key),
            Out::List(items, flow) if *flow || self.flow > 0 || items.is_empty() => {
                self.indicator("[", true, true, false);
                self.flow += 1;
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.indicator(",", false, false, false);
                    }
                    self.node(item, Place::Value, indent, false);
                }
                self.flow -= 1;
                self.indicator("]", false, false, false);
            }
            Out::Map(entries, flow) if *flow || self.flow > 0 || entries.is_empty() => {
                self.indicator("{", true, true, false);
                self.flow += 1;
                for (at, (name, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        self.indicator(",", false, false, false);
                    }
                    self.node(name, Place::Value, indent, true);
                    self.indicator(":", false, false, false);
                    self.node(value, Place::Value, indent, false);
                }
                self.flow -= 1;
                self.indicator("}", false, false, false);
            }
            Out::List(items, _) => {
                let indent = deeper(indent, place, false);
                for item in items {
                    self.indent(indent);
                    self.indicator("-", true, false, true);
                    self.node(item, Place::Item, indent, false);
                }
            }
            Out::Map(entries, _) => {
                let indent = deeper(indent, place, false);
                for (name, value) in entries {
                    self.indent(indent);
                    let simple = match name {
                        Out::Scalar(text, _) => text.len() <= 128 && !text.contains('\n'),
                        Out::List(items, _) => items.is_empty(),
                        Out::Map(entries, _) => entries.is_empty(),
                    };
                    if simple {
                        self.node(name, Place::Value, indent, true);
                        self.indicator(":", false, false, false);
                    } else {
                        self.indicator("?", true, false, true);
                        self.node(name, Place::Value, indent, false);
                        self.indent(indent);
                        self.indicator(":", true, false, true);
                    }
                    self.node(value, Place::Value, indent, false);
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, asked: ScalarStyle, indent: i32, key: bool) {
        let facts = Facts::of(text);
        let mut style = asked;
        if key && facts.multiline {
            style = ScalarStyle::DoubleQuoted;
        }
        if style == ScalarStyle::Plain {
            let allowed = if self.flow > 0 {
                facts.flow_plain
            } else {
                facts.block_plain
            };
            if !allowed || (text.is_empty() && (self.flow > 0 || key)) {
                style = ScalarStyle::SingleQuoted;
            }
        }
        if style == ScalarStyle::SingleQuoted && !facts.single {
            style = ScalarStyle::DoubleQuoted;
        }
        if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded)
            && (!facts.block || self.flow > 0 || key)
        {
            style = ScalarStyle::DoubleQuoted;
        }
        match style {
            ScalarStyle::SingleQuoted => {
                self.indicator("'", true, false, false);
                self.put(&text.replace('\'', "''"));
                self.indicator("'", false, false, false);
            }
            ScalarStyle::DoubleQuoted => {
                self.indicator("\"", true, false, false);
                self.put(&escape(text));
                self.indicator("\"", false, false, false);
            }
            ScalarStyle::Literal | ScalarStyle::Folded => self.literal(text, indent),
            _ => {
                if !text.is_empty() && !self.whitespace {
                    self.put(" ");
                }
                self.put(text);
                self.whitespace = false;
                self.indention = false;
            }
        }
    }

    fn literal(&mut self, text: &str, indent: i32) {
        self.indicator("|", true, false, false);
        if text.starts_with([' ', '\n']) {
            self.indicator(&STEP.to_string(), false, false, false);
        }
        if !text.ends_with('\n') {
            self.indicator("-", false, false, false);
        } else if text == "\n" || text.ends_with("\n\n") {
            self.indicator("+", false, false, false);
        }
        self.whitespace = true;
        let mut breaks = true;
        for letter in text.chars() {
            if letter == '\n' {
                // The break that ends the header line is still to be written when the text begins with a blank line.
                if breaks && self.column > 0 {
                    self.line();
                }
                self.line();
                breaks = true;
            } else {
                if breaks {
                    self.indent(indent);
                }
                self.put(letter.encode_utf8(&mut [0; 4]));
                self.indention = false;
                breaks = false;
            }
        }
    }

    fn indent(&mut self, indent: i32) {
        let indent = indent.max(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line();
        }
        while self.column < indent {
            self.put(" ");
        }
        self.whitespace = true;
    }

    fn indicator(
        &mut self,
        text: &str,
        need_whitespace: bool,
        is_whitespace: bool,
        is_indention: bool,
    ) {
        if need_whitespace && !self.whitespace {
            self.put(" ");
        }
        self.put(text);
        self.whitespace = is_whitespace;
        self.indention = self.indention && is_indention;
    }

    fn line(&mut self) {
        self.text.push('\n');
        self.column = 0;
        self.indention = true;
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Out)]) -> Out {
        Out::Map(
            entries
                .iter()
                .map(|(key, value)| (Out::text(key), value.clone()))
                .collect(),
            false,
        )
    }

    #[test]
    fn nested_lists_and_maps_indent_as_in_go() {
        let inner = map(&[
            ("name", Out::text("a")),
            ("deep", map(&[("x", Out::plain("1"))])),
        ]);
        let out = map(&[
            ("list", Out::List(vec![inner], false)),
            ("none", Out::List(vec![], false)),
        ]);
        assert_eq!(
            write(&out),
            "list:\n    - name: a\n      deep:\n        x: 1\nnone: []\n"
        );
    }

    #[test]
    fn texts_are_quoted_only_when_they_must_be() {
        for (text, written) in [
            ("yes", "\"yes\""),
            ("1", "\"1\""),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("-x", "-x"),
            ("", "\"\""),
            ("12:30", "\"12:30\""),
            ("*a", "'*a'"),
            ("tab\there", "\"tab\\there\""),
            ("a\nb", "|-\n    a\n    b"),
        ] {
            assert_eq!(
                write(&map(&[("k", Out::text(text))])),
                format!("k: {written}\n")
            );
        }
    }
}
