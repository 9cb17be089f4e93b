//! Changing a value in a YAML text, and nothing else of it: comments and order stay.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::document::{find, parsed};
use super::lines;
use super::tree::{Path, Tree, merged};
use crate::diagnostic::Source;
use crate::error::{Error, Result};
use crate::secrets::Folder;
use crate::yaml::emit::{self, quoted};
use crate::yaml::{self, Map, Node};

/// The line that shows somebody a value that was not taken; removed when the file is next saved.
const NOTE: &str = "#! ";

/// The result of a merge.
pub struct Merged {
    /// Ours with the changes of theirs.
    pub text: Zeroizing<String>,
    /// Where both changed something, each to something else; `text` has ours.
    pub conflicts: Vec<Path>,
}

impl Merged {
    /// The dotted names of the conflicts, for a message.
    pub fn conflict_names(&self) -> String {
        let names = self.conflicts.iter().map(|path| format!("`{}`", path.join(".")));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// `text` of the file `name` with the text `value` at the dotted name `key`.
///
/// # Errors
/// If the text is not YAML, or something on the way to the key is no map.
pub fn set(name: &str, text: &str, key: &str, value: &str) -> Result<Zeroizing<String>> {
    let path = path_of(key, &parsed(name, text)?)?;
    changed(name, text, &path, Some(&Tree::Text(value.to_owned())))
}

/// `text` of the file `name` without the dotted name `key`.
///
/// # Errors
/// If the text is not YAML, or has no such key.
pub fn remove(name: &str, text: &str, key: &str) -> Result<Zeroizing<String>> {
    let document = parsed(name, text)?;
    let path = path_of(key, &document)?;
    let (_, _, rest) = way(&document, &path);
    if !rest.is_empty() {
        return Err(super::document::no_such(name, text, key));
    }
    changed(name, text, &path, None)
}

/// Merges two changes of `base` key by key. Order and comments are those of `ours`.
///
/// # Errors
/// If a text is not YAML.
pub fn merge(name: &str, base: &str, ours: &str, theirs: &str) -> Result<Merged> {
    let tree = |text: &str| Ok::<_, Error>(Tree::of_document(&parsed(name, text)?));
    let (base_tree, ours_tree, theirs_tree) = (tree(base)?, tree(ours)?, tree(theirs)?);
    let (changes, conflicts) = merged(&base_tree, &ours_tree, &theirs_tree);
    let mut wanted = ours_tree;
    for (path, value) in &changes {
        wanted.change(path, value.as_ref());
    }
    let says_so = |text: &str| tree(text).is_ok_and(|tree| tree == wanted);
    // Comments of both sides are kept where lines can be merged, which is nearly everywhere.
    let text = Zeroizing::new(lines::merged(base, ours, theirs));
    if says_so(&text) {
        return Ok(Merged { text, conflicts });
    }
    let mut text = Zeroizing::new(ours.to_owned());
    let removals = changes.iter().filter(|(_, value)| value.is_none());
    for (path, _) in removals {
        text = changed(name, &text, path, None)?;
    }
    for (path, value) in changes.iter().filter_map(|(path, value)| Some((path, value.as_ref()?))) {
        let mut leaves = Vec::new();
        value.leaves(path, &mut leaves);
        for (path, leaf) in leaves {
            text = changed(name, &text, &path, Some(&leaf))?;
        }
    }
    let commented = with_comments(&text, base, theirs);
    let text = if says_so(&commented) { commented } else { text };
    Ok(Merged { text, conflicts })
}

/// `text` with the comments below it that `theirs` has added to `base`: where they belong is not
/// known any more.
fn with_comments(text: &str, base: &str, theirs: &str) -> Zeroizing<String> {
    let mut commented = Zeroizing::new(text.to_owned());
    let has = |text: &str, line: &str| text.lines().any(|known| known.trim() == line.trim());
    for line in theirs.lines().filter(|line| lines::is_comment(line) && !line.starts_with(NOTE)) {
        if !has(base, line) && !has(text, line) {
            let gap = if commented.is_empty() || commented.ends_with('\n') { "" } else { "\n" };
            let _ = writeln!(commented, "{gap}{}", line.trim());
        }
    }
    commented
}

/// `text` with a note above it of what `other` has at `conflicts`, said to be from `whom`.
///
/// # Errors
/// If `other` is not YAML.
pub fn with_notes(
    name: &str,
    text: &str,
    other: &str,
    conflicts: &[Path],
    whom: &str,
) -> Result<Zeroizing<String>> {
    let document = parsed(name, other)?;
    let mut noted = Zeroizing::new(String::new());
    let _ = writeln!(noted, "{NOTE}{whom} has other values here. These lines go when you save.");
    for path in conflicts {
        let (node, _, rest) = way(&document, path);
        let value = if rest.is_empty() {
            emit::flow(&node.into())
        } else {
            Zeroizing::new("(removed)".to_owned())
        };
        let _ = writeln!(noted, "{NOTE}{}: {}", path.join("."), *value);
    }
    noted.push_str(text);
    Ok(noted)
}

/// `text` without the notes of [`with_notes`].
pub fn without_notes(text: &str) -> Zeroizing<String> {
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with(NOTE));
    Zeroizing::new(lines.collect())
}

/// The keys of a dotted name. Keys of the document may have dots in them.
fn path_of(key: &str, document: &Node) -> Result<Path> {
    let path: Path = key.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        let error = Error::input(format!("`{key}` is no name of a secret"));
        return Err(error.hint("a name is one or more keys with dots between: `smtp.password`"));
    }
    Ok(find(document, &path).map_or(path, |(path, _)| path))
}

/// Follows `path` as far as there are maps: the last value, the entries on the way to it as
/// (map, index), and what is left of the path.
fn way<'a, 'p>(root: &'a Node, path: &'p [String]) -> (&'a Node, Vec<Step<'a>>, &'p [String]) {
    let (mut node, mut steps, mut rest) = (root, Vec::new(), path);
    while let Some((first, after)) = rest.split_first() {
        let Some(map) = node.as_map() else { break };
        let Some(index) = map.keys().position(|key| key == first) else { break };
        steps.push(Step { node, map, index });
        node = &map.entries[index].value;
        rest = after;
    }
    (node, steps, rest)
}

/// One entry on the way to a value.
struct Step<'a> {
    node: &'a Node,
    map: &'a Map,
    index: usize,
}

/// Changes the text at one path, and checks that this changed nothing else.
fn changed(
    name: &str,
    text: &str,
    path: &[String],
    value: Option<&Tree>,
) -> Result<Zeroizing<String>> {
    let document = parsed(name, text)?;
    let mut wanted = Tree::of_document(&document);
    wanted.change(path, value);
    let text = match value {
        Some(value) => with(name, text, &document, path, value)?,
        None => without(text, &document, path),
    };
    let text = Zeroizing::new(text);
    match yaml::parse(&Source::new("", text.as_str())) {
        Ok(document) if Tree::of_document(&document) == wanted => Ok(text),
        _ => {
            let key = path.join(".");
            let error = Error::input(format!("cannot change `{key}` in `{}`", Folder::shown(name)));
            Err(error
                .because("the YAML around it is written in a way that only a person can change")
                .hint(format!("use `infra secrets edit {name}`")))
        }
    }
}

fn with(name: &str, text: &str, root: &Node, path: &[String], value: &Tree) -> Result<String> {
    let (node, steps, rest) = way(root, path);
    let is_flow = steps.iter().any(|step| is_flow(step.node)) || is_flow(node) && !rest.is_empty();
    if rest.is_empty() || node.is_null() && !steps.is_empty() {
        let Some(step) = steps.last() else { return Ok(text.to_owned()) };
        return Ok(replaced(text, step, rest, value, is_flow));
    }
    let indent =
        |map: &Map| map.entries.first().map_or(0, |one| column(text, one.key_span.range.start));
    match node.as_map() {
        Some(_) if is_flow => {
            let end = node.span.range.end.saturating_sub(1);
            let before = text[..end].trim_end();
            let comma = if before.ends_with(['{', ',']) { "" } else { "," };
            let space = if before.ends_with('{') { "" } else { " " };
            let entry = flow_entry(rest, value);
            let gap = &text[before.len()..end];
            Ok(format!("{before}{comma}{space}{entry}{gap}{}", &text[end..]))
        }
        Some(map) => {
            let end = map.entries.last().map_or(0, |last| end_of(text, last));
            let line = text[end..].find('\n').map_or(text.len(), |at| end + at);
            let entry = block_entry(rest, value, indent(map));
            let after = text[line..].strip_prefix('\n').unwrap_or_default();
            Ok(format!("{}\n{entry}{after}", &text[..line]))
        }
        None if steps.is_empty() && node.is_null() => {
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{text}{gap}{}", block_entry(rest, value, 0)))
        }
        None => {
            let done = path.len() - rest.len();
            let what = path[..done].join(".");
            let key = path.join(".");
            let error = Error::input(format!("cannot set `{key}` in `{}`", Folder::shown(name)));
            Err(error.because(format!("`{what}` is {} and no map", node.kind())))
        }
    }
}

/// Puts the value in place of what follows the key of `step`.
fn replaced(text: &str, step: &Step<'_>, rest: &[String], value: &Tree, is_flow: bool) -> String {
    let entry = &step.map.entries[step.index];
    let key_end = entry.key_span.range.end;
    let colon = text[key_end..].find(':').map_or(key_end, |at| key_end + at + 1);
    let end = end_of(text, entry).max(colon);
    let indent = column(text, entry.key_span.range.start);
    let new = match (rest, is_flow) {
        ([], true) => format!(" {}", *emit::flow(&value.into())),
        ([], false) => format!(" {}", *emit::value(&value.into(), indent + 2)),
        (rest, true) => format!(" {{{}}}", flow_entry(rest, value)),
        (rest, false) => {
            let inner = block_entry(rest, value, indent + 2);
            format!("\n{}", inner.trim_end_matches('\n'))
        }
    };
    // A block text takes lines: what is left of the old line, a comment, would become part of it.
    let after = &text[end..];
    let after =
        if new.contains('\n') { after.find('\n').map_or("", |at| &after[at..]) } else { after };
    format!("{}{new}{after}", &text[..colon])
}

fn without(text: &str, root: &Node, path: &[String]) -> String {
    let (_, mut steps, _) = way(root, path);
    // A map that would be empty goes as well.
    while steps.len() > 1 && steps.last().is_some_and(|step| step.map.entries.len() == 1) {
        steps.pop();
    }
    let Some(step) = steps.last() else { return text.to_owned() };
    let entries = &step.map.entries;
    let entry = &entries[step.index];
    let (start, end) = (entry.key_span.range.start, end_of(text, entry));
    if is_flow(step.node) {
        let (start, end) = match (entries.get(step.index + 1), step.index.checked_sub(1)) {
            (Some(next), _) => (start, next.key_span.range.start),
            (None, Some(previous)) => (end_of(text, &entries[previous]), end),
            (None, None) => (start, end),
        };
        return format!("{}{}", &text[..start], &text[end..]);
    }
    let start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    format!("{}{}", &text[..start], &text[end..])
}

fn is_flow(node: &Node) -> bool {
    node.as_map().is_some() && node.span.text().starts_with('{')
}

/// Where an entry ends: after the last character of its value that is no space.
fn end_of(text: &str, entry: &yaml::Entry) -> usize {
    let end = entry.value.span.range.end.max(entry.key_span.range.end);
    let start = entry.key_span.range.end;
    let trimmed = start + text[start..end].trim_end().len();
    if entry.value.is_blank() {
        // Nothing is written: it ends behind the colon.
        return text[start..].find(':').map_or(start, |at| start + at + 1);
    }
    trimmed
}

fn column(text: &str, at: usize) -> usize {
    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
    text[line..at].chars().count()
}

/// `a: { b: value }` on one line.
fn flow_entry(path: &[String], value: &Tree) -> String {
    match path {
        [] => emit::flow(&value.into()).to_string(),
        [key] => format!("{}: {}", *quoted(key), *emit::flow(&value.into())),
        [key, rest @ ..] => format!("{}: {{ {} }}", *quoted(key), flow_entry(rest, value)),
    }
}

/// The lines of nested keys and a value, indented, with an end of line.
fn block_entry(path: &[String], value: &Tree, indent: usize) -> String {
    let space = " ".repeat(indent);
    match path {
        [] => String::new(),
        [key] => format!("{space}{}: {}\n", *quoted(key), *emit::value(&value.into(), indent + 2)),
        [key, rest @ ..] => {
            format!("{space}{}:\n{}", *quoted(key), block_entry(rest, value, indent + 2))
        }
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
