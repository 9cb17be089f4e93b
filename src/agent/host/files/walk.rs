//! The way to a file: folder by folder, each opened from the one above.
//!
//! As long as every folder belongs to root and nobody else can put anything there, the way is
//! root's own and its symlinks are followed. Below the first other folder, somebody else may
//! have put there what root finds: symlinks of that folder's user are followed with the access
//! of this user alone, and all others are refused.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat as RawStat};
use rustix::io::Errno;

use super::identity::{Identity, as_user};
use crate::agent::host::accounts::{Accounts, NOBODY};
use crate::error::{Context, Error, Result};

/// As many symlinks as the kernel itself follows.
const MOST_SYMLINKS: usize = 40;

/// The magic number of `proc` file systems, from `linux/magic.h`.
const PROC_MAGIC: i64 = 0x9fa0;

/// Opens folders and files for their place in a tree alone: nothing is read, waited for or
/// changed by it, whatever lies there.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A name in an open folder, and the users who may have put the thing of this name there.
pub(super) struct Place {
    /// The folder.
    pub(super) folder: OwnedFd,
    /// The name in the folder; `.` for the folder `/` itself.
    pub(super) name: OsString,
    /// The users who may have put the thing of this name there.
    pub(super) ground: Ground,
}

/// The users who may have put the things of a folder there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// Root alone, in this folder and in all above.
    Root,
    /// Anybody, but nobody else can move away what is root's: `/tmp`.
    Sticky,
    /// Somebody else as well, in this folder or in one above.
    Shared {
        /// The only other user who can put things into this folder, if there is one.
        by: Option<u32>,
    },
    /// The place was reached over a symlink of a user: everything is done with this user's
    /// access.
    Of(Identity),
}

/// Whether the last part of a path is followed where it is a symlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// The symlink itself is meant.
    Itself,
    /// The file is meant that the symlink points to.
    Followed,
}

/// Whether the way may lead over symlinks of others than root, with their access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To read what is there.
    Read,
    /// To change something there.
    Write,
}

/// The reasons why there is no place.
pub(super) enum Missing {
    /// Nothing is there, or a part of the way is no folder.
    Nothing,
    /// The way cannot be taken.
    Refused(Error),
}

impl From<Error> for Missing {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Place {
    /// The open thing itself, and its attributes; `None` where there is nothing.
    pub(super) fn open(&self) -> Result<Option<(OwnedFd, RawStat)>> {
        let opened = self.ground.access(|| open_stat(&self.folder, &self.name))?;
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(error) => {
                Err(Error::failed(format!("cannot look at `{}`", self.name.display()))
                    .because(error))
            }
        }
    }
}

impl Ground {
    /// Does `work` with the access that this ground calls for.
    pub(super) fn access<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        match self {
            Self::Of(identity) => as_user(identity, work),
            Self::Root | Self::Sticky | Self::Shared { .. } => Ok(work()),
        }
    }
}

/// The way to a path.
struct Walk<'a> {
    accounts: &'a Accounts,
    purpose: Purpose,
    folder: OwnedFd,
    ground: Ground,
    /// The parts that are still to be walked, the next one last.
    parts: Vec<OsString>,
    followed: usize,
}

/// Walks to the place of `path`; tells as well what was seen there.
pub(super) fn walk(
    path: impl AsRef<OsStr>,
    accounts: &Accounts,
    purpose: Purpose,
    last: Last,
) -> std::result::Result<(Place, Option<RawStat>), Missing> {
    let mut parts: Vec<OsString> = parts(path.as_ref()).collect();
    let (folder, ground) = if let Some(folder) = closed_folder(&mut parts) {
        (folder, Ground::Root)
    } else {
        let (folder, raw) = open_root()?;
        let ground = Ground::root(&folder, &raw, accounts);
        (folder, ground)
    };
    Walk { accounts, purpose, folder, ground, parts, followed: 0 }.finish(last)
}

/// Walks to the place of `path` with a user's access from the root folder on.
pub(super) fn walk_as(
    user: Identity,
    path: &str,
    accounts: &Accounts,
) -> std::result::Result<(Place, Option<RawStat>), Missing> {
    let (folder, _) = open_root()?;
    let (ground, parts) = (Ground::Of(user), parts(path.as_ref()).collect());
    let purpose = Purpose::Read;
    Walk { accounts, purpose, folder, ground, parts, followed: 0 }.finish(Last::Followed)
}

impl Walk<'_> {
    fn finish(self, last: Last) -> std::result::Result<(Place, Option<RawStat>), Missing> {
        let mut walk = self;
        loop {
            let part = walk.parts.pop().unwrap_or_else(|| ".".into());
            if walk.parts.is_empty() {
                let seen = walk.look(&part)?;
                if last == Last::Itself || !seen.as_ref().is_some_and(is_symlink) {
                    let Walk { folder, ground, .. } = walk;
                    return Ok((Place { folder, name: part, ground }, seen));
                }
            }
            walk.step(&part)?;
        }
    }

    /// Goes into the folder `part`, or to where the symlink `part` points.
    fn step(&mut self, part: &OsStr) -> std::result::Result<(), Missing> {
        let opened = self.ground.access(|| open_stat(&self.folder, part))?;
        let (next, raw) = opened.map_err(|error| missing(part, error))?;
        match FileType::from_raw_mode(raw.st_mode) {
            FileType::Directory => {
                if let Ground::Of(_) = &self.ground {
                    refuse_proc(&next, part)?;
                }
                let below = self.ground.below(&next, &raw, self.accounts);
                // A process may have a user, who can put nothing there: the kernel makes its files.
                let is_kernels =
                    self.ground == Ground::Root && below != Ground::Root && is_proc(&next, part)?;
                if !is_kernels {
                    self.ground = below;
                }
                self.folder = next;
                Ok(())
            }
            FileType::Symlink => self.follow(part, &raw).map_err(Missing::Refused),
            _ => Err(Missing::Nothing),
        }
    }

    fn look(&self, part: &OsStr) -> std::result::Result<Option<RawStat>, Missing> {
        let found = self.ground.access(|| existing(&self.folder, part))?;
        found.map_err(|error| missing(part, error))
    }

    /// Goes to where a symlink points, if nobody else can have put it there.
    fn follow(&mut self, part: &OsStr, link: &RawStat) -> Result<()> {
        self.followed += 1;
        if self.followed > MOST_SYMLINKS {
            return Err(Error::failed("too many symlinks"));
        }
        self.ground = self.over(part, link)?;
        let target =
            self.ground.access(|| rustix::fs::readlinkat(&self.folder, part, Vec::new()))?;
        let target = target.context(|| format!("cannot read the symlink `{}`", part.display()))?;
        let target = OsString::from_vec(target.into_bytes());
        if target.as_bytes().starts_with(b"/") {
            let (root, raw) = open_root()?;
            if !matches!(self.ground, Ground::Of(_)) {
                self.ground = Ground::root(&root, &raw, self.accounts);
            }
            self.folder = root;
        }
        self.parts.extend(parts(&target));
        Ok(())
    }

    /// The ground behind a symlink.
    fn over(&self, part: &OsStr, link: &RawStat) -> Result<Ground> {
        let refused = |reason: &str| {
            Error::failed(format!("`{}` on the way is a symlink {reason}", part.display()))
        };
        match &self.ground {
            Ground::Root => Ok(Ground::Root),
            Ground::Of(identity) => Ok(Ground::Of(identity.clone())),
            Ground::Shared { by } if self.purpose == Purpose::Read => {
                let user = match (by, link.st_uid) {
                    (Some(user), 0) => *user,
                    (Some(user), owner) if owner != *user => {
                        return Err(refused("of somebody else"));
                    }
                    // Any of them can have moved it here: it shows what all may read.
                    (None, 0) => NOBODY,
                    (_, owner) => owner,
                };
                Ok(Ground::Of(self.accounts.identity(user)?))
            }
            _ => Err(refused("in a folder that others can write")),
        }
    }
}

impl Ground {
    /// The ground of the root folder.
    fn root(opened: &OwnedFd, folder: &RawStat, accounts: &Accounts) -> Self {
        Self::Root.below(opened, folder, accounts)
    }

    /// The ground in `folder`, which was found on `self`.
    fn below(&self, opened: &OwnedFd, folder: &RawStat, accounts: &Accounts) -> Self {
        let writers = Writers::of(opened, folder, accounts);
        let is_of_root = folder.st_uid == 0;
        // In a sticky folder nobody else can have moved a folder of root's: that takes the right
        // to write in the folder itself.
        let is_above_safe = matches!(self, Self::Root) || *self == Self::Sticky && is_of_root;
        match self {
            Self::Of(identity) => Self::Of(identity.clone()),
            _ if is_above_safe && writers == Writers::Root => Self::Root,
            _ if is_above_safe && is_of_root && folder.st_mode & 0o1000 != 0 => Self::Sticky,
            Self::Root | Self::Sticky => Self::Shared { by: writers.only() },
            // The writers above can have moved this folder here, whoever it belongs to.
            Self::Shared { by } => {
                Self::Shared { by: by.filter(|user| writers == Writers::One(*user)) }
            }
        }
    }
}

/// The users who can put things into a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writers {
    /// Root alone.
    Root,
    /// Root and this user.
    One(u32),
    /// Several users, or nobody knows.
    Several,
}

impl Writers {
    /// The writers of a folder by its owner, its mode and its access list.
    fn of(opened: &OwnedFd, folder: &RawStat, accounts: &Accounts) -> Self {
        let owner = Some(folder.st_uid).filter(|uid| *uid != 0);
        let group = if folder.st_mode & 0o002 != 0 {
            None
        } else if folder.st_mode & 0o020 == 0 {
            Some(Vec::new())
        } else if has_access_list(opened) {
            // The group's bits are the most that the list gives to anybody.
            None
        } else {
            accounts.users_of(folder.st_gid)
        };
        let Some(members) = group else { return Self::Several };
        let mut writers = members.into_iter().chain(owner);
        let Some(first) = writers.next() else { return Self::Root };
        if writers.all(|other| other == first) { Self::One(first) } else { Self::Several }
    }

    fn only(self) -> Option<u32> {
        match self {
            Self::One(user) => Some(user),
            Self::Root | Self::Several => None,
        }
    }
}

/// Whether a folder has a POSIX access list; also if that cannot be told.
fn has_access_list(opened: &OwnedFd) -> bool {
    // A descriptor for a place alone has no attributes to read; its name of the kernel leads there.
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let mut nothing = [0_u8; 0];
    let found = rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing[..]);
    !matches!(found, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// Opens the last folder of the way that root alone can change, with all folders above it, and takes
/// its parts from `parts`; `None` if there is none.
///
/// Nobody else can put another folder in the place of one of these, so that their attributes are
/// read by their paths: that takes a third of the calls that opening each of them takes.
fn closed_folder(parts: &mut Vec<OsString>) -> Option<OwnedFd> {
    let mut left = parts.clone();
    let is_closed = |path: &[u8]| {
        rustix::fs::lstat(path).is_ok_and(|raw| {
            FileType::from_raw_mode(raw.st_mode) == FileType::Directory
                && raw.st_uid == 0
                && raw.st_mode & 0o022 == 0
        })
    };
    let mut path = b"/".to_vec();
    if !is_closed(&path) {
        return None;
    }
    while let [_, .., next] = left.as_slice() {
        let length = path.len();
        path.extend_from_slice(next.as_bytes());
        if !is_closed(&path) {
            path.truncate(length);
            break;
        }
        path.push(b'/');
        left.pop();
    }
    let flags = PLACE | OFlags::DIRECTORY;
    // Root may have removed the folder since: the walk tells then what is missing.
    let opened = rustix::fs::openat(CWD, path.as_slice(), flags, Mode::empty()).ok()?;
    *parts = left;
    Some(opened)
}

fn is_symlink(raw: &RawStat) -> bool {
    FileType::from_raw_mode(raw.st_mode) == FileType::Symlink
}

fn open_root() -> Result<(OwnedFd, RawStat)> {
    let opened = rustix::fs::openat(CWD, "/", PLACE | OFlags::DIRECTORY, Mode::empty())
        .and_then(|root| rustix::fs::fstat(&root).map(|raw| (root, raw)));
    opened.context(|| "cannot open `/`".to_owned())
}

/// Opens the entry of this name in a folder, for its place alone.
fn open_stat(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<(OwnedFd, RawStat)> {
    let opened = rustix::fs::openat(folder, name, PLACE, Mode::empty())?;
    let raw = rustix::fs::fstat(&opened)?;
    Ok((opened, raw))
}

/// The attributes of the entry of this name in a folder.
pub(super) fn existing(folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<Option<RawStat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(raw) => Ok(Some(raw)),
        // The latter where a process has ended since, whose files these were.
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The parts of a path, the last one first.
fn parts(path: &OsStr) -> impl Iterator<Item = OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".").rev();
    parts.map(|part| OsStr::from_bytes(part).to_owned())
}

fn missing(part: &OsStr, error: Errno) -> Missing {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::SRCH => Missing::Nothing,
        error => Missing::Refused(
            Error::failed(format!("cannot look at `{}`", part.display())).because(error),
        ),
    }
}

/// Refuses the kernel's files about processes: behind a user's symlink, the agent would read those
/// about itself with its own access.
fn refuse_proc(folder: &OwnedFd, part: &OsStr) -> Result<()> {
    if is_proc(folder, part)? {
        return Err(Error::failed("a symlink on the way leads to the files of processes"));
    }
    Ok(())
}

/// Whether a folder holds the kernel's files about processes.
fn is_proc(folder: &OwnedFd, part: &OsStr) -> Result<bool> {
    let system =
        rustix::fs::fstatfs(folder).context(|| format!("cannot look at `{}`", part.display()))?;
    Ok(system.f_type == PROC_MAGIC)
}
