//! What minijinja says about an expression or a template, as a diagnostic at its place.

use std::ops::Range;

use minijinja::ErrorKind as Kind;

use super::bounds::PART;
use super::filters;
use super::operands::unmarked;
use super::spelling::NUMBER;
use super::tokens::Asked;
use crate::diagnostic::{Diagnostic, Source, Span};

/// What the message of an operation says that the values do not allow.
pub(super) const NOT_EVALUATED: &str = " cannot be evaluated: ";

/// How the message of an expression begins that nobody can read.
const SYNTAX: &str = "syntax error: ";

/// How the message of a name without a value ends.
pub(super) const NOT_DEFINED: &str = " is not defined";

/// The mistake of an expression that is nothing at all.
pub(super) fn undefined(text: &str, span: &Span) -> Diagnostic {
    let name = text.trim();
    let place = in_yaml(name, 0..name.len(), span).unwrap_or_else(|| span.clone());
    Diagnostic::at(&place, format!("`{name}`{NOT_DEFINED}"))
}

/// A mistake in an expression or template as a diagnostic; `text` is the expression, `span` where
/// it is written or the template is named. Values are never shown: they may be secrets.
pub(super) fn explain(error: &minijinja::Error, text: &str, span: &Span) -> Diagnostic {
    let error = innermost(error);
    let place = place(error, text, span);
    let what = place.text().trim_start_matches("{{").trim_end_matches("}}").trim();
    let what = if what.is_empty() || what.contains('\n') || what.len() > 80 {
        "this".to_owned()
    } else {
        format!("`{what}`")
    };
    match error.kind() {
        Kind::UndefinedError => Diagnostic::at(&place, format!("{what}{NOT_DEFINED}")),
        Kind::TemplateNotFound => {
            let detail = detail(error);
            let name = detail.split('\'').nth(1).unwrap_or(&detail);
            Diagnostic::at(&place, format!("template `{name}` is not there"))
                .hint("templates are looked for in the role's `templates/`, then in the project's")
        }
        // The loader's own words: a name that is none, or a file that cannot be read.
        Kind::BadInclude => {
            let detail = detail(error);
            let (message, cause) = detail.split_once('\n').unwrap_or((&detail, ""));
            let mistake = Diagnostic::at(&place, message);
            if cause.is_empty() { mistake } else { mistake.because(cause) }
        }
        Kind::SyntaxError => Diagnostic::at(&place, format!("{SYNTAX}{}", detail(error))),
        // Without a detail the name is a value that was put together: `map("up" ~ "er")`.
        Kind::UnknownFilter if error.detail().is_none() => {
            Diagnostic::at(&place, format!("{what} names an unknown filter"))
        }
        Kind::UnknownTest if error.detail().is_none() => {
            Diagnostic::at(&place, format!("{what} names an unknown test"))
        }
        Kind::UnknownFilter => unknown(Asked::Filter, &place),
        Kind::UnknownTest => unknown(Asked::Test, &place),
        Kind::UnknownFunction => unknown_function(&detail(error), &place),
        Kind::UnknownMethod => Diagnostic::at(&place, detail(error)),
        Kind::OutOfFuel => Diagnostic::at(&place, "this takes too long to evaluate"),
        _ => Diagnostic::at(&place, format!("{what}{NOT_EVALUATED}{}", detail(error))),
    }
}

/// The mistake of a statement in a text; `range` is where in the text.
pub(super) fn misplaced_statement(text: &str, range: Range<usize>, span: &Span) -> Diagnostic {
    let place = in_yaml(text, range, span).unwrap_or_else(|| span.clone());
    Diagnostic::at(&place, "a text cannot hold a statement, only expressions in double braces")
        .hint("put it into a template, or write `{{ '{%' }}` for `{%` that is meant as it is")
}

/// Says in `mistake` how to write braces that another program shall see, where the text may hold
/// some: `{{.Names}}` and `{{ json .Names }}` are templates of Go.
pub(super) fn foreign_braces(text: &str, mistake: &mut Diagnostic) {
    let inside = text.split_once("{{").and_then(|(_, rest)| rest.split_once("}}"));
    let inside = inside.map(|(inside, _)| inside).unwrap_or_default();
    let is_foreign = mistake.message.starts_with(SYNTAX)
        || mistake.message.ends_with(NOT_DEFINED) && inside.trim().contains(" .");
    if is_foreign && mistake.hint.is_none() {
        let is_short = inside.len() <= 40 && !inside.contains(['\'', '\n', '{']);
        let shown = if is_short { format!("{{{{{inside}}}}}") } else { "{{".to_owned() };
        mistake.hint = Some(format!(
            "braces that are meant for another program are written `{{{{ '{shown}' }}}}`"
        ));
    }
}

/// The mistake of a filter or test that does not exist; `place` may begin with what it is given.
pub(super) fn unknown(asked: Asked, place: &Span) -> Diagnostic {
    let name = place.text().rsplit('|').next().unwrap_or_default().trim();
    let (what, known) = match asked {
        Asked::Filter => ("filter", filters::NAMES),
        Asked::Test => ("test", filters::TESTS),
    };
    Diagnostic::at(place, format!("unknown {what} `{name}`")).suggest(name, known.iter().copied())
}

/// The mistake of a function that does not exist; `detail` is how minijinja says so.
fn unknown_function(detail: &str, place: &Span) -> Diagnostic {
    let name = detail.strip_suffix(" is unknown").unwrap_or(detail);
    let mistake = Diagnostic::at(place, format!("unknown function `{name}`"));
    mistake.suggest(name, filters::FUNCTIONS.iter().copied())
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

/// The bytes the mistake is about: in the template if there is one, else in the YAML file if they
/// can be found there, else the whole value.
fn place(error: &minijinja::Error, text: &str, span: &Span) -> Span {
    let is_undefined = error.kind() == Kind::UndefinedError;
    let name = error.name().unwrap_or_default();
    if let (false, Some(source)) =
        (name.is_empty() || name == "<expression>", error.template_source())
    {
        let (source, range) = range(error, source, is_undefined);
        return Span::new(&Source::new(name, &source), range.unwrap_or(0..0));
    }
    let (text, range) = range(error, text, is_undefined);
    range.and_then(|range| in_yaml(&text, range, span)).unwrap_or_else(|| span.clone())
}

/// The text as it was written, and the bytes of it that the mistake is about. `marked` has marks at operands.
fn range(
    error: &minijinja::Error,
    marked: &str,
    is_undefined: bool,
) -> (String, Option<Range<usize>>) {
    let range = error.range().map(|range| widened(marked, range, is_undefined));
    let range = range.or_else(|| line_range(marked, error.line()?));
    let is_known = range.is_some();
    let (text, range) = unmarked(marked, range.unwrap_or(0..0));
    (text, is_known.then_some(range))
}

/// minijinja marks only the last step of `a.b.c`, and the filter instead of what it is given.
fn widened(source: &str, range: Range<usize>, is_undefined: bool) -> Range<usize> {
    let marked = source.get(range.clone()).unwrap_or_default();
    let before = source.get(..range.start).unwrap_or_default();
    if marked.starts_with(['.', '[']) {
        return path_start(before)..range.end;
    }
    let is_of_given = is_undefined || [NUMBER, PART].contains(&marked);
    if let (true, Some(given)) = (is_of_given, before.trim_end().strip_suffix('|')) {
        let given = given.trim_end();
        let start = path_start(given);
        if start < given.len() {
            return start..given.len();
        }
    }
    range
}

/// Where the name begins that `text` ends with.
fn path_start(text: &str) -> usize {
    let in_path = |c: char| c.is_alphanumeric() || "_.[]'\"".contains(c);
    text.trim_end_matches(in_path).len()
}

/// The place of a part of a text in the YAML file. There the text may look different: a block of
/// lines is indented, a quoted text may hold escapes. Then the same words are looked for.
pub(super) fn in_yaml(text: &str, range: Range<usize>, span: &Span) -> Option<Span> {
    let written = span.text();
    let words = text.get(range.clone())?;
    let start = if let Some(start) = written.find(text) {
        start + range.start
    } else {
        let earlier = text.get(..range.start)?.matches(words).count();
        written.match_indices(words).nth(earlier).filter(|_| !words.is_empty())?.0
    };
    let start = span.range.start + start;
    Some(Span::new(&span.source, start..start + words.len()))
}

/// The bytes of a line, from 1.
fn line_range(source: &str, number: usize) -> Option<Range<usize>> {
    let mut start = 0;
    for (index, line) in source.split_inclusive('\n').enumerate() {
        if index + 1 == number {
            return Some(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    None
}
