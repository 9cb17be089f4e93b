//! The clean end of a machine whose files are to be kept.

use std::fs;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lab::cgroup;
use crate::lab::folder::{self, Folder};
use crate::lab::machine::has_ended;
use crate::lab::network::Network;
use crate::lab::program::Program;
use crate::lab::server::{Files, Server};

/// How long to wait for the end until the machine is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Sends what systemd takes for `systemctl halt`: SIGRTMIN+3, which no safe call of this program can
/// send.
const HALT: &str = "kill -37 \"$1\"";

/// How long the services of a machine may take to stop; systemd itself waits 90 seconds for each.
const CLEAN_TIMEOUT: Duration = Duration::from_mins(2);

impl Server {
    /// Asks the machine to shut down. It may be asked again, by this save or by the next one.
    ///
    /// # Errors
    /// When the machine is not ours to end.
    pub(super) fn ask_to_end(&self, lab: &Folder) -> Result<()> {
        let Some(process) = self.process(lab) else { return Ok(()) };
        // Noted first: the machine may shut down long after a save that was killed.
        process.write(&Files::of(lab, &self.name).ending())?;
        // Not to systemd-nspawn, which takes a second request for an order to end at once.
        let Some(first) = process.first_inside() else { return Ok(()) };
        Program::new(["sh", "-c", HALT, "sh", &first.pid().to_string()]).output()?;
        Ok(())
    }

    /// Whether the machine that runs was asked to shut down.
    fn is_ending(&self, lab: &Folder) -> bool {
        let noted = fs::read_to_string(Files::of(lab, &self.name).ending()).unwrap_or_default();
        self.process(lab).is_some_and(|process| process.to_text() == noted)
    }

    /// Waits for the end of a machine that a save has asked to shut down; the save itself may have
    /// been killed since.
    ///
    /// # Errors
    /// When the machine does not end.
    pub(in crate::lab) fn let_end(&self, lab: &Folder, network: &Network) -> Result<()> {
        if self.is_ending(lab) { self.end_cleanly(lab, network) } else { Ok(()) }
    }

    /// Shuts the machine down, completes what it wrote, and lets go of its files. A machine that
    /// takes too long is left as it is: its files would not be those of a server that was shut down.
    ///
    /// # Errors
    /// When the machine does not end.
    pub(super) fn end_cleanly(&self, lab: &Folder, network: &Network) -> Result<()> {
        let started = Instant::now();
        while let Some(process) = self.process(lab) {
            // A machine that has just begun to start may not have heard it.
            self.ask_to_end(lab)?;
            if !has_ended(&process, ASK_AGAIN) && started.elapsed() > CLEAN_TIMEOUT {
                let log = Files::of(lab, &self.name).log().display().to_string();
                return Err(does_not_end(&self.name, process.pid(), &log));
            }
        }
        if cgroup::are_ours() {
            cgroup::remove(&network.machine(self.number))?;
        }
        // Before the end of the mount, which would have to be made again.
        self.complete_links(lab)?;
        folder::unmount_ended(&Files::of(lab, &self.name).root())
    }
}

fn does_not_end(name: &str, pid: i32, log: &str) -> Error {
    Error::failed(format!("`{name}` does not shut down"))
        .because(format!("process {pid} is still there after {} seconds", CLEAN_TIMEOUT.as_secs()))
        .hint(format!("its console is in `{log}`; run `infra lab up {name}` when it has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_machine_does_not_end() {
        assert_eq!(
            does_not_end("rufus", 4711, "/lab/servers/rufus/log").to_string(),
            "`rufus` does not shut down\n\
             caused by: process 4711 is still there after 120 seconds\n\
             hint: its console is in `/lab/servers/rufus/log`; run `infra lab up rufus` when it \
             has ended"
        );
    }
}
