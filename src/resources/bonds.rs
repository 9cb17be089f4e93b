//! Obstacles that keep a file from being changed as any other, told before anything is changed.

use super::probe::{FileKind, Probe};
use super::state::Change;
use crate::error::{Error, Result};

/// The bonds of a file to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bonds {
    /// How many names a regular file has (hard links); one for everything else.
    pub names: u64,
    /// A flag of the file itself.
    pub flag: Option<Flag>,
    /// A flag of its folder.
    pub folder: Option<Flag>,
}

impl Default for Bonds {
    fn default() -> Self {
        Self { names: 1, flag: None, folder: None }
    }
}

/// A flag that forbids changes even to root, see chattr(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `chattr +i`.
    Immutable,
    /// `chattr +a`.
    AppendOnly,
}

impl Flag {
    fn word(self) -> &'static str {
        match self {
            Self::Immutable => "immutable (`chattr +i`)",
            Self::AppendOnly => "append-only (`chattr +a`)",
        }
    }

    fn lifted_by(self) -> &'static str {
        match self {
            Self::Immutable => "chattr -i",
            Self::AppendOnly => "chattr -a",
        }
    }
}

/// The ways in which an apply touches a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A new file takes the place of what is there, if anything is.
    Replaced,
    /// The same, with all of the old file that is somebody else's.
    Edited,
    /// A program of Debian's writes the file, and knows what to do about further names.
    ByProgram,
    /// A folder is made.
    Made,
    /// Owner, group or mode are set.
    Set,
    /// The thing that is there goes.
    Gone,
}

/// The tables of users, which the programs of the package `passwd` write.
pub(super) const USERS: [&str; 4] = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"];

/// The tables of groups.
pub(super) const GROUPS: [&str; 2] = ["/etc/group", "/etc/gshadow"];

/// The touch of a program that writes these files.
pub(super) fn by_program(paths: &[&str]) -> Vec<(String, Touch)> {
    paths.iter().map(|path| ((*path).to_owned(), Touch::ByProgram)).collect()
}

/// The touch of `change` for files of which each is written where one of some fields is set.
pub(super) fn written<'a>(
    change: &Change,
    files: impl IntoIterator<Item = (String, &'a [&'a str])>,
) -> Vec<(String, Touch)> {
    let touch = if change.is_remove() { Touch::Gone } else { Touch::Replaced };
    let is_written = |fields: &[&str]| fields.iter().any(|field| change.sets(field));
    let files = files.into_iter().filter(|(_, fields)| change.is_remove() || is_written(fields));
    files.map(|(path, _)| (path, touch)).collect()
}

/// Looks whether `path` can be touched so.
///
/// # Errors
/// The reason why it cannot, with a way out of it.
pub(super) fn check(path: &str, touch: Touch, probe: &dyn Probe) -> Result<()> {
    let bonds = probe.bonds(path)?;
    if let Some(flag) = bonds.flag {
        return Err(Error::failed(format!("`{path}` is {}", flag.word()))
            .hint(format!("`{} {path}` lets it be changed", flag.lifted_by())));
    }
    let in_folder = match touch {
        Touch::Set => None,
        Touch::Made => bonds.folder.filter(|flag| *flag == Flag::Immutable),
        Touch::Replaced | Touch::Edited | Touch::ByProgram | Touch::Gone => bonds.folder,
    };
    if let Some(flag) = in_folder {
        let folder = path.rsplit_once('/').map_or("/", |(above, _)| above);
        let folder = if folder.is_empty() { "/" } else { folder };
        return Err(Error::failed(format!(
            "`{folder}`, the folder of `{path}`, is {}",
            flag.word()
        ))
        .hint(format!("`{} {folder}` lets its files be changed", flag.lifted_by())));
    }
    // In a folder of a user, the other name is this user's doing, and must not keep a key in its place.
    if bonds.names > 1
        && matches!(touch, Touch::Replaced | Touch::Edited)
        && !probe.can_others_change(path)?
    {
        let message = format!("`{path}` has {} names (hard links)", bonds.names);
        return Err(Error::failed(message)
            .because(
                "infra puts a new file in its place, and the other names would keep the old one",
            )
            .hint(format!("`find / -xdev -samefile {path}` lists them: remove the others")));
    }
    if touch == Touch::Edited
        && probe.stat(path)?.is_some_and(|stat| stat.kind == FileKind::Symlink)
    {
        let error = Error::failed(format!("`{path}` is a symlink, not a file"))
            .because("infra puts a new file in its place, and others go on with the old one");
        return Err(error.hint("put the file itself there"));
    }
    Ok(())
}
