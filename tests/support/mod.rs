//! Servers for tests: one in memory, for resources and the agent, and real ones in a lab.

mod fake;
pub(crate) mod lab_server;
mod operations;
mod search;
mod world;

pub(crate) use fake::Fake;
pub(crate) use lab_server::LabServer;
pub(crate) use search::files_holding;
pub(crate) use world::World;
