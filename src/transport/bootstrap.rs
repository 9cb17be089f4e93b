//! Starts the agent over a fresh channel: `bootstrap.sh` runs on the server, and what it lacks
//! (sudo's password, the agent itself) is sent over the same channel.

use std::time::Duration;

use openssh::{ChildStderr, ChildStdin, ChildStdout};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Login;
use super::agent::{AGENTS, Agent};
use super::failure;
use super::person::Person;
use crate::error::{Error, Kind, Result};
use crate::wire;

/// What sudo is told to print when it wants a password.
pub(super) const SUDO_PROMPT: &str = "infra-sudo-password:";

/// Printed by the script where the agent is missing; the processor's name and a line feed follow.
const UPLOAD: &[u8; 16] = b"\0infra-upload-1\n";

/// Printed by the script when sudo is about to run: no prompt is answered before.
const SUDO: &[u8; 14] = b"\0infra-sudo-1\n";

const SCRIPT: &str = include_str!("bootstrap.sh");

/// A login shell that prints more than this before our program runs is not waited for.
const MOST_NOISE_BYTES: usize = 64 * 1024;

/// How long the server may take to start a shell, or to say nothing after an upload.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the server may take to receive the agent.
const UPLOADING: Duration = Duration::from_mins(10);

/// How long the reason of an early end may be on its way.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How much is sent at once; each part has its own time limit.
const CHUNK_BYTES: usize = 32 * 1024;

/// The two ends of a channel while the agent starts.
pub(super) struct Start<'a> {
    pub(super) login: Login<'a>,
    pub(super) person: &'a Person,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    /// What was read and not yet understood.
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    /// Whether the script has said that it is about to call sudo.
    pub(super) is_sudo_called: bool,
    /// Whether sudo did not take the password.
    pub(super) is_password_wrong: bool,
}

/// What the other end said.
enum Said {
    /// The agent runs.
    Preamble,
    /// The script wants the agent for this processor.
    Upload(String),
    /// sudo wants a password.
    Password,
    /// Nothing more will come.
    End,
}

/// The arguments of the shell that runs the script.
pub(super) fn arguments() -> Vec<&'static str> {
    let mut arguments = vec!["-c", "eval \"$1\"", "infra", SCRIPT];
    arguments.extend(AGENTS.iter().map(|agent| agent.sha256));
    arguments
}

impl Start<'_> {
    /// Answers what is asked until the agent runs; what follows its preamble stays in `out`.
    pub(super) async fn run(&mut self) -> Result<()> {
        let (server, settings) = (self.login.server, self.login.settings);
        let (mut passwords_sent, mut is_uploaded) = (0, false);
        loop {
            let said = timeout(PATIENCE, self.listen()).await.unwrap_or_else(|_| {
                Err(Error::new(Kind::Unreachable, format!("`{server}` does not answer"))
                    .because("the login shell did not start the agent within a minute"))
            })?;
            match said {
                Said::Preamble => return Ok(()),
                Said::Password if passwords_sent > 0 => {
                    self.is_password_wrong = true;
                    return Err(failure::wrong_sudo_password(server, settings));
                }
                Said::Password => {
                    let password = self.person.sudo_password(self.login).await?;
                    let line = format!("{}\n", password.expose());
                    self.send(line.as_bytes()).await;
                    passwords_sent += 1;
                }
                Said::Upload(_) if is_uploaded => {
                    return Err(Error::failed(format!("`{server}` asks for the agent again"))
                        .because("it was sent whole, and the server did not start it")
                        .hint(format!("find out what runs on `{server}`")));
                }
                Said::Upload(arch) => {
                    is_uploaded = true;
                    let agent = agent_for(server, &arch)?;
                    self.send(format!("{} {}\n", agent.sha256, agent.gzip.len()).as_bytes()).await;
                    // Nobody asks for the rest of one that takes longer.
                    let _ = timeout(UPLOADING, self.send(agent.gzip)).await;
                }
                Said::End => {
                    let stderr = String::from_utf8_lossy(&self.err).into_owned();
                    let noise = String::from_utf8_lossy(&self.out).into_owned();
                    return Err(failure::of_start(server, settings, &stderr, &noise));
                }
            }
        }
    }

    /// Sends everything, or gives up silently: why the other end went away is in what it said.
    async fn send(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            match timeout(PATIENCE, self.stdin.write_all(chunk)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }

    /// Reads until something is understood.
    async fn listen(&mut self) -> Result<Said> {
        let mut is_err_open = true;
        loop {
            if let Some(said) = self.understand()? {
                return Ok(said);
            }
            tokio::select! {
                read = self.stdout.read_buf(&mut self.out) => if read.unwrap_or(0) == 0 {
                    // The reason may still be on its way.
                    let mut rest = (&mut self.stderr).take(MOST_NOISE_BYTES as u64);
                    let rest = rest.read_to_end(&mut self.err);
                    let _ = timeout(LAST_WORDS, rest).await;
                    return Ok(Said::End);
                },
                read = self.stderr.read_buf(&mut self.err), if is_err_open => {
                    is_err_open = read.unwrap_or(0) > 0;
                }
            }
        }
    }

    fn understand(&mut self) -> Result<Option<Said>> {
        let preamble = find(&self.out, wire::PREAMBLE);
        let noise_bytes = preamble.unwrap_or(self.out.len()).max(self.err.len());
        if noise_bytes > MOST_NOISE_BYTES {
            let server = self.login.server;
            return Err(Error::new(
                Kind::Unreachable,
                format!("the login shell of `{server}` prints too much"),
            )
            .because("more than 64 KiB came before the agent started")
            .hint("make its profile quiet where the shell is not interactive"));
        }
        if let Some(at) = preamble {
            self.out.drain(..at + wire::PREAMBLE.len());
            return Ok(Some(Said::Preamble));
        }
        if let Some(at) = find(&self.out, UPLOAD) {
            let line = &self.out[at + UPLOAD.len()..];
            if let Some(length) = line.iter().position(|byte| *byte == b'\n') {
                let arch = String::from_utf8_lossy(&line[..length]).into_owned();
                self.out.drain(..=at + UPLOAD.len() + length);
                return Ok(Some(Said::Upload(arch)));
            }
        }
        if let Some(at) = find(&self.out, SUDO) {
            self.out.drain(..at + SUDO.len());
            // root needs no sudo, so that whoever asks for its password is not our script.
            self.is_sudo_called = self.login.settings.user.as_deref() != Some("root");
        }
        if self.is_sudo_called
            && let Some(at) = find(&self.err, SUDO_PROMPT.as_bytes())
        {
            self.err.drain(..at + SUDO_PROMPT.len());
            return Ok(Some(Said::Password));
        }
        Ok(None)
    }
}

fn agent_for(server: &str, arch: &str) -> Result<&'static Agent> {
    Agent::for_processor(arch).ok_or_else(|| {
        let carried: Vec<String> = AGENTS.iter().map(|agent| format!("`{}`", agent.arch)).collect();
        let carried = if carried.is_empty() { "none".to_owned() } else { carried.join(", ") };
        Error::new(
            Kind::Unreachable,
            format!("this `infra` has no agent for `{arch}`, the processor of `{server}`"),
        )
        .because(format!("it carries agents for: {carried}"))
        .hint("build it with the target of that processor installed")
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
