//! A change as it may be shown: secrets masked, texts as line differences.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use similar::{ChangeTag, DiffTag, TextDiff};

use crate::events::Mark;
use crate::manifest::{Manifest, Resource};
use crate::resources::digest::is_comparable;
use crate::resources::{Change, Spec, Value};
use crate::secret::{MASK, Scrubber, Secret};

use super::masks::Budget;
use super::old_lines::OldLines;
use super::short_lines::ShortLines;

/// What stands in place of a line that may hold a secret which cannot be found by search.
pub(super) const HIDDEN_LINE: &str = "(hidden: depends on secrets)";

/// Fields that no secret is ever in.
const PLAIN_FIELDS: &[&str] = &["enabled", "group", "mode", "owner", "running", "state"];

/// Lines around a difference.
const CONTEXT_LINES: usize = 3;

/// How much of what a program says is shown, in characters.
const MOST_SHOWN: usize = 400;

/// How much of a hash tells a content from others, for people.
const HASH_DIGITS: usize = 12;

/// The worst case of the comparison is quadratic; a coarser difference is as true.
const PATIENCE: Duration = Duration::from_millis(200);

/// One field of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ShownField {
    /// The name of the field, as in the spec.
    pub(super) name: String,
    /// What the server has, on one line; `None` where it has nothing.
    pub(super) current: Option<String>,
    /// What it will have, on one line.
    pub(super) desired: String,
    /// For a text of several lines, the differences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) diff: Vec<String>,
}

/// What must not be seen of one resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    pub(super) scrubber: Rc<Scrubber>,
    pub(super) own: Vec<Secret>,
    /// Lines of its own secrets that a search for them everywhere would find by accident.
    short_lines: ShortLines,
    /// How much of a value is shown, in characters, where a program may say as much as it likes.
    most_shown: Option<usize>,
    /// Whether one of its own secrets is nowhere in it, neither as it is nor as the compiler
    /// found it encoded or hashed, so that it cannot be masked by search.
    is_transformed: bool,
    /// Whether what is on the server was made from the secrets of now, but for the changes of
    /// somebody by hand.
    pub(super) is_drift: bool,
    /// How much of the server is still compared.
    budget: Rc<Budget>,
}

impl Mask {
    /// Masks what `scrubber` masks, and treats the secrets of `resource` with special care. `mark`
    /// says whose change it is.
    pub(super) fn new(
        manifest: &Manifest,
        resource: Option<&Resource>,
        mark: Option<Mark>,
        scrubber: Rc<Scrubber>,
        budget: Rc<Budget>,
    ) -> Self {
        let names = resource.map(|resource| resource.secrets.as_slice()).unwrap_or_default();
        let own: Vec<Secret> =
            names.iter().filter_map(|name| manifest.secrets.get(name).cloned()).collect();
        let desired = resource.and_then(|resource| resource.spec.desired()).unwrap_or_default();
        let texts: Vec<String> = desired
            .fields()
            .map(|(_, value)| match value {
                Value::Content(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                other => other.summary(),
            })
            .collect();
        let is_public = resource.is_some_and(|resource| match &resource.spec {
            // Without a dry run it says `yes` or `no`.
            Spec::Command(command) => {
                command.dry_run.as_ref().is_none_or(|dry_run| dry_run.tells_no_secrets)
            }
            _ => false,
        });
        let is_transformed = !own.is_empty()
            && !is_public
            && !desired.fields().any(|(_, value)| matches!(value, Value::Hidden(_)))
            && (resource.is_some_and(|resource| resource.is_untraceable)
                || !texts.iter().any(|text| scrubber.scrub(text) != *text));
        let is_command = resource.is_some_and(|resource| matches!(resource.spec, Spec::Command(_)));
        Self {
            scrubber,
            short_lines: ShortLines::of(&own),
            own,
            most_shown: is_command.then_some(MOST_SHOWN),
            is_transformed,
            is_drift: mark == Some(Mark::Drift),
            budget,
        }
    }

    /// The fields of a change, in order. A removal has none.
    pub(super) fn fields(&self, change: &Change) -> Vec<ShownField> {
        match change {
            Change::Create(state) => {
                state.fields().map(|(name, desired)| self.field(name, None, desired)).collect()
            }
            Change::Update(changes) => changes
                .iter()
                .map(|change| self.field(&change.field, change.current.as_ref(), &change.desired))
                .collect(),
            Change::Remove => Vec::new(),
        }
    }

    fn field(&self, name: &str, current: Option<&Value>, desired: &Value) -> ShownField {
        let (current, desired, diff) = match (current, desired) {
            (None, new @ (Value::Content(_) | Value::Digest { .. })) => {
                let diff = self.content(&Value::Content(Vec::new()), new);
                (None, self.size(new, diff.is_some()), diff.unwrap_or_default())
            }
            (
                Some(old @ (Value::Content(_) | Value::Digest { .. })),
                new @ (Value::Content(_) | Value::Digest { .. }),
            ) => {
                let diff = self.content(old, new);
                let (old, new) = (self.size(old, diff.is_some()), self.size(new, diff.is_some()));
                (Some(old), new, diff.unwrap_or_default())
            }
            (current, desired) => {
                let plain = desired.summary();
                let shown = self.scrubber.scrub(&plain);
                let is_hidden = self.is_transformed && !PLAIN_FIELDS.contains(&name);
                // The value that the secret had before is not known: it is masked as a whole.
                let is_current_hidden = is_hidden || shown != plain;
                let current = current.map(|value| {
                    if is_current_hidden {
                        MASK.to_owned()
                    } else {
                        self.shortened(self.scrubber.scrub(&value.summary()))
                    }
                });
                (current, if is_hidden { MASK.to_owned() } else { shown }, Vec::new())
            }
        };
        ShownField { name: name.to_owned(), current, desired, diff }
    }

    /// Not more of a text than is to be shown. It is masked before: nobody finds half a secret.
    fn shortened(&self, text: String) -> String {
        match self.most_shown.and_then(|most| text.char_indices().nth(most)) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    /// A line of a content.
    pub(super) fn line(&self, text: &str) -> String {
        if self.short_lines.hide(text) { MASK.to_owned() } else { self.scrubber.scrub(text) }
    }

    /// A content in a few words: its lines, or what tells it from others.
    fn size(&self, content: &Value, is_text: bool) -> String {
        let (bytes, sha256) = match content {
            Value::Content(bytes) if is_text => {
                return match String::from_utf8_lossy(bytes).lines().count() {
                    1 => "1 line".to_owned(),
                    lines => format!("{lines} lines"),
                };
            }
            Value::Content(bytes) => (bytes.len() as u64, Sha256::digest(bytes)),
            Value::Digest { bytes, sha256 } => (*bytes, (*sha256).into()),
            other => return other.summary(),
        };
        let size = match bytes {
            1 => "1 byte".to_owned(),
            count => format!("{count} bytes"),
        };
        // The hash of what holds a secret lets others try values of the secret.
        if !self.own.is_empty() {
            return size;
        }
        let hash = format!("{sha256:x}");
        format!("{size}, sha256 {}", &hash[..HASH_DIGITS])
    }

    /// The differences of two texts; `None` if one is none, is too long, or the budget is spent.
    fn content(&self, old: &Value, new: &Value) -> Option<Vec<String>> {
        let (Value::Content(old), Value::Content(new)) = (old, new) else { return None };
        if !is_comparable(old) || !is_comparable(new) {
            return None;
        }
        let (old, new) = (str::from_utf8(old).ok()?, str::from_utf8(new).ok()?);
        let spending = self.budget.spend();
        if !spending.has_room_for(0) {
            return None;
        }
        let is_found = self.own.iter().all(|secret| is_verbatim(secret, new)) || self.masks(new);
        if !is_found || self.is_transformed {
            return Some(vec![HIDDEN_LINE.to_owned()]);
        }
        let old_lines = OldLines::beside(new, self);
        let patience = PATIENCE.min(spending.time());
        let diff = TextDiff::configure().timeout(patience).diff_lines(old, new);
        let mut lines = Vec::new();
        for group in diff.grouped_ops(CONTEXT_LINES) {
            let starts = group.first().map(|op| (op.old_range().start, op.new_range().start));
            let (old_start, new_start) = starts.unwrap_or_default();
            lines.push(format!("@@ -{} +{} @@", old_start + 1, new_start + 1));
            for op in group {
                let brings_secret = op.tag() == DiffTag::Replace
                    && diff.iter_changes(&op).any(|change| {
                        change.tag() == ChangeTag::Insert && self.masks(change.value())
                    });
                for change in diff.iter_changes(&op) {
                    let text = change.value().trim_end_matches('\n');
                    if !spending.has_room_for(text.len()) {
                        return None;
                    }
                    lines.push(match change.tag() {
                        ChangeTag::Equal => format!(" {}", self.line(text)),
                        ChangeTag::Insert => format!("+{}", self.line(text)),
                        ChangeTag::Delete if brings_secret => format!("-{HIDDEN_LINE}"),
                        ChangeTag::Delete => format!("-{}", old_lines.shown(text)),
                    });
                }
            }
        }
        Some(lines)
    }

    fn masks(&self, text: &str) -> bool {
        self.scrubber.scrub(text) != text
    }

    /// What the lines of `text` say before a secret: `password = `, for example. A line of the
    /// server that begins alike holds the secret of before.
    pub(super) fn texts_before_secrets(&self, text: &str) -> Vec<String> {
        text.lines()
            .filter(|line| self.masks(line))
            .filter_map(|line| {
                let masked = self.scrubber.scrub(line);
                masked.split_once(MASK).map(|(before, _)| before.to_owned())
            })
            .filter(|before| !before.trim().is_empty())
            .collect()
    }
}

/// Whether the secret is in `text` as it is, so that it can be found and masked.
fn is_verbatim(secret: &Secret, text: &str) -> bool {
    let value = secret.expose().trim();
    value.len() >= 4 && text.contains(value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::manifest::Expect;
    use crate::report::masks::Masks;
    use crate::resources::digest::MOST_COMPARED_BYTES;
    use crate::resources::{FieldChange, State};

    fn mask(own: &[&str]) -> Mask {
        let manifest = Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: Vec::new(),
            secrets: BTreeMap::from([("smtp".to_owned(), Secret::new("hunter2"))]),
        };
        Mask {
            own: own.iter().map(|text| Secret::new(*text)).collect(),
            is_transformed: false,
            ..Masks::new(Arc::new(manifest)).of(None, None)
        }
    }

    fn diff(mask: &Mask, old: &str, new: &str) -> Vec<String> {
        let content = |text: &str| Value::Content(text.into());
        mask.content(&content(old), &content(new)).unwrap_or_default()
    }

    /// The secret is masked before a text is cut: half of it would be found by nobody.
    #[test]
    fn a_long_text_is_masked_and_then_cut() {
        let mask = Mask { most_shown: Some(12), ..mask(&[]) };
        let said = Value::from("would use hunter2 and more");
        let field = mask.field("done", Some(&said), &Value::from(true));
        assert_eq!(field.current.as_deref(), Some("would use (s…"));
    }

    #[test]
    fn short_lines_of_a_long_secret_are_hidden() {
        let mut mask = mask(&["begin-1\nab=\nend-22"]);
        mask.scrubber = Rc::new(Scrubber::new(&mask.own));
        mask.short_lines = ShortLines::of(&mask.own);
        assert_eq!(
            diff(&mask, "x\n", "x\n  begin-1\n  ab=\n  end-22\nabc\n")[2..],
            ["+  (secret)", "+(secret)", "+  (secret)", "+abc"]
        );
    }

    #[test]
    fn shows_lines_that_differ() {
        assert_eq!(
            diff(&mask(&[]), "a\nb\nc\n", "a\nB\nc\n"),
            ["@@ -1 +1 @@", " a", "-b", "+B", " c"]
        );
        assert_eq!(diff(&mask(&[]), "", "x\n"), ["@@ -1 +1 @@", "+x"]);
        assert_eq!(diff(&mask(&[]), "a\0", "b"), [""; 0]);
    }

    #[test]
    fn what_is_no_text_or_too_long_is_told_by_size_and_hash() {
        // The same whether the agent has shortened the change or not.
        let mask_of = |own: &[&str], old: &[u8], new: &[u8]| {
            let mut change = Change::Update(vec![FieldChange {
                field: "content".to_owned(),
                current: Some(Value::Content(old.to_vec())),
                desired: Value::Content(new.to_vec()),
            }]);
            let whole = mask(own).fields(&change).remove(0);
            change.shorten();
            let field = mask(own).fields(&change).remove(0);
            assert_eq!(field, whole);
            (field.current.unwrap(), field.desired, field.diff.len())
        };
        let x = "1 byte, sha256 2d711642b726".to_owned();
        let nul = "2 bytes, sha256 6a75da5da0cd".to_owned();
        assert_eq!(mask_of(&[], b"x", b"y\0").0, x);
        assert_eq!(mask_of(&[], b"y\0", b"x"), (nul, x, 0));
        let long = vec![b'x'; MOST_COMPARED_BYTES + 1];
        let (_, shown, lines) = mask_of(&[], b"x", &long);
        assert_eq!((shown.as_str(), lines), ("262145 bytes, sha256 9408817bc040", 0));
        assert_eq!(
            mask_of(&["hunter2"], b"x\0", b"y\0"),
            ("2 bytes".to_owned(), "2 bytes".to_owned(), 0)
        );
        assert_eq!(mask_of(&["hunter2"], b"x", &long).1, "262145 bytes");
    }

    #[test]
    fn neither_the_new_nor_the_old_secret_shows() {
        let shown = diff(
            &mask(&["hunter2"]),
            "host mail\npassword = oldpass\nport 25\n",
            "host mail\npassword = hunter2\nport 587\n",
        );
        assert_eq!(
            shown,
            [
                "@@ -1 +1 @@",
                " host mail",
                "-(hidden: depends on secrets)",
                "-(hidden: depends on secrets)",
                "+password = (secret)",
                "+port 587"
            ]
        );
        // Even where the line only moves.
        let shown = diff(
            &mask(&["hunter2"]),
            "password = oldpass\na\n",
            "a\nb\nc\nd\ne\nf\npassword = hunter2\n",
        );
        assert!(!shown.join("\n").contains("oldpass"), "{shown:?}");
    }

    #[test]
    fn a_secret_that_is_no_longer_used_does_not_show() {
        let (old, new) = (
            "port 25\nuser = flus\nold = gone\ntoken\npassword = hunter2\n",
            "port 587\npassword = hunter2\n",
        );
        assert_eq!(
            diff(&mask(&["hunter2"]), old, new),
            [
                "@@ -1 +1 @@",
                "-port (hidden: depends on secrets)",
                "-(hidden: depends on secrets)",
                "-(hidden: depends on secrets)",
                "-(hidden: depends on secrets)",
                "+port 587",
                " password = (secret)"
            ]
        );
        // What somebody changed by hand in what infra wrote with the secrets of now.
        let by_hand = Mask { is_drift: true, ..mask(&["hunter2"]) };
        assert_eq!(diff(&by_hand, old, new)[1..4], ["-port 25", "-user = flus", "-old = gone"]);
    }

    #[test]
    fn a_transformed_secret_hides_everything() {
        assert_eq!(diff(&mask(&["hunter2"]), "auth 1retnuh\n", "auth 2retnuh\n"), [HIDDEN_LINE]);
    }

    #[test]
    fn what_the_compiler_found_made_from_a_secret_is_masked_like_it() {
        let mut mask = mask(&["hunter2"]);
        mask.scrubber = Rc::new(Scrubber::new([&Secret::new("aHVudGVyMg==")]));
        assert_eq!(
            diff(&mask, "a\nauth aHVudGVyMQ==\n", "A\nauth aHVudGVyMg==\n"),
            [
                "@@ -1 +1 @@",
                "-(hidden: depends on secrets)",
                "-(hidden: depends on secrets)",
                "+A",
                "+auth (secret)"
            ]
        );
    }

    #[test]
    fn values_are_masked_as_a_whole() {
        let change = Change::Update(vec![FieldChange {
            field: "password".to_owned(),
            current: Some("oldpass".into()),
            desired: "hunter2".into(),
        }]);
        let field = &mask(&["hunter2"]).fields(&change)[0];
        assert_eq!((field.current.as_deref(), field.desired.as_str()), (Some(MASK), MASK));
        let created = Change::Create(State::new().with("mode", "0600").with("hash", "$6$x"));
        let mask = Mask { is_transformed: true, ..mask(&["hunter2"]) };
        let shown: Vec<String> =
            mask.fields(&created).into_iter().map(|field| field.desired).collect();
        assert_eq!(shown, ["0600", MASK]);
    }
}
