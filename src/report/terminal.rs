//! The way to standard output and standard error.

use std::io::{self, BufRead as _, IsTerminal, Write};
use std::os::fd::AsFd as _;

use clap::ValueEnum;

use super::failure;
use crate::diagnostic::Diagnostics;
use crate::error::Error;
use crate::shown;

/// The forms in which results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    Human,
    /// One JSON object a line.
    Json,
    /// A summary for a comment on a merge request; only `diff` and `status` have one.
    Markdown,
}

/// When color is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Even into a pipe or file.
    Always,
    /// Not at all.
    Never,
}

/// Writes a subcommand's own data to standard output, as it is. A reader that has seen enough
/// (`| head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Standard output without a buffer, for bytes that somebody waits for.
pub fn raw_output() -> io::Result<std::fs::File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Writes a line beside the data to standard error: what is being done, warnings.
pub fn note(text: &str) {
    say(&shown::composed(text, false));
}

/// Writes mistakes in what the user wrote to standard error.
pub fn print_mistakes(mistakes: &Diagnostics, colored: bool) {
    say(&mistakes.render(colored));
}

pub(super) fn say(text: &str) {
    // There is nowhere to report that standard error cannot be written.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person can be asked: both what is asked and what is typed go through a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether standard input and standard output are terminals, as programs for terminals need them.
pub fn streams() -> (bool, bool) {
    (io::stdin().is_terminal(), io::stdout().is_terminal())
}

/// Whether a passphrase can be asked for: it is typed at the process's terminal, whatever is piped
/// into standard input.
pub fn can_ask_passphrase() -> bool {
    io::stderr().is_terminal() && std::fs::File::open("/dev/tty").is_ok()
}

/// Asks the person at the terminal; only `yes` means yes.
pub fn ask(question: &str) -> io::Result<bool> {
    let question = shown::composed(question, false);
    write!(io::stderr().lock(), "{question} Only `yes` is accepted: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Asks the person at the terminal for a line.
pub fn line(question: &str) -> io::Result<String> {
    write!(io::stderr().lock(), "{}", shown::composed(question, false))?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// Prints why the run ends.
pub fn print_error(error: &anyhow::Error, colored: bool) {
    match error.downcast_ref::<Diagnostics>() {
        Some(mistakes) => print_mistakes(mistakes, colored),
        None => say(&error_text(error, colored)),
    }
}

fn error_text(error: &anyhow::Error, colored: bool) -> String {
    let own = error.downcast_ref::<Error>().filter(|_| error.source().is_none());
    let (message, below) = if let Some(own) = own {
        (shown::line(&own.message), failure::reasons(own))
    } else {
        let causes = error.chain().skip(1);
        let causes = causes.map(|cause| format!("caused by: {}", shown::lines(&cause.to_string())));
        (shown::lines(&error.to_string()), causes.collect())
    };
    let head = if colored { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    let head = format!("{head} {message}");
    std::iter::once(head).chain(below).collect::<Vec<_>>().join("\n")
}

/// Whether to use color on standard output.
pub fn colored_output(choice: ColorChoice) -> bool {
    colored(choice, &io::stdout())
}

/// Whether to use color on standard error.
pub fn colored_errors(choice: ColorChoice) -> bool {
    colored(choice, &io::stderr())
}

fn colored(choice: ColorChoice, stream: &impl IsTerminal) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && stream.is_terminal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_drives_no_terminal_and_forges_no_line() {
        let text = "a\x1b[2J\nhint: b";
        let (line, shown) = ("a\\u{1b}[2J\\nhint: b", "a\\u{1b}[2J\n  hint: b");
        let error = Error::failed(text).because(text).hint(text);
        assert_eq!(
            error_text(&error.into(), false),
            format!("error: {line}\ncaused by: {shown}\nhint: {line}")
        );
        let error = anyhow::anyhow!(text).context(text);
        assert_eq!(error_text(&error, false), format!("error: {shown}\ncaused by: {shown}"));
        let error = anyhow::Error::from(Error::failed("a")).context("b");
        assert_eq!(error_text(&error, false), "error: b\ncaused by: a");
    }

    #[test]
    fn color_can_be_forced_and_forbidden() {
        let file = tempfile::tempfile().unwrap();
        assert!(colored(ColorChoice::Always, &file));
        assert!(!colored(ColorChoice::Auto, &file));
        assert!(!colored(ColorChoice::Never, &file));
    }
}
