//! One file of the inventory: the keys it may have and what they mean.

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::Expect;
use crate::yaml::{Entry, Map, Node, Value};

use super::ssh;

const GROUP_KEYS: &[&str] = &["description", "ssh", "vars", "roles"];
const SERVER_KEYS: &[&str] = &["description", "expect", "ssh", "groups", "vars", "roles"];
const EXPECT_KEYS: &[&str] = &["os", "cpus", "memory", "disk", "without"];

/// What one file says.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) description: Option<String>,
    pub(super) groups: Vec<(String, Span)>,
    pub(super) vars: Option<Node>,
    pub(super) roles: Vec<Entry>,
    pub(super) span: Span,
    /// Checked, as the next.
    pub(super) ssh: Option<Node>,
    pub(super) expect: Option<Node>,
}

impl Layer {
    /// A layer that says nothing.
    pub(super) fn empty(span: Span) -> Self {
        Self {
            description: None,
            groups: Vec::new(),
            vars: None,
            roles: Vec::new(),
            span,
            ssh: None,
            expect: None,
        }
    }

    /// Reads a group's or a server's file.
    pub(super) fn read(node: &Node, is_group: bool, mistakes: &mut Diagnostics) -> Self {
        let known = if is_group { GROUP_KEYS } else { SERVER_KEYS };
        let mut layer = Self::empty(Span::new(&node.span.source, 0..0));
        let what = if is_group { "a group" } else { "a server" };
        if node.is_null() && !is_group {
            mistakes.push(
                Diagnostic::at(&layer.span, "the file of a server is empty")
                    .hint("`roles: {}` is a server without anything"),
            );
        }
        for entry in entries(node, what, known, mistakes) {
            let value = &entry.value;
            match &*entry.key {
                "description" => layer.description = text(&entry, mistakes),
                "expect" => {
                    let node = map_of(value, "expect", EXPECT_KEYS, mistakes);
                    expect(&node, mistakes);
                    layer.expect = Some(node);
                }
                "ssh" => {
                    let node = map_of(value, "ssh", ssh::KEYS, mistakes);
                    ssh::settings("", &node, mistakes);
                    layer.ssh = Some(node);
                }
                "groups" => layer.groups = names(&entry, mistakes),
                "vars" => layer.vars = map(&entry, mistakes),
                _ => layer.roles = roles(&entry, mistakes),
            }
        }
        layer
    }
}

/// The facts that a checked map of them names.
pub(super) fn expect(node: &Node, mistakes: &mut Diagnostics) -> Expect {
    let mut expect = Expect::default();
    for entry in said(node) {
        match &*entry.key {
            "os" => expect.os = os(entry, mistakes),
            "cpus" => expect.cpus = number(entry, "a number of processors", mistakes),
            "memory" => expect.memory_bytes = size(entry, mistakes),
            "without" => {
                expect.without = names(entry, mistakes).into_iter().map(|(name, _)| name).collect();
            }
            _ => expect.disk_bytes = size(entry, mistakes),
        }
    }
    expect
}

/// The entries of a map that say anything.
pub(super) fn said(node: &Node) -> impl Iterator<Item = &Entry> {
    let entries = node.as_map().map(|map| map.entries.as_slice()).unwrap_or_default();
    entries.iter().filter(|entry| !entry.value.is_null())
}

/// The map `node` with only those keys that are among `known`.
pub(super) fn map_of(node: &Node, what: &str, known: &[&str], mistakes: &mut Diagnostics) -> Node {
    let entries = entries(node, what, known, mistakes);
    Node { span: node.span.clone(), value: Value::Map(Map { entries }.into()) }
}

/// The entries of a map whose keys must be among `known`. Nothing at all is an empty map.
fn entries(node: &Node, what: &str, known: &[&str], mistakes: &mut Diagnostics) -> Vec<Entry> {
    if node.is_null() {
        return Vec::new();
    }
    let Some(map) = node.as_map() else {
        mistakes.push(node.wrong_kind(what, "a map"));
        return Vec::new();
    };
    let (good, bad): (Vec<Entry>, Vec<Entry>) =
        map.entries.iter().cloned().partition(|entry| known.contains(&&*entry.key));
    for entry in bad {
        let message = format!("unknown key `{}` of {}", entry.key, article(what));
        let mut mistake = Diagnostic::at(&entry.key_span, message);
        mistake = match ssh::of_the_user(&entry.key).filter(|_| what == "ssh") {
            Some(option) => mistake
                .because("the project cannot name files of the person who runs infra")
                .hint(format!("say {option} where you run infra")),
            None => mistake.suggest(&entry.key, known.iter().copied()),
        };
        if mistake.hint.is_none() {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            mistake = mistake.hint(format!("the keys are {}", names.join(", ")));
        }
        mistakes.push(mistake);
    }
    good
}

fn article(what: &str) -> String {
    if what.starts_with("a ") { what.to_owned() } else { format!("`{what}`") }
}

pub(super) fn text(entry: &Entry, mistakes: &mut Diagnostics) -> Option<String> {
    if let Some(text) = entry.value.scalar() {
        return Some(text.to_owned());
    }
    mistakes.push(entry.value.wrong_kind(&entry.key, "a text"));
    None
}

/// A whole number above zero; `wanted` says what it should be.
pub(super) fn number<T: TryFrom<i64>>(
    entry: &Entry,
    wanted: &str,
    mistakes: &mut Diagnostics,
) -> Option<T> {
    if let Value::Integer(number @ 1.., _) = entry.value.value
        && let Ok(number) = T::try_from(number)
    {
        return Some(number);
    }
    mistakes.push(entry.value.wrong_kind(&entry.key, wanted));
    None
}

/// `ID` and `VERSION_ID` of `/etc/os-release`, as `debian-12`.
fn os(entry: &Entry, mistakes: &mut Diagnostics) -> Option<String> {
    let text = entry.value.as_str().unwrap_or_default();
    let good = text.split_once('-').is_some_and(|(id, version)| {
        !id.is_empty() && version.starts_with(|c: char| c.is_ascii_digit())
    });
    if !good {
        mistakes.push(entry.value.wrong_kind(&entry.key, "a system such as `debian-12`"));
    }
    good.then(|| text.to_owned())
}

fn size(entry: &Entry, mistakes: &mut Diagnostics) -> Option<u64> {
    match crate::size::parse_size(&text(entry, mistakes)?) {
        Ok(bytes) => Some(bytes),
        Err(message) => {
            mistakes.push(Diagnostic::at(&entry.value.span, format!("`{}`: {message}", entry.key)));
            None
        }
    }
}

fn names(entry: &Entry, mistakes: &mut Diagnostics) -> Vec<(String, Span)> {
    let Some(list) = entry.value.as_list() else {
        mistakes.push(entry.value.wrong_kind(&entry.key, "a list of names"));
        return Vec::new();
    };
    let mut names = Vec::new();
    for node in list {
        match node.scalar() {
            Some(name) => names.push((name.to_owned(), node.span.clone())),
            None => mistakes.push(node.wrong_kind(&entry.key, "the name of a group")),
        }
    }
    names
}

fn map(entry: &Entry, mistakes: &mut Diagnostics) -> Option<Node> {
    if entry.value.as_map().is_none() && !entry.value.is_null() {
        mistakes.push(entry.value.wrong_kind(&entry.key, "a map"));
        return None;
    }
    Some(entry.value.clone())
}

fn roles(entry: &Entry, mistakes: &mut Diagnostics) -> Vec<Entry> {
    if entry.value.as_list().is_some() {
        mistakes.push(
            entry
                .value
                .wrong_kind(&entry.key, "a map of roles")
                .hint("write `nginx: {}` instead of `- nginx`"),
        );
        return Vec::new();
    }
    let map = map(entry, mistakes);
    let entries = map.as_ref().and_then(Node::as_map).map(|map| map.entries.clone());
    let mut roles = entries.unwrap_or_default();
    roles.retain(|role| {
        let good = role.value.is_null() || role.value.as_map().is_some();
        if !good {
            mistakes.push(
                role.value
                    .wrong_kind(&role.key, "a map of parameters")
                    .hint(format!("write `{}: {{}}` for a role without parameters", role.key)),
            );
        }
        good
    });
    roles
}
