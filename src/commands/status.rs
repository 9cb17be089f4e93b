//! `infra status`: the health of the fleet.

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::report;
use crate::session::Selection;
use crate::wire::RunOptions;

/// The arguments of `infra status`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("names", |targets| targets.required(false).default_value("all")))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Work without opening the secrets: resources that hold some are not compared.
    #[arg(long)]
    no_secrets: bool,
}

/// Compares every server with its inventory and prints one line for each. Changes nothing.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let options = RunOptions { asks_failed: true, ..RunOptions::default() };
    let mut session = args.selection.open(context, options, args.no_secrets)?;
    let health = session.health()?;
    report::print(&health.render(context.output))?;
    Ok(health.exit_code())
}
