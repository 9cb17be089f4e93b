//! Tests that need no root, no lab, and no program but those of Rust and git.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod agent;
mod compile;
mod crates;
mod diagnostics;
mod doors;
mod excerpts;
mod failed_units;
mod import;
mod inventory;
mod mailu;
mod php_app;
mod prediction;
mod profile;
mod reboot;
mod rekey;
mod resources;
mod scripts;
mod support;
mod tidy;
mod transcript;
mod unit_starts;
