//! Layers: folders that servers wrote before they were saved.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use super::guest::Guest;
use crate::error::{Context as _, Error, Result};
use crate::lab::folder::{self, Folder};
use crate::lab::packages::{self, ARCHIVES};
use crate::lab::server::{self, Files, Server};

/// How many layers a server may have: each makes the search for a file slower, and their names
/// have to fit into the options of a mount.
const MOST: usize = 100;

/// Digits in the name of a layer.
const DIGITS: usize = 8;

impl Server {
    /// Whether one more layer fits below the server.
    ///
    /// # Errors
    /// When the server has too many.
    pub(super) fn check_layers(&self) -> Result<()> {
        if self.layers.len() < MOST {
            return Ok(());
        }
        let name = &self.name;
        Err(Error::input(format!("`{name}` cannot be saved once more"))
            .because(format!("its files lie in {} layers already", self.layers.len()))
            .hint(format!("make it anew with `infra lab down {name}` and `infra lab up {name}`")))
    }

    /// Turns what the server, which has ended, wrote so far into a layer; the server goes on in an
    /// empty folder over it.
    ///
    /// # Errors
    /// When the folder cannot be moved.
    pub(super) fn add_layer(&mut self, lab: &Folder) -> Result<()> {
        self.complete_layer(lab)?;
        let files = Files::of(lab, &self.name);
        Guest::open(&files.upper())?.with_folder(ARCHIVES, |archives| {
            packages::separate(archives, &lab.packages(self.release))
        })?;
        let mut next = self.clone();
        next.layers.insert(0, free_id(lab)?);
        // The record comes first: a run that is cut between the two leaves the old folder, which
        // `complete_layer` moves. The other way round the folder would be lost. Where there is no
        // record, the server goes on as it was.
        next.note(&files)?;
        *self = next;
        self.complete_layer(lab)
    }

    /// Does what is left to do of [`Server::add_layer`], which may have been cut.
    ///
    /// # Errors
    /// When the folder cannot be moved.
    pub(in crate::lab) fn complete_layer(&self, lab: &Folder) -> Result<()> {
        let Some(layer) = self.layers.first().map(|id| lab.layer(id)) else { return Ok(()) };
        let files = Files::of(lab, &self.name);
        let (upper, work) = (files.upper(), files.work());
        if !layer.exists() && upper.exists() {
            folder::create(&lab.layers())?;
            sync(&upper)?;
            fs::rename(&upper, &layer).context(|| format!("cannot name `{}`", layer.display()))?;
        }
        if upper.exists() {
            return Ok(());
        }
        folder::remove(&work)?;
        folder::create(&work)?;
        let unfinished = upper.with_extension("new");
        folder::create(&unfinished)?;
        copy_attributes(&layer, &unfinished)?;
        fs::rename(&unfinished, &upper).context(|| format!("cannot name `{}`", upper.display()))
    }
}

/// Waits until everything in the file system of `folder` is on its disk: no server waited for that.
///
/// # Errors
/// When the disk cannot take it.
fn sync(folder: &Path) -> Result<()> {
    let cannot = || format!("cannot write `{}` to its disk", folder.display());
    let file = fs::File::open(folder).context(cannot)?;
    rustix::fs::syncfs(file).context(cannot)
}

/// Gives `folder` the owner and mode of `model`: the upper folder decides what `/` is like.
///
/// # Errors
/// When they cannot be read or set.
pub(super) fn copy_attributes(model: &Path, folder: &Path) -> Result<()> {
    let metadata = fs::metadata(model).context(|| format!("cannot read `{}`", model.display()))?;
    chown(folder, Some(metadata.uid()), Some(metadata.gid()))
        .and_then(|()| fs::set_permissions(folder, metadata.permissions()))
        .context(|| format!("cannot set the mode of `{}`", folder.display()))
}

fn free_id(lab: &Folder) -> Result<String> {
    loop {
        let mut id = server::machine_id()?;
        id.truncate(DIGITS);
        if !lab.layer(&id).exists() {
            return Ok(id);
        }
    }
}

/// Removes the layers that are not among `keep`.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn clean(lab: &Folder, keep: &[String]) -> Result<()> {
    for id in folder::names(&lab.layers())? {
        if !keep.contains(&id) {
            folder::remove(&lab.layer(&id))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab_with_server() -> (tempfile::TempDir, Folder, Server) {
        let temporary = tempfile::tempdir().unwrap();
        let lab = Folder::new(&temporary.path().join("lab")).unwrap();
        let server = Server::example("rufus");
        let upper = Files::of(&lab, "rufus").upper();
        folder::write(&upper.join("etc/motd"), "one", 0o644).unwrap();
        folder::set_mode(&upper, 0o711).unwrap();
        server.note(&Files::of(&lab, "rufus")).unwrap();
        (temporary, lab, server)
    }

    #[test]
    fn layers_are_moved_not_copied() {
        let (_temporary, lab, mut server) = lab_with_server();
        let upper = Files::of(&lab, "rufus").upper();
        let before = fs::metadata(&upper).unwrap().ino();
        server.add_layer(&lab).unwrap();
        let layer = lab.layer(&server.layers[0]);
        assert_eq!(fs::metadata(&layer).unwrap().ino(), before);
        assert_eq!(fs::metadata(&upper).unwrap().mode() & 0o7777, 0o711);
        assert_eq!(folder::names(&upper), Ok(vec![]));
        folder::write(&upper.join("second"), "two", 0o644).unwrap();
        server.add_layer(&lab).unwrap();
        assert_eq!(server.layers.len(), 2);
        assert!(lab.layer(&server.layers[0]).join("second").exists());
        assert_eq!(Server::find(&lab, "rufus").unwrap().as_ref(), Some(&server));
        clean(&lab, &server.layers).unwrap();
        assert_eq!(folder::names(&lab.layers()).unwrap().len(), 2);
        clean(&lab, &server.layers[..1]).unwrap();
        assert_eq!(folder::names(&lab.layers()).unwrap(), server.layers[..1]);
    }

    #[test]
    fn a_cut_save_loses_nothing() {
        let (_temporary, lab, mut server) = lab_with_server();
        let files = Files::of(&lab, "rufus");
        // Cut after the record.
        server.layers = vec!["0000000a".to_owned()];
        server.note(&files).unwrap();
        server.complete_layer(&lab).unwrap();
        let moved = lab.layer("0000000a").join("etc/motd");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one");
        assert_eq!(folder::names(&files.upper()), Ok(vec![]));
        // Cut after the folder was moved, with an overlay's traces in the working folder.
        fs::remove_dir(files.upper()).unwrap();
        folder::create(&files.work().join("index")).unwrap();
        server.complete_layer(&lab).unwrap();
        assert!(files.upper().is_dir() && !files.work().join("index").exists());
        // Not cut: nothing moves.
        folder::write(&files.upper().join("new"), "x", 0o644).unwrap();
        server.complete_layer(&lab).unwrap();
        assert!(files.upper().join("new").exists() && moved.exists());
    }

    #[test]
    fn a_save_that_cannot_be_noted_changes_nothing() {
        let (_temporary, lab, mut server) = lab_with_server();
        let before = server.clone();
        let record = lab.server("rufus").join("server.json");
        fs::remove_file(&record).unwrap();
        folder::write(&record.join("in/the/way"), "", 0o644).unwrap();
        server.add_layer(&lab).unwrap_err();
        assert_eq!(server, before);
        // As the start of the machine does.
        server.complete_layer(&lab).unwrap();
        assert!(Files::of(&lab, "rufus").upper().join("etc/motd").exists());
        assert_eq!(folder::names(&lab.layers()), Ok(vec![]));
    }

    #[test]
    fn layers_have_an_end() {
        let mut server = Server::example("rufus");
        assert_eq!(server.check_layers(), Ok(()));
        server.layers = vec![String::new(); MOST];
        assert_eq!(
            server.check_layers().unwrap_err().to_string(),
            "`rufus` cannot be saved once more\n\
             caused by: its files lie in 100 layers already\n\
             hint: make it anew with `infra lab down rufus` and `infra lab up rufus`"
        );
    }
}
