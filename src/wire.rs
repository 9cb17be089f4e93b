//! How the two ends talk: frames of a length and a postcard value, after a preamble.
//!
//! The laptop sends one [`Request::Check`] with the whole manifest and then at most one
//! [`Request::Apply`]; the agent answers with [`Event`](crate::events::Event)s. Nothing needs a
//! round trip per resource. The end of its input tells the agent that the laptop is gone. An agent
//! that works sends a [`HEARTBEAT`] where it has nothing else to tell.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::Error;
use crate::manifest::{Manifest, ResourceId};

/// What the agent prints first. A login shell may print text of its own before it, so the laptop
/// skips everything up to these bytes.
pub const PREAMBLE: &[u8; 16] = b"\0infra-agent-v1\n";

/// Larger requests are refused: a length that was garbled must not exhaust the memory.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024 * 1024;

/// Larger events are refused by the laptop, and sent by no agent.
pub const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// The frame of an agent that works on something and has nothing to tell: it is empty.
pub const HEARTBEAT: [u8; 4] = [0; 4];

/// The time between two heartbeats.
pub const HEARTBEAT_SECONDS: u64 = 5;

/// What the laptop asks of the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Report the facts of the host and end.
    Facts,
    /// Report the runs that the host remembers and end.
    History,
    /// Compare the server with a manifest and report; the agent then waits for the next request.
    Check {
        /// What the server should be.
        manifest: Box<Manifest>,
        /// How to go about it.
        options: RunOptions,
    },
    /// Apply the manifest that was checked.
    Apply,
    /// A new connection got in: what is guarded stays.
    Confirm,
    /// No new connection got in: put back what is guarded.
    Refute {
        /// The reason of the refusal.
        error: Error,
        /// Whether that was the password alone: the login was let in, and sudo did not take it.
        is_password_wrong: bool,
    },
    /// Finish the resource in hand, report, and end.
    Stop,
    /// The same, and end the program in hand now.
    StopNow,
}

/// How a run goes about its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Whether the manifest was narrowed by `--only` or `--skip`: what is missing from it is then
    /// not what the user stopped declaring.
    pub partial: bool,
    /// Resources that are declared but could not be sent, because they hold secrets that nobody
    /// opened.
    pub withheld: Vec<ResourceId>,
    /// Whether what is no longer declared goes even if it holds data.
    pub allow_data_loss: bool,
    /// Whether the units are asked for that have failed, declared or not.
    pub asks_failed: bool,
    /// How long to wait for another run to end.
    pub lock_wait_seconds: u32,
    /// How long a change of the way in stays without a proof; nothing is guarded if 0.
    pub guard_seconds: u32,
    /// Who runs it: `user@laptop`.
    pub who: String,
    /// The git commit of the project, with `-dirty` if the work tree differs.
    pub commit: Option<String>,
}

/// A frame as bytes: four bytes of length, little-endian, and the value.
pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    frame = postcard::to_extend(value, frame).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// The value of a frame's bytes after the length.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    postcard::from_bytes(payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one frame and flushes it.
pub fn write_frame<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    out.write_all(&encode(value)?)?;
    out.flush()
}

/// Reads one frame of at most [`MAX_REQUEST_BYTES`]; `None` at the end of the input.
pub fn read_frame<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_REQUEST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    decode(&payload).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_trip() {
        let options = RunOptions { partial: true, who: "me@laptop".into(), ..Default::default() };
        let bytes = encode(&options).unwrap();
        let mut input = bytes.as_slice();
        assert_eq!(read_frame::<RunOptions>(&mut input).unwrap(), Some(options));
        assert_eq!(read_frame::<RunOptions>(&mut input).unwrap(), None);
    }

    #[test]
    fn refuses_a_garbled_length() {
        let mut input: &[u8] = &[0xff; 8];
        assert_eq!(
            read_frame::<RunOptions>(&mut input).unwrap_err().to_string(),
            "a frame is too long"
        );
    }
}
