//! `infra history`: the runs that servers remember.

use crate::cli::Context;
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::session::Targets;
use crate::wire::Request;

use super::ask::ask;

/// The arguments of `infra history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Show at most this many runs of each server; it remembers 100.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Prints the runs of each server, the newest first.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    ask(&args.targets, &Request::History, context, |server, event| match event {
        Event::History(runs) => {
            report::print(&report::history(server, runs, args.limit, context.output))
        }
        _ => Ok(()),
    })
    .and_then(|code| {
        if context.output == Format::Json {
            report::print(&report::end_line(code))?;
        }
        Ok(code)
    })
}
