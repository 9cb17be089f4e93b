//! What an expression can name, and how values that hold expressions are evaluated.
//!
//! A value is evaluated when it is used, not before: so each use of a secret is seen where it
//! happens, and what nobody uses need not be decrypted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::engine::{Failure, Shared, has_expression};
use super::explain::NOT_EVALUATED;
use super::nodes::into_node;
use super::peers::{Peer, Peers, Servers};
use super::role::Role;
use super::rounds::Element;
use super::spelling;
use super::suggest::suggest;
use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::secrets::{Secrets, placeholder};
use crate::yaml::{self, Node};

/// Names that mean the same in every role.
pub(super) const RESERVED: &[&str] =
    &["facts", "groups", "host", "roles", "secrets", "servers", "vars"];

/// Deeper references are a cycle.
const DEEPEST: usize = 32;

/// What is the same for all expressions of one server.
pub(super) struct ServerContext {
    pub(super) engine: Shared,
    /// `facts`, `host`, `groups`: plain values by name.
    pub(super) globals: BTreeMap<&'static str, Value>,
    /// All servers, for `servers`.
    pub(super) peers: Arc<Peers>,
    /// `vars`, unevaluated.
    pub(super) vars: Node,
    /// The parameters of each role, checked and with defaults, unevaluated.
    roles: Mutex<BTreeMap<String, Node>>,
    /// The secrets that the server may read.
    pub(super) secrets: Arc<Secrets>,
    /// What went wrong inside a value that another expression refers to.
    failure: Arc<Mutex<Option<Failure>>>,
    depth: Arc<Mutex<usize>>,
}

/// The names visible at one place: the server's, a role's parameters, `let` and loop values.
pub(super) struct Scope {
    locals: BTreeMap<String, Local>,
    parent: Option<Arc<Scope>>,
    server: Arc<ServerContext>,
}

/// What a local name stands for.
#[derive(Clone)]
pub(super) enum Local {
    /// A value.
    Value(Value),
    /// A node to evaluate in the given scope whenever it is used.
    Node(Node, Arc<Scope>),
    /// An element of a loop to look up again whenever it is used.
    Element(Element),
}

impl ServerContext {
    pub(super) fn new(
        engine: Shared,
        globals: BTreeMap<&'static str, Value>,
        peers: Arc<Peers>,
        vars: Node,
        secrets: Arc<Secrets>,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            globals,
            peers,
            vars,
            roles: Mutex::default(),
            secrets,
            failure: Arc::default(),
            depth: Arc::default(),
        })
    }

    /// The context of the variables of another server. Its secrets are those of the server that
    /// asks: it may not see more through others.
    pub(super) fn of_peer(&self, peer: &Peer) -> Arc<Self> {
        let mut globals = self.globals.clone();
        globals.insert("facts", peer.facts.clone());
        globals.insert("host", peer.host.clone());
        Arc::new(Self {
            engine: Arc::clone(&self.engine),
            globals,
            peers: Arc::clone(&self.peers),
            vars: peer.vars.clone(),
            roles: Mutex::default(),
            secrets: Arc::clone(&self.secrets),
            failure: Arc::clone(&self.failure),
            depth: Arc::clone(&self.depth),
        })
    }

    /// Says what the server's roles have been given.
    pub(super) fn set_roles(&self, roles: &[(Arc<Role>, Node)]) {
        let named = roles.iter().map(|(role, params)| (role.name.clone(), params.clone()));
        *lock(&self.roles) = named.collect();
    }

    /// The scope that holds what every expression of the server can name.
    pub(super) fn scope(self: &Arc<Self>) -> Arc<Scope> {
        Arc::new(Scope { locals: BTreeMap::new(), parent: None, server: Arc::clone(self) })
    }
}

impl Scope {
    /// This scope with more names, which hide those of the same name.
    pub(super) fn with(self: &Arc<Self>, locals: BTreeMap<String, Local>) -> Arc<Self> {
        Arc::new(Self { locals, parent: Some(Arc::clone(self)), server: Arc::clone(&self.server) })
    }

    /// The server's secrets.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.server.secrets
    }

    /// The value of a text; a plain one is itself.
    pub(super) fn text(self: &Arc<Self>, text: &str, node: &Node) -> Result<Value, Failure> {
        if !has_expression(text) {
            return Ok(Value::from(text));
        }
        self.guarded(node, || self.server.engine.text(text, &node.span, self.value()))
    }

    /// The value of a bare expression, with or without braces around it.
    pub(super) fn expression(self: &Arc<Self>, node: &Node) -> Result<Value, Failure> {
        match node.as_str() {
            Some(text) if has_expression(text) => self.text(text, node),
            Some(text) => {
                self.guarded(node, || self.server.engine.expression(text, &node.span, self.value()))
            }
            None => Ok(self.lazy(node)),
        }
    }

    /// Reads a text, or a bare expression, without its values. It may ask for `names` alone.
    pub(super) fn inspect(
        self: &Arc<Self>,
        node: &Node,
        bare: bool,
        names: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let Some(text) = node.as_str().filter(|text| bare || has_expression(text)) else {
            return Ok(());
        };
        let bare = bare && !has_expression(text);
        self.server.engine.inspect(text, bare, &node.span, names)
    }

    /// Reads a template of the project without its values.
    pub(super) fn inspect_template(
        self: &Arc<Self>,
        path: &str,
        node: &Node,
    ) -> Result<(), Failure> {
        self.server.engine.inspect_template(path, &node.span)
    }

    /// A template of the project, rendered.
    pub(super) fn template(self: &Arc<Self>, name: &str, node: &Node) -> Result<String, Failure> {
        let engine = Arc::clone(&self.server.engine);
        self.guarded(node, || engine.template(name, &node.span, self.value()))
    }

    /// A node with everything in it evaluated; every value keeps the place of its node.
    pub(super) fn evaluate(self: &Arc<Self>, node: &Node) -> Result<Node, Failure> {
        let value = match &node.value {
            yaml::Value::String(text) => return into_node(&self.text(text, node)?, node, self),
            yaml::Value::List(list) => {
                let list: Result<Vec<Node>, Failure> =
                    list.iter().map(|element| self.evaluate(element)).collect();
                yaml::Value::List(Arc::new(list?))
            }
            yaml::Value::Map(map) => {
                let mut evaluated = yaml::Map::default();
                for entry in &map.entries {
                    let key = self.text(&entry.key, &key_node(entry))?.to_string();
                    let value = self.evaluate(&entry.value)?;
                    let key_span = entry.key_span.clone();
                    evaluated.entries.push(yaml::Entry { key: key.into(), key_span, value });
                }
                yaml::Value::Map(Arc::new(evaluated))
            }
            other => other.clone(),
        };
        Ok(Node { span: node.span.clone(), value })
    }

    /// A node as a value whose parts are evaluated when they are used.
    pub(super) fn lazy(self: &Arc<Self>, node: &Node) -> Value {
        match &node.value {
            yaml::Value::Null => Value::from(()),
            yaml::Value::Bool(yes) => Value::from(*yes),
            yaml::Value::Integer(number, text) => spelling::value(Value::from(*number), text),
            yaml::Value::Float(number, text) => spelling::value(Value::from(*number), text),
            yaml::Value::Bytes(bytes) => Value::from_bytes(bytes.to_vec()),
            yaml::Value::String(text) => match self.text(text, node) {
                Ok(value) => value,
                Err(failure) => self.invalid(failure),
            },
            yaml::Value::List(_) | yaml::Value::Map(_) => {
                Value::from_object(Lazy { node: node.clone(), scope: Arc::clone(self) })
            }
        }
    }

    fn value(self: &Arc<Self>) -> Value {
        Value::from_object(Names(Arc::clone(self)))
    }

    /// Keeps the mistake for whoever uses the value; minijinja itself carries only a text.
    fn invalid(&self, failure: Failure) -> Value {
        let message = failure.message.clone();
        lock(&self.server.failure).get_or_insert(failure);
        minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message).into()
    }

    /// Evaluates with a limit on how deep values refer to each other, and prefers the mistake of
    /// an inner value to what it caused outside.
    ///
    /// What cannot be done with a placeholder could perhaps be done with the secret: a
    /// placeholder comes of it.
    fn guarded<T: From<String>>(
        self: &Arc<Self>,
        node: &Node,
        evaluate: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let deep = {
            let mut depth = lock(&self.server.depth);
            *depth += 1;
            *depth > DEEPEST
        };
        let result = if deep {
            Err(Box::new(Diagnostic::at(&node.span, "this value refers to itself")))
        } else {
            let before = self.server.secrets.take_touched();
            let result = evaluate();
            let touched = self.server.secrets.take_touched();
            self.server.secrets.touch(before);
            self.server.secrets.touch(touched.clone());
            result.or_else(|failure| self.stand_in(failure, touched))
        };
        *lock(&self.server.depth) -= 1;
        let inner = lock(&self.server.failure).take();
        if let Some((error, is_here)) = self.server.secrets.take_missed() {
            let mistake = told(&error);
            let mistake = if is_here { mistake.placed(&node.span) } else { mistake };
            return Err(inner.unwrap_or_else(|| Box::new(mistake)));
        }
        result.map_err(|failure| match inner {
            Some(inner) => inner,
            None => Box::new(suggest(*failure, self)),
        })
    }

    fn stand_in<T: From<String>>(
        &self,
        failure: Failure,
        touched: BTreeSet<String>,
    ) -> Result<T, Failure> {
        let secrets = &self.server.secrets;
        let is_forgiven = secrets.are_placeholders()
            && failure.message.contains(NOT_EVALUATED)
            && lock(&self.server.failure).is_none();
        let Some(name) = touched.first().filter(|_| is_forgiven) else { return Err(failure) };
        let value = T::from(placeholder(name));
        secrets.remember(touched);
        Ok(value)
    }

    /// The node behind a value that is a list or map of the user's YAML.
    pub(super) fn held(&self, value: &Value) -> Option<Node> {
        let lazy = value.downcast_object_ref::<Lazy>()?;
        Arc::ptr_eq(&lazy.scope.server, &self.server).then(|| lazy.node.clone())
    }

    /// The names that are visible here, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self.parent.as_ref().map_or_else(
            || RESERVED.iter().map(|name| (*name).to_owned()).collect(),
            |parent| parent.names(),
        );
        names.extend(self.locals.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// The value of a name.
    pub(super) fn lookup(self: &Arc<Self>, name: &str) -> Option<Value> {
        match self.locals.get(name) {
            Some(Local::Value(value)) => return Some(value.clone()),
            Some(Local::Node(node, scope)) => return Some(scope.lazy(node)),
            Some(Local::Element(element)) => {
                return Some(element.value().unwrap_or_else(|failure| self.invalid(failure)));
            }
            None => {}
        }
        if let Some(parent) = &self.parent {
            return parent.lookup(name);
        }
        match name {
            "vars" => Some(self.lazy(&self.server.vars)),
            "servers" => Some(Value::from_object(Servers(Arc::clone(&self.server)))),
            "secrets" => Some(match self.server.secrets.open() {
                Ok(()) => self.server.secrets.value(),
                Err(error) => self.invalid(Box::new(told(&error))),
            }),
            "roles" => Some(Value::from_object(Roles(Arc::clone(self)))),
            _ => self.server.globals.get(name).cloned(),
        }
    }

    /// The mistake inside a value that another refers to, once.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        lock(&self.server.failure).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mistake that is not in what the user wrote, as a diagnostic.
fn told(error: &Error) -> Diagnostic {
    let mistake = Diagnostic::nowhere(error.message.clone());
    let mistake = error.causes.iter().fold(mistake, Diagnostic::because);
    match &error.hint {
        Some(hint) => mistake.hint(hint.clone()),
        None => mistake,
    }
}

fn key_node(entry: &yaml::Entry) -> Node {
    Node { span: entry.key_span.clone(), value: yaml::Value::String(Arc::clone(&entry.key)) }
}

/// The names of a scope, as minijinja sees them.
struct Names(Arc<Scope>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names")
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.lookup(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.lookup(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// `roles`: the parameters of the server's roles.
struct Roles(Arc<Scope>);

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("roles")
    }
}

impl Object for Roles {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let node = lock(&self.0.server.roles).get(key.as_str()?).cloned()?;
        Some(self.0.lazy(&node))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names: BTreeSet<String> = lock(&self.0.server.roles).keys().cloned().collect();
        Enumerator::Values(names.into_iter().map(Value::from).collect())
    }
}

/// A list or map whose elements are evaluated when they are used.
struct Lazy {
    node: Node,
    scope: Arc<Scope>,
}

/// Whether a value is a list or map of the user's YAML.
pub(super) fn is_lazy(value: &Value) -> bool {
    value.downcast_object_ref::<Lazy>().is_some()
}

/// Nothing of the values: they may hold secrets.
impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.node.kind())
    }
}

impl Object for Lazy {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.node.as_list().is_some() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let element = match &self.node.value {
            yaml::Value::List(list) => list.get(key.as_usize()?),
            yaml::Value::Map(map) => match key.as_str() {
                Some(key) => map.value(key),
                None => map.value(&key.to_string()),
            },
            _ => None,
        };
        element.map(|element| self.scope.lazy(element))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.node.value {
            yaml::Value::List(list) => Enumerator::Seq(list.len()),
            yaml::Value::Map(map) => Enumerator::Values(map.keys().map(Value::from).collect()),
            _ => Enumerator::Empty,
        }
    }
}
