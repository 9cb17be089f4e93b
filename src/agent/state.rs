//! What the server remembers between runs: `/var/lib/infra/state.json`.
//!
//! A reload that a switched file asks for is written here before the file is switched and taken
//! out after the reload worked, so that a run that is cut in between leaves a debt that the next
//! run sees and pays.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::events::ServiceAction;
use crate::manifest::{Manifest, ResourceId};
use crate::resources::{Attributes, Probe, System};

/// Where the agent keeps everything of its own; readable by root only.
pub const FOLDER: &str = "/var/lib/infra";

const FILE: &str = "/var/lib/infra/state.json";

/// The debts of earlier runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The format, so that an older or newer agent does not misread it.
    version: u32,
    /// Services whose reload or restart has been asked for and has not happened.
    owed_services: BTreeMap<ResourceId, ServiceAction>,
    /// Resources that changed, or were about to, and whose `when_changed` commands have not run.
    owed_changes: BTreeSet<ResourceId>,
}

impl State {
    const VERSION: u32 = 1;

    /// Reads the state; a server without one owes nothing.
    pub fn load(probe: &dyn Probe) -> Result<Self> {
        let Some(bytes) = probe.read(FILE)? else {
            return Ok(Self { version: Self::VERSION, ..Self::default() });
        };
        let state: Self =
            serde_json::from_slice(&bytes).context(|| format!("cannot read `{FILE}`"))?;
        if state.version != Self::VERSION {
            return Err(Error::failed(format!("`{FILE}` has the format {}", state.version))
                .hint("use the version of infra that last ran on this server, or a newer one"));
        }
        Ok(state)
    }

    /// The owed reloads and restarts of services that the manifest still declares.
    pub fn owed_services(&self, manifest: &Manifest) -> BTreeMap<ResourceId, ServiceAction> {
        let declared: BTreeSet<&ResourceId> =
            manifest.resources.iter().map(|resource| &resource.id).collect();
        let owed = self.owed_services.iter().filter(|(service, _)| declared.contains(service));
        owed.map(|(service, action)| (service.clone(), *action)).collect()
    }

    /// Whether a reload or restart of `service` has been asked for and has not happened.
    pub fn owes(&self, service: &ResourceId) -> bool {
        self.owed_services.contains_key(service)
    }

    /// Resources whose `when_changed` commands have not run.
    pub fn owed_changes(&self) -> impl Iterator<Item = &ResourceId> {
        self.owed_changes.iter()
    }

    /// Writes down, before a resource is applied, what its change will ask for. Does nothing if
    /// all of it is written down already.
    pub fn owe<'a>(
        &mut self,
        system: &mut dyn System,
        services: impl Iterator<Item = (&'a ResourceId, ServiceAction)>,
        change: Option<&ResourceId>,
    ) -> Result<()> {
        let before = self.clone();
        for (service, action) in services {
            super::plan::raise(&mut self.owed_services, service, action);
        }
        self.owed_changes.extend(change.cloned());
        if *self == before { Ok(()) } else { self.save(system) }
    }

    /// Takes out a service that has been reloaded, restarted or started.
    pub fn settle_service(&mut self, system: &mut dyn System, service: &ResourceId) -> Result<()> {
        if self.owed_services.remove(service).is_some() { self.save(system) } else { Ok(()) }
    }

    /// Takes out a change whose commands have all run.
    pub fn settle_change(&mut self, system: &mut dyn System, change: &ResourceId) -> Result<()> {
        if self.owed_changes.remove(change) { self.save(system) } else { Ok(()) }
    }

    fn save(&self, system: &mut dyn System) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).context(|| format!("cannot write `{FILE}`"))?;
        system.make_directory(FOLDER, &Attributes::new("root", "root", 0o700))?;
        system.write_file(FILE, &bytes, &Attributes::new("root", "root", 0o600))
    }
}
