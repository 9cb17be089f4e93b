//! The real machine: everything a check may ask and an apply may do, on the server itself.

mod accounts;
mod answers;
mod clusters;
mod facts;
mod files;
mod packages;
mod postgres;
pub(super) mod processes;
mod tasks;
mod units;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::manifest::ResourceId;
use crate::resources::bonds::Bonds;
use crate::resources::probe::{
    Cluster, GroupEntry, PackageEntry, SqlRow, UserEntry, UserProcess, WayIn,
};
use crate::resources::{
    Attributes, Command, Facts, Output, Probe, Progress, Query, Stat, System, Unit,
};

pub(super) use files::{LARGEST_FOREIGN_BYTES, LARGEST_READ_BYTES};

use accounts::Accounts;
use answers::Answers;
use packages::Packages;
use postgres::Postgres;
use processes::{OnLine, Setting};
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
    answers: Answers,
    /// Answers of programs, by their arguments, where the answer stays the same for a while.
    lasting: RefCell<BTreeMap<Vec<String>, Output>>,
    changed: BTreeSet<ResourceId>,
    progress: Box<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Host {
    /// The machine; long steps tell `progress`, and `stop` is looked at between steps.
    ///
    /// # Errors
    /// When the machine does not tell what it is.
    pub fn new(progress: Box<dyn Progress>, stop: Arc<AtomicBool>) -> Result<Self> {
        Ok(Self { facts: facts::read()?, ..Self::unknown(progress, stop) })
    }

    /// The machine, whatever it is: to put back what locks somebody out, which has to go on where
    /// little of the machine can be read.
    pub(super) fn unknown(progress: Box<dyn Progress>, stop: Arc<AtomicBool>) -> Self {
        Self {
            facts: Facts::default(),
            accounts: Accounts::default(),
            packages: Packages::default(),
            units: Units::default(),
            postgres: Postgres::default(),
            answers: Answers::default(),
            lasting: RefCell::default(),
            changed: BTreeSet::new(),
            progress,
            stop,
        }
    }

    /// Reads everything anew from now on: somebody else may have changed the machine.
    pub fn forget(&mut self) {
        self.accounts.forget();
        self.packages.forget();
        self.lasting.borrow_mut().clear();
        self.units.forget();
    }

    /// A file at `path` is about to change.
    fn forget_what_depends_on(&mut self, path: &str) {
        self.accounts.forget();
        if path.contains("/systemd/") {
            self.units.forget();
        }
    }
}

impl Probe for Host {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn stat(&self, path: &str) -> Result<Option<Stat>> {
        files::stat(path, &self.accounts)
    }

    fn read_with_stat(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>> {
        files::read(path, &self.accounts)
    }

    fn can_others_change(&self, path: &str) -> Result<bool> {
        files::can_others_change(path, &self.accounts)
    }

    fn bonds(&self, path: &str) -> Result<Bonds> {
        files::bonds(path, &self.accounts)
    }

    fn read_link(&self, path: &str) -> Result<Option<String>> {
        files::read_link(path, &self.accounts)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>> {
        files::list(path, &self.accounts)
    }

    fn way_in(&self) -> Option<WayIn> {
        facts::way_in()
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

    fn packages_of(&self, name: &str) -> Result<Vec<PackageEntry>> {
        self.packages.of(name)
    }

    fn unit(&self, name: &str) -> Result<Unit> {
        self.units.get(name)
    }

    fn extended(&self, path: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        files::extended::read(path, &self.accounts)
    }

    fn users(&self) -> Result<Vec<String>> {
        self.accounts.users()
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.accounts.groups()
    }

    fn processes_of(&self, uid: u32) -> Result<Vec<UserProcess>> {
        tasks::of(uid)
    }

    fn query(&self, query: &Query) -> Result<Output> {
        let known = self.lasting.borrow().get(&query.command().argv).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let output = run_program(&self.accounts, query.command(), None)?;
        if query.answer_lasts() {
            self.lasting.borrow_mut().insert(query.command().argv.clone(), output.clone());
        }
        Ok(output)
    }

    fn answer(&self, query: &Query, files: &[String]) -> Result<Option<Output>> {
        let ask = || self.query(query);
        self.answers.get(query.command(), files, &self.accounts, ask).map(Some)
    }

    fn sql(
        &self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.postgres.read(cluster, database, sql, parameters)
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
        files::write(path, content, ids, attributes.mode, &self.accounts)?;
        self.answers.save(&self.accounts);
        Ok(())
    }

    fn copy_file(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<()> {
        let ids = self.accounts.ids(attributes)?;
        self.forget_what_depends_on(to);
        files::copy(from, to, ids, attributes.mode, &self.accounts)
    }

    fn copy_whole(&mut self, from: &str, to: &str, attributes: &Attributes) -> Result<Stat> {
        let ids = self.accounts.ids(attributes)?;
        self.forget_what_depends_on(to);
        files::copy_whole(from, to, ids, attributes.mode, &self.accounts)
    }

    fn give_extended(&mut self, path: &str, extended: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        files::extended::give(path, extended, &self.accounts)
    }

    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let ids = self.accounts.ids(attributes)?;
        files::make_directory(path, ids, attributes.mode, &self.accounts)
    }

    fn make_symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.forget_what_depends_on(path);
        files::make_symlink(path, target, &self.accounts)
    }

    fn set_attributes(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let ids = self.accounts.ids(attributes)?;
        files::set_attributes(path, ids, attributes.mode, &self.accounts)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        files::rename(from, to, &self.accounts)
    }

    fn remove_file(&mut self, path: &str) -> Result<()> {
        self.forget_what_depends_on(path);
        files::remove_file(path, &self.accounts)
    }

    fn remove_directory(&mut self, path: &str) -> Result<()> {
        files::remove_directory(path, &self.accounts)
    }

    fn remove_tree(&mut self, path: &str) -> Result<()> {
        files::remove_tree(path, &self.accounts)
    }

    fn run(&mut self, command: &Command) -> Result<Output> {
        let output = run_program(&self.accounts, command, None);
        self.forget();
        output
    }

    fn run_with_status(
        &mut self,
        command: &Command,
        on_status: &mut dyn FnMut(&mut dyn Progress, &str),
    ) -> Result<Output> {
        let progress = &mut self.progress;
        let mut on_line = |line: &str| on_status(progress.as_mut(), line);
        let output = run_program(&self.accounts, command, Some(&mut on_line));
        self.forget();
        output
    }

    fn sql_execute(
        &mut self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        parameters: &[&str],
    ) -> Result<Vec<SqlRow>> {
        self.postgres.execute(cluster, database, sql, parameters)
    }

    fn mark_changed(&mut self, id: &ResourceId) {
        self.changed.insert(id.clone());
    }

    fn sleep_milliseconds(&mut self, milliseconds: u32) {
        std::thread::sleep(Duration::from_millis(u64::from(milliseconds)));
        // Who waits, waits for something to change by itself.
        self.forget();
    }

    fn warn(&mut self, message: &str) {
        self.progress.warn(message);
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Runs a program as its user, in its folder.
fn run_program(
    accounts: &Accounts,
    command: &Command,
    on_line: Option<OnLine<'_>>,
) -> Result<Output> {
    let doing = || format!("cannot run `{}`", command.display());
    let account = match command.user.as_deref().filter(|name| *name != "root") {
        Some(name) => Some(accounts.user(name)?.ok_or_else(|| {
            Error::failed(format!("{} as `{name}`", doing())).because("there is no such user")
        })?),
        None => None,
    };
    let folder = match command.cwd.as_deref() {
        Some(path) => {
            let within = || format!("{} in `{path}`", doing());
            let folder = files::folder(path, account.as_ref().map(|user| user.uid), accounts);
            let folder = folder.map_err(|error| error.context(within()))?;
            let missing = || Error::failed(within()).because("the folder is not there");
            Some(folder.ok_or_else(missing)?)
        }
        None => None,
    };
    processes::run(command, &Setting { account: account.as_ref(), folder }, on_line)
}
