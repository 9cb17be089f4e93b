//! A server and its manifest as a removal sees them: things that are declared, under whatever name, and
//! things that are gone.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::events::Mark;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::file::File;
use crate::resources::line::Line;
use crate::resources::names::is_in;
use crate::resources::{FileKind, Names, Share, Spec, read_together};
use crate::wire::RunOptions;

use super::state::State;
use super::state::managed::Managed;
use super::twins;

/// The server and the manifest that a removal is planned against.
pub(super) struct World<'a> {
    pub(super) manifest: &'a Manifest,
    state: &'a State,
    options: &'a RunOptions,
    pub(super) names: &'a Names<'a>,
    pub(super) declared: BTreeSet<&'a ResourceId>,
    /// The declared resources that should be there.
    pub(super) present: Vec<&'a Resource>,
    /// The places whose whole content is a declared resource's own, and where they are on their file systems.
    taken: OnceCell<BTreeSet<String>>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        manifest: &'a Manifest,
        state: &'a State,
        options: &'a RunOptions,
        names: &'a Names<'a>,
    ) -> Self {
        let resources = &manifest.resources;
        Self {
            manifest,
            state,
            options,
            names,
            declared: resources.iter().map(|resource| &resource.id).collect(),
            present: resources.iter().filter(|one| one.spec.desired().is_some()).collect(),
            taken: OnceCell::new(),
        }
    }

    /// The managed resources that are no longer declared, the last one first.
    pub(super) fn gone(&self) -> Vec<(&'a ResourceId, &'a Managed)> {
        let is_gone =
            |id: &ResourceId| !self.declared.contains(id) && !self.options.withheld.contains(id);
        let mut gone: Vec<(&ResourceId, &Managed)> =
            self.state.resources().iter().filter(|(id, _)| is_gone(id)).collect();
        gone.sort_by_key(|(_, managed)| std::cmp::Reverse(managed.order));
        gone
    }

    /// A path of a managed resource that is another place than when it was applied last.
    pub(super) fn moved<'b>(&self, managed: &'b Managed) -> Option<&'b String> {
        let places = managed.places.as_ref()?;
        let moved = places.iter().find(|(path, place)| self.names.place(path) != **place);
        moved.map(|(path, _)| path)
    }

    /// The kind of a thing that somebody has put in the place of a file or folder of infra's.
    pub(super) fn replaced_by(&self, managed: &Managed) -> Result<Option<(String, FileKind)>> {
        let (path, kind) = match managed.away() {
            Some(Spec::File(file)) => (file.path.as_str(), FileKind::File),
            Some(Spec::Directory(folder)) => (folder.path.as_str(), FileKind::Directory),
            _ => return Ok(None),
        };
        let found = self.names.probe().stat(path)?.map(|stat| stat.kind);
        let other = found.filter(|found| *found != kind && self.state.original(path).is_none());
        Ok(other.map(|found| (path.to_owned(), found)))
    }

    pub(super) fn is_taken(&self, path: &str) -> bool {
        let taken = self.taken.get_or_init(|| {
            let resources = self.manifest.resources.iter();
            let replaced = resources.flat_map(|resource| resource.spec.replaces());
            replaced.flat_map(|path| [self.names.place(&path), self.names.on_disk(&path)]).collect()
        });
        taken.contains(&self.names.place(path)) || taken.contains(&self.names.on_disk(path))
    }

    /// The clones and archives that stay, as beginnings of paths: what infra put into one of them
    /// stays with it.
    pub(super) fn staying_folders(&self, gone: &[(&ResourceId, &Managed)]) -> Vec<String> {
        let folders = gone.iter().filter(|(id, managed)| {
            let taken = self.options.allow_data_loss && managed.dropped.with_data.is_some();
            matches!(id.kind(), "git" | "archive") && !taken
        });
        folders.map(|(id, _)| format!("{}/", self.names.place(id.identity()))).collect()
    }

    /// The specs that take a resource away: the files that were there before infra come back.
    pub(super) fn specs(&self, managed: &Managed) -> Result<Vec<(Spec, Mark)>> {
        let mut back = Vec::new();
        for path in managed.paths.iter().filter(|path| !self.is_taken(path)) {
            if let Some(original) = self.state.original(path) {
                back.push((original.spec(path, self.names.probe())?, Mark::Restored));
            }
        }
        if let Some(unit) = self.unit_as_before(managed, &back)? {
            return Ok(vec![(unit, Mark::Restored)]);
        }
        let dropped = &managed.dropped;
        let mut with_data = dropped.with_data.as_ref().filter(|_| self.options.allow_data_loss);
        if let Some(spec) = with_data
            && (!self.takes_only_made(spec)? || self.holds_others(spec)?)
        {
            with_data = None;
        }
        let away = with_data.or(dropped.gently.as_ref());
        // A thing that infra only found, and a file that comes back, are not taken away first.
        let is_one_file = matches!(away, Some(Spec::File(_) | Spec::Symlink(_)));
        let existed = managed.stays_as_found();
        let away = away.filter(|_| !existed && (!is_one_file || back.is_empty()));
        let away = match &managed.unit_before {
            Some(before) => away.and_then(|spec| spec.back_to(before)),
            None => away.cloned(),
        };
        Ok(away.map(|spec| (spec, Mark::Undeclared)).into_iter().chain(back).collect())
    }

    /// Whether the database of an extension goes in the same run, with everything in it.
    pub(super) fn goes_with_its_database(&self, managed: &Managed) -> bool {
        let Some(Spec::PostgresqlExtension(extension)) = managed.away() else { return false };
        self.options.allow_data_loss
            && self.gone().into_iter().any(|(_, other)| match other.away() {
                Some(Spec::PostgresqlDatabase(database)) => {
                    !other.existed
                        && database.name == extension.database
                        && (&database.cluster, database.port)
                            == (&extension.cluster, extension.port)
                }
                _ => false,
            })
    }

    /// The unit or drop-in whose file is to come `back`, as a unit: systemd reads the file anew, what runs
    /// goes on with it, and nothing is stopped or disabled.
    fn unit_as_before(&self, managed: &Managed, back: &[(Spec, Mark)]) -> Result<Option<Spec>> {
        let (Some(Spec::SystemdUnit(unit)), [(Spec::File(file), _)]) = (managed.away(), back)
        else {
            return Ok(None);
        };
        // A unit is written with the attributes that units usually have.
        let is_usual = file.owner == "root" && file.group == "root" && file.mode.0 == 0o644;
        let content = file.content().filter(|_| is_usual);
        let Some(content) = content.and_then(|content| String::from_utf8(content.to_vec()).ok())
        else {
            return Ok(None);
        };
        Ok(Some(Spec::SystemdUnit(unit.as_before(content, self.names.probe())?)))
    }

    /// Whether something that stays is in the folder that a thing with a name of its own, such as an
    /// account, would take with it.
    fn holds_others(&self, spec: &Spec) -> Result<bool> {
        let folder = spec.takes_folder(self.names.probe())?;
        Ok(folder.filter(|folder| folder != spec.id().identity()).is_some_and(|folder| {
            twins::home_inside(&folder, spec, self.names).is_some()
                || twins::inside(&folder, self.manifest, self.names).is_some()
                || self.names.mounted_in(&folder, &self.unmounted()).is_some()
        }))
    }

    /// Whether nothing that was there before infra goes with what `spec` takes away.
    fn takes_only_made(&self, spec: &Spec) -> Result<bool> {
        let folder = spec.takes_folder(self.names.probe())?;
        let folder = folder.filter(|folder| folder != spec.id().identity());
        Ok(folder.is_none_or(|folder| self.state.has_made(&self.names.place(&folder))))
    }

    /// The steps that take away files which infra made for lines, and in which nothing is left once the lines of
    /// this run are gone; each with the last of these lines, and its place in the run.
    pub(super) fn emptied(
        &self,
        going: &[(usize, Resource)],
    ) -> Vec<(usize, ResourceId, Resource)> {
        let probe = self.names.probe();
        let mut files: BTreeMap<String, (usize, &Resource, Vec<u8>)> = BTreeMap::new();
        let mut steps: Vec<(usize, &Resource)> =
            going.iter().map(|(position, resource)| (*position, resource)).collect();
        steps.sort_by_key(|(position, _)| *position);
        for (position, resource) in steps {
            let Spec::Line(line) = &resource.spec else { continue };
            let path = line.path.as_str();
            let place = self.names.place(path);
            let is_free = !self.is_taken(path) && self.writers(path).is_empty();
            if !is_free || !self.state.has_made(&place) {
                continue;
            }
            let before = files.remove(&place).map(|(_, _, content)| content);
            let before = before.or_else(|| probe.read(path).ok().flatten());
            let edits = |before: Vec<u8>| resource.spec.edits(path, &before, Some(probe));
            if let Some(Ok(Some(after))) = before.map(edits) {
                files.insert(place, (position, resource, after));
            }
        }
        let empty = files.into_values().filter(|(.., content)| content.is_empty());
        let gone = empty.filter_map(|(position, line, _)| {
            let Spec::Line(Line { path, .. }) = &line.spec else { return None };
            let spec = Spec::File(File::absent(path.clone()));
            Some((position, line.id.clone(), Resource { id: spec.id(), spec, ..line.clone() }))
        });
        gone.collect()
    }

    /// The declared resource that would be taken away with what goes, and how, if there is one.
    pub(super) fn stands_in_the_way(
        &self,
        managed: &Managed,
        specs: &[(Spec, Mark)],
    ) -> Result<Option<String>> {
        if let Some(editor) = self.writer_of_rest(managed) {
            return Ok(Some(format!("`{editor}` writes to it as well")));
        }
        for (spec, _) in specs {
            if let Spec::Package(_) = spec
                && let Some(user) =
                    self.present.iter().find(|it| it.spec.needs().contains(&spec.id()))
            {
                return Ok(Some(format!("`{}` needs it", user.id)));
            }
            if let Some(folder) = spec.takes_folder(self.names.probe())? {
                if let Some(inside) = twins::inside(&folder, self.manifest, self.names) {
                    return Ok(Some(format!("`{inside}` is in `{folder}`")));
                }
                if let Some(mounted) = self.names.mounted_in(&folder, &self.unmounted()) {
                    return Ok(Some(format!("a file system is mounted at `{mounted}`")));
                }
            }
            let place = spec.id().identity().to_owned();
            let below = match spec {
                Spec::Mount(_) | Spec::Volume(_) | Spec::File(_) => {
                    twins::below(&place, self.manifest, self.names)
                }
                Spec::Symlink(_) if spec.desired().is_some() => {
                    twins::below(&place, self.manifest, self.names)
                }
                Spec::Symlink(_) => None,
                _ => continue,
            };
            if let Some(below) = below {
                return Ok(Some(format!("`{below}` is in it")));
            }
            if let Some(over) = twins::over(&place, self.manifest, self.names) {
                return Ok(Some(format!("`{over}` is reached over it")));
            }
        }
        Ok(None)
    }

    /// The places where nothing is mounted any more after the run.
    pub(super) fn unmounted(&self) -> Vec<String> {
        let gone = self.gone().into_iter().filter(|(_, managed)| !managed.existed);
        let gone = gone.map(|(id, _)| id).chain(twins::absent(self.manifest));
        twins::unmounted(gone, self.names)
    }

    /// The rest of a removal, without the things that a declared resource holds under another identity.
    pub(super) fn beside_all(&self, spec: Spec) -> Option<Spec> {
        self.present.iter().try_fold(spec, |rest, one| rest.beside(&one.spec, self.names))
    }

    /// The declared resource that writes to a file from which the rest is to go: the whole file may
    /// not go then. A file of before infra can come back, and is written to again.
    pub(super) fn writer_of_rest(&self, managed: &Managed) -> Option<&'a ResourceId> {
        let mut paths = managed.paths.iter().filter(|path| self.state.original(path).is_none());
        paths.find_map(|path| self.writers(path).first().map(|(_, writer)| &writer.id))
    }

    /// The declared resources that write a part of the file at `path`, with their places.
    pub(super) fn writers(&self, path: &str) -> Vec<(usize, &'a Resource)> {
        let writes = |resource: &Resource| {
            let mut shares = resource.spec.shares(Some(self.names.probe())).into_iter();
            shares.any(|(other, share)| share == Share::Part && self.names.are_one(&other, path))
        };
        let resources = self.manifest.resources.iter().enumerate();
        resources.filter(|(_, resource)| writes(resource)).collect()
    }

    /// Where in the manifest it goes: behind everything that its role still declares, so that the new
    /// is there before the old is gone. A file of a service belongs to the set that the service
    /// validates, so it goes before the first verification of the role reads that set; and what others
    /// write a part of, or run under the same name, goes before they do so.
    pub(super) fn position(&self, managed: &Managed, spec: &Spec) -> usize {
        let of_role = position_in_role(self.manifest, managed);
        let units = spec.units();
        let is_same_unit =
            |resource: &Resource| resource.spec.units().iter().any(|unit| units.contains(unit));
        let after = managed.paths.iter().flat_map(|path| self.writers(path));
        let after = after.map(|(index, _)| index);
        let after = after.chain(self.manifest.resources.iter().position(is_same_unit));
        // A reader that takes the first value of several files, or none of them if two differ, has to
        // lose the old one first.
        let readers: Vec<&str> =
            spec.switches().iter().filter_map(|path| read_together(path)).collect();
        let is_read_together = |resource: &Resource| {
            let switched = resource.spec.switches();
            switched.iter().any(|path| read_together(path).is_some_and(|of| readers.contains(&of)))
        };
        let after = after.chain(self.manifest.resources.iter().position(is_read_together));
        after.fold(of_role, usize::min)
    }
}

impl World<'_> {
    /// Moves what stands in the way of declared resources before them: what has a number that they are to
    /// have goes first, and before an account goes all that needs it.
    pub(super) fn make_way(&self, going: &mut [(usize, Resource)]) -> Result<()> {
        let probe = self.names.probe();
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for (index, resource) in self.manifest.resources.iter().enumerate().rev() {
            if resource.spec.desired().is_some() {
                let claims = resource.spec.claims(Some(probe)).unwrap_or_default();
                wanted.extend(claims.into_iter().map(|claim| (claim, index)));
            }
        }
        // A thing can be taken away as long as the package is there whose programs do so.
        let end_of = |needed: &[ResourceId]| {
            let is_needed = |one: &Resource| {
                one.id.kind() == "package"
                    && one.spec.desired().is_none()
                    && needed.contains(&one.id)
            };
            self.manifest.resources.iter().position(is_needed)
        };
        for (position, resource) in going.iter_mut().filter(|(_, one)| one.spec.desired().is_none())
        {
            let end = end_of(&resource.spec.needs());
            if let Some(end) = end.filter(|end| end < position) {
                self.move_to(end, position, resource);
            }
            let claims = resource.spec.claims(Some(probe))?;
            let first = claims.iter().filter_map(|claim| wanted.get(claim)).min();
            if let Some(first) = first.filter(|first| *first < position) {
                self.move_to(*first, position, resource);
            }
        }
        for index in 0..going.len() {
            let (before, rest) = going.split_at_mut(index);
            let Some((position, account)) = rest.first() else { continue };
            let taken = account.spec.takes_accounts(probe)?;
            for (other, resource) in before.iter_mut().filter(|(other, _)| other > position) {
                if !needs_accounts(&resource.spec) {
                    continue;
                }
                let named = resource.spec.accounts(probe)?;
                if named.iter().any(|account| taken.contains(account)) {
                    self.move_to(*position, other, resource);
                }
            }
        }
        Ok(())
    }

    /// Lets what lies in a thing, or is reached over it, go before the thing, whenever each of them was made.
    pub(super) fn inner_first(&self, going: &mut Vec<(usize, Resource)>) {
        going.sort_by_key(|(position, _)| *position);
        let paths: BTreeMap<ResourceId, [Vec<String>; 2]> = going
            .iter()
            .map(|(_, resource)| (resource.id.clone(), self.paths_of_removal(&resource.spec)))
            .collect();
        let of = |resource: &Resource| &paths[&resource.id];
        let lies_in = |inner: &Resource, outer: &Resource| {
            let ([_, inner], [outer, _]) = (of(inner), of(outer));
            let is_inside = |path: &String| outer.iter().any(|it| it != path && is_in(path, it));
            inner.iter().any(is_inside)
        };
        for index in (0..going.len()).rev() {
            let behind = (index + 1..going.len()).rev();
            let mut inner = behind.filter(|other| lies_in(&going[*other].1, &going[index].1));
            if let Some(last) = inner.next() {
                let (mut position, mut outer) = going.remove(index);
                let after = going[last - 1].0;
                if after != position {
                    self.move_to(after, &mut position, &mut outer);
                }
                going.insert(last, (position, outer));
            }
        }
    }

    /// The paths that a removal takes with all that is in them, and all paths that it is about, as they
    /// are written and as the server has them.
    fn paths_of_removal(&self, spec: &Spec) -> [Vec<String>; 2] {
        if spec.desired().is_some() {
            return [Vec::new(), Vec::new()];
        }
        let id = spec.id();
        let own = Some(id.identity()).filter(|path| path.starts_with('/') && id.kind() != "line");
        let folder = spec.takes_folder(self.names.probe()).ok().flatten();
        let own = own.map(str::to_owned).into_iter().chain(folder).collect::<Vec<_>>();
        let all = own.iter().cloned().chain(spec.switches()).collect::<Vec<_>>();
        let places = |paths: Vec<String>| {
            let places = paths.iter().map(|path| self.names.place(path)).collect::<Vec<_>>();
            paths.into_iter().chain(places).collect()
        };
        [places(own), places(all)]
    }

    /// Moves a removal to another place in the manifest, where the run of a role is not to end with it.
    fn move_to(&self, index: usize, position: &mut usize, resource: &mut Resource) {
        *position = index;
        if let Some(next) = self.manifest.resources.get(index) {
            resource.role.clone_from(&next.role);
        }
    }
}

/// Whether a thing can be taken away only as long as the accounts are there that it names: files go by their
/// paths, and in the order of their folders.
fn needs_accounts(spec: &Spec) -> bool {
    matches!(spec, Spec::AuthorizedKey(_) | Spec::SystemdUnit(_) | Spec::User(_))
}

fn position_in_role(manifest: &Manifest, managed: &Managed) -> usize {
    let resources = manifest.resources.iter().enumerate();
    let own = || resources.clone().filter(|(_, resource)| resource.role == managed.role);
    let Some((last, _)) = own().next_back() else { return 0 };
    let verifies = own().find(|(_, resource)| resource.spec.verifies());
    let is_of_a_set = !managed.paths.is_empty() && !managed.notifies.is_empty();
    match verifies {
        Some((index, _)) if is_of_a_set => index,
        _ => last + 1,
    }
}
