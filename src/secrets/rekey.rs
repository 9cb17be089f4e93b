//! Encrypts files anew, to those who may read them now: all of them, or none.

use super::folder::{Folder, Lock};
use super::header::Header;
use super::recipients::Recipients;
use super::replace::Replacement;
use crate::error::{Error, Result};

/// What is to be known about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReaders {
    /// Its name, without folder and ending.
    pub file: String,
    /// Those who may read it, in the words of `recipients.yaml`.
    pub wanted: Vec<String>,
    /// To whom it is encrypted.
    pub found: String,
    /// How the two differ; `None` if they do not, as far as can be told.
    pub difference: Option<String>,
}

/// Compares every file of secrets with `recipients`, without opening any.
///
/// # Errors
/// Names the file that cannot be read.
pub fn survey(folder: &Folder, recipients: &Recipients) -> Result<Vec<FileReaders>> {
    let mut files = Vec::new();
    for file in folder.names()? {
        let bytes = folder.bytes(&file)?.unwrap_or_default();
        let header = Header::read(&Folder::shown(&file), &bytes)?;
        let readers = recipients.of_file(&file);
        let wanted: Vec<String> = readers.iter().map(|reader| reader.name.clone()).collect();
        let difference = if wanted.is_empty() {
            Some("nobody may read it".to_owned())
        } else {
            header.difference(&readers, recipients)
        };
        files.push(FileReaders { file, wanted, found: header.described(recipients), difference });
    }
    Ok(files)
}

/// Encrypts `files` anew. Every one is opened and encrypted in memory before the first is
/// replaced.
///
/// # Errors
/// Names the file that cannot be opened, that nobody may read, that whoever does this could not
/// read any more (unless `gives_up_access`), or that somebody has changed since it was read; then
/// no file has changed.
pub fn rekey(folder: &Folder, lock: &Lock, files: &[String], gives_up_access: bool) -> Result<()> {
    let (mut prepared, mut lost) = (Vec::new(), Vec::new());
    for file in files {
        let gone = || Error::input(format!("`{}` is not there any more", Folder::shown(file)));
        let opened = folder.open(file)?.ok_or_else(gone)?;
        let content = folder.encrypt_anew(file, &opened.text)?;
        if !folder.can_open(file, &content) {
            lost.push(format!("`{}`", Folder::shown(file)));
        }
        prepared.push(Replacement { name: file.clone(), before: opened.bytes, content });
    }
    if !lost.is_empty() && !gives_up_access {
        let (files, them) = (lost.join(", "), if lost.len() == 1 { "it" } else { "them" });
        return Err(Error::input(format!("you could not open {files} any more"))
            .because(format!("`secrets/recipients.yaml` does not let your identity read {them}"))
            .hint("add yourself there, or use `--give-up-access`; nothing was changed"));
    }
    folder.replace_all(lock, &prepared)
}
