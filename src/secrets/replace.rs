//! Replaces files of secrets, one or many, so that a process that is killed at any moment leaves
//! files that open.
//!
//! The new ciphertexts are written beside the old ones and reach the disk first. Then a journal
//! says which they are; with it the replacement is decided: renames that did not happen are made
//! up for by whoever takes the lock next. Without it, what lies beside is thrown away then.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Folder;
use crate::error::{Context as _, Error, Result};

/// The list of renames that are decided.
const JOURNAL: &str = ".infra-replace.journal";
/// The mode of the journal. git makes no file that its owner cannot write, so that a repository
/// cannot bring a journal with it.
const JOURNAL_MODE: u32 = 0o400;
const JOURNAL_NEW: &str = ".infra-replace.journal.new";

/// The folder `secrets/` of a project, which only this process writes now.
struct Files<'a>(&'a Path);

/// A new content for one file.
#[derive(Debug)]
pub struct Replacement {
    /// Its name, without folder and ending.
    pub name: String,
    /// The encrypted bytes that the new ones were made from.
    pub before: Vec<u8>,
    /// The new bytes, encrypted.
    pub content: Vec<u8>,
}

/// What was found half-done when the folder was locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Files that have their new content now, by name.
    pub completed: Vec<String>,
    /// Files that somebody else has changed since: they were left as they are.
    pub changed_since: Vec<String>,
}

/// Replaces `NAME.yaml.age` by its new content, for all names together. Only for who holds the
/// lock of `folder`; git does not ask for it, so that a file may change all the same.
///
/// # Errors
/// Names the file that could not be written, or that somebody else has changed; then no file has
/// changed, unless the message says so or the hint says that the next command completes it.
pub(super) fn replace_all(folder: &Path, files: &[Replacement]) -> Result<()> {
    let all = Files(folder);
    for file in files {
        if !fs::read(all.target(&file.name)).is_ok_and(|now| now == file.before) {
            let message = format!("`{}` has changed meanwhile", Folder::shown(&file.name));
            return Err(Error::failed(message).because("nothing was written").hint("try again"));
        }
    }
    all.prepare(files)
        .context(|| "cannot write the new secrets; nothing has changed".to_owned())?;
    let done = all.complete().map_err(|error| {
        Error::failed("cannot rename the new secrets")
            .because(error)
            .hint("the next `infra secrets` command completes it")
    })?;
    let Some(first) = done.changed_since.first() else { return Ok(()) };
    Err(Error::failed(format!("`{}` has changed meanwhile", Folder::shown(first)))
        .because("it was left alone; the others are replaced")
        .hint("try again"))
}

/// Completes what a process that was killed had decided. Only for who holds the lock of `folder`.
///
/// # Errors
/// If the disk refuses something, or the journal is damaged.
pub(super) fn recover(folder: &Path) -> Result<Recovered> {
    if !is_cut(folder) {
        return Ok(Recovered::default());
    }
    Files(folder).complete().context(|| "cannot complete a replacement of secrets".to_owned())
}

/// Whether a process that was killed has left a replacement to complete in `folder`.
pub(super) fn is_cut(folder: &Path) -> bool {
    folder.join(JOURNAL).exists()
}

impl Files<'_> {
    /// Everything up to the journal, which decides.
    fn prepare(&self, files: &[Replacement]) -> io::Result<()> {
        let mut journal = String::new();
        for Replacement { name, before, content } in files {
            let (target, old) = (self.target(name), hash(before));
            let beside = self.beside(name);
            let mut file = File::create(&beside)?;
            if let Ok(metadata) = fs::metadata(&target) {
                let mode = metadata.permissions().mode() & 0o777;
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            file.write_all(content)?;
            file.sync_all()?;
            journal.extend([&hash(content), " ", &old, " ", name, "\n"]);
        }
        self.sync()?;
        match fs::remove_file(self.0.join(JOURNAL_NEW)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(self.0.join(JOURNAL_NEW))?;
        file.set_permissions(fs::Permissions::from_mode(JOURNAL_MODE))?;
        file.write_all(journal.as_bytes())?;
        file.sync_all()?;
        fs::rename(self.0.join(JOURNAL_NEW), self.0.join(JOURNAL))?;
        self.sync()
    }

    /// Makes the renames that the journal lists.
    fn complete(&self) -> io::Result<Recovered> {
        let journal = self.journal()?;
        let mut recovered = Recovered::default();
        for line in journal.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(new), Some(old), Some(name)) = (words.next(), words.next(), words.next())
            else {
                return Err(io::Error::other(format!("`secrets/{JOURNAL}` is damaged")));
            };
            if name.contains('/') {
                return Err(io::Error::other(format!("`secrets/{JOURNAL}` is damaged")));
            }
            let (beside, target) = (self.beside(name), self.target(name));
            let is_whole = fs::read(&beside).is_ok_and(|content| hash(&content) == new);
            if !is_whole {
                // It was renamed before.
                continue;
            }
            if fs::read(&target).map(|content| hash(&content)).or_else(missing)? == old {
                fs::rename(&beside, &target)?;
                recovered.completed.push(name.to_owned());
            } else {
                fs::remove_file(&beside)?;
                recovered.changed_since.push(name.to_owned());
            }
        }
        self.sync()?;
        fs::remove_file(self.0.join(JOURNAL))?;
        self.sync()?;
        Ok(recovered)
    }

    /// The journal, if infra wrote it here.
    fn journal(&self) -> io::Result<String> {
        let path = self.0.join(JOURNAL);
        let metadata = fs::symlink_metadata(&path)?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o777 != JOURNAL_MODE {
            let message = format!("`secrets/{JOURNAL}` is not of infra: look at it and remove it");
            return Err(io::Error::other(message));
        }
        fs::read_to_string(path)
    }

    /// Renames reach the disk.
    fn sync(&self) -> io::Result<()> {
        File::open(self.0)?.sync_all()
    }

    fn target(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.yaml.age"))
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.0.join(format!(".infra-{name}.yaml.age.new"))
    }
}

/// The word of the journal for a file that is not there.
fn missing(error: io::Error) -> io::Result<String> {
    if error.kind() == io::ErrorKind::NotFound { Ok("-".to_owned()) } else { Err(error) }
}

fn hash(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml.age"), "old a").unwrap();
        fs::write(folder.path().join("b.yaml.age"), "old b").unwrap();
        folder
    }

    fn new() -> Vec<Replacement> {
        let replacement = |name: &str| Replacement {
            name: name.to_owned(),
            before: format!("old {name}").into_bytes(),
            content: format!("new {name}").into_bytes(),
        };
        ["a", "b"].map(replacement).into()
    }

    fn content(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<String> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                format!("{name}: {}", fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn replaces_all_and_leaves_nothing_beside() {
        let folder = folder();
        replace_all(folder.path(), &new()).unwrap();
        assert_eq!(content(folder.path()), ["a.yaml.age: new a", "b.yaml.age: new b"]);
        assert_eq!(recover(folder.path()).unwrap(), Recovered::default());
    }

    #[test]
    fn what_is_decided_is_completed() {
        let folder = folder();
        let files = Files(folder.path());
        files.prepare(&new()).unwrap();
        fs::rename(files.beside("a"), files.target("a")).unwrap();
        assert_eq!(recover(folder.path()).unwrap().completed, ["b"]);
        assert_eq!(content(folder.path()), ["a.yaml.age: new a", "b.yaml.age: new b"]);
    }

    #[test]
    fn what_changed_since_it_was_read_stays() {
        let folder = folder();
        fs::write(folder.path().join("b.yaml.age"), "from git").unwrap();
        assert_eq!(
            replace_all(folder.path(), &new()).unwrap_err().to_string(),
            "`secrets/b.yaml.age` has changed meanwhile\n\
             caused by: nothing was written\n\
             hint: try again"
        );
        assert_eq!(content(folder.path()), ["a.yaml.age: old a", "b.yaml.age: from git"]);
    }

    #[test]
    fn what_somebody_changed_since_stays() {
        let folder = folder();
        let files = Files(folder.path());
        files.prepare(&new()).unwrap();
        fs::write(files.target("b"), "from git").unwrap();
        let recovered = recover(folder.path()).unwrap();
        assert_eq!(
            (recovered.completed, recovered.changed_since),
            (vec!["a".into()], vec!["b".into()])
        );
        assert_eq!(content(folder.path()), ["a.yaml.age: new a", "b.yaml.age: from git"]);
    }

    fn journal(folder: &Path, text: &str) {
        fs::write(folder.join(JOURNAL), text).unwrap();
        let read_only = fs::Permissions::from_mode(JOURNAL_MODE);
        fs::set_permissions(folder.join(JOURNAL), read_only).unwrap();
    }

    /// Whatever the umask of whoever cloned the repository.
    #[test]
    fn a_journal_that_a_repository_brings_changes_nothing() {
        let folder = folder();
        let text = format!("{} {} a\n", hash(b"theirs"), hash(b"old a"));
        fs::write(folder.path().join(".infra-a.yaml.age.new"), "theirs").unwrap();
        for mode in [0o644, 0o600, 0o755] {
            fs::write(folder.path().join(JOURNAL), &text).unwrap();
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.path().join(JOURNAL), mode).unwrap();
            assert_eq!(
                recover(folder.path()).unwrap_err().to_string(),
                "cannot complete a replacement of secrets\n\
                 caused by: `secrets/.infra-replace.journal` is not of infra: look at it and \
                 remove it"
            );
        }
        assert_eq!(fs::read_to_string(folder.path().join("a.yaml.age")).unwrap(), "old a");
    }

    #[test]
    fn a_journal_names_files_of_the_folder_alone() {
        let folder = folder();
        journal(folder.path(), &format!("{} - ../x\n", hash(b"theirs")));
        let error = recover(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("`secrets/.infra-replace.journal` is damaged"), "{error}");
    }

    #[test]
    fn a_damaged_journal_is_told() {
        let folder = folder();
        journal(folder.path(), "nonsense\n");
        assert_eq!(
            recover(folder.path()).unwrap_err().to_string(),
            "cannot complete a replacement of secrets\n\
             caused by: `secrets/.infra-replace.journal` is damaged"
        );
    }
}
