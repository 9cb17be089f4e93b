//! Secrets of several lines: a line of them that is too short to be searched for in any text is
//! hidden in the texts that hold the secret.

use crate::secret::{Scrubber, Secret};

/// The short lines of some secrets.
#[derive(Clone, Debug, Default)]
pub(super) struct ShortLines {
    /// Lines that have a line of text for themselves, but for spaces around.
    whole: Vec<Secret>,
    /// First lines, which may follow something else.
    first: Vec<Secret>,
    /// Last lines, which something else may follow.
    last: Vec<Secret>,
}

impl ShortLines {
    pub(super) fn of(secrets: &[Secret]) -> Self {
        let mut short = Self::default();
        for secret in secrets {
            let lines: Vec<&str> = secret.expose().trim().lines().map(str::trim).collect();
            let (Some(first), Some(last), true) = (lines.first(), lines.last(), lines.len() > 1)
            else {
                continue;
            };
            let is_short = |line: &&&str| !line.is_empty() && line.len() < Scrubber::SHORTEST;
            short.whole.extend(lines.iter().filter(is_short).map(|line| Secret::new(*line)));
            short.first.extend(Some(first).filter(is_short).map(|line| Secret::new(*line)));
            short.last.extend(Some(last).filter(is_short).map(|line| Secret::new(*line)));
        }
        short
    }

    /// Whether a line of text may be one of them.
    pub(super) fn hide(&self, line: &str) -> bool {
        let line = line.trim();
        self.whole.iter().any(|secret| line == secret.expose())
            || self.first.iter().any(|secret| line.ends_with(secret.expose()))
            || self.last.iter().any(|secret| line.starts_with(secret.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lines_are_hidden_and_no_others() {
        let short = ShortLines::of(&[Secret::new("ab\nlong enough\nx=\n\nyz\n"), Secret::new("q")]);
        for line in ["  x=", "key: ab", "yz, more", "ab", "yz"] {
            assert!(short.hide(line), "{line}");
        }
        for line in ["", "q", "long enough", "x=1", "abc"] {
            assert!(!short.hide(line), "{line}");
        }
    }
}
