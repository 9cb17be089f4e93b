//! Parameters given as expressions: what they turn out to be is checked like everything else.

use std::sync::Arc;

use super::engine::has_expression;
use super::nodes::into_node;
use super::params::{Fields, Kind, Schema};
use super::scope::Scope;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::yaml::{Map, Node, Value};

/// Values that lead on to others deeper than this lead to themselves.
const DEEPEST: usize = 32;

impl Fields {
    /// Evaluates what is an expression in checked parameters, checks the result and fills in
    /// defaults in it. What holds a secret is checked, but stays an expression: each use of it
    /// has to be seen. What cannot be evaluated stays as well, and is told where it is used.
    pub(super) fn settle(
        &self,
        given: &Node,
        scope: &Arc<Scope>,
        mistakes: &mut Diagnostics,
    ) -> Node {
        self.settle_inside(given, scope, 0, mistakes)
    }

    fn settle_inside(
        &self,
        given: &Node,
        scope: &Arc<Scope>,
        depth: usize,
        mistakes: &mut Diagnostics,
    ) -> Node {
        let Some(map) = given.as_map() else { return given.clone() };
        let mut settled = Map::default();
        for entry in &map.entries {
            let mut entry = entry.clone();
            if let Some(schema) = self.get(&entry.key) {
                entry.value = schema.settle(&entry.value, &entry.key, scope, depth, mistakes);
            }
            settled.entries.push(entry);
        }
        Node { span: given.span.clone(), value: Value::Map(Arc::new(settled)) }
    }
}

impl Schema {
    fn settle(
        &self,
        node: &Node,
        name: &str,
        scope: &Arc<Scope>,
        depth: usize,
        mistakes: &mut Diagnostics,
    ) -> Node {
        if depth > DEEPEST {
            return node.clone();
        }
        let depth = depth + 1;
        let value = match (&node.value, &self.kind) {
            (_, Kind::Any) => return node.clone(),
            (Value::String(text), _) if has_expression(text) => {
                return self.settle_expression(node, name, scope, depth, mistakes);
            }
            (_, Kind::Struct(fields)) => {
                return fields.settle_inside(node, scope, depth, mistakes);
            }
            (Value::List(list), Kind::List(Some(element))) => {
                let elements = list.iter();
                let elements =
                    elements.map(|node| element.settle(node, name, scope, depth, mistakes));
                Value::List(Arc::new(elements.collect()))
            }
            (Value::Map(map), Kind::Map(Some(element))) => {
                let mut settled = map.as_ref().clone();
                for entry in &mut settled.entries {
                    entry.value = element.settle(&entry.value, &entry.key, scope, depth, mistakes);
                }
                Value::Map(Arc::new(settled))
            }
            _ => return node.clone(),
        };
        Node { span: node.span.clone(), value }
    }

    fn settle_expression(
        &self,
        node: &Node,
        name: &str,
        scope: &Arc<Scope>,
        depth: usize,
        mistakes: &mut Diagnostics,
    ) -> Node {
        let Some(text) = node.as_str() else { return node.clone() };
        scope.secrets().take_used();
        let Ok(value) = scope.text(text, node) else { return node.clone() };
        if let Some(inner) = scope.held(&value) {
            let checked = self.check(&inner, name, mistakes);
            return self.settle(&checked, name, scope, depth, mistakes);
        }
        let Ok(found) = into_node(&value, node, scope) else { return node.clone() };
        let used = scope.secrets().take_used();
        let mut wrong = Diagnostics::new();
        let checked = self.check(&found, name, &mut wrong);
        match used.first() {
            Some(_) if scope.secrets().are_placeholders() => node.clone(),
            Some(secret) => {
                // The mistakes themselves quote the value.
                if !wrong.is_empty() {
                    let message = format!("`{name}` does not take the value of `secrets.{secret}`");
                    mistakes.push(Diagnostic::at(&node.span, message));
                }
                node.clone()
            }
            // Evaluated text that looks like an expression must not be evaluated once more.
            None if checked.as_str().is_some_and(has_expression) => node.clone(),
            None => {
                mistakes.extend(wrong);
                checked
            }
        }
    }
}
