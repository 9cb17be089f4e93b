//! Bonds of a file to its place: further names, and flags that forbid changes.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Statx, StatxAttributes, StatxFlags};

use super::walk::Last;
use super::{find, kind};
use crate::agent::host::accounts::Accounts;
use crate::error::{Context, Result};
use crate::resources::FileKind;
use crate::resources::bonds::{Bonds, Flag};

/// The bonds of the thing at `path`, a symlink itself, and of its folder; none where no folder is.
pub(in crate::agent::host) fn bonds(path: &str, accounts: &Accounts) -> Result<Bonds> {
    let doing = || format!("cannot look at the flags of `{path}`");
    let mut bonds = Bonds::default();
    if let Some((place, _)) = find(path, accounts, Last::Itself)?
        && let Some((opened, raw)) = place.open()?
    {
        let told = told(&opened).context(doing)?;
        if kind(&raw) == FileKind::File {
            bonds.names = u64::from(told.stx_nlink);
        }
        bonds.flag = flag(&told);
    }
    let above = path.trim_end_matches('/').rsplit_once('/').map(|(above, _)| above);
    let above = above.map(|above| if above.is_empty() { "/" } else { above });
    if let Some(above) = above
        && let Some((place, _)) = find(above, accounts, Last::Followed)?
        && let Some((folder, _)) = place.open()?
    {
        bonds.folder = flag(&told(&folder).context(doing)?);
    }
    Ok(bonds)
}

fn told(opened: &OwnedFd) -> rustix::io::Result<Statx> {
    rustix::fs::statx(opened, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK)
}

fn flag(told: &Statx) -> Option<Flag> {
    let has = |flag: StatxAttributes| told.stx_attributes.contains(flag);
    if has(StatxAttributes::IMMUTABLE) {
        Some(Flag::Immutable)
    } else if has(StatxAttributes::APPEND) {
        Some(Flag::AppendOnly)
    } else {
        None
    }
}
