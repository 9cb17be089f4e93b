//! What the user sees. Only this module prints; everything else emits events or returns values.

mod difference;
mod facts;
mod failure;
mod health;
#[cfg(test)]
mod hostile;
mod human;
mod json;
mod markdown;
mod masks;
mod old_lines;
mod progress;
mod run;
mod runs;
mod short_lines;
pub mod terminal;
mod time;
mod totals;

pub use facts::facts;
pub use failure::print_failure;
pub use health::Health;
pub use json::{json_line, json_text};
pub use progress::ProgressLines;
pub use run::{Report, end_line, error_line};
pub use runs::{commit, history, short_commit};
pub use terminal::{ColorChoice, Format, can_ask, note, print};
pub use time::moment;
