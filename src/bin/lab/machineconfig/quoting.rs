//! Which texts need quotes, and how they are escaped: the rules of libyaml and of Go's encoder.

use std::fmt::Write as _;

/// What may be done with a text.
#[expect(
    clippy::struct_excessive_bools,
    reason = "five independent facts, as the real emitter keeps them"
)]
pub(super) struct Facts {
    /// It has line breaks.
    pub(super) multiline: bool,
    /// It may stand without quotes inside brackets.
    pub(super) flow_plain: bool,
    /// It may stand without quotes elsewhere.
    pub(super) block_plain: bool,
    /// It may stand in single quotes.
    pub(super) single: bool,
    /// It may stand as a block.
    pub(super) block: bool,
}

impl Facts {
    /// Looks at a text.
    pub(super) fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self {
                multiline: false,
                flow_plain: false,
                block_plain: true,
                single: true,
                block: false,
            };
        }
        let letters: Vec<char> = text.chars().collect();
        let (mut block_indicators, mut flow_indicators) = (false, false);
        if text.starts_with("---") || text.starts_with("...") {
            (block_indicators, flow_indicators) = (true, true);
        }
        let (mut breaks, mut special, mut tabs) = (false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let mut previous = None;
        for (at, &letter) in letters.iter().enumerate() {
            let followed = letters.get(at + 1).is_none_or(|next| is_blank(*next));
            let preceded = previous.is_none_or(|before| is_blank(before) || is_break(before));
            match letter {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"'
                | '%' | '@' | '`'
                    if at == 0 =>
                {
                    (block_indicators, flow_indicators) = (true, true);
                }
                '?' | ':' if at == 0 => {
                    flow_indicators = true;
                    block_indicators |= followed;
                }
                '-' if at == 0 && followed => (block_indicators, flow_indicators) = (true, true),
                ',' | '?' | '[' | ']' | '{' | '}' if at > 0 => flow_indicators = true,
                ':' if at > 0 => {
                    flow_indicators = true;
                    block_indicators |= followed;
                }
                '#' if at > 0 && preceded => (block_indicators, flow_indicators) = (true, true),
                _ => {}
            }
            if letter == '\t' {
                tabs = true;
            } else if !is_printable(letter) {
                special = true;
            }
            if letter == ' ' {
                break_space |= previous.is_some_and(is_break);
            } else if is_break(letter) {
                breaks = true;
                space_break |= previous == Some(' ');
            }
            previous = Some(letter);
        }
        let edge = |letter: Option<&char>| {
            letter.is_some_and(|letter| *letter == ' ' || is_break(*letter))
        };
        let edges = edge(letters.first()) || edge(letters.last());
        let quotable = !(break_space || space_break || tabs || special);
        Self {
            multiline: breaks,
            flow_plain: quotable && !edges && !breaks && !flow_indicators,
            block_plain: quotable && !edges && !breaks && !block_indicators,
            single: quotable,
            block: !(letters.last() == Some(&' ') || space_break || special),
        }
    }
}

fn is_blank(letter: char) -> bool {
    letter == ' ' || letter == '\t'
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && letter != '\u{feff}'
}

/// The inside of double quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        let short = match letter {
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
            '\u{85}' => "\\N",
            '\u{2028}' => "\\L",
            '\u{2029}' => "\\P",
            _ if is_printable(letter) => {
                out.push(letter);
                continue;
            }
            _ => {
                let number = u32::from(letter);
                let digits = match number {
                    0..=0xff => ('x', 2),
                    0x100..=0xffff => ('u', 4),
                    _ => ('U', 8),
                };
                write!(out, "\\{}{number:0width$X}", digits.0, width = digits.1)
                    .expect("a string takes any text");
                continue;
            }
        };
        out.push_str(short);
    }
    out
}

/// Words that YAML 1.1 takes for truths.
pub(super) fn is_old_bool(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
    )
}

/// Numbers of YAML 1.1 in base 60 (`10:30`), which other readers would misunderstand.
pub(super) fn is_base60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or_default();
    let digits = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'_')
    };
    if !first.starts_with(|letter: char| letter.is_ascii_digit()) || !digits(first) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    !rest.is_empty()
        && rest.iter().enumerate().all(|(at, part)| {
            let part = match part.split_once('.') {
                Some((whole, fraction)) if at + 1 == rest.len() && digits(fraction) => whole,
                _ => part,
            };
            matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
        })
}
