//! The servers that a command is about, and the way to them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Session, session_folder};
use crate::cli::Context;
use crate::commands::lab::LabFolder;
use crate::compile::Compiler;
use crate::diagnostic::Diagnostics;
use crate::error::{Error, Result};
use crate::fleet::{Fleet, Server};
use crate::inventory::{ALL, Inventory, Project, SshSettings};
use crate::manifest::Manifest;
use crate::report::{self, ProgressLines};
use crate::secrets::Store;
use crate::transport::{Person, Terminal, Transport};
use crate::wire::RunOptions;

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
    #[command(flatten)]
    ssh: SshFiles,
    /// Work on at most this many servers at once.
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

/// The files of whoever runs infra that ssh reads. The project cannot name them: `Match exec` and
/// `ProxyCommand` in such a file run programs here.
#[derive(Clone, Debug, Default, clap::Args)]
struct SshFiles {
    /// The ssh configuration to read instead of `~/.ssh/config`.
    #[arg(long, value_name = "FILE", env = "INFRA_SSH_CONFIG")]
    ssh_config: Option<PathBuf>,
    /// The private key to log in with, instead of those that ssh finds by itself.
    #[arg(long, value_name = "FILE", env = "INFRA_SSH_IDENTITY")]
    ssh_identity: Option<PathBuf>,
}

impl Targets {
    /// Reads the inventory and finds the servers.
    pub fn load(
        &self,
        project: &Project,
        sets: &[String],
    ) -> Result<(Inventory, Vec<String>), Diagnostics> {
        let inventory = self.inventory(project, sets)?;
        let names = inventory.select(&self.names)?;
        Ok((inventory, names))
    }

    /// Reads the inventory. In the lab its servers are where the lab has them.
    pub(super) fn inventory(
        &self,
        project: &Project,
        sets: &[String],
    ) -> Result<Inventory, Diagnostics> {
        let mut inventory = Inventory::load(project, self.lab, sets)?;
        if self.lab {
            // A lab that cannot be read is told by the first login.
            let servers = self.lab_folder.open().and_then(|lab| lab.status()).unwrap_or_default();
            let up = servers.into_iter().filter(|server| server.pid.is_some());
            inventory.set_addresses(up.map(|it| (it.name, it.address.to_string())));
        }
        Ok(inventory)
    }

    /// The servers that one of two inventories or both have.
    ///
    /// # Errors
    /// A target that neither knows.
    pub(super) fn names_in_either(
        &self,
        new: &Inventory,
        old: &Inventory,
    ) -> Result<BTreeSet<String>, Diagnostics> {
        let all = [ALL.to_owned()];
        let targets = if self.names.is_empty() { &all[..] } else { &self.names };
        let mut names = BTreeSet::new();
        for target in targets {
            let target = std::slice::from_ref(target);
            match (new.select(target), old.select(target)) {
                (Err(mistakes), Err(_)) => return Err(mistakes),
                (new, old) => names.extend(new.into_iter().chain(old).flatten()),
            }
        }
        Ok(names)
    }

    /// How a server is reached: as its inventory says, or in the lab.
    ///
    /// # Errors
    /// If it is not up in the lab.
    pub fn settings(&self, inventory: &Inventory, name: &str) -> Result<SshSettings> {
        if self.lab {
            return self.lab_folder.open()?.connection(name);
        }
        let unknown = || Error::input(format!("unknown server `{name}`"));
        let server = inventory.servers.get(name).ok_or_else(unknown)?;
        let SshFiles { ssh_config, ssh_identity } = self.ssh.clone();
        check_file(ssh_config.as_deref(), "--ssh-config", "INFRA_SSH_CONFIG")?;
        check_file(ssh_identity.as_deref(), "--ssh-identity", "INFRA_SSH_IDENTITY")?;
        Ok(SshSettings {
            config_file: ssh_config,
            identity_file: ssh_identity,
            ..server.ssh.clone()
        })
    }

    /// Whether programs on this machine can find the names of the lab.
    pub(super) fn has_names(&self) -> bool {
        self.lab_folder.open().and_then(|lab| lab.inside()).is_ok()
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

    /// These servers of a lab.
    pub(super) fn in_lab(lab_folder: LabFolder, names: Vec<String>) -> Self {
        Self { names, lab: true, lab_folder, ssh: SshFiles::default(), jobs: JOBS }
    }

    /// The system that a server of the lab runs; `None` outside of the lab.
    pub(super) fn lab_os(&self, name: &str) -> Result<Option<&'static str>> {
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
        let inventory = self.inventory(&project, &[])?;
        let store = self.store(&project, context);
        let compiler = Compiler::new(&project, &inventory, &store);
        let mut servers = Vec::new();
        for manifest in manifests {
            let ssh = self.login(&compiler, &inventory, &store, &manifest.server)?;
            servers.push(Server { ssh, manifest: Arc::new(manifest), withheld: Vec::new() });
        }
        Ok(Session::new(context, self, servers, options)?)
    }

    /// Connections to servers. `lines` make way for questions.
    pub fn fleet(&self, lines: ProgressLines) -> Result<Fleet> {
        Ok(self.fleet_over(self.transport(lines)?))
    }

    pub(super) fn fleet_over(&self, transport: Transport) -> Fleet {
        Fleet::new(transport, usize::from(self.jobs))
    }

    /// The way to servers. `lines` make way for questions.
    pub fn transport(&self, lines: ProgressLines) -> Result<Transport> {
        let terminal = report::can_ask().then(|| Arc::new(Prompt(lines)) as Arc<dyn Terminal>);
        transport(terminal)
    }
}

/// The way to servers, with somebody to ask at the terminal, or nobody.
pub(super) fn transport(terminal: Option<Arc<dyn Terminal>>) -> Result<Transport> {
    let session_folder = session_folder();
    // A program that was replaced while it runs has no path any more.
    let relay = std::env::current_exe().ok().filter(|path| path.is_file());
    Transport::new(session_folder.as_deref(), Person::new(terminal), relay)
}

/// Refuses a value that names no file. The value is not shown, and ssh does not get to see it: in CI it
/// is easily the key itself.
fn check_file(path: Option<&Path>, option: &str, variable: &str) -> Result<()> {
    if path.is_none_or(Path::is_file) {
        return Ok(());
    }
    Err(Error::input(format!("`{option}` or `{variable}` does not name a file"))
        .hint("give the path of the file, and not what is in it"))
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
