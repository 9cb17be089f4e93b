//! Secrets: read where they are used, remembered where they were used.

pub mod change;
pub mod document;
mod folder;
mod header;
mod identity;
pub mod import;
mod key;
pub mod memory;
mod open;
pub mod recipients;
mod rekey;
mod replace;
mod store;
mod tree;
pub mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use crate::error::Result;
use crate::secret::Secret;
use crate::yaml::{self, Node};

pub use folder::{Folder, Lock, Opened, Replaced};
pub use header::Header;
pub use identity::{Ask, Identities, IdentitySource, ask_twice};
pub use key::{Key, KeyKind};
pub use rekey::{FileReaders, rekey, survey};
pub use replace::{Recovered, Replacement};
pub use store::Store;

use store::Files;

/// Values by dotted name; `None` where there is no identity, and placeholders stand in for all.
type Values = Option<Arc<BTreeMap<String, Secret>>>;

/// The secrets that one server may read, and a record of which were used.
#[derive(Default)]
pub struct Secrets {
    /// The files that hold them, decrypted when the first is needed; `None` means placeholders.
    files: Option<Files>,
    values: OnceLock<Values>,
    used: Arc<Mutex<BTreeSet<String>>>,
    /// Placeholders that were looked up, used or not.
    touched: Arc<Mutex<BTreeSet<String>>>,
    /// Whether other values stand in for the real ones.
    is_other: Arc<AtomicBool>,
}

/// How many secrets there are, not what they are.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.known().map_or(0, BTreeMap::len))
    }
}

impl Secrets {
    /// The texts and numbers of a decrypted document, by dotted name.
    pub fn new(document: &Node) -> Self {
        let secrets = Self::default();
        // A new cell is empty, so that this always sets it.
        let _ = secrets.values.set(Some(Arc::new(flattened(document))));
        secrets
    }

    /// Placeholders for every secret.
    pub fn placeholders() -> Self {
        Self::default()
    }

    /// Secrets in files that are opened when the first of them is needed.
    fn in_files(files: Files) -> Self {
        Self { files: Some(files), ..Self::default() }
    }

    /// Decrypts the files, unless that is done.
    ///
    /// # Errors
    /// Names the file that cannot be opened, and why.
    pub fn open(&self) -> Result<()> {
        if self.values.get().is_some() {
            return Ok(());
        }
        let document = self.files.as_ref().map(Files::read).transpose()?.flatten();
        // Whoever was faster has read the same.
        let _ = self.values.set(document.map(|document| Arc::new(flattened(&document))));
        Ok(())
    }

    fn known(&self) -> Option<&BTreeMap<String, Secret>> {
        self.values.get()?.as_deref()
    }

    /// The dotted names of all secrets that were opened, for suggestions.
    pub fn names(&self) -> Vec<String> {
        self.known().map(|values| values.keys().cloned().collect()).unwrap_or_default()
    }

    /// The value of a secret that was used; a placeholder where values are not known.
    pub fn get(&self, name: &str) -> Option<Secret> {
        match self.known() {
            Some(values) => values.get(name).cloned(),
            None => Some(Secret::new(placeholder(name))),
        }
    }

    /// Whether placeholders stand in.
    pub fn are_placeholders(&self) -> bool {
        match self.values.get() {
            Some(values) => values.is_none(),
            None => self.files.is_none(),
        }
    }

    /// Runs `evaluate` with other values of the same length and kind of characters: where its
    /// result differs from that with the real values, a secret shows.
    pub fn with_others<T>(&self, evaluate: impl FnOnce() -> T) -> T {
        self.is_other.store(true, Ordering::Relaxed);
        let result = evaluate();
        self.is_other.store(false, Ordering::Relaxed);
        result
    }

    /// What stands in for a value in [`Secrets::with_others`].
    pub fn other(value: &Secret) -> Secret {
        let turned = |c: char, first: u8, count: u8| {
            let offset = u32::from(c).saturating_sub(u32::from(first)) + u32::from(count) / 2;
            char::from_u32(u32::from(first) + offset % u32::from(count)).unwrap_or(c)
        };
        let turn = |c: char| match c {
            'a'..='z' => turned(c, b'a', 26),
            'A'..='Z' => turned(c, b'A', 26),
            '0'..='9' => turned(c, b'0', 10),
            // The neighbour: `é` for `è`.
            _ if c.is_alphabetic() => char::from_u32(u32::from(c) ^ 1).unwrap_or(c),
            _ => c,
        };
        Secret::new(value.expose().chars().map(turn).collect::<String>())
    }

    /// The secrets used since the last call.
    pub fn take_used(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The placeholders looked up since the last call: what cannot be done with one is no mistake.
    pub fn take_touched(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records lookups that were taken out before their time.
    pub fn touch(&self, names: BTreeSet<String>) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// Records uses that were taken out before their time.
    pub fn remember(&self, names: BTreeSet<String>) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// What `secrets` is in an expression, once they are open.
    pub fn value(&self) -> Value {
        Value::from_object(Lookup {
            values: self.values.get().cloned().flatten(),
            prefix: String::new(),
            used: Arc::clone(&self.used),
            touched: Arc::clone(&self.touched),
            is_other: Arc::clone(&self.is_other),
        })
    }
}

/// What stands in for a secret whose value is not known.
pub fn placeholder(name: &str) -> String {
    format!("(secret {name})")
}

fn flattened(document: &Node) -> BTreeMap<String, Secret> {
    let mut values = BTreeMap::new();
    flatten(document, "", &mut values);
    values
}

fn flatten(node: &Node, prefix: &str, values: &mut BTreeMap<String, Secret>) {
    match &node.value {
        yaml::Value::Map(map) => {
            for entry in &map.entries {
                flatten(&entry.value, &join(prefix, &entry.key), values);
            }
        }
        yaml::Value::List(list) => {
            for (index, element) in list.iter().enumerate() {
                flatten(element, &join(prefix, &index.to_string()), values);
            }
        }
        _ => {
            if let Some(text) = node.scalar() {
                values.insert(prefix.to_owned(), Secret::new(text));
            }
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// `secrets`, or a map in it. A text that is looked up is a plain text, so that every filter
/// works on it; what is remembered is that it was used.
struct Lookup {
    values: Values,
    prefix: String,
    used: Arc<Mutex<BTreeSet<String>>>,
    touched: Arc<Mutex<BTreeSet<String>>>,
    is_other: Arc<AtomicBool>,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::MASK)
    }
}

impl Lookup {
    fn remember(&self, name: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// The map under a dotted name.
    fn below(&self, prefix: String) -> Value {
        let (used, is_other) = (Arc::clone(&self.used), Arc::clone(&self.is_other));
        let (values, touched) = (self.values.clone(), Arc::clone(&self.touched));
        Value::from_object(Self { values, prefix, used, touched, is_other })
    }

    fn children(&self) -> BTreeSet<String> {
        let start =
            if self.prefix.is_empty() { String::new() } else { format!("{}.", self.prefix) };
        let names = self.values.iter().flat_map(|values| values.keys());
        let below = names.filter_map(|name| name.strip_prefix(&start));
        below.filter_map(|rest| rest.split('.').next()).map(str::to_owned).collect()
    }
}

impl Object for Lookup {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.values.is_some() { ObjectRepr::Map } else { ObjectRepr::Plain }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = join(&self.prefix, &key.to_string());
        let Some(values) = &self.values else {
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.remove(&self.prefix);
            touched.insert(name.clone());
            return Some(self.below(name));
        };
        if let Some(secret) = values.get(&name) {
            self.remember(&name);
            if self.is_other.load(Ordering::Relaxed) {
                return Some(Value::from(Secrets::other(secret).expose()));
            }
            return Some(Value::from(secret.expose()));
        }
        let below = format!("{name}.");
        let nested = values.keys().any(|known| known.starts_with(&below));
        nested.then(|| self.below(name))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.values.is_none() {
            return Enumerator::NonEnumerable;
        }
        Enumerator::Values(self.children().into_iter().map(Value::from).collect())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut minijinja::State<'_, '_>,
        method: &str,
        _args: &[Value],
    ) -> Result<Value, minijinja::Error> {
        if self.values.is_some() {
            return Err(minijinja::Error::from(minijinja::ErrorKind::UnknownMethod));
        }
        // A placeholder stays one, whatever is done with it.
        self.remember(&self.prefix);
        Ok(Value::from(placeholder(&format!("{}.{method}", self.prefix))))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.values.is_none() && !self.prefix.is_empty() {
            self.remember(&self.prefix);
            return f.write_str(&placeholder(&self.prefix));
        }
        f.write_str(crate::secret::MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    fn secrets() -> Secrets {
        let text = "smtp: { password: hunter2, port: 587 }\nkey: abcd\n";
        Secrets::new(&yaml::parse(&Source::new("all.yaml", text)).unwrap())
    }

    fn render(secrets: &Secrets, template: &str) -> String {
        let context = minijinja::context! { secrets => secrets.value() };
        minijinja::Environment::new().render_str(template, context).unwrap()
    }

    #[test]
    fn remembers_what_was_used_and_nothing_else() {
        let secrets = secrets();
        assert_eq!(render(&secrets, "{{ secrets.smtp.password | upper }}"), "HUNTER2");
        assert_eq!(secrets.take_used().into_iter().collect::<Vec<_>>(), ["smtp.password"]);
        assert_eq!(render(&secrets, "{% if false %}{{ secrets.key }}{% endif %}"), "");
        assert!(secrets.take_used().is_empty());
    }

    #[test]
    fn never_shows_values_whole() {
        let secrets = secrets();
        assert!(!format!("{secrets:?} {:?}", secrets.value()).contains("hunter2"));
        assert_eq!(render(&secrets, "{{ secrets }}"), "(secret)");
    }

    #[test]
    fn others_stand_in() {
        let secrets = secrets();
        let value = secrets.value();
        let render = || {
            let context = minijinja::context! { secrets => value.clone() };
            minijinja::Environment::new().render_str("{{ secrets.smtp.password }}", context)
        };
        assert_eq!(secrets.with_others(render).unwrap(), "uhagre7");
        assert_eq!(render().unwrap(), "hunter2");
    }

    #[test]
    fn placeholders_name_the_secret() {
        let secrets = Secrets::placeholders();
        assert_eq!(render(&secrets, "p={{ secrets.smtp.password }}"), "p=(secret smtp.password)");
        assert_eq!(secrets.take_used().into_iter().collect::<Vec<_>>(), ["smtp.password"]);
    }
}
