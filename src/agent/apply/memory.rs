//! What a run leaves in the host's memory: what is managed, what is gone, what is let go.

use crate::error::Result;
use crate::events::Outcome;
use crate::manifest::{Resource, ResourceId};
use crate::resources::package;

use super::super::state::managed::Managed;
use super::Run;

impl Run<'_> {
    /// Lets go of what stays as it is.
    pub(super) fn release(&mut self) -> Result<()> {
        if self.failed.is_some() {
            return Ok(());
        }
        for (id, because) in &self.removal.released {
            self.state.release(self.system, id)?;
            self.emitter.applied(id, Outcome::Released { because: because.clone() });
        }
        self.removal.forgotten.iter().try_for_each(|id| self.state.forget(self.system, id))
    }

    /// What the host is to remember of a resource; nothing of what only takes another away.
    pub(super) fn managed(&self, resource: &Resource, existed: bool) -> Option<Managed> {
        if self.removal.steps.contains_key(&resource.id) {
            return None;
        }
        let package = resource.spec.comes_with();
        let package = package.and_then(|id| self.state.resources().get(&id));
        let heir = self.removal.heirs.get(&resource.id);
        let is_heir = heir.is_some();
        let existed = existed && !is_heir && package.is_none_or(|package| package.existed);
        let order = self.manifest.resources.iter().position(|other| other.id == resource.id);
        let mut managed = Managed::of(resource, order.unwrap_or_default(), existed, self.system)?;
        let is_known = self.state.resources().contains_key(&resource.id);
        // A unit that came with a package of infra's is nothing that somebody had set up.
        let units = resource.spec.units();
        if !is_known && !is_heir && !units.iter().any(|unit| package::is_held(unit, self.system)) {
            // A unit that cannot be looked at is an error of its own check.
            managed.unit_before = resource.spec.unit_before(self.system).ok().flatten();
        }
        managed.unit_before = managed.unit_before.or(heir.copied().flatten());
        Some(managed)
    }

    /// A step has done its part; with the last one, what it took away is forgotten.
    pub(super) fn leave(&mut self, id: &ResourceId) {
        let Some(step) = self.removal.steps.get(id) else { return };
        let Some(left) = self.leaving.get_mut(&step.of) else { return };
        *left -= 1;
        if *left == 0 {
            self.gone.insert(&step.of);
        }
    }

    /// Counts an outcome and notes it in the state.
    pub(super) fn remember(&mut self, resource: &Resource, outcome: &Outcome) -> Result<()> {
        let [changed, removed, failed] = &mut self.counts;
        match outcome {
            Outcome::Changed(_) if self.removal.steps.contains_key(&resource.id) => *removed += 1,
            Outcome::Changed(change) if change.is_remove() => *removed += 1,
            Outcome::Changed(_) => *changed += 1,
            Outcome::Failed(_) => *failed += 1,
            _ => {}
        }
        match outcome {
            Outcome::Ok | Outcome::Changed(_) => {
                let managed = self.managed(resource, *outcome == Outcome::Ok);
                let has_changed = *outcome != Outcome::Ok;
                let is_step = self.removal.steps.contains_key(&resource.id);
                if managed.is_none() && !is_step && resource.spec.desired().is_none() {
                    self.state.forget(self.system, &resource.id)?;
                }
                self.state.applied(self.system, resource, managed, has_changed)?;
                self.leave(&resource.id);
            }
            Outcome::Released { .. } => {
                let step = self.removal.steps.get(&resource.id);
                self.kept.extend(step.map(|step| &step.of));
            }
            _ => {}
        }
        Ok(())
    }
}
