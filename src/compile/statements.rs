//! Statements in a text of the inventory or of a role: only templates have them.

use std::ops::Range;

use super::tokens::end_of_expression;

/// The words that statements begin with.
const STATEMENTS: &[&str] = &[
    "autoescape",
    "block",
    "break",
    "call",
    "continue",
    "do",
    "elif",
    "else",
    "endautoescape",
    "endblock",
    "endcall",
    "endfilter",
    "endfor",
    "endif",
    "endmacro",
    "endraw",
    "endset",
    "endwith",
    "extends",
    "filter",
    "for",
    "from",
    "if",
    "import",
    "include",
    "macro",
    "raw",
    "set",
    "with",
];

/// Where the first statement is, outside of expressions. Other percent signs behind a brace are
/// characters of the text.
pub(super) fn statement(text: &str) -> Option<Range<usize>> {
    let mut position = 0;
    while let Some(start) = next_tag(text, position) {
        let rest = &text[start + 2..];
        match &text[start..start + 2] {
            "{{" => position = start + 2 + end_of_expression(rest),
            "{%" if is_statement(rest) => {
                let end = rest.find("%}").map_or(text.len(), |end| start + 2 + end + 2);
                return Some(start..end);
            }
            // The second of two braces may begin something itself.
            _ => position = start + 1,
        }
    }
    None
}

/// Where the next tag of a template would begin.
fn next_tag(text: &str, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min().map(|offset| from + offset)
}

fn is_statement(inside: &str) -> bool {
    let word = inside.trim_start_matches(['-', '+']).trim_start();
    let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
    STATEMENTS.contains(&&word[..end]) && inside.contains("%}")
}

#[cfg(test)]
mod tests {
    use super::statement;

    #[test]
    fn only_what_templates_would_run() {
        for (text, found) in [
            ("a {% if x %}b{% endif %}", Some("{% if x %}")),
            ("{%- raw -%}{{ .Names }}{% endraw %}", Some("{%- raw -%}")),
            ("{{ '{% if x %}' }} {%set y = 1%}", Some("{%set y = 1%}")),
            ("${#files[@]} {# no #} {% y %} date +%F %} }} {", None),
            ("{% if", None),
            ("{{ '{% if x %}' }}", None),
            ("{{ {'a': {'b': '}}'}}.a }}{% for x %}", Some("{% for x %}")),
        ] {
            assert_eq!(statement(text).map(|range| &text[range]), found, "{text}");
        }
    }
}
