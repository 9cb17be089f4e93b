//! What infra remembers of the services that it made. Compose's own note of their configuration
//! cannot be compared with a file: what `config --hash` prints differs from the label of the
//! container (seen with Compose 2.26 where a service has an `env_file`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::probe::Probe;
use super::super::system::{Attributes, System};
use super::engine::Container;
use super::services::Service;
use crate::error::{Context, Result};

const FOLDERS: [&str; 2] = ["/var/lib/infra", "/var/lib/infra/compose"];

/// What the services of a project were made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) services: BTreeMap<String, Made>,
}

/// What one service was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// The hash of everything.
    pub(super) inputs: String,
    /// The note that Compose left at its containers.
    pub(super) label: String,
    /// How many containers it has.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) containers: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_one(containers: &usize) -> bool {
    *containers == 1
}

impl Record {
    pub(super) fn of(
        services: &BTreeMap<String, Service>,
        containers: &[Container],
        probe: &dyn Probe,
    ) -> Result<Self> {
        let mut made: BTreeMap<String, Made> = BTreeMap::new();
        for container in containers {
            let Some(service) = services.get(&container.service) else { continue };
            let (inputs, label) = (service.inputs(probe)?, container.label.clone());
            let made = made.entry(container.service.clone());
            made.or_insert(Made { inputs, label, containers: 0 }).containers += 1;
        }
        Ok(Self { services: made })
    }

    pub(super) fn read(project: &str, probe: &dyn Probe) -> Result<Self> {
        let path = path(project);
        let Some(bytes) = probe.read(&path)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes).context(|| format!("cannot read `{path}`"))
    }

    pub(super) fn write(&self, project: &str, system: &mut dyn System) -> Result<()> {
        let path = path(project);
        let bytes = serde_json::to_vec(self).context(|| format!("cannot write `{path}`"))?;
        for folder in FOLDERS {
            system.make_directory(folder, &Attributes::new("root", "root", 0o700))?;
        }
        system.write_file(&path, &bytes, &Attributes::new("root", "root", 0o600))
    }

    pub(super) fn forget(project: &str, system: &mut dyn System) -> Result<()> {
        system.remove_file(&path(project))
    }
}

fn path(project: &str) -> String {
    format!("{}/{project}.json", FOLDERS[1])
}
