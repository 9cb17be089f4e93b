//! What the server remembers between runs: `/var/lib/infra/state.json`.
//!
//! - The resources that infra manages: how to take them away once nobody declares them, and keyed
//!   hashes of what was applied last, so that a change on the server can be told from a change of
//!   the inventory. Never a value.
//! - Debts. A reload that a switched file asks for is written here before the file is switched and
//!   taken out after the reload worked, so that a run that is cut in between leaves a debt that
//!   the next run sees and pays.
//! - The runs.

mod before;
pub mod managed;
mod original;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::events::{Memory, RunEnd, RunRecord, ServiceAction};
use crate::manifest::{Manifest, Resource, ResourceId};
use crate::resources::state::Value;
use crate::resources::{Attributes, Change, Probe, System};

use managed::{Key, Managed};
pub use original::Original;

/// Where the agent keeps everything of its own; readable by root only.
pub const FOLDER: &str = "/var/lib/infra";

const FILE: &str = "/var/lib/infra/state.json";

/// The key of the hashes in [`FILE`], beside it: a copy of the state alone does not let anybody find
/// values by trying.
const KEY_FILE: &str = "/var/lib/infra/state.key";

/// How many runs are remembered.
const RUNS: usize = 100;

/// What the host remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The format, so that an older agent does not misread it.
    version: u32,
    /// Grows with every apply.
    #[serde(default)]
    serial: u64,
    /// The key of the hashes. Older builds kept it in the state itself.
    #[serde(default, skip_serializing)]
    key: Key,
    /// Services whose reload or restart has been asked for and has not happened.
    owed_services: BTreeMap<ResourceId, ServiceAction>,
    /// Resources that changed, or were about to, and whose `when_changed` commands have not run.
    owed_changes: BTreeSet<ResourceId>,
    /// The run that is in progress, or was cut.
    #[serde(default)]
    run: Option<RunRecord>,
    /// The runs that ended, oldest first.
    #[serde(default)]
    history: Vec<RunRecord>,
    /// What infra manages.
    #[serde(default)]
    resources: BTreeMap<ResourceId, Managed>,
    /// What was at the paths of managed resources before infra.
    #[serde(default)]
    originals: BTreeMap<String, Original>,
    /// What infra made, let go and left as it is: should it be declared again, it was not there
    /// before infra.
    #[serde(default)]
    released: BTreeSet<ResourceId>,
    /// Hashes of what infra let go at paths of which it had the whole content, by their places: what
    /// differs is of others.
    #[serde(default)]
    left: BTreeMap<String, String>,
    /// What this run has made right and not put back: whether it holds secrets now.
    #[serde(skip)]
    settled: BTreeMap<ResourceId, bool>,
    /// The places that infra made something at for a resource which has more there than its own: a
    /// home, a file of lines. What was there before infra is not among them.
    #[serde(default)]
    made: BTreeSet<String>,
    /// Whether something here is newer than the file.
    #[serde(skip)]
    is_unsaved: bool,
    /// Whether the key is in its file.
    #[serde(skip)]
    is_key_kept: bool,
}

/// The format of a state, whatever else it holds.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).context(|| format!("cannot read `{FILE}`"))
}

/// Tells this machine from others. systemd asks programs not to pass on the machine id itself
/// (machine-id(5)).
fn machine(probe: &dyn Probe) -> Result<String> {
    let id = probe.read("/etc/machine-id")?.unwrap_or_default();
    let id = id.trim_ascii();
    let hash = |id: &[u8]| Key::new(id).hash(&Value::Text("infra".to_owned()));
    Ok(if id.is_empty() { String::new() } else { hash(id) })
}

impl State {
    /// The first version knew of debts alone, the second one held the key, the third one had fewer
    /// kinds and fields.
    const VERSION: u32 = 4;

    /// Reads the state; a server without one owes nothing.
    pub fn load(probe: &dyn Probe) -> Result<Self> {
        let Some(bytes) = probe.read(FILE)? else {
            return Ok(Self { version: Self::VERSION, ..Self::default() });
        };
        // First of all: a newer format may hold things that this build cannot read.
        let Format { version } = read(&bytes)?;
        if version > Self::VERSION {
            return Err(Error::failed(format!("`{FILE}` has the format {version}"))
                .hint("use the version of infra that last ran on this server, or a newer one"));
        }
        let mut state: Self = read(&bytes)?;
        state.version = Self::VERSION;
        if let Some(key) = probe.read(KEY_FILE)? {
            state.key = Key::from_file(&key);
            state.is_key_kept = true;
        }
        if state.key.is_empty() {
            // Nobody can tell any more what was applied, so that nothing is called drift.
            state.resources.values_mut().for_each(|managed| managed.fields.clear());
        }
        Ok(state)
    }

    /// What a preview is told.
    pub fn memory(&self, probe: &dyn Probe) -> Result<Memory> {
        Ok(Memory {
            is_outdated: self.is_unsaved,
            serial: self.serial,
            last_run: self.history.last().cloned(),
            cut_run: self.run.clone(),
            owed: self.owed_services.iter().map(|(id, action)| (id.clone(), *action)).collect(),
            machine: machine(probe)?,
            reboot: super::reboot::reason(probe)?,
            failed_units: Vec::new(),
            maintenance: super::maintenance::sites(probe)?,
        })
    }

    /// Whether it has yet to take in a declared resource, or a field of it. A change on the server could not be
    /// told from one of the inventory then.
    pub fn lacks(&self, manifest: &Manifest) -> bool {
        let mut remembered =
            manifest.resources.iter().filter(|resource| resource.spec.dropped().is_some());
        remembered.any(|resource| {
            let known = self.resources.get(&resource.id);
            let is_known = |known: &Managed| {
                let state = resource.spec.desired().unwrap_or_default();
                // Of what was put back, nothing is known on purpose.
                known.fields.is_empty()
                    || state.fields().all(|(field, _)| known.fields.contains_key(field))
            };
            !known.is_some_and(is_known)
        })
    }

    /// Whether it differs from its file.
    pub fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// The runs, oldest first; the last one may be in progress or cut.
    pub fn runs(&self) -> Vec<RunRecord> {
        self.history.iter().chain(&self.run).cloned().collect()
    }

    /// Grows with every apply.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The key of the hashes of managed resources.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What infra manages.
    pub fn resources(&self) -> &BTreeMap<ResourceId, Managed> {
        &self.resources
    }

    /// What was at `path` before infra.
    pub fn original(&self, path: &str) -> Option<&Original> {
        self.originals.get(path)
    }

    /// The owed reloads and restarts of services that the manifest still declares.
    pub fn owed_services(&self, manifest: &Manifest) -> BTreeMap<ResourceId, ServiceAction> {
        let declared: BTreeSet<&ResourceId> =
            manifest.resources.iter().map(|resource| &resource.id).collect();
        let owed = self.owed_services.iter().filter(|(service, _)| declared.contains(service));
        owed.map(|(service, action)| (service.clone(), *action)).collect()
    }

    /// The services whose reload or restart has been asked for and has not happened.
    pub fn debts(&self) -> impl Iterator<Item = &ResourceId> {
        self.owed_services.keys()
    }

    /// Whether a reload or restart of `service` has been asked for and has not happened.
    pub fn owes(&self, service: &ResourceId) -> bool {
        self.owed_services.contains_key(service)
    }

    /// Resources whose `when_changed` commands have not run.
    pub fn owed_changes(&self) -> impl Iterator<Item = &ResourceId> {
        self.owed_changes.iter()
    }

    /// Writes down that a run begins. A run that was cut before goes into the history as it is.
    pub fn begin_run(&mut self, system: &mut dyn System, mut run: RunRecord) -> Result<()> {
        if self.key.is_empty() {
            let mut random = [0; 32];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
                .context(|| "cannot make a key for the hashes".to_owned())?;
            self.key = Key::new(&random);
        }
        self.history.extend(self.run.take());
        // A damaged file may hold any number: the next one need only differ.
        self.serial = self.serial.wrapping_add(1);
        run.serial = self.serial;
        self.run = Some(run);
        self.save(system)
    }

    /// Writes down that the run has ended, and everything else that was not worth a write yet.
    pub fn end_run(
        &mut self,
        system: &mut dyn System,
        end: RunEnd,
        [changed, removed, failed]: [u32; 3],
        now: u64,
    ) -> Result<()> {
        if let Some(run) = self.run.take() {
            self.history.push(RunRecord { end, changed, removed, failed, ended: Some(now), ..run });
        }
        for (id, holds_secrets) in std::mem::take(&mut self.settled) {
            if let Some(managed) = self.resources.get_mut(&id) {
                managed.holds_secrets = holds_secrets;
            }
        }
        let surplus = self.history.len().saturating_sub(RUNS);
        self.history.drain(..surplus);
        self.save(system)
    }

    /// Writes down, before `resource` is applied, what its change will ask for, that it is
    /// managed, and what was at its paths. Does nothing if all of it is written down already.
    pub fn prepare(
        &mut self,
        system: &mut dyn System,
        resource: &Resource,
        change: &Change,
        managed: Option<Managed>,
        owes_change: bool,
    ) -> Result<()> {
        let own = super::plan::own_restart(resource, change);
        let own = own.map(|service| (service, ServiceAction::Restart));
        for (service, action) in super::plan::notifications(resource).chain(own) {
            if self.owed_services.get(service).is_none_or(|owed| *owed < action) {
                super::plan::raise(&mut self.owed_services, service, action);
                self.is_unsaved = true;
            }
        }
        self.is_unsaved |= owes_change && self.owed_changes.insert(resource.id.clone());
        if let Some(managed) = managed {
            self.note_made(resource, change, system);
            self.manage(system, &resource.id, managed)?;
        }
        if self.is_unsaved { self.save(system) } else { Ok(()) }
    }

    /// Records that `resource` is as it should be. Written with the next debt, or at the end.
    pub fn applied(
        &mut self,
        system: &mut dyn System,
        resource: &Resource,
        managed: Option<Managed>,
        has_changed: bool,
    ) -> Result<()> {
        let Some(managed) = managed else { return Ok(()) };
        self.settled.insert(resource.id.clone(), managed.holds_secrets);
        self.manage(system, &resource.id, managed)?;
        let mut fields =
            resource.spec.desired().map(|state| self.key.hashes(&state)).unwrap_or_default();
        // That it was applied is known also of what has no fields, such as any version of a package.
        fields.insert(String::new(), String::new());
        if let Some(known) = self.resources.get_mut(&resource.id)
            && (has_changed || known.fields != fields || known.traces.is_empty())
        {
            // Without them nothing is called drift that may be none.
            let traces = resource.spec.traces(system).unwrap_or_default();
            let traces = self.key.hashes(&traces);
            self.is_unsaved |= known.fields != fields || known.traces != traces;
            known.fields = fields;
            known.traces = traces;
        }
        Ok(())
    }

    /// A resource is not as it was last applied, and nobody but infra is to blame: it was put back.
    pub fn unapplied(&mut self, id: &ResourceId) {
        self.settled.remove(id);
        if let Some(known) = self.resources.get_mut(id) {
            known.fields.clear();
            known.traces.clear();
            self.is_unsaved = true;
        }
    }

    /// Takes in a resource as it is now declared. What is known of the time before infra stays.
    fn manage(
        &mut self,
        system: &mut dyn System,
        id: &ResourceId,
        mut managed: Managed,
    ) -> Result<()> {
        let is_ours = self.released.remove(id);
        managed.existed &= !is_ours;
        managed.unit_before = managed.unit_before.filter(|_| !is_ours);
        let known = self.resources.get(id);
        if self.run.as_ref().is_some_and(|run| run.is_partial) {
            // A part of the manifest says nothing of where it stands in the whole.
            let last = || self.resources.values().map(|other| other.order).max().unwrap_or(0);
            managed.order = known.map_or_else(last, |known| known.order);
        }
        if let Some(known) = known {
            let was_found = managed.existed;
            managed.existed = known.existed || was_found && managed.stands_for_another(known);
            managed.unit_before = known.unit_before;
            managed.holds_secrets |= known.holds_secrets;
            managed.fields.clone_from(&known.fields);
            managed.traces.clone_from(&known.traces);
        }
        if known == Some(&managed) {
            return Ok(());
        }
        let moved = known.map(|known| managed.moved_since(known)).unwrap_or_default();
        for path in &managed.paths {
            self.keep_foreign(path, system)?;
        }
        for (path, old, new) in moved {
            // A link on the way leads elsewhere now: the file there is somebody else's.
            if let Some(original) = self.originals.remove(&path) {
                self.originals.insert(old, original.kept_as(&path));
            }
            if let Some(original) = Original::keep_as(&path, &new, system)? {
                self.originals.insert(path, original);
            }
        }
        self.resources.insert(id.clone(), managed);
        self.is_unsaved = true;
        Ok(())
    }

    /// Forgets a resource that is gone, or left alone from now on. What was at its paths before
    /// infra is kept for a resource of another kind that has taken them over.
    pub fn forget(&mut self, system: &mut dyn System, id: &ResourceId) -> Result<()> {
        let Some(gone) = self.resources.remove(id) else { return Ok(()) };
        self.owed_services.remove(id);
        self.owed_changes.remove(id);
        self.made.retain(|place| system.exists(place).unwrap_or(true));
        let ours: BTreeSet<&String> =
            self.resources.values().flat_map(|known| &known.paths).collect();
        let back = gone.paths.iter().filter(|path| !ours.contains(path));
        let originals: Vec<(String, Original)> =
            back.filter_map(|path| self.originals.remove_entry(path)).collect();
        self.save(system)?;
        originals.iter().try_for_each(|(path, original)| original.discard(path, system))
    }

    /// Forgets a resource that stays as it is.
    pub fn release(&mut self, system: &mut dyn System, id: &ResourceId) -> Result<()> {
        // Files of before infra are kept: the thing may be declared again.
        if let Some(known) = self.resources.remove(id) {
            if !known.existed {
                self.released.insert(id.clone());
            }
            self.leave(&known.paths, system);
        }
        self.owed_services.remove(id);
        self.owed_changes.remove(id);
        self.save(system)
    }

    /// Takes out a service that has been reloaded, restarted or started.
    pub fn settle_service(&mut self, system: &mut dyn System, service: &ResourceId) -> Result<()> {
        if self.owed_services.remove(service).is_some() { self.save(system) } else { Ok(()) }
    }

    /// Takes out a change whose commands have all run.
    pub fn settle_change(&mut self, system: &mut dyn System, change: &ResourceId) -> Result<()> {
        if self.owed_changes.remove(change) { self.save(system) } else { Ok(()) }
    }

    fn save(&mut self, system: &mut dyn System) -> Result<()> {
        let bytes = serde_json::to_vec(self).context(|| format!("cannot write `{FILE}`"))?;
        system.make_directory(FOLDER, &Attributes::new("root", "root", 0o700))?;
        if !self.is_key_kept && !self.key.is_empty() {
            // Before the state, which does not hold the key any more from now on.
            let mode = Attributes::new("root", "root", 0o600);
            system.write_file(KEY_FILE, self.key.as_str().as_bytes(), &mode)?;
            self.is_key_kept = true;
        }
        system.write_file(FILE, &bytes, &Attributes::new("root", "root", 0o600))?;
        self.is_unsaved = false;
        Ok(())
    }
}
