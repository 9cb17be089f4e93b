//! The common part of all differences of one server: its secrets, and how much is still compared.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::events::Mark;
use crate::manifest::{Manifest, Resource};
use crate::secret::Scrubber;

use super::difference::Mask;

/// How long the texts of one server are compared in a run.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of differences is made for one server in a run, in bytes.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The room that a line takes beside its bytes.
const BYTES_OF_LINE: usize = 32;

/// The masks of one server's changes.
pub(super) struct Masks {
    pub(super) manifest: Arc<Manifest>,
    /// Masks all secrets of the server; made with the first change.
    scrubber: OnceCell<Rc<Scrubber>>,
    budget: Rc<Budget>,
}

/// How much may still be compared of one server.
#[derive(Debug)]
pub(super) struct Budget {
    time: Cell<Duration>,
    bytes: Cell<usize>,
}

/// One comparison within a budget: counted when it ends, whatever has come of it.
pub(super) struct Spending<'a> {
    budget: &'a Budget,
    start: Instant,
}

impl Masks {
    /// Nothing was compared yet.
    pub(super) fn new(manifest: Arc<Manifest>) -> Self {
        Self { manifest, scrubber: OnceCell::new(), budget: Rc::default() }
    }

    /// Masks all secrets, and treats those of `resource` with special care. `mark` says whose
    /// change it is.
    pub(super) fn of(&self, resource: Option<&Resource>, mark: Option<Mark>) -> Mask {
        let secrets = || Rc::new(Scrubber::new(self.manifest.secrets.values()));
        let scrubber = Rc::clone(self.scrubber.get_or_init(secrets));
        let budget = Rc::clone(&self.budget);
        Mask::new(&self.manifest, resource, mark, scrubber, budget)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { time: Cell::new(PATIENCE), bytes: Cell::new(MOST_BYTES) }
    }
}

impl Budget {
    /// A comparison begins.
    pub(super) fn spend(&self) -> Spending<'_> {
        Spending { budget: self, start: Instant::now() }
    }
}

impl Spending<'_> {
    /// How much time is left.
    pub(super) fn time(&self) -> Duration {
        self.budget.time.get().saturating_sub(self.start.elapsed())
    }

    /// Whether there is time and room for a line of so many bytes; then it is counted.
    pub(super) fn has_room_for(&self, length: usize) -> bool {
        let left = self.budget.bytes.get().saturating_sub(length + BYTES_OF_LINE);
        self.budget.bytes.set(left);
        left > 0 && !self.time().is_zero()
    }
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        self.budget.time.set(self.time());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_room_are_spent_once() {
        let budget = Budget::default();
        let first = budget.spend();
        assert!(first.has_room_for(MOST_BYTES / 2));
        assert!(first.has_room_for(MOST_BYTES / 4));
        drop(first);
        assert!(budget.spend().has_room_for(0));
        assert!(!budget.spend().has_room_for(MOST_BYTES / 4));
        assert!(!budget.spend().has_room_for(0));
        let late = Budget { time: Cell::new(Duration::ZERO), ..Budget::default() };
        assert!(!late.spend().has_room_for(0));
    }
}
