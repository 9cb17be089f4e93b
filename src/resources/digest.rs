//! Size and hash in the place of a value that is too long to be sent, shown or kept.

use sha2::{Digest as _, Sha256};

use super::state::{Change, Value};

/// Longer texts are shown by size and hash, as what is no text; in bytes.
pub const MOST_COMPARED_BYTES: usize = 256 * 1024;

/// A content of at most so many bytes always stays whole.
pub const SHORT_BYTES: usize = 1024;

/// Longer values of other kinds than contents are nothing to read; in bytes.
const MOST_VALUE_BYTES: usize = 64 * 1024;

/// Whether it is a text that people would read the differences of.
pub fn is_comparable(bytes: &[u8]) -> bool {
    bytes.len() <= MOST_COMPARED_BYTES && !bytes.contains(&0) && str::from_utf8(bytes).is_ok()
}

impl Change {
    /// Shortens what is nothing to read: contents that are long or no text, and other values of
    /// more than 64 KiB.
    pub fn shorten(&mut self) {
        self.for_each_value(|value| {
            let is_readable = match value {
                Value::Content(bytes) => bytes.len() <= SHORT_BYTES || is_comparable(bytes),
                Value::Text(text) => text.len() <= MOST_VALUE_BYTES,
                Value::Set(names) => {
                    names.iter().map(|name| name.len() + 1).sum::<usize>() <= MOST_VALUE_BYTES
                }
                Value::Hidden(_) | Value::Digest { .. } => true,
            };
            if !is_readable {
                value.digest();
            }
        });
    }

    /// Shortens all contents but the shortest, so that two changes can still be told apart.
    pub fn shorten_contents(&mut self) {
        self.for_each_value(|value| {
            if matches!(value, Value::Content(bytes) if bytes.len() > SHORT_BYTES) {
                value.digest();
            }
        });
    }
}

impl Value {
    /// Puts size and hash in its place.
    fn digest(&mut self) {
        let joined;
        let bytes = match self {
            Self::Content(bytes) => bytes.as_slice(),
            Self::Text(text) => text.as_bytes(),
            Self::Set(names) => {
                joined = names.join("\n");
                joined.as_bytes()
            }
            Self::Hidden(_) | Self::Digest { .. } => return,
        };
        let sha256 = Sha256::digest(bytes).into();
        *self = Self::Digest { bytes: bytes.len() as u64, sha256 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::State;

    fn shortened(value: impl Into<Value>, change: fn(&mut Change)) -> Value {
        let mut created = Change::Create(State::new().with("x", value));
        change(&mut created);
        let Change::Create(state) = created else { unreachable!("it was a creation") };
        state.field("x").cloned().unwrap()
    }

    #[test]
    fn what_is_read_stays_whole() {
        let long = "x".repeat(MOST_COMPARED_BYTES);
        for value in [
            Value::Content(long.clone().into_bytes()),
            Value::Content(vec![0; SHORT_BYTES]),
            "x".repeat(MOST_VALUE_BYTES).into(),
            Value::set(["x".repeat(MOST_VALUE_BYTES - 1)]),
            Value::Hidden(long + "x"),
        ] {
            assert_eq!(shortened(value.clone(), Change::shorten), value);
        }
    }

    #[test]
    fn what_is_long_is_told_by_size_and_hash() {
        let sizes = [
            Value::Content("x".repeat(MOST_COMPARED_BYTES + 1).into_bytes()),
            Value::Content(vec![0; SHORT_BYTES + 1]),
            "x".repeat(MOST_VALUE_BYTES + 1).into(),
            Value::set(["x".repeat(MOST_VALUE_BYTES), "y".to_owned()]),
        ]
        .map(|value| shortened(value, Change::shorten).summary());
        assert_eq!(sizes, ["262145 bytes", "1025 bytes", "65537 bytes", "65538 bytes"]);
        let Value::Digest { sha256, .. } =
            shortened(Value::Content(b"x".repeat(1025)), Change::shorten_contents)
        else {
            panic!("the content stayed")
        };
        assert_eq!(sha256, <[u8; 32]>::from(Sha256::digest(b"x".repeat(1025))));
        let short = Value::Content(vec![0; SHORT_BYTES]);
        assert_eq!(shortened(short.clone(), Change::shorten_contents), short);
    }
}
