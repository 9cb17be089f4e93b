//! What the header of an age file tells without opening it: to whom it is encrypted.
//!
//! age keys are anonymous there. So infra adds a stanza of its own, [`RECORD`], that holds the
//! fingerprints of all readers; other programs skip what they do not know. Where it is missing,
//! because another program wrote the file, kinds and counts are compared, and SSH keys by tag.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader};

use age_core::format::{FileKey, Stanza};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use super::identity::Callbacks;
use super::key::{Key, KeyKind};
use super::recipients::{Reader, Recipients, keys};
use crate::error::{Error, Result};

/// The tag of the stanza with the fingerprints, and its version.
const RECORD: (&str, &str) = ("infra-readers", "v1");

/// The tag of the stanza with the digests of values, and its version.
const DIGESTS: (&str, &str) = ("infra-digests", "v1");

/// No header is longer, whoever wrote it.
const LONGEST_LINES: usize = 10_000;

/// To whom a file is encrypted.
#[derive(Debug, PartialEq, Eq)]
pub enum Header {
    /// Who knows a passphrase opens it.
    Passphrase,
    /// Written by infra.
    Recorded {
        /// Fingerprints of all readers, sorted, as the writer of the file gives them.
        prints: Vec<[u8; 16]>,
        /// The stanzas that are there, as those of a file of another program.
        counted: BTreeMap<String, usize>,
        /// Of each secret, a digest that only a reader of the key for plans can make.
        digests: BTreeMap<String, String>,
    },
    /// Written by another program: stanzas by tag, SSH keys with the tag of their key.
    Anonymous(BTreeMap<String, usize>),
}

impl Header {
    /// Reads the header of the age file `bytes`, armored or not.
    ///
    /// # Errors
    /// If it is no age file.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self> {
        let broken = || Error::input(format!("`{path}` is no file of age's"));
        let mut lines = BufReader::new(age::armor::ArmoredReader::new(bytes)).split(b'\n');
        let mut next = || -> Result<String> {
            let line = lines.next().ok_or_else(broken)?.map_err(|_| broken())?;
            String::from_utf8(line).map_err(|_| broken())
        };
        if next()? != "age-encryption.org/v1" {
            return Err(broken());
        }
        let mut stanzas: Vec<(String, String)> = Vec::new();
        for _ in 0..LONGEST_LINES {
            let line = next()?;
            if line.starts_with("---") {
                return Ok(Self::of(&stanzas));
            }
            match (line.strip_prefix("-> "), stanzas.last_mut()) {
                (Some(head), _) => stanzas.push((head.to_owned(), String::new())),
                (None, Some((_, body))) => body.push_str(&line),
                (None, None) => return Err(broken()),
            }
        }
        Err(broken())
    }

    fn of(stanzas: &[(String, String)]) -> Self {
        let mut counted = BTreeMap::new();
        let (mut record, mut digests) = (None, BTreeMap::new());
        for (head, body) in stanzas {
            let mut words = head.split(' ');
            let tag = words.next().unwrap_or_default();
            if tag == "scrypt" {
                return Self::Passphrase;
            }
            let version = words.next();
            if (tag, version) == (RECORD.0, Some(RECORD.1)) {
                let bytes = BASE64_STANDARD_NO_PAD.decode(body).unwrap_or_default();
                record = Some(bytes.as_chunks::<16>().0.to_vec());
                continue;
            }
            if (tag, version) == (DIGESTS.0, Some(DIGESTS.1)) {
                let bytes = BASE64_STANDARD_NO_PAD.decode(body).unwrap_or_default();
                digests = serde_json::from_slice(&bytes).unwrap_or_default();
                continue;
            }
            let counts = if tag.starts_with("ssh-") {
                head.split(' ').take(2).collect::<Vec<_>>().join(" ")
            } else {
                tag.to_owned()
            };
            if !tag.ends_with("-grease") {
                *counted.entry(counts).or_insert(0) += 1;
            }
        }
        match record {
            Some(prints) => Self::Recorded { prints, counted, digests },
            None => Self::Anonymous(counted),
        }
    }

    /// How `readers` differ from those of the file, in words; `None` if they do not, as far as
    /// can be told.
    pub fn difference(&self, readers: &[&Reader], all: &Recipients) -> Option<String> {
        match self {
            Self::Passphrase if is_passphrase(readers) => None,
            Self::Passphrase => Some("it is encrypted with a passphrase".to_owned()),
            _ if is_passphrase(readers) => {
                Some("it is encrypted to keys instead of a passphrase".to_owned())
            }
            Self::Recorded { prints, counted, .. } => {
                let is_less = || {
                    has_less_than(counted, readers)
                        .then(|| "it is encrypted to fewer keys than it says".to_owned())
                };
                let difference = recorded(prints, readers, all);
                difference.or_else(|| more_than_recorded(counted, readers)).or_else(is_less)
            }
            Self::Anonymous(counted) => {
                let wanted = expected(readers);
                (*counted != wanted).then(|| {
                    format!("it is encrypted to {}, not {}", kinds(counted), kinds(&wanted))
                })
            }
        }
    }

    /// Its readers in words, with names where they are known.
    pub fn described(&self, all: &Recipients) -> String {
        match self {
            Self::Passphrase => "whoever knows the passphrase".to_owned(),
            Self::Recorded { prints, .. } => {
                let names = prints.iter().map(|print| name_of(print, all));
                names.collect::<Vec<_>>().join(", ")
            }
            Self::Anonymous(counted) => kinds(counted),
        }
    }
}

fn is_passphrase(readers: &[&Reader]) -> bool {
    readers.iter().any(|reader| reader.is_passphrase())
}

fn recorded(fingerprints: &[[u8; 16]], readers: &[&Reader], all: &Recipients) -> Option<String> {
    let keys = keys(readers);
    let missing: Vec<&str> = readers
        .iter()
        .filter(|reader| !fingerprints.contains(&reader.key.fingerprint()))
        .map(|reader| reader.name.as_str())
        .collect();
    let extra: Vec<String> = fingerprints
        .iter()
        .filter(|print| !keys.iter().any(|key| key.fingerprint() == **print))
        .map(|print| name_of(print, all))
        .collect();
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("not yet encrypted to {}", missing.join(", ")));
    }
    if !extra.is_empty() {
        parts.push(format!("still encrypted to {}", extra.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whether a file has fewer stanzas than its recorded readers need: somebody wrote a name into the
/// record who could not open the file.
pub(super) fn has_less_than(counted: &BTreeMap<String, usize>, recorded: &[&Reader]) -> bool {
    let keys: Vec<&Reader> = recorded
        .iter()
        .filter(|reader| !matches!(reader.key.kind, KeyKind::Plugin(_)))
        .copied()
        .collect();
    expected(&keys).iter().any(|(tag, count)| counted.get(tag).copied().unwrap_or(0) < *count)
}

/// In words, that a file can be opened with more keys than its writer has recorded. Plugins may
/// make any number of stanzas.
fn more_than_recorded(counted: &BTreeMap<String, usize>, readers: &[&Reader]) -> Option<String> {
    let wanted = expected(readers);
    let has_plugin = readers.iter().any(|reader| matches!(reader.key.kind, KeyKind::Plugin(_)));
    let is_more = |tag: &String, count: usize| count > wanted.get(tag).copied().unwrap_or(0);
    let more: BTreeMap<String, usize> = counted
        .iter()
        .filter(|(tag, count)| is_more(tag, **count))
        .filter(|(tag, _)| !has_plugin || *tag == "X25519" || tag.starts_with("ssh-"))
        .map(|(tag, count)| (tag.clone(), count - wanted.get(tag).copied().unwrap_or(0)))
        .collect();
    (!more.is_empty()).then(|| format!("it is encrypted to {} more than it says", kinds(&more)))
}

fn name_of(fingerprint: &[u8; 16], all: &Recipients) -> String {
    let known = all.readers.iter().find(|recipient| recipient.key.fingerprint() == *fingerprint);
    known.map_or_else(|| "somebody unknown".to_owned(), |recipient| recipient.name.clone())
}

/// The stanzas of a file that another program encrypts to `readers`.
fn expected(readers: &[&Reader]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for key in keys(readers) {
        *counted.entry(stanza(key)).or_insert(0) += 1;
    }
    counted
}

fn stanza(key: &Key) -> String {
    match &key.kind {
        KeyKind::X25519 => "X25519".to_owned(),
        KeyKind::Tag => "p256tag".to_owned(),
        KeyKind::TagPq => "mlkem768p256tag".to_owned(),
        KeyKind::SshEd25519 | KeyKind::SshRsa => {
            format!("{} {}", key.kind, key.ssh_tag().unwrap_or_default())
        }
        // Most plugins call their stanzas as they are called themselves.
        KeyKind::Plugin(name) => name.clone(),
        KeyKind::Passphrase => "scrypt".to_owned(),
    }
}

fn kinds(counted: &BTreeMap<String, usize>) -> String {
    if counted.is_empty() {
        return "nobody".to_owned();
    }
    let named = counted.iter().map(|(tag, count)| match (tag.as_str(), count) {
        ("X25519", 1) => "1 age key".to_owned(),
        ("X25519", count) => format!("{count} age keys"),
        (tag, 1) => format!("`{tag}`"),
        (tag, count) => format!("{count} × `{tag}`"),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// Several keys, and the record of who they are.
pub(super) struct Recorded {
    keys: Vec<Box<dyn age::Recipient + Send>>,
    record: Vec<u8>,
    digests: Vec<u8>,
}

impl Recorded {
    /// The keys of `readers` for the file that is shown as `path`, and the digests of its values.
    ///
    /// # Errors
    /// Names the recipient whose key cannot be used here.
    pub(super) fn new(
        path: &str,
        readers: &[&Reader],
        digests: &BTreeMap<String, String>,
        callbacks: &Callbacks,
    ) -> Result<Self> {
        let keys = keys(readers);
        let mut prints: Vec<[u8; 16]> = keys.iter().map(|key| key.fingerprint()).collect();
        prints.sort_unstable();
        let mut usable = Vec::new();
        for key in keys {
            usable.push(key.recipient(callbacks).map_err(|cause| {
                let name = readers.iter().find(|reader| reader.key == *key);
                let name = name.map_or("", |reader| reader.name.as_str());
                let error = Error::input(format!("cannot encrypt `{path}` to `{name}`"));
                let error = error.because(cause);
                match &key.kind {
                    KeyKind::Plugin(plugin) => error
                        .hint(format!("install `age-plugin-{plugin}`, which encrypts to this key")),
                    _ => error,
                }
            })?);
        }
        // A map of texts and numbers can always be written.
        let digests = if digests.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(digests).unwrap_or_default()
        };
        Ok(Self { keys: usable, record: prints.concat(), digests })
    }
}

impl age::Recipient for Recorded {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let mut stanzas = Vec::new();
        let mut labels: Option<HashSet<String>> = None;
        for key in &self.keys {
            let (more, own) = key.wrap_file_key(file_key)?;
            stanzas.extend(more);
            // A key that must not stand beside weaker ones says so by a label.
            if let Some(l_labels) = labels.replace(own.clone()).filter(|known| *known != own) {
                return Err(age::EncryptError::IncompatibleRecipients { l_labels, r_labels: own });
            }
        }
        let (tag, version) = RECORD;
        let body = self.record.clone();
        stanzas.push(Stanza { tag: tag.to_owned(), args: vec![version.to_owned()], body });
        if !self.digests.is_empty() {
            let ((tag, version), body) = (DIGESTS, self.digests.clone());
            stanzas.push(Stanza { tag: tag.to_owned(), args: vec![version.to_owned()], body });
        }
        Ok((stanzas, labels.unwrap_or_default()))
    }
}
