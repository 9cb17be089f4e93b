//! `infra facts`: what servers are.

use crate::cli::Context;
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::resources::Facts;
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
        Event::Started { facts } => report::print(&text(server, facts, context)),
        _ => Ok(()),
    })
}

fn text(server: &str, facts: &Facts, context: &Context) -> String {
    if context.output == Format::Json {
        let facts = serde_json::json!({"event": "facts", "server": server, "facts": facts});
        return format!("{facts}\n");
    }
    let megabytes = |bytes: u64| format!("{} MB", bytes / (1 << 20));
    let lines = [
        ("os", facts.os.clone()),
        ("codename", facts.codename.clone()),
        ("arch", facts.arch.clone()),
        ("hostname", facts.hostname.clone()),
        ("cpus", facts.cpus.to_string()),
        ("memory", megabytes(facts.memory_bytes)),
        ("disk", megabytes(facts.disk_bytes)),
    ];
    let lines = lines.map(|(name, value)| {
        format!("  {:10}{}\n", format!("{name}:"), report::terminal::escape(&value))
    });
    format!("{server}:\n{}", lines.concat())
}
