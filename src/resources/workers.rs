//! Workers that a reload replaces. `systemctl reload` returns as soon as nginx was told to reload:
//! for a moment longer, the workers of before answer with the old configuration.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

use super::{Probe, System};

/// The titles of nginx's main process, up to the path of the program, and of a worker that takes
/// requests. A worker that only finishes its requests has another title, and a worker that was
/// forked a moment ago still has the main process's (`src/os/unix/ngx_process_cycle.c` of nginx
/// 1.22).
const MAIN: &[u8] = b"nginx: master process";
const WORKER: &[u8] = b"nginx: worker process";

/// How long nginx may take to replace its workers; it keeps the old ones where it cannot use the
/// new configuration, such as an address that another program has.
const WAIT_MILLISECONDS: u32 = 30_000;

/// The time between two looks at the workers.
const LOOK_MILLISECONDS: u32 = 10;

/// The workers of nginx at one moment.
pub(super) struct Workers {
    processes: BTreeSet<String>,
}

impl Workers {
    /// The workers of the unit; `None` where the unit is not nginx, or does not run.
    ///
    /// # Errors
    /// When the system does not answer.
    pub(super) fn of(system: &dyn Probe, unit: &str) -> Result<Option<Self>> {
        let unit = system.unit(unit)?;
        let Some(main) = unit.properties.get("MainPID").filter(|main| *main != "0") else {
            return Ok(None);
        };
        if !name(system, main)?.starts_with(MAIN) {
            return Ok(None);
        }
        let children = system.read(&format!("/proc/{main}/task/{main}/children"))?;
        let children = String::from_utf8_lossy(&children.unwrap_or_default()).into_owned();
        let mut processes = BTreeSet::new();
        for child in children.split_whitespace() {
            if takes_requests(&name(system, child)?) {
                processes.insert(child.to_owned());
            }
        }
        Ok(Some(Self { processes }))
    }

    /// Waits until none of these workers takes requests any more.
    ///
    /// # Errors
    /// When they still do after a while: the new configuration is not in use.
    pub(super) fn are_replaced(&self, system: &mut dyn System, unit: &str) -> Result<()> {
        let mut waited = 0;
        loop {
            let mut at_work = false;
            for process in &self.processes {
                at_work |= takes_requests(&name(system, process)?);
            }
            if !at_work || system.interrupted() {
                return Ok(());
            }
            if waited >= WAIT_MILLISECONDS {
                return Err(Error::failed(format!("`{unit}` did not reload")).because(format!(
                    "its old workers are still at work after {} s",
                    waited / 1000
                )));
            }
            system.sleep_milliseconds(LOOK_MILLISECONDS);
            waited += LOOK_MILLISECONDS;
        }
    }
}

/// Whether a worker takes requests, or is about to: the helpers that manage nginx's cache are
/// forked with the main process's title as well, and soon have their own.
fn takes_requests(name: &[u8]) -> bool {
    name == WORKER || name.starts_with(MAIN)
}

/// The command line of a process as one text, without what pads it; empty where it has ended.
fn name(system: &dyn Probe, process: &str) -> Result<Vec<u8>> {
    let line = system.read(&format!("/proc/{process}/cmdline"))?.unwrap_or_default();
    let end = line.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    Ok(line[..end].to_vec())
}
