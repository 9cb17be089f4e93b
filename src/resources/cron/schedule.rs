//! The times of cron: five fields, or a word such as `@daily`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::resources::fields::OneOrMany;

/// One field, such as `5`, `*/15`, `1-5` or `mon`. A list of them is joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(String);

impl Field {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return String::deserialize(deserializer).map(Self);
        }
        let field = OneOrMany::deserialize(deserializer)?.0.join(",");
        if field.is_empty() || field.contains(char::is_whitespace) {
            return Err(D::Error::custom(format!("`{field}` is not a field of a cron schedule")));
        }
        Ok(Self(field))
    }
}

#[cfg(feature = "cli")]
impl schemars::JsonSchema for Field {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "integer", "array"],
            "description": "a number, or a text such as `*/15`, `1-5` or `mon`",
        })
    }
}

const WORDS: [&str; 8] =
    ["@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
struct Bounds {
    noun: &'static str,
    least: u32,
    most: u32,
    /// Names that stand for `least`, `least + 1`…
    names: &'static [&'static str],
}

const FIELDS: [Bounds; 5] = [
    Bounds { noun: "minute", least: 0, most: 59, names: &[] },
    Bounds { noun: "hour", least: 0, most: 23, names: &[] },
    Bounds { noun: "day of the month", least: 1, most: 31, names: &[] },
    Bounds { noun: "month", least: 1, most: 12, names: &MONTHS },
    Bounds { noun: "day of the week", least: 0, most: 7, names: &DAYS },
];

/// Says what cron would not accept.
pub(in crate::resources) fn check(times: &str) -> Result<(), String> {
    if times.starts_with('@') {
        return if WORDS.contains(&times) {
            Ok(())
        } else {
            Err(format!("`{times}` is not one of {}", WORDS.join(", ")))
        };
    }
    let parts: Vec<&str> = times.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!("`{times}` has {} of 5 fields", parts.len()));
    }
    for (part, bounds) in parts.iter().zip(&FIELDS) {
        if !part.split(',').all(|item| bounds.accepts(item)) {
            return Err(format!(
                "`{part}` is not right for the {} of a cron schedule",
                bounds.noun
            ));
        }
    }
    Ok(())
}

impl Bounds {
    /// `*`, `5`, `1-5`, each with a step such as `/2`, which needs something to step through.
    fn accepts(&self, item: &str) -> bool {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step_is_right = step.is_none_or(|step| step.parse().is_ok_and(|step: u32| step > 0));
        let range_is_right = match range.split_once('-') {
            _ if range == "*" => true,
            Some((from, to)) => match (self.number(from), self.number(to)) {
                (Some(from), Some(to)) => from <= to,
                _ => false,
            },
            None => self.number(range).is_some() && step.is_none(),
        };
        step_is_right && range_is_right
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(position) = named {
            return u32::try_from(position).ok().map(|position| position + self.least);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && (self.least..=self.most).contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_cron_accepts() {
        for times in [
            "*/5 * * * *",
            "0 3 1,15 * *",
            "30 8-18/2 * jan-mar MON-fri",
            "0 0 * * 7",
            "@daily",
            "@reboot",
        ] {
            assert_eq!(check(times), Ok(()), "{times}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (times, message) in [
            ("* * * *", "`* * * *` has 4 of 5 fields"),
            ("60 * * * *", "`60` is not right for the minute of a cron schedule"),
            ("* 24 * * *", "`24` is not right for the hour of a cron schedule"),
            ("* * 0 * *", "`0` is not right for the day of the month of a cron schedule"),
            ("5/2 * * * *", "`5/2` is not right for the minute of a cron schedule"),
            ("5-1 * * * *", "`5-1` is not right for the minute of a cron schedule"),
            ("*/0 * * * *", "`*/0` is not right for the minute of a cron schedule"),
            ("* * * foo *", "`foo` is not right for the month of a cron schedule"),
            (
                "@never",
                "`@never` is not one of @reboot, @yearly, @annually, @monthly, @weekly, @daily, \
                 @midnight, @hourly",
            ),
        ] {
            assert_eq!(check(times), Err(message.to_owned()));
        }
    }
}
