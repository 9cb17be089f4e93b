//! A control group for each machine, on hosts without systemd.
//!
//! There systemd-nspawn puts a machine below its own control group, always under the same name.
//! Two machines started from one place would share it, and the systemd of each would take the
//! other's processes for its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::folder;
use crate::error::{Context as _, Result};

/// Where systemd of the host would keep its own groups; it makes one for each machine itself.
const SYSTEMD: &str = "/run/systemd/system";

/// Beginning of the names of the groups.
const PREFIX: &str = "infra-lab-";

/// One tree of control groups.
#[derive(Debug, PartialEq, Eq)]
struct Tree {
    mount: PathBuf,
    /// How `/proc/self/cgroup` names it: empty for version 2, `name=systemd` for the one of
    /// version 1 in which systemd tracks processes.
    name: &'static str,
}

/// Whether the machines on this host need groups made by us.
pub(super) fn are_ours() -> bool {
    !Path::new(SYSTEMD).exists()
}

/// This process in the group of a machine; what it starts in the meantime stays there. Dropped,
/// it goes back.
pub(super) struct Entered {
    /// The files that take the process back.
    back: Vec<PathBuf>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        for path in &self.back {
            // Nothing depends on the group of this process; it would hold the group of the
            // machine for as long as it runs.
            let _ = fs::write(path, "0");
        }
    }
}

/// Creates the group of `machine` and enters it.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn enter(machine: &str) -> Result<Entered> {
    let own = fs::read_to_string("/proc/self/cgroup")
        .context(|| "cannot read the control group".into())?;
    let mut entered = Entered { back: Vec::new() };
    for tree in trees()? {
        let group = tree.mount.join(format!("{PREFIX}{machine}"));
        folder::create(&group)?;
        let own = own_group(&own, tree.name).unwrap_or_default();
        let path = group.join("cgroup.procs");
        fs::write(&path, "0").context(|| format!("cannot write `{}`", path.display()))?;
        entered.back.push(tree.mount.join(own).join("cgroup.procs"));
    }
    Ok(entered)
}

/// Removes the group of `machine`, which has ended, and those that its systemd has left.
///
/// # Errors
/// When a process is still in it.
pub(super) fn remove(machine: &str) -> Result<()> {
    for tree in trees()? {
        let group = tree.mount.join(format!("{PREFIX}{machine}"));
        if group.exists() {
            remove_tree(&group).context(|| format!("cannot remove `{}`", group.display()))?;
        }
    }
    Ok(())
}

/// The files in a group belong to the kernel: only folders can be removed, innermost first.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn trees() -> Result<Vec<Tree>> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context(|| "cannot read the mounts".into())?;
    Ok(parse_trees(&table))
}

/// From lines such as `30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw`.
fn parse_trees(table: &str) -> Vec<Tree> {
    let parse = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mount = PathBuf::from(mount.split(' ').nth(4)?);
        let mut words = kind.split(' ');
        let name = match words.next()? {
            "cgroup2" => "",
            "cgroup" if words.nth(1)?.split(',').any(|option| option == "name=systemd") => {
                "name=systemd"
            }
            _ => return None,
        };
        Some(Tree { mount, name })
    };
    table.lines().filter_map(parse).collect()
}

/// The group in the tree called `name`, relative to the root of the tree.
fn own_group<'a>(groups: &'a str, name: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        (controllers == name).then(|| path.trim_start_matches('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_trees_that_systemd_uses() {
        let table = "25 24 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n\
            26 25 0:23 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
            27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            28 25 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(
            parse_trees(table),
            [
                Tree { mount: "/sys/fs/cgroup/unified".into(), name: "" },
                Tree { mount: "/sys/fs/cgroup/systemd".into(), name: "name=systemd" },
            ]
        );
    }

    #[test]
    fn finds_its_own_group() {
        let groups = "9:name=systemd:/user/1\n4:memory:/a:b\n0::/supervisor\n";
        assert_eq!(own_group(groups, ""), Some("supervisor"));
        assert_eq!(own_group(groups, "name=systemd"), Some("user/1"));
        assert_eq!(own_group(groups, "memory"), Some("a:b"));
        assert_eq!(own_group("", ""), None);
    }
}
