//! `infra secrets`: the encrypted files of the project.

mod list;
mod show;

use clap::Subcommand;

use crate::cli::Context;
use crate::diagnostic::nearest;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::secrets::Folder;

/// The arguments of `infra secrets`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is done with secrets.
#[derive(Debug, Subcommand)]
enum Command {
    /// List the names of secrets, without their values
    List(list::Args),
    /// Print a file, or one secret of it
    Show(show::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// What the user is to be told.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list::run(args, context),
        Command::Show(args) => show::run(args, context),
    }
}

/// The folder `secrets/` of the project that the command is about.
fn folder(context: &Context) -> anyhow::Result<Folder> {
    Ok(Folder::new(&context.project()?.root, &context.identity))
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
