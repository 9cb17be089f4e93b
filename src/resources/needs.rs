//! Things that a change needs on the server: accounts, the folder of what is made, a system that is up.

use super::Spec;
use super::names::{Names, is_in};
use super::probe::{FileKind, Probe};
use super::query::Query;
use super::state::Change;
use super::systemd;
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// Looks for what `change` needs, unless a preview cannot know what comes before.
///
/// # Errors
/// The first thing that is not there.
pub(super) fn check(spec: &Spec, change: &Change, probe: &dyn Probe) -> Result<()> {
    if change.is_remove() || probe.is_preview_of_more() {
        return Ok(());
    }
    for id in spec.needs() {
        let name = id.identity();
        let is_there = match id.kind() {
            "user" => probe.user(name)?.is_some(),
            "group" => probe.group(name)?.is_some(),
            _ => continue,
        };
        if !is_there {
            return Err(Error::failed(format!("there is no {} `{name}`", id.kind()))
                .hint(format!("declare `{}: {name}` before", id.kind())));
        }
    }
    if matches!(change, Change::Update(_)) && spec.as_service().is_some() && systemd::starts(change)
    {
        check_is_up(probe)?;
    }
    check_folder(spec, change, probe)
}

/// Refuses to start a service of a server that is going down: its services are stopped for that, by nobody's
/// mistake.
fn check_is_up(probe: &dyn Probe) -> Result<()> {
    let output = probe.query(&Query::system_state())?;
    if output.text().trim() != "stopping" {
        return Ok(());
    }
    Err(Error::failed("the server is shutting down").hint("try again when it is up"))
}

/// The path at which a resource makes something, where the folder has to be there before.
pub fn made_at(spec: &Spec) -> Option<String> {
    match spec {
        Spec::Directory(directory) if directory.parents => None,
        Spec::Line(line) => line.create.then(|| line.path.to_string()),
        Spec::Archive(_)
        | Spec::Directory(_)
        | Spec::DockerCompose(_)
        | Spec::File(_)
        | Spec::Git(_)
        | Spec::Mount(_)
        | Spec::Swap(_)
        | Spec::Symlink(_)
        | Spec::Volume(_) => Some(spec.id().identity().to_owned()),
        _ => None,
    }
}

/// Refuses to make a thing in a folder that is not there.
fn check_folder(spec: &Spec, change: &Change, probe: &dyn Probe) -> Result<()> {
    let Some(path) = made_at(spec) else { return Ok(()) };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let is_made = match spec {
        Spec::Line(_) => probe.stat(&path)?.is_none(),
        // A volume may have its file system already: its place is made all the same.
        _ => change.is_create() || change.sets("mounted"),
    };
    if !is_made || folder.is_empty() {
        return Ok(());
    }
    // The target of a link need not have a name that can be written.
    let target = Names::of(probe).target(folder);
    let kind = probe.stat(&target)?.map(|stat| stat.kind);
    if let Some(kind @ (FileKind::File | FileKind::Other)) = kind {
        return Err(Error::failed(format!("`{folder}` is a {}, not a folder", kind.noun()))
            .hint("choose another place, or move away what is there"));
    }
    if kind.is_some() || may_come(folder, probe) || may_come(&target, probe) {
        return Ok(());
    }
    let is_of_directory = matches!(spec, Spec::Directory(_));
    let way = if is_of_directory { ", or say `parents: true`" } else { "" };
    Err(Error::failed(format!("its folder `{folder}` is not there"))
        .hint(format!("declare `directory: {folder}` before{way}")))
}

/// Whether an earlier resource of a preview may bring what is at `path`, though nobody can list it: a mount brings
/// what is on its device, and services make folders of their own.
pub(super) fn may_come(path: &str, probe: &dyn Probe) -> bool {
    let of_services = ["/run/", "/var/lib/", "/var/cache/", "/var/log/", "/var/run/"];
    let is_of_service =
        of_services.iter().any(|folder| path.starts_with(folder)) && probe.starts_units();
    is_of_service || is_mounted_before(path, probe)
}

/// Whether something is mounted at or above `path` earlier in a preview: nobody knows what is in it.
pub(super) fn is_mounted_before(path: &str, probe: &dyn Probe) -> bool {
    let is_mount = |id: &&ResourceId| matches!(id.kind(), "mount" | "volume");
    let mut mounts = probe.changed_before().into_iter().filter(is_mount);
    mounts.any(|id| path == id.identity() || is_in(path, id.identity()))
}

/// The folders above `path` that are missing, the uppermost one first.
pub(super) fn missing_parents(path: &str, probe: &dyn Probe) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (end, _) in path.match_indices('/').skip(1) {
        let folder = &path[..end];
        match probe.stat(folder)?.map(|stat| stat.kind) {
            None => missing.push(folder.to_owned()),
            Some(FileKind::File | FileKind::Other) => {
                return Err(Error::failed(format!("`{folder}` is no folder")));
            }
            Some(FileKind::Directory | FileKind::Symlink) => {}
        }
    }
    Ok(missing)
}
