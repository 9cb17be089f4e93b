//! The files `secrets/*.yaml.age` of a project, decrypted in memory when a server needs them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::secrets::{Identities, IdentitySource, Secrets};
use crate::yaml::{self, Node};

/// The file with the lab's secrets, and the identity beside it that opens it: both are public
/// and worth nothing outside the lab.
const LAB_FILE: &str = "lab";
const LAB_IDENTITY: &str = "lab-identity.txt";

/// The secrets of a project.
pub struct Store {
    folder: PathBuf,
    lab: bool,
    identities: Option<Identities>,
    opened: Mutex<BTreeMap<String, Option<Node>>>,
}

impl Store {
    /// The secrets below `project`. In the lab only the lab's own are opened, with the identity
    /// that lies beside them; the real ones are not touched.
    ///
    /// # Errors
    /// Says why an identity that was named cannot be used.
    pub fn open(project: &Path, lab: bool, source: &IdentitySource) -> Result<Self> {
        let folder = project.join("secrets");
        let identities = if lab {
            let beside =
                IdentitySource { usual: vec![folder.join(LAB_IDENTITY)], ..Default::default() };
            beside.load()?
        } else {
            source.load()?
        };
        Ok(Self { folder, lab, identities, opened: Mutex::default() })
    }

    /// Secrets without any identity: placeholders for all.
    pub fn placeholders(project: &Path) -> Self {
        let folder = project.join("secrets");
        Self { folder, lab: false, identities: None, opened: Mutex::default() }
    }

    /// Whether values can be read at all.
    pub fn has_identity(&self) -> bool {
        self.identities.is_some()
    }

    /// What `server` may read: `all`, its groups, and its own file, the later ones stronger.
    ///
    /// # Errors
    /// Names the file that cannot be opened, and why.
    pub fn for_server(&self, server: &str, groups: &[String]) -> Result<Secrets> {
        if self.identities.is_none() {
            return Ok(Secrets::placeholders());
        }
        let names: Vec<&str> = if self.lab {
            vec![LAB_FILE]
        } else {
            let groups = groups.iter().map(String::as_str);
            std::iter::once("all").chain(groups).chain(std::iter::once(server)).collect()
        };
        let nothing = yaml::parse(&crate::diagnostic::Source::new("secrets", "{}"));
        let mut merged = nothing.map_err(|error| Error::input(error.to_string()))?;
        for name in names {
            if let Some(document) = self.document(name)? {
                merged = yaml::merge(&merged, &document);
            }
        }
        Ok(Secrets::new(&merged))
    }

    fn document(&self, name: &str) -> Result<Option<Node>> {
        let mut opened = self.opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(document) = opened.get(name) {
            return Ok(document.clone());
        }
        let path = format!("secrets/{name}.yaml.age");
        let document = match std::fs::read(self.folder.join(format!("{name}.yaml.age"))) {
            Ok(bytes) => Some(self.decrypt(&path, &bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::input(format!("cannot read `{path}`")).because(error)),
        };
        opened.insert(name.to_owned(), document.clone());
        Ok(document)
    }

    fn decrypt(&self, path: &str, bytes: &[u8]) -> Result<Node> {
        let refused = |cause: String| Error::input(format!("cannot open `{path}`")).because(cause);
        let Some(identities) = &self.identities else {
            return Err(refused("there is no identity".to_owned()));
        };
        let armored = age::armor::ArmoredReader::new(bytes);
        let decryptor =
            age::Decryptor::new_buffered(armored).map_err(|error| refused(error.to_string()))?;
        let reader = decryptor.decrypt(identities.iter());
        let mut reader = reader.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => {
                refused(format!("it is not encrypted to {}", identities.origin))
                    .hint("ask somebody who can open it to add you to `secrets/recipients.yaml`")
            }
            other => refused(other.to_string()),
        })?;
        let mut text = String::new();
        reader.read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
        let source = crate::diagnostic::Source::new(path, text);
        yaml::parse(&source).map_err(|mistakes| {
            // The message alone: a snippet would show values.
            let first = mistakes.iter().next().map(|mistake| mistake.message.clone());
            refused(format!("its content is not YAML: {}", first.unwrap_or_default()))
        })
    }
}
