//! What `diff`, `apply` and `facts` have in common: which servers, their manifests, the
//! connections, the report.

mod narrow;
mod visits;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Context;
use crate::commands::lab::LabFolder;
use crate::compile::Compiler;
use crate::diagnostic::Diagnostics;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::fleet::{Fleet, News, Server};
use crate::inventory::{Inventory, Project, SshSettings};
use crate::manifest::{Expect, Manifest};
use crate::report::{self, ProgressLines, Report};
use crate::saved_plan::Seen;
use crate::secrets::Store;
use crate::transport::{Person, Terminal, Transport};
use crate::wire::RunOptions;

use narrow::{Unseen, narrow, without_values};

/// Behind a commit that is not all of what was applied.
const DIRTY: &str = "-dirty";

/// On how many servers is worked at once.
const JOBS: u16 = 50;

/// The servers that a command is about.
#[derive(Clone, Debug, clap::Args)]
pub struct Targets {
    /// Servers, groups, patterns such as `web-*`, or `all`.
    #[arg(required = true, value_name = "TARGET")]
    names: Vec<String>,
    /// The throw-away servers of `infra lab up` instead of the real ones.
    #[arg(long)]
    pub lab: bool,
    #[command(flatten)]
    lab_folder: LabFolder,
    /// Work on at most this many servers at once.
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

/// The part of their manifests that a command is about.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    #[command(flatten)]
    /// The servers.
    pub targets: Targets,
    /// Only these roles and resources (`nginx`, `file:/etc/motd`), and the services they notify.
    #[arg(long, value_name = "ROLE|RESOURCE", value_delimiter = ',')]
    only: Vec<String>,
    /// All but these roles and resources.
    #[arg(long, value_name = "ROLE|RESOURCE", value_delimiter = ',')]
    skip: Vec<String>,
    /// Set a parameter, stronger than the inventory.
    #[arg(long, value_name = "ROLE.PARAM=VALUE")]
    set: Vec<String>,
    /// Let what is no longer declared go even if it holds data: databases, home folders, folders
    /// that are not empty, packages.
    #[arg(long)]
    allow_data_loss: bool,
    /// The project as of this git revision, whatever the work tree holds.
    #[arg(long, value_name = "REV")]
    at: Option<String>,
}

/// Servers with their manifests, and what is needed to work on them.
pub struct Session {
    /// What is told.
    pub report: Report,
    /// The connections.
    pub fleet: Fleet,
    servers: Vec<Server>,
    options: RunOptions,
    /// The files of secrets that the manifests may hold values of.
    pub secret_files: Vec<String>,
    /// In the lab, how to look at what the servers do: command lines.
    pub visits: Vec<String>,
}

impl Targets {
    /// Reads the inventory and finds the servers.
    pub fn load(
        &self,
        project: &Project,
        sets: &[String],
    ) -> Result<(Inventory, Vec<String>), Diagnostics> {
        let inventory = Inventory::load(project, self.lab, sets)?;
        let names = inventory.select(&self.names)?;
        Ok((inventory, names))
    }

    /// How a server is reached: as its inventory says, or in the lab.
    ///
    /// # Errors
    /// If it is not up in the lab.
    pub fn settings(&self, inventory: &Inventory, name: &str) -> Result<SshSettings> {
        if self.lab {
            return self.lab_folder.open()?.connection(name);
        }
        let server = inventory.servers.get(name);
        let unknown = || Error::input(format!("unknown server `{name}`"));
        server.map(|server| server.ssh.clone()).ok_or_else(unknown)
    }

    /// The secrets of the project: the real ones, or the lab's.
    pub fn store(&self, project: &Project, context: &Context) -> Store {
        Store::open(&project.root, self.lab, &context.identity)
    }

    /// How a server is reached, with the password for sudo if the inventory knows it.
    ///
    /// # Errors
    /// If it is not up in the lab; if the password cannot be evaluated.
    pub fn login(
        &self,
        compiler: &Compiler<'_>,
        inventory: &Inventory,
        store: &Store,
        name: &str,
    ) -> anyhow::Result<SshSettings> {
        let mut settings = self.settings(inventory, name)?;
        // Without an identity a person is asked, not a placeholder tried.
        if !self.lab && store.has_identity() {
            settings.sudo_password = compiler.sudo_password(name)?;
        }
        Ok(settings)
    }

    /// What a server of the lab runs, which its real counterpart need not; `None` outside.
    fn lab_os(&self, name: &str) -> Result<Option<&'static str>> {
        if !self.lab {
            return Ok(None);
        }
        Ok(Some(self.lab_folder.open()?.os(name)?.name()))
    }

    /// A session about manifests that were compiled before; how their servers are reached is read
    /// anew.
    ///
    /// # Errors
    /// Mistakes in the inventory; a server that is not in it any more.
    pub fn restore(
        &self,
        context: &Context,
        manifests: Vec<Manifest>,
        options: RunOptions,
    ) -> anyhow::Result<Session> {
        let project = context.project()?;
        let inventory = Inventory::load(&project, self.lab, &[])?;
        let store = self.store(&project, context);
        let compiler = Compiler::new(&project, &inventory, &store);
        let mut servers = Vec::new();
        for manifest in manifests {
            let ssh = self.login(&compiler, &inventory, &store, &manifest.server)?;
            servers.push(Server { ssh, manifest: Arc::new(manifest) });
        }
        Ok(Session::new(context, self, servers, options)?)
    }

    /// Connections to servers. `lines` make way for questions.
    pub fn fleet(&self, lines: ProgressLines) -> Result<Fleet> {
        Ok(Fleet::new(self.transport(lines)?, usize::from(self.jobs)))
    }

    /// The way to servers. `lines` make way for questions.
    pub fn transport(&self, lines: ProgressLines) -> Result<Transport> {
        let session_folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        // A program that was replaced while it runs has no path any more.
        let relay = std::env::current_exe().ok().filter(|path| path.is_file());
        let terminal = report::can_ask().then(|| Arc::new(Prompt(lines)) as Arc<dyn Terminal>);
        Transport::new(session_folder.as_deref(), Person::new(terminal), relay)
    }
}

/// The terminal that ssh and sudo ask at, below which progress is drawn.
struct Prompt(ProgressLines);

impl Terminal for Prompt {
    fn ask(&self, question: &str) -> io::Result<String> {
        rpassword::prompt_password(question)
    }

    fn is_asking(&self, yes: bool) {
        self.0.pause(yes);
    }
}

impl Selection {
    /// Everything on these servers of a lab.
    pub fn in_lab(lab_folder: LabFolder, names: Vec<String>) -> Self {
        let targets = Targets { names, lab: true, lab_folder, jobs: JOBS };
        Self {
            targets,
            only: Vec::new(),
            skip: Vec::new(),
            set: Vec::new(),
            allow_data_loss: false,
            at: None,
        }
    }

    /// Everything on these servers as of a git revision.
    pub fn at(targets: Targets, revision: String, allow_data_loss: bool) -> Self {
        let (only, skip, set) = (Vec::new(), Vec::new(), Vec::new());
        Self { targets, only, skip, set, allow_data_loss, at: Some(revision) }
    }

    /// The commit as the history tells it: what `--set` changed is in no commit either.
    fn described(&self, commit: String) -> String {
        let is_dirty = self.set.is_empty() || commit.ends_with(DIRTY);
        if is_dirty { commit } else { commit + DIRTY }
    }

    /// Compiles the manifests of the servers and prepares to connect. Without secrets the
    /// resources that hold some are left out.
    ///
    /// # Errors
    /// Every mistake in the project; that no identity opens secrets that are needed.
    pub fn open(
        &self,
        context: &Context,
        options: RunOptions,
        without_secrets: bool,
    ) -> anyhow::Result<Session> {
        let project = context.project()?;
        let project = match &self.at {
            Some(revision) => project.at(revision, &scratch())?,
            None => project,
        };
        let compiled = self.compile(&project, context, without_secrets);
        let Compiled { servers, unseen, secret_files } =
            compiled.map_err(|error| match &self.at {
                Some(revision) => at_revision(error, revision),
                None => error,
            })?;
        let partial = !self.only.is_empty() || !self.skip.is_empty();
        let withheld = unseen.iter().map(|(_, id)| id.clone()).collect();
        let allow_data_loss = self.allow_data_loss;
        let commit = project.commit().map(|commit| self.described(commit));
        let options = RunOptions { partial, withheld, allow_data_loss, commit, ..options };
        let mut session = Session::new(context, &self.targets, servers, options)?;
        session.secret_files = secret_files.into_iter().collect();
        for (server, id) in unseen {
            let message = format!("`{id}` depends on secrets and is not compared");
            session.report.event(&server, &Event::Warning { message })?;
        }
        Ok(session)
    }

    /// The manifests of the servers.
    fn compile(
        &self,
        project: &Project,
        context: &Context,
        without_secrets: bool,
    ) -> anyhow::Result<Compiled> {
        let (inventory, names) = self.targets.load(project, &self.set)?;
        let store = if without_secrets {
            Store::placeholders()
        } else {
            self.targets.store(project, context)
        };
        let compiler = Compiler::new(project, &inventory, &store);
        let mut found = Compiled::default();
        let mut mistakes = Diagnostics::new();
        for name in &names {
            let os = self.targets.lab_os(name)?;
            let mut manifest = match compiler.compile(name, os) {
                Ok(manifest) => manifest,
                Err(found) => {
                    mistakes.extend(found);
                    continue;
                }
            };
            narrow(&mut manifest, &self.only, &self.skip)?;
            let ssh = self.targets.login(&compiler, &inventory, &store, name)?;
            if os.is_some() {
                // The machine that the lab is on says nothing about the server's own size.
                let without = std::mem::take(&mut manifest.expect.without);
                let os = os.map(str::to_owned);
                manifest.expect = Expect { os, without, ..Expect::default() };
            }
            if !store.has_identity() {
                found.unseen.extend(without_values(&mut manifest, without_secrets)?);
            }
            if let Some(server) = inventory.servers.get(name) {
                let files = Store::files_of(name, &server.groups, self.targets.lab);
                found.secret_files.extend(files);
            }
            found.servers.push(Server { ssh, manifest: Arc::new(manifest) });
        }
        mistakes.into_result(found).map_err(Into::into)
    }
}

/// What the compiler makes of the project for a session.
#[derive(Default)]
struct Compiled {
    servers: Vec<Server>,
    /// The resources that are left out of the manifests.
    unseen: Vec<Unseen>,
    secret_files: BTreeSet<String>,
}

/// Where files may lie for a moment.
fn scratch() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime.filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// Names the revision in every place that an error shows.
fn at_revision(error: anyhow::Error, revision: &str) -> anyhow::Error {
    match error.downcast::<Diagnostics>() {
        Ok(mistakes) => mistakes.at_revision(revision).into(),
        Err(error) => error,
    }
}

impl Session {
    /// A session about servers whose manifests are compiled.
    fn new(
        context: &Context,
        targets: &Targets,
        servers: Vec<Server>,
        options: RunOptions,
    ) -> Result<Self> {
        let manifests = servers.iter().map(|server| Arc::clone(&server.manifest));
        let report = Report::new(context.output, context.verbose > 0, context.colored(), manifests);
        let visits =
            if targets.lab { servers.iter().flat_map(visits::of).collect() } else { vec![] };
        let fleet = targets.fleet(report.lines())?;
        let secret_files = Vec::new();
        Ok(Self { report, fleet, servers, options, secret_files, visits })
    }

    /// The names of the servers, in the order of the targets.
    pub fn names(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.manifest.server.clone()).collect()
    }

    /// The servers, until they are checked.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter()
    }

    /// How the runs go about their work.
    pub fn options(&self) -> &RunOptions {
        &self.options
    }

    /// Makes the plans of all servers, and hands what is found to `tell` instead of the report.
    pub async fn check_with(
        &mut self,
        tell: impl FnMut(&str, News) -> io::Result<()>,
    ) -> io::Result<()> {
        let servers = std::mem::take(&mut self.servers);
        self.fleet.check(servers, &self.options, tell).await
    }

    /// Makes the plans of all servers, and returns what was seen of each.
    pub async fn check(&mut self) -> io::Result<BTreeMap<String, Seen>> {
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        let report = &mut self.report;
        let servers = std::mem::take(&mut self.servers);
        let tell = |server: &str, news: News| {
            if let News::Event(event) = &news {
                seen.entry(server.to_owned()).or_default().add(event);
            }
            tell(report, server, news)
        };
        self.fleet.check(servers, &self.options, tell).await?;
        Ok(seen)
    }
}

/// Hands news of a server to the report.
pub fn tell(report: &mut Report, server: &str, news: News) -> io::Result<()> {
    match news {
        News::Connecting => {
            report.connecting(server);
            Ok(())
        }
        News::Event(event) => report.event(server, &event),
        News::Failed(error) => report.failed(server, error),
    }
}

/// A runtime for one command; those that connect to nothing do not pay for it.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
