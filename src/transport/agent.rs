//! The agents that this build carries; `build.rs` makes them.

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

/// All agents of this build.
pub const AGENTS: &[Agent] = &include!(concat!(env!("OUT_DIR"), "/agents.rs"));

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn every_agent_is_what_its_hash_says() {
        for agent in AGENTS {
            let mut binary = Vec::new();
            flate2::read::GzDecoder::new(agent.gzip).read_to_end(&mut binary).unwrap();
            let hash = format!("{:x}", Sha256::digest(&binary));
            assert_eq!(hash, agent.sha256);
        }
    }
}
