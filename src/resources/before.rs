//! A path as it was before it was switched, to be put back.

use serde::{Deserialize, Serialize};

use super::probe::{FileKind, Probe, Stat};
use super::system::{Attributes, System};
use crate::error::{Error, Result};

/// A path as it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A regular file.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Its own attributes.
        stat: Stat,
        /// Its access list and its extended attributes, by name.
        extended: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// A symlink.
    Symlink {
        /// Where it pointed.
        target: String,
    },
    /// A folder, or something that is never replaced; its attributes are all that can change.
    Attributes {
        /// The attributes.
        stat: Stat,
    },
}

impl Before {
    /// Looks at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or is changed meanwhile.
    pub fn of(path: &str, probe: &dyn Probe) -> Result<Self> {
        let Some(stat) = probe.stat(path)? else { return Ok(Self::Nothing) };
        Ok(match stat.kind {
            FileKind::File => match probe.read_with_stat(path)? {
                // One file: what it holds goes back with its own owner and mode.
                Some((content, stat)) => {
                    Self::File { content, stat, extended: probe.extended(path)? }
                }
                None => return Err(Error::failed(format!("`{path}` changed at the same moment"))),
            },
            FileKind::Symlink => {
                Self::Symlink { target: probe.read_link(path)?.unwrap_or_default() }
            }
            FileKind::Directory | FileKind::Other => Self::Attributes { stat },
        })
    }

    /// Puts it back at `path`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn restore(&self, path: &str, system: &mut dyn System) -> Result<()> {
        match self {
            Self::Nothing => match system.stat(path)?.map(|stat| stat.kind) {
                Some(FileKind::Directory) => system.remove_directory(path),
                Some(_) => system.remove_file(path),
                None => Ok(()),
            },
            Self::File { content, stat, extended } => {
                system.write_file(path, content, &attributes(stat))?;
                if extended.is_empty() {
                    return Ok(());
                }
                system.give_extended(path, extended)?;
                system.set_attributes(path, &attributes(stat))
            }
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
