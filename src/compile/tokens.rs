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
/// an unknown name only when it gets there.
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
        }
    }
    found
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
}
