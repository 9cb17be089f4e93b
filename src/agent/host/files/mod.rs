//! Files, folders and symlinks of the real machine: the only door to them.
//!
//! Every path is walked folder by folder ([`walk`]), so that nobody can redirect it. The thing at
//! its end is opened once, without waiting for pipes and devices, and all that is told of it or
//! set on it is told of and set on that one descriptor. Things of a user in a folder where others
//! than root can write are read and written with this user's access ([`identity`]).

mod attributes;
mod bonds;
pub(super) mod extended;
pub(super) mod identity;
mod remove;
mod walk;
mod write;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat as RawStat};
use rustix::io::Errno;
use serde::Serialize;

use super::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::resources::names::{bytes, escaped};
use crate::resources::{FileKind, Stat};

pub(super) use attributes::{make_directory, set_attributes};
pub(super) use bonds::bonds;
use identity::as_user;
pub(super) use remove::{remove_directory, remove_file, remove_tree};
use walk::{Ground, Last, Missing, Place, Purpose, walk, walk_as};
pub(super) use write::{copy, copy_whole, make_symlink, rename, write};

/// Larger files are not managed as content: they would travel in whole for each comparison.
pub(in crate::agent) const LARGEST_READ_BYTES: u64 = 256 * 1024 * 1024;

/// The same for what others can make of any size at no cost, as a file with holes.
pub(in crate::agent) const LARGEST_FOREIGN_BYTES: u64 = 32 * 1024 * 1024;

/// More names of a folder are not read: its user may have made any number of files.
const MOST_NAMES: usize = 100_000;

/// A user's and a group's number, where they are to be set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ids {
    /// The owner.
    pub(super) user: Option<u32>,
    /// The group.
    pub(super) group: Option<u32>,
}

/// A regular file that was opened to be read.
pub(super) struct Opened {
    pub(super) file: File,
    raw: RawStat,
    /// The folder that it is in.
    ground: Ground,
    /// Whether root made it, or somebody else in a folder where root alone lets them.
    is_roots: bool,
}

/// The attributes of the thing at `path`; a symlink at its end is not followed.
pub(super) fn stat(path: &str, accounts: &Accounts) -> Result<Option<Stat>> {
    let found = find(path, accounts, Last::Itself);
    let found = found.map_err(|error| error.context(format!("cannot look at `{path}`")))?;
    found.map(|(_, raw)| described(&raw, accounts)).transpose()
}

/// The content of a regular file, and the attributes of the very file it was read from.
pub(super) fn read(path: &str, accounts: &Accounts) -> Result<Option<(Vec<u8>, Stat)>> {
    let doing = || format!("cannot read `{path}`");
    let Some(Opened { file, raw, is_roots, .. }) = open(path, accounts)? else { return Ok(None) };
    let largest = if is_roots { LARGEST_READ_BYTES } else { LARGEST_FOREIGN_BYTES };
    if u64::try_from(raw.st_size).unwrap_or_default() > largest {
        return Err(Error::failed(format!("`{path}` has {} bytes", raw.st_size))
            .because(format!("infra reads at most {largest} bytes of a file there")));
    }
    let content = content(file).context(doing)?;
    content.map(|content| Ok((content, described(&raw, accounts)?))).transpose()
}

/// Opens a regular file to read it; `None` where there is none.
pub(super) fn open(path: &str, accounts: &Accounts) -> Result<Option<Opened>> {
    let doing = || format!("cannot read `{path}`");
    let found = find(path, accounts, Last::Followed).map_err(|error| error.context(doing()))?;
    let Some((place, raw)) = found.filter(|(_, raw)| kind(raw) == FileKind::File) else {
        return Ok(None);
    };
    match place.reopen(&raw, OFlags::empty(), accounts).map_err(|error| error.context(doing()))? {
        Ok((descriptor, raw)) => {
            let is_roots = raw.st_uid == 0 || place.ground == Ground::Root;
            let ground = place.ground;
            Ok(Some(Opened { file: File::from(descriptor), raw, ground, is_roots }))
        }
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(Errno::AGAIN) => Err(Error::failed(doing()).because(
            "others can write in its folder, and it may be another name of a file elsewhere",
        )),
        Err(error) => Err(Error::failed(doing()).because(error)),
    }
}

/// The bytes of an open file; `None` where the file is of a process that has ended since.
fn content(file: File) -> std::io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    match file.take(LARGEST_READ_BYTES).read_to_end(&mut content) {
        Ok(_) => Ok(Some(content)),
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A mark that tells one content of a file or folder from another one without reading either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    size: i64,
    mode: u32,
    /// Seconds and nanoseconds of the last change of the content, and of the inode.
    times: [(i64, i64); 2],
}

/// The versions of what is at `path`, and of what a symlink there leads to.
pub(super) fn versions(path: &str, accounts: &Accounts) -> Result<[Option<Version>; 2]> {
    let version = |last| -> Result<Option<Version>> {
        let found = find(path, accounts, last);
        let found = found.map_err(|error| error.context(format!("cannot look at `{path}`")))?;
        Ok(found.map(|(_, raw)| Version::of(&raw)))
    };
    Ok([version(Last::Itself)?, version(Last::Followed)?])
}

impl Version {
    fn of(raw: &RawStat) -> Self {
        let nanoseconds = |number: u64| i64::try_from(number).unwrap_or_default();
        Self {
            device: raw.st_dev,
            inode: raw.st_ino,
            size: raw.st_size,
            mode: raw.st_mode,
            times: [
                (raw.st_mtime, nanoseconds(raw.st_mtime_nsec)),
                (raw.st_ctime, nanoseconds(raw.st_ctime_nsec)),
            ],
        }
    }
}

/// Where a symlink points.
pub(super) fn read_link(path: &str, accounts: &Accounts) -> Result<Option<String>> {
    let doing = || format!("cannot read the symlink `{path}`");
    let found = find(path, accounts, Last::Itself).map_err(|error| error.context(doing()))?;
    let Some((place, _)) = found.filter(|(_, raw)| kind(raw) == FileKind::Symlink) else {
        return Ok(None);
    };
    let read = || rustix::fs::readlinkat(&place.folder, &place.name, Vec::new());
    match place.ground.access(read)? {
        Ok(target) => target.into_string().map(Some).map_err(|error| {
            // As a text it could not be put back.
            let target = escaped(error.into_cstring().as_bytes());
            Error::failed(format!("the symlink `{path}` points to a name that is not UTF-8"))
                .because(format!("the name is `{target}`"))
                .hint("let it point to a name in UTF-8, or remove it")
        }),
        Err(Errno::NOENT | Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(error) => Err(Error::failed(doing()).because(error)),
    }
}

/// The names in a folder, sorted. One that is no UTF-8 is told escaped, and found by [`find`].
pub(super) fn list(path: &str, accounts: &Accounts) -> Result<Option<Vec<String>>> {
    let doing = || format!("cannot list `{path}`");
    let found = find(path, accounts, Last::Followed).map_err(|error| error.context(doing()))?;
    let Some((place, raw)) = found.filter(|(_, raw)| kind(raw) == FileKind::Directory) else {
        return Ok(None);
    };
    let reopened = place.reopen(&raw, OFlags::DIRECTORY, accounts);
    let folder = match reopened.map_err(|error| error.context(doing()))? {
        Ok((folder, _)) => folder,
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        Err(error) => return Err(Error::failed(doing()).because(error)),
    };
    let mut names = Vec::new();
    for entry in Dir::new(folder).context(doing)? {
        let name = escaped(entry.context(doing)?.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name);
        }
        if names.len() > MOST_NAMES {
            return Err(
                Error::failed(doing()).because(format!("it holds more than {MOST_NAMES} files"))
            );
        }
    }
    names.sort();
    Ok(Some(names))
}

/// A folder that a program is to run in, opened for its place; with a user, as this user finds it.
pub(super) fn folder(
    path: &str,
    user: Option<u32>,
    accounts: &Accounts,
) -> Result<Option<OwnedFd>> {
    let walked = match user {
        Some(user) => walk_as(accounts.identity(user)?, path, accounts),
        None => walk(path, accounts, Purpose::Read, Last::Followed),
    };
    let place = match walked {
        Ok((place, _)) => place,
        Err(Missing::Nothing) => return Ok(None),
        Err(Missing::Refused(error)) => return Err(error),
    };
    let found = place.open()?.filter(|(_, raw)| kind(raw) == FileKind::Directory);
    Ok(found.map(|(folder, _)| folder))
}

/// Whether others than root can put something else at `path`, or at a folder on the way.
pub(super) fn can_others_change(path: &str, accounts: &Accounts) -> Result<bool> {
    match walk(path, accounts, Purpose::Write, Last::Itself) {
        Ok((place, _)) => Ok(place.ground != Ground::Root),
        // The rest of the way is made in the folder that is there.
        Err(Missing::Nothing) => match path.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => can_others_change(above, accounts),
            _ => Ok(false),
        },
        Err(Missing::Refused(_)) => Ok(true),
    }
}

/// The place of a path and what is there.
fn find(path: &str, accounts: &Accounts, last: Last) -> Result<Option<(Place, RawStat)>> {
    let found = found(path.as_ref(), accounts, last)?;
    match bytes(path) {
        // A name that [`list`] told.
        Cow::Owned(raw) if found.is_none() => self::found(OsStr::from_bytes(&raw), accounts, last),
        _ => Ok(found),
    }
}

fn found(path: &OsStr, accounts: &Accounts, last: Last) -> Result<Option<(Place, RawStat)>> {
    match walk(path, accounts, Purpose::Read, last) {
        Ok((place, raw)) => Ok(raw.map(|raw| (place, raw))),
        Err(Missing::Nothing) => Ok(None),
        Err(Missing::Refused(error)) => Err(error),
    }
}

impl Place {
    /// Opens what was found here as `raw` to read it, with the access of whom it belongs to
    /// where somebody else than root can have put it here. The second answer is of the kernel.
    fn reopen(
        &self,
        raw: &RawStat,
        flags: OFlags,
        accounts: &Accounts,
    ) -> Result<rustix::io::Result<(OwnedFd, RawStat)>> {
        let flags = flags
            | OFlags::RDONLY
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let open = || {
            let descriptor = rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty())?;
            let opened = rustix::fs::fstat(&descriptor)?;
            Ok((descriptor, opened))
        };
        let opened = match (&self.ground, raw.st_uid) {
            (Ground::Of(identity), _) => as_user(identity, open)?,
            (Ground::Root, _) | (Ground::Sticky | Ground::Shared { .. }, 0) => open(),
            (Ground::Sticky, user) => as_user(&accounts.identity(user)?, open)?,
            (Ground::Shared { by }, user) => match as_user(&accounts.identity(user)?, open)? {
                // A folder that its user cannot enter: what a container keeps for several users.
                Err(Errno::ACCESS) if *by != Some(user) => open(),
                opened => opened,
            },
        };
        Ok(match opened {
            Ok((_, opened)) if !self.is_as_found(raw, &opened) => Err(Errno::AGAIN),
            opened => opened,
        })
    }

    /// Whether what was opened is what was found: nobody can have put something else of root
    /// there, by a move or by a hard link.
    fn is_as_found(&self, raw: &RawStat, opened: &RawStat) -> bool {
        let is_same = FileType::from_raw_mode(raw.st_mode)
            == FileType::from_raw_mode(opened.st_mode)
            && raw.st_uid == opened.st_uid;
        let is_linked = kind(opened) == FileKind::File && opened.st_nlink > 1;
        match self.ground {
            Ground::Root => true,
            Ground::Of(_) => is_same,
            Ground::Sticky | Ground::Shared { .. } => is_same && !(is_linked && opened.st_uid == 0),
        }
    }
}

fn described(raw: &RawStat, accounts: &Accounts) -> Result<Stat> {
    Ok(Stat {
        kind: kind(raw),
        mode: raw.st_mode & 0o7777,
        owner: accounts.user_name(raw.st_uid)?,
        group: accounts.group_name(raw.st_gid)?,
        size: u64::try_from(raw.st_size).unwrap_or_default(),
    })
}

fn kind(raw: &RawStat) -> FileKind {
    match FileType::from_raw_mode(raw.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}
