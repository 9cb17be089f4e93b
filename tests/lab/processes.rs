//! Other processes, as the kernel shows them.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

/// The system call `read` and its first argument, standard input, as `/proc` shows them.
const READ_INPUT: &str = if cfg!(target_arch = "x86_64") { "0 0x0" } else { "63 0x0" };

/// The process whose command line has all of `parts`.
pub(crate) fn with(parts: &[&str]) -> Option<Pid> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let process = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        parts.iter().all(|part| line.contains(part)).then_some(process)
    })
}

/// The process that has started another one.
pub(crate) fn parent(process: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    Pid::from_raw(field(&status, "PPid").unwrap().parse().unwrap()).unwrap()
}

/// Whether `signal` is in a set of signals of a process: `SigCgt` has those that the process
/// handles, `ShdPnd` those that are on their way.
pub(crate) fn has_signal(process: Pid, set: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let set = u64::from_str_radix(field(&status, set).unwrap(), 16).unwrap();
    (set >> (signal.as_raw() - 1)) & 1 == 1
}

/// A thread that waits for something.
pub(crate) struct Waiting {
    /// The number of the thread. The first thread of a process has the number of the process.
    pub(crate) id: String,
    folder: PathBuf,
    /// The system call in which the thread waits, with the first argument.
    call: String,
    /// How often the thread has waited so far.
    times: u64,
}

/// The threads of a process that wait for something.
pub(crate) fn waiting(process: Pid) -> Vec<Waiting> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    threads.filter_map(|thread| Waiting::of(&thread.path())).collect()
}

impl Waiting {
    /// `None` while the thread is at work.
    fn of(folder: &Path) -> Option<Self> {
        // The answer is the single word `running` until the thread has really gone to sleep, so
        // that the count below includes this wait.
        let call = fs::read_to_string(folder.join("syscall")).ok()?;
        let mut words = call.split(' ');
        let call = format!("{} {}", words.next()?, words.next()?);
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let times = field(&status, "voluntary_ctxt_switches")?.parse().ok()?;
        let id = folder.file_name()?.to_str()?.to_owned();
        Some(Self { id, folder: folder.to_owned(), call, times })
    }

    /// Whether the thread waits for standard input.
    pub(crate) fn reads_input(&self) -> bool {
        self.call == READ_INPUT
    }

    /// Whether the thread has been at work since, and waits for the same again.
    pub(crate) fn waits_anew(&self) -> bool {
        Self::of(&self.folder).is_some_and(|now| now.call == self.call && now.times > self.times)
    }
}

/// A field of `/proc/PROCESS/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim)
}
