//! The process of a machine: remembered so that no other process is ever taken for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal};

use crate::error::{Context as _, Error, Result};

/// A process by its number *and* the moment it started: numbers are used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    /// In clock ticks since the machine booted.
    started: u64,
    /// Differs between two boots of the machine.
    boot: String,
}

impl Process {
    /// The running process `pid`; `None` when there is none, or only what is left of it until its
    /// parent looks.
    pub(super) fn running(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        if matches!(state, 'Z' | 'X') {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { pid, started, boot: boot.trim().to_owned() })
    }

    /// The process that was written to a file by [`Process::to_text`], if it still runs.
    pub(super) fn recorded(text: &str) -> Option<Self> {
        let recorded = Self::parse(text)?;
        Self::running(recorded.pid).filter(|process| *process == recorded)
    }

    /// The process of this user that is `program`, or is about to become `program`, and was given
    /// `argument` literally.
    pub(super) fn with_argument(program: &str, argument: &str) -> Option<Self> {
        let me = rustix::process::geteuid().as_raw();
        let entries = fs::read_dir("/proc").ok()?;
        let mut pids: Vec<i32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| has_argument(*pid, me, program, argument))
            .collect();
        // A machine's own children carry the same arguments until they become its first process.
        pids.sort_unstable();
        pids.into_iter().find_map(Self::running)
    }

    /// One line for a file.
    pub(super) fn to_text(&self) -> String {
        format!("{} {} {}\n", self.pid, self.started, self.boot)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 1)?;
        let started = words.next()?.parse().ok()?;
        Some(Self { pid, started, boot: words.next()?.to_owned() })
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it still runs.
    pub(super) fn is_running(&self) -> bool {
        Self::running(self.pid).is_some_and(|process| process == *self)
    }

    /// The first process of a machine that this process runs: a child that is number 1 in a space
    /// of its own.
    pub(super) fn first_inside(&self) -> Option<Self> {
        let is_first = |pid: i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            is_first_inside(&status, self.pid)
        };
        let entries = fs::read_dir("/proc").ok()?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // Asked again when the start is known: the number may be another process by then.
        pids.filter(|pid| is_first(*pid))
            .find_map(|pid| Self::running(pid).filter(|_| is_first(pid)))
    }

    /// Sends `signal`; does nothing when the process has ended.
    ///
    /// # Errors
    /// When it is not ours to end.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        send(pid, signal, || self.is_running())
            .context(|| format!("cannot send a signal to process {}", self.pid))
    }

    /// Remembers the process in the file `path`.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.to_text()).context(|| format!("cannot write `{}`", path.display()))
    }
}

/// The process that was just started, as the operating system shows it.
pub(super) fn of_child(child: &std::process::Child) -> Result<Process> {
    i32::try_from(child.id())
        .ok()
        .and_then(Process::running)
        .ok_or_else(|| Error::failed("the machine ended at once"))
}

/// Sends through a handle that is held before the identity is checked, so that the number cannot
/// go to another process in between.
#[cfg(target_os = "linux")]
fn send(pid: Pid, signal: Signal, is_it: impl Fn() -> bool) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !is_it() {
        return Ok(());
    }
    match pidfd_send_signal(handle, signal) {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The lab runs on Linux only; this lets the rest be built elsewhere.
#[cfg(not(target_os = "linux"))]
fn send(_: Pid, _: Signal, _: impl Fn() -> bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// State and start time from `/proc/PID/stat`. The program's name, in parentheses, may itself
/// hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// Whether `/proc/PID/status` is that of a child of `parent` which is number 1 inside.
fn is_first_inside(status: &str, parent: i32) -> bool {
    let words = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>()
    };
    let inside = words("NSpid:");
    words("PPid:") == [parent.to_string()] && inside.len() > 1 && inside.last() == Some(&"1")
}

fn has_argument(pid: i32, owner: u32, program: &str, argument: &str) -> bool {
    let folder = format!("/proc/{pid}");
    let is_ours = fs::metadata(&folder).is_ok_and(|metadata| metadata.uid() == owner);
    let Ok(line) = fs::read(format!("{folder}/cmdline")) else { return false };
    // A lab in a container or in a server of a lab may have a folder of the same name.
    let space = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let is_beside_us = space("self").is_some_and(|own| space(&pid.to_string()) == Some(own));
    let mut words = line.split(|byte| *byte == 0);
    is_ours
        && is_beside_us
        // First, or behind the programs that become it.
        && words.any(|word| word.ends_with(program.as_bytes()))
        && words.any(|word| word == argument.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn reads_stat_whatever_the_program_is_called() {
        let stat = "77 (a) (b c) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 3";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
        assert_eq!(parse_stat("77 (a"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let me = Process::running(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(Process::recorded(&me.to_text()), Some(me.clone()));
        let earlier = Process { started: me.started - 1, ..me.clone() };
        assert_eq!(Process::recorded(&earlier.to_text()), None);
        let before_reboot = Process { boot: "another".to_owned(), ..me };
        assert_eq!(Process::recorded(&before_reboot.to_text()), None);
    }

    #[test]
    fn a_program_is_known_before_it_is_started() {
        let argument = format!("86.{}", std::process::id());
        let script = "read go; exec \"$@\"";
        let words = ["-c", script, "sh", "sleep", &argument];
        let mut command = Command::new("sh");
        let mut child = command.args(words).stdin(Stdio::piped()).spawn().unwrap();
        let process = of_child(&child).unwrap();
        let find = || Process::with_argument("sleep", &argument);
        while find().is_none() {
            assert!(process.is_running());
        }
        assert_eq!(find(), Some(process.clone()));
        drop(child.stdin.take());
        let name = || fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        while name() != "sleep\n" {
            assert!(process.is_running());
        }
        assert_eq!(find(), Some(process));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn finds_the_first_process_inside() {
        let status = "Name:\tsystemd\nPid:\t77\nPPid:\t12\nNSpid:\t77\t1\n";
        assert!(is_first_inside(status, 12));
        assert!(!is_first_inside(status, 1));
        assert!(!is_first_inside("PPid:\t12\nNSpid:\t77\t6\n", 12));
        assert!(!is_first_inside("PPid:\t1\nNSpid:\t1\n", 1));
        assert!(!is_first_inside("", 1));
    }

    #[test]
    fn a_damaged_record_is_no_process() {
        for text in ["", "x", "1 2 3", "-1 2 3", "0 0 x", "77", "77 12"] {
            assert_eq!(Process::recorded(text), None, "{text:?}");
        }
    }

    #[test]
    fn ends_the_process_and_sees_it() {
        // No process of another run of the tests has this argument.
        let seconds = format!("87.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&seconds).stdin(Stdio::null()).spawn().unwrap();
        let process = of_child(&child).unwrap();
        // Its arguments are ours until it has become `sleep`.
        while Process::with_argument("sleep", &seconds).is_none() {
            assert!(process.is_running());
        }
        process.signal(Signal::TERM).unwrap();
        child.wait().unwrap();
        assert!(!process.is_running());
        process.signal(Signal::KILL).unwrap();
        assert_eq!(Process::with_argument("sleep", &seconds), None);
    }
}
