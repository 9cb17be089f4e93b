//! Block devices for servers of the lab: files of this computer behind its loop devices, because a
//! server of the lab may not set up any itself.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::folder;
use super::program::Program;
use crate::error::{Context as _, Error, Result};

/// How large they are. The files are sparse: they take only what is written.
const BYTES: u64 = 2 << 30;

/// The program in a server that has its volumes mounted when the server starts.
pub(super) const GENERATOR: &str = "usr/local/lib/systemd/system-generators/lab-volumes";

/// In a container, systemd itself ignores the devices in fstab.
pub(super) const GENERATOR_TEXT: &str = r#"#!/bin/sh
[ -e /etc/fstab ] || exit 0
while read -r device place type options rest || [ -n "$device" ]; do
    case $device in /dev/*) ;; *) continue ;; esac
    # systemd-escape does not know the escapes of fstab.
    case $place in *\\*) continue ;; esac
    [ -b "$device" ] && [ "$type" != swap ] || continue
    case ",$options," in *,noauto,*) continue ;; esac
    unit=$(systemd-escape --path --suffix=mount "$place") || continue
    mkdir -p "$1/local-fs.target.wants"
    printf '[Unit]\nBefore=local-fs.target\n\n[Mount]\nWhat=%s\nWhere=%s\nType=%s\nOptions=%s\n' \
        "$device" "$place" "$type" "$options" > "$1/$unit"
    ln -sf "../$unit" "$1/local-fs.target.wants/$unit"
done < /etc/fstab
"#;

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

/// Lets go of the loop devices that stand for the file, and of no others, and waits until they are
/// free: the kernel keeps a device for as long as somebody uses it, and does not say so.
///
/// # Errors
/// When one stays in use.
pub(super) fn detach(file: &Path) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let end = Instant::now() + folder::STILL_IN_USE;
    loop {
        let devices = devices(file)?;
        let Some(first) = devices.first() else { return Ok(()) };
        if Instant::now() > end {
            return Err(Error::failed(format!("cannot let go of `{}`", first.display()))
                .because(format!("a program still uses it for `{}`", file.display())));
        }
        for device in &devices {
            // The next look says whether that was enough.
            let _ = losetup(&["--detach"], device);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
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
