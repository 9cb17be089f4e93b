//! The content of a file in a spec: text as users write it, or any bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a file. Written as a text, or as `{ base64: … }` where they are no text; on the wire
/// they travel as they are.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Content(Vec<u8>);

impl Content {
    /// Wraps bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Only the size: the content may hold secrets.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_owned())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Written)
        } else {
            deserializer.deserialize_byte_buf(Written)
        }
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::from(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(Content::new(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Content, E> {
        Ok(Content(bytes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let wrong = || A::Error::custom("content is a text, or `{ base64: … }`");
        let (key, encoded) = map.next_entry::<String, String>()?.ok_or_else(wrong)?;
        if key != "base64" || map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        let plain: String = encoded.split_ascii_whitespace().collect();
        STANDARD.decode(plain).map(Content).map_err(|error| {
            A::Error::custom(format!("the content is not base64: {error}").to_lowercase())
        })
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Content {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "base64": { "type": "string", "description": "the bytes" } },
                    "required": ["base64"],
                    "additionalProperties": false,
                },
            ],
            "description": "a text, or { base64: … } for other bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_survive_both_ways_of_travel() {
        for (bytes, written) in
            [(&b"a\n"[..], "\"a\\n\""), (&[0xff, 0], "{\"base64\":\"/wA=\"}"), (&[], "\"\"")]
        {
            let content = Content::new(bytes);
            assert_eq!(serde_json::to_string(&content).unwrap(), written);
            assert_eq!(serde_json::from_str::<Content>(written).unwrap(), content);
            let wire = postcard::to_stdvec(&content).unwrap();
            assert_eq!(postcard::from_bytes::<Content>(&wire).unwrap(), content);
        }
        let error = serde_json::from_str::<Content>("{\"hex\":\"00\"}").unwrap_err().to_string();
        assert!(error.starts_with("content is a text, or `{ base64: … }`"), "{error}");
    }
}
