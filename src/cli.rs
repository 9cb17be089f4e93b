//! The command line: what holds for every subcommand, and how it ends.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser};

use crate::commands::Command;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::error::Error;
use crate::exit_code::ExitCode;
use crate::inventory::Project;
use crate::report::{self, ColorChoice, Format};
use crate::secret;
use crate::secrets::{Ask, IdentitySource};
use crate::usage;

/// Makes Debian servers match a declarative inventory, over SSH.
#[derive(Debug, Parser)]
#[command(name = "infra", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options that every subcommand takes, before or after its name.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct GlobalArgs {
    /// The folder that holds `inventory/` [default: the nearest one above this folder].
    #[arg(long, global = true, value_name = "FOLDER", env = "INFRA_PROJECT")]
    project: Option<PathBuf>,
    /// The identity that opens secrets [default: `~/.config/infra/identity.txt`,
    /// `~/.ssh/id_ed25519` and `~/.ssh/id_rsa`]. `INFRA_IDENTITY` may hold the identity itself.
    #[arg(long, global = true, value_name = "FILE", env = "INFRA_IDENTITY_FILE")]
    identity: Option<PathBuf>,
    /// How results are written: text for people, one JSON object a line, or (`diff`, `status`) a
    /// comment for a merge request.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human")]
    output: Format,
    /// Show more: resources that are as they should be, and what ssh is asked; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// When to use color; `auto` means on a terminal where `NO_COLOR` is not set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// What a subcommand gets beside its own arguments.
#[derive(Clone)]
pub struct Context {
    /// The folder named by `--project`; `None` means to search upwards from the current one.
    pub project: Option<PathBuf>,
    /// Where the identity that opens secrets may be.
    pub identity: IdentitySource,
    /// How results are to be written.
    pub output: Format,
    /// How often `-v` was given.
    pub verbose: u8,
    /// When to use color.
    pub color: ColorChoice,
}

impl Context {
    /// The project that the command is about.
    ///
    /// # Errors
    /// If there is none.
    pub fn project(&self) -> anyhow::Result<Project> {
        let project = match &self.project {
            Some(folder) => Project::open(folder),
            None => Project::find(&std::env::current_dir()?),
        };
        Ok(project.map_err(Diagnostics::from)?)
    }

    /// Whether what is written to standard output may be colored.
    pub fn colored(&self) -> bool {
        report::terminal::colored_output(self.color)
    }
}

/// Parses `arguments` (the first is the program's name), runs the subcommand, prints the error if
/// there is one, and says how the process shall end.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return mistaken(error),
    };
    let context = Context {
        project: cli.global.project,
        identity: identity_source(cli.global.identity),
        output: cli.global.output,
        verbose: cli.global.verbose,
        color: cli.global.color,
    };
    match run(&cli.command, &context) {
        Ok(code) => code,
        Err(error) => {
            report::terminal::print_error(&error, report::terminal::colored_errors(context.color));
            ExitCode::of_error(&error)
        }
    }
}

/// Prints an error that comes before any subcommand, and says how the process shall end.
pub fn refuse(error: &Error) -> ExitCode {
    let color = report::terminal::colored_errors(ColorChoice::Auto);
    report::terminal::print_error(&error.clone().into(), color);
    ExitCode::of_error(&error.clone().into())
}

/// Prints a mistake that leaves no other way on, and ends the process.
#[expect(clippy::exit, reason = "the thread that evaluates cannot be stopped otherwise")]
pub fn end(mistake: Diagnostic) {
    let color = report::terminal::colored_errors(ColorChoice::Auto);
    report::terminal::print_error(&Diagnostics::from(mistake).into(), color);
    std::process::exit(ExitCode::Input.number().into())
}

/// Runs the subcommand, if it can write what is asked for.
fn run(command: &Command, context: &Context) -> anyhow::Result<ExitCode> {
    if context.output == Format::Markdown && !command.has_markdown() {
        let error = Error::input("only `infra diff` and `infra status` write markdown");
        return Err(error.hint("`--output json` is for programs").into());
    }
    command.run(context)
}

/// Where identities may be, the environment included.
fn identity_source(file: Option<PathBuf>) -> IdentitySource {
    let home = std::env::home_dir().unwrap_or_default();
    let ask: Ask = Arc::new(|question| {
        report::terminal::can_ask_passphrase()
            .then(|| rpassword::prompt_password(format!("{question}: ")).ok())?
    });
    IdentitySource {
        file,
        text: secret::identity(),
        usual: [".config/infra/identity.txt", ".ssh/id_ed25519", ".ssh/id_rsa"]
            .map(|file| home.join(file))
            .to_vec(),
        ask: Some(ask),
        ..IdentitySource::default()
    }
}

/// Prints help, the version or a mistake in the arguments. clap's own exit code for mistakes is
/// 2, which means "changes pending" here.
fn mistaken(error: clap::Error) -> ExitCode {
    if let Some(error) = usage::of_another_tool(&error) {
        return refuse(&error);
    }
    let error = usage::without_environment(error, &Cli::command());
    // Nobody is left to tell when the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { ExitCode::Input } else { ExitCode::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_argument_is_wrong_input() {
        assert_eq!(main(["infra", "--outptu"].map(OsString::from)), ExitCode::Input);
    }
}
