//! `infra completions`: a completion script for a shell.

use clap::CommandFactory as _;

use crate::cli::{Cli, Context};
use crate::exit_code::ExitCode;
use crate::report;

/// The arguments of `infra completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that will read the script.
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: &Args, _context: &Context) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "infra", &mut script);
    report::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Done)
}
