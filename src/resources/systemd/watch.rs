//! Services that were told by a signal to read their configuration anew. `systemctl reload` returns
//! as soon as the signal is sent: whether the service lives on is known a moment later.

use std::time::Instant;

use super::{instances_run, running, with_journal};
use crate::error::{Error, Result};
use crate::resources::state::{FAILING, STARTING};
use crate::resources::{Probe, System, Unit};

/// How long a service has to live on after it was told, or after it began anew.
const WINDOW_MILLISECONDS: u128 = 3000;

/// How long a service is watched at most: one that ends what it has in hand for longer, as its own
/// settings allow, is not to blame; one that is still starting is.
const LIMIT_MILLISECONDS: u128 = 300_000;

/// How often systemd may start a service again: then it runs with what it has read.
const RESTARTS: u32 = 1;

/// The title of the main process of PHP-FPM, which replaces itself by a new program in the same
/// process once its workers have ended their requests.
const PHP: &[u8] = b"php-fpm: master process";

/// A service that has still to show that it lives on.
#[derive(Debug)]
pub struct Watch {
    unit: String,
    /// Its main process; none of a unit that only stands for others.
    main: Option<String>,
    /// Tells the program in the main process from the one that it replaces itself by.
    program: Option<Vec<u8>>,
    /// Whether it has still to replace itself.
    will_begin_anew: bool,
    /// How often systemd had started it again by itself.
    restarts: u32,
    told: Instant,
    /// When it was told, or was last seen to begin anew.
    since: Instant,
    /// The time that was waited for it alone, in milliseconds, since then.
    waited: u32,
}

impl Watch {
    /// A watch for `unit`, which is about to be told.
    pub(super) fn new(system: &dyn Probe, unit: &str) -> Result<Self> {
        let main = main_process(&system.unit(unit)?);
        let title = main.as_ref().map(|main| system.read(&format!("/proc/{main}/cmdline")));
        let title = title.transpose()?.flatten().unwrap_or_default();
        let now = Instant::now();
        let program = program(system, main.as_deref())?;
        // Without this, a program that replaces itself looks as before.
        let places = system.read("/proc/sys/kernel/randomize_va_space")?.unwrap_or_default();
        let can_be_told = program.is_some() && !places.starts_with(b"0");
        Ok(Self {
            unit: unit.to_owned(),
            will_begin_anew: can_be_told && title.starts_with(PHP),
            main,
            program,
            restarts: restarts(&system.unit(unit)?),
            told: now,
            since: now,
            waited: 0,
        })
    }

    /// The same, now that it was told: one that cannot read its configuration was restarted.
    pub(super) fn told(mut self, system: &dyn Probe) -> Result<Self> {
        let main = main_process(&system.unit(&self.unit)?);
        if main != self.main {
            self.program = program(system, main.as_deref())?;
            self.main = main;
            self.will_begin_anew = false;
        }
        self.told = Instant::now();
        self.since = self.told;
        Ok(self)
    }

    /// Notes that so much time was waited.
    pub fn has_waited(&mut self, milliseconds: u32) {
        self.waited = self.waited.saturating_add(milliseconds);
    }

    /// Looks at the service; returns whether it has shown that it lives on.
    ///
    /// # Errors
    /// When it ended; with the last lines of its journal.
    pub fn is_over(&mut self, system: &mut dyn System) -> Result<bool> {
        let program = program(system, self.main.as_deref())?;
        let is_alive = program.is_some() || self.main.is_none();
        if program.is_some() && program != self.program {
            self.program = program;
            self.will_begin_anew = false;
            self.begin();
        }
        let passed = self.since.elapsed().as_millis().max(u128::from(self.waited));
        if is_alive && self.will_begin_anew {
            return Ok(passed >= LIMIT_MILLISECONDS);
        }
        if is_alive && passed < WINDOW_MILLISECONDS {
            return Ok(false);
        }
        let found = system.unit(&self.unit)?;
        let kind = found.properties.get("Type").map(String::as_str);
        match running(&found, true) {
            "yes" if self.has_main(&found) => {
                instances_run(system, "reload", &self.unit, kind).map(|()| true)
            }
            "yes" | STARTING | FAILING if !self.fails_again(&found) => {
                self.follow(system, &found)?;
                if passed < LIMIT_MILLISECONDS { Ok(false) } else { Err(self.too_long()) }
            }
            _ => {
                let error = Error::failed(format!("`{}` ended after its reload", self.unit));
                Err(with_journal(system, &self.unit, error))
            }
        }
    }

    fn has_main(&self, found: &Unit) -> bool {
        self.main == main_process(found)
    }

    /// Whether systemd starts it again and again. A restart on purpose lets systemd count
    /// anew.
    fn fails_again(&mut self, found: &Unit) -> bool {
        let restarts = restarts(found);
        self.restarts = self.restarts.min(restarts);
        restarts > self.restarts + RESTARTS
    }

    /// Goes on with a new main process.
    fn follow(&mut self, system: &dyn Probe, found: &Unit) -> Result<()> {
        let main = main_process(found);
        if main.is_some() && main != self.main {
            self.program = program(system, main.as_deref())?;
            self.main = main;
            self.will_begin_anew = false;
            self.begin();
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.since = Instant::now();
        self.waited = 0;
    }

    fn too_long(&self) -> Error {
        let seconds = self.told.elapsed().as_secs().max(u64::from(self.waited / 1000));
        Error::failed(format!("`{}` did not reload", self.unit))
            .because(format!("it is still starting after {seconds} s"))
    }
}

fn main_process(unit: &Unit) -> Option<String> {
    unit.properties.get("MainPID").filter(|main| *main != "0" && !main.is_empty()).cloned()
}

fn restarts(unit: &Unit) -> u32 {
    let count = unit.properties.get("NRestarts").and_then(|count| count.parse().ok());
    count.unwrap_or_default()
}

/// Tells a program from others in the same process by the places that the kernel has given it;
/// `None` where the process has ended.
fn program(probe: &dyn Probe, main: Option<&str>) -> Result<Option<Vec<u8>>> {
    let Some(main) = main else { return Ok(None) };
    let vector = probe.read(&format!("/proc/{main}/auxv"))?;
    Ok(vector.filter(|vector| !vector.is_empty()))
}
