//! `infra doc`: the reference of the kinds of resources, from their own comments.

use serde_json::Value;

use crate::cli::Context;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::Diagnostics;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::resources::{KINDS, example, primary_field, schema};

/// Columns of the text; longer lines are wrapped.
const WIDTH: usize = 96;

/// What every resource takes beside the fields of its kind.
const COMMON: &[(&str, &str)] = &[
    ("when", "An expression; the resource is left out where it is false."),
    (
        "for_each",
        "A map or list; the resource is there once for each, which sees `key` and `item`.",
    ),
    ("let", "Names for values, visible in this resource and in its template."),
    ("requires", "Resources, as `kind:identity`, that must not have failed before."),
    ("reload", "Services to reload when this changed."),
    ("restart", "Services to restart when this changed."),
    (
        "guard",
        "`access`: undone by itself unless a new connection proves that it locks nobody out.",
    ),
];

/// The arguments of `infra doc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind of resource; without it, all kinds are listed.
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

/// Prints the list of kinds, or everything about one. With `--output json`, its JSON Schema.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let Some(kind) = &args.kind else {
        report::print(&list())?;
        return Ok(ExitCode::Done);
    };
    let Some(schema) = schema(kind) else {
        let mistake = Diagnostic::nowhere(format!("unknown kind `{kind}`"));
        let mistake = mistake.suggest(kind, KINDS.iter().copied());
        let mistake = match mistake.hint {
            Some(_) => mistake,
            None => mistake.hint("`infra doc` lists the kinds of resources"),
        };
        return Err(Diagnostics::from(mistake).into());
    };
    let text = match context.output {
        Format::Json => report::json_text(&serde_json::to_string(&schema)?) + "\n",
        Format::Human | Format::Markdown => page(kind, schema.as_value()),
    };
    report::print(&text)?;
    Ok(ExitCode::Done)
}

/// One line a kind.
fn list() -> String {
    let width = KINDS.iter().map(|kind| kind.len()).max().unwrap_or_default();
    let mut text = String::new();
    for kind in KINDS {
        let description = schema(kind).map(|schema| description(schema.as_value()));
        let description = description.unwrap_or_default();
        let description = description.replace('\n', " ");
        let first = description.split(". ").next().unwrap_or_default().trim_end_matches('.');
        text.push_str(&hanging(&format!("{kind:width$}  "), first));
    }
    text.push_str("\n`infra doc KIND` says everything about one.\n");
    text
}

/// Everything about one kind.
fn page(kind: &str, schema: &Value) -> String {
    let mut text = format!("{kind}\n\n");
    for paragraph in description(schema).split("\n\n") {
        text.push_str(&hanging("", &paragraph.replace('\n', " ")));
        text.push('\n');
    }
    text.push_str("Fields:\n");
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mut facts = vec![type_of(field, schema)];
        if required.contains(&name.as_str()) {
            facts.push("required".to_owned());
        }
        match &field["default"] {
            Value::Null => {}
            default => facts.push(format!("default {default}")),
        }
        if primary_field(kind) == Some(name) {
            facts.push(format!("`- {kind}: VALUE` sets it"));
        }
        facts.retain(|fact| !fact.is_empty());
        text.extend(["  ", name, "  (", &facts.join(", "), ")\n"]);
        text.push_str(&hanging(
            "      ",
            &description(field).replace("\n\n", " ").replace('\n', " "),
        ));
    }
    text.push_str("\nBeside the kind:\n");
    for (name, meaning) in COMMON {
        text.push_str(&hanging(&format!("  {name:8}  "), meaning));
    }
    text.push_str("\nExample:\n");
    for line in example(kind).unwrap_or_default().lines() {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
    text
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// What a field takes, in words: "text", "list of integer", "`present` or `absent`".
fn type_of(field: &Value, root: &Value) -> String {
    if let Some(name) = field["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return type_of(&root["$defs"][name], root);
    }
    if let Some(value) = field["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(values) = field["enum"].as_array() {
        let values = values.iter().filter_map(Value::as_str);
        return join(values.map(|value| format!("`{value}`")));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = field[key].as_array() {
            return join(choices.iter().map(|choice| type_of(choice, root)));
        }
    }
    match &field["type"] {
        Value::String(name) => word(name, field, root),
        Value::Array(names) => {
            join(names.iter().filter_map(Value::as_str).map(|name| word(name, field, root)))
        }
        _ => String::new(),
    }
}

fn word(name: &str, field: &Value, root: &Value) -> String {
    match name {
        "string" => "text".to_owned(),
        "null" => String::new(),
        "array" => match type_of(&field["items"], root) {
            element if element.is_empty() => "list".to_owned(),
            element => format!("list of {element}"),
        },
        "object" => match type_of(&field["additionalProperties"], root) {
            element if element.is_empty() => "map".to_owned(),
            element => format!("map of {element}"),
        },
        other => other.to_owned(),
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    words.dedup();
    words.join(" or ")
}

/// `text` behind `start`, wrapped at [`WIDTH`], later lines indented as far as `start` reaches.
fn hanging(start: &str, text: &str) -> String {
    let indent = " ".repeat(start.chars().count());
    let mut out = String::new();
    let mut line = start.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_described_field_by_field() {
        for kind in KINDS {
            let schema = schema(kind).unwrap();
            let schema = schema.as_value();
            assert!(!description(schema).is_empty(), "`{kind}` is not described");
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                assert!(!description(field).is_empty(), "`{kind}.{name}` is not described");
                assert!(!type_of(field, schema).is_empty(), "`{kind}.{name}`: {field}");
            }
            assert!(page(kind, schema).contains("\nExample:\n  - "), "{kind}");
        }
    }

    #[test]
    fn a_page() {
        let schema = serde_json::json!({
            "description": "A thing.\n\nIt is held.",
            "properties": {
                "path": { "description": "Where it is.", "type": "string" },
                "mode": { "description": "Bits.", "$ref": "#/$defs/Mode", "default": "0644" },
                "names": { "description": "Names.", "type": ["array", "null"], "items": { "type": "string" } },
            },
            "required": ["path"],
            "$defs": { "Mode": { "type": "string" } },
        });
        let page = page("directory", &schema);
        let fields = page.split("\nBeside").next().unwrap();
        assert_eq!(
            fields,
            "\
directory

A thing.

It is held.

Fields:
  mode  (text, default \"0644\")
      Bits.
  names  (list of text)
      Names.
  path  (text, required, `- directory: VALUE` sets it)
      Where it is.
"
        );
    }
}
