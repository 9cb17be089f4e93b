//! Attacks: each test plays somebody who wants what is not theirs.

pub(crate) mod application;
pub(crate) mod control;
pub(crate) mod database;
pub(crate) mod ground;
pub(crate) mod neighbour;
pub(crate) mod repository;
