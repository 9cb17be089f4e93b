//! From nodes to Rust values, through serde, without losing the place.

use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Span, nearest};

/// Reads `node` as a `T`.
///
/// # Errors
/// The first mistake, at the field it is about.
pub fn deserialize<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, Diagnostic> {
    T::deserialize(node).map_err(|error| error.into_diagnostic(&node.span))
}

/// A mistake in a field, whose place is filled in on the way out.
#[derive(Debug)]
pub struct FieldError {
    field: Option<String>,
    span: Option<Span>,
    message: String,
    hint: Option<String>,
    /// Whether the message already names the field.
    complete: bool,
}

impl FieldError {
    /// The mistake; `outer` is its place where no field is known.
    pub fn into_diagnostic(self, outer: &Span) -> Diagnostic {
        let message = match self.field {
            Some(field) if !self.complete => format!("`{field}`: {}", self.message),
            _ => self.message,
        };
        let diagnostic = Diagnostic::at(&self.span.unwrap_or_else(|| outer.clone()), message);
        match self.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }

    fn plain(message: String) -> Self {
        Self { field: None, span: None, message, hint: None, complete: false }
    }

    fn wrong_kind(node: &Node, wanted: &str) -> Self {
        let message = format!("wants {wanted}, found {}", node.described());
        Self { span: Some(node.span.clone()), ..Self::plain(message) }
    }

    fn inside(mut self, field: &str, span: &Span) -> Self {
        if self.field.is_none() && !self.complete && self.message.starts_with("wants ") {
            self.message = format!("`{field}` {}", self.message);
            self.complete = true;
        }
        self.field.get_or_insert_with(|| field.to_owned());
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FieldError {}

impl de::Error for FieldError {
    fn custom<T: Display>(message: T) -> Self {
        Self::plain(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the fields are {}", ticked(expected)),
        };
        let message = format!("unknown field `{field}`");
        Self { hint: Some(hint), complete: true, ..Self::plain(message) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(variant, expected.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the values are {}", ticked(expected)),
        };
        Self { hint: Some(hint), ..Self::plain(format!("unknown value `{variant}`")) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { complete: true, ..Self::plain(format!("`{field}` is missing")) }
    }
}

fn ticked(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Integer(number, _) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::Float(number, _) => visitor.visit_f64(*number),
            Value::String(text) => visitor.visit_str(text),
            Value::Bytes(bytes) => visitor.visit_bytes(bytes),
            Value::List(list) => visitor.visit_seq(Elements { rest: list.iter() }),
            Value::Map(map) => {
                visitor.visit_map(Fields { rest: map.entries.iter(), current: None })
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Bool(yes) => visitor.visit_bool(yes),
            _ => Err(FieldError::wrong_kind(self, "`true` or `false`")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Integer(number, _) => match u64::try_from(number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(number),
            },
            _ => Err(FieldError::wrong_kind(self, "an integer")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.scalar() {
            Some(text) => visitor.visit_str(text),
            None => Err(FieldError::wrong_kind(self, "a text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match &self.value {
            Value::Bytes(bytes) => visitor.visit_bytes(bytes),
            _ => self.deserialize_str(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match &self.value {
            Value::List(list) => visitor.visit_seq(Elements { rest: list.iter() }),
            _ => Err(FieldError::wrong_kind(self, "a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match &self.value {
            Value::Map(map) => {
                visitor.visit_map(Fields { rest: map.entries.iter(), current: None })
            }
            _ => Err(FieldError::wrong_kind(self, "a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        if let Some(text) = self.scalar() {
            return visitor.visit_enum(text.into_deserializer());
        }
        match self.as_map().map(|map| map.entries.as_slice()) {
            Some([entry]) => visitor.visit_enum(Variant(entry)),
            _ => Err(FieldError::wrong_kind(self, "a text")),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 f64 char unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Elements<'de> {
    rest: std::slice::Iter<'de, Node>,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FieldError> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let element = seed.deserialize(node).map_err(|mut error| {
            error.span.get_or_insert_with(|| node.span.clone());
            error
        });
        element.map(Some)
    }
}

struct Fields<'de> {
    rest: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FieldError> {
        let Some(entry) = self.rest.next() else { return Ok(None) };
        self.current = Some(entry);
        let key: StrDeserializer<'_, FieldError> = (*entry.key).into_deserializer();
        let key = seed.deserialize(key).map_err(|mut error| {
            error.span.get_or_insert_with(|| entry.key_span.clone());
            error
        });
        key.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, FieldError> {
        match self.current {
            Some(entry) => seed
                .deserialize(&entry.value)
                .map_err(|error| error.inside(&entry.key, &entry.value.span)),
            None => Err(FieldError::plain("a value without a key".to_owned())),
        }
    }
}

struct Variant<'de>(&'de Entry);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = FieldError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), FieldError> {
        let name: StrDeserializer<'_, FieldError> = (*self.0.key).into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = FieldError;

    fn unit_variant(self) -> Result<(), FieldError> {
        Err(FieldError::wrong_kind(&self.0.value, "nothing"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, FieldError> {
        seed.deserialize(&self.0.value)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        self.0.value.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        self.0.value.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Source;
    use crate::resources::Spec;
    use crate::yaml::parse;

    fn directory(text: &str) -> Result<Spec, String> {
        let node = parse(&Source::new("role.yaml", text)).unwrap();
        let spec = Spec::deserialize_kind("directory", &node).unwrap();
        spec.map_err(|error| error.into_diagnostic(&node.span).render(false))
    }

    #[test]
    fn reads_a_spec() {
        let spec = directory("path: /srv\nmode: 0750\n").unwrap();
        assert_eq!(spec.id().to_string(), "directory:/srv");
    }

    #[test]
    fn an_unknown_field_is_suggested() {
        assert_eq!(
            directory("path: /srv\nownr: root\n").unwrap_err(),
            "error: unknown field `ownr`\n --> role.yaml:2:1\n  |\n2 | ownr: root\n  | ^^^^\n\
             hint: did you mean `owner`?"
        );
    }

    #[test]
    fn a_wrong_value_names_its_field() {
        assert_eq!(
            directory("path: /srv\nmode: rw-r--r--\n").unwrap_err(),
            "error: `mode`: `rw-r--r--` is not an octal file mode such as `0644`\n \
             --> role.yaml:2:7\n  |\n2 | mode: rw-r--r--\n  |       ^^^^^^^^^"
        );
        assert!(
            directory("path: /srv\nrecursive: maybe\n")
                .unwrap_err()
                .starts_with("error: `recursive` wants `true` or `false`, found a text `maybe`\n")
        );
        assert!(directory("mode: 0755\n").unwrap_err().starts_with("error: `path` is missing\n"));
        assert!(
            directory("path: [a]\n")
                .unwrap_err()
                .starts_with("error: `path` wants a text, found a list\n")
        );
        assert!(
            directory("path: /a\nstate: gone\n")
                .unwrap_err()
                .ends_with("hint: the values are `present`, `absent`")
        );
    }
}
