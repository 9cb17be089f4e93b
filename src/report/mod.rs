//! What the user sees. Only this module prints; everything else emits events or returns values.

pub mod terminal;

pub use terminal::{ColorChoice, Format, note, print};
