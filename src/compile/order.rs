//! The order of resources, as far as it can be known without a server.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::{Resource, ResourceId};
use crate::resources::Spec;
use crate::resources::names::is_in;

/// Folders in which packages put nothing, but for [`OF_PACKAGES`]: whatever is there was declared, or made by a
/// command or a clone. They themselves are there on every Debian.
const OF_PEOPLE: [&str; 5] = ["/home", "/media", "/mnt", "/root", "/srv"];

/// Folders in them that packages of Debian make: vsftpd, proftpd and tftpd-hpa.
const OF_PACKAGES: [&str; 2] = ["/srv/ftp", "/srv/tftp"];

/// Kinds of resources that bring accounts which nobody declares.
const BRING_ACCOUNTS: [&str; 3] = ["command", "docker_engine", "package"];

/// Accounts and groups of every Debian (base-passwd(8)), the first of which somebody is likely to name.
const OF_DEBIAN: [&str; 16] = [
    "adm", "audio", "backup", "daemon", "games", "list", "mail", "news", "nogroup", "proxy",
    "root", "staff", "sudo", "users", "video", "www-data",
];

/// The reason why a resource cannot be had, and a way out: it comes too late, or not at all.
const LATER: [&str; 2] = ["is declared later", "declare it before"];
const ABSENT: [&str; 2] = ["is to be absent", "let both go, or keep both"];

/// Refuses a resource that needs another one which is declared later, or declared to be absent.
pub(super) fn check(
    resources: &[Resource],
    places: &BTreeMap<ResourceId, Span>,
    mistakes: &mut Diagnostics,
) {
    let positions: BTreeMap<&ResourceId, usize> =
        resources.iter().enumerate().map(|(position, one)| (&one.id, position)).collect();
    for (position, resource) in resources.iter().enumerate() {
        if resource.spec.desired().is_none() {
            continue;
        }
        if let Some(hidden) = hidden_by(resource, &resources[..position])
            && let (Some(place), Some(other)) = (places.get(&resource.id), places.get(&hidden.id))
        {
            let message =
                format!("`{}` hides `{}`, which is declared before", resource.id, hidden.id);
            let mistake = Diagnostic::at(place, message).and(other, "declared here");
            mistakes.push(mistake.hint("declare the mount first"));
        }
        let needs = resource.spec.needs();
        let mut wrong = needs.iter().filter_map(|id| {
            let other = *positions.get(id).or_else(|| positions.get(&with_group(id)?))?;
            let needed = resources.get(other)?;
            if needed.id != *id && !makes_own_group(needed) {
                return None;
            }
            let why = if needed.spec.desired().is_none() {
                ABSENT
            } else if other > position && !is_there_before(id, &resources[..position]) {
                LATER
            } else {
                return None;
            };
            Some((needed, why))
        });
        let after = resource.spec.runs_after_change_of();
        let mut waits = resource.requires.iter().chain(&after).filter_map(|id| positions.get(id));
        let late = || {
            let other = waits.find(|other| **other >= position)?;
            Some((resources.get(*other)?, LATER))
        };
        let folder = || folder_of_later(resource, position, resources);
        let wrong = wrong.next().or_else(late).or_else(|| Some((folder()?, LATER)));
        let Some((needed, [words, hint])) = wrong else { continue };
        let (Some(place), Some(other)) = (places.get(&resource.id), places.get(&needed.id)) else {
            continue;
        };
        let message = format!("`{}` needs `{}`, which {words}", resource.id, needed.id);
        mistakes.push(Diagnostic::at(place, message).and(other, "declared here").hint(hint));
    }
}

/// The user with whom a group of the same name is made.
fn with_group(id: &ResourceId) -> Option<ResourceId> {
    (id.kind() == "group").then(|| ResourceId::new("user", id.identity()))
}

fn makes_own_group(resource: &Resource) -> bool {
    let Spec::User(user) = &resource.spec else { return false };
    user.group.is_none() && !user.state.is_absent()
}

/// The thing among those `before` that nobody finds any more below the mount that a resource makes.
fn hidden_by<'a>(resource: &Resource, before: &'a [Resource]) -> Option<&'a Resource> {
    let place = match &resource.spec {
        Spec::Mount(mount) => mount.path.as_str(),
        Spec::Volume(volume) => volume.path.as_str(),
        _ => return None,
    };
    let is_made = |spec: &Spec| {
        let is_of_files = matches!(
            spec,
            Spec::Archive(_) | Spec::Directory(_) | Spec::File(_) | Spec::Git(_) | Spec::Symlink(_)
        );
        is_of_files && spec.desired().is_some()
    };
    before.iter().find(|other| {
        let path = other.id.identity();
        is_made(&other.spec) && path != place && is_in(path, place)
    })
}

/// The directory that is declared later and in which a resource is made.
fn folder_of_later<'a>(
    resource: &Resource,
    position: usize,
    resources: &'a [Resource],
) -> Option<&'a Resource> {
    let is_made = match &resource.spec {
        Spec::Directory(directory) => !directory.parents,
        Spec::Archive(_) | Spec::File(_) | Spec::Git(_) | Spec::Symlink(_) => true,
        _ => false,
    };
    let path = Some(resource.id.identity()).filter(|_| is_made)?;
    let is_below = |folders: &[&str]| folders.iter().any(|folder| is_in(path, folder));
    if !is_below(&OF_PEOPLE) || is_below(&OF_PACKAGES) {
        return None;
    }
    let before = resources.get(..position).unwrap_or_default();
    let may_make = |other: &Resource| match &other.spec {
        Spec::Command(_) | Spec::Mount(_) | Spec::Volume(_) | Spec::AuthorizedKey(_) => true,
        Spec::User(user) => {
            let usual = format!("/home/{}", user.name);
            is_in(path, user.home.as_ref().map_or(&*usual, |home| home.as_str()))
        }
        _ => is_in(path, other.id.identity()) && other.spec.desired().is_some(),
    };
    if before.iter().any(may_make) {
        return None;
    }
    let mut later = resources.iter().skip(position + 1);
    later.find(|other| {
        let is_folder = matches!(other.spec, Spec::Directory(_)) && other.spec.desired().is_some();
        let folder = other.id.identity();
        is_folder && folder != path && is_in(path, folder) && !OF_PEOPLE.contains(&folder)
    })
}

/// Whether an account or a package may be there although it is declared later: Debian has it, or something before brings
/// it.
fn is_there_before(id: &ResourceId, before: &[Resource]) -> bool {
    if id.kind() == "package" {
        return true;
    }
    let is_account = matches!(id.kind(), "group" | "user");
    let brings = |other: &Resource| {
        // A user has a group of its own name.
        BRING_ACCOUNTS.contains(&other.id.kind())
            || id.kind() == "group" && other.id == ResourceId::new("user", id.identity())
    };
    is_account && (OF_DEBIAN.contains(&id.identity()) || before.iter().any(brings))
}
