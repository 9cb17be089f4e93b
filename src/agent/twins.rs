//! Resources of one manifest that are about one thing under two names, or that undo each other: which
//! names mean one thing is known on the server alone, so that its plan refuses them.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::fields::check_may_go;
use crate::resources::names::is_in;
use crate::resources::{Names, Probe, Spec, clashes};

use super::way_in;

/// The names of a server as a manifest will leave it: declared symlinks and mounts count as if they were there.
pub(super) fn names<'a>(manifest: &Manifest, probe: &'a dyn Probe) -> Names<'a> {
    let names = Names::of(probe);
    for resource in &manifest.resources {
        if let Spec::Symlink(link) = &resource.spec
            && let Some(target) = &link.target
        {
            names.learn(&names.place(link.path.as_str()), Some(target.clone()));
        }
    }
    for resource in manifest.resources.iter().filter(|one| one.spec.desired().is_some()) {
        match &resource.spec {
            Spec::Mount(mount) => names.will_mount(mount.path.as_str(), mount.source()),
            Spec::Volume(volume) => names.will_mount(volume.path.as_str(), volume.source()),
            _ => {}
        }
    }
    names
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
    for resource in &manifest.resources {
        let thing = thing(resource, names);
        if let Some(first) = things.get(&thing) {
            refused.insert(resource.id.clone(), one_thing(resource, first));
            continue;
        }
        things.insert(thing, resource);
    }
    let one_each = manifest.resources.iter().filter(|one| !refused.contains_key(&one.id));
    let clashes = clashes(one_each, Some(names));
    for clash in &clashes {
        let first = format!("`{}` is declared at {}", clash.first.id, clash.first.place);
        let error = Error::failed(clash.message()).because(first).hint(clash.hint());
        refused.insert(clash.second.id.clone(), error);
    }
    for resource in &manifest.resources {
        if let Some(error) = must_stay(&resource.spec, manifest, names) {
            refused.insert(resource.id.clone(), error);
        }
    }
    let leaving = unmounted(absent(manifest), names);
    for resource in &manifest.resources {
        // A user that cannot be looked up is an error of its own check.
        let folder = resource.spec.takes_folder(names.probe()).ok().flatten();
        let Some(folder) = folder else { continue };
        if let Err(because) = check_may_go(&names.place(&folder)) {
            let error = Error::failed(format!("`{}` would take `{folder}` away", resource.id));
            refused.insert(resource.id.clone(), error.because(because));
        } else if let Some(inside) = inside(&folder, manifest, names) {
            let error = Error::failed(format!("`{}` would take `{inside}` away", resource.id))
                .because(format!("`{inside}` is declared, and it is in `{folder}`"))
                .hint("take one of the two declarations away");
            refused.insert(resource.id.clone(), error);
        } else if let Spec::User(_) = &resource.spec
            && let Some(user) = home_inside(&folder, &resource.spec, names)
        {
            let error =
                Error::failed(format!("`{}` would take the home of `{user}` away", resource.id))
                    .because(format!("it is `{folder}`, or in it"))
                    .hint(format!("leave `remove_home` out, or give `{user}` another home"));
            refused.insert(resource.id.clone(), error);
        } else if let Some(mounted) = names.mounted_in(&folder, &leaving) {
            let error = Error::failed(format!("a file system is mounted at `{mounted}`"))
                .hint("unmount it first: `infra` would remove the files in it");
            refused.insert(resource.id.clone(), error);
        }
    }
    refused
}

/// The reason why a thing may not go or be stopped as it is declared.
pub(super) fn must_stay(spec: &Spec, manifest: &Manifest, names: &Names<'_>) -> Option<Error> {
    way_in::closed_by(spec, manifest, names).or_else(|| still_named(spec, manifest, names))
}

/// The reason why an account may not go, if a declared resource names it or another account that goes
/// with it.
fn still_named(spec: &Spec, manifest: &Manifest, names: &Names<'_>) -> Option<Error> {
    // A server that cannot be asked is told by the checks of the resources.
    let accounts = spec.takes_accounts(names.probe()).unwrap_or_default();
    let id = spec.id();
    let account = || names.probe().way_in().map(|way| ResourceId::new("user", &way.account));
    if accounts.contains(&id) && account().as_ref() == Some(&id) {
        let error = Error::failed(format!("`{id}` is the account that infra logs in as"));
        return Some(error.hint("let `ssh.user` name another account of the server first"));
    }
    accounts.iter().find_map(|account| {
        let mut present = manifest.resources.iter().filter(|one| one.spec.desired().is_some());
        let names_account = |one: &&Resource| {
            one.id == *account
                || one.spec.accounts(names.probe()).is_ok_and(|named| named.contains(account))
        };
        let by = present.find(names_account)?;
        let error = Error::failed(if by.id == *account {
            format!("`{id}` would take `{account}` away")
        } else if id == *account {
            format!("`{}` names `{id}`, which is to go", by.id)
        } else {
            format!("`{}` names `{account}`, which goes with `{id}`", by.id)
        });
        let error = error.because(format!("`{}` is declared at {}", by.id, by.place));
        Some(error.hint("let both go, or keep both"))
    })
}

/// The resources of a manifest that should not be there.
pub(super) fn absent(manifest: &Manifest) -> impl Iterator<Item = &ResourceId> {
    let absent = manifest.resources.iter().filter(|one| one.spec.desired().is_none());
    absent.map(|one| &one.id)
}

/// The places at which nothing is mounted any more once these are gone.
pub(super) fn unmounted<'a>(
    gone: impl Iterator<Item = &'a ResourceId>,
    names: &Names<'_>,
) -> Vec<String> {
    let mounts = gone.filter(|id| matches!(id.kind(), "mount" | "volume"));
    mounts.map(|id| names.target(id.identity())).collect()
}

/// The first user whose home is the folder at `path` or in it, apart from the one that `spec` is about.
pub(super) fn home_inside(path: &str, spec: &Spec, names: &Names<'_>) -> Option<String> {
    let (folder, own) = (names.place(path), spec.id());
    let users = names.probe().users().unwrap_or_default();
    let home = |user: &String| names.probe().user(user).ok().flatten().map(|entry| entry.home);
    users.into_iter().find(|user| {
        let place = home(user).map(|home| names.place(&home));
        let is_inside = place.is_some_and(|place| place == folder || is_in(&place, &folder));
        is_inside && own != ResourceId::new("user", user)
    })
}

/// The first declared resource whose path leads over the folder at `path`.
pub(super) fn below<'a>(
    path: &str,
    manifest: &'a Manifest,
    names: &Names<'_>,
) -> Option<&'a ResourceId> {
    let folder = names.place(path);
    let is_below = |place: &str| is_in(place, &folder) && place != folder;
    find_present(manifest, names, |path| is_below(&names.place(path)))
}

/// The first declared resource that is the folder at `path` or is to be in it, under whatever path.
pub(super) fn inside<'a>(
    path: &str,
    manifest: &'a Manifest,
    names: &Names<'_>,
) -> Option<&'a ResourceId> {
    let (place, on_disk) = (names.place(path), names.on_disk(path));
    let is_at =
        |path: &str| is_in(&names.place(path), &place) || is_in(&names.on_disk(path), &on_disk);
    find_present(manifest, names, is_at)
}

/// The first declared resource that is reached over the symlink at `path`, where nothing else is
/// declared to be in its place.
pub(super) fn over<'a>(
    path: &str,
    manifest: &'a Manifest,
    names: &Names<'_>,
) -> Option<&'a ResourceId> {
    let link = names.place(path);
    if find_present(manifest, names, |path| names.place(path) == link).is_some() {
        return None;
    }
    let present = manifest.resources.iter().filter(|one| one.spec.desired().is_some());
    let is_over = |path: &String| names.links_on(path).contains(&link);
    let mut over = present.filter(|one| paths(one, names.probe()).iter().any(is_over));
    over.next().map(|one| &one.id)
}

fn find_present<'a>(
    manifest: &'a Manifest,
    names: &Names<'_>,
    matches: impl Fn(&str) -> bool,
) -> Option<&'a ResourceId> {
    let mut present = manifest.resources.iter().filter(|one| one.spec.desired().is_some());
    let is_at = |path: &String| matches(path);
    present.find(|one| paths(one, names.probe()).iter().any(is_at)).map(|one| &one.id)
}

/// The paths that a resource is about, the home of a user among them.
pub(super) fn paths(resource: &Resource, probe: &dyn Probe) -> Vec<String> {
    let identity = resource.id.identity();
    let own = (resource.id.kind() != "line" && identity.starts_with('/')).then_some(identity);
    let spec = &resource.spec;
    let mut paths = spec.switched_paths(probe).unwrap_or_else(|_| spec.switches());
    paths.extend(own.map(str::to_owned));
    if let Spec::User(user) = spec {
        let declared = user.home.as_ref().map(ToString::to_string);
        let found = || probe.user(&user.name).ok().flatten().map(|entry| entry.home);
        paths.extend(declared.or_else(found).filter(|home| home != "/"));
    }
    paths
}

fn one_thing(second: &Resource, first: &Resource) -> Error {
    Error::failed(format!("`{}` is `{}` under another name", second.id, first.id))
        .because(format!("`{}` is declared at {}", first.id, first.place))
        .hint("declare it once, under one name")
}
