//! The secrets of two revisions: the names whose values differ, and the readers. Never a value.

use std::collections::{BTreeMap, BTreeSet};

use super::document;
use super::folder::Folder;
use super::header::Header;
use super::plan_key::KEY_NAME;
use crate::error::Result;

/// How the file `name` differs between two revisions of a project, as lowercase phrases. An
/// identity that opens both says which values differ; without it the digests in the files do, which
/// prove nothing about a file that a stranger has written.
///
/// # Errors
/// If a file or a list of recipients cannot be read.
pub fn differences(name: &str, old: &Folder, new: &Folder) -> Result<Vec<String>> {
    let shown = Folder::shown(name);
    let mut phrases = Vec::new();
    let prints = |folder: &Folder| -> Result<BTreeMap<[u8; 16], String>> {
        let recipients = folder.recipients()?;
        let readers = recipients.of_file(name);
        Ok(readers.iter().map(|it| (it.key.fingerprint(), it.name.clone())).collect())
    };
    let (bytes_before, bytes_after) = (old.bytes(name)?, new.bytes(name)?);
    if bytes_before.is_none() && bytes_after.is_none() {
        return Ok(phrases);
    }
    let (before, after) = (prints(old)?, prints(new)?);
    for (print, reader) in &after {
        if !before.contains_key(print) {
            phrases.push(format!("`{reader}` is to read `{shown}`"));
        }
    }
    for (print, reader) in &before {
        if !after.contains_key(print) {
            phrases.push(format!("`{reader}` is no longer to read `{shown}`"));
        }
    }
    let (Some(before), Some(after)) = (&bytes_before, &bytes_after) else {
        match (bytes_before, bytes_after) {
            (None, Some(_)) => phrases.push(format!("`{shown}` is new")),
            (Some(_), None) => phrases.push(format!("`{shown}` goes")),
            _ => {}
        }
        return Ok(phrases);
    };
    if before != after {
        phrases.extend(gained(name, before, after, new)?);
        phrases.push(values(name, (old, before), (new, after)));
    }
    Ok(phrases)
}

/// The readers that the header of `after` has, by its own account, and that of `before` has not.
fn gained(name: &str, before: &[u8], after: &[u8], new: &Folder) -> Result<Vec<String>> {
    let shown = Folder::shown(name);
    let prints = |bytes: &[u8]| match Header::read(&shown, bytes) {
        Ok(Header::Recorded { prints, .. }) => prints,
        _ => Vec::new(),
    };
    let before = prints(before);
    let recipients = new.recipients()?;
    let gained =
        prints(after).into_iter().filter(|print| !before.is_empty() && !before.contains(print));
    Ok(gained
        .map(|print| {
            let known = recipients.readers.iter().find(|it| it.key.fingerprint() == print);
            let reader = known.map_or("somebody who is not in the list", |it| it.name.as_str());
            format!("`{shown}` is encrypted to `{reader}` as well")
        })
        .collect())
}

/// Which values of a file differ whose bytes do.
fn values(name: &str, (old, before): (&Folder, &[u8]), (new, after): (&Folder, &[u8])) -> String {
    let shown = Folder::shown(name);
    let opened = |folder: &Folder, bytes: &[u8]| {
        folder.decrypt(name, bytes).and_then(|text| document::values(name, &text))
    };
    if let Ok(before) = opened(old, before) {
        return match opened(new, after) {
            Ok(after) => match changed(&before, &after).as_str() {
                "" => format!("`{shown}` is written anew, with the same values"),
                names => format!("`{shown}` changes {names}"),
            },
            Err(_) => format!("`{shown}` cannot be opened any more by those who could"),
        };
    }
    let digests = |bytes: &[u8]| match Header::read(&shown, bytes) {
        Ok(Header::Recorded { digests, .. }) => digests,
        _ => BTreeMap::new(),
    };
    let (before, after) = (digests(before), digests(after));
    let has_one_key = before.get(KEY_NAME).is_some_and(|key| after.get(KEY_NAME) == Some(key));
    if !has_one_key {
        return format!("`{shown}` is written anew: only a reader can tell which values change");
    }
    match changed(&before, &after).as_str() {
        "" => format!("`{shown}` is written anew, by its own account with the same values"),
        names => format!("`{shown}` changes {names}, by its own account"),
    }
}

/// The names in two maps with other values, in backticks.
fn changed<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> String {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let word = |name: &String| match (before.contains_key(name), after.contains_key(name)) {
        (false, _) => format!("`{name}` (new)"),
        (_, false) => format!("`{name}` (gone)"),
        _ => format!("`{name}`"),
    };
    differ.map(word).collect::<Vec<_>>().join(", ")
}
