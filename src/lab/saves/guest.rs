//! The files of a server that does not run, by the paths that they have in it.
//!
//! A link in a server's files may lead to any path. It is followed as the server itself would
//! follow it, within the server's root: nothing of this machine is read or written.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context as _, Result};
use crate::lab::folder;

/// The root of a server's files.
pub(super) struct Guest {
    root: File,
}

impl Guest {
    /// The files below `root`.
    ///
    /// # Errors
    /// When it is no folder.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let root = File::open(root).context(|| format!("cannot read `{}`", root.display()))?;
        Ok(Self { root })
    }

    /// The text of a file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&self, path: &str) -> Result<Option<String>> {
        let read = || -> io::Result<Option<String>> {
            let Some(file) = self.file(path)? else { return Ok(None) };
            let mut bytes = Vec::new();
            File::open(name_of(&file))?.read_to_end(&mut bytes)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        };
        read().context(|| format!("cannot read `/{path}` of the server"))
    }

    /// Replaces the content of a file, whose owner and mode stay. A file that is not there gets
    /// `mode`, and the folders above it are made.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        let write = || -> io::Result<()> {
            let mut file = match self.file(path)? {
                Some(file) => File::options().write(true).truncate(true).open(name_of(&file))?,
                None => self.create(path, mode)?,
            };
            file.write_all(content.as_bytes())
        };
        write().context(|| format!("cannot write `/{path}` of the server"))
    }

    /// Removes a file or link, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let remove = || -> io::Result<()> {
            let (folder, name) = split(path);
            let folder = match open_in(&self.root, folder, OFlags::DIRECTORY) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                folder => folder?,
            };
            match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                result => Ok(result?),
            }
        };
        remove().context(|| format!("cannot remove `/{path}` of the server"))
    }

    /// Whether the path names a file itself, and no link.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn is_file(&self, path: &str) -> Result<bool> {
        match open_in(&self.root, path, OFlags::NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            file => file
                .map_err(io::Error::from)
                .and_then(|file| File::from(file).metadata())
                .map(|metadata| metadata.is_file())
                .context(|| format!("cannot read `/{path}` of the server")),
        }
    }

    /// The names in a folder, sorted; none when there is no folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>> {
        match open_in(&self.root, path, OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Vec::new()),
            opened => {
                let opened = opened.context(|| format!("cannot read `/{path}` of the server"))?;
                folder::names(&name_of(&opened))
            }
        }
    }

    /// Makes a folder and those above it where they are missing, and has the overlay put it, as it
    /// is, among what the server wrote.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn write_folder(&self, path: &str) -> Result<()> {
        let write = || -> io::Result<()> {
            let folder = self.folder(path)?;
            let permissions = File::open(name_of(&folder))?.metadata()?.permissions();
            fs::set_permissions(name_of(&folder), permissions)
        };
        write().context(|| format!("cannot make `/{path}` of the server"))
    }

    /// The folder `path` as a path of this machine, while `use_it` runs; `None` when there is none.
    ///
    /// # Errors
    /// When the folder cannot be opened, or `use_it` fails.
    pub(super) fn with_folder<T>(
        &self,
        path: &str,
        use_it: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<Option<T>> {
        match open_in(&self.root, path, OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            opened => {
                let folder = opened.context(|| format!("cannot read `/{path}` of the server"))?;
                use_it(&name_of(&folder)).map(Some)
            }
        }
    }

    /// The regular file that `path` leads to.
    fn file(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        let file = match open_in(&self.root, path, OFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            file => file?,
        };
        let is_file =
            rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file();
        Ok(is_file.then_some(file))
    }

    /// Makes a file in the place of what is no file.
    fn create(&self, path: &str, mode: u32) -> io::Result<File> {
        let (folder, name) = split(path);
        let folder = self.folder(folder)?;
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Err(Errno::NOENT) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(file)
    }

    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        match open_in(&self.root, path, OFlags::DIRECTORY) {
            Err(Errno::NOENT) if !path.is_empty() => {
                let (above, name) = split(path);
                let above = self.folder(above)?;
                rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
                let made = open_in(&self.root, path, OFlags::DIRECTORY)?;
                fs::set_permissions(name_of(&made), Permissions::from_mode(0o755))?;
                Ok(made)
            }
            folder => Ok(folder?),
        }
    }
}

/// The folder and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A path that leads to an open file or folder, for as long as it is open.
fn name_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Finds `path` without a step out of `root`; what it finds is not read yet, so that neither a
/// pipe nor a device does anything.
#[cfg(target_os = "linux")]
fn open_in(root: &File, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), rustix::fs::ResolveFlags::IN_ROOT)
}

/// The lab runs on Linux only; this lets the rest be built elsewhere.
#[cfg(not(target_os = "linux"))]
fn open_in(_: &File, _: &str, _: OFlags) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn guest() -> (tempfile::TempDir, PathBuf, Guest) {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        let guest = Guest::open(&root).unwrap();
        (temporary, root, guest)
    }

    #[test]
    fn keeps_the_mode_of_a_file() {
        let (_temporary, root, guest) = guest();
        folder::write(&root.join("etc/machine-id"), "old, and longer", 0o640).unwrap();
        guest.write("etc/machine-id", "new", 0o644).unwrap();
        assert_eq!(guest.read("etc/machine-id"), Ok(Some("new".to_owned())));
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode("etc/machine-id"), 0o640);
        guest.write("etc/ssh/key", "secret", 0o600).unwrap();
        assert_eq!((mode("etc/ssh"), mode("etc/ssh/key")), (0o755, 0o600));
        assert_eq!(guest.read("etc/nothing"), Ok(None));
        assert_eq!(guest.names("etc"), Ok(vec!["machine-id".to_owned(), "ssh".to_owned()]));
        assert_eq!(guest.names("nothing"), Ok(vec![]));
        guest.remove("etc/ssh/key").unwrap();
        guest.remove("etc/ssh/key").unwrap();
        guest.remove("no/such/folder").unwrap();
        assert_eq!(guest.names("etc/ssh"), Ok(vec![]));
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let (temporary, root, guest) = guest();
        let outside = temporary.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("id"), "mine").unwrap();
        symlink(&outside, root.join("etc/absolute")).unwrap();
        symlink("../../outside", root.join("etc/relative")).unwrap();
        symlink(outside.join("id"), root.join("etc/id")).unwrap();
        for path in ["etc/absolute/id", "etc/relative/id", "etc/id"] {
            assert_eq!(guest.read(path), Ok(None), "{path}");
            guest.remove(path).unwrap();
        }
        symlink(outside.join("id"), root.join("etc/id")).unwrap();
        guest.write("etc/id", "new", 0o644).unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/id")).unwrap(), "new");
        assert!(guest.write("etc/absolute/id", "new", 0o644).is_err());
        assert_eq!(fs::read_to_string(outside.join("id")).unwrap(), "mine");
        // Inside, links are followed.
        symlink("/etc", root.join("configuration")).unwrap();
        guest.write("configuration/inner", "x", 0o644).unwrap();
        assert_eq!(fs::read_to_string(root.join("etc/inner")).unwrap(), "x");
    }

    #[test]
    fn what_is_no_file_is_replaced() {
        let (_temporary, root, guest) = guest();
        rustix::fs::mkfifoat(&guest.root, "etc/pipe", Mode::RWXU).unwrap();
        assert_eq!(guest.read("etc/pipe"), Ok(None));
        guest.write("etc/pipe", "text", 0o644).unwrap();
        assert!(guest.is_file("etc/pipe").unwrap());
        symlink("pipe", root.join("etc/link")).unwrap();
        assert!(!guest.is_file("etc/link").unwrap() && !guest.is_file("etc/none").unwrap());
        guest.write_folder("var/cache").unwrap();
        let found = guest.with_folder("var/cache", |path| Ok(path.is_dir()));
        assert_eq!(found, Ok(Some(true)));
    }
}
