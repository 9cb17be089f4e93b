//! `user`: an account, with its groups, home, shell and password.

mod home;
mod login;
mod password;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::{self, Password, check_account_name};
use super::bonds::{self, Touch};
use super::fields::{AbsolutePath, OneOrMany, Presence, is_one_line, yes};
use super::names::normal;
use super::prediction::Prediction;
use super::probe::{FileKind, GroupEntry, Probe, UserEntry};
use super::query::Command;
use super::removal::Dropped;
use super::shares::Share;
use super::state::{Change, Current, State, Value};
use super::system::{System, run_checked};
use super::{Resource, WayBack};
use crate::date::{date_of, days_of};
use crate::error::Result;
use crate::manifest::ResourceId;
use crate::secret::Secret;

/// An account, with its groups, home, shell and password.
///
/// A field that is not given is left as it is. An account that is there may have any name; a new one has a
/// name that Debian accepts. A new account gets a group of its own name, a home in
/// `/home` and the shell `/bin/bash`, and with `system: true` no home and `/usr/sbin/nologin`; it
/// has no password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number; a free one if not given. Files outside its home keep the old number when it
    /// changes.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its primary group.
    #[serde(default)]
    pub group: Option<String>,
    /// The other groups that it belongs to.
    #[serde(default)]
    pub groups: Option<OneOrMany>,
    /// Whether it may belong to more groups than `groups`; if `false`, it leaves them.
    #[serde(default = "yes")]
    pub append: bool,
    /// A comment, usually the full name.
    #[serde(default)]
    pub comment: Option<String>,
    /// Its home folder. Nothing is moved when it changes.
    #[serde(default)]
    pub home: Option<AbsolutePath>,
    /// Its login shell.
    #[serde(default)]
    pub shell: Option<AbsolutePath>,
    /// When it is made, takes its number from those of the system's own accounts.
    #[serde(default)]
    pub system: bool,
    /// When it is made, makes its home folder. Yes, except with `system: true`.
    #[serde(default)]
    pub create_home: Option<bool>,
    /// The hash of its password, as in `/etc/shadow`; `mkpasswd` prints one.
    #[serde(default)]
    #[cfg_attr(feature = "cli", schemars(with = "Option<String>"))]
    pub password_hash: Option<Secret>,
    /// Whether its password is locked, as by `usermod -L`: nobody gets in by the password, and it
    /// comes back with `false`. If not given, a lock that somebody made on the server stays, also
    /// in front of a new `password_hash`. Keys open a locked account: see `expires`.
    #[serde(default)]
    pub locked: Option<bool>,
    /// The first day on which nobody gets in, by a password or by a key, such as `2026-12-31`; or
    /// `never`.
    #[serde(default)]
    pub expires: Option<String>,
    /// With `state: absent`, removes its home folder and its mail as well.
    #[serde(default)]
    pub remove_home: bool,
    /// Whether it should be there.
    #[serde(default)]
    pub state: Presence,
}

/// The value of `expires` without a day.
const NEVER: &str = "never";

impl User {
    fn check_expiry(&self) -> Result<(), String> {
        let is_day = |text: &str| text == NEVER || days_of(text).is_some();
        match self.expires.as_deref().filter(|text| !is_day(text)) {
            Some(text) => {
                Err(format!("`{text}` is neither a date such as `2026-12-31` nor `never`"))
            }
            None => Ok(()),
        }
    }

    fn creates_home(&self) -> bool {
        self.create_home.unwrap_or(!self.system)
    }

    fn home_or_default(&self) -> String {
        self.home.as_ref().map_or_else(|| format!("/home/{}", self.name), ToString::to_string)
    }

    fn shell_or_default(&self) -> &str {
        let default = if self.system { "/usr/sbin/nologin" } else { "/bin/bash" };
        self.shell.as_ref().map_or(default, AbsolutePath::as_str)
    }

    /// The options for the fields that `change` sets, which useradd and usermod share.
    fn options(&self, change: &Change) -> Vec<String> {
        let mut options = Vec::new();
        let mut option = |field: &str, name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|_| change.sets(field)) {
                options.extend([name.to_owned(), value]);
            }
        };
        option("uid", "--uid", self.uid.map(|uid| uid.to_string()));
        option("group", "--gid", self.group.clone());
        option("groups", "--groups", self.groups.as_ref().map(|groups| groups.0.join(",")));
        option("comment", "--comment", self.comment.clone());
        option("home", "--home-dir", self.home.as_ref().map(ToString::to_string));
        option("shell", "--shell", self.shell.as_ref().map(ToString::to_string));
        // As a number of days: a date would be read in the time zone of the server.
        let day = self.expires.as_deref().map(days_of);
        let day = day.map(|day| day.map_or_else(String::new, |day| day.to_string()));
        option("expires", "--expiredate", day);
        options
    }

    fn create(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let mut command = self.options(change).iter().fold(Command::new(["useradd"]), Command::arg);
        if self.group.is_none() {
            // useradd refuses to make a group that is there already.
            let is_there = system.group(&self.name)?.is_some();
            let options = if is_there { &["--gid", &self.name][..] } else { &["--user-group"] };
            command = options.iter().fold(command, |command, option| command.arg(*option));
        }
        // Not as the server's own defaults (useradd(8)) say: the plan has told otherwise.
        if self.home.is_none() {
            command = command.arg("--home-dir").arg(self.home_or_default());
        }
        if self.expires.is_none() {
            command = command.arg("--expiredate").arg("");
        }
        if self.shell.is_none() {
            command = command.arg("--shell").arg(self.shell_or_default());
        }
        if self.system {
            command = command.arg("--system");
        }
        let home = if self.creates_home() { "--create-home" } else { "--no-create-home" };
        run_checked(system, &command.arg(home).arg("--").arg(&self.name)).map(drop)
    }

    fn update(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        let options = self.options(change);
        if options.is_empty() {
            return Ok(());
        }
        let mut command = Command::new(["usermod"]);
        if change.sets("groups") && self.append {
            command = command.arg("--append");
        }
        let command = options.iter().fold(command, |command, option| match option.as_str() {
            // The one option that the two programs call differently.
            "--home-dir" => command.arg("--home"),
            _ => command.arg(option),
        });
        run_checked(system, &command.arg("--").arg(&self.name)).map(drop)
    }
}

impl Resource for User {
    const KIND: &'static str = "user";
    const PRIMARY: Option<&'static str> = Some("name");
    const EXAMPLE: &'static str = "\
- user: { name: deploy, groups: [sudo, adm], shell: /bin/bash }
- user: { name: flus, system: true, home: /srv/flus }
- user: { name: contractor, expires: 2026-12-31, locked: false }
- user: { name: former, state: absent }
";

    fn identity(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        check_account_name(&self.name)?;
        account::check_number("uid", self.uid)?;
        if let Some(group) = &self.group {
            check_account_name(group)?;
        }
        for group in self.groups.iter().flat_map(|groups| &groups.0) {
            check_account_name(group)?;
        }
        if self
            .comment
            .as_ref()
            .is_some_and(|comment| comment.contains(':') || !is_one_line(comment))
        {
            return Err("`comment` cannot hold a colon or a line break".to_owned());
        }
        if !self.append && self.groups.is_none() {
            return Err("`append: false` needs `groups`".to_owned());
        }
        let hash = self.password_hash.as_ref().map(Secret::expose);
        if hash.is_some_and(|hash| hash.contains(':') || !is_one_line(hash)) {
            return Err("`password_hash` cannot hold a colon or a line break".to_owned());
        }
        if hash.is_some_and(|hash| hash.trim().is_empty()) && !self.state.is_absent() {
            return Err(
                "`password_hash` is empty, which lets everybody in: `\"*\"` lets nobody in by a \
                        password"
                    .to_owned(),
            );
        }
        if self.locked.is_some() && hash.is_some_and(account::is_no_hash) {
            return Err("`locked` needs a `password_hash` that is no lock itself".to_owned());
        }
        self.check_expiry()?;
        if self.state.is_absent() && self.name == "root" {
            return Err("no server works without the user `root`".to_owned());
        }
        if self.remove_home && !self.state.is_absent() {
            return Err("`remove_home` needs `state: absent`".to_owned());
        }
        Ok(())
    }

    fn takes_folder(&self, probe: &dyn Probe) -> Result<Option<String>> {
        let goes = self.state.is_absent() && self.remove_home;
        Ok(if goes { probe.user(&self.name)?.map(|user| user.home) } else { None })
    }

    fn takes_accounts(&self, probe: &dyn Probe) -> Result<Vec<ResourceId>> {
        let user = probe.user(&self.name)?.filter(|_| self.state.is_absent());
        let Some(_) = user else { return Ok(Vec::new()) };
        let group = account::group_that_goes_with(&self.name, probe)?;
        Ok(account::named([self.name.as_str()], group.map(|_| self.name.as_str())))
    }

    fn needs(&self) -> Vec<ResourceId> {
        let groups = self.groups.iter().flat_map(|groups| &groups.0).chain(&self.group);
        account::named([], groups.map(String::as_str))
    }

    fn accounts(&self, probe: &dyn Probe) -> Result<Vec<ResourceId>> {
        let is_open = self.state.is_absent() || self.group.is_none();
        let found = probe.user(&self.name)?.filter(|_| is_open).map(|user| user.group);
        // The group of its own name goes with it.
        let found = found.filter(|group| *group != self.name || !self.state.is_absent());
        let declared = self.groups.iter().flat_map(|groups| &groups.0).chain(&self.group);
        Ok(account::named([], declared.chain(&found).map(String::as_str)))
    }

    fn claims(&self, probe: Option<&dyn Probe>) -> Result<Vec<String>> {
        let Some(probe) = probe.filter(|_| self.state.is_absent()) else {
            return Ok(self.uid.iter().map(|uid| format!("uid {uid}")).collect());
        };
        let uid = probe.user(&self.name)?.map(|user| format!("uid {}", user.uid));
        let gid = account::group_that_goes_with(&self.name, probe)?;
        Ok(uid.into_iter().chain(gid.map(|gid| format!("gid {gid}"))).collect())
    }

    fn desired(&self) -> Option<State> {
        let hash = self.password_hash.as_ref();
        (!self.state.is_absent()).then(|| {
            State::new()
                .with_some("uid", self.uid)
                .with_some("group", self.group.as_deref())
                .with_some("groups", self.groups.as_ref().map(|groups| Value::set(&groups.0)))
                .with_some("comment", self.comment.as_deref())
                .with_some("home", self.home.as_ref().map(AbsolutePath::as_str))
                .with_some("shell", self.shell.as_ref().map(AbsolutePath::as_str))
                .with_some("password_hash", hash.map(|hash| Value::Hidden(hash.expose().into())))
                .with_some("locked", self.locked)
                .with_some("expires", self.expires.as_deref())
        })
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        self.check_hash()?;
        let Some(entry) = probe.user(&self.name)? else {
            return account::missing(&self.name, !self.state.is_absent(), probe);
        };
        let wanted: BTreeSet<&String> = self.groups.iter().flat_map(|groups| &groups.0).collect();
        // A user counts as a member of its primary group, which does not list it.
        let is_primary = wanted.contains(&entry.group).then_some(&entry.group);
        let groups = entry.groups.iter().chain(is_primary);
        let groups = Value::set(groups.filter(|group| !self.append || wanted.contains(group)));
        // Without a line in `/etc/shadow`, none of these is known.
        let field = entry.password_hash.as_deref();
        let declared = self.password_hash.as_ref().map(Secret::expose);
        let password = field.map(|field| Password::of(field).compared(field, declared));
        let wanted = self.locked.unwrap_or_default();
        let locked = field.map(|field| Password::of(field).counts_as_locked(wanted));
        let expires = field.map(|_| entry.expires.map_or_else(|| NEVER.to_owned(), date_of));
        Ok(Current::Present(
            State::new()
                .with("uid", entry.uid)
                .with("group", entry.group.as_str())
                .with("groups", groups)
                .with("comment", entry.comment)
                // Others may have written it with a slash at its end.
                .with("home", normal(&entry.home))
                .with("shell", entry.shell)
                .with_some("password_hash", password)
                .with_some("locked", locked)
                .with_some("expires", expires),
        ))
    }

    fn traces(&self, probe: &dyn Probe) -> Result<State> {
        let entry = probe.user(&self.name)?.filter(|_| self.groups.is_some());
        // All of them: which of them count depends on the spec.
        Ok(State::new().with_some("groups", entry.map(|entry| Value::set(entry.groups))))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        match change {
            Change::Create(_) => self.create(change, system)?,
            Change::Update(_) => self.update(change, system)?,
            Change::Remove => {
                let command = Command::new(["userdel"]);
                let command = if self.remove_home { command.arg("--remove") } else { command };
                return run_checked(system, &command.arg("--").arg(&self.name)).map(drop);
            }
        }
        match &self.password_hash {
            Some(hash) if change.sets("password_hash") => self.set_password(hash, system),
            // A new account without a password has nothing that could be locked.
            _ if change.sets("locked") && !change.is_create() => self.set_lock(system),
            _ => Ok(()),
        }
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let known = world.user(&self.name).ok().flatten();
        if change.is_remove() {
            world.user_entry(&self.name, None);
            if let Some(known) = known.filter(|_| self.remove_home) {
                world.removed(&known.home);
            }
            return;
        }
        let is_new = known.is_none();
        let known = known.unwrap_or_else(|| UserEntry {
            uid: account::UNKNOWN,
            group: self.name.clone(),
            home: self.home_or_default(),
            shell: self.shell_or_default().to_owned(),
            ..UserEntry::default()
        });
        let mut groups =
            self.groups.clone().map_or_else(|| known.groups.clone(), |groups| groups.0);
        if self.append {
            groups.extend(known.groups);
        }
        groups.sort();
        groups.dedup();
        let entry = UserEntry {
            uid: self.uid.unwrap_or(known.uid),
            group: self.group.clone().unwrap_or(known.group),
            groups,
            comment: self.comment.clone().unwrap_or(known.comment),
            home: self.home.as_ref().map_or(known.home, ToString::to_string),
            shell: self.shell.as_ref().map_or(known.shell, ToString::to_string),
            password_hash: Some(self.predicted_password(known.password_hash)),
            expires: match self.expires.as_deref() {
                Some(text) => days_of(text),
                None => known.expires,
            },
        };
        if is_new && matches!(world.group(&entry.group), Ok(None)) {
            let group = GroupEntry { gid: account::UNKNOWN, ..GroupEntry::default() };
            world.group_entry(&entry.group, Some(group));
        }
        if is_new && self.creates_home() && matches!(world.stat(&entry.home), Ok(None)) {
            let mode = home::mode(world);
            world.directory(&entry.home, &self.name, &entry.group, mode);
        }
        world.user_entry(&self.name, Some(entry));
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        if let Some(uid) = self.uid.filter(|_| change.sets("uid")) {
            account::check_uid_is_free(uid, &self.name, probe)?;
        }
        self.check_shell(change, probe)?;
        // usermod(8) changes neither while the user is logged in.
        let moves = !change.is_create() && (change.sets("uid") || change.sets("home"));
        if change.is_remove() || moves {
            account::check_is_idle(&self.name, probe)?;
        }
        Ok(())
    }

    fn touches(&self, _: &Change, _: &dyn Probe) -> Result<Vec<(String, Touch)>> {
        Ok(bonds::by_program(&bonds::USERS))
    }

    fn makes(&self, change: &Change) -> Vec<String> {
        let is_made = change.is_create() && self.creates_home();
        is_made.then(|| self.home_or_default()).into_iter().collect()
    }

    fn leaves(&self, probe: &dyn Probe) -> Result<Vec<String>> {
        let home = probe.user(&self.name)?.map(|user| user.home).filter(|_| !self.remove_home);
        let is_folder = |path: &String| {
            let stat = probe.stat(path).ok().flatten();
            stat.is_some_and(|stat| stat.kind == FileKind::Directory)
        };
        Ok(home.filter(is_folder).map(|home| format!("its home `{home}`")).into_iter().collect())
    }

    fn shares(&self, _: Option<&dyn Probe>) -> Vec<(String, Share)> {
        bonds::USERS.iter().map(|path| ((*path).to_owned(), Share::Part)).collect()
    }

    fn way_back(&self, probe: &dyn Probe) -> Result<Vec<WayBack>> {
        self.programs_back(probe)
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        // The account goes, so that nobody comes in by it; its home folder stays.
        let state = Presence::Absent;
        let absent =
            Self { password_hash: None, locked: None, expires: None, state, ..self.clone() };
        if self.system {
            // What it owns would belong to whoever gets its number next.
            return Some(Dropped::stays_unless_allowed(absent, "it may own data"));
        }
        let with_data = Self { remove_home: true, ..absent.clone() };
        Some(Dropped { gently: Some(absent), with_data: Some(with_data), stays: None })
    }
}
