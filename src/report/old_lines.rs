//! What may be shown of the lines that go from a text.

use std::collections::BTreeSet;

use super::difference::{HIDDEN_LINE, Mask};

/// What may be shown of lines that go: a secret in them that is no longer used is in no manifest,
/// so that nobody can mask it.
pub(super) struct OldLines<'a> {
    mask: &'a Mask,
    /// What stands before the secrets of the new text.
    before_secrets: Vec<String>,
    /// The lines of the new text.
    kept: BTreeSet<&'a str>,
    /// What they begin with: the names of settings.
    words: BTreeSet<&'a str>,
}

impl<'a> OldLines<'a> {
    pub(super) fn beside(new: &'a str, mask: &'a Mask) -> Self {
        let before_secrets = mask.texts_before_secrets(new);
        let (kept, words) = (new.lines().collect(), new.lines().map(first_word).collect());
        Self { mask, before_secrets, kept, words }
    }

    pub(super) fn shown(&self, line: &str) -> String {
        if self.before_secrets.iter().any(|before| line.starts_with(before)) {
            return HIDDEN_LINE.to_owned();
        }
        let is_free = self.mask.own.is_empty()
            || self.mask.is_drift
            || line.trim().is_empty()
            || self.kept.contains(line);
        match first_word(line) {
            _ if is_free => self.mask.line(line),
            word if self.words.contains(word) => {
                format!("{} {HIDDEN_LINE}", self.mask.scrubber.scrub(word))
            }
            _ => HIDDEN_LINE.to_owned(),
        }
    }
}

/// The beginning of a line with its first word.
fn first_word(line: &str) -> &str {
    let start = line.len() - line.trim_start().len();
    let is_end = |c: char| c.is_whitespace() || "=:".contains(c);
    line[start..].find(is_end).map_or(line, |length| &line[..start + length])
}
