//! The services that are told when something of theirs goes: declared ones, and those that run on although
//! nobody declares them any more.

use crate::error::Result;
use crate::events::{Mark, ServiceAction};
use crate::manifest::{Resource, ResourceId};
use crate::resources::service::Service;
use crate::resources::{Resource as _, Spec};

use super::removal::{Removal, Step};
use super::state::State;
use super::world::World;

/// A service to tell.
enum Told {
    /// One that the manifest declares.
    Declared(ResourceId),
    /// One that runs, and that nobody declares.
    Alone(Service),
}

/// Notes for each resource that takes something away which services it tells, and adds those that nobody
/// declares: also one that a run that was cut still owes something.
pub(super) fn tell(
    going: &mut Vec<(usize, Resource)>,
    removal: &mut Removal,
    state: &State,
    world: &World<'_>,
) -> Result<()> {
    let mut index = 0;
    while let Some((position, resource)) = going.get_mut(index) {
        index += 1;
        let of = removal.steps.get(&resource.id).map(|step| step.of.clone());
        let Some((of, managed)) = of.and_then(|of| state.resources().get_key_value(&of)) else {
            continue;
        };
        let mut alone = Vec::new();
        for (service, action) in &managed.notifies {
            let id = match told(service, state, world)? {
                Some(Told::Declared(id)) => id,
                Some(Told::Alone(service)) => {
                    let spec = Spec::Service(service);
                    let id = spec.id();
                    alone.push(spec);
                    id
                }
                None => continue,
            };
            match action {
                ServiceAction::Reload => resource.reload.push(id),
                ServiceAction::Restart => resource.restart.push(id),
            }
        }
        let (position, role) = (*position, resource.role.clone());
        for spec in alone {
            if add(&spec, of, removal) {
                going.insert(index, (position, Resource::alone(spec, role.clone())));
                index += 1;
            }
        }
    }
    let last = world.manifest.resources.len();
    for service in state.debts().filter(|service| !world.declared.contains(service)) {
        let Some(Told::Alone(alone)) = told(service, state, world)? else { continue };
        let spec = Spec::Service(alone);
        if add(&spec, service, removal) {
            going.push((last, Resource::alone(spec, String::new())));
        }
    }
    Ok(())
}

/// Adds a step that changes nothing, so that nothing of the service is remembered. Returns whether there
/// was none.
fn add(spec: &Spec, of: &ResourceId, removal: &mut Removal) -> bool {
    let step = Step { of: of.clone(), mark: Mark::Undeclared, holds_secrets: false };
    let is_new = !removal.steps.contains_key(&spec.id());
    if is_new {
        removal.steps.insert(spec.id(), step);
    }
    is_new
}

/// The service that is told in place of `id`; `None` if it goes as well, or does not run.
fn told(id: &ResourceId, state: &State, world: &World<'_>) -> Result<Option<Told>> {
    if world.declared.contains(id) {
        return Ok(Some(Told::Declared(id.clone())));
    }
    if id.kind() != Service::KIND {
        return Ok(None);
    }
    let managed = state.resources().get(id);
    let known = managed.and_then(|managed| managed.dropped.gently.as_ref());
    let service = match known {
        // Its own step stops it.
        Some(Spec::Service(service))
            if service.stops()
                && managed.is_some_and(|one| {
                    !one.existed && one.unit_before.is_none_or(|before| !before.running)
                }) =>
        {
            return Ok(None);
        }
        Some(Spec::Service(service)) => service.left_alone(),
        _ => Service::named(id.identity()),
    };
    let probe = world.names.probe();
    let Some(unit) = service.holds_unit(probe, true)? else { return Ok(None) };
    for other in &world.present {
        if other.spec.holds_unit(probe, true)?.as_ref() == Some(&unit) {
            return Ok(Some(Told::Declared(other.id.clone())));
        }
    }
    Ok(probe.unit(&unit)?.is_active().then_some(Told::Alone(service)))
}
