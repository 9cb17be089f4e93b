//! What was at a path before infra put something of its own there.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::managed::hex;
use crate::agent::host::{LARGEST_FOREIGN_BYTES, LARGEST_READ_BYTES};
use crate::error::{Error, Result};
use crate::resources::content::Content;
use crate::resources::fields::{AbsolutePath, Mode, Presence};
use crate::resources::file::File;
use crate::resources::symlink::Symlink;
use crate::resources::{Attributes, FileKind, Probe, Spec, System};

/// The folder of the contents; readable by root only.
const FOLDER: &str = "/var/lib/infra/originals";

/// A thing that was at a path. The content of a file lies in a file of its own, named by the path's hash, with
/// the access list and the extended attributes of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Original {
    /// A regular file.
    File {
        /// Its user.
        owner: String,
        /// Its group.
        group: String,
        /// Its permission bits.
        mode: u32,
        /// The name of the path under which the content is kept, where that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept_as: Option<String>,
    },
    /// A symlink.
    Symlink {
        /// Where it pointed.
        target: String,
    },
}

impl Original {
    /// Why what is at `path` cannot be kept, if something is there that would be lost.
    pub fn is_lost(path: &str, probe: &dyn Probe) -> Option<String> {
        // A thing that cannot be looked at is an error of its own check.
        let stat = probe.stat(path).ok()??;
        match stat.kind {
            FileKind::File => {
                // More could not be compared once it is back.
                let is_roots = stat.owner == "root" || !probe.can_others_change(path).ok()?;
                let largest = if is_roots { LARGEST_READ_BYTES } else { LARGEST_FOREIGN_BYTES };
                let size = Some(stat.size).filter(|size| *size > largest)?;
                let limit = format!("infra keeps files of at most {largest} bytes there");
                Some(format!("`{path}` has {size} bytes, and {limit}"))
            }
            FileKind::Symlink => probe.read_link(path).err().map(|error| error.message),
            _ => None,
        }
    }

    /// Keeps what is at `path`; `None` if nothing is there that could come back.
    pub fn keep(path: &str, system: &mut dyn System) -> Result<Option<Self>> {
        Self::keep_as(path, path, system)
    }

    /// The same, with the content kept under `name`.
    pub fn keep_as(path: &str, name: &str, system: &mut dyn System) -> Result<Option<Self>> {
        let Some(stat) = system.stat(path)? else { return Ok(None) };
        if Self::is_lost(path, system).is_some() {
            return Ok(None);
        }
        match stat.kind {
            FileKind::Symlink => {
                let target = system.read_link(path)?.unwrap_or_default();
                Ok(Some(Self::Symlink { target }))
            }
            FileKind::File => {
                system.make_directory(FOLDER, &Attributes::new("root", "root", 0o700))?;
                let attributes = Attributes::new("root", "root", 0o600);
                let stat = system.copy_whole(path, &place(name), &attributes)?;
                Ok(Some(Self::File {
                    owner: stat.owner,
                    group: stat.group,
                    mode: stat.mode,
                    kept_as: (name != path).then(|| name.to_owned()),
                }))
            }
            FileKind::Directory | FileKind::Other => Ok(None),
        }
    }

    /// What brings it back to `path`.
    ///
    /// # Errors
    /// If its content or its folder is gone.
    pub fn spec(&self, path: &str, probe: &dyn Probe) -> Result<Spec> {
        let at = AbsolutePath::parse(path).map_err(Error::failed)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folder.is_empty() && !probe.exists(folder)? {
            return Err(Error::failed("the folder of what was there before infra is gone"));
        }
        Ok(match self {
            Self::Symlink { target } => Spec::Symlink(Symlink {
                path: at,
                target: Some(target.clone()),
                force: true,
                state: Presence::Present,
            }),
            Self::File { owner, group, mode, kept_as } => {
                let place = place(kept_as.as_deref().unwrap_or(path));
                let content = probe.read(&place)?.ok_or_else(|| {
                    Error::failed(format!("what was at `{path}` before infra is lost"))
                        .because(format!("`{place}` is not there"))
                })?;
                Spec::File(File {
                    path: at,
                    content: Some(Content::from(content)),
                    source: None,
                    template: None,
                    owner: owner.clone(),
                    group: group.clone(),
                    mode: Mode(*mode),
                    validate: None,
                    create_only: false,
                    copy_of: Some(place),
                    state: Presence::Present,
                })
            }
        })
    }

    /// The same, for another name of its path: its content stays where it is.
    pub fn kept_as(self, path: &str) -> Self {
        match self {
            Self::File { owner, group, mode, kept_as } => {
                let kept_as = Some(kept_as.unwrap_or_else(|| path.to_owned()));
                Self::File { owner, group, mode, kept_as }
            }
            Self::Symlink { target } => Self::Symlink { target },
        }
    }

    /// Forgets the content.
    pub fn discard(&self, path: &str, system: &mut dyn System) -> Result<()> {
        match self {
            Self::File { kept_as, .. } => {
                system.remove_file(&place(kept_as.as_deref().unwrap_or(path)))
            }
            Self::Symlink { .. } => Ok(()),
        }
    }
}

fn place(path: &str) -> String {
    format!("{FOLDER}/{}", hex(&Sha256::digest(path)[..16]))
}
