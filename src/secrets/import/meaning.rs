//! Values that mean something else to Ansible than to infra.

use crate::yaml::{Node, Value};

/// The names of the values that Ansible would read in another way, and how it reads them. Values themselves are
/// not told.
pub(super) fn of_ansible(node: &Node) -> Vec<String> {
    let mut told = Vec::new();
    look("", node, &mut told);
    told
}

fn look(name: &str, node: &Node, told: &mut Vec<String>) {
    match &node.value {
        Value::Map(map) => map
            .entries
            .iter()
            .for_each(|entry| look(&crate::secrets::join(name, &entry.key), &entry.value, told)),
        Value::List(list) => {
            for (index, node) in list.iter().enumerate() {
                look(&crate::secrets::join(name, &index.to_string()), node, told);
            }
        }
        _ => {
            let Some(text) = node.scalar() else { return };
            let is_plain = node.span.text() == text;
            let meaning = match &node.value {
                Value::String(_) if ["{{", "{%"].iter().any(|mark| text.contains(mark)) => {
                    "Ansible evaluates the expression in"
                }
                Value::String(_) if is_plain && is_old_boolean(text) => {
                    "Ansible reads a boolean in"
                }
                Value::String(_) | Value::Integer(..) if is_plain && is_old_number(text) => {
                    "Ansible reads another number in"
                }
                _ => return,
            };
            told.push(format!("{meaning} `{name}`; infra takes its text as it stands"));
        }
    }
}

/// The booleans of YAML 1.1 as Ansible reads them, which are texts in YAML 1.2.
fn is_old_boolean(text: &str) -> bool {
    let spelled = |word: &str| {
        let first = word[..1].to_uppercase() + &word[1..];
        text == word || text == first || text == word.to_uppercase()
    };
    ["yes", "no", "on", "off"].into_iter().any(spelled)
}

/// Numbers of YAML 1.1: octal ones without an `o`, with `_`, in base 60.
fn is_old_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let is_of = |allowed: fn(char) -> bool| digits.chars().all(allowed);
    let is_octal = digits.starts_with('0')
        && digits.contains(|c| matches!(c, '1'..='7'))
        && is_of(|c| matches!(c, '0'..='7' | '_'));
    let is_grouped = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.contains('_')
        && is_of(|c| c.is_ascii_digit() || c == '_');
    let mut parts = digits.split(':');
    let is_first = |part: &str| {
        part.starts_with(|c: char| matches!(c, '1'..='9'))
            && part.chars().all(|c| c.is_ascii_digit())
    };
    let is_next =
        |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let is_of_time =
        digits.contains(':') && parts.next().is_some_and(is_first) && parts.all(is_next);
    is_octal || is_grouped || is_of_time
}

#[cfg(test)]
mod tests {
    use super::of_ansible;
    use crate::diagnostic::Source;
    use crate::yaml;

    #[test]
    fn tells_what_ansible_reads_in_another_way() {
        for (text, meaning) in [
            ("yes", "a boolean"),
            ("Off", "a boolean"),
            ("'yes'", ""),
            ("yEs", ""),
            ("true", ""),
            ("0123", "another number"),
            ("'0123'", ""),
            ("0129", ""),
            ("0", ""),
            ("00", ""),
            ("1_000", "another number"),
            ("_1", ""),
            ("190:20:30", "another number"),
            ("10:99", ""),
            ("\"a {{ b }}\"", "the expression"),
            ("\"{% raw %}\"", "the expression"),
            ("\"{ a }\"", ""),
        ] {
            let source = Source::new("a", format!("smtp: [{{ key: {text} }}]\n"));
            let told = of_ansible(&yaml::parse(&source).unwrap());
            let is_told = |said: &String| said.contains(meaning) && said.contains("`smtp.0.key`");
            match meaning {
                "" => assert!(told.is_empty(), "{text}: {told:?}"),
                _ => assert!(told.len() == 1 && told.iter().all(is_told), "{text}: {told:?}"),
            }
        }
    }
}
