//! From text to nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle};

use super::syntax;
use super::{Entry, Map, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};

/// Deeper documents are refused, before the stack of whoever walks them runs out. Aliases count
/// as what they stand for.
const DEEPEST: usize = 64;

/// As many values as a document may have once its aliases are followed.
const MOST_VALUES: usize = 200_000;

/// Reads the one document of `source`. An empty file is [`Value::Null`].
///
/// # Errors
/// Every mistake up to the first that makes the rest unreadable.
pub fn parse(source: &Arc<Source>) -> Result<Node, Diagnostics> {
    // Comments would be kept in a small buffer, and a long one would be an error.
    let options = granit_parser::options! { emit_comments: false, disallow_directives: true };
    let mut builder = Builder {
        source,
        events: Parser::new_from_str_with_options(&source.text, options),
        anchors: BTreeMap::new(),
        values: 0,
        deepest: 0,
        unquoted: None,
        mistakes: Diagnostics::new(),
    };
    match builder.document() {
        Ok(node) => builder.mistakes.into_result(node),
        Err(fatal) => {
            // What follows an expression without quotes cannot be read either: one mistake.
            let is_same =
                |line| fatal.places.first().is_some_and(|place| place.span.line() == line);
            if !builder.unquoted.is_some_and(is_same) {
                builder.mistakes.push(*fatal);
            }
            Err(builder.mistakes)
        }
    }
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Anchored>,
    values: usize,
    /// The depth of the deepest value so far.
    deepest: usize,
    /// The line of the last expression without quotes.
    unquoted: Option<usize>,
    mistakes: Diagnostics,
}

/// A node that aliases may stand for.
#[derive(Clone)]
struct Anchored {
    node: Node,
    /// How many values it is, itself included.
    size: usize,
    /// How many levels are below it.
    height: usize,
}

/// Boxed, because the good case is common and small.
type Fatal<T> = Result<T, Box<Diagnostic>>;

impl<'a> Builder<'a> {
    fn document(&mut self) -> Fatal<Node> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Box::new(
                        Diagnostic::at(&span, "a second document in one file")
                            .hint("put it in a file of its own"),
                    ));
                }
                Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(..)
                | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        let empty = || Node { span: Span::new(self.source, 0..0), value: Value::Null };
        Ok(root.unwrap_or_else(empty))
    }

    fn next(&mut self) -> Fatal<Option<(Event<'a>, Span)>> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                let range = span.byte_range().unwrap_or(0..0);
                Ok(Some((event, Span::new(self.source, range))))
            }
            Some(Err(error)) => Err(Box::new(syntax::mistake(self.source, &error))),
        }
    }

    fn expect(&mut self) -> Fatal<(Event<'a>, Span)> {
        let end = self.source.text.len();
        self.next()?.ok_or_else(|| {
            Box::new(Diagnostic::at(&Span::new(self.source, end..end), "the file ends too early"))
        })
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Fatal<Node> {
        let (before, deepest) = (self.values, self.deepest);
        self.deepest = depth;
        self.count(&span, depth, 1)?;
        self.check_tag(&event, &span);
        let anchor = event.anchor_id();
        let node = match event {
            Event::Scalar(text, style, ..) => {
                Node { value: scalar(&text, style == ScalarStyle::Plain), span }
            }
            Event::SequenceStart(..) => self.list(&span, depth)?,
            Event::MappingStart(..) => self.map(&span, depth)?,
            Event::Alias(id) => self.alias(id, span, depth)?,
            _ => return Err(Box::new(Diagnostic::at(&span, "this cannot be read as a value"))),
        };
        self.anchor(anchor, &node, self.values - before, self.deepest - depth);
        self.deepest = self.deepest.max(deepest);
        Ok(node)
    }

    fn anchor(&mut self, id: Option<usize>, node: &Node, size: usize, height: usize) {
        if let Some(id) = id.filter(|id| *id > 0) {
            self.anchors.insert(id, Anchored { node: node.clone(), size, height });
        }
    }

    fn check_tag(&mut self, event: &Event<'a>, span: &Span) {
        if let Some(tag) = event.tag() {
            let message = format!("the tag `{}` is not supported", tag.original());
            let hint = match tag.original().trim_start_matches('!') {
                "vault" => "`infra secrets import` reads what ansible-vault encrypted",
                _ => "write the value without a tag",
            };
            // The event begins behind its tag.
            let before = self.source.text.get(..span.range.start).unwrap_or_default();
            let start = before.rfind(&tag.original());
            let place = start.map(|at| Span::new(self.source, at..at + tag.original().len()));
            self.mistakes.push(Diagnostic::at(place.as_ref().unwrap_or(span), message).hint(hint));
        }
    }

    /// Counts `values` more that begin at `span` and reach down to `depth`.
    fn count(&mut self, span: &Span, depth: usize, values: usize) -> Fatal<()> {
        self.values += values;
        if self.values > MOST_VALUES {
            let message = format!("the file stands for more than {MOST_VALUES} values");
            return Err(Box::new(
                Diagnostic::at(span, message).hint("aliases of aliases multiply: use fewer"),
            ));
        }
        if depth > DEEPEST {
            let message = format!("values are nested more than {DEEPEST} deep");
            return Err(Box::new(Diagnostic::at(span, message)));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Fatal<Node> {
        let Some(anchored) = self.anchors.get(&id).cloned() else {
            return Err(Box::new(Diagnostic::at(&span, "an alias inside its own anchor")));
        };
        self.deepest = depth + anchored.height;
        self.count(&span, self.deepest, anchored.size)?;
        Ok(Node { span, value: anchored.node.value })
    }

    fn list(&mut self, start: &Span, depth: usize) -> Fatal<Node> {
        let mut elements: Vec<Node> = Vec::new();
        loop {
            let (event, span) = self.expect()?;
            if matches!(event, Event::SequenceEnd) {
                let span = self.whole(start, &span, elements.last().map(|last| &last.span));
                return Ok(Node { span, value: Value::List(Arc::new(elements)) });
            }
            elements.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, start: &Span, depth: usize) -> Fatal<Node> {
        let mut map = Map::default();
        loop {
            let (event, key_span) = self.expect()?;
            if matches!(event, Event::MappingEnd) {
                let last = map.entries.last().map(|last| &last.value.span);
                let span = self.whole(start, &key_span, last);
                return Ok(Node { span, value: Value::Map(Arc::new(map)) });
            }
            let key = self.key(event, &key_span, depth)?;
            let (event, span) = self.expect()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(key) = key else { continue };
            if &*key == "<<" {
                self.mistakes.push(
                    Diagnostic::at(&key_span, "merge keys (`<<`) are not supported")
                        .hint("put what is shared into a group"),
                );
            } else if let Some(first) = map.entry(&key) {
                self.mistakes.push(
                    Diagnostic::at(&key_span, format!("duplicate key `{key}`"))
                        .label("defined again here")
                        .and(&first.key_span, "first defined here"),
                );
            } else {
                map.entries.push(Entry { key, key_span, value });
            }
        }
    }

    /// A key; `None` if it is no single word, which is a mistake.
    fn key(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Fatal<Option<Arc<str>>> {
        self.check_tag(&event, span);
        match event {
            // granit gives `: value` the key `~`, with nothing in the file for it.
            Event::Scalar(..) if span.range.is_empty() => {
                self.mistakes.push(Diagnostic::at(span, "a key is missing before the `:`"));
                Ok(None)
            }
            Event::Scalar(ref text, ..) => {
                let key = Arc::from(&**text);
                let node = Node { span: span.clone(), value: Value::String(Arc::clone(&key)) };
                self.anchor(event.anchor_id(), &node, 1, 0);
                Ok(Some(key))
            }
            other => {
                let mistake = match syntax::unquoted_expression(span) {
                    Some(mistake) => {
                        self.unquoted = Some(span.line());
                        mistake
                    }
                    None => Diagnostic::at(span, "a key must be a single word or text"),
                };
                self.mistakes.push(mistake);
                self.node(other, span.clone(), depth + 1)?;
                Ok(None)
            }
        }
    }

    /// From `start` to `end`, or to the end of what is inside where nothing is written at the
    /// end: granit ends an indented list or map at whatever comes after it.
    fn whole(&self, start: &Span, end: &Span, last: Option<&Span>) -> Span {
        let end = if end.range.is_empty() { last.unwrap_or(start) } else { end };
        Span::new(self.source, start.range.start..end.range.end)
    }
}

/// The number that a text without quotes is, if it is one.
pub fn number(text: &str) -> Option<Value> {
    let value = scalar(text, true);
    matches!(value, Value::Integer(..) | Value::Float(..)).then_some(value)
}

/// The value of a scalar in YAML 1.2's core schema. Numbers keep how they were written; what no
/// number can hold is a text.
fn scalar(text: &str, plain: bool) -> Value {
    let string = || Value::String(Arc::from(text));
    if !plain {
        return string();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or_else(|_| string(), |n| Value::Integer(n, Arc::from(text)));
    }
    let float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    match text.parse::<f64>() {
        Ok(number) if float && number.is_finite() => Value::Float(number, Arc::from(text)),
        _ => string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        parse(&Source::new("a.yaml", text)).map_err(|mistakes| mistakes.render(false))
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err()
    }

    #[test]
    fn no_is_a_text_and_numbers_keep_how_they_were_written() {
        let node = read("a: no\nb: 0644\nc: 8.10\nd: true\ne:\nf: '1'\n").unwrap();
        let map = node.as_map().unwrap();
        let kinds: Vec<String> = map.entries.iter().map(|entry| entry.value.described()).collect();
        assert_eq!(
            kinds,
            [
                "a text `no`",
                "an integer `0644`",
                "a number `8.10`",
                "a boolean `true`",
                "nothing",
                "a text `1`"
            ]
        );
        assert_eq!(map.value("c").unwrap().span.text(), "8.10");
    }

    #[test]
    fn an_alias_stands_for_its_anchor() {
        let node = read("a: &x [1, 2]\nb: *x\n").unwrap();
        let list = node.as_map().unwrap().value("b").unwrap().as_list().unwrap();
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn a_duplicate_key_names_both_places() {
        assert_eq!(
            error("mode: 1\nx: 2\nmode: 3\n"),
            "\
error: duplicate key `mode`
 --> a.yaml:3:1
  |
1 | mode: 1
  | ---- first defined here
2 | x: 2
3 | mode: 3
  | ^^^^ defined again here"
        );
    }

    #[test]
    fn aliases_of_aliases_are_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..8 {
            let previous = format!("*a{}", level - 1);
            let list = vec![previous; 10].join(", ");
            text = format!("{text}a{level}: &a{level} [{list}]\n");
        }
        assert!(error(&text).starts_with("error: the file stands for more than 200000 values"));
    }

    #[test]
    fn aliases_do_not_lead_deeper_than_the_limit() {
        let mut text = format!("a0: &a0 {}1{}\n", "[".repeat(40), "]".repeat(40));
        assert!(read(&text).is_ok());
        text = format!("{text}a1: {}*a0{}\n", "[".repeat(40), "]".repeat(40));
        assert!(error(&text).starts_with("error: values are nested more than 64 deep"));
    }

    #[test]
    fn an_indented_map_ends_with_its_last_value() {
        let node = read("a:\n  b: 1\n  c: [2]\n\nd: 3\n").unwrap();
        assert_eq!(node.as_map().unwrap().value("a").unwrap().span.text(), "b: 1\n  c: [2]");
    }

    proptest! {
        #[test]
        fn never_panics_on_any_text(text in "\\PC{0,60}|(.|\n|\t|\r){0,60}") {
            if let Err(message) = read(&text) {
                prop_assert!(message.starts_with("error: "));
            }
        }

        #[test]
        fn never_panics_on_what_looks_like_yaml(text in "[a-z:{}\\[\\]&*!'\"|>#\\-?, \t\n@0-9é]{0,80}") {
            if let Err(message) = read(&text) {
                prop_assert!(message.starts_with("error: "));
            }
        }
    }
}
