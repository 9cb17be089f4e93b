//! Writes YAML: the only place that does, so that whatever is written reads back as it was, by
//! infra and by every other reader.

use std::borrow::Cow;
use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::{Node, Value};

/// A document to write. It borrows its texts, which may be secrets.
pub enum Document<'a> {
    /// A number, a boolean or `null`, as it is to be written.
    Plain(Cow<'a, str>),
    /// A text; several lines are written as such where that keeps them.
    Text(Cow<'a, str>),
    /// A text that stays on one line.
    Line(Cow<'a, str>),
    /// A list.
    List(Vec<Document<'a>>),
    /// A map, in the order in which it is written.
    Map(Vec<(Cow<'a, str>, Document<'a>)>),
}

impl<'a> From<&'a Node> for Document<'a> {
    fn from(node: &'a Node) -> Self {
        match &node.value {
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::List(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Map(map) => {
                let entries = map.entries.iter();
                Self::Map(entries.map(|it| (Cow::Borrowed(&*it.key), (&it.value).into())).collect())
            }
            _ => Self::Plain(Cow::Borrowed(node.scalar().unwrap_or("null"))),
        }
    }
}

/// The document with a line for each entry.
pub fn emit<'a>(document: impl Into<Document<'a>>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    behind_key(&document.into(), 0, &mut text);
    let begin = text.trim_start_matches('\n').trim_start_matches(' ');
    Zeroizing::new(begin.to_owned())
}

/// Writes what follows `key:` or `-`, with the end of the line. `indent` is that of its entries.
fn behind_key(document: &Document<'_>, indent: usize, text: &mut String) {
    let margin = |text: &mut String| text.push_str(&" ".repeat(indent));
    match document {
        Document::Map(map) if !map.is_empty() => {
            text.push('\n');
            for (key, value) in map {
                margin(text);
                let key = quoted(key);
                if is_long(&key) {
                    text.push_str("? ");
                    text.push_str(&key);
                    text.push('\n');
                    margin(text);
                } else {
                    text.push_str(&key);
                }
                text.push(':');
                behind_key(value, indent + 2, text);
            }
        }
        Document::List(list) if !list.is_empty() => {
            text.push('\n');
            for value in list {
                margin(text);
                text.push('-');
                behind_key(value, indent + 2, text);
            }
        }
        Document::Text(string) if is_literal(string) => {
            text.push(' ');
            // At the top a literal text has to be indented as well.
            text.push_str(&literal(string, indent.max(2)));
            text.push('\n');
        }
        other => {
            text.push(' ');
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
}

/// The document on one line.
pub fn flow(document: &Document<'_>) -> Zeroizing<String> {
    let join = |parts: Vec<Zeroizing<String>>| {
        let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
        parts.join(", ")
    };
    Zeroizing::new(match document {
        Document::Plain(text) => text.clone().into_owned(),
        Document::Text(text) | Document::Line(text) => return quoted(text),
        Document::List(list) => format!("[{}]", join(list.iter().map(flow).collect())),
        Document::Map(map) => {
            let entry = |(key, value): &(Cow<'_, str>, Document<'_>)| {
                let key = quoted(key);
                let mark = if is_long(&key) { "? " } else { "" };
                Zeroizing::new(format!("{mark}{}: {}", *key, *flow(value)))
            };
            format!("{{{}}}", join(map.iter().map(entry).collect()))
        }
    })
}

/// Whether a key is longer than a key without a mark may be: 1024 characters by YAML 1.2, section
/// 7.4.3, which some readers take for bytes.
fn is_long(quoted: &str) -> bool {
    quoted.len() > 1000
}

/// A value behind a key, where it may take several lines: they are indented by `indent`. Without
/// the end of the last line.
pub fn value(document: &Document<'_>, indent: usize) -> Zeroizing<String> {
    match document {
        Document::Text(text) if is_literal(text) => literal(text, indent),
        other => flow(other),
    }
}

/// Whether a text of several lines can be written line by line, and reads back unchanged.
fn is_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.lines().all(|line| line.trim_end() == line)
        && body.chars().all(|c| matches!(c, '\n' | '\t') || is_printable(c))
}

/// A text that [`is_literal`], line by line. Without the end of the last line.
fn literal(text: &str, indent: usize) -> Zeroizing<String> {
    let (mark, body) = match text.strip_suffix('\n') {
        Some(body) => ("|", body),
        None => ("|-", text),
    };
    let mut lines = Zeroizing::new(mark.to_owned());
    for line in body.split('\n') {
        lines.push('\n');
        if !line.is_empty() {
            lines.push_str(&" ".repeat(indent));
            lines.push_str(line);
        }
    }
    lines
}

/// Whether a character may stand in a document as it is, wherever texts may: what YAML 1.2, section
/// 5.1, calls printable, without what it, or YAML 1.1, takes for the end of a line or for a mark.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Words that a reader of YAML 1.1 or 1.2 takes for something else than a text.
const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"];

/// A text as it is where every reader of YAML takes it for one, else in double quotes.
pub fn quoted(text: &str) -> Zeroizing<String> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    if is_plain && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Zeroizing::new(text.to_owned());
    }
    let mut quoted = Zeroizing::new(String::with_capacity(text.len() + 2));
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if is_printable(c) => quoted.push(c),
            c => {
                // A text takes all that is written into it.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostic::Source;
    use crate::yaml::parse;

    fn read(text: &str) -> Node {
        parse(&Source::new("x", text)).unwrap()
    }

    #[test]
    fn reads_back_as_it_was() {
        let text = concat!(
            "a: plain\n",
            "\"b c\": \"yes\"\n",
            "\"n\": 5\n",
            "f: \"0o7\"\n",
            "e: {}\n",
            "key: |\n  -----BEGIN-----\n  abc\n\n  déf\n",
            "strip: |-\n  one\n  two\n",
            "keep: \"one\\ntwo\\n\\n\"\n",
            "odd: \"  x\\n y\\u0001é\\\"\\u0089\"\n",
            "list:\n  - a\n  -\n    b: \"1\"\n    c:\n      - \"\"\n  - true\n",
        );
        assert_eq!(*emit(&read(text)), text);
        assert_eq!(*emit(&read("\"a: b\"")), "\"a: b\"\n");
        assert_eq!(*emit(&read("\"a\\nb\"")), "|-\n  a\n  b\n");
        assert_eq!(
            *flow(&(&read("a: [1, 'n', { '': null }]")).into()),
            "{a: [1, \"n\", {\"\": null}]}"
        );
    }

    /// Texts of the characters that are hard to write, and of others.
    fn hard() -> impl Strategy<Value = String> {
        let hard = "ab:#\"'\\ \t\n\r-|>&*!%@`{}[],?~=0.\u{0}\u{1}\u{1b}\u{7f}\u{80}\u{85}\u{88}\
            \u{9f}\u{a0}\u{2028}\u{2029}\u{d7ff}\u{feff}\u{fffe}\u{ffff}\u{10000}\u{10ffff}é";
        let hard: Vec<char> = hard.chars().collect();
        let character = prop_oneof![4 => prop::sample::select(hard), 1 => any::<char>()];
        let text = prop::collection::vec(character, 0..12)
            .prop_map(|chars| chars.into_iter().collect::<String>());
        (text, prop::bool::weighted(0.1)).prop_map(|(text, is_long)| {
            if is_long { text.repeat(1200 / text.len().max(1)) } else { text }
        })
    }

    proptest! {
        /// As a key, a value, an element, on one line and at the top; infra's reader and another.
        #[test]
        fn any_text_reads_back(key in hard(), text in hard()) {
            let entry = || vec![(Cow::Borrowed(&*key), Document::Text(Cow::Borrowed(&*text)))];
            let documents = [emit(Document::Map(entry())), flow(&Document::Map(entry()))];
            for written in documents {
                let node = read(&written);
                let map = node.as_map().unwrap();
                prop_assert_eq!(map.keys().collect::<Vec<_>>(), [&key]);
                prop_assert_eq!(map.value(&key).unwrap().as_str(), Some(&*text));
                let other: std::collections::BTreeMap<String, String> =
                    serde_yaml::from_str(&written).unwrap();
                prop_assert_eq!(&other[&key], &text);
            }
            let list = emit(Document::List(vec![Document::Text(Cow::Borrowed(&*text))]));
            let list = read(&list);
            prop_assert_eq!(list.as_list().unwrap()[0].as_str(), Some(&*text));
            let alone = read(&emit(Document::Text(Cow::Borrowed(&*text))));
            prop_assert_eq!(alone.as_str(), Some(&*text));
        }
    }
}
