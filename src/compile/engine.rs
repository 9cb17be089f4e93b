//! The template engine: minijinja, strict, with the filters that configuration files need.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind as Kind, UndefinedBehavior, Value};

use super::filters;
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::inventory::Project;

/// Steps after which an expression or template is stopped: an endless loop is a mistake.
const FUEL: u64 = 5_000_000;

/// minijinja with what a project brings.
pub(super) struct Engine {
    environment: Environment<'static>,
}

/// Why an expression or a template could not be evaluated. What went wrong inside a value that it
/// refers to is told at that value's own place.
pub(super) type Failure = Box<Diagnostic>;

impl Engine {
    /// An engine that finds templates in the roles and in `templates/` of `project`.
    pub(super) fn new(project: &Project) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true)
            .build();
        if let Ok(syntax) = syntax {
            environment.set_syntax(syntax);
        }
        // As in Ansible: nothing is written as nothing, not as `none`.
        environment.set_formatter(|out, state, value| {
            if value.is_none() {
                return Ok(());
            }
            minijinja::escape_formatter(out, state, value)
        });
        filters::add(&mut environment);
        let loader = project.clone();
        environment.set_loader(move |name| match loader.source(name) {
            Ok(source) => Ok(source.map(|source| source.text.clone())),
            Err(mistake) => Err(minijinja::Error::new(Kind::TemplateNotFound, mistake.message)),
        });
        let finder = project.clone();
        environment.set_path_join_callback(move |name, parent| find(&finder, name, parent).into());
        Self { environment }
    }

    /// The value of a bare expression, such as `tls and port == 443`. `span` is where it is
    /// written; mistakes point into it.
    pub(super) fn expression(
        &self,
        text: &str,
        span: &Span,
        scope: Value,
    ) -> Result<Value, Failure> {
        let result = self.environment.compile_expression_owned(text.to_owned());
        let result = result.and_then(|expression| expression.eval(scope));
        match result {
            Ok(value) if value.is_undefined() => Err(Box::new(undefined(text, span))),
            Ok(value) => Ok(value),
            Err(error) => Err(Box::new(explain(&error, text, span))),
        }
    }

    /// The value of a text of the inventory or of a role: one whole expression keeps its type.
    pub(super) fn text(&self, text: &str, span: &Span, scope: Value) -> Result<Value, Failure> {
        if let Some(inner) = whole(text)
            && self.environment.compile_expression_owned(inner.to_owned()).is_ok()
        {
            return self.expression(inner, span, scope);
        }
        let result = self.environment.render_named_str("", text, scope);
        result.map(Value::from).map_err(|error| Box::new(explain(&error, text, span)))
    }

    /// A template as text. `name` is its path in the project, `span` where it is asked for.
    pub(super) fn template(
        &self,
        name: &str,
        span: &Span,
        scope: Value,
    ) -> Result<String, Failure> {
        let result = self.environment.get_template(name).and_then(|found| found.render(scope));
        result.map_err(|error| Box::new(explain(&error, "", span)))
    }
}

/// Whether a text holds anything to evaluate.
pub(super) fn has_expression(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// What is between the braces of a text that may be one whole expression.
fn whole(text: &str) -> Option<&str> {
    text.trim().strip_prefix("{{")?.strip_suffix("}}")
}

/// Where a template includes another from: its own folder first, then `templates/`.
fn find(project: &Project, name: &str, parent: &str) -> String {
    let own = parent.rsplit_once('/').map(|(folder, _)| format!("{folder}/{name}"));
    match own {
        Some(path) if project.root.join(&path).is_file() => path,
        _ => format!("templates/{name}"),
    }
}

/// The mistake of an expression that is nothing at all.
fn undefined(text: &str, span: &Span) -> Diagnostic {
    let name = text.trim();
    let start = span.text().find(name).map(|offset| span.range.start + offset);
    let place = start.map(|start| Span::new(&span.source, start..start + name.len()));
    Diagnostic::at(&place.unwrap_or_else(|| span.clone()), format!("`{name}` is not defined"))
}

/// A mistake in an expression or template as a diagnostic. Values are never shown: they may be
/// secrets.
fn explain(error: &minijinja::Error, text: &str, span: &Span) -> Diagnostic {
    let error = innermost(error);
    let place = place(error, text, span);
    let what = place.text().trim().to_owned();
    let what = if what.is_empty() || what.contains('\n') || what.len() > 80 {
        "this".to_owned()
    } else {
        format!("`{}`", what.trim_start_matches("{{").trim_end_matches("}}").trim())
    };
    let message = match error.kind() {
        Kind::UndefinedError => format!("{what} is not defined"),
        Kind::TemplateNotFound => format!("template not found: {}", detail(error)),
        Kind::SyntaxError => format!("syntax error: {}", detail(error)),
        Kind::UnknownFilter | Kind::UnknownTest | Kind::UnknownFunction | Kind::UnknownMethod => {
            detail(error)
        }
        Kind::OutOfFuel => "this takes too long to evaluate".to_owned(),
        _ => format!("{what} cannot be evaluated: {}", detail(error)),
    };
    let mistake = Diagnostic::at(&place, message);
    match error.kind() {
        Kind::UnknownFilter => mistake.suggest(
            what.trim_matches('`').rsplit('|').next().unwrap_or_default().trim(),
            filters::NAMES.iter().copied(),
        ),
        _ => mistake,
    }
}

fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// The error that a chain of includes and imports began with.
fn innermost(error: &minijinja::Error) -> &minijinja::Error {
    let mut error = error;
    while let Some(source) = std::error::Error::source(error) {
        match source.downcast_ref::<minijinja::Error>() {
            Some(inner) => error = inner,
            None => break,
        }
    }
    error
}

/// The bytes the mistake is about: in the template if there is one, else in the YAML file if the
/// text stands there as it is, else the whole value.
fn place(error: &minijinja::Error, text: &str, span: &Span) -> Span {
    let range = error.range().or_else(|| line_range(error));
    let name = error.name().unwrap_or_default();
    if let (false, Some(source)) =
        (name.is_empty() || name == "<expression>", error.template_source())
    {
        let source = Source::new(name, source);
        return Span::new(&source, range.unwrap_or(0..0));
    }
    let start = span.text().find(text).map(|offset| span.range.start + offset);
    match (start, range) {
        (Some(start), Some(range)) if range.end <= text.len() => {
            Span::new(&span.source, start + range.start..start + range.end)
        }
        _ => span.clone(),
    }
}

/// The line of an error that has no exact range.
fn line_range(error: &minijinja::Error) -> Option<std::ops::Range<usize>> {
    let source = error.template_source()?;
    let number = error.line()?.checked_sub(1)?;
    let mut start = 0;
    for (index, line) in source.split_inclusive('\n').enumerate() {
        if index == number {
            return Some(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}

/// A shared engine.
pub(super) type Shared = Arc<Engine>;
