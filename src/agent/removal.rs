//! What is managed and no longer declared: how it goes, and where in the run.
//!
//! It becomes resources of the manifest like any other, so that it is previewed, validated with
//! the rest of its set, put back and recorded in the same way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::events::Mark;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Change, Names, Probe, Spec};
use crate::wire::RunOptions;

use super::state::State;
use super::state::managed::Managed;
use super::twins;

/// What goes, and what is let go.
pub struct Removal {
    /// The resources that take something away or bring something back: what they are about, and
    /// how the plan marks them.
    pub steps: BTreeMap<ResourceId, Step>,
    /// What stays as it is and is no longer looked after, with the reason.
    pub released: Vec<(ResourceId, String)>,
    /// What is forgotten without a word: it left nothing, or another resource has taken it over.
    pub forgotten: Vec<ResourceId>,
    /// The declared resources that go on with what infra made under another identity: that was not
    /// there before infra.
    pub heirs: BTreeSet<ResourceId>,
    /// The declared resources that cannot hold beside others.
    refused: BTreeMap<ResourceId, Error>,
}

/// One resource that exists only to take another away.
pub struct Step {
    /// The managed resource that goes.
    pub of: ResourceId,
    /// How the plan shows it.
    pub mark: Mark,
    /// Whether the content of what goes may be shown.
    pub holds_secrets: bool,
}

impl Removal {
    /// A run in which nothing goes.
    pub fn none() -> Self {
        Self {
            steps: BTreeMap::new(),
            released: Vec::new(),
            forgotten: Vec::new(),
            heirs: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Compares what is managed with what is declared, and adds to the manifest what takes the
    /// rest away: at the end of the role that declared it, or first of all if the role is gone.
    pub fn plan<'a>(
        manifest: &'a Manifest,
        state: &mut State,
        options: &RunOptions,
        probe: &dyn Probe,
    ) -> Result<(Cow<'a, Manifest>, Self)> {
        let mut removal = Self::none();
        let names = twins::names(manifest, probe);
        removal.refused = twins::find(manifest, &names);
        state.take_over(manifest, &names);
        if options.partial {
            return Ok((Cow::Borrowed(manifest), removal));
        }
        let world = World::new(manifest, state, options, &names);
        let gone = world.gone();
        if gone.is_empty() {
            return Ok((Cow::Borrowed(manifest), removal));
        }
        let staying = world.staying_folders(&gone);
        let mut inserted: BTreeMap<usize, Vec<Resource>> = BTreeMap::new();
        for (id, managed) in gone {
            let is_taken = |path: &String| world.is_taken(path);
            let is_inside =
                |path: &String| staying.iter().any(|folder| names.place(path).starts_with(folder));
            let paths = &managed.paths;
            let all = |test: &dyn Fn(&String) -> bool| !paths.is_empty() && paths.iter().all(test);
            if all(&is_taken) || all(&is_inside) {
                removal.forgotten.push(id.clone());
                continue;
            }
            if removal.is_inherited(id, managed, &world)
                || removal.is_same_unit(id, managed, &world)?
            {
                continue;
            }
            let specs = match world.specs(managed) {
                Ok(specs) => specs,
                // Nothing can be put in its place, and that must not stop what can be done.
                Err(error) => {
                    removal.released.push((id.clone(), error.message));
                    continue;
                }
            };
            if specs.is_empty() {
                removal.leave(id, managed);
                continue;
            }
            if let Some(because) = world.stands_in_the_way(managed, &specs)? {
                removal.released.push((id.clone(), because));
                continue;
            }
            let rest = |(spec, mark)| Some((world.beside_all(spec)?, mark));
            for (spec, mark) in specs.into_iter().filter_map(rest) {
                let resource = step(spec, managed, &world.declared);
                let holds_secrets = managed.holds_secrets;
                let step = Step { of: id.clone(), mark, holds_secrets };
                removal.steps.insert(resource.id.clone(), step);
                let position = world.position(managed, &resource.spec);
                inserted.entry(position).or_default().push(resource);
            }
        }
        Ok((Cow::Owned(with(manifest, inserted)), removal))
    }

    /// Looks whether all resources can hold together, so that a run which could not end begins nothing.
    ///
    /// # Errors
    /// The first resource that cannot hold beside others.
    pub fn is_consistent(&self, manifest: &Manifest) -> Result<()> {
        let mut ids = manifest.resources.iter().map(|resource| &resource.id);
        match ids.find_map(|id| self.refused.get(id)) {
            Some(error) => {
                Err(error.clone().context("nothing was changed: the plan contradicts itself"))
            }
            None => Ok(()),
        }
    }

    /// The reason why a declared resource cannot hold beside another one.
    pub fn refuses(&self, id: &ResourceId) -> Option<&Error> {
        self.refused.get(id)
    }

    /// How the plan marks a change of `id`.
    pub fn mark(&self, id: &ResourceId) -> Option<Mark> {
        self.steps.get(id).map(|step| step.mark)
    }

    /// Takes contents out of a change that may not be shown: the secrets of what goes, or of what
    /// has none any more, are in no manifest, so that nobody could mask them.
    pub fn hide(&self, resource: &Resource, known: Option<&Managed>, change: &mut Change) {
        let step = self.steps.get(&resource.id);
        let held_secrets = step.is_some_and(|step| step.holds_secrets)
            || known.is_some_and(|managed| managed.holds_secrets);
        if held_secrets && resource.secrets.is_empty() {
            change.hide_contents();
        }
    }

    /// Why a step does not take away what it is about, after all.
    pub fn keeps(&self, resource: &Resource, probe: &dyn Probe) -> Result<Option<String>> {
        let is_step = self.steps.contains_key(&resource.id);
        if is_step && resource.spec.desired().is_none() && resource.spec.loses_data(probe)? {
            return Ok(Some("it is not empty".to_owned()));
        }
        Ok(None)
    }

    /// Notes which declared resources go on with what `id` was about, and whether that is all of it.
    fn is_inherited(&mut self, id: &ResourceId, managed: &Managed, world: &World<'_>) -> bool {
        let Some(away) = managed.away() else { return false };
        let heirs: Vec<ResourceId> = world
            .present
            .iter()
            .filter(|one| away.beside(&one.spec, world.names).as_ref() != Some(away))
            .map(|one| one.id.clone())
            .collect();
        if !managed.existed {
            self.heirs.extend(heirs.iter().cloned());
        }
        let is_all = world.beside_all(away.clone()).is_none();
        match heirs.first().filter(|_| is_all) {
            Some(heir) if !managed.paths.is_empty() => {
                self.released.push((id.clone(), format!("`{heir}` goes on with it")));
            }
            Some(_) => self.forgotten.push(id.clone()),
            None => {}
        }
        is_all
    }

    /// Notes which declared resource holds the unit of `id` under another name, if one does: it goes
    /// on with the unit.
    fn is_same_unit(
        &mut self,
        id: &ResourceId,
        managed: &Managed,
        world: &World<'_>,
    ) -> Result<bool> {
        // A removal with a state leaves the unit there, stopped or disabled.
        let away = managed.dropped.gently.as_ref().filter(|away| away.desired().is_some());
        let Some(away) = away else { return Ok(false) };
        let Some(unit) = away.holds_unit(world.names.probe(), true)? else { return Ok(false) };
        for heir in &world.present {
            if heir.spec.holds_unit(world.names.probe(), true)?.as_ref() == Some(&unit) {
                if !managed.existed {
                    self.heirs.insert(heir.id.clone());
                }
                self.forgotten.push(id.clone());
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn leave(&mut self, id: &ResourceId, managed: &Managed) {
        let was_there = managed.existed && managed.paths.is_empty();
        let because = was_there.then(|| "it was there before infra".to_owned());
        match because.or_else(|| managed.dropped.stays.clone()) {
            Some(because) => self.released.push((id.clone(), because)),
            None => self.forgotten.push(id.clone()),
        }
    }
}

/// The server and the manifest that a removal is planned against.
struct World<'a> {
    manifest: &'a Manifest,
    state: &'a State,
    options: &'a RunOptions,
    names: &'a Names<'a>,
    declared: BTreeSet<&'a ResourceId>,
    /// The declared resources that should be there.
    present: Vec<&'a Resource>,
    /// The places whose whole content is a declared resource's own.
    taken: BTreeSet<String>,
}

impl<'a> World<'a> {
    fn new(
        manifest: &'a Manifest,
        state: &'a State,
        options: &'a RunOptions,
        names: &'a Names<'a>,
    ) -> Self {
        let resources = &manifest.resources;
        let replaced = resources.iter().flat_map(|resource| resource.spec.replaces());
        Self {
            manifest,
            state,
            options,
            names,
            declared: resources.iter().map(|resource| &resource.id).collect(),
            present: resources.iter().filter(|one| one.spec.desired().is_some()).collect(),
            taken: replaced.map(|path| names.place(&path)).collect(),
        }
    }

    /// The managed resources that are no longer declared, the last one first.
    fn gone(&self) -> Vec<(&'a ResourceId, &'a Managed)> {
        let is_gone =
            |id: &ResourceId| !self.declared.contains(id) && !self.options.withheld.contains(id);
        let mut gone: Vec<(&ResourceId, &Managed)> =
            self.state.resources().iter().filter(|(id, _)| is_gone(id)).collect();
        gone.sort_by_key(|(_, managed)| std::cmp::Reverse(managed.order));
        gone
    }

    fn is_taken(&self, path: &str) -> bool {
        self.taken.contains(&self.names.place(path))
    }

    /// The clones and archives that stay, as beginnings of paths: what infra put into one of them
    /// stays with it.
    fn staying_folders(&self, gone: &[(&ResourceId, &Managed)]) -> Vec<String> {
        let folders = gone.iter().filter(|(id, managed)| {
            let taken = self.options.allow_data_loss && managed.dropped.with_data.is_some();
            matches!(id.kind(), "git" | "archive") && !taken
        });
        folders.map(|(id, _)| format!("{}/", self.names.place(id.identity()))).collect()
    }

    /// The specs that take a resource away: the files that were there before infra come back.
    fn specs(&self, managed: &Managed) -> Result<Vec<(Spec, Mark)>> {
        let mut back = Vec::new();
        for path in managed.paths.iter().filter(|path| !self.is_taken(path)) {
            if let Some(original) = self.state.original(path) {
                back.push((original.spec(path, self.names.probe())?, Mark::Restored));
            }
        }
        let dropped = &managed.dropped;
        let with_data = dropped.with_data.as_ref().filter(|_| self.options.allow_data_loss);
        let away = with_data.or(dropped.gently.as_ref());
        // A thing that infra only found, and a file that comes back, are not taken away first.
        let is_one_file = matches!(away, Some(Spec::File(_) | Spec::Symlink(_)));
        let existed = managed.existed && managed.paths.is_empty();
        let away = away.filter(|_| !existed && (!is_one_file || back.is_empty()));
        Ok(away.cloned().map(|spec| (spec, Mark::Undeclared)).into_iter().chain(back).collect())
    }

    /// The declared resource that would be taken away with what goes, and how, if there is one.
    fn stands_in_the_way(
        &self,
        managed: &Managed,
        specs: &[(Spec, Mark)],
    ) -> Result<Option<String>> {
        if let Some(editor) = self.writer_of_rest(managed) {
            return Ok(Some(format!("`{editor}` writes to it as well")));
        }
        for (spec, _) in specs.iter().filter(|(spec, _)| spec.desired().is_none()) {
            if let Some(folder) = spec.takes_folder(self.names.probe())?
                && let Some(inside) = twins::inside(&folder, self.manifest, self.names)
            {
                return Ok(Some(format!("`{inside}` is in `{folder}`")));
            }
            if let Spec::Symlink(link) = spec
                && let Some(over) = twins::over(link.path.as_str(), self.manifest)
            {
                return Ok(Some(format!("`{over}` is reached over it")));
            }
        }
        Ok(None)
    }

    /// The rest of a removal, without the things that a declared resource holds under another identity.
    fn beside_all(&self, spec: Spec) -> Option<Spec> {
        self.present.iter().try_fold(spec, |rest, one| rest.beside(&one.spec, self.names))
    }

    /// The declared resource that writes to a file from which the rest is to go: the whole file may
    /// not go then. A file of before infra can come back, and is written to again.
    fn writer_of_rest(&self, managed: &Managed) -> Option<&'a ResourceId> {
        let mut paths = managed.paths.iter().filter(|path| self.state.original(path).is_none());
        paths.find_map(|path| self.writers(path).first().map(|(_, writer)| &writer.id))
    }

    /// The declared resources that write a part of the file at `path`, with their places.
    fn writers(&self, path: &str) -> Vec<(usize, &'a Resource)> {
        let place = self.names.place(path);
        let holds = |paths: Vec<String>| paths.iter().any(|path| self.names.place(path) == place);
        let writes = |resource: &Resource| {
            holds(resource.spec.switches()) && !holds(resource.spec.replaces())
        };
        let resources = self.manifest.resources.iter().enumerate();
        resources.filter(|(_, resource)| writes(resource)).collect()
    }

    /// Where in the manifest it goes: behind everything that its role still declares, so that the new
    /// is there before the old is gone. A file of a service belongs to the set that the service
    /// validates, so it goes before the first verification of the role reads that set; and what others
    /// write a part of, or run under the same name, goes before they do so.
    fn position(&self, managed: &Managed, spec: &Spec) -> usize {
        let of_role = position_in_role(self.manifest, managed);
        let units = spec.units();
        let is_same_unit =
            |resource: &Resource| resource.spec.units().iter().any(|unit| units.contains(unit));
        let after = managed.paths.iter().flat_map(|path| self.writers(path));
        let after = after.map(|(index, _)| index);
        let after = after.chain(self.manifest.resources.iter().position(is_same_unit));
        after.fold(of_role, usize::min)
    }
}

fn step(spec: Spec, managed: &Managed, declared: &BTreeSet<&ResourceId>) -> Resource {
    use crate::events::ServiceAction::{Reload, Restart};
    let told = |wanted| {
        let notified = managed.notifies.iter().filter(move |(_, action)| *action == wanted);
        notified.map(|(id, _)| id.clone()).filter(|id| declared.contains(id)).collect()
    };
    Resource {
        id: spec.id(),
        role: managed.role.clone(),
        place: String::new(),
        spec,
        requires: Vec::new(),
        reload: told(Reload),
        restart: told(Restart),
        guard: managed.guard,
        secrets: Vec::new(),
        is_untraceable: false,
    }
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

fn with(manifest: &Manifest, mut inserted: BTreeMap<usize, Vec<Resource>>) -> Manifest {
    let mut resources = Vec::with_capacity(manifest.resources.len() + inserted.len());
    for (index, resource) in manifest.resources.iter().enumerate() {
        resources.extend(inserted.remove(&index).into_iter().flatten());
        resources.push(resource.clone());
    }
    resources.extend(inserted.into_values().flatten());
    Manifest {
        server: manifest.server.clone(),
        expect: manifest.expect.clone(),
        resources,
        secrets: manifest.secrets.clone(),
    }
}
