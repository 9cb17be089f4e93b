//! Opening one encrypted file.

use std::io::Read as _;

use age::Callbacks as _;
use age::secrecy::SecretString;
use zeroize::Zeroizing;

use super::Identities;
use super::identity::{Callbacks, plain};
use crate::diagnostic::Source;
use crate::error::{Error, Result};
use crate::yaml::{self, Node};

/// Why a file cannot be opened.
pub(super) enum Refusal {
    /// It is encrypted to others.
    NotForUs(Error),
    /// It is not as age has written it.
    Damaged(Error),
    /// Anything else.
    Broken(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotForUs(error) | Refusal::Damaged(error) | Refusal::Broken(error) => error,
        }
    }
}

/// What asks for the passphrase of a file without any other recipient, and of a new one.
pub(super) fn passphrase_question(path: &str) -> String {
    format!("Passphrase of `{path}`")
}

/// The text in the encrypted `bytes` of the file that is shown as `path`. `identities` are read
/// only if it has other recipients than a passphrase; `readers` names who can open it.
pub(super) fn decrypted<'a>(
    path: &str,
    bytes: &[u8],
    identities: impl FnOnce() -> Result<&'a Identities>,
    callbacks: &Callbacks,
    readers: impl FnOnce() -> Vec<String>,
) -> Result<Zeroizing<String>, Refusal> {
    let bytes = decrypted_bytes(path, bytes, identities, callbacks, readers);
    let bytes = bytes.map_err(|refusal| match refusal {
        Refusal::Damaged(error) => Refusal::Damaged(
            error.hint(format!("take it from git again: `git checkout -- {path}`")),
        ),
        other => other,
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let error = Error::input(format!("cannot open `{path}`"));
        Refusal::Broken(error.because("what is in it is no text"))
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The same for what need not be a text.
pub(super) fn decrypted_bytes<'a>(
    path: &str,
    bytes: &[u8],
    identities: impl FnOnce() -> Result<&'a Identities>,
    callbacks: &Callbacks,
    readers: impl FnOnce() -> Vec<String>,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let refused = |cause: String| Error::input(format!("cannot open `{path}`")).because(cause);
    let broken = |cause: String| Refusal::Broken(refused(cause));
    let armored = age::armor::ArmoredReader::new(bytes);
    // What age says of a broken file is about its own reading: "failed to fill whole buffer".
    let damaged = |cause: &str| Refusal::Damaged(refused(cause.to_owned()));
    let decryptor = age::Decryptor::new_buffered(armored)
        .map_err(|_| damaged("it is no file of age's, or its head is damaged"))?;
    if decryptor.is_scrypt() {
        return by_passphrase(path, bytes, callbacks);
    }
    let mut reader = {
        let identities = identities().map_err(Refusal::Broken)?;
        let reader = decryptor.decrypt(identities.iter());
        reader.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => {
                Refusal::NotForUs(not_for_us(path, &identities.origin, &readers()))
            }
            other => broken(plain(other)),
        })?
    };
    let mut content = Zeroizing::new(Vec::new());
    reader.read_to_end(&mut content).map_err(|_| damaged("it is damaged"))?;
    Ok(content)
}

/// Opens a file that only a passphrase opens. One that was given for another file is tried before
/// anybody is asked.
fn by_passphrase(
    path: &str,
    bytes: &[u8],
    callbacks: &Callbacks,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let refused = |cause: String| Error::input(format!("cannot open `{path}`")).because(cause);
    let broken = |cause: String| Refusal::Broken(refused(cause));
    let open = |passphrase: SecretString| {
        let decryptor = age::Decryptor::new_buffered(age::armor::ArmoredReader::new(bytes))?;
        let key = age::scrypt::Identity::new(passphrase);
        let mut reader = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity))?;
        let mut content = Zeroizing::new(Vec::new());
        reader.read_to_end(&mut content)?;
        Ok::<_, age::DecryptError>(content)
    };
    let question = passphrase_question(path);
    if !callbacks.has_answer(&question) {
        for passphrase in callbacks.answers() {
            if let Ok(content) = open(passphrase.clone()) {
                callbacks.remember(&question, passphrase);
                return Ok(content);
            }
        }
    }
    let passphrase = callbacks.request_passphrase(&question).ok_or_else(|| {
        let error = refused("it wants a passphrase".to_owned());
        Refusal::NotForUs(error.hint("run this at a terminal"))
    })?;
    open(passphrase).map_err(|error| match error {
        age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
            broken("the passphrase is wrong".to_owned())
        }
        other => broken(plain(other)),
    })
}

fn not_for_us(path: &str, origin: &str, readers: &[String]) -> Error {
    let error = Error::input(format!("cannot open `{path}`"))
        .because(format!("it is not encrypted to {origin}"));
    let hint = "name another identity with `--identity`, or ask one of its recipients to add you to \
                `secrets/recipients.yaml` and to run `infra secrets rekey`";
    if readers.is_empty() {
        return error.hint(hint);
    }
    let names: Vec<String> = readers.iter().map(|name| format!("`{name}`")).collect();
    error.because(format!("its recipients are {}", names.join(", "))).hint(hint)
}

/// The document in a decrypted text. A mistake in it is told by its line alone: a snippet or a
/// message would show values.
pub(super) fn document(path: &str, text: &str) -> Result<Node> {
    yaml::parse(&Source::new(path, text)).map_err(|mistakes| {
        let place = mistakes.iter().flat_map(|mistake| &mistake.places).next();
        let line = place.map_or(1, |place| place.span.line());
        Error::input(format!("cannot open `{path}`"))
            .because(format!("line {line} of what is in it is not YAML"))
    })
}
