//! What is declared: servers and groups, merged with the place of every value.

pub mod connection;
mod layer;

mod project;
mod target;

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::Expect;
use crate::yaml::{Node, merge};

pub use connection::SshSettings;

pub use project::Project;

use layer::{Layer, set};

/// The name of the group that every server belongs to.
pub const ALL: &str = "all";

/// The name of the group that is applied in the lab, after everything else.
pub const LAB: &str = "lab";

/// All servers and groups of a project.
#[derive(Debug)]
pub struct Inventory {
    /// The servers by name.
    pub servers: BTreeMap<String, Server>,
    /// The groups by name; `all` and `lab` only if they have a file.
    pub groups: BTreeMap<String, Group>,
    /// Whether the group `lab` has been applied.
    pub lab: bool,
}

/// One server with everything its groups say about it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name: the file name in `inventory/`.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The facts to compile with.
    pub expect: Expect,
    /// How it is reached.
    pub ssh: SshSettings,
    /// The password for `sudo`: an expression that reads a secret.
    pub sudo_password: Option<Node>,
    /// The groups it lists, weakest first.
    pub groups: Vec<String>,
    /// Free values, unevaluated; a map.
    pub vars: Node,
    /// Its roles in the order in which they are applied.
    pub roles: Vec<RoleUse>,
    /// Where the server begins.
    pub span: Span,
}

/// A role that a server has, with its parameters.
#[derive(Clone, Debug)]
pub struct RoleUse {
    /// The role.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// The parameters given, unevaluated; a map or null.
    pub params: Node,
}

/// A group of servers.
#[derive(Clone, Debug)]
pub struct Group {
    /// One line for people.
    pub description: String,
    /// The servers that list it, sorted.
    pub servers: Vec<String>,
}

impl Inventory {
    /// Reads every server and group of `project`. `lab` applies the group `lab` last; `sets` are
    /// `role.param=value` of the command line, stronger than all else.
    ///
    /// # Errors
    /// Every mistake in any of the files.
    pub fn load(project: &Project, lab: bool, sets: &[String]) -> Result<Self, Diagnostics> {
        let mut mistakes = Diagnostics::new();
        let group_layers = layers(project, "inventory/groups", &mut mistakes);
        let server_layers = layers(project, "inventory", &mut mistakes);
        let mut sets_layers = Vec::new();
        for text in sets {
            match set(text) {
                Ok(layer) => sets_layers.push(layer),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let mut groups: BTreeMap<String, Group> =
            group_layers.iter().map(|(name, layer)| (name.clone(), Group::new(layer))).collect();
        let mut servers = BTreeMap::new();
        for (name, own) in &server_layers {
            let mut stack: Vec<&Layer> = group_layers.get(ALL).into_iter().collect();
            for (group, span) in &own.groups {
                match group_layers.get(group) {
                    Some(layer) if group != ALL && group != LAB => stack.push(layer),
                    Some(_) => mistakes.push(
                        Diagnostic::at(span, format!("the group `{group}` cannot be listed"))
                            .hint("it is applied by itself"),
                    ),
                    None => mistakes.push(
                        Diagnostic::at(span, format!("unknown group `{group}`"))
                            .suggest(group, group_layers.keys().map(String::as_str)),
                    ),
                }
                if let Some(group) = groups.get_mut(group) {
                    group.servers.push(name.clone());
                }
            }
            let mut order = stack.clone();
            stack.push(own);
            if let Some(layer) = group_layers.get(LAB).filter(|_| lab) {
                order.push(layer);
                stack.push(layer);
            }
            order.push(own);
            stack.extend(&sets_layers);
            servers.insert(name.clone(), Server::merged(name, own, &stack, &order, &mut mistakes));
        }
        if let Some(all) = groups.get_mut(ALL) {
            all.servers = servers.keys().cloned().collect();
        }
        mistakes.into_result(Self { servers, groups, lab })
    }
}

impl Group {
    fn new(layer: &Layer) -> Self {
        Self { description: layer.description.clone().unwrap_or_default(), servers: Vec::new() }
    }
}

impl Server {
    /// Puts the layers of `stack` on each other, weakest first. `order` is the order in which
    /// they bring roles: those of groups come before the server's own.
    fn merged(
        name: &str,
        own: &Layer,
        stack: &[&Layer],
        order: &[&Layer],
        mistakes: &mut Diagnostics,
    ) -> Self {
        let mut roles: Vec<RoleUse> = Vec::new();
        for entry in order.iter().flat_map(|layer| &layer.roles) {
            if !roles.iter().any(|role| role.name == *entry.key) {
                let span = entry.key_span.clone();
                let params = Node { span: span.clone(), value: crate::yaml::Value::Null };
                roles.push(RoleUse { name: entry.key.to_string(), span, params });
            }
        }
        for entry in stack.iter().flat_map(|layer| &layer.roles) {
            match roles.iter_mut().find(|role| role.name == *entry.key) {
                Some(role) => role.params = merge(&role.params, &entry.value),
                None => mistakes.push(
                    Diagnostic::at(
                        &entry.key_span,
                        format!("`{name}` has no role `{}`", entry.key),
                    )
                    .suggest(&entry.key, roles.iter().map(|role| role.name.as_str())),
                ),
            }
        }
        // A role whose parameters are removed by a stronger layer is not applied at all.
        let removed = |role: &RoleUse| {
            let strongest = stack.iter().rev().flat_map(|layer| &layer.roles);
            let mut uses = strongest.filter(|entry| *entry.key == *role.name);
            uses.next().is_some_and(|entry| entry.value.is_null() && uses.next().is_some())
        };
        roles.retain(|role| !removed(role));
        let vars = stack.iter().filter_map(|layer| layer.vars.as_ref());
        let nothing = Node { span: own.span.clone(), value: crate::yaml::Value::Null };
        let vars = vars.fold(nothing, |merged, vars| merge(&merged, vars));
        let (ssh, sudo_password) = layer::ssh(name, stack, mistakes);
        Self {
            name: name.to_owned(),
            description: own.description.clone().unwrap_or_default(),
            expect: layer::expect(stack, mistakes),
            ssh,
            sudo_password,
            groups: own.groups.iter().map(|(group, _)| group.clone()).collect(),
            vars,
            roles,
            span: own.span.clone(),
        }
    }
}

/// Reads the files of a folder; the file name without `.yaml` is the name.
fn layers(project: &Project, folder: &str, mistakes: &mut Diagnostics) -> BTreeMap<String, Layer> {
    let mut layers = BTreeMap::new();
    let files = match project.yaml_files(folder) {
        Ok(files) => files,
        Err(mistake) => {
            mistakes.push(mistake);
            return layers;
        }
    };
    for (name, source) in files {
        let is_group = folder.ends_with("groups");
        match crate::yaml::parse(&source) {
            Ok(node) => {
                let layer = Layer::read(&node, is_group, mistakes);
                if !is_name(&name) {
                    mistakes.push(
                        Diagnostic::at(&layer.span, format!("`{name}` is not a name for a server"))
                            .hint("use small letters, digits, `-` and `.`"),
                    );
                }
                layers.insert(name, layer);
            }
            Err(found) => mistakes.extend(found),
        }
    }
    layers
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().next().is_some_and(good)
        && name.bytes().all(|byte| good(byte) || b"-._".contains(&byte))
}
