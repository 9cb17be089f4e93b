//! Sends events to the laptop, with every known secret masked in their texts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::events::{Event, Outcome};
use crate::manifest::ResourceId;
use crate::resources::Progress;
use crate::secret::Scrubber;

/// Takes one event; an error means that nobody listens any more.
pub type Sink = dyn FnMut(&Event) -> std::io::Result<()>;

/// Where events go. Clones write to the same place.
#[derive(Clone)]
pub(super) struct Emitter {
    sink: Rc<RefCell<Box<Sink>>>,
    scrubber: Rc<RefCell<Scrubber>>,
    current: Rc<RefCell<Option<ResourceId>>>,
    /// Set when the laptop cannot be reached any more: the run stops at the next resource.
    stop: Arc<AtomicBool>,
}

impl Emitter {
    /// An emitter that hands events to `sink` and sets `stop` when that fails.
    pub(super) fn new(sink: Box<Sink>, stop: Arc<AtomicBool>) -> Self {
        Self {
            sink: Rc::new(RefCell::new(sink)),
            scrubber: Rc::default(),
            current: Rc::default(),
            stop,
        }
    }

    /// Masks these secrets from now on.
    pub(super) fn scrub(&self, scrubber: Scrubber) {
        *self.scrubber.borrow_mut() = scrubber;
    }

    /// Sends one event.
    pub(super) fn emit(&self, event: Event) {
        let event = self.masked(event);
        if (self.sink.borrow_mut())(&event).is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Work on `id` begins; progress is about it from now on.
    pub(super) fn applying(&self, id: &ResourceId) {
        *self.current.borrow_mut() = Some(id.clone());
        self.emit(Event::Applying { id: id.clone() });
    }

    /// `id` is done with.
    pub(super) fn applied(&self, id: &ResourceId, outcome: Outcome) {
        self.emit(Event::Applied { id: id.clone(), outcome });
    }

    fn masked(&self, event: Event) -> Event {
        let scrubber = self.scrubber.borrow();
        let scrub = |error: crate::error::Error| error.map_text(|text| scrubber.scrub(text));
        let outcome = |outcome| match outcome {
            Outcome::Failed(error) => Outcome::Failed(scrub(error)),
            other => other,
        };
        match event {
            Event::Checked { id, outcome: found, mark } => {
                Event::Checked { id, outcome: outcome(found), mark }
            }
            Event::Applied { id, outcome: done } => Event::Applied { id, outcome: outcome(done) },
            Event::ServiceDone { id, action, error } => {
                Event::ServiceDone { id, action, error: error.map(scrub) }
            }
            Event::RolledBack { id, error } => Event::RolledBack { id, error: error.map(scrub) },
            Event::Progress { id, percent, message } => {
                Event::Progress { id, percent, message: scrubber.scrub(&message) }
            }
            Event::Reverted { error } => Event::Reverted { error: scrub(error) },
            Event::Warning { message } => Event::Warning { message: scrubber.scrub(&message) },
            Event::Aborted { error } => Event::Aborted { error: scrub(error) },
            other => other,
        }
    }
}

impl Progress for Emitter {
    fn progress(&mut self, percent: Option<f32>, message: &str) {
        let id = self.current.borrow().clone();
        if let Some(id) = id {
            self.emit(Event::Progress { id, percent, message: message.to_owned() });
        }
    }
}
