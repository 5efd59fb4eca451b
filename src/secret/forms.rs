//! The forms in which a value turns up: what encoders, quoters and printers make of it.

use super::SHORTEST;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use std::fmt::Write as _;
use zeroize::Zeroizing;

type Form = Zeroizing<Vec<u8>>;

/// A value that is longer takes lines of its own: those are known one by one.
const ONE_LINE: usize = 64;

/// Returns every form of a value that is long enough to be masked.
pub(super) fn of(value: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    add(value, &mut forms);
    // Talos and Kubernetes keep keys as base64 of PEM; tools print either.
    if let Some(decoded) = decoded(value.trim()) {
        add(&decoded, &mut forms);
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

fn add(value: &str, forms: &mut Vec<Form>) {
    encodings(value, forms);
    let trimmed = value.trim();
    if trimmed != value {
        encodings(trimmed, forms);
    }
    if trimmed.contains('\n') {
        for line in trimmed.lines().map(str::trim) {
            if !is_armour(line) {
                push(line, forms);
            }
        }
    }
}

fn encodings(value: &str, forms: &mut Vec<Form>) {
    // A short value has long encodings, and they say no less.
    if value.len() < SHORTEST {
        return;
    }
    push(value, forms);
    base64(value.as_bytes(), forms);
    hex(value.as_bytes(), forms);
    url(value, forms);
    quoted(value, forms);
}

fn push(form: &str, forms: &mut Vec<Form>) {
    if form.len() >= SHORTEST {
        forms.push(Zeroizing::new(form.as_bytes().to_vec()));
    }
}

/// Adds base64 in both alphabets, for each place in a group of three at which the value may stand in a larger text.
fn base64(value: &[u8], forms: &mut Vec<Form>) {
    for before in 0..3 {
        let mut bytes = Zeroizing::new(vec![0; before]);
        bytes.extend_from_slice(value);
        // The first characters hold bits of what comes before, the last one may hold bits of what comes after.
        let first = [0, 2, 3][before];
        let whole = bytes.len() / 3 * 4 + [0, 1, 2][bytes.len() % 3];
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(engine.encode(&*bytes));
            push(&text[first..whole], forms);
            push(&text[first..], forms);
            if value.len() <= ONE_LINE {
                // In a larger text whose lines are broken the value may begin in one line and end in the next. Lines have whole groups of
                // four, so a break lies between two groups.
                for at in (4..whole).step_by(4) {
                    push(&text[first..at], forms);
                    push(&text[at..whole], forms);
                }
            }
            if before == 0 {
                // `base64` and `openssl base64` break their lines.
                for width in [76, 64] {
                    if text.len() > width {
                        for line in text.as_bytes().chunks(width) {
                            push(std::str::from_utf8(line).unwrap_or_default(), forms);
                        }
                    }
                }
            }
        }
        for engine in [&STANDARD, &URL_SAFE] {
            push(&Zeroizing::new(engine.encode(&*bytes))[first..], forms);
        }
    }
}

fn hex(value: &[u8], forms: &mut Vec<Form>) {
    let mut lower = Zeroizing::new(String::with_capacity(value.len() * 2));
    for byte in value {
        let _ = write!(lower, "{byte:02x}");
    }
    push(&Zeroizing::new(lower.to_ascii_uppercase()), forms);
    push(&lower, forms);
}

/// Adds percent-encodings: strict and as in a path, in upper and lower case, with `+` for a space as in forms.
fn url(value: &str, forms: &mut Vec<Form>) {
    for kept in ["-._~", "-._~/:@!$&'()*+,;=", "-._*", "-_.!~*'()"] {
        let mut upper = Zeroizing::new(String::with_capacity(value.len() * 3));
        let mut lower = Zeroizing::new(String::with_capacity(value.len() * 3));
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
                upper.push(char::from(byte));
                lower.push(char::from(byte));
            } else {
                let _ = write!(upper, "%{byte:02X}");
                let _ = write!(lower, "%{byte:02x}");
            }
        }
        for form in [upper, lower] {
            if form.contains("%20") {
                push(&Zeroizing::new(form.replace("%20", "+")), forms);
            }
            push(&form, forms);
        }
    }
}

/// Adds what stands between the quotes of JSON, YAML, Go, and the shell.
fn quoted(value: &str, forms: &mut Vec<Form>) {
    let Ok(json) = serde_json::to_string(value).map(Zeroizing::new) else {
        return;
    };
    let json = &json[1..json.len() - 1];
    push(json, forms);
    // Go escapes these three in JSON by default; Python escapes all that is not ASCII; some escape slashes.
    let go = Zeroizing::new(
        json.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
    );
    push(&go, forms);
    push(&Zeroizing::new(json.replace('/', "\\/")), forms);
    if !json.is_ascii() {
        let mut ascii = Zeroizing::new(String::new());
        for character in json.chars() {
            if character.is_ascii() {
                ascii.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(ascii, "\\u{unit:04x}");
                }
            }
        }
        push(&ascii, forms);
    }
    // A text inside a text: JSON in a JSON string, as in logs.
    if json.contains('\\') {
        push(
            &Zeroizing::new(json.replace('\\', "\\\\").replace('"', "\\\"")),
            forms,
        );
    }
    yaml(value, forms);
    if value.contains('\'') {
        push(&Zeroizing::new(value.replace('\'', "''")), forms);
        push(&Zeroizing::new(value.replace('\'', "'\\''")), forms);
    }
    if value.contains('\n') {
        for indent in [2, 4, 6, 8] {
            let spaces = " ".repeat(indent);
            push(
                &Zeroizing::new(value.trim_end().replace('\n', &format!("\n{spaces}"))),
                forms,
            );
        }
    }
}

/// Adds what stands between the double quotes of YAML, where that is not as in JSON: short names of control characters, two digits or four.
fn yaml(value: &str, forms: &mut Vec<Form>) {
    let plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    if value.chars().all(plain) {
        return;
    }
    for escape_letters in [false, true] {
        let mut text = Zeroizing::new(String::with_capacity(value.len() * 2));
        for c in value.chars() {
            let code = u32::from(c);
            let short = match c {
                '\0' => "\\0",
                '\u{7}' => "\\a",
                '\u{8}' => "\\b",
                '\t' => "\\t",
                '\n' => "\\n",
                '\u{b}' => "\\v",
                '\u{c}' => "\\f",
                '\r' => "\\r",
                '\u{1b}' => "\\e",
                '"' => "\\\"",
                '\\' => "\\\\",
                _ => "",
            };
            let letter = !c.is_control() && !c.is_ascii() && !escape_letters;
            if !short.is_empty() {
                text.push_str(short);
            } else if plain(c) || letter {
                text.push(c);
            } else if code <= 0xff {
                let _ = write!(text, "\\x{code:02X}");
            } else if code <= 0xffff {
                let _ = write!(text, "\\u{code:04X}");
            } else {
                let _ = write!(text, "\\U{code:08X}");
            }
        }
        push(&text, forms);
    }
}

/// Returns the text that a value is the base64 of.
fn decoded(value: &str) -> Option<Zeroizing<String>> {
    if value.len() < 8 {
        return None;
    }
    let bytes = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .iter()
        .find_map(|engine| engine.decode(value).ok())
        .map(Zeroizing::new)?;
    let text = std::str::from_utf8(&bytes).ok()?;
    // Random bytes may be text by chance; control characters show that they are.
    let readable = text.chars().all(|c| !c.is_control() || c.is_whitespace());
    readable.then(|| Zeroizing::new(text.to_owned()))
}

fn is_armour(line: &str) -> bool {
    line.starts_with("-----") && line.ends_with("-----")
}
