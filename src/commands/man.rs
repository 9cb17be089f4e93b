//! `infra man`: the manual page.

use clap::CommandFactory as _;

use crate::cli::{Cli, Context};
use crate::exit_code::ExitCode;
use crate::report;

/// The arguments of `infra man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the page of this subcommand instead of the page of `infra`.
    subcommand: Option<String>,
}

/// Prints the page as roff, for `man -l -`.
pub fn run(args: &Args, _context: &Context) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    let command = match &args.subcommand {
        None => command,
        Some(name) => command
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| anyhow::anyhow!("unknown subcommand `{name}`"))?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    report::print(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::Done)
}
