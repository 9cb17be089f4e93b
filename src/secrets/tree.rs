//! What a document says, without how it is written; and merging two changes of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::yaml::emit::Document;
use crate::yaml::{Node, Value};

/// A value. It is never printed: there is no `Debug`.
#[derive(Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

/// The keys from the root to a value.
pub(super) type Path = Vec<String>;

/// What turns one document into another: values to set, `None` to remove.
pub(super) type Changes = Vec<(Path, Option<Tree>)>;

impl Tree {
    /// The tree of a whole document: one without anything is an empty map.
    pub(super) fn of_document(node: &Node) -> Self {
        match Self::of(node) {
            Self::Null => Self::Map(BTreeMap::new()),
            tree => tree,
        }
    }

    pub(super) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Null | Value::Bytes(_) => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Integer(_, text) | Value::Float(_, text) => Self::Number(text.to_string()),
            Value::String(text) => Self::Text(text.to_string()),
            Value::List(list) => Self::List(list.iter().map(Self::of).collect()),
            Value::Map(map) => {
                let entry =
                    |entry: &crate::yaml::Entry| (entry.key.to_string(), Self::of(&entry.value));
                Self::Map(map.entries.iter().map(entry).collect())
            }
        }
    }

    /// The value as a text that no other value has.
    pub(super) fn canonical(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        match self {
            Self::Null => text.push('n'),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => {
                text.push('#');
                text.push_str(number);
            }
            // The length keeps two texts of a list apart from a longer one.
            Self::Text(value) => text.push_str(&Zeroizing::new(format!("{}:{value}", value.len()))),
            Self::List(list) => {
                text.push('[');
                for value in list {
                    text.push_str(&value.canonical());
                    text.push(',');
                }
            }
            Self::Map(map) => {
                text.push('{');
                for (key, value) in map {
                    for part in [&*key.len().to_string(), ":", key, "=", &*value.canonical()] {
                        text.push_str(part);
                    }
                }
            }
        }
        text
    }

    /// Sets the value at `path`, or removes it together with maps that become empty.
    pub(super) fn change(&mut self, path: &[String], value: Option<&Tree>) {
        let Some((first, rest)) = path.split_first() else { return };
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(BTreeMap::new());
        }
        let Self::Map(map) = self else { return };
        match (rest, value) {
            ([], Some(value)) => {
                map.insert(first.clone(), value.clone());
            }
            ([], None) => {
                map.remove(first);
            }
            (rest, Some(_)) => {
                map.entry(first.clone()).or_insert(Self::Null).change(rest, value);
            }
            (rest, None) => {
                if let Some(inner) = map.get_mut(first) {
                    inner.change(rest, None);
                    if matches!(inner, Self::Map(inner) if inner.is_empty()) {
                        map.remove(first);
                    }
                }
            }
        }
    }

    /// The leaves below it: every value that is no map, and empty maps, with their paths.
    pub(super) fn leaves(&self, path: &Path, into: &mut Vec<(Path, Tree)>) {
        match self {
            Self::Map(map) if !map.is_empty() => {
                for (key, value) in map {
                    value.leaves(&below(path, key), into);
                }
            }
            leaf => into.push((path.clone(), leaf.clone())),
        }
    }
}

impl<'a> From<&'a Tree> for Document<'a> {
    fn from(tree: &'a Tree) -> Self {
        match tree {
            Tree::Null => Self::Plain(Cow::Borrowed("null")),
            Tree::Bool(value) => Self::Plain(Cow::Borrowed(if *value { "true" } else { "false" })),
            Tree::Number(text) => Self::Plain(Cow::Borrowed(text)),
            Tree::Text(text) => Self::Text(Cow::Borrowed(text)),
            Tree::List(list) => Self::List(list.iter().map(Self::from).collect()),
            Tree::Map(map) => Self::Map(
                map.iter().map(|(key, value)| (Cow::Borrowed(&**key), value.into())).collect(),
            ),
        }
    }
}

fn below(path: &Path, key: &str) -> Path {
    path.iter().cloned().chain(std::iter::once(key.to_owned())).collect()
}

/// What turns `ours` into the merge of both: the changes from `base` to `theirs` at keys that
/// `ours` left alone. The second part names the keys that both changed, each to something else.
pub(super) fn merged(base: &Tree, ours: &Tree, theirs: &Tree) -> (Changes, Vec<Path>) {
    let (mut changes, mut conflicts) = (Vec::new(), Vec::new());
    walk([Some(base), Some(ours), Some(theirs)], &Path::new(), &mut changes, &mut conflicts);
    (changes, conflicts)
}

fn walk(
    [base, ours, theirs]: [Option<&Tree>; 3],
    path: &Path,
    changes: &mut Changes,
    conflicts: &mut Vec<Path>,
) {
    if ours == theirs || theirs == base {
        return;
    }
    // Two maps are compared key by key, even where one could be taken whole: a change should
    // touch as little of the text as it can.
    if let (Some(Tree::Map(ours)), Some(Tree::Map(theirs))) = (ours, theirs) {
        let nothing = BTreeMap::new();
        let base = if let Some(Tree::Map(base)) = base { base } else { &nothing };
        let keys: BTreeSet<&String> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
        for key in keys {
            let three = [base.get(key), ours.get(key), theirs.get(key)];
            walk(three, &below(path, key), changes, conflicts);
        }
    } else if ours == base {
        changes.push((path.clone(), theirs.cloned()));
    } else {
        conflicts.push(path.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    fn read(text: &str) -> Tree {
        Tree::of_document(&crate::yaml::parse(&Source::new("a", text)).unwrap())
    }

    #[test]
    fn merges_key_by_key() {
        for (base, ours, theirs, wanted, conflicts) in [
            ("{a: 1, b: 1}", "{a: 2, b: 1}", "{a: 1, b: 2}", "{a: 2, b: 2}", ""),
            ("{a: 1}", "{a: 2}", "{a: 3}", "{a: 2}", "a"),
            ("{a: 1}", "{a: 2}", "{a: 2}", "{a: 2}", ""),
            ("{}", "{a: {x: 1}}", "{a: {y: 1}}", "{a: {x: 1, y: 1}}", ""),
            ("{}", "{a: {x: 1}}", "{a: {x: 2, y: 1}}", "{a: {x: 1, y: 1}}", "a.x"),
            ("{a: 1, b: 1}", "{a: 1}", "{a: 2, b: 1}", "{a: 2}", ""),
            ("{a: 1}", "{}", "{a: 2}", "{}", "a"),
            ("{a: {x: 1}}", "{a: {x: 1}}", "{a: 5}", "{a: 5}", ""),
            ("{a: [1]}", "{a: [1, 2]}", "{a: [1, 3]}", "{a: [1, 2]}", "a"),
            ("{a: {x: 1, y: 1}}", "{a: {x: 1, y: 2}}", "{}", "{a: {x: 1, y: 2}}", "a"),
            ("{a: {x: 1}}", "{a: {x: 1}, b: 1}", "{}", "{b: 1}", ""),
        ] {
            let mut ours = read(ours);
            let (changes, found) = merged(&read(base), &ours, &read(theirs));
            for (path, value) in &changes {
                ours.change(path, value.as_ref());
            }
            assert!(ours == read(wanted), "{base} to {wanted}");
            let found: Vec<String> = found.iter().map(|path| path.join(".")).collect();
            assert_eq!(found.join(" "), conflicts, "{base} to {wanted}");
        }
    }
}
