//! Types of fields that several kinds share. Each reads what a user writes and says what is
//! wrong with it; on the wire to the agent each is compact.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whether a resource should be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It should be there.
    #[default]
    Present,
    /// It should not be there.
    Absent,
}

impl Presence {
    /// Whether it should not be there.
    pub fn is_absent(self) -> bool {
        self == Self::Absent
    }
}

/// The permission bits of a file: `"0644"`, or `0644` without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Mode {
    /// Reads three or four octal digits.
    ///
    /// # Errors
    /// Says that the text is not an octal mode.
    pub fn parse(text: &str) -> Result<Self, String> {
        let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if octal => Ok(Self(bits)),
            _ => Err(format!("`{text}` is not an octal file mode such as `0644`")),
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u32(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::parse(&text).map_err(D::Error::custom)
        } else {
            u32::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Mode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-7]{3,4}$",
            "description": "octal permission bits, such as \"0644\"",
        })
    }
}

/// An absolute path on the server, without `..` and without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct AbsolutePath(String);

impl AbsolutePath {
    /// Checks a path.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("`{text}` is not an absolute path"));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(format!("`{text}` contains `..`"));
        }
        if text.contains(['\0', '\n']) {
            return Err("a path cannot contain a line break".to_owned());
        }
        let trimmed = text.trim_end_matches('/');
        Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// `root`, the owner and group of whatever a spec does not say otherwise about.
pub fn root() -> String {
    "root".to_owned()
}

/// `true`, for fields whose absence means yes.
pub fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_wants_octal_digits() {
        assert_eq!(Mode::parse("0644").map(|mode| mode.to_string()), Ok("0644".to_owned()));
        assert_eq!(Mode::parse("755"), Ok(Mode(0o755)));
        for wrong in ["rw-r--r--", "0888", "7", "00644", "+644", ""] {
            assert_eq!(
                Mode::parse(wrong),
                Err(format!("`{wrong}` is not an octal file mode such as `0644`"))
            );
        }
    }

    #[test]
    fn path_is_absolute_and_plain() {
        assert_eq!(AbsolutePath::parse("/srv/").map(|path| path.to_string()), Ok("/srv".into()));
        assert_eq!(AbsolutePath::parse("srv"), Err("`srv` is not an absolute path".into()));
        assert_eq!(AbsolutePath::parse("/a/../b"), Err("`/a/../b` contains `..`".into()));
    }
}
