//! The outside world of the lab, for a project that declares it: brought up with the servers, kept as
//! the inventory says, and saved for the next time.

use super::{Context, LabFolder, wanted};
use crate::commands::apply;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::inventory::{INTERNET, Inventory};
use crate::lab::{Lab, Wanted};
use crate::report;
use crate::session::Selection;
use crate::wire::RunOptions;

/// The server of this project that plays the outside world; `None` where there is no project, or
/// the project declares none.
pub(super) fn of_project(context: &Context) -> anyhow::Result<Option<Wanted>> {
    // A project that cannot be read is told by whoever needs it.
    let Ok(project) = context.project() else { return Ok(None) };
    let Ok(inventory) = Inventory::load(&project, true, &[]) else { return Ok(None) };
    if !inventory.servers.contains_key(INTERNET) {
        return Ok(None);
    }
    Ok(wanted(&[INTERNET.to_owned()], None, context)?.pop())
}

/// Brings the server up: a copy of the saved one, or an empty one.
pub(super) fn start(lab: &Lab, internet: &Wanted) -> anyhow::Result<()> {
    let is_there = lab.status()?.iter().any(|server| server.name == INTERNET);
    if !is_there && is_saved(lab)? {
        lab.up_from(INTERNET, &[INTERNET.to_owned()], &report::note)?;
    } else {
        lab.up(std::slice::from_ref(internet), &report::note)?;
    }
    Ok(())
}

fn is_saved(lab: &Lab) -> anyhow::Result<bool> {
    Ok(lab.saves()?.iter().any(|save| save.save == INTERNET && save.usable))
}

/// Lets the server know of all others that are up, and lets these ask it for names.
pub(super) fn connect(folder: &LabFolder, lab: &Lab, context: &Context) -> anyhow::Result<()> {
    let selection = Selection::in_lab(folder.clone(), vec![INTERNET.to_owned()]);
    if differs(&selection, context)? {
        report::note(&format!("{INTERNET}: applying its roles"));
        let code = apply::run(&apply::Args::unattended(selection), context)?;
        if code != ExitCode::Done {
            return Err(Error::failed(format!("`{INTERNET}` is not as its roles say"))
                .because("the apply above failed")
                .hint("`--no-internet` brings servers up without it")
                .into());
        }
    }
    if !is_saved(lab)? {
        // One whose image is gone cannot be brought up any more.
        if lab.saves()?.iter().any(|save| save.save == INTERNET) {
            lab.forget(&[INTERNET.to_owned()], &report::note)?;
        }
        lab.save(INTERNET, &[INTERNET.to_owned()], &report::note)?;
    }
    lab.join(&report::note)?;
    Ok(())
}

/// Whether an apply would change the server. Nothing is reported.
fn differs(selection: &Selection, context: &Context) -> anyhow::Result<bool> {
    let mut session = selection.open(context, RunOptions::default(), false)?;
    let health = session.health()?;
    Ok(health.exit_code() != ExitCode::Done)
}
