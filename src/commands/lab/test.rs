//! `infra lab test`: the inventory on empty servers, from nothing to nothing left to do.

use super::{LabFolder, internet, wanted};
use crate::cli::Context;
use crate::commands::{apply, diff};
use crate::error::{Error, Result};
use crate::exit_code::ExitCode;
use crate::lab::{Keep, Lab, Release};
use crate::report;
use crate::session::Selection;

/// The arguments of `infra lab test`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Servers, groups or patterns of the inventory [default: all of it].
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// What they run [default: what the inventory expects, or debian-12].
    #[arg(long, value_name = "RELEASE")]
    os: Option<Release>,
    /// Leave the servers up afterwards, to look at them.
    #[arg(long)]
    keep: bool,
}

/// Brings up empty servers, applies, and proves that nothing is left to do: `diff` is empty, and
/// applying again changes nothing. Servers that fail stay up.
pub(super) fn run(
    args: &Args,
    folder: &LabFolder,
    lab: &Lab,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let wanted = wanted(&args.servers, args.os, context)?;
    let names: Vec<String> = wanted.iter().map(|server| server.name.clone()).collect();
    refuse_used(lab, &names)?;
    let internet = internet::of_project(context)?;
    if let Some(internet) = &internet {
        internet::start(lab, internet)?;
    }
    lab.up(&wanted, &report::note)?;
    if internet.is_some() {
        internet::connect(folder, lab, context)?;
    }
    let selection = Selection::in_lab(folder.clone(), names.clone());
    let code = prove(&selection, context)?;
    if code != ExitCode::Done {
        report::note(
            "the servers stay up: `infra lab ssh` looks at them, `infra lab down` ends them",
        );
        return Ok(code);
    }
    if !args.keep {
        lab.down(&names, Keep::Images, &report::note)?;
    }
    report::note("tested: applied to empty servers, and nothing is left to do");
    Ok(ExitCode::Done)
}

/// The test is about servers on which nothing was done yet.
fn refuse_used(lab: &Lab, names: &[String]) -> Result<()> {
    let used = lab.status()?.into_iter().find(|server| names.contains(&server.name));
    used.map_or(Ok(()), |server| {
        Err(Error::input(format!("`{}` is in the lab already", server.name))
            .because("the test begins with an empty server")
            .hint(format!("run `infra lab down {}` first", server.name)))
    })
}

fn prove(selection: &Selection, context: &Context) -> anyhow::Result<ExitCode> {
    for pass in ["applying to empty servers", "applying again"] {
        report::note(pass);
        let code = apply::run(&apply::Args::unattended(selection.clone()), context)?;
        if code != ExitCode::Done {
            return Ok(code);
        }
        let code = diff::run(&diff::Args::complete(selection.clone()), context)?;
        if code == ExitCode::Pending {
            return Err(Error::failed("applying again would change something")
                .because("`diff` is not empty after `apply`; it is shown above")
                .into());
        }
        if code != ExitCode::Done {
            return Ok(code);
        }
    }
    Ok(ExitCode::Done)
}
