//! `infra secrets show`: prints a file in the clear, or one value.

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::report;
use crate::secrets::document;

/// The arguments of `infra secrets show`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file: `all`, a group or a server.
    #[arg(default_value = "all", value_name = "NAME")]
    name: String,
    /// One secret by its dotted name, such as `smtp.password`: its value alone is printed.
    #[arg(value_name = "KEY")]
    key: Option<String>,
}

/// Prints the values, which is what the user asked for. A value of one line gets a line end.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = super::folder(context)?;
    let Some(opened) = folder.open(&args.name)? else {
        return Err(super::missing(&folder, &args.name)?.into());
    };
    match &args.key {
        None => report::print(&opened.text)?,
        Some(key) => {
            let value = document::value(&args.name, &opened.text, key)?;
            // Several lines are printed to the byte, so that they can be piped on.
            let end = if value.contains('\n') { "" } else { "\n" };
            report::print(&value)?;
            report::print(end)?;
        }
    }
    Ok(ExitCode::Done)
}
