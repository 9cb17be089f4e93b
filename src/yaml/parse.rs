//! From text to nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{Entry, Map, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};

/// Deeper documents are refused, before the stack of whoever walks them runs out.
const DEEPEST: usize = 64;

/// As many values as a document may have once its aliases are followed.
const MOST_VALUES: usize = 200_000;

/// Reads the one document of `source`. An empty file is [`Value::Null`].
///
/// # Errors
/// Every mistake up to the first that makes the rest unreadable.
pub fn parse(source: &Arc<Source>) -> Result<Node, Diagnostics> {
    let mut builder = Builder {
        source,
        events: Parser::new_from_str(&source.text),
        anchors: BTreeMap::new(),
        values: 0,
        mistakes: Diagnostics::new(),
    };
    match builder.document() {
        Ok(node) => builder.mistakes.into_result(node),
        Err(fatal) => {
            builder.mistakes.push(*fatal);
            Err(builder.mistakes)
        }
    }
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    /// Anchored nodes and how many values each stands for.
    anchors: BTreeMap<usize, (Node, usize)>,
    values: usize,
    mistakes: Diagnostics,
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

    /// The next event that is no comment.
    fn next(&mut self) -> Fatal<Option<(Event<'a>, Span)>> {
        loop {
            match self.events.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((event, span))) => {
                    let range = span.byte_range().unwrap_or(0..0);
                    return Ok(Some((event, Span::new(self.source, range))));
                }
                Some(Err(error)) => return Err(Box::new(self.syntax(&error))),
            }
        }
    }

    fn expect(&mut self) -> Fatal<(Event<'a>, Span)> {
        let end = self.source.text.len();
        self.next()?.ok_or_else(|| {
            Box::new(Diagnostic::at(&Span::new(self.source, end..end), "the file ends too early"))
        })
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Fatal<Node> {
        if depth > DEEPEST {
            let message = format!("values are nested more than {DEEPEST} deep");
            return Err(Box::new(Diagnostic::at(&span, message)));
        }
        let before = self.values;
        self.count(&span, 1)?;
        let (anchor, tag) = (event.anchor_id(), event.tag().map(granit_parser::Tag::original));
        if let Some(tag) = tag {
            self.mistakes.push(
                Diagnostic::at(&span, format!("the tag `{tag}` is not supported"))
                    .hint("write the value without a tag"),
            );
        }
        let node = match event {
            Event::Scalar(text, style, ..) => {
                Node { value: scalar(&text, style == ScalarStyle::Plain), span }
            }
            Event::SequenceStart(..) => self.list(&span, depth)?,
            Event::MappingStart(..) => self.map(&span, depth)?,
            Event::Alias(id) => self.alias(id, span)?,
            _ => return Err(Box::new(Diagnostic::at(&span, "this cannot be read as a value"))),
        };
        if let Some(anchor) = anchor.filter(|anchor| *anchor > 0) {
            self.anchors.insert(anchor, (node.clone(), self.values - before));
        }
        Ok(node)
    }

    fn count(&mut self, span: &Span, values: usize) -> Fatal<()> {
        self.values += values;
        if self.values > MOST_VALUES {
            let message = format!("the file stands for more than {MOST_VALUES} values");
            return Err(Box::new(
                Diagnostic::at(span, message).hint("aliases of aliases multiply: use fewer"),
            ));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Fatal<Node> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(Box::new(Diagnostic::at(&span, "an alias inside its own anchor")));
        };
        let (value, size) = (node.value.clone(), *size);
        self.count(&span, size)?;
        Ok(Node { span, value })
    }

    fn list(&mut self, start: &Span, depth: usize) -> Fatal<Node> {
        let mut elements = Vec::new();
        loop {
            let (event, span) = self.expect()?;
            if matches!(event, Event::SequenceEnd) {
                let span = Span::new(self.source, start.range.start..span.range.end);
                return Ok(Node { span, value: Value::List(Arc::new(elements)) });
            }
            elements.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, start: &Span, depth: usize) -> Fatal<Node> {
        let mut map = Map::default();
        loop {
            let (event, key_span) = self.expect()?;
            let key = match event {
                Event::MappingEnd => {
                    let span = Span::new(self.source, start.range.start..key_span.range.end);
                    return Ok(Node { span, value: Value::Map(Arc::new(map)) });
                }
                Event::Scalar(text, ..) => Some(text),
                other => {
                    self.not_a_key(&key_span);
                    self.node(other, key_span.clone(), depth + 1)?;
                    None
                }
            };
            let (event, span) = self.expect()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(key) = key else { continue };
            if key == "<<" {
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
                map.entries.push(Entry { key: Arc::from(&*key), key_span, value });
            }
        }
    }

    fn not_a_key(&mut self, span: &Span) {
        let diagnostic = Diagnostic::at(span, "a key must be a plain word");
        let text = &self.source.text;
        let braces = text.as_bytes().get(span.range.start.wrapping_sub(1)) == Some(&b'{');
        self.mistakes.push(if braces {
            diagnostic.hint("put quotes around an expression: \"{{ … }}\"")
        } else {
            diagnostic
        });
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let at = error.marker().byte_offset().unwrap_or(0);
        let text = error.to_string();
        if text.starts_with("tab") {
            // The mark may be behind the tab: it is the first one on the line.
            let before = self.source.text.get(..at).unwrap_or_default();
            let line = before.rfind('\n').map_or(0, |end| end + 1);
            let tab = self.source.text.get(line..).and_then(|line| line.find('\t'));
            let tab = line + tab.unwrap_or_default();
            return Diagnostic::at(
                &Span::new(self.source, tab..tab + 1),
                "tab used for indentation",
            )
            .hint("YAML indents with spaces");
        }
        let rest = self.source.text.get(at..).unwrap_or_default();
        let width = rest.chars().next().map_or(0, char::len_utf8);
        let span = Span::new(self.source, at..at + width);
        let message = text.split(" at char ").next().unwrap_or(&text).replace(['\'', '`'], "`");
        let diagnostic = Diagnostic::at(&span, message);
        if rest.starts_with(['@', '`', '%']) {
            return diagnostic.hint("put quotes around the text");
        }
        diagnostic
    }
}

/// The value of a scalar in YAML 1.2's core schema. Numbers keep how they were written.
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
        Ok(number) if float => Value::Float(number, Arc::from(text)),
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
    fn a_tab_is_named() {
        assert_eq!(
            error("a:\n\tb: 1\n"),
            "error: tab used for indentation\n --> a.yaml:2:1\n  |\n2 |     b: 1\n  | ^^^^\n\
             hint: YAML indents with spaces"
        );
    }

    #[test]
    fn an_unquoted_expression_gets_a_hint() {
        assert!(
            error("host: {{ name }}\n")
                .ends_with("hint: put quotes around an expression: \"{{ … }}\"")
        );
    }

    #[test]
    fn aliases_of_aliases_are_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..8 {
            let previous = format!("*a{}", level - 1);
            let list = vec![previous; 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(error(&text).starts_with("error: the file stands for more than 200000 values"));
    }

    #[test]
    fn refuses_tags_and_second_documents() {
        assert!(error("a: !!int 3\n").starts_with("error: the tag `!!int` is not supported"));
        assert!(error("a: 1\n---\nb: 1\n").starts_with("error: a second document in one file"));
        assert!(error("a: @x\n").ends_with("hint: put quotes around the text"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z:{}\\[\\]&*!'\"|>#\\-?, \t\n@0-9é]{0,80}") {
            if let Err(message) = read(&text) {
                prop_assert!(message.starts_with("error: "));
            }
        }
    }
}
