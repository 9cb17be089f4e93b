//! The effects of the former file of a unit of which the new file does not speak.
//!
//! A worker may become a job that a timer starts. The process of the worker would run on with its old program
//! beside the job, and its link would start the job at each boot.

use super::SystemdUnit;
use crate::error::Result;
use crate::resources::Unit;
use crate::resources::probe::Probe;
use crate::resources::state::{Change, FieldChange};
use crate::resources::system::System;
use crate::resources::systemd::{self, Links};

impl SystemdUnit {
    /// The fields that are left open, and that are not as the new file of the unit has them.
    pub(super) fn ended(&self, change: &Change, probe: &dyn Probe) -> Result<Vec<FieldChange>> {
        let is_update = matches!(change, Change::Update(_)) && change.sets("content");
        if !is_update || self.dropin.is_some() {
            return Ok(Vec::new());
        }
        let Some(former) = probe.read(&self.file())? else { return Ok(Vec::new()) };
        let (former, text) = (String::from_utf8_lossy(&former), self.rendered());
        let is_service = self.is_a_unit() && self.name.ends_with(".service");
        let stops = self.running.is_none()
            && is_service
            && systemd::is_worker(&former)
            && !systemd::is_worker(&text)
            && systemd::running(&probe.unit(&self.name)?, false) == "yes";
        let is_left =
            self.enabled.is_none() && !Links::of(&self.name).left_behind(probe, &text)?.is_empty();
        let ended = |field: &str| FieldChange {
            field: field.to_owned(),
            current: Some(true.into()),
            desired: false.into(),
        };
        let fields = [("running", stops), ("enabled", is_left)];
        Ok(fields.into_iter().filter(|(_, ends)| *ends).map(|(field, _)| ended(field)).collect())
    }

    /// The field `running`. A job that a timer starts is no worker, whether or not it is at work or
    /// has failed.
    pub(super) fn running_now(&self, unit: &Unit, probe: &dyn Probe) -> Result<&'static str> {
        let wanted = self.running.unwrap_or_default();
        if wanted && self.name.ends_with(".service") {
            let file = probe.read(&self.file())?.unwrap_or_default();
            let found = systemd::service_type(&String::from_utf8_lossy(&file));
            let found = found.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            if systemd::ends(&found) {
                return Ok("no");
            }
        }
        Ok(systemd::running(unit, wanted))
    }

    /// Ends what the former file has brought about. It is done before the new file is there: a run that is cut
    /// in between would not know of it any more.
    pub(super) fn end(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if self.running.is_none() && change.sets("running") {
            systemd::stop(system, &self.name)?;
            // A program that a signal has ended counts as failed.
            systemd::forget_failures(system, &self.name)?;
        }
        let left = self.left_behind(change, system)?;
        left.iter().try_for_each(|link| system.remove_file(link))
    }

    /// The links of the former file that go where `change` is applied.
    pub(super) fn left_behind(&self, change: &Change, probe: &dyn Probe) -> Result<Vec<String>> {
        if self.enabled.is_some() || !change.sets("enabled") {
            return Ok(Vec::new());
        }
        Links::of(&self.name).left_behind(probe, &self.rendered())
    }

    /// The values of `running` and `enabled` once `change` is applied; `None` for what is left as it is.
    pub(super) fn states_after(&self, change: &Change) -> (Option<bool>, Option<bool>) {
        let ends = |field: &str| change.sets(field).then_some(false);
        (self.running.or_else(|| ends("running")), self.enabled.or_else(|| ends("enabled")))
    }
}
