//! Which parts of an expression are calculated with, compared or put together. They are marked with
//! a filter, so that a number is a number there, and its spelling everywhere else, and so that what
//! is put together has bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::bounds::PART;
use super::spelling::NUMBER;
use super::tokens::{Kind, Syntax, Token, tags};

/// The filter behind each operand, by where the operand ends.
type Marks = BTreeMap<usize, &'static str>;

/// `source` with a mark behind each operand.
pub(super) fn marked(source: &str, syntax: Syntax) -> Cow<'_, str> {
    let mut places = Marks::new();
    for tag in tags(source, syntax) {
        operands(&tag.tokens, &mut places);
    }
    if places.is_empty() {
        return Cow::Borrowed(source);
    }
    let mut text = String::with_capacity(source.len() + places.len() * (NUMBER.len() + 1));
    let mut last = 0;
    for (place, filter) in places {
        text.extend([&source[last..place], "|", filter]);
        last = place;
    }
    text.push_str(&source[last..]);
    Cow::Owned(text)
}

/// The source before it was marked, and the place of a range in it.
pub(super) fn unmarked(marked: &str, range: Range<usize>) -> (String, Range<usize>) {
    let marks = [NUMBER, PART].map(|filter| format!("|{filter}"));
    let before = |offset: usize, mark: &String| -> usize {
        let starts = marked.match_indices(mark).map(|(start, _)| start);
        let cut = starts.take_while(|start| *start < offset);
        cut.map(|start| (offset - start).min(mark.len())).sum()
    };
    let at = |offset: usize| offset - marks.iter().map(|mark| before(offset, mark)).sum::<usize>();
    let text = marks.iter().fold(marked.to_owned(), |text, mark| text.replace(mark, ""));
    (text, at(range.start)..at(range.end))
}

const ORDERS: &[&str] = &["<", "<=", ">", ">="];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "//", "%", "**"];
const EQUALITY: &[&str] = &["==", "!="];

/// Names that are no values.
const WORDS: &[&str] = &[
    "and", "call", "do", "elif", "else", "filter", "for", "from", "if", "import", "in", "include",
    "is", "not", "or", "set", "with",
];

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.kind == Kind::Name && WORDS.contains(&self.text)
    }

    fn is_value(&self) -> bool {
        self.kind == Kind::Name && !self.is_word()
    }

    /// Whether an operator behind it has it as its left side.
    fn ends_operand(&self) -> bool {
        self.is_value() || matches!(self.kind, Kind::Number | Kind::Text | Kind::Close)
    }
}

/// Finds where operands end.
fn operands(tokens: &[Token<'_>], places: &mut Marks) {
    let is = |token: &Token<'_>, texts: &[&str]| {
        matches!(token.kind, Kind::Operator | Kind::Name) && texts.contains(&token.text)
    };
    let is_binary = |index: usize| index > 0 && tokens[index - 1].ends_operand();
    let calculates = tokens.iter().enumerate().any(|(index, token)| {
        token.kind == Kind::Number || is(token, ARITHMETIC) && is_binary(index)
    });
    let is_condition = tokens.first().is_some_and(|token| is(token, &["if", "elif"]));
    for (index, token) in tokens.iter().enumerate() {
        let text_beside = || {
            let right = tokens.get(index + 1).is_some_and(|token| token.kind == Kind::Text);
            right || tokens[index - 1].kind == Kind::Text
        };
        let is_calculated = is(token, ORDERS)
            || is(token, ARITHMETIC)
            || is(token, EQUALITY) && calculates && is_binary(index) && !text_beside();
        if is_binary(index) && (is_calculated || token.text == "~") {
            let left = (!is_test(tokens, index - 1)).then_some(index - 1);
            for last in left.into_iter().chain(operand(tokens, index + 1)) {
                let place = places.entry(tokens[last].end).or_insert(PART);
                *place = if is_calculated { NUMBER } else { *place };
            }
        }
        let asks = is(token, &["if", "elif", "not"]) || is_condition && is(token, &["and", "or"]);
        if asks && let Some(last) = operand(tokens, index + 1) {
            let next = tokens.get(last + 1);
            let ends = |next: &Token<'_>| {
                is(next, &["and", "or", "else", "if"]) || next.kind == Kind::Close
            };
            if next.is_none_or(ends) {
                places.insert(tokens[last].end, NUMBER);
            }
        }
    }
}

/// The last token of the value that begins at `start`: a path, a call, filters.
fn operand(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let text = |index: usize| tokens.get(index).map(|token| token.text);
    let mut last = match tokens.get(start)? {
        token if token.is_value() => start,
        token if token.text == "(" && token.kind == Kind::Open => closing(tokens, start)?,
        _ => return None,
    };
    loop {
        last = match text(last + 1) {
            Some("." | "|") if tokens.get(last + 2).is_some() => last + 2,
            Some("(" | "[") => closing(tokens, last + 1)?,
            _ => return Some(last),
        };
    }
}

/// The token that closes what `start` opens.
fn closing(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

/// Whether the value that ends at `last` is the name of a test, as in `x is even`.
fn is_test(tokens: &[Token<'_>], last: usize) -> bool {
    let before = tokens[..last].iter().rposition(|token| ["is", "not"].contains(&token.text));
    before.is_some_and(|before| {
        let before = if tokens[before].text == "not" && before > 0 { before - 1 } else { before };
        let start =
            before + 1 + usize::from(tokens.get(before + 1).is_some_and(|t| t.text == "not"));
        tokens[before].text == "is" && operand(tokens, start) == Some(last)
    })
}
