//! Bounds of what an expression may make in a single step, which minijinja's fuel does not count: a
//! repository may be a stranger's, and must not fill the memory of who compiles it.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use minijinja_contrib::pycompat;

use super::scope::is_lazy;

/// The texts in a single value, in bytes; fuel allows none of this length in a template.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The most values in a single value, as in a file of YAML.
const MOST_VALUES: usize = 200_000;

/// How deep lists and maps may lie in one another: twice as deep as in YAML.
const DEEPEST: usize = 128;

/// The numbers of a `range` lie between this and its negative; their difference overflows nothing.
const LARGEST: usize = 1 << 31;

/// The widest indentation of JSON.
const WIDEST_INDENT: usize = 16;

/// The digits of the widest field of `format`.
const WIDEST_FIELD: usize = 4;

/// The filter of what is put together by `~`.
pub(super) const PART: &str = "__part";

/// Steps after which an expression or template is stopped: an endless loop is a mistake. A step
/// also pays for 64 bytes of texts and lists.
pub(super) const FUEL: u64 = 2_000_000;

/// Filters that write down what they are given.
const WRITERS: &[&str] = &[
    "capitalize",
    "e",
    "escape",
    "format",
    "indent",
    "join",
    "lines",
    "lower",
    "pprint",
    "replace",
    "split",
    "string",
    "title",
    "trim",
    "upper",
];

/// Filters whose result is made anew each time it is looked at.
const LAZY: &[&str] = &["chain", "zip"];

/// Puts them in place of what has none.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_function("range", range);
    environment.add_function("debug", |state: &State<'_, '_>, given: Rest<Value>| {
        given.iter().try_for_each(part)?;
        Ok::<_, Error>(minijinja::functions::debug(state, given))
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter(PART, |value: Value| part(&value).map(|()| value));
    let mut plain = Environment::new();
    plain.set_undefined_behavior(UndefinedBehavior::Strict);
    plain.set_fuel(Some(FUEL));
    let plain = Arc::new(plain);
    for name in WRITERS {
        let plain = Arc::clone(&plain);
        environment.add_filter(*name, move |given: Rest<ValueOrKwargs>| {
            let given: Vec<Value> = given.0.into_iter().map(ValueOrKwargs::into_value).collect();
            given.iter().try_for_each(part)?;
            if *name == "format" {
                formatted(&given)?;
            }
            if *name == "indent" {
                indented(&given)?;
            }
            plain.empty_state().apply_filter(name, &given)
        });
    }
    for name in LAZY {
        let plain = Arc::clone(&plain);
        environment.add_filter(*name, move |given: Rest<Value>| {
            let made = plain.empty_state().apply_filter(name, &given.0)?;
            let items: Vec<Value> = made.try_iter()?.take(MOST_VALUES + 1).collect();
            let items = Value::from(items);
            operand(&items)?;
            Ok::<_, Error>(items)
        });
    }
    environment.set_unknown_method_callback(method);
}

/// Refuses a part of a text that is too long, or that cannot be written down.
///
/// # Errors
/// Says which bound it exceeds; also for what is not there.
pub(super) fn part(value: &Value) -> Result<(), Error> {
    operand(value)?;
    // The inventory has bounds of its own, and looking at a value of it would evaluate it.
    if is_lazy(value) { Ok(()) } else { check(value) }
}

/// Refuses a text or list that is too long to be put together with another.
///
/// # Errors
/// Says which bound it exceeds; also for what is not there.
pub(super) fn operand(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if let Some(text) = value.as_str() {
        return length(text.len());
    }
    let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if is_list && value.len().is_some_and(|length| length > MOST_VALUES) {
        return Err(wrong(format!("a list has more than {MOST_VALUES} values")));
    }
    Ok(())
}

/// Refuses a text of so many bytes if they are too many.
///
/// # Errors
/// Says how many a text may have.
pub(super) fn length(bytes: usize) -> Result<(), Error> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    Err(wrong(format!("a text has more than {MOST_BYTES} bytes")))
}

/// Bounds of a text that takes in others at some of its places.
fn formatted(given: &[Value]) -> Result<(), Error> {
    let Some((text, parts)) = given.split_first() else { return Ok(()) };
    let text = text.as_str().unwrap_or_default();
    let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    if digits(text).is_some_and(|digits| digits > WIDEST_FIELD) {
        let message = format!("`format` has a number of more than {WIDEST_FIELD} digits");
        return Err(wrong(message));
    }
    let places = text.bytes().filter(|byte| matches!(byte, b'{' | b'%')).count();
    let longest = parts.iter().map(size).max().unwrap_or_default();
    // The widest field is as long as its digits say.
    length(places.saturating_mul(longest.max(10_usize.pow(2))))
}

/// About as many bytes as a value is written with.
fn size(value: &Value) -> usize {
    match value.as_str() {
        Some(text) => text.len(),
        None => value.to_string().len(),
    }
}

fn indented(given: &[Value]) -> Result<(), Error> {
    let text = given.first().and_then(Value::as_str).unwrap_or_default();
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let widths = given.iter().skip(1).filter_map(|width| {
        let named = width.get_attr("width").ok().filter(|width| !width.is_undefined());
        usize::try_from(named.unwrap_or_else(|| width.clone())).ok()
    });
    length(lines.saturating_mul(widths.max().unwrap_or_default()))
}

/// Refuses a value that cannot be written down: a list may hold another twice, and that a third
/// twice, and so on; or they lie so deep in one another that the stack has no room.
///
/// # Errors
/// Says which bound it exceeds.
pub(super) fn check(value: &Value) -> Result<(), Error> {
    let mut left = Left { values: MOST_VALUES, bytes: MOST_BYTES };
    walk(value, DEEPEST, &mut left)
}

/// How much may still be found in a value.
struct Left {
    values: usize,
    bytes: usize,
}

/// Looks at everything in `value`, which may be `depth` deep.
fn walk(value: &Value, depth: usize, left: &mut Left) -> Result<(), Error> {
    let too_many = || wrong(format!("a value holds more than {MOST_VALUES} values"));
    left.values = left.values.checked_sub(1).ok_or_else(too_many)?;
    let too_long = || wrong(format!("the texts in a value have more than {MOST_BYTES} bytes"));
    let bytes = value.as_str().map_or(0, str::len);
    left.bytes = left.bytes.checked_sub(bytes).ok_or_else(too_long)?;
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    if depth == 0 {
        return Err(wrong(format!("a value is nested more than {DEEPEST} deep")));
    }
    // Something that cannot be iterated says so itself, where it is written.
    let Ok(items) = value.try_iter() else { return Ok(()) };
    for item in items {
        walk(&item, depth - 1, left)?;
        if is_map && let Ok(inner) = value.get_item(&item) {
            walk(&inner, depth - 1, left)?;
        }
    }
    Ok(())
}

fn range(lower: isize, upper: Option<isize>, step: Option<isize>) -> Result<Value, Error> {
    let mut numbers = [Some(lower), upper, step].into_iter().flatten();
    if numbers.any(|number| number.unsigned_abs() > LARGEST) {
        return Err(wrong(format!("a `range` has a number beyond {LARGEST}")));
    }
    minijinja::functions::range(lower, upper, step)
}

fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let asked = match &indent {
        Some(indent) => Some(indent.clone()),
        None => options.peek::<Option<Value>>("indent")?,
    };
    if asked.and_then(|asked| usize::try_from(asked).ok()).is_some_and(|it| it > WIDEST_INDENT) {
        return Err(wrong(format!("`tojson` has an `indent` of more than {WIDEST_INDENT}")));
    }
    check(value)?;
    minijinja::filters::tojson(value, indent, options)
}

/// The methods of Python's.
fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        length(text.len())?;
        arguments.iter().try_for_each(part)?;
        let first = arguments.first().map_or("", |value| value.as_str().unwrap_or_default());
        match name {
            "format" => formatted(&[std::slice::from_ref(value), arguments].concat())?,
            "replace" => {
                let new = arguments.get(1).map_or(0, size);
                length(text.matches(first).count().saturating_mul(new))?;
            }
            "join" => {
                let items = arguments.first().and_then(Value::len).unwrap_or_default();
                length(items.saturating_mul(text.len()))?;
            }
            "split" | "splitlines" => {
                let separator = if first.is_empty() { "\n" } else { first };
                pieces(text.matches(separator).count())?;
            }
            _ => {}
        }
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// Refuses to cut a text into too many pieces.
///
/// # Errors
/// Says how many there may be.
pub(super) fn pieces(count: usize) -> Result<(), Error> {
    if count <= MOST_VALUES {
        return Ok(());
    }
    Err(wrong(format!("a text has more than {MOST_VALUES} pieces")))
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
