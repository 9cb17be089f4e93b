//! Values of expressions as nodes, which specs and parameters are read from.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::engine::Failure;
use super::scope::Scope;
use super::spelling::spelled;
use crate::diagnostic::Diagnostic;
use crate::yaml::{self, Node};

/// A value as a node at the place of `node`.
pub(super) fn into_node(value: &Value, node: &Node, scope: &Arc<Scope>) -> Result<Node, Failure> {
    let broken = |error: minijinja::Error| -> Failure {
        scope
            .take_failure()
            .unwrap_or_else(|| Box::new(Diagnostic::at(&node.span, error.to_string())))
    };
    let value = match value.kind() {
        ValueKind::Undefined | ValueKind::None => yaml::Value::Null,
        ValueKind::Bool => yaml::Value::Bool(value.is_true()),
        ValueKind::Number => {
            let text = value.to_string();
            match value.as_i64() {
                Some(number) => yaml::Value::Integer(number, text.into()),
                None => yaml::Value::Float(text.parse().unwrap_or_default(), text.into()),
            }
        }
        ValueKind::Bytes => yaml::Value::Bytes(value.as_bytes().unwrap_or_default().into()),
        ValueKind::Map => {
            let mut map = yaml::Map::default();
            for key in value.try_iter().map_err(broken)? {
                let item = value.get_item(&key).map_err(broken)?;
                let item = into_node(&item, node, scope)?;
                let key_span = node.span.clone();
                map.entries.push(yaml::Entry {
                    key: key.to_string().into(),
                    key_span,
                    value: item,
                });
            }
            yaml::Value::Map(Arc::new(map))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut list = Vec::new();
            for item in value.try_iter().map_err(broken)? {
                list.push(into_node(&item, node, scope)?);
            }
            yaml::Value::List(Arc::new(list))
        }
        ValueKind::Invalid => {
            let unknown = minijinja::ErrorKind::InvalidOperation;
            return Err(broken(minijinja::Error::from(unknown)));
        }
        // A text, or a placeholder for a secret.
        _ => spelled(value).unwrap_or_else(|| yaml::Value::String(value.to_string().into())),
    };
    Ok(Node { span: node.span.clone(), value })
}
