//! Names of accounts, the states of their passwords, and the days on which they expire.

use super::probe::Probe;
use super::state::{Current, Value};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

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

/// The ids of users and groups by their names. Numbers name nobody, and root always stays.
pub(super) fn named<'a>(
    users: impl IntoIterator<Item = &'a str>,
    groups: impl IntoIterator<Item = &'a str>,
) -> Vec<ResourceId> {
    let users = users.into_iter().map(|name| ("user", name));
    let all = users.chain(groups.into_iter().map(|name| ("group", name)));
    let names = all.filter(|(_, name)| *name != "root" && name.parse::<u32>().is_err());
    names.map(|(kind, name)| ResourceId::new(kind, name)).collect()
}

/// The number of the group that `userdel` removes with the user `name`: the group of that name, if it is
/// the user's own and nobody else is in it.
pub(super) fn group_that_goes_with(name: &str, probe: &dyn Probe) -> Result<Option<u32>> {
    let (Some(user), Some(group)) = (probe.user(name)?, probe.group(name)?) else {
        return Ok(None);
    };
    let is_of_another = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.first() != Some(&name)
            && fields.get(3).and_then(|gid| gid.parse().ok()) == Some(group.gid)
    };
    let users = probe.read("/etc/passwd")?.unwrap_or_default();
    let is_shared = group.members.iter().any(|member| member != name)
        || String::from_utf8_lossy(&users).lines().any(is_of_another);
    Ok((user.group == name && !is_shared).then_some(group.gid))
}

/// Says what is wrong with the number of an account: the largest one stands for no account (chown(2)).
pub(super) fn check_number(field: &str, number: Option<u32>) -> Result<(), String> {
    match number {
        Some(u32::MAX) => Err(format!("no account can have the `{field}` {}", u32::MAX)),
        _ => Ok(()),
    }
}

/// Refuses the number `uid` for the user `name` where another one has it.
pub(super) fn check_uid_is_free(uid: u32, name: &str, probe: &dyn Probe) -> Result<()> {
    let holds = |other: &String| probe.user(other).ok().flatten().is_some_and(|it| it.uid == uid);
    let users = probe.users()?;
    is_free("uid", uid, users.iter().find(|other| *other != name && holds(other)))
}

/// The same of a group.
pub(super) fn check_gid_is_free(gid: u32, name: &str, probe: &dyn Probe) -> Result<()> {
    let holds = |other: &String| probe.group(other).ok().flatten().is_some_and(|it| it.gid == gid);
    let groups = probe.groups()?;
    is_free("gid", gid, groups.iter().find(|other| *other != name && holds(other)))
}

fn is_free(field: &str, number: u32, holder: Option<&String>) -> Result<()> {
    match holder {
        Some(holder) => Err(Error::failed(format!("`{holder}` has the {field} {number} already"))
            .hint(format!("choose another `{field}`, or let `{holder}` go or change before"))),
        None => Ok(()),
    }
}

/// Refuses to let a group go that is the primary group of a user.
pub(super) fn check_is_nobodys_group(name: &str, probe: &dyn Probe) -> Result<()> {
    let users = probe.users()?;
    let has_it = |user: &String| probe.user(user).ok().flatten().is_some_and(|it| it.group == name);
    match users.iter().find(|user| has_it(user)) {
        Some(user) => Err(Error::failed(format!("it is the primary group of `{user}`"))
            .hint(format!("give `{user}` another `group` before"))),
        None => Ok(()),
    }
}

/// Refuses to touch the user `name` while processes run as it.
pub(super) fn check_is_idle(name: &str, probe: &dyn Probe) -> Result<()> {
    let Some(user) = probe.user(name)? else { return Ok(()) };
    let processes = probe.processes_of(user.uid)?;
    let Some(first) = processes.first() else { return Ok(()) };
    let first = format!("`{}` (process {})", first.name, first.pid);
    let message = match processes.len() {
        1 => format!("{first} runs as `{name}`"),
        2 => format!("{first} and another process run as `{name}`"),
        count => format!("{first} and {} other processes run as `{name}`", count - 1),
    };
    Err(Error::failed(message).hint(format!("`ps -u {name}` lists them: end them before")))
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

/// The number of an account that is still to be made, where nobody says which.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// Whether a declared field of `/etc/shadow` lets nobody in by itself: `!`, `*`, `!$y$…`.
pub(super) fn is_no_hash(declared: &str) -> bool {
    declared.is_empty() || declared.starts_with(['!', '*'])
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
}
