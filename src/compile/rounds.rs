//! The rounds of a `for_each`: what `item` and `key` are in each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::engine::Failure;
use super::scope::{Local, Scope};
use crate::diagnostic::Diagnostic;
use crate::yaml::Node;

/// One element of a list or map that holds secrets. It is looked up again wherever it is used, so
/// that the secret is seen there.
#[derive(Clone)]
pub(super) struct Element {
    collection: Node,
    scope: Arc<Scope>,
    /// Which one, counted from 0.
    index: usize,
    part: Part,
}

/// What of an element a name stands for.
#[derive(Clone, Copy)]
enum Part {
    Key,
    Item,
}

impl Element {
    /// Its value now. With other secrets in place of the real ones there may be none.
    pub(super) fn value(&self) -> Result<Value, Failure> {
        let broken = |error| Box::new(broken(&self.collection, &error));
        let collection = self.scope.expression(&self.collection)?;
        let is_map = collection.kind() == ValueKind::Map;
        if collection.kind() == ValueKind::Seq {
            return collection.get_item_by_index(self.index).map_err(broken);
        }
        let element = collection.try_iter().map_err(broken)?.nth(self.index).unwrap_or_default();
        match self.part {
            Part::Item if is_map => collection.get_item(&element).map_err(broken),
            Part::Item | Part::Key => Ok(element),
        }
    }
}

/// The names that a round adds, `item` and `key`.
type Locals = BTreeMap<String, Local>;

/// The locals of each round of a `for_each`, and the secrets that say how many there are.
pub(super) fn rounds(
    node: &Node,
    scope: &Arc<Scope>,
) -> Result<(Vec<Locals>, BTreeSet<String>), Failure> {
    let value = scope.expression(node)?;
    let counted = scope.secrets().take_used();
    let is_map = value.kind() == ValueKind::Map;
    let iterable = matches!(value.kind(), ValueKind::Map | ValueKind::Seq | ValueKind::Iterable);
    if !iterable {
        let message = format!("`for_each` wants a list or a map, found {}", value.kind());
        return Err(Box::new(Diagnostic::at(&node.span, message)));
    }
    let broken = |error| Box::new(broken(node, &error));
    let element = |index, part| {
        Local::Element(Element { collection: node.clone(), scope: Arc::clone(scope), index, part })
    };
    let other_keys = if is_map && !counted.is_empty() { other_keys(node, scope) } else { None };
    let mut rounds = Vec::new();
    for (index, found) in value.try_iter().map_err(broken)?.enumerate() {
        let (key, item) = if is_map {
            let item = value.get_item(&found).map_err(broken)?;
            (found, item)
        } else {
            (Value::from(index), found)
        };
        let is_item_secret = !scope.secrets().take_used().is_empty() || !counted.is_empty();
        let is_plain = |keys: &Vec<Value>| keys.get(index) == Some(&key);
        let is_key_secret =
            is_map && !counted.is_empty() && !other_keys.as_ref().is_some_and(is_plain);
        let local = |is_secret, value, part| {
            if is_secret { element(index, part) } else { Local::Value(value) }
        };
        rounds.push(BTreeMap::from([
            ("key".to_owned(), local(is_key_secret, key, Part::Key)),
            ("item".to_owned(), local(is_item_secret, item, Part::Item)),
        ]));
    }
    Ok((rounds, counted))
}

/// The keys of a map with other secrets in place of the real ones: where they are the same, they
/// come from no secret.
fn other_keys(node: &Node, scope: &Arc<Scope>) -> Option<Vec<Value>> {
    let keys = scope.secrets().with_others(|| {
        let map = scope.expression(node).ok()?;
        Some(map.try_iter().ok()?.collect())
    });
    scope.secrets().take_used();
    keys
}

fn broken(node: &Node, error: &minijinja::Error) -> Diagnostic {
    Diagnostic::at(&node.span, error.to_string())
}
