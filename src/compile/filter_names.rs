//! Finds the filters that a template names, also where it is never run: minijinja itself tells of
//! an unknown one only when it gets there.

use std::ops::Range;

/// The names behind `|` in the expressions and statements of a template, with their places.
pub(super) fn filter_names(template: &str) -> Vec<Range<usize>> {
    let mut names = Vec::new();
    let mut position = 0;
    while let Some(start) = next_tag(template, position) {
        let inside = start + 2;
        let (kind, rest) = (&template[start..inside], &template[inside..]);
        position = match kind {
            "{#" => rest.find("#}").map_or(template.len(), |end| inside + end + 2),
            _ if is_raw(kind, rest) => {
                rest.find("endraw").map_or(template.len(), |end| inside + end + "endraw".len())
            }
            _ => scan(template, inside, &mut names),
        };
    }
    names
}

/// Where the next tag begins.
pub(super) fn next_tag(template: &str, from: usize) -> Option<usize> {
    let rest = template.get(from..)?;
    ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min().map(|offset| from + offset)
}

/// Whether a tag begins a part that is taken as it is.
pub(super) fn is_raw(kind: &str, rest: &str) -> bool {
    kind == "{%" && rest.trim_start_matches(['-', '+']).trim_start().starts_with("raw")
}

/// Scans one tag from `start` and returns where it ends.
fn scan(template: &str, start: usize, names: &mut Vec<Range<usize>>) -> usize {
    let bytes = template.as_bytes();
    let mut quote = None;
    let mut position = start;
    while let Some(&byte) = bytes.get(position) {
        position += 1;
        match (quote, byte) {
            (Some(_), b'\\') => position += 1,
            (Some(open), close) if open == close => quote = None,
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'}' | b'%') if bytes.get(position) == Some(&b'}') => return position + 1,
            (None, b'|') => {
                let rest = template.get(position..).unwrap_or_default();
                let begin = position + rest.len() - rest.trim_start().len();
                let name = template.get(begin..).unwrap_or_default();
                let length = name.find(|c: char| !c.is_alphanumeric() && c != '_');
                let end = begin + length.unwrap_or(name.len());
                if begin < end {
                    names.push(begin..end);
                }
            }
            _ => {}
        }
    }
    template.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_tags_only() {
        let template = "a | b {{ x | upper }}{% if y|length > 1 and 'q | no' %}{# | no #}\
            {%- raw %}{{ x | no }}{% endraw %}{{ \"}} | no\" | default('|no')|trim }} é {{ é|é }}";
        let names: Vec<&str> =
            filter_names(template).into_iter().map(|range| &template[range]).collect();
        assert_eq!(names, ["upper", "length", "default", "trim", "é"]);
        assert!(filter_names("{{ broken | ").is_empty());
        assert!(filter_names("{% raw %}{{ x | y").is_empty());
    }
}
