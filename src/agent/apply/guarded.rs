//! Changes of the way in: watched before they are made, proved or put back after.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::events::{Event, ServiceAction};
use crate::manifest::{Resource, ResourceId};
use crate::resources::service::Service;
use crate::resources::{Change, Query, Service as _, Spec};

use super::super::guard::{Guard, Verdict};
use super::super::plan::{Checked, change_of, notifications};
use super::super::way_in;
use super::Run;

impl Run<'_> {
    /// Makes sure that `resource` is put back unless somebody proves that it locks nobody out.
    pub(super) fn watch(&mut self, resource: &Resource, change: &Change) -> Result<()> {
        // The plan has told of it, whether or not somebody is there to prove anything.
        let untold = way_in::untold_sshd(resource, self.manifest, self.system);
        if untold.is_some() {
            self.untold.clone_from(&untold);
        }
        self.has_new_password |= self.is_of_login(resource) && change.sets("password_hash");
        let is_guarded = self.guarded.contains(&resource.id)
            && (resource.guard.is_some() || way_in::may_close(&resource.spec, change));
        let Some(guard) = self.guard.as_mut().filter(|_| is_guarded) else { return Ok(()) };
        let mut units: Vec<(String, ServiceAction)> = Vec::new();
        for (service, action) in notifications(resource) {
            let told = self.manifest.resources.iter().filter(|other| other.id == *service);
            units.extend(told.flat_map(|other| other.spec.units()).map(|unit| (unit, action)));
        }
        units.extend(untold.map(|unit| (unit, ServiceAction::Reload)));
        guard.watch(resource, units, self.system)
    }

    /// Whether what was switched has to be proved before the resource at `index`: after the last
    /// guarded one of the role, or as soon as the time runs short.
    pub(super) fn must_prove_before(&self, index: usize) -> bool {
        let Some(guard) = &self.guard else { return false };
        if guard.unproved().is_none() {
            return false;
        }
        let previous = index.checked_sub(1).and_then(|index| self.manifest.resources.get(index));
        let role = previous.map(|previous| &previous.role);
        let rest = || self.manifest.resources.iter().skip(index);
        let mut of_role = rest().take_while(|resource| Some(&resource.role) == role);
        let is_last = !of_role.any(|resource| self.guarded.contains(&resource.id));
        guard.is_urgent() || is_last || rest().next().is_some_and(|next| self.may_take_long(next))
    }

    /// Whether `next` may well take longer than a guarded change may stay without a proof.
    fn may_take_long(&self, next: &Resource) -> bool {
        const QUICK: [&str; 9] = [
            "authorized_key",
            "directory",
            "file",
            "firewall",
            "line",
            "service",
            "sshd_config",
            "symlink",
            "user",
        ];
        let differs = || !matches!(change_of(next, self.system), Ok(Checked::Same));
        !QUICK.contains(&next.id.kind()) && differs()
    }

    /// Deals with the services that read what is to be proved: others wait for the end of their role.
    pub(super) fn settle_guarded(&mut self, index: usize) -> Result<()> {
        let unproved = self.guard.as_ref().and_then(Guard::unproved);
        let ids = unproved.map(|(ids, _)| ids).unwrap_or_default();
        let resources = self.manifest.resources.iter().filter(|one| ids.contains(&one.id));
        let told: BTreeSet<&ResourceId> =
            resources.flat_map(notifications).map(|(service, _)| service).collect();
        self.settle_those(index, |service| told.contains(service))
    }

    /// Lets sshd read its files where nobody says that it is to: the next boot does, so that the proof has to be
    /// one of them.
    fn tell_sshd(&mut self) {
        let Some(unit) = self.untold.take() else { return };
        let id = way_in::service_of(&unit);
        match Service::named(&unit).reload(self.system) {
            Ok(_) => {
                let (action, error) = (ServiceAction::Reload, None);
                self.emitter.emit(Event::ServiceDone { id, action, error });
            }
            Err(error) => self.fail_service(&id, ServiceAction::Reload, error),
        }
    }

    /// Asks for the proof, and puts everything back without it.
    pub(super) fn prove(&mut self) -> Result<()> {
        self.tell_sshd();
        if self.failed.is_some() {
            self.unguard();
            return Ok(());
        }
        let Some(guard) = &mut self.guard else { return Ok(()) };
        let Some((ids, left)) = guard.unproved() else { return Ok(()) };
        // What is put back is told as whole seconds: better one too few.
        let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
        self.emitter.emit(Event::ProofWanted { ids: ids.clone(), seconds });
        let refusal = match guard.verdict() {
            Verdict::Proved => None,
            Verdict::PasswordRefused(error) => (!self.may_use_sudo()?).then_some(error),
            Verdict::Refuted(error) => Some(error),
        };
        let Some(guard) = &mut self.guard else { return Ok(()) };
        match refusal {
            None if guard.settle(self.system)? => {
                self.emitter.emit(Event::Proved { ids });
                return Ok(());
            }
            None => {
                let error = Error::new(Kind::Reverted, "the proof came too late");
                self.emitter.emit(Event::Reverted { error });
            }
            Some(error) => self.emitter.emit(Event::Reverted { error }),
        }
        self.has_reverted = true;
        self.failed.get_or_insert_with(|| ids[0].clone());
        self.unguard();
        Ok(())
    }

    /// Whether the account of this login only lacks the password that this run has given it: sudo would take that.
    fn may_use_sudo(&self) -> Result<bool> {
        let Some(way) = self.system.way_in().filter(|_| self.has_new_password) else {
            return Ok(false);
        };
        let output = self.system.query(&Query::may_use_sudo(&way.account))?;
        Ok(output.success())
    }

    fn is_of_login(&self, resource: &Resource) -> bool {
        let account = self.system.way_in().map(|way| way.account);
        matches!(&resource.spec, Spec::User(user) if Some(&user.name) == account.as_ref())
    }

    /// Puts back what is guarded and not proved, if anything is.
    pub(super) fn unguard(&mut self) {
        let Some(guard) = &mut self.guard else { return };
        for (id, error) in guard.revert(self.system) {
            self.undo.retain(|snapshot| snapshot.id != id);
            self.kept_for_watched.retain(|snapshot| snapshot.id != id);
            self.state.unapplied(&id);
            if let Some(step) = self.removal.steps.get(&id) {
                self.gone.remove(&step.of);
            }
            if !self.is_put_back.contains(&id) {
                self.emitter.emit(Event::RolledBack { id, error });
            }
        }
    }
}
