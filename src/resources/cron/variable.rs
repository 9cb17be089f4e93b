//! A variable of a file of cron, written so that cron reads the value that is meant.
//!
//! cron takes the outer quotes of a value off, drops the blanks at its end, and takes the outer
//! quotes off once more. It knows no escape. Debian 12's ignores a file with a value of nothing at
//! all.

use crate::resources::fields::is_one_line;

/// A longer line is cut by cron.
const LONGEST_LINE_BYTES: usize = 998;

/// The line that sets `name` to `value`, with its end.
///
/// # Errors
/// A lowercase phrase, where cron cannot be told that.
pub(super) fn line(name: &str, value: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("`{name}` is not a name of a variable"));
    }
    if name == "LOGNAME" {
        return Err("cron sets `LOGNAME` itself: say `user`".to_owned());
    }
    if !is_one_line(value) {
        return Err(format!("the value of `{name}` has to be one line"));
    }
    let line = format!("{name}={}", written(name, value)?);
    if line.len() > LONGEST_LINE_BYTES {
        return Err(format!(
            "cron cuts lines after {LONGEST_LINE_BYTES} bytes, and `{name}` needs {}",
            line.len()
        ));
    }
    Ok(line + "\n")
}

fn written(name: &str, value: &str) -> Result<String, String> {
    let needs_quotes = value.is_empty() || value.trim() != value || value.starts_with(['\'', '"']);
    match (needs_quotes, value.contains('"'), value.contains('\'')) {
        (false, ..) => Ok(value.to_owned()),
        (true, ..) if value.is_empty() => Ok("\"\"".to_owned()),
        // One pair is taken off before the blanks are dropped, the other one after it.
        (true, false, _) => Ok(format!("\"'{value}'\"")),
        (true, true, false) => Ok(format!("'\"{value}\"'")),
        (true, true, true) => Err(format!(
            "cron cannot be told the value of `{name}`: it has a blank or a quote at its ends, and \
             quotes of both kinds"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value without its outer quotes, as cron takes them off.
    fn unquoted(value: &str) -> &str {
        let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
        within('"').or_else(|| within('\'')).unwrap_or(value)
    }

    proptest! {
        /// cron reads the value that was meant, or infra says that nobody can tell cron.
        #[test]
        fn a_value_is_read_back(value in "[ \t'\"#=%$a-z\u{e9}]{0,12}") {
            if let Ok(line) = line("X", &value) {
                let written = line.strip_prefix("X=").and_then(|rest| rest.strip_suffix('\n')).unwrap();
                prop_assert!(!written.is_empty(), "Debian 12 passes over a file with this line");
                let read = unquoted(written.trim_start());
                prop_assert_eq!(unquoted(read.trim_end()), value);
            }
        }
    }

    #[test]
    fn quotes_what_cron_would_take_off() {
        for (value, written) in [
            ("root", "root"),
            ("a # b", "a # b"),
            ("it's \"so\"", "it's \"so\""),
            ("", "\"\""),
            (" two spaces ", "\"' two spaces '\""),
            ("'it is'", "\"''it is''\""),
            ("\"it is\"", "'\"\"it is\"\"'"),
        ] {
            assert_eq!(line("X", value), Ok(format!("X={written}\n")), "{value}");
        }
    }

    #[test]
    fn refuses_what_cron_cannot_be_told() {
        for (name, value, message) in [
            ("A B", "x", "`A B` is not a name of a variable"),
            ("LOGNAME", "x", "cron sets `LOGNAME` itself: say `user`"),
            ("X", "a\nb", "the value of `X` has to be one line"),
            (
                "X",
                "'a\"",
                "cron cannot be told the value of `X`: it has a blank or a quote at its ends, and \
                 quotes of both kinds",
            ),
        ] {
            assert_eq!(line(name, value), Err(message.to_owned()));
        }
        assert_eq!(line("X", &"x".repeat(996)), Ok(format!("X={}\n", "x".repeat(996))));
        assert_eq!(
            line("X", &"x".repeat(997)),
            Err("cron cuts lines after 998 bytes, and `X` needs 999".to_owned())
        );
    }
}
