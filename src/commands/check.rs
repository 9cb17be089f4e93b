//! `infra check`: compiles everything offline.

use crate::cli::Context;
use crate::compile::Compiler;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secrets::recipients::{self, Recipients};
use crate::secrets::{Folder, survey};

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
    for mistake in differing_readers(&Folder::new(&input.project.root, &context.identity))? {
        mistakes.push(mistake);
    }
    mistakes.into_result(())?;
    if uses_secrets && input.store.used_placeholders() {
        report::note("no identity opens the secrets: placeholders stood in for them");
    }
    let plural = if servers == 1 { "server" } else { "servers" };
    report::print(&match context.output {
        Format::Human | Format::Markdown => {
            format!("{servers} {plural} ok, {resources} resources\n")
        }
        Format::Json => {
            let totals = serde_json::json!({ "servers": servers, "resources": resources });
            report::json_line(&totals)
        }
    })?;
    Ok(ExitCode::Done)
}

/// Files of secrets that others may read than `recipients.yaml` says. A project without that
/// file does not say it.
fn differing_readers(folder: &Folder) -> anyhow::Result<Vec<Diagnostic>> {
    if !folder.path.join(recipients::FILE).exists() {
        return Ok(Vec::new());
    }
    let files = survey(folder, &Recipients::load(&folder.path)?)?;
    let differing = files.into_iter().filter_map(|file| {
        let difference = file.difference?;
        let path = Folder::shown(&file.file);
        let message = format!("the readers of `{path}` are not those of `{}`", recipients::SHOWN);
        let mistake = Diagnostic::nowhere(message).because(difference);
        Some(mistake.hint("run `infra secrets rekey`"))
    });
    Ok(differing.collect())
}
