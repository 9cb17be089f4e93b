//! Resources that a server does not get, by their `when` or by an empty loop: as far as they can be read without
//! values, so that a mistake in them shows before the day on which they count.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::engine::Failure;
use super::expand::Expansion;
use super::role::{Body, Item};
use super::scope::Scope;
use crate::diagnostic::Diagnostic;
use crate::resources::schema;
use crate::yaml::{self, Entry, Node};

/// Fields that stand for `content`, of the kinds that have them.
const OF_CONTENT: [&str; 2] = ["template", "source"];

/// Names of each loop.
const OF_LOOPS: [&str; 2] = ["key", "item"];

impl Expansion<'_> {
    /// Looks through an item that gives no resource, and through the items in it.
    pub(super) fn untaken(&mut self, item: &Item, scope: &Arc<Scope>) {
        let names = self.names(scope);
        self.look(item, scope, &names);
    }

    /// The names that a text may ask for. A parameter that is not given may be asked for with a default.
    fn names(&self, scope: &Scope) -> BTreeSet<String> {
        scope.names().into_iter().chain(self.role.params.names()).collect()
    }

    fn look(&mut self, item: &Item, scope: &Arc<Scope>, outer: &BTreeSet<String>) {
        let mut names = outer.clone();
        if item.for_each.is_some() {
            names.extend(OF_LOOPS.map(str::to_owned));
        }
        names.extend(item.lets.iter().map(|entry| entry.key.to_string()));
        let nodes = item.lets.iter().map(|entry| &entry.value);
        let links = [&item.requires, &item.reload, &item.restart];
        let nodes: Vec<&Node> = nodes.chain(links.into_iter().flatten()).collect();
        let bare = [(&item.for_each, outer), (&item.when, &names)];
        let bare = bare.into_iter().filter_map(|(node, names)| Some((node.as_ref()?, names)));
        let mut results: Vec<Result<(), Failure>> =
            bare.map(|(node, names)| scope.inspect(node, true, names)).collect();
        results.extend(nodes.into_iter().map(|node| inspect(node, scope, &names)));
        if let Body::Resource(entry) = &item.body {
            results.push(self.look_at_spec(entry, scope, &names));
        }
        let failures = results.into_iter().filter_map(Result::err);
        failures.for_each(|failure| self.mistakes.push(*failure));
        if let Body::Block(items) = &item.body {
            for item in items {
                self.look(item, scope, &names);
            }
        }
    }

    fn look_at_spec(
        &self,
        entry: &Entry,
        scope: &Arc<Scope>,
        names: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let kind = &*entry.key;
        let Some(map) = entry.value.as_map() else { return inspect(&entry.value, scope, names) };
        let schema = schema(kind);
        let fields = schema.as_ref().and_then(|schema| schema.as_value()["properties"].as_object());
        let has_content = matches!(kind, "file" | "docker_compose");
        for field in &map.entries {
            let key = &*field.key;
            let is_of_content = has_content && OF_CONTENT.contains(&key);
            let is_known = |fields: &serde_json::Map<_, _>| fields.contains_key(key);
            if !is_of_content && !fields.is_none_or(is_known) {
                let message = format!("unknown field `{key}` of `{kind}`");
                let known = fields.into_iter().flat_map(|fields| fields.keys());
                let mistake = Diagnostic::at(&field.key_span, message);
                return Err(Box::new(mistake.suggest(key, known.map(String::as_str))));
            }
            inspect(&field.value, scope, names)?;
            let name = field.value.as_str().filter(|name| !name.contains("{{"));
            match (key, name) {
                ("template", Some(_)) if is_of_content => {
                    let path = self.find("templates", &field.value)?;
                    scope.inspect_template(&path, &field.value)?;
                }
                ("source", Some(_)) if is_of_content => {
                    self.find("files", &field.value)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Looks through the texts of a node.
fn inspect(node: &Node, scope: &Arc<Scope>, names: &BTreeSet<String>) -> Result<(), Failure> {
    match &node.value {
        yaml::Value::List(list) => list.iter().try_for_each(|node| inspect(node, scope, names)),
        yaml::Value::Map(map) => {
            map.entries.iter().try_for_each(|entry| inspect(&entry.value, scope, names))
        }
        _ => scope.inspect(node, false, names),
    }
}

/// The places where a text has a name as a whole word, and not as a part of another value.
pub(super) fn places(name: &str, text: &str) -> impl Iterator<Item = Range<usize>> {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let places = text.match_indices(name).map(|(at, name)| at..at + name.len());
    places.filter(move |place| {
        let before = text.get(..place.start).unwrap_or_default();
        let after = text.get(place.end..).unwrap_or_default();
        !before.ends_with(|c: char| is_of_name(c) || c == '.') && !after.starts_with(is_of_name)
    })
}

/// Whether a text itself asks if a name is there, or says what counts where it is not.
pub(super) fn is_optional(name: &str, text: &str) -> bool {
    places(name, text).any(|place| {
        let after = text.get(place.end..).unwrap_or_default().trim_start();
        let filter = after.strip_prefix('|').map(str::trim_start).unwrap_or_default();
        let asks = ["is defined", "is not defined", "is undefined", "is not undefined"];
        let is_asked = asks.iter().any(|question| {
            let words: Vec<&str> = after.split_whitespace().take(3).collect();
            words.join(" ").starts_with(question)
        });
        let filter: String =
            filter.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        is_asked || matches!(filter.as_str(), "d" | "default")
    })
}

#[cfg(test)]
mod tests {
    use super::is_optional;

    #[test]
    fn a_name_is_optional_where_the_text_asks_for_it() {
        for (text, is) in [
            ("{% if port is defined %}{{ port }}{% endif %}", true),
            ("{{ port | default(22) }}", true),
            ("{{ port|d(22) }}", true),
            ("{{ port | d | upper }}", true),
            ("{{ port | dictsort }}", false),
            ("{% if port  is  not defined %}", true),
            ("{{ port }}", false),
            ("{{ other.port is defined }}{{ port }}", false),
            ("{{ sport is defined }}{{ port }}", false),
        ] {
            assert_eq!(is_optional("port", text), is, "{text}");
        }
    }
}
