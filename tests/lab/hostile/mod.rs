//! Attacks: each test plays somebody who wants what is not theirs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use infra::agent::host::Host;
use infra::resources::Progress;

pub(crate) mod application;
pub(crate) mod control;
pub(crate) mod database;
pub(crate) mod ground;
pub(crate) mod neighbour;
pub(crate) mod pull_request;
pub(crate) mod repository;

/// This machine, as an agent sees it that nobody listens to.
pub(crate) fn host() -> Host {
    struct Silent;
    impl Progress for Silent {
        fn progress(&mut self, _: Option<f32>, _: &str) {}
        fn warn(&mut self, _: &str) {}
    }
    Host::new(Box::new(Silent), Arc::new(AtomicBool::new(false))).unwrap()
}
