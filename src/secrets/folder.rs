//! The folder `secrets/` of a project, for the commands that write in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use super::header::Header;
use super::identity::Callbacks;
use super::open;
use super::readers;
use super::recipients::{self, Reader, Recipients};
use super::replace::{self, Recovered, Replacement};
use super::store::{LAB_FILE, LAB_IDENTITY};
use super::write;
use super::{Identities, IdentitySource};
use crate::diagnostic::Diagnostic;
use crate::error::{Context as _, Error, Result};
use crate::files::Files;

/// How long to wait for another command that writes: it holds the lock for milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How file names end.
const SUFFIX: &str = ".yaml.age";

/// The folder, and what opens the files in it.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    source: IdentitySource,
    callbacks: Callbacks,
    identities: OnceLock<Result<Identities>>,
    lab_identities: OnceLock<Result<Identities>>,
}

/// A file that was opened.
pub struct Opened {
    /// Its bytes as they are on disk, by which a change of somebody else's is noticed.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub text: Zeroizing<String>,
}

/// How [`Folder::replace`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The file holds the new text.
    Done,
    /// Somebody else has changed the file since; it is as they left it.
    Changed,
}

/// The cause of a file that nobody can be encrypted to, in a project without the list.
const NO_RECIPIENTS: &str = "there is no `secrets/recipients.yaml`";

/// Held while files are written.
pub struct Lock {
    #[expect(dead_code, reason = "closing it releases the lock")]
    file: std::fs::File,
    /// What a process that was killed had left to do, which is done now.
    pub recovered: Recovered,
}

/// What the name of an edit that was set aside has after that of its file.
const ASIDE: &str = ".edited";

/// Whether [`Folder::set_aside`] gave a file its name.
fn is_set_aside(name: &str) -> bool {
    let number = name.rsplit_once(ASIDE).map(|(_, number)| number);
    number.is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()))
}

impl Folder {
    /// The secrets below `project`. Nothing is read yet, and no passphrase is asked for.
    pub fn new(project: &Path, source: &IdentitySource) -> Self {
        Self {
            path: project.join("secrets"),
            source: source.clone(),
            callbacks: Callbacks::of(source),
            identities: OnceLock::new(),
            lab_identities: OnceLock::new(),
        }
    }

    /// The names of the files in it, sorted. Edits that were set aside are left out: they are
    /// their author's, and no server uses them.
    ///
    /// # Errors
    /// If the folder is there and cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::input("cannot read `secrets/`").because(error)),
        };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.filter(|name| !name.starts_with('.'));
        let names = names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| !is_set_aside(name)).collect();
        names.sort();
        Ok(names)
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{SUFFIX}"))
    }

    /// How a file is called in messages.
    pub fn shown(name: &str) -> String {
        format!("secrets/{name}{SUFFIX}")
    }

    /// Who may read what.
    ///
    /// # Errors
    /// The first mistake in `recipients.yaml`.
    pub fn recipients(&self) -> Result<Recipients> {
        Recipients::load(&self.path).map_err(|mistakes| {
            let told = |error: Error, mistake: &Diagnostic| {
                let place = mistake.places.first();
                let place =
                    place.map_or(String::new(), |place| format!("{}: ", place.span.place()));
                let error = error.because(format!("{place}{}", mistake.message));
                let error = mistake.causes.iter().fold(error, Error::because);
                match &mistake.hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            };
            mistakes.iter().fold(Error::input("cannot use `secrets/recipients.yaml`"), told)
        })
    }

    /// The encrypted bytes of a file; `None` if it is not there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Files::of_folder(&self.path).bytes(&format!("{name}{SUFFIX}")).map_err(|error| {
            Error::input(format!("cannot read `{}`", Self::shown(name))).because(error)
        })
    }

    /// Opens a file; `None` if it is not there.
    ///
    /// # Errors
    /// Names the file that no identity opens, and who could.
    pub fn open(&self, name: &str) -> Result<Option<Opened>> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        let text = self.decrypt(name, &bytes)?;
        Ok(Some(Opened { bytes, text }))
    }

    /// What is in the encrypted `bytes` of the file `name`.
    ///
    /// # Errors
    /// Names the file that no identity opens, and who could.
    pub fn decrypt(&self, name: &str, bytes: &[u8]) -> Result<Zeroizing<String>> {
        let readers = || self.names_of_readers(name, bytes);
        let identities = || self.identities(&Self::shown(name), name == LAB_FILE);
        open::decrypted(&Self::shown(name), bytes, identities, &self.callbacks, readers)
            .map_err(Error::from)
    }

    /// Whether an identity was read already, so that nobody is asked for a passphrase again.
    pub(super) fn has_identities(&self) -> bool {
        matches!(self.identities.get(), Some(Ok(_)))
    }

    /// Whether what was encrypted as the file `name` can be opened here. A passphrase that was
    /// given for it is known.
    pub(super) fn can_open(&self, name: &str, bytes: &[u8]) -> bool {
        Header::read(&Self::shown(name), bytes) == Ok(Header::Passphrase)
            || self.decrypt(name, bytes).is_ok()
    }

    /// The lab's identity, or ours; `shown` is the file to open.
    fn identities(&self, shown: &str, is_lab: bool) -> Result<&Identities> {
        let cell = if is_lab { &self.lab_identities } else { &self.identities };
        let read = || {
            // What the lab's file holds is for everybody, and its identity lies beside it.
            let beside = vec![self.path.join(LAB_IDENTITY)];
            let source = IdentitySource { usual: beside, ..IdentitySource::default() };
            let source = if is_lab { &source } else { &self.source };
            source.load()?.ok_or_else(|| {
                Error::input(format!("no identity to open `{shown}`")).hint(
                    "name one with `--identity FILE`, or make one with `infra secrets keygen`",
                )
            })
        };
        cell.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// Encrypts `text` to those recipients of the file `name` that have read it until now, in the
    /// bytes `before`; to all of them if there was no file. No identity is needed.
    ///
    /// # Errors
    /// If nobody may read the file, or a recipient cannot be encrypted to.
    pub fn encrypt(&self, name: &str, before: Option<&[u8]>, text: &str) -> Result<Vec<u8>> {
        let recipients = self.recipients()?;
        let readers = readers::kept(name, before, &recipients)?.kept;
        self.encrypted(name, text, &readers, &recipients)
    }

    /// Encrypts `text` to all recipients of the file `name`, also to new ones. No identity is
    /// needed.
    ///
    /// # Errors
    /// If nobody may read the file, or a recipient cannot be encrypted to.
    pub(super) fn encrypt_anew(&self, name: &str, text: &str) -> Result<Vec<u8>> {
        let recipients = self.recipients()?;
        self.encrypted(name, text, &recipients.of_file(name), &recipients)
    }

    fn encrypted(
        &self,
        name: &str,
        text: &str,
        readers: &[&Reader],
        recipients: &Recipients,
    ) -> Result<Vec<u8>> {
        if readers.is_empty() {
            return Err(self.without_readers(name));
        }
        let digests = self.digests(name, text, recipients);
        write::encrypted(&Self::shown(name), text, readers, &digests, &self.callbacks)
    }

    /// The error of a file that nobody could open, with the way to its first reader.
    fn without_readers(&self, name: &str) -> Error {
        let (keygen, reader) = if name == LAB_FILE {
            (
                "`infra secrets keygen secrets/lab-identity.txt` makes the key of the lab",
                "lab: { key: age1…, files: [lab] }",
            )
        } else {
            ("`infra secrets keygen` makes your key", "you: { key: age1… }")
        };
        let error = Error::input(format!("cannot encrypt `{}`", Self::shown(name)));
        if !self.has_recipients() {
            return error
                .because(NO_RECIPIENTS)
                .hint(format!("{keygen}; write the file: `recipients: {{ {reader} }}`"));
        }
        error
            .because("no recipient in `secrets/recipients.yaml` reads it")
            .hint(format!("{keygen}; add it there, below `recipients`: `{reader}`"))
    }

    /// Whether the project says who may read what.
    fn has_recipients(&self) -> bool {
        self.path.join(recipients::FILE).exists()
    }

    /// Encrypts `text` and puts it in place of the file whose bytes were `before` (`None`: there
    /// was no file), unless the file has changed since.
    ///
    /// # Errors
    /// If it cannot be encrypted or written; the file is as before then.
    pub fn replace(&self, name: &str, before: Option<&[u8]>, text: &str) -> Result<Replaced> {
        let bytes = self.encrypt(name, before, text)?;
        std::fs::create_dir_all(&self.path).context(|| "cannot make `secrets/`".to_owned())?;
        let _lock = self.lock()?;
        if self.bytes(name)?.as_deref() != before {
            return Ok(Replaced::Changed);
        }
        write::replace(&self.file(name), &bytes)?;
        Ok(Replaced::Done)
    }

    /// Writes `text`, encrypted as the file `name` is, to a new file beside it; its name.
    ///
    /// # Errors
    /// If it cannot be encrypted or written.
    pub fn set_aside(&self, name: &str, text: &str) -> Result<String> {
        let bytes = self.encrypt(name, self.bytes(name)?.as_deref(), text)?;
        let _lock = self.lock()?;
        let names = std::iter::once(format!("{name}{ASIDE}"));
        let mut names = names.chain((2..).map(|number| format!("{name}{ASIDE}{number}")));
        let free = names.find(|name| !self.file(name).exists()).unwrap_or_default();
        write::replace(&self.file(&free), &bytes)?;
        Ok(free)
    }

    /// Replaces several files together: a process that is killed leaves all of them to open, with
    /// the old content or the new, and the next command completes it.
    ///
    /// # Errors
    /// If one cannot be written, or has changed since it was read; all are as before then.
    pub fn replace_all(&self, _lock: &Lock, files: &[Replacement]) -> Result<()> {
        replace::replace_all(&self.path, files)
    }

    /// Whether a process that was killed has left files to replace.
    pub fn is_cut(&self) -> bool {
        replace::is_cut(&self.path)
    }

    /// Opens what another program has encrypted to one of our identities.
    ///
    /// # Errors
    /// If none of them opens it.
    pub fn unwrap(&self, path: &str, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let identities = || self.identities(path, false);
        open::decrypted_bytes(path, bytes, identities, &self.callbacks, Vec::new)
            .map_err(Error::from)
    }

    /// Encrypts `text`, shown as `path`, to those who may read each of the files `names`, or the
    /// whole project where it has no files of secrets yet.
    ///
    /// # Errors
    /// If there is nobody, or a recipient cannot be encrypted to.
    pub fn wrap(&self, path: &str, text: &str, names: &[String]) -> Result<Vec<u8>> {
        let recipients = self.recipients()?;
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.retain(|name| self.file(name).is_file());
        if names.is_empty() {
            names.push("all");
        }
        let mut readers: Vec<&Reader> = recipients.readers.iter().collect();
        for name in &names {
            // New readers get these secrets by `rekey`, and not by a plan.
            let kept = readers::kept(name, self.bytes(name)?.as_deref(), &recipients)?.kept;
            readers.retain(|reader| kept.iter().any(|kept| kept.name == reader.name));
        }
        // age lets a passphrase open only what has no other recipient.
        if readers.iter().any(|reader| !reader.is_passphrase()) {
            readers.retain(|reader| !reader.is_passphrase());
        }
        if readers.is_empty() {
            let names: Vec<String> = names.iter().map(|name| Self::shown(name)).collect();
            let error = Error::input(format!("cannot encrypt `{path}`"));
            let error = if self.has_recipients() {
                error.because(format!("no recipient reads all of `{}`", names.join("`, `")))
            } else {
                error.because(NO_RECIPIENTS)
            };
            return Err(error.hint(
                "name one in `secrets/recipients.yaml`: `recipients: { you: { key: age1… } }`",
            ));
        }
        write::encrypted(path, text, &readers, &BTreeMap::new(), &self.callbacks)
    }

    /// Opens what [`Folder::wrap`] encrypted; what is about the lab with the lab's identity, where
    /// the project has secrets for it.
    ///
    /// # Errors
    /// If no identity opens it.
    pub fn unwrap_own(&self, path: &str, bytes: &[u8], lab: bool) -> Result<Zeroizing<Vec<u8>>> {
        let is_lab = lab && self.file(LAB_FILE).is_file();
        let identities = || self.identities(path, is_lab);
        open::decrypted_bytes(path, bytes, identities, &self.callbacks, Vec::new).map_err(
            |refusal| match refusal {
                open::Refusal::NotForUs(error) => error.hint(
                    "it is encrypted to those who read its secrets: name such an identity with \
                     `--identity`; a plan for the lab needs `--lab`",
                ),
                open::Refusal::Damaged(error) => error.hint("make it again"),
                open::Refusal::Broken(error) => error,
            },
        )
    }

    /// Keeps other commands from writing, completes what a killed one had decided, and removes
    /// its encrypted leftovers.
    ///
    /// # Errors
    /// If another command holds it for ten seconds.
    pub fn lock(&self) -> Result<Lock> {
        let folder = std::fs::File::open(&self.path).context(|| "cannot open `secrets/`".into())?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => {
                    let error = Error::failed("cannot lock `secrets/`").because(error);
                    return Err(error.hint("another `infra secrets` is writing: try again"));
                }
            }
        }
        let recovered = replace::recover(&self.path)?;
        write::remove_leftovers(&self.path);
        Ok(Lock { file: folder, recovered })
    }
}
