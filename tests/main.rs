//! All tests that look at the crate from outside, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod agent;
mod arm;
mod canary;
mod compile;
mod diagnostics;
mod faremis;
mod fault;
mod fleet;
mod import;
mod inventory;
mod guard;
mod lab;
mod mikado;
mod prediction;
mod owed;
mod preview;
mod removal;
mod reboot;
mod rekey;
mod resources;
mod rollback;
mod rufus;
mod secrets;
mod run;
mod scripts;
mod sets;
mod sshd;
mod support;
mod tidy;
mod transcript;
mod transport;
