//! The packages of a whole manifest, as apt sees them.

use crate::error::Error;
use crate::events::Outcome;
use crate::manifest::{Manifest, ResourceId};
use crate::resources::package::{Foreseen, Needed, Package, Together};
use crate::resources::{Probe, Spec};

use super::plan::is_change;
use super::removal::Removal;
use super::state::State;

/// The packages of a manifest.
pub(super) fn packages(manifest: &Manifest) -> impl Iterator<Item = &Package> {
    manifest.resources.iter().filter_map(|resource| match &resource.spec {
        Spec::Package(package) => Some(package),
        _ => None,
    })
}

/// The packages that apt would take away together with others, or for others.
pub(super) fn together(
    manifest: &Manifest,
    state: &State,
    removal: &Removal,
    foreseen: &Foreseen,
    probe: &dyn Probe,
) -> Together {
    let all: Vec<&Package> = packages(manifest).collect();
    let packages = kept_packages(manifest, state, removal).collect();
    let kept = Needed { packages, shells: shells(manifest, probe) };
    let is_dropped =
        |package: &Package| removal.steps.contains_key(&ResourceId::new("package", &package.name));
    Together::ask(&all, &kept, is_dropped, foreseen, probe)
}

/// The users that are to be there, with the shells that they are to have.
fn shells(manifest: &Manifest, probe: &dyn Probe) -> Vec<(String, String)> {
    let users = manifest.resources.iter().filter_map(|resource| match &resource.spec {
        Spec::User(user) if resource.spec.desired().is_some() => Some(user),
        _ => None,
    });
    let with_shell = users.filter_map(|user| {
        let declared = user.shell.as_ref().map(ToString::to_string);
        // A user that cannot be looked up is an error of its own check.
        let found = || Some(probe.user(&user.name).ok()??.shell);
        Some((user.name.clone(), declared.or_else(found)?))
    });
    with_shell.collect()
}

/// The packages that are to be there: those that the manifest declares, and those of the rest of the
/// inventory where this is a part of it.
fn kept_packages<'a>(
    manifest: &'a Manifest,
    state: &'a State,
    removal: &'a Removal,
) -> impl Iterator<Item = &'a Package> {
    let declared = packages(manifest).filter(|package| package.is_wanted());
    let is_elsewhere = |id: &ResourceId| {
        !removal.lets_go(id) && !manifest.resources.iter().any(|resource| resource.id == *id)
    };
    let managed = state.resources().iter().filter(|(id, _)| id.kind() == "package");
    let elsewhere = managed.filter(move |(id, _)| is_elsewhere(id));
    let elsewhere = elsewhere.filter_map(|(_, managed)| match managed.away() {
        Some(Spec::Package(package)) => Some(package),
        _ => None,
    });
    declared.chain(elsewhere)
}

/// Changes the outcome of a package that is to change and cannot, and returns the reason. Where a command may lift
/// before that what apt holds back by its name, the outcome is known later, and there is no reason yet.
pub(super) fn hold_back(
    id: &ResourceId,
    outcome: &mut Outcome,
    foreseen: &Foreseen,
    together: &Together,
    probe: &dyn Probe,
) -> Option<Error> {
    if !is_change(outcome) {
        return None;
    }
    let certain = together.refusal(id);
    let error = certain.or_else(|| foreseen.refusal(id))?.clone();
    if let Some(after) = probe.command_about(id.identity()).filter(|_| certain.is_none()) {
        *outcome = Outcome::Unknown { after };
        return None;
    }
    *outcome = Outcome::Failed(error.clone());
    Some(error)
}

/// Whether apt may know of more packages once this is applied.
pub(super) fn may_bring_lists(spec: &Spec) -> bool {
    matches!(spec, Spec::AptRepository(_) | Spec::Command(_))
        || spec.switches().iter().any(|path| path.starts_with("/etc/apt/"))
}
