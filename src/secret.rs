//! Secret values: a type that cannot be printed, and the scrubber that masks them in text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands in place of a secret wherever it would be shown.
pub const MASK: &str = "(secret)";

/// A value that is never printed: its `Debug` is a mask and it has no `Display`.
///
/// It serializes as itself, because the manifest carries it to the server over the encrypted
/// connection; nothing else may serialize it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value itself. Each call is a place where a secret leaves its wrapping.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Masks every known secret in a text: for errors and output that come from a server.
#[derive(Clone, Debug, Default)]
pub struct Scrubber {
    /// Longest first, so that a secret that contains another is masked whole.
    needles: Vec<Secret>,
}

impl Scrubber {
    /// Shorter values occur by accident in any text; masking them would hide nothing and
    /// make the output unreadable.
    const SHORTEST: usize = 4;

    /// A scrubber of `secrets` and of each of their lines.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut needles: Vec<Secret> = secrets
            .into_iter()
            .flat_map(|secret| {
                let whole = std::iter::once(secret.expose());
                whole.chain(secret.expose().lines()).map(str::trim).map(Secret::new)
            })
            .filter(|secret| secret.expose().len() >= Self::SHORTEST)
            .collect();
        needles.sort_by(|a, b| {
            b.expose().len().cmp(&a.expose().len()).then_with(|| a.expose().cmp(b.expose()))
        });
        needles.dedup();
        Self { needles }
    }

    /// `text` with every secret replaced by [`MASK`].
    pub fn scrub(&self, text: &str) -> String {
        self.needles.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), MASK) } else { text }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_value() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "(secret)");
    }

    #[test]
    fn masks_longest_first_and_line_by_line() {
        let secrets = [Secret::new("hunter2"), Secret::new("hunter2-long"), Secret::new("a\nkey1")];
        let scrubber = Scrubber::new(&secrets);
        assert_eq!(
            scrubber.scrub("x hunter2-long hunter2 key1 a"),
            "x (secret) (secret) (secret) a"
        );
    }

    #[test]
    fn leaves_very_short_values_alone() {
        assert_eq!(Scrubber::new(&[Secret::new("no")]).scrub("not now"), "not now");
    }
}
