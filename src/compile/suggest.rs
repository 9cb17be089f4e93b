//! What a person may have meant by a name that is not defined.

use std::sync::Arc;

use minijinja::Value;

use super::scope::Scope;
use crate::diagnostic::Diagnostic;

/// Adds a hint to a mistake about a name that is not defined: the nearest of the names at that
/// point, level by level. Names are shown, never values.
pub(super) fn suggest(mistake: Diagnostic, scope: &Arc<Scope>) -> Diagnostic {
    if mistake.hint.is_some() {
        return mistake;
    }
    let message = mistake.message.clone();
    let path = message.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is not defined"));
    let Some(path) = path.filter(|path| path.split('.').all(is_name)) else { return mistake };
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    let Some(mut value) = scope.lookup(first) else {
        return mistake.suggest(first, scope.names().iter().map(String::as_str));
    };
    let mut walked = first.to_owned();
    for part in parts {
        match value.get_attr(part) {
            Ok(next) if !next.is_undefined() => value = next,
            _ => return missing(mistake, &walked, part, &value),
        }
        walked = format!("{walked}.{part}");
    }
    mistake
}

fn missing(mistake: Diagnostic, walked: &str, part: &str, value: &Value) -> Diagnostic {
    let keys = value.try_iter().map(|keys| keys.map(|key| key.to_string()).collect::<Vec<_>>());
    let keys = keys.unwrap_or_default();
    let mut mistake = mistake.suggest(part, keys.iter().map(String::as_str));
    if let Some(hint) = &mut mistake.hint {
        *hint = hint.replacen('`', &format!("`{walked}."), 1);
    } else if walked == "secrets" || walked.starts_with("secrets.") {
        mistake = mistake.hint("`infra secrets edit` adds it");
    }
    mistake
}

fn is_name(part: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    !part.is_empty() && part.chars().all(plain)
}
