//! A folder in memory for a text in the clear, that does not outlive who made it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Context as _, Error, Result};

/// The file system in memory that every Linux has.
const SHM: &str = "/dev/shm";

/// How the folders in it begin.
const PREFIX: &str = "infra-secrets-";

/// What the kernel calls file systems in memory.
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// A folder that only its owner may enter. It is wiped and removed when it is dropped.
pub struct MemoryFolder {
    path: PathBuf,
    /// Locked while its maker lives, so that others see when nobody needs it any more.
    _lock: File,
}

impl MemoryFolder {
    /// Makes one in `/dev/shm`.
    ///
    /// # Errors
    /// If `/dev/shm` is not in memory, or cannot be written.
    pub fn create() -> Result<Self> {
        Self::create_in(Path::new(SHM))
    }

    fn create_in(base: &Path) -> Result<Self> {
        let what = || format!("cannot make a folder in `{}`", base.display());
        let system = rustix::fs::statfs(base).context(what)?;
        #[expect(clippy::useless_conversion, reason = "the type differs between architectures")]
        let kind = i64::from(system.f_type);
        if ![TMPFS, RAMFS].contains(&kind) {
            return Err(Error::failed(what())
                .because("it is not in memory, and secrets in the clear must not get to a disk")
                .hint("mount a tmpfs there, or use `infra secrets set`"));
        }
        loop {
            let path = base.join(format!("{PREFIX}{}-{}", std::process::id(), random()?));
            DirBuilder::new().mode(0o700).create(&path).context(what)?;
            // Another command may take it for one that is left over, before it is locked.
            let lock = match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.context(what)?,
            };
            if is_locked_by_us(&lock) && path.is_dir() {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in it that only its owner may read.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let what = || format!("cannot write `{}`", path.display());
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).context(what)?;
        Ok(path)
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        wipe(&self.path);
    }
}

/// Four random bytes: two folders of one process differ, and nobody can be there first.
fn random() -> Result<String> {
    let mut bytes = [0; 4];
    let read = File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.context(|| "cannot read `/dev/urandom`".to_owned())?;
    Ok(format!("{:08x}", u32::from_ne_bytes(bytes)))
}

fn is_locked_by_us(folder: &File) -> bool {
    rustix::fs::flock(folder, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Overwrites and removes what is in a folder made by [`MemoryFolder::create`], and the folder.
/// Any other folder is left alone.
pub fn wipe(path: &Path) {
    let is_ours = path.parent().is_some_and(|parent| parent == Path::new(SHM))
        && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    if is_ours {
        // An editor that still runs may write once more.
        for _ in 0..5 {
            wipe_below(path);
            if std::fs::remove_dir(path).is_ok() || !path.exists() {
                return;
            }
        }
    }
}

fn wipe_below(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            wipe_below(&path);
            // What cannot be removed now is tried again by the caller.
            let _ = std::fs::remove_dir(&path);
        } else {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                // Removing it is what counts; the zeros are for whoever still holds it open.
                let _ = overwrite(&path);
            }
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn overwrite(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    file.rewind()?;
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length), &mut file)?;
    Ok(())
}

/// Wipes the folders of this user whose maker was killed, together with what wipes them then.
pub fn remove_stale() {
    let Ok(entries) = std::fs::read_dir(SHM) else { return };
    let me = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|data| data.is_dir() && data.uid() == me);
        if is_ours && File::open(entry.path()).is_ok_and(|folder| is_locked_by_us(&folder)) {
            wipe(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_its_owner_may_enter_and_nothing_stays() {
        let folder = MemoryFolder::create().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = folder.write("all.yaml", "a: 1\n").unwrap();
        std::fs::create_dir(folder.path().join("backup")).unwrap();
        std::fs::write(folder.path().join("backup/all.yaml~"), "a: 1\n").unwrap();
        assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
        let path = folder.path().to_owned();
        remove_stale();
        assert!(file.exists(), "a folder that is in use stays");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_disk_is_refused() {
        // Another kind of file system: a checkout may itself be in memory.
        let disk = Path::new("/proc");
        let error = MemoryFolder::create_in(disk).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot make a folder in `{}`\n\
                 caused by: it is not in memory, and secrets in the clear must not get to a disk\n\
                 hint: mount a tmpfs there, or use `infra secrets set`",
                disk.display()
            )
        );
    }

    #[test]
    fn other_folders_are_not_wiped() {
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("file"), "text").unwrap();
        wipe(other.path());
        assert!(other.path().join("file").exists());
    }
}
