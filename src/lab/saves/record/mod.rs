//! A save: what is noted about it, and its files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Result};
use crate::lab::Release;
use crate::lab::folder::{self, Folder};
use crate::lab::program::Program;
use crate::lab::server::{self, Server};

/// How long a copy of a volume may take.
const COPY_TIMEOUT: Duration = Duration::from_mins(10);

/// Servers as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::lab) struct Save {
    /// As the user called it; the name of its folder.
    #[serde(skip)]
    pub(in crate::lab) name: String,
    /// Sorted by name.
    pub(in crate::lab) servers: Vec<Saved>,
}

/// One server in a save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::lab) struct Saved {
    /// The name of the server that was saved.
    pub(in crate::lab) name: String,
    pub(in crate::lab) release: Release,
    pub(in crate::lab) image: String,
    /// Tells the image from another one built later under the same name.
    fingerprint: String,
    /// Topmost first.
    pub(in crate::lab) layers: Vec<String>,
    /// The paths in it of its block devices.
    pub(in crate::lab) volumes: Vec<String>,
}

impl Saved {
    /// The record of `server` in a save.
    ///
    /// # Errors
    /// When its image cannot be read.
    pub(super) fn of(server: &Server, lab: &Folder) -> Result<Self> {
        let image = lab.images().join(&server.image);
        Ok(Self {
            name: server.name.clone(),
            release: server.release,
            fingerprint: fingerprint(&image)
                .context(|| format!("cannot read `{}`", image.display()))?,
            image: server.image.clone(),
            layers: server.layers.clone(),
            volumes: server.volumes.clone(),
        })
    }

    /// Whether the image that the server stood on is still there.
    pub(super) fn is_whole(&self, lab: &Folder) -> bool {
        let image = lab.images().join(&self.image);
        fingerprint(&image).is_ok_and(|fingerprint| fingerprint == self.fingerprint)
    }

    /// Refuses a server whose image is gone.
    ///
    /// # Errors
    /// When the image is gone, or another one has its name.
    pub(super) fn check(&self, save: &str, lab: &Folder) -> Result<()> {
        if self.is_whole(lab) {
            return Ok(());
        }
        Err(Error::failed(format!(
            "the image `{}` that the save `{save}` stands on is gone",
            self.image
        ))
        .hint(format!("run `infra lab forget {save}`, and save again")))
    }
}

/// Tells two folders of the same name apart.
fn fingerprint(folder: &Path) -> std::io::Result<String> {
    let metadata = fs::metadata(folder)?;
    Ok(format!("{}-{}.{:09}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

impl Save {
    /// The save called `name`; `None` when there is none.
    ///
    /// # Errors
    /// When what is noted about it cannot be read.
    pub(super) fn find(lab: &Folder, name: &str) -> Result<Option<Self>> {
        let path = record(&lab.save(name));
        let cannot = || format!("cannot read `{}`", path.display());
        match fs::read(&path) {
            Ok(record) => {
                let save: Self = serde_json::from_slice(&record).context(cannot)?;
                Ok(Some(Self { name: name.to_owned(), ..save }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(cannot),
        }
    }

    /// The save called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn named(lab: &Folder, name: &str) -> Result<Self> {
        check_name(name)?;
        Self::find(lab, name)?.ok_or_else(|| {
            Error::input(format!("there is no save `{name}` in the lab"))
                .hint("run `infra lab status`, which lists the saves")
        })
    }

    /// All saves of the lab, sorted by name.
    ///
    /// # Errors
    /// When what is noted about them cannot be read.
    pub(in crate::lab) fn all(lab: &Folder) -> Result<Vec<Self>> {
        let mut saves = Vec::new();
        for name in folder::names(&lab.saves())? {
            if !is_unfinished(&name) {
                saves.extend(Self::find(lab, &name)?);
            }
        }
        Ok(saves)
    }

    /// Refuses a name that is taken.
    ///
    /// # Errors
    /// When it is taken, or cannot be a name.
    pub(super) fn check_free(lab: &Folder, name: &str) -> Result<()> {
        check_name(name)?;
        if Self::find(lab, name)?.is_none() {
            return Ok(());
        }
        Err(Error::input(format!("there is a save `{name}` already"))
            .hint(format!("run `infra lab forget {name}` first, or choose another name")))
    }

    /// The servers to copy, each with the name of the copy. No `names`: all under their own.
    ///
    /// # Errors
    /// When it is not clear which server a name stands for.
    pub(super) fn copies(&self, names: &[String]) -> Result<Vec<(&Saved, String)>> {
        if names.is_empty() {
            return Ok(self.servers.iter().map(|saved| (saved, saved.name.clone())).collect());
        }
        let mut copies: Vec<(&Saved, String)> = Vec::new();
        for name in names {
            let same = self.servers.iter().find(|saved| saved.name == *name);
            let only = match self.servers.as_slice() {
                [saved] => Some(saved),
                _ => None,
            };
            let saved = same.or(only).ok_or_else(|| {
                let names: Vec<String> =
                    self.servers.iter().map(|saved| format!("`{}`", saved.name)).collect();
                Error::input(format!("the save `{}` holds no server `{name}`", self.name))
                    .hint(format!("it holds {}", names.join(", ")))
            })?;
            if !copies.iter().any(|(_, other)| other == name) {
                copies.push((saved, name.clone()));
            }
        }
        Ok(copies)
    }

    /// Makes the save with the volumes of `servers`, which have ended. It appears complete or not
    /// at all.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub(super) fn create(&self, lab: &Folder) -> Result<()> {
        let unfinished = lab.save(&format!(".{}", self.name));
        folder::remove(&unfinished)?;
        folder::create(&unfinished)?;
        for saved in &self.servers {
            let files = server::Files::of(lab, &saved.name);
            for index in 0..saved.volumes.len() {
                let source = files.volume(index);
                if source.exists() {
                    copy_sparse(&source, &volume(&unfinished, &saved.name, index))?;
                }
            }
        }
        let text = serde_json::to_vec_pretty(self).context(|| "cannot note the save".into())?;
        folder::write(&record(&unfinished), text, 0o600)?;
        let folder = lab.save(&self.name);
        fs::rename(&unfinished, &folder).context(|| format!("cannot name `{}`", folder.display()))
    }

    /// Removes the save, but for its layers. It disappears as a whole.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub(super) fn remove(&self, lab: &Folder) -> Result<()> {
        let (folder, leaving) = (lab.save(&self.name), lab.save(&format!(".{}", self.name)));
        folder::remove(&leaving)?;
        fs::rename(&folder, &leaving)
            .context(|| format!("cannot remove `{}`", folder.display()))?;
        folder::remove(&leaving)
    }

    /// Copies the volume of the server `saved` to the file `to`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub(super) fn copy_volume(
        &self,
        saved: &Saved,
        index: usize,
        lab: &Folder,
        to: &Path,
    ) -> Result<()> {
        let from = volume(&lab.save(&self.name), &saved.name, index);
        if from.exists() { copy_sparse(&from, to) } else { Ok(()) }
    }
}

/// Removes saves that are half made or half removed.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn clean(lab: &Folder) -> Result<()> {
    for name in folder::names(&lab.saves())?.iter().filter(|name| is_unfinished(name)) {
        folder::remove(&lab.save(name))?;
    }
    Ok(())
}

fn is_unfinished(name: &str) -> bool {
    name.starts_with('.')
}

fn record(folder: &Path) -> PathBuf {
    folder.join("save.json")
}

fn volume(folder: &Path, server: &str, index: usize) -> PathBuf {
    folder.join("volumes").join(server).join(format!("{index}.volume"))
}

/// Copies a file that may be mostly holes.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        folder::create(folder)?;
    }
    let words = ["cp", "--sparse=always", "--reflink=auto", "--"].map(AsRef::as_ref);
    let arguments = words.into_iter().chain([from.as_os_str(), to.as_os_str()]);
    Program::new(arguments)
        .timeout(COPY_TIMEOUT)
        .run()
        .map_err(|error| error.context(format!("cannot copy `{}`", from.display())))?;
    Ok(())
}

/// Saves have the names that servers may have.
fn check_name(name: &str) -> Result<()> {
    if server::is_name(name) {
        return Ok(());
    }
    Err(Error::input(format!("a save cannot be called `{name}`"))
        .because("a name has up to 63 letters, digits, hyphens and dots"))
}

#[cfg(test)]
mod tests;
