//! The real machine: everything a check may ask and an apply may do, on the server itself.

mod accounts;
mod facts;
mod files;
mod packages;
mod postgres;
pub(super) mod processes;
mod units;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::manifest::ResourceId;
use crate::resources::probe::{GroupEntry, SqlRow, UserEntry};
use crate::resources::{
    Attributes, Command, Facts, Output, Probe, Progress, Query, Stat, System, Unit,
};

use accounts::Accounts;
use packages::Packages;
use postgres::Postgres;
use units::Units;

/// The machine that the agent runs on.
///
/// What is read once is kept until something that this run does may change it: running any
/// program forgets the accounts, packages and units.
pub struct Host {
    facts: Facts,
    accounts: Accounts,
    packages: Packages,
    units: Units,
    postgres: Postgres,
    changed: BTreeSet<ResourceId>,
    progress: Box<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Host {
    /// The machine; long steps tell `progress`, and `stop` is looked at between steps.
    pub fn new(progress: Box<dyn Progress>, stop: Arc<AtomicBool>) -> Self {
        Self {
            facts: facts::read(),
            accounts: Accounts::default(),
            packages: Packages::default(),
            units: Units::default(),
            postgres: Postgres::default(),
            changed: BTreeSet::new(),
            progress,
            stop,
        }
    }

    /// Reads everything anew from now on: somebody else may have changed the machine.
    pub fn forget(&mut self) {
        self.accounts.forget();
        self.packages.forget();
        self.units.forget();
    }

    /// A file at `path` is about to change.
    fn forget_what_depends_on(&mut self, path: &str) {
        self.accounts.forget();
        if path.contains("/systemd/") {
            self.units.forget();
        }
    }

    /// The user that a program is to run as; `None` for root.
    fn account(&self, command: &Command) -> Result<Option<UserEntry>> {
        let Some(name) = command.user.as_deref().filter(|name| *name != "root") else {
            return Ok(None);
        };
        let user = self.accounts.user(name)?;
        user.map(Some).ok_or_else(|| {
            Error::failed(format!("cannot run `{}` as `{name}`", command.display()))
                .because("there is no such user")
        })
    }
}

impl Probe for Host {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        files::stat(path, &self.accounts)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        files::read(path)
    }

    fn read_link(&self, path: &str) -> Result<Option<String>> {
        files::read_link(path)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        files::list(path)
    }

    fn user(&self, name: &str) -> Result<Option<UserEntry>> {
        self.accounts.user(name)
    }

    fn group(&self, name: &str) -> Result<Option<GroupEntry>> {
        self.accounts.group(name)
    }

    fn package(&self, name: &str) -> Result<Option<String>> {
        self.packages.version(name)
    }

    fn unit(&self, name: &str) -> Result<Unit> {
        self.units.get(name)
    }

    fn query(&self, query: &Query) -> Result<Output> {
        processes::run(query.command(), self.account(query.command())?.as_ref(), None)
    }

    fn sql(&self, database: &str, sql: &str, parameters: &[&str]) -> Result<Vec<SqlRow>> {
        self.postgres.read(database, sql, parameters)
    }

    fn connects(&self, address: SocketAddr, timeout: Duration) -> Result<bool> {
        // Refused, unreachable and silence all mean the same to whoever wants to connect.
        Ok(TcpStream::connect_timeout(&address, timeout).is_ok())
    }

    fn changed(&self, id: &ResourceId) -> bool {
        self.changed.contains(id)
    }

    fn preload_units(&self, names: &[String]) {
        self.units.preload(names);
    }
}

impl System for Host {
    fn write_file(&mut self, path: &str, content: &[u8], attributes: &Attributes) -> Result<()> {
        let ids = self.accounts.ids(attributes)?;
        self.forget_what_depends_on(path);
        files::write(path, content, ids, attributes.mode)
    }

    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let ids = self.accounts.ids(attributes)?;
        files::make_directory(path, ids, attributes.mode)
    }

    fn make_symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.forget_what_depends_on(path);
        files::make_symlink(path, target)
    }

    fn set_attributes(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let ids = self.accounts.ids(attributes)?;
        files::set_attributes(path, ids, attributes.mode)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        files::rename(from, to)
    }

    fn remove_file(&mut self, path: &str) -> Result<()> {
        self.forget_what_depends_on(path);
        files::remove_file(path)
    }

    fn remove_directory(&mut self, path: &str) -> Result<()> {
        files::remove_directory(path)
    }

    fn remove_tree(&mut self, path: &str) -> Result<()> {
        files::remove_tree(path)
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let account = self.account(command)?;
        self.forget();
        processes::run(command, account.as_ref(), None)
    }

    fn run_with_status(
        &mut self,
        command: &Command,
        on_status: &mut dyn FnMut(&mut dyn Progress, &str),
    ) -> Result<Output> {
        let account = self.account(command)?;
        self.forget();
        let progress = &mut self.progress;
        let mut on_line = |line: &str| on_status(progress.as_mut(), line);
        processes::run(command, account.as_ref(), Some(&mut on_line))
    }

    fn sql_execute(
        &mut self,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.postgres.execute(database, sql, parameters)
    }

    fn mark_changed(&mut self, id: &ResourceId) {
        self.changed.insert(id.clone());
    }

    fn sleep_milliseconds(&mut self, milliseconds: u32) {
        std::thread::sleep(Duration::from_millis(u64::from(milliseconds)));
        // Who waits, waits for something to change by itself.
        self.forget();
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
