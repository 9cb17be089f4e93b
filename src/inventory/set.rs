//! `--set role.param=value`: a parameter of the command line, stronger than the inventory.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use crate::yaml::{Entry, Map, Node, Value, parse};

/// One `--set`.
#[derive(Debug)]
pub(super) struct Set {
    /// The role, with a map that leads to the one value.
    pub(super) role: Entry,
}

impl Set {
    /// The name of the role.
    pub(super) fn role(&self) -> &str {
        &self.role.key
    }
}

/// Reads each text.
pub(super) fn read(texts: &[String], mistakes: &mut Diagnostics) -> Vec<Set> {
    let mut sets = Vec::new();
    for text in texts {
        match read_one(&Source::new("--set", text.as_str())) {
            Ok(role) => sets.push(Set { role }),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    sets
}

fn read_one(source: &Arc<Source>) -> Result<Entry, Diagnostic> {
    let whole = Span::new(source, 0..source.text.len());
    let form = || {
        Diagnostic::at(&whole, "`--set` wants `role.parameter=value`")
            .hint("for example `--set nginx.worker_connections=1024`")
    };
    let (keys, start) = path(&source.text).ok_or_else(form)?;
    let (first, inner) = keys.split_first().ok_or_else(form)?;
    if inner.is_empty() || keys.iter().any(Range::is_empty) {
        return Err(form());
    }
    let entry = |key: &Range<usize>, value: Node| {
        let key_span = Span::new(source, key.clone());
        Entry { key: key_span.text().into(), key_span, value }
    };
    let mut value = value(source, start)?;
    for key in inner.iter().rev() {
        let map = Map { entries: vec![entry(key, value)] };
        value = Node { span: whole.clone(), value: Value::Map(Arc::new(map)) };
    }
    Ok(entry(first, value))
}

/// The keys before the `=`, and where the value begins. Dots separate keys; a key that holds dots
/// stands in double quotes: `nginx.sites."flus.fr".root=/srv`.
fn path(text: &str) -> Option<(Vec<Range<usize>>, usize)> {
    let mut keys = Vec::new();
    let mut start = 0;
    loop {
        let rest = text.get(start..)?;
        let (key, end) = if let Some(quoted) = rest.strip_prefix('"') {
            let length = quoted.find('"')?;
            (start + 1..start + 1 + length, start + length + 2)
        } else {
            let length = rest.find(['.', '='])?;
            (start..start + length, start + length)
        };
        keys.push(key);
        start = end + 1;
        match text.as_bytes().get(end)? {
            b'=' => return Some((keys, start)),
            b'.' => {}
            _ => return None,
        }
    }
}

/// The YAML value in the rest of a source, with its place there.
fn value(source: &Arc<Source>, start: usize) -> Result<Node, Diagnostic> {
    let rest = source.text.get(start..).unwrap_or_default();
    let span = Span::new(source, start..source.text.len());
    // The parser gives places in the text it reads: the value's own are replaced.
    let mut node = parse(&Source::new("--set", rest)).map_err(|mistakes| {
        let cause = mistakes.iter().next().map(|first| first.message.clone());
        let mistake = Diagnostic::at(&span, "the value is not YAML");
        cause.into_iter().fold(mistake, Diagnostic::because)
    })?;
    node.span = span;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<String, String> {
        let mut mistakes = Diagnostics::new();
        let sets = read(&[text.to_owned()], &mut mistakes);
        let Some(set) = sets.first() else { return Err(mistakes.render(false)) };
        let (mut keys, mut node) = (vec![set.role().to_owned()], &set.role.value);
        while let Some([entry]) = node.as_map().map(|map| map.entries.as_slice()) {
            keys.push(entry.key.to_string());
            node = &entry.value;
        }
        Ok(format!("{} = {} at {:?}", keys.join(" "), node.described(), node.span.range))
    }

    #[test]
    fn reads_paths_and_values() {
        for (text, wanted) in [
            ("nginx.workers=4", "nginx workers = an integer `4` at 14..15"),
            ("nginx.on=no", "nginx on = a text `no` at 9..11"),
            ("a.b.c=x=y", "a b c = a text `x=y` at 6..9"),
            ("a.\"flus.fr\".root=/srv", "a flus.fr root = a text `/srv` at 17..21"),
            ("a.b=[1, 2]", "a b = a list at 4..10"),
            ("a.b=null", "a b = nothing at 4..8"),
        ] {
            assert_eq!(read_text(text), Ok(wanted.to_owned()));
        }
    }

    #[test]
    fn says_what_the_form_is() {
        for text in ["", "nginx", "nginx=1", ".x=1", "nginx.=1", "a.\"b=1", "a.\"b\"c=1", "a..b=1"]
        {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with("error: `--set` wants `role.parameter=value`"), "{text}");
        }
        assert_eq!(
            read_text("a.b=[1").unwrap_err(),
            "error: the value is not YAML\n --> --set:1:5\n  |\n1 | a.b=[1\n  |     ^^\n\
             caused by: `[` is never closed"
        );
    }
}
