//! The file system of the labs, in a sparse file: images and packages stay in there for the next run.
//!
//! A run makes and deletes a million files. Many virtual machines have ext4 without a journal, which
//! looks at each file that was deleted in the last minutes before it makes another one
//! (`recently_deleted` in `fs/ext4/ialloc.c` of Linux): an installation took 29 s there, and 21 s here.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::say;
use super::machine;

/// How much of the free space the labs may fill, in percent. The file takes only what is in use.
const SHARE: u64 = 90;

/// No file system can be smaller for all tests, in bytes.
const LEAST: u64 = 8 << 30;

/// How long something may go on using the labs after the end of all servers.
const STILL_IN_USE: Duration = Duration::from_secs(30);

/// The folder of the mounted file system.
pub(super) fn folder() -> PathBuf {
    machine::labs().join("disk")
}

fn file() -> PathBuf {
    machine::labs().join("disk.ext4")
}

/// Mounts the file system, and makes it before where there is none that can be mounted.
///
/// # Errors
/// The text says why there is none.
pub(super) fn open() -> Result<(), String> {
    let told = |error: std::io::Error| format!("cannot make `{}`: {error}", file().display());
    fs::create_dir_all(folder()).map_err(told)?;
    let space = rustix::fs::statvfs(machine::labs()).map_err(|error| told(error.into()))?;
    let in_use = fs::metadata(file()).map_or(0, |metadata| metadata.blocks() * 512);
    let size = (space.f_bavail * space.f_frsize + in_use) / 100 * SHARE;
    if size < LEAST {
        return Err(format!(
            "`{}` has too little space: {} GiB for the tests, which need {}",
            machine::labs().display(),
            size >> 30,
            LEAST >> 30
        ));
    }
    if is_mounted() {
        return Ok(());
    }
    if is_sound() {
        return mount();
    }
    // There may be none.
    let _ = fs::remove_file(file());
    fs::File::create(file()).and_then(|file| file.set_len(size)).map_err(told)?;
    run(command("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(file()))?;
    mount()
}

/// Whether there is a file system, as it should be or made so now.
fn is_sound() -> bool {
    let check = command("e2fsck").arg("-p").arg(file()).output();
    // 0 and 1: nothing is left to repair (`man e2fsck`).
    check.is_ok_and(|output| matches!(output.status.code(), Some(0 | 1)))
}

fn mount() -> Result<(), String> {
    let options = "loop,noatime,discard,noinit_itable";
    run(command("mount").args(["-o", options]).arg(file()).arg(folder()))?;
    // Without a second copy of all data in memory, where the file system below can do without.
    let device = command("findmnt").args(["-n", "-o", "SOURCE", "--"]).arg(folder()).output();
    if let Ok(found) = device {
        let device = String::from_utf8_lossy(&found.stdout);
        let _ = run(command("losetup").args(["--direct-io=on", "--", device.trim()]));
    }
    Ok(())
}

/// Unmounts the file system.
pub(super) fn close() {
    let end = Instant::now() + STILL_IN_USE;
    // The kernel lets go of the mounts of a machine a moment after its end.
    while let Err(why) = run(command("umount").arg(folder())) {
        if Instant::now() > end {
            say(&format!("the labs are still in use: {why}"));
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_mounted() -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(&folder()).is_some_and(|there| Some(there) != device(&machine::labs()))
}

/// A program that is found without the folders of a login of root, too.
fn command(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
