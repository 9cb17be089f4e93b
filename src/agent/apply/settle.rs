//! Services that are due: validated, reloaded or restarted once; and what was switched for them,
//! put back when that does not hold.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::events::{Event, ServiceAction};
use crate::manifest::ResourceId;
use crate::resources::{Spec, System};

use super::super::plan::{done_as, notifications, raise};
use super::super::undo::Snapshot;
use super::Run;

impl Run<'_> {
    /// Whether services that are due must be dealt with before the resource at `index`: at the
    /// end of the role that asked, and before whatever depends on their running as configured.
    pub(super) fn must_settle_before(&self, index: usize) -> bool {
        if self.due.is_empty() {
            return false;
        }
        let resources = &self.manifest.resources;
        let Some(resource) = resources.get(index) else { return true };
        let previous = index.checked_sub(1).and_then(|index| resources.get(index));
        let role_ends = previous.is_some_and(|previous| previous.role != resource.role);
        let depends = resource.id.kind() == "command"
            && resource.requires.iter().any(|id| self.is_due_or_notifies(id));
        // A debt that could not be paid yet does not stop the run here; see `settle_one`.
        let fresh = self.due.keys().any(|service| !self.inherited.contains(service));
        // An account goes once no service runs as it any more.
        let goes = resource.id.kind() == "user" && resource.spec.desired().is_none();
        ((role_ends || goes) && fresh)
            || resource.spec.verifies() && self.has_payable(index)
            || depends && fresh
    }

    pub(super) fn has_payable(&self, index: usize) -> bool {
        self.due.keys().any(|service| {
            let waits = self.refused.contains(service) && self.is_notified_from(service, index);
            !waits && !self.comes_after(service, index)
        })
    }

    /// Whether the verification at `index` comes before `service` itself, and so cannot depend on
    /// it: what it runs from may still be on its way.
    fn comes_after(&self, service: &ResourceId, index: usize) -> bool {
        let mut rest = self.manifest.resources.iter().skip(index);
        let verifies = rest.next().is_some_and(|resource| resource.spec.verifies());
        verifies && !self.role_ends_at(index) && rest.any(|resource| resource.id == *service)
    }

    pub(super) fn is_due_or_notifies(&self, id: &ResourceId) -> bool {
        self.due.contains_key(id) || self.undo.iter().any(|snapshot| snapshot.id == *id)
    }

    pub(super) fn is_notified_from(&self, service: &ResourceId, index: usize) -> bool {
        let later = self.manifest.resources.iter().skip(index);
        later.flat_map(notifications).any(|(id, _)| id == service)
    }

    /// Something failed: what was switched for the same services goes back to how it was, so
    /// that no half of a set stays; other services still get what they are owed.
    pub(super) fn fail(&mut self, id: &ResourceId) {
        self.failed = Some(id.clone());
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        if resource.is_some_and(|resource| resource.spec.verifies()) {
            self.put_back(|_| true);
        } else if let Some(resource) = resource {
            let services = notifications(resource).map(|(service, _)| service);
            // A unit may be what it was switched for itself.
            let services: BTreeSet<&ResourceId> = services.chain([id]).collect();
            self.put_back(|snapshot| snapshot.services.iter().any(|id| services.contains(id)));
        }
    }

    /// Puts back the snapshots that `which` selects, newest first. Their services stay due, so
    /// that a service which has already read the new files reads the old ones again.
    pub(super) fn put_back(&mut self, which: impl Fn(&Snapshot) -> bool) {
        let (back, keep) = std::mem::take(&mut self.undo).into_iter().partition(which);
        self.undo = keep;
        let back: Vec<Snapshot> = back;
        for snapshot in back.iter().rev() {
            let error =
                snapshot.restore(self.system).err().or_else(|| self.lost_with(&snapshot.id));
            self.state.unapplied(&snapshot.id);
            if let Some(step) = self.removal.steps.get(&snapshot.id) {
                self.gone.remove(&step.of);
            }
            if error.is_none() {
                for service in &snapshot.services {
                    let action = self.action_for(&snapshot.id, service);
                    raise(&mut self.due, service, action);
                    self.restored.insert(service.clone());
                }
                self.is_put_back.insert(snapshot.id.clone());
            }
            self.emitter.emit(Event::RolledBack { id: snapshot.id.clone(), error });
        }
    }

    /// The loss that a put-back cannot mend.
    fn lost_with(&self, id: &ResourceId) -> Option<Error> {
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        match resource.map(|resource| &resource.spec) {
            Some(Spec::Directory(folder)) if folder.state.is_absent() && folder.recursive => {
                Some(Error::failed(format!("what was in `{}` is gone", folder.path)))
            }
            _ => None,
        }
    }

    pub(super) fn action_for(&self, id: &ResourceId, service: &ResourceId) -> ServiceAction {
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        let restarts = resource.is_some_and(|resource| resource.restart.contains(service));
        if restarts { ServiceAction::Restart } else { ServiceAction::Reload }
    }

    /// Deals with those of the services that are due that `which` selects, in the order of their names;
    /// `index` is the next resource.
    pub(super) fn settle_those(
        &mut self,
        index: usize,
        which: impl Fn(&ResourceId) -> bool,
    ) -> Result<()> {
        for (service, action) in std::mem::take(&mut self.due) {
            if !which(&service) || self.comes_after(&service, index) {
                self.due.insert(service, action);
                continue;
            }
            self.settle_one(&service, action, index)?;
        }
        // A failed validation has put files back and made their services due again.
        for (service, action) in std::mem::take(&mut self.due) {
            let waits = self.inherited.contains(&service) && self.is_notified_from(&service, index);
            if !which(&service) || waits || self.comes_after(&service, index) {
                self.due.insert(service, action);
                continue;
            }
            self.settle_one(&service, action, index)?;
        }
        Ok(())
    }

    /// Deals with every service that is due; `index` is the next resource.
    pub(super) fn settle(&mut self, index: usize) -> Result<()> {
        self.settle_those(index, |_| true)?;
        if self.role_ends_at(index) {
            // What waits for the rest of its set can still be put back with it.
            let due: BTreeSet<ResourceId> = self.due.keys().cloned().collect();
            self.let_go(|snapshot| !snapshot.services.iter().any(|id| due.contains(id)));
        }
        Ok(())
    }

    pub(super) fn role_ends_at(&self, index: usize) -> bool {
        let resources = &self.manifest.resources;
        let role = |index: usize| resources.get(index).map(|resource| &resource.role);
        index == 0 || role(index) != role(index - 1)
    }

    pub(super) fn settle_one(
        &mut self,
        id: &ResourceId,
        action: ServiceAction,
        index: usize,
    ) -> Result<()> {
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        let Some(service) = resource.and_then(|resource| resource.spec.as_service()) else {
            return Ok(());
        };
        // It has just failed to start, with the same files: the debt stays.
        if self.failed.as_ref() == Some(id) && !self.restored.contains(id) {
            return Ok(());
        }
        // A run that failed before it made the unit has nothing to reload.
        let units = resource.map(|resource| resource.spec.units()).unwrap_or_default();
        for unit in &units {
            if !self.system.unit(unit)?.exists() {
                return self.state.settle_service(self.system, id);
            }
        }
        let refused =
            service.validate_command().and_then(|command| validate(self.system, &command).err());
        if let Some(error) = refused {
            // Files of an earlier, cut run may be half of a set that this run completes.
            if self.inherited.contains(id) && self.is_notified_from(id, index) {
                self.refused.insert(id.clone());
                self.due.insert(id.clone(), action);
            } else {
                self.fail_service(id, action, error);
            }
            return Ok(());
        }
        let Some(action) = done_as(id, action, self.manifest, self.system) else {
            return self.state.settle_service(self.system, id);
        };
        let result = match action {
            ServiceAction::Reload => service.reload(self.system),
            ServiceAction::Restart => service.restart(self.system).map(|()| None),
        };
        match result {
            Ok(watch) => {
                self.inherited.remove(id);
                self.watched.remove(id);
                if let Some(watch) = watch {
                    self.watched.insert(id.clone(), watch);
                } else {
                    self.state.settle_service(self.system, id)?;
                }
                self.emitter.emit(Event::ServiceDone { id: id.clone(), action, error: None });
            }
            Err(error) => self.fail_service(id, action, error),
        }
        Ok(())
    }

    pub(super) fn fail_service(&mut self, id: &ResourceId, action: ServiceAction, error: Error) {
        self.emitter.emit(Event::ServiceDone { id: id.clone(), action, error: Some(error) });
        let first = self.failed.is_none();
        self.failed.get_or_insert_with(|| id.clone());
        if first {
            self.put_back(|snapshot| snapshot.services.contains(id));
        }
    }
}

fn validate(system: &mut dyn System, command: &crate::resources::Command) -> Result<()> {
    let output = system.run(command)?;
    if output.success() {
        return Ok(());
    }
    Err(Error::failed(format!("`{}` refuses the configuration", command.display()))
        .because(output.tail(20)))
}
