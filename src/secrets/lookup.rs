//! What `secrets` is in an expression: maps and lists that remember which values were used.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};

use super::value::{Item, Known};
use super::{Secrets, join, placeholder};
use crate::error::Result;

/// `secrets`, or a map or list in it. A text that is looked up is a plain text, so that every
/// filter works on it; what is remembered is that it was used.
#[derive(Clone)]
pub(super) struct Lookup {
    /// `None`: a placeholder stands in.
    known: Option<Arc<Known>>,
    /// Which keys and places lead there.
    way: Vec<Step>,
    /// The same as a dotted name.
    prefix: String,
    used: Arc<Mutex<BTreeSet<String>>>,
    touched: Arc<Mutex<BTreeSet<String>>>,
    missed: Arc<Mutex<Option<Missing>>>,
    is_other: Arc<AtomicBool>,
}

/// What an expression asked for and cannot have, by dotted name.
pub(super) enum Missing {
    /// What may be in a file that could not be opened.
    Closed(String),
    /// A map or list as a text.
    Text(String),
}

/// The place of an entry in a map, or of an element in a list.
type Step = usize;

/// Nothing of the values.
impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::MASK)
    }
}

impl Lookup {
    /// All that `secrets` holds.
    pub(super) fn of(secrets: &Secrets) -> Value {
        Value::from_object(Self {
            known: secrets.values.get().cloned().flatten(),
            way: Vec::new(),
            prefix: String::new(),
            used: Arc::clone(&secrets.used),
            touched: Arc::clone(&secrets.touched),
            missed: Arc::clone(&secrets.missed),
            is_other: Arc::clone(&secrets.is_other),
        })
    }

    fn remember(&self, name: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn miss(&self, what: Missing) {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }

    /// What it stands for, where that is known.
    fn item(&self) -> Option<&Item> {
        let mut item = &self.known.as_ref()?.root;
        for step in &self.way {
            item = match item {
                Item::Map(entries) => &entries.get(*step)?.1,
                Item::List(elements) => elements.get(*step)?,
                Item::Leaf(_) | Item::Nothing => return None,
            };
        }
        Some(item)
    }

    /// The place of `key` in the map or list.
    fn place(&self, key: &Value) -> Option<Step> {
        match self.item()? {
            Item::Map(entries) => {
                let key = key.to_string();
                entries.iter().position(|(known, _)| *known == key)
            }
            Item::List(elements) => key.as_usize().filter(|index| *index < elements.len()),
            Item::Leaf(_) | Item::Nothing => None,
        }
    }

    fn below(&self, name: String, step: Option<Step>) -> Self {
        let mut below = Self { prefix: name, ..self.clone() };
        below.way.extend(step);
        below
    }

    /// The value of an entry or element.
    fn child(&self, key: &Value, step: Step) -> Value {
        let below = self.below(join(&self.prefix, &key.to_string()), Some(step));
        match below.item() {
            Some(Item::Leaf(leaf)) => {
                self.remember(&leaf.name);
                leaf.value(self.is_other.load(Ordering::Relaxed))
            }
            Some(Item::Map(_) | Item::List(_)) => Value::from_object(below),
            Some(Item::Nothing) | None => Value::from(()),
        }
    }

    /// What comes of a name that is not there: a mistake, if it may be in a file that is closed.
    fn missing(&self, name: String) -> Option<Value> {
        let closed = self.known.as_ref()?.closed.as_ref()?;
        let message = closed.message.clone();
        self.miss(Missing::Closed(name));
        Some(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message).into())
    }
}

impl Object for Lookup {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match (&self.known, self.item()) {
            (None, _) => ObjectRepr::Plain,
            (Some(_), Some(Item::List(_))) => ObjectRepr::Seq,
            (Some(_), _) => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = || join(&self.prefix, &key.to_string());
        if self.known.is_none() {
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.remove(&self.prefix);
            touched.insert(name());
            return Some(Value::from_object(self.below(name(), None)));
        }
        match self.place(key) {
            Some(step) => Some(self.child(key, step)),
            // A list is whole or not there; how long it is is no question of names.
            None if matches!(self.item(), Some(Item::List(_))) => None,
            None => self.missing(name()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.item() {
            None => Enumerator::NonEnumerable,
            Some(Item::List(elements)) => Enumerator::Seq(elements.len()),
            Some(Item::Map(entries)) => {
                Enumerator::Values(entries.iter().map(|(key, _)| Value::from(&**key)).collect())
            }
            Some(Item::Leaf(_) | Item::Nothing) => Enumerator::Empty,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        match self.item() {
            Some(Item::List(elements)) => !elements.is_empty(),
            _ => true,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut minijinja::State<'_, '_>,
        method: &str,
        _args: &[Value],
    ) -> Result<Value, minijinja::Error> {
        if self.known.is_some() {
            return Err(minijinja::Error::from(minijinja::ErrorKind::UnknownMethod));
        }
        // A placeholder stays one, whatever is done with it.
        self.remember(&self.prefix);
        Ok(Value::from(placeholder(&format!("{}.{method}", self.prefix))))
    }

    /// A map or list as a text is a mistake, which whoever evaluates learns of: a mask would be
    /// written to a server.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.known.is_none() && !self.prefix.is_empty() {
            self.remember(&self.prefix);
            return f.write_str(&placeholder(&self.prefix));
        }
        if self.known.is_some() {
            let name = if self.prefix.is_empty() { "secrets" } else { self.prefix.as_str() };
            self.miss(Missing::Text(name.to_owned()));
        }
        f.write_str(crate::secret::MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::yaml;

    fn render(template: &str) -> (String, Vec<String>) {
        let text = "hosts: [z, a, m, b, c, d, e, f, g, h, last]\nodd: { a.b: one, c: { d.e: two } }\n\
                    port: 587\noff: false\npin: 0123\nversion: 1.10\n\
                    users: [{ name: ada, keys: [k1, k2] }, { name: bob, keys: [] }]\n";
        let secrets = Secrets::new(&yaml::parse(&Source::new("all.yaml", text)).unwrap());
        let context = minijinja::context! { secrets => secrets.value() };
        let rendered = minijinja::Environment::new().render_str(template, context).unwrap();
        (rendered, secrets.take_used().into_iter().collect())
    }

    #[test]
    fn lists_are_lists_in_their_order() {
        let (text, used) = render("{{ secrets.hosts | join(',') }}");
        assert_eq!(text, "z,a,m,b,c,d,e,f,g,h,last");
        assert_eq!(used.len(), 11);
        assert_eq!(render("{{ secrets.hosts[1] }}"), ("a".into(), vec!["hosts.1".into()]));
        assert_eq!(render("{{ secrets.hosts[10] }} {{ secrets.hosts | length }}").0, "last 11");
        assert_eq!(render("{{ 'm' in secrets.hosts }} {{ 'x' in secrets.hosts }}").0, "True False");
        assert_eq!(
            render(
                "{% for user in secrets.users %}{{ user.name }}{% for key in user['keys'] %} \
                 {{ key }}{% endfor %};{% endfor %}"
            )
            .0,
            "ada k1 k2;bob;"
        );
    }

    #[test]
    fn keys_may_have_dots() {
        let (text, used) =
            render("{{ secrets.odd | items | first | join('=') }} {{ secrets.odd.c | tojson }}");
        assert_eq!(text, "a.b=one {\"d.e\": \"two\"}");
        assert_eq!(used, ["odd.a.b", "odd.c.d.e"]);
        assert_eq!(render("{{ secrets.odd['a.b'] }}").0, "one");
    }

    #[test]
    fn values_keep_their_types() {
        assert_eq!(
            render("{{ secrets.port + 1 }} {% if secrets.off %}on{% else %}off{% endif %}"),
            ("588 off".into(), vec!["off".into(), "port".into()])
        );
        assert_eq!(render("{{ secrets.port }} {{ secrets.off }}").0, "587 False");
        // A PIN and a version stay as they are written.
        assert_eq!(render("{{ secrets.pin }} {{ secrets.version }}").0, "0123 1.10");
    }
}
