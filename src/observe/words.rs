//! The small words: durations, plurals, columns, colours, and text from elsewhere made harmless.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

/// What a word means to the reader. Colour repeats it; it never says more than the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Something was done.
    Good,
    /// Nothing was to be done.
    Quiet,
    /// Somebody should look.
    Warn,
    /// It went wrong.
    Bad,
    /// It is being done.
    Busy,
    /// No more than what is said.
    Plain,
}

/// Returns the text in the colour of its tone, if there is colour.
pub fn paint(tone: Tone, text: &str, colour: bool) -> String {
    if !colour || text.is_empty() {
        return text.to_owned();
    }
    let style = match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Quiet => Style::new().dimmed(),
        Tone::Warn => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Busy => AnsiColor::Cyan.on_default(),
        Tone::Plain => return text.to_owned(),
    };
    format!("{style}{text}{style:#}")
}

/// Returns a duration for people: `0.4s`, `3.2s`, `45s`, `1m 04s`, `1h 02m`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    let seconds = (time.as_millis() + 500) / 1000;
    if seconds < 60 {
        format!("{seconds}s")
    } else if seconds < 3600 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60)
    }
}

/// Returns how long something may take: like [`duration`], but without parts that are zero: `10m`.
pub fn limit(time: Duration) -> String {
    let text = duration(time);
    for zero in [" 00s", " 00m"] {
        if let Some(whole) = text.strip_suffix(zero) {
            return whole.to_owned();
        }
    }
    match text.strip_suffix(".0s") {
        Some(whole) => format!("{whole}s"),
        None => text,
    }
}

/// Returns a number with its noun: `1 task`, `2 tasks`.
pub fn count(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "criterion") => format!("{number} criteria"),
        (_, "story") => format!("{number} stories"),
        (_, "process") => format!("{number} processes"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns a text from elsewhere as one harmless line: without escape sequences, tabs, line breaks and other control characters.
pub fn clean(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    let mut line = String::with_capacity(stripped.len());
    for letter in stripped.chars() {
        match letter {
            '\n' | '\r' | '\t' => line.push(' '),
            // These would turn the order of what follows around.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            letter if letter.is_control() => {}
            letter => line.push(letter),
        }
    }
    line.trim_end().to_owned()
}

/// Returns how many columns a text takes. Where that depends on the terminal, the greater number.
pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(letter: char) -> usize {
    match u32::from(letter) {
        0..=0x1f | 0x7f..=0x9f | 0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x231a..=0x231b
        | 0x23e9..=0x23f3
        | 0x25fd..=0x25fe
        | 0x2600..=0x27bf
        | 0x2b1b..=0x2b55
        | 0x2e80..=0xa4cf
        | 0xa960..=0xa97f
        | 0xac00..=0xd7ff
        | 0xf900..=0xfaff
        | 0xfe10..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x16fe0..=0x18fff
        | 0x1b000..=0x1b2ff
        | 0x1f000..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Returns as much of a text as fits into so many columns, with `…` where something was cut off.
pub fn cut(text: &str, columns_free: usize) -> Cow<'_, str> {
    if width(text) <= columns_free {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let mut end = 0;
    for (at, letter) in text.char_indices() {
        used += columns(letter);
        if used > columns_free {
            break;
        }
        end = at + letter.len_utf8();
    }
    if columns_free == 0 {
        Cow::Borrowed("")
    } else {
        Cow::Owned(format!("{}…", &text[..end]))
    }
}

/// Returns a text with blanks up to so many columns.
pub fn pad(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(blanks))
}

/// Returns the command line that a person types: with `-C DIR` if they gave one.
pub fn command(directory: Option<&Path>, rest: &str) -> String {
    match directory {
        Some(directory) => {
            format!(
                "bootstrap -C {} {rest}",
                quote(&directory.to_string_lossy())
            )
        }
        None => format!("bootstrap {rest}"),
    }
}

/// Returns a word as a shell reads it back.
pub fn quote(word: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=,:+@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', "'\\''")))
    }
}

/// Lays cells out in columns; the last one of a row is not padded.
pub(crate) struct Table {
    indent: usize,
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    pub(crate) fn new(indent: usize) -> Self {
        Self {
            indent,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<(Tone, String)>) {
        self.rows.push(cells);
    }

    pub(crate) fn text(&self, colour: bool) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            for (at, (_, cell)) in row.iter().enumerate() {
                match widths.get_mut(at) {
                    Some(widest) => *widest = width(cell).max(*widest),
                    None => widths.push(width(cell)),
                }
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            let mut owed = self.indent;
            for ((tone, cell), widest) in row.iter().zip(&widths) {
                if *widest == 0 {
                    continue;
                }
                if !cell.is_empty() {
                    line.push_str(&" ".repeat(owed));
                    line.push_str(&paint(*tone, cell, colour));
                    owed = 0;
                }
                owed += widest - width(cell) + 2;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}
