//! `infra secrets set`: changes one secret, or writes a file anew.

use std::io::{IsTerminal as _, Read as _};

use zeroize::Zeroizing;

use crate::cli::Context;
use crate::error::{Context as _, Error, Result};
use crate::exit_code::ExitCode;
use crate::report;
use crate::secrets::{Folder, Replaced, change, document};

/// Sets a secret. The value is read from standard input, or asked for without being shown; it
/// cannot be an argument, which every user of the machine could see.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The dotted name of the secret, such as `smtp.password`.
    #[arg(value_name = "KEY", required_unless_present = "whole_file")]
    key: Option<String>,
    /// The file: `all`, a group or a server.
    #[arg(long = "in", value_name = "NAME", default_value = "all", conflicts_with = "whole_file")]
    name: String,
    /// Replace a file by the YAML on standard input. The old one is not read, so that no identity
    /// is needed.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    whole_file: Option<String>,
    /// Also where the name is a map or a list, which then goes with all that is in it.
    #[arg(long, conflicts_with = "whole_file")]
    replace: bool,
}

/// A file that is changed by others this often in a row is not a matter of chance any more.
const ATTEMPTS: usize = 10;

/// Reads the value, and puts it into the file.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let folder = super::folder(context)?;
    if let Some(name) = &args.whole_file {
        super::check_name(name)?;
        let text = input("YAML")?;
        document::check(name, &text)?;
        update(&folder, name, false, |_| Ok(text.clone()))?;
        report::note(&format!("wrote `{}`", Folder::shown(name)));
    }
    if let Some(key) = &args.key {
        super::check_name(&args.name)?;
        super::check_known(context, &folder, &args.name)?;
        // A file that cannot be opened is found before somebody types a value.
        let before = folder.open(&args.name)?;
        let text = before.as_ref().map_or("", |opened| opened.text.as_str());
        let set = |text: &str, value: &str| {
            refuse_several(args, text, key)?;
            change::set(&args.name, text, key, value)
        };
        set(text, "")?;
        let value = value(context, key)?;
        update(&folder, &args.name, true, |text| set(text, &value))?;
        report::note(&format!("set `{key}` in `{}`", Folder::shown(&args.name)));
    }
    Ok(ExitCode::Done)
}

/// Refuses to put one value in place of several.
fn refuse_several(args: &Args, text: &str, key: &str) -> Result<()> {
    match document::several(&args.name, text, key)? {
        Some(kind) if !args.replace => {
            let path = Folder::shown(&args.name);
            Err(Error::input(format!("`{key}` in `{path}` is {kind}"))
                .hint("name one value in it, or replace all of it with `--replace`"))
        }
        _ => Ok(()),
    }
}

/// Changes what is in a file; again, if somebody else was faster.
pub(super) fn update(
    folder: &Folder,
    name: &str,
    is_read: bool,
    change: impl Fn(&str) -> Result<Zeroizing<String>>,
) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let bytes = folder.bytes(name)?;
        let text = match &bytes {
            Some(bytes) if is_read => folder.decrypt(name, bytes)?,
            _ => Zeroizing::default(),
        };
        let changed = change(&text)?;
        if is_read && bytes.is_some() && changed == text {
            return Ok(());
        }
        if folder.replace(name, bytes.as_deref(), &changed)? == Replaced::Done {
            return super::note_readers(folder, name, bytes.is_none());
        }
    }
    let error = Error::failed(format!("cannot write `{}`", Folder::shown(name)));
    Err(error.because("others change it all the time").hint("try again"))
}

/// One value: asked for at a terminal, else all of standard input. The line end behind a value of
/// one line does not belong to it; a value of several lines, such as a private key, is kept to the
/// byte.
fn value(context: &Context, key: &str) -> Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        let ask = context.identity.ask.as_ref();
        let ask = |question: &str| ask.and_then(|ask| ask(question)).map(Zeroizing::new);
        let no = || Error::input("no value was typed");
        let value = ask(&format!("Value of `{key}`")).ok_or_else(no)?;
        let again = ask(&format!("Value of `{key}` again")).ok_or_else(no)?;
        if value != again {
            return Err(Error::input("the two values differ").hint("nothing was changed"));
        }
        return Ok(value);
    }
    let text = input("value")?;
    let line = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n'));
    match line.filter(|line| !line.contains('\n')) {
        Some("") => Err(nothing("value")),
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Ok(text),
    }
}

fn input(what: &str) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().read_to_string(&mut text);
    read.context(|| format!("cannot read the {what} from standard input"))?;
    if text.is_empty() { Err(nothing(what)) } else { Ok(text) }
}

fn nothing(what: &str) -> Error {
    let error = Error::input(format!("there is no {what} on standard input"));
    error.hint("pipe it in, for example from a password manager")
}
