//! One question to many servers, for the commands that print what the agents answer.

use std::io;

use crate::cli::Context;
use crate::compile::Compiler;
use crate::error::Error;
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::fleet::News;
use crate::report::{self, Format};
use crate::session::{Targets, runtime};
use crate::wire::Request;

/// Asks every server and hands its events to `tell`; the failures of servers are printed last.
pub(super) fn ask(
    targets: &Targets,
    request: &Request,
    context: &Context,
    mut tell: impl FnMut(&str, &Event) -> io::Result<()>,
) -> anyhow::Result<ExitCode> {
    let project = context.project()?;
    let (inventory, names) = targets.load(&project, &[])?;
    let store = targets.store(&project, context);
    let compiler = Compiler::new(&project, &inventory, &store);
    let fleet = targets.fleet(report::ProgressLines::none())?;
    let mut servers = Vec::new();
    for name in names {
        let settings = targets.login(&compiler, &inventory, &store, &name)?;
        servers.push((name, settings));
    }
    let mut failures: Vec<(String, Error)> = Vec::new();
    runtime()?.block_on(fleet.ask(servers, request, |server, news| match news {
        News::Event(Event::Aborted { error }) | News::Failed(error) => {
            failures.push((server.to_owned(), error));
            Ok(())
        }
        News::Event(event) => tell(server, &event),
        News::Connecting => Ok(()),
    }))?;
    let mut code = ExitCode::Done;
    for (server, error) in failures {
        code = code.merge(error.kind.into());
        if context.output == Format::Json {
            report::print(&report::error_line(&server, &error))?;
        } else {
            report::print_failure(&server, &error, context.colored());
        }
    }
    Ok(code)
}
