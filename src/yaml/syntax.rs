//! What is wrong with a text that is not YAML, in words for people who did not read its
//! specification.

use std::sync::Arc;

use granit_parser::{ErrorKind, ScanError};

use crate::diagnostic::{Diagnostic, Source, Span};

const INDENTATION: &str = "keys of one map, and elements of one list, stand below each other";
const QUOTES: &str = "put quotes around the whole text";

/// The mistake that the parser stopped at.
pub(super) fn mistake(source: &Arc<Source>, error: &ScanError) -> Diagnostic {
    use ErrorKind as Kind;
    let at = At::new(source, error);
    let (message, hint) = match error.kind() {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabInPlainScalar
        | Kind::TabAtBlockScalarStart => return at.tab(),
        Kind::MappingValueNotAllowed | Kind::MappingKeyNotAllowed => return at.second_colon(),
        Kind::ExpectedBlockMappingKey if at.is_after_something() => {
            ("unexpected text after the value".to_owned(), QUOTES)
        }
        Kind::ExpectedBlockMappingKey => ("a key is expected here".to_owned(), INDENTATION),
        Kind::ExpectedBlockSequenceEntry => {
            ("an element of the list (`- `) is expected here".to_owned(), INDENTATION)
        }
        Kind::BlockSequenceEntryNotAllowed => {
            ("a list cannot begin here".to_owned(), "put its first `- ` on the next line")
        }
        Kind::ExpectedFlowMappingSeparator | Kind::UnexpectedEofFlowMapping => {
            ("`,` or `}` is missing before this".to_owned(), "")
        }
        Kind::ExpectedFlowSequenceSeparator | Kind::UnexpectedEofFlowSequence => {
            ("`,` or `]` is missing before this".to_owned(), "")
        }
        Kind::UnclosedFlowCollection { open } => (format!("`{open}` is never closed"), ""),
        Kind::MisplacedFlowCollectionEnd | Kind::MismatchedFlowCollectionEnd { .. } => {
            (format!("`{}` closes nothing", at.character()), "")
        }
        Kind::UnexpectedEofImplicitFlowMapping | Kind::ExpectedNodeContent => {
            ("a value is expected here".to_owned(), "")
        }
        Kind::UnclosedQuotedScalar => ("the quote is never closed".to_owned(), ""),
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => {
            ("unexpected text after the closing quote".to_owned(), QUOTES)
        }
        Kind::UnknownQuotedScalarEscape | Kind::InvalidQuotedScalarHexEscape => (
            "unknown escape in a text between double quotes".to_owned(),
            "write `\\\\` for a backslash, or use single quotes",
        ),
        Kind::InvalidBlockScalarHeader => (
            "unexpected text after `|` or `>`".to_owned(),
            "the text begins on the next line, indented",
        ),
        Kind::UnknownAnchor => (format!("`{}` names no anchor", at.word()), ""),
        Kind::UnexpectedCharacter { .. } => {
            (format!("a value cannot begin with {}", at.quoted_character()), QUOTES)
        }
        Kind::BomInsideDocument => ("a byte-order mark inside the file".to_owned(), "remove it"),
        Kind::DirectiveDisallowed => ("directives are not supported".to_owned(), "remove the line"),
        Kind::RecursionLimitExceeded => ("values are nested too deeply".to_owned(), ""),
        other => (other.to_string().replace('\'', "`"), ""),
    };
    let mistake = Diagnostic::at(&at.span, message);
    if hint.is_empty() { mistake } else { mistake.hint(hint) }
}

/// The mistake of `host: {{ name }}`, which YAML reads as a map that is the key of a map. `key`
/// is the inner map.
pub(super) fn unquoted_expression(key: &Span) -> Option<Diagnostic> {
    let start = key.range.start.checked_sub(1)?;
    let text = key.source.text.get(start..)?;
    let expression = text.strip_prefix("{{")?.split("}}").next()?;
    let range = start..start + "{{".len() + expression.len() + "}}".len();
    let is_short = !expression.contains('\n') && expression.len() <= 60;
    let shown = if is_short { expression.trim() } else { "…" };
    let message = "an expression without quotes is read as a map";
    let mistake = Diagnostic::at(&Span::new(&key.source, range), message);
    Some(mistake.hint(format!("put quotes around the whole value, as in `\"{{{{ {shown} }}}}\"`")))
}

/// Where the parser stopped.
struct At<'a> {
    source: &'a Arc<Source>,
    span: Span,
    /// Where its line begins.
    line: usize,
}

impl<'a> At<'a> {
    fn new(source: &'a Arc<Source>, error: &ScanError) -> Self {
        let at = error.marker().byte_offset().unwrap_or(0);
        let rest = source.text.get(at..).unwrap_or_default();
        let width = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        let before = source.text.get(..at).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        Self { source, span: Span::new(source, at..at + width), line }
    }

    fn rest(&self) -> &'a str {
        self.source.text.get(self.span.range.start..).unwrap_or_default()
    }

    fn character(&self) -> String {
        self.rest().chars().next().unwrap_or(' ').escape_default().to_string()
    }

    fn quoted_character(&self) -> String {
        if self.rest().starts_with('`') {
            "a backtick".to_owned()
        } else {
            format!("`{}`", self.character())
        }
    }

    fn word(&self) -> &'a str {
        self.rest()
            .split(|c: char| c.is_whitespace() || ",]}".contains(c))
            .next()
            .unwrap_or_default()
    }

    fn before(&self) -> &'a str {
        self.source.text.get(self.line..self.span.range.start).unwrap_or_default()
    }

    /// Whether more than indentation stands before it on its line.
    fn is_after_something(&self) -> bool {
        !self.before().trim().is_empty()
    }

    /// The parser may stop before or behind the tab that it dislikes.
    fn tab(&self) -> Diagnostic {
        let rest = self.source.text.get(self.line..).unwrap_or_default();
        let Some(offset) = rest.find('\t') else {
            return Diagnostic::at(&self.span, "a tab is not allowed here");
        };
        let span = Span::new(self.source, self.line + offset..self.line + offset + 1);
        let line = rest.get(..offset).and_then(|before| before.rsplit('\n').next());
        if line.is_some_and(|before| before.trim().is_empty()) {
            Diagnostic::at(&span, "tab used for indentation").hint("YAML indents with spaces")
        } else {
            Diagnostic::at(&span, "a tab is not allowed here").hint("use a space")
        }
    }

    /// A `:` where no key can be: after another on the same line, or below a value.
    fn second_colon(&self) -> Diagnostic {
        if self.before().contains(": ") {
            return Diagnostic::at(&self.span, "a second `: ` on the same line")
                .hint("put quotes around a text that holds `: `");
        }
        let key = self.before().trim_start();
        let start = self.span.range.start - key.len();
        let span = Span::new(self.source, start..self.span.range.start);
        Diagnostic::at(&span, "a key is not expected here")
            .hint("the line above has a value already, or lacks its `:`; check the indentation")
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Source;
    use crate::yaml::parse;

    /// Message, line:column and hint of each mistake.
    fn mistakes(text: &str) -> Vec<String> {
        let Err(mistakes) = parse(&Source::new("a.yaml", text)) else { return Vec::new() };
        let brief = |mistake: &crate::diagnostic::Diagnostic| {
            let span = &mistake.places[0].span;
            let column = span.range.start
                - span.source.text[..span.range.start].rfind('\n').map_or(0, |end| end + 1);
            let hint = mistake.hint.as_deref().unwrap_or("-");
            format!("{}:{} {} / {hint}", span.line(), column + 1, mistake.message)
        };
        mistakes.iter().map(brief).collect()
    }

    #[test]
    fn says_what_is_wrong_in_plain_words() {
        let expression = "an expression without quotes is read as a map / put quotes around the \
                          whole value, as in `\"{{ name }}\"`";
        let stand = "keys of one map, and elements of one list, stand below each other";
        let above = "the line above has a value already, or lacks its `:`; check the indentation";
        for (text, wanted) in [
            (
                "a: b: c\n",
                "1:5 a second `: ` on the same line / put quotes around a text that holds `: `",
            ),
            ("host: {{ name }}\nb: 1\n", &format!("1:7 {expression}")),
            ("host: {{ name }}.example.org\n", &format!("1:7 {expression}")),
            ("a: [{{ name }}, 2]\n", &format!("1:5 {expression}")),
            ("- {{ name }}\n", &format!("1:3 {expression}")),
            (
                "x: {% if %}\n",
                "1:5 a value cannot begin with `%` / put quotes around the whole text",
            ),
            ("a: 'b\nc: d\n", "1:4 the quote is never closed / -"),
            ("a: {b: 1\nc: 2\n", "2:2 `,` or `}` is missing before this / -"),
            ("a: [1, 2\n", "1:4 `[` is never closed / -"),
            ("a: [a, b]]\n", "1:10 `]` closes nothing / -"),
            ("a: 1\n b: 2\n", &format!("2:2 a key is not expected here / {above}")),
            ("key\nb: 1\n", &format!("2:1 a key is not expected here / {above}")),
            ("a:\n  b: 1\n c: 2\n", &format!("3:2 a key is expected here / {stand}")),
            (
                "- a\nb: c\n",
                &format!("2:1 an element of the list (`- `) is expected here / {stand}"),
            ),
            ("a: - b\n", "1:4 a list cannot begin here / put its first `- ` on the next line"),
            (
                "a: \"x\" y\n",
                "1:8 unexpected text after the closing quote / put quotes around the whole text",
            ),
            ("a: *nope\n", "1:4 `*nope` names no anchor / -"),
            ("a: &x {b: *x}\n", "1:11 an alias inside its own anchor / -"),
            ("é: @x\n", "1:5 a value cannot begin with `@` / put quotes around the whole text"),
            (
                "a: `x`\n",
                "1:4 a value cannot begin with a backtick / put quotes around the whole text",
            ),
            ("é:\n\té: 1\n", "2:1 tab used for indentation / YAML indents with spaces"),
            ("a:\n  - b\n\t- c\n", "3:1 tab used for indentation / YAML indents with spaces"),
            ("%YAML 1.1\n---\na: 1\n", "1:1 directives are not supported / remove the line"),
            (": b\n", "1:1 a key is missing before the `:` / -"),
            ("? [a]\n: b\n", "1:3 a key must be a single word or text / -"),
            (
                "a: > x\n",
                "1:4 unexpected text after `|` or `>` / the text begins on the next line, indented",
            ),
            ("a: !foo b\n", "1:4 the tag `!foo` is not supported / write the value without a tag"),
            (
                "x: 1\n...\ny: 2\n",
                "3:1 a second document in one file / put it in a file of its own",
            ),
            ("a: 1\r\nb: 2\r\na: 3\r\n", "3:1 duplicate key `a` / -"),
        ] {
            assert_eq!(mistakes(text), [wanted], "{text:?}");
        }
    }

    #[test]
    fn comments_line_ends_and_a_byte_order_mark_are_no_mistakes() {
        let comments = "# x\n".repeat(300);
        let text = format!("\u{feff}{comments}a:\r\n{comments}  - 1\r\n");
        assert_eq!(mistakes(&text), [""; 0]);
    }
}
