//! Access to files as a user: the file-system identity of the agent's own thread.
//!
//! Linux checks access to files against an identity of its own, which a thread can change while
//! its real, effective and saved users stay root: nobody else may then end the agent or look into
//! its memory. OpenSSH reads the files of a user's home in the same spirit.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::error::{Context, Error, Result};

/// A user with whose access files are read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent::host) struct Identity {
    /// The user's number.
    pub(in crate::agent::host) uid: u32,
    /// The number of the user's own group.
    pub(in crate::agent::host) gid: u32,
    /// The numbers of all groups of the user.
    pub(in crate::agent::host) groups: Vec<u32>,
}

/// Does `work` with the user's access to files, and takes root's back.
///
/// # Errors
/// If the identity cannot be taken. The thread has root's access again in any case; where that
/// fails, the process ends, because nothing it does would be what was asked.
pub(super) fn as_user<T>(identity: &Identity, work: impl FnOnce() -> T) -> Result<T> {
    let root = Restored { groups: own_groups()? };
    let groups: Vec<_> =
        identity.groups.iter().map(|gid| rustix::fs::Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)
        .context(|| format!("cannot take the groups of user {}", identity.uid))?;
    set_ids(identity.uid, identity.gid)
        .map_err(|()| Error::failed(format!("cannot access files as user {}", identity.uid)))?;
    let done = work();
    drop(root);
    Ok(done)
}

/// Puts root's access back when it is dropped.
struct Restored {
    groups: Vec<rustix::fs::Gid>,
}

impl Drop for Restored {
    fn drop(&mut self) {
        let groups = rustix::thread::set_thread_groups(&self.groups);
        if groups.is_err() || set_ids(0, 0).is_err() {
            std::process::abort();
        }
    }
}

fn own_groups() -> Result<Vec<rustix::fs::Gid>> {
    rustix::process::getgroups().context(|| "cannot read the agent's own groups".to_owned())
}

/// Sets both numbers. The calls answer the number of before, so that a second call that changes
/// nothing tells whether the first one worked.
fn set_ids(uid: u32, gid: u32) -> std::result::Result<(), ()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setfsgid(gid);
    setfsuid(uid);
    let is_set = setfsgid(gid) == gid && setfsuid(uid) == uid;
    is_set.then_some(()).ok_or(())
}
