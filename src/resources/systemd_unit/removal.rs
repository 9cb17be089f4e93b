//! Units that go, and what comes back from behind them.

use super::SystemdUnit;
use super::sections::Entries;
use crate::error::Result;
use crate::resources::fields::Presence;
use crate::resources::probe::{Probe, Unit};
use crate::resources::service::predicted;
use crate::resources::system::System;
use crate::resources::systemd::{self, Links};

impl SystemdUnit {
    /// The same that is not to be there.
    pub(super) fn as_absent(&self) -> Self {
        Self {
            content: None,
            unit: Entries::default(),
            service: Entries::default(),
            timer: Entries::default(),
            socket: Entries::default(),
            path: Entries::default(),
            mount: Entries::default(),
            automount: Entries::default(),
            slice: Entries::default(),
            install: Entries::default(),
            running: None,
            enabled: None,
            state: Presence::Absent,
            ..self.clone()
        }
    }

    /// The unit, or the drop-in, with the content that it had before infra. One that runs is to run on with
    /// that, and nothing else of it changes. An empty file masks a unit (systemd.unit(5)), so that nothing of it runs.
    pub fn as_before(&self, content: String, probe: &dyn Probe) -> Result<Self> {
        let runs = self.is_a_unit() && probe.unit(&self.name)?.is_active();
        let is_mask = self.dropin.is_none() && content.is_empty();
        let (running, content) = (runs.then_some(!is_mask), Some(content));
        Ok(Self { content, running, enabled: None, state: Presence::Present, ..self.clone() })
    }
}

impl SystemdUnit {
    /// A unit of a package that appears from behind this one, which is to be absent: as it was before infra,
    /// else stopped and disabled.
    pub(super) fn packaged(&self) -> Unit {
        let (running, enabled) = (self.running == Some(true), self.enabled == Some(true));
        predicted(Unit::default(), Some(running), Some(enabled), false)
    }

    /// Lets the unit of a package, which was enabled or ran before infra put another one in its place, go on.
    fn go_on(&self, system: &mut dyn System) -> Result<()> {
        systemd::daemon_reload(system)?;
        if self.enabled == Some(true) {
            Links::of(&self.name).set(system, true)?;
        }
        if self.running == Some(true) { systemd::restart(system, &self.name) } else { Ok(()) }
    }

    pub(super) fn remove(&self, system: &mut dyn System) -> Result<()> {
        let goes_on = self.running == Some(true) || self.enabled == Some(true);
        if goes_on && self.running != Some(true) {
            systemd::stop(system, &self.name)?;
        }
        if goes_on {
            // Its links lead to the file that goes.
            systemd::set(system, "disable", &self.name)?;
            system.remove_file(&self.file())?;
            return self.go_on(system);
        }
        if self.dropin.is_none() {
            let stopped = if systemd::is_template(&self.name) {
                self.name.replacen("@.", "@*.", 1)
            } else {
                self.name.clone()
            };
            systemd::stop(system, &stopped)?;
            systemd::set(system, "disable", &self.name)?;
        }
        system.remove_file(&self.file())?;
        let folder = self.dropin_folder();
        if self.dropin.is_some() && system.list(&folder)?.is_some_and(|names| names.is_empty()) {
            system.remove_directory(&folder)?;
        }
        systemd::daemon_reload(system)?;
        if self.is_a_unit() {
            systemd::forget_failures(system, &self.name)?;
        }
        Ok(())
    }
}
