//! Removing files and folders.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat as RawStat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::identity::as_user;
use super::kind;
use super::walk::{Ground, Place};
use super::write::{place_if_there, remove_name};
use crate::agent::host::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::resources::FileKind;

/// The time for the removal of a folder: a user who can write in it may go on making files in it for ever.
const LONGEST: Duration = Duration::from_mins(10);

/// Removes a file or symlink; nothing there is fine.
pub(in crate::agent::host) fn remove_file(path: &str, accounts: &Accounts) -> Result<()> {
    let doing = || format!("cannot remove `{path}`");
    let found = place_if_there(path, accounts).map_err(|error| error.context(doing()))?;
    let Some(place) = found else { return Ok(()) };
    remove_name(&place.folder, &place.name).context(doing)?;
    place.sync().context(doing)
}

/// Removes an empty folder; nothing there is fine.
pub(in crate::agent::host) fn remove_directory(path: &str, accounts: &Accounts) -> Result<()> {
    let doing = || format!("cannot remove the directory `{path}`");
    let found = place_if_there(path, accounts).map_err(|error| error.context(doing()))?;
    let Some(place) = found else { return Ok(()) };
    match rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            Err(Error::failed(doing()).because("it is not empty"))
        }
        Err(error) => Err(Error::failed(doing()).because(error)),
    }
}

/// Removes a folder with all it holds; symlinks in it are removed, not followed. Where others
/// than root can write, it is removed with their access: they could have moved a folder there
/// that they may not remove.
pub(in crate::agent::host) fn remove_tree(path: &str, accounts: &Accounts) -> Result<()> {
    let doing = || format!("cannot remove `{path}`");
    let found = place_if_there(path, accounts).map_err(|error| error.context(doing()))?;
    let Some(place) = found else { return Ok(()) };
    let Some(raw) = place.look().map_err(|error| error.context(doing()))? else { return Ok(()) };
    let user = match place.ground {
        Ground::Root => Some(0),
        Ground::Shared { by: Some(user) } => Some(user),
        Ground::Sticky | Ground::Shared { by: None } | Ground::Of(_) => {
            Some(raw.st_uid).filter(|uid| *uid != 0)
        }
    };
    let removed = match user {
        Some(0) => place.remove_tree(&raw),
        Some(user) => as_user(&accounts.identity(user)?, || place.remove_tree(&raw))?,
        // Somebody can have moved a folder of root's here: only an empty one is nobody's loss.
        None => rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::REMOVEDIR),
    };
    match removed {
        Err(Errno::ACCESS | Errno::PERM | Errno::NOTEMPTY | Errno::EXIST) if user != Some(0) => {
            let cause = "others can write in its folder, and may not remove all of it themselves";
            Err(Error::failed(doing())
                .because(cause)
                .hint("look at what is there, and remove it by hand"))
        }
        removed => removed.context(doing),
    }
}

impl Place {
    /// Removes what was found here as `raw`, and nothing else.
    fn remove_tree(&self, raw: &RawStat) -> rustix::io::Result<()> {
        if kind(raw) != FileKind::Directory {
            return remove_name(&self.folder, &self.name);
        }
        if let Some(folder) = open_folder(&self.folder, self.name.as_os_str())? {
            let opened = rustix::fs::fstat(&folder)?;
            if (opened.st_dev, opened.st_ino) != (raw.st_dev, raw.st_ino) {
                return Err(Errno::AGAIN);
            }
            empty(&folder)?;
        }
        match rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn open_folder(parent: &OwnedFd, name: impl Arg) -> rustix::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes all that an open folder holds. Two folders are open at a time, however deep it is: its user
/// may have made it so.
fn empty(folder: &OwnedFd) -> rustix::io::Result<()> {
    let until = Instant::now() + LONGEST;
    let mut current = rustix::io::dup(folder)?;
    let mut above: Vec<((u64, u64), CString)> = Vec::new();
    loop {
        if Instant::now() > until {
            return Err(Errno::TIMEDOUT);
        }
        if let Some(name) = remove_entries(&current)? {
            if let Some(below) = open_folder(&current, name.as_c_str())? {
                above.push((identity(&current)?, name));
                current = below;
            }
            continue;
        }
        let Some((expected, name)) = above.pop() else { return Ok(()) };
        let Some(parent) = open_folder(&current, "..")? else { return Err(Errno::AGAIN) };
        // Somebody may have moved the folder elsewhere meanwhile.
        if identity(&parent)? != expected {
            return Err(Errno::AGAIN);
        }
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        current = parent;
    }
}

/// Removes the files and the empty folders of a folder, up to the first folder that holds something,
/// which is named.
fn remove_entries(folder: &OwnedFd) -> rustix::io::Result<Option<CString>> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The numbers by which the kernel knows an open folder.
fn identity(folder: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    let raw = rustix::fs::fstat(folder)?;
    Ok((raw.st_dev, raw.st_ino))
}
