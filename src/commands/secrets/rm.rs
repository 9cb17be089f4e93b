//! `infra secrets rm`: removes one secret.

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::report;
use crate::secrets::{Folder, change};

/// The arguments of `infra secrets rm`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The dotted name of the secret, or of a map of secrets.
    #[arg(value_name = "KEY")]
    key: String,
    /// The file: `all`, a group or a server.
    #[arg(long = "in", value_name = "NAME", default_value = "all")]
    name: String,
}

/// Removes it, and maps that are empty then.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = super::folder(context)?;
    if folder.bytes(&args.name)?.is_none() {
        return Err(super::missing(&folder, &args.name)?.into());
    }
    let change = |text: &str| change::remove(&args.name, text, &args.key);
    super::set::update(&folder, &args.name, true, change)?;
    report::note(&format!("removed `{}` from `{}`", args.key, Folder::shown(&args.name)));
    Ok(ExitCode::Done)
}
