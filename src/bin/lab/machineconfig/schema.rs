//! The shape of every configuration document: data taken from the real library by reflection (`schema.json`).
//!
//! `make fidelity` proves the data current. Types go by Go's own names (`*v1alpha1.Device`, `[]string`), which also appear in
//! the library's error texts.

use indexmap::IndexMap;
use serde::Deserialize;
use std::sync::LazyLock;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema: Schema = serde_json::from_str(include_str!("schema.json"))
        .expect("schema.json is the judge's own output");
    schema.flatten();
    schema
});

/// Every registered document and every type below them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schema {
    /// The library and version it was taken from.
    #[serde(rename = "library")]
    _library: String,
    documents: IndexMap<String, Document>,
    types: IndexMap<String, Named>,
}

/// A kind of document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// The type behind it.
    #[serde(rename = "type")]
    pub(crate) ty: String,
    /// Whether its name is part of what it is.
    #[serde(default)]
    pub(crate) named: bool,
    /// Whether the library checks it.
    #[serde(default)]
    pub(crate) validates: bool,
    /// Kinds that may not have the same name.
    #[serde(default)]
    pub(crate) conflicts: Vec<String>,
}

/// A type with a name.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    kind: String,
    #[serde(default)]
    elem: Option<String>,
    #[serde(default)]
    fields: Vec<Field>,
    #[serde(default)]
    custom: Vec<String>,
    #[serde(default)]
    values: Vec<String>,
}

/// A key of a struct.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// The key.
    pub(crate) name: String,
    /// The field's name in Go, for error texts of merging.
    pub(crate) go: String,
    /// Its type.
    #[serde(rename = "type")]
    pub(crate) ty: String,
    /// Left out when it has no value.
    #[serde(default, rename = "omitempty")]
    pub(crate) omit_empty: bool,
    /// Its own keys stand where it would.
    #[serde(default)]
    inline: bool,
    /// A patch replaces it instead of adding to it.
    #[serde(default)]
    pub(crate) replace: bool,
}

/// What a type is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// True or false.
    Bool,
    /// A whole number between two bounds.
    Int(i128, i128),
    /// Text.
    Str,
    /// Anything.
    Any,
    /// Something that may be absent.
    Ptr(&'static str),
    /// A list.
    List(&'static str),
    /// A map from text.
    Map(&'static str),
    /// A map of anything behind a struct (`v1alpha1.Unstructured`).
    Open,
    /// Fixed keys.
    Struct(&'static Named),
    /// One scalar with rules of its own.
    Custom(Custom),
}

/// Types that read and write themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Custom {
    /// A size in bytes, kept as written.
    ByteSize,
    /// An expression of the Common Expression Language, kept as written.
    Expression,
    /// One of a few words.
    Enum(&'static Named),
    /// A URL.
    Url,
    /// Base64 of anything.
    Base64,
    /// A disk size in bytes or in human words.
    DiskSize,
    /// Permissions, written in octal.
    FileMode,
    /// A comparison with a disk size.
    SizeMatcher,
    /// Certificate and key, each base64 of PEM.
    CertificateAndKey,
    /// A certificate, base64 of PEM.
    Certificate,
    /// A key, base64 of PEM.
    Key,
    /// A subnet.
    Prefix,
    /// An address with a port.
    AddressPort,
    /// One port or a range.
    PortRange,
    /// A time span in Go's notation.
    Duration,
}

impl Schema {
    /// Inlined structs are read, written and merged as if their keys were the outer struct's: make them so once.
    fn flatten(&mut self) {
        let inlined: IndexMap<String, Vec<Field>> = self
            .types
            .iter()
            .filter(|(_, named)| !named.fields.iter().any(|field| field.inline))
            .map(|(name, named)| (name.clone(), named.fields.clone()))
            .collect();
        for named in self.types.values_mut() {
            let fields = std::mem::take(&mut named.fields);
            for field in fields {
                match inlined.get(&field.ty) {
                    Some(inner) if field.inline => named.fields.extend(inner.iter().cloned()),
                    _ => named.fields.push(field),
                }
            }
        }
    }
}

impl Named {
    /// The keys, in the order in which they are written.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where a key is.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The word of a number.
    pub(crate) fn word(&self, number: i128) -> Option<&str> {
        self.values
            .iter()
            .find_map(|value| match value.split_once('=') {
                Some((digits, word)) if digits.parse() == Ok(number) => Some(word),
                _ => None,
            })
    }

    /// The number of a word.
    pub(crate) fn number(&self, word: &str) -> Option<i128> {
        self.values
            .iter()
            .find_map(|value| match value.split_once('=') {
                Some((digits, known)) if known.eq_ignore_ascii_case(word) => digits.parse().ok(),
                _ => None,
            })
    }
}

/// The document of a kind; `v1alpha1` is the one without a kind.
pub(crate) fn document(kind: &str) -> Option<&'static Document> {
    SCHEMA.documents.get(kind)
}

/// The struct of a name.
pub(crate) fn named(ty: &str) -> &'static Named {
    let ty = ty.trim_start_matches('*');
    SCHEMA
        .types
        .get(ty)
        .expect("types are asked for by names that the schema gave")
}

/// What a type is made of.
pub(crate) fn shape(ty: &'static str) -> Shape {
    if let Some(inner) = ty.strip_prefix('*') {
        return Shape::Ptr(inner);
    }
    if let Some(inner) = ty.strip_prefix("[]") {
        return Shape::List(inner);
    }
    if let Some(inner) = ty.strip_prefix("map[string]") {
        return Shape::Map(inner);
    }
    if ty == "any" {
        return Shape::Any;
    }
    if let Some(basic) = basic(ty) {
        return basic;
    }
    if let Some(custom) = custom(ty) {
        return Shape::Custom(custom);
    }
    let named = named(ty);
    if named.custom.iter().any(|word| word == "unmarshaltext") && !named.values.is_empty() {
        return Shape::Custom(Custom::Enum(named));
    }
    match named.kind.as_str() {
        "slice" => Shape::List(
            named
                .elem
                .as_deref()
                .expect("the schema gives the element of a list"),
        ),
        "struct" if named.fields.iter().any(|field| field.inline) => Shape::Open,
        "struct" => Shape::Struct(named),
        kind => basic(kind).expect("the schema has no other kinds"),
    }
}

/// Go's own name of a type, as its error texts write it.
pub(crate) fn go_name(ty: &str) -> String {
    ty.replace("any", "interface {}")
}

fn basic(ty: &str) -> Option<Shape> {
    Some(match ty {
        "bool" => Shape::Bool,
        "string" => Shape::Str,
        "int" | "int64" => Shape::Int(i64::MIN.into(), i64::MAX.into()),
        "uint" | "uint64" => Shape::Int(0, u64::MAX.into()),
        "uint8" => Shape::Int(0, u8::MAX.into()),
        "uint16" => Shape::Int(0, u16::MAX.into()),
        "uint32" => Shape::Int(0, u32::MAX.into()),
        _ => return None,
    })
}

fn custom(ty: &str) -> Option<Custom> {
    Some(match ty {
        "block.ByteSize" => Custom::ByteSize,
        "cel.Expression" => Custom::Expression,
        "meta.URL" | "v1alpha1.Endpoint" => Custom::Url,
        "v1alpha1.Base64Bytes" => Custom::Base64,
        "v1alpha1.DiskSize" => Custom::DiskSize,
        "v1alpha1.FileMode" => Custom::FileMode,
        "v1alpha1.InstallDiskSizeMatcher" => Custom::SizeMatcher,
        "x509.PEMEncodedCertificateAndKey" => Custom::CertificateAndKey,
        "x509.PEMEncodedCertificate" => Custom::Certificate,
        "x509.PEMEncodedKey" => Custom::Key,
        "netip.Prefix" | "network.Prefix" => Custom::Prefix,
        "netip.AddrPort" => Custom::AddressPort,
        "network.PortRange" => Custom::PortRange,
        "time.Duration" => Custom::Duration,
        _ => return None,
    })
}
