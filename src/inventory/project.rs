//! Finding a project and reading its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::revision::Revision;
use crate::diagnostic::{Diagnostic, Diagnostics, Source};

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
    /// Says that there is none.
    pub fn find(folder: &Path) -> Result<Self, Diagnostic> {
        let found = folder.ancestors().find(|folder| is_project(folder));
        found.map(|root| Self { root: root.to_owned(), revision: None }).ok_or_else(|| {
            Diagnostic::nowhere(format!("no project in `{}` or above it", folder.display()))
                .hint("a project is a folder that holds `inventory/`; name it with `--project`")
        })
    }

    /// The project in `folder` and nowhere else: who names a folder does not mean another.
    ///
    /// # Errors
    /// Says that it is none.
    pub fn open(folder: &Path) -> Result<Self, Diagnostic> {
        if is_project(folder) {
            return Ok(Self { root: folder.to_owned(), revision: None });
        }
        let message = format!("`{}` is not a project", folder.display());
        Err(Diagnostic::nowhere(message).hint("a project is a folder that holds `inventory/`"))
    }

    /// The text at `path`, relative to the project; `None` if nothing is there.
    ///
    /// # Errors
    /// Names the file that cannot be read, or is no text.
    pub fn source(&self, path: &str) -> Result<Option<Arc<Source>>, Diagnostic> {
        match std::fs::read_to_string(self.root.join(path)) {
            Ok(text) => Ok(Some(Source::new(path, text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// The bytes at `path`, relative to the project; `None` if nothing is there.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Diagnostic> {
        match std::fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// The names in `folder`, sorted; empty if there is no such folder.
    ///
    /// # Errors
    /// Names the folder that cannot be read.
    pub fn names(&self, folder: &str) -> Result<Vec<String>, Diagnostic> {
        let entries = match std::fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(folder, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(folder, &error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
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

/// Whether `folder` holds an inventory, and not just anything of that name.
fn is_project(folder: &Path) -> bool {
    let inventory = folder.join("inventory");
    let Ok(entries) = std::fs::read_dir(&inventory) else { return false };
    let is_yaml = |path: PathBuf| path.extension().is_some_and(|ending| ending == "yaml");
    inventory.join("groups").is_dir() || entries.flatten().any(|entry| is_yaml(entry.path()))
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
