//! Settings of this machine that its labs need: changed by the first lab, put back by the last.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::folder;
use crate::error::{Context as _, Error, Kind, Result};

/// Where the labs of this machine note what they changed. Like the settings themselves the notes do
/// not outlive a boot.
const NOTES: &str = "/run/infra-lab";

/// Held while a lab looks at what other labs have set up, and changes it.
const LOCK: &str = "/run/infra-lab.lock";

/// How long to wait for another lab, which holds the lock for a moment only.
const LOCK_WAIT: Duration = Duration::from_mins(2);

/// How many inotify instances all programs of one user may have. The kernel allows 128; the systemd
/// of one server takes about twenty, and a server with Docker more: a sixth server would not boot.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";

/// Enough for every server that fits into a lab's block of addresses.
const WANTED_INSTANCES: u32 = 32_768;

/// The lock of all labs of this machine, until it is dropped.
pub(super) struct Held {
    _file: File,
}

/// Waits until no other lab changes what all labs share.
///
/// # Errors
/// When another lab holds the lock for too long.
pub(super) fn hold() -> Result<Held> {
    hold_at(Path::new(LOCK), LOCK_WAIT)
}

fn hold_at(path: &Path, wait: Duration) -> Result<Held> {
    let cannot = || format!("cannot lock `{}`", path.display());
    if let Some(folder) = path.parent() {
        folder::create(folder)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .context(cannot)?;
    let end = Instant::now() + wait;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Held { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::new(Kind::Locked, cannot())
                    .because("another `infra lab` holds it")
                    .hint("wait for it to end"));
            }
            Err(error) => return Err(error).context(cannot),
        }
    }
}

/// Changes what labs need; `uplink` is the interface that leads to the world.
///
/// # Errors
/// When a setting without which no server works cannot be changed.
pub(super) fn change(_held: &Held, uplink: Option<&str>) -> Result<()> {
    raise(Path::new(INSTANCES), &Path::new(NOTES).join("inotify"))?;
    uplink.map_or(Ok(()), forward_from)
}

/// Puts back what [`change`] changed.
///
/// # Errors
/// When a setting cannot be changed.
pub(super) fn put_back(_held: &Held) -> Result<()> {
    lower(Path::new(INSTANCES), &Path::new(NOTES).join("inotify"))?;
    stop_forwarding()?;
    folder::remove(Path::new(NOTES))
}

/// Raises a number to what labs want, and notes what it was.
fn raise(setting: &Path, note: &Path) -> Result<()> {
    let before: u32 = read(setting)?.parse().unwrap_or(u32::MAX);
    if before >= WANTED_INSTANCES {
        return Ok(());
    }
    folder::write(note, format!("{before}\n"), 0o644)?;
    // A lab in a server of a lab may not; its few servers come up all the same.
    let _ = fs::write(setting, WANTED_INSTANCES.to_string());
    Ok(())
}

/// Undoes [`raise`], unless somebody has changed the number since.
fn lower(setting: &Path, note: &Path) -> Result<()> {
    let Ok(before) = fs::read_to_string(note) else { return Ok(()) };
    if read(setting)? != WANTED_INSTANCES.to_string() {
        return Ok(());
    }
    fs::write(setting, before.trim()).context(|| format!("cannot set `{}`", setting.display()))
}

fn read(setting: &Path) -> Result<String> {
    let text = fs::read_to_string(setting);
    Ok(text.context(|| format!("cannot read `{}`", setting.display()))?.trim().to_owned())
}

/// The setting that lets packets in from one interface go out of another one.
pub(super) fn forwarding(interface_name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(interface_name).join("forwarding")
}

/// Lets answers through that come in from `uplink`, and notes it where it was not so before.
fn forward_from(uplink: &str) -> Result<()> {
    let path = forwarding(uplink);
    if read(&path)? == "1" {
        return Ok(());
    }
    folder::write(&Path::new(NOTES).join("forwarding"), format!("{uplink}\n"), 0o644)?;
    fs::write(&path, "1").context(|| format!("cannot forward from `{uplink}`"))
}

/// Ends what [`forward_from`] began, unless somebody has asked for forwarding in general since.
fn stop_forwarding() -> Result<()> {
    let Ok(noted) = fs::read_to_string(Path::new(NOTES).join("forwarding")) else { return Ok(()) };
    let uplink = noted.trim();
    let is_general =
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "1");
    let path = forwarding(uplink);
    if is_general || !path.exists() {
        return Ok(());
    }
    fs::write(&path, "0").context(|| format!("cannot stop forwarding from `{uplink}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_raised_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let (setting, note) = (folder.path().join("setting"), folder.path().join("notes/note"));
        let number = |text: &str| fs::write(&setting, text).unwrap();
        number("128\n");
        raise(&setting, &note).unwrap();
        // A second lab finds it raised, and the first value stays noted.
        raise(&setting, &note).unwrap();
        assert_eq!(read(&setting), Ok(WANTED_INSTANCES.to_string()));
        lower(&setting, &note).unwrap();
        assert_eq!(read(&setting).as_deref(), Ok("128"));
        // Somebody else's number stays.
        raise(&setting, &note).unwrap();
        number("70000\n");
        lower(&setting, &note).unwrap();
        assert_eq!(read(&setting).as_deref(), Ok("70000"));
        fs::remove_file(&note).unwrap();
        raise(&setting, &note).unwrap();
        assert!(!note.exists());
        lower(&setting, &note).unwrap();
        assert_eq!(read(&setting).as_deref(), Ok("70000"));
    }

    #[test]
    fn labs_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = hold_at(&path, Duration::ZERO).unwrap();
        let error = hold_at(&path, Duration::from_millis(1)).err().unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot lock `{}`\ncaused by: another `infra lab` holds it\nhint: wait for it to end",
                path.display()
            )
        );
        drop(held);
        assert!(hold_at(&path, Duration::from_mins(1)).is_ok());
    }
}
