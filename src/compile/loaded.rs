//! The templates that were loaded. minijinja loads each of them once, and every pass and every server
//! asks for their mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::diagnostic::{Diagnostic, Source};

/// The templates that were loaded, by name.
#[derive(Default)]
pub(super) struct Loaded {
    templates: BTreeMap<String, Template>,
    /// The names that each template has asked for: includes, imports, what it extends.
    asked: BTreeMap<String, BTreeSet<String>>,
}

struct Template {
    source: Arc<Source>,
    /// Its first mistake, once somebody has looked for it.
    mistake: OnceLock<Option<Diagnostic>>,
}

impl Loaded {
    /// Adds a template.
    pub(super) fn add(&mut self, name: &str, source: &Arc<Source>) {
        let template = Template { source: Arc::clone(source), mistake: OnceLock::new() };
        self.templates.insert(name.to_owned(), template);
    }

    /// Notes that the template `parent` asks for another one.
    pub(super) fn ask(&mut self, parent: &str, name: &str) {
        self.asked.entry(parent.to_owned()).or_default().insert(name.to_owned());
    }

    /// The first mistake in the template `name` and in those that it has asked for, as `look` finds it in a
    /// source.
    pub(super) fn mistake(
        &self,
        name: &str,
        look: impl Fn(&Arc<Source>) -> Option<Diagnostic>,
    ) -> Option<Diagnostic> {
        let (mut open, mut seen) = (vec![name], BTreeSet::from([name]));
        while let Some(name) = open.pop() {
            if let Some(template) = self.templates.get(name) {
                let mistake = template.mistake.get_or_init(|| look(&template.source));
                if mistake.is_some() {
                    return mistake.clone();
                }
            }
            let asked = self.asked.get(name).into_iter().flatten();
            open.extend(asked.map(String::as_str).filter(|name| seen.insert(*name)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;

    #[test]
    fn a_mistake_is_found_again_and_through_others() {
        let mut loaded = Loaded::default();
        for (name, text) in [("a", "fine"), ("b", "fine"), ("c", "wrong")] {
            loaded.add(name, &Source::new(name, text));
        }
        loaded.ask("a", "b");
        loaded.ask("b", "a");
        loaded.ask("b", "c");
        loaded.ask("b", "missing");
        let look = |source: &Arc<Source>| {
            let is_wrong = source.text == "wrong";
            is_wrong.then(|| Diagnostic::at(&Span::new(source, 0..5), "wrong"))
        };
        for name in ["a", "a", "b", "c"] {
            let found = loaded.mistake(name, look).map(|mistake| mistake.places[0].span.place());
            assert_eq!(found.as_deref(), Some("c:1"), "{name}");
        }
        assert_eq!(loaded.mistake("missing", look), None);
    }
}
