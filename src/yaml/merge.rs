//! Putting one layer on another.

use std::sync::Arc;

use super::{Map, Node, Value};

/// `strong` over `weak`: maps merge deeply, everything else replaces. Every value keeps the place
/// it came from.
///
/// A key with nothing behind it says nothing, and the weaker value stays. A `null` that is
/// written out takes the key away; it is kept as a mark, because a still weaker layer may be put
/// below later, until [`without_nulls`] removes it.
pub fn merge(weak: &Node, strong: &Node) -> Node {
    if strong.is_blank() {
        return weak.clone();
    }
    let (Value::Map(below), Value::Map(above)) = (&weak.value, &strong.value) else {
        return strong.clone();
    };
    let mut merged = Map { entries: Vec::with_capacity(below.entries.len()) };
    for entry in &below.entries {
        match above.entry(&entry.key) {
            Some(over) if !over.value.is_blank() => {
                let mut over = over.clone();
                over.value = merge(&entry.value, &over.value);
                merged.entries.push(over);
            }
            _ => merged.entries.push(entry.clone()),
        }
    }
    let fresh = above.entries.iter().filter(|entry| below.entry(&entry.key).is_none());
    merged.entries.extend(fresh.cloned());
    Node { span: strong.span.clone(), value: Value::Map(Arc::new(merged)) }
}

/// `node` without the keys that a `null` took away, at any depth of its maps.
pub fn without_nulls(node: &Node) -> Node {
    match &node.value {
        Value::Map(map) if has_null(map) => {
            let kept = map.entries.iter().filter(|entry| !entry.value.is_written_null());
            let mut entries: Vec<_> = kept.cloned().collect();
            for entry in &mut entries {
                entry.value = without_nulls(&entry.value);
            }
            Node { span: node.span.clone(), value: Value::Map(Arc::new(Map { entries })) }
        }
        _ => node.clone(),
    }
}

fn has_null(map: &Map) -> bool {
    map.entries.iter().any(|entry| match &entry.value.value {
        Value::Map(inner) => has_null(inner),
        _ => entry.value.is_written_null(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::yaml::parse;

    fn read(text: &str) -> Node {
        parse(&Source::new(text, text)).unwrap()
    }

    /// A node in one line: `{a: 1, b: [2]}`.
    fn brief(node: &Node) -> String {
        match &node.value {
            Value::Map(map) => {
                let entry =
                    |entry: &crate::yaml::Entry| format!("{}: {}", entry.key, brief(&entry.value));
                let entries: Vec<String> = map.entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Value::List(list) => {
                format!("[{}]", list.iter().map(brief).collect::<Vec<_>>().join(", "))
            }
            _ => node.scalar().unwrap_or("null").to_owned(),
        }
    }

    #[test]
    fn stronger_layers_win() {
        for (weak, strong, wanted) in [
            ("{a: 1, b: 2}", "{b: 3, c: 4}", "{a: 1, b: 3, c: 4}"),
            ("{a: {x: 1, y: 2}}", "{a: {y: 3}}", "{a: {x: 1, y: 3}}"),
            ("{a: [1, 2]}", "{a: [3]}", "{a: [3]}"),
            ("{a: {x: 1}}", "{a: 5}", "{a: 5}"),
            ("{a: 5}", "{a: {x: 1}}", "{a: {x: 1}}"),
            // Nothing says nothing; a written null removes.
            ("{a: {x: 1}, b: 2}", "{a: , b: }", "{a: {x: 1}, b: 2}"),
            ("{a: {x: 1}, b: 2}", "{a: null, b: ~}", "{}"),
            ("{a: {x: 1, y: 2}}", "{a: {x: null}}", "{a: {y: 2}}"),
            ("{}", "{a: {x: null, y: 1}, b: }", "{a: {y: 1}, b: null}"),
            ("{a: null}", "{a: {x: 1}}", "{a: {x: 1}}"),
        ] {
            let merged = without_nulls(&merge(&read(weak), &read(strong)));
            assert_eq!(brief(&merged), wanted, "{strong} over {weak}");
        }
    }

    #[test]
    fn a_null_reaches_through_to_layers_put_below_later() {
        let upper = merge(&read("{a: {z: 1}}"), &read("{a: {y: null}}"));
        let all = without_nulls(&merge(&read("{a: {x: 1, y: 2}}"), &upper));
        assert_eq!(brief(&all), "{a: {x: 1, z: 1}}");
    }

    #[test]
    fn values_keep_their_places() {
        let merged = merge(&read("a: 1\nb: 1\n"), &read("b: 2\n"));
        let map = merged.as_map().unwrap();
        assert_eq!(map.value("a").unwrap().span.source.name, "a: 1\nb: 1\n");
        assert_eq!(map.value("b").unwrap().span.source.name, "b: 2\n");
    }
}
