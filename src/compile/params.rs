//! The parameters of a role: their schema, and what is wrong with the values given.

use std::sync::Arc;

use regex::Regex;

use super::engine::has_expression;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::yaml::{Entry, Map, Node, Value, merge, without_nulls};

const KEYS: &[&str] = &[
    "type",
    "required",
    "default",
    "min",
    "max",
    "pattern",
    "values",
    "of",
    "fields",
    "description",
];
const TYPES: &[&str] =
    &["string", "integer", "number", "boolean", "path", "port", "enum", "list", "map", "any"];

/// The schema of one parameter, or of what is inside it.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) kind: Kind,
    required: bool,
    default: Option<Node>,
    min: Option<f64>,
    max: Option<f64>,
    pattern: Option<Regex>,
    /// Where it is declared.
    span: Span,
}

/// What a parameter takes.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Path,
    Port,
    Enum(Vec<String>),
    List(Option<Box<Schema>>),
    /// Any keys; each value as the schema says.
    Map(Option<Box<Schema>>),
    /// These keys and no others.
    Struct(Fields),
    Any,
}

/// Named schemas in the order written.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, Schema)>);

impl Fields {
    /// Reads a map of name to schema.
    pub(super) fn read(node: &Node, mistakes: &mut Diagnostics) -> Self {
        let Some(map) = node.as_map() else {
            if !node.is_null() {
                mistakes.push(node.wrong_kind("params", "a map of parameters"));
            }
            return Self::default();
        };
        let read = |entry: &Entry| (entry.key.to_string(), Schema::read(&entry.value, mistakes));
        Self(map.entries.iter().map(read).collect())
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, _)| name.clone())
    }

    /// The schema of one of them.
    pub(super) fn get(&self, name: &str) -> Option<&Schema> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, schema)| schema)
    }

    /// Checks `given` and fills in defaults. `what` is "role `nginx`", `span` where a missing
    /// field is told.
    pub(super) fn check(
        &self,
        given: &Node,
        what: &str,
        span: &Span,
        mistakes: &mut Diagnostics,
    ) -> Node {
        let empty = Map::default();
        let map = match &given.value {
            Value::Map(map) => map.as_ref(),
            Value::Null => &empty,
            _ => {
                mistakes.push(given.wrong_kind(what.trim_matches('`'), "a map"));
                return given.clone();
            }
        };
        for entry in &map.entries {
            if !self.0.iter().any(|(name, _)| *name == *entry.key) {
                let message = format!("unknown parameter `{}` of {what}", entry.key);
                let names = self.0.iter().map(|(name, _)| name.as_str());
                mistakes.push(Diagnostic::at(&entry.key_span, message).suggest(&entry.key, names));
            }
        }
        let mut checked = Map::default();
        for (name, schema) in &self.0 {
            let entry = map.entry(name).filter(|entry| !entry.value.is_null());
            let (key_span, value) = match (entry, &schema.default) {
                (Some(entry), Some(default)) => {
                    (entry.key_span.clone(), without_nulls(&merge(default, &entry.value)))
                }
                (Some(entry), None) => (entry.key_span.clone(), without_nulls(&entry.value)),
                (None, Some(default)) => (default.span.clone(), default.clone()),
                (None, None) => {
                    if schema.required {
                        let message = format!("`{name}` of {what} is missing");
                        mistakes.push(Diagnostic::at(span, message));
                    }
                    (schema.span.clone(), schema.nothing())
                }
            };
            let value = schema.check(&value, name, mistakes);
            checked.entries.push(Entry { key: name.as_str().into(), key_span, value });
        }
        Node { span: given.span.clone(), value: Value::Map(Arc::new(checked)) }
    }
}

impl Schema {
    fn read(node: &Node, mistakes: &mut Diagnostics) -> Self {
        let mut schema = Self {
            kind: Kind::Any,
            required: false,
            default: None,
            min: None,
            max: None,
            pattern: None,
            span: node.span.clone(),
        };
        let Some(map) = node.as_map() else {
            mistakes.push(node.wrong_kind("parameter", "a map such as `{ type: string }`"));
            return schema;
        };
        for entry in &map.entries {
            let value = &entry.value;
            match &*entry.key {
                "required" => schema.required = matches!(value.value, Value::Bool(true)),
                "default" => schema.default = Some(value.clone()),
                "min" => schema.min = bound(value, "min", mistakes),
                "max" => schema.max = bound(value, "max", mistakes),
                "pattern" => schema.pattern = pattern(value, mistakes),
                known if KEYS.contains(&known) => {}
                unknown => mistakes.push(
                    Diagnostic::at(
                        &entry.key_span,
                        format!("unknown key `{unknown}` of a parameter"),
                    )
                    .suggest(unknown, KEYS.iter().copied()),
                ),
            }
        }
        schema.kind = Kind::read(map, node, mistakes);
        schema
    }

    /// What a parameter that is neither given nor has a default is: an empty list or map, or null.
    fn nothing(&self) -> Node {
        let value = match &self.kind {
            Kind::List(_) if !self.required => Value::List(Arc::default()),
            Kind::Map(_) | Kind::Struct(_) if !self.required => Value::Map(Arc::default()),
            _ => Value::Null,
        };
        Node { span: self.span.clone(), value }
    }

    /// Checks a value and fills in defaults inside it. What holds an expression is left alone:
    /// it is checked when it is evaluated.
    pub(super) fn check(&self, node: &Node, name: &str, mistakes: &mut Diagnostics) -> Node {
        if node.is_null() || node.as_str().is_some_and(has_expression) {
            return node.clone();
        }
        let value = match &self.kind {
            Kind::Any => node.value.clone(),
            Kind::List(element) => {
                let Some(list) = node.as_list() else {
                    mistakes.push(node.wrong_kind(name, "a list"));
                    return node.clone();
                };
                let check = |node: &Node| match element {
                    Some(element) => element.check(node, name, mistakes),
                    None => node.clone(),
                };
                Value::List(Arc::new(list.iter().map(check).collect()))
            }
            Kind::Map(element) => {
                let Some(map) = node.as_map() else {
                    mistakes.push(node.wrong_kind(name, "a map"));
                    return node.clone();
                };
                let mut checked = Map::default();
                for entry in &map.entries {
                    let mut entry = entry.clone();
                    if let Some(element) = element {
                        entry.value = element.check_inside(&entry, mistakes);
                    }
                    checked.entries.push(entry);
                }
                Value::Map(Arc::new(checked))
            }
            Kind::Struct(fields) => {
                let what = format!("`{name}`");
                return fields.check(node, &what, &node.span, mistakes);
            }
            _ => match self.scalar(node) {
                Ok(value) => value,
                Err(message) => {
                    let mistake = Diagnostic::at(&node.span, format!("`{name}` {message}"));
                    let is_boolean = matches!(self.kind, Kind::Boolean);
                    mistakes.push(match node.boolean_hint().filter(|_| is_boolean) {
                        Some(hint) => mistake.hint(hint),
                        None => mistake,
                    });
                    node.value.clone()
                }
            },
        };
        Node { span: node.span.clone(), value }
    }

    /// A struct in a map is told as missing something where its key is.
    fn check_inside(&self, entry: &Entry, mistakes: &mut Diagnostics) -> Node {
        match &self.kind {
            Kind::Struct(fields) if !entry.value.as_str().is_some_and(has_expression) => {
                let what = format!("`{}`", entry.key);
                fields.check(&entry.value, &what, &entry.key_span, mistakes)
            }
            _ => self.check(&entry.value, &entry.key, mistakes),
        }
    }

    /// A single value in its type, or what is wrong with it.
    fn scalar(&self, node: &Node) -> Result<Value, String> {
        let wants = |what: &str| format!("wants {what}, found {}", node.described());
        match &self.kind {
            Kind::String | Kind::Path => {
                let text = node.scalar().ok_or_else(|| wants("a text"))?;
                if matches!(self.kind, Kind::Path) && !text.starts_with('/') {
                    return Err(wants("an absolute path"));
                }
                self.bounded(text.chars().count(), "characters")?;
                self.matched(text)?;
                Ok(Value::String(text.into()))
            }
            Kind::Integer | Kind::Port => match node.value {
                Value::Integer(number, _) => {
                    if matches!(self.kind, Kind::Port) && !(1..=65_535).contains(&number) {
                        return Err(wants("a port between 1 and 65535"));
                    }
                    self.in_range(number)?;
                    Ok(Value::Integer(number, number.to_string().into()))
                }
                _ => Err(wants(if matches!(self.kind, Kind::Port) {
                    "a port"
                } else {
                    "an integer"
                })),
            },
            Kind::Number => match &node.value {
                Value::Integer(number, _) => {
                    self.in_range(*number)?;
                    Ok(Value::Integer(*number, number.to_string().into()))
                }
                Value::Float(number, _) => {
                    self.number_in_range(*number)?;
                    Ok(float(*number))
                }
                _ => Err(wants("a number")),
            },
            Kind::Boolean => match node.value {
                Value::Bool(_) => Ok(node.value.clone()),
                _ => Err(wants("`true` or `false`")),
            },
            Kind::Enum(values) => {
                let text = node.scalar().unwrap_or_default();
                if values.iter().any(|value| value == text) {
                    return Ok(Value::String(text.into()));
                }
                let names: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                Err(wants(&format!("one of {}", names.join(", "))))
            }
            Kind::List(_) | Kind::Map(_) | Kind::Struct(_) | Kind::Any => Ok(node.value.clone()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bounds are small numbers")]
    fn in_range(&self, number: i64) -> Result<(), String> {
        self.number_in_range(number as f64)
    }

    fn number_in_range(&self, number: f64) -> Result<(), String> {
        match (self.min, self.max) {
            (Some(min), _) if number < min => {
                Err(format!("is {number}, but at least {min} is needed"))
            }
            (_, Some(max)) if number > max => {
                Err(format!("is {number}, but at most {max} is allowed"))
            }
            _ => Ok(()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "texts are short")]
    fn bounded(&self, length: usize, unit: &str) -> Result<(), String> {
        match (self.min, self.max) {
            (Some(min), _) if (length as f64) < min => {
                Err(format!("has {length} {unit}, but at least {min} are needed"))
            }
            (_, Some(max)) if length as f64 > max => {
                Err(format!("has {length} {unit}, but at most {max} are allowed"))
            }
            _ => Ok(()),
        }
    }

    fn matched(&self, text: &str) -> Result<(), String> {
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => {
                Err(format!("does not have the form `{}`", pattern.as_str()))
            }
            _ => Ok(()),
        }
    }
}

impl Kind {
    fn read(map: &Map, node: &Node, mistakes: &mut Diagnostics) -> Self {
        let of = map.value("of");
        let element = |mistakes: &mut Diagnostics| of.map(|of| Box::new(element(of, mistakes)));
        let Some(name) = map.value("type") else {
            mistakes.push(Diagnostic::at(&node.span, "a parameter needs a `type`"));
            return Self::Any;
        };
        match name.scalar().unwrap_or_default() {
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "path" => Self::Path,
            "port" => Self::Port,
            "any" => Self::Any,
            "list" => Self::List(element(mistakes)),
            "map" => match map.value("fields") {
                Some(fields) => Self::Struct(Fields::read(fields, mistakes)),
                None => Self::Map(element(mistakes)),
            },
            "enum" => {
                let values = map.value("values").and_then(Node::as_list).unwrap_or_default();
                let values: Vec<String> =
                    values.iter().filter_map(Node::scalar).map(str::to_owned).collect();
                if values.is_empty() {
                    mistakes.push(Diagnostic::at(&node.span, "an enum needs `values`"));
                }
                Self::Enum(values)
            }
            other => {
                mistakes.push(
                    Diagnostic::at(&name.span, format!("unknown type `{other}`"))
                        .suggest(other, TYPES.iter().copied()),
                );
                Self::Any
            }
        }
    }
}

/// What `of` says: a schema if it has a `type`, else the fields of a struct.
fn element(of: &Node, mistakes: &mut Diagnostics) -> Schema {
    let is_schema =
        of.as_map().and_then(|map| map.value("type")).is_some_and(|kind| kind.scalar().is_some());
    if is_schema {
        return Schema::read(of, mistakes);
    }
    let kind = Kind::Struct(Fields::read(of, mistakes));
    let span = of.span.clone();
    Schema { kind, required: false, default: None, min: None, max: None, pattern: None, span }
}

/// A number without the spelling that it was given in.
fn float(number: f64) -> Value {
    let mut text = number.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    Value::Float(number, text.into())
}

fn bound(node: &Node, name: &str, mistakes: &mut Diagnostics) -> Option<f64> {
    let number = node.scalar().and_then(|text| text.parse().ok());
    if number.is_none() {
        mistakes.push(node.wrong_kind(name, "a number"));
    }
    number
}

fn pattern(node: &Node, mistakes: &mut Diagnostics) -> Option<Regex> {
    match Regex::new(node.scalar().unwrap_or_default()) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // The crate draws its own snippet above the reason.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            mistakes.push(Diagnostic::at(&node.span, "`pattern` is not a pattern").because(reason));
            None
        }
    }
}
