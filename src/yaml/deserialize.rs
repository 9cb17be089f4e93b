//! From nodes to Rust values, through serde, without losing the place.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::field_error::FieldError;
use super::{Entry, Node, Value};
use crate::diagnostic::Diagnostic;

/// Reads `node` as a `T`; `what` is its name in messages: "unknown field `x` of `what`".
///
/// # Errors
/// The first mistake, at the field it is about.
pub fn deserialize<'a, T: Deserialize<'a>>(node: &'a Node, what: &str) -> Result<T, Diagnostic> {
    T::deserialize(node).map_err(|error| error.into_diagnostic(what, &node.span))
}

/// All sizes alike: the visitor says which numbers are too large for it.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            match self.value {
                Value::Integer(number, _) => match u64::try_from(number) {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => visitor.visit_i64(number),
                },
                _ => Err(FieldError::wrong_kind(self, "an integer")),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            // Whoever takes anything shall not lose how `0644` and `8.10` were written.
            Value::Integer(number, text) if number.to_string() != **text => visitor.visit_str(text),
            Value::Float(number, text) if number.to_string() != **text => visitor.visit_str(text),
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

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
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
        i128 u128 f32 f64 char unit unit_struct tuple tuple_struct identifier ignored_any
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
        seed.deserialize(node).map(Some).map_err(|error| error.or_at(&node.span))
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
        seed.deserialize(key).map(Some).map_err(|error| error.or_at(&entry.key_span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, FieldError> {
        match self.current {
            Some(entry) => seed
                .deserialize(&entry.value)
                .map_err(|error| error.inside(&entry.key, &entry.value.span)),
            None => Err(de::Error::custom("a value without a key")),
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
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::deserialize;
    use crate::diagnostic::Source;
    use crate::resources::fields::{AbsolutePath, Mode, OneOrMany, Presence};
    use crate::yaml::parse;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        path: AbsolutePath,
        mode: Option<Mode>,
        #[serde(default)]
        recursive: bool,
        #[serde(default)]
        state: Presence,
        port: Option<u16>,
        version: Option<String>,
        any: Option<OneOrMany>,
        inner: Option<Inner>,
        by_name: Option<BTreeMap<String, Vec<String>>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        depth: i64,
    }

    fn sample(text: &str) -> Result<Sample, String> {
        let node = parse(&Source::new("role.yaml", text)).unwrap();
        deserialize(&node, "sample").map_err(|mistake| mistake.render(false))
    }

    #[test]
    fn a_text_takes_numbers_as_they_were_written() {
        let sample =
            sample("{ path: /srv, mode: 0750, version: 8.10, port: 22, any: 1.10 }").unwrap();
        assert_eq!(sample.mode, Some(Mode(0o750)));
        assert_eq!(sample.version.as_deref(), Some("8.10"));
        assert_eq!(sample.port, Some(22));
        assert_eq!(sample.any, Some(OneOrMany(vec!["1.10".to_owned()])));
    }

    #[test]
    fn an_unknown_field_is_marked_and_suggested() {
        assert_eq!(
            sample("path: /srv\nprot: 22\n").unwrap_err(),
            "error: unknown field `prot` of `sample`\n --> role.yaml:2:1\n  |\n2 | prot: 22\n  | \
             ^^^^\nhint: did you mean `port`?"
        );
    }

    #[test]
    fn a_wrong_value_names_its_field() {
        assert_eq!(
            sample("path: /srv\nmode: rw-r--r--\n").unwrap_err(),
            "error: `mode`: `rw-r--r--` is not an octal file mode such as `0644`\n \
             --> role.yaml:2:7\n  |\n2 | mode: rw-r--r--\n  |       ^^^^^^^^^"
        );
        for (text, message) in [
            ("recursive: maybe", "`recursive` wants `true` or `false`, found a text `maybe`"),
            ("port: '22'", "`port` wants an integer, found a text `22`"),
            (
                "port: 70000",
                "`port` wants a whole number from 0 to 65535, found an integer `70000`",
            ),
            ("port: -1", "`port` wants a whole number from 0 to 65535, found an integer `-1`"),
            ("version: [a]", "`version` wants a text, found a list"),
            ("any: { a: b }", "`any` wants a text or a list of texts, found a map"),
            ("inner: {}", "missing field `depth` of `inner`"),
            ("inner: { depth: 1, width: 2 }", "unknown field `width` of `inner`"),
            ("inner: { depth: x }", "`depth` wants an integer, found a text `x`"),
            ("inner: 3", "`inner` wants a map, found an integer `3`"),
            ("by_name: { x: [1, [2]] }", "`x` wants a text, found a list"),
            ("state: gone", "`state`: unknown value `gone`"),
        ] {
            let error = sample(&format!("path: /a\n{text}\n")).unwrap_err();
            assert_eq!(error.lines().next(), Some(format!("error: {message}").as_str()));
        }
        assert_eq!(
            sample("mode: 0755\n").unwrap_err().lines().next(),
            Some("error: missing field `path` of `sample`")
        );
    }
}
