//! Keeping the readers of a file: only `rekey` gives its secrets to somebody new.
//!
//! A new line in `recipients.yaml` is all that a pull request needs to bring. So a file that is
//! written again stays with those of its readers who may still read it.

use super::folder::Folder;
use super::header::{Header, has_less_than};
use super::recipients::{Reader, Recipients};
use crate::error::{Error, Result};

/// The readers of a file that is written again.
pub(super) struct Kept<'a> {
    /// Those that have read it until now and still may.
    pub(super) kept: Vec<&'a Reader>,
    /// Those that may read it by now, and that have to wait for `rekey`.
    pub(super) new: Vec<&'a Reader>,
}

/// Tells the readers of the file `name`, whose bytes are `before`, by `recipients`. A file that is
/// not there yet has no readers to keep.
///
/// # Errors
/// If nobody of them may read the file any more, or if its readers cannot be told.
pub(super) fn kept<'a>(
    name: &str,
    before: Option<&[u8]>,
    recipients: &'a Recipients,
) -> Result<Kept<'a>> {
    let readers = recipients.of_file(name);
    let Some(bytes) = before else { return Ok(Kept { kept: readers, new: Vec::new() }) };
    let path = Folder::shown(name);
    let refused = |cause: String| {
        Err(Error::input(format!("the readers of `{path}` have changed"))
            .because(cause)
            .hint("look at `secrets/recipients.yaml`, then run `infra secrets rekey`"))
    };
    let header = Header::read(&path, bytes)?;
    let Header::Recorded { prints, counted, .. } = &header else {
        // Its keys have no names: either nothing has changed, or nobody can tell who is new.
        return match header.difference(&readers, recipients) {
            Some(difference) if !readers.is_empty() => refused(difference),
            _ => Ok(Kept { kept: readers, new: Vec::new() }),
        };
    };
    // Anybody can write a name into the record of a file; only a reader can add a key to the file.
    let recorded =
        recipients.readers.iter().filter(|reader| prints.contains(&reader.key.fingerprint()));
    if has_less_than(counted, &recorded.collect::<Vec<_>>()) {
        return refused("it is encrypted to fewer keys than it says".to_owned());
    }
    let (kept, new): (Vec<&Reader>, Vec<&Reader>) =
        readers.into_iter().partition(|reader| prints.contains(&reader.key.fingerprint()));
    if kept.is_empty() && !new.is_empty() {
        return refused("none of those that can read it may read it any more".to_owned());
    }
    Ok(Kept { kept, new })
}

impl Folder {
    /// The names of those that may read the file `name` and cannot yet: `rekey` lets them.
    ///
    /// # Errors
    /// If the file or the recipients cannot be read.
    pub fn waiting_readers(&self, name: &str) -> Result<Vec<String>> {
        let recipients = self.recipients()?;
        let kept = kept(name, self.bytes(name)?.as_deref(), &recipients)?;
        Ok(kept.new.iter().map(|reader| reader.name.clone()).collect())
    }

    /// The names of those that can open the file `name` with the content `bytes`; nothing where the
    /// list cannot be read.
    pub fn names_of_readers(&self, name: &str, bytes: &[u8]) -> Vec<String> {
        let recipients = self.recipients().unwrap_or_default();
        let readers = kept(name, Some(bytes), &recipients).map(|kept| kept.kept);
        let readers = readers.unwrap_or_else(|_| recipients.of_file(name));
        readers.iter().map(|reader| reader.name.clone()).collect()
    }

    /// The names of those that read the file `name`, as `recipients.yaml` has them.
    ///
    /// # Errors
    /// If the recipients cannot be read.
    pub fn readers(&self, name: &str) -> Result<Vec<String>> {
        let recipients = self.recipients()?;
        Ok(recipients.of_file(name).iter().map(|reader| reader.name.clone()).collect())
    }
}
