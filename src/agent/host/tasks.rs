//! The processes of a user, as `userdel` and `usermod` look for them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Context, Result};
use crate::resources::names::escaped;
use crate::resources::probe::UserProcess;

use super::facts;

/// The processes of which the real, effective or saved number of the user is `uid`. Those with another
/// root folder, such as those of a container, are not the host's.
///
/// # Errors
/// If the host does not show its processes.
pub(super) fn of(uid: u32) -> Result<Vec<UserProcess>> {
    let folder = std::fs::read_dir("/proc").context(|| "cannot read `/proc`".to_owned())?;
    let numbers = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let root = root_of(Path::new("/"));
    let mut processes: Vec<UserProcess> =
        numbers.filter_map(|pid| process(pid, uid, root)).collect();
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

/// The process `pid`, if it is the user's. A process that ends meanwhile is nobody's.
fn process(pid: u32, uid: u32, root: Option<(u64, u64)>) -> Option<UserProcess> {
    let status = std::fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = escaped(&status);
    if !users(&status).contains(&uid) {
        return None;
    }
    let own_root = root_of(Path::new(&format!("/proc/{pid}/root/")));
    if own_root.is_some() && own_root != root {
        return None;
    }
    let cgroup = std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let name = status.lines().find_map(|line| line.strip_prefix("Name:"));
    Some(UserProcess {
        pid,
        name: name.unwrap_or_default().trim().to_owned(),
        unit: facts::unit_of(&String::from_utf8_lossy(&cgroup)),
    })
}

/// The real, effective and saved user in the status of a process.
fn users(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let numbers = line.unwrap_or_default().split_whitespace().take(3);
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// The device and number of a folder.
fn root_of(path: &Path) -> Option<(u64, u64)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_processes_of_a_user() {
        let own = rustix::process::getuid().as_raw();
        let found = of(own).unwrap();
        assert!(found.iter().any(|process| process.pid == std::process::id()));
        assert_eq!(of(u32::MAX - 7).unwrap(), []);
    }

    #[test]
    fn a_user_that_a_process_can_become_again_counts() {
        let status = "Name:\tsu\nUid:\t1000\t0\t2000\t3000\nGid:\t7\t7\t7\t7\n";
        assert_eq!(users(status), [1000, 0, 2000]);
        assert!(users("Name:\tsu\n").is_empty());
    }
}
