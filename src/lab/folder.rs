//! The folder that holds everything of a lab, and the lock that guards it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::program::Program;
use crate::error::{Context as _, Error, Kind, Result};
use crate::octal;

/// How long to wait for another `infra lab` to finish.
const LOCK_WAIT: Duration = Duration::from_mins(20);

/// The names of what is in the folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, an absolute path; it need not be there yet.
    ///
    /// # Errors
    /// When the path cannot be the folder of a lab.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root)
            .context(|| format!("cannot find the lab's folder `{}`", root.display()))?;
        let text = root.to_str().unwrap_or(":");
        // The options of a mount are separated by `,`, its layers by `:`.
        if text.contains([':', ',', '\\', '"', '\n', ' ']) {
            return Err(Error::input(format!("`{}` cannot hold a lab", root.display()))
                .because("its path contains a space, quote, colon, comma or backslash")
                .hint("name another folder with `--lab-dir`"));
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(super) fn servers(&self) -> PathBuf {
        self.root.join("servers")
    }

    pub(super) fn server(&self, name: &str) -> PathBuf {
        self.servers().join(name)
    }

    /// Folders that servers wrote before they were saved; nothing in them changes any more.
    pub(super) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(super) fn layer(&self, id: &str) -> PathBuf {
        self.layers().join(id)
    }

    pub(super) fn saves(&self) -> PathBuf {
        self.root.join("saves")
    }

    pub(super) fn save(&self, name: &str) -> PathBuf {
        self.saves().join(name)
    }

    /// The private key that all servers let in; the public one is beside it, ending in `.pub`.
    pub(super) fn key(&self) -> PathBuf {
        self.root.join("key")
    }

    pub(super) fn ssh_config(&self) -> PathBuf {
        self.root.join("ssh_config")
    }

    pub(super) fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts")
    }

    /// Packages that a server of the release fetched, for the next one.
    pub(super) fn packages(&self, release: super::Release) -> PathBuf {
        self.root.join("apt").join(release.name())
    }

    /// Creates the folder and takes its lock: one `infra lab up` or `down` at a time.
    ///
    /// # Errors
    /// When another one holds it for too long.
    pub(super) fn lock(&self, waiting: &dyn Fn(&str)) -> Result<Lock> {
        let cannot = || format!("cannot use the lab's folder `{}`", self.root.display());
        let path = self.root.join("lock");
        let deadline = Instant::now() + LOCK_WAIT;
        let mut has_told = false;
        loop {
            // Programs, files and secrets of the servers are in there: nothing for other users.
            DirBuilder::new().recursive(true).mode(0o700).create(&self.root).context(cannot)?;
            let mut open = OpenOptions::new();
            let file = open.create(true).truncate(false).write(true).open(&path).context(cannot)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // `down --all` removes the folder with the lock in it.
                Ok(()) if is_same(&file, &path) => return Ok(Lock { _file: file }),
                Ok(()) => continue,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error).context(cannot),
            }
            if Instant::now() > deadline {
                return Err(Error::new(Kind::Locked, cannot())
                    .because("another `infra lab` works on it")
                    .hint("wait for it to end, or name another folder with `--lab-dir`"));
            }
            if !has_told {
                waiting("waiting for another `infra lab` to finish");
                has_told = true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Held while the lab changes.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

fn is_same(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// Writes `content` to `path` with `mode`, whatever the user's umask; the folders above it are
/// created. A reader sees the old content or the new.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        create_folders(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content.as_ref())?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    write().context(|| format!("cannot write `{}`", path.display()))
}

/// Creates `folder` and those above it that are missing, each with mode 0755.
fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folders(parent)?;
    }
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Creates `folder` and those above it that are missing.
///
/// # Errors
/// When it cannot be created.
pub(super) fn create(folder: &Path) -> Result<()> {
    create_folders(folder).context(|| format!("cannot create `{}`", folder.display()))
}

/// Sets the permissions of `path`.
///
/// # Errors
/// When it is not there or not ours.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .context(|| format!("cannot set the mode of `{}`", path.display()))
}

/// The names in `folder`, sorted; none when it is not there.
///
/// # Errors
/// When it cannot be read.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = || format!("cannot read `{}`", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(cannot),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Some(name) = entry.context(cannot)?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Unmounts everything at and below `path`.
///
/// # Errors
/// When something is in use.
pub(super) fn unmount_below(path: &Path) -> Result<()> {
    for point in mounts_below(path)?.iter().rev() {
        Program::new(["umount".as_ref(), point.as_os_str()]).run()?;
    }
    Ok(())
}

/// Unmounts everything at and below `path`, where a server has ended a moment ago.
///
/// # Errors
/// When something stays in use.
pub(super) fn unmount_ended(path: &Path) -> Result<()> {
    let end = Instant::now() + STILL_IN_USE;
    loop {
        match unmount_below(path) {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
            result => return result,
        }
    }
}

/// How long something in a folder may be in use after the server in it has ended.
pub(super) const STILL_IN_USE: Duration = Duration::from_secs(20);

/// Removes `path` and everything below it. What is mounted there is unmounted first: it may be
/// the machine's own `/dev`, which a build that was killed has left behind.
///
/// # Errors
/// When something stays mounted, or cannot be removed.
pub(super) fn remove(path: &Path) -> Result<()> {
    unmount_below(path)?;
    if let Some(point) = mounts_below(path)?.first() {
        return Err(Error::failed(format!("cannot remove `{}`", path.display()))
            .because(format!("`{}` is still mounted", point.display())));
    }
    let end = Instant::now() + STILL_IN_USE;
    loop {
        match fs::remove_dir_all(path) {
            // What containers inside the server had mounted is let go a moment after its end.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("cannot remove `{}`", path.display()));
            }
            _ => return Ok(()),
        }
    }
}

/// Removes the file or link `path`, if it is there.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// The mount points at and below `path`, in the order they were mounted.
pub(super) fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context(|| "cannot read the mounts".into())?;
    // The table has real paths.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(parse_mounts(&table).into_iter().filter(|point| point.starts_with(&path)).collect())
}

/// The fifth field of each line.
fn parse_mounts(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(octal::unescape)
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_with_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/ssh/key");
        write(&path, "one", 0o600).unwrap();
        write(&path, "two", 0o644).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(names(path.parent().unwrap()), Ok(vec!["key".to_owned()]));
        assert_eq!(names(&folder.path().join("nothing")), Ok(vec![]));
    }

    #[test]
    fn refuses_paths_that_a_mount_cannot_name() {
        assert!(Folder::new(Path::new("/var/lib/infra-lab")).is_ok());
        for path in ["/a:b", "/a,b", "/a b", "/a\\b"] {
            assert_eq!(
                Folder::new(Path::new(path)).unwrap_err().message,
                format!("`{path}` cannot hold a lab")
            );
        }
    }

    #[test]
    fn only_one_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::new(&folder.path().join("lab")).unwrap();
        let lock = folder.lock(&|_| panic!("nobody holds it")).unwrap();
        let (send, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| folder.lock(&|text| send.send(text.to_owned()).unwrap()));
            assert_eq!(told.recv().unwrap(), "waiting for another `infra lab` to finish");
            // The folder goes away while the second one waits, as `down --all` does it.
            fs::remove_dir_all(folder.root()).unwrap();
            drop(lock);
            second.join().unwrap().unwrap();
        });
        assert!(folder.root().join("lock").exists());
    }

    #[test]
    fn reads_mount_points() {
        let table = "22 1 0:20 / /proc rw - proc proc rw\n23 1 8:1 / /a\\040b rw shared:1 - ext4 /dev/x rw\n";
        assert_eq!(parse_mounts(table), [PathBuf::from("/proc"), PathBuf::from("/a b")]);
        assert!(mounts_below(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
