//! The place in the inventory of a value that a role hands on to a resource.

use crate::diagnostic::{Diagnostic, Place, Span};
use crate::yaml::{Node, Value};

/// The mistake about a field or value that a resource does not know, placed where the parameters of the role
/// say it, if they say it once and the resource itself does not.
pub(super) fn placed(mut mistake: Diagnostic, params: &Node) -> Diagnostic {
    let is_key = mistake.message.starts_with("unknown field `");
    let is_unknown = is_key || mistake.message.contains("unknown value `");
    let Some(name) = mistake
        .message
        .split('`')
        .skip_while(|part| !part.ends_with("unknown field ") && !part.ends_with("unknown value "))
        .nth(1)
    else {
        return mistake;
    };
    let is_there = mistake.places.first().is_some_and(|place| place.span.text().contains(name));
    if !is_unknown || is_there {
        return mistake;
    }
    let mut found = Vec::new();
    find(params, name, is_key, &mut found);
    if let [place] = found.as_slice() {
        if let Some(first) = mistake.places.first_mut() {
            "used here".clone_into(&mut first.label);
        }
        mistake.places.insert(0, Place { span: place.clone(), label: String::new() });
    }
    mistake
}

/// Collects the places of a key, or of a text, in `node`.
fn find(node: &Node, name: &str, is_key: bool, found: &mut Vec<Span>) {
    match &node.value {
        Value::Map(map) => {
            for entry in &map.entries {
                if is_key && &*entry.key == name {
                    found.push(entry.key_span.clone());
                }
                find(&entry.value, name, is_key, found);
            }
        }
        Value::List(list) => list.iter().for_each(|node| find(node, name, is_key, found)),
        _ if !is_key && node.scalar() == Some(name) => found.push(node.span.clone()),
        _ => {}
    }
}
