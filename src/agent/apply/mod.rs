//! Applying a manifest: each resource is checked, applied and checked again; services are
//! validated and then reloaded or restarted once; what cannot hold is put back.

mod coupled;
mod forward;
mod guarded;
mod memory;
mod packages;
mod settle;
mod watched;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::events::{Event, Outcome, RunEnd, ServiceAction};
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Change, Spec, System, Watch, package};

use super::emitter::Emitter;
use super::guard::Guard;
use super::plan::{self, Checked, Plan, notifications, own_restart, raise, starts_service};
use super::removal::Removal;
use super::state::State;
use super::undo::Snapshot;
use super::way_in;
use packages::{apply_group, missing_packages};

/// One apply of one manifest.
pub(super) struct Run<'a> {
    manifest: &'a Manifest,
    /// What in the manifest is there only to take away what is no longer declared.
    removal: &'a Removal,
    /// How many steps a managed resource still needs until it is gone.
    leaving: BTreeMap<&'a ResourceId, usize>,
    /// What is gone and is forgotten at the end, unless it is put back before.
    gone: BTreeSet<&'a ResourceId>,
    /// What does not go after all, because it holds data.
    kept: BTreeSet<&'a ResourceId>,
    system: &'a mut dyn System,
    state: &'a mut State,
    emitter: &'a Emitter,
    /// Reloads and restarts that are due, asked for in this run or owed by an earlier one.
    due: BTreeMap<ResourceId, ServiceAction>,
    /// Services whose debt is of an earlier run, or of a role that is gone: other files of the same
    /// set may still be wrong.
    inherited: BTreeSet<ResourceId>,
    /// Those of them whose configuration was refused, until more of it is switched.
    refused: BTreeSet<ResourceId>,
    /// What was switched since the last point at which everything was known to work.
    undo: Vec<Snapshot>,
    /// Services that were told to reload and have still to show that they live on.
    watched: BTreeMap<ResourceId, Watch>,
    /// Everything that was switched for them before that point.
    kept_for_watched: Vec<Snapshot>,
    /// Resources that were applied before their turn.
    forwarded: forward::Forwarded<'a>,
    /// The first resource that failed; nothing is applied after it.
    failed: Option<ResourceId>,
    /// Packages that were not there when the run began: one that another brings is new as well.
    missing: BTreeSet<&'a ResourceId>,
    /// How many resources were changed, were removed, and failed.
    counts: [u32; 3],
    /// Asks for a proof that a change of the way in locks nobody out; `None` where nobody is there
    /// to give one.
    guard: Option<Guard<'a>>,
    /// The unit of sshd that has to read its files before a proof, though nobody says so.
    untold: Option<String>,
    /// The resources whose change has to be proved.
    guarded: BTreeSet<ResourceId>,
    /// Whether the plan has shown that packages go for others that come.
    may_remove_packages: bool,
    /// The packages that cannot become what they should, as the plan has shown.
    impossible: BTreeMap<ResourceId, Error>,
    /// Why packages stay that nobody declares any more, as the plan has shown.
    together: package::Together,
    /// Whether a change of the way in was put back for want of a proof.
    has_reverted: bool,
    /// What was put back because something failed.
    is_put_back: BTreeSet<ResourceId>,
    /// Services for which something was put back.
    restored: BTreeSet<ResourceId>,
    /// Whether a setting of the kernel has changed.
    has_set: bool,
    /// Whether the account of the login got another password in this run: the client has the old one.
    has_new_password: bool,
}

impl<'a> Run<'a> {
    /// A run that has not begun.
    pub(super) fn new(
        manifest: &'a Manifest,
        removal: &'a Removal,
        system: &'a mut dyn System,
        state: &'a mut State,
        emitter: &'a Emitter,
    ) -> Self {
        let mut leaving = BTreeMap::new();
        for step in removal.steps.values() {
            *leaving.entry(&step.of).or_insert(0) += 1;
        }
        let missing = missing_packages(manifest, system);
        Self {
            manifest,
            removal,
            leaving,
            gone: BTreeSet::new(),
            kept: BTreeSet::new(),
            system,
            state,
            emitter,
            due: BTreeMap::new(),
            inherited: BTreeSet::new(),
            refused: BTreeSet::new(),
            undo: Vec::new(),
            watched: BTreeMap::new(),
            kept_for_watched: Vec::new(),
            forwarded: forward::Forwarded::new(),
            failed: None,
            missing,
            counts: [0; 3],
            guard: None,
            untold: None,
            guarded: BTreeSet::new(),
            may_remove_packages: false,
            impossible: BTreeMap::new(),
            together: package::Together::default(),
            has_reverted: false,
            is_put_back: BTreeSet::new(),
            restored: BTreeSet::new(),
            has_set: false,
            has_new_password: false,
        }
    }

    /// The same run, with guarded changes of the way in.
    pub(super) fn guarded(mut self, guard: Option<Guard<'a>>) -> Self {
        if guard.is_some() {
            self.guarded = way_in::guarded(self.manifest, self.system);
        }
        self.guard = guard;
        self
    }

    /// The same run, after a plan that was shown.
    pub(super) fn planned(mut self, shown: &Plan) -> Self {
        self.may_remove_packages = shown.foreseen.removes();
        self.impossible.clone_from(&shown.refused);
        self.together.clone_from(&shown.together);
        self
    }

    /// How it ended.
    pub(super) fn end(&self) -> RunEnd {
        match (self.has_reverted, &self.failed) {
            (true, _) => RunEnd::Reverted,
            (false, Some(_)) => RunEnd::Failed,
            (false, None) => RunEnd::Done,
        }
    }

    /// Notes in the host's history how it ended.
    pub(super) fn note_end(&mut self, end: RunEnd, now: u64) -> Result<()> {
        self.state.end_run(self.system, end, self.counts, now)
    }

    /// Applies everything. Every resource gets one `Applied` event.
    pub(super) fn all(&mut self) -> Result<()> {
        let result = self.in_order();
        // What was switched and could not be proved, because the run ended first.
        self.unguard();
        for id in std::mem::take(&mut self.gone) {
            self.state.forget(self.system, id)?;
        }
        for id in std::mem::take(&mut self.kept) {
            self.state.release(self.system, id)?;
        }
        result
    }

    fn in_order(&mut self) -> Result<()> {
        let owed = self.state.owed_services(self.manifest);
        let resources = &self.manifest.resources;
        let mut index = 0;
        while let Some(resource) = resources.get(index) {
            if self.system.interrupted() {
                return Err(interruption(resource));
            }
            self.look_at_watched()?;
            if let Some(because) = &self.failed {
                let outcome = Outcome::Skipped { because: because.clone() };
                self.emitter.applied(&resource.id, outcome);
                index += 1;
                continue;
            }
            if self.role_ends_at(index) && self.due.is_empty() {
                self.let_go(|_| true);
            }
            if self.must_prove_before(index) {
                self.settle_guarded(index)?;
                if self.failed.is_none() {
                    self.prove()?;
                } else {
                    self.unguard();
                }
                continue;
            }
            if self.must_settle_before(index) {
                self.settle(index)?;
                continue;
            }
            if self.forwarded.contains(&resource.id) {
                index += 1;
                continue;
            }
            let width = self.step(index)?;
            for passed in resources.iter().skip(index).take(width) {
                // A service that this step has started has read everything.
                let is_owed = self.state.owes(&passed.id) && !self.watched.contains_key(&passed.id);
                if let Some(action) = owed.get(&passed.id).filter(|_| is_owed) {
                    raise(&mut self.due, &passed.id, *action);
                    self.inherited.insert(passed.id.clone());
                }
            }
            self.hold_settings(index, width)?;
            index += width;
        }
        self.settle(resources.len())?;
        if self.failed.is_none() {
            self.prove()?;
        }
        self.watch_to_the_end()?;
        self.start_held();
        self.release()
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

    /// Brings the resource at `index` into its state, with the packages that follow it directly.
    /// Returns how many resources were dealt with.
    fn step(&mut self, index: usize) -> Result<usize> {
        let Some(resource) = self.manifest.resources.get(index) else { return Ok(1) };
        let stays = self.together.stays(&resource.id).cloned();
        let stays = stays.map(|because| Outcome::Released { because });
        if let Some(outcome) = stays.map_or_else(
            || self.removal.keeps(resource, self.system),
            |outcome| Ok(Some(outcome)),
        )? {
            self.finish(resource, outcome)?;
            return Ok(1);
        }
        let alone = plan::holds_alone(resource, self.manifest, self.system);
        let found = alone.and_then(|()| plan::change_of(resource, self.system));
        let refusal = self.impossible.get(&resource.id).cloned();
        let found = match (found, refusal) {
            (Ok(Checked::Differs(_)), Some(error)) => Err(error),
            (found, _) => found,
        };
        match found {
            Ok(Checked::Same) => {
                self.checkpoint(resource);
                self.finish(resource, self.right(resource))?;
                Ok(1)
            }
            Ok(Checked::Differs(change)) => {
                let (group, right) = self.group(index, change);
                self.change(&group)?;
                for resource in &right {
                    self.finish(resource, self.right(resource))?;
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

    /// Applies what differs, checks again, and records what it asks for.
    fn change(&mut self, group: &[(&'a Resource, Change)]) -> Result<()> {
        let mut watched = group.iter().map(|(resource, change)| self.watch(resource, change));
        if let Some(error) = watched.find_map(Result::err) {
            for (resource, _) in group {
                self.finish(resource, Outcome::Failed(error.clone()))?;
            }
            return Ok(());
        }
        let mut snapshots = Vec::new();
        for (resource, change) in group {
            self.emitter.applying(&resource.id);
            let is_followed = self.is_followed(&resource.id);
            // Nothing is taken away later of which nobody can tell whose it was.
            let existed = resource.spec.is_found(change, self.system).unwrap_or(true);
            let managed = self.managed(resource, existed);
            self.state.prepare(self.system, resource, change, managed, is_followed)?;
            let services = notifications(resource).map(|(id, _)| id);
            let services: Vec<_> = services.chain(own_restart(resource, change)).cloned().collect();
            if !services.is_empty() {
                let paths = resource.spec.switched_paths(self.system)?;
                snapshots.push(Snapshot::take(&resource.id, services, &paths, self.system)?);
            }
        }
        let mut result = apply_group(group, self.may_remove_packages, self.system);
        if let (Err(_), Some(service)) = (&result, Self::started_alone(group))
            && self.bring_forward(service)?
        {
            result = apply_group(group, self.may_remove_packages, self.system);
        }
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

    /// The outcome of a resource that is as it should be before it is applied.
    fn right(&self, resource: &Resource) -> Outcome {
        let desired = resource.spec.desired().filter(|_| self.missing.contains(&resource.id));
        desired.map_or(Outcome::Ok, |state| Outcome::Changed(Change::Create(state)))
    }

    /// After the last of several verifications in a row, what was switched before is known to
    /// work.
    fn checkpoint(&mut self, verified: &Resource) {
        let mut rest = self.manifest.resources.iter().skip_while(|other| other.id != verified.id);
        let follows = rest.nth(1).is_some_and(|next| next.spec.verifies());
        if verified.spec.verifies() && !follows {
            self.let_go(|_| true);
        }
    }

    fn check_again(&mut self, resource: &Resource, change: &Change) -> Outcome {
        if resource.spec.verifies() {
            self.checkpoint(resource);
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
    fn finish(&mut self, resource: &'a Resource, mut outcome: Outcome) -> Result<()> {
        self.remember(resource, &outcome)?;
        match &outcome {
            Outcome::Changed(change) => {
                self.system.mark_changed(&resource.id);
                self.has_set |= matches!(resource.spec, Spec::Sysctl(_));
                if starts_service(resource, change) {
                    self.due.remove(&resource.id);
                    self.state.settle_service(self.system, &resource.id)?;
                }
                let is_of_gone_role = self.is_of_gone_role(resource);
                for (service, action) in notifications(resource) {
                    raise(&mut self.due, service, action);
                    self.refused.remove(service);
                    // What goes with its role may be half of a set that another role completes.
                    if is_of_gone_role {
                        self.inherited.insert(service.clone());
                    } else {
                        self.inherited.remove(service);
                    }
                }
            }
            Outcome::Failed(_) => self.fail(&resource.id),
            _ => {}
        }
        if !matches!(outcome, Outcome::Failed(_)) {
            self.settle_followed(resource)?;
        }
        let mut restarted = None;
        if let Outcome::Changed(change) = &mut outcome {
            restarted = own_restart(resource, change);
            self.removal.hide(resource, self.state.resources().get(&resource.id), change);
        }
        self.emitter.applied(&resource.id, outcome);
        // The plan has told that too. A service that is due is told once that is done.
        if let Some(id) = restarted.filter(|id| !self.due.contains_key(*id)) {
            let (id, action) = (id.clone(), ServiceAction::Restart);
            self.emitter.emit(Event::ServiceDone { id, action, error: None });
        }
        Ok(())
    }

    /// Whether `resource` takes something away whose role is not declared any more.
    fn is_of_gone_role(&self, resource: &Resource) -> bool {
        let is_step = |other: &Resource| self.removal.steps.contains_key(&other.id);
        let mut of_role =
            self.manifest.resources.iter().filter(|other| other.role == resource.role);
        of_role.all(is_step)
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
}

fn interruption(next: &Resource) -> Error {
    Error::new(crate::error::Kind::Interrupted, format!("stopped before `{}`", next.id))
        .hint("run `infra apply` again: it goes on from here")
}
