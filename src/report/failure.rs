//! An error of a server as lines: everything that is said of an error in any text for people.

use super::human::Style;
use super::terminal::say;
use crate::error::Error;
use crate::shown;

/// The lines below the message of an error.
pub(super) fn reasons(error: &Error) -> Vec<String> {
    let causes = error.causes.iter().map(|cause| format!("caused by: {}", shown::lines(cause)));
    let causes = causes.collect::<Vec<_>>().join("\n");
    let mut lines = shown::shortened(causes.lines().map(str::to_owned).collect());
    lines.extend(error.hint.iter().map(|hint| format!("hint: {}", shown::line(hint))));
    lines
}

/// Prints why `server` did not answer.
pub fn print_failure(server: &str, error: &Error, colored: bool) {
    say(text(server, error, colored).trim_end());
}

fn text(server: &str, error: &Error, colored: bool) -> String {
    let style = Style { colored, verbose: false, width: server.len() };
    style.failure(server, None, None, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_server_and_says_so_much() {
        let lines =
            |count| (0..count).map(|line: u8| line.to_string()).collect::<Vec<_>>().join("\n");
        let error = Error::failed("no\nhint: x").because(lines(60)).because(lines(60)).hint("do");
        let text = text("rufus", &error, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..5], ["", "error: no\\nhint: x", " --> rufus", "caused by: 0", "  1"]);
        assert_eq!(lines[102..], ["  39", "… 20 more lines", "hint: do"]);
    }
}
