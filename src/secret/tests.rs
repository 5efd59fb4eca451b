//! The two laws of masking: pieces give the same as the whole, and no form of a secret is ever left.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use std::fmt::Write as _;

fn mask_of(values: &[&str]) -> Mask {
    let mask = Mask::new();
    for value in values {
        mask.add_text(value);
    }
    mask
}

fn in_pieces(mask: &Mask, text: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut stream = mask.stream();
    let mut out = Vec::new();
    let mut rest = text;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        stream.push(now, &mut out);
        rest = later;
    }
    stream.finish(&mut out);
    out
}

#[test]
fn a_secret_is_not_printed() {
    let secret = Secret::new("hunter22");
    assert_eq!(format!("{secret:?}"), "Secret(…)");
    assert_eq!(secret.reveal(), "hunter22");
    let mask = mask_of(&["hunter22"]);
    assert_eq!(
        format!("{mask:?} {:?}", mask.stream()),
        "Mask(…) MaskStream(…)"
    );
}

#[test]
fn what_holds_no_secret_is_not_copied() {
    let mask = mask_of(&["hunter22"]);
    assert!(matches!(
        mask.text("nothing here"),
        Cow::Borrowed("nothing here")
    ));
    assert!(matches!(
        Mask::new().text("hunter22"),
        Cow::Borrowed("hunter22")
    ));
}

#[test]
fn a_longer_secret_leaves_nothing_of_itself() {
    let mask = mask_of(&["tok123", "tok123456"]);
    assert_eq!(
        mask.text("a tok123456 b tok123 c"),
        "a [masked] b [masked] c"
    );
}

#[test]
fn secrets_that_overlap_become_one() {
    let mask = mask_of(&["abcdef", "defghi"]);
    assert_eq!(mask.text("<abcdefghi>"), "<[masked]>");
    assert_eq!(mask.text("abcdefabcdef"), "[masked][masked]");
}

#[test]
fn short_values_are_not_masked_in_any_form() {
    let mask = mask_of(&["a", "yes", "12345", "  x  "]);
    assert!(mask.is_empty());
    assert_eq!(mask.text("yes 12345 eWVz 796573"), "yes 12345 eWVz 796573");
}

#[test]
fn every_form_is_masked() {
    let value = "p@ss/w<rd' \"ü\\\u{7}é+&x";
    let mask = mask_of(&[value]);
    let json = serde_json::to_string(value).unwrap();
    let json = json.trim_matches('"');
    let mut hex = String::new();
    let mut percent = String::new();
    let mut ascii = String::new();
    for byte in value.bytes() {
        write!(hex, "{byte:02x}").unwrap();
        if byte.is_ascii_alphanumeric() {
            percent.push(char::from(byte));
        } else {
            write!(percent, "%{byte:02X}").unwrap();
        }
    }
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => ascii.push(char::from(byte)),
            _ => write!(ascii, "\\u{unit:04x}").unwrap(),
        }
    }
    let forms = [
        value.to_owned(),
        STANDARD.encode(value),
        STANDARD_NO_PAD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        hex.to_uppercase(),
        hex,
        percent.replace("%20", "+"),
        percent.to_lowercase(),
        percent,
        json.to_owned(),
        json.replace('<', "\\u003c").replace('&', "\\u0026"),
        ascii,
        value.replace('\'', "''"),
        value.replace('\'', "'\\''"),
    ];
    for form in forms {
        assert_eq!(mask.text(&format!("<{form}>")), "<[masked]>", "{form}");
    }
}

#[test]
fn base64_is_masked_wherever_the_value_stands_in_it() {
    let mask = mask_of(&["correct-horse"]);
    for before in ["", "x", "xy", "xyz", "user:"] {
        for after in ["", "1", "12", "123"] {
            let text = STANDARD.encode(format!("{before}correct-horse{after}"));
            let masked = mask.text(&text);
            assert!(masked.contains(MASKED), "{before}…{after}");
            // At most the characters that also hold bits of the neighbours are left.
            assert!(masked.len() <= MASKED.len() + 12, "{masked}");
        }
    }
}

const PEM: &str = "-----BEGIN ED25519 PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezKpEqU4VlYlSyWi\n  \
                   AbCdEf0123456789\n\
                   -----END ED25519 PRIVATE KEY-----\n";

#[test]
fn each_line_of_a_key_is_masked_and_its_armour_is_not() {
    let mask = mask_of(&[PEM]);
    assert_eq!(mask.text("key: AbCdEf0123456789"), "key: [masked]");
    assert_eq!(
        mask.text("-----BEGIN ED25519 PRIVATE KEY-----\n"),
        "-----BEGIN ED25519 PRIVATE KEY-----\n"
    );
    assert_eq!(mask.text(PEM), MASKED);
    assert_eq!(mask.text(PEM.trim()), MASKED);
    let indented = PEM.trim().replace('\n', "\n    ");
    assert!(!mask.text(&indented).contains("AbCdEf"));
}

#[test]
fn a_key_in_base64_is_masked_in_clear_too() {
    let mask = mask_of(&[&STANDARD.encode(PEM)]);
    assert_eq!(mask.text("AbCdEf0123456789"), MASKED);
    assert_eq!(mask.text(&STANDARD.encode(PEM)), MASKED);
}

#[test]
fn broken_lines_of_base64_are_masked() {
    let value = "0123456789".repeat(20);
    let text = STANDARD.encode(&value);
    for width in [64, 76] {
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(width)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        let masked = mask_of(&[&value]).text(&lines.join("\n")).into_owned();
        assert!(
            masked
                .split('\n')
                .all(|line| line.trim_end_matches('=') == MASKED),
            "{masked}"
        );
    }
}

#[test]
fn base64_that_is_broken_anywhere_in_a_larger_text_shows_no_group_of_the_value() {
    let value = "s3cr3t-t0ken-of-32-characters-xyz";
    let mask = mask_of(&[value]);
    for before in 0..60 {
        let text = format!("{}{value}{}", "b".repeat(before), "a".repeat(70));
        let whole = STANDARD.encode(&text);
        for width in [64, 76] {
            let lines: Vec<_> = whole
                .as_bytes()
                .chunks(width)
                .map(|line| str::from_utf8(line).unwrap())
                .collect();
            let masked = mask.text(&lines.join("\n")).into_owned();
            // Every group of four that holds bytes of the value alone; at a break two groups may be left on each side.
            let first = before.div_ceil(3);
            let last = (before + value.len()) / 3;
            let left = (first..last)
                .filter(|group| masked.contains(&whole[group * 4..group * 4 + 4]))
                .count();
            assert!(left <= 2, "{before} {width}: {left} groups in {masked}");
        }
    }
}

#[test]
fn a_value_is_masked_as_yaml_escapes_it() {
    let mask = mask_of(&["p\u{7}ss\u{1b}w\u{e9}rd\u{0}"]);
    for text in ["\"p\\ass\\ew\u{e9}rd\\0\"", "\"p\\ass\\ew\\xE9rd\\0\""] {
        assert_eq!(mask.text(text), "\"[masked]\"");
    }
}

#[test]
fn a_stream_learns_of_a_secret_while_it_runs() {
    let mask = Mask::new();
    let mut stream = mask.stream();
    let mut out = Vec::new();
    stream.push(b"tok123 ", &mut out);
    mask.add(&Secret::new("tok123"));
    stream.push(b"tok", &mut out);
    assert_eq!(out, b"tok123 ");
    mask.clone().add(&Secret::new("tok123456"));
    stream.push(b"123", &mut out);
    stream.push(b"456 tok123", &mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"tok123 [masked] [masked]");
}

#[test]
fn what_is_held_back_is_bounded() {
    // Each occurrence overlaps the next, for ever.
    let mask = mask_of(&["abababab"]);
    let mut stream = mask.stream();
    let mut out = Vec::new();
    for _ in 0..100_000 {
        stream.push(b"ab", &mut out);
        assert!(stream.held.len() < 8);
    }
    stream.finish(&mut out);
    assert_eq!(out, MASKED.as_bytes());
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let mask = mask_of(&["hunter22"]);
    assert_eq!(
        &*mask.bytes(b"\xff\x00hunter22\xfe"),
        b"\xff\x00[masked]\xfe"
    );
}

/// Values of few letters, so that they overlap, begin and end with each other.
fn values() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab]{6,14}|[a-c]{6,9}|ab\ncabcabc\n[ab]{6,8}", 1..5)
}

/// A text that has a good chance to hold some of them, whole or cut.
fn text(values: &[String]) -> impl Strategy<Value = String> + use<> {
    let values = values.to_vec();
    let piece = (0..values.len(), 0..20usize, 0..20usize, "[abc\n ]{0,4}");
    prop::collection::vec(piece, 0..12).prop_map(move |pieces| {
        let mut text = String::new();
        for (which, from, length, between) in pieces {
            let value = &values[which];
            let from = from.min(value.len());
            // Mostly the whole value.
            let from = if length > 12 { 0 } else { from };
            text.push_str(&value[from..(from + length).min(value.len())]);
            text.push_str(&between);
        }
        text
    })
}

/// What masking means, said as simply as possible.
fn model(patterns: &[Arc<Zeroizing<Vec<u8>>>], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut hidden = 0;
    for at in 0..text.len() {
        let longest = patterns
            .iter()
            .filter(|pattern| text[at..].starts_with(pattern))
            .map(|pattern| pattern.len())
            .max();
        if let Some(length) = longest {
            if at >= hidden {
                out.extend_from_slice(MASKED.as_bytes());
            }
            hidden = hidden.max(at + length);
        }
        if at >= hidden {
            out.push(text[at]);
        }
    }
    out
}

/// How long the pieces are: a few bytes, or some lines.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        prop::collection::vec(1..9usize, 1..6),
        prop::collection::vec(1..200usize, 1..6),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_give_the_same_as_the_whole(
        (values, text) in values().prop_flat_map(|values| { let text = text(&values); (Just(values), text) }),
        sizes in sizes(),
    ) {
        let mask = Mask::new();
        for value in &values {
            mask.add_text(value);
        }
        let whole = mask.text(&text).into_owned();
        let patterns = mask.shared.set.lock().unwrap().patterns.clone();
        prop_assert_eq!(whole.as_bytes(), model(&patterns, text.as_bytes()));
        prop_assert_eq!(in_pieces(&mask, text.as_bytes(), &sizes), whole.as_bytes());
    }

    #[test]
    fn no_form_is_ever_left(
        value in "\\PC{6,40}",
        before in "\\PC{0,10}",
        after in "\\PC{0,10}",
        sizes in sizes(),
    ) {
        let mask = mask_of(&[&value]);
        for form in forms::of(&value) {
            let mut text = before.clone().into_bytes();
            text.extend_from_slice(&form);
            text.extend_from_slice(after.as_bytes());
            let masked = in_pieces(&mask, &text, &sizes);
            prop_assert!(String::from_utf8_lossy(&masked).contains(MASKED));
            if !MASKED.contains(&*String::from_utf8_lossy(&form)) {
                let left = masked.windows(form.len()).any(|window| window == form.as_slice());
                prop_assert!(!left, "{}", String::from_utf8_lossy(&form));
            }
        }
    }
}

#[test]
fn a_key_is_made_once_and_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let first = Key::open_or_create(&path).unwrap().fingerprint(&[b"a"]);
    assert_eq!(
        Key::open_or_create(&path).unwrap().fingerprint(&[b"a"]),
        first
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first.len(), 16);
    assert_ne!(Key::from_bytes([7; 32]).fingerprint(&[b"a"]), first);
    std::fs::write(&path, "short").unwrap();
    let error = Key::open_or_create(&path).unwrap_err().to_string();
    assert!(error.ends_with("has 5 bytes, not 32"), "{error}");
}

#[test]
fn a_fingerprint_knows_where_a_part_ends() {
    let key = Key::from_bytes([1; 32]);
    assert_eq!(format!("{key:?}"), "Key(…)");
    assert_ne!(
        key.fingerprint(&[b"ab", b"c"]),
        key.fingerprint(&[b"a", b"bc"])
    );
    assert_ne!(key.fingerprint(&[b"ab"]), key.fingerprint(&[b"ab", b""]));
    assert_eq!(key.fingerprint(&[b"ab"]), key.fingerprint(&[b"ab"]));
}
