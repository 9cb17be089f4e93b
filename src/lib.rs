//! `infra` makes Debian servers match a declarative inventory, over SSH.
//!
//! The flow, one module a stage: `inventory` (what is declared) → `compile` (inventory, roles,
//! templates and secrets become a manifest) → [`manifest`] → `transport` (to the server) →
//! [`agent`] (check, apply, check again) → `report` (what happened).

pub mod agent;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod commands;
#[cfg(feature = "cli")]
pub mod compile;
pub mod date;
#[cfg(feature = "cli")]
pub mod diagnostic;
pub mod error;
pub mod events;
#[cfg(feature = "cli")]
pub mod exit_code;
#[cfg(feature = "cli")]
mod files;
#[cfg(feature = "cli")]
pub mod fleet;
#[cfg(feature = "cli")]
pub mod inventory;
#[cfg(feature = "cli")]
pub mod lab;
pub mod manifest;
mod octal;
#[cfg(feature = "cli")]
pub mod report;
pub mod resources;
#[cfg(feature = "cli")]
pub mod saved_plan;
pub mod secret;
pub mod size;
#[cfg(feature = "cli")]
pub mod secrets;
#[cfg(feature = "cli")]
pub mod session;
#[cfg(feature = "cli")]
pub mod shown;
#[cfg(feature = "cli")]
pub mod transport;
#[cfg(feature = "cli")]
mod usage;
pub mod wire;
#[cfg(feature = "cli")]
pub mod yaml;

/// Whether this build has debug assertions, as a release has not. The tests refuse a build that has:
/// a library that behaves otherwise then would be tested as no user runs it.
pub const HAS_DEBUG_ASSERTIONS: bool = cfg!(debug_assertions);
