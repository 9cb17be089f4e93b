//! The subcommands: one file each, its arguments (whose comments are the help) above one `run`.
//!
//! To add one: write its file, and add a line to each of the three lists below (all sorted).

pub mod apply;
mod ask;
pub mod check;
pub mod completions;
pub mod dial;
pub mod diff;
pub mod doc;
pub mod facts;
pub mod history;
pub mod input;
pub mod inventory;
pub mod lab;
pub mod man;
pub mod render;
pub mod rollback;
mod saved;
pub mod secrets;
pub mod ssh;
pub mod status;

use clap::Subcommand;

use crate::cli::Context;
use crate::exit_code::ExitCode;

/// What `infra` is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make servers match the inventory
    Apply(apply::Args),
    /// Compile everything, without a connection
    Check(check::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Carry bytes between ssh and a host
    #[command(hide = true)]
    Dial(dial::Args),
    /// Show what `apply` would change
    Diff(diff::Args),
    /// Explain the kinds of resources
    Doc(doc::Args),
    /// Show the facts of servers
    Facts(facts::Args),
    /// List the runs that servers remember
    History(history::Args),
    /// List servers and groups, and where their settings come from
    Inventory(inventory::Args),
    /// Start and end throw-away servers on this machine
    Lab(lab::Args),
    /// Print the manual page
    Man(man::Args),
    /// Print the manifest of a server, secrets masked
    Render(render::Args),
    /// Apply the commit before the last
    Rollback(rollback::Args),
    /// Read and change the encrypted files of the project
    Secrets(secrets::Args),
    /// Log in to a server
    Ssh(ssh::Args),
    /// Show the health of servers, one line each
    Status(status::Args),
}

impl Command {
    /// Whether `--output markdown` means something to it.
    pub fn has_markdown(&self) -> bool {
        matches!(self, Self::Diff(_) | Self::Status(_))
    }

    /// Runs the subcommand.
    ///
    /// # Errors
    /// What the user is to be told; [`ExitCode::of_error`] says how the process ends then.
    pub fn run(&self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::Apply(args) => apply::run(args, context),
            Self::Check(args) => check::run(args, context),
            Self::Completions(args) => completions::run(args, context),
            Self::Dial(args) => dial::run(args, context),
            Self::Diff(args) => diff::run(args, context),
            Self::Doc(args) => doc::run(args, context),
            Self::Facts(args) => facts::run(args, context),
            Self::History(args) => history::run(args, context),
            Self::Inventory(args) => inventory::run(args, context),
            Self::Lab(args) => lab::run(args, context),
            Self::Man(args) => man::run(args, context),
            Self::Render(args) => render::run(args, context),
            Self::Rollback(args) => rollback::run(args, context),
            Self::Secrets(args) => secrets::run(args, context),
            Self::Ssh(args) => ssh::run(args, context),
            Self::Status(args) => status::run(args, context),
        }
    }
}
