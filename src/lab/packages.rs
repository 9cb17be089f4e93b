//! Packages that servers of a lab fetched, kept so that the next server finds them.
//!
//! They are hard links, not a shared folder: apt locks its folder, and two servers at once would
//! wait for each other. apt checks each file against its signed lists before it uses it. A save has
//! copies of its own.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::folder;
use crate::error::{Context as _, Result};

/// Where apt keeps packages, relative to a server's root.
pub(super) const ARCHIVES: &str = "var/cache/apt/archives";

/// Where apt keeps packages, in the files of one server.
pub(super) fn folder_of(server_files: &Path) -> PathBuf {
    server_files.join(ARCHIVES)
}

/// Gives the packages in `from` to `to`, which is created, without those called as in `except`.
/// Files that are there stay.
///
/// # Errors
/// When the folders cannot be read or written.
pub(super) fn share(from: &Path, to: &Path, except: &[String]) -> Result<()> {
    folder::create(to)?;
    for name in folder::names(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        if except.contains(&name) || package(&source).is_none() {
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

/// The attributes of a package. A link in a server's folder may lead to any file of this machine; an
/// empty or removed file is a package that apt has just taken away.
fn package(path: &Path) -> Option<Metadata> {
    let is_named_so = path.extension().is_some_and(|extension| extension == "deb");
    let metadata = fs::symlink_metadata(path).ok().filter(|_| is_named_so)?;
    (metadata.is_file() && metadata.len() > 0).then_some(metadata)
}

/// Makes copies of the packages in `folder` that it shares with `shared`: what somebody writes into
/// a shared one changes nothing there any more.
///
/// # Errors
/// When one cannot be copied.
pub(super) fn separate(folder: &Path, shared: &Path) -> Result<()> {
    let number = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    for name in folder::names(folder)? {
        let path = folder.join(&name);
        let Some(metadata) = package(&path) else { continue };
        if package(&shared.join(&name)).map(|other| number(&other)) != Some(number(&metadata)) {
            continue;
        }
        // A name that apt never gives, and that nobody in the server writes any more.
        let unfinished = folder.join(".infra-lab");
        let copied = metadata.modified().and_then(|modified| {
            folder::remove_file(&unfinished).map_err(io::Error::other)?;
            fs::copy(&path, &unfinished)?;
            std::os::unix::fs::chown(&unfinished, Some(metadata.uid()), Some(metadata.gid()))?;
            fs::File::options().write(true).open(&unfinished)?.set_modified(modified)?;
            fs::rename(&unfinished, &path)
        });
        copied.context(|| format!("cannot copy `{}`", path.display()))?;
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
        share(&archives, &cache, &[]).unwrap();
        share(&archives, &cache, &[]).unwrap();
        assert_eq!(folder::names(&cache), Ok(vec!["a_1_all.deb".to_owned()]));
        let next = folder_of(&folder.path().join("next"));
        share(&cache, &next, &[]).unwrap();
        assert_eq!(fs::read_to_string(next.join("a_1_all.deb")).unwrap(), "a");
        let copy = folder_of(&folder.path().join("copy"));
        share(&cache, &copy, &["a_1_all.deb".to_owned()]).unwrap();
        assert_eq!(folder::names(&copy), Ok(vec![]));
        // Two names of one file that nobody else has stay so.
        fs::write(next.join("b_1_all.deb"), "b").unwrap();
        fs::hard_link(next.join("b_1_all.deb"), next.join("c_1_all.deb")).unwrap();
        separate(&next, &cache).unwrap();
        let number = |name: &str| fs::metadata(next.join(name)).unwrap().ino();
        assert_eq!(number("b_1_all.deb"), number("c_1_all.deb"));
        fs::write(cache.join("a_1_all.deb"), "changed").unwrap();
        assert_eq!(fs::read_to_string(next.join("a_1_all.deb")).unwrap(), "a");
        assert_eq!(fs::read_to_string(archives.join("a_1_all.deb")).unwrap(), "changed");
        assert_eq!(
            folder::names(&next).unwrap(),
            ["a", "b", "c"].map(|name| format!("{name}_1_all.deb"))
        );
    }
}
