//! The keys that open secrets: age identities and SSH keys.

use std::fmt;
use std::io::{BufReader, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use age::Callbacks as _;
use age::secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::error::{Context as _, Error, Result};

/// Asks a person for a passphrase; `None` if there is nobody to ask.
pub type Ask = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where identities may come from. Whoever fills it reads the environment; this module does not.
#[derive(Clone, Default)]
pub struct IdentitySource {
    /// A file named by the user, or by `INFRA_IDENTITY_FILE`: it must be there.
    pub file: Option<PathBuf>,
    /// The identity itself, from `INFRA_IDENTITY`.
    pub text: Option<String>,
    /// Files that are used if they are there, in this order.
    pub usual: Vec<PathBuf>,
    /// How to ask for the passphrase of an encrypted key.
    pub ask: Option<Ask>,
    /// What was answered in this run, however many things need it.
    pub answers: Answers,
}

/// Answers by question.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Vec<(String, SecretString)>>>);

/// How a file of identities begins that is itself encrypted with a passphrase.
const ENCRYPTED: [&[u8]; 2] = [b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----"];

type AnyIdentity = Box<dyn age::Identity + Send + Sync>;

/// The identities of one run.
pub struct Identities {
    identities: Vec<AnyIdentity>,
    /// Where they came from, for messages.
    pub origin: String,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} identities of {}", self.identities.len(), self.origin)
    }
}

impl IdentitySource {
    /// Whether there is anything to read.
    pub fn is_there(&self) -> bool {
        let usual = || self.usual.iter().any(|file| file.is_file());
        self.file.is_some() || self.text.is_some() || usual()
    }

    /// Reads the first source there is; `None` if there is none. The usual files are one source:
    /// each may open what the others do not.
    ///
    /// # Errors
    /// Names the file that cannot be read, or holds no identity. Of the usual files only the first
    /// must hold one: an SSH key may be of a kind that opens nothing.
    pub fn load(&self) -> Result<Option<Identities>> {
        if let Some(file) = &self.file {
            return self.read(file).map(Some);
        }
        if let Some(text) = &self.text {
            return self.parse(text.as_bytes(), "`INFRA_IDENTITY`").map(Some);
        }
        let mut found = self.usual.iter().filter(|file| file.is_file());
        let Some(first) = found.next() else { return Ok(None) };
        let mut all = self.read(first)?;
        for more in found.filter_map(|file| self.read(file).ok()) {
            all.identities.extend(more.identities);
            all.origin = format!("{}, {}", all.origin, more.origin);
        }
        Ok(Some(all))
    }

    fn read(&self, file: &std::path::Path) -> Result<Identities> {
        let origin = format!("`{}`", file.display());
        let bytes = std::fs::read(file).context(|| format!("cannot read the identity {origin}"))?;
        let bytes = Zeroizing::new(bytes);
        self.parse(&bytes, &origin)
    }

    fn parse(&self, bytes: &[u8], origin: &str) -> Result<Identities> {
        let unusable = || {
            Error::input(format!("{origin} holds no identity"))
                .hint("an age identity begins with `AGE-SECRET-KEY-`, an SSH key with `-----BEGIN`")
        };
        let callbacks = Callbacks::of(self);
        let identities: Vec<AnyIdentity> = if ENCRYPTED.iter().any(|head| bytes.starts_with(head)) {
            return self.parse(&unlocked(bytes, origin, &callbacks)?, origin);
        } else if bytes.starts_with(b"-----BEGIN ") {
            let key = age::ssh::Identity::from_buffer(BufReader::new(bytes), None);
            let key = key.map_err(|error| unusable().because(plain(error)))?;
            if let age::ssh::Identity::Unsupported(_) = key {
                return Err(unusable().because("this kind of SSH key cannot open secrets"));
            }
            vec![Box::new(key.with_callbacks(callbacks))]
        } else {
            let file = age::IdentityFile::from_buffer(BufReader::new(bytes));
            let file = file.map_err(|error| unusable().because(plain(error)))?;
            let identities = file.with_callbacks(callbacks).into_identities();
            identities.map_err(|error| unusable().because(plain(error)))?
        };
        if identities.is_empty() {
            return Err(unusable());
        }
        Ok(Identities { identities, origin: origin.to_owned() })
    }
}

/// What is in a file of identities that a passphrase encrypts.
fn unlocked(bytes: &[u8], origin: &str, callbacks: &Callbacks) -> Result<Zeroizing<Vec<u8>>> {
    let refused = || Error::input(format!("cannot open the identity {origin}"));
    let armored = age::armor::ArmoredReader::new(bytes);
    let decryptor = age::Decryptor::new_buffered(armored);
    let decryptor = decryptor.map_err(|error| refused().because(plain(error)))?;
    let passphrase = callbacks.request_passphrase(&format!("Passphrase of {origin}"));
    let passphrase = passphrase.ok_or_else(|| refused().because("it wants a passphrase"))?;
    let key = age::scrypt::Identity::new(passphrase);
    let reader = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity));
    let mut reader = reader.map_err(|error| refused().because(plain(error)))?;
    let mut text = Zeroizing::new(Vec::new());
    reader.read_to_end(&mut text).map_err(|error| refused().because(plain(error)))?;
    if ENCRYPTED.iter().any(|head| text.starts_with(head)) {
        return Err(refused().because("it is encrypted twice"));
    }
    Ok(text)
}

impl Identities {
    /// The identities as age takes them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.identities.iter().map(|identity| identity.as_ref() as &dyn age::Identity)
    }
}

/// A text of age's: it isolates names with invisible characters, which a terminal shows as boxes.
pub(super) fn plain(text: impl fmt::Display) -> String {
    text.to_string().chars().filter(|c| !matches!(c, '\u{2068}' | '\u{2069}')).collect()
}

/// Asks once for each key, however many files it opens.
#[derive(Clone, Default)]
pub(super) struct Callbacks {
    ask: Option<Ask>,
    answers: Answers,
}

impl Callbacks {
    /// Callbacks that know what was answered to those of the same source.
    pub(super) fn of(source: &IdentitySource) -> Self {
        Self { ask: source.ask.clone(), answers: source.answers.clone() }
    }
}

impl Callbacks {
    /// Whether this was asked before.
    pub(super) fn has_answer(&self, question: &str) -> bool {
        let answers = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().any(|(known, _)| known == question)
    }

    /// A new passphrase for `what`, asked for twice.
    pub(super) fn ask_twice(&self, what: &str) -> Result<SecretString> {
        ask_twice(self.ask.as_ref(), what)
    }

    /// What was answered to any question.
    pub(super) fn answers(&self) -> Vec<SecretString> {
        let answers = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().map(|(_, answer)| answer.clone()).collect()
    }

    /// Takes an answer without a question.
    pub(super) fn remember(&self, question: &str, answer: SecretString) {
        let mut answers = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push((question.to_owned(), answer));
    }
}

impl age::Callbacks for Callbacks {
    fn display_message(&self, _message: &str) {}

    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _description: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        let mut answers = self.answers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = answers.iter().find(|(known, _)| known == description) {
            return Some(answer.clone());
        }
        let answer = SecretString::from(self.ask.as_ref()?(&plain(description))?);
        answers.push((description.to_owned(), answer.clone()));
        Some(answer)
    }
}

/// A new passphrase for `what`, typed twice.
///
/// # Errors
/// If nobody is there to ask, or the two differ.
pub fn ask_twice(ask: Option<&Ask>, what: &str) -> Result<SecretString> {
    let asked = |question: String| {
        let answer = ask.and_then(|ask| ask(&question)).filter(|answer| !answer.is_empty());
        answer.map(SecretString::from).ok_or_else(|| {
            Error::input(format!("{what} wants a passphrase, and none was given"))
                .hint("run this at a terminal")
        })
    };
    let first = asked(format!("New passphrase of {what}"))?;
    let second = asked("The same again".to_owned())?;
    if first.expose_secret() != second.expose_secret() {
        return Err(Error::input(format!("the two passphrases of {what} differ")));
    }
    Ok(first)
}
