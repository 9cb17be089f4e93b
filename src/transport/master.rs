//! The connection itself: an ssh master that outlives the run, so that the next run is faster.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::person::Person;
use super::runtime_folder::RuntimeFolder;
use super::way::Way;
use super::{failure, gate};
use crate::error::{Context as _, Error, Kind, Result};
use crate::inventory::connection::SshSettings;
use crate::secret::IDENTITY_VARIABLE;

/// How long ssh may take to reach a server and to hear its greeting.
pub(super) const CONNECT_SECONDS: u64 = 10;

/// How long the login may take where no person is asked anything.
const LOGIN: Duration = Duration::from_secs(CONNECT_SECONDS + 30);

/// How long a person may take to type a passphrase.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// How long to wait before a server is tried again that closed the connection at once.
const PAUSES: &[Duration] =
    &[Duration::from_millis(300), Duration::from_secs(1), Duration::from_millis(2500)];

/// How much is read of what ssh says about a login, in bytes.
const MOST_LOG_BYTES: u64 = 64 * 1024;

/// How long a connection is kept after its last use.
const KEPT_SECONDS: u32 = 600;

/// An ssh that keeps nothing secret of ours in its environment, however long it lives.
fn ssh() -> Command {
    let mut ssh = Command::new("ssh");
    ssh.env_remove(IDENTITY_VARIABLE);
    ssh
}

/// How one server is reached, and where its master listens.
#[derive(Debug)]
pub(super) struct Master<'a> {
    server: &'a str,
    settings: &'a SshSettings,
    folder: &'a RuntimeFolder,
    name: String,
    socket: PathBuf,
    relay: Option<&'a Path>,
}

impl<'a> Master<'a> {
    pub(super) fn new(
        server: &'a str,
        settings: &'a SshSettings,
        folder: &'a RuntimeFolder,
        relay: Option<&'a Path>,
    ) -> Self {
        let name = socket_name(server, settings);
        let socket = folder.file(&name);
        Self { server, settings, folder, name, socket, relay }
    }

    /// Another master to the same server, which shares nothing with the first.
    pub(super) fn fresh(mut self) -> Self {
        self.socket = self.folder.file(&format!("{}.{}.p", &self.name[..16], std::process::id()));
        self
    }

    /// Where the master listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Starts the master unless one listens by now. Two masters on one socket would leave one of
    /// them behind for ever, so that only one process at a time gets this far.
    pub(super) async fn start(&self, person: &Person) -> Result<()> {
        let _lock = self.lock().await?;
        let socket = self.socket();
        if UnixStream::connect(&socket).await.is_ok() {
            return Ok(());
        }
        remove(&socket)?;
        self.launch(person).await
    }

    /// Ends a master that does not answer any more.
    pub(super) async fn end(&self) -> Result<()> {
        self.control("exit").await
    }

    /// Lets the master end with the last of its channels: the next run logs in anew.
    pub(super) async fn retire(&self) -> Result<()> {
        self.control("stop").await
    }

    async fn control(&self, word: &str) -> Result<()> {
        let mut ssh = ssh();
        ssh.arg("-S").arg(self.socket()).args(["-O", word, "--", &self.settings.host]);
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        // A master that does not even hear this is left to its own keep-alive.
        let _ = timeout(Duration::from_secs(2), ssh.status()).await;
        remove(&self.socket())
    }

    async fn launch(&self, person: &Person) -> Result<()> {
        let Err((error, log)) = self.log_in(false).await else { return Ok(()) };
        if !failure::needs_person(&log) {
            return Err(error);
        }
        let Some(_turn) = person.turn().await else { return Err(error) };
        self.log_in(true).await.map_err(|(error, _)| error)
    }

    /// Lets ssh log in, and again where the server closed the connection before it showed who it is: other
    /// people may have filled its door. The error comes with ssh's log.
    async fn log_in(&self, may_ask: bool) -> Result<(), (Error, String)> {
        for (tried, pause) in PAUSES.iter().enumerate() {
            match self.log_in_once(may_ask).await {
                // A host that is busy may have no time to greet; one that hangs is not asked often.
                Err((_, log))
                    if failure::is_turned_away(&log) || tried == 0 && failure::is_silent(&log) =>
                {
                    sleep(*pause).await;
                }
                ended => return ended,
            }
        }
        self.log_in_once(may_ask).await
    }

    async fn log_in_once(&self, may_ask: bool) -> Result<(), (Error, String)> {
        let log = self.folder.file(&format!("{}.{}", &self.name[..16], std::process::id()));
        let ended = self.run(&log, may_ask).await;
        let text = end_of(&log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        // Nothing depends on the log being gone.
        let _ = fs::remove_file(&log);
        match ended {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err((failure::of_ssh(self.server, self.settings, &text), text)),
            Ok(None) => {
                let text = format!("{text}\nssh: the login timed out");
                Err((failure::of_ssh(self.server, self.settings, &text), text))
            }
            Err(error) => Err((error, text)),
        }
    }

    /// Whether ssh logged in; `None` if it took too long.
    async fn run(&self, log: &Path, may_ask: bool) -> Result<Option<bool>> {
        let mut ssh = ssh();
        ssh.arg("-E").arg(log).arg("-S").arg(self.socket());
        ssh.args(["-M", "-f", "-N", "-T", "-o"]).arg(format!("ControlPersist={KEPT_SECONDS}"));
        let options = self.options(may_ask)?;
        let configuration = self.configuration(&options).await?;
        let way = Way::of(&configuration);
        if let Some(proxy) = way.as_ref().and_then(|way| self.proxy(way, log)) {
            ssh.args(["-o", &proxy]);
        }
        let hop = way.map_or_else(|| self.settings.host.clone(), |way| way.hop);
        let _pass = gate::pass(&hop, self.server, self.folder).await?;
        ssh.args(options).arg("--").arg(&self.settings.host);
        // ssh asks on the terminal itself; its standard error is inherited for what hardware
        // keys want to be touched for.
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        if !may_ask {
            // What ssh starts to reach a jump host stays in its process group for as long as the
            // connection lives: a Ctrl-C that is meant for one run must not end it.
            ssh.process_group(0);
        }
        let limit = if may_ask { PATIENCE } else { LOGIN };
        match timeout(limit, ssh.status()).await {
            Ok(Ok(status)) => Ok(Some(status.success())),
            Ok(Err(error)) => Err(ssh_missing(&error)),
            Err(_) => Ok(None),
        }
    }

    /// The configuration that ssh has for this server, as `ssh -G` prints it; empty where it says nothing.
    async fn configuration(&self, options: &[String]) -> Result<String> {
        let mut ssh = ssh();
        ssh.arg("-G").args(options).arg("--").arg(&self.settings.host);
        ssh.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match timeout(LOGIN, ssh.output()).await {
            Ok(Ok(output)) if output.status.success() => {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
            Ok(Err(error)) => Err(ssh_missing(&error)),
            // Whatever is wrong with it holds up the login as well, and is told then.
            Ok(Ok(_)) | Err(_) => Ok(String::new()),
        }
    }

    /// The option that makes ssh connect through our own program. `None` where the user's
    /// configuration says how to connect.
    fn proxy(&self, way: &Way<'_>, log: &Path) -> Option<String> {
        let relay = self.relay.and_then(Path::to_str)?;
        let (host, port) = way.direct?;
        Some(proxy_command(relay, &log.display().to_string(), host, port))
    }

    /// The options of every ssh to this server.
    pub(super) fn options(&self, may_ask: bool) -> Result<Vec<String>> {
        let mut options = Vec::new();
        if let Some(file) = &self.settings.config_file {
            options.extend(["-F".to_owned(), file.display().to_string()]);
        }
        let mut option = |text: String| options.extend(["-o".to_owned(), text]);
        option(format!("ConnectTimeout={CONNECT_SECONDS}"));
        option("ServerAliveInterval=15".to_owned());
        option("ServerAliveCountMax=3".to_owned());
        option("StrictHostKeyChecking=yes".to_owned());
        if !may_ask {
            option("BatchMode=yes".to_owned());
        }
        if let Some(user) = &self.settings.user {
            option(format!("User={user}"));
        }
        if let Some(port) = self.settings.port {
            option(format!("Port={port}"));
        }
        if let Some(file) = &self.settings.identity_file {
            option(format!("IdentityFile=\"{}\"", file.display()));
            option("IdentitiesOnly=yes".to_owned());
        }
        if !self.settings.host_keys.is_empty() {
            let file = self.write_host_keys()?;
            option(format!("UserKnownHostsFile=\"{}\"", file.display()));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
            option(format!("HostKeyAlias={}", self.server));
            option("CheckHostIP=no".to_owned());
            option("UpdateHostKeys=no".to_owned());
            option("VerifyHostKeyDNS=no".to_owned());
        }
        Ok(options)
    }

    /// Puts the keys of the inventory where ssh can read them.
    fn write_host_keys(&self) -> Result<PathBuf> {
        let path = self.folder.file(&format!("{}.keys", self.name));
        let mut lines = String::new();
        for key in &self.settings.host_keys {
            lines.extend([self.server, " ", key.trim(), "\n"]);
        }
        // The name of the file holds a hash of the keys, so that it never has to change.
        if fs::read(&path).is_ok_and(|bytes| bytes == lines.as_bytes()) {
            return Ok(path);
        }
        let context = || format!("cannot write `{}`", path.display());
        let new = self.folder.file(&format!("{}.{}", &self.name[..16], std::process::id()));
        let mut file = private(&new).context(context)?;
        file.write_all(lines.as_bytes()).context(context)?;
        fs::rename(&new, &path).context(context)?;
        Ok(path)
    }

    /// Waits until no other process starts this master.
    async fn lock(&self) -> Result<File> {
        let path = self.folder.file(&format!("{}.lock", self.name));
        let file = private(&path).context(|| format!("cannot open `{}`", path.display()))?;
        let end = Instant::now() + PATIENCE;
        while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() > end {
                return Err(Error::new(
                    Kind::Unreachable,
                    format!("another `infra` has been connecting to `{}` for minutes", self.server),
                )
                .hint("answer or end the other one"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(file)
    }
}

/// ssh hands the command to a shell, behind `exec`, after it has replaced what begins with a percent sign.
fn proxy_command(relay: &str, log: &str, host: &str, port: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''").replace('%', "%%"));
    format!(
        "ProxyCommand={} dial --timeout {CONNECT_SECONDS} --log {} -- {} {}",
        quoted(relay),
        quoted(log),
        quoted(host),
        quoted(port),
    )
}

/// The same settings give the same name, and other settings another one: a connection is not
/// shared by logins that differ.
fn socket_name(server: &str, settings: &SshSettings) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| hash.update(format!("{}:{text}", text.len()));
    let path = |path: &Option<PathBuf>| {
        path.as_deref().map_or_else(String::new, |path| path.display().to_string())
    };
    part(server);
    part(&settings.host);
    part(settings.user.as_deref().unwrap_or_default());
    part(&settings.port.map_or_else(String::new, |port| port.to_string()));
    part(&path(&settings.identity_file));
    part(&path(&settings.config_file));
    settings.host_keys.iter().for_each(|key| part(key));
    let mut name = format!("{:x}", hash.finalize());
    name.truncate(24);
    name
}

/// A file that only this user can read.
pub(super) fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The last bytes of a log: a server has its part in how long it is.
fn end_of(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_LOG_BYTES)))?;
    let mut end = Vec::new();
    file.take(MOST_LOG_BYTES).read_to_end(&mut end)?;
    Ok(end)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// ssh could not be started at all: why.
pub fn ssh_missing(error: &std::io::Error) -> Error {
    Error::new(Kind::Unreachable, "cannot start `ssh`")
        .because(error)
        .hint("install the OpenSSH client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_log_is_read() {
        let log = tempfile::NamedTempFile::new().unwrap();
        fs::write(log.path(), format!("{}end", "x".repeat(1 << 20))).unwrap();
        let end = end_of(log.path()).unwrap();
        assert_eq!(end.len() as u64, MOST_LOG_BYTES);
        assert!(end.ends_with(b"end"));
    }

    #[test]
    fn nothing_in_a_name_is_code() {
        assert_eq!(
            proxy_command("/opt/my infra", "/run/1%2", "a'; touch x; '", "22"),
            r"ProxyCommand='/opt/my infra' dial --timeout 10 --log '/run/1%%2' -- 'a'\''; touch x; '\''' '22'"
        );
    }
}
