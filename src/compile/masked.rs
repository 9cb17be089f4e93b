//! Mistakes as they may be shown: a message may quote a value, and a value may be a secret, or
//! made from one.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::secret::{MASK, Scrubber, Secret};
use crate::secrets::Secrets;

/// What is shown in place of a message of which it is not known where a secret is in it.
const HIDDEN: &str = "this is wrong, and why depends on secrets";

/// `mistakes` without secrets. `others` are those with other values in place of the secrets: where
/// the two differ, a secret shows.
pub(super) fn masked(
    mistakes: &Diagnostics,
    others: Option<&Diagnostics>,
    secrets: &Secrets,
) -> Diagnostics {
    let names = secrets.names();
    let values: Vec<Secret> = names.iter().filter_map(|name| secrets.get(name)).collect();
    let mask = Masker { scrubber: Scrubber::new(&values), values };
    let mut masked = Diagnostics::new();
    for mistake in mistakes.iter() {
        let is_same = |other: &&Diagnostic| {
            place(other) == place(mistake) && other.causes.len() == mistake.causes.len()
        };
        let other = others.and_then(|others| {
            let there: Vec<&Diagnostic> = others.iter().filter(is_same).collect();
            let same = there.iter().find(|other| other.message == mistake.message);
            same.or(there.first()).copied()
        });
        let mut shown = mistake.clone();
        if names.iter().any(|name| tells_only(name, &mistake.message)) {
            masked.push(shown);
            continue;
        }
        shown.message = mask.text(&mistake.message, other.map(|other| &*other.message));
        shown.causes = mistake
            .causes
            .iter()
            .enumerate()
            .map(|(index, cause)| mask.text(cause, other.map(|other| &*other.causes[index])))
            .collect();
        masked.push(shown);
    }
    masked
}

/// Whether a message is one of those that name a secret, and quote nothing else of it. Such a
/// mistake may be none with other values, so that there is nothing to compare it with.
fn tells_only(name: &str, message: &str) -> bool {
    message.starts_with(&format!("the secret `{name}` may not be in `"))
        || message == format!("everybody on the server could read the secret `{name}`")
}

fn place(mistake: &Diagnostic) -> Option<String> {
    mistake.places.first().map(|place| place.span.place())
}

struct Masker {
    scrubber: Scrubber,
    values: Vec<Secret>,
}

impl Masker {
    fn text(&self, text: &str, other: Option<&str>) -> String {
        let has_no_other = |value: &&Secret| {
            !value.is_empty() && Secrets::other(value) == **value && text.contains(value.expose())
        };
        if self.values.iter().any(|value| has_no_other(&value)) {
            return HIDDEN.to_owned();
        }
        let Some(other) = other else { return HIDDEN.to_owned() };
        if text == other {
            return self.scrubber.scrub(text);
        }
        let is_between = |c: char| c.is_whitespace() || "`'\"".contains(c);
        let words: Vec<&str> = text.split_inclusive(is_between).collect();
        let others: Vec<&str> = other.split_inclusive(is_between).collect();
        if words.len() != others.len() {
            return HIDDEN.to_owned();
        }
        let word = |(word, other): (&&str, &&str)| {
            let end = &word[word.trim_end_matches(is_between).len()..];
            if word == other { (*word).to_owned() } else { format!("{MASK}{end}") }
        };
        let text: String = words.iter().zip(&others).map(word).collect();
        self.scrubber.scrub(&text)
    }
}
