//! Finding a project and reading its files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::revision::Revision;
use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::files::Files;

/// A folder that holds `inventory/`.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder.
    pub root: PathBuf,
    /// The git revision that it was read at; `None` for the work tree.
    pub revision: Option<Revision>,
}

impl Project {
    /// The project in `folder`, or in the nearest folder above it.
    ///
    /// # Errors
    /// Says that there is none, or that it belongs to somebody else: what an inventory says, this
    /// machine does, and nobody named this one.
    pub fn find(folder: &Path) -> Result<Self, Diagnostic> {
        let Some(root) = folder.ancestors().find(|folder| is_project(folder)) else {
            if let Some(folder) = folder.ancestors().find(|folder| has_inventory(folder)) {
                return Err(without_servers(folder));
            }
            let message = format!("no project in `{}` or above it", folder.display());
            let hint = "a project is a folder that holds `inventory/`; name it with `--project`";
            return Err(Diagnostic::nowhere(message).hint(hint));
        };
        let of_others = |folder: &PathBuf| !owner(folder).is_some_and(is_trusted);
        let Some(folder) = [root.to_owned(), root.join("inventory")].into_iter().find(of_others)
        else {
            return Ok(Self { root: root.to_owned(), revision: None });
        };
        let message = format!("`{}` belongs to somebody else", folder.display());
        let hint = format!("if you trust it, name it: `--project {}`", root.display());
        Err(Diagnostic::nowhere(message).hint(hint))
    }

    /// The project in `folder` and nowhere else: who names a folder does not mean another.
    ///
    /// # Errors
    /// Says that it is none.
    pub fn open(folder: &Path) -> Result<Self, Diagnostic> {
        if is_project(folder) {
            return Ok(Self { root: folder.to_owned(), revision: None });
        }
        if has_inventory(folder) {
            return Err(without_servers(folder));
        }
        let message = format!("`{}` is not a project", folder.display());
        Err(Diagnostic::nowhere(message).hint("a project is a folder that holds `inventory/`"))
    }

    /// The text at `path`, relative to the project; `None` if nothing is there.
    ///
    /// # Errors
    /// Names the file that cannot be read, or is no text.
    pub fn source(&self, path: &str) -> Result<Option<Arc<Source>>, Diagnostic> {
        let text = Files::below(&self.root).text(path);
        let text = text.map_err(|error| unreadable(path, &error))?;
        Ok(text.map(|text| Source::new(path, text)))
    }

    /// The bytes at `path`, relative to the project; `None` if nothing is there.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Diagnostic> {
        Files::below(&self.root).bytes(path).map_err(|error| unreadable(path, &error))
    }

    /// Whether a file is at `path`, relative to the project, readable or not.
    pub fn has_file(&self, path: &str) -> bool {
        Files::below(&self.root).is_there(path)
    }

    /// The names in `folder`, sorted; empty if there is no such folder.
    ///
    /// # Errors
    /// Names the folder that cannot be read.
    pub fn names(&self, folder: &str) -> Result<Vec<String>, Diagnostic> {
        let names = Files::below(&self.root).names(folder);
        Ok(names.map_err(|error| unreadable(folder, &error))?.unwrap_or_default())
    }

    /// The YAML files of `folder` by name without extension, sorted. What cannot be read, or
    /// would be overlooked, is added to `mistakes`.
    pub fn yaml_files(
        &self,
        folder: &str,
        mistakes: &mut Diagnostics,
    ) -> Vec<(String, Arc<Source>)> {
        let mut files = Vec::new();
        let names = self.names(folder).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Vec::new()
        });
        for name in names.iter().filter(|name| !name.starts_with('.')) {
            let path = format!("{folder}/{name}");
            if Path::new(name).extension().is_some_and(|ending| ending == "yml") {
                mistakes.push(
                    Diagnostic::nowhere(format!("`{path}` would be ignored"))
                        .hint("give it the ending `.yaml`"),
                );
            }
            let Some(stem) = name.strip_suffix(".yaml") else { continue };
            match self.source(&path) {
                Ok(source) => files.extend(source.map(|source| (stem.to_owned(), source))),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        files
    }
}

/// Whether a folder `inventory/` is there, with anything in it or nothing.
fn has_inventory(folder: &Path) -> bool {
    matches!(Files::below(folder).names("inventory"), Ok(Some(_)))
}

/// A folder whose `inventory/` declares no server.
fn without_servers(folder: &Path) -> Diagnostic {
    let message = format!("`{}` holds no server", folder.join("inventory").display());
    Diagnostic::nowhere(message).hint("write `inventory/web1.yaml`, with `roles: {}` to begin with")
}

/// The user that a folder belongs to.
fn owner(folder: &Path) -> Option<u32> {
    std::fs::metadata(folder).ok().map(|metadata| metadata.uid())
}

/// Whether a project of this user is used without being named: root's, one's own, and of root by
/// `sudo` also that of the user who called it, as git has it (`safe.directory`).
fn is_trusted(owner: u32) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    owner == 0 || owner == me || me == 0 && caller == Some(owner)
}

/// Whether `folder` holds an inventory, and not just anything of that name.
fn is_project(folder: &Path) -> bool {
    let names = match Files::below(folder).names("inventory") {
        Ok(Some(names)) => names,
        Ok(None) => return false,
        // Such as a symlink out of it: no project further up is meant.
        Err(_) => return true,
    };
    let is_yaml = |name: &String| Path::new(name).extension().is_some_and(|end| end == "yaml");
    folder.join("inventory/groups").is_dir() || names.iter().any(is_yaml)
}

fn unreadable(path: &str, error: &std::io::Error) -> Diagnostic {
    let mistake = Diagnostic::nowhere(format!("cannot read `{path}`"));
    match error.kind() {
        std::io::ErrorKind::InvalidData => mistake.because("it is not UTF-8 text"),
        _ => mistake.because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_found_from_below_and_opened_only_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("src/inventory/deep");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(folder.path().join("src/inventory/mod.rs"), "").unwrap();
        std::fs::create_dir(folder.path().join("inventory")).unwrap();
        std::fs::write(folder.path().join("inventory/rufus.yaml"), "roles: {}\n").unwrap();
        // `src/inventory/` holds no YAML: it is no inventory.
        assert_eq!(Project::find(&below).unwrap().root, folder.path());
        assert!(Project::open(&below).is_err());
        assert!(Project::open(folder.path()).is_ok());
    }
}
