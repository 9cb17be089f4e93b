//! The way in: everything that the login by which infra is on a server may depend on.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::probe::WayIn;
use crate::resources::service::Service;
use crate::resources::{Change, Names, Probe, Spec, read_together};

/// Files and folders, by the beginnings of their paths, that sshd, PAM, the network or a firewall read.
const READ_BY_ALL: [&str; 14] = [
    "/etc/group",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/iptables/",
    "/etc/netplan/",
    "/etc/network/",
    "/etc/nftables",
    "/etc/nologin",
    "/etc/pam.d/",
    "/etc/passwd",
    "/etc/security/",
    "/etc/shadow",
    "/etc/ssh/",
    "/etc/systemd/network/",
];

/// The same that sudo reads.
const READ_BY_SUDO: &str = "/etc/sudoers";

/// The login of this run, by what it depends on.
pub(super) struct Login<'a> {
    names: &'a Names<'a>,
    way: WayIn,
    /// The home of its account, the file of its keys, and the folders on the way to both.
    places: BTreeSet<String>,
}

impl<'a> Login<'a> {
    /// The login by which somebody is on the server; `None` where nobody is.
    pub(super) fn of(names: &'a Names<'a>) -> Option<Self> {
        let way = names.probe().way_in()?;
        // An account that cannot be looked up is told by the checks of the resources.
        let home = names.probe().user(&way.account).ok().flatten().map(|user| user.home);
        let keys = names.place(&format!("{}/.ssh/authorized_keys", home.unwrap_or_default()));
        let above = keys.match_indices('/').skip(1).map(|(end, _)| keys[..end].to_owned());
        let places = above.chain([keys.clone()]).collect();
        Some(Self { names, way, places })
    }

    /// Whether it may depend on what a resource holds.
    pub(super) fn depends_on(&self, spec: &Spec) -> bool {
        match spec {
            Spec::AuthorizedKey(key) => return key.user == self.way.account,
            Spec::User(user) => {
                return user.name == self.way.account && user.may_close_login(None);
            }
            Spec::Firewall(_) => return true,
            Spec::Service(service) => return service.is_firewall(),
            _ => {}
        }
        let is_of_unit = |path: &str| {
            let unit = self.way.unit.as_deref().unwrap_or_default();
            let rest = path.strip_prefix("/etc/systemd/system/");
            !unit.is_empty() && rest.is_some_and(|rest| rest.starts_with(unit))
        };
        spec.switches().iter().any(|path| {
            READ_BY_ALL.iter().any(|beginning| path.starts_with(beginning))
                || read_together(path) == Some("sshd")
                || self.way.account != "root" && path.starts_with(READ_BY_SUDO)
                || is_of_unit(path)
                || self.places.contains(&self.names.place(path))
        })
    }
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

/// Whether a change of a guarded resource may close the way in: a new password does not, and nobody could
/// prove that with the old one.
pub(super) fn may_close(spec: &Spec, change: &Change) -> bool {
    match spec {
        Spec::User(user) => user.may_close_login(Some(change)),
        Spec::Service(_) => change.sets("running"),
        _ => true,
    }
}

/// The reason why a service may not be stopped, or left out at boot: infra came in by it.
pub(super) fn closed_by(spec: &Spec, manifest: &Manifest, probe: &dyn Probe) -> Option<Error> {
    let Spec::Service(service) = spec else { return None };
    let verb = match (service.stops(), service.starts_at_boot()) {
        (true, _) => "to be stopped",
        (false, Some(false)) => "not to start at boot",
        _ => return None,
    };
    let way_unit = probe.way_in()?.unit?;
    let unit = spec.holds_unit(probe, false).ok().flatten()?;
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
