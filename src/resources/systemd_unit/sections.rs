//! The lines of one section of a unit file, in the order written.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::manifest::ResourceId;
use crate::resources::account;
use crate::resources::fields::{OneOrMany, is_one_line};

/// `Key: value` or `Key: [value, value]`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(Vec<(String, OneOrMany)>);

impl Entries {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says which key or value systemd would read as something else.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (key, values) in &self.0 {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if key.is_empty() || !key.chars().all(plain) {
                return Err(format!("`{key}` is not a key of a unit file"));
            }
            if values.0.iter().any(|value| !is_one_line(value) || value.ends_with('\\')) {
                return Err(format!("the value of `{key}` has to be one line"));
            }
        }
        Ok(())
    }
}

/// The words of the values that a unit file gives to any of `keys`.
pub(super) fn words<'a>(text: &'a str, keys: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(key, _)| keys.contains(&key.trim()));
    // A list may go on in the next line.
    pairs.flat_map(|(_, value)| value.split_whitespace()).filter(|word| *word != "\\")
}

/// Whether the text of a unit says where `systemctl enable` links it (systemd.unit(5), `[Install]`).
pub(super) fn is_installed(text: &str) -> bool {
    let keys = ["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also", "DefaultInstance"];
    words(text, &keys).next().is_some()
}

/// One line a value. An empty value, which resets a list in a drop-in, is a line as well.
impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, values) in &self.0 {
            for value in &values.0 {
                writeln!(f, "{key}={value}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, values) in &self.0 {
            map.serialize_entry(key, values)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from keys of the section to texts or lists of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Entries {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Entries".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<OneOrMany>();
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": value,
            "description": "keys of the section with a text or a list of texts each",
        })
    }
}

/// The accounts that the text of a unit names.
pub(super) fn accounts(text: &str) -> Vec<ResourceId> {
    // systemd makes the account of such a service for as long as the service runs.
    let yes = ["1", "yes", "y", "true", "t", "on"];
    let is_yes = |word: &str| yes.contains(&word.to_lowercase().as_str());
    let is_dynamic = words(text, &["DynamicUser"]).last().is_some_and(is_yes);
    let skipped = usize::from(is_dynamic);
    let users = words(text, &["User", "SocketUser"][skipped..]);
    let groups = words(text, &["Group", "SocketGroup", "SupplementaryGroups"][skipped..]);
    account::named(users, groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(list: &[(&str, &[&str])]) -> Entries {
        let own = |values: &[&str]| OneOrMany(values.iter().map(ToString::to_string).collect());
        Entries(list.iter().map(|(key, values)| ((*key).to_owned(), own(values))).collect())
    }

    #[test]
    fn keeps_the_order_and_resets_lists() {
        let entries =
            entries(&[("ExecStart", &["", "/bin/b"]), ("After", &["z.target", "a.target"])]);
        assert_eq!(
            entries.to_string(),
            "ExecStart=\nExecStart=/bin/b\nAfter=z.target\nAfter=a.target\n"
        );
        let bytes = postcard::to_stdvec(&entries).unwrap();
        assert_eq!(postcard::from_bytes::<Entries>(&bytes).unwrap(), entries);
    }

    #[test]
    fn refuses_what_would_become_another_line() {
        let wrong = entries(&[("ExecStart", &["/bin/a\nUser=root"])]);
        assert_eq!(wrong.validate(), Err("the value of `ExecStart` has to be one line".into()));
        let wrong = entries(&[("[Unit]", &["x"])]);
        assert_eq!(wrong.validate(), Err("`[Unit]` is not a key of a unit file".into()));
    }
}
