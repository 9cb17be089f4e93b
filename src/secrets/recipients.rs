//! `secrets/recipients.yaml`: who may read which file.

use std::collections::BTreeSet;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use crate::error::Result;
use crate::files::Files;
use crate::yaml::{self, Entry, Node};

use super::key::{Key, KeyKind};

/// The file's name below `secrets/`, and how it is shown.
pub const FILE: &str = "recipients.yaml";
/// How the file is shown.
pub const SHOWN: &str = "secrets/recipients.yaml";

/// Who may read which file.
#[derive(Debug, Default)]
pub struct Recipients {
    /// In the order written.
    pub readers: Vec<Reader>,
}

/// One recipient.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What it is called.
    pub name: String,
    /// What is encrypted to.
    pub key: Key,
    /// The files that it reads by itself; `None` means all but the lab's.
    pub files: Option<BTreeSet<String>>,
    /// The files that its groups read: it reads these, too.
    pub group_files: BTreeSet<String>,
    /// Where it is written.
    pub span: Span,
}

impl Recipients {
    /// Reads the file in the folder `secrets/`. Where there is none, nobody may read anything.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(folder: &Path) -> Result<Self, Diagnostics> {
        let text = Files::of_folder(folder).text(FILE).map_err(|error| {
            Diagnostic::nowhere(format!("cannot read `{SHOWN}`")).because(error)
        })?;
        let Some(text) = text else { return Ok(Self::default()) };
        Self::parse(&Source::new(SHOWN, text))
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(source: &std::sync::Arc<Source>) -> Result<Self, Diagnostics> {
        let document = yaml::parse(source)?;
        let mut mistakes = Diagnostics::new();
        if document.as_map().is_none() && !document.is_null() {
            mistakes.push(document.wrong_kind(SHOWN, "a map"));
        }
        let fields = fields(&document, &["recipients", "groups"], &mut mistakes);
        let mut names = Vec::new();
        let mut recipients = Self::default();
        for entry in entries(fields.first().copied().flatten(), "recipients", &mut mistakes) {
            names.push(&*entry.key);
            recipients.readers.extend(reader(entry, &mut mistakes));
        }
        for entry in entries(fields.get(1).copied().flatten(), "groups", &mut mistakes) {
            group(entry, &names, &mut recipients.readers, &mut mistakes);
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
        let reads_itself = match &self.files {
            Some(files) => files.contains(name),
            None => name != super::store::LAB_FILE,
        };
        reads_itself || self.group_files.contains(name)
    }

    /// Whether it is a passphrase instead of a key.
    pub fn is_passphrase(&self) -> bool {
        self.key.kind == KeyKind::Passphrase
    }
}

/// The different keys of `readers`, in their order.
pub(super) fn keys<'a>(readers: &[&'a Reader]) -> Vec<&'a Key> {
    let mut seen = BTreeSet::new();
    readers.iter().map(|reader| &reader.key).filter(|key| seen.insert(*key)).collect()
}

/// The values of `known` fields in a map, after a mistake for each other.
fn fields<'a>(
    node: &'a Node,
    known: &[&str],
    mistakes: &mut Diagnostics,
) -> Vec<Option<&'a Entry>> {
    let Some(map) = node.as_map() else { return Vec::new() };
    for entry in map.entries.iter().filter(|entry| !known.contains(&&*entry.key)) {
        let mistake = Diagnostic::at(&entry.key_span, format!("unknown key `{}`", entry.key));
        mistakes.push(mistake.suggest(&entry.key, known.iter().copied()));
    }
    known.iter().map(|key| map.entry(key)).collect()
}

/// The entries of a field that is a map, or nothing.
fn entries<'a>(field: Option<&'a Entry>, what: &str, mistakes: &mut Diagnostics) -> &'a [Entry] {
    match field.map(|field| (&field.value, field.value.as_map())) {
        Some((_, Some(map))) => &map.entries,
        Some((value, None)) if !value.is_null() => {
            mistakes.push(value.wrong_kind(what, "a map"));
            &[]
        }
        _ => &[],
    }
}

/// The elements of a field that is a list of texts.
fn texts<'a>(
    field: Option<&'a Entry>,
    what: &str,
    mistakes: &mut Diagnostics,
) -> Option<Vec<(&'a str, &'a Span)>> {
    let value = &field?.value;
    let Some(list) = value.as_list() else {
        mistakes.push(value.wrong_kind(what, "a list"));
        return None;
    };
    let mut texts = Vec::new();
    for element in list {
        match element.as_str() {
            Some(text) => texts.push((text, &element.span)),
            None => mistakes.push(element.wrong_kind(what, "a list of texts")),
        }
    }
    Some(texts)
}

fn reader(entry: &Entry, mistakes: &mut Diagnostics) -> Option<Reader> {
    if entry.value.as_map().is_none() {
        mistakes.push(entry.value.wrong_kind(&entry.key, "a map"));
        return None;
    }
    let found = fields(&entry.value, &["key", "files"], mistakes);
    let files = texts(found.get(1).copied().flatten(), "files", mistakes);
    let files = files.map(|files| files.into_iter().map(|(name, _)| name.to_owned()).collect());
    let Some(field) = found.first().copied().flatten() else {
        let message = format!("the recipient `{}` has no `key`", entry.key);
        mistakes.push(Diagnostic::at(&entry.key_span, message));
        return None;
    };
    let Some(text) = field.value.as_str() else {
        mistakes.push(field.value.wrong_kind("key", "a text"));
        return None;
    };
    match Key::parse(text) {
        Ok(key) => Some(Reader {
            name: entry.key.to_string(),
            key,
            files,
            group_files: BTreeSet::new(),
            span: entry.key_span.clone(),
        }),
        Err(cause) => {
            let message = format!("age cannot encrypt to the recipient `{}`", entry.key);
            mistakes.push(Diagnostic::at(&field.value.span, message).because(cause).hint(
                "a key begins with `age1`, `ssh-ed25519` or `ssh-rsa`; `passphrase` asks for one",
            ));
            None
        }
    }
}

/// Gives the files of a group to its members.
fn group(entry: &Entry, names: &[&str], readers: &mut [Reader], mistakes: &mut Diagnostics) {
    if entry.value.as_map().is_none() {
        mistakes.push(entry.value.wrong_kind(&entry.key, "a map"));
        return;
    }
    let found = fields(&entry.value, &["members", "files"], mistakes);
    for (index, name) in ["members", "files"].iter().enumerate() {
        if found.get(index).copied().flatten().is_none() {
            let message = format!("the group `{}` has no `{name}`", entry.key);
            mistakes.push(Diagnostic::at(&entry.key_span, message));
        }
    }
    let files = texts(found.get(1).copied().flatten(), "files", mistakes).unwrap_or_default();
    let members = texts(found.first().copied().flatten(), "members", mistakes);
    for (member, span) in members.unwrap_or_default() {
        if !names.contains(&member) {
            let message = format!("unknown recipient `{member}` in the group `{}`", entry.key);
            mistakes.push(Diagnostic::at(span, message).suggest(member, names.iter().copied()));
        }
        for reader in readers.iter_mut().filter(|reader| reader.name == member) {
            reader.group_files.extend(files.iter().map(|(name, _)| (*name).to_owned()));
        }
    }
}
