//! `secrets/recipients.yaml`: who may read which file.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use crate::error::{Error, Result};
use crate::yaml::{self, Entry};

use super::identity::Callbacks;

/// The file's name below `secrets/`, and how it is shown.
pub const FILE: &str = "recipients.yaml";
const SHOWN: &str = "secrets/recipients.yaml";

/// The `key` of a recipient that is a passphrase, which is asked for.
pub const PASSPHRASE: &str = "passphrase";

/// Who may read which file.
#[derive(Debug, Default)]
pub struct Recipients {
    /// In the order written.
    pub readers: Vec<Reader>,
}

/// One recipient.
#[derive(Debug)]
pub struct Reader {
    /// What it is called.
    pub name: String,
    /// What is encrypted to: `age1…`, `ssh-ed25519 …`, `ssh-rsa …`, a plugin's, or `passphrase`.
    pub key: String,
    /// The files that it reads; `None` means all but the lab's.
    pub files: Option<Vec<String>>,
    /// Where it is written.
    pub span: Span,
}

/// A recipient that age encrypts to.
pub type AnyRecipient = Box<dyn age::Recipient + Send>;

impl Recipients {
    /// Reads the file in the folder `secrets/`. Where there is none, nobody may read anything.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(folder: &Path) -> Result<Self, Diagnostics> {
        let text = match std::fs::read_to_string(folder.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                let mistake = Diagnostic::nowhere(format!("cannot read `{SHOWN}`"));
                return Err(mistake.because(error).into());
            }
        };
        Self::parse(&Source::new(SHOWN, text))
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(source: &std::sync::Arc<Source>) -> Result<Self, Diagnostics> {
        let document = yaml::parse(source)?;
        let mut mistakes = Diagnostics::new();
        let mut recipients = Self::default();
        let entries = document.as_map().map(|map| map.entries.as_slice()).unwrap_or_default();
        for entry in entries {
            match (&*entry.key, entry.value.as_map()) {
                ("recipients", Some(map)) => {
                    let readers = map.entries.iter().map(|entry| reader(entry, &mut mistakes));
                    recipients.readers = readers.collect();
                }
                ("recipients", None) if entry.value.is_null() => {}
                ("recipients", None) => {
                    mistakes.push(entry.value.wrong_kind("recipients", "a map"));
                }
                (other, _) => mistakes.push(unknown(entry, other, &["recipients"])),
            }
        }
        if document.as_map().is_none() && !document.is_null() {
            mistakes.push(document.wrong_kind(SHOWN, "a map"));
        }
        mistakes.into_result(recipients)
    }

    /// Who reads the file `name`, in the order written.
    pub fn of_file(&self, name: &str) -> Vec<&Reader> {
        self.readers.iter().filter(|reader| reader.reads(name)).collect()
    }

    /// The names of who reads a file, for messages: nothing where the list cannot be read.
    pub(super) fn names_of(folder: &Path, name: &str) -> Vec<String> {
        let recipients = Self::load(folder).unwrap_or_default();
        recipients.of_file(name).iter().map(|reader| reader.name.clone()).collect()
    }
}

impl Reader {
    /// Whether it reads the file `name`.
    pub fn reads(&self, name: &str) -> bool {
        match &self.files {
            Some(files) => files.iter().any(|file| file == name),
            None => name != super::store::LAB_FILE,
        }
    }

    /// Whether its key is a passphrase.
    pub fn is_passphrase(&self) -> bool {
        self.key == PASSPHRASE
    }

    /// What age encrypts to, unless it is a passphrase.
    pub(super) fn recipient(&self, callbacks: &Callbacks) -> Result<AnyRecipient> {
        let key = self.key.trim();
        if let Ok(recipient) = key.parse::<age::x25519::Recipient>() {
            return Ok(Box::new(recipient));
        }
        if let Ok(recipient) = key.parse::<age::tag::Recipient>() {
            return Ok(Box::new(recipient));
        }
        if let Ok(recipient) = key.parse::<age::tagpq::Recipient>() {
            return Ok(Box::new(recipient));
        }
        let refused = || {
            let message = format!("cannot encrypt to the recipient `{}`", self.name);
            Error::input(message).because(format!("{} holds its key", self.span.place()))
        };
        if key.starts_with("ssh-") {
            let recipient = key.parse::<age::ssh::Recipient>();
            let recipient = recipient.map_err(|error| {
                refused()
                    .because(format!("{error:?}"))
                    .hint("only `ssh-ed25519` and `ssh-rsa` work")
            })?;
            return Ok(Box::new(recipient));
        }
        let recipient = key.parse::<age::plugin::Recipient>().map_err(|_| {
            refused().because("this is no recipient of age").hint(
                "a key begins with `age1`, `ssh-ed25519` or `ssh-rsa`; `passphrase` asks for one",
            )
        })?;
        let name = recipient.plugin().to_owned();
        let plugin = age::plugin::RecipientPluginV1::new(
            &name,
            std::slice::from_ref(&recipient),
            &[],
            callbacks.clone(),
        );
        let plugin = plugin.map_err(|error| {
            refused()
                .because(error)
                .hint(format!("install `age-plugin-{name}`, which encrypts to this key"))
        })?;
        Ok(Box::new(plugin))
    }
}

fn unknown(entry: &Entry, key: &str, known: &[&str]) -> Diagnostic {
    let mistake = Diagnostic::at(&entry.key_span, format!("unknown key `{key}`"));
    mistake.suggest(key, known.iter().copied())
}

fn reader(entry: &Entry, mistakes: &mut Diagnostics) -> Reader {
    let span = entry.key_span.clone();
    let mut reader = Reader { name: entry.key.to_string(), key: String::new(), files: None, span };
    let Some(map) = entry.value.as_map() else {
        mistakes.push(entry.value.wrong_kind(&entry.key, "a map"));
        return reader;
    };
    for entry in &map.entries {
        match &*entry.key {
            "key" => match entry.value.as_str() {
                Some(key) => key.clone_into(&mut reader.key),
                None => mistakes.push(entry.value.wrong_kind("key", "a text")),
            },
            "files" => match entry.value.as_list() {
                Some(files) => {
                    let names = files.iter().filter_map(|file| file.as_str().map(str::to_owned));
                    reader.files = Some(names.collect());
                }
                None => mistakes.push(entry.value.wrong_kind("files", "a list")),
            },
            other => mistakes.push(unknown(entry, other, &["key", "files"])),
        }
    }
    if map.value("key").is_none() {
        let message = format!("the recipient `{}` has no `key`", reader.name);
        mistakes.push(Diagnostic::at(&entry.key_span, message));
    }
    reader
}
