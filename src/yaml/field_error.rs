//! What serde has to say about a field, in words of this program.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::Node;
use crate::diagnostic::{Diagnostic, Span, nearest};

/// A mistake in a field, whose name and place are filled in on the way out.
#[derive(Debug)]
pub struct FieldError {
    problem: Problem,
    span: Option<Span>,
    message: String,
    hint: Option<String>,
}

/// How the message and the name of the enclosing field belong together.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    /// "wants a list", to follow the name of the field.
    Kind,
    /// "unknown field `x`", to be followed by the name of what it is a field of.
    Field,
    /// A phrase that knows nothing of the field it is about.
    Value,
    /// Nothing is to be added.
    Told,
}

impl FieldError {
    /// The mistake. `what` is the name of the whole, `outer` its place, for where no field is
    /// known.
    pub fn into_diagnostic(self, what: &str, outer: &Span) -> Diagnostic {
        let told = self.inside(what, outer);
        let diagnostic = Diagnostic::at(told.span.as_ref().unwrap_or(outer), told.message);
        match told.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }

    fn new(problem: Problem, message: String) -> Self {
        Self { problem, span: None, message, hint: None }
    }

    /// "wants a list, found a text".
    pub(super) fn wrong_kind(node: &Node, wanted: &str) -> Self {
        let message = format!("wants {wanted}, found {}", node.described());
        let hint = node.boolean_hint().filter(|_| wanted.contains("`true`"));
        Self { hint, ..Self::new(Problem::Kind, message) }.or_at(&node.span)
    }

    /// Names the field, unless the message names a nearer one.
    pub(super) fn inside(mut self, field: &str, span: &Span) -> Self {
        self.message = match self.problem {
            Problem::Kind => format!("`{field}` {}", self.message),
            Problem::Field => format!("{} of `{field}`", self.message),
            Problem::Value => format!("`{field}`: {}", self.message),
            Problem::Told => self.message,
        };
        self.problem = Problem::Told;
        self.or_at(span)
    }

    /// The place, unless there is a nearer one.
    pub(super) fn or_at(mut self, span: &Span) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FieldError {}

impl de::Error for FieldError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Problem::Value, message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let message = format!("wants {}, found {}", wanted_words(wanted), found_words(&found));
        Self::new(Problem::Kind, message)
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the fields are {}", ticked(expected)),
        };
        let message = format!("unknown field `{field}`");
        Self { hint: Some(hint), ..Self::new(Problem::Field, message) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(variant, expected.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the values are {}", ticked(expected)),
        };
        let message = format!("unknown value `{variant}`");
        Self { hint: Some(hint), ..Self::new(Problem::Value, message) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Field, format!("missing field `{field}`"))
    }
}

/// serde's name of a type in words of this program.
fn wanted_words(wanted: &dyn Expected) -> String {
    let range = |most: u64| format!("a whole number from 0 to {most}");
    match wanted.to_string().as_str() {
        "u8" => range(u8::MAX.into()),
        "u16" => range(u16::MAX.into()),
        "u32" => range(u32::MAX.into()),
        "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number of that size".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" => "a text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        name if name.starts_with("struct ") => "a map of fields".to_owned(),
        other => other.to_owned(),
    }
}

/// What was found, as [`Node::described`] says it.
fn found_words(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(yes) => format!("a boolean `{yes}`"),
        Unexpected::Unsigned(number) => format!("an integer `{number}`"),
        Unexpected::Signed(number) => format!("an integer `{number}`"),
        Unexpected::Float(number) => format!("a number `{number}`"),
        Unexpected::Str(text) if text.len() <= 40 => format!("a text `{text}`"),
        Unexpected::Str(_) => "a text".to_owned(),
        Unexpected::Bytes(_) => "bytes".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

fn ticked(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
