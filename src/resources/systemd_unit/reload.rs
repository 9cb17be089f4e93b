//! Reloads and restarts of a unit of infra's own.

use super::SystemdUnit;
use crate::error::Result;
use crate::resources::Service;
use crate::resources::query::Command;
use crate::resources::service::may_run;
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
