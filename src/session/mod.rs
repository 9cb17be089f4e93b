//! What `diff`, `apply` and `facts` have in common: which servers, their manifests, the
//! connections, the report.

mod narrow;
mod since;
mod targets;
mod trust;
mod visits;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Context;
use crate::commands::lab::LabFolder;
use crate::compile::Compiler;
use crate::diagnostic::Diagnostics;
use crate::error::Result;
use crate::events::{Event, Outcome};
use crate::fleet::{Fleet, News, Server};
use crate::inventory::{DIRTY, Project};
use crate::manifest::{Expect, Manifest, ResourceId};
use crate::report::{Health, Report};
use crate::saved_plan::Seen;
use crate::secrets::Store;
use crate::transport::RuntimeFolder;
use crate::wire::RunOptions;

use narrow::{Unseen, narrow, without_values};
pub use targets::Targets;
use targets::transport;

/// The part of their manifests that a command is about.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    #[command(flatten)]
    /// The servers.
    pub targets: Targets,
    /// Only these roles, parts of roles and resources (`nginx`, `php-app/flus.fr`, `file:/etc/motd`),
    /// and the services they notify. A part has the name of a key in a map of the role.
    #[arg(long, value_name = "ROLE|PART|RESOURCE", value_delimiter = ',')]
    only: Vec<String>,
    /// All but these roles, parts of roles and resources.
    #[arg(long, value_name = "ROLE|PART|RESOURCE", value_delimiter = ',')]
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

impl Selection {
    /// Everything on these servers of a lab.
    pub fn in_lab(lab_folder: LabFolder, names: Vec<String>) -> Self {
        let targets = Targets::in_lab(lab_folder, names);
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
        let project = self.project(context)?;
        let compiled = self.compile(&project, context, without_secrets);
        let Compiled { servers, unseen, secret_files } =
            compiled.map_err(|error| self.named(error))?;
        let options = self.options(&project, options);
        let mut session = Session::new(context, &self.targets, servers, options)?;
        session.secret_files = secret_files.into_iter().collect();
        session.warn_of_secrets(unseen)?;
        Ok(session)
    }

    /// Prepares to preview a change that nobody trusts yet: the servers are reached as
    /// `revision` says, hear of nothing that this revision does not say as well, and get no secret
    /// and no password.
    ///
    /// # Errors
    /// Every mistake in the project, now and at the revision.
    pub fn open_distrusting(
        &self,
        context: &Context,
        options: RunOptions,
        revision: &str,
    ) -> anyhow::Result<Session> {
        let project = self.project(context)?;
        let compiled = self.compile(&project, context, true);
        let Compiled { servers: declared, unseen, .. } =
            compiled.map_err(|error| self.named(error))?;
        let trusted = context.project()?.trusted_at(revision, scratch()?.path())?;
        let answer = self.distrusted(&declared, &trusted);
        let (servers, news) = answer.map_err(|error| at_revision(error, revision))?;
        // A removal would be checked, and would show what was on the server before infra.
        let options = RunOptions { partial: true, ..self.options(&project, options) };
        let shown = declared.iter().map(|server| Arc::clone(&server.manifest));
        let report = Report::new(context.output, context.verbose > 0, context.colored(), shown);
        // Nobody is asked for a password either: a server that asks for one gets none.
        let fleet = self.targets.fleet_over(transport(None)?);
        let (secret_files, visits) = (Vec::new(), Vec::new());
        let mut session = Session { report, fleet, servers, options, secret_files, visits };
        session.warn_of_secrets(unseen)?;
        for (server, event) in news {
            session.report.event(&server, &event)?;
        }
        Ok(session)
    }

    /// The servers as they may be asked, and what is to be told of the rest.
    fn distrusted(&self, declared: &[Server], trusted: &Project) -> anyhow::Result<Distrusted> {
        let inventory = self.targets.inventory(trusted, &[])?;
        let store = Store::placeholders();
        let compiler = Compiler::new(trusted, &inventory, &store);
        let (mut servers, mut news) = (Vec::new(), Vec::new());
        for server in declared {
            let mut server = server.clone();
            let mut manifest = Arc::unwrap_or_clone(server.manifest);
            let name = manifest.server.clone();
            let is_known = inventory.servers.contains_key(&name);
            let mut known = Manifest { resources: Vec::new(), ..manifest.clone() };
            let mut ids = Vec::new();
            if is_known {
                let os = self.targets.lab_os(&name)?;
                known = compiler.compile(&name, os)?;
                let stays = |id: &ResourceId| {
                    server.withheld.contains(id) || manifest.resources.iter().any(|it| it.id == *id)
                };
                ids.extend(known.resources.iter().map(|it| it.id.clone()).filter(|id| !stays(id)));
                without_values(&mut known, true)?;
                as_in_lab(&mut known, os);
                server.ssh = self.targets.login(&compiler, &inventory, &store, &name)?;
            }
            ids.extend(trust::distrust(&mut manifest, &known));
            for id in &ids {
                let outcome = Outcome::Untrusted;
                news.push((name.clone(), Event::Checked { id: id.clone(), outcome, mark: None }));
            }
            server.withheld.extend(ids);
            server.manifest = Arc::new(manifest);
            if is_known {
                servers.push(server);
            } else {
                let message = "the change adds this server: it is not asked".to_owned();
                news.push((name.clone(), Event::Warning { message }));
                news.push((name, Event::PlanComplete));
            }
        }
        Ok((servers, news))
    }

    /// The project, at the revision that the user names.
    fn project(&self, context: &Context) -> anyhow::Result<Project> {
        let project = context.project()?;
        Ok(match &self.at {
            Some(revision) => project.at(revision, scratch()?.path())?,
            None => project,
        })
    }

    /// The same error, with the revision in every place that it shows.
    fn named(&self, error: anyhow::Error) -> anyhow::Error {
        match &self.at {
            Some(revision) => at_revision(error, revision),
            None => error,
        }
    }

    /// The same options, with what the user says of the servers.
    fn options(&self, project: &Project, options: RunOptions) -> RunOptions {
        let partial = !self.only.is_empty() || !self.skip.is_empty();
        let allow_data_loss = self.allow_data_loss;
        let commit = project.commit().map(|commit| self.described(commit));
        RunOptions { partial, allow_data_loss, commit, ..options }
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
            as_in_lab(&mut manifest, os);
            let mut withheld = Vec::new();
            if !store.has_identity() {
                let unseen = without_values(&mut manifest, without_secrets)?;
                withheld.extend(unseen.iter().map(|(_, id)| id.clone()));
                found.unseen.extend(unseen);
            }
            if let Some(server) = inventory.servers.get(name) {
                let files = Store::files_of(name, &server.groups, self.targets.lab);
                found.secret_files.extend(files);
            }
            found.servers.push(Server { ssh, manifest: Arc::new(manifest), withheld });
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

/// The servers that are asked about a change that nobody trusts, and what is told of the rest.
type Distrusted = (Vec<Server>, Vec<(String, Event)>);

/// Where the server is one of the lab, leaves what its inventory expects of the machine out: the
/// machine that the lab is on says nothing about the server's own size.
fn as_in_lab(manifest: &mut Manifest, os: Option<&str>) {
    if let Some(os) = os {
        let without = std::mem::take(&mut manifest.expect.without);
        manifest.expect = Expect { os: Some(os.to_owned()), without, ..Expect::default() };
    }
}

/// Where files may lie for a moment.
fn scratch() -> Result<RuntimeFolder> {
    RuntimeFolder::open(session_folder().as_deref())
}

fn session_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
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
        let has_names = targets.lab && targets.has_names();
        let visits = servers.iter().flat_map(|server| visits::of(server, has_names));
        let visits = if targets.lab { visits.collect() } else { vec![] };
        let fleet = targets.fleet(report.lines())?;
        let secret_files = Vec::new();
        Ok(Self { report, fleet, servers, options, secret_files, visits })
    }

    /// Tells which resources are left out, because they depend on secrets.
    fn warn_of_secrets(&mut self, unseen: Vec<Unseen>) -> io::Result<()> {
        for (server, id) in unseen {
            let message = format!("`{id}` depends on secrets and is not compared");
            self.report.event(&server, &Event::Warning { message })?;
        }
        Ok(())
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

    /// Compares every server, and returns how they are. Nothing is reported.
    ///
    /// # Errors
    /// If there is no room for the runtime.
    pub fn health(&mut self) -> anyhow::Result<Health> {
        let mut health = Health::new(self.names());
        let servers = std::mem::take(&mut self.servers);
        let checking = self.fleet.check(servers, &self.options, |server, news| {
            match news {
                News::Event(event) => health.event(server, &event),
                News::Failed(error) => health.failed(server, error),
                News::Connecting => {}
            }
            Ok(())
        });
        runtime()?.block_on(checking)?;
        Ok(health)
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
