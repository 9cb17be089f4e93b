//! How bytes reach a server: ssh, and the upload of the agent.
//!
//! An ssh master is started with the terminal inherited, so that ssh can ask what it must, and is
//! kept for minutes after its last use. Each run opens one channel through it, in which a small
//! shell script starts the agent.

pub mod agent;
pub mod dial;

mod bootstrap;
mod failure;
mod frames;
mod gate;
mod limits;
mod link;
mod master;
mod person;
mod runtime_folder;
mod way;

pub use failure::may_pass;
pub use limits::Limits;
pub use link::Link;
pub use master::ssh_missing;
pub use person::{Person, Terminal};
pub use runtime_folder::RuntimeFolder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openssh::{Child, Session, Stdio};
use tokio::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::inventory::connection::SshSettings;
use bootstrap::Start;
use master::Master;

/// How long a living master may take to open a channel.
const OPENING: Duration = Duration::from_secs(15);

/// The reason why the server starts no agent for a new connection.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The reason of the refusal.
    pub error: Error,
    /// Whether that was the password alone: the login was let in, and sudo did not take it.
    pub is_password_wrong: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, is_password_wrong: false }
    }
}

/// Where to log in.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The name of the server in the inventory.
    pub server: &'a str,
    /// How it is reached.
    pub settings: &'a SshSettings,
}

/// Connects to servers.
pub struct Transport {
    folder: RuntimeFolder,
    /// Our own program, if ssh may reach servers through it.
    relay: Option<PathBuf>,
    person: Person,
    limits: Limits,
}

impl Transport {
    /// `session_folder` is the value of `XDG_RUNTIME_DIR`; `relay` is the path of `infra` itself, through whose `dial` ssh connects faster where
    /// the user's configuration names no proxy.
    ///
    /// # Errors
    /// If there is no safe place for sockets.
    pub fn new(
        session_folder: Option<&Path>,
        person: Person,
        relay: Option<PathBuf>,
    ) -> Result<Self> {
        let folder = RuntimeFolder::open(session_folder)?;
        Ok(Self { folder, relay, person, limits: Limits::default() })
    }

    /// The same with other limits for what servers may say.
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Starts the agent on a server, through a connection that is there or a new one.
    ///
    /// # Errors
    /// What stands in the way, told in the words of the inventory.
    pub async fn connect(&self, login: Login<'_>) -> Result<Link> {
        let child = self.open(login).await?;
        self.launch(login, child).await.map_err(|refusal| refusal.error)
    }

    /// Answers what the bootstrap in a channel asks, until the agent runs.
    async fn launch(
        &self,
        login: Login<'_>,
        mut child: Child<Arc<Session>>,
    ) -> Result<Link, Refusal> {
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin().take(), child.stdout().take(), child.stderr().take())
        else {
            return Err(Error::failed("a channel came without its pipes").into());
        };
        let mut start = Start {
            login,
            person: &self.person,
            stdin,
            stdout,
            stderr,
            out: Vec::with_capacity(16 * 1024),
            err: Vec::new(),
            is_sudo_called: false,
            is_password_wrong: false,
        };
        if let Err(error) = start.run().await {
            return Err(Refusal { error, is_password_wrong: start.is_password_wrong });
        }
        let Start { stdin, stdout, stderr, out, .. } = start;
        Ok(Link::new(login.server, child, (stdin, stdout, stderr), out, self.limits))
    }

    /// Logs in anew and starts the agent, as the next run will have to: nothing of a connection
    /// that is there is used.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn prove(&self, login: Login<'_>) -> Result<(), Refusal> {
        let master =
            Master::new(login.server, login.settings, &self.folder, self.relay.as_deref()).fresh();
        master.start(&self.person).await?;
        let proved = match timeout(OPENING, channel(&master)).await {
            Ok(Ok(child)) => self.launch(login, child).await.map(drop),
            Ok(Err(error)) => Err(no_channel(login.server, told(&error)).into()),
            Err(_) => Err(no_channel(login.server, NO_ANSWER.to_owned()).into()),
        };
        master.end().await?;
        proved
    }

    /// Lets no later run use the connection that is there: it has the rights of the account as they were when it
    /// logged in.
    ///
    /// # Errors
    /// If its socket cannot be removed.
    pub async fn retire(&self, login: Login<'_>) -> Result<()> {
        Master::new(login.server, login.settings, &self.folder, self.relay.as_deref())
            .retire()
            .await
    }

    /// An ssh for a person: through the connection that is there, or one that is then kept.
    ///
    /// # Errors
    /// If the host keys of the inventory cannot be written down for ssh.
    pub fn ssh(&self, login: Login<'_>) -> Result<std::process::Command> {
        let master = Master::new(login.server, login.settings, &self.folder, None);
        let mut ssh = std::process::Command::new("ssh");
        ssh.env_remove(crate::secret::IDENTITY_VARIABLE);
        ssh.arg("-S").arg(master.socket()).args(["-o", "ControlMaster=auto"]);
        ssh.args(["-o", "ControlPersist=600"]);
        ssh.args(master.options(true)?).arg("--").arg(&login.settings.host);
        Ok(ssh)
    }

    /// Opens a channel in which the bootstrap runs.
    async fn open(&self, login: Login<'_>) -> Result<Child<Arc<Session>>> {
        let Login { server, settings } = login;
        let master = Master::new(server, settings, &self.folder, self.relay.as_deref());
        match timeout(OPENING, channel(&master)).await {
            Ok(Ok(child)) => return Ok(child),
            Ok(Err(_)) => {}
            // It lives and does not answer: the network changed under it.
            Err(_) => master.end().await?,
        }
        master.start(&self.person).await?;
        match timeout(OPENING, channel(&master)).await {
            Ok(Ok(child)) => Ok(child),
            Ok(Err(error)) => Err(no_channel(server, told(&error))),
            Err(_) => Err(no_channel(server, NO_ANSWER.to_owned())),
        }
    }
}

/// Said where [`OPENING`] has gone by.
const NO_ANSWER: &str = "no answer within 15 s";

fn no_channel(server: &str, cause: String) -> Error {
    Error::new(Kind::Unreachable, format!("cannot open a channel to `{server}`")).because(cause)
}

/// An error with all that caused it: its own words do not say which part of the way failed.
fn told(error: &openssh::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

async fn channel(master: &Master<'_>) -> Result<Child<Arc<Session>>, openssh::Error> {
    let session = Arc::new(Session::resume_mux(master.socket().into(), None));
    let mut command = session.arc_command("sh");
    command.args(bootstrap::arguments());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().await
}
