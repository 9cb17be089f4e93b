//! Users and groups, read from `/etc/passwd`, `/etc/group` and `/etc/shadow`; names that are not
//! there are asked of `getent`, if the host has other sources of them (LDAP and the like).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::rc::Rc;

use crate::error::{Context, Error, Result};
use crate::resources::names::escaped;
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
    /// The users whose home folder has a name that is no UTF-8.
    without_home: BTreeSet<String>,
    /// Whether there are users and groups that are in no file.
    has_other_sources: bool,
}

impl Accounts {
    /// The user `name`.
    ///
    /// # Errors
    /// When the tables cannot be read, and for a user whose home folder has no name in UTF-8.
    pub(super) fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        let tables = self.tables()?;
        if tables.without_home.contains(name) {
            let home = tables.users.get(name).map_or("", |user| user.home.as_str());
            let message =
                format!("the home folder of `{name}` has a name that is not UTF-8: `{home}`");
            return Err(
                Error::failed(message).hint("`usermod --move-home --home` gives it another")
            );
        }
        tables.user(name)
    }

    /// The group `name`.
    pub(super) fn group(&self, name: &str) -> Result<Option<GroupEntry>> {
        let tables = self.tables()?;
        if let Some(group) = tables.groups.get(name) {
            return Ok(Some(group.clone()));
        }
        let line = tables.getent("group", name)?;
        Ok(line.and_then(|line| group_line(&line)).map(|(_, group)| group))
    }

    /// The names of all users in `/etc/passwd`, sorted.
    pub(super) fn users(&self) -> Result<Vec<String>> {
        Ok(self.tables()?.users.keys().cloned().collect())
    }

    /// The names of all groups in `/etc/group`, sorted.
    pub(super) fn groups(&self) -> Result<Vec<String>> {
        Ok(self.tables()?.groups.keys().cloned().collect())
    }

    /// The name of a user's number, or the number as text.
    pub(super) fn user_name(&self, uid: u32) -> Result<String> {
        Ok(self.tables()?.user_names.get(&uid).cloned().unwrap_or_else(|| uid.to_string()))
    }

    /// The name of a group's number, or the number as text.
    pub(super) fn group_name(&self, gid: u32) -> Result<String> {
        Ok(self.tables()?.group_name(gid))
    }

    /// The numbers of the names in `attributes`.
    pub(super) fn ids(&self, attributes: &Attributes) -> Result<Ids> {
        let missing = |what: &str, name: &str| {
            Error::failed(format!("there is no {what} `{name}`"))
                .hint(format!("declare `{what}: {name}` before"))
        };
        let user = match &attributes.owner {
            Some(name) if name.parse::<u32>().is_ok() => name.parse().ok(),
            Some(name) => {
                Some(self.tables()?.user(name)?.ok_or_else(|| missing("user", name))?.uid)
            }
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
        let tables = self.tables()?;
        let Some(name) = tables.user_names.get(&uid) else { return tables.identity_elsewhere(uid) };
        let user = tables.users.get(name);
        let gid = user.map_or(NOBODY, |user| tables.gid(&user.group));
        let listed = tables.groups.values().filter(|group| group.members.contains(name));
        let mut groups: Vec<u32> = listed.map(|group| group.gid).collect();
        groups.push(gid);
        Ok(Identity { uid, gid, groups })
    }

    /// The users of a group but root, by number; `None` where nobody here knows all of them: other
    /// sources may know of more, the tables may not be readable, and a number without a group may be a
    /// container's.
    pub(super) fn users_of(&self, gid: u32) -> Option<Vec<u32>> {
        let tables = self.tables().ok()?;
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

    fn tables(&self) -> Result<Rc<Tables>> {
        let mut tables = self.tables.borrow_mut();
        if let Some(tables) = &*tables {
            return Ok(Rc::clone(tables));
        }
        let read = Rc::new(Tables::read()?);
        *tables = Some(Rc::clone(&read));
        Ok(read)
    }
}

/// The content of a file of the system.
///
/// # Errors
/// When it cannot be read: an empty table would be another one.
fn content(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).context(|| format!("cannot read `{path}`"))
}

/// The same for a file that a system may lack.
fn content_if_there(path: &str) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.context(|| format!("cannot read `{path}`")),
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|byte| *byte == b'\n')
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').collect()
}

/// A number in a field.
fn number(field: &[u8]) -> Option<u32> {
    str::from_utf8(field).ok()?.parse().ok()
}

impl Tables {
    fn read() -> Result<Self> {
        Ok(Self {
            has_other_sources: has_other_sources(&content_if_there("/etc/nsswitch.conf")?),
            ..Self::parse(
                &content("/etc/passwd")?,
                &content("/etc/group")?,
                &content_if_there("/etc/shadow")?,
            )
        })
    }

    /// Puts the tables together. Of two lines with one name or one number the first counts, as for the
    /// C library.
    fn parse(passwd: &[u8], group: &[u8], shadow: &[u8]) -> Self {
        let mut tables = Self::default();
        for (name, group) in lines(group).filter_map(group_line) {
            tables.group_names.entry(group.gid).or_insert_with(|| name.clone());
            tables.groups.entry(name).or_insert(group);
        }
        let mut secrets = BTreeMap::new();
        for line in lines(shadow) {
            if let [name, hash, ..] = fields(line)[..] {
                secrets.entry(name).or_insert((hash, day_of_end(line)));
            }
        }
        for line in lines(passwd) {
            let Some((name, mut user)) = passwd_line(line, |gid| tables.group_name(gid)) else {
                continue;
            };
            if tables.users.contains_key(&name) {
                continue;
            }
            let [bytes, _, _, _, _, home, _] = fields(line)[..] else { continue };
            if let Some((hash, expires)) = secrets.get(bytes) {
                user.password_hash = Some(escaped(hash));
                user.expires = *expires;
            }
            user.groups = tables
                .groups
                .iter()
                .filter(|(_, group)| group.members.contains(&name))
                .map(|(group, _)| group.clone())
                .collect();
            if str::from_utf8(home).is_err() {
                tables.without_home.insert(name.clone());
            }
            tables.user_names.entry(user.uid).or_insert_with(|| name.clone());
            tables.users.insert(name, user);
        }
        tables
    }

    /// The user `name`, of the files or of another source.
    fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        if let Some(user) = self.users.get(name) {
            return Ok(Some(user.clone()));
        }
        let Some(line) = self.getent("passwd", name)? else { return Ok(None) };
        Ok(passwd_line(&line, |gid| self.group_name(gid)).map(|(_, user)| user))
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
        let Some(line) = self.getent("passwd", &uid.to_string())? else {
            return Ok(Identity { uid, gid: NOBODY, groups: vec![NOBODY] });
        };
        let fields = fields(&line);
        let name = fields.first().map(|name| escaped(name)).unwrap_or_default();
        let gid = fields.get(3).and_then(|gid| number(gid)).unwrap_or(NOBODY);
        // `flus  1000 4`: the name, then the numbers of its groups.
        let listed = self.getent("initgroups", &name)?.unwrap_or_default();
        let words = listed.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        Ok(Identity { uid, gid, groups: words.skip(1).filter_map(number).chain([gid]).collect() })
    }

    /// What other sources know of a name; a fork that most hosts are spared.
    fn getent(&self, database: &str, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.has_other_sources {
            return Ok(None);
        }
        let output =
            processes::run(Query::getent(database, name).command(), &Setting::default(), None)?;
        Ok(output.success().then(|| output.stdout.trim_ascii().to_vec()))
    }
}

/// Whether `/etc/nsswitch.conf` names sources of users or groups beside the files and the
/// transient users of systemd.
fn has_other_sources(nsswitch: &[u8]) -> bool {
    lines(nsswitch).any(|line| {
        let line = escaped(line);
        let line = line.split('#').next().unwrap_or_default();
        let Some((database, sources)) = line.split_once(':') else { return false };
        matches!(database.trim(), "passwd" | "group")
            && sources
                .split_whitespace()
                .any(|source| !matches!(source, "files" | "compat" | "systemd"))
    })
}

fn passwd_line(line: &[u8], group_name: impl Fn(u32) -> String) -> Option<(String, UserEntry)> {
    let fields = fields(line);
    let [name, _, uid, gid, comment, home, shell] = fields[..] else { return None };
    let user = UserEntry {
        uid: number(uid)?,
        group: group_name(number(gid)?),
        groups: Vec::new(),
        comment: escaped(comment),
        home: escaped(home),
        shell: escaped(shell),
        password_hash: None,
        expires: None,
    };
    Some((escaped(name), user))
}

/// The day on which the account of a line of `/etc/shadow` ends, counted from 1970.
fn day_of_end(line: &[u8]) -> Option<u32> {
    fields(line).get(7).and_then(|day| number(day))
}

fn group_line(line: &[u8]) -> Option<(String, GroupEntry)> {
    let fields = fields(line);
    let [name, _, gid, members] = fields[..] else { return None };
    let members = members.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    let mut members: Vec<String> = members.map(escaped).collect();
    members.sort();
    Some((escaped(name), GroupEntry { gid: number(gid)?, members }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_the_three_files() {
        let tables = Tables::parse(
            b"root:x:0:0:root:/root:/bin/bash\nflus:x:1000:1000:Flus,,,:/srv/flus:/bin/sh\n",
            b"root:x:0:\nflus:x:1000:\nadm:x:4:syslog,flus\n",
            b"root:*:1:0:::::\nflus:$y$hash:1:0::::20818:\n",
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
    fn bytes_that_are_no_text_cost_nobody_an_account() {
        let tables = Tables::parse(
            b"root:x:0:0:root:/root:/bin/bash\njos\xe9:x:1500:1500:Jos\xe9,,,:/home/jos\xe9:/bin/sh\n\
              ana:x:1501:1500:M\xfcller:/home/ana:/bin/sh\n",
            b"root:x:0:\nusers\xe9:x:1500:jos\xe9,ana\n",
            b"root:*:1:0:::::\njos\xe9:$y$hash:1:0:::::\n",
        );
        assert_eq!(tables.user_names[&0], "root");
        assert_eq!(tables.users["ana"].comment, "M\\xfcller");
        assert_eq!(tables.users["ana"].groups, ["users\\xe9"]);
        let jose = &tables.users["jos\\xe9"];
        assert_eq!((jose.uid, jose.group.as_str()), (1500, "users\\xe9"));
        assert_eq!(jose.password_hash.as_deref(), Some("$y$hash"));
        let accounts = Accounts { tables: RefCell::new(Some(Rc::new(tables))) };
        let ids = accounts.ids(&Attributes::new("jos\\xe9", "users\\xe9", 0o644)).unwrap();
        assert_eq!((ids.user, ids.group), (Some(1500), Some(1500)));
        assert_eq!(
            accounts.user("jos\\xe9").unwrap_err().to_string(),
            "the home folder of `jos\\xe9` has a name that is not UTF-8: `/home/jos\\xe9`\n\
             hint: `usermod --move-home --home` gives it another"
        );
        assert_eq!(accounts.user("ana").unwrap().unwrap().uid, 1501);
    }

    #[test]
    fn the_first_of_two_lines_counts() {
        let tables = Tables::parse(
            b"web:x:1000:1000::/srv/web:/bin/sh\nweb:x:1001:1000::/old:/bin/sh\napp:x:1000:1000::/a:/b\n",
            b"web:x:1000:\nadmins:x:1000:\nweb:x:7:\n",
            b"web:first:\nweb:second:\n",
        );
        assert_eq!(tables.users["web"].uid, 1000);
        assert_eq!(tables.users["web"].password_hash.as_deref(), Some("first"));
        assert_eq!((&*tables.user_names[&1000], &*tables.group_names[&1000]), ("web", "web"));
        assert_eq!(tables.groups["web"].gid, 1000);
    }

    #[test]
    fn a_table_that_cannot_be_read_is_an_error() {
        let error = content("/proc/self").unwrap_err().to_string();
        assert_eq!(error, "cannot read `/proc/self`\ncaused by: Is a directory (os error 21)");
        assert!(content("/nowhere/passwd").is_err());
        assert!(content_if_there("/proc/self").is_err());
        assert_eq!(content_if_there("/nowhere/shadow"), Ok(Vec::new()));
    }

    #[test]
    fn other_sources_are_named_by_nsswitch() {
        let plain =
            b"# passwd: ldap\npasswd:         files systemd\ngroup: files # ldap\nhosts: dns";
        assert!(!has_other_sources(plain));
        assert!(has_other_sources(b"passwd: files\ngroup: files sss\n"));
        assert!(has_other_sources(b"passwd: files [NOTFOUND=return] ldap\n"));
        assert!(!has_other_sources(b""));
    }

    #[test]
    fn skips_lines_that_are_not_entries() {
        assert_eq!(group_line(b"+::::"), None);
        assert_eq!(passwd_line(b"# comment", |_| String::new()), None);
    }
}
