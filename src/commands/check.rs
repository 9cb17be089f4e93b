//! `infra check`: compiles everything offline.

use crate::cli::Context;
use crate::compile::Compiler;
use crate::diagnostic::Diagnostics;
use crate::exit_code::ExitCode;
use crate::report;

use super::input::{Input, InputArgs};

/// The arguments of `infra check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Servers, groups, patterns such as `web-*`, or `all`.
    #[arg(default_value = "all", value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    input: InputArgs,
}

/// Compiles every server and prints all mistakes at once.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let input = Input::load(&args.input, context)?;
    let compiler = Compiler::new(&input.project, &input.inventory, &input.store);
    let mut mistakes = Diagnostics::new();
    let (mut servers, mut resources) = (0, 0);
    for name in input.inventory.select(&args.targets)? {
        match compiler.compile(&name, None) {
            Ok(manifest) => {
                servers += 1;
                resources += manifest.resources.len();
            }
            Err(found) => mistakes.extend(found),
        }
    }
    mistakes.into_result(())?;
    if !input.store.has_identity() {
        report::note("no identity: secrets were replaced by placeholders");
    }
    let plural = if servers == 1 { "server" } else { "servers" };
    report::print(&format!("{servers} {plural} ok, {resources} resources\n"))?;
    Ok(ExitCode::Done)
}
