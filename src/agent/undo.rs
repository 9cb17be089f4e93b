//! Putting back what was switched: the state of paths before a resource was applied.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::manifest::ResourceId;
use crate::resources::{Attributes, FileKind, Probe, Stat, System};

/// How the paths of one resource were before it was applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// The resource that was then applied.
    pub(super) id: ResourceId,
    /// The services that its change notifies.
    pub(super) services: Vec<ResourceId>,
    paths: Vec<(String, Before)>,
}

/// What was at a path.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Before {
    Nothing,
    File {
        content: Vec<u8>,
        stat: Stat,
    },
    Symlink {
        target: String,
    },
    /// A folder, or something that is never replaced; its attributes are all that can change.
    Attributes {
        stat: Stat,
    },
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

    /// Makes the paths as they were. Every path is tried; the first error is returned.
    pub(super) fn restore(&self, system: &mut dyn System) -> Result<()> {
        let results: Vec<Result<()>> =
            self.paths.iter().rev().map(|(path, before)| before.restore(path, system)).collect();
        results.into_iter().collect()
    }
}

impl Before {
    fn of(path: &str, probe: &dyn Probe) -> Result<Self> {
        let Some(stat) = probe.stat(path)? else { return Ok(Self::Nothing) };
        Ok(match stat.kind {
            FileKind::File => match probe.read_with_stat(path)? {
                // One file: what it holds goes back with its own owner and mode.
                Some((content, stat)) => Self::File { content, stat },
                None => return Err(Error::failed(format!("`{path}` changed at the same moment"))),
            },
            FileKind::Symlink => {
                Self::Symlink { target: probe.read_link(path)?.unwrap_or_default() }
            }
            FileKind::Directory | FileKind::Other => Self::Attributes { stat },
        })
    }

    fn restore(&self, path: &str, system: &mut dyn System) -> Result<()> {
        match self {
            Self::Nothing => match system.stat(path)?.map(|stat| stat.kind) {
                Some(FileKind::Directory) => system.remove_directory(path),
                Some(_) => system.remove_file(path),
                None => Ok(()),
            },
            Self::File { content, stat } => system.write_file(path, content, &attributes(stat)),
            Self::Symlink { target } => system.make_symlink(path, target),
            Self::Attributes { stat } if system.stat(path)?.is_some() => {
                system.set_attributes(path, &attributes(stat))
            }
            // A folder that was removed comes back empty: `directory` refuses to remove others.
            Self::Attributes { stat } => system.make_directory(path, &attributes(stat)),
        }
    }
}

fn attributes(stat: &Stat) -> Attributes {
    Attributes::new(&stat.owner, &stat.group, stat.mode)
}
