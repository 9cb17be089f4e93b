//! Reloads and restarts of a unit of infra's own.

use super::SystemdUnit;
use crate::error::Result;
use crate::resources::Service;
use crate::resources::probe::Probe;
use crate::resources::query::Command;
use crate::resources::service::{self, may_run};
use crate::resources::state::Change;
use crate::resources::system::System;
use crate::resources::systemd::{self, Watch};

impl Service for SystemdUnit {
    fn validate_command(&self) -> Option<Command> {
        None
    }

    fn is_started_by(&self, change: &Change) -> bool {
        self.restarts_for(change) || systemd::starts(change)
    }

    fn restarts_for(&self, change: &Change) -> bool {
        let is_update = matches!(change, Change::Update(_));
        is_update && self.running == Some(true) && change.sets("content")
    }

    fn stays_stopped(&self, probe: &dyn Probe) -> Result<bool> {
        service::stays_stopped(self.running, &self.name, probe)
    }

    /// A unit that should not run stays as it is.
    fn reload(&self, system: &mut dyn System) -> Result<Option<Watch>> {
        if may_run(self.running, &self.name, system)? {
            return systemd::reload(system, &self.name);
        }
        Ok(None)
    }

    /// A unit that should not run stays as it is.
    fn restart(&self, system: &mut dyn System) -> Result<()> {
        if may_run(self.running, &self.name, system)? {
            systemd::restart(system, &self.name)?;
        }
        Ok(())
    }
}

impl SystemdUnit {
    /// The unit as a service of no file of its own; `None` for a drop-in or a template.
    pub fn as_plain_service(&self) -> Option<service::Service> {
        let is_absent = self.state.is_absent();
        let (running, enabled) =
            if is_absent { (Some(false), Some(false)) } else { (self.running, self.enabled) };
        let plain = service::Service::named(&self.name);
        self.is_a_unit().then_some(service::Service { running, enabled, ..plain })
    }
}
