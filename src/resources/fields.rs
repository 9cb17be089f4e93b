//! Types of fields that several kinds share. Each reads what a user writes and says what is
//! wrong with it; on the wire to the agent each is compact.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::names::normal;

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
    /// Reads three or four octal digits, and a zero in front of the four.
    ///
    /// # Errors
    /// Says that the text is not an octal mode.
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = text.len() - usize::from(text.len() == 5 && text.starts_with('0'));
        let octal = matches!(length, 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
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

/// Whether a text stays one line in every file of lines: programs differ in which characters end
/// one (systemd takes `\r` for an end as well), and none needs another control character than tabs.
pub(super) fn is_one_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && c != '\t')
}

/// The longest path that the kernel takes, in bytes without its end (`PATH_MAX` of `linux/limits.h`).
const LONGEST_PATH_BYTES: usize = 4095;

/// An absolute path on the server in its normal form: without `..`, `.`, empty parts and a slash at
/// its end, so that two spellings of one path are equal.
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
        if !is_one_line(text) {
            return Err("a path cannot contain a line break".to_owned());
        }
        if text.len() > LONGEST_PATH_BYTES {
            return Err(format!("a path has at most {LONGEST_PATH_BYTES} bytes"));
        }
        Ok(Self(normal(text)))
    }

    /// A path of our own that is known to be right, for defaults of fields.
    pub(super) fn fixed(path: &'static str) -> Self {
        Self(path.to_owned())
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

/// The folders of a Debian system, and the links in their places, without which no server works.
const OF_THE_SYSTEM: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/lib/dpkg",
    "/var/lib/infra",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Says that the thing at `path` may not go, where no server works without it.
pub fn check_may_go(path: &str) -> Result<(), String> {
    if OF_THE_SYSTEM.contains(&path) {
        return Err(format!("`{path}` belongs to the system, which does not work without it"));
    }
    Ok(())
}

/// One text, or a list of texts: `components: main` or `components: [main, contrib]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

/// The forms that a user may write for [`OneOrMany`] and [`super::argv::Argv`]. Numbers and booleans are read as the
/// texts they look like.
pub(super) struct TextOrList;

impl<'de> Visitor<'de> for TextOrList {
    type Value = (bool, Vec<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((true, vec![text.to_owned()]))
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Self::Value, E> {
        Ok((true, vec![yes.to_string()]))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok((true, vec![number.to_string()]))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok((true, vec![number.to_string()]))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok((true, vec![number.to_string()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(Scalar(text)) = list.next_element()? {
            texts.push(text);
        }
        Ok((false, texts))
    }
}

/// A text that may look like a number or a boolean: `value: 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return String::deserialize(deserializer).map(Self);
        }
        let (is_text, mut texts) = deserializer.deserialize_any(TextOrList)?;
        match texts.pop() {
            Some(text) if is_text => Ok(Self(text)),
            _ => Err(D::Error::custom("a list is not a text")),
        }
    }
}

impl Serialize for OneOrMany {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] if serializer.is_human_readable() => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(TextOrList).map(|(_, texts)| Self(texts))
        } else {
            Vec::deserialize(deserializer).map(Self)
        }
    }
}

/// The schema of a text or a list of texts.
#[cfg(feature = "cli")]
pub(super) fn text_or_list(description: &str) -> schemars::Schema {
    schemars::json_schema!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        "description": description,
    })
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        text_or_list("one text, or a list of texts")
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
        assert_eq!(Mode::parse("02775"), Ok(Mode(0o2775)));
        for wrong in ["rw-r--r--", "0888", "7", "12775", "000644", "+644", ""] {
            assert_eq!(
                Mode::parse(wrong),
                Err(format!("`{wrong}` is not an octal file mode such as `0644`"))
            );
        }
    }

    #[test]
    fn path_is_absolute_and_plain() {
        for spelling in ["/srv/a", "/srv/a/", "//srv//a", "/srv/./a/."] {
            assert_eq!(
                AbsolutePath::parse(spelling).map(|path| path.to_string()),
                Ok("/srv/a".into())
            );
        }
        assert_eq!(AbsolutePath::parse("//").map(|path| path.to_string()), Ok("/".into()));
        assert_eq!(AbsolutePath::parse("srv"), Err("`srv` is not an absolute path".into()));
        assert_eq!(AbsolutePath::parse("/a/../b"), Err("`/a/../b` contains `..`".into()));
    }

    #[test]
    fn a_text_or_a_list_is_read_from_json_and_from_the_wire() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (written, texts) in [
            ("\"main contrib\"", vec!["main contrib"]),
            ("[\"main\", 8080, true]", vec!["main", "8080", "true"]),
            ("[]", vec![]),
        ] {
            let read: OneOrMany = serde_json::from_str(written).unwrap();
            assert_eq!(read.0, words(&texts));
            let bytes = postcard::to_stdvec(&read).unwrap();
            assert_eq!(postcard::from_bytes::<OneOrMany>(&bytes).unwrap(), read);
        }
        let error = serde_json::from_str::<OneOrMany>("[[\"a\"]]").unwrap_err().to_string();
        assert!(error.starts_with("a list is not a text"), "{error}");
    }
}
