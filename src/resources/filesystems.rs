//! Mounted file systems by their numbers: one file that is reached at several paths, because its device
//! or its folder is mounted at several places.

use std::collections::BTreeSet;

use super::lines;
use super::names::{Names, is_in};
use super::probe::Probe;
use crate::octal;

/// The table of all mounts, each with the folder of its file system that it shows (`proc_pid_mountinfo(5)`).
const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    /// The number of the file system, such as `8:1`.
    number: String,
    /// The folder of the file system that it shows; `/` for all of it.
    root: String,
    /// Where.
    pub(super) target: String,
    /// A device, a remote file system, or a word such as `tmpfs`.
    source: String,
}

/// A mount that is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Where.
    pub(super) target: String,
    /// The folder that it shows.
    pub(super) source: Source,
}

/// The folder that a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of the server (`bind`).
    Folder(String),
    /// A folder of the file system on a device: `/`, or a subvolume.
    Device {
        /// The device.
        device: String,
        /// The path on that file system.
        folder: String,
    },
}

/// All mounts, in the order in which they were made.
pub(super) fn read(probe: &dyn Probe) -> Vec<Mounted> {
    let table = probe.read(MOUNTINFO).ok().flatten().unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| parse(&lines::readable(line))).collect()
}

/// A line such as `36 35 8:1 /srv /mnt rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &str) -> Option<Mounted> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let number = fields.next()?.to_owned();
    let (root, target) = (octal::unescape(fields.next()?), octal::unescape(fields.next()?));
    let source = octal::unescape(filesystem.split(' ').nth(1)?);
    Some(Mounted { number, root, target, source })
}

impl Mounted {
    /// The path on its file system of what is `below` its place.
    fn on_disk(&self, below: &str) -> String {
        format!("{}:{}", self.number, join(&self.root, below))
    }
}

/// Whether each file system is mounted at one place.
pub(super) fn are_apart(mounted: &[Mounted]) -> bool {
    let numbers: BTreeSet<&str> = mounted.iter().map(|mount| mount.number.as_str()).collect();
    numbers.len() == mounted.len()
}

/// The path on its file system of what is at `place`, such as `8:1:/srv/data`: the same for all paths that lead
/// to one thing. `None` where nothing is known.
pub(super) fn on_disk(place: &str, mounted: &[Mounted]) -> Option<String> {
    let top = over(place, mounted)?;
    Some(top.on_disk(below(place, &top.target)?))
}

/// The mount that `place` is on; of several at one place, the last one is on top.
pub(super) fn over<'a>(place: &str, mounted: &'a [Mounted]) -> Option<&'a Mounted> {
    let over = mounted.iter().filter(|mount| is_in(place, &mount.target));
    over.max_by_key(|mount| mount.target.len())
}

/// The path at which what a mount to come shows is now.
pub(super) fn place_of(source: &Source, mounted: &[Mounted], names: &Names<'_>) -> Option<String> {
    let (device, folder) = match source {
        Source::Folder(path) => return Some(names.target(path)),
        Source::Device { device, folder } => (self::device(device, names), folder),
    };
    let is_of = |mount: &&Mounted| {
        is_in(folder, &mount.root)
            && mount.source.contains('/')
            && self::device(&mount.source, names) == device
    };
    let nearest = mounted.iter().filter(is_of).max_by_key(|mount| mount.root.len())?;
    Some(join(&nearest.target, below(folder, &nearest.root)?))
}

/// The end of `place` that is below `folder`.
pub(super) fn below<'a>(place: &'a str, folder: &str) -> Option<&'a str> {
    place.strip_prefix(folder.trim_end_matches('/'))
}

/// The path of `below` in `folder`.
pub(super) fn join(folder: &str, below: &str) -> String {
    let path = format!("{}{below}", folder.trim_end_matches('/'));
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The device node that a source means: links and `UUID=…` are followed. A source that is no
/// device is returned as it is.
pub(super) fn device(source: &str, names: &Names<'_>) -> String {
    let by = source.split_once('=').and_then(|(tag, value)| {
        let folder = match tag {
            "UUID" => "by-uuid",
            "LABEL" => "by-label",
            "PARTUUID" => "by-partuuid",
            "PARTLABEL" => "by-partlabel",
            _ => return None,
        };
        Some(format!("/dev/disk/{folder}/{}", as_link(value.trim_matches('"'))))
    });
    let path = by.unwrap_or_else(|| source.to_owned());
    let is_device = path.starts_with("/dev/");
    if is_device { names.target(&path) } else { path }
}

/// The name of the link that udev makes for a label (`encode_devnode_name` of systemd): other bytes than
/// these are written as `\x20`.
fn as_link(label: &str) -> String {
    label.chars().fold(String::new(), |link, c| {
        let is_kept = c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
        if is_kept { format!("{link}{c}") } else { format!("{link}\\x{:02x}", u32::from(c)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:16 / /mnt/one rw - ext4 /dev/sdb rw
31 22 8:1 /srv/my\\040data /mnt/bound rw - ext4 /dev/sda1 rw
32 22 8:16 / /mnt/two rw master:4 - ext4 /dev/sdb rw
";

    #[test]
    fn one_file_has_one_path_on_its_disk() {
        let mounted: Vec<Mounted> = TABLE.lines().filter_map(parse).collect();
        let on_disk = |place: &str| on_disk(place, &mounted).unwrap();
        for (place, path) in [
            ("/mnt/one/a", "8:16:/a"),
            ("/mnt/two/a", "8:16:/a"),
            ("/mnt/two", "8:16:/"),
            ("/mnt/bound/a", "8:1:/srv/my data/a"),
            ("/srv/my data/a", "8:1:/srv/my data/a"),
            ("/mnt/bounded/a", "8:1:/mnt/bounded/a"),
            ("/", "8:1:/"),
        ] {
            assert_eq!(on_disk(place), path);
        }
        assert!(is_in("8:16:/a", "8:16:/") && !is_in("8:1:/a", "8:16:/"));
        assert!(are_apart(&mounted[..2]) && !are_apart(&mounted));
    }

    #[test]
    fn a_label_is_found_under_the_name_of_its_link() {
        for (label, link) in [
            ("data", "data"),
            ("my data", "my\\x20data"),
            ("a/b\\c", "a\\x2fb\\x5cc"),
            ("été#1", "été#1"),
        ] {
            assert_eq!(as_link(label), link);
        }
    }
}
