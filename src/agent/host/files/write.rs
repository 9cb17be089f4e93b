//! Putting files and symlinks in place, atomically.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RawMode, Uid};
use rustix::io::Errno;

use super::extended::{ACCESS_LIST, Extended};
use super::identity::{Identity, as_user};
use super::walk::{Ground, Last, Missing, Place, Purpose, existing, walk};
use super::{Ids, LARGEST_FOREIGN_BYTES, LARGEST_READ_BYTES, Opened, described, kind, open};
use crate::agent::host::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::resources::{FileKind, Stat};

/// Larger files are not copied: somebody else may have made a file of any size there.
const LARGEST_COPY_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// A file that was not there, whatever else has its name.
const NEW: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::WRONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Puts a regular file in place atomically.
pub(in crate::agent::host) fn write(
    path: &str,
    content: &[u8],
    ids: Ids,
    mode: Option<u32>,
    accounts: &Accounts,
) -> Result<()> {
    put(path, ids, mode, None, accounts, &mut |file| file.write_all(content))
}

/// Puts a copy of a regular file in place atomically.
pub(in crate::agent::host) fn copy(
    from: &str,
    to: &str,
    ids: Ids,
    mode: Option<u32>,
    accounts: &Accounts,
) -> Result<()> {
    put_copy(source(from, accounts)?, from, to, ids, mode, None, accounts)
}

/// Puts a copy of a regular file in place atomically, with its access list and its extended attributes.
pub(in crate::agent::host) fn copy_whole(
    from: &str,
    to: &str,
    ids: Ids,
    mode: Option<u32>,
    accounts: &Accounts,
) -> Result<Stat> {
    let source = source(from, accounts)?;
    let extended =
        Extended::copied(&source).context(|| format!("cannot read the attributes of `{from}`"))?;
    let stat = described(&source.raw, accounts)?;
    put_copy(source, from, to, ids, mode, Some(extended), accounts)?;
    Ok(stat)
}

fn source(path: &str, accounts: &Accounts) -> Result<Opened> {
    open(path, accounts)?.ok_or_else(|| Error::failed(format!("`{path}` is not a file")))
}

fn put_copy(
    mut source: Opened,
    from: &str,
    to: &str,
    ids: Ids,
    mode: Option<u32>,
    extended: Option<Extended>,
    accounts: &Accounts,
) -> Result<()> {
    let size = u64::try_from(source.raw.st_size).unwrap_or_default();
    let stored = u64::try_from(source.raw.st_blocks).unwrap_or_default() * 512;
    let largest = if source.is_roots { LARGEST_READ_BYTES } else { LARGEST_FOREIGN_BYTES };
    if source.raw.st_uid != 0 && size > largest && stored < size / 8 {
        return Err(Error::failed(format!("`{from}` has {size} bytes and stores {stored}"))
            .because("a copy of it would fill the disk with zeros"));
    }
    if size > LARGEST_COPY_BYTES {
        return Err(Error::failed(format!("`{from}` has {size} bytes"))
            .because(format!("infra copies files of at most {LARGEST_COPY_BYTES} bytes")));
    }
    put(to, ids, mode, extended, accounts, &mut |file| {
        // A file that grows meanwhile does not fill the disk.
        std::io::copy(&mut (&mut source.file).take(size), file).map(drop)
    })
}

fn put(
    path: &str,
    ids: Ids,
    mode: Option<u32>,
    extended: Option<Extended>,
    accounts: &Accounts,
    content: &mut dyn FnMut(&mut File) -> std::io::Result<()>,
) -> Result<()> {
    let doing = || format!("cannot write `{path}`");
    let place = place(path, accounts).map_err(|error| error.context(doing()))?;
    let before = place.look().map_err(|error| error.context(doing()))?;
    if before.as_ref().is_some_and(|before| kind(before) == FileKind::Directory) {
        return Err(Error::failed(doing()).because("a directory is there"));
    }
    // A symlink is replaced, so its own attributes say nothing about the file.
    let before = before.filter(|before| kind(before) == FileKind::File);
    let mode = mode.or(before.as_ref().map(|before| before.st_mode & 0o7777)).unwrap_or(0o644);
    let user = ids.user.or(before.as_ref().map(|before| before.st_uid)).unwrap_or(0);
    let group = ids.group.or(before.as_ref().map(|before| before.st_gid)).unwrap_or(0);
    let kept = match &before {
        Some(before) => Extended::kept(&place, before, user, accounts),
        None => Ok(None),
    };
    let kept = kept.map_err(|error| error.context(doing()))?;
    let kept = extended.filter(|given| !given.is_empty()).or(kept);
    let new = New { user, group, mode, kept, is_of_others: place.ground != Ground::Root };
    let temporary = place.temporary();
    let identity = place.writer(user, accounts)?;
    let identity = identity.as_ref();
    let create = || {
        remove_name(&place.folder, &temporary)?;
        rustix::fs::openat(&place.folder, &temporary, NEW, Mode::from_raw_mode(0o600))
    };
    let descriptor = by(identity, create)?.context(doing)?;
    let filled = new.fill(descriptor, content).map_err(|error| error.context(doing()));
    let put = || by(identity, || place.rename_here(&temporary))?.context(doing);
    if let Err(error) = filled.and_then(|()| put()) {
        let _left = remove_name(&place.folder, &temporary);
        return Err(error);
    }
    place.sync().context(doing)
}

/// The attributes that a file is to have that was just made.
struct New {
    user: u32,
    group: u32,
    mode: u32,
    /// The attributes that it takes over from the file that it replaces.
    kept: Option<Extended>,
    is_of_others: bool,
}

impl New {
    /// Writes the file, and sets all there is to set, on its one descriptor.
    fn fill(
        &self,
        descriptor: OwnedFd,
        content: &mut dyn FnMut(&mut File) -> std::io::Result<()>,
    ) -> Result<()> {
        let system = |error: Errno| Error::failed(error.to_string());
        let mut file = File::from(descriptor);
        content(&mut file)
            .map_err(|error| system(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if self.is_of_others || self.kept.is_some() {
            match rustix::fs::fremovexattr(&file, ACCESS_LIST) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(system(error)),
            }
        }
        // The owner first: changing it clears the set-uid and set-gid bits, and capabilities.
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        rustix::fs::fchown(&file, Some(user), Some(group)).map_err(system)?;
        if let Some(kept) = &self.kept {
            kept.set_on(&file)?;
        }
        // The mode after the access list, which brings one of its own.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode as RawMode)).map_err(system)?;
        rustix::fs::fsync(&file).map_err(system)
    }
}

/// Puts a symlink in place atomically.
pub(in crate::agent::host) fn make_symlink(
    path: &str,
    target: &str,
    accounts: &Accounts,
) -> Result<()> {
    let doing = || format!("cannot make the symlink `{path}`");
    let place = place(path, accounts).map_err(|error| error.context(doing()))?;
    let before = place.look().map_err(|error| error.context(doing()))?;
    if before.is_some_and(|before| kind(&before) == FileKind::Directory) {
        return Err(Error::failed(doing()).because("a directory is there"));
    }
    let temporary = place.temporary();
    remove_name(&place.folder, &temporary).context(doing)?;
    rustix::fs::symlinkat(target, &place.folder, &temporary)
        .and_then(|()| place.rename_here(&temporary))
        .context(doing)?;
    place.sync().context(doing)
}

/// Renames within one file system.
pub(in crate::agent::host) fn rename(from: &str, to: &str, accounts: &Accounts) -> Result<()> {
    let doing = || format!("cannot rename `{from}` to `{to}`");
    let source = place(from, accounts).map_err(|error| error.context(doing()))?;
    let target = place(to, accounts).map_err(|error| error.context(doing()))?;
    rustix::fs::renameat(&source.folder, &source.name, &target.folder, &target.name)
        .context(doing)?;
    target.sync().context(doing)
}

/// The place of `path`, which has to be in a folder that is there.
pub(super) fn place(path: &str, accounts: &Accounts) -> Result<Place> {
    let place = walk(path, accounts, Purpose::Write, Last::Itself);
    let (place, _) = place.map_err(|missing| match missing {
        Missing::Nothing => Error::failed("its folder is not there"),
        Missing::Refused(error) => error,
    })?;
    if place.name == "." {
        return Err(Error::failed(format!("`{path}` does not name something in a folder")));
    }
    Ok(place)
}

/// The place of `path`; `None` where its folder is not there.
pub(super) fn place_if_there(path: &str, accounts: &Accounts) -> Result<Option<Place>> {
    match walk(path, accounts, Purpose::Write, Last::Itself) {
        Ok((place, _)) => Ok(Some(place).filter(|place| place.name != ".")),
        Err(Missing::Nothing) => Ok(None),
        Err(Missing::Refused(error)) => Err(error),
    }
}

pub(super) fn remove_name(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Does `work` with the access of `identity`, and with root's where this user may not write
/// in the folder: its owner lets root alone put things of this user there.
pub(super) fn by<T>(
    identity: Option<&Identity>,
    work: impl Fn() -> rustix::io::Result<T>,
) -> Result<rustix::io::Result<T>> {
    let Some(identity) = identity else { return Ok(work()) };
    match as_user(identity, &work)? {
        Err(Errno::ACCESS | Errno::PERM) => Ok(work()),
        done => Ok(done),
    }
}

impl Place {
    /// The access with which a thing of `user` is made here: this user's where others than root can
    /// write, and root's elsewhere.
    pub(super) fn writer(&self, user: u32, accounts: &Accounts) -> Result<Option<Identity>> {
        match self.ground {
            Ground::Root => Ok(None),
            _ if user == 0 => Ok(None),
            _ => accounts.identity(user).map(Some),
        }
    }

    /// The name of what is to be put here, until it is whole. One name for each file: what a cut run
    /// left behind is cleared by the next.
    fn temporary(&self) -> OsString {
        let mut name = OsString::from(".infra-");
        name.push(&self.name);
        name
    }

    /// Gives what has the name `temporary` in the folder the name of this place.
    fn rename_here(&self, temporary: &OsStr) -> rustix::io::Result<()> {
        rustix::fs::renameat(&self.folder, temporary, &self.folder, &self.name)
    }

    /// Waits until the folder itself is on the disk. Its descriptor is for its place alone, so
    /// that the folder is opened once more from there.
    pub(super) fn sync(&self) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.folder, ".", flags, Mode::empty())?;
        rustix::fs::fsync(&folder)
    }

    /// The attributes of the thing that is here.
    pub(super) fn look(&self) -> Result<Option<rustix::fs::Stat>> {
        let found = self.ground.access(|| existing(&self.folder, &self.name))?;
        found.context(|| format!("cannot look at `{}`", self.name.display()))
    }
}
