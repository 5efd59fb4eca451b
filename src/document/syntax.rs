//! The parser's complaints in the words of somebody who writes playbooks: what is wrong, where to look, what to write instead.

/// A complaint.
pub(super) struct Wrong {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) help: Option<&'static str>,
    /// Where, in bytes.
    pub(super) start: usize,
}

/// Explains what the parser said about the text at `start`.
pub(super) fn explain(said: &str, text: &str, start: usize) -> Wrong {
    let rest = text.get(start..).unwrap_or_default();
    let line = text
        .get(..start)
        .unwrap_or_default()
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .to_owned()
        + rest.lines().next().unwrap_or_default();
    let mut at = start;
    let (message, help) = if said.contains("expected string scalar") {
        if line.contains("{{") {
            (
                "braces outside of quotes begin a mapping",
                Some("put the text in quotes: \"{{ node.ip }}\""),
            )
        } else {
            (
                "a key is text, and this is not",
                Some("put the key in quotes"),
            )
        }
    } else if said.contains("multiple YAML documents") {
        (
            "a second document begins here, but a file holds one",
            Some("take the `---` away, or put the rest into a file of its own"),
        )
    } else if said.contains("budget") {
        (
            "the aliases of this file unfold to far too much",
            Some("each `*name` repeats all that its `&name` holds"),
        )
    } else if said.contains("recursion limit") {
        ("lists and mappings are nested too deeply", None)
    } else if said.contains("mapping values are not allowed") {
        (
            "a colon and a space cannot stand here",
            Some(
                "text that has a colon and a space in it needs quotes; else look at the indentation",
            ),
        )
    } else if said.contains("unknown escape character") {
        at = bad_escape(rest).map_or(start, |found| start + found);
        (
            "in double quotes a backslash begins an escape, but there is none like this",
            Some("use single quotes, or two backslashes"),
        )
    } else if said.contains("expected '-' indicator") || said.contains("expected <block end>") {
        (
            "this line is indented like nothing above it",
            Some("keys of the same mapping begin in the same column"),
        )
    } else if said.contains("illegal placement of ':'") {
        (
            "a key cannot stand here",
            Some("is a bracket, brace or quotation mark above not closed?"),
        )
    } else if said.contains("unclosed bracket") {
        (
            if rest.starts_with('[') {
                "this `[` is never closed"
            } else {
                "this `{` is never closed"
            },
            None,
        )
    } else if said.contains("unclosed quote") {
        ("this quotation mark is never closed", None)
    } else if said.contains("simple key expected") || said.contains("could not find expected ':'") {
        (
            "this is neither `key: value` nor an element of a list",
            Some("behind the colon of a key stands a space: `title: Start`"),
        )
    } else if said.contains("tabs disallowed") || rest.starts_with('\t') {
        ("a tab cannot indent", Some("use spaces"))
    } else if said.contains("unexpected character") {
        if rest.starts_with('\0') {
            (
                "there is a NUL character here",
                Some("is this really a text file?"),
            )
        } else {
            (
                "text cannot begin with this character",
                Some("put the text in quotes"),
            )
        }
    } else if said.contains("unknown anchor") {
        (
            "no `&name` above has this name",
            Some("text that begins with `*` needs quotes"),
        )
    } else if line.contains('!') && said.starts_with("invalid ") {
        (
            "the value does not fit its tag",
            Some("take the tag (`!…`) away"),
        )
    } else {
        return Wrong {
            message: said.to_owned(),
            help: None,
            start,
        };
    };
    Wrong {
        message: message.to_owned(),
        help,
        start: at,
    }
}

/// The first backslash that begins no escape of YAML.
fn bad_escape(quoted: &str) -> Option<usize> {
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            let (_, next) = chars.next()?;
            if !"0abt\tnvfre \"/\\N_LPxuU\n\r".contains(next) {
                return Some(at);
            }
        }
    }
    None
}
