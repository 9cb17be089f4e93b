//! `servers`: what a role can know of the other servers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object};

use super::scope::{Scope, ServerContext};
use crate::yaml::Node;

/// One server, as its own expressions and those of others see it.
pub(super) struct Peer {
    /// What its inventory expects it to be.
    pub(super) facts: Value,
    /// What it is called, where it is.
    pub(super) host: Value,
    /// `name`, `description`, `groups` and `ssh`.
    pub(super) about: Value,
    /// Its variables, unevaluated.
    pub(super) vars: Node,
    /// The parameters that its inventory gives each of its roles, unevaluated.
    pub(super) roles: BTreeMap<String, Node>,
}

/// All servers by name.
pub(super) type Peers = BTreeMap<String, Peer>;

/// The map `servers`.
pub(super) struct Servers(pub(super) Arc<ServerContext>);

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("servers")
    }
}

impl Object for Servers {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        self.0.peers.contains_key(name).then(|| {
            Value::from_object(Server { context: Arc::clone(&self.0), name: name.to_owned() })
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.peers.keys().map(|name| Value::from(name.as_str())).collect())
    }
}

/// One of them.
struct Server {
    context: Arc<ServerContext>,
    name: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Object for Server {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let peer = self.context.peers.get(&self.name)?;
        match key.as_str()? {
            // Its variables mean its own facts and its own name.
            "vars" => Some(self.context.of_peer(peer).scope().lazy(&peer.vars)),
            "roles" => {
                let scope = self.context.of_peer(peer).scope();
                let roles = peer.roles.iter();
                Some(Value::from_pairs(
                    roles.map(|(name, node)| (name.as_str(), given(&scope, node))),
                ))
            }
            "facts" => Some(peer.facts.clone()),
            _ => peer.about.get_item(key).ok().filter(|value| !value.is_undefined()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["name", "description", "groups", "ssh", "facts", "vars", "roles"])
    }
}

/// The parameters of a role; a role without any has an empty map.
fn given(scope: &Arc<Scope>, node: &Node) -> Value {
    if node.as_map().is_some() {
        scope.lazy(node)
    } else {
        Value::from_pairs(std::iter::empty::<(&str, Value)>())
    }
}
