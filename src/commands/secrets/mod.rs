//! `infra secrets`: the encrypted files of the project.

mod edit;
mod editor;
mod git;
mod import;
mod keygen;
mod list;
mod recipients;
mod rekey;
mod rm;
mod set;
mod show;
mod watch;

use clap::Subcommand;

use crate::cli::Context;
use crate::diagnostic::nearest;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::inventory::Inventory;
use crate::report;
use crate::secrets::{Folder, PLANS_FILE, Recovered, memory};

/// The arguments of `infra secrets`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is done with secrets.
#[derive(Debug, Subcommand)]
enum Command {
    /// Edit a file in an editor
    Edit(edit::Args),
    /// Teach git to show and to merge secrets in this clone
    GitSetup(git::SetupArgs),
    /// Take secrets over from ansible-vault or SOPS
    Import(import::Args),
    /// Make an identity that opens secrets
    Keygen(keygen::Args),
    /// List the names of secrets, without their values
    List(list::Args),
    /// Merge two versions of a file for git
    #[command(hide = true)]
    Merge(git::MergeArgs),
    /// Show who may read which file
    Recipients(recipients::Args),
    /// Encrypt files to those who may read them now
    Rekey(rekey::Args),
    /// Remove a secret
    Rm(rm::Args),
    /// Set a secret to a value from standard input or a prompt
    Set(set::Args),
    /// Print a file, or one secret of it
    Show(show::Args),
    /// Print a file in the clear for git
    #[command(hide = true)]
    Textconv(git::TextconvArgs),
    /// Wipe a folder when standard input ends
    #[command(hide = true)]
    Watch(watch::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// What the user is to be told.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    if !matches!(args.command, Command::Watch(_)) {
        memory::remove_stale();
    }
    match &args.command {
        Command::Edit(args) => edit::run(args, context),
        Command::GitSetup(args) => git::setup(args, context),
        Command::Import(args) => import::run(args, context),
        Command::Keygen(args) => keygen::run(args, context),
        Command::List(args) => list::run(args, context),
        Command::Merge(args) => git::merge(args, context),
        Command::Recipients(args) => recipients::run(args, context),
        Command::Rekey(args) => rekey::run(args, context),
        Command::Rm(args) => rm::run(args, context),
        Command::Set(args) => set::run(args, context),
        Command::Show(args) => show::run(args, context),
        Command::Textconv(args) => git::textconv(args, context),
        Command::Watch(args) => watch::run(args),
    }
}

/// Says what a process that was killed had left to do.
fn say_recovered(recovered: &Recovered) {
    let Recovered { completed, changed_since } = recovered;
    if !completed.is_empty() {
        let files = completed.join(", ");
        report::note(&format!("completed a replacement that was cut: {files}"));
    }
    if !changed_since.is_empty() {
        let files = changed_since.join(", ");
        report::note(&format!("changed since a replacement was cut, and left alone: {files}"));
    }
}

/// The folder `secrets/` of the project that the command is about. What a process that was
/// killed has left half-done there is completed first.
fn folder(context: &Context) -> anyhow::Result<Folder> {
    let folder = Folder::new(&context.project()?.root, &context.identity);
    if folder.is_cut() {
        say_recovered(&folder.lock()?.recovered);
    }
    Ok(folder)
}

/// That there is no file `name`, and which there are.
fn missing(folder: &Folder, name: &str) -> anyhow::Result<Error> {
    let names = folder.names()?;
    let error = Error::input(format!("there is no `{}`", Folder::shown(name)));
    let nearest = nearest(name, names.iter().map(String::as_str));
    Ok(match nearest {
        Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
        None if names.is_empty() => error.hint("begin with `infra secrets edit`"),
        None => error.hint(format!("there are: {}", names.join(", "))),
    })
}

/// Refuses the name of a new file that no server would ever open.
fn check_known(context: &Context, folder: &Folder, name: &str) -> anyhow::Result<()> {
    if folder.file(name).exists() || ["all", "lab", PLANS_FILE].contains(&name) {
        return Ok(());
    }
    // What is wrong with the inventory is no matter of the secrets.
    let Ok(inventory) = Inventory::load(&context.project()?, false, &[]) else { return Ok(()) };
    let names = inventory.servers.keys().chain(inventory.groups.keys());
    let names: Vec<&str> = names.map(String::as_str).chain(["all", "lab"]).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let error = Error::input(format!("`{name}` is no server and no group"));
    Err(match nearest(name, names.iter().copied()) {
        Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
        None => error.hint("write `all`, the name of a group or the name of a server"),
    }
    .into())
}

/// Tells who reads a file that was just made, or who has to wait for `rekey` before they read a
/// file that was written again.
fn note_readers(folder: &Folder, name: &str, is_new: bool) -> Result<(), Error> {
    let path = Folder::shown(name);
    if is_new {
        report::note(&format!("`{path}` is new, and read by {}", folder.readers(name)?.join(", ")));
        return Ok(());
    }
    let waiting = folder.waiting_readers(name)?;
    if !waiting.is_empty() {
        let names = waiting.join(", ");
        let rekey = "`infra secrets rekey` lets them";
        report::note(&format!("{names} cannot read `{path}` yet: {rekey}"));
    }
    Ok(())
}

/// Refuses a name that leads out of the folder, or that age would not be asked for.
fn check_name(name: &str) -> Result<(), Error> {
    let is_name = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(is_name) {
        return Ok(());
    }
    let error = Error::input(format!("`{name}` cannot be the name of a file of secrets"));
    Err(error.hint("write `all`, the name of a group or the name of a server"))
}
