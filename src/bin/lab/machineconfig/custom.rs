//! Types that read and write themselves: sizes, URLs, certificates, words of an enumeration.

use super::emitter::Out;
use super::go::{base64, bytes, bytes_text, duration_text, quote, to_base64};
use super::schema::{Custom, Named};
use super::url::Url;
use super::value::Value;
use std::net::{IpAddr, SocketAddr};

/// What a key says when it was taken out on purpose; it is not base64 and stays as it is.
const REDACTED: &str = "******";

/// Reads a text into a type of its own kind.
pub(crate) fn read(kind: Custom, ty: &str, text: &str) -> Result<Value, String> {
    Ok(match kind {
        Custom::ByteSize | Custom::Expression | Custom::Prefix if text.is_empty() => Value::Nil,
        Custom::ByteSize => {
            bytes(text)?;
            Value::Str(text.to_owned())
        }
        Custom::Expression => Value::Str(text.to_owned()),
        Custom::Enum(named) => Value::Int(word(named, ty, text)?),
        Custom::Url if text.is_empty() && ty == "meta.URL" => Value::Nil,
        Custom::Url => Value::Str(Url::parse(text)?.text()),
        Custom::Base64 => Value::Str(to_base64(&base64(text)?)),
        Custom::DiskSize => Value::Int(bytes(text)?.into()),
        Custom::SizeMatcher => Value::Str(size_matcher(text)?),
        Custom::Prefix => Value::Str(prefix(text)?),
        Custom::AddressPort => Value::Str(address_port(text)?),
        Custom::PortRange => Value::Str(port_range(text)?),
        Custom::FileMode
        | Custom::Duration
        | Custom::CertificateAndKey
        | Custom::Certificate
        | Custom::Key => Value::Nil,
    })
}

/// What is written for a value of its own kind.
pub(crate) fn write(kind: Custom, value: &Value) -> Out {
    match (kind, value) {
        (Custom::Enum(named), Value::Int(number)) => {
            Out::text(named.word(*number).unwrap_or_default())
        }
        (Custom::DiskSize, Value::Int(size)) => disk_size(u64::try_from(*size).unwrap_or_default()),
        (Custom::FileMode, Value::Int(mode)) => Out::plain(format!("0o{mode:o}")),
        (Custom::Duration, Value::Int(span)) => Out::text(&duration_text(*span)),
        (Custom::PortRange, Value::Str(text)) if !text.contains('-') => Out::plain(text),
        (_, Value::Str(text)) => Out::text(text),
        (Custom::CertificateAndKey, Value::Struct(parts)) => pair(&["crt", "key"], parts),
        (Custom::Certificate, Value::Struct(parts)) => pair(&["crt"], parts),
        (Custom::Key, Value::Struct(parts)) => pair(&["key"], parts),
        _ => Out::text(""),
    }
}

fn pair(keys: &[&str], parts: &[Value]) -> Out {
    let entry = |(key, part): (&&str, &Value)| match part {
        Value::Str(text) => (Out::text(key), Out::text(text)),
        _ => (Out::text(key), Out::text("")),
    };
    Out::Map(keys.iter().zip(parts).map(entry).collect(), false)
}

/// The struct behind a certificate, as Go names it in a type error.
pub(crate) fn pem_struct(kind: Custom) -> &'static str {
    match kind {
        Custom::Certificate => "struct { Crt string \"yaml:\\\"crt\\\"\" }",
        Custom::Key => "struct { Key string \"yaml:\\\"key\\\"\" }",
        _ => "struct { Crt string \"yaml:\\\"crt\\\"\"; Key string \"yaml:\\\"key\\\"\" }",
    }
}

/// Certificate and key, both decoded and written again, so that what is kept is what would be written.
pub(crate) fn pem(kind: Custom, texts: Vec<Value>) -> Result<Value, String> {
    let last = texts.len() - 1;
    let mut parts = Vec::new();
    for (at, text) in texts.into_iter().enumerate() {
        let Value::Str(text) = text else {
            continue;
        };
        let is_key = at == last && kind != Custom::Certificate;
        parts.push(Value::Str(if is_key && text == REDACTED {
            text
        } else {
            to_base64(&base64(&text)?)
        }));
    }
    Ok(Value::Struct(parts))
}

/// Leading line breaks and tabs of a manifest are dropped.
pub(crate) fn trim_manifest(manifest: &mut Value) {
    if let Value::Struct(parts) = manifest
        && let Some(Value::Str(contents)) = parts.get_mut(1)
    {
        *contents = contents
            .trim_start_matches(['\t', '\n', '\u{b}', '\u{c}', '\r'])
            .to_owned();
    }
}

fn word(named: &'static Named, ty: &str, text: &str) -> Result<i128, String> {
    if let Some(number) = named.number(text) {
        return Ok(number);
    }
    let name = ty.rsplit('.').next().unwrap_or(ty);
    Err(format!("{text} does not belong to {name} values"))
}

fn disk_size(size: u64) -> Out {
    let text = bytes_text(size);
    if size.is_multiple_of(1000) && bytes(&text) == Ok(size) {
        Out::text(&text)
    } else {
        Out::plain(size.to_string())
    }
}

fn size_matcher(text: &str) -> Result<String, String> {
    let text = text.trim();
    let rest = [">=", "<=", ">", "<", "=="]
        .iter()
        .find_map(|operator| text.strip_prefix(operator))
        .unwrap_or(text);
    bytes(rest.trim()).map_err(|fault| format!("failed to parse disk size {rest}: {fault}"))?;
    Ok(text.to_owned())
}

/// A subnet as Go's `netip` reads it.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    let fault = |what: &str| Err(format!("netip.ParsePrefix({}): {what}", quote(text)));
    let Some((address, bits)) = text.rsplit_once('/') else {
        return fault("no '/'");
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err(format!(
            "netip.ParsePrefix({}): ParseAddr({}): unable to parse IP",
            quote(text),
            quote(address)
        ));
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    if bits.is_empty()
        || !bits.bytes().all(|byte| byte.is_ascii_digit())
        || (bits.len() > 1 && bits.starts_with('0'))
    {
        return fault(&format!("bad bits after slash: {}", quote(bits)));
    }
    match bits.parse::<u32>() {
        Ok(count) if count <= most => Ok(format!("{ip}/{count}")),
        _ => fault("prefix length out of range"),
    }
}

fn address_port(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    match text.rsplit_once(':') {
        None => Err("not an ip:port".to_owned()),
        Some((_, port)) if port.parse::<u16>().is_err() => Err(format!(
            "invalid port {} parsing {}",
            quote(port),
            quote(text)
        )),
        Some((ip, _)) => Err(format!("ParseAddr({}): unable to parse IP", quote(ip))),
    }
}

fn port_range(text: &str) -> Result<String, String> {
    let fault = || format!("invalid port range: {}", quote(text));
    let (low, high) = text.split_once('-').ok_or_else(fault)?;
    let low: u16 = low.parse().map_err(|_| fault())?;
    let high: u16 = high.parse().map_err(|_| fault())?;
    Ok(if low == high {
        low.to_string()
    } else {
        format!("{low}-{high}")
    })
}
