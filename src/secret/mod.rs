//! Secret values: a type that cannot be printed, and the scrubber that masks them in text.

mod forms;
#[cfg(feature = "cli")]
mod handover;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
pub use handover::{hide_identity, identity};

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

/// Keeps the memory of this process, where secrets are, out of core dumps and away from other
/// processes of the same user. Where the kernel refuses, the program works all the same.
pub fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    // The upper limit stays: programs that are started may choose for themselves.
    let maximum = rustix::process::getrlimit(Resource::Core).maximum;
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    // A dump that is piped into a program knows no limit.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The variable of the environment that may hold an identity. No program that is started has any
/// use for it: the connection of ssh lives on long after the run, and would keep it.
pub const IDENTITY_VARIABLE: &str = "INFRA_IDENTITY";

/// Masks every known secret in a text: for errors and output that come from a server.
#[derive(Clone, Debug, Default)]
pub struct Scrubber {
    /// What is searched for, sorted.
    needles: Vec<Needle>,
}

/// One text to search for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Needle {
    text: Secret,
    /// Whether it is a part of base64, whose ends depend on what is beside the secret.
    is_base64: bool,
}

impl Scrubber {
    /// Shorter values occur by accident in any text; masking them would hide nothing and
    /// make the output unreadable.
    pub const SHORTEST: usize = 4;

    /// A scrubber of `secrets` and of each of their lines, as they are and in the forms that
    /// programs print them in: quoted, escaped, encoded.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self::searching(secrets, |value, needles| {
            needles.extend(forms::escaped(value).into_iter().map(|form| (form, false)));
            needles.extend(forms::base64(value).into_iter().map(|form| (form, true)));
        })
    }

    /// A scrubber of `secrets` and of each of their lines as they are, and in no other form.
    pub fn literal<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self::searching(secrets, |_, _| {})
    }

    fn searching<'a>(
        secrets: impl IntoIterator<Item = &'a Secret>,
        more: impl Fn(&str, &mut Vec<(String, bool)>),
    ) -> Self {
        let mut found = Vec::new();
        for secret in secrets {
            let whole = std::iter::once(secret.expose());
            let texts: BTreeSet<&str> =
                whole.chain(secret.expose().lines()).map(str::trim).collect();
            for text in texts.into_iter().filter(|text| text.len() >= Self::SHORTEST) {
                found.push((text.to_owned(), false));
                more(text, &mut found);
            }
        }
        let needle =
            |(text, is_base64): (String, bool)| Needle { text: Secret::new(text), is_base64 };
        let mut needles: Vec<Needle> = found.into_iter().map(needle).collect();
        needles.sort();
        needles.dedup();
        Self { needles }
    }

    /// `text` with every secret replaced by [`MASK`]. Where two of them overlap, all that either
    /// covers is masked: what is left of one would tell of it.
    pub fn scrub(&self, text: &str) -> String {
        let mut found: Vec<Range<usize>> = Vec::new();
        for needle in &self.needles {
            found.extend(needle.places(text));
        }
        if found.is_empty() {
            return text.to_owned();
        }
        found.sort_by_key(|range| (range.start, range.end));
        let (mut masked, mut done) = (String::new(), 0);
        let mut found = found.into_iter().peekable();
        while let Some(mut range) = found.next() {
            while let Some(next) = found.next_if(|next| next.start < range.end) {
                range.end = range.end.max(next.end);
            }
            masked.push_str(&text[done..range.start]);
            masked.push_str(MASK);
            done = range.end;
        }
        masked.push_str(&text[done..]);
        masked
    }
}

impl Needle {
    /// Where it is in `text`, places that overlap included.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        let needle = self.text.expose();
        let step = needle.chars().next().map_or(1, char::len_utf8);
        let (mut places, mut from) = (Vec::new(), 0);
        while let Some(at) = text[from..].find(needle) {
            let start = from + at;
            from = start + step;
            places.push(self.with_neighbours(text.as_bytes(), start..start + needle.len()));
        }
        places
    }

    /// The bits of a secret at the ends of its part of base64 are in characters that depend on its
    /// neighbours as well: they go with it.
    fn with_neighbours(&self, text: &[u8], mut range: Range<usize>) -> Range<usize> {
        if self.is_base64 {
            while range.start > 0 && forms::is_base64(text[range.start - 1]) {
                range.start -= 1;
            }
            while text.get(range.end).is_some_and(|byte| forms::is_base64(*byte)) {
                range.end += 1;
            }
        }
        range
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

    /// What is left of one secret beside another would tell of it.
    #[test]
    fn masks_what_overlaps_whole() {
        let secrets = [Secret::new("abcdef"), Secret::new("defghi"), Secret::new("xyxyx")];
        let scrubber = Scrubber::new(&secrets);
        assert_eq!(scrubber.scrub("1abcdefghi2 3xyxyxyx4"), "1(secret)2 3(secret)4");
    }

    #[test]
    fn masks_what_programs_print() {
        let value = "p\"a\\s's% w/\u{e9}";
        let scrubber = Scrubber::new(&[Secret::new(value)]);
        for form in [
            r#"p\"a\\s's% w/é"#,
            r#"p\"a\\s's% w\/é"#,
            r#"p\"a\\s's% w/\u00e9"#,
            "p%22a%5Cs%27s%25%20w%2F%C3%A9",
            "p%22a%5cs%27s%25+w%2f%c3%a9",
            "p%22a%5Cs's%25%20w%2F%C3%A9",
            "p%22a%5Cs%27s%25%20w/%C3%A9",
            "cCJhXHMncyUgdy/DqQ==",
            "cCJhXHMncyUgdy/DqQ",
            "cCJhXHMncyUgdy_DqQ==",
            "cCJhXHMncyUgdy/DqQo=",
            "dTpwImFccydzJSB3L8Op",
            "dXNwImFccydzJSB3L8Op",
            r#"p"a\s'\''s% w/é"#,
            r#"p"a\s'"'"'s% w/é"#,
            r#"p\"a\\s\'s%\ w/é"#,
            r#"p"a\\s\'s% w/é"#,
            r#"p"a\\s's% w/é"#,
            "p&quot;a\\s&#39;s% w/é",
            "p&#34;a\\s&#x27;s% w/é",
        ] {
            assert_eq!(scrubber.scrub(&format!("<{form}>")), "<(secret)>", "{form}");
        }
        let scrubber = Scrubber::new(&[Secret::new("a+0123456789ab/c")]);
        assert_eq!(scrubber.scrub("<a^+0123456789ab^/c>"), "<a^+(secret)^/c>");
        assert_eq!(Scrubber::literal(&[Secret::new("a\"bcd")]).scrub("a\\\"bcd"), "a\\\"bcd");
    }
}
