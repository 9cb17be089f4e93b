//! Users and groups, read from `/etc/passwd`, `/etc/group` and `/etc/shadow`; names that are not
//! there are asked of `getent`, if the host has other sources of them (LDAP and the like).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::resources::probe::{GroupEntry, UserEntry};
use crate::resources::{Attributes, Query};

use super::files::Ids;
use super::files::identity::Identity;
use super::processes::{self, Setting};

/// The group that owns nothing (`nogroup`): for users whose group nobody knows.
pub(super) const NOBODY: u32 = 65534;

/// Groups that are for people who administrate: `root`, and `staff`, which owns `/usr/local` on older
/// Debians (Debian Policy 9.1.2). No service has them.
const ROOTS_GROUPS: [u32; 2] = [0, 50];

/// The accounts of the host, read once until they are forgotten.
#[derive(Default)]
pub(super) struct Accounts {
    tables: RefCell<Option<Rc<Tables>>>,
}

#[derive(Debug, Default)]
struct Tables {
    users: BTreeMap<String, UserEntry>,
    groups: BTreeMap<String, GroupEntry>,
    user_names: BTreeMap<u32, String>,
    group_names: BTreeMap<u32, String>,
    /// Whether there are users and groups that are in no file.
    has_other_sources: bool,
}

impl Accounts {
    /// The user `name`.
    pub(super) fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        let tables = self.tables();
        if let Some(user) = tables.users.get(name) {
            return Ok(Some(user.clone()));
        }
        let Some(line) = tables.getent("passwd", name)? else { return Ok(None) };
        let group_name = |gid| tables.group_name(gid);
        Ok(passwd_line(&line, group_name).map(|(_, user)| user))
    }

    /// The group `name`.
    pub(super) fn group(&self, name: &str) -> Result<Option<GroupEntry>> {
        let tables = self.tables();
        if let Some(group) = tables.groups.get(name) {
            return Ok(Some(group.clone()));
        }
        let line = tables.getent("group", name)?;
        Ok(line.and_then(|line| group_line(&line)).map(|(_, group)| group))
    }

    /// The name of a user's number, or the number as text.
    pub(super) fn user_name(&self, uid: u32) -> String {
        self.tables().user_names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The name of a group's number, or the number as text.
    pub(super) fn group_name(&self, gid: u32) -> String {
        self.tables().group_name(gid)
    }

    /// The numbers of the names in `attributes`.
    pub(super) fn ids(&self, attributes: &Attributes) -> Result<Ids> {
        let missing = |what: &str, name: &str| {
            Error::failed(format!("there is no {what} `{name}`"))
                .hint(format!("declare `{what}: {name}` before"))
        };
        let user = match &attributes.owner {
            Some(name) if name.parse::<u32>().is_ok() => name.parse().ok(),
            Some(name) => Some(self.user(name)?.ok_or_else(|| missing("user", name))?.uid),
            None => None,
        };
        let group = match &attributes.group {
            Some(name) if name.parse::<u32>().is_ok() => name.parse().ok(),
            Some(name) => Some(self.group(name)?.ok_or_else(|| missing("group", name))?.gid),
            None => None,
        };
        Ok(Ids { user, group })
    }

    /// The access to files of the user with this number.
    ///
    /// # Errors
    /// When other sources of users do not answer.
    pub(super) fn identity(&self, uid: u32) -> Result<Identity> {
        let tables = self.tables();
        let Some(name) = tables.user_names.get(&uid) else { return tables.identity_elsewhere(uid) };
        let user = tables.users.get(name);
        let gid = user.map_or(NOBODY, |user| tables.gid(&user.group));
        let listed = tables.groups.values().filter(|group| group.members.contains(name));
        let mut groups: Vec<u32> = listed.map(|group| group.gid).collect();
        groups.push(gid);
        Ok(Identity { uid, gid, groups })
    }

    /// The users of a group but root, by number; `None` where nobody here knows all of them: other
    /// sources may know of more, and a number without a group may be a container's.
    pub(super) fn users_of(&self, gid: u32) -> Option<Vec<u32>> {
        let tables = self.tables();
        let is_known = tables.group_names.contains_key(&gid);
        let users = (is_known && !tables.has_other_sources).then(|| tables.users_of(gid))?;
        // A group without users may be that of a service.
        let is_used = users.is_empty() && !ROOTS_GROUPS.contains(&gid);
        (!is_used).then_some(users)
    }

    /// Reads everything anew the next time.
    pub(super) fn forget(&self) {
        *self.tables.borrow_mut() = None;
    }

    fn tables(&self) -> Rc<Tables> {
        let mut tables = self.tables.borrow_mut();
        Rc::clone(tables.get_or_insert_with(|| Rc::new(Tables::read())))
    }
}

impl Tables {
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            has_other_sources: has_other_sources(&text("/etc/nsswitch.conf")),
            ..Self::parse(&text("/etc/passwd"), &text("/etc/group"), &text("/etc/shadow"))
        }
    }

    fn parse(passwd: &str, group: &str, shadow: &str) -> Self {
        let groups: BTreeMap<String, GroupEntry> = group.lines().filter_map(group_line).collect();
        let group_names = groups.iter().map(|(name, group)| (group.gid, name.clone())).collect();
        let mut tables = Self { groups, group_names, ..Self::default() };
        let shadow: BTreeMap<&str, (&str, Option<u32>)> =
            shadow.lines().filter_map(shadow_line).collect();
        for line in passwd.lines() {
            let Some((name, mut user)) = passwd_line(line, |gid| tables.group_name(gid)) else {
                continue;
            };
            if let Some((hash, expires)) = shadow.get(name.as_str()) {
                user.password_hash = Some((*hash).to_owned());
                user.expires = *expires;
            }
            user.groups = tables
                .groups
                .iter()
                .filter(|(_, group)| group.members.contains(&name))
                .map(|(group, _)| group.clone())
                .collect();
            tables.user_names.entry(user.uid).or_insert_with(|| name.clone());
            tables.users.insert(name, user);
        }
        tables
    }

    /// The users of all groups of this number but root, by number.
    fn users_of(&self, gid: u32) -> Vec<u32> {
        let groups = || self.groups.iter().filter(|(_, group)| group.gid == gid);
        let is_in = |user: &String, entry: &UserEntry| {
            groups().any(|(name, group)| entry.group == *name || group.members.contains(user))
        };
        let of_group = self.users.iter().filter(|(user, entry)| is_in(user, entry));
        let uids: BTreeSet<u32> = of_group.map(|(_, entry)| entry.uid).collect();
        uids.into_iter().filter(|uid| *uid != 0).collect()
    }

    fn group_name(&self, gid: u32) -> String {
        self.group_names.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    /// The number of a group that is named as [`Tables::group_name`] names it.
    fn gid(&self, name: &str) -> u32 {
        let known = self.groups.get(name).map(|group| group.gid);
        known.or_else(|| name.parse().ok()).unwrap_or(NOBODY)
    }

    /// The access of a user that is in no file: of a container, or of another source.
    fn identity_elsewhere(&self, uid: u32) -> Result<Identity> {
        let number = uid.to_string();
        let Some(line) = self.getent("passwd", &number)? else {
            return Ok(Identity { uid, gid: NOBODY, groups: vec![NOBODY] });
        };
        let fields: Vec<&str> = line.split(':').collect();
        let name = fields.first().copied().unwrap_or_default();
        let gid = fields.get(3).and_then(|gid| gid.parse().ok()).unwrap_or(NOBODY);
        // `flus  1000 4`: the name, then the numbers of its groups.
        let listed = self.getent("initgroups", name)?.unwrap_or_default();
        let listed = listed.split_whitespace().skip(1).filter_map(|gid| gid.parse().ok());
        Ok(Identity { uid, gid, groups: listed.chain([gid]).collect() })
    }

    /// What other sources know of a name; a fork that most hosts are spared.
    fn getent(&self, database: &str, name: &str) -> Result<Option<String>> {
        if !self.has_other_sources {
            return Ok(None);
        }
        let output =
            processes::run(Query::getent(database, name).command(), &Setting::default(), None)?;
        Ok(output.success().then(|| output.text()))
    }
}

/// Whether `/etc/nsswitch.conf` names sources of users or groups beside the files and the
/// transient users of systemd.
fn has_other_sources(nsswitch: &str) -> bool {
    nsswitch.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let Some((database, sources)) = line.split_once(':') else { return false };
        matches!(database.trim(), "passwd" | "group")
            && sources
                .split_whitespace()
                .any(|source| !matches!(source, "files" | "compat" | "systemd"))
    })
}

fn passwd_line(line: &str, group_name: impl Fn(u32) -> String) -> Option<(String, UserEntry)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, comment, home, shell] = fields[..] else { return None };
    let user = UserEntry {
        uid: uid.parse().ok()?,
        group: group_name(gid.parse().ok()?),
        groups: Vec::new(),
        comment: comment.to_owned(),
        home: home.to_owned(),
        shell: shell.to_owned(),
        password_hash: None,
        expires: None,
    };
    Some((name.to_owned(), user))
}

/// The name, the password field, and the day on which the account expires.
fn shadow_line(line: &str) -> Option<(&str, (&str, Option<u32>))> {
    let mut fields = line.split(':');
    let (name, hash) = (fields.next()?, fields.next()?);
    Some((name, (hash, fields.nth(5).and_then(|day| day.parse().ok()))))
}

fn group_line(line: &str) -> Option<(String, GroupEntry)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else { return None };
    let mut members: Vec<String> =
        members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    members.sort();
    Some((name.to_owned(), GroupEntry { gid: gid.parse().ok()?, members }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_the_three_files() {
        let tables = Tables::parse(
            "root:x:0:0:root:/root:/bin/bash\nflus:x:1000:1000:Flus,,,:/srv/flus:/bin/sh\n",
            "root:x:0:\nflus:x:1000:\nadm:x:4:syslog,flus\n",
            "root:*:1:0:::::\nflus:$y$hash:1:0:::20818::\n",
        );
        let user = &tables.users["flus"];
        assert_eq!((user.uid, user.group.as_str()), (1000, "flus"));
        assert_eq!(user.groups, ["adm"]);
        assert_eq!((user.password_hash.as_deref(), user.expires), (Some("$y$hash"), Some(20818)));
        assert_eq!(tables.users["root"].expires, None);
        assert_eq!(tables.groups["adm"].members, ["flus", "syslog"]);
        assert_eq!(tables.group_name(77), "77");
    }

    #[test]
    fn other_sources_are_named_by_nsswitch() {
        let plain =
            "# passwd: ldap\npasswd:         files systemd\ngroup: files # ldap\nhosts: dns";
        assert!(!has_other_sources(plain));
        assert!(has_other_sources("passwd: files\ngroup: files sss\n"));
        assert!(has_other_sources("passwd: files [NOTFOUND=return] ldap\n"));
        assert!(!has_other_sources(""));
    }

    #[test]
    fn skips_lines_that_are_not_entries() {
        assert_eq!(group_line("+::::"), None);
        assert_eq!(passwd_line("# comment", |_| String::new()), None);
    }
}
