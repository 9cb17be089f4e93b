//! The comparable state of a resource, and the difference between two of them.
//!
//! A resource builds the same [`State`] from its spec and from the server; the comparison, the
//! display and the second check after applying live here and in the agent, once for all kinds.

use serde::{Deserialize, Serialize};

use crate::secret::MASK;

/// The facts of one resource that matter, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State(Vec<(String, Value)>);

/// One fact of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A short text, compared and shown as it is.
    Text(String),
    /// The content of a file: shown as a text difference, or by size and hash.
    Content(Vec<u8>),
    /// A set of names whose order does not matter; kept sorted.
    Set(Vec<String>),
    /// Compared, never shown.
    Hidden(String),
    /// Stands for a long value where only what tells it from others is sent or kept.
    Digest {
        /// Its size in bytes.
        bytes: u64,
        /// Its hash.
        sha256: [u8; 32],
    },
}

/// What `current` found on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Current {
    /// It is not there.
    Absent,
    /// It is there, like this. Fields that the spec does not ask for are ignored.
    Present(State),
    /// Cannot be known before an earlier resource of the same run is applied.
    Unknown,
}

/// What separates a server from a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It has to be made; the fields it will have.
    Create(State),
    /// It is there and differs in these fields.
    Update(Vec<FieldChange>),
    /// It has to go.
    Remove,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The name of the field, as in the spec.
    pub field: String,
    /// What the server has; `None` where it has nothing.
    pub current: Option<Value>,
    /// What the spec asks for.
    pub desired: Value,
}

/// What a current value says where all that is known of it is that it is not the desired one.
pub const DIFFERS: &str = "differs";

/// What a current value says of a unit that somebody else is starting: it only has to be waited
/// for.
pub const STARTING: &str = "starting";

/// The current value of a service that ended and that systemd starts again after a while.
pub const FAILING: &str = "failing again and again";

/// What a current value says of something that was made from files which say something else by now:
/// whoever changed those files changed it.
pub const OUTDATED: &str = "running with another configuration";

/// The current value of a unit that starts at boot as its file says now, and whose file is
/// about to say something else.
pub const LINKED_OTHERWISE: &str = "as its file says now";

impl FieldChange {
    /// Whether it comes about by itself.
    pub fn only_waits(&self) -> bool {
        self.field == "running" && self.is_now(STARTING)
    }

    /// Whether it makes something run: systemd may do so by itself, where what failed is started
    /// again.
    pub fn only_starts(&self) -> bool {
        self.field == "running" && self.desired == true.into()
    }

    /// Whether systemd is about to start again what has to run.
    pub fn only_restarts(&self) -> bool {
        self.field == "running" && self.is_now(FAILING)
    }

    fn is_now(&self, text: &str) -> bool {
        self.current.as_ref().is_some_and(|value| *value == Value::from(text))
    }
}

impl State {
    /// A state without fields: "it is there" is all that matters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.push((field.to_owned(), value.into()));
        self
    }

    /// These fields, in their order.
    pub fn from_fields(fields: Vec<(String, Value)>) -> Self {
        Self(fields)
    }

    /// Adds a field if there is a value for it: a spec that does not name it does not manage it.
    pub fn with_some(self, field: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// The fields in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(field, value)| (field.as_str(), value))
    }
}

impl Change {
    /// The difference between what is asked for (`None`: absence) and what is there. `None` when
    /// there is none, or when it cannot be known.
    pub fn between(desired: Option<&State>, current: &Current) -> Option<Self> {
        match (desired, current) {
            (_, Current::Unknown) | (None, Current::Absent) => None,
            (None, Current::Present(_)) => Some(Self::Remove),
            (Some(desired), Current::Absent) => Some(Self::Create(desired.clone())),
            (Some(desired), Current::Present(current)) => {
                let changes: Vec<_> = desired
                    .0
                    .iter()
                    .filter(|(field, value)| current.field(field) != Some(value))
                    .map(|(field, value)| FieldChange {
                        field: field.clone(),
                        current: current.field(field).cloned(),
                        desired: value.clone(),
                    })
                    .collect();
                (!changes.is_empty()).then_some(Self::Update(changes))
            }
        }
    }

    /// The same with more fields that differ, where the thing is there and stays.
    pub(super) fn with(self, more: Vec<FieldChange>) -> Self {
        match self {
            Self::Update(fields) => Self::Update(fields.into_iter().chain(more).collect()),
            change => change,
        }
    }

    /// Whether `field` has to be set: always when creating, else when it differs.
    pub fn sets(&self, field: &str) -> bool {
        match self {
            Self::Create(state) => state.field(field).is_some(),
            Self::Update(changes) => changes.iter().any(|change| change.field == field),
            Self::Remove => false,
        }
    }

    /// Replaces the contents in it by something that says nothing about them.
    pub fn hide_contents(&mut self) {
        self.for_each_value(|value| {
            if matches!(value, Value::Content(_)) {
                *value = Value::Hidden(String::new());
            }
        });
    }

    /// Changes the values in it.
    pub(super) fn for_each_value(&mut self, mut change: impl FnMut(&mut Value)) {
        match self {
            Self::Create(state) => state.0.iter_mut().for_each(|(_, value)| change(value)),
            Self::Update(fields) => fields.iter_mut().for_each(|field| {
                field.current.iter_mut().for_each(&mut change);
                change(&mut field.desired);
            }),
            Self::Remove => {}
        }
    }

    /// The bytes of the contents in it.
    pub fn content_bytes(&self) -> usize {
        let bytes = |value: &Value| if let Value::Content(bytes) = value { bytes.len() } else { 0 };
        match self {
            Self::Create(state) => state.0.iter().map(|(_, value)| bytes(value)).sum(),
            Self::Update(fields) => {
                let both = |field: &FieldChange| {
                    field.current.as_ref().map_or(0, bytes) + bytes(&field.desired)
                };
                fields.iter().map(both).sum()
            }
            Self::Remove => 0,
        }
    }

    /// Whether the resource has to be made from nothing.
    pub fn is_create(&self) -> bool {
        matches!(self, Self::Create(_))
    }

    /// Whether the resource has to go.
    pub fn is_remove(&self) -> bool {
        matches!(self, Self::Remove)
    }

    /// The names of the fields that change, joined by commas; empty for a removal.
    pub fn field_names(&self) -> String {
        let names: Vec<&str> = match self {
            Self::Create(state) => state.fields().map(|(field, _)| field).collect(),
            Self::Update(changes) => changes.iter().map(|change| change.field.as_str()).collect(),
            Self::Remove => Vec::new(),
        };
        names.join(", ")
    }
}

impl Value {
    /// A set of names, sorted and without doubles.
    pub fn set(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        Self::Set(names)
    }

    /// The value on one line; contents by their size, secrets masked.
    pub fn summary(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Content(bytes) => format!("{} bytes", bytes.len()),
            Self::Set(names) if names.is_empty() => "none".to_owned(),
            Self::Set(names) => names.join(", "),
            Self::Hidden(_) => MASK.to_owned(),
            Self::Digest { bytes, .. } => format!("{bytes} bytes"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Text(if yes { "yes" } else { "no" }.to_owned())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Text(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(mode: &str) -> State {
        State::new().with("mode", mode).with("owner", "root")
    }

    #[test]
    fn compares_only_what_is_asked_for() {
        let current = Current::Present(state("0644").with("group", "adm"));
        assert_eq!(Change::between(Some(&state("0644")), &current), None);
        let change = Change::between(Some(&state("0600")), &current).unwrap();
        assert_eq!(change.field_names(), "mode");
    }

    #[test]
    fn absence_is_a_state() {
        assert_eq!(Change::between(None, &Current::Absent), None);
        assert_eq!(Change::between(None, &Current::Present(State::new())), Some(Change::Remove));
        assert!(Change::between(Some(&state("0644")), &Current::Absent).unwrap().is_create());
        assert_eq!(Change::between(Some(&state("0644")), &Current::Unknown), None);
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(Value::Hidden("x".into()).summary(), "(secret)");
    }
}
