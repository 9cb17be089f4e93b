//! Attributes of a file beside content, owner and mode: an access list, and extended attributes.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{IFlags, OFlags, Stat as RawStat, XattrFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use super::walk::{Ground, Last, Place};
use super::{Opened, find, kind};
use crate::agent::host::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::resources::FileKind;

/// The attribute in which Linux keeps the access list of a file.
pub(super) const ACCESS_LIST: &str = "system.posix_acl_access";

/// Attributes over the content of a file, which another content makes void.
const SEALS: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// The most that Linux keeps in one attribute, and in the list of their names, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// The flags of chattr(1) that a new file in the place of another one takes over. Those that forbid
/// changes are told before anything is changed, and others can be set while a file is empty only.
const KEPT: IFlags = IFlags::NOATIME
    .union(IFlags::NODUMP)
    .union(IFlags::SYNC)
    .union(IFlags::SECURE_REMOVAL)
    .union(IFlags::UNRM)
    .union(IFlags::JOURNALING)
    .union(IFlags::NOTAIL);

/// The access list, the attributes and the flags of a file.
pub(super) struct Extended {
    /// By name.
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    flags: IFlags,
}

impl Extended {
    /// The attributes that a file of `user` takes over from the file `before`, in whose place it is put; `None` where
    /// somebody else may have given the old file its attributes.
    pub(super) fn kept(
        place: &Place,
        before: &RawStat,
        user: u32,
        accounts: &Accounts,
    ) -> Result<Option<Self>> {
        let is_trusted = match place.ground {
            // An owner of before may have let others in.
            Ground::Root => before.st_uid == user || before.st_uid == 0,
            Ground::Shared { by: Some(by) } => {
                before.st_uid == by && user == by && before.st_nlink == 1
            }
            Ground::Shared { by: None } | Ground::Sticky | Ground::Of(_) => false,
        };
        if !is_trusted {
            return Ok(None);
        }
        let doing = || "cannot read the attributes of the file that is there".to_owned();
        let (opened, _) = place.reopen(before, OFlags::empty(), accounts)?.context(doing)?;
        let mut all = Self::of(&opened).context(doing)?;
        if place.ground != Ground::Root {
            all.keep_those_of_users();
        }
        Ok(Some(all))
    }

    /// The attributes that a copy of this file is to have.
    pub(super) fn copied(source: &Opened) -> rustix::io::Result<Self> {
        let mut all = Self::of(&source.file)?;
        if source.ground != Ground::Root {
            all.keep_those_of_users();
        }
        Ok(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.flags.is_empty()
    }

    /// Only root may give the others, and did not give them to whatever is here by now.
    fn keep_those_of_users(&mut self) {
        self.attributes
            .retain(|(name, _)| name == ACCESS_LIST.as_bytes() || name.starts_with(b"user."));
    }

    /// The attributes of an open file.
    fn of(file: impl AsFd + Copy) -> rustix::io::Result<Self> {
        let mut names = vec![0; MOST_BYTES];
        let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
            // The file system has none.
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        names.truncate(length);
        let mut value = vec![0; MOST_BYTES];
        let mut all = Vec::new();
        for name in names.split(|byte| *byte == 0) {
            if name.is_empty() || SEALS.contains(&name) {
                continue;
            }
            match rustix::fs::fgetxattr(file, name, value.as_mut_slice()) {
                Ok(length) => {
                    all.push((name.to_vec(), value.get(..length).unwrap_or_default().to_vec()));
                }
                // Gone since it was listed.
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { attributes: all, flags: flags(file)? & KEPT })
    }

    /// Gives an open file the same.
    pub(super) fn set_on(&self, file: impl AsFd + Copy) -> Result<()> {
        for (name, value) in &self.attributes {
            rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()).map_err(
                |error| {
                    let name = OsStr::from_bytes(name).display();
                    Error::failed(format!("cannot keep the attribute `{name}` of the file"))
                        .because(error)
                },
            )?;
        }
        if !self.flags.is_empty() {
            let set = flags(file).and_then(|own| ioctl_setflags(file, own | self.flags));
            set.context(|| "cannot keep the flags of the file, see chattr(1)".to_owned())?;
        }
        Ok(())
    }
}

/// The access list and the attributes of the regular file at `path`, by name; none where others than root
/// can put a file there.
pub(in crate::agent::host) fn read(
    path: &str,
    accounts: &Accounts,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let opened = opened(path, accounts)?;
    let all = opened.map(|file| Extended::of(&file)).transpose();
    let all = all.context(|| format!("cannot read the attributes of `{path}`"))?;
    Ok(all.map(|all| all.attributes).unwrap_or_default())
}

/// Gives the file at `path` these attributes, where [`read`] would read them.
pub(in crate::agent::host) fn give(
    path: &str,
    attributes: &[(Vec<u8>, Vec<u8>)],
    accounts: &Accounts,
) -> Result<()> {
    let Some(file) = opened(path, accounts)? else { return Ok(()) };
    let all = Extended { attributes: attributes.to_vec(), flags: IFlags::empty() };
    all.set_on(&file).map_err(|error| error.context(format!("cannot put back `{path}` as it was")))
}

/// The regular file at `path`, if root alone can have put it there.
fn opened(path: &str, accounts: &Accounts) -> Result<Option<OwnedFd>> {
    let Some((place, _)) = find(path, accounts, Last::Itself)? else { return Ok(None) };
    let Some((_, raw)) = place.open()? else { return Ok(None) };
    if place.ground != Ground::Root || kind(&raw) != FileKind::File {
        return Ok(None);
    }
    let opened = place.reopen(&raw, OFlags::empty(), accounts)?;
    Ok(Some(opened.context(|| format!("cannot open `{path}`"))?.0))
}

/// The flags of an open file; none where its file system has none.
fn flags(file: impl AsFd) -> rustix::io::Result<IFlags> {
    match ioctl_getflags(file) {
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(IFlags::empty()),
        flags => flags,
    }
}
