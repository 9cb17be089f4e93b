//! The folder of sockets that outlive a run: nobody else may read or replace what is in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};

/// ssh appends 17 bytes to the path of a socket while it makes it, and the system allows 107.
const LONGEST_SOCKET_PATH: usize = 90;

/// Room for a slash and the name of a socket.
const LONGEST_NAME: usize = 32;

/// A folder that belongs to this user alone.
#[derive(Clone, Debug)]
pub(super) struct RuntimeFolder(PathBuf);

impl RuntimeFolder {
    /// `<session folder>/infra`, where `session_folder` is the value of `XDG_RUNTIME_DIR`, or
    /// `/tmp/infra-<uid>` where there is none or it is too long for a socket.
    ///
    /// # Errors
    /// If it cannot be made, or is there and belongs to or can be entered by somebody else.
    pub(super) fn open(session_folder: Option<&Path>) -> Result<Self> {
        let uid = rustix::process::getuid().as_raw();
        let fits = |path: &PathBuf| {
            path.as_os_str().as_bytes().len() + 1 + LONGEST_NAME <= LONGEST_SOCKET_PATH
        };
        let path = session_folder
            .filter(|folder| folder.is_absolute() && folder.is_dir())
            .map(|folder| folder.join("infra"))
            .filter(fits)
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/infra-{uid}")));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).context(|| format!("cannot create `{}`", path.display()));
            }
            _ => {}
        }
        let metadata = fs::symlink_metadata(&path)
            .context(|| format!("cannot look at `{}`", path.display()))?;
        if !metadata.is_dir() || metadata.uid() != uid || metadata.mode() & 0o077 != 0 {
            return Err(Error::failed(format!("`{}` is not ours alone", path.display()))
                .because(format!(
                    "owner {}, mode {:04o}; expected owner {uid}, mode 0700",
                    metadata.uid(),
                    metadata.mode() & 0o7777
                ))
                .hint("remove it, or set `XDG_RUNTIME_DIR` to a folder of your own"));
        }
        Ok(Self(path))
    }

    /// A path in the folder. A socket can have a `name` of up to [`LONGEST_NAME`] bytes.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn makes_a_private_folder() {
        let session = tempfile::Builder::new().prefix("run").tempdir_in("/tmp").unwrap();
        let folder = RuntimeFolder::open(Some(session.path())).unwrap();
        assert_eq!(folder.0, session.path().join("infra"));
        assert_eq!(fs::metadata(&folder.0).unwrap().mode() & 0o7777, 0o700);
        RuntimeFolder::open(Some(session.path())).unwrap();
    }

    #[test]
    fn refuses_a_folder_that_others_may_enter() {
        let session = tempfile::Builder::new().prefix("run").tempdir_in("/tmp").unwrap();
        let folder = session.path().join("infra");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(
            RuntimeFolder::open(Some(session.path())).unwrap_err().to_string(),
            format!(
                "`{}` is not ours alone\n\
                 caused by: owner {uid}, mode 0755; expected owner {uid}, mode 0700\n\
                 hint: remove it, or set `XDG_RUNTIME_DIR` to a folder of your own",
                folder.display()
            )
        );
    }

    #[test]
    fn avoids_paths_that_are_too_long_for_a_socket() {
        let session = tempfile::Builder::new().prefix(&"x".repeat(80)).tempdir_in("/tmp").unwrap();
        let folder = RuntimeFolder::open(Some(session.path())).unwrap();
        assert!(folder.0.starts_with("/tmp"));
        assert!(folder.file(&"y".repeat(LONGEST_NAME)).as_os_str().len() <= LONGEST_SOCKET_PATH);
    }
}
