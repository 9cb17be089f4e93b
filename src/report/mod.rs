//! What the user sees. Only this module prints; everything else emits events or returns values.

mod difference;
mod human;
mod json;
mod progress;
mod run;
pub mod terminal;
mod totals;

pub use progress::ProgressLines;
pub use run::{Report, error_line};
pub use terminal::{ColorChoice, Format, can_ask, note, print};
