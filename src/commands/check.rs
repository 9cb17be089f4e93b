//! `infra check`: compiles everything offline.

use crate::cli::Context;
use crate::compile::Compiler;
use crate::diagnostic::Diagnostics;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};

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
    let (mut servers, mut resources, mut uses_secrets) = (0, 0, false);
    for name in input.inventory.select(&args.targets)? {
        match compiler.compile(&name, None) {
            Ok(manifest) => {
                servers += 1;
                resources += manifest.resources.len();
                uses_secrets |= !manifest.secrets.is_empty();
            }
            Err(found) => mistakes.extend(found),
        }
    }
    mistakes.into_result(())?;
    if uses_secrets && input.store.used_placeholders() {
        report::note("no identity opens the secrets: placeholders stood in for them");
    }
    let plural = if servers == 1 { "server" } else { "servers" };
    report::print(&match context.output {
        Format::Human => format!("{servers} {plural} ok, {resources} resources\n"),
        Format::Json => {
            let totals = serde_json::json!({ "servers": servers, "resources": resources });
            format!("{totals}\n")
        }
    })?;
    Ok(ExitCode::Done)
}
