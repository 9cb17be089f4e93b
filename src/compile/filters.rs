//! The filters that configuration files need, beside minijinja's own.

use std::borrow::Cow;

use base64::Engine as _;
use minijinja::{Environment, Error, ErrorKind, Value};
use sha2::{Digest as _, Sha256, Sha512};

use super::bounds;
use super::spelling::{Document, decimal};
use crate::yaml::emit;

/// The names of the filters added here and of the common ones of minijinja, for suggestions.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "b64decode",
    "b64encode",
    "bool",
    "comment",
    "d",
    "default",
    "dictsort",
    "env_quote",
    "extract",
    "first",
    "float",
    "hash",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "quote",
    "regex_replace",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "to_json",
    "to_nice_json",
    "to_nice_yaml",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
];

/// The names of minijinja's tests, for suggestions.
pub(super) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// The names of functions, for suggestions.
pub(super) const FUNCTIONS: &[&str] = &["debug", "dict", "namespace", "range"];

/// Adds them to an environment.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("b64encode", |text: Value| {
        bounds::part(&text)?;
        Ok::<_, Error>(base64::engine::general_purpose::STANDARD.encode(bytes(&text)))
    });
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("hash", |text: Value, algorithm: Option<&str>| hash(&text, algorithm));
    environment.add_filter("regex_replace", regex_replace);
    environment.add_filter("quote", |text: Value| Ok::<_, Error>(shell_quote(&written(&text)?)));
    environment.add_filter("env_quote", |text: Value| env_quote(&written(&text)?));
    environment.add_filter("comment", comment);
    environment.add_filter("extract", extract);
    environment
        .add_filter("urlencode", |text: Value| Ok::<_, Error>(percent_encode(&written(&text)?)));
    environment.add_filter("to_json", |value: Value| to_json(&value, false));
    environment.add_filter("to_nice_json", |value: Value| to_json(&value, true));
    environment.add_filter("to_nice_yaml", |value: Value| {
        bounds::check(&value)?;
        Ok::<_, Error>(emit::emit(document(&value)?).to_string())
    });
}

/// A value as it is written, within bounds.
fn written(value: &Value) -> Result<String, Error> {
    bounds::part(value)?;
    Ok(value.to_string())
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_bytes().map_or_else(|| value.to_string().into_bytes(), <[u8]>::to_vec)
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn b64decode(text: &str) -> Result<String, Error> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim());
    let bytes = bytes.map_err(|_| wrong("this is not base64"))?;
    String::from_utf8(bytes).map_err(|_| wrong("this is not the base64 of a text"))
}

fn hash(text: &Value, algorithm: Option<&str>) -> Result<String, Error> {
    bounds::part(text)?;
    match algorithm.unwrap_or("sha256") {
        "sha256" => Ok(format!("{:x}", Sha256::digest(bytes(text)))),
        "sha512" => Ok(format!("{:x}", Sha512::digest(bytes(text)))),
        other => Err(wrong(format!("unknown hash `{other}`: use `sha256` or `sha512`"))),
    }
}

fn regex_replace(text: &str, pattern: &str, replacement: &str) -> Result<String, Error> {
    let pattern = regex::Regex::new(pattern).map_err(|error| wrong(error.to_string()))?;
    let (mut replaced, mut last) = (String::new(), 0);
    for captures in pattern.captures_iter(text) {
        let Some(found) = captures.get(0) else { continue };
        replaced.push_str(&text[last..found.start()]);
        captures.expand(replacement, &mut replaced);
        last = found.end();
        bounds::length(replaced.len())?;
    }
    replaced.push_str(&text[last..]);
    Ok(replaced)
}

/// A text as one word of a POSIX shell.
fn shell_quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// A value of a `.env` file: as it is where it can be, else in quotes that are not in it.
fn env_quote(text: &str) -> Result<String, Error> {
    if text.contains('\n') {
        return Err(wrong("a value of a `.env` file cannot contain a line break"));
    }
    let plain = |byte: u8| !byte.is_ascii_whitespace() && !b"\"'#$`\\".contains(&byte);
    if text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    match (text.contains('\''), text.contains('"')) {
        (false, _) => Ok(format!("'{text}'")),
        (true, false) => Ok(format!("\"{text}\"")),
        (true, true) => Err(wrong("a value with both kinds of quotes cannot be quoted")),
    }
}

/// A text as part of a URL. As in Jinja2 a slash stays.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// The element of a list or map under a position or key, as in Ansible.
fn extract(key: &Value, container: &Value) -> Result<Value, Error> {
    let found = container.get_item(key)?;
    if found.is_undefined() { Err(Error::from(ErrorKind::UndefinedError)) } else { Ok(found) }
}

fn comment(text: &str) -> Result<String, Error> {
    bounds::pieces(text.lines().count())?;
    let lines = text.lines().map(|line| format!("# {line}").trim_end().to_owned());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn to_json(value: &Value, pretty: bool) -> Result<String, Error> {
    bounds::check(value)?;
    let value = Document(value);
    let text =
        if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    text.map_err(|error| wrong(error.to_string()))
}

/// A value to be written as YAML, with each text on one line.
fn document(value: &Value) -> Result<emit::Document<'static>, Error> {
    use minijinja::value::ValueKind;
    let plain = |text: String| Ok(emit::Document::Plain(Cow::Owned(text)));
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => plain("null".to_owned()),
        ValueKind::Bool => plain(value.is_true().to_string()),
        ValueKind::Number => plain(match f64::try_from(value.clone()) {
            Ok(number) if number.is_nan() => ".nan".to_owned(),
            Ok(number) if number.is_infinite() => {
                format!("{}.inf", if number < 0.0 { "-" } else { "" })
            }
            _ => value.to_string(),
        }),
        ValueKind::Map => {
            let entry = |key: Value| {
                let item = document(&value.get_item(&key)?)?;
                Ok((Cow::Owned(key.to_string()), item))
            };
            Ok(emit::Document::Map(value.try_iter()?.map(entry).collect::<Result<_, Error>>()?))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| document(&item));
            Ok(emit::Document::List(items.collect::<Result<_, Error>>()?))
        }
        _ => match decimal(value) {
            Some(number) => plain(number.to_owned()),
            None => Ok(emit::Document::Line(Cow::Owned(value.to_string()))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> String {
        let mut environment = Environment::new();
        add(&mut environment);
        environment.render_str(text, ()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn filters() {
        for (template, expected) in [
            ("{{ 'a b' | quote }}", "'a b'"),
            ("{{ \"it's\" | quote }}", "'it'\"'\"'s'"),
            ("{{ '$2y$10$x' | env_quote }}", "'$2y$10$x'"),
            ("{{ 'plain=x' | env_quote }}", "plain=x"),
            ("{{ 'abc' | b64encode }} {{ 'YWJj' | b64decode }}", "YWJj abc"),
            ("{{ 'v1.2' | regex_replace('^v', '') }}", "1.2"),
            (
                "{{ {'a': true, 'b': ['no', 1], 'c': {}} | to_nice_yaml }}",
                "a: true\nb:\n  - \"no\"\n  - 1\nc: {}\n",
            ),
            (
                "{{ {'a': 'x\u{89}y\nz', 'y': 1e999} | to_nice_yaml }}",
                "a: \"x\\u0089y\\nz\"\n\"y\": .inf\n",
            ),
            ("{{ {} | to_nice_yaml }}{{ 'a' | to_nice_yaml }}", "{}\na\n"),
            ("{{ 'a\nb' | comment }}", "# a\n# b"),
            ("{{ {'a': [1]} | to_json }}", "{\"a\":[1]}"),
            ("{{ 'é /?&=~' | urlencode }}", "%C3%A9%20/%3F%26%3D~"),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
        assert!(render("{{ 'abc' | hash }}").starts_with("ba7816bf"));
        assert!(render("{{ 'a\nb' | env_quote }}").contains("cannot contain a line break"));
    }
}
