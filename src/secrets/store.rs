//! The files `secrets/*.yaml.age` of a project, decrypted in memory when a server needs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::diagnostic::Source;
use crate::error::{Error, Result};
use crate::secrets::header::Header;
use crate::secrets::identity::Callbacks;
use crate::secrets::open::{self, Refusal};
use crate::secrets::recipients::{Reader, Recipients};
use crate::secrets::{Identities, IdentitySource, Secrets};
use crate::yaml::{self, Node};

/// The file with the lab's secrets, and the identity beside it that opens it: both are public
/// and worth nothing outside the lab.
pub(super) const LAB_FILE: &str = "lab";
pub(super) const LAB_IDENTITY: &str = "lab-identity.txt";

/// The secrets of a project.
pub struct Store {
    /// `None`: placeholders stand in for all.
    shelf: Option<Arc<Shelf>>,
}

/// The files of a project, and what opens them.
struct Shelf {
    folder: PathBuf,
    lab: bool,
    source: IdentitySource,
    callbacks: Callbacks,
    /// Read when the first file is opened: a passphrase may be asked for.
    identities: OnceLock<Result<Identities>>,
    /// Whether placeholders stand in where the identities open nothing.
    lenient: bool,
    /// Whether a placeholder did stand in.
    is_closed: AtomicBool,
    opened: Mutex<BTreeMap<String, Option<Node>>>,
}

/// Whether the folder has a file that a passphrase opens, without any identity.
fn is_any_behind_a_passphrase(folder: &Path) -> bool {
    let recipients = Recipients::load(folder).unwrap_or_default();
    recipients.readers.iter().any(Reader::is_passphrase)
}

/// The files of one server, weakest first.
pub(super) struct Files {
    shelf: Arc<Shelf>,
    names: Vec<String>,
}

impl Store {
    /// The secrets below `project`. In the lab only the lab's own are opened, with the identity
    /// that lies beside them; the real ones are not touched. No file is read, and no passphrase
    /// is asked for, before a secret is needed.
    pub fn open(project: &Path, lab: bool, source: &IdentitySource) -> Self {
        Self::with(project, lab, source, false)
    }

    /// The same for commands that need no values: placeholders stand in for the secrets in files
    /// that no identity here opens.
    pub fn open_leniently(project: &Path, lab: bool, source: &IdentitySource) -> Self {
        Self::with(project, lab, source, true)
    }

    fn with(project: &Path, lab: bool, source: &IdentitySource, lenient: bool) -> Self {
        let folder = project.join("secrets");
        let source = if lab {
            IdentitySource { usual: vec![folder.join(LAB_IDENTITY)], ..IdentitySource::default() }
        } else {
            source.clone()
        };
        let is_there = source.is_there() || !lab && is_any_behind_a_passphrase(&folder);
        let shelf = is_there.then(|| {
            let (identities, opened) = (OnceLock::new(), Mutex::default());
            let is_closed = AtomicBool::default();
            let callbacks = Callbacks::of(&source);
            Arc::new(Shelf {
                folder,
                lab,
                source,
                callbacks,
                identities,
                lenient,
                is_closed,
                opened,
            })
        });
        Self { shelf }
    }

    /// Secrets without any identity: placeholders for all.
    pub fn placeholders() -> Self {
        Self { shelf: None }
    }

    /// Whether there is something that may open them.
    pub fn has_identity(&self) -> bool {
        self.shelf.is_some()
    }

    /// Whether placeholders stood in for values that were asked for.
    pub fn used_placeholders(&self) -> bool {
        self.shelf.as_ref().is_none_or(|shelf| shelf.is_closed.load(Ordering::Relaxed))
    }

    /// The names of the files that `server` may read, weakest first.
    pub fn files_of(server: &str, groups: &[String], lab: bool) -> Vec<String> {
        if lab {
            return vec![LAB_FILE.to_owned()];
        }
        let groups = groups.iter().map(String::as_str);
        let names = std::iter::once("all").chain(groups).chain(std::iter::once(server));
        names.map(str::to_owned).collect()
    }

    /// What `server` may read: `all`, its groups, and its own file, the later ones stronger.
    pub fn for_server(&self, server: &str, groups: &[String]) -> Secrets {
        let Some(files) = &self.shelf else { return Secrets::placeholders() };
        let names = Self::files_of(server, groups, files.lab);
        Secrets::in_files(Files { shelf: Arc::clone(files), names })
    }
}

impl Files {
    /// All files merged; `None` where placeholders stand in.
    ///
    /// The strongest are opened first. Weaker ones than one that is not for us are of no use: what
    /// they hold may be something else in it. Its error then comes with the files above.
    pub(super) fn read(&self) -> Result<Option<(Node, Option<Error>)>> {
        let (mut documents, mut closed) = (Vec::new(), None);
        for name in self.names.iter().rev() {
            match self.shelf.document(name) {
                Ok(document) => documents.extend(document),
                Err(Refusal::NotForUs(_)) if self.shelf.lenient => {
                    self.shelf.is_closed.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(Refusal::NotForUs(error)) => {
                    closed = Some(error);
                    break;
                }
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let nothing = yaml::parse(&Source::new("secrets", "{}"));
        let nothing = nothing.map_err(|error| Error::input(error.to_string()))?;
        let merged = documents.iter().rev().fold(nothing, |weak, one| yaml::merge(&weak, one));
        Ok(Some((merged, closed)))
    }
}

impl Shelf {
    fn document(&self, name: &str) -> Result<Option<Node>, Refusal> {
        let mut opened = self.opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(document) = opened.get(name) {
            return Ok(document.clone());
        }
        let path = format!("secrets/{name}.yaml.age");
        let document =
            match crate::files::Files::of_folder(&self.folder).bytes(&format!("{name}.yaml.age")) {
                Ok(Some(bytes)) => Some(self.decrypt(&path, &bytes, name)?),
                Ok(None) => None,
                Err(error) => {
                    let error = Error::input(format!("cannot read `{path}`")).because(error);
                    return Err(Refusal::Broken(error));
                }
            };
        opened.insert(name.to_owned(), document.clone());
        Ok(document)
    }

    fn identities(&self) -> Result<&Identities> {
        let read = || {
            let none = || Error::input("there is no identity").hint("name one with `--identity`");
            self.source.load()?.ok_or_else(none)
        };
        self.identities.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    fn decrypt(&self, path: &str, bytes: &[u8], name: &str) -> Result<Node, Refusal> {
        if !self.source.is_there() && Header::read(path, bytes) != Ok(Header::Passphrase) {
            let error = Error::input(format!("no identity to open `{path}`"));
            return Err(Refusal::NotForUs(error.hint("name one with `--identity FILE`")));
        }
        let identities = || self.identities();
        let readers = || Recipients::names_of(&self.folder, name);
        let text = open::decrypted(path, bytes, identities, &self.callbacks, readers)?;
        open::document(path, &text).map_err(Refusal::Broken)
    }
}
