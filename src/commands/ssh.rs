//! `infra ssh`.

use crate::cli::Context;
use crate::error::Error;
use crate::exit_code::ExitCode;

/// The arguments of `infra ssh`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Servers, groups, patterns such as `web-*`, or `all`.
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
}

/// Runs the subcommand.
pub fn run(args: &Args, _context: &Context) -> anyhow::Result<ExitCode> {
    Err(Error::failed(format!("cannot reach `{}`", args.targets.join(", "))).into())
}
