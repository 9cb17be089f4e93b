//! Which parts of an expression are calculated with, compared or put together. They are marked with
//! a filter, so that a number is a number there, and its spelling everywhere else, and so that what
//! is put together has bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::bounds::PART;
use super::filter_names::{is_raw, next_tag};
use super::spelling::NUMBER;

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

/// The filter behind each operand, by where the operand ends.
type Marks = BTreeMap<usize, &'static str>;

/// `source` with a mark behind each operand.
pub(super) fn marked(source: &str, syntax: Syntax) -> Cow<'_, str> {
    let mut places = Marks::new();
    if syntax == Syntax::Expression {
        let (tokens, _) = tokens(source, 0, None);
        operands(&tokens, &mut places);
    }
    let mut position = if syntax == Syntax::Expression { source.len() } else { 0 };
    while let Some(start) = next_tag(source, position) {
        let inside = start + 2;
        let (kind, rest) = (&source[start..inside], &source[inside..]);
        position = match (kind, syntax) {
            ("{{", _) => tag(source, inside, "}}", &mut places),
            (_, Syntax::Text | Syntax::Expression) => inside,
            ("{#", _) => rest.find("#}").map_or(source.len(), |end| inside + end + 2),
            _ if is_raw(kind, rest) => {
                rest.find("endraw").map_or(source.len(), |end| inside + end + "endraw".len())
            }
            _ => tag(source, inside, "%}", &mut places),
        };
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

/// A part of an expression.
#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    /// Where it ends in the source.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Name,
    Number,
    Text,
    Open,
    Close,
    Operator,
}

const ORDERS: &[&str] = &["<", "<=", ">", ">="];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "//", "%", "**"];
const EQUALITY: &[&str] = &["==", "!="];

/// Names that are no values.
const WORDS: &[&str] = &[
    "and", "call", "do", "elif", "else", "filter", "for", "from", "if", "import", "in", "include",
    "is", "not", "or", "set", "with",
];

/// Where an expression ends that begins at `start`, behind its braces.
pub(super) fn end_of_expression(source: &str, start: usize) -> usize {
    tokens(source, start, Some("}}")).1
}

/// Marks the operands of one tag and returns where it ends.
fn tag(source: &str, start: usize, end: &str, places: &mut Marks) -> usize {
    let (tokens, end) = tokens(source, start, Some(end));
    operands(&tokens, places);
    end
}

/// The tokens from `start` to the end of the tag, or of the source.
fn tokens<'a>(source: &'a str, start: usize, end: Option<&str>) -> (Vec<Token<'a>>, usize) {
    let mut tokens: Vec<Token<'a>> = Vec::new();
    let trims = end.is_some() && source[start..].starts_with(['-', '+']);
    let (mut position, mut depth) = (start + usize::from(trims), 0_usize);
    while let Some(rest) = source.get(position..).filter(|rest| !rest.is_empty()) {
        let is_end = |rest: &str| end.is_some_and(|end| rest.starts_with(end));
        let behind_sign = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        if depth == 0 && (is_end(rest) || is_end(behind_sign)) {
            return (tokens, position + rest.len() - behind_sign.len() + 2);
        }
        let first = rest.chars().next().unwrap_or(' ');
        let is_index = tokens.last().is_some_and(|token| token.text == ".");
        let (kind, length) = match first {
            '\'' | '"' => (Kind::Text, quoted(rest)),
            '0'..='9' => (Kind::Number, digits(rest, is_index)),
            '_' => (Kind::Name, name(rest)),
            c if c.is_alphabetic() => (Kind::Name, name(rest)),
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            _ if ["==", "!=", "<=", ">=", "//", "**"].iter().any(|two| rest.starts_with(two)) => {
                (Kind::Operator, 2)
            }
            other => (Kind::Operator, other.len_utf8()),
        };
        match kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        position += length;
        if !first.is_whitespace() {
            tokens.push(Token { kind, text: &rest[..length], end: position });
        }
    }
    (tokens, source.len())
}

fn quoted(rest: &str) -> usize {
    let quote = rest.chars().next();
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if Some(c) == quote => return index + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

fn digits(rest: &str, is_index: bool) -> usize {
    let bytes = rest.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let goes_on = match byte {
            b'.' => !is_index && digit(index + 1),
            b'+' | b'-' => {
                !is_index
                    && bytes[..index].ends_with(b"e") | bytes[..index].ends_with(b"E")
                    && digit(index + 1)
            }
            byte => {
                byte.is_ascii_digit()
                    || !is_index && (byte.is_ascii_alphanumeric() || *byte == b'_')
            }
        };
        if !goes_on {
            break;
        }
        index += 1;
    }
    index
}

fn name(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

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
