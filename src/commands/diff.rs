//! `infra diff`: what `apply` would change.

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::session::{Selection, runtime};
use crate::wire::RunOptions;

/// The arguments of `infra diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Work without opening the secrets: resources that hold some are not compared.
    #[arg(long)]
    no_secrets: bool,
}

impl Args {
    /// Compares everything selected.
    pub fn complete(selection: Selection) -> Self {
        Self { selection, no_secrets: false }
    }
}

/// Prints the plan of every server. Changes nothing.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let mut session = args.selection.open(context, RunOptions::default(), args.no_secrets)?;
    runtime()?.block_on(session.check())?;
    Ok(session.report.finish()?)
}
