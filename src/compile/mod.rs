//! Inventory, roles, templates and secrets become one manifest a server.

mod bounds;
mod caught;
mod derived;
mod engine;
mod expand;
mod explain;
mod filters;
mod links;
mod loaded;
mod masked;
mod nodes;
mod operands;
mod order;
mod origin;
mod other_tools;
mod params;
mod peers;
mod role;
mod rounds;
mod scope;
mod settle;
mod spelling;
mod statements;
mod suggest;
mod tokens;
mod untaken;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::inventory::{Inventory, Project, Server};
use crate::manifest::Manifest;
use crate::secret::Secret;
use crate::secrets::{Secrets, Store};
use crate::yaml::{self, Node};

pub use caught::end_at_panics;
use engine::Engine;
use expand::{Budget, Expansion, with_lets};
use masked::masked;
use peers::{Peer, Peers};
use role::Role;
use scope::{Local, Scope, ServerContext};
pub use watch::end_long_evaluations;

/// Compiles servers of one inventory; what they share is read once.
pub struct Compiler<'a> {
    project: &'a Project,
    inventory: &'a Inventory,
    store: &'a Store,
    engine: Arc<Engine>,
    groups: Value,
    peers: Arc<Peers>,
    roles: Mutex<BTreeMap<String, Result<Arc<Role>, Diagnostics>>>,
}

impl<'a> Compiler<'a> {
    /// A compiler for the servers of `inventory`.
    pub fn new(project: &'a Project, inventory: &'a Inventory, store: &'a Store) -> Self {
        let engine = Arc::new(Engine::new(project));
        let groups = inventory.groups.iter();
        let groups = Value::from_pairs(
            groups.map(|(name, group)| (name.as_str(), Value::from(group.servers.clone()))),
        );
        let servers = inventory.servers.iter();
        let peers = servers.map(|(name, server)| (name.clone(), peer(server, inventory.lab)));
        let peers = Arc::new(peers.collect());
        Self { project, inventory, store, engine, groups, peers, roles: Mutex::default() }
    }

    /// The manifest of one server. `os` stands in for what its inventory expects, as
    /// `debian-13`.
    ///
    /// # Errors
    /// Every mistake in the roles and parameters of the server.
    pub fn compile(&self, name: &str, os: Option<&str>) -> Result<Manifest, Diagnostics> {
        let Some(server) = self.inventory.servers.get(name) else {
            return Err(Diagnostic::nowhere(format!("unknown server `{name}`")).into());
        };
        let secrets = Arc::new(self.store.for_server(&server.name, &server.groups));
        let result = self.with_secrets(server, os, &secrets);
        // A message may quote a value, and a value may be a secret, or made from one.
        result.map_err(|mistakes| {
            if secrets.are_placeholders() || secrets.names().is_empty() {
                return mistakes;
            }
            let others = secrets.with_others(|| self.with_secrets(server, os, &secrets)).err();
            masked(&mistakes, others.as_ref(), &secrets)
        })
    }

    /// The password for `sudo` that the inventory names for a server.
    ///
    /// # Errors
    /// Says why it cannot be evaluated.
    pub fn sudo_password(&self, name: &str) -> Result<Option<Secret>, Diagnostics> {
        let Some(server) = self.inventory.servers.get(name) else { return Ok(None) };
        let Some(node) = &server.sudo_password else { return Ok(None) };
        let secrets = Arc::new(self.store.for_server(&server.name, &server.groups));
        let scope = self.context(server, None, &secrets).scope();
        let value = scope.evaluate(node).map_err(|failure| Diagnostics::from(*failure))?;
        Ok(value.scalar().map(Secret::new))
    }

    /// The parameters of a server's roles with defaults filled in, unevaluated, in order.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn params(&self, server: &Server) -> Result<Vec<(String, Node)>, Diagnostics> {
        let mut mistakes = Diagnostics::new();
        let roles = self.load_roles(server, &mut mistakes);
        let params = roles.into_iter().map(|(role, params)| (role.name.clone(), params)).collect();
        mistakes.into_result(params)
    }

    fn with_secrets(
        &self,
        server: &Server,
        os: Option<&str>,
        secrets: &Arc<Secrets>,
    ) -> Result<Manifest, Diagnostics> {
        let mut mistakes = Diagnostics::new();
        let context = self.context(server, os, secrets);
        let mut roles = self.load_roles(server, &mut mistakes);
        context.set_roles(&roles);
        let base = context.scope();
        for (role, params) in &mut roles {
            *params = role.params.settle(params, &base, &mut mistakes);
        }
        context.set_roles(&roles);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let (mut linked, mut derived, mut budget) = (Vec::new(), BTreeSet::new(), Budget::new());
        for (role, params) in &roles {
            let scope = base.with(locals(params, &base));
            let scope = match with_lets(&role.lets, &scope) {
                Ok(scope) => scope,
                Err(failure) => {
                    mistakes.push(*failure);
                    continue;
                }
            };
            let ambient = secrets.take_used();
            // What an assertion looks at does not come out of it.
            assertions(role, &scope, &mut mistakes);
            secrets.take_used();
            let mut expansion = Expansion {
                element: None,
                project: self.project,
                role,
                params,
                linked: &mut linked,
                derived: &mut derived,
                mistakes: &mut mistakes,
                budget: &mut budget,
            };
            expansion.items(&role.items, &scope, &ambient);
        }
        let resources = links::resolve(linked, &mut mistakes);
        let used: BTreeSet<&String> =
            resources.iter().flat_map(|resource| &resource.secrets).collect();
        let secrets = used.into_iter().filter_map(|name| Some((name.clone(), secrets.get(name)?)));
        let mut expect = server.expect.clone();
        expect.os = os.map(str::to_owned).or(expect.os);
        // What was made from secrets is masked like them; its names can be no one else's.
        let derived = derived.into_iter().enumerate();
        let derived = derived.map(|(index, value)| (format!("(made from secrets {index})"), value));
        let secrets = secrets.chain(derived).collect();
        let manifest = Manifest { server: server.name.clone(), expect, resources, secrets };
        mistakes.into_result(manifest)
    }

    /// The roles of a server with their parameters checked.
    fn load_roles(&self, server: &Server, mistakes: &mut Diagnostics) -> Vec<(Arc<Role>, Node)> {
        let mut loaded: Vec<(Arc<Role>, Node)> = Vec::new();
        for (position, use_) in server.roles.iter().enumerate() {
            let role = match self.role(&use_.name, &use_.span) {
                Ok(role) => role,
                Err(found) => {
                    mistakes.extend(found);
                    continue;
                }
            };
            for (required, span) in &role.requires {
                let earlier = server.roles.iter().take(position);
                if !earlier.into_iter().any(|role| role.name == *required) {
                    mistakes.push(self.not_before(&role, required, &use_.span, span));
                }
            }
            let what = format!("role `{}`", role.name);
            let params = role.params.check(&use_.params, &what, &use_.span, mistakes);
            loaded.push((role, params));
        }
        loaded
    }

    /// A role at `listed` that needs another one before it, as `said`.
    fn not_before(&self, role: &Role, required: &str, listed: &Span, said: &Span) -> Diagnostic {
        let name = &role.name;
        if name == required {
            return Diagnostic::at(said, format!("role `{name}` needs itself"))
                .hint(format!("take `{name}` out of its `requires`"));
        }
        let mut roles = self.way_back(required, name, said);
        if !roles.is_empty() {
            roles.push((name.clone(), said.clone()));
        }
        circle(roles).unwrap_or_else(|| {
            Diagnostic::at(listed, format!("role `{name}` needs `{required}` before it"))
                .and(said, "required here")
                .hint(format!("list `{required}: {{}}` before `{name}`"))
        })
    }

    /// The roles from `from` on, each of which needs the next one, up to that which needs `to`; each with
    /// the place where it says so. Empty if no way leads there.
    fn way_back(&self, from: &str, to: &str, said: &Span) -> Vec<(String, Span)> {
        let mut open = vec![(from.to_owned(), Vec::new())];
        let mut seen = BTreeSet::from([from.to_owned()]);
        while let Some((name, way)) = open.pop() {
            let Ok(role) = self.role(&name, said) else { continue };
            for (next, span) in &role.requires {
                let mut way = way.clone();
                way.push((name.clone(), span.clone()));
                if next == to {
                    return way;
                }
                if seen.insert(next.clone()) {
                    open.push((next.clone(), way));
                }
            }
        }
        Vec::new()
    }

    fn role(&self, name: &str, span: &Span) -> Result<Arc<Role>, Diagnostics> {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(role) = roles.get(name) {
            return role.clone();
        }
        let role = Role::load(self.project, name, span).map(Arc::new);
        roles.insert(name.to_owned(), role.clone());
        role
    }

    fn context(
        &self,
        server: &Server,
        os: Option<&str>,
        secrets: &Arc<Secrets>,
    ) -> Arc<ServerContext> {
        let host = self.peers.get(&server.name).map(|peer| peer.host.clone());
        let globals = BTreeMap::from([
            ("facts", facts(server, os)),
            ("host", host.unwrap_or_default()),
            ("groups", self.groups.clone()),
        ]);
        let (engine, secrets) = (Arc::clone(&self.engine), Arc::clone(secrets));
        let peers = Arc::clone(&self.peers);
        ServerContext::new(engine, globals, peers, server.vars.clone(), secrets)
    }
}

/// The mistake of roles each of which needs the next one, and the last the first; `None` if there are no
/// roles. The message is the same whichever role is listed first: it is told once.
fn circle(mut roles: Vec<(String, Span)>) -> Option<Diagnostic> {
    let names = roles.iter().map(|(role, _)| role).enumerate();
    let first = names.min_by_key(|(_, role)| *role).map_or(0, |(position, _)| position);
    roles.rotate_left(first);
    let ((last, closing), before) = roles.split_last()?;
    let (name, said) = before.first()?;
    let names: Vec<String> = before.iter().map(|(role, _)| format!("`{role}`")).collect();
    let message = format!("roles {} and `{last}` need each other", names.join(", "));
    let mistake = Diagnostic::at(said, message).and(closing, format!("`{name}` is required here"));
    Some(mistake.hint("take one of them out of `requires`"))
}

/// A server as others see it.
fn peer(server: &Server, lab: bool) -> Peer {
    let roles = server.roles.iter().map(|role| Value::from(role.name.as_str()));
    let host = minijinja::context! {
        name => server.name.as_str(),
        description => server.description.as_str(),
        address => server.ssh.host.as_str(),
        groups => Value::from(server.groups.clone()),
        roles => roles.collect::<Vec<_>>(),
        lab => lab,
    };
    let about = minijinja::context! {
        name => server.name.as_str(),
        description => server.description.as_str(),
        groups => Value::from(server.groups.clone()),
        ssh => minijinja::context! {
            host => server.ssh.host.as_str(),
            user => server.ssh.user.as_deref(),
            port => server.ssh.port,
        },
    };
    let roles = server.roles.iter().map(|role| (role.name.clone(), role.params.clone()));
    let roles = roles.collect();
    Peer { facts: facts(server, None), host, about, vars: server.vars.clone(), roles }
}

/// The parameters of a role as names of its expressions.
fn locals(params: &Node, base: &Arc<Scope>) -> BTreeMap<String, Local> {
    let entries = params.as_map().map(|map| map.entries.as_slice()).unwrap_or_default();
    let local = |entry: &yaml::Entry| {
        (entry.key.to_string(), Local::Node(entry.value.clone(), Arc::clone(base)))
    };
    entries.iter().map(local).collect()
}

fn assertions(role: &Role, scope: &Arc<Scope>, mistakes: &mut Diagnostics) {
    for assertion in &role.assertions {
        let holds =
            scope.expression(&assertion.that).map(|value| spelling::number(value).is_true());
        match holds {
            Ok(true) => {}
            Ok(false) => match scope.evaluate(&assertion.message) {
                Ok(message) => {
                    let message = message.scalar().unwrap_or("an assertion does not hold");
                    mistakes.push(Diagnostic::at(&assertion.that.span, message));
                }
                Err(failure) => mistakes.push(*failure),
            },
            Err(failure) => mistakes.push(*failure),
        }
    }
}

/// What the inventory expects the server to be.
fn facts(server: &Server, os: Option<&str>) -> Value {
    let expect = &server.expect;
    let os = os.or(expect.os.as_deref()).unwrap_or_default();
    let version = os.rsplit_once('-').and_then(|(_, version)| version.parse::<u32>().ok());
    // Debian's releases: https://www.debian.org/releases/
    let codename = match version {
        Some(11) => "bullseye",
        Some(12) => "bookworm",
        Some(13) => "trixie",
        _ => "",
    };
    minijinja::context! {
        os => os,
        os_version => version,
        codename => codename,
        arch => "x86_64",
        cpus => expect.cpus,
        memory_bytes => expect.memory_bytes,
        disk_bytes => expect.disk_bytes,
    }
}
