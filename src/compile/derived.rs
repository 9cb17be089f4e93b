//! Values made from secrets: encoded, hashed, cut. They cannot be found by searching for the
//! secret, so they are found here: what is evaluated once with the real secrets and once with
//! others differs exactly where a secret shows.

use std::collections::BTreeSet;

use crate::secret::{Scrubber, Secret};
use crate::yaml::{Node, Value};

/// Masking shorter words everywhere would make reports unreadable: the line that they are in is
/// masked.
const SHORTEST: usize = 8;

/// The two evaluations of one field.
pub(super) struct Comparison<'a> {
    /// Masks the real secrets.
    pub(super) real: &'a Scrubber,
    /// Masks those that stood in.
    pub(super) other: &'a Scrubber,
    /// What was made from the real ones.
    pub(super) found: &'a mut BTreeSet<Secret>,
    /// Whether something was made that a search would not find.
    pub(super) is_untraceable: bool,
}

impl Comparison<'_> {
    /// Compares what a field is with what it is with other secrets.
    pub(super) fn nodes(&mut self, real: &Node, other: &Node) {
        match (&real.value, &other.value) {
            (Value::List(real), Value::List(other)) if real.len() == other.len() => {
                for (real, other) in real.iter().zip(other.iter()) {
                    self.nodes(real, other);
                }
            }
            (Value::Map(real), Value::Map(other)) if real.keys().eq(other.keys()) => {
                for (real, other) in real.entries.iter().zip(&other.entries) {
                    self.nodes(&real.value, &other.value);
                }
            }
            (Value::Bytes(real), Value::Bytes(other)) => {
                self.texts(&String::from_utf8_lossy(real), &String::from_utf8_lossy(other));
            }
            _ => match (real.scalar(), other.scalar()) {
                (Some(real), Some(other)) => self.texts(real, other),
                _ => self.whole(real),
            },
        }
    }

    /// Keeps all of what nothing can be compared with.
    pub(super) fn whole(&mut self, real: &Node) {
        self.is_untraceable = true;
        match &real.value {
            Value::List(list) => list.iter().for_each(|node| self.whole(node)),
            Value::Map(map) => map.entries.iter().for_each(|entry| self.whole(&entry.value)),
            Value::Bytes(bytes) => self.keep_lines(&String::from_utf8_lossy(bytes)),
            _ => self.keep_lines(real.scalar().unwrap_or_default()),
        }
    }

    fn keep_lines(&mut self, text: &str) {
        for line in text.lines() {
            self.keep(line);
        }
    }

    fn texts(&mut self, real: &str, other: &str) {
        if self.real.scrub(real) == self.other.scrub(other) {
            return;
        }
        if real.lines().count() == other.lines().count() {
            for (real, other) in real.lines().zip(other.lines()) {
                self.lines(real, other);
            }
        } else {
            let same: BTreeSet<String> = other.lines().map(|line| self.other.scrub(line)).collect();
            for line in real.lines().filter(|line| !same.contains(&self.real.scrub(line))) {
                self.keep(line);
            }
        }
    }

    /// Compares two lines without the secrets that are in them as they are. What is kept is text
    /// of the line itself: whoever masks searches for it beside those secrets.
    fn lines(&mut self, line: &str, other: &str) {
        let (real, other) = (self.real.scrub(line), self.other.scrub(other));
        if real == other {
            return;
        }
        let (words, others): (Vec<&str>, Vec<&str>) =
            (real.split(is_between).collect(), other.split(is_between).collect());
        if words.len() == others.len() {
            for (word, _) in words.iter().zip(&others).filter(|(word, other)| word != other) {
                if word.len() < SHORTEST || !line.contains(word) {
                    self.keep(line);
                } else {
                    self.keep(word);
                }
            }
        } else {
            self.keep(line);
        }
    }

    fn keep(&mut self, text: &str) {
        let text = text.trim();
        if text.len() >= SHORTEST {
            self.found.insert(Secret::new(text));
        } else if !text.is_empty() {
            self.is_untraceable = true;
        }
    }
}

/// What separates words in configuration files, and is in no encoding or hash.
fn is_between(c: char) -> bool {
    c.is_whitespace() || "=:,;\"'()[]{}<>".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Source, Span};

    fn found(real: &str, other: &str) -> Vec<String> {
        let node = |text: &str| {
            let span = Span::new(&Source::new("x", text), 0..0);
            Node { span, value: Value::String(text.into()) }
        };
        let (secret, shadow) = (Secret::new("hunter22"), Secret::new("uhagre77"));
        let mut found = BTreeSet::new();
        let (real_scrubber, other_scrubber) =
            (Scrubber::literal([&secret]), Scrubber::literal([&shadow]));
        let mut comparison = Comparison {
            real: &real_scrubber,
            other: &other_scrubber,
            found: &mut found,
            is_untraceable: false,
        };
        comparison.nodes(&node(real), &node(other));
        let untraceable = comparison.is_untraceable.then(|| "(untraceable)".to_owned());
        found.iter().map(|secret| secret.expose().to_owned()).chain(untraceable).collect()
    }

    #[test]
    fn only_what_was_made_from_a_secret() {
        assert!(found("a=hunter22 b=1\n", "a=uhagre77 b=1\n").is_empty());
        assert_eq!(
            found("a=hunter22\nb=\"aHVudGVyMjI=\" c\n", "a=uhagre77\nb=\"dWhhZ3JlNzc=\" c\n"),
            ["aHVudGVyMjI"]
        );
        assert_eq!(found("pin = 4829 x\n", "pin = 9374 x\n"), ["pin = 4829 x"]);
        assert_eq!(found("p=4829\n", "p=9374\n"), ["(untraceable)"]);
        assert_eq!(found("x\nonly with it\n", "x\n"), ["only with it"]);
    }

    /// A line that also holds a secret as it is: what is kept must be found in the line as it is.
    #[test]
    fn beside_a_secret_that_is_there_as_it_is() {
        assert_eq!(
            found("u=hunter22 p=22 ret nuh\n", "u=uhagre77 p=77er gahu\n"),
            ["u=hunter22 p=22 ret nuh"]
        );
        assert_eq!(
            found("db://hunter22@2222/x\n", "db://uhagre77@7777/x\n"),
            ["db://hunter22@2222/x"]
        );
        assert_eq!(found("a=hunter22\nmode hunter22 on\n", "a=uhagre77\n"), ["mode hunter22 on"]);
        assert_eq!(found("hunter22 aHVudGVyMjI=", "uhagre77 dWhhZ3JlNzc="), ["aHVudGVyMjI"]);
    }
}
