//! Disk and volume expressions: whether their names are known.
//!
//! The library compiles them with a whole language (CEL). Played here are the names, with its text for the first unknown one;
//! types and grammar are not, so a wrong expression of known names passes.

/// Names that stand by themselves in any expression.
const KNOWN: [&str; 27] = [
    "true",
    "false",
    "null",
    "in",
    "glob",
    "size",
    "has",
    "matches",
    "startsWith",
    "endsWith",
    "contains",
    "int",
    "uint",
    "double",
    "string",
    "KiB",
    "MiB",
    "GiB",
    "TiB",
    "PiB",
    "EiB",
    "kB",
    "MB",
    "GB",
    "TB",
    "PB",
    "EB",
];

/// Complains about the first name that is neither in the language nor among `variables`.
pub(super) fn fault(text: &str, variables: &[&str]) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        if letter == '"' || letter == '\'' {
            at += 1;
            while at < letters.len() && letters[at] != letter {
                at += if letters[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if letter.is_ascii_digit() {
            while at < letters.len() && (letters[at].is_ascii_alphanumeric() || letters[at] == '.')
            {
                at += 1;
            }
        } else if letter.is_ascii_alphabetic() || letter == '_' {
            let begin = at;
            while at < letters.len() && (letters[at].is_ascii_alphanumeric() || letters[at] == '_')
            {
                at += 1;
            }
            let name: String = letters[begin..at].iter().collect();
            let is_part = letters[..begin]
                .iter()
                .rev()
                .find(|letter| !letter.is_whitespace())
                == Some(&'.');
            if !is_part && !KNOWN.contains(&name.as_str()) && !variables.contains(&name.as_str()) {
                let under = ".".repeat(begin) + "^";
                let column = begin + 1;
                return Some(format!(
                    "ERROR: <input>:1:{column}: undeclared reference to '{name}' (in container '')\n | {text}\n | {under}"
                ));
            }
        } else {
            at += 1;
        }
    }
    None
}
