//! Small parts of Go's standard library whose texts appear in answers: quoting, base64, durations, sizes, joined errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// Go's `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter.is_control() => {
                write!(out, "\\x{:02x}", u32::from(letter)).expect("a string takes any text");
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// Errors gathered as Go's `multierror` gathers them: a list inside a list becomes part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Errors(Vec<String>);

impl Errors {
    /// Adds one.
    pub(crate) fn push(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    /// Adds all of another list.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The text, if there is an error.
    pub(crate) fn text(&self) -> Option<String> {
        let mut out = match self.0.len() {
            0 => return None,
            1 => String::from("1 error occurred:\n"),
            count => format!("{count} errors occurred:\n"),
        };
        for one in &self.0 {
            writeln!(out, "\t* {one}").expect("a string takes any text");
        }
        out.push('\n');
        Some(out)
    }
}

/// Decodes standard base64, or says where it ends to be some, as Go does.
pub(crate) fn base64(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let newline = |byte: u8| byte == b'\n' || byte == b'\r';
    let fault = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let mut at = 0;
    let mut kept = Vec::new();
    loop {
        let mut quantum = 0;
        while quantum < 4 {
            let Some(&byte) = bytes.get(at) else {
                if quantum == 0 {
                    return STANDARD
                        .decode(&kept)
                        .or_else(|_| relaxed(&kept))
                        .or_else(|()| fault(at));
                }
                return fault(at - quantum);
            };
            at += 1;
            if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' {
                kept.push(byte);
                quantum += 1;
            } else if newline(byte) {
            } else if byte != b'=' || quantum < 2 {
                return fault(at - 1);
            } else {
                if quantum == 2 {
                    at += bytes[at..]
                        .iter()
                        .take_while(|byte| newline(**byte))
                        .count();
                    match bytes.get(at) {
                        None => return fault(bytes.len()),
                        Some(b'=') => at += 1,
                        Some(_) => return fault(at - 1),
                    }
                }
                at += bytes[at..]
                    .iter()
                    .take_while(|byte| newline(**byte))
                    .count();
                if at < bytes.len() {
                    return fault(at);
                }
                kept.extend(std::iter::repeat_n(b'=', 4 - quantum));
                return STANDARD
                    .decode(&kept)
                    .or_else(|_| relaxed(&kept))
                    .or_else(|()| fault(at));
            }
        }
    }
}

/// Go accepts stray bits in the last letter; they count as zero.
fn relaxed(kept: &[u8]) -> Result<Vec<u8>, ()> {
    use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&base64::alphabet::STANDARD, config)
        .decode(kept)
        .map_err(|_| ())
}

/// Encodes standard base64.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads a time span (`1h30m`, `1.5s`) in nanoseconds.
pub(crate) fn duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (whole, fraction) = rest[..digits]
            .split_once('.')
            .unwrap_or((&rest[..digits], ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        rest = &rest[digits..];
        let letters = rest
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(rest.len());
        let unit: i128 = match &rest[..letters] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[letters..];
        if !whole.is_empty() {
            total += whole.parse::<i128>().ok()?.checked_mul(unit)?;
        }
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total += fraction.parse::<i128>().ok()?.checked_mul(unit)? / scale;
        }
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).ok().map(i128::from)
}

/// Writes a time span as Go does: `5m0s`, `1.5s`, `300ms`.
pub(crate) fn duration_text(nanoseconds: i128) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    if all < 1_000_000_000 {
        let (unit, scale) = match all {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(all, scale));
    }
    let seconds = decimal(all % 60_000_000_000, 1_000_000_000);
    let minutes = all / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn decimal(number: u128, scale: u128) -> String {
    let (whole, part) = (number / scale, number % scale);
    if part == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!(
        "{whole}.{}",
        format!("{part:0width$}").trim_end_matches('0')
    )
}

/// Reads a size in bytes (`100GB`, `2.5 GiB`, `4096`), as `humanize` does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "Go converts the same way"
)]
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != ',')
        .unwrap_or(text.len());
    let number = text[..digits].replace(',', "");
    let Ok(value) = number.parse::<f64>() else {
        return Err(format!(
            "strconv.ParseFloat: parsing {}: invalid syntax",
            quote(&number)
        ));
    };
    let extra = text[digits..].trim().to_lowercase();
    let power = |letter: char| "kmgtpe".find(letter).map(|at| at as u32 + 1);
    let unit = match (extra.chars().next().and_then(power), extra.get(1..)) {
        _ if extra.is_empty() || extra == "b" => 1,
        (Some(power), Some("" | "b")) => 1000_u64.pow(power),
        (Some(power), Some("i" | "ib")) => 1_u64 << (10 * power),
        _ => return Err(format!("unhandled size name: {extra}")),
    };
    let value = value * unit as f64;
    if value >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(value as u64)
}

/// Writes a size for people: `100 GB`, `1.5 MB`.
#[expect(clippy::cast_precision_loss, reason = "Go converts the same way")]
pub(crate) fn bytes_text(size: u64) -> String {
    if size < 10 {
        return format!("{size} B");
    }
    let exponent = (size as f64).log(1000.0).floor();
    let suffix = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let value = (size as f64 / 1000_f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    let unit = (0..suffix.len())
        .find(|at| *at as f64 >= exponent)
        .map_or("EB", |at| suffix[at]);
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_faults_are_counted_as_in_go() {
        for (text, fault) in [
            ("op://a", 2),
            ("abc", 0),
            ("YQ=", 3),
            ("YQ==x", 4),
            ("!", 0),
            ("YWJj!", 4),
        ] {
            assert_eq!(
                base64(text),
                Err(format!("illegal base64 data at input byte {fault}")),
                "{text}"
            );
        }
        assert_eq!(base64("YWJj\n"), Ok(b"abc".to_vec()));
        assert_eq!(base64(""), Ok(vec![]));
    }

    #[test]
    fn time_spans_and_sizes_read_and_write_as_in_go() {
        for (text, written) in [
            ("5m", "5m0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("300ms", "300ms"),
            ("1h", "1h0m0s"),
        ] {
            assert_eq!(duration_text(duration(text).unwrap()), written);
        }
        assert_eq!(bytes("100GB"), Ok(100_000_000_000));
        assert_eq!(bytes("2.5 GiB"), Ok(2_684_354_560));
        assert_eq!(bytes("1 zork"), Err("unhandled size name: zork".to_owned()));
        assert_eq!(bytes_text(100_000_000_000), "100 GB");
        assert_eq!(bytes_text(0), "0 B");
    }
}
