//! Values of a decoded configuration, with Go's notion of what is absent and what is zero.

use super::schema::{self, Custom, Shape};
use std::collections::BTreeMap;

/// A value. Which type it has is the schema's knowledge: the same variant serves several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A nil pointer, list, map or interface; a scalar of its own kind that was never set.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number; also words of an enumeration and time spans.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    List(Vec<Self>),
    /// A map.
    Map(BTreeMap<String, Self>),
    /// One value for each key of the struct, in the schema's order.
    Struct(Vec<Self>),
}

impl Value {
    /// The value that Go starts from.
    pub(crate) fn zero(ty: &'static str) -> Self {
        match schema::shape(ty) {
            Shape::Bool => Self::Bool(false),
            Shape::Int(..)
            | Shape::Custom(
                Custom::Enum(_) | Custom::DiskSize | Custom::FileMode | Custom::Duration,
            ) => Self::Int(0),
            Shape::Str => Self::Str(String::new()),
            Shape::Any
            | Shape::Ptr(_)
            | Shape::List(_)
            | Shape::Map(_)
            | Shape::Open
            | Shape::Custom(_) => Self::Nil,
            Shape::Struct(named) => Self::Struct(
                named
                    .fields()
                    .iter()
                    .map(|field| Self::zero(&field.ty))
                    .collect(),
            ),
        }
    }

    /// Whether `omitempty` leaves it out: lists and maps count when empty, pointers only when nil.
    pub(crate) fn is_empty(&self, ty: &'static str) -> bool {
        match (schema::shape(ty), self) {
            (Shape::Ptr(_) | Shape::Any, value) => *value == Self::Nil,
            (Shape::Struct(named), Self::Struct(values)) => named
                .fields()
                .iter()
                .zip(values)
                .all(|(field, value)| value.is_empty(&field.ty)),
            (_, Self::List(items)) => items.is_empty(),
            (_, Self::Map(entries)) => entries.is_empty(),
            (_, value) => value.is_zero(),
        }
    }

    /// Whether it is what Go starts from.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Bool(value) => !value,
            Self::Int(value) => *value == 0,
            Self::Float(value) => *value == 0.0,
            Self::Str(value) => value.is_empty(),
            Self::List(_) | Self::Map(_) => false,
            Self::Struct(values) => values.iter().all(Self::is_zero),
        }
    }
}

/// A value together with its type: the way to look into a configuration by its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    value: &'a Value,
    ty: &'static str,
}

impl<'a> View<'a> {
    /// Looks at a value of a type.
    pub(crate) fn new(value: &'a Value, ty: &'static str) -> Self {
        Self { value, ty }
    }

    /// The part behind a path of keys, `machine.network`; `None` where something on the way is absent.
    pub(crate) fn at(self, path: &str) -> Option<Self> {
        let mut here = self.present()?;
        for key in path.split('.') {
            here = here.key(key)?.present()?;
        }
        Some(here)
    }

    fn key(self, key: &str) -> Option<Self> {
        let ty = self.ty.trim_start_matches('*');
        match (schema::shape(ty), self.value) {
            (Shape::Struct(named), Value::Struct(values)) => {
                let index = named.position(key)?;
                Some(Self::new(&values[index], &named.fields()[index].ty))
            }
            (Shape::Map(inner), Value::Map(entries)) => {
                entries.get(key).map(|value| Self::new(value, inner))
            }
            (Shape::Open, Value::Map(entries)) => {
                entries.get(key).map(|value| Self::new(value, "any"))
            }
            (Shape::Custom(Custom::CertificateAndKey), Value::Struct(values)) => {
                Some(Self::new(&values[usize::from(key == "key")], "string"))
            }
            _ => None,
        }
    }

    fn present(self) -> Option<Self> {
        (*self.value != Value::Nil).then_some(self)
    }

    /// The value itself.
    pub(crate) fn value(self) -> &'a Value {
        self.value
    }

    /// The items of a list; none where it is absent.
    pub(crate) fn items(self, path: &str) -> Vec<Self> {
        let Some(found) = self.at(path) else {
            return Vec::new();
        };
        match (schema::shape(found.ty), found.value) {
            (Shape::List(inner), Value::List(items)) => {
                items.iter().map(|item| Self::new(item, inner)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The entries of a map; none where it is absent.
    pub(crate) fn entries(self, path: &str) -> Vec<(&'a str, Self)> {
        let Some(found) = self.at(path) else {
            return Vec::new();
        };
        let inner = match schema::shape(found.ty) {
            Shape::Map(inner) => inner,
            _ => "any",
        };
        match found.value {
            Value::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.as_str(), Self::new(value, inner)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A text; empty where it is absent.
    pub(crate) fn text(self, path: &str) -> &'a str {
        match self.at(path).map(|found| found.value) {
            Some(Value::Str(text)) => text,
            _ => "",
        }
    }

    /// The texts of a list.
    pub(crate) fn texts(self, path: &str) -> Vec<&'a str> {
        let text = |item: Self| match item.value {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        };
        self.items(path).into_iter().filter_map(text).collect()
    }

    /// A truth; `None` where it is absent.
    pub(crate) fn flag(self, path: &str) -> Option<bool> {
        match self.at(path)?.value {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A number; zero where it is absent.
    pub(crate) fn number(self, path: &str) -> i128 {
        match self.at(path).map(|found| found.value) {
            Some(Value::Int(value)) => *value,
            _ => 0,
        }
    }
}
