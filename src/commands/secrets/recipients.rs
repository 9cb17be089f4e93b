//! `infra secrets recipients`: who may read which file, and who can.

use std::fmt::Write as _;

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secrets::recipients::Recipients;
use crate::secrets::{FileReaders, Folder, survey};

/// The arguments of `infra secrets recipients`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Lists every file with its readers.
pub(super) fn run(_args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = super::folder(context)?;
    let recipients = Recipients::load(&folder.path)?;
    let files = survey(&folder, &recipients)?;
    let text = match context.output {
        Format::Human | Format::Markdown => human(&recipients, &files),
        Format::Json => files.iter().map(json).collect(),
    };
    report::print(&text)?;
    Ok(ExitCode::Done)
}

fn human(recipients: &Recipients, files: &[FileReaders]) -> String {
    let mut text = String::new();
    for recipient in &recipients.readers {
        // Writing to a text cannot fail.
        let _ =
            writeln!(text, "{}  {}  {}", recipient.name, recipient.key.kind, recipient.key.text);
    }
    for file in files {
        let wanted =
            if file.wanted.is_empty() { "nobody".to_owned() } else { file.wanted.join(", ") };
        let _ = writeln!(text, "{}  {wanted}", Folder::shown(&file.file));
        if let Some(difference) = &file.difference {
            let _ = writeln!(text, "  {difference}: run `infra secrets rekey`");
        }
    }
    text
}

fn json(file: &FileReaders) -> String {
    let object = serde_json::json!({
        "file": Folder::shown(&file.file),
        "readers": file.wanted,
        "encrypted_to": file.found,
        "difference": file.difference,
    });
    report::json_line(&object)
}
