//! The files of a project: the only door to them.
//!
//! A repository may be a stranger's, such as a merge request in CI. So nothing outside of the
//! project's folder is opened, whatever its names and symlinks say, and nothing that is no
//! regular file.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The largest file that is read, in bytes: what a server may be sent as content.
const LARGEST_BYTES: u64 = 256 * 1024 * 1024;

/// The largest text of the inventory, a role or a template, in bytes.
const LARGEST_TEXT_BYTES: u64 = 8 * 1024 * 1024;

/// The folder of a project.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
    /// How the folder itself is opened.
    flags: OFlags,
}

impl Files {
    /// The files below `root`.
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), flags: OFlags::empty() }
    }

    /// The files of a folder of a project, such as `secrets/`, which is no symlink either.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        Self { root: folder.to_owned(), flags: OFlags::NOFOLLOW }
    }

    /// The bytes of a regular file; `None` if nothing is there.
    ///
    /// # Errors
    /// When it leads out of the project, is no regular file, or is too large.
    pub(crate) fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.read(path, LARGEST_BYTES)
    }

    /// The text of a regular file; `None` if nothing is there.
    ///
    /// # Errors
    /// As of [`Files::bytes`], and when it is no UTF-8.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>> {
        let Some(bytes) = self.read(path, LARGEST_TEXT_BYTES)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| Error::from(ErrorKind::InvalidData))
    }

    /// The names in a folder, sorted; `None` if nothing is there.
    ///
    /// # Errors
    /// When it leads out of the project, or is no folder.
    pub(crate) fn names(&self, path: &str) -> Result<Option<Vec<String>>> {
        let Some(folder) = self.open(path, OFlags::DIRECTORY)? else { return Ok(None) };
        let mut names = Vec::new();
        for entry in Dir::new(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(Some(names))
    }

    /// Whether there is a regular file, or something that a reader of it is to be told of.
    pub(crate) fn is_there(&self, path: &str) -> bool {
        match self.open(path, OFlags::PATH) {
            Ok(Some(found)) => rustix::fs::fstat(&found)
                .is_ok_and(|raw| FileType::from_raw_mode(raw.st_mode) != FileType::Directory),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    fn read(&self, path: &str, largest: u64) -> Result<Option<Vec<u8>>> {
        let Some(found) = self.open(path, OFlags::NONBLOCK | OFlags::NOCTTY)? else {
            return Ok(None);
        };
        let file = File::from(found);
        if !file.metadata()?.is_file() {
            return Err(Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(largest + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > largest {
            return Err(Error::other(format!("it has more than {largest} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Opens what is at `path`, which the kernel looks up below the project alone
    /// (`openat2(2)`, Linux 5.6); `None` if nothing is there.
    fn open(&self, path: &str, flags: OFlags) -> Result<Option<OwnedFd>> {
        let folder = self.flags | OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match rustix::fs::openat(CWD, &self.root, folder, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(Error::other("its folder is no folder"));
            }
            root => root?,
        };
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // Asked again where a rename elsewhere on the machine got in between.
        for _ in 0..64 {
            match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), within) {
                Ok(found) => {
                    check_way(&root, &found, path)?;
                    return Ok(Some(found));
                }
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(Errno::XDEV) => {
                    let leads = "it leads out of the project, or over an absolute symlink";
                    return Err(Error::other(leads));
                }
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS | Errno::PERM) => {
                    return Err(Error::other("`openat2` of Linux 5.6 is not allowed here"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// Refuses what symlinks of the project lead to beside its own files: hidden files, such as those of
/// git with the tokens of CI, and the secrets.
fn check_way(root: &OwnedFd, found: &OwnedFd, path: &str) -> Result<()> {
    let real = |opened: &OwnedFd| {
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(opened)))
    };
    let (root, found) = (real(root)?, real(found)?);
    let Ok(within) = found.strip_prefix(&root) else {
        return Err(Error::other("it leads out of the project"));
    };
    if within == Path::new(path) {
        return Ok(());
    }
    let is_hidden = |part: &std::ffi::OsStr| part.as_encoded_bytes().starts_with(b".");
    if within.starts_with("secrets") || within.iter().any(is_hidden) {
        return Err(Error::other("a symlink leads to a hidden file, or to the secrets"));
    }
    Ok(())
}
