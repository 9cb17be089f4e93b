//! Block devices for servers of the lab: files of this computer behind its loop devices, because a
//! server of the lab may not set up any itself.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::folder;
use super::program::Program;
use crate::error::{Context as _, Error, Result};

/// How large they are. The files are sparse: they take only what is written.
const BYTES: u64 = 2 << 30;

/// The unit that mounts at boot what `/etc/fstab` says: in a container systemd itself leaves block
/// devices out (`systemd-fstab-generator`, where `/sys` is read-only).
const UNIT: &str = "\
[Unit]
Description=Block devices of this server of the lab
DefaultDependencies=no
Conflicts=umount.target
Before=local-fs.target umount.target
ConditionPathExists=/etc/fstab

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/bin/mount --all
";

/// Writes the unit that mounts the devices of a server at boot into its files.
///
/// # Errors
/// When the unit cannot be written.
pub(super) fn mount_at_boot(server_files: &Path) -> Result<()> {
    let units = server_files.join("etc/systemd/system");
    folder::write(&units.join("lab-volumes.service"), UNIT, 0o644)?;
    let wanted = units.join("local-fs.target.wants");
    folder::create(&wanted)?;
    let link = wanted.join("lab-volumes.service");
    symlink("../lab-volumes.service", &link)
        .context(|| format!("cannot make the link `{}`", link.display()))
}

/// Makes the file if it is not there, and returns the loop device that stands for it.
///
/// # Errors
/// When this computer has no loop devices.
pub(super) fn attach(file: &Path) -> Result<PathBuf> {
    let context = || format!("cannot make `{}`", file.display());
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(file);
    open.and_then(|file| file.set_len(BYTES)).context(context)?;
    if let Some(device) = devices(file)?.into_iter().next() {
        return Ok(device);
    }
    let device = losetup(&["--find", "--show", "--"], file)?;
    let device = device.trim();
    if device.starts_with("/dev/loop") {
        return Ok(PathBuf::from(device));
    }
    Err(Error::failed(format!("`losetup` gave no device for `{}`", file.display())))
}

/// Lets go of the loop devices that stand for the file, and of no others.
///
/// # Errors
/// When one is in use.
pub(super) fn detach(file: &Path) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    for device in devices(file)? {
        losetup(&["--detach"], &device)?;
    }
    Ok(())
}

/// The loop devices that stand for a file, as the kernel says.
fn devices(file: &Path) -> Result<Vec<PathBuf>> {
    let listing = losetup(&["--noheadings", "--output=NAME", "--associated"], file)?;
    Ok(listing.lines().map(|line| PathBuf::from(line.trim())).collect())
}

fn losetup(options: &[&str], path: &Path) -> Result<String> {
    let words = ["losetup"].iter().chain(options).map(OsStr::new);
    Program::new(words.chain([path.as_os_str()])).run()
}
