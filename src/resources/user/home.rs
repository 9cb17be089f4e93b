//! Home folders as useradd makes them.

use crate::resources::probe::Probe;

/// The mode that useradd gives to a home folder.
pub(super) fn mode(probe: &dyn Probe) -> u32 {
    let text = probe.read("/etc/login.defs").ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let octal = |name: &str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        u32::from_str_radix(value.trim(), 8).ok()
    };
    octal("HOME_MODE").unwrap_or_else(|| 0o777 & !octal("UMASK").unwrap_or(0o022))
}
