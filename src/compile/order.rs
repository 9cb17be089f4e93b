//! The order of resources, as far as it can be known without a server.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::manifest::{Resource, ResourceId};
use crate::resources::names::is_in;
use crate::resources::{Spec, made_at};

/// Folders in which packages put nothing, but for [`OF_OTHERS`]: whatever is there was declared, or made by a
/// command or a clone. They themselves are there on every Debian.
const OF_PEOPLE: [&str; 5] = ["/home", "/media", "/mnt", "/root", "/srv"];

/// Folders in them that are there: packages of Debian make the first two (vsftpd, proftpd, tftpd-hpa), and root's
/// own is usually where the key of the login is.
const OF_OTHERS: [&str; 3] = ["/srv/ftp", "/srv/tftp", "/root/.ssh"];

/// Kinds of resources that bring accounts which nobody declares.
const BRING_ACCOUNTS: [&str; 3] = ["command", "docker_engine", "package"];

/// Kinds of resources that may bring files which nobody declares, also where packages put none.
const BRING_FILES: [&str; 11] = [
    "archive",
    "authorized_key",
    "command",
    "docker_compose",
    "docker_engine",
    "git",
    "mount",
    "service",
    "systemd_unit",
    "user",
    "volume",
];

/// Accounts and groups of every Debian: those of base-passwd(8), apt and systemd.
const OF_DEBIAN: [&str; 52] = [
    "_apt",
    "adm",
    "audio",
    "backup",
    "bin",
    "cdrom",
    "crontab",
    "daemon",
    "dialout",
    "dip",
    "disk",
    "fax",
    "floppy",
    "games",
    "input",
    "irc",
    "kmem",
    "kvm",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "news",
    "nobody",
    "nogroup",
    "operator",
    "plugdev",
    "proxy",
    "render",
    "root",
    "sasl",
    "sgx",
    "shadow",
    "src",
    "staff",
    "sudo",
    "sync",
    "sys",
    "systemd-journal",
    "systemd-network",
    "systemd-resolve",
    "systemd-timesync",
    "tape",
    "tty",
    "users",
    "utmp",
    "uucp",
    "video",
    "voice",
    "wheel",
    "www-data",
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
            let is_absent = needed.spec.desired().is_none();
            // The group of a user goes with the user.
            if needed.id != *id && !is_absent && !makes_own_group(needed) {
                return None;
            }
            let is_there = || is_there_before(id, &resources[..position]);
            match (is_absent, needed.id == *id) {
                (true, true) => Some((needed, ABSENT)),
                (true, false) if !is_there() => Some((needed, ABSENT)),
                (false, _) if other > position && !is_there() => Some((needed, LATER)),
                _ => None,
            }
        });
        let after = resource.spec.runs_after_change_of();
        let mut waits = resource.requires.iter().chain(&after).filter_map(|id| positions.get(id));
        let late = || {
            let other = waits.find(|other| **other >= position)?;
            Some((resources.get(*other)?, LATER))
        };
        let folder = || folder_of_later(resource, position, resources);
        let path = || path_of_later(resource, position, resources);
        let wrong = wrong.next().or_else(late).or_else(|| Some((folder().or_else(path)?, LATER)));
        let Some((needed, why)) = wrong else { continue };
        let circle = || circle(resource, needed, resources, &positions, places);
        let mistake = Some(why).filter(|why| *why == LATER).and_then(|_| circle());
        let plain = || {
            let (place, other) = (places.get(&resource.id)?, places.get(&needed.id)?);
            let [words, hint] = why;
            let message = format!("`{}` needs `{}`, which {words}", resource.id, needed.id);
            Some(Diagnostic::at(place, message).and(other, "declared here").hint(hint))
        };
        if let Some(mistake) = mistake.or_else(plain) {
            mistakes.push(mistake);
        }
    }
}

/// The mistake of resources each of which needs the next one, and the last the first; `None` if no way
/// leads from `needed` back to `resource`. The message is the same at each resource: it is told once.
fn circle(
    resource: &Resource,
    needed: &Resource,
    resources: &[Resource],
    positions: &BTreeMap<&ResourceId, usize>,
    places: &BTreeMap<ResourceId, Span>,
) -> Option<Diagnostic> {
    let id = &resource.id;
    if needed.id == *id {
        let field = if resource.requires.contains(id) { "requires" } else { "when_changed" };
        let mistake = Diagnostic::at(places.get(id)?, format!("`{id}` needs itself"));
        return Some(mistake.hint(format!("take `{id}` out of its `{field}`")));
    }
    let mut open = vec![needed];
    let mut before: BTreeMap<&ResourceId, Option<&Resource>> = BTreeMap::from([(&needed.id, None)]);
    let last = loop {
        let one = open.pop()?;
        let next = needed_in_order(one);
        if next.contains(id) {
            break one;
        }
        for next in next.iter().filter_map(|id| resources.get(*positions.get(id)?)) {
            if !before.contains_key(&next.id) {
                before.insert(&next.id, Some(one));
                open.push(next);
            }
        }
    };
    let one_before = |one: &&Resource| before.get(&one.id).copied().flatten();
    let mut way: Vec<&Resource> = std::iter::successors(Some(last), one_before).collect();
    way.reverse();
    let mut ids: Vec<&ResourceId> = way.iter().map(|one| &one.id).chain([id]).collect();
    let first = ids.iter().enumerate().min_by_key(|(_, id)| **id);
    let first = first.map_or(0, |(position, _)| position);
    ids.rotate_left(first);
    let (last, before) = ids.split_last()?;
    let names: Vec<String> = before.iter().map(|id| format!("`{id}`")).collect();
    let message = format!("{} and `{last}` need each other", names.join(", "));
    let mistake = Diagnostic::at(places.get(*before.first()?)?, message);
    let others = ids.iter().skip(1).filter_map(|id| places.get(*id));
    let mistake = others.fold(mistake, |mistake, place| mistake.and(place, "declared here"));
    Some(mistake.hint("no order fits: let one of them do without another"))
}

/// The resources that have to come before a resource in any case. A package or an account may be there
/// without its resource.
fn needed_in_order(resource: &Resource) -> Vec<ResourceId> {
    if resource.spec.desired().is_none() {
        return Vec::new();
    }
    let mut needed = resource.spec.needs();
    needed.retain(|id| !matches!(id.kind(), "group" | "package" | "user"));
    needed.extend(resource.requires.iter().cloned());
    needed.extend(resource.spec.runs_after_change_of());
    needed
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
        // A folder that is mounted at its own place, or in an overlay of itself, stays to be seen.
        Spec::Mount(mount) if mount.shows_itself() => return None,
        Spec::Mount(mount) => mount.path.as_str(),
        Spec::Volume(volume) => volume.path.as_str(),
        _ => return None,
    };
    before.iter().find(|other| {
        let path = other.id.identity();
        brings_files(&other.spec) && path != place && is_in(path, place)
    })
}

/// Whether a resource brings files or folders at the path that is its name.
fn brings_files(spec: &Spec) -> bool {
    let is_of_files = matches!(
        spec,
        Spec::Archive(_) | Spec::Directory(_) | Spec::File(_) | Spec::Git(_) | Spec::Symlink(_)
    );
    is_of_files && spec.desired().is_some()
}

/// The directory that is declared later and in which a resource is made.
fn folder_of_later<'a>(
    resource: &Resource,
    position: usize,
    resources: &'a [Resource],
) -> Option<&'a Resource> {
    let path = made_at(&resource.spec)?;
    let path = path.as_str();
    let is_below = |folders: &[&str]| folders.iter().any(|folder| is_in(path, folder));
    if !is_below(&OF_PEOPLE) || is_below(&OF_OTHERS) {
        return None;
    }
    let before = resources.get(..position).unwrap_or_default();
    let may_make = |other: &Resource| match &other.spec {
        // Docker makes the folders that containers see, and a unit those where it mounts something.
        Spec::AuthorizedKey(_)
        | Spec::Command(_)
        | Spec::DockerCompose(_)
        | Spec::Mount(_)
        | Spec::Volume(_) => true,
        Spec::SystemdUnit(unit) => is_of_mount(&unit.name),
        Spec::Service(service) => is_of_mount(&service.name),
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

/// The resource that is declared later and makes a path which this one needs, in a folder where nothing before can
/// have made it.
fn path_of_later<'a>(
    resource: &Resource,
    position: usize,
    resources: &'a [Resource],
) -> Option<&'a Resource> {
    let is_below = |path: &str, folders: &[&str]| folders.iter().any(|it| is_in(path, it));
    let is_of_people = |path: &str| is_below(path, &OF_PEOPLE) || is_below(path, &["/usr/local"]);
    let mut paths = resource.spec.needed_paths();
    let is_there = |path: &String| {
        OF_PEOPLE.contains(&path.as_str()) || is_below(path, &OF_OTHERS) || is_usual(path)
    };
    paths.retain(|path| is_of_people(path) && !is_there(path));
    let before = resources.get(..position).unwrap_or_default();
    if paths.is_empty() || before.iter().any(|other| BRING_FILES.contains(&other.id.kind())) {
        return None;
    }
    let brings = |other: &&Resource| {
        brings_files(&other.spec) && paths.iter().any(|path| path == other.id.identity())
    };
    resources.iter().skip(position + 1).find(brings)
}

/// Whether a path is a folder of `/usr/local` that every Debian has (hier(7)).
fn is_usual(path: &str) -> bool {
    let folders = ["bin", "etc", "games", "include", "lib", "man", "sbin", "share", "src"];
    path.strip_prefix("/usr/local")
        .is_some_and(|rest| rest.is_empty() || folders.contains(&rest.trim_start_matches('/')))
}

/// Whether a unit mounts something, perhaps in a place that is still to be made.
fn is_of_mount(unit: &str) -> bool {
    [".mount", ".automount", "autofs"].iter().any(|end| unit.ends_with(end))
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
            || with_group(id).is_some_and(|user| other.id == user) && makes_own_group(other)
    };
    is_account && (OF_DEBIAN.contains(&id.identity()) || before.iter().any(brings))
}
