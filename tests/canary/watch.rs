//! Looks at the arguments of every process again and again, on this machine and so in the lab.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::needles::Needles;

/// A thread that looks until it is stopped.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(BTreeSet<String>, usize)>,
}

impl Watch {
    pub(super) fn start(needles: Needles) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut found, mut looks) = (BTreeSet::new(), 0);
            while !is_over.load(Ordering::Relaxed) {
                looks += 1;
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    // A process may end meanwhile.
                    let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    found.extend(needles.find("the arguments of a process", &line));
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            (found, looks)
        });
        Self { stop, thread }
    }

    /// What was found, after enough looks to mean something.
    pub(super) fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let (found, looks) = self.thread.join().unwrap();
        assert!(looks > 200, "looked {looks} times only");
        found.into_iter().collect()
    }
}
