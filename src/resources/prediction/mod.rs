//! A server as it will be: the real one seen through the predicted effects of the resources that
//! a preview has already passed.

mod files;
mod mentions;
mod owners;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::Spec;
use super::bonds::Bonds;
use super::filesystems::Source;
use super::names::Names;
use super::package::canonical;
use super::probe::{
    Cluster, Facts, FileKind, GroupEntry, Output, PROGRAMS, PackageEntry, Probe, SqlRow, Stat,
    Unit, UserEntry, UserProcess, WayIn,
};
use super::query::Query;
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// What is known of the future of a server. A resource whose check found a change records what
/// will be true afterwards; the checks behind it read the server through it.
pub struct Prediction<'a> {
    real: &'a dyn Probe,
    /// Finds the one path of each thing, over the links that are there and those to come.
    names: Names<'a>,
    /// By these paths.
    files: BTreeMap<String, PredictedFile>,
    /// Paths that a command will make; nobody knows what they will be.
    made: BTreeSet<String>,
    users: BTreeMap<String, Option<UserEntry>>,
    groups: BTreeMap<String, Option<GroupEntry>>,
    packages: BTreeMap<String, Option<String>>,
    units: BTreeMap<String, Unit>,
    databases: BTreeSet<(Cluster, String)>,
    /// Units that read their configuration anew: the processes that they have now may end.
    told: BTreeSet<String>,
    changed: BTreeSet<ResourceId>,
    /// The mounts so far that will change.
    mounts: Vec<ResourceId>,
    /// The resources so far that will change something which nobody can predict in full.
    bring_more: Vec<ResourceId>,
    /// The commands so far that will run, each with the names in its arguments.
    commands: Vec<(ResourceId, BTreeSet<String>)>,
}

/// What will be at a path.
#[derive(Clone, Debug)]
enum PredictedFile {
    Gone,
    There { stat: Stat, content: Option<Vec<u8>>, link: Option<String> },
}

impl<'a> Prediction<'a> {
    /// The server as it is.
    pub fn new(real: &'a dyn Probe) -> Self {
        Self {
            real,
            names: Names::of(real),
            files: BTreeMap::new(),
            made: BTreeSet::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            packages: BTreeMap::new(),
            units: BTreeMap::new(),
            databases: BTreeSet::new(),
            told: BTreeSet::new(),
            changed: BTreeSet::new(),
            mounts: Vec::new(),
            bring_more: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// `source` will be mounted at `path`.
    pub fn mounted(&mut self, path: &str, source: Source) {
        self.names.will_mount(path, source);
    }

    /// A user will be like this, or will not be.
    pub fn user_entry(&mut self, name: &str, entry: Option<UserEntry>) {
        self.users.insert(name.to_owned(), entry);
    }

    /// A group will be like this, or will not be.
    pub fn group_entry(&mut self, name: &str, entry: Option<GroupEntry>) {
        self.groups.insert(name.to_owned(), entry);
    }

    /// A package will be installed in this version, or will not be.
    pub fn package_version(&mut self, name: &str, version: Option<String>) {
        let name = canonical(name, self.real.facts()).to_owned();
        self.packages.insert(name, version);
    }

    /// A unit will be like this.
    pub fn unit_state(&mut self, name: &str, unit: Unit) {
        self.units.insert(name.to_owned(), unit);
    }

    /// The units of a service will be reloaded or restarted.
    pub fn tell(&mut self, service: &Spec) {
        self.told.extend(service.units());
    }

    /// A PostgreSQL database will be there, and empty.
    pub fn database(&mut self, cluster: Cluster, name: &str) {
        self.databases.insert((cluster, name.to_owned()));
    }

    /// `id` will change the server.
    pub fn mark_changed(&mut self, id: &ResourceId) {
        self.changed.insert(id.clone());
        if matches!(id.kind(), "mount" | "volume") {
            self.mounts.push(id.clone());
        }
    }

    /// `id` will bring things that cannot be listed before (a package's programs, a clone's
    /// files, whatever a command makes).
    pub fn brings_more(&mut self, id: &ResourceId) {
        self.bring_more.push(id.clone());
    }

    /// The units that will run and do not run now.
    fn coming_up(&self) -> impl Iterator<Item = &str> {
        let is_active = |name: &str| self.real.unit(name).unwrap_or_default().is_active();
        let active = self.units.iter().filter(|(_, unit)| unit.is_active());
        active.map(|(name, _)| name.as_str()).filter(move |name| !is_active(name))
    }

    /// The units with this beginning that are there, stopped, and will be started.
    fn started<'b>(&'b self, prefix: &'b str) -> impl Iterator<Item = &'b str> {
        let is_stopped = |name: &str| {
            let unit = self.real.unit(name).unwrap_or_default();
            unit.exists() && !unit.is_active()
        };
        let units = self.units.iter().filter(move |(name, _)| name.starts_with(prefix));
        let active = units.filter(|(_, unit)| unit.is_active()).map(|(name, _)| name.as_str());
        active.filter(move |name| is_stopped(name))
    }
}

/// The names that are there once those that are predicted have come and gone; sorted.
fn with_predicted<T>(real: &[String], predicted: &BTreeMap<String, Option<T>>) -> Vec<String> {
    let coming = predicted.iter().filter(|(_, entry)| entry.is_some()).map(|(name, _)| name);
    let staying = real.iter().filter(|name| !predicted.contains_key(*name));
    let names: BTreeSet<&String> = coming.chain(staying).collect();
    names.into_iter().cloned().collect()
}

/// The resource that starts a unit.
fn service_id(unit: &str) -> ResourceId {
    ResourceId::new("service", unit.strip_suffix(".service").unwrap_or(unit))
}

impl Probe for Prediction<'_> {
    fn facts(&self) -> &Facts {
        self.real.facts()
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        match self.predicted(path) {
            Some(PredictedFile::Gone) => Ok(None),
            Some(PredictedFile::There { stat, .. }) => Ok(Some(stat.clone())),
            None => {
                let found = self.real.stat(&self.on_server(path))?;
                Ok(found.map(|stat| self.owned(path, stat)))
            }
        }
    }

    fn exists(&self, path: &str) -> Result<bool> {
        let is_made = !self.made.is_empty() && self.made.contains(&self.names.place(path));
        Ok(is_made || self.stat(path)?.is_some())
    }

    fn has_program(&self, program: &str) -> Result<bool> {
        let is_to_come =
            |path: &str| matches!(self.predicted(path), Some(PredictedFile::There { .. }));
        let is_found = if program.contains('/') {
            is_to_come(program)
        } else {
            PROGRAMS.iter().any(|folder| is_to_come(&format!("{folder}/{program}")))
        };
        Ok(is_found || self.real.has_program(program)?)
    }

    fn read_with_stat(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>> {
        match self.predicted(path) {
            Some(PredictedFile::Gone) => Ok(None),
            Some(PredictedFile::There { link: Some(target), .. }) if target.starts_with('/') => {
                self.read_with_stat(target)
            }
            Some(PredictedFile::There { content, stat, .. }) => {
                Ok(content.clone().map(|content| (content, stat.clone())))
            }
            None => {
                let found = self.real.read_with_stat(&self.on_server(path))?;
                Ok(found.map(|(content, stat)| (content, self.owned(path, stat))))
            }
        }
    }

    fn can_others_change(&self, path: &str) -> Result<bool> {
        self.others_can_change(path)
    }

    fn bonds(&self, path: &str) -> Result<Bonds> {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        if self.predicted(above).is_some() {
            return Ok(Bonds::default());
        }
        let real = self.real.bonds(path)?;
        // A file that an earlier resource puts there has no other names.
        let is_new = self.predicted(path).is_some();
        Ok(if is_new { Bonds { folder: real.folder, ..Bonds::default() } } else { real })
    }

    fn read_link(&self, path: &str) -> Result<Option<String>> {
        match self.predicted(path) {
            Some(PredictedFile::Gone) => Ok(None),
            Some(PredictedFile::There { link, .. }) => Ok(link.clone()),
            None => self.real.read_link(&self.on_server(path)),
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        let mut names = match self.predicted(path) {
            Some(PredictedFile::There { stat, .. }) if stat.kind == FileKind::Directory => {
                self.real.list(&self.on_server(path))?.or(Some(Vec::new()))
            }
            Some(PredictedFile::Gone | PredictedFile::There { .. }) => return Ok(None),
            None => self.real.list(&self.on_server(path))?,
        };
        if let Some(names) = &mut names {
            let below = format!("{}/", self.names.target(path).trim_end_matches('/'));
            for (other, file) in &self.files {
                let name = other.strip_prefix(&below).filter(|name| !name.contains('/'));
                let Some(name) = name else { continue };
                names.retain(|known| known != name);
                if matches!(file, PredictedFile::There { .. }) {
                    names.push(name.to_owned());
                }
            }
            names.sort();
        }
        Ok(names)
    }

    fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        self.users.get(name).map_or_else(|| self.real.user(name), |entry| Ok(entry.clone()))
    }

    fn group(&self, name: &str) -> Result<Option<GroupEntry>> {
        self.groups.get(name).map_or_else(|| self.real.group(name), |entry| Ok(entry.clone()))
    }

    fn users(&self) -> Result<Vec<String>> {
        Ok(with_predicted(&self.real.users()?, &self.users))
    }

    fn groups(&self) -> Result<Vec<String>> {
        Ok(with_predicted(&self.real.groups()?, &self.groups))
    }

    fn processes_of(&self, uid: u32) -> Result<Vec<UserProcess>> {
        let mut processes = self.real.processes_of(uid)?;
        processes.retain(|process| {
            let unit = process.unit.as_deref().unwrap_or_default();
            let stays = self.units.get(unit).is_none_or(Unit::is_active);
            stays && !self.told.contains(unit)
        });
        Ok(processes)
    }

    fn package(&self, name: &str) -> Result<Option<String>> {
        let known = self.packages.get(canonical(name, self.facts()));
        known.map_or_else(|| self.real.package(name), |entry| Ok(entry.clone()))
    }

    fn packages_of(&self, name: &str) -> Result<Vec<PackageEntry>> {
        let name = canonical(name, self.facts());
        let mut found = self.real.packages_of(name)?;
        found.retain(|entry| !self.packages.contains_key(&entry.name));
        if let Some(Some(version)) = self.packages.get(name) {
            let mut own = PackageEntry { name: name.to_owned(), ..PackageEntry::default() };
            own.version.clone_from(version);
            (own.is_installed, own.has_asked_name) = (true, true);
            found.insert(0, own);
        }
        Ok(found)
    }

    fn unit(&self, name: &str) -> Result<Unit> {
        self.units.get(name).map_or_else(|| self.real.unit(name), |unit| Ok(unit.clone()))
    }

    fn query(&self, query: &Query) -> Result<Output> {
        // What is not there will come with something earlier: by name, or in a package or clone.
        let more = self.is_preview_of_more();
        let cwd_is_to_come = query.command().cwd.as_deref().is_some_and(|cwd| {
            (more || self.predicted(cwd).is_some()) && matches!(self.real.stat(cwd), Ok(None))
        });
        let user_is_to_come = query.command().user.as_deref().is_some_and(|user| {
            (more || self.users.contains_key(user)) && matches!(self.real.user(user), Ok(None))
        });
        if cwd_is_to_come || user_is_to_come {
            return Err(Error::tool_missing(query.command().program()));
        }
        self.real.query(query)
    }

    fn answer(&self, query: &Query, files: &[String]) -> Result<Option<Output>> {
        let is_above = |path: &String, other: &String| {
            other.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        let changes = |path: &String| {
            self.predicted(path).is_some() || self.files.keys().any(|other| is_above(path, other))
        };
        if files.iter().any(changes) { Ok(None) } else { self.real.answer(query, files) }
    }

    fn sql(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        if self.databases.contains(&(cluster.clone(), database.to_owned())) {
            // It will be new, so nothing of what the kinds ask about is in it.
            return Ok(Vec::new());
        }
        self.real.sql(cluster, database, sql, parameters)
    }

    fn connects(&self, address: SocketAddr, timeout: Duration) -> Result<bool> {
        self.real.connects(address, timeout)
    }

    fn way_in(&self) -> Option<WayIn> {
        self.real.way_in()
    }

    fn changed(&self, id: &ResourceId) -> bool {
        self.changed.contains(id) || self.real.changed(id)
    }

    fn is_preview_of_more(&self) -> bool {
        !self.bring_more.is_empty()
    }

    fn is_preview_after(&self, kind: &str) -> bool {
        self.bring_more.iter().any(|id| id.kind() == kind)
    }

    fn changed_before(&self) -> Vec<&ResourceId> {
        self.changed.iter().collect()
    }

    fn command_about(&self, name: &str) -> Option<ResourceId> {
        self.commands
            .iter()
            .rev()
            .find(|(_, names)| mentions::is_one_of(name, names))
            .map(|(id, _)| id.clone())
    }

    fn last_unpredictable(&self) -> Option<ResourceId> {
        let started = || self.coming_up().next().map(service_id);
        let mount = || self.mounts.last().cloned();
        self.bring_more.last().cloned().or_else(mount).or_else(started)
    }

    fn starts_units(&self) -> bool {
        !self.told.is_empty() || self.coming_up().next().is_some()
    }

    fn will_start(&self, prefix: &str) -> bool {
        self.started(prefix).next().is_some()
    }
}
