//! `infra facts`: what servers are.

use crate::cli::Context;
use crate::compile::Compiler;
use crate::error::Error;
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::fleet::News;
use crate::report::{self, Format};
use crate::resources::Facts;
use crate::session::{Targets, runtime};

/// The arguments of `infra facts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
}

/// Asks every server and prints the facts; those that do not answer come last.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let project = context.project()?;
    let (inventory, names) = args.targets.load(&project, &[])?;
    let store = args.targets.store(&project, context);
    let compiler = Compiler::new(&project, &inventory, &store);
    let fleet = args.targets.fleet(report::ProgressLines::none())?;
    let mut servers = Vec::new();
    for name in names {
        let settings = args.targets.login(&compiler, &inventory, &store, &name)?;
        servers.push((name, settings));
    }
    let mut failures: Vec<(String, Error)> = Vec::new();
    runtime()?.block_on(fleet.facts(servers, |server, news| match news {
        News::Event(Event::Started { facts }) => report::print(&text(server, &facts, context)),
        News::Failed(error) => {
            failures.push((server.to_owned(), error));
            Ok(())
        }
        News::Connecting | News::Event(_) => Ok(()),
    }))?;
    let mut code = ExitCode::Done;
    for (server, error) in failures {
        code = code.merge(error.kind.into());
        if context.output == Format::Json {
            report::print(&report::error_line(&server, &error))?;
        } else {
            report::terminal::print_error(&error.into(), context.colored());
        }
    }
    Ok(code)
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
