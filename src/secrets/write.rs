//! Encrypting a text, and replacing a file in one step.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use age::Callbacks as _;

use super::header::Recorded;
use super::identity::{Callbacks, plain};
use super::open::passphrase_question;
use super::recipients::Reader;
use crate::error::{Context as _, Error, Result};

/// What a file is called that is written beside the one that it will replace: only encrypted
/// text, which a run that was killed may leave behind.
const BEGINNING: &str = ".infra-";
const END: &str = ".new";

/// `text`, encrypted and armored, for all of `readers`, at least one. `path` is how the file is shown;
/// `digests` are of its values.
///
/// # Errors
/// Names the recipient that cannot be encrypted to.
pub(super) fn encrypted(
    path: &str,
    text: &str,
    readers: &[&Reader],
    digests: &BTreeMap<String, String>,
    callbacks: &Callbacks,
) -> Result<Vec<u8>> {
    let refused = || Error::input(format!("cannot encrypt `{path}`"));
    let encryptor = match readers {
        [reader] if reader.is_passphrase() => {
            let question = passphrase_question(path);
            if !callbacks.has_answer(&question) {
                let passphrase = callbacks.ask_twice(&format!("`{path}`"))?;
                callbacks.remember(&question, passphrase);
            }
            let passphrase = callbacks.request_passphrase(&question);
            let passphrase = passphrase.ok_or_else(refused)?;
            age::Encryptor::with_user_passphrase(passphrase)
        }
        several => {
            if let Some(reader) = several.iter().find(|reader| reader.is_passphrase()) {
                let cause = format!("the recipient `{}` is a passphrase", reader.name);
                return Err(refused()
                    .because(cause)
                    .hint("age lets a passphrase open only files that have no other recipient"));
            }
            let recorded = Recorded::new(path, several, digests, callbacks)?;
            let encryptor = age::Encryptor::with_recipients(std::iter::once(&recorded as _));
            encryptor.map_err(|error| refused().because(plain(error)))?
        }
    };
    let mut bytes = Vec::new();
    let armored =
        age::armor::ArmoredWriter::wrap_output(&mut bytes, age::armor::Format::AsciiArmor);
    let write = || -> std::io::Result<()> {
        let mut writer = encryptor.wrap_output(armored?)?;
        writer.write_all(text.as_bytes())?;
        writer.finish()?.finish()?;
        Ok(())
    };
    write().map_err(|error| refused().because(plain(error)))?;
    Ok(bytes)
}

/// Replaces the file at `path`, so that at every moment it holds either the old or the new bytes.
/// It keeps its permissions.
///
/// # Errors
/// Names the file; the old one is untouched then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let what = || format!("cannot write `{}`", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mode = std::fs::metadata(&path).map_or(0o644, |data| data.permissions().mode() & 0o777);
    let mut builder = tempfile::Builder::new();
    let file = builder.prefix(BEGINNING).suffix(END).tempfile_in(folder);
    let mut file = file.context(what)?;
    let write = |file: &mut std::fs::File| -> std::io::Result<()> {
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write(file.as_file_mut()).context(what)?;
    file.persist(&path).map_err(|error| Error::failed(what()).because(error.error))?;
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.context(what)
}

/// Writes a file that only its owner may read, in one step: at every moment it is there either as
/// a whole or not at all.
///
/// # Errors
/// Names the file.
pub fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("cannot write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Its mode is 0600.
    let file = tempfile::Builder::new().prefix(BEGINNING).suffix(END).tempfile_in(folder);
    let mut file = file.context(what)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).context(what)?;
    file.persist(path).map_err(|error| Error::failed(what()).because(error.error))?;
    Ok(())
}

/// Removes what runs left that were killed while they wrote. Only for who holds the lock.
pub(super) fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(BEGINNING) && name.ends_with(END) {
            // It is encrypted, and the next run tries again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
