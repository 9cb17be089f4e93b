//! What the host is, read from `/etc/os-release` and the kernel; nothing is forked.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use crate::error::{Error, Result};
use crate::resources::Facts;
use crate::resources::names::escaped;
use crate::resources::probe::WayIn;

/// Where the release is told; the second is a system's own, which an administrator's stands before.
const RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The facts of this machine.
///
/// # Errors
/// When its release or its memory cannot be read.
pub(super) fn read() -> Result<Facts> {
    let release = first_of(&RELEASES)?;
    let memory = first_of(&["/proc/meminfo"])?;
    let kernel = rustix::system::uname();
    let release = os_release(&release);
    let field = |name: &str| release.get(name).cloned().unwrap_or_default();
    let version = field("VERSION_ID");
    let os = if version.is_empty() { field("ID") } else { format!("{}-{version}", field("ID")) };
    Ok(Facts {
        os,
        codename: field("VERSION_CODENAME"),
        arch: kernel.machine().to_string_lossy().into_owned(),
        hostname: kernel.nodename().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(&memory),
        disk_bytes: rustix::fs::statvfs("/").map_or(0, |disk| disk.f_blocks * disk.f_frsize),
    })
}

/// The programs of OpenSSH's server that a login descends from, on each release.
const DAEMONS: [&str; 2] = ["/usr/sbin/sshd", "/usr/lib/openssh/sshd-session"];

/// How many processes may stand between a login and its daemon.
const MOST_PROCESSES: usize = 32;

/// The login that the agent was started by, if OpenSSH's server has let it in.
pub(super) fn way_in() -> Option<WayIn> {
    let mut process = rustix::process::getppid().map(rustix::process::Pid::as_raw_pid);
    // A login is a child of the daemon, or of a child that the daemon has for it.
    let mut daemon = None;
    for _ in 0..MOST_PROCESSES {
        let Some(number) = process else { break };
        let Ok(program) = std::fs::read_link(format!("/proc/{number}/exe")) else { break };
        let program = program.to_string_lossy().into_owned();
        // An upgrade has replaced the program since.
        let is_daemon = DAEMONS.contains(&program.trim_end_matches(" (deleted)"));
        if daemon.is_some() && !is_daemon {
            break;
        }
        daemon = is_daemon.then_some(number);
        let status = std::fs::read(format!("/proc/{number}/stat")).unwrap_or_default();
        process = parent(&String::from_utf8_lossy(&status));
    }
    let cgroup = std::fs::read(format!("/proc/{}/cgroup", daemon?)).unwrap_or_default();
    let account = std::env::var("SUDO_USER").unwrap_or_else(|_| "root".to_owned());
    Some(WayIn { account, unit: unit_of(&String::from_utf8_lossy(&cgroup)) })
}

/// The service that a process belongs to, as `/proc/PID/cgroup` says: systemd's own hierarchy has no number
/// or this name.
pub(super) fn unit_of(cgroup: &str) -> Option<String> {
    let path = |line: &'_ str| {
        let path =
            line.strip_prefix("0::").or_else(|| line.split_once("name=systemd:").map(|it| it.1));
        path.and_then(|path| path.rsplit('/').next()).map(str::to_owned)
    };
    cgroup.lines().filter_map(path).find(|name| name.ends_with(".service"))
}

/// The parent that `/proc/PID/stat` names: the second field behind the name, which may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The text of the first of these files that is there.
fn first_of(paths: &[&str]) -> Result<String> {
    let is_missing = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    let mut missing = Error::failed("no file is named");
    for path in paths {
        let error = match std::fs::read(path) {
            Ok(text) => return Ok(escaped(&text)),
            Err(error) => error,
        };
        let is_last = !is_missing(&error);
        missing = Error::failed(format!("cannot read `{path}`")).because(error);
        if is_last {
            break;
        }
    }
    Err(missing)
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
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (a) b) S 5 7 7 0 -1"), Some(5));
        assert_eq!(parent("7 (a"), None);
    }

    #[test]
    fn the_unit_of_a_process_is_systemd_s() {
        let ssh = Some("ssh.service".to_owned());
        assert_eq!(unit_of("0::/system.slice/ssh.service\n"), ssh);
        let old = "2:cpu:/x.service\n1:name=systemd:/system.slice/ssh.service\n0::/\n";
        assert_eq!(unit_of(old), ssh);
        assert_eq!(unit_of("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn the_first_file_that_is_there_counts() {
        assert_eq!(
            first_of(&["/nowhere/os-release", "/proc/sys/kernel/ostype"]).unwrap(),
            "Linux\n"
        );
        assert_eq!(
            first_of(&["/proc/self", "/proc/sys/kernel/ostype"]).unwrap_err().to_string(),
            "cannot read `/proc/self`\ncaused by: Is a directory (os error 21)"
        );
        assert_eq!(
            first_of(&["/nowhere/a", "/nowhere/b"]).unwrap_err().to_string(),
            "cannot read `/nowhere/b`\ncaused by: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn reads_the_release_and_the_memory() {
        let release = os_release("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        assert_eq!(release.get("VERSION_ID").map(String::as_str), Some("12"));
        assert_eq!(memory_bytes("MemTotal:        2014360 kB\nMemFree: 1 kB\n"), 2_062_704_640);
    }
}
