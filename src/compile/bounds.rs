//! Bounds of what an expression may make in a single step, which minijinja's fuel does not count: a
//! repository may be a stranger's, and must not fill the memory of who compiles it.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

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

/// Puts them in place of what has none.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_function("range", range);
    environment.add_filter("tojson", tojson);
    environment.set_unknown_method_callback(method);
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
    let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    let is_wide = |text: &str| digits(text).is_some_and(|digits| digits > WIDEST_FIELD);
    if name == "format" && value.as_str().is_some_and(is_wide) {
        let message = format!("`format` has a number of more than {WIDEST_FIELD} digits");
        return Err(wrong(message));
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
