//! What is declared: servers and groups, merged with the place of every value.

mod changed;
pub mod connection;
mod layer;
mod project;
mod revision;
mod revision_changes;
mod set;
mod ssh;
mod target;

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::Expect;
use crate::yaml::{Entry, Map, Node, Value, merge, without_nulls};

pub use connection::SshSettings;
pub use project::Project;
pub use revision::{DIRTY, Revision};

use layer::Layer;
use set::Set;

/// The name of the group that every server belongs to.
pub const ALL: &str = "all";

/// The name of a file of secrets that no server may read.
const PLANS: &str = "plans";

/// The name of the group that is applied in the lab, after everything else.
pub const LAB: &str = "lab";

/// The server that plays the outside world in the lab, and is declared by `inventory/lab/internet.yaml`
/// alone.
pub const INTERNET: &str = "internet";

/// All servers and groups of a project.
#[derive(Debug)]
pub struct Inventory {
    /// The servers by name.
    pub servers: BTreeMap<String, Server>,
    /// The groups by name; `all` and `lab` only if they have a file.
    pub groups: BTreeMap<String, Group>,
    /// Whether the group `lab` has been applied.
    pub lab: bool,
    sets: Vec<Set>,
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
    /// Its roles in the order in which they are applied: those that only groups bring
    /// before its own.
    pub roles: Vec<RoleUse>,
    /// Where the server begins.
    pub span: Span,
    /// Whether it exists in the lab alone, and is meant only where its name is said.
    pub is_of_lab: bool,
}

/// A role that a server has, with its parameters.
#[derive(Clone, Debug)]
pub struct RoleUse {
    /// The role.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// The parameters given, unevaluated; a map or null. A null in it hides the role's default.
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
    /// Reads every server and group of `project`. `lab` applies the group `lab` last, and then what
    /// `inventory/lab/` says of the server; `sets` are
    /// `role.param=value` of the command line, stronger than all else.
    ///
    /// # Errors
    /// Every mistake in any of the files.
    pub fn load(project: &Project, lab: bool, sets: &[String]) -> Result<Self, Diagnostics> {
        let mut mistakes = Diagnostics::new();
        let group_layers = layers(project, "inventory/groups", &mut mistakes);
        let mut server_layers = layers(project, "inventory", &mut mistakes);
        let mut lab_layers = layers(project, "inventory/lab", &mut mistakes);
        let internet = lab_layers.remove(INTERNET);
        let internet = internet.filter(|_| lab && !server_layers.contains_key(INTERNET));
        let has_internet = internet.is_some();
        server_layers.extend(internet.map(|internet| (INTERNET.to_owned(), internet)));
        for (name, layer) in &lab_layers {
            if !server_layers.contains_key(name) {
                let message = format!("there is no server `{name}`");
                let mistake = Diagnostic::at(&layer.span, message);
                mistakes.push(mistake.suggest(name, server_layers.keys().map(String::as_str)));
            }
        }
        let sets = set::read(sets, &mut mistakes);
        let mut groups: BTreeMap<String, Group> =
            group_layers.iter().map(|(name, layer)| (name.clone(), Group::new(layer))).collect();
        let mut servers = BTreeMap::new();
        for (name, own) in &server_layers {
            check_name(name, own, &group_layers, &mut mistakes);
            let listed = listed(own, &group_layers, &mut mistakes);
            for group in &own.groups {
                if let Some(group) = groups.get_mut(&group.0) {
                    group.servers.push(name.clone());
                }
            }
            let mut weaker: Vec<&Layer> = group_layers.get(ALL).into_iter().collect();
            weaker.extend(listed);
            let last = group_layers.get(LAB).into_iter().chain(lab_layers.get(name));
            let mut last: Vec<&Layer> = last.filter(|_| lab).collect();
            let is_of_lab = has_internet && name == INTERNET;
            if is_of_lab {
                // Its own file is one of the lab.
                weaker.append(&mut last);
            }
            let mut server = Server::merged(name, own, &weaker, &last, &sets);
            server.is_of_lab = is_of_lab;
            servers.insert(name.clone(), server);
        }
        if let Some(all) = groups.get_mut(ALL) {
            let real = servers.values().filter(|server| !server.is_of_lab);
            all.servers = real.map(|server| server.name.clone()).collect();
        }
        let inventory = Self { servers, groups, lab, sets };
        if mistakes.is_empty() {
            let servers: Vec<&Server> = inventory.servers.values().collect();
            inventory.check_sets(&servers, "no server has", &mut mistakes);
        }
        mistakes.into_result(inventory)
    }

    /// Says where servers are for as long as they are in the lab, by their names.
    pub fn set_addresses(&mut self, addresses: impl IntoIterator<Item = (String, String)>) {
        for (name, address) in addresses {
            if let Some(server) = self.servers.get_mut(&name) {
                server.ssh.host = address;
            }
        }
    }

    /// Tells of each `--set` whose role none of `servers` has; `message` begins the sentence.
    fn check_sets(&self, servers: &[&Server], message: &str, mistakes: &mut Diagnostics) {
        for set in &self.sets {
            let roles = servers.iter().flat_map(|server| &server.roles);
            let names: Vec<&str> = roles.map(|role| role.name.as_str()).collect();
            if !names.contains(&set.role()) {
                let message = format!("{message} the role `{}`", set.role());
                let mistake = Diagnostic::at(&set.role.key_span, message);
                mistakes.push(mistake.suggest(set.role(), names));
            }
        }
    }
}

impl Group {
    fn new(layer: &Layer) -> Self {
        Self { description: layer.description.clone().unwrap_or_default(), servers: Vec::new() }
    }
}

impl Server {
    /// Puts the server's `own` file on the `weaker` layers, and those of the lab and the
    /// `sets` on top.
    fn merged(name: &str, own: &Layer, weaker: &[&Layer], lab: &[&Layer], sets: &[Set]) -> Self {
        let stack: Vec<&Layer> =
            weaker.iter().copied().chain([own]).chain(lab.iter().copied()).collect();
        let groups = weaker.iter().chain(lab).copied();
        let merged = |part: fn(&Layer) -> Option<&Node>| {
            let empty = Node { span: own.span.clone(), value: Value::Map(Map::default().into()) };
            let parts = stack.iter().copied().filter_map(part);
            without_nulls(&parts.fold(empty, |weak, strong| merge(&weak, strong)))
        };
        // Each layer has been checked on its own, so nothing new can be wrong here.
        let mut told = Diagnostics::new();
        let (ssh, sudo_password) =
            ssh::settings(name, &merged(|layer| layer.ssh.as_ref()), &mut told);
        Self {
            name: name.to_owned(),
            description: own.description.clone().unwrap_or_default(),
            expect: layer::expect(&merged(|layer| layer.expect.as_ref()), &mut told),
            ssh,
            sudo_password,
            groups: own.groups.iter().map(|(group, _)| group.clone()).collect(),
            vars: merged(|layer| layer.vars.as_ref()),
            roles: roles(groups, own, &stack, sets),
            span: own.span.clone(),
            is_of_lab: false,
        }
    }
}

/// The roles that the layers of `stack` give, weakest first. Those that only `groups` bring come
/// before those of the server's `own` file, whose order stays as written. A role that the
/// strongest layer writes as `null` is not applied.
fn roles<'a>(
    groups: impl Iterator<Item = &'a Layer>,
    own: &'a Layer,
    stack: &[&Layer],
    sets: &[Set],
) -> Vec<RoleUse> {
    let is_own = |role: &Entry| own.roles.iter().any(|entry| entry.key == role.key);
    let brought = groups.flat_map(|layer| &layer.roles).filter(|role| !is_own(role));
    let mut roles: Vec<RoleUse> = Vec::new();
    for named in brought.chain(&own.roles) {
        if roles.iter().any(|role| role.name == *named.key) {
            continue;
        }
        let layers = stack.iter().flat_map(|layer| &layer.roles);
        let sets = sets.iter().map(|set| &set.role);
        let uses = layers.chain(sets).filter(|entry| entry.key == named.key);
        let params = uses.map(|entry| entry.value.clone());
        let params = params.reduce(|weak, strong| merge(&weak, &strong));
        let name = named.key.to_string();
        let params = params.unwrap_or_else(|| named.value.clone());
        roles.push(RoleUse { name, span: named.key_span.clone(), params });
    }
    roles.retain(|role| !role.params.is_written_null());
    roles
}

/// The groups that a server lists, weakest first.
fn listed<'a>(
    own: &Layer,
    groups: &'a BTreeMap<String, Layer>,
    mistakes: &mut Diagnostics,
) -> Vec<&'a Layer> {
    let mut listed = Vec::new();
    for (index, (group, span)) in own.groups.iter().enumerate() {
        let earlier = own.groups.iter().take(index).find(|(name, _)| name == group);
        if let Some((_, first)) = earlier {
            mistakes.push(
                Diagnostic::at(span, format!("the group `{group}` is listed twice"))
                    .and(first, "first listed here"),
            );
            continue;
        }
        match groups.get(group) {
            _ if group == ALL || group == LAB => mistakes.push(
                Diagnostic::at(span, format!("the group `{group}` cannot be listed"))
                    .hint("it is applied by itself"),
            ),
            Some(layer) => listed.push(layer),
            None => {
                let mistake = Diagnostic::at(span, format!("unknown group `{group}`"))
                    .suggest(group, groups.keys().map(String::as_str));
                let file = format!("`inventory/groups/{group}.yaml` would define it");
                mistakes.push(if mistake.hint.is_some() { mistake } else { mistake.hint(file) });
            }
        }
    }
    listed
}

/// Reads the files of a folder; the file name without `.yaml` is the name.
fn layers(project: &Project, folder: &str, mistakes: &mut Diagnostics) -> BTreeMap<String, Layer> {
    let mut layers = BTreeMap::new();
    for (name, source) in project.yaml_files(folder, mistakes) {
        let is_server = folder == "inventory" || (folder == "inventory/lab" && name == INTERNET);
        let is_group = !is_server;
        match crate::yaml::parse(&source) {
            Ok(node) => {
                let layer = Layer::read(&node, is_group, mistakes);
                if !is_name(&name) {
                    let what = if is_group { "group" } else { "server" };
                    let message = format!("`{name}` cannot be the name of a {what}");
                    let hint = "small letters, digits, `-`, `.` and `_` can be in a name";
                    mistakes.push(Diagnostic::at(&layer.span, message).hint(hint));
                } else if name == PLANS {
                    let message = format!("`secrets/{name}.yaml.age` holds the key of saved plans");
                    let hint = if is_group {
                        "give the group another name"
                    } else {
                        "give the server another name"
                    };
                    mistakes.push(Diagnostic::at(&layer.span, message).hint(hint));
                }
                layers.insert(name, layer);
            }
            Err(found) => {
                mistakes.extend(found);
                // It is there: who refers to it makes no mistake.
                layers.insert(name, Layer::empty(Span::new(&source, 0..0)));
            }
        }
    }
    layers
}

/// A target on the command line must mean one thing.
fn check_name(
    name: &str,
    own: &Layer,
    groups: &BTreeMap<String, Layer>,
    mistakes: &mut Diagnostics,
) {
    let message = format!("`{name}` is the name of a group as well");
    if let Some(group) = groups.get(name) {
        mistakes.push(Diagnostic::at(&own.span, message).and(&group.span, "the group"));
    } else if name == ALL || name == LAB {
        mistakes.push(Diagnostic::at(&own.span, message).hint("give the server another name"));
    }
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.bytes().next().is_some_and(good)
        && name.bytes().all(|byte| good(byte) || b"-._".contains(&byte))
}
