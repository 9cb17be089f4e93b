//! Packages that servers of a lab fetched, kept so that the next server finds them.
//!
//! They are hard links, not a shared folder: apt locks its folder, and two servers at once would
//! wait for each other. apt checks each file against its signed lists before it uses it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder;
use crate::error::{Context as _, Result};

/// Where apt keeps packages, relative to a server's root.
pub(super) const ARCHIVES: &str = "var/cache/apt/archives";

/// Where apt keeps packages, in the files of one server.
pub(super) fn folder_of(server_files: &Path) -> PathBuf {
    server_files.join(ARCHIVES)
}

/// Gives the packages in `from` to `to`, which is created. Files that are there stay.
///
/// # Errors
/// When the folders cannot be read or written.
pub(super) fn share(from: &Path, to: &Path) -> Result<()> {
    folder::create(to)?;
    for name in folder::names(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        if source.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        // A link in a server's folder may lead to any file of this machine; an empty or removed
        // file is a package that apt has just taken away.
        let is_package = fs::symlink_metadata(&source)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
        if !is_package {
            continue;
        }
        match fs::hard_link(&source, &target) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) =>
            {
                return Err(error).context(|| format!("cannot keep `{}`", source.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_complete_packages_only() {
        let folder = tempfile::tempdir().unwrap();
        let (server, cache) = (folder.path().join("server"), folder.path().join("apt/debian-12"));
        let archives = folder_of(&server);
        fs::create_dir_all(archives.join("partial")).unwrap();
        for (name, content) in
            [("a_1_all.deb", "a"), ("empty.deb", ""), ("lock", "x"), ("partial/b.deb", "b")]
        {
            fs::write(archives.join(name), content).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", archives.join("link.deb")).unwrap();
        share(&archives, &cache).unwrap();
        share(&archives, &cache).unwrap();
        assert_eq!(folder::names(&cache), Ok(vec!["a_1_all.deb".to_owned()]));
        let next = folder_of(&folder.path().join("next"));
        share(&cache, &next).unwrap();
        assert_eq!(fs::read_to_string(next.join("a_1_all.deb")).unwrap(), "a");
    }
}
