//! Settings of the kernel that change with others: `net.ipv4.ip_forward` sets all that hosts and routers are
//! told apart by (ip-sysctl of the kernel).

use crate::error::Result;
use crate::events::Outcome;
use crate::resources::Spec;

use super::super::plan::{self, Checked};
use super::Run;

impl Run<'_> {
    /// Once the last setting of the manifest before `index` is set, sets those again that have changed with others.
    pub(super) fn hold_settings(&mut self, index: usize, width: usize) -> Result<()> {
        if !self.has_set || self.failed.is_some() {
            return Ok(());
        }
        let resources = &self.manifest.resources;
        let is_setting = |position: &usize| {
            let resource = resources.get(*position);
            resource.is_some_and(|one| matches!(one.spec, Spec::Sysctl(_)))
        };
        let was_last = (index..index + width).any(|position| is_setting(&position))
            && !(index + width..resources.len()).any(|position| is_setting(&position));
        if !was_last {
            return Ok(());
        }
        for position in (0..index + width).filter(is_setting) {
            let Some(resource) = resources.get(position) else { continue };
            // A setting that cannot be read has failed by itself.
            if let Ok(Checked::Differs(change)) = plan::change_of(resource, self.system) {
                let set = resource.spec.apply(&change, self.system);
                let outcome = match set {
                    Ok(()) => self.check_again(resource, &change),
                    Err(error) => Outcome::Failed(error),
                };
                if matches!(outcome, Outcome::Failed(_)) {
                    self.finish(resource, outcome)?;
                }
            }
        }
        Ok(())
    }
}
