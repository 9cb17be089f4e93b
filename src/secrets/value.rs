//! The values of secrets in their maps and lists, and what stands in for each where it is to be
//! seen which text comes of them.

use std::collections::BTreeMap;

use minijinja::Value;

use super::join;
use crate::error::Error;
use crate::secret::Secret;
use crate::yaml::{self, Node};

/// The secrets that are open.
pub(super) struct Known {
    /// As they are written.
    pub(super) root: Item,
    /// Every value by its dotted name, as text.
    pub(super) values: BTreeMap<String, Secret>,
    /// Why a file could not be opened. Values in it, and in weaker files, are not known.
    pub(super) closed: Option<Error>,
}

/// A value, or several.
pub(super) enum Item {
    /// In the order written.
    Map(Vec<(String, Item)>),
    List(Vec<Item>),
    Leaf(Leaf),
    /// Written, without a value.
    Nothing,
}

/// One secret.
pub(super) struct Leaf {
    /// Its dotted name.
    pub(super) name: String,
    secret: Secret,
    kind: Kind,
}

/// What a secret is in an expression.
enum Kind {
    Text,
    Bool,
    Integer,
    Float,
}

impl Known {
    /// The secrets in a document. `closed` is why a file is not part of it.
    pub(super) fn new(document: &Node, closed: Option<Error>) -> Self {
        let mut values = BTreeMap::new();
        let root = match Item::of(document, "", &mut values) {
            root @ Item::Map(_) => root,
            _ => Item::Map(Vec::new()),
        };
        Self { root, values, closed }
    }
}

impl Item {
    fn of(node: &Node, prefix: &str, values: &mut BTreeMap<String, Secret>) -> Self {
        match &node.value {
            yaml::Value::Map(map) => {
                let item = |entry: &yaml::Entry, values: &mut _| {
                    let item = Self::of(&entry.value, &join(prefix, &entry.key), values);
                    (entry.key.to_string(), item)
                };
                let items = map.entries.iter().map(|entry| item(entry, values));
                Self::Map(items.filter(|(_, item)| !matches!(item, Self::Nothing)).collect())
            }
            yaml::Value::List(list) => {
                let elements = list.iter().enumerate();
                let item = |(index, element): (usize, &Node)| {
                    Self::of(element, &join(prefix, &index.to_string()), values)
                };
                Self::List(elements.map(item).collect())
            }
            _ => match node.scalar() {
                Some(text) => Self::Leaf(Leaf::new(node, text, prefix, values)),
                None => Self::Nothing,
            },
        }
    }
}

impl Leaf {
    fn new(node: &Node, text: &str, name: &str, values: &mut BTreeMap<String, Secret>) -> Self {
        // `a.b` may be one key, or two: each has to be masked.
        let mut name = name.to_owned();
        while values.contains_key(&name) {
            name.push('\'');
        }
        let secret = Secret::new(text);
        values.insert(name.clone(), secret.clone());
        // A number that is written otherwise than it would be shown stays as it is written: what
        // looks like `0123` or `1.10` is a PIN or a version.
        let kind = match &node.value {
            yaml::Value::Bool(_) => Kind::Bool,
            yaml::Value::Integer(number, _) if Value::from(*number).to_string() == text => {
                Kind::Integer
            }
            yaml::Value::Float(number, _) if Value::from(*number).to_string() == text => {
                Kind::Float
            }
            _ => Kind::Text,
        };
        Self { name, secret, kind }
    }

    /// What it is in an expression, or what stands in for it.
    pub(super) fn value(&self, is_other: bool) -> Value {
        let other = is_other.then(|| other(&self.secret));
        let text = other.as_ref().unwrap_or(&self.secret).expose();
        let typed = match self.kind {
            Kind::Text => None,
            Kind::Bool => Some(Value::from(text == "true")),
            Kind::Integer => text.parse::<i64>().ok().map(Value::from),
            Kind::Float => text.parse::<f64>().ok().map(Value::from),
        };
        typed.unwrap_or_else(|| Value::from(text))
    }
}

/// Another value of the same length and kind of characters.
pub(super) fn other(value: &Secret) -> Secret {
    match value.expose() {
        "true" => return Secret::new("false"),
        "false" => return Secret::new("true"),
        _ => {}
    }
    let turned = |c: char, first: u8, count: u8| {
        let offset = u32::from(c).saturating_sub(u32::from(first)) + u32::from(count) / 2;
        char::from_u32(u32::from(first) + offset % u32::from(count)).unwrap_or(c)
    };
    let turn = |c: char| match c {
        'a'..='z' => turned(c, b'a', 26),
        'A'..='Z' => turned(c, b'A', 26),
        // No 0 comes of it: at an end of a number it would get lost.
        '5' => '9',
        '0'..='9' => turned(c, b'0', 10),
        // The neighbour: `é` for `è`.
        _ if c.is_alphabetic() => char::from_u32(u32::from(c) ^ 1).unwrap_or(c),
        _ => c,
    };
    Secret::new(value.expose().chars().map(turn).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_as_long_and_differ() {
        for (value, wanted) in
            [("hunter2", "uhagre7"), ("5050.25", "9595.79"), ("true", "false"), ("A-z", "N-m")]
        {
            assert_eq!(other(&Secret::new(value)).expose(), wanted);
        }
    }
}
