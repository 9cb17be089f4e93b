//! The gate of a first hop: an sshd lets few people wait at its door who are not logged in yet, and
//! closes the connections of others at random (`MaxStartups 10:30:100` if nothing else is said).
//!
//! The logins at one first hop are counted over all runs of this user: each holds a lock on one of a few
//! files, which ends with the process that holds it.

use std::fs::File;
use std::time::Duration;

use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::master::{PATIENCE, private};
use super::runtime_folder::RuntimeFolder;
use crate::error::{Context as _, Error, Kind, Result};

/// The logins at one first hop at a time. Two are left to other people.
const MOST: u32 = 8;

/// How long to wait before the next look for a free place.
const LOOK: Duration = Duration::from_millis(15);

/// A place at the gate, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    _lock: File,
}

/// Waits for a place at the gate of `hop`, on the way to `server`.
///
/// # Errors
/// If the files of the gate cannot be made, or no place becomes free for minutes.
pub(super) async fn pass(hop: &str, server: &str, folder: &RuntimeFolder) -> Result<Pass> {
    let name = format!("{:x}", Sha256::digest(hop.as_bytes()));
    let end = Instant::now() + PATIENCE;
    loop {
        for place in 0..MOST {
            let path = folder.file(&format!("{}.g{place}", &name[..16]));
            let file = private(&path).context(|| format!("cannot open `{}`", path.display()))?;
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Pass { _lock: file });
            }
        }
        if Instant::now() > end {
            let message =
                format!("other logins on the way to `{server}` have not ended for minutes");
            return Err(Error::new(Kind::Unreachable, message)
                .because(format!("{MOST} of them wait at `{hop}`"))
                .hint("answer or end the other runs of `infra`"));
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_has_a_few_places_and_each_hop_its_own() {
        let session = tempfile::Builder::new().prefix("run").tempdir_in("/tmp").unwrap();
        let folder = RuntimeFolder::open(Some(session.path())).unwrap();
        let mut passes = Vec::new();
        for _ in 0..MOST {
            passes.push(pass("gate:22", "a", &folder).await.unwrap());
        }
        let waiting = tokio::time::timeout(LOOK * 3, pass("gate:22", "b", &folder)).await;
        assert!(waiting.is_err(), "nobody else gets in");
        pass("other:22", "c", &folder).await.unwrap();
        passes.pop();
        pass("gate:22", "b", &folder).await.unwrap();
    }
}
