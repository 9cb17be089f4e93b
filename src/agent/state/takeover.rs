//! One thing under a new name: what the host remembers of it is taken over, so that nothing of it is
//! taken away because its old name is no longer declared.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::managed::Managed;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Names, Spec};

impl State {
    /// Takes over what is remembered of things that `manifest` declares under other names.
    pub fn take_over(&mut self, manifest: &Manifest, names: &Names<'_>) {
        let declared: BTreeSet<&ResourceId> =
            manifest.resources.iter().map(|resource| &resource.id).collect();
        let is_gone = |id: &&ResourceId| !declared.contains(id);
        let gone: Vec<ResourceId> = self.resources.keys().filter(is_gone).cloned().collect();
        let released: Vec<ResourceId> = self.released.iter().filter(is_gone).cloned().collect();
        if gone.is_empty() && released.is_empty() {
            return;
        }
        let things: BTreeMap<ResourceId, &Resource> = manifest
            .resources
            .iter()
            .filter_map(|resource| Some((resource.spec.known_as(names).ok()?, resource)))
            .collect();
        for id in gone {
            let thing = self.resources.get(&id).and_then(|managed| thing(&id, managed, names));
            let known = thing.and_then(|thing| things.get(&thing).copied());
            if let Some(resource) = known.or_else(|| on_one_disk(&id, manifest, names)) {
                self.rename(&id, resource, names);
            }
        }
        for id in released {
            if let Some(resource) = at_path(&id, names).and_then(|thing| things.get(&thing)) {
                self.released.remove(&id);
                self.released.insert(resource.id.clone());
                self.is_unsaved = true;
            }
        }
    }

    /// Notes everything about `old` as of `resource`, which is the same thing.
    fn rename(&mut self, old: &ResourceId, resource: &Resource, names: &Names<'_>) {
        let Some(mut managed) = self.resources.remove(old) else { return };
        let new = &resource.id;
        for path in resource.spec.replaces() {
            let is_same = |other: &&mut String| **other != path && names.are_one(other, &path);
            for known in managed.paths.iter_mut().filter(is_same) {
                if let Some(original) = self.originals.remove(known) {
                    let original = original.kept_as(known);
                    self.originals.entry(path.clone()).or_insert(original);
                }
                known.clone_from(&path);
            }
        }
        if let Some(dropped) = resource.spec.dropped_on(names.probe()) {
            managed.dropped = dropped;
        }
        self.resources.entry(new.clone()).or_insert(managed);
        if let Some(action) = self.owed_services.remove(old) {
            let owed = self.owed_services.entry(new.clone()).or_insert(action);
            *owed = (*owed).max(action);
        }
        if self.owed_changes.remove(old) {
            self.owed_changes.insert(new.clone());
        }
        self.is_unsaved = true;
    }
}

/// The thing that a managed resource is about: what would take it away says so.
fn thing(id: &ResourceId, managed: &Managed, names: &Names<'_>) -> Option<ResourceId> {
    match managed.away().filter(|spec| spec.kind() == id.kind()) {
        // It has no pattern any more, by which its id knew it.
        Some(Spec::Line(line)) => {
            let identity = id.identity();
            let ends = identity.match_indices(' ').map(|(index, _)| index);
            let mut names_of_file = ends.filter_map(|end| identity.split_at_checked(end));
            let is_path = |path: &str| names.target(path) == names.target(line.path.as_str());
            let (path, words) = names_of_file.find(|(path, _)| is_path(path))?;
            Some(ResourceId::new("line", &format!("{}{words}", names.target(path))))
        }
        Some(spec) => spec.known_as(names).ok(),
        None => at_path(id, names),
    }
}

/// The declared resource of the same kind at another path to the same thing, over another mount. The mounts
/// themselves are things of their own.
fn on_one_disk<'a>(
    id: &ResourceId,
    manifest: &'a Manifest,
    names: &Names<'_>,
) -> Option<&'a Resource> {
    let is_path = id.identity().starts_with('/');
    if !is_path || matches!(id.kind(), "line" | "mount" | "swap" | "volume") {
        return None;
    }
    let on_disk = names.on_disk(id.identity());
    manifest.resources.iter().find(|other| {
        let is_like = other.id.kind() == id.kind() && other.id.identity().starts_with('/');
        is_like && names.on_disk(other.id.identity()) == on_disk
    })
}

/// The thing of an id that is a path.
fn at_path(id: &ResourceId, names: &Names<'_>) -> Option<ResourceId> {
    let path = Some(id.identity()).filter(|path| path.starts_with('/') && id.kind() != "line")?;
    Some(ResourceId::new(id.kind(), &names.place(path)))
}
