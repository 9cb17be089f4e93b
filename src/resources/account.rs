//! Names of accounts, the states of their passwords, and the days on which they expire.

use super::probe::Probe;
use super::state::{Current, Value};
use crate::error::{Error, Result};

/// The longest name that a system of accounts gives.
const LONGEST_NAME: usize = 256;

/// Says what is wrong with the name of a user or group that may be there already, made by a
/// package or by another source of accounts: its own rules are not asked.
pub(super) fn check_account_name(name: &str) -> Result<(), String> {
    let cannot_be = |c: char| c.is_control() || c.is_whitespace() || ":,/".contains(c);
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !is_number && name.len() <= LONGEST_NAME && !name.starts_with(['-', '+', '~']);
    if is_name && !name.contains(cannot_be) {
        return Ok(());
    }
    Err(format!("`{name}` is not a name of a user or group"))
}

/// Whether Debian makes a user or group of this name: `adduser` is as strict.
fn is_name_to_make(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let rest = |c: char| first(c) || c.is_ascii_digit() || c == '-' || c == '.';
    let plain = name.strip_suffix('$').unwrap_or(name);
    name.len() <= 32 && plain.starts_with(first) && plain.chars().all(rest)
}

/// The state of the user or group `name`, which is not there; `is_wanted` says whether it is to be
/// made. An account with a name that only packages give may come with an earlier one of a preview.
///
/// # Errors
/// When it cannot be made under that name.
pub(super) fn missing(name: &str, is_wanted: bool, probe: &dyn Probe) -> Result<Current> {
    match is_wanted && !is_name_to_make(name) {
        true if probe.is_preview_of_more() => Ok(Current::Unknown),
        true => {
            let refused = format!("`{name}` is not a name that Debian accepts for a new account");
            Err(Error::failed(refused)
                .because("there is no such account that could be taken as it is")
                .hint("declare the package that makes it before, or look at the spelling"))
        }
        false => Ok(Current::Absent),
    }
}

/// The owner that a spec names, if it is the one that was found under another name of the same
/// number, such as `0` for `root`; else the one that was found.
pub(super) fn owner(wanted: &str, found: String, probe: &dyn Probe) -> Result<String> {
    let number = |name: &str| match name.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => probe.user(name).map(|user| user.map(|user| user.uid)),
    };
    as_named(wanted, found, number)
}

/// The same of a group.
pub(super) fn group(wanted: &str, found: String, probe: &dyn Probe) -> Result<String> {
    let number = |name: &str| match name.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => probe.group(name).map(|group| group.map(|group| group.gid)),
    };
    as_named(wanted, found, number)
}

fn as_named(
    wanted: &str,
    found: String,
    number: impl Fn(&str) -> Result<Option<u32>>,
) -> Result<String> {
    let is_same = wanted != found && {
        let wanted = number(wanted)?;
        wanted.is_some() && wanted == number(&found)?
    };
    Ok(if is_same { wanted.to_owned() } else { found })
}

/// The password field of `/etc/shadow`: a hash, and the `!` of a lock in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Password<'a> {
    /// How many `!` stand in front: `usermod -L` and `passwd -l` put one there.
    pub(super) locks: usize,
    /// The hash that a lock leaves in place; empty or `*` where there is no password.
    pub(super) hash: &'a str,
}

impl<'a> Password<'a> {
    pub(super) fn of(field: &'a str) -> Self {
        let hash = field.trim_start_matches('!');
        Self { locks: field.len() - hash.len(), hash }
    }

    /// Whether a lock keeps a password, or its absence, for later. An account that never had a
    /// password has nothing but `!`, which is no lock that somebody made.
    pub(super) fn is_locked(self) -> bool {
        self.locks > 0 && !self.hash.is_empty()
    }

    /// Whether it is as locked as it is `wanted`: without a password both are true.
    pub(super) fn counts_as_locked(self, wanted: bool) -> bool {
        if self.locks > 0 && self.hash.is_empty() { wanted } else { self.locks > 0 }
    }

    /// The hash that is compared with the `declared` one: a lock in front of the same one is no other
    /// password, unless the declared field begins with a lock itself.
    pub(super) fn compared(self, field: &str, declared: Option<&str>) -> Value {
        match declared {
            Some(declared) if is_no_hash(declared) && declared != field => {
                Value::from(self.in_words())
            }
            Some(declared) if is_no_hash(declared) => Value::Hidden(declared.to_owned()),
            _ if self.hash.is_empty() || self.hash == "*" => Value::from(self.in_words()),
            _ => Value::Hidden(self.hash.to_owned()),
        }
    }

    fn in_words(self) -> &'static str {
        match (self.locks > 0, self.hash) {
            (false, "") => "empty: no password is asked for",
            (_, "" | "*") => "no password",
            (false, _) => "a password",
            (true, _) => "a password behind a lock",
        }
    }
}

/// Whether a declared field of `/etc/shadow` lets nobody in by itself: `!`, `*`, `!$y$…`.
pub(super) fn is_no_hash(declared: &str) -> bool {
    declared.is_empty() || declared.starts_with(['!', '*'])
}

/// Days since 1 January 1970 of a date such as `2026-12-31`, up to the year 9999; `None` if the
/// calendar has no such day.
pub(super) fn days_of(date: &str) -> Option<u32> {
    let mut parts = date.split('-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok())?
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let is_whole = parts.next().is_none();
    if !is_whole || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is the last of its year (the algorithm of Howard
    // Hinnant's `days_from_civil`).
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    // A 31st of a shorter month is a day of the next one.
    (date_of(days) == date).then_some(days)
}

/// The date, `days` after 1 January 1970.
pub(super) fn date_of(days: u32) -> String {
    let days = u64::from(days) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_exist_are_not_names_to_be_made() {
        for (name, exists, is_made) in [
            ("deploy", true, true),
            ("_apt", true, true),
            ("pc1$", true, true),
            ("Debian-exim", true, false),
            ("ada@example.org", true, false),
            ("EXAMPLE\\ada", true, false),
            ("a$b", true, false),
            ("1000", false, false),
            ("", false, false),
            ("-x", false, false),
            ("a:b", false, false),
            ("a,b", false, false),
            ("a b", false, false),
            ("a\n", false, false),
        ] {
            assert_eq!(check_account_name(name).is_ok(), exists, "{name:?}");
            assert_eq!(exists && is_name_to_make(name), is_made, "{name:?}");
        }
    }

    #[test]
    fn a_lock_is_told_from_having_no_password() {
        for (field, is_locked, as_wanted) in [
            ("$y$x", false, Some(false)),
            ("!$y$x", true, Some(true)),
            ("!!$y$x", true, Some(true)),
            ("!", false, None),
            ("!!", false, None),
            ("*", false, Some(false)),
            ("!*", true, Some(true)),
            ("", false, Some(false)),
        ] {
            let password = Password::of(field);
            assert_eq!(password.is_locked(), is_locked, "{field}");
            for wanted in [true, false] {
                let counts = password.counts_as_locked(wanted);
                assert_eq!(counts, as_wanted.unwrap_or(wanted), "{field}");
            }
        }
    }

    #[test]
    fn days_and_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_818, "2026-12-31"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!((days_of(date), date_of(days)), (Some(days), date.to_owned()));
        }
        for wrong in
            ["2026-02-29", "2026-13-01", "2026-1-1", "1969-12-31", "2026-12-31-1", "+026-01-01", ""]
        {
            assert_eq!(days_of(wrong), None, "{wrong}");
        }
    }
}
