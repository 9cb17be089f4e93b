//! The YAML text of a decrypted file: its names and values.

use std::collections::BTreeMap;

use super::open;
use super::tree::{Path, Tree};
use crate::diagnostic::nearest;
use crate::error::{Error, Result};
use crate::secrets::Folder;
use crate::yaml::{Node, Value};

use zeroize::Zeroizing;

/// The dotted names of the values, in the order written.
///
/// # Errors
/// If it is not YAML; says the line and nothing of what is there.
pub fn keys(name: &str, text: &str) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    collect(&parsed(name, text)?, "", &mut keys);
    Ok(keys)
}

/// The values by their dotted names, each in a form that tells it from every other one.
///
/// # Errors
/// If it is not YAML; says the line and nothing of what is there.
pub(super) fn values(name: &str, text: &str) -> Result<BTreeMap<String, Zeroizing<String>>> {
    let mut leaves = Vec::new();
    Tree::of_document(&parsed(name, text)?).leaves(&Path::new(), &mut leaves);
    // A key may have dots of its own.
    let name = |path: &Path| {
        path.iter()
            .map(|key| key.replace('\\', "\\\\").replace('.', "\\."))
            .collect::<Vec<_>>()
            .join(".")
    };
    let value = |(path, tree): (Path, Tree)| (name(&path), tree.canonical());
    Ok(leaves.into_iter().map(value).collect())
}

/// The document in the text of the file `name`.
///
/// # Errors
/// If it is not YAML; says the line and nothing of what is there.
pub fn parsed(name: &str, text: &str) -> Result<Node> {
    open::document(&Folder::shown(name), text)
}

/// Refuses a text that is no map of names. Says nothing of what is there.
///
/// # Errors
/// If it is not YAML, or something else than a map.
pub fn check(name: &str, text: &str) -> Result<()> {
    let document = parsed(name, text)?;
    if document.as_map().is_some() || document.is_null() {
        return Ok(());
    }
    let error = Error::input(format!("cannot write `{}`", Folder::shown(name)));
    let cause = format!("the file is {}, and must be a map of names", document.kind());
    Err(error.because(cause).hint("write `name: value`"))
}

/// What is at a dotted name, if it is several values: `a map`, `a list`.
///
/// # Errors
/// If the text is not YAML.
pub fn several(name: &str, text: &str, key: &str) -> Result<Option<&'static str>> {
    let document = parsed(name, text)?;
    let path: Path = key.split('.').map(str::to_owned).collect();
    let found = find(&document, &path).map(|(_, node)| node);
    Ok(found.and_then(|node| match &node.value {
        Value::Map(map) if !map.entries.is_empty() => Some("a map"),
        Value::List(list) if !list.is_empty() => Some("a list"),
        _ => None,
    }))
}

fn collect(node: &Node, prefix: &str, keys: &mut Vec<String>) {
    match &node.value {
        Value::Map(map) if !map.entries.is_empty() => {
            for entry in &map.entries {
                collect(&entry.value, &super::join(prefix, &entry.key), keys);
            }
        }
        _ if prefix.is_empty() => {}
        _ => keys.push(prefix.to_owned()),
    }
}

/// The value of a dotted name: a text as it is, a map or list as YAML.
///
/// # Errors
/// If there is none; suggests the nearest name.
pub fn value(name: &str, text: &str, key: &str) -> Result<Zeroizing<String>> {
    let document = parsed(name, text)?;
    let path: Path = key.split('.').map(str::to_owned).collect();
    let (_, node) = find(&document, &path).ok_or_else(|| no_such(name, text, key))?;
    let value = node.scalar().unwrap_or_else(|| node.span.text());
    Ok(Zeroizing::new(value.to_owned()))
}

/// The value at the parts of a dotted name, and the keys that lead to it: a key may have dots in
/// it, so that it takes several parts.
pub(super) fn find<'a>(node: &'a Node, parts: &[String]) -> Option<(Path, &'a Node)> {
    if parts.is_empty() {
        return Some((Path::new(), node));
    }
    (1..=parts.len()).find_map(|count| {
        let (key, rest) = (parts[..count].join("."), &parts[count..]);
        let inner = node.as_map().and_then(|map| map.value(&key));
        let element = || node.as_list().and_then(|list| list.get(key.parse::<usize>().ok()?));
        let (mut path, found) = find(inner.or_else(element)?, rest)?;
        path.insert(0, key);
        Some((path, found))
    })
}

/// That a file has no secret `key`.
pub(super) fn no_such(name: &str, text: &str, key: &str) -> Error {
    let error = Error::input(format!("`{}` has no secret `{key}`", Folder::shown(name)));
    let keys = keys(name, text).unwrap_or_default();
    match nearest(key, keys.iter().map(String::as_str)) {
        Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
        None => error.hint(format!("`infra secrets list {name}` shows its names")),
    }
}
