//! The template engine: minijinja, strict, with the filters that configuration files need.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minijinja::{Environment, ErrorKind as Kind, UndefinedBehavior, Value, context};

use super::caught::caught;
use super::explain::{
    NOT_DEFINED, explain, foreign_braces, in_yaml, misplaced_statement, undefined, unknown,
};
use super::loaded::Loaded;
use super::operands::marked;
use super::statements::statement;
use super::tokens::{Asked, Syntax, asked};
use super::untaken::{is_optional, places};
use super::{bounds, filters, spelling};
use crate::diagnostic::{Diagnostic, Span};
use crate::inventory::Project;

/// minijinja with what a project brings.
pub(super) struct Engine {
    environment: Environment<'static>,
    /// The same for texts, in which only double braces are special.
    texts: Environment<'static>,
    /// The templates that were loaded.
    loaded: Arc<Mutex<Loaded>>,
}

/// Why an expression or a template could not be evaluated. What went wrong inside a value that it
/// refers to is told at that value's own place.
pub(super) type Failure = Box<Diagnostic>;

impl Engine {
    /// An engine that finds templates in the roles and in `templates/` of `project`.
    pub(super) fn new(project: &Project) -> Self {
        let mut environment = Environment::new();
        // By default an error knows its place in builds with debug assertions only.
        environment.set_debug(true);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        bounds::add(&mut environment);
        environment.set_fuel(Some(bounds::FUEL));
        environment.set_syntax(Syntax::Template.config());
        // As in Ansible: nothing is written as nothing, not as `none`.
        environment.set_formatter(|out, state, value| {
            if value.is_none() {
                return Ok(());
            }
            bounds::check(value)?;
            minijinja::escape_formatter(out, state, value)
        });
        filters::add(&mut environment);
        spelling::add(&mut environment);
        let files = project.clone();
        let loaded: Arc<Mutex<Loaded>> = Arc::default();
        let news = Arc::clone(&loaded);
        environment.set_loader(move |name| {
            if !is_name(name) {
                let message = format!("`{name}` is not a name below `templates/`");
                return Err(minijinja::Error::new(Kind::BadInclude, message));
            }
            match files.source(name) {
                Ok(source) => Ok(source.map(|source| {
                    lock(&news).add(name, &source);
                    marked(&source.text, Syntax::Template).into_owned()
                })),
                Err(mistake) => {
                    let lines = [&[mistake.message], mistake.causes.as_slice()].concat();
                    Err(minijinja::Error::new(Kind::BadInclude, lines.join("\n")))
                }
            }
        });
        let (finder, asked) = (project.clone(), Arc::clone(&loaded));
        environment.set_path_join_callback(move |name, parent| {
            let found = find(&finder, name, parent);
            lock(&asked).ask(parent, &found);
            found.into()
        });
        let mut texts = environment.clone();
        texts.set_syntax(Syntax::Text.config());
        Self { environment, texts, loaded }
    }

    /// The first filter or test in a source that does not exist, with its place in the source.
    fn unknown(&self, source: &str, syntax: Syntax) -> Option<(Asked, Range<usize>)> {
        let asked = asked(source, syntax);
        asked.into_iter().find(|(asked, range)| {
            let question = match asked {
                Asked::Filter => "name is filter",
                Asked::Test => "name is test",
            };
            let known = self.environment.compile_expression(question);
            let name = source.get(range.clone());
            known.and_then(|known| known.eval(context! { name })).is_ok_and(|it| !it.is_true())
        })
    }

    /// The first unknown filter or test in a template that was loaded, or in one that it has asked for.
    fn unknown_in_template(&self, name: &str) -> Option<Failure> {
        let mistake = lock(&self.loaded).mistake(name, |source| {
            let (asked, range) = self.unknown(&source.text, Syntax::Template)?;
            Some(unknown(asked, &Span::new(source, range)))
        });
        mistake.map(Box::new)
    }

    /// The same in a text or an expression that is written at `span`.
    fn unknown_in(&self, text: &str, syntax: Syntax, span: &Span) -> Option<Failure> {
        let (asked, range) = self.unknown(text, syntax)?;
        Some(Box::new(unknown(asked, &in_yaml(text, range, span).unwrap_or_else(|| span.clone()))))
    }

    /// The value of a bare expression, such as `tls and port == 443`. `span` is where it is
    /// written; mistakes point into it.
    pub(super) fn expression(
        &self,
        text: &str,
        span: &Span,
        scope: Value,
    ) -> Result<Value, Failure> {
        if let Some(mistake) = self.unknown_in(text, Syntax::Expression, span) {
            return Err(mistake);
        }
        let marked = marked(text, Syntax::Expression);
        let result = self.environment.compile_expression_owned(marked.to_string());
        let result = result.and_then(|expression| caught(span, || expression.eval(scope)));
        match result {
            Ok(value) if value.is_undefined() => Err(Box::new(undefined(text, span))),
            Ok(value) => Ok(value),
            Err(error) => Err(Box::new(explain(&error, &marked, span))),
        }
    }

    /// The value of a text of the inventory or of a role: one whole expression keeps its type.
    pub(super) fn text(&self, text: &str, span: &Span, scope: Value) -> Result<Value, Failure> {
        let result = self.mixed(text, span, scope);
        result.map_err(|mut mistake| {
            foreign_braces(text, &mut mistake);
            mistake
        })
    }

    /// The expression that a text is as a whole.
    fn whole<'t>(&self, text: &'t str) -> Option<&'t str> {
        let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
        self.environment.compile_expression_owned(inner.to_owned()).is_ok().then_some(inner)
    }

    fn mixed(&self, text: &str, span: &Span, scope: Value) -> Result<Value, Failure> {
        if let Some(inner) = self.whole(text) {
            return self.expression(inner, span, scope);
        }
        if let Some(range) = statement(text) {
            return Err(Box::new(misplaced_statement(text, range, span)));
        }
        if let Some(mistake) = self.unknown_in(text, Syntax::Text, span) {
            return Err(mistake);
        }
        let marked = marked(text, Syntax::Text);
        let result = caught(span, || self.texts.render_named_str("", &marked, scope));
        result.map(Value::from).map_err(|error| Box::new(explain(&error, &marked, span)))
    }

    /// Reads a text, or a `bare` expression, without its values. It may ask for `names` alone.
    pub(super) fn inspect(
        &self,
        text: &str,
        bare: bool,
        span: &Span,
        names: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let expression = if bare { Some(text) } else { self.whole(text) };
        let syntax = if expression.is_some() { Syntax::Expression } else { Syntax::Text };
        let read = expression.unwrap_or(text);
        if let (None, Some(range)) = (expression, statement(text)) {
            return Err(Box::new(misplaced_statement(text, range, span)));
        }
        if let Some(mistake) = self.unknown_in(read, syntax, span) {
            return Err(mistake);
        }
        let asked = match expression {
            Some(inner) => self
                .environment
                .compile_expression_owned(inner.to_owned())
                .map(|expression| expression.undeclared_variables(false)),
            None => self
                .texts
                .template_from_named_str("", text)
                .map(|template| template.undeclared_variables(false)),
        };
        let asked = asked.map_err(|error| {
            let mut mistake = explain(&error, read, span);
            foreign_braces(text, &mut mistake);
            Box::new(mistake)
        })?;
        self.check_names(asked, read, names, |range| {
            in_yaml(text, within(text, read, range), span).unwrap_or_else(|| span.clone())
        })
    }

    /// Reads a template without its values: its syntax, its filters and tests. Names are not looked at, since
    /// branches, includes and other templates may give them. `name` is its path in the project, `span` where it is
    /// asked for.
    pub(super) fn inspect_template(&self, name: &str, span: &Span) -> Result<(), Failure> {
        let found = self.environment.get_template(name).map(drop);
        if let Some(mistake) = self.unknown_in_template(name) {
            return Err(mistake);
        }
        found.map_err(|error| Box::new(explain(&error, "", span)))
    }

    /// Refuses a name that is asked for and that nothing gives.
    fn check_names(
        &self,
        asked: impl IntoIterator<Item = String>,
        text: &str,
        names: &BTreeSet<String>,
        span: impl Fn(Range<usize>) -> Span,
    ) -> Result<(), Failure> {
        let is_known = |name: &String| {
            names.contains(name)
                || self.environment.globals().any(|(global, _)| global == name)
                || is_optional(name, text)
        };
        let asked: BTreeSet<String> = asked.into_iter().collect();
        match asked.into_iter().find(|name| !is_known(name)) {
            Some(name) => {
                let known = names.iter().map(String::as_str);
                let inside = places(&name, text).find(|place| is_in_braces(text, place.start));
                let place = inside.or_else(|| places(&name, text).next()).unwrap_or_default();
                let place = span(place);
                let mistake = Diagnostic::at(&place, format!("`{name}`{NOT_DEFINED}"));
                Err(Box::new(mistake.suggest(&name, known)))
            }
            None => Ok(()),
        }
    }

    /// A template as text. `name` is its path in the project, `span` where it is asked for.
    pub(super) fn template(
        &self,
        name: &str,
        span: &Span,
        scope: Value,
    ) -> Result<String, Failure> {
        let result = self.environment.get_template(name);
        let result = result.and_then(|found| caught(span, || found.render(scope)));
        if let Some(mistake) = self.unknown_in_template(name) {
            return Err(mistake);
        }
        result.map_err(|error| Box::new(explain(&error, "", span)))
    }
}

fn lock(loaded: &Mutex<Loaded>) -> MutexGuard<'_, Loaded> {
    loaded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an expression of a text begins before `at` and ends behind it.
fn is_in_braces(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.rfind("{{") > before.rfind("}}")
}

/// A range of a part of a text, in the whole.
fn within(text: &str, part: &str, range: Range<usize>) -> Range<usize> {
    let start = text.find(part).unwrap_or_default();
    start + range.start..start + range.end
}

/// Whether the parts of a template's path are names of files and folders.
fn is_name(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether a text holds anything to evaluate, or to refuse.
pub(super) fn has_expression(text: &str) -> bool {
    text.contains("{{") || statement(text).is_some()
}

/// Where a template includes another from: the templates of its role first, then the project's.
fn find(project: &Project, name: &str, parent: &str) -> String {
    let mut parts = parent.splitn(4, '/');
    if let (Some("roles"), Some(role)) = (parts.next(), parts.next()) {
        let own = format!("roles/{role}/templates/{name}");
        if project.has_file(&own) {
            return own;
        }
    }
    format!("templates/{name}")
}

/// A shared engine.
pub(super) type Shared = Arc<Engine>;
