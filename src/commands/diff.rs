//! `infra diff`: what `apply` would change.

use std::path::PathBuf;

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::session::{Selection, runtime};
use crate::wire::RunOptions;

use super::apply::{seconds, who};
use super::saved;

/// The arguments of `infra diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Work without opening the secrets: resources that hold some are not compared.
    #[arg(long)]
    no_secrets: bool,
    /// Save the plan, encrypted to those who read the secrets in it, for `infra apply --plan FILE`.
    #[arg(long, value_name = "FILE", conflicts_with = "no_secrets")]
    out: Option<PathBuf>,
    /// How long the saved plan can be applied: `90m`, `12h`, `7d`.
    #[arg(long, value_name = "TIME", default_value = "7d", requires = "out", value_parser = seconds)]
    valid_for: u32,
}

/// How long a saved plan can be applied unless the user says otherwise, in seconds.
const VALID_SECONDS: u32 = 7 * 86_400;

impl Args {
    /// Compares everything selected.
    pub fn complete(selection: Selection) -> Self {
        Self { selection, no_secrets: false, out: None, valid_for: VALID_SECONDS }
    }
}

/// Prints the plan of every server, and saves it if that is wanted. Changes nothing.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let options = RunOptions { who: who(), ..RunOptions::default() };
    let mut session = args.selection.open(context, options, args.no_secrets)?;
    let is_lab = args.selection.targets.lab;
    let saving = match &args.out {
        Some(path) => {
            Some(saved::Saving::prepare(path, args.valid_for, &session, is_lab, context)?)
        }
        None => None,
    };
    let seen = runtime()?.block_on(session.check())?;
    let code = session.report.finish()?;
    if let Some(saving) = saving {
        saving.save(seen)?;
    }
    Ok(code)
}
