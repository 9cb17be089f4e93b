//! The way to standard output and standard error.

use std::io::{self, BufRead as _, IsTerminal, Write};
use std::os::fd::AsFd as _;

use clap::ValueEnum;

use crate::diagnostic::Diagnostics;

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
    // There is nowhere to report that standard error cannot be written.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person can be asked: both what is asked and what is typed go through a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether a passphrase can be asked for: it is typed at the process's terminal, whatever is piped
/// into standard input.
pub fn can_ask_passphrase() -> bool {
    io::stderr().is_terminal() && std::fs::File::open("/dev/tty").is_ok()
}

/// Asks the person at the terminal; only `yes` means yes.
pub fn ask(question: &str) -> io::Result<bool> {
    write!(io::stderr().lock(), "{question} Only `yes` is accepted: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Asks the person at the terminal for a line.
pub fn line(question: &str) -> io::Result<String> {
    write!(io::stderr().lock(), "{question}")?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// Prints why the run ends.
pub fn print_error(error: &anyhow::Error, colored: bool) {
    if let Some(mistakes) = error.downcast_ref::<Diagnostics>() {
        note(&mistakes.render(colored));
        return;
    }
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        text.push_str("\ncaused by: ");
        text.push_str(&cause.to_string());
    }
    let text = escape(&text);
    let head = if colored { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    note(&format!("{head} {text}"));
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

/// `text` from a server without anything that a terminal would obey: control characters are
/// shown as escapes, except line feeds and tabs.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => escaped.push(character),
            _ if character.is_control() || is_directional(character) => {
                escaped.extend(character.escape_default());
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Whether a character changes the direction of the text around it, so that a line shows
/// something else than it says.
fn is_directional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_servers_cannot_drive_the_terminal() {
        assert_eq!(escape("a\x1b[2Jb\r\u{9b}c\n\td"), "a\\u{1b}[2Jb\\r\\u{9b}c\n\td");
        assert_eq!(escape("x\u{202e}y é"), "x\\u{202e}y é");
    }

    #[test]
    fn color_can_be_forced_and_forbidden() {
        let file = tempfile::tempfile().unwrap();
        assert!(colored(ColorChoice::Always, &file));
        assert!(!colored(ColorChoice::Auto, &file));
        assert!(!colored(ColorChoice::Never, &file));
    }
}
