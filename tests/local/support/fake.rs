//! A server in memory that answers as a test says and notes what is done to it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use infra::error::{Error, Kind, Result};
use infra::manifest::ResourceId;
use infra::resources::bonds::Bonds;
use infra::resources::probe::{
    Cluster, GroupEntry, PackageEntry, SqlRow, UserEntry, UserProcess, WayIn,
};
use infra::resources::{Attributes, Command, Facts, FileKind, Output, Probe, Query, Stat, Unit};

use super::files::FakeFile;
use super::world::{Answer, SqlAnswer, World, WorldProcess};

/// The server. It behaves as the real one does where that is cheap: parents have to be there,
/// owners have to exist, `systemctl` moves units.
pub(crate) struct Fake {
    facts: Facts,
    pub(super) files: BTreeMap<String, FakeFile>,
    users: BTreeMap<String, UserEntry>,
    groups: BTreeMap<String, GroupEntry>,
    packages: BTreeMap<String, (PackageEntry, Vec<String>)>,
    pub(super) units: BTreeMap<String, Unit>,
    answers: Vec<Answer>,
    sql: Vec<SqlAnswer>,
    missing: BTreeSet<String>,
    writable_by_others: Vec<String>,
    login: Option<String>,
    processes: Vec<WorldProcess>,
    ports: BTreeSet<SocketAddr>,
    pub(super) changed: BTreeSet<ResourceId>,
    /// Patches that happen by themselves while somebody waits, with the milliseconds until then.
    pub(super) to_come: Vec<(u32, World)>,
    /// How often a program or PostgreSQL was asked by a check.
    questions: Cell<usize>,
    /// Every write, in order, as a line of text.
    operations: Vec<String>,
}

/// Folders of every Debian, so that tests need not name them.
const FOLDERS: &[&str] = &[
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/etc/apt",
    "/etc/cron.d",
    "/etc/default",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/etc/systemd/system",
    "/home",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/www",
];

impl Fake {
    /// A server as `world` says, with root and Debian's first folders.
    pub(crate) fn new(world: &World) -> Self {
        let facts = world.facts.clone().unwrap_or_default().facts();
        let mut fake = Self {
            facts,
            files: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            packages: BTreeMap::new(),
            units: BTreeMap::new(),
            answers: Vec::new(),
            sql: Vec::new(),
            missing: BTreeSet::new(),
            writable_by_others: Vec::new(),
            login: None,
            processes: Vec::new(),
            ports: BTreeSet::new(),
            changed: BTreeSet::new(),
            to_come: Vec::new(),
            questions: Cell::new(0),
            operations: Vec::new(),
        };
        let root = UserEntry { group: "root".into(), home: "/root".into(), ..Default::default() };
        fake.users.insert("root".to_owned(), root);
        fake.groups.insert("root".to_owned(), GroupEntry::default());
        // The user of apt's downloads, on every Debian.
        let apt = UserEntry { group: "nogroup".into(), ..Default::default() };
        fake.users.insert("_apt".to_owned(), apt);
        fake.groups.insert("nogroup".to_owned(), GroupEntry::default());
        for folder in FOLDERS {
            fake.files.insert((*folder).to_owned(), FakeFile::directory());
        }
        fake.patch(world);
        fake
    }

    /// Changes the server without an operation, as a program would.
    pub(crate) fn patch(&mut self, world: &World) {
        for (path, node) in &world.files {
            match node {
                Some(node) => self.put_with_parents(path, FakeFile::of(node)),
                None => self.remove_below(path),
            }
        }
        merge(&mut self.users, &world.users, |name, user| user.entry(name));
        merge(&mut self.groups, &world.groups, |_, group| group.entry());
        merge(&mut self.packages, &world.packages, |name, package| package.entry(name));
        merge(&mut self.units, &world.units, |_, unit| unit.unit());
        self.answers.splice(0..0, world.answers.iter().cloned());
        self.sql.splice(0..0, world.sql.iter().cloned());
        self.processes.extend(world.processes.iter().cloned());
        self.login = world.login.clone().or(self.login.take());
        self.writable_by_others.extend(world.writable_by_others.iter().cloned());
        if let Some(missing) = &world.missing {
            self.missing = missing.iter().cloned().collect();
        }
        if let Some(ports) = &world.ports {
            self.ports = ports.iter().copied().collect();
        }
        self.changed.extend(world.changed.iter().filter_map(|id| ResourceId::parse(id)));
    }

    /// The writes since the last call.
    pub(crate) fn take_operations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.operations)
    }

    /// How often a program or PostgreSQL was asked by a check.
    pub(crate) fn questions(&self) -> usize {
        self.questions.get()
    }

    pub(super) fn put_with_parents(&mut self, path: &str, file: FakeFile) {
        let mut above = path;
        while let Some((parent, _)) =
            above.rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
        {
            self.files.entry(parent.to_owned()).or_insert_with(FakeFile::directory);
            above = parent;
        }
        self.files.insert(path.to_owned(), file);
    }

    pub(super) fn remove_below(&mut self, path: &str) {
        let below = format!("{path}/");
        self.files.retain(|other, _| other != path && !other.starts_with(&below));
    }

    /// The path behind the symlinks at the end of `path`; as on Linux, not behind more than 40.
    fn followed<'a>(&'a self, path: &'a str) -> &'a str {
        let target = |path: &&'a str| {
            let target = self.files.get(*path).and_then(|file| file.target.as_deref());
            target.filter(|target| target.starts_with('/'))
        };
        std::iter::successors(Some(path), target).take(40).last().unwrap_or(path)
    }

    pub(super) fn answer(&self, command: &Command) -> Result<Option<&Answer>> {
        let program = command.program();
        if self.missing.contains(program) {
            return Err(Error::tool_missing(program));
        }
        if let Some(user) = command.user.as_deref().filter(|user| !self.users.contains_key(*user)) {
            let what = format!("cannot run `{}` as `{user}`", command.display());
            return Err(Error::failed(what).because("there is no such user"));
        }
        if let Some(cwd) = command.cwd.as_deref().filter(|cwd| self.is_no_directory(cwd)) {
            let what = format!("cannot run `{}` in `{cwd}`", command.display());
            return Err(Error::failed(what).because("the folder is not there"));
        }
        let mut best: Option<&Answer> = None;
        for answer in self.answers.iter().filter(|answer| command.argv.starts_with(&answer.run)) {
            if best.is_none_or(|best| answer.run.len() > best.run.len()) {
                best = Some(answer);
            }
        }
        Ok(best)
    }

    pub(super) fn is_no_directory(&self, path: &str) -> bool {
        let file = self.files.get(self.followed(path));
        file.is_none_or(|file| file.stat.kind != FileKind::Directory)
    }

    pub(super) fn sql_answer(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<&SqlAnswer> {
        if self.missing.contains("postgresql") {
            return Err(Error::tool_missing("postgresql"));
        }
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cluster = cluster.label();
        let found = self.sql.iter().find(|answer| {
            answer.cluster == cluster
                && answer.database.as_deref().is_none_or(|name| name == database)
                && flat(sql).contains(&flat(&answer.sql))
                && answer.parameters.as_ref().is_none_or(|wanted| wanted == parameters)
        });
        found.ok_or_else(|| {
            Error::failed(format!("the case has no answer of `{database}` to: {}", flat(sql)))
        })
    }

    /// The attributes that something gets: those given, else those it has, else root's.
    pub(super) fn stat_with(
        &self,
        path: &str,
        kind: FileKind,
        attributes: &Attributes,
        mode: u32,
    ) -> Result<Stat> {
        let is_there = |what: &str, name: &str, there: bool| {
            let error = Error::failed(format!("there is no {what} `{name}`"));
            let hint = format!("declare `{what}: {name}` before");
            if there { Ok(()) } else { Err(error.hint(hint)) }
        };
        if let Some(owner) = &attributes.owner {
            is_there("user", owner, self.users.contains_key(owner))?;
        }
        if let Some(group) = &attributes.group {
            is_there("group", group, self.groups.contains_key(group))?;
        }
        let before = self.files.get(path).map(|file| &file.stat).filter(|stat| stat.kind == kind);
        let owner = attributes.owner.clone().or(before.map(|stat| stat.owner.clone()));
        let group = attributes.group.clone().or(before.map(|stat| stat.group.clone()));
        Ok(Stat {
            kind,
            mode: attributes.mode.or(before.map(|stat| stat.mode)).unwrap_or(mode),
            owner: owner.unwrap_or_else(|| "root".to_owned()),
            group: group.unwrap_or_else(|| "root".to_owned()),
            size: 0,
        })
    }

    pub(super) fn check_parent(&self, path: &str, doing: &str) -> Result<()> {
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        if self.is_no_directory(parent) {
            return Err(Error::failed("its folder is not there").context(doing));
        }
        Ok(())
    }

    pub(super) fn note(&mut self, operation: String) {
        self.operations.push(operation);
    }
}

impl Probe for Fake {
    fn has_program(&self, program: &str) -> Result<bool> {
        Ok(!self.missing.contains(program))
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        Ok(self.files.get(path).map(|file| file.stat.clone()))
    }

    fn read_with_stat(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>> {
        let file = self.files.get(self.followed(path));
        let file = file.filter(|file| file.stat.kind == FileKind::File);
        Ok(file.map(|file| (file.content.clone(), file.stat.clone())))
    }

    fn bonds(&self, path: &str) -> Result<Bonds> {
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let parent = self.files.get(self.followed(if parent.is_empty() { "/" } else { parent }));
        let file = self.files.get(path);
        Ok(Bonds {
            names: file.map_or(1, |file| file.names),
            flag: file.and_then(|file| file.flag),
            folder: parent.and_then(|folder| folder.flag),
        })
    }

    fn read_link(&self, path: &str) -> Result<Option<String>> {
        Ok(self.files.get(path).and_then(|file| file.target.clone()))
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        let path = self.followed(path);
        if self.is_no_directory(path) {
            return Ok(None);
        }
        let below = format!("{}/", path.trim_end_matches('/'));
        let names = self.files.keys().filter_map(|other| other.strip_prefix(&below));
        let names = names.filter(|name| !name.is_empty() && !name.contains('/'));
        Ok(Some(names.map(str::to_owned).collect()))
    }

    fn way_in(&self) -> Option<WayIn> {
        self.login.clone().map(|account| WayIn { account, unit: Some("ssh.service".into()) })
    }

    fn can_others_change(&self, path: &str) -> Result<bool> {
        Ok(self.writable_by_others.iter().any(|folder| path.starts_with(&format!("{folder}/"))))
    }

    fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        Ok(self.users.get(name).cloned())
    }

    fn group(&self, name: &str) -> Result<Option<GroupEntry>> {
        Ok(self.groups.get(name).cloned())
    }

    fn users(&self) -> Result<Vec<String>> {
        Ok(self.users.keys().cloned().collect())
    }

    fn groups(&self) -> Result<Vec<String>> {
        Ok(self.groups.keys().cloned().collect())
    }

    fn processes_of(&self, uid: u32) -> Result<Vec<UserProcess>> {
        let numbered = self.processes.iter().zip(100..);
        let processes = numbered.filter(|(process, _)| process.uid == uid);
        let found = processes.map(|(process, pid)| UserProcess {
            pid,
            name: process.name.clone(),
            unit: process.unit.clone(),
        });
        Ok(found.collect())
    }

    fn package(&self, name: &str) -> Result<Option<String>> {
        let found = self.packages.get(name.strip_suffix(":amd64").unwrap_or(name));
        let found = found.filter(|(entry, _)| entry.is_installed);
        Ok(found.map(|(entry, _)| entry.version.clone()))
    }

    fn packages_of(&self, name: &str) -> Result<Vec<PackageEntry>> {
        let name = name.strip_suffix(":amd64").unwrap_or(name);
        let own = self.packages.get(name).map(|(own, _)| own.clone());
        let own = own.map(|own| PackageEntry { has_asked_name: true, ..own });
        let is_other = |(other, provides): &&(PackageEntry, Vec<String>)| {
            let is_foreign = other.name.split_once(':').is_some_and(|(plain, _)| plain == name);
            other.is_installed && (is_foreign || provides.iter().any(|one| one == name))
        };
        let others = self.packages.values().filter(is_other).map(|(other, _)| other.clone());
        Ok(own.into_iter().chain(others).collect())
    }

    fn unit(&self, name: &str) -> Result<Unit> {
        let unknown = || Unit { load_state: "not-found".to_owned(), ..Unit::default() };
        let is_target = name.ends_with(".target") && !self.missing.contains(name);
        let target = || Unit { load_state: "loaded".to_owned(), ..Unit::default() };
        let otherwise = || if is_target { target() } else { unknown() };
        Ok(self.units.get(name).cloned().unwrap_or_else(otherwise))
    }

    fn query(&self, query: &Query) -> Result<Output> {
        self.questions.update(|count| count + 1);
        let command = query.command();
        let answer = self.answer(command)?;
        let is_of_systemd = command.argv.iter().any(|word| word.contains("systemd-analyze verify"));
        if answer.is_none()
            && (is_of_systemd || command.argv.ends_with(&["is-system-running".into()]))
        {
            // Units are right and the server is up unless a case says otherwise.
            return Ok(Output { status: 0, stdout: Vec::new(), stderr: Vec::new() });
        }
        let answer = answer.ok_or_else(|| {
            Error::failed(format!("the case has no answer to `{}`", command.display()))
        })?;
        if answer.hangs || answer.seconds > command.timeout_seconds {
            return Err(Error::new(Kind::TimedOut, "the program did not end and was stopped"));
        }
        Ok(output(answer))
    }

    fn sql(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.questions.update(|count| count + 1);
        self.sql_answer(cluster, database, sql, parameters).map(|answer| answer.rows.clone())
    }

    fn connects(&self, address: SocketAddr, _: Duration) -> Result<bool> {
        Ok(self.ports.contains(&address))
    }

    fn changed(&self, id: &ResourceId) -> bool {
        self.changed.contains(id)
    }
}

fn merge<T, U>(
    into: &mut BTreeMap<String, U>,
    patch: &BTreeMap<String, Option<T>>,
    make: impl Fn(&str, &T) -> U,
) {
    for (name, value) in patch {
        match value {
            Some(value) => into.insert(name.clone(), make(name, value)),
            None => into.remove(name),
        };
    }
}

pub(super) fn output(answer: &Answer) -> Output {
    Output {
        status: answer.status,
        stdout: answer.stdout.clone().into_bytes(),
        stderr: answer.stderr.clone().into_bytes(),
    }
}
