//! `infra lab mail`: what the lab's servers have sent.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error};
use crate::lab::Lab;
use crate::report::{self, Format};
use crate::shown;

/// How much of a subject or an address is shown in the list, in bytes.
const MOST_BYTES: usize = 256;

/// A message in the list.
#[derive(Debug, Deserialize, Serialize)]
struct Message {
    number: u32,
    time: String,
    from: String,
    to: String,
    subject: String,
}

/// Prints the list of messages, the newest last, or the message with a number.
///
/// # Errors
/// When the outside world of the lab is not up, or there is no such message.
pub(super) fn run(lab: &Lab, number: Option<u32>, format: Format) -> anyhow::Result<()> {
    let said = lab.mail(number)?;
    let text = match (number, format) {
        (Some(_), Format::Json) => report::json_text(&serde_json::to_string(&said)?) + "\n",
        // The text is whoever's it is: nothing in it may act on the terminal.
        (Some(_), _) => said.lines().map(|line| shown::line(line) + "\n").collect(),
        (None, _) => list(&said, format)?,
    };
    Ok(report::print(&text)?)
}

fn list(said: &str, format: Format) -> Result<String, Error> {
    let mut text = String::new();
    for line in said.lines() {
        let message: Message = serde_json::from_str(line)
            .context(|| "the list of messages cannot be read".to_owned())?;
        if format == Format::Json {
            let line = serde_json::to_string(&message)
                .context(|| "the list of messages cannot be written".to_owned())?;
            text += &report::json_text(&line);
        } else {
            let cut = |text: &str| shown::line(&shown::cut(text, MOST_BYTES));
            let Message { number, time, from, to, subject } = &message;
            let (time, from, to) = (cut(time), cut(from), cut(to));
            // Writing to a string cannot fail.
            let _ = write!(text, "{number:>4}  {time}  {from} → {to}  {}", cut(subject));
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_that_acts_on_nothing() {
        let said = r#"{"number": 7, "time": "2026-11-28 13:00", "from": "a@flus.fr", "to": "b@x.org", "subject": "\u001b[1mhi"}"#;
        assert_eq!(
            list(said, Format::Human).unwrap(),
            "   7  2026-11-28 13:00  a@flus.fr → b@x.org  \\u{1b}[1mhi\n"
        );
        let error = list("nonsense", Format::Human).unwrap_err();
        assert_eq!(error.message, "the list of messages cannot be read");
    }
}
