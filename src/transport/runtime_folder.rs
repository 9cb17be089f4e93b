//! The folder of sockets that outlive a run, and of files for a moment: nobody else may read or
//! replace what is in it.

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
pub struct RuntimeFolder(PathBuf);

impl RuntimeFolder {
    /// `<session folder>/infra`, where `session_folder` is the value of `XDG_RUNTIME_DIR`, or
    /// `/tmp/infra-<uid>` where there is none, it is too long for a socket, or root has the variable
    /// from another user.
    ///
    /// # Errors
    /// If others can replace the session folder; if the folder cannot be made, or is there and
    /// belongs to or can be entered by somebody else.
    pub fn open(session_folder: Option<&Path>) -> Result<Self> {
        let uid = rustix::process::getuid().as_raw();
        let session_folder = match session_folder {
            Some(folder) if folder.is_absolute() && folder.is_dir() => own(folder, uid)?,
            _ => None,
        };
        let fits = |path: &PathBuf| {
            path.as_os_str().as_bytes().len() + 1 + LONGEST_NAME <= LONGEST_SOCKET_PATH
        };
        let path = session_folder
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

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in the folder. A socket can have a `name` of up to [`LONGEST_NAME`] bytes.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// The path of `folder` without symlinks, if nobody but root and the user `uid` can put another
/// folder in its place. `sudo -E` leaves root the folder of the user who called it, which is for
/// that user alone: `None`.
///
/// # Errors
/// If somebody else can.
fn own(folder: &Path, uid: u32) -> Result<Option<PathBuf>> {
    let cannot = || format!("cannot look at `{}`", folder.display());
    let path = fs::canonicalize(folder).context(cannot)?;
    let mut others = None;
    for above in path.ancestors() {
        let metadata = fs::symlink_metadata(above).context(cannot)?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        // In a sticky folder everybody replaces only what is their own.
        let is_open = mode & 0o022 != 0 && mode & 0o1000 == 0;
        let is_others = owner != 0 && owner != uid;
        if is_others && uid == 0 {
            return Ok(None);
        }
        if is_open || is_others {
            others = Some(format!("`{}` has owner {owner}, mode {mode:04o}", above.display()));
        }
    }
    match others {
        None => Ok(Some(path)),
        Some(cause) => Err(Error::failed(format!(
            "others can replace `{}`, the folder in `XDG_RUNTIME_DIR`",
            folder.display()
        ))
        .because(cause)
        .hint("set `XDG_RUNTIME_DIR` to a folder that only you can change, or unset it")),
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

    /// A folder `a/b` whose parts have these owners and modes.
    fn folders(a: (u32, u32), b: (u32, u32)) -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::Builder::new().prefix("run").tempdir_in("/tmp").unwrap();
        let mut path = top.path().to_owned();
        for (name, (owner, mode)) in [("a", a), ("b", b)] {
            path.push(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        }
        (top, path)
    }

    #[test]
    fn nobody_else_can_replace_the_session_folder() {
        const DAEMON: u32 = 1;
        for (uid, a, b, wrong) in [
            (0, (0, 0o755), (0, 0o700), None),
            (0, (0, 0o1777), (0, 0o755), None),
            (0, (0, 0o777), (0, 0o700), Some("a` has owner 0, mode 0777")),
            (0, (0, 0o775), (0, 0o700), Some("a` has owner 0, mode 0775")),
            (0, (0, 0o755), (0, 0o770), Some("a/b` has owner 0, mode 0770")),
            (DAEMON, (0, 0o755), (DAEMON, 0o700), None),
            (DAEMON, (DAEMON, 0o755), (0, 0o700), None),
            (DAEMON, (0, 0o1777), (2, 0o700), Some("a/b` has owner 2, mode 0700")),
            (DAEMON, (2, 0o755), (DAEMON, 0o700), Some("a` has owner 2, mode 0755")),
        ] {
            let (top, path) = folders(a, b);
            std::os::unix::fs::chown(top.path(), Some(uid), None).unwrap();
            let (top, shown) = (top.path().display(), path.display());
            match (own(&path, uid), wrong) {
                (found, None) => assert_eq!(found.unwrap(), Some(path)),
                (found, Some(wrong)) => assert_eq!(
                    found.unwrap_err().to_string(),
                    format!(
                        "others can replace `{shown}`, the folder in `XDG_RUNTIME_DIR`\n\
                         caused by: `{top}/{wrong}\n\
                         hint: set `XDG_RUNTIME_DIR` to a folder that only you can change, or \
                         unset it"
                    )
                ),
            }
        }
    }

    #[test]
    fn root_takes_no_folder_of_the_user_who_called_sudo() {
        for (a, b) in [((1, 0o755), (0, 0o700)), ((0, 0o755), (1, 0o700)), ((1, 0o777), (1, 0o777))]
        {
            let (_top, path) = folders(a, b);
            assert_eq!(own(&path, 0).unwrap(), None);
        }
        let (_top, path) = folders((0, 0o755), (1, 0o700));
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(
            RuntimeFolder::open(Some(&path)).unwrap().0,
            Path::new(&format!("/tmp/infra-{uid}"))
        );
    }

    #[test]
    fn a_symlink_is_followed_before_the_folder_is_judged() {
        let (top, path) = folders((0, 0o777), (0, 0o700));
        let link = top.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = own(&link, 0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("others can replace `{}`", link.display())), "{error}");
        fs::set_permissions(top.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(own(&link, 0).unwrap(), Some(path));
    }

    #[test]
    fn avoids_paths_that_are_too_long_for_a_socket() {
        let session = tempfile::Builder::new().prefix(&"x".repeat(80)).tempdir_in("/tmp").unwrap();
        let folder = RuntimeFolder::open(Some(session.path())).unwrap();
        assert!(folder.0.starts_with("/tmp"));
        assert!(folder.file(&"y".repeat(LONGEST_NAME)).as_os_str().len() <= LONGEST_SOCKET_PATH);
    }
}
