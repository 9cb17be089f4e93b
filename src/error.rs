//! The error of everything that runs on either end: a phrase, its causes and one hint.
//!
//! Mistakes in what the user wrote carry a place as well and are
//! `inventory::diagnostic::Diagnostic`; this type is for the rest: files, servers, programs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of everything that can fail outside the compiler of inventories.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, why, and what to do about it. Travels from the agent to the laptop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Decides the exit code and how a preview treats the failure.
    pub kind: Kind,
    /// A lowercase phrase without full stop, names in backticks.
    pub message: String,
    /// Why, outermost first; each a phrase of its own. May hold several lines of output.
    pub causes: Vec<String>,
    /// One sentence that says what to do.
    pub hint: Option<String>,
}

/// Whose fault it is, as far as the code that met it can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The user's input is wrong: exit code 1.
    Input,
    /// Something on the server failed: exit code 3.
    Failed,
    /// A program on the server did not end within its time and was stopped: exit code 3.
    TimedOut,
    /// A program or service that a resource needs is not on the server. A preview treats
    /// it as "not there yet" when an earlier resource will install packages.
    ToolMissing,
    /// The server cannot be reached or will not let us in: exit code 4.
    Unreachable,
    /// Another run holds the lock of the server: exit code 5.
    Locked,
    /// A change of the way in was undone, or undoes itself, because nobody proved that it locks
    /// nobody out: exit code 6.
    Reverted,
    /// The user stopped the run: exit code 130.
    Interrupted,
}

impl Error {
    /// A failure on the server or on this machine.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A mistake in what the user asked for.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// `tool` is needed and is not on the server.
    pub fn tool_missing(tool: &str) -> Self {
        Self::new(Kind::ToolMissing, format!("`{tool}` is not on the server"))
            .hint(format!("declare the package that brings `{tool}` before this resource"))
    }

    /// An error of any kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// Adds the reason, below the reasons there are.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Says what was being done: the present message becomes the first cause.
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.message, message.into());
        self.causes.insert(0, inner);
        self
    }

    /// Sets the hint, a phrase that says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Changes every text of the error, for example to mask secrets.
    pub fn map_text(mut self, change: impl Fn(&str) -> String) -> Self {
        self.message = change(&self.message);
        self.causes = self.causes.iter().map(|cause| change(cause)).collect();
        self.hint = self.hint.as_deref().map(change);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line of a text must not pass for a line of the error's own.
        let indented = |text: &str| text.trim_end().replace('\n', "\n  ");
        f.write_str(&indented(&self.message))?;
        for cause in &self.causes {
            write!(f, "\ncaused by: {}", indented(cause))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", indented(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Names the file or program an operating system error was about.
pub trait Context<T> {
    /// Turns the error into an [`Error`] whose message is `message()`.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::failed(message()).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_phrase_causes_and_hint() {
        let error = Error::failed("no space left on device")
            .context("cannot write `/etc/motd`")
            .hint("free some space on `/`");
        assert_eq!(
            error.to_string(),
            "cannot write `/etc/motd`\ncaused by: no space left on device\n\
             hint: free some space on `/`"
        );
    }

    #[test]
    fn no_text_passes_for_another_line() {
        let error = Error::failed("a\nhint: b").because("c\ncaused by: d\n").hint("e\nerror: f");
        assert_eq!(
            error.to_string(),
            "a\n  hint: b\ncaused by: c\n  caused by: d\nhint: e\n  error: f"
        );
    }
}
