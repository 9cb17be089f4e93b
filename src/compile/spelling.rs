//! Numbers that keep their spelling: `1.10`, `0042`, `+33123`, `1e3`.
//!
//! A number that would be printed in another way than it is written is a text to whatever prints it,
//! and a number to whatever calculates or compares. Such a text is one of minijinja's safe texts:
//! nothing else makes these, because nothing is escaped.

use std::cmp::Ordering;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, State, Value, filters, tests};
use serde::ser::{Error as _, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::value::RawValue;

use super::bounds;
use crate::yaml;

/// The filter that makes a number of a spelling, for the operands of operators.
pub(super) const NUMBER: &str = "__number";

/// A number as expressions see it; `text` is how it is written.
pub(super) fn value(number: Value, text: &str) -> Value {
    if number.to_string() == text { number } else { Value::from_safe_string(text.to_owned()) }
}

/// The number that a value spells, as YAML reads it.
pub(super) fn spelled(value: &Value) -> Option<yaml::Value> {
    yaml::number(value.as_str().filter(|_| value.is_safe())?)
}

/// The value to calculate with.
pub(super) fn number(value: Value) -> Value {
    match spelled(&value) {
        Some(yaml::Value::Integer(number, _)) => Value::from(number),
        Some(yaml::Value::Float(number, _)) => Value::from(number),
        _ => value,
    }
}

/// Adds what calculates and compares.
pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter(NUMBER, |value: Value| {
        bounds::operand(&value)?;
        Ok::<_, Error>(number(value))
    });
    environment.add_filter("abs", |value: Value| filters::abs(number(value)));
    environment.add_filter(
        "round",
        |value: Value, precision: Option<i32>, method: Option<&str>, more: Kwargs| {
            filters::round(number(value), precision, method, more)
        },
    );
    environment.add_filter("sum", sum);
    environment.add_filter("min", |state: &State<'_, '_>, value: Value, more: Kwargs| {
        Ok::<_, Error>(match sorted(&value, &more) {
            Some(items) => items.into_iter().next().unwrap_or_default(),
            None => filters::min(state, value, more)?,
        })
    });
    environment.add_filter("max", |state: &State<'_, '_>, value: Value, more: Kwargs| {
        Ok::<_, Error>(match sorted(&value, &more) {
            Some(items) => items.into_iter().next_back().unwrap_or_default(),
            None => filters::max(state, value, more)?,
        })
    });
    environment.add_filter(
        "sort",
        |state: &State<'_, '_>, value: Value, more: Kwargs| match sorted(&value, &more) {
            Some(items) => Ok(Value::from(items)),
            None => filters::sort(state, value, more),
        },
    );
    environment.add_test("number", |value: Value| number(value).is_number());
    environment.add_test("integer", |value: Value| number(value).is_integer());
    environment.add_test("float", |value: Value| tests::is_float(&number(value)));
    environment
        .add_test("string", |value: Value| tests::is_string(&value) && spelled(&value).is_none());
    environment.add_test("odd", |value: Value| tests::is_odd(number(value)));
    environment.add_test("even", |value: Value| tests::is_even(number(value)));
    environment.add_test("divisibleby", |value: Value, by: Value| {
        tests::is_divisibleby(&number(value), &number(by))
    });
    for (names, holds) in COMPARISONS {
        for name in *names {
            environment.add_test(*name, |a: Value, b: Value| holds(number(a).cmp(&number(b))));
        }
    }
}

/// The tests that ask for an order, under each of their names.
type Comparison = (&'static [&'static str], fn(Ordering) -> bool);
const COMPARISONS: &[Comparison] = &[
    (&["lt", "lessthan", "<"], Ordering::is_lt),
    (&["le", "<="], Ordering::is_le),
    (&["gt", "greaterthan", ">"], Ordering::is_gt),
    (&["ge", ">="], Ordering::is_ge),
];

/// The items of a list in the order of their numbers, each as it is written; `None` where minijinja
/// itself knows the order.
fn sorted(list: &Value, more: &Kwargs) -> Option<Vec<Value>> {
    if more.args().next().is_some() || list.kind() != ValueKind::Seq {
        return None;
    }
    let items: Vec<Value> = list.try_iter().ok()?.collect();
    let is_spelled = items.iter().any(|item| spelled(item).is_some());
    let mut keyed: Vec<(Value, Value)> =
        items.into_iter().map(|item| (number(item.clone()), item)).collect();
    if !is_spelled || !keyed.iter().all(|(key, _)| key.is_number()) {
        return None;
    }
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Some(keyed.into_iter().map(|(_, item)| item).collect())
}

fn sum(
    state: &State<'_, '_>,
    list: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    more: Kwargs,
) -> Result<Value, Error> {
    let list = match list.kind() {
        ValueKind::Seq => {
            let items = list.try_iter()?.map(|item| {
                bounds::operand(&item)?;
                Ok(number(item))
            });
            Value::from(items.collect::<Result<Vec<_>, Error>>()?)
        }
        _ => list,
    };
    filters::sum(state, list, attribute, start, more)
}

/// A value in a document of JSON: a decimal is a number there in its own spelling.
pub(super) struct Document<'a>(pub(super) &'a Value);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(value) = self;
        match value.kind() {
            ValueKind::Map => {
                let mut map = serializer.serialize_map(value.len())?;
                for key in value.try_iter().map_err(S::Error::custom)? {
                    let item = value.get_item(&key).map_err(S::Error::custom)?;
                    map.serialize_entry(&key, &Document(&item))?;
                }
                map.end()
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let mut list = serializer.serialize_seq(value.len())?;
                for item in value.try_iter().map_err(S::Error::custom)? {
                    list.serialize_element(&Document(&item))?;
                }
                list.end()
            }
            _ => {
                match decimal(value).and_then(|text| RawValue::from_string(text.to_owned()).ok()) {
                    Some(raw) => raw.serialize(serializer),
                    None => value.serialize(serializer),
                }
            }
        }
    }
}

/// A spelling that every reader takes for the same number: digits, a point, digits.
pub(super) fn decimal(value: &Value) -> Option<&str> {
    spelled(value)?;
    let text = value.as_str()?;
    let (whole, part) = text.strip_prefix('-').unwrap_or(text).split_once('.')?;
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_plain =
        are_digits(whole) && are_digits(part) && (whole == "0" || !whole.starts_with('0'));
    is_plain.then_some(text)
}
