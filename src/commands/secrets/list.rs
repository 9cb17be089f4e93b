//! `infra secrets list`: names, never values.

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secrets::document;
use crate::shown;

/// The arguments of `infra secrets list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files, such as `all` [default: all files that the identity opens].
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Prints one name a line, after its file.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = super::folder(context)?;
    let all = args.names.is_empty();
    let names = if all { folder.names()? } else { args.names.clone() };
    let (mut text, mut files) = (String::new(), serde_json::Map::new());
    for name in names {
        let opened = match folder.open(&name) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(super::missing(&folder, &name)?.into()),
            Err(error) if all => {
                report::note(&format!("left out: {error}"));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let keys = document::keys(&name, &opened.text)?;
        for key in &keys {
            text.push_str(&row(&name, key));
        }
        files.insert(name, keys.into());
    }
    report::print(&match context.output {
        Format::Human | Format::Markdown => text,
        Format::Json => report::json_line(&serde_json::Value::Object(files)),
    })?;
    Ok(ExitCode::Done)
}

/// The line of one secret. Somebody else than the reader may have written the file.
fn row(name: &str, key: &str) -> String {
    shown::line(&format!("{name}  {key}")) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_drives_no_terminal() {
        assert_eq!(row("all", "smtp.password"), "all  smtp.password\n");
        assert_eq!(row("all", "e\u{1b}[31mred\nx"), "all  e\\u{1b}[31mred\\nx\n");
    }
}
