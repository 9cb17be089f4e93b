//! Packages of a run: those that follow one another are one transaction of apt.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Change, Current, Spec, System, package};

use super::super::plan::{Checked, change_of};
use super::Run;

impl<'a> Run<'a> {
    /// The resource at `index`, and after a package the packages behind it in the same role:
    /// one transaction of apt installs them all. Then those of them that are right already.
    pub(super) fn group(
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
            let is_impossible =
                self.impossible.contains_key(&next.id) || self.together.stays(&next.id).is_some();
            if next.id.kind() != "package" || next.role != first.role || is_impossible {
                break;
            }
            match change_of(next, self.system) {
                Ok(Checked::Differs(change)) => group.push((next, change)),
                Ok(Checked::Same) => right.push(next),
                _ => break,
            }
        }
        (group, right)
    }
}

pub(super) fn missing_packages<'a>(
    manifest: &'a Manifest,
    system: &dyn System,
) -> BTreeSet<&'a ResourceId> {
    let packages = manifest.resources.iter().filter(|resource| resource.id.kind() == "package");
    let missing =
        packages.filter(|resource| matches!(resource.spec.current(system), Ok(Current::Absent)));
    missing.map(|resource| &resource.id).collect()
}

/// Applies one resource, or several packages; other packages go for these if it `may_remove` them.
pub(super) fn apply_group(
    group: &[(&Resource, Change)],
    may_remove: bool,
    system: &mut dyn System,
) -> Result<()> {
    let packages: Option<Vec<_>> = group
        .iter()
        .map(|(resource, change)| match &resource.spec {
            Spec::Package(package) => Some((package, change)),
            _ => None,
        })
        .collect();
    if let Some(packages) = packages {
        return package::apply_all(&packages, may_remove, system);
    }
    group.iter().try_for_each(|(resource, change)| resource.spec.apply(change, system))
}
