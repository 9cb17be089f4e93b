//! A running agent: requests go in, events come out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssh::{Child, ChildStderr, ChildStdin, ChildStdout, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

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
    buffer: Vec<u8>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Link {
    pub(super) fn new(
        server: &str,
        child: Child<Arc<Session>>,
        (stdin, stdout, stderr): (ChildStdin, ChildStdout, ChildStderr),
        buffer: Vec<u8>,
    ) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(collect(stderr, Arc::clone(&said)));
        Self { server: server.to_owned(), _child: child, stdin, stdout, buffer, stderr: said }
    }

    /// Asks the agent for something.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, request: &Request) -> Result<()> {
        let frame = wire::encode(request).map_err(|error| self.lost(&error.to_string()))?;
        match timeout(SENDING, self.stdin.write_all(&frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error.to_string())),
            Err(_) => Err(self.lost("nothing was taken for five minutes")),
        }
    }

    /// The next event. A call that is dropped before it returns loses nothing. There is no time
    /// limit, because a package may take long to install: ssh notices a dead server by itself.
    ///
    /// # Errors
    /// If the connection or the agent is gone: the last event is `Finished` or `Aborted`, and
    /// nobody asks for one after it.
    pub async fn receive(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.decode()? {
                return Ok(event);
            }
            match self.stdout.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.lost("the channel was closed")),
                Ok(_) => {}
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
    }

    fn decode(&mut self) -> Result<Option<Event>> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > wire::MAX_FRAME_BYTES {
            return Err(self.lost("a frame is too long"));
        }
        let Some(payload) = rest.get(..length) else {
            self.buffer.reserve(length);
            return Ok(None);
        };
        let event = wire::decode(payload).map_err(|error| self.lost(&error.to_string()))?;
        self.buffer.drain(..4 + length);
        Ok(Some(event))
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
