//! Options of mounts that are in force, beside those that are asked for.

use super::Mount;
use crate::error::{Error, Result};

/// Options that every file system knows, each with the one that lifts it (mount(8)).
const OPPOSITES: [(&str, &str); 7] = [
    ("ro", "rw"),
    ("noexec", "exec"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("noatime", "atime"),
    ("nodiratime", "diratime"),
    ("sync", "async"),
];

/// Options that bring `nosuid` and `nodev` with them, and mostly `noexec` (mount(8)).
const OF_USERS: [&str; 4] = ["user", "users", "owner", "group"];

/// Types of file systems that nobody can write to.
const READ_ONLY: [&str; 4] = ["erofs", "iso9660", "squashfs", "udf"];

/// The subvolume of btrfs that `options` name, as a path on its file system (btrfs(5)).
pub(super) fn subvolume(options: &str) -> Option<String> {
    let words = options.rsplit(',').filter_map(|word| word.strip_prefix("subvol="));
    words.map(|path| format!("/{}", path.trim_matches('/'))).next()
}

/// Refuses a place that shows another subvolume, which no remount changes.
pub(super) fn check_subvolume(mount: &Mount, in_force: &str) -> Result<()> {
    let wanted = subvolume(&mount.options).filter(|_| mount.fstype == "btrfs");
    let Some((wanted, shown)) = wanted.zip(subvolume(in_force)) else { return Ok(()) };
    if wanted == shown {
        return Ok(());
    }
    let message = format!("`{}` shows the subvolume `{shown}`, not `{wanted}`", mount.path);
    Err(Error::failed(message).hint("unmount it, or correct `options`"))
}

/// The options of a remount: those that are asked for, behind the opposites of those that are in force and
/// that nobody asks for any more. A remount changes nothing else.
pub(super) fn of_remount(before: &str, wanted: &str) -> String {
    let wanted_words: Vec<&str> = wanted.split(',').collect();
    let lifted = OPPOSITES.iter().filter(|(option, opposite)| {
        let is_said = wanted_words.contains(option) || wanted_words.contains(opposite);
        before.split(',').any(|known| known == *option) && !is_said
    });
    let lifted: Vec<&str> = lifted.map(|(_, opposite)| *opposite).collect();
    lifted.into_iter().chain(wanted_words.iter().copied()).collect::<Vec<_>>().join(",")
}

/// The options in force that `mount` asks to be otherwise, joined by commas.
pub(super) fn otherwise(mount: &Mount, in_force: &str) -> Option<String> {
    let is_read_only = READ_ONLY.contains(&mount.fstype.as_str());
    let is_of_users = OF_USERS.iter().any(|option| mount.has(option));
    let mut words = Vec::new();
    for (option, opposite) in OPPOSITES {
        if option == "ro" && is_read_only {
            continue;
        }
        let is_set = in_force.split(',').any(|known| known == option);
        // The last word on it counts.
        let mut said = mount.options.rsplit(',');
        let wanted = said.find(|word| *word == option || *word == opposite);
        match wanted {
            Some(word) if word == option && !is_set => words.push(opposite),
            Some(word) if word == opposite && is_set => words.push(option),
            // A folder that is shown elsewhere has the options of its file system.
            None if is_set && !mount.is_bind() && !is_of_users => words.push(option),
            _ => {}
        }
    }
    let values = mount.options.split(',').filter_map(|word| word.split_once('='));
    let values = values.filter_map(|(key, value)| other_value(mount, key, value, in_force));
    let words: Vec<String> = words.into_iter().map(str::to_owned).chain(values).collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// The option of this key that is in force, where it has another value: those of tmpfs that are numbers (tmpfs(5)).
fn other_value(mount: &Mount, key: &str, wanted: &str, in_force: &str) -> Option<String> {
    if mount.fstype != "tmpfs" || !matches!(key, "mode" | "size" | "nr_inodes") {
        return None;
    }
    let is_key = |word: &&str| word.split_once('=').is_some_and(|(known, _)| known == key);
    let word = in_force.rsplit(',').find(is_key)?;
    let (_, value) = word.split_once('=')?;
    let number = if key == "mode" { |text: &str| u64::from_str_radix(text, 8).ok() } else { size };
    let is_other = number(wanted).zip(number(value)).is_some_and(|(wanted, now)| wanted != now);
    is_other.then(|| word.to_owned())
}

/// A number with `k`, `m` or `g` behind it; `None` for a share of the memory.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The options that say how a place is mounted, whatever is asked for: of those in force, the ones that are compared.
pub(super) fn traced(listed: &str, in_force: &str) -> String {
    let is_compared = |word: &&str| {
        let key = word.split('=').next().unwrap_or_default();
        OPPOSITES.iter().any(|(option, _)| option == word)
            || matches!(key, "mode" | "size" | "nr_inodes" | "subvol")
    };
    let words: Vec<&str> = in_force.split(',').filter(is_compared).collect();
    format!("{listed} ({})", words.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::Mounted;
    use super::*;
    use crate::resources::fields::AbsolutePath;

    #[test]
    fn what_nobody_asks_for_any_more_is_lifted() {
        for (before, wanted, options) in [
            ("ro,relatime", "bind", "rw,bind"),
            ("ro,nosuid,nodev", "bind,nodev", "rw,suid,bind,nodev"),
            ("rw,noexec", "size=5m,noexec", "size=5m,noexec"),
            ("ro", "rw", "rw"),
            ("rw", "defaults", "defaults"),
        ] {
            assert_eq!(of_remount(before, wanted), options);
        }
    }

    #[test]
    fn options_in_force_are_compared() {
        for (fstype, wanted, in_force, words) in [
            ("ext4", "defaults", "rw,relatime", None),
            ("ext4", "defaults", "ro,relatime", Some("ro")),
            ("ext4", "defaults,noexec,nosuid", "rw,relatime", Some("exec,suid")),
            ("ext4", "noexec", "rw,noexec,noatime", Some("noatime")),
            ("ext4", "noexec,exec", "rw", None),
            ("ext4", "noauto,user", "rw,nosuid,nodev,noexec", None),
            ("squashfs", "defaults", "ro,relatime", None),
            ("none", "bind", "ro,nosuid", None),
            ("none", "bind,ro", "rw,nosuid", Some("rw")),
            ("none", "bind,rw", "ro", Some("ro")),
        ] {
            let (options, fstype) = (wanted.to_owned(), fstype.to_owned());
            let (path, device) = (AbsolutePath::fixed("/mnt"), "/dev/sdb".to_owned());
            let mount = Mount { path, device, fstype, options, state: Mounted::Mounted };
            assert_eq!(otherwise(&mount, in_force).as_deref(), words, "{wanted}: {in_force}");
        }
    }
}
