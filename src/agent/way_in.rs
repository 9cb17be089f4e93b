//! The way in: everything that the login by which infra is on a server may depend on.

use std::collections::BTreeSet;

use super::plan::notifications;
use crate::error::Error;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::names::normal;
use crate::resources::probe::WayIn;
use crate::resources::service::Service;
use crate::resources::{
    Change, Names, Probe, Spec, key_files, read_by_sshd, read_together, sshd_includes_elsewhere,
    unit_of,
};

/// Files and folders, by the beginnings of their paths, that sshd, PAM or a shell read.
const READ_BY_ALL: [&str; 17] = [
    "/etc/bash.bashrc",
    "/etc/default/ssh",
    "/etc/environment",
    "/etc/group",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/ld.so.",
    "/etc/nologin",
    "/etc/nsswitch.conf",
    "/etc/pam.d/",
    "/etc/passwd",
    "/etc/profile",
    "/etc/security/",
    "/etc/shadow",
    "/etc/shells",
    "/etc/ssh/",
    "/etc/zsh/",
];

/// The same that sudo reads: its own settings, and those of its rights.
const READ_BY_SUDO: &str = "/etc/sudo";

/// Files of a home that a shell or sshd reads at each login.
const READ_AT_LOGIN: [&str; 9] = [
    ".bash_login",
    ".bash_profile",
    ".bashrc",
    ".config/fish/config.fish",
    ".profile",
    ".ssh/environment",
    ".ssh/rc",
    ".zshenv",
    ".zshrc",
];

/// Settings of firewalls and networks, by the beginnings of their paths: their services read them when they
/// start, or when they are told to.
const READ_AT_START: [&str; 9] = [
    "/etc/default/ufw",
    "/etc/firewalld/",
    "/etc/iptables/",
    "/etc/netplan/",
    "/etc/network/",
    "/etc/nftables",
    "/etc/shorewall",
    "/etc/systemd/network/",
    "/etc/ufw/",
];

/// Services that give a server its addresses.
const NETWORKS: [&str; 3] =
    ["NetworkManager.service", "networking.service", "systemd-networkd.service"];

/// The login of this run, by what it depends on.
pub(super) struct Login<'a> {
    names: &'a Names<'a>,
    way: WayIn,
    /// The home of its account, the files of its keys and those that its shell reads, the folders on the way
    /// to them, and the links.
    places: BTreeSet<String>,
    /// The groups of its account.
    groups: BTreeSet<String>,
    /// Whether sshd reads files beside those in its own folder.
    includes_elsewhere: bool,
}

impl<'a> Login<'a> {
    /// The login by which somebody is on the server; `None` where nobody is.
    pub(super) fn of(names: &'a Names<'a>) -> Option<Self> {
        let way = names.probe().way_in()?;
        // An account that cannot be looked up is told by the checks of the resources.
        let user = names.probe().user(&way.account).ok().flatten().unwrap_or_default();
        let home = user.home.trim_end_matches('/');
        let keys = key_files(&way.account, &user, names.probe()).unwrap_or_default();
        let usual = [".ssh/authorized_keys"].iter().chain(&READ_AT_LOGIN);
        let files = usual.map(|file| format!("{home}/{file}")).chain(keys);
        let places = files.flat_map(|file| ways_to(&file, names)).collect();
        let groups = user.groups.into_iter().chain([user.group]).collect();
        let includes_elsewhere = sshd_includes_elsewhere(names.probe()).unwrap_or_default();
        Some(Self { names, way, places, groups, includes_elsewhere })
    }

    /// Whether it may depend on what a resource holds.
    pub(super) fn depends_on(&self, spec: &Spec) -> bool {
        match spec {
            Spec::AuthorizedKey(key) => return key.user == self.way.account,
            Spec::User(user) => {
                return user.name == self.way.account && user.may_close_login(None);
            }
            Spec::Group(group) => return self.groups.contains(&group.name),
            Spec::Firewall(_) => return true,
            Spec::Service(service) => return service.is_firewall(),
            _ => {}
        }
        let unit = self.way.unit.as_deref().unwrap_or_default();
        spec.switches().iter().any(|path| {
            is_read_by_all(path)
                || read_together(path) == Some("sshd")
                || self.includes_elsewhere
                    && read_by_sshd(path, self.names.probe()).unwrap_or_default()
                || self.way.account != "root" && path.starts_with(READ_BY_SUDO)
                || is_of_unit(path, unit)
                || self.places.contains(&self.names.place(path))
        })
    }
}

/// Whether a file is of the unit of sshd, of its socket, or of a template of theirs.
fn is_of_unit(path: &str, unit: &str) -> bool {
    let stem = unit.split(['@', '.']).next().unwrap_or_default();
    let rest = unit_of(path).and_then(|of| of.strip_prefix(stem));
    !stem.is_empty() && rest.is_some_and(|rest| rest.starts_with(['@', '.']))
}

/// Whether every login may depend on what is at `path`.
fn is_read_by_all(path: &str) -> bool {
    begins_with_any(path, &READ_BY_ALL) || begins_with_any(path, &READ_AT_START)
}

fn begins_with_any(path: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| path.starts_with(beginning))
}

/// The path of a file as it is written and as the server has it, with all folders on the way.
fn ways_to(file: &str, names: &Names<'_>) -> BTreeSet<String> {
    let ends = BTreeSet::from([normal(file), names.place(file), names.target(file)]);
    let above = |path: &String| {
        let ends = path.match_indices('/').skip(1).map(|(end, _)| path[..end].to_owned());
        ends.chain([path.clone()]).collect::<Vec<_>>()
    };
    let written = ends.iter().flat_map(above).collect::<BTreeSet<_>>();
    // A link on the way has a place of its own, beside that to which it leads.
    written.iter().flat_map(|path| [path.clone(), names.place(path)]).collect()
}

/// The resources of a manifest that are guarded: those that are declared so, and those that the login of
/// this run may depend on.
pub(super) fn guarded(manifest: &Manifest, probe: &dyn Probe) -> BTreeSet<ResourceId> {
    let names = Names::of(probe);
    let login = Login::of(&names);
    let is_guarded = |resource: &&Resource| {
        resource.guard.is_some()
            || login.as_ref().is_some_and(|login| login.depends_on(&resource.spec))
    };
    manifest.resources.iter().filter(is_guarded).map(|resource| resource.id.clone()).collect()
}

/// The unit of sshd, where a resource switches what sshd reads and tells no service of it: a proof would be one
/// of the old settings.
pub(super) fn untold_sshd(
    resource: &Resource,
    manifest: &Manifest,
    probe: &dyn Probe,
) -> Option<String> {
    let unit = probe.way_in()?.unit.filter(|unit| !unit.contains('@'))?;
    let switched = resource.spec.switches();
    let is_read = |path: &String| read_by_sshd(path, probe).unwrap_or_default();
    if matches!(resource.spec, Spec::AuthorizedKey(_)) || !switched.iter().any(is_read) {
        return None;
    }
    let told: BTreeSet<&ResourceId> = notifications(resource).map(|(service, _)| service).collect();
    let is_told = manifest.resources.iter().filter(|one| told.contains(&one.id)).any(|one| {
        one.spec.holds_unit(probe, false).ok().flatten().as_ref() == Some(&unit)
            || one.spec.units().contains(&unit)
    });
    (!is_told).then_some(unit)
}

/// Whether a resource switches what nobody reads before the next boot, so that no proof of a new connection is
/// one of the new settings.
pub(super) fn waits_for_boot(resource: &Resource, probe: &dyn Probe) -> bool {
    let unit = probe.way_in().and_then(|way| way.unit).unwrap_or_default();
    match &resource.spec {
        // Its own rules are in force at once, and a unit that is to run is restarted.
        Spec::Firewall(_) => return false,
        Spec::SystemdUnit(own) if own.dropin.is_none() && own.running == Some(true) => {
            return false;
        }
        _ => {}
    }
    let waits = |path: &String| begins_with_any(path, &READ_AT_START) || is_of_unit(path, &unit);
    notifications(resource).next().is_none() && resource.spec.switches().iter().any(waits)
}

/// The service that a plan names for a unit of sshd.
pub(super) fn service_of(unit: &str) -> ResourceId {
    ResourceId::new("service", unit.strip_suffix(".service").unwrap_or(unit))
}

/// Whether a change of a guarded resource may close the way in: a new password does not, and nobody could
/// prove that with the old one.
pub(super) fn may_close(spec: &Spec, change: &Change) -> bool {
    match spec {
        Spec::User(user) => user.may_close_login(Some(change)),
        Spec::Service(_) => change.sets("running"),
        _ => true,
    }
}

/// The reason why a thing may not become as declared, because infra came in by it and nothing could put it
/// back.
pub(super) fn closed_by(spec: &Spec, manifest: &Manifest, names: &Names<'_>) -> Option<Error> {
    let service = match spec {
        Spec::Service(service) => service.clone(),
        Spec::SystemdUnit(unit) => unit.as_plain_service()?,
        _ => return hidden_by(spec, names),
    };
    let service = &service;
    let probe = names.probe();
    let verb = match (service.stops(), service.starts_at_boot()) {
        (true, _) => "to be stopped",
        (false, Some(false)) => "not to start at boot",
        _ => return None,
    };
    let way_unit = probe.way_in()?.unit?;
    let held = spec.holds_unit(probe, false).ok().flatten();
    let unit = held.or_else(|| spec.units().into_iter().next())?;
    if NETWORKS.contains(&unit.as_str()) && probe.unit(&unit).is_ok_and(|unit| unit.is_active()) {
        return Some(
            Error::failed(format!(
                "the server has its network by `{}`, which is {verb}",
                spec.id()
            ))
            .hint("let another service give it its addresses first, and stop this one by hand"),
        );
    }
    // Where systemd listens for sshd, the service of one login is an instance of `ssh@`.
    let stem = way_unit.split(['@', '.']).next().unwrap_or_default();
    let socket = format!("{stem}.socket");
    let is_way = if way_unit.contains('@') { unit == socket } else { unit == way_unit };
    let is_off = || probe.unit(&unit).is_ok_and(|unit| unit.unit_file_state == "disabled");
    let is_replaced = !service.stops() && (is_off() || is_enabled(&socket, manifest, probe));
    (is_way && !is_replaced).then(|| {
        Error::failed(format!("infra logs in by `{}`, which is {verb}", spec.id()))
            .hint("give the server another way in first, and use that")
    })
}

/// The reason why a folder may not be hidden or emptied: the login needs what is in it.
fn hidden_by(spec: &Spec, names: &Names<'_>) -> Option<Error> {
    let path = match spec {
        Spec::Mount(mount) if spec.desired().is_some() => mount.path.as_str(),
        Spec::Volume(volume) if spec.desired().is_some() => volume.path.as_str(),
        Spec::Directory(directory) if directory.state.is_absent() && directory.recursive => {
            directory.path.as_str()
        }
        _ => return None,
    };
    let hides = !matches!(spec, Spec::Directory(_));
    if hides && is_mounted(path, names) {
        return None;
    }
    let login = Login::of(names)?;
    let is_on_the_way = login.places.contains(&names.place(path));
    let is_read = || {
        let below = format!("{}/", path.trim_end_matches('/'));
        login.way.account != "root" && below.starts_with("/etc/sudoers.d/")
            || is_read_by_all(&below)
    };
    if !is_on_the_way && (hides || !is_read()) {
        return None;
    }
    let verb = if hides { "would hide" } else { "would take away" };
    let error = Error::failed(format!("`{}` {verb} what infra logs in by", spec.id()));
    Some(error.hint("log in by another account first, or do it by hand"))
}

/// Whether something is mounted at this place already.
fn is_mounted(path: &str, names: &Names<'_>) -> bool {
    names.mounted_in(path, &[]).is_some_and(|mounted| mounted == names.target(path))
}

/// Whether a unit starts at boot, or is declared to.
fn is_enabled(unit: &str, manifest: &Manifest, probe: &dyn Probe) -> bool {
    let mut services = manifest.resources.iter().filter_map(|resource| match &resource.spec {
        Spec::Service(service) => Some(service),
        _ => None,
    });
    let declared = services.find(|service| service.unit() == unit).map(Service::starts_at_boot);
    let found = || probe.unit(unit).is_ok_and(|unit| unit.unit_file_state == "enabled");
    declared.flatten().unwrap_or_else(found)
}
