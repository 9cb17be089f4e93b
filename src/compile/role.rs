//! A role's file: its parameters, and its resources as written.

use super::params::Fields;
use super::scope::RESERVED;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::inventory::Project;
use crate::manifest::Guard;
use crate::resources::KINDS;
use crate::yaml::{self, Entry, Node};

const KEYS: &[&str] = &["description", "params", "requires", "assert", "let", "resources"];

/// Keys beside the kind.
const COMMON: &[&str] =
    &["when", "for_each", "requires", "reload", "restart", "guard", "let", "resources"];

/// `roles/<name>/role.yaml`.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) params: Fields,
    pub(super) requires: Vec<(String, Span)>,
    pub(super) assertions: Vec<Assertion>,
    pub(super) lets: Vec<Entry>,
    pub(super) items: Vec<Item>,
}

/// A combination that must hold.
#[derive(Debug)]
pub(super) struct Assertion {
    pub(super) that: Node,
    pub(super) message: Node,
}

/// A resource or a block of them, as written.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) span: Span,
    pub(super) when: Option<Node>,
    pub(super) for_each: Option<Node>,
    pub(super) lets: Vec<Entry>,
    pub(super) requires: Option<Node>,
    pub(super) guard: Option<Guard>,
    pub(super) reload: Option<Node>,
    pub(super) restart: Option<Node>,
    pub(super) body: Body,
}

/// What an item holds.
#[derive(Debug)]
pub(super) enum Body {
    /// `- <kind>: <fields>`.
    Resource(Entry),
    /// `- resources: […]`.
    Block(Vec<Item>),
}

impl Role {
    /// Reads a role; `span` is where it is named.
    pub(super) fn load(project: &Project, name: &str, span: &Span) -> Result<Self, Diagnostics> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            let mistake = Diagnostic::at(span, format!("`{name}` is not the name of a role"));
            return Err(mistake.hint("a role is called like its folder in `roles/`").into());
        }
        let path = format!("roles/{name}/role.yaml");
        let Some(source) = project.source(&path)? else {
            let known = project.names("roles")?;
            if known.iter().any(|other| other == name) {
                return Err(without_file(project, name, span).into());
            }
            let mistake = Diagnostic::at(span, format!("role `{name}` is not defined"));
            let mistake = mistake.suggest(name, known.iter().map(String::as_str));
            let mistake = match mistake.hint {
                Some(_) => mistake,
                None => mistake.hint(format!("a role is a file `{path}`")),
            };
            return Err(mistake.into());
        };
        let node = yaml::parse(&source)?;
        let mut mistakes = Diagnostics::new();
        let mut role = Self {
            name: name.to_owned(),
            params: Fields::default(),
            requires: Vec::new(),
            assertions: Vec::new(),
            lets: Vec::new(),
            items: Vec::new(),
        };
        let Some(map) = node.as_map() else {
            return Err(node.wrong_kind("role", "a map with `resources`").into());
        };
        for entry in &map.entries {
            match &*entry.key {
                "description" => {}
                "params" => {
                    role.params = Fields::read(&entry.value, &mut mistakes);
                    reserved(&entry.value, "a parameter", &mut mistakes);
                }
                "requires" => role.requires = names(&entry.value, "requires", &mut mistakes),
                "assert" => role.assertions = assertions(&entry.value, &mut mistakes),
                "let" => role.lets = lets(&entry.value, &mut mistakes),
                "resources" => role.items = items(&entry.value, &mut mistakes),
                unknown => mistakes.push(
                    Diagnostic::at(&entry.key_span, format!("unknown key `{unknown}` of a role"))
                        .suggest(unknown, KEYS.iter().copied()),
                ),
            }
        }
        mistakes.into_result(role)
    }
}

/// A name in `roles/` under which no role is.
fn without_file(project: &Project, name: &str, span: &Span) -> Diagnostic {
    let folder = format!("roles/{name}");
    if project.has_file(&folder) {
        let mistake = Diagnostic::at(span, format!("`{folder}` is a file, and no folder"));
        return mistake.hint(format!("a role is a file `{folder}/role.yaml`"));
    }
    let mistake = Diagnostic::at(span, format!("`{folder}/` has no `role.yaml`"));
    let other = format!("{folder}/role.yml");
    if project.has_file(&other) {
        return mistake.hint(format!("rename `{other}` to `role.yaml`"));
    }
    let tasks = ["main.yml", "main.yaml"].map(|file| format!("{folder}/tasks/{file}"));
    mistake.hint(match tasks.iter().find(|path| project.has_file(path)) {
        Some(tasks) => format!("`{tasks}` is of Ansible: declare its tasks as resources"),
        None => "a role is a file `role.yaml` with `resources: […]`".to_owned(),
    })
}

fn names(node: &Node, what: &str, mistakes: &mut Diagnostics) -> Vec<(String, Span)> {
    let one = std::slice::from_ref(node);
    let mut names = Vec::new();
    for element in node.as_list().unwrap_or(one) {
        match element.scalar() {
            Some(name) => names.push((name.to_owned(), element.span.clone())),
            None => mistakes.push(element.wrong_kind(what, "a name or a list of names")),
        }
    }
    names
}

fn assertions(node: &Node, mistakes: &mut Diagnostics) -> Vec<Assertion> {
    let Some(list) = node.as_list() else {
        mistakes.push(node.wrong_kind("assert", "a list"));
        return Vec::new();
    };
    let mut assertions = Vec::new();
    for element in list {
        let map = element.as_map();
        let field = |name: &str| map.and_then(|map| map.value(name)).cloned();
        match (field("that"), field("message")) {
            (Some(that), Some(message)) => assertions.push(Assertion { that, message }),
            _ => mistakes
                .push(Diagnostic::at(&element.span, "an assertion needs `that` and `message`")),
        }
    }
    assertions
}

fn lets(node: &Node, mistakes: &mut Diagnostics) -> Vec<Entry> {
    if node.as_map().is_none() {
        mistakes.push(node.wrong_kind("let", "a map"));
    }
    reserved(node, "a `let`", mistakes);
    node.as_map().map(|map| map.entries.clone()).unwrap_or_default()
}

fn guard(node: &Node, mistakes: &mut Diagnostics) -> Option<Guard> {
    match node.scalar() {
        Some("access") => return Some(Guard::Access),
        Some(other) => {
            let mistake = Diagnostic::at(&node.span, format!("unknown guard `{other}`"));
            mistakes.push(mistake.hint("write `guard: access`, or leave it out"));
        }
        None if node.is_null() => {}
        None => mistakes.push(node.wrong_kind("guard", "`access`")),
    }
    None
}

/// Refuses names that already mean something.
fn reserved(node: &Node, what: &str, mistakes: &mut Diagnostics) {
    for entry in node.as_map().map(|map| map.entries.as_slice()).unwrap_or_default() {
        if RESERVED.contains(&&*entry.key) || ["key", "item"].contains(&&*entry.key) {
            let message = format!("{what} cannot be named `{}`", entry.key);
            let mistake = Diagnostic::at(&entry.key_span, message);
            mistakes.push(mistake.hint("this name has a meaning in every role"));
        }
    }
}

fn items(node: &Node, mistakes: &mut Diagnostics) -> Vec<Item> {
    if node.is_null() {
        return Vec::new();
    }
    let Some(list) = node.as_list() else {
        mistakes.push(node.wrong_kind("resources", "a list"));
        return Vec::new();
    };
    list.iter().filter_map(|element| item(element, mistakes)).collect()
}

fn item(node: &Node, mistakes: &mut Diagnostics) -> Option<Item> {
    let Some(map) = node.as_map() else {
        mistakes.push(node.wrong_kind("resources", "maps such as `- package: nginx`"));
        return None;
    };
    let mut kinds: Vec<&Entry> = Vec::new();
    for entry in &map.entries {
        if KINDS.contains(&&*entry.key) {
            kinds.push(entry);
        } else if !COMMON.contains(&&*entry.key) {
            if let Some((message, hint)) = super::other_tools::key(&entry.key) {
                mistakes.push(Diagnostic::at(&entry.key_span, message).hint(hint));
                return None;
            }
            let known = KINDS.iter().chain(COMMON).copied();
            let mistake = Diagnostic::at(&entry.key_span, format!("unknown kind `{}`", entry.key));
            let mistake = mistake.suggest(&entry.key, known);
            mistakes.push(match mistake.hint {
                Some(_) => mistake,
                None => mistake.hint("`infra doc` lists the kinds of resources"),
            });
            return None;
        }
    }
    let block = map.value("resources");
    let body = match (kinds.as_slice(), block) {
        ([kind], None) => Body::Resource((*kind).clone()),
        ([], Some(block)) => Body::Block(items(block, mistakes)),
        ([], None) => {
            mistakes.push(Diagnostic::at(&node.span, "this names no kind of resource"));
            return None;
        }
        ([_, second, ..], _) => {
            mistakes.push(
                Diagnostic::at(&second.key_span, "a second kind in one resource")
                    .hint("begin a new list element with `-`"),
            );
            return None;
        }
        ([kind], Some(_)) => {
            mistakes.push(Diagnostic::at(&kind.key_span, "a block cannot be a resource as well"));
            return None;
        }
    };
    if let (Body::Block(_), Some(entry)) = (&body, map.entry("guard")) {
        let mistake = Diagnostic::at(&entry.key_span, "a block has no `guard`");
        mistakes.push(mistake.hint("give it to each resource that needs it"));
    }
    Some(Item {
        span: map.entries.first().map_or_else(|| node.span.clone(), |entry| entry.key_span.clone()),
        when: map.value("when").cloned(),
        for_each: map.value("for_each").cloned(),
        lets: map.value("let").map(|node| lets(node, mistakes)).unwrap_or_default(),
        requires: map.value("requires").cloned(),
        reload: map.value("reload").cloned(),
        restart: map.value("restart").cloned(),
        guard: map.value("guard").map(|node| guard(node, mistakes)).unwrap_or_default(),
        body,
    })
}
