//! The parts of expressions and statements, as minijinja's own reader tells them apart.

use std::ops::Range;
use std::sync::LazyLock;

use minijinja::machinery::{Token as Word, Tokenizer};
use minijinja::syntax::SyntaxConfig;

/// How expressions lie in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// All of it is one expression.
    Expression,
    /// Expressions between double braces.
    Text,
    /// Statements and comments as well.
    Template,
}

impl Syntax {
    /// The same in minijinja's words.
    pub(super) fn config(self) -> SyntaxConfig {
        static TEMPLATE: LazyLock<SyntaxConfig> = LazyLock::new(|| {
            let mut syntax = SyntaxConfig::builder();
            syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
            syntax.build().unwrap_or_default()
        });
        static TEXT: LazyLock<SyntaxConfig> = LazyLock::new(|| {
            let mut syntax = SyntaxConfig::builder();
            syntax.keep_trailing_newline(true);
            // No text holds these: YAML refuses the character.
            syntax.block_delimiters("\u{0}%", "%\u{0}").comment_delimiters("\u{0}#", "#\u{0}");
            syntax.build().unwrap_or_default()
        });
        match self {
            Self::Expression | Self::Template => TEMPLATE.clone(),
            Self::Text => TEXT.clone(),
        }
    }
}

/// A part of an expression or statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Where it ends in the source.
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Text,
    Open,
    Close,
    Operator,
}

impl Token<'_> {
    /// Where it begins in the source.
    pub(super) fn start(&self) -> usize {
        self.end - self.text.len()
    }

    /// Whether it is this operator, or this name.
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text && self.kind != Kind::Text
    }
}

/// The tokens between a pair of delimiters, or of an expression alone.
#[derive(Debug, Default)]
pub(super) struct Tag<'a> {
    pub(super) is_statement: bool,
    pub(super) tokens: Vec<Token<'a>>,
}

/// All tags of a source, up to what minijinja cannot read.
pub(super) fn tags(source: &str, syntax: Syntax) -> Vec<Tag<'_>> {
    let is_expression = syntax == Syntax::Expression;
    let mut reader = Tokenizer::new(source, "", is_expression, syntax.config());
    let mut tags = vec![Tag::default()];
    while let Ok(Some((word, span))) = reader.next_token() {
        let kind = match word {
            Word::VariableStart | Word::BlockStart => {
                let is_statement = matches!(word, Word::BlockStart);
                tags.push(Tag { is_statement, tokens: Vec::new() });
                continue;
            }
            Word::TemplateData(_) | Word::VariableEnd | Word::BlockEnd => continue,
            Word::Ident(_) => Kind::Name,
            Word::Int(_) | Word::Int128(_) | Word::Float(_) => Kind::Number,
            Word::Str(_) | Word::String(_) => Kind::Text,
            Word::ParenOpen | Word::BracketOpen | Word::BraceOpen => Kind::Open,
            Word::ParenClose | Word::BracketClose | Word::BraceClose => Kind::Close,
            _ => Kind::Operator,
        };
        let (start, end) = (span.start_offset as usize, span.end_offset as usize);
        if let (Some(tag), Some(text)) = (tags.last_mut(), source.get(start..end)) {
            tag.tokens.push(Token { kind, text, end });
        }
    }
    tags
}

/// Where the expression ends that `source` begins with, behind its braces; the end of `source` if it
/// has none, or cannot be read.
pub(super) fn end_of_expression(source: &str) -> usize {
    let mut reader = Tokenizer::new(source, "", true, Syntax::Text.config());
    while let Ok(Some((word, span))) = reader.next_token() {
        if matches!(word, Word::VariableEnd) {
            return span.end_offset as usize;
        }
    }
    source.len()
}

/// A thing that a template asks minijinja for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A filter, behind `|` or in a statement.
    Filter,
    /// A test, behind `is`.
    Test,
}

/// The filters and tests that a source names, also where it is never run: minijinja itself tells of
/// an unknown name only when it gets there. Names that filters are given as texts count as well.
pub(super) fn asked(source: &str, syntax: Syntax) -> Vec<(Asked, Range<usize>)> {
    let mut found = Vec::new();
    for tag in tags(source, syntax) {
        let tokens = &tag.tokens;
        for (index, token) in tokens.iter().enumerate() {
            let behind_not = tokens.get(index + 1).is_some_and(|next| next.is("not"));
            let is_behind = |text| index > 0 && tokens[index - 1].is(text);
            let (asked, first) = match token.text {
                "|" if token.is("|") => (Asked::Filter, index + 1),
                "filter" if index == 0 && tag.is_statement => (Asked::Filter, index + 1),
                "is" if token.is("is") && index > 0 && !is_behind(".") && !is_behind("|") => {
                    (Asked::Test, index + 1 + usize::from(behind_not))
                }
                _ => continue,
            };
            let is_name = |index: usize| tokens.get(index).is_some_and(|it| it.kind == Kind::Name);
            if !is_name(first) {
                continue;
            }
            let mut last = first;
            while tokens.get(last + 1).is_some_and(|next| next.is(".")) && is_name(last + 2) {
                last += 2;
            }
            found.push((asked, tokens[first].start()..tokens[last].end));
            if asked == Asked::Filter {
                found.extend(passed(tokens, first));
            }
        }
    }
    found
}

/// The filter or test that the filter at `filter` takes for each element, where its name is a whole argument
/// in quotes: `map("upper")`.
fn passed(tokens: &[Token<'_>], filter: usize) -> Option<(Asked, Range<usize>)> {
    let (asked, position) = match tokens.get(filter)?.text {
        "map" => (Asked::Filter, filter + 2),
        "select" | "reject" => (Asked::Test, filter + 2),
        // The name of the attribute comes first.
        "selectattr" | "rejectattr" => (Asked::Test, filter + 4),
        _ => return None,
    };
    let is_behind = |text| tokens.get(position - 1).is_some_and(|token| token.is(text));
    let is_first = position == filter + 2;
    let begins = tokens.get(filter + 1)?.is("(") && (is_first || is_behind(","));
    let (name, next) = (tokens.get(position)?, tokens.get(position + 1)?);
    let is_whole = name.kind == Kind::Text && (next.is(",") || next.is(")"));
    // An escape would stand for another name than is written.
    let inside = name.text.get(1..name.text.len().checked_sub(1)?)?;
    let is_plain = name.text.starts_with(['"', '\'']) && !inside.contains('\\');
    if !(begins && is_whole && is_plain) {
        return None;
    }
    let start = name.start() + 1;
    Some((asked, start..start + inside.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_tags_only() {
        let template = "a | b {{ x | upper }}{% if y|length > 1 and 'q | no' is not odd %}{# | no #}\
            {%- raw %}{{ x | no }}{% endraw %}{{ \"}} | no\" | default('|no')|trim }} é|é\
            {% filter indent %}{{ filter.is is even }}{{ x|a.b }}";
        let names: Vec<&str> = asked(template, Syntax::Template)
            .into_iter()
            .map(|(_, range)| &template[range])
            .collect();
        let expected = ["upper", "length", "odd", "default", "trim", "indent", "even", "a.b"];
        assert_eq!(names, expected);
        assert!(asked("{{ broken | ", Syntax::Template).is_empty());
        assert!(asked("{% raw %}{{ x | y", Syntax::Template).is_empty());
        assert!(asked("{% if x %}{{ y }} | no {# | no #}", Syntax::Text).is_empty());
        assert_eq!(asked("a|b if c else d|e", Syntax::Expression).len(), 2);
    }

    #[test]
    fn names_that_filters_are_given() {
        for (text, names) in [
            ("a|map('upper')|list", vec!["map", "upper", "list"]),
            ("a|map(\"replace\", 'b', 'c')", vec!["map", "replace"]),
            ("a|map(attribute='b')", vec!["map"]),
            ("a|map('up' ~ 'per')", vec!["map"]),
            ("a|map('\\u0075pper')", vec!["map"]),
            ("a|map(b)|map", vec!["map", "map"]),
            ("a|select('odd')", vec!["select", "odd"]),
            ("a|reject('in', b)", vec!["reject", "in"]),
            ("a|selectattr('b')", vec!["selectattr"]),
            ("a|selectattr('b', 'gt', 1)", vec!["selectattr", "gt"]),
            ("a|rejectattr(b.c, 'gt', 1)", vec!["rejectattr"]),
            ("a|join('upper')", vec!["join"]),
        ] {
            let found = asked(text, Syntax::Expression).into_iter();
            let found: Vec<&str> = found.map(|(_, range)| &text[range]).collect();
            assert_eq!(found, names, "{text}");
        }
    }
}
