//! What is managed and no longer declared: how it goes, and where in the run.
//!
//! It becomes resources of the manifest like any other, so that it is previewed, validated with
//! the rest of its set, put back and recorded in the same way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::events::{Mark, Outcome};
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Change, Current, Probe, Spec, UnitBefore};
use crate::wire::RunOptions;

use super::state::State;
use super::state::managed::Managed;
use super::told;
use super::twins;
use super::world::World;

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
    /// there before infra; the unit of some was, in this state.
    pub heirs: BTreeMap<ResourceId, Option<UnitBefore>>,
    /// The declared resources that cannot hold beside others.
    refused: BTreeMap<ResourceId, Error>,
}

/// Refuses a manifest that names a resource twice: `infra` sends none, and a run counts on that.
fn refuse_twins(manifest: &Manifest) -> Result<()> {
    let mut seen = BTreeSet::new();
    match manifest.resources.iter().find(|resource| !seen.insert(&resource.id)) {
        Some(twin) => Err(Error::input(format!("`{}` is in the manifest twice", twin.id))),
        None => Ok(()),
    }
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
            heirs: BTreeMap::new(),
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
        refuse_twins(manifest)?;
        let mut removal = Self::none();
        let names = twins::names(manifest, probe);
        removal.refused = twins::find(manifest, &names);
        state.take_over(manifest, &names);
        if options.partial {
            return Ok((Cow::Borrowed(manifest), removal));
        }
        let world = World::new(manifest, state, options, &names);
        let gone = world.gone();
        if gone.is_empty() && state.debts().all(|service| world.declared.contains(service)) {
            return Ok((Cow::Borrowed(manifest), removal));
        }
        let staying = world.staying_folders(&gone);
        let mut going: Vec<(usize, Resource)> = Vec::new();
        for (id, managed) in gone {
            if removal.stays(id, managed, &world, &staying)? {
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
            if world.goes_with_its_database(managed) {
                removal.forgotten.push(id.clone());
                continue;
            }
            if specs.is_empty() {
                removal.leave(id, managed, probe);
                continue;
            }
            if let Some(because) = world.stands_in_the_way(managed, &specs)? {
                removal.released.push((id.clone(), because));
                continue;
            }
            removal.take_away(id, managed, specs, &world, &mut going);
        }
        for (position, line, file) in world.emptied(&going) {
            let Some(Step { of, mark, holds_secrets }) = removal.steps.get(&line) else { continue };
            let step = Step { of: of.clone(), mark: *mark, holds_secrets: *holds_secrets };
            if !removal.steps.contains_key(&file.id) {
                removal.steps.insert(file.id.clone(), step);
                going.push((position, file));
            }
        }
        told::tell(&mut going, &mut removal, state, &world)?;
        world.make_way(&mut going)?;
        world.inner_first(&mut going);
        Ok((Cow::Owned(with(manifest, going)), removal))
    }

    /// Adds the steps that take a managed resource away, with their places in the run.
    fn take_away(
        &mut self,
        id: &ResourceId,
        managed: &Managed,
        specs: Vec<(Spec, Mark)>,
        world: &World<'_>,
        going: &mut Vec<(usize, Resource)>,
    ) {
        let rest = |(spec, mark)| Some((world.beside_all(spec)?, mark));
        for (spec, mark) in specs.into_iter().filter_map(rest) {
            let resource = step(spec, managed);
            if self.steps.contains_key(&resource.id) || world.declared.contains(&resource.id) {
                // A state may know one thing under two names: one step takes it away, and none if it is declared
                // under the other.
                self.forgotten.push(id.clone());
                continue;
            }
            let holds_secrets = managed.holds_secrets;
            let step = Step { of: id.clone(), mark, holds_secrets };
            self.steps.insert(resource.id.clone(), step);
            if let Some(error) = twins::must_stay(&resource.spec, world.manifest, world.names) {
                self.refused.insert(resource.id.clone(), error);
            }
            going.push((world.position(managed, &resource.spec), resource));
        }
    }

    /// Notes why nothing of `id` is taken away, where that is so before its removal is looked at.
    fn stays(
        &mut self,
        id: &ResourceId,
        managed: &Managed,
        world: &World<'_>,
        staying: &[String],
    ) -> Result<bool> {
        if let Some(path) = world.moved(managed) {
            let because = format!("a link on the way to `{path}` leads elsewhere now");
            self.released.push((id.clone(), because));
            return Ok(true);
        }
        if let Some((path, kind)) = world.replaced_by(managed)? {
            self.released.push((id.clone(), format!("`{path}` is a {} by now", kind.noun())));
            return Ok(true);
        }
        let is_taken = |path: &String| world.is_taken(path);
        let is_inside = |path: &String| {
            staying.iter().any(|folder| world.names.place(path).starts_with(folder))
        };
        let paths = &managed.paths;
        let all = |test: &dyn Fn(&String) -> bool| !paths.is_empty() && paths.iter().all(test);
        if all(&is_taken) || all(&is_inside) {
            self.forgotten.push(id.clone());
            return Ok(true);
        }
        Ok(self.is_inherited(id, managed, world) || self.is_same_unit(id, managed, world)?)
    }

    /// Looks whether all resources can hold together, so that a run which could not end begins nothing.
    ///
    /// # Errors
    /// The first resource that cannot hold beside others.
    pub fn is_consistent(&self, manifest: &Manifest) -> Result<()> {
        let mut ids = manifest.resources.iter().map(|resource| &resource.id);
        match ids.find_map(|id| self.refused.get(id)) {
            Some(error) => Err(contradiction(error)),
            None => Ok(()),
        }
    }

    /// The reason why a declared resource cannot hold beside another one.
    pub fn refuses(&self, id: &ResourceId) -> Option<&Error> {
        self.refused.get(id)
    }

    /// Whether the managed resource `id` is no longer declared.
    pub fn lets_go(&self, id: &ResourceId) -> bool {
        self.steps.values().any(|step| step.of == *id)
            || self.released.iter().any(|(released, _)| released == id)
            || self.forgotten.contains(id)
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

    /// The outcome of a step that does not take away what it is about, after all.
    pub fn keeps(&self, resource: &Resource, probe: &dyn Probe) -> Result<Option<Outcome>> {
        if !self.steps.contains_key(&resource.id) || resource.spec.desired().is_some() {
            return Ok(None);
        }
        if resource.spec.loses_data(probe)? {
            return Ok(Some(Outcome::Released { because: "it is not empty".to_owned() }));
        }
        // Nobody declares it, so that nothing else of the run has to wait for it.
        let obstacle = resource.spec.check_obstacles(&Change::Remove, probe).err();
        Ok(obstacle.map(|error| Outcome::Stays { because: error.message }))
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
            self.heirs.extend(heirs.iter().map(|heir| (heir.clone(), managed.unit_before)));
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
                    self.heirs.insert(heir.id.clone(), managed.unit_before);
                }
                self.forgotten.push(id.clone());
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn leave(&mut self, id: &ResourceId, managed: &Managed, probe: &dyn Probe) {
        // Where nothing is there, as after a failed run, nothing is left to tell of.
        let is_gone = |away: &Spec| matches!(away.current(probe), Ok(Current::Absent));
        if managed.away().is_some_and(is_gone) {
            self.forgotten.push(id.clone());
            return;
        }
        let found = match managed.away() {
            Some(Spec::Line(_)) => "it is in the place of a line that was there before infra",
            _ => "it was there before infra",
        };
        let because = managed.stays_as_found().then(|| found.to_owned());
        match because.or_else(|| managed.dropped.stays.clone()) {
            Some(because) => self.released.push((id.clone(), because)),
            None => self.forgotten.push(id.clone()),
        }
    }
}

/// The end of a run that begins nothing, since a resource cannot hold beside others.
pub(super) fn contradiction(error: &Error) -> Error {
    error.clone().context("nothing was changed: the plan contradicts itself")
}

fn step(spec: Spec, managed: &Managed) -> Resource {
    Resource { guard: managed.guard, ..Resource::alone(spec, managed.role.clone()) }
}

fn with(manifest: &Manifest, going: Vec<(usize, Resource)>) -> Manifest {
    let mut inserted: BTreeMap<usize, Vec<Resource>> = BTreeMap::new();
    for (position, resource) in going {
        inserted.entry(position).or_default().push(resource);
    }
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
