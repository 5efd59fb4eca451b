//! The words of a template or a condition with their places: what the parser's own list of names does not tell.

use std::ops::Range;

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A name, with its dots; or a word of the language, such as `if`.
    Name,
    /// Behind `|`.
    Filter,
    /// Behind `is`.
    Test,
}

/// A word with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) role: Role,
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

/// The words between the braces of a template.
pub(crate) fn of_template(source: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for block in blocks(source) {
        scan(&source[block.clone()], block.start, &mut words);
    }
    words
}

/// What stands between braces, without comments and without what is raw.
pub(super) fn blocks(source: &str) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(open) = source[at..].find('{').map(|found| at + found) {
        let close = match source.as_bytes().get(open + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                at = open + 1;
                continue;
            }
        };
        let inner = open + 2;
        let end = if close == "#}" {
            source[inner..].find(close).map(|found| inner + found)
        } else {
            end_of(source, inner, close)
        };
        let end = end.unwrap_or(source.len());
        at = (end + 2).min(source.len());
        if close != "#}" {
            blocks.push(inner..end);
        }
        if close == "%}" && first(&source[inner..end]) == "raw" {
            at = end_of_raw(source, at);
        }
    }
    blocks
}

/// The first word of a block.
pub(super) fn first(block: &str) -> &str {
    let block = block.trim_start_matches(['-', '+']).trim_start();
    &block[..word_end(block)]
}

/// Where the block begins that ends what is raw.
fn end_of_raw(source: &str, from: usize) -> usize {
    source[from..]
        .match_indices("{%")
        .map(|(found, _)| from + found)
        .find(|open| first(&source[open + 2..]) == "endraw")
        .unwrap_or(source.len())
}

/// The words of a condition.
pub(crate) fn of_expression(source: &str) -> Vec<Word> {
    let mut words = Vec::new();
    scan(source, 0, &mut words);
    words
}

/// Where a block ends that begins at `from`: its closing braces, outside of quotes.
fn end_of(source: &str, from: usize, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in source[from..].char_indices() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            None if source[from + at..].starts_with(close) => return Some(from + at),
            None => {}
        }
    }
    None
}

fn scan(source: &str, offset: usize, words: &mut Vec<Word>) {
    let mut chars = source.char_indices().peekable();
    let mut before = String::new();
    while let Some((at, c)) = chars.next() {
        if c == '\'' || c == '"' {
            let mut escaped = false;
            for (_, inner) in chars.by_ref() {
                if escaped {
                    escaped = false;
                } else if inner == '\\' {
                    escaped = true;
                } else if inner == c {
                    break;
                }
            }
            before = "''".into();
        } else if c.is_alphabetic() || c == '_' {
            let rest = &source[at..];
            let mut end = word_end(rest);
            let attribute = before == ".";
            let role = match before.as_str() {
                "|" => Role::Filter,
                "is" | "is not" => Role::Test,
                _ => Role::Name,
            };
            while role == Role::Name
                && rest[end..].starts_with('.')
                && rest[end + 1..].starts_with(|c: char| c.is_alphabetic() || c == '_')
            {
                end += 1 + word_end(&rest[end + 1..]);
            }
            let text = &rest[..end];
            while chars.peek().is_some_and(|(next, _)| *next < at + end) {
                chars.next();
            }
            if role == Role::Test && text == "not" {
                before = "is not".into();
                continue;
            }
            if !attribute {
                words.push(Word {
                    role,
                    text: text.to_owned(),
                    range: offset + at..offset + at + end,
                });
            }
            text.clone_into(&mut before);
        } else if !c.is_whitespace() {
            before = c.to_string();
        }
    }
}

fn word_end(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[Word], source: &str) -> Vec<String> {
        words
            .iter()
            .map(|word| {
                assert_eq!(&source[word.range.clone()], word.text);
                format!("{:?} {}", word.role, word.text)
            })
            .collect()
    }

    #[test]
    fn words_know_their_place_and_their_role() {
        let source = "é {{ a.b | upper }} {# c #} {% if d is not defined %}x{{ 'e }}' ~ f[0].g }}";
        assert_eq!(
            told(&of_template(source), source),
            [
                "Name a.b",
                "Filter upper",
                "Name if",
                "Name d",
                "Name is",
                "Test defined",
                "Name f"
            ]
        );
    }

    #[test]
    fn what_stands_in_quotes_is_no_word() {
        let source = r"node.ip == 'ip\'s' and ip";
        assert_eq!(
            told(&of_expression(source), source),
            ["Name node.ip", "Name and", "Name ip"]
        );
    }
}
