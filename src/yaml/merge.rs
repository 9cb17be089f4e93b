//! Putting one layer on another.

use std::sync::Arc;

use super::{Map, Node, Value};

/// `strong` over `weak`: maps merge deeply, everything else replaces, and a null takes its key
/// out. Every value keeps the place it came from.
pub fn merge(weak: &Node, strong: &Node) -> Node {
    let (Value::Map(below), Value::Map(above)) = (&weak.value, &strong.value) else {
        return if weak.as_map().is_some() && strong.is_null() {
            weak.clone()
        } else {
            strong.clone()
        };
    };
    let mut merged = Map { entries: Vec::with_capacity(below.entries.len()) };
    for entry in &below.entries {
        match above.entry(&entry.key) {
            Some(over) if over.value.is_null() => {}
            Some(over) => {
                let mut over = over.clone();
                over.value = merge(&entry.value, &over.value);
                merged.entries.push(over);
            }
            None => merged.entries.push(entry.clone()),
        }
    }
    let fresh = above.entries.iter().filter(|entry| below.entry(&entry.key).is_none());
    merged.entries.extend(fresh.filter(|entry| !entry.value.is_null()).cloned());
    Node { span: strong.span.clone(), value: Value::Map(Arc::new(merged)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::yaml::parse;

    #[test]
    fn maps_merge_lists_replace_null_removes() {
        let weak = parse(&Source::new("weak", "a: 1\nb: { x: 1, y: [1, 2] }\nc: 3\n")).unwrap();
        let strong = parse(&Source::new("strong", "b: { y: [3], z: 4 }\nc:\nd: 5\n")).unwrap();
        let merged = merge(&weak, &strong);
        let map = merged.as_map().unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "b", "d"]);
        let inner = map.value("b").unwrap().as_map().unwrap();
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(inner.value("x").unwrap().span.place(), "weak:2");
        assert_eq!(inner.value("y").unwrap().span.place(), "strong:1");
    }
}
