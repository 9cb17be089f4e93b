//! `infra lab`.

mod internet;
mod mail;
mod test;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use crate::cli::Context;
use crate::compile::Compiler;
use crate::error::{Context as _, Error};
use crate::exit_code::ExitCode;
use crate::inventory::{ALL, INTERNET, Inventory};
use crate::lab::{self, Keep, Lab, Release, SaveStatus, Wanted};
use crate::manifest::Resource;
use crate::report::{self, Format};
use crate::resources::Spec;
use crate::secrets::Store;

/// The arguments of `infra lab`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    folder: LabFolder,
    #[command(subcommand)]
    command: Command,
}

/// Where the lab is.
#[derive(Clone, Debug, clap::Args)]
pub struct LabFolder {
    /// The folder that holds everything of the lab.
    #[arg(
        long = "lab-dir",
        global = true,
        value_name = "FOLDER",
        env = "INFRA_LAB_DIR",
        default_value = lab::DEFAULT_FOLDER
    )]
    path: PathBuf,
}

impl LabFolder {
    /// The lab in this folder.
    ///
    /// # Errors
    /// When the path cannot be the folder of a lab.
    pub fn open(&self) -> crate::error::Result<Lab> {
        Lab::open(&self.path)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// End servers and remove everything they wrote
    Down(DownArgs),
    /// Remove saves
    Forget(ForgetArgs),
    /// Run a program on this machine that finds the lab's names and trusts its certificates
    Run(RunArgs),
    /// List the mail that the lab's servers have sent, or show one message
    Mail(MailArgs),
    /// Keep servers as they are now, so that copies come up within seconds
    Save(SaveArgs),
    /// Log in to a server, or run a command on it
    Ssh(SshArgs),
    /// List the servers that are up, and the saves
    Status,
    /// Apply the inventory to empty servers, and prove that nothing is left to do
    Test(test::Args),
    /// Start servers
    Up(UpArgs),
}

#[derive(Debug, clap::Args)]
struct UpArgs {
    /// Servers, groups or patterns of the inventory, or other names for empty servers [default:
    /// all of the inventory].
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// What they run [default: what the inventory expects, or debian-12].
    #[arg(long, value_name = "RELEASE")]
    os: Option<Release>,
    /// Copies of the servers in this save, instead of new servers. SERVER is the name of a server
    /// in it, or any name where it holds one server [default: all of the save].
    #[arg(long, value_name = "NAME", conflicts_with = "os")]
    from: Option<String>,
    /// Install the Debian packages that this machine lacks to run the lab.
    #[arg(long)]
    install: bool,
    /// Leave the outside world of the lab as it is, up or not.
    #[arg(long)]
    no_internet: bool,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct MailArgs {
    /// The number of a message in the list [default: the list].
    number: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct DownArgs {
    /// The servers' names [default: all that are up].
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Remove the images, saves and fetched packages as well, so that nothing is left.
    #[arg(long, conflicts_with = "servers")]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct SaveArgs {
    /// A name for the save.
    name: String,
    /// The servers' names [default: all that are in the lab].
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct ForgetArgs {
    /// The names of the saves.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct SshArgs {
    /// The server's name.
    server: String,
    /// What to run there [default: a login shell].
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs the subcommand.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    let lab = folder.open()?;
    match &args.command {
        Command::Down(args) => {
            let keep = if args.all { Keep::Nothing } else { Keep::Images };
            lab.down(&args.servers, keep, &report::note)?;
        }
        Command::Forget(args) => lab.forget(&args.names, &report::note)?,
        Command::Save(args) => lab.save(&args.name, &args.servers, &report::note)?,
        Command::Ssh(args) => return Err(ssh(&lab, args)?.into()),
        Command::Status => status(&lab, context.output)?,
        Command::Test(command) => return test::run(command, folder, &lab, context),
        Command::Mail(args) => mail::run(&lab, args.number, context.output)?,
        Command::Run(args) => return Err(run_inside(&lab, args)?.into()),
        Command::Up(args) => up(folder, &lab, args, context)?,
    }
    Ok(ExitCode::Done)
}

fn up(folder: &LabFolder, lab: &Lab, args: &UpArgs, context: &Context) -> anyhow::Result<()> {
    let wanted = match args.from {
        None => wanted(&args.servers, args.os, context)?,
        Some(_) => Vec::new(),
    };
    if args.install {
        Lab::install_requirements(&report::note)?;
    }
    let internet = if args.no_internet { None } else { internet::of_project(context)? };
    if let Some(internet) = &internet
        && !brings_internet(lab, args)?
    {
        internet::start(lab, internet)?;
    }
    match &args.from {
        None => lab.up(&wanted, &report::note)?,
        Some(save) => lab.up_from(save, &args.servers, &report::note)?,
    }
    if internet.is_some() {
        internet::connect(folder, lab, context)?;
    }
    Ok(())
}

/// Whether the save that is brought up holds the outside world itself.
fn brings_internet(lab: &Lab, args: &UpArgs) -> anyhow::Result<bool> {
    let Some(from) = &args.from else { return Ok(false) };
    let is_named = args.servers.is_empty() || args.servers.iter().any(|name| name == INTERNET);
    let saves = lab.saves()?;
    let mut held = saves.iter().filter(|save| save.save == *from).flat_map(|save| &save.servers);
    Ok(is_named && held.any(|name| name == INTERNET))
}

/// The servers that `names` stand for, running what the inventory expects of the real ones. A name
/// that the inventory does not have is a server to try something on.
fn wanted(
    names: &[String],
    release: Option<Release>,
    context: &Context,
) -> anyhow::Result<Vec<Wanted>> {
    let project = match context.project() {
        Ok(project) => project,
        // Without a project there are only servers to try something on.
        Err(_) if !names.is_empty() && context.project.is_none() => {
            return Ok(names.iter().map(|name| Wanted::empty(name, release)).collect());
        }
        Err(error) => return Err(error),
    };
    let inventory = Inventory::load(&project, true, &[])?;
    let store = Store::open(&project.root, true, &context.identity);
    let compiler = Compiler::new(&project, &inventory, &store);
    let all = [ALL.to_owned()];
    let mut wanted = Vec::new();
    for name in if names.is_empty() { &all } else { names } {
        let servers = inventory.select(std::slice::from_ref(name)).unwrap_or_default();
        if servers.is_empty() {
            report::note(&format!("`{name}` is not in the inventory: an empty server"));
            wanted.push(Wanted::empty(name, release));
        }
        for name in servers {
            let os = inventory.servers.get(&name).and_then(|server| server.expect.os.as_deref());
            // The servers are tried on another release, not the world around them.
            let release = match (release.filter(|_| name != INTERNET), os) {
                (None, Some(os)) => Some(Release::named(os)?),
                (release, _) => release,
            };
            let volumes = volumes(&compiler, &name, release);
            wanted.push(Wanted { name, release, volumes });
        }
    }
    Ok(wanted)
}

/// The block devices that the resources of a server need. What does not compile is told by the
/// command that applies it.
fn volumes(compiler: &Compiler<'_>, name: &str, release: Option<Release>) -> Vec<String> {
    let manifest = compiler.compile(name, Some(release.unwrap_or_default().name()));
    let resources = manifest.map(|manifest| manifest.resources).unwrap_or_default();
    let device = |resource: &Resource| match &resource.spec {
        Spec::Volume(volume) => Some(volume.device.to_string()),
        _ => None,
    };
    resources.iter().filter_map(device).collect()
}

fn status(lab: &Lab, format: Format) -> anyhow::Result<()> {
    let mut text = String::new();
    for server in lab.status()? {
        match format {
            Format::Json => text.push_str(&report::json_text(&serde_json::to_string(&server)?)),
            Format::Human | Format::Markdown => {
                let state = if server.pid.is_some() { "up" } else { "ended" };
                let (name, os, address) = (server.name, server.os, server.address);
                write!(text, "{name:<20} {os:<10} {address:<15} {state}")?;
            }
        }
        text.push('\n');
    }
    for save in lab.saves()? {
        match format {
            Format::Json => text.push_str(&report::json_text(&serde_json::to_string(&save)?)),
            Format::Human | Format::Markdown => text.push_str(&save_line(&save)),
        }
        text.push('\n');
    }
    Ok(report::print(&text)?)
}

/// A save as a line, in the columns of the servers.
fn save_line(save: &SaveStatus) -> String {
    let os: Vec<&str> = save.os.iter().map(|os| os.name()).collect();
    let (name, os, servers) = (&save.save, os.join(", "), save.servers.join(", "));
    let state = if save.usable { "" } else { " (the image is gone)" };
    format!("{name:<20} {:<10} {os:<15} {servers}{state}", "save")
}

/// Becomes `ssh`; what it returns is why that did not work.
fn ssh(lab: &Lab, args: &SshArgs) -> crate::error::Result<Error> {
    // Says with a hint that the server is not up, instead of a timeout of ssh.
    lab.connection(&args.server)?;
    let error = std::process::Command::new("ssh")
        .env_remove(crate::secret::IDENTITY_VARIABLE)
        .arg("-F")
        .arg(lab.ssh_config())
        .arg(&args.server)
        .args(&args.command)
        .exec();
    Err(error).context(|| "cannot run `ssh`".into())
}

/// Becomes the program, in a view of this machine that finds the lab's names; what it returns is
/// why that did not work.
fn run_inside(lab: &Lab, args: &RunArgs) -> crate::error::Result<Error> {
    let words = lab.inside()?;
    let (program, arguments) =
        words.split_first().ok_or_else(|| Error::failed("no program to run"))?;
    let error = std::process::Command::new(program)
        .env_remove(crate::secret::IDENTITY_VARIABLE)
        .args(arguments)
        .args(&args.command)
        .exec();
    Err(error).context(|| format!("cannot run `{program}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_a_line_of_the_status() {
        let mut save = SaveStatus {
            save: "base".to_owned(),
            servers: vec!["mikado".to_owned(), "rufus".to_owned()],
            os: vec![Release::Debian12],
            usable: true,
        };
        let line = "base                 save       debian-12       mikado, rufus";
        assert_eq!(save_line(&save), line);
        save.usable = false;
        assert_eq!(save_line(&save), format!("{line} (the image is gone)"));
    }
}
