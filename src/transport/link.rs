//! A running agent: requests go in, events come out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssh::{Child, ChildStderr, ChildStdin, ChildStdout, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::frames::Frames;
use super::limits::{Account, Limits};
use crate::error::{Error, Kind, Result};
use crate::events::Event;
use crate::wire::{self, Request};

/// What an agent that died is allowed to have said.
const MOST_STDERR_BYTES: usize = 64 * 1024;

/// How long one request may take to be handed to ssh.
const SENDING: Duration = Duration::from_mins(5);

/// A connection to the agent on one server.
pub struct Link {
    server: String,
    /// Held so that the channel stays open.
    _child: Child<Arc<Session>>,
    stdin: ChildStdin,
    stdout: ChildStdout,
    frames: Frames,
    account: Account,
    limits: Limits,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Link {
    pub(super) fn new(
        server: &str,
        child: Child<Arc<Session>>,
        (stdin, stdout, stderr): (ChildStdin, ChildStdout, ChildStderr),
        buffer: Vec<u8>,
        limits: Limits,
    ) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(collect(stderr, Arc::clone(&said)));
        Self {
            server: server.to_owned(),
            _child: child,
            stdin,
            stdout,
            frames: Frames::new(buffer),
            account: Account::new(server),
            limits,
            stderr: said,
        }
    }

    /// Asks the agent for something.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, request: &Request) -> Result<()> {
        let frame = wire::encode(request).map_err(|error| self.lost(&error.to_string()))?;
        self.account.ask(request);
        match timeout(SENDING, self.stdin.write_all(&frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error.to_string())),
            Err(_) => Err(self.lost("nothing was taken for five minutes")),
        }
    }

    /// The next event. A call that is dropped before it returns loses nothing. An event may take
    /// as long as a package takes to install; the agent says meanwhile that it is alive.
    ///
    /// # Errors
    /// If the connection or the agent is gone: the last event is `Finished` or `Aborted`, and
    /// nobody asks for one after it. If the server says more than it may, or nothing for too long.
    pub async fn receive(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.frames.take(&mut self.account)? {
                return Ok(event);
            }
            let read = self.stdout.read_buf(&mut self.frames.buffer);
            match timeout(self.limits.silence, read).await {
                Ok(Ok(0)) => return Err(self.lost("the channel was closed")),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.lost(&error.to_string())),
                Err(_) => return Err(self.silent()),
            }
        }
    }

    fn silent(&self) -> Error {
        let (server, seconds) = (&self.server, self.limits.silence.as_secs());
        Error::new(
            Kind::Unreachable,
            format!("`{server}` did not say anything for {seconds} seconds"),
        )
        .because("an agent that works says so every few seconds")
        .hint(format!("look at the server with `infra ssh {server}`, and run again"))
    }

    fn lost(&self, why: &str) -> Error {
        let said = self.stderr.lock().map(|said| said.clone()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        let server = &self.server;
        if said.is_empty() {
            Error::new(Kind::Unreachable, format!("the connection to `{server}` was lost"))
                .because(why)
                .hint("run again: the server goes on where it stopped")
        } else {
            Error::failed(format!("the agent on `{server}` ended early")).because(said)
        }
    }
}

/// Keeps what the agent says beside its events, which is nothing unless it dies.
async fn collect(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut part = Vec::with_capacity(1024);
    while stderr.read_buf(&mut part).await.unwrap_or(0) > 0 {
        if let Ok(mut said) = said.lock() {
            let room = MOST_STDERR_BYTES.saturating_sub(said.len());
            said.extend_from_slice(&part[..part.len().min(room)]);
        }
        part.clear();
    }
}
