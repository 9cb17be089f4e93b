//! `infra` makes Debian servers match a declarative inventory, over SSH.
//!
//! The flow, one module a stage: `inventory` (what is declared) → `compile` (inventory, roles,
//! templates and secrets become a manifest) → [`manifest`] → `transport` (to the server) →
//! [`agent`] (check, apply, check again) → `report` (what happened).

pub mod agent;
pub mod error;
pub mod events;
pub mod manifest;
pub mod resources;
pub mod secret;
pub mod wire;
