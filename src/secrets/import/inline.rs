//! YAML files with values that ansible-vault encrypted one by one: `key: !vault |`.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::vault::VaultPasswords;
use super::{Imported, only, parse, refused};
use crate::error::Result;
use crate::yaml::{Node, Value};

/// The tags that ansible takes for a vault.
const TAGS: [&str; 2] = ["!vault", "!vault-encrypted"];

/// Whether a text has such a value.
pub(super) fn has_vault(text: &str) -> bool {
    text.lines().any(|line| tagged(line).is_some())
}

/// The part of a line before the tag, and what follows it, if it has one.
fn tagged(line: &str) -> Option<(&str, &str)> {
    let (before, tag, after) = TAGS.iter().rev().find_map(|tag| {
        let (before, after) = line.split_once(tag)?;
        Some((before, *tag, after))
    })?;
    let is_tag = after.is_empty() || after.starts_with([' ', '\t']);
    let is_value = before.trim_end().is_empty() || before.trim_end().ends_with([':', '-']);
    let is_comment = before.trim_start().starts_with('#');
    (is_tag && is_value && !is_comment && !tag.is_empty()).then_some((before, after))
}

/// Takes the values that are encrypted, and counts the others.
pub(super) fn import(
    path: &str,
    content: &str,
    passwords: &mut VaultPasswords,
) -> Result<Imported> {
    let mut text = Zeroizing::new(String::new());
    let mut values: Vec<Zeroizing<String>> = Vec::new();
    let mut lines = content.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let Some((before, after)) = tagged(line) else {
            let _ = writeln!(text, "{line}");
            continue;
        };
        let refuse = |cause: &str| refused(path).because(format!("line {}: {cause}", number + 1));
        let style = after.split('#').next().unwrap_or_default().trim();
        if !style.starts_with(['|', '>']) {
            return Err(refuse("a vault that is not in a block below its key")
                .hint("write it as `ansible-vault encrypt_string` does: `key: !vault |`"));
        }
        let margin = margin(before);
        let mut vault = String::new();
        let belongs = |line: &str| line.trim().is_empty() || indent(line) > margin;
        while let Some((_, line)) = lines.next_if(|(_, line)| belongs(line)) {
            vault.push_str(line.trim());
            vault.push('\n');
        }
        let plaintext = passwords.open(path, &vault).map_err(|error| {
            let line = format!("line {} holds it", number + 1);
            let mut error = error;
            error.causes.insert(0, line);
            error
        })?;
        let plaintext = String::from_utf8(plaintext.to_vec());
        values.push(plaintext.map_err(|_| refuse("what is in it is no text"))?.into());
        let _ = writeln!(text, "{before}{}", marker(values.len() - 1));
    }
    let document = parse(path, &text)?;
    let mut plain = 0;
    let is_secret = |node: &Node| node.as_str().and_then(index).is_some();
    let node = only(&document, &is_secret, &mut plain);
    let node = node.ok_or_else(|| refused(path).because("no value of it is encrypted"))?;
    let node = filled(&node, &values);
    let told = super::meaning::of_ansible(&node);
    Ok(Imported { node, text: None, plain, told })
}

/// The column of the key, or of the dash, that the value belongs to: the text of a block stands
/// further in. `before` is its line up to the value.
fn margin(before: &str) -> usize {
    let mut column = indent(before);
    while let Some(rest) = before[column..].strip_prefix('-') {
        let inner = rest.trim_start();
        if inner.is_empty() || inner.len() == rest.len() {
            break;
        }
        column = before.len() - inner.len();
    }
    column
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// What stands for the value while the document is read: no text that a person writes.
fn marker(index: usize) -> String {
    format!("\"\\x01vault {index}\\x01\"")
}

fn index(text: &str) -> Option<usize> {
    text.strip_prefix("\u{1}vault ")?.strip_suffix('\u{1}')?.parse().ok()
}

/// `node` with the values in the places that were kept for them.
fn filled(node: &Node, values: &[Zeroizing<String>]) -> Node {
    let value = match &node.value {
        Value::Map(map) => {
            let mut map = crate::yaml::Map::clone(map);
            for entry in &mut map.entries {
                entry.value = filled(&entry.value, values);
            }
            Value::Map(map.into())
        }
        Value::List(list) => {
            let elements: Vec<Node> = list.iter().map(|node| filled(node, values)).collect();
            Value::List(elements.into())
        }
        Value::String(text) => {
            let value = index(text).and_then(|index| values.get(index));
            value.map_or_else(|| node.value.clone(), |value| Value::String(value.as_str().into()))
        }
        other => other.clone(),
    };
    Node { span: node.span.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::margin;

    #[test]
    fn a_block_belongs_to_its_key_or_its_dash() {
        for (before, column) in [
            ("password: ", 0),
            ("  password: ", 2),
            ("  - password: ", 4),
            ("  - ", 2),
            ("- - ", 2),
            ("-   -  key: ", 7),
            ("  -key: ", 2),
        ] {
            assert_eq!(margin(before), column, "{before}");
        }
    }
}
