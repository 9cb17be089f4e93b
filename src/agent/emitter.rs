//! Sends events to the laptop, with every known secret masked in their texts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::events::{Event, Outcome};
use crate::manifest::ResourceId;
use crate::resources::{Change, Progress};
use crate::secret::Scrubber;

/// Takes one event; an error means that nobody listens any more.
pub type Sink = dyn FnMut(&Event) -> std::io::Result<()>;

/// How much of a run is spent on contents, in bytes. After that only the shortest are sent whole.
const MOST_CONTENT_BYTES: usize = 32 * 1024 * 1024;

/// How much of one event is: an event has to fit its frame.
const MOST_CONTENT_BYTES_OF_EVENT: usize = 2 * 1024 * 1024;

/// Longer texts of errors and warnings are cut: nobody reads them; in bytes.
const MOST_TEXT_BYTES: usize = 16 * 1024;

/// Where events go. Clones write to the same place.
#[derive(Clone)]
pub(super) struct Emitter {
    sink: Rc<RefCell<Box<Sink>>>,
    scrubber: Rc<RefCell<Scrubber>>,
    current: Rc<RefCell<Option<ResourceId>>>,
    /// How many bytes of contents may still be sent.
    content_left: Rc<Cell<usize>>,
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
            content_left: Rc::new(Cell::new(MOST_CONTENT_BYTES)),
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

    /// A change as it is sent: long contents by size and hash.
    fn shortened(&self, mut change: Change) -> Change {
        change.shorten();
        let left = self.content_left.get();
        if change.content_bytes() > left.min(MOST_CONTENT_BYTES_OF_EVENT) {
            change.shorten_contents();
        }
        self.content_left.set(left.saturating_sub(change.content_bytes()));
        change
    }

    fn masked(&self, event: Event) -> Event {
        let scrubber = self.scrubber.borrow();
        // A text is masked before it is cut: nobody finds half a secret.
        let text = |text: &str| cut(scrubber.scrub(text));
        let scrub = |error: crate::error::Error| error.map_text(text);
        let outcome = |outcome| match outcome {
            Outcome::Failed(error) => Outcome::Failed(scrub(error)),
            Outcome::Changed(change) => Outcome::Changed(self.shortened(change)),
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
                Event::Progress { id, percent, message: text(&message) }
            }
            Event::Reverted { error } => Event::Reverted { error: scrub(error) },
            Event::Warning { message } => Event::Warning { message: text(&message) },
            Event::Aborted { error } => Event::Aborted { error: scrub(error) },
            other => other,
        }
    }
}

/// Not more of a text than somebody reads.
fn cut(mut text: String) -> String {
    if text.len() > MOST_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MOST_TEXT_BYTES));
        text.push('…');
    }
    text
}

impl Progress for Emitter {
    fn progress(&mut self, percent: Option<f32>, message: &str) {
        let id = self.current.borrow().clone();
        if let Some(id) = id {
            self.emit(Event::Progress { id, percent, message: message.to_owned() });
        }
    }

    fn warn(&mut self, message: &str) {
        self.emit(Event::Warning { message: message.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::digest::MOST_COMPARED_BYTES;
    use crate::resources::{FieldChange, State, Value};
    use crate::secret::Secret;

    /// An emitter, and what it sends.
    fn emitter() -> (Emitter, Rc<RefCell<Vec<Event>>>) {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let to = Rc::clone(&sent);
        let sink = move |event: &Event| {
            to.borrow_mut().push(event.clone());
            Ok(())
        };
        (Emitter::new(Box::new(sink), Arc::default()), sent)
    }

    /// A change of so many contents that people would read.
    fn change(contents: usize) -> Event {
        let field = FieldChange {
            field: "content".to_owned(),
            current: None,
            desired: Value::Content(vec![b'x'; MOST_COMPARED_BYTES]),
        };
        let outcome = Outcome::Changed(Change::Update(vec![field; contents]));
        Event::Applied { id: ResourceId::new("file", "/etc/motd"), outcome }
    }

    #[test]
    fn contents_fit_an_event_and_a_run() {
        let (emitter, sent) = emitter();
        let sizes = |contents: usize| {
            emitter.emit(change(contents));
            sent.borrow_mut().remove(0).content_bytes()
        };
        let most_of_event = MOST_CONTENT_BYTES_OF_EVENT / MOST_COMPARED_BYTES;
        assert_eq!(sizes(most_of_event + 1), 0);
        for _ in 0..MOST_CONTENT_BYTES / MOST_CONTENT_BYTES_OF_EVENT {
            assert_eq!(sizes(most_of_event), MOST_CONTENT_BYTES_OF_EVENT);
        }
        assert_eq!(sizes(1), 0);
        let short = Change::Create(State::new().with("content", Value::Content(vec![0; 1000])));
        assert_eq!(emitter.shortened(short.clone()), short);
    }

    #[test]
    fn a_long_text_is_masked_and_then_cut() {
        let (emitter, sent) = emitter();
        emitter.scrub(Scrubber::new(&[Secret::new("hunter2-hunter2")]));
        let start = "x".repeat(MOST_TEXT_BYTES - 4);
        emitter.emit(Event::Warning { message: format!("{start}hunter2-hunter2") });
        let message = format!("{start}(sec…");
        assert_eq!(*sent.borrow(), [Event::Warning { message }]);
    }
}
