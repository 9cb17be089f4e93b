//! Applying a manifest: each resource is checked, applied and checked again; services are
//! validated and then reloaded or restarted once; what cannot hold is put back.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::events::{Event, Outcome, ServiceAction};
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Change, Spec, System, package};

use super::emitter::Emitter;
use super::plan::{self, Checked, notifications, raise, starts_service};
use super::state::State;
use super::undo::Snapshot;

/// One apply of one manifest.
pub(super) struct Run<'a> {
    manifest: &'a Manifest,
    system: &'a mut dyn System,
    state: &'a mut State,
    emitter: &'a Emitter,
    /// Reloads and restarts that are due, asked for in this run or owed by an earlier one.
    due: BTreeMap<ResourceId, ServiceAction>,
    /// Services whose debt is of an earlier run: other files of the same set may still be wrong.
    inherited: BTreeSet<ResourceId>,
    /// What was switched since the last point at which everything was known to work.
    undo: Vec<Snapshot>,
    /// The first resource that failed; nothing is applied after it.
    failed: Option<ResourceId>,
}

impl<'a> Run<'a> {
    /// A run that has not begun.
    pub(super) fn new(
        manifest: &'a Manifest,
        system: &'a mut dyn System,
        state: &'a mut State,
        emitter: &'a Emitter,
    ) -> Self {
        Self {
            manifest,
            system,
            state,
            emitter,
            due: BTreeMap::new(),
            inherited: BTreeSet::new(),
            undo: Vec::new(),
            failed: None,
        }
    }

    /// Applies everything in order. Every resource gets one `Applied` event.
    pub(super) fn all(mut self) -> Result<()> {
        let owed = self.state.owed_services(self.manifest);
        let resources = &self.manifest.resources;
        let mut index = 0;
        while let Some(resource) = resources.get(index) {
            if self.system.interrupted() {
                return Err(interruption(resource));
            }
            if let Some(because) = &self.failed {
                let outcome = Outcome::Skipped { because: because.clone() };
                self.emitter.applied(&resource.id, outcome);
                index += 1;
                continue;
            }
            if self.role_ends_at(index) && self.due.is_empty() {
                self.undo.clear();
            }
            if self.must_settle_before(index) {
                self.settle(index)?;
                continue;
            }
            let width = self.step(index)?;
            for passed in resources.iter().skip(index).take(width) {
                // A service that this step has started has read everything.
                let is_owed = self.state.owes(&passed.id);
                if let Some(action) = owed.get(&passed.id).filter(|_| is_owed) {
                    raise(&mut self.due, &passed.id, *action);
                    self.inherited.insert(passed.id.clone());
                }
            }
            index += width;
        }
        self.settle(resources.len())?;
        self.start_held();
        Ok(())
    }

    /// Services that came with packages, waited for their configuration, and are declared by
    /// nobody run now, as Debian would have it. One that does not start fails no resource.
    fn start_held(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let specs = self.manifest.resources.iter().map(|resource| &resource.spec);
        let declared: BTreeSet<String> = specs.flat_map(Spec::units).collect();
        if let Err(error) = package::start_held(self.system, &declared) {
            let message = format!("a service that came with a package does not run: {error}");
            self.emitter.emit(Event::Warning { message });
        }
    }

    /// Whether services that are due must be dealt with before the resource at `index`: at the
    /// end of the role that asked, and before whatever depends on their running as configured.
    fn must_settle_before(&self, index: usize) -> bool {
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
        (role_ends && fresh)
            || resource.spec.verifies() && self.has_payable(index)
            || depends && fresh
    }

    fn has_payable(&self, index: usize) -> bool {
        self.due.keys().any(|service| {
            !self.inherited.contains(service) || !self.is_notified_from(service, index)
        })
    }

    fn is_due_or_notifies(&self, id: &ResourceId) -> bool {
        self.due.contains_key(id) || self.undo.iter().any(|snapshot| snapshot.id == *id)
    }

    fn is_notified_from(&self, service: &ResourceId, index: usize) -> bool {
        let later = self.manifest.resources.iter().skip(index);
        later.flat_map(notifications).any(|(id, _)| id == service)
    }

    /// Brings the resource at `index` into its state, with the packages that follow it directly.
    /// Returns how many resources were dealt with.
    fn step(&mut self, index: usize) -> Result<usize> {
        let Some(resource) = self.manifest.resources.get(index) else { return Ok(1) };
        match plan::change_of(resource, self.system) {
            Ok(Checked::Same) => {
                if resource.spec.verifies() {
                    self.undo.clear();
                }
                self.finish(resource, Outcome::Ok)?;
                Ok(1)
            }
            Ok(Checked::Differs(change)) => {
                let (group, right) = self.group(index, change);
                self.change(&group)?;
                for resource in &right {
                    self.finish(resource, Outcome::Ok)?;
                }
                Ok(group.len() + right.len())
            }
            Ok(Checked::Unknown(_)) => {
                let error = Error::failed("its state cannot be read even now");
                self.finish(resource, Outcome::Failed(error))?;
                Ok(1)
            }
            Err(error) => {
                self.finish(resource, Outcome::Failed(error))?;
                Ok(1)
            }
        }
    }

    /// The resource at `index`, and after a package the packages behind it in the same role:
    /// one transaction of apt installs them all. Then those of them that are right already.
    fn group(
        &self,
        index: usize,
        change: Change,
    ) -> (Vec<(&'a Resource, Change)>, Vec<&'a Resource>) {
        let (mut group, mut right) = (Vec::new(), Vec::new());
        let manifest = self.manifest;
        let Some(first) = manifest.resources.get(index) else { return (group, right) };
        group.push((first, change));
        if first.id.kind() != "package" {
            return (group, right);
        }
        for next in manifest.resources.iter().skip(index + 1) {
            if next.id.kind() != "package" || next.role != first.role {
                break;
            }
            match plan::change_of(next, self.system) {
                Ok(Checked::Differs(change)) => group.push((next, change)),
                Ok(Checked::Same) => right.push(next),
                _ => break,
            }
        }
        (group, right)
    }

    /// Applies what differs, checks again, and records what it asks for.
    fn change(&mut self, group: &[(&'a Resource, Change)]) -> Result<()> {
        let mut snapshots = Vec::new();
        for (resource, _) in group {
            self.emitter.applying(&resource.id);
            let owed_change = self.is_followed(&resource.id).then_some(&resource.id);
            self.state.owe(self.system, notifications(resource), owed_change)?;
            let services: Vec<_> = notifications(resource).map(|(id, _)| id.clone()).collect();
            if !services.is_empty() {
                let paths = resource.spec.switches();
                snapshots.push(Snapshot::take(&resource.id, services, &paths, self.system)?);
            }
        }
        let result = apply_group(group, self.system);
        self.undo.extend(snapshots);
        for (resource, change) in group {
            let outcome = match &result {
                Ok(()) => self.check_again(resource, change),
                Err(error) => Outcome::Failed(error.clone()),
            };
            self.finish(resource, outcome)?;
        }
        Ok(())
    }

    fn check_again(&mut self, resource: &Resource, change: &Change) -> Outcome {
        if resource.spec.verifies() {
            self.undo.clear();
            return Outcome::Ok;
        }
        match plan::change_of(resource, self.system) {
            Ok(Checked::Same) => Outcome::Changed(change.clone()),
            Ok(Checked::Differs(left)) => {
                let fields = left.field_names();
                let fields = if fields.is_empty() { "it is still there" } else { &fields };
                Outcome::Failed(Error::failed(format!("did not converge: {fields}")))
            }
            Ok(Checked::Unknown(_)) => Outcome::Failed(Error::failed("did not converge: unknown")),
            Err(error) => Outcome::Failed(error.context("cannot check it after applying")),
        }
    }

    /// Records the outcome of a resource and tells it.
    fn finish(&mut self, resource: &'a Resource, outcome: Outcome) -> Result<()> {
        match &outcome {
            Outcome::Changed(change) => {
                self.system.mark_changed(&resource.id);
                if starts_service(resource, change) {
                    self.due.remove(&resource.id);
                    self.state.settle_service(self.system, &resource.id)?;
                }
                for (service, action) in notifications(resource) {
                    raise(&mut self.due, service, action);
                    self.inherited.remove(service);
                }
            }
            Outcome::Failed(_) => self.fail(&resource.id),
            _ => {}
        }
        if !matches!(outcome, Outcome::Failed(_)) {
            self.settle_followed(resource)?;
        }
        self.emitter.applied(&resource.id, outcome);
        Ok(())
    }

    /// Whether a command waits for the change of `id`.
    fn is_followed(&self, id: &ResourceId) -> bool {
        self.manifest.resources.iter().any(|other| other.spec.runs_after_change_of().contains(id))
    }

    /// A command that waited for changes has run, or had no need to: the changes whose commands
    /// have all been passed are settled.
    fn settle_followed(&mut self, done: &Resource) -> Result<()> {
        let awaited = done.spec.runs_after_change_of();
        if awaited.is_empty() {
            return Ok(());
        }
        let position = self.manifest.resources.iter().position(|other| other.id == done.id);
        let later = position.map_or(0, |position| position + 1);
        for change in awaited {
            let waits = |other: &Resource| other.spec.runs_after_change_of().contains(&change);
            if !self.manifest.resources.iter().skip(later).any(waits) {
                self.state.settle_change(self.system, &change)?;
            }
        }
        Ok(())
    }

    /// Something failed: what was switched for the same services goes back to how it was, so
    /// that no half of a set stays; other services still get what they are owed.
    fn fail(&mut self, id: &ResourceId) {
        self.failed = Some(id.clone());
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        if resource.is_some_and(|resource| resource.spec.verifies()) {
            self.put_back(|_| true);
        } else if let Some(resource) = resource {
            let services: BTreeSet<&ResourceId> =
                notifications(resource).map(|(service, _)| service).collect();
            self.put_back(|snapshot| snapshot.services.iter().any(|id| services.contains(id)));
        }
    }

    /// Puts back the snapshots that `which` selects, newest first. Their services stay due, so
    /// that a service which has already read the new files reads the old ones again.
    fn put_back(&mut self, which: impl Fn(&Snapshot) -> bool) {
        let (back, keep) = std::mem::take(&mut self.undo).into_iter().partition(which);
        self.undo = keep;
        let back: Vec<Snapshot> = back;
        for snapshot in back.iter().rev() {
            let error = snapshot.restore(self.system).err();
            if error.is_none() {
                for service in &snapshot.services {
                    let action = self.action_for(&snapshot.id, service);
                    raise(&mut self.due, service, action);
                }
            }
            self.emitter.emit(Event::RolledBack { id: snapshot.id.clone(), error });
        }
    }

    fn action_for(&self, id: &ResourceId, service: &ResourceId) -> ServiceAction {
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        let restarts = resource.is_some_and(|resource| resource.restart.contains(service));
        if restarts { ServiceAction::Restart } else { ServiceAction::Reload }
    }

    /// Deals with every service that is due, in the order of their names; `index` is the next
    /// resource.
    fn settle(&mut self, index: usize) -> Result<()> {
        for (service, action) in std::mem::take(&mut self.due) {
            self.settle_one(&service, action, index)?;
        }
        // A failed validation has put files back and made their services due again.
        for (service, action) in std::mem::take(&mut self.due) {
            if self.inherited.contains(&service) && self.is_notified_from(&service, index) {
                self.due.insert(service, action);
                continue;
            }
            self.settle_one(&service, action, index)?;
        }
        if self.role_ends_at(index) {
            self.undo.clear();
        }
        Ok(())
    }

    fn role_ends_at(&self, index: usize) -> bool {
        let resources = &self.manifest.resources;
        let role = |index: usize| resources.get(index).map(|resource| &resource.role);
        index == 0 || role(index) != role(index - 1)
    }

    fn settle_one(&mut self, id: &ResourceId, action: ServiceAction, index: usize) -> Result<()> {
        let resource = self.manifest.resources.iter().find(|resource| resource.id == *id);
        let Some(service) = resource.and_then(|resource| resource.spec.as_service()) else {
            return Ok(());
        };
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
                self.due.insert(id.clone(), action);
            } else {
                self.fail_service(id, action, error);
            }
            return Ok(());
        }
        let result = match action {
            ServiceAction::Reload => service.reload(self.system),
            ServiceAction::Restart => service.restart(self.system),
        };
        match result {
            Ok(()) => {
                self.inherited.remove(id);
                self.state.settle_service(self.system, id)?;
                self.emitter.emit(Event::ServiceDone { id: id.clone(), action, error: None });
            }
            Err(error) => self.fail_service(id, action, error),
        }
        Ok(())
    }

    fn fail_service(&mut self, id: &ResourceId, action: ServiceAction, error: Error) {
        self.emitter.emit(Event::ServiceDone { id: id.clone(), action, error: Some(error) });
        let first = self.failed.is_none();
        self.failed.get_or_insert_with(|| id.clone());
        if first {
            self.put_back(|snapshot| snapshot.services.contains(id));
        }
    }
}

/// Applies one resource, or several packages.
fn apply_group(group: &[(&Resource, Change)], system: &mut dyn System) -> Result<()> {
    let packages: Option<Vec<_>> = group
        .iter()
        .map(|(resource, change)| match &resource.spec {
            Spec::Package(package) => Some((package, change)),
            _ => None,
        })
        .collect();
    if let Some(packages) = packages {
        return package::apply_all(&packages, system);
    }
    group.iter().try_for_each(|(resource, change)| resource.spec.apply(change, system))
}

fn validate(system: &mut dyn System, command: &crate::resources::Command) -> Result<()> {
    let output = system.run(command)?;
    if output.success() {
        return Ok(());
    }
    Err(Error::failed(format!("`{}` refuses the configuration", command.display()))
        .because(output.tail(20)))
}

fn interruption(next: &Resource) -> Error {
    Error::new(crate::error::Kind::Interrupted, format!("stopped before `{}`", next.id))
        .hint("run `infra apply` again: it goes on from here")
}
