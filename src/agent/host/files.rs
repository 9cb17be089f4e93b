//! Files, folders and symlinks of the real machine.
//!
//! Writing goes through the folder's own descriptor, reached component by component, so that
//! nobody can redirect it: a symlink on the way is followed only where its folder belongs to
//! root and nobody else can write in it.

use std::ffi::CStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat as RawStat, Uid};
use rustix::io::Errno;

use super::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::resources::{FileKind, Stat};

/// Larger files are not managed as content: they would travel in whole for each comparison.
const LARGEST_READ_BYTES: u64 = 256 * 1024 * 1024;

/// As many symlinks as the kernel itself follows.
const MOST_SYMLINKS: usize = 40;

/// A user's and a group's number, where they are to be set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ids {
    /// The owner.
    pub(super) user: Option<u32>,
    /// The group.
    pub(super) group: Option<u32>,
}

/// What is at `path`, without following a symlink at its end.
pub(super) fn stat(path: &str, accounts: &Accounts) -> Result<Option<Stat>> {
    let raw = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(raw) => raw,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Error::failed(format!("cannot look at `{path}`")).because(error)),
    };
    Ok(Some(Stat {
        kind: kind(&raw),
        mode: raw.st_mode & 0o7777,
        owner: accounts.user_name(raw.st_uid),
        group: accounts.group_name(raw.st_gid),
        size: u64::try_from(raw.st_size).unwrap_or_default(),
    }))
}

/// The content of a regular file.
pub(super) fn read(path: &str) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(Error::failed(format!("cannot read `{path}`")).because(error)),
    };
    let size = file.metadata().context(|| format!("cannot read `{path}`"))?;
    if !size.is_file() {
        return Ok(None);
    }
    if size.len() > LARGEST_READ_BYTES {
        return Err(Error::failed(format!("`{path}` has {} bytes", size.len()))
            .because(format!("infra reads files of at most {LARGEST_READ_BYTES} bytes")));
    }
    content(file).context(|| format!("cannot read `{path}`"))
}

/// The bytes of an open file; `None` where the file is of a process that has ended since.
fn content(file: File) -> std::io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    match file.take(LARGEST_READ_BYTES).read_to_end(&mut content) {
        Ok(_) => Ok(Some(content)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Where a symlink points.
pub(super) fn read_link(path: &str) -> Result<Option<String>> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            Err(Error::failed(format!("cannot read the symlink `{path}`")).because(error))
        }
    }
}

/// The names in a folder, sorted.
pub(super) fn list(path: &str) -> Result<Option<Vec<String>>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::failed(format!("cannot list `{path}`")).because(error)),
    };
    let names: std::io::Result<Vec<String>> = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect();
    let mut names = names.context(|| format!("cannot list `{path}`"))?;
    names.sort();
    Ok(Some(names))
}

/// Puts a regular file in place atomically.
pub(super) fn write(path: &str, content: &[u8], ids: Ids, mode: Option<u32>) -> Result<()> {
    let doing = || format!("cannot write `{path}`");
    let (folder, name) = parent(path).map_err(|error| error.context(doing()))?;
    let before = existing(&folder, name).context(doing)?;
    if before.as_ref().is_some_and(|before| kind(before) == FileKind::Directory) {
        return Err(Error::failed(doing()).because("a directory is there"));
    }
    // A symlink is replaced, so its own attributes say nothing about the file.
    let before = before.filter(|before| kind(before) == FileKind::File);
    let mode = mode.or(before.as_ref().map(|before| before.st_mode & 0o7777)).unwrap_or(0o644);
    let user = ids.user.or(before.as_ref().map(|before| before.st_uid)).unwrap_or(0);
    let group = ids.group.or(before.as_ref().map(|before| before.st_gid)).unwrap_or(0);
    // One name for each file: what a cut run left behind is cleared by the next.
    let temporary = format!(".infra-{name}");
    remove_name(&folder, &temporary).context(doing)?;
    let written = write_new(&folder, &temporary, content, (user, group), mode)
        .and_then(|()| rustix::fs::renameat(&folder, &temporary, &folder, name));
    if let Err(error) = written {
        let _left = remove_name(&folder, &temporary);
        return Err(Error::failed(doing()).because(error));
    }
    rustix::fs::fsync(&folder).context(doing)
}

fn write_new(
    folder: &OwnedFd,
    name: &str,
    content: &[u8],
    (user, group): (u32, u32),
    mode: u32,
) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(descriptor);
    file.write_all(content).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    // The owner first: changing it clears the set-uid and set-gid bits.
    rustix::fs::fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode as RawMode))?;
    rustix::fs::fsync(&file)
}

/// Makes one folder, or gives the one that is there its attributes.
pub(super) fn make_directory(path: &str, ids: Ids, mode: Option<u32>) -> Result<()> {
    let doing = || format!("cannot make the directory `{path}`");
    let (folder, name) = parent(path).map_err(|error| error.context(doing()))?;
    let wanted = Mode::from_raw_mode((mode.unwrap_or(0o755)) as RawMode);
    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => {
            let ids = Ids { user: ids.user.or(Some(0)), group: ids.group.or(Some(0)) };
            set(&folder, name, ids, Some(wanted)).context(doing)?;
            rustix::fs::fsync(&folder).context(doing)
        }
        Err(Errno::EXIST) => match existing(&folder, name).context(doing)? {
            Some(before) if kind(&before) == FileKind::Directory => {
                set(&folder, name, ids, mode.map(|_| wanted)).context(doing)
            }
            _ => Err(Error::failed(doing()).because("something else is there")),
        },
        Err(error) => Err(Error::failed(doing()).because(error)),
    }
}

/// Puts a symlink in place atomically.
pub(super) fn make_symlink(path: &str, target: &str) -> Result<()> {
    let doing = || format!("cannot make the symlink `{path}`");
    let (folder, name) = parent(path).map_err(|error| error.context(doing()))?;
    let before = existing(&folder, name).context(doing)?;
    if before.is_some_and(|before| kind(&before) == FileKind::Directory) {
        return Err(Error::failed(doing()).because("a directory is there"));
    }
    let temporary = format!(".infra-{name}");
    remove_name(&folder, &temporary).context(doing)?;
    rustix::fs::symlinkat(target, &folder, &temporary)
        .and_then(|()| rustix::fs::renameat(&folder, &temporary, &folder, name))
        .and_then(|()| rustix::fs::fsync(&folder))
        .context(doing)
}

/// Sets owner, group and mode; a symlink keeps its mode and what it points to is not touched.
pub(super) fn set_attributes(path: &str, ids: Ids, mode: Option<u32>) -> Result<()> {
    let doing = || format!("cannot set the owner or mode of `{path}`");
    let (folder, name) = parent(path).map_err(|error| error.context(doing()))?;
    set(&folder, name, ids, mode.map(|mode| Mode::from_raw_mode(mode as RawMode))).context(doing)
}

/// Renames within one file system.
pub(super) fn rename(from: &str, to: &str) -> Result<()> {
    let doing = || format!("cannot rename `{from}` to `{to}`");
    let (from_folder, from_name) = parent(from).map_err(|error| error.context(doing()))?;
    let (to_folder, to_name) = parent(to).map_err(|error| error.context(doing()))?;
    rustix::fs::renameat(&from_folder, from_name, &to_folder, to_name)
        .and_then(|()| rustix::fs::fsync(&to_folder))
        .context(doing)
}

/// Removes a file or symlink; nothing there is fine.
pub(super) fn remove_file(path: &str) -> Result<()> {
    let doing = || format!("cannot remove `{path}`");
    let Some((folder, name)) = parent_if_there(path, doing)? else { return Ok(()) };
    remove_name(&folder, name).and_then(|()| rustix::fs::fsync(&folder)).context(doing)
}

/// Removes an empty folder; nothing there is fine.
pub(super) fn remove_directory(path: &str) -> Result<()> {
    let doing = || format!("cannot remove the directory `{path}`");
    let Some((folder, name)) = parent_if_there(path, doing)? else { return Ok(()) };
    match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            Err(Error::failed(doing()).because("it is not empty"))
        }
        Err(error) => Err(Error::failed(doing()).because(error)),
    }
}

/// Removes a folder with all it holds; symlinks in it are removed, not followed.
pub(super) fn remove_tree(path: &str) -> Result<()> {
    let doing = || format!("cannot remove `{path}`");
    let Some((folder, name)) = parent_if_there(path, doing)? else { return Ok(()) };
    empty(&folder, name).context(doing)?;
    match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::failed(doing()).because(error)),
    }
}

fn empty(parent: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                empty(&folder, &name.to_string_lossy())?;
                rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn kind(raw: &RawStat) -> FileKind {
    match FileType::from_raw_mode(raw.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn existing(folder: &OwnedFd, name: &str) -> rustix::io::Result<Option<RawStat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(raw) => Ok(Some(raw)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_name(folder: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn set(folder: &OwnedFd, name: &str, ids: Ids, mode: Option<Mode>) -> rustix::io::Result<()> {
    let user = ids.user.map(Uid::from_raw);
    let group = ids.group.map(Gid::from_raw);
    rustix::fs::chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_link = existing(folder, name)?.is_some_and(|raw| kind(&raw) == FileKind::Symlink);
    match mode {
        // Through a descriptor of the thing itself: `fchmodat` would follow a symlink that was
        // put there in the meantime.
        Some(mode) if !is_link => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            rustix::fs::fchmod(rustix::fs::openat(folder, name, flags, Mode::empty())?, mode)
        }
        _ => Ok(()),
    }
}

fn parent_if_there(path: &str, doing: impl Fn() -> String) -> Result<Option<(OwnedFd, &str)>> {
    match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        _ => parent(path).map(Some).map_err(|error| error.context(doing())),
    }
}

/// The folder of `path`, opened, and the name in it.
fn parent(path: &str) -> Result<(OwnedFd, &str)> {
    let (above, name) = path
        .rsplit_once('/')
        .filter(|(_, name)| !name.is_empty())
        .ok_or_else(|| Error::failed(format!("`{path}` does not name something in a folder")))?;
    let mut parts: Vec<String> =
        above.split('/').filter(|part| !part.is_empty()).rev().map(str::to_owned).collect();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = || rustix::fs::openat(CWD, "/", flags, Mode::empty()).context(|| "`/`".into());
    let mut folder = root()?;
    let mut followed = 0;
    while let Some(part) = parts.pop() {
        let error = match rustix::fs::openat(&folder, &part, flags, Mode::empty()) {
            Ok(next) => {
                folder = next;
                continue;
            }
            Err(error) => error,
        };
        let is_link =
            matches!(existing(&folder, &part), Ok(Some(raw)) if kind(&raw) == FileKind::Symlink);
        if !is_link {
            let cause = if error == Errno::NOENT {
                "its folder is not there".into()
            } else {
                error.to_string()
            };
            return Err(Error::failed(cause));
        }
        followed += 1;
        if followed > MOST_SYMLINKS {
            return Err(Error::failed("too many symlinks"));
        }
        if !is_trusted(&folder, &part).context(|| format!("cannot look at `{part}`"))? {
            return Err(Error::failed(format!(
                "`{part}` on the way is a symlink in a folder that others can write"
            )));
        }
        let target = rustix::fs::readlinkat(&folder, &part, Vec::new())
            .context(|| format!("cannot read the symlink `{part}`"))?;
        let target = target.to_string_lossy().into_owned();
        if target.starts_with('/') {
            folder = root()?;
        }
        parts.extend(target.split('/').filter(|part| !part.is_empty()).rev().map(str::to_owned));
    }
    Ok((folder, name))
}

/// Whether nobody but root can have put the symlink there.
fn is_trusted(folder: &OwnedFd, name: &str) -> rustix::io::Result<bool> {
    let raw = rustix::fs::fstat(folder)?;
    let closed = raw.st_uid == 0 && raw.st_mode & 0o022 == 0;
    let sticky = raw.st_uid == 0 && raw.st_mode & 0o1000 != 0;
    let of_root = existing(folder, name)?.is_some_and(|link| link.st_uid == 0);
    Ok(closed || sticky && of_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_process_that_has_ended_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("infinity").spawn().unwrap();
        let file = File::open(format!("/proc/{}/cmdline", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(content(file).unwrap(), None);
    }
}
