//! The check of a whole manifest: what would change, each resource seen through the predicted
//! effects of the ones before it.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::events::{Mark, Outcome, ServiceAction};
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::package::{Foreseen, Together};
use crate::resources::{Change, Current, FieldChange, Prediction, Probe, Service, Spec, Value};

use super::packages::{hold_back, may_bring_lists, packages, together};
use super::removal::{self, Removal};
use super::state::State;
use super::state::managed::{Key, Managed};
use super::steady::Steady;
use super::way_in;

/// What an apply would do. Two plans of one manifest are equal if the server did not change in
/// between, as far as the manifest can see.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// For each resource of the manifest, in its order.
    pub outcomes: Vec<Outcome>,
    /// The services that would be reloaded or restarted.
    pub due: BTreeMap<ResourceId, ServiceAction>,
    /// What apt would do beside what the manifest says.
    pub foreseen: Foreseen,
    /// The packages that cannot become what they should, and why.
    pub refused: BTreeMap<ResourceId, Error>,
    /// The resources that would undo earlier ones, and how.
    pub contradicting: BTreeMap<ResourceId, Error>,
    /// The packages that apt would take away together with those that go and come.
    pub together: Together,
    /// What is let go: no longer declared, and left as it is.
    pub released: Vec<(ResourceId, String)>,
    /// The number of the host's state that it was made from.
    pub serial: u64,
}

impl Plan {
    /// What apt would do beside what the manifest says; asked once for all plans of a run.
    pub fn foresee(manifest: &Manifest, probe: &dyn Probe) -> Foreseen {
        Foreseen::ask(packages(manifest), probe)
    }

    /// Compares the server with the manifest, into which `removal` has put what goes.
    /// `on_outcome` sees each outcome as it is known.
    pub fn make(
        manifest: &Manifest,
        probe: &dyn Probe,
        state: &State,
        removal: &Removal,
        foreseen: Foreseen,
        mut on_outcome: impl FnMut(&ResourceId, &Outcome, Option<Mark>),
    ) -> Self {
        probe.preload_units(&units(manifest));
        let mut world = Prediction::new(probe);
        let mut foreseen_here = foreseen.clone();
        let (mut refused, mut steady) = (BTreeMap::new(), Steady::default());
        let (mut outcomes, mut due) = (Vec::new(), state.owed_services(manifest));
        let together = together(manifest, state, removal, &foreseen, probe);
        for (id, because) in &removal.released {
            on_outcome(id, &Outcome::Released { because: because.clone() }, None);
        }
        for resource in &manifest.resources {
            let more_to_come = outcomes.iter().any(is_change);
            let mut outcome = check(resource, manifest, &world, removal, more_to_come);
            if let Some(because) = together.stays(&resource.id).filter(|_| is_change(&outcome)) {
                outcome = Outcome::Released { because: because.clone() };
            }
            let held = hold_back(&resource.id, &mut outcome, &foreseen_here, &together, &world);
            if let Some(error) = held {
                refused.insert(resource.id.clone(), error);
            }
            let mut mark = None;
            if let Outcome::Changed(change) = &mut outcome {
                resource.spec.predict(change, &mut world);
                world.mark_changed(&resource.id);
                if starts_service(resource, change) {
                    due.remove(&resource.id);
                }
                for (service, action) in unasked(resource, change, manifest, &mut world) {
                    raise(&mut due, &service, action);
                }
                for (service, action) in notifications(resource) {
                    raise(&mut due, service, action);
                    let told = manifest.resources.iter().filter(|other| other.id == *service);
                    told.for_each(|other| world.tell(&other.spec));
                }
                let known = state.resources().get(&resource.id);
                mark = removal.mark(&resource.id).or_else(|| {
                    mark_of(resource, change, known?, state.key(), probe, more_to_come)
                });
                removal.hide(resource, known, change);
                match resource.id.kind() {
                    _ if may_bring_lists(&resource.spec) => {
                        foreseen_here = foreseen_here.with_lists_due();
                    }
                    "package" => foreseen_here.describe(resource.id.identity(), change, |name| {
                        packages(manifest).any(|package| package.name == name)
                    }),
                    _ => {}
                }
            }
            if let Some(error) = steady.look(resource, &outcome, &world) {
                outcome = Outcome::Failed(error);
            }
            on_outcome(&resource.id, &outcome, mark);
            outcomes.push(outcome);
        }
        let due = all_done_as(due, manifest, &world);
        let released = removal.released.clone();
        let (serial, contradicting) = (state.serial(), steady.refused);
        Self { outcomes, due, foreseen, refused, contradicting, together, released, serial }
    }

    /// Looks whether all resources can hold together, so that a run which could not end begins nothing.
    ///
    /// # Errors
    /// The first resource that cannot hold beside others.
    pub fn is_consistent(&self, manifest: &Manifest, removal: &Removal) -> Result<()> {
        removal.is_consistent(manifest)?;
        let mut ids = manifest.resources.iter().map(|resource| &resource.id);
        let refusal =
            ids.find_map(|id| self.together.refusal(id).or_else(|| self.contradicting.get(id)));
        refusal.map_or(Ok(()), |error| Err(removal::contradiction(error)))
    }

    /// Whether a unit is just being started.
    pub fn waits(&self) -> bool {
        self.outcomes.iter().any(|outcome| match outcome {
            Outcome::Changed(Change::Update(fields)) => fields.iter().any(FieldChange::only_waits),
            _ => false,
        })
    }

    /// Whether an apply would do anything.
    pub fn has_changes(&self) -> bool {
        !self.due.is_empty()
            || !self.released.is_empty()
            || self.outcomes.iter().any(|outcome| {
                matches!(
                    outcome,
                    Outcome::Changed(_)
                        | Outcome::Released { .. }
                        | Outcome::Unknown { .. }
                        | Outcome::Deferred
                )
            })
    }
}

/// What `resource` asks for after it changed: each service once, a restart before a reload.
pub(super) fn notifications(
    resource: &Resource,
) -> impl Iterator<Item = (&ResourceId, ServiceAction)> {
    let restarts = resource.restart.iter().map(|service| (service, ServiceAction::Restart));
    let reloads = resource.reload.iter().map(|service| (service, ServiceAction::Reload));
    restarts.chain(reloads)
}

/// Records that a service is due; a restart covers a reload.
pub(super) fn raise(
    due: &mut BTreeMap<ResourceId, ServiceAction>,
    service: &ResourceId,
    action: ServiceAction,
) {
    let entry = due.entry(service.clone()).or_insert(action);
    *entry = (*entry).max(action);
}

/// The services that are due, with the action that each will get.
fn all_done_as(
    due: BTreeMap<ResourceId, ServiceAction>,
    manifest: &Manifest,
    probe: &dyn Probe,
) -> BTreeMap<ResourceId, ServiceAction> {
    let done = due.into_iter().filter_map(|(id, action)| {
        let action = done_as(&id, action, manifest, probe)?;
        Some((id, action))
    });
    done.collect()
}

/// The action that a service gets where `action` is due: a unit that runs and cannot reload is restarted instead,
/// and a service that is stopped stays so.
pub(super) fn done_as(
    service: &ResourceId,
    action: ServiceAction,
    manifest: &Manifest,
    probe: &dyn Probe,
) -> Option<ServiceAction> {
    let resource = manifest.resources.iter().find(|resource| resource.id == *service);
    let is_stopped = |service: &dyn Service| service.stays_stopped(probe).unwrap_or_default();
    if resource.and_then(|resource| resource.spec.as_service()).is_some_and(is_stopped) {
        return None;
    }
    let units = resource.map(|resource| resource.spec.units()).unwrap_or_default();
    let cannot =
        |unit: &String| probe.unit(unit).is_ok_and(|unit| unit.is_active() && unit.cannot_reload());
    Some(if units.iter().any(cannot) { ServiceAction::Restart } else { action })
}

/// Services that are told of `change` although the resource names none: the unit itself, and sshd before a
/// proof.
fn unasked(
    resource: &Resource,
    change: &Change,
    manifest: &Manifest,
    world: &mut Prediction<'_>,
) -> Vec<(ResourceId, ServiceAction)> {
    let own = own_restart(resource, change).map(|id| (id.clone(), ServiceAction::Restart));
    if own.is_some() {
        world.tell(&resource.spec);
    }
    let sshd = way_in::untold_sshd(resource, manifest, world);
    let sshd = sshd.map(|unit| (way_in::service_of(&unit), ServiceAction::Reload));
    own.into_iter().chain(sshd).collect()
}

/// The service that `change` owes a restart because it switches what the service itself runs from.
pub(super) fn own_restart<'a>(resource: &'a Resource, change: &Change) -> Option<&'a ResourceId> {
    let service = resource.spec.as_service();
    service.is_some_and(|service| service.restarts_for(change)).then_some(&resource.id)
}

/// Whether applying `change` makes the service read its configuration anew, so that no reload is
/// owed to it any more.
pub(super) fn starts_service(resource: &Resource, change: &Change) -> bool {
    resource.spec.as_service().is_some_and(|service| service.is_started_by(change))
}

/// Whose change it is. What differs only because of resources before it is nobody's drift.
fn mark_of(
    resource: &Resource,
    change: &Change,
    managed: &Managed,
    key: &Key,
    probe: &dyn Probe,
    is_predicted: bool,
) -> Option<Mark> {
    // Where they cannot be told, nothing is called drift that may be none.
    let traces = resource.spec.traces(probe).unwrap_or_default();
    let mark = managed.mark(key, change, &traces)?;
    if !is_predicted {
        return Some(mark);
    }
    match change_of(resource, probe) {
        Ok(Checked::Same) => None,
        Ok(Checked::Differs(change)) => managed.mark(key, &change, &traces),
        Ok(Checked::Unknown(_)) | Err(_) => Some(mark),
    }
}

/// One resource against the server as it is, or as a preview predicts it.
pub(super) fn check(
    resource: &Resource,
    manifest: &Manifest,
    probe: &dyn Probe,
    removal: &Removal,
    more_to_come: bool,
) -> Outcome {
    if resource.spec.verifies() && more_to_come {
        return Outcome::Deferred;
    }
    if let Some(error) = removal.refuses(&resource.id) {
        return Outcome::Failed(error.clone());
    }
    match removal.keeps(resource, probe) {
        Ok(Some(outcome)) => return outcome,
        Ok(None) => {}
        Err(error) => return Outcome::Failed(error),
    }
    if let Err(error) = holds_alone(resource, manifest, probe) {
        return Outcome::Failed(error);
    }
    match change_of(resource, probe) {
        Ok(Checked::Same) => Outcome::Ok,
        Ok(Checked::Differs(change)) if resource.spec.verifies() => {
            Outcome::Failed(verification_error(resource, &change))
        }
        Ok(Checked::Differs(change)) => Outcome::Changed(change),
        Ok(Checked::Unknown(after)) => Outcome::Unknown { after },
        // The obstacle may be gone by then: moved, unmounted, given to another owner.
        Err(error) => match command_about(resource, probe) {
            Some(after) => Outcome::Unknown { after },
            None => Outcome::Failed(error),
        },
    }
}

/// The last command of a preview so far that is about the same thing as `resource`.
fn command_about(resource: &Resource, probe: &dyn Probe) -> Option<ResourceId> {
    let device = match &resource.spec {
        Spec::Mount(mount) => Some(mount.device.as_str()),
        Spec::Volume(volume) => Some(volume.device.as_str()),
        _ => None,
    };
    let mut names = std::iter::once(resource.id.identity()).chain(device);
    names.find_map(|name| probe.command_about(name))
}

/// Makes sure that no other resource holds the same unit under the unit's own name, or under yet
/// another one.
///
/// # Errors
/// When one does.
pub(super) fn holds_alone(
    resource: &Resource,
    manifest: &Manifest,
    probe: &dyn Probe,
) -> Result<()> {
    let Some(unit) = resource.spec.holds_unit(probe, false)? else { return Ok(()) };
    let names = resource.spec.units();
    if names.contains(&unit) {
        return Ok(());
    }
    for other in manifest.resources.iter().filter(|other| other.id != resource.id) {
        if other.spec.holds_unit(probe, false)?.as_ref() == Some(&unit) {
            let name = names.first().map_or("", String::as_str);
            let what = format!("`{name}` is another name of `{unit}`, which `{}` holds", other.id);
            return Err(Error::failed(what).hint("declare the unit once, under its own name"));
        }
    }
    Ok(())
}

/// What a comparison says, where it says anything.
pub(super) enum Checked {
    Same,
    Differs(Change),
    Unknown(ResourceId),
}

/// Compares one resource.
pub(super) fn change_of(resource: &Resource, probe: &dyn Probe) -> Result<Checked> {
    let current = match resource.spec.current(probe) {
        // The tool will come with an earlier resource: nothing that it keeps can be there yet.
        Err(error) if error.kind == Kind::ToolMissing && probe.is_preview_of_more() => {
            Current::Absent
        }
        other => other?,
    };
    if current == Current::Unknown {
        let after = probe.last_unpredictable().unwrap_or_else(|| resource.id.clone());
        return Ok(Checked::Unknown(after));
    }
    let Some(change) = resource.spec.change(&current, probe)? else {
        return Ok(Checked::Same);
    };
    resource.spec.check_bonds(&change, probe)?;
    resource.spec.check_obstacles(&change, probe)?;
    Ok(Checked::Differs(change))
}

/// What a verification that does not hold says.
pub(super) fn verification_error(resource: &Resource, change: &Change) -> Error {
    let error = Error::failed(format!("`{}` does not hold", resource.id));
    match change {
        Change::Update(changes) => changes.iter().fold(error, |error, change| {
            let found = change.current.as_ref().map_or("nothing".into(), Value::summary);
            error.because(format!("{} is {found}, not {}", change.field, change.desired.summary()))
        }),
        Change::Create(_) | Change::Remove => error,
    }
}

pub(super) fn is_change(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Changed(_) | Outcome::Unknown { .. })
}

fn units(manifest: &Manifest) -> Vec<String> {
    let mut units: Vec<String> =
        manifest.resources.iter().flat_map(|resource| resource.spec.units()).collect();
    units.sort();
    units.dedup();
    units
}
