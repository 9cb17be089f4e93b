//! Names of one file, before what a server wrote becomes a layer.
//!
//! A write to a file below puts only the name by which the file is written among what the server
//! wrote; the overlay finds the other names by its index, which no layer has
//! (<https://docs.kernel.org/filesystems/overlayfs.html>, "Index"). Without these names the next
//! mount would show the old content there.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};

use crate::error::{Context as _, Result};
use crate::lab::folder::{self, Folder};
use crate::lab::server::{Files, Server};

impl Server {
    /// Puts every name of each file that the server, which has ended, wrote among what it wrote.
    ///
    /// # Errors
    /// When the files cannot be read, or a name cannot be put there.
    pub(super) fn complete_links(&self, lab: &Folder) -> Result<()> {
        let files = Files::of(lab, &self.name);
        let index = files.work().join("index");
        if numbers(&index)?.is_empty() {
            return Ok(());
        }
        self.mount_unless_mounted(lab, &files)?;
        // Of a save that was cut, the index may be gone by now.
        let indexed = numbers(&index)?;
        let (root, upper) = (files.root(), files.upper());
        let mut split = BTreeSet::new();
        walk(&upper, |path, metadata| {
            if metadata.nlink() > 1 && indexed.contains(&metadata.ino()) {
                split.insert(status(&root.join(path))?.ino());
            }
            Ok(())
        })?;
        walk(&root, |path, metadata| {
            let is_one_of_many = metadata.nlink() > 1 && split.contains(&metadata.ino());
            if is_one_of_many && fs::symlink_metadata(upper.join(path)).is_err() {
                put(&root.join(path), metadata)?;
                fs::symlink_metadata(upper.join(path)).context(|| cannot_keep(path))?;
            }
            Ok(())
        })
    }
}

fn cannot_keep(path: &Path) -> String {
    format!("cannot keep `/{}` as another name of its file", path.display())
}

/// Has the overlay put a name among what the server wrote, by setting a time as it is: a change of
/// the owner would take away bits of the mode.
fn put(path: &Path, metadata: &Metadata) -> Result<()> {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    let times = Timestamps { last_access: omitted, last_modification: modified };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .context(|| cannot_keep(path))
}

/// The numbers of the files in a folder of the overlay's own; none where there is no folder.
fn numbers(index: &Path) -> Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for name in folder::names(index)? {
        let metadata = status(&index.join(name))?;
        // The mark of a removed file has the number that all such marks have.
        let is_mark = metadata.file_type().is_char_device() && metadata.rdev() == 0;
        if !is_mark {
            numbers.insert(metadata.ino());
        }
    }
    Ok(numbers)
}

fn status(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).context(|| format!("cannot read `{}`", path.display()))
}

/// Calls `visit` for everything below `top` that is no folder, with the path below `top`.
fn walk(top: &Path, mut visit: impl FnMut(&Path, &Metadata) -> Result<()>) -> Result<()> {
    let cannot = |folder: &Path| format!("cannot read `{}`", top.join(folder).display());
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top.join(&folder)).context(|| cannot(&folder))? {
            let entry = entry.context(|| cannot(&folder))?;
            let path = folder.join(entry.file_name());
            let metadata = entry.metadata().context(|| cannot(&path))?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                visit(&path, &metadata)?;
            }
        }
    }
    Ok(())
}
