//! `infra secrets keygen`: a new identity.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::error::{Context as _, Error};
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secrets;

/// The arguments of `infra secrets keygen`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write it [default: `~/.config/infra/identity.txt`].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Encrypt it with a passphrase, which is asked for here and once in each run that needs it.
    #[arg(long)]
    passphrase: bool,
}

/// Writes the identity, and prints its public key.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let file = args.file.clone().unwrap_or_else(usual);
    // Before anybody is asked for a passphrase.
    if fs::symlink_metadata(&file).is_ok() {
        return Err(is_there(&file).into());
    }
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!("# public key: {public}\n{}\n", secret.expose_secret()));
    let bytes = if args.passphrase {
        let what = format!("`{}`", file.display());
        let passphrase = secrets::ask_twice(context.identity.ask.as_ref(), &what)?;
        let passphrase = age::scrypt::Recipient::new(passphrase);
        let encrypted = age::encrypt_and_armor(&passphrase, text.as_bytes());
        Zeroizing::new(encrypted.context(|| format!("cannot encrypt {what}"))?.into_bytes())
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    write(&file, &bytes)?;
    report::note(&format!("wrote `{}`; keep a copy of it in a safe place", file.display()));
    report::print(&match context.output {
        Format::Human | Format::Markdown => format!("{public}\n"),
        Format::Json => {
            report::json_line(&serde_json::json!({ "recipient": public, "file": file }))
        }
    })?;
    Ok(ExitCode::Done)
}

fn usual() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".config/infra/identity.txt")
}

fn is_there(file: &Path) -> Error {
    Error::input(format!("`{}` is there already", file.display()))
        .hint("an identity that is lost opens nothing any more: move it away, or name another file")
}

/// Writes a file that must not be there, for its owner alone.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = || format!("cannot write `{}`", file.display());
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).context(failed)?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => is_there(file),
        _ => Error::failed(failed()).because(error),
    })?;
    opened.write_all(bytes).and_then(|()| opened.sync_all()).context(failed)
}
