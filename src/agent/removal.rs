//! What is managed and no longer declared: how it goes, and where in the run.
//!
//! It becomes resources of the manifest like any other, so that it is previewed, validated with
//! the rest of its set, put back and recorded in the same way.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::events::Mark;
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::{Change, Probe, Spec};
use crate::wire::RunOptions;

use super::state::State;
use super::state::managed::Managed;

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
        }
    }

    /// Compares what is managed with what is declared, and adds to the manifest what takes the
    /// rest away: at the end of the role that declared it, or first of all if the role is gone.
    pub fn plan<'a>(
        manifest: &'a Manifest,
        state: &State,
        options: &RunOptions,
        probe: &dyn Probe,
    ) -> Result<(Cow<'a, Manifest>, Self)> {
        let mut removal = Self::none();
        if options.partial {
            return Ok((Cow::Borrowed(manifest), removal));
        }
        let declared: BTreeSet<&ResourceId> =
            manifest.resources.iter().map(|resource| &resource.id).collect();
        let is_gone = |id: &ResourceId| !declared.contains(id) && !options.withheld.contains(id);
        let mut gone: Vec<(&ResourceId, &Managed)> =
            state.resources().iter().filter(|(id, _)| is_gone(id)).collect();
        if gone.is_empty() {
            return Ok((Cow::Borrowed(manifest), removal));
        }
        gone.sort_by_key(|(_, managed)| std::cmp::Reverse(managed.order));
        let taken: BTreeSet<String> =
            manifest.resources.iter().flat_map(|resource| resource.spec.replaces()).collect();
        let mut inserted: BTreeMap<usize, Vec<Resource>> = BTreeMap::new();
        let staying = staying_folders(&gone, options);
        let is_present = |resource: &&Resource| resource.spec.desired().is_some();
        let present: Vec<&Resource> = manifest.resources.iter().filter(is_present).collect();
        for (id, managed) in gone {
            let is_taken = |path: &String| taken.contains(path);
            let is_inside = |path: &String| staying.iter().any(|folder| path.starts_with(folder));
            let paths = &managed.paths;
            let all = |test: &dyn Fn(&String) -> bool| !paths.is_empty() && paths.iter().all(test);
            if all(&is_taken) || all(&is_inside) {
                removal.forgotten.push(id.clone());
                continue;
            }
            if removal.is_inherited(id, managed, &present) {
                continue;
            }
            let specs = match specs(managed, state, options, probe, &taken) {
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
            if let Some(editor) = writer_of_rest(manifest, managed, state) {
                removal.released.push((id.clone(), format!("`{editor}` writes to it as well")));
                continue;
            }
            let rest = |(spec, mark)| Some((beside_all(spec, &present)?, mark));
            for (spec, mark) in specs.into_iter().filter_map(rest) {
                let resource = step(spec, managed, &declared);
                let holds_secrets = managed.holds_secrets;
                let step = Step { of: id.clone(), mark, holds_secrets };
                removal.steps.insert(resource.id.clone(), step);
                let position = position(manifest, managed, &resource.spec);
                inserted.entry(position).or_default().push(resource);
            }
        }
        Ok((Cow::Owned(with(manifest, inserted)), removal))
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
    fn is_inherited(&mut self, id: &ResourceId, managed: &Managed, present: &[&Resource]) -> bool {
        let dropped = &managed.dropped;
        let Some(away) = dropped.gently.as_ref().or(dropped.with_data.as_ref()) else {
            return false;
        };
        let heirs: Vec<ResourceId> = present
            .iter()
            .filter(|one| away.beside(&one.spec).as_ref() != Some(away))
            .map(|one| one.id.clone())
            .collect();
        if !managed.existed {
            self.heirs.extend(heirs.iter().cloned());
        }
        let is_all = beside_all(away.clone(), present).is_none();
        match heirs.first().filter(|_| is_all) {
            Some(heir) if !managed.paths.is_empty() => {
                self.released.push((id.clone(), format!("`{heir}` goes on with it")));
            }
            Some(_) => self.forgotten.push(id.clone()),
            None => {}
        }
        is_all
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

/// The clones and archives that stay, as beginnings of paths: what infra put into one of them
/// stays with it.
fn staying_folders(gone: &[(&ResourceId, &Managed)], options: &RunOptions) -> Vec<String> {
    let folders = gone.iter().filter(|(id, managed)| {
        let taken = options.allow_data_loss && managed.dropped.with_data.is_some();
        matches!(id.kind(), "git" | "archive") && !taken
    });
    folders.map(|(id, _)| format!("{}/", id.identity())).collect()
}

/// What takes a resource away: the files that were there before infra come back.
fn specs(
    managed: &Managed,
    state: &State,
    options: &RunOptions,
    probe: &dyn Probe,
    taken: &BTreeSet<String>,
) -> Result<Vec<(Spec, Mark)>> {
    let mut back = Vec::new();
    for path in managed.paths.iter().filter(|path| !taken.contains(*path)) {
        if let Some(original) = state.original(path) {
            back.push((original.spec(path, probe)?, Mark::Restored));
        }
    }
    let dropped = &managed.dropped;
    let with_data = dropped.with_data.as_ref().filter(|_| options.allow_data_loss);
    let away = with_data.or(dropped.gently.as_ref());
    // What infra only found, and what is one file that comes back, is not taken away first.
    let is_one_file = matches!(away, Some(Spec::File(_) | Spec::Symlink(_)));
    let existed = managed.existed && managed.paths.is_empty();
    let away = away.filter(|_| !existed && (!is_one_file || back.is_empty()));
    Ok(away.cloned().map(|spec| (spec, Mark::Undeclared)).into_iter().chain(back).collect())
}

/// What is to be taken away, without what a declared resource holds under another identity.
fn beside_all(spec: Spec, present: &[&Resource]) -> Option<Spec> {
    present.iter().try_fold(spec, |rest, one| rest.beside(&one.spec))
}

/// The declared resource that writes to a file from which the rest is to go: the whole file may not
/// go then. What was there before infra can come back, and is written to again.
fn writer_of_rest<'a>(
    manifest: &'a Manifest,
    managed: &Managed,
    state: &State,
) -> Option<&'a ResourceId> {
    let mut paths = managed.paths.iter().filter(|path| state.original(path).is_none());
    paths.find_map(|path| writers(manifest, path).first().map(|(_, writer)| &writer.id))
}

/// The declared resources that write a part of the file at `path`, with their places.
fn writers<'a>(manifest: &'a Manifest, path: &String) -> Vec<(usize, &'a Resource)> {
    let writes = |resource: &Resource| {
        resource.spec.switches().contains(path) && !resource.spec.replaces().contains(path)
    };
    manifest.resources.iter().enumerate().filter(|(_, resource)| writes(resource)).collect()
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

/// Where in the manifest it goes: behind everything that its role still declares, so that the new
/// is there before the old is gone. A file of a service belongs to the set that the service
/// validates, so it goes before the first verification of the role reads that set; and what others
/// write a part of, or run under the same name, goes before they do so.
fn position(manifest: &Manifest, managed: &Managed, spec: &Spec) -> usize {
    let of_role = position_in_role(manifest, managed);
    let units = spec.units();
    let is_same_unit =
        |resource: &Resource| resource.spec.units().iter().any(|unit| units.contains(unit));
    let after = managed.paths.iter().flat_map(|path| writers(manifest, path));
    let after = after.map(|(index, _)| index);
    let after = after.chain(manifest.resources.iter().position(is_same_unit));
    after.fold(of_role, usize::min)
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
