//! Saved servers: their files at one moment, from which copies come up within seconds.
//!
//! At a save the folder that a server wrote becomes a layer: a folder that never changes again. The
//! server and all copies write into folders of their own over it. Only volumes are copied.

mod ending;
mod guest;
mod identity;
mod layer;
mod links;
mod record;

use std::collections::BTreeSet;

pub(super) use record::Save;

use super::folder;
use super::network::Network;
use super::server::{self, Files, Server};
use super::{Lab, Release, not_there, requirements, volume};
use crate::error::{Error, Result};
use record::Saved;

/// A save as it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SaveStatus {
    /// As the user called it.
    pub save: String,
    /// The servers in it, sorted by name.
    pub servers: Vec<String>,
    /// The releases that they run, oldest first, each once.
    pub os: Vec<Release>,
    /// Whether the images that they stand on are there, so that copies can be made.
    pub usable: bool,
}

impl Lab {
    /// Saves the servers called `names` (all when there are none) as `save`: shuts them down, keeps
    /// what they wrote, and starts those again that were up. `notice` is told what is being done.
    ///
    /// # Errors
    /// When a server does not shut down or its files cannot be kept: nothing is saved then, and the
    /// servers that did shut down are started again. When a server does not start again: the save
    /// is there.
    pub fn save(&self, save: &str, names: &[String], notice: &dyn Fn(&str)) -> Result<()> {
        requirements::check()?;
        Save::check_free(&self.folder, save)?;
        if !self.folder.root().exists() {
            return Err(names.first().map_or_else(no_servers, |name| not_there(name)));
        }
        let lock = self.folder.lock(notice)?;
        Save::check_free(&self.folder, save)?;
        let (mut servers, _) = self.chosen(names)?;
        if servers.is_empty() {
            return Err(no_servers());
        }
        let was_up: Vec<String> = servers
            .iter()
            .filter(|server| server.process(&self.folder).is_some())
            .map(|server| server.name.clone())
            .collect();
        let network = self.ready()?;
        let saved = self.end_and_save(save, &mut servers, &network, notice);
        let mut failure = saved.err();
        let mut booted = Vec::new();
        for server in servers.iter().filter(|server| was_up.contains(&server.name)) {
            // A machine that does not end still runs.
            if server.process(&self.folder).is_some() {
                continue;
            }
            match self.start(server, &network, notice) {
                Ok(()) => booted.push(server.clone()),
                Err(error) => failure = Some(with(failure, error)),
            }
        }
        if let Err(error) = self.let_in(lock, &booted, notice) {
            failure = Some(with(failure, error));
        }
        failure.map_or(Ok(()), Err)
    }

    fn end_and_save(
        &self,
        save: &str,
        servers: &mut [Server],
        network: &Network,
        notice: &dyn Fn(&str),
    ) -> Result<()> {
        for server in &*servers {
            server.check_layers()?;
            // Says what is missing while everything is still up.
            Saved::of(server, &self.folder)?;
        }
        for server in &*servers {
            if server.process(&self.folder).is_some() {
                notice(&format!("{}: shutting down", server.name));
            }
            // All at once; what fails here fails again below.
            let _ = server.ask_to_end(&self.folder);
        }
        let mut failure = None;
        for server in &*servers {
            // The others end all the same, and are to be started again.
            if let Err(error) = server.end_cleanly(&self.folder, network) {
                failure = Some(with(failure, error));
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut saved = Vec::new();
        for server in servers {
            server.keep_packages(&self.folder)?;
            let files = Files::of(&self.folder, &server.name);
            (0..server.volumes.len()).try_for_each(|index| volume::detach(&files.volume(index)))?;
            server.add_layer(&self.folder)?;
            saved.push(Saved::of(server, &self.folder)?);
        }
        let names: Vec<&str> = saved.iter().map(|saved| saved.name.as_str()).collect();
        let told = format!("{}: saved as `{save}`", names.join(", "));
        Save { name: save.to_owned(), servers: saved }.create(&self.folder)?;
        notice(&told);
        Ok(())
    }

    /// Brings up copies of the servers in `save`, and returns when all of them let ssh in. `names`
    /// are those of the copies; all servers of the save under their own names when there are none.
    ///
    /// # Errors
    /// When this machine cannot run a lab, the save cannot be used, a name is taken, or a copy does
    /// not come up.
    pub fn up_from(&self, save: &str, names: &[String], notice: &dyn Fn(&str)) -> Result<()> {
        names.iter().try_for_each(|name| server::check_name(name))?;
        if !self.folder.root().exists() {
            return Save::named(&self.folder, save).map(|_| ());
        }
        requirements::check()?;
        let lock = self.folder.lock(notice)?;
        let save = Save::named(&self.folder, save)?;
        let copies = save.copies(names)?;
        for (saved, name) in &copies {
            if Server::find(&self.folder, name)?.is_some() {
                return Err(in_the_lab(name));
            }
            saved.check(&save.name, &self.folder)?;
        }
        let network = self.ready()?;
        let mut booted = Vec::new();
        for (saved, name) in copies {
            let (number, address) = self.place(&network)?;
            let server = Server {
                name,
                release: saved.release,
                image: saved.image.clone(),
                number,
                address,
                layers: saved.layers.clone(),
                volumes: saved.volumes.clone(),
            };
            server.create_from(&save, saved, &self.folder, &network)?;
            self.start(&server, &network, notice)?;
            booted.push(server);
        }
        self.let_in(lock, &booted, notice)
    }

    /// Removes the saves called `names`; a layer is removed when no server and no save stands
    /// on it.
    ///
    /// # Errors
    /// When a name is unknown (nothing is done then), or something cannot be removed.
    pub fn forget(&self, names: &[String], notice: &dyn Fn(&str)) -> Result<()> {
        let names: BTreeSet<&String> = names.iter().collect();
        let find = || -> Result<Vec<Save>> {
            names.iter().map(|name| Save::named(&self.folder, name)).collect()
        };
        // No folder is made only to say that nothing is in it.
        find()?;
        let _lock = self.folder.lock(notice)?;
        for save in find()? {
            save.remove(&self.folder)?;
            notice(&format!("{}: forgotten", save.name));
        }
        self.sweep()
    }

    /// The saves of the lab, sorted by name.
    ///
    /// # Errors
    /// When the lab's folder cannot be read.
    pub fn saves(&self) -> Result<Vec<SaveStatus>> {
        let status = |save: Save| {
            let mut os: Vec<Release> = save.servers.iter().map(|saved| saved.release).collect();
            os.sort_unstable();
            os.dedup();
            SaveStatus {
                usable: save.servers.iter().all(|saved| saved.is_whole(&self.folder)),
                servers: save.servers.into_iter().map(|saved| saved.name).collect(),
                save: save.name,
                os,
            }
        };
        Ok(Save::all(&self.folder)?.into_iter().map(status).collect())
    }

    /// Removes layers that no server and no save stands on any more, and what a save that was cut
    /// has left.
    pub(super) fn sweep(&self) -> Result<()> {
        record::clean(&self.folder)?;
        let mut keep: Vec<String> =
            Server::all(&self.folder)?.into_iter().flat_map(|server| server.layers).collect();
        for save in Save::all(&self.folder)? {
            keep.extend(save.servers.into_iter().flat_map(|saved| saved.layers));
        }
        layer::clean(&self.folder, &keep)?;
        for emptied in [self.folder.layers(), self.folder.saves()] {
            if folder::names(&emptied)?.is_empty() {
                folder::remove(&emptied)?;
            }
        }
        Ok(())
    }
}

/// The first failure, with a later one among its causes.
fn with(first: Option<Error>, later: Error) -> Error {
    match first {
        None => later,
        Some(first) => later.causes.into_iter().fold(first.because(later.message), Error::because),
    }
}

fn no_servers() -> Error {
    Error::input("there is no server in the lab to save").hint("run `infra lab up SERVER`")
}

fn in_the_lab(name: &str) -> Error {
    Error::input(format!("`{name}` is in the lab already"))
        .hint(format!("run `infra lab down {name}` first"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lab::Keep;

    fn lab() -> (tempfile::TempDir, Lab) {
        let temporary = tempfile::tempdir().unwrap();
        let lab = Lab::open(&temporary.path().join("lab")).unwrap();
        (temporary, lab)
    }

    /// A save of `rufus` in a lab where it is down.
    fn with_save(lab: &Lab, save: &str) -> String {
        let mut server = Server::example("rufus");
        folder::create(&lab.folder.images().join(&server.image)).unwrap();
        let files = Files::of(&lab.folder, "rufus");
        folder::create(&files.upper()).unwrap();
        server.add_layer(&lab.folder).unwrap();
        let saved = Saved::of(&server, &lab.folder).unwrap();
        Save { name: save.to_owned(), servers: vec![saved] }.create(&lab.folder).unwrap();
        server.layers[0].clone()
    }

    fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn an_empty_lab_says_what_is_missing() {
        let (_temporary, lab) = lab();
        let missing = "there is no save `base` in the lab\n\
                       hint: run `infra lab status`, which lists the saves";
        assert_eq!(text(lab.up_from("base", &[], &|_| {})), missing);
        assert_eq!(text(lab.forget(&["base".to_owned()], &|_| {})), missing);
        assert_eq!(
            text(lab.forget(&["../images".to_owned()], &|_| {})),
            "a save cannot be called `../images`\n\
             caused by: a name has up to 63 letters, digits, hyphens and dots"
        );
        assert_eq!(lab.saves(), Ok(vec![]));
        assert!(!lab.folder.root().exists());
        assert_eq!(
            no_servers().to_string(),
            "there is no server in the lab to save\nhint: run `infra lab up SERVER`"
        );
        assert_eq!(
            in_the_lab("rufus").to_string(),
            "`rufus` is in the lab already\nhint: run `infra lab down rufus` first"
        );
    }

    #[test]
    fn layers_stay_while_something_stands_on_them() {
        let (_temporary, lab) = lab();
        let layer = with_save(&lab, "base");
        let status = SaveStatus {
            save: "base".to_owned(),
            servers: vec!["rufus".to_owned()],
            os: vec![Release::Debian12],
            usable: true,
        };
        assert_eq!(lab.saves(), Ok(vec![status.clone()]));
        // The save stands on the layer, then nothing.
        let server = lab.folder.server("rufus");
        fs::rename(&server, lab.folder.root().join("kept")).unwrap();
        lab.sweep().unwrap();
        assert!(lab.folder.layer(&layer).exists());
        fs::rename(lab.folder.root().join("kept"), &server).unwrap();
        lab.forget(&["base".to_owned(), "base".to_owned()], &|_| {}).unwrap();
        assert_eq!(lab.saves(), Ok(vec![]));
        assert!(lab.folder.layer(&layer).exists(), "the server stands on it");
        fs::remove_dir_all(&server).unwrap();
        lab.sweep().unwrap();
        assert!(!lab.folder.layers().exists() && !lab.folder.saves().exists());
    }

    #[test]
    fn saves_whose_image_is_gone_are_known() {
        let (_temporary, lab) = lab();
        with_save(&lab, "base");
        let image = lab.folder.images().join("debian-12-00000000");
        let check = || {
            let save = Save::named(&lab.folder, "base").unwrap();
            save.servers[0].check("base", &lab.folder)
        };
        assert_eq!(check(), Ok(()));
        // Built anew under the same name.
        fs::rename(&image, image.with_extension("old")).unwrap();
        fs::create_dir(&image).unwrap();
        let gone = "the image `debian-12-00000000` that the save `base` stands on is gone\n\
                    hint: run `infra lab forget base`, and save again";
        assert_eq!(text(check()), gone);
        fs::remove_dir(&image).unwrap();
        assert_eq!(text(check()), gone);
        assert!(!lab.saves().unwrap()[0].usable);
    }

    #[test]
    fn the_first_failure_is_told_with_the_others() {
        let first = with(None, Error::failed("`a` does not shut down").hint("look"));
        let later = Error::failed("`b` did not come up").because("no disk");
        assert_eq!(
            with(Some(first), later).to_string(),
            "`a` does not shut down\ncaused by: `b` did not come up\ncaused by: no disk\nhint: look"
        );
    }

    #[test]
    fn down_all_removes_saves() {
        let (_temporary, lab) = lab();
        with_save(&lab, "base");
        fs::remove_dir_all(lab.folder.servers()).unwrap();
        lab.down(&[], Keep::Images, &|_| {}).unwrap();
        assert_eq!(lab.saves().unwrap().len(), 1);
        lab.down(&[], Keep::Nothing, &|_| {}).unwrap();
        assert!(!lab.folder.root().exists());
    }
}
