//! A document as YAML text.

use zeroize::Zeroizing;

use crate::yaml::{Node, Value};

/// The document in block style; every text comes back as it was.
pub fn emit(node: &Node) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    value(node, 0, &mut text);
    let begin = text.trim_start_matches('\n').trim_start_matches(' ');
    Zeroizing::new(begin.to_owned())
}

/// Writes what follows `key:` or `-`, with the line's end.
fn value(node: &Node, indent: usize, text: &mut String) {
    match &node.value {
        Value::Map(map) if map.entries.is_empty() => text.push_str(" {}\n"),
        Value::List(list) if list.is_empty() => text.push_str(" []\n"),
        Value::Map(map) => {
            text.push('\n');
            for entry in &map.entries {
                text.push_str(&" ".repeat(indent));
                text.push_str(&scalar(&entry.key));
                text.push(':');
                value(&entry.value, indent + 2, text);
            }
        }
        Value::List(list) => {
            text.push('\n');
            for element in list.iter() {
                text.push_str(&" ".repeat(indent));
                text.push('-');
                value(element, indent + 2, text);
            }
        }
        Value::String(string) if is_block(string) => block(string, indent, text),
        Value::String(string) => {
            text.push(' ');
            text.push_str(&scalar(string));
            text.push('\n');
        }
        _ => {
            text.push(' ');
            text.push_str(node.scalar().unwrap_or("null"));
            text.push('\n');
        }
    }
}

/// Whether a text of several lines reads back unchanged from a literal block.
fn is_block(string: &str) -> bool {
    let inner = string.trim_end_matches('\n');
    inner.contains('\n')
        && !inner.starts_with([' ', '\n'])
        && inner.chars().all(|c| c == '\n' || c == '\t' || (' '..'\u{7f}').contains(&c))
        && inner.lines().all(|line| !line.trim().is_empty() || line.is_empty())
}

fn block(string: &str, indent: usize, text: &mut String) {
    let inner = string.trim_end_matches('\n');
    let ends = string.len() - inner.len();
    text.push_str(match ends {
        0 => " |-\n",
        1 => " |\n",
        _ => " |+\n",
    });
    // At the top a block still has to be indented.
    let margin = " ".repeat(indent.max(2));
    for line in inner.lines() {
        if !line.is_empty() {
            text.push_str(&margin);
            text.push_str(line);
        }
        text.push('\n');
    }
    text.push_str(&"\n".repeat(ends.saturating_sub(1)));
}

/// A text without quotes where nobody could take it for anything else.
fn scalar(string: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_plain = string.starts_with(|c: char| c.is_ascii_alphabetic())
        && string.chars().all(is_word)
        && !["true", "false", "null", "yes", "no", "on", "off"]
            .contains(&string.to_ascii_lowercase().as_str());
    if is_plain { string.to_owned() } else { serde_json::Value::from(string).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::yaml;

    #[test]
    fn reads_back_as_it_was() {
        let text = concat!(
            "a: plain\n",
            "\"b c\": \"yes\"\n",
            "n: 5\n",
            "f: \"0o7\"\n",
            "e: {}\n",
            "key: |\n  -----BEGIN-----\n  abc\n\n  def\n",
            "strip: |-\n  one\n  two\n",
            "keep: |+\n  one\n  two\n\n",
            "odd: \"  x\\n y\\u0001é\\\"\"\n",
            "list:\n  - a\n  -\n    b: \"1\"\n    c:\n      - \"\"\n  - true\n",
        );
        let node = yaml::parse(&Source::new("x", text)).unwrap();
        assert_eq!(*emit(&node), text);
    }

    #[test]
    fn one_value_alone() {
        let node = yaml::parse(&Source::new("x", "\"a: b\"")).unwrap();
        assert_eq!(*emit(&node), "\"a: b\"\n");
    }
}
