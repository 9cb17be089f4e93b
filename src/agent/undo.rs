//! Putting back what was switched: the state of paths before a resource was applied.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::manifest::ResourceId;
use crate::resources::{Before, Probe, System};

/// How the paths of one resource were before it was applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// The resource that was then applied.
    pub(super) id: ResourceId,
    /// The services that its change notifies.
    pub(super) services: Vec<ResourceId>,
    paths: Vec<(String, Before)>,
}

impl Snapshot {
    /// Remembers `paths` as they are.
    pub(super) fn take(
        id: &ResourceId,
        services: Vec<ResourceId>,
        paths: &[String],
        probe: &dyn Probe,
    ) -> Result<Self> {
        let paths = paths
            .iter()
            .map(|path| Ok((path.clone(), Before::of(path, probe)?)))
            .collect::<Result<_>>()?;
        Ok(Self { id: id.clone(), services, paths })
    }

    /// The paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|(path, _)| path.as_str())
    }

    /// Makes the paths as they were. Every path is tried; the first error is returned.
    pub(super) fn restore(&self, system: &mut dyn System) -> Result<()> {
        let results: Vec<Result<()>> =
            self.paths.iter().rev().map(|(path, before)| before.restore(path, system)).collect();
        results.into_iter().collect()
    }
}
