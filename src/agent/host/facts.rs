//! What the host is, read from `/etc/os-release` and the kernel; nothing is forked.

use std::collections::BTreeMap;

use super::text::escaped;
use crate::resources::Facts;

/// The facts of this machine; what cannot be read is left empty or zero.
pub(super) fn read() -> Facts {
    let text =
        |path: &str| std::fs::read(path).map_or_else(|_| String::new(), |text| escaped(&text));
    let (release, memory) = (text("/etc/os-release"), text("/proc/meminfo"));
    let kernel = rustix::system::uname();
    let release = os_release(&release);
    let field = |name: &str| release.get(name).cloned().unwrap_or_default();
    let version = field("VERSION_ID");
    let os = if version.is_empty() { field("ID") } else { format!("{}-{version}", field("ID")) };
    Facts {
        os,
        codename: field("VERSION_CODENAME"),
        arch: kernel.machine().to_string_lossy().into_owned(),
        hostname: kernel.nodename().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(&memory),
        disk_bytes: rustix::fs::statvfs("/").map_or(0, |disk| disk.f_blocks * disk.f_frsize),
    }
}

fn os_release(text: &str) -> BTreeMap<&str, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.unwrap_or(0_u64) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_release_and_the_memory() {
        let release = os_release("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        assert_eq!(release.get("VERSION_ID").map(String::as_str), Some("12"));
        assert_eq!(memory_bytes("MemTotal:        2014360 kB\nMemFree: 1 kB\n"), 2_062_704_640);
    }
}
