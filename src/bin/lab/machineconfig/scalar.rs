//! What plain scalars mean: Go's `yaml.v3` between the old and the new rules of YAML.

/// What a plain scalar means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text; also dates, which stay as they were written.
    Str,
}

/// Says what a plain scalar means: its tag and its value.
pub(crate) fn resolve(text: &str) -> (&'static str, Scalar) {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ("!!null", Scalar::Null),
        "true" | "True" | "TRUE" => return ("!!bool", Scalar::Bool(true)),
        "false" | "False" | "FALSE" => return ("!!bool", Scalar::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return ("!!float", Scalar::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return ("!!float", Scalar::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return ("!!float", Scalar::Float(f64::NEG_INFINITY)),
        "<<" => return ("!!merge", Scalar::Str),
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => match float(text) {
            Some(number) => ("!!float", Scalar::Float(number)),
            None => ("!!str", Scalar::Str),
        },
        Some(b'+' | b'-' | b'0'..=b'9') => {
            if is_date(text) {
                return ("!!timestamp", Scalar::Str);
            }
            let plain = text.replace('_', "");
            if let Some(number) = integer(&plain) {
                return ("!!int", Scalar::Int(number));
            }
            match float(&plain) {
                Some(number) => ("!!float", Scalar::Float(number)),
                None => ("!!str", Scalar::Str),
            }
        }
        _ => ("!!str", Scalar::Str),
    }
}

/// Go's integers: decimal, `0x`, `0b`, `0o` and the old octals with a leading zero.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.as_bytes() {
        [b'0', b'x', rest @ ..] => (rest, 16),
        [b'0', b'b', rest @ ..] => (rest, 2),
        [b'0', b'o', rest @ ..] => (rest, 8),
        [b'0', rest @ ..] if !rest.is_empty() => (rest, 8),
        rest => (rest, 10),
    };
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    let number = i128::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX))
        .contains(&number)
        .then_some(number)
}

fn float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match mantissa.split_once('.') {
        Some((whole, part)) => {
            all_digits(whole) && all_digits(part) && !(whole.is_empty() && part.is_empty())
        }
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let power = exponent.is_none_or(|power| {
        let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
        !digits.is_empty() && all_digits(digits)
    });
    if fits && power {
        text.parse().ok()
    } else {
        None
    }
}

/// Dates and times as `yaml.v3` recognises them: year, month, day, and perhaps a time after `T`, `t` or a space.
pub(crate) fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let day = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = |part: &str, most: u32| {
        (1..=2).contains(&part.len())
            && part
                .parse::<u32>()
                .is_ok_and(|value| (1..=most).contains(&value))
    };
    if year.len() != 4
        || !year.bytes().all(|byte| byte.is_ascii_digit())
        || !number(month, 12)
        || !number(&rest[..day], 31)
    {
        return false;
    }
    let tail = &rest[day..];
    tail.is_empty()
        || (tail.starts_with(['T', 't'])
            && tail.contains(':')
            && (tail.ends_with('Z') || tail[1..].contains(['+', '-'])))
        || (tail.starts_with(' ')
            && tail[1..].contains(':')
            && tail[1..]
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b":.".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_go_takes_them_for() {
        for (text, tag) in [
            ("0o644", "!!int"),
            ("0644", "!!int"),
            ("089", "!!float"),
            ("1_000", "!!int"),
            ("1e3", "!!float"),
            ("yes", "!!str"),
            ("2001-12-14", "!!timestamp"),
            ("10.25.11.0/24", "!!str"),
            ("~", "!!null"),
            ("1:30", "!!str"),
        ] {
            assert_eq!(resolve(text).0, tag, "{text}");
        }
    }
}
