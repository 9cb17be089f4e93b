//! One file of the inventory, or one `--set`: the keys it may have and what they mean.

use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use crate::manifest::Expect;
use crate::yaml::{Entry, Node, parse};

use super::connection::SshSettings;

const GROUP_KEYS: &[&str] = &["description", "ssh", "vars", "roles"];
const SERVER_KEYS: &[&str] = &["description", "expect", "ssh", "groups", "vars", "roles"];
const EXPECT_KEYS: &[&str] = &["os", "cpus", "memory", "disk"];
const SSH_KEYS: &[&str] =
    &["host", "user", "port", "host_key", "identity_file", "config_file", "sudo"];

/// What one file says.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) description: Option<String>,
    pub(super) groups: Vec<(String, Span)>,
    pub(super) vars: Option<Node>,
    pub(super) roles: Vec<Entry>,
    pub(super) span: Span,
    expect: Vec<Entry>,
    ssh: Vec<Entry>,
}

impl Layer {
    /// Reads a group's or a server's file.
    pub(super) fn read(node: &Node, is_group: bool, mistakes: &mut Diagnostics) -> Self {
        let known = if is_group { GROUP_KEYS } else { SERVER_KEYS };
        let mut layer = Self {
            description: None,
            groups: Vec::new(),
            vars: None,
            roles: Vec::new(),
            span: Span::new(&node.span.source, 0..0),
            expect: Vec::new(),
            ssh: Vec::new(),
        };
        let what = if is_group { "a group" } else { "a server" };
        for entry in entries(node, what, known, mistakes) {
            let value = &entry.value;
            match &*entry.key {
                "description" => layer.description = text(&entry, mistakes),
                "expect" => layer.expect = entries(value, "expect", EXPECT_KEYS, mistakes),
                "ssh" => layer.ssh = entries(value, "ssh", SSH_KEYS, mistakes),
                "groups" => layer.groups = names(&entry, mistakes),
                "vars" => layer.vars = map(&entry, mistakes),
                _ => layer.roles = roles(&entry, mistakes),
            }
        }
        layer
    }
}

/// Reads `role.param=value` of the command line; the value is YAML.
pub(super) fn set(text: &str) -> Result<Layer, Diagnostic> {
    let source = Source::new("--set", text);
    let span = Span::new(&source, 0..text.len());
    let form = || {
        Diagnostic::at(&span, "`--set` wants `role.parameter=value`")
            .hint("for example `--set nginx.worker_connections=1024`")
    };
    let (path, _) = text.split_once('=').ok_or_else(form)?;
    let mut value = parse_after(&source, path.len() + 1)?;
    let (role, rest) = path.split_once('.').ok_or_else(form)?;
    let mut at = path.len();
    for part in rest.split('.').rev() {
        if part.is_empty() || role.is_empty() {
            return Err(form());
        }
        let key_span = Span::new(&source, at - part.len()..at);
        at = at.saturating_sub(part.len() + 1);
        let entry = Entry { key: part.into(), key_span, value };
        let map = crate::yaml::Map { entries: vec![entry] };
        value = Node { span: span.clone(), value: crate::yaml::Value::Map(map.into()) };
    }
    let key_span = Span::new(&source, 0..role.len());
    Ok(Layer {
        description: None,
        groups: Vec::new(),
        vars: None,
        roles: vec![Entry { key: role.into(), key_span, value }],
        span,
        expect: Vec::new(),
        ssh: Vec::new(),
    })
}

/// The YAML value in the rest of a source, with its place there.
fn parse_after(source: &std::sync::Arc<Source>, start: usize) -> Result<Node, Diagnostic> {
    let rest = source.text.get(start..).unwrap_or_default();
    let whole = Span::new(source, start..source.text.len());
    let parsed = parse(&Source::new("--set", rest));
    let mut node = parsed.map_err(|mistakes| {
        let cause = mistakes.iter().next().map(|first| first.message.clone());
        let mistake = Diagnostic::at(&whole, "the value is not YAML");
        cause.into_iter().fold(mistake, Diagnostic::because)
    })?;
    node.span = whole;
    Ok(node)
}

/// The facts that the layers expect; stronger layers win field by field.
pub(super) fn expect(stack: &[&Layer], mistakes: &mut Diagnostics) -> Expect {
    let mut expect = Expect::default();
    for entry in stack.iter().flat_map(|layer| &layer.expect) {
        match &*entry.key {
            "os" => expect.os = text(entry, mistakes),
            "cpus" => expect.cpus = number(entry, mistakes),
            "memory" => expect.memory_bytes = size(entry, mistakes),
            _ => expect.disk_bytes = size(entry, mistakes),
        }
    }
    expect
}

/// How the server is reached, and the expression of its password for `sudo`.
pub(super) fn ssh(
    name: &str,
    stack: &[&Layer],
    mistakes: &mut Diagnostics,
) -> (SshSettings, Option<Node>) {
    let mut ssh = SshSettings { host: name.to_owned(), ..SshSettings::default() };
    let mut sudo_password = None;
    for entry in stack.iter().flat_map(|layer| &layer.ssh) {
        match &*entry.key {
            "host" => {
                if let Some(host) = text(entry, mistakes) {
                    ssh.host = host;
                }
            }
            "user" => ssh.user = text(entry, mistakes),
            "port" => ssh.port = number(entry, mistakes),
            "host_key" => ssh.host_keys = host_keys(entry, mistakes),
            "identity_file" => ssh.identity_file = text(entry, mistakes).map(PathBuf::from),
            "config_file" => ssh.config_file = text(entry, mistakes).map(PathBuf::from),
            _ => {
                for entry in entries(&entry.value, "sudo", &["password"], mistakes) {
                    sudo_password = Some(entry.value);
                }
            }
        }
    }
    (ssh, sudo_password)
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
        let mut mistake =
            Diagnostic::at(&entry.key_span, message).suggest(&entry.key, known.iter().copied());
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

fn text(entry: &Entry, mistakes: &mut Diagnostics) -> Option<String> {
    if let Some(text) = entry.value.scalar() {
        return Some(text.to_owned());
    }
    mistakes.push(entry.value.wrong_kind(&entry.key, "a text"));
    None
}

fn number<T: std::str::FromStr>(entry: &Entry, mistakes: &mut Diagnostics) -> Option<T> {
    if let crate::yaml::Value::Integer(number, _) = entry.value.value
        && let Ok(number) = number.to_string().parse()
    {
        return Some(number);
    }
    mistakes.push(entry.value.wrong_kind(&entry.key, "a small whole number"));
    None
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
            None => mistakes.push(node.wrong_kind(&entry.key, "names")),
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

fn host_keys(entry: &Entry, mistakes: &mut Diagnostics) -> Vec<String> {
    let one = std::slice::from_ref(&entry.value);
    let mut keys = Vec::new();
    for node in entry.value.as_list().unwrap_or(one) {
        let key = node.scalar().unwrap_or_default().trim();
        let mut words = key.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let good = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start))
            && words.next().is_some_and(|body| body.starts_with("AAAA"));
        if good {
            keys.push(key.to_owned());
        } else {
            mistakes.push(
                Diagnostic::at(&node.span, "`host_key` is not the public key of a server")
                    .hint("`ssh-keyscan HOST` prints it: `ssh-ed25519 AAAA…`"),
            );
        }
    }
    keys
}
