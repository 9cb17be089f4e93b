//! Owner, group and mode, and the folders that are made with them.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, Gid, Mode, OFlags, RawMode, Stat as RawStat, StatxFlags, Uid};
use rustix::io::Errno;

use super::walk::{Ground, Place};
use super::write::{by, place};
use super::{Ids, kind};
use crate::agent::host::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::resources::FileKind;

/// Between two times that a file system gives, at most: its clock ticks with the kernel's timer,
/// at least a hundred times a second.
const TICK: Duration = Duration::from_millis(20);

/// The mode of a folder until its owner is set.
const UNFINISHED: u32 = 0o700;

/// Sets owner, group and mode; a symlink keeps its mode and what it points to is not touched.
pub(in crate::agent::host) fn set_attributes(
    path: &str,
    ids: Ids,
    mode: Option<u32>,
    accounts: &Accounts,
) -> Result<()> {
    let doing = || format!("cannot set the owner or mode of `{path}`");
    let place = place(path, accounts).map_err(|error| error.context(doing()))?;
    set_on_existing(&place, ids, mode, accounts).map_err(|error| error.context(doing()))
}

/// Makes one folder, or gives the one that is there its attributes.
pub(in crate::agent::host) fn make_directory(
    path: &str,
    ids: Ids,
    mode: Option<u32>,
    accounts: &Accounts,
) -> Result<()> {
    let doing = || format!("cannot make the directory `{path}`");
    let place = place(path, accounts).map_err(|error| error.context(doing()))?;
    let done = match place.look().map_err(|error| error.context(doing()))? {
        None => {
            let ids = Ids { user: ids.user.or(Some(0)), group: ids.group.or(Some(0)) };
            make(&place, ids, mode.unwrap_or(0o755), accounts)
        }
        Some(before) if kind(&before) == FileKind::Directory => {
            set_on_existing(&place, ids, mode, accounts)
        }
        Some(_) => Err(Error::failed("something else is there")),
    };
    done.map_err(|error| error.context(doing()))
}

/// Makes a folder that is not there, with its attributes.
fn make(place: &Place, ids: Ids, mode: u32, accounts: &Accounts) -> Result<()> {
    let identity = place.writer(ids.user.unwrap_or(0), accounts)?;
    let began = SystemTime::now();
    let unfinished = Mode::from_raw_mode(UNFINISHED);
    let make = || rustix::fs::mkdirat(&place.folder, &place.name, unfinished);
    let name = || format!("cannot make `{}`", place.name.display());
    by(identity.as_ref(), make)?.context(name)?;
    set_on_new(place, began, ids, mode)?;
    place.sync().context(name)
}

/// Gives a folder that was just made its attributes, if nobody has put another one there since.
fn set_on_new(place: &Place, began: SystemTime, ids: Ids, mode: u32) -> Result<()> {
    let replaced = || Error::failed("somebody put something else there at the same moment");
    let (folder, raw) = place.open()?.ok_or_else(replaced)?;
    let is_ours = match place.ground {
        Ground::Root => true,
        // The folder's user may do with it as with any other folder of theirs.
        _ if raw.st_uid != 0 => Some(raw.st_uid) == ids.user,
        _ => is_new(&folder, began)
            .context(|| format!("cannot look at `{}`", place.name.display()))?,
    };
    if kind(&raw) != FileKind::Directory || !is_ours {
        return Err(replaced());
    }
    set(&place.ground, &folder, &raw, ids, Some(mode))
        .context(|| format!("cannot set up `{}`", place.name.display()))
}

/// Whether a folder was made after `began`, by the clock of the file system, which may lag by a
/// tick. Where the file system keeps no such times, such as NFS: whether the folder is empty.
fn is_new(made: &OwnedFd, began: SystemTime) -> rustix::io::Result<bool> {
    let told = rustix::fs::statx(made, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
    if told.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return is_empty(made);
    }
    let seconds = u64::try_from(told.stx_btime.tv_sec).unwrap_or_default();
    let born = UNIX_EPOCH + Duration::new(seconds, told.stx_btime.tv_nsec);
    Ok(born + TICK >= began)
}

fn is_empty(folder: &OwnedFd) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    for entry in Dir::new(folder)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sets the attributes of the thing that is there, unless somebody can gain by having moved it
/// there.
fn set_on_existing(place: &Place, ids: Ids, mode: Option<u32>, accounts: &Accounts) -> Result<()> {
    let (found, raw) = place.open()?.ok_or_else(|| Error::failed("it is gone"))?;
    if let Some(gain) = gain(&place.ground, &raw, ids, mode) {
        // A run that was cut may have left an empty folder without its mode. The folder is made
        // anew: whoever may have moved it here gains nothing by that.
        let is_unfinished = kind(&raw) == FileKind::Directory
            && (raw.st_uid, raw.st_gid, raw.st_mode & 0o7777) == (0, 0, UNFINISHED)
            && rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::REMOVEDIR).is_ok();
        if is_unfinished {
            let ids = Ids { user: ids.user.or(Some(0)), group: ids.group.or(Some(0)) };
            return make(place, ids, mode.unwrap_or(UNFINISHED), accounts);
        }
        let error = Error::failed(format!("others can write in its folder, and it {gain}"));
        return Err(
            error.hint("somebody may have moved it there: look at it, and set this by hand")
        );
    }
    set(&place.ground, &found, &raw, ids, mode)
        .context(|| format!("cannot set it on `{}`", place.name.display()))
}

/// The gain of a user who moved `raw` to a place where others than root can write, if its attributes
/// were set as asked.
fn gain(ground: &Ground, raw: &RawStat, ids: Ids, mode: Option<u32>) -> Option<&'static str> {
    let is_of_the_folders_user = match ground {
        Ground::Root => true,
        // Files of root's can have been moved here from a folder of somebody else.
        Ground::Shared { by } => *by == Some(raw.st_uid),
        Ground::Sticky | Ground::Of(_) => false,
    };
    let is_linked = kind(raw) == FileKind::File && raw.st_nlink > 1;
    let is_new_owner = ids.user.is_some_and(|user| user != raw.st_uid);
    // A file that is still open for writing stays so, whoever it belongs to by then.
    let is_handed_over = kind(raw) == FileKind::File && is_new_owner && *ground != Ground::Root;
    if is_of_the_folders_user && !is_handed_over && !(is_linked && *ground != Ground::Root) {
        return None;
    }
    let old_mode = raw.st_mode & 0o7777;
    if is_new_owner {
        Some("would get another owner")
    } else if ids.group.is_some_and(|group| group != raw.st_gid) {
        Some("would get another group")
    } else if mode.is_some_and(|mode| mode & !old_mode != 0) {
        Some("would get a wider mode")
    } else {
        None
    }
}

/// Sets attributes on an open thing, and on nothing else.
fn set(
    ground: &Ground,
    thing: &OwnedFd,
    raw: &RawStat,
    ids: Ids,
    mode: Option<u32>,
) -> rustix::io::Result<()> {
    let user = ids.user.filter(|user| *user != raw.st_uid).map(Uid::from_raw);
    let group = ids.group.filter(|group| *group != raw.st_gid).map(Gid::from_raw);
    let is_changed = user.is_some() || group.is_some();
    if is_changed {
        rustix::fs::chownat(thing, "", user, group, AtFlags::EMPTY_PATH)?;
    }
    // In root's own folders, root gave the lists.
    let is_of_others = *ground != Ground::Root && kind(raw) != FileKind::Symlink;
    if is_of_others && (is_changed || mode.is_some()) {
        remove_acls(&format!("/proc/self/fd/{}", thing.as_raw_fd()))?;
    }
    match mode {
        Some(mode) if kind(raw) != FileKind::Symlink => {
            // The thing was opened for its place alone, on which `fchmod` does not work. The
            // kernel's name of the descriptor leads to the very same thing.
            let name = format!("/proc/self/fd/{}", thing.as_raw_fd());
            rustix::fs::chmodat(CWD, name, Mode::from_raw_mode(mode as RawMode), AtFlags::empty())
        }
        _ => Ok(()),
    }
}

/// Removes the access lists of a thing: those that a new one takes over from its folder, and those
/// that its owner of before gave to others.
pub(super) fn remove_acls(path: &str) -> rustix::io::Result<()> {
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        match rustix::fs::removexattr(path, name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            // A file has no default list.
            Err(Errno::ACCESS) if name.ends_with("default") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
