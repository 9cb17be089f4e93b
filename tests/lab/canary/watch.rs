//! Looks at the arguments of every process of this machine, those of its lab included.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::needles::Needles;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// For how long the arguments of a new process are read in every look: until a program takes its
/// place, a process has the arguments of its parent.
const YOUNG: Duration = Duration::from_secs(2);

/// After so many looks the arguments of all processes are read, those of old ones too: another
/// program may have taken the place of any.
const ALL: usize = 20;

/// Programs that run while secrets are used, as their arguments begin: a watch that has not seen
/// them would prove nothing.
const SIGHTS: [&str; 2] = ["/var/lib/infra/agent/", "tail\0-f\0/dev/null\0"];

/// A thread that looks until it is stopped.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Looker>>,
}

/// The processes, and the secrets that were found in their arguments.
struct Looker {
    needles: Needles,
    processes: HashMap<u32, Process>,
    looks: usize,
    found: BTreeSet<String>,
    sights: BTreeSet<&'static str>,
}

struct Process {
    first: Instant,
    /// The number of the last look that saw the process.
    last: usize,
    /// As they were read last; a search in the same arguments would find the same.
    arguments: Vec<u8>,
}

impl Watch {
    pub(super) fn start(needles: Needles) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut looker = Looker::new(needles);
            while !is_over.load(Ordering::Relaxed) {
                looker.look();
                std::thread::sleep(PAUSE);
            }
            looker
        });
        Self { stop, thread: Some(thread) }
    }

    /// The secrets that were found, by a watch that has seen the programs that use them.
    pub(super) fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let looker = self.thread.take().unwrap().join().unwrap();
        assert_eq!(looker.sights, SIGHTS.into(), "after {} looks", looker.looks);
        looker.found.into_iter().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A test that fails has its own failure to show; other tests need the processor.
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Looker {
    fn new(needles: Needles) -> Self {
        let (processes, found, sights) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { needles, processes, looks: 0, found, sights }
    }

    fn look(&mut self) {
        let (now, looks) = (Instant::now(), self.looks);
        let mut read = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let new = || Process { first: now, last: looks, arguments: Vec::new() };
            let process = self.processes.entry(pid).or_insert_with(new);
            process.last = looks;
            if now.duration_since(process.first) > YOUNG && !looks.is_multiple_of(ALL) {
                continue;
            }
            read.clear();
            // A process may end meanwhile.
            let file = File::open(format!("/proc/{pid}/cmdline"));
            if file.and_then(|mut file| file.read_to_end(&mut read)).is_err()
                || read == process.arguments
            {
                continue;
            }
            self.found.extend(self.needles.find("the arguments of a process", &read));
            self.sights
                .extend(SIGHTS.into_iter().filter(|sight| read.starts_with(sight.as_bytes())));
            process.arguments.clone_from(&read);
        }
        // A number may be given to another process.
        self.processes.retain(|_, process| process.last == looks);
        self.looks += 1;
    }
}
