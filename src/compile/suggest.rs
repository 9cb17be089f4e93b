//! What a person may have meant by a name that is not defined.

use std::sync::Arc;

use minijinja::Value;

use super::scope::Scope;
use crate::diagnostic::{Diagnostic, Span};

/// Adds a hint to a mistake about a name that is not defined: the nearest of the names at that
/// point, level by level. Names are shown, never values.
pub(super) fn suggest(mistake: Diagnostic, scope: &Arc<Scope>) -> Diagnostic {
    let message = mistake.message.clone();
    let text = message.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is not defined"));
    let Some(text) = text.filter(|_| mistake.hint.is_none()) else { return mistake };
    if text.chars().all(|c| c.is_alphanumeric() || c == '_') && scope.lookup(text).is_none() {
        return mistake.suggest(text, scope.names().iter().map(String::as_str));
    }
    for path in paths(text) {
        if let Some(missing) = missing(path, scope) {
            return missing.explain(narrowed(mistake, path));
        }
    }
    mistake
}

/// A step of a path that is not there.
struct Missing<'a> {
    walked: String,
    step: &'a str,
    known: Vec<String>,
}

/// The first step of `path` that is not there; `None` if all are, or if it begins with a name
/// that is not known here, such as the variable of a loop.
fn missing<'a>(path: &'a str, scope: &Arc<Scope>) -> Option<Missing<'a>> {
    let mut steps = path.split('.');
    let first = steps.next()?;
    let mut value: Value = scope.lookup(first)?;
    let mut walked = first.to_owned();
    for step in steps {
        match value.get_attr(step) {
            Ok(next) if !next.is_undefined() => value = next,
            _ => {
                let keys = value.try_iter().map(|keys| keys.map(|key| key.to_string()).collect());
                return Some(Missing { walked, step, known: keys.unwrap_or_default() });
            }
        }
        walked = format!("{walked}.{step}");
    }
    None
}

impl Missing<'_> {
    fn explain(&self, mistake: Diagnostic) -> Diagnostic {
        let walked = &self.walked;
        let mut mistake = mistake.suggest(self.step, self.known.iter().map(String::as_str));
        if let Some(hint) = &mut mistake.hint {
            *hint = hint.replacen('`', &format!("`{walked}."), 1);
        } else if walked == "secrets" || walked.starts_with("secrets.") {
            mistake = mistake.hint("`infra secrets edit` adds it");
        }
        mistake
    }
}

/// The same mistake at `path` alone, which is a part of what it marks.
fn narrowed(mut mistake: Diagnostic, path: &str) -> Diagnostic {
    if let Some(place) = mistake.places.first_mut()
        && let Some(offset) = place.span.text().find(path)
    {
        let start = place.span.range.start + offset;
        place.span = Span::new(&place.span.source, start..start + path.len());
        mistake.message = format!("`{path}` is not defined");
    }
    mistake
}

/// The dotted names in an expression, outside quotes.
fn paths(text: &str) -> Vec<&str> {
    let outside = text.split(['\'', '"']).step_by(2);
    let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    outside
        .flat_map(|part| part.split(move |c: char| !in_path(c)))
        .filter(|path| path.contains('.') && path.starts_with(|c: char| c.is_alphabetic()))
        .map(|path| path.trim_end_matches('.'))
        .collect()
}
