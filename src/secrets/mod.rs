//! Secrets: read where they are used, remembered where they were used.

pub mod change;
mod compare;
pub mod document;
mod folder;
mod header;
mod identity;
pub mod import;
mod key;
mod lines;
mod lookup;
pub mod memory;
mod open;
mod plan_key;
mod readers;
pub mod recipients;
mod rekey;
mod replace;
mod store;
mod tree;
mod value;
pub mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use minijinja::Value;

use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::yaml::Node;

pub use compare::differences;
pub use folder::{Folder, Lock, Opened, Replaced};
pub use header::Header;
pub use identity::{Ask, Identities, IdentitySource, ask_twice};
pub use key::{Key, KeyKind};
pub use plan_key::{PLANS_FILE, PlanKey};
pub use rekey::{FileReaders, rekey, survey};
pub use replace::{Recovered, Replacement};
pub use store::Store;

use lookup::{Lookup, Missing};
use store::Files;
use value::Known;

/// `None` where there is no identity, and placeholders stand in for all.
type Values = Option<Arc<Known>>;

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
    /// What was asked for and cannot be had.
    missed: Arc<Mutex<Option<Missing>>>,
}

/// How many secrets there are, not what they are.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.known().map_or(0, |known| known.values.len()))
    }
}

impl Secrets {
    /// The values of a decrypted document.
    pub fn new(document: &Node) -> Self {
        let secrets = Self::default();
        // A new cell is empty, so that this always sets it.
        let _ = secrets.values.set(Some(Arc::new(Known::new(document, None))));
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
        let opened = self.files.as_ref().map(Files::read).transpose()?.flatten();
        // Whoever was faster has read the same.
        let known = opened.map(|(document, closed)| Arc::new(Known::new(&document, closed)));
        let _ = self.values.set(known);
        Ok(())
    }

    fn known(&self) -> Option<&Known> {
        self.values.get()?.as_deref()
    }

    /// What was asked for since the last call and cannot be had: whatever came of the expression
    /// is not what was meant. The second part says whether the mistake is in the expression.
    pub fn take_missed(&self) -> Option<(Error, bool)> {
        match self.missed.lock().unwrap_or_else(PoisonError::into_inner).take()? {
            Missing::Closed(name) => {
                let closed = self.known()?.closed.as_ref()?;
                let cause = format!("the secret `{name}` is in no file that is open");
                Some((closed.clone().because(cause), false))
            }
            Missing::Text(name) => {
                let error = Error::input(format!("`{name}` is several secrets, and no text"));
                Some((error.hint("name one of them, or write `to_json` behind it"), true))
            }
        }
    }

    /// The dotted names of all secrets that were opened, for suggestions.
    pub fn names(&self) -> Vec<String> {
        self.known().map(|known| known.values.keys().cloned().collect()).unwrap_or_default()
    }

    /// The value of a secret that was used; a placeholder where values are not known.
    pub fn get(&self, name: &str) -> Option<Secret> {
        match self.known() {
            Some(known) => known.values.get(name).cloned(),
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
        let before = self.is_other.swap(true, Ordering::Relaxed);
        let result = evaluate();
        self.is_other.store(before, Ordering::Relaxed);
        result
    }

    /// What stands in for a value in [`Secrets::with_others`].
    pub fn other(value: &Secret) -> Secret {
        value::other(value)
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
        Lookup::of(self)
    }
}

/// What stands in for a secret whose value is not known.
pub fn placeholder(name: &str) -> String {
    format!("(secret {name})")
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::yaml;

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
        assert_eq!(secrets.take_used().len(), 0);
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
