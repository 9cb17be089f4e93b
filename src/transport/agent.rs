//! The agents that this build carries; `build.rs` makes them.

use std::io::{self, Read as _};

/// The agent for one processor, as built together with this program.
#[derive(Debug)]
pub struct Agent {
    /// The processor, as `uname -m` says it.
    pub arch: &'static str,
    /// The hash of the binary, in hexadecimal: its name on the server.
    pub sha256: &'static str,
    /// The binary, compressed.
    pub gzip: &'static [u8],
}

impl Agent {
    /// The agent of this build for the processor `arch`, as `uname -m` says it.
    pub fn for_processor(arch: &str) -> Option<&'static Self> {
        AGENTS.iter().find(|agent| agent.arch == arch)
    }

    /// The binary itself.
    ///
    /// # Errors
    /// If the embedded bytes are damaged.
    pub fn binary(&self) -> io::Result<Vec<u8>> {
        let mut binary = Vec::new();
        flate2::read::GzDecoder::new(self.gzip).read_to_end(&mut binary)?;
        Ok(binary)
    }
}

/// All agents of this build.
pub const AGENTS: &[Agent] = &include!(concat!(env!("OUT_DIR"), "/agents.rs"));

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn every_agent_is_what_its_hash_says() {
        for agent in AGENTS {
            let hash = format!("{:x}", Sha256::digest(agent.binary().unwrap()));
            assert_eq!(hash, agent.sha256);
        }
    }
}
