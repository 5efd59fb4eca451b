//! Stand-in charts for the real helm, made from the lab's chart data: the templates are the same, said in Go's words.
//!
//! The lab's templates use a small language (values, `if`, `for`, `set`, comparisons, a few filters). Each of these has one form in Go's
//! templates; what has none is an error, so that a chart cannot mean one thing when it is played and another when it is real.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::kubernetes::charts::Chart;

/// Writes a chart as a folder that helm can pack.
pub(crate) fn write(at: &Path, chart: &Chart) -> io::Result<()> {
    let about = json!({
        "apiVersion": "v2", "name": chart.name, "version": chart.version, "appVersion": chart.app_version,
        "description": "Stands in for the chart of this name: the lab's data",
    });
    let objects = translate(chart.template()).map_err(|why| {
        io::Error::other(format!(
            "the chart {} cannot be said for helm: {why}",
            chart.name
        ))
    })?;
    fs::create_dir_all(at.join("templates"))?;
    fs::write(at.join("Chart.yaml"), about.to_string())?;
    fs::write(at.join("values.yaml"), chart.defaults().to_string())?;
    fs::write(at.join("templates/objects.yaml"), objects)
}

/// Says a template in Go's words.
fn translate(text: &str) -> Result<String, String> {
    let mut all = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{']) {
        let (before, from) = rest.split_at(at);
        all.push_str(before);
        let (close, statement) = match from.as_bytes().get(1) {
            Some(b'{') => ("}}", false),
            Some(b'%') => ("%}", true),
            _ => {
                all.push('{');
                rest = &from[1..];
                continue;
            }
        };
        let end = end_of(from, close).ok_or_else(|| format!("`{}` has no end", head(from)))?;
        let inner = from[2..end].trim();
        let said = if statement {
            say(inner)?
        } else {
            format!("{{{{ {} }}}}", expression(inner)?)
        };
        all.push_str(&said);
        rest = &from[end + 2..];
    }
    all.push_str(rest);
    Ok(all)
}

/// Finds where a tag ends, outside of quotes. `}}}` closes a map after the tag's own end.
fn end_of(text: &str, close: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, letter) in text.char_indices().skip(2) {
        if letter == '"' {
            quoted = !quoted;
        } else if !quoted && text[at..].starts_with(close) {
            return Some(at);
        }
    }
    None
}

fn head(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Says a statement.
fn say(inner: &str) -> Result<String, String> {
    let (word, rest) = inner.split_once(' ').unwrap_or((inner, ""));
    let said = match word {
        "if" => format!("if {}", expression(rest)?),
        "elif" => format!("else if {}", expression(rest)?),
        "else" => "else".to_string(),
        "endif" | "endfor" => "end".to_string(),
        "set" => {
            let (name, value) = rest.split_once('=').ok_or("`set` without `=`")?;
            format!("${} := {}", name.trim(), expression(value)?)
        }
        "for" => {
            let (name, value) = rest.split_once(" in ").ok_or("`for` without `in`")?;
            format!("range ${} := {}", name.trim(), expression(value)?)
        }
        other => return Err(format!("`{other}` has no form in Go's templates")),
    };
    Ok(format!("{{{{ {said} }}}}"))
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(String),
    Sign(&'static str),
}

const SIGNS: [&str; 12] = ["==", "!=", "~", "|", "(", ")", "[", "]", ".", ",", "-", "+"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if first == '"' {
            let end = rest[1..]
                .find('"')
                .ok_or_else(|| format!("`{text}`: a quote is open"))?;
            all.push(Token::Text(rest[1..=end].to_string()));
            end + 2
        } else if first.is_ascii_digit() {
            let end = rest
                .find(|letter: char| !letter.is_ascii_digit())
                .unwrap_or(rest.len());
            all.push(Token::Number(rest[..end].to_string()));
            end
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            all.push(Token::Name(rest[..end].to_string()));
            end
        } else {
            let sign = SIGNS
                .into_iter()
                .find(|sign| rest.starts_with(sign))
                .ok_or_else(|| format!("`{text}`: `{first}` has no form in Go's templates"))?;
            all.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[taken..].trim_start();
    }
    Ok(all)
}

/// Says an expression.
fn expression(text: &str) -> Result<String, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
    };
    let said = reader.or()?;
    if reader.at < tokens.len() {
        return Err(format!("`{text}`: something is left over"));
    }
    Ok(said)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, wanted: &Token) -> bool {
        let here = self.peek() == Some(wanted);
        self.at += usize::from(here);
        here
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        self.takes(&Token::Sign(sign))
    }

    fn word(&mut self, word: &str) -> bool {
        self.takes(&Token::Name(word.to_string()))
    }

    fn wants(&mut self, sign: &'static str) -> Result<(), String> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(format!("`{sign}` is missing"))
    }

    fn or(&mut self) -> Result<String, String> {
        let mut said = self.and()?;
        while self.word("or") {
            said = format!("(or {said} {})", self.and()?);
        }
        Ok(said)
    }

    fn and(&mut self) -> Result<String, String> {
        let mut said = self.not()?;
        while self.word("and") {
            said = format!("(and {said} {})", self.not()?);
        }
        Ok(said)
    }

    fn not(&mut self) -> Result<String, String> {
        if self.word("not") {
            return Ok(format!("(not {})", self.not()?));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<String, String> {
        let left = self.joined()?;
        for (sign, word) in [("==", "eq"), ("!=", "ne")] {
            if self.sign(sign) {
                // Go compares only what is of one type.
                return Ok(format!(
                    "({word} (toString {left}) (toString {}))",
                    self.joined()?
                ));
            }
        }
        if self.word("in") {
            if self.word("Kinds") {
                return Ok(format!(
                    "(lookup \"apiextensions.k8s.io/v1\" \"CustomResourceDefinition\" \"\" {left})"
                ));
            }
            return Err("`in` is known for `Kinds` only".to_string());
        }
        Ok(left)
    }

    fn joined(&mut self) -> Result<String, String> {
        let mut said = self.filtered()?;
        while self.sign("~") {
            let right = self.filtered()?;
            said = format!("(printf \"%s%s\" (toString {said}) (toString {right}))");
        }
        Ok(said)
    }

    fn filtered(&mut self) -> Result<String, String> {
        let mut said = self.value()?;
        while self.sign("|") {
            let Some(Token::Name(name)) = self.peek().cloned() else {
                return Err("a filter has no name".to_string());
            };
            self.at += 1;
            said = match name.as_str() {
                "tojson" => format!("(toJson {said})"),
                "base64" => format!("(b64enc (toString {said}))"),
                "lower" => format!("(lower {said})"),
                "join" => {
                    self.wants("(")?;
                    let by = self.or()?;
                    self.wants(")")?;
                    format!("(join {by} {said})")
                }
                other => {
                    return Err(format!(
                        "the filter `{other}` has no form in Go's templates"
                    ));
                }
            };
        }
        Ok(said)
    }

    fn value(&mut self) -> Result<String, String> {
        let token = self.peek().cloned().ok_or("an expression breaks off")?;
        self.at += 1;
        match token {
            Token::Text(text) => Ok(format!("\"{text}\"")),
            Token::Number(number) => Ok(number),
            Token::Sign("(") => {
                let said = self.or()?;
                self.wants(")")?;
                Ok(said)
            }
            Token::Sign("[") => {
                let mut parts = Vec::new();
                while !self.sign("]") {
                    parts.push(self.or()?);
                    if !self.sign(",") {
                        self.wants("]")?;
                        break;
                    }
                }
                Ok(format!("(list {})", parts.join(" ")))
            }
            Token::Name(name) if name == "Secrets" => {
                let (secret, key) = (self.key()?, self.key()?);
                Ok(format!(
                    "(dig \"data\" {key} \"\" (lookup \"v1\" \"Secret\" $.Release.Namespace {secret}))"
                ))
            }
            Token::Name(name) => {
                let root = matches!(name.as_str(), "Values" | "Release" | "Chart");
                let mut said = if root {
                    format!("$.{name}")
                } else {
                    format!("${name}")
                };
                loop {
                    if self.sign(".") {
                        let Some(Token::Name(member)) = self.peek().cloned() else {
                            return Err(format!("`{said}.` has no member"));
                        };
                        self.at += 1;
                        said = format!("{said}.{member}");
                    } else if self.sign("[") {
                        let key = self.or()?;
                        self.wants("]")?;
                        said = format!("(index {said} {key})");
                    } else {
                        return Ok(said);
                    }
                }
            }
            Token::Sign(sign) => Err(format!("`{sign}` stands where a value is expected")),
        }
    }

    fn key(&mut self) -> Result<String, String> {
        self.wants("[")?;
        let key = self.or()?;
        self.wants("]")?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{expression, translate};
    use crate::kubernetes::charts;

    #[test]
    fn every_chart_of_the_lab_can_be_said_for_helm() {
        for (_, chart) in charts::all().unwrap() {
            translate(chart.template()).unwrap();
        }
    }

    #[test]
    fn expressions_have_one_form_each() {
        for (jinja, go) in [
            ("Values.a.b", "$.Values.a.b"),
            ("Values.a | tojson | tojson", "(toJson (toJson $.Values.a))"),
            ("kind[1]", "(index $kind 1)"),
            (
                "Values.a or name ~ \"-x\"",
                "(or $.Values.a (printf \"%s%s\" (toString $name) (toString \"-x\")))",
            ),
            (
                "Values.a and (Values.b == \"t\" or \"x.y\" in Kinds)",
                "(and $.Values.a (or (eq (toString $.Values.b) (toString \"t\")) (lookup \"apiextensions.k8s.io/v1\" \"CustomResourceDefinition\" \"\" \"x.y\")))",
            ),
            ("x.ips | join(\",\")", "(join \",\" $x.ips)"),
            (
                "[[\"A\", Values.b], [\"C\"]]",
                "(list (list \"A\" $.Values.b) (list \"C\"))",
            ),
            (
                "Secrets[\"a\"][\"b.c\"] or (\"d\" | base64)",
                "(or (dig \"data\" \"b.c\" \"\" (lookup \"v1\" \"Secret\" $.Release.Namespace \"a\")) (b64enc (toString \"d\")))",
            ),
        ] {
            assert_eq!(expression(jinja).unwrap(), go);
        }
    }

    #[test]
    fn what_has_no_form_is_an_error() {
        for wrong in [
            "{{ a | upper }}",
            "{% macro x %}",
            "{{ a + b }}",
            "{{ a",
            "{{ \"a }}",
            "{{ a in b }}",
        ] {
            translate(wrong).unwrap_err();
        }
    }

    #[test]
    fn maps_in_braces_stay_and_statements_become_actions() {
        let text = "x: { a: {{ b }}, c: {} }\n{% for d in Values.e %}\n- {{ d.f }}\n{% endfor %}\n";
        assert_eq!(
            translate(text).unwrap(),
            "x: { a: {{ $b }}, c: {} }\n{{ range $d := $.Values.e }}\n- {{ $d.f }}\n{{ end }}\n"
        );
    }
}
