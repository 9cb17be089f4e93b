//! Secrets from the files of other programs: ansible-vault, and SOPS with age. Only in memory.

mod inline;
mod meaning;
mod sops;
mod vault;

use zeroize::Zeroizing;

use crate::diagnostic::Source;
use crate::error::{Error, Result};
use crate::yaml::emit::emit;
use crate::yaml::{self, Entry, Map, Node, Value};

pub use vault::VaultPasswords;

/// Opens what is encrypted by age.
pub type Unwrap<'a> = &'a dyn Fn(&[u8]) -> Result<Zeroizing<Vec<u8>>>;

/// What one file gave.
pub struct Imported {
    /// A map of the values that were encrypted.
    pub node: Node,
    /// The text as it was written, if it can be taken over with its comments.
    pub text: Option<Zeroizing<String>>,
    /// How many values stood beside them in the open; they are not imported.
    pub plain: usize,
    /// A sentence for each value that the other program reads in another way, without the value.
    pub told: Vec<String>,
}

/// Reads the secrets of the file `path` (for messages) with this content. `unwrap` opens what is
/// encrypted by age. The content of a file that is no YAML is a secret of the name `key`.
///
/// # Errors
/// Says which format it has, and why it cannot be opened; never shows a value.
pub fn import(
    path: &str,
    content: &str,
    key: Option<&str>,
    passwords: &mut VaultPasswords,
    unwrap: Unwrap<'_>,
) -> Result<Imported> {
    if vault::is_vault(content) {
        let bytes = passwords.open(path, content)?;
        let text = String::from_utf8(bytes.to_vec()).map(Zeroizing::new);
        let text = text.map_err(|_| refused(path).because("what is in it is no text"))?;
        return match key {
            Some(key) => {
                Ok(Imported { node: under(key, &text), text: None, plain: 0, told: Vec::new() })
            }
            None => whole(path, &text),
        };
    }
    if inline::has_vault(content) {
        return inline::import(path, content, passwords);
    }
    let document = parse(path, content)?;
    if sops::is_sops(&document) {
        return sops::import(path, &document, key, unwrap);
    }
    Err(refused(path)
        .because("it holds nothing of ansible-vault's and nothing of SOPS'")
        .hint("secrets that are not encrypted yet are added by `infra secrets set`"))
}

/// A vault that is one YAML document.
fn whole(path: &str, text: &str) -> Result<Imported> {
    let node = parse(path, text)?;
    if node.as_map().is_none() {
        let error = refused(path).because(format!("what is in it is {}, not a map", node.kind()));
        return Err(error.hint("take it over as one secret by `--key NAME`"));
    }
    let told = meaning::of_ansible(&node);
    Ok(Imported { node, text: Some(Zeroizing::new(text.to_owned())), plain: 0, told })
}

pub(super) fn refused(path: &str) -> Error {
    Error::input(format!("cannot import `{path}`"))
}

/// The document in `text`. A mistake is told by its line alone: a message would show values.
fn parse(path: &str, text: &str) -> Result<Node> {
    yaml::parse(&Source::new(path, text)).map_err(|mistakes| {
        let place = mistakes.iter().flat_map(|mistake| &mistake.places).next();
        let line = place.map_or(1, |place| place.span.line());
        refused(path)
            .because(format!("line {line} of what is in it is not YAML as infra reads it"))
            .hint("a file that is no YAML is taken over as one secret by `--key NAME`")
    })
}

/// A text as the value of a dotted name.
fn under(key: &str, text: &str) -> Node {
    let span = crate::diagnostic::Span::new(&Source::new(key, text), 0..text.len());
    let leaf = Node { span: span.clone(), value: Value::String(text.into()) };
    key.rsplit('.').fold(leaf, |value, key| {
        let entry = Entry { key: key.into(), key_span: span.clone(), value };
        let value = Value::Map(Map { entries: vec![entry] }.into());
        Node { span: span.clone(), value }
    })
}

/// `known` with what is new in `more`. Where both have a value under one name and they differ,
/// the new one replaces it if `replace`, and is listed in `conflicts` if not.
pub fn combine(
    known: &Node,
    more: &Node,
    replace: bool,
    prefix: &str,
    conflicts: &mut Vec<String>,
) -> Node {
    let (Some(left), Some(right)) = (known.as_map(), more.as_map()) else {
        let same = emit(known) == emit(more);
        if !same && !replace && !known.is_null() {
            conflicts.push(prefix.to_owned());
        }
        return more.clone();
    };
    let mut map = left.clone();
    for entry in &right.entries {
        let name = super::join(prefix, &entry.key);
        match map.entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => {
                known.value = combine(&known.value, &entry.value, replace, &name, conflicts);
            }
            None => map.entries.push(entry.clone()),
        }
    }
    Node { span: known.span.clone(), value: Value::Map(map.into()) }
}

/// `node` without the values that `is_secret` does not want; `None` if nothing is left. A list
/// with one such value stays whole, because its places count.
fn only(node: &Node, is_secret: &dyn Fn(&Node) -> bool, plain: &mut usize) -> Option<Node> {
    match &node.value {
        Value::Map(map) => {
            let entries: Vec<Entry> = map
                .entries
                .iter()
                .filter_map(|entry| {
                    let value = only(&entry.value, is_secret, plain)?;
                    Some(Entry { value, ..entry.clone() })
                })
                .collect();
            let value = Value::Map(Map { entries }.into());
            let has_any = value_entries(&value) > 0;
            has_any.then(|| Node { span: node.span.clone(), value })
        }
        Value::List(list) => {
            let mut ignored = 0;
            if list.iter().any(|element| only(element, is_secret, &mut ignored).is_some()) {
                return Some(node.clone());
            }
            *plain += ignored;
            None
        }
        _ if is_secret(node) => Some(node.clone()),
        _ => {
            *plain += 1;
            None
        }
    }
}

fn value_entries(value: &Value) -> usize {
    if let Value::Map(map) = value { map.entries.len() } else { 0 }
}
