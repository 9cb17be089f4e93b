//! `infra secrets rekey`: files are encrypted to those who may read them now.

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secrets::recipients::Recipients;
use crate::secrets::{FileReaders, Folder, rekey, survey};

/// The arguments of `infra secrets rekey`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files, such as `all` [default: those whose readers differ from `recipients.yaml`].
    #[arg(value_name = "NAME", conflicts_with = "all")]
    names: Vec<String>,
    /// Every file, also those whose readers are right.
    #[arg(long)]
    all: bool,
    /// Also where your identity cannot open the result any more.
    #[arg(long)]
    give_up_access: bool,
}

/// Encrypts all of them anew, or none.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = super::folder(context)?;
    let recipients = Recipients::load(&folder.path)?;
    let lock = folder.lock()?;
    let known = survey(&folder, &recipients)?;
    for name in &args.names {
        if !known.iter().any(|file| file.file == *name) {
            return Err(super::missing(&folder, name)?.into());
        }
    }
    let is_due = |file: &str, differs: bool| {
        args.all || args.names.iter().any(|name| name == file) || (args.names.is_empty() && differs)
    };
    let is_due = |file: &FileReaders| is_due(&file.file, file.difference.is_some());
    let files: Vec<FileReaders> = known.into_iter().filter(is_due).collect();
    let due: Vec<String> = files.iter().map(|file| file.file.clone()).collect();
    if !due.is_empty() {
        rekey(&folder, &lock, &due, args.give_up_access)?;
    }
    let line = |file: &FileReaders| {
        let path = Folder::shown(&file.file);
        match context.output {
            Format::Human | Format::Markdown => {
                format!("{path}  encrypted to {}\n", file.wanted.join(", "))
            }
            Format::Json => {
                report::json_line(&serde_json::json!({ "file": path, "readers": file.wanted }))
            }
        }
    };
    let text: String = files.iter().map(line).collect();
    if due.is_empty() && matches!(context.output, Format::Human) {
        report::print("every file is encrypted to its readers\n")?;
    }
    report::print(&text)?;
    Ok(ExitCode::Done)
}
