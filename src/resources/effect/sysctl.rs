//! The settings of the kernel at boot, as systemd-sysctl makes them of the files of sysctl.d(5).
//!
//! - The files of four folders are read in the order of their names; of two with one name, that of
//!   the first folder counts, also as a link to `/dev/null`.
//! - Of two lines with one key, the last one counts. A key with a `-` before it and no value is left
//!   as it is.
//! - A pattern such as `net.ipv4.conf.*.rp_filter` sets no key that has a line of its own, wherever
//!   that stands.

use std::collections::BTreeMap;

use super::Origin;
use crate::error::{Error, Result};
use crate::resources::names::bytes;
use crate::resources::probe::Probe;

/// The folders, the one that counts most first.
const FOLDERS: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// The file that is read only where a link in one of the folders leads to it.
pub(super) const OLD_FILE: &str = "/etc/sysctl.conf";

/// The link to it that Debian 12 has.
const OLD_LINK: &str = "/etc/sysctl.d/99-sysctl.conf";

/// The beginnings of the names of infra's own files, each of which sets one key, which ends its name.
const OWN: [&str; 2] = ["60-infra-", "zz-infra-"];

/// Two names of one setting in the kernel: whoever writes one writes the other.
const SAME: [(&str, &str); 1] = [("net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding")];

/// A line that sets a key at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resources) struct AtBoot {
    /// The value, with one space between its parts; `None` where the line leaves the key alone.
    pub(in crate::resources) value: Option<String>,
    /// The line.
    pub(in crate::resources) origin: Origin,
}

/// The line that counts for `key` among the files whose names do not sort before `from`.
///
/// # Errors
/// If one of the files cannot be read.
pub(in crate::resources) fn at_boot(
    key: &str,
    from: &str,
    probe: &dyn Probe,
) -> Result<Option<AtBoot>> {
    let wanted = one_name(path_of(key));
    let own_end = format!("-{}.conf", key.replace('/', "."));
    let is_of_another = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        OWN.iter().any(|beginning| name.starts_with(beginning)) && !name.ends_with(&own_end)
    };
    let mut found = None;
    let files = files(probe)?;
    let files = files.range(bytes(from).into_owned()..).map(|(_, path)| path);
    for path in files.filter(|path| !is_of_another(path)) {
        // A file that is no regular one, such as `/dev/null`, sets nothing.
        let content = probe.read(path)?.unwrap_or_default();
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line);
            let Some((key, value)) = setting(&line) else { continue };
            if one_name(path_of(key)) == wanted {
                let origin = Origin { path: path.clone(), line: index + 1 };
                found = Some(AtBoot { value, origin });
            }
        }
    }
    Ok(found)
}

/// Refuses the file at `path` with this `text` where a file that sorts behind it sets one of its
/// keys to another value.
pub(super) fn check_file(path: &str, text: &str, probe: &dyn Probe) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let behind = format!("{name}\0");
    let says_nothing = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', ';']) && setting(line).is_none()
    };
    if let Some(index) = text.lines().position(says_nothing) {
        let message = format!("systemd-sysctl passes over line {} of `{path}`", index + 1);
        return Err(Error::failed(message).hint("write `key = value`"));
    }
    for (key, value) in text.lines().filter_map(setting) {
        let Some(line) = at_boot(key, &behind, probe)? else { continue };
        if line.value != value {
            let value = line.value.unwrap_or_else(|| "nothing".to_owned());
            let message =
                format!("{} sets `{key}` to `{value}` at boot, after `{path}`", line.origin);
            return Err(Error::failed(message)
                .hint("take that line away, or declare a `sysctl`, which counts at boot"));
        }
    }
    Ok(())
}

/// Refuses a `line` of the file at `path` that does not give the value at boot.
pub(super) fn check_line(path: &str, line: &str, probe: &dyn Probe) -> Result<()> {
    let Some((key, value)) = setting(line).filter(|(key, _)| !key.contains(['*', '?', '['])) else {
        return Ok(());
    };
    let against = match at_boot(key, "", probe)? {
        Some(line) if line.value == value => return Ok(()),
        Some(line) => {
            let value = line.value.unwrap_or_else(|| "nothing".to_owned());
            format!("{} sets `{key}` to `{value}` at boot, not `{path}`", line.origin)
        }
        None => format!("nothing sets `{key}` at boot: systemd-sysctl does not read `{path}`"),
    };
    Err(Error::failed(against).hint("declare a `sysctl` instead, which counts at boot"))
}

/// Where a key is below `/proc/sys`. The first separator tells which one is written: after a dot, a
/// slash stands for a dot in a name.
pub(in crate::resources) fn path_of(key: &str) -> String {
    let is_dotted = key.find(['.', '/']).is_none_or(|index| key[index..].starts_with('.'));
    if !is_dotted {
        return key.to_owned();
    }
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    key.chars().map(other).collect()
}

/// A value with one space between its parts: the kernel separates them by tabs, people by spaces.
pub(in crate::resources) fn spaced(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn one_name(path: String) -> String {
    let same = SAME.iter().find(|(_, other)| *other == path);
    same.map_or(path, |(name, _)| (*name).to_owned())
}

/// The key of a line and its value, where the line has both or leaves a key alone.
fn setting(line: &str) -> Option<(&str, Option<String>)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    match line.split_once('=') {
        Some((key, value)) => {
            let key = key.trim();
            Some((key.strip_prefix('-').unwrap_or(key), Some(spaced(value))))
        }
        None => line.strip_prefix('-').map(|key| (key, None)),
    }
}

/// The paths of the files that are read, by the bytes of their names.
fn files(probe: &dyn Probe) -> Result<BTreeMap<Vec<u8>, String>> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        let names = probe.list(folder)?.unwrap_or_default();
        let is_read = |name: &String| name.strip_suffix(".conf").is_some();
        for name in names.into_iter().filter(is_read) {
            let path = format!("{folder}/{name}");
            // A preview knows what a file will hold, not where a link leads.
            let target = if path == OLD_LINK { probe.read_link(&path)? } else { None };
            let is_old =
                target.is_some_and(|to| ["../sysctl.conf", OLD_FILE].contains(&to.as_str()));
            let path = if is_old { OLD_FILE.to_owned() } else { path };
            files.entry(bytes(&name).into_owned()).or_insert(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_tells_what_the_others_mean() {
        for (key, path) in [
            ("vm.swappiness", "vm/swappiness"),
            ("net/ipv4/conf/eth0.5/forwarding", "net/ipv4/conf/eth0.5/forwarding"),
            ("net.ipv4.conf.eth0/5.forwarding", "net/ipv4/conf/eth0.5/forwarding"),
        ] {
            assert_eq!(path_of(key), path);
        }
    }

    #[test]
    fn reads_a_line_as_systemd_does() {
        for (line, read) in [
            ("vm.swappiness=10", Some(("vm.swappiness", Some("10")))),
            ("  -vm.swappiness = 10 \r", Some(("vm.swappiness", Some("10")))),
            ("-vm.swappiness", Some(("vm.swappiness", None))),
            ("vm.swappiness 10", None),
            ("# vm.swappiness = 10", None),
            ("; vm.swappiness = 10", None),
        ] {
            let read = read.map(|(key, value)| (key, value.map(str::to_owned)));
            assert_eq!(setting(line), read, "{line}");
        }
    }
}
