//! A server in memory, for tests of resources and of the agent.

mod fake;
mod operations;
mod world;

pub(crate) use fake::Fake;
pub(crate) use world::World;
