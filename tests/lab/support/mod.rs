//! Servers in labs, and the harness that runs the tests on them.

mod base;
mod disk;
mod harness;
mod lists;
mod machine;
#[path = "../../support/search.rs"]
mod search;
pub(crate) mod server;
pub(crate) mod tokens;

pub(crate) use base::{NAMES, copies, copy, made, saved};
pub(crate) use harness::{Test, run};
pub(crate) use search::files_holding;
pub(crate) use server::{LabServer, TestLab, flus, lines, text, wait_until};
