//! `infra facts`: what servers are.

use crate::cli::Context;
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::report;
use crate::session::Targets;
use crate::wire::Request;

use super::ask::ask;

/// The arguments of `infra facts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
}

/// Asks every server and prints the facts; those that do not answer come last.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    ask(&args.targets, &Request::Facts, context, |server, event| match event {
        Event::Started { facts } => report::print(&report::facts(server, facts, context.output)),
        _ => Ok(()),
    })
}
