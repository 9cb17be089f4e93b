//! A server in memory, for resources and the agent.

mod fake;
mod files;
mod operations;
#[path = "../../support/search.rs"]
mod search;
mod systemctl;
mod world;

pub(crate) use fake::Fake;
pub(crate) use search::files_holding;
pub(crate) use world::World;
