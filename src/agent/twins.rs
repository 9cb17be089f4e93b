//! Resources of one manifest that are about one thing under two names, or that undo each other: which
//! names mean one thing is known on the server alone, so that its plan refuses them.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Names, Probe, Spec};

/// The names of a server as a manifest will leave it: declared symlinks count as if they were there.
pub(super) fn names<'a>(manifest: &Manifest, probe: &'a dyn Probe) -> Names<'a> {
    let links = manifest.resources.iter().filter_map(|resource| match &resource.spec {
        Spec::Symlink(link) => Some((link.path.to_string(), link.target.clone()?)),
        _ => None,
    });
    Names::new(probe, links.collect())
}

/// The thing that a resource is about; its own id where the server cannot be asked, which its check
/// will tell.
pub(super) fn thing(resource: &Resource, names: &Names<'_>) -> ResourceId {
    resource.spec.known_as(names).unwrap_or_else(|_| resource.id.clone())
}

/// The resources that cannot hold beside others of the same manifest, with the reason.
pub(super) fn find(manifest: &Manifest, names: &Names<'_>) -> BTreeMap<ResourceId, Error> {
    let mut refused = BTreeMap::new();
    let mut things: BTreeMap<ResourceId, &Resource> = BTreeMap::new();
    let mut contents: BTreeMap<String, &Resource> = BTreeMap::new();
    for resource in &manifest.resources {
        let thing = thing(resource, names);
        if let Some(first) = things.get(&thing) {
            refused.insert(resource.id.clone(), one_thing(resource, first));
            continue;
        }
        things.insert(thing, resource);
        for path in resource.spec.replaces() {
            let place = names.place(&path);
            if let Some(first) = contents.get(&place).filter(|first| first.id != resource.id) {
                refused.insert(resource.id.clone(), one_content(resource, first, &path));
            }
            contents.insert(place, resource);
        }
    }
    for resource in &manifest.resources {
        // A user that cannot be looked up is an error of its own check.
        let folder = resource.spec.takes_folder(names.probe()).ok().flatten();
        let Some(folder) = folder else { continue };
        if let Some(inside) = inside(&folder, manifest, names) {
            let error = Error::failed(format!("`{}` would take `{inside}` away", resource.id))
                .because(format!("`{inside}` is declared, and it is in `{folder}`"))
                .hint("take one of the two declarations away");
            refused.insert(resource.id.clone(), error);
        }
    }
    refused
}

/// The first declared resource that is to be in the folder at `path`, or at its very place.
pub(super) fn inside<'a>(
    path: &str,
    manifest: &'a Manifest,
    names: &Names<'_>,
) -> Option<&'a ResourceId> {
    let folder = names.place(path);
    let below = format!("{}/", folder.trim_end_matches('/'));
    let is_inside = |path: &String| {
        let place = names.place(path);
        place == folder || place.starts_with(&below)
    };
    let mut present = manifest.resources.iter().filter(|one| one.spec.desired().is_some());
    present.find(|one| paths(one).iter().any(is_inside)).map(|one| &one.id)
}

/// The first declared resource that is reached over the symlink at `path`.
pub(super) fn over<'a>(path: &str, manifest: &'a Manifest) -> Option<&'a ResourceId> {
    let below = format!("{path}/");
    let present = manifest.resources.iter().filter(|one| one.spec.desired().is_some());
    let present: Vec<(&ResourceId, Vec<String>)> =
        present.map(|resource| (&resource.id, paths(resource))).collect();
    // Something else comes in its place.
    if present.iter().any(|(_, paths)| paths.iter().any(|other| other == path)) {
        return None;
    }
    let is_below = |paths: &[String]| paths.iter().any(|path| path.starts_with(&below));
    present.iter().find(|(_, paths)| is_below(paths)).map(|(id, _)| *id)
}

/// The paths that a resource is about.
fn paths(resource: &Resource) -> Vec<String> {
    let identity = resource.id.identity();
    let own = (resource.id.kind() != "line" && identity.starts_with('/')).then_some(identity);
    let mut paths = resource.spec.switches();
    paths.extend(own.map(str::to_owned));
    paths
}

fn one_thing(second: &Resource, first: &Resource) -> Error {
    Error::failed(format!("`{}` is `{}` under another name", second.id, first.id))
        .because(format!("`{}` is declared at {}", first.id, first.place))
        .hint("declare it once, under one name")
}

fn one_content(second: &Resource, first: &Resource, path: &str) -> Error {
    Error::failed(format!("`{}` and `{}` both write `{path}`", second.id, first.id))
        .because(format!("`{}` is declared at {}", first.id, first.place))
        .hint("leave the file to one of them")
}
