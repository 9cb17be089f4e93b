//! YAML 1.2 with the place of every value.
//!
//! A document becomes a tree of [`Node`]s that know which bytes they were read from. Anchors are
//! shared, not copied; duplicate keys, tags and several documents in one file are refused.

mod deserialize;
pub mod emit;
mod field_error;
mod merge;
mod parse;
mod syntax;

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Span};

pub use deserialize::deserialize;
pub use field_error::FieldError;
pub use merge::{merge, without_nulls};
pub use parse::{number, parse};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Node {
    /// The bytes it was read from.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// The kinds of values of YAML's core schema.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`; `yes` and `no` are texts.
    Bool(bool),
    /// A whole number, and how it was written: `0644` can be meant as a text.
    Integer(i64, Arc<str>),
    /// A number, and how it was written: `8.10` can be meant as a text.
    Float(f64, Arc<str>),
    /// A text.
    String(Arc<str>),
    /// The content of a file that is no text; never comes from YAML itself.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<Vec<Node>>),
    /// A map in the order written.
    Map(Arc<Map>),
}

/// The entries of a map; keys are unique.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The entries in the order written.
    pub entries: Vec<Entry>,
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key is.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// What kind of value it is, with an article: "a list".
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(..) => "an integer",
            Value::Float(..) => "a number",
            Value::String(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The kind, and for a short single value what it is: "a text `abc`".
    pub fn described(&self) -> String {
        match self.scalar() {
            Some(text) if text.len() <= 40 && !text.contains('\n') => {
                format!("{} `{text}`", self.kind())
            }
            _ => self.kind().to_owned(),
        }
    }

    /// The text of a string, or of a number as it was written.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Integer(_, text) | Value::Float(_, text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Whether it is `null`, or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether nothing at all is written for it, not even `null`.
    pub fn is_blank(&self) -> bool {
        self.is_null() && self.span.range.is_empty()
    }

    /// Whether it is a `null` that somebody wrote.
    pub fn is_written_null(&self) -> bool {
        self.is_null() && !self.span.range.is_empty()
    }

    /// What to write instead of a word that YAML 1.1 took for a boolean, if it is one.
    pub fn boolean_hint(&self) -> Option<String> {
        let word = self.as_str()?;
        let meant = match word.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => true,
            "no" | "off" | "false" => false,
            _ => return None,
        };
        Some(format!("write `{meant}`: `{}` is a text", self.span.text()))
    }

    /// The mistake that it is of another kind: "`what` wants a list, found a text `x`".
    pub fn wrong_kind(&self, what: &str, wanted: &str) -> Diagnostic {
        let message = format!("`{what}` wants {wanted}, found {}", self.described());
        Diagnostic::at(&self.span, message)
    }
}

impl Map {
    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.key == key)
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The keys in the order written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.key)
    }
}
