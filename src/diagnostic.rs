//! What is wrong with what the user wrote: a phrase, the place with a caret, causes, one hint.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::shown;

/// A text that the user wrote, and the name it is shown under.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path relative to the project, or what stands for one: `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A piece of a [`Source`].
#[derive(Clone, PartialEq, Eq)]
pub struct Span {
    /// Where it is.
    pub source: Arc<Source>,
    /// Which bytes of it.
    pub range: Range<usize>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A lowercase phrase without full stop, names in backticks.
    pub message: String,
    /// Where it is; the first place is the mistake itself, the others explain it.
    pub places: Vec<Place>,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A marked piece of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is marked.
    pub span: Span,
    /// What is said of it, beside the mark; may be empty.
    pub label: String,
}

/// One or more mistakes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Source {
    /// A text under a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }
}

impl Span {
    /// Bytes of a source; a range beyond its end is cut, and one that splits a character takes
    /// it whole.
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let end = source.text.ceil_char_boundary(range.end);
        let start = source.text.floor_char_boundary(range.start.min(end));
        Self { source: Arc::clone(source), range: start..end }
    }

    /// The number of the line it begins on, from 1.
    pub fn line(&self) -> usize {
        let before = self.source.text.as_bytes().iter().take(self.range.start);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    /// `inventory/rufus.yaml:9`; an option of the command line, which is one line, by name alone.
    pub fn place(&self) -> String {
        if self.source.name.starts_with("--") {
            return self.source.name.clone();
        }
        format!("{}:{}", self.source.name, self.line())
    }

    /// What of it is marked: of several lines only the first, which says enough.
    fn marked(&self) -> Range<usize> {
        let first = self.text().lines().next().unwrap_or_default();
        self.range.start..self.range.start + first.len()
    }

    /// The text it covers.
    pub fn text(&self) -> &str {
        self.source.text.get(self.range.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.source.name, self.range)
    }
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn at(span: &Span, message: impl Into<String>) -> Self {
        let place = Place { span: span.clone(), label: String::new() };
        Self { message: message.into(), places: vec![place], causes: Vec::new(), hint: None }
    }

    /// A mistake that is in no file.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), places: Vec::new(), causes: Vec::new(), hint: None }
    }

    /// The same mistake, at a place.
    pub fn placed(self, span: &Span) -> Self {
        Self { places: Self::at(span, "").places, ..self }
    }

    /// Says something beside the mark of the mistake itself.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(place) = self.places.first_mut() {
            place.label = label.into();
        }
        self
    }

    /// Marks another place that explains the mistake.
    pub fn and(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.places.push(Place { span: span.clone(), label: label.into() });
        self
    }

    /// Adds a reason.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Sets the hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the hint ``did you mean `x`?`` if one of `known` is near to `given`.
    pub fn suggest<'a>(self, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(given, known) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// The text for people.
    pub fn render(&self, colored: bool) -> String {
        let renderer = if colored { Renderer::styled() } else { Renderer::plain() };
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message));
        let labels: Vec<String> =
            self.places.iter().map(|place| shown::line(&place.label)).collect();

        let mut sources: Vec<(&Arc<Source>, String)> = Vec::new();
        for Place { span, .. } in &self.places {
            if !sources.iter().any(|(source, _)| *source == &span.source) {
                sources.push((&span.source, shown::line(&span.source.name)));
            }
        }
        for (source, path) in &sources {
            let here = self.places.iter().zip(&labels).enumerate();
            let here = here.filter(|(_, (place, _))| place.span.source == **source);
            let annotations = here.map(|(index, (place, label))| {
                let kind =
                    if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                let annotation = kind.span(place.span.marked());
                if label.is_empty() { annotation } else { annotation.label(label) }
            });
            let snippet = Snippet::source(&source.text).path(path);
            group = group.element(snippet.annotations(annotations));
        }
        let mut text = renderer.render(&[group]);
        for cause in &self.causes {
            text.push_str("\ncaused by: ");
            text.push_str(&shown::lines(cause));
        }
        if let Some(hint) = &self.hint {
            text.push_str("\nhint: ");
            text.push_str(&shown::lines(hint));
        }
        shown::composed(&text, colored)
    }
}

impl Diagnostics {
    /// No mistake yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake; the same one twice is told once.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        others.0.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// The same mistakes in files of a git revision: `HEAD~1:inventory/web.yaml`.
    #[must_use]
    pub fn at_revision(mut self, revision: &str) -> Self {
        for place in self.0.iter_mut().flat_map(|mistake| &mut mistake.places) {
            let source = &place.span.source;
            // What the command line says is no file.
            if !source.name.starts_with("--") {
                let name = format!("{revision}:{}", source.name);
                place.span.source = Source::new(name, source.text.as_str());
            }
        }
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// `value` if there is no mistake.
    ///
    /// # Errors
    /// The mistakes.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The text for people, an empty line between two.
    pub fn render(&self, colored: bool) -> String {
        let texts: Vec<String> = self.0.iter().map(|one| one.render(colored)).collect();
        texts.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// The name in `known` that a person may have meant by `given`.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters to insert, delete, replace or swap to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_the_place_with_a_caret_and_a_hint() {
        let source = Source::new(
            "inventory/rufus.yaml",
            "\n\n\n\n\n\n\n\n  nginx: { worker_conections: 1024 }\n",
        );
        let start = source.text.find("worker").unwrap();
        let span = Span::new(&source, start..start + 17);
        let diagnostic =
            Diagnostic::at(&span, "unknown parameter `worker_conections` of role `nginx`")
                .suggest("worker_conections", ["sites", "worker_connections"]);
        assert_eq!(
            diagnostic.render(false),
            "\
error: unknown parameter `worker_conections` of role `nginx`
 --> inventory/rufus.yaml:9:12
  |
9 |   nginx: { worker_conections: 1024 }
  |            ^^^^^^^^^^^^^^^^^
hint: did you mean `worker_connections`?"
        );
        assert_eq!(span.place(), "inventory/rufus.yaml:9");
    }

    #[test]
    fn marks_whole_characters_of_the_first_line() {
        let source = Source::new("a.yaml", "é: 1\nb: 2\n");
        assert_eq!(Span::new(&source, 1..6).text(), "é: 1\n");
        assert_eq!(Span::new(&source, 99..100).text(), "");
        let text = Diagnostic::at(&Span::new(&source, 0..10), "wrong").render(false);
        assert_eq!(text, "error: wrong\n --> a.yaml:1:1\n  |\n1 | é: 1\n  | ^^^^");
    }

    #[test]
    fn nothing_drives_the_terminal() {
        let source = Source::new("a.yaml", "a: \u{1b}[2J##[error]\n");
        let text = "\u{1b}[2J\u{202e}\u{200b}\n::error::x";
        let mistake = Diagnostic::at(&Span::new(&source, 0..1), "no `\u{1b}[2J`\n::error::x")
            .label(text)
            .because(text)
            .hint(text);
        assert_eq!(
            mistake.render(false),
            "\
error: no `␛[2J`
       \\u{3a}:error::x
 --> a.yaml:1:1
  |
1 | a: ␛[2J#\\u{23}[error]
  | ^ \\u{1b}[2J\\u{202e}\\u{200b}\\n::error::x
caused by: \\u{1b}[2J\\u{202e}\\u{200b}
  \\u{3a}:error::x
hint: \\u{1b}[2J\\u{202e}\\u{200b}
  \\u{3a}:error::x"
        );
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest("wbe", ["web", "mail"]), Some("web"));
        assert_eq!(nearest("ownr", ["owner", "path"]), Some("owner"));
        assert_eq!(nearest("x", ["y", "path"]), None);
        assert_eq!(nearest("database", ["path", "mode"]), None);
    }
}
