//! `infra ssh`: a shell on a server, with the settings of its inventory.

use std::os::unix::process::CommandExt as _;

use crate::cli::Context;
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::report::ProgressLines;
use crate::session::Targets;
use crate::transport::{Login, ssh_missing};

/// The arguments of `infra ssh`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// A command to run there instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Becomes ssh.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let (inventory, names) = args.targets.load(&context.project()?, &[])?;
    let [name] = names.as_slice() else {
        return Err(Error::input(format!("{} servers are meant", names.len()))
            .hint("name one of them")
            .into());
    };
    let settings = args.targets.settings(&inventory, name)?;
    let transport = args.targets.transport(ProgressLines::none())?;
    let mut ssh = transport.ssh(Login { server: name, settings: &settings })?;
    ssh.args(&args.command);
    // Only returns if ssh cannot be started.
    Err(ssh_missing(&ssh.exec()).into())
}
