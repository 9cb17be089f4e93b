//! Evaluations that do not come to an end. Fuel counts the steps of an expression, but a single
//! step may compare two values that hold one another a million million times over, and nothing can
//! stop a thread from outside. Then the program ends, and says where.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::diagnostic::{Diagnostic, Span};

/// The processor time of the whole program after which an evaluation is given up: a computer that
/// sleeps, or has other work, counts for nothing.
const MOST: Duration = Duration::from_secs(10);

/// Between two looks at all evaluations.
const PAUSE: Duration = Duration::from_millis(250);

/// Says what is wrong and ends the program.
type End = fn(Diagnostic);

static END: OnceLock<End> = OnceLock::new();

/// The threads that evaluate, or have done so.
static THREADS: Mutex<Vec<Arc<Mutex<Work>>>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: RefCell<Option<Arc<Mutex<Work>>>> = const { RefCell::new(None) };
}

/// The evaluations of a thread.
#[derive(Default)]
struct Work {
    /// Counts the outermost evaluations.
    number: u64,
    /// Those that are under way, each within the one before.
    places: Vec<Span>,
    /// Of the evaluation seen at the last look: its number, and the processor time it began with.
    seen: Option<(u64, Duration)>,
}

/// An evaluation under way; dropping it ends it.
pub(super) struct Evaluation(Arc<Mutex<Work>>);

/// Has evaluations that take too long ended by `end`.
pub fn end_long_evaluations(end: fn(Diagnostic)) {
    // A second call would say the same.
    let _ = END.set(end);
}

/// Notes that this thread evaluates what stands at `place`.
pub(super) fn begin(place: &Span) -> Option<Evaluation> {
    let end = *END.get()?;
    let work = OWN.with_borrow_mut(|own| Arc::clone(own.get_or_insert_with(|| register(end))));
    let mut inner = lock(&work);
    if inner.places.is_empty() {
        inner.number += 1;
    }
    inner.places.push(place.clone());
    drop(inner);
    Some(Evaluation(work))
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        lock(&self.0).places.pop();
    }
}

/// Lists this thread, and with the first one begins to look at all of them.
fn register(end: End) -> Arc<Mutex<Work>> {
    let work: Arc<Mutex<Work>> = Arc::default();
    let mut threads = lock(&THREADS);
    threads.push(Arc::clone(&work));
    if threads.len() == 1 {
        // Without a further thread evaluations are not looked at, as in a library.
        let _ = std::thread::Builder::new().name("watch".to_owned()).spawn(move || watch(end));
    }
    work
}

fn watch(end: End) {
    loop {
        std::thread::sleep(PAUSE);
        let now = processor_time();
        let works: Vec<_> = lock(&THREADS).clone();
        if let Some(place) = works.iter().find_map(|work| lock(work).late(now)) {
            let seconds = MOST.as_secs();
            let message = format!("this takes more than {seconds} seconds to evaluate");
            return end(Diagnostic::at(&place, message)
                .hint("is there a list that holds another twice, and that a third twice?"));
        }
    }
}

impl Work {
    /// The place of an evaluation that takes too long, if the processor time of the program is now
    /// `now`.
    fn late(&mut self, now: Duration) -> Option<Span> {
        let innermost = self.places.last()?;
        match self.seen {
            Some((number, since)) if number == self.number => {
                (now.saturating_sub(since) > MOST).then(|| innermost.clone())
            }
            _ => {
                self.seen = Some((self.number, now));
                None
            }
        }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    #[test]
    fn an_evaluation_is_late_by_its_own_time() {
        let place = Span::new(&Source::new("x", "abc"), 0..3);
        let seconds = Duration::from_secs;
        let mut work = Work::default();
        assert!(work.late(seconds(0)).is_none());
        (work.number, work.places) = (1, vec![place.clone()]);
        assert!(work.late(seconds(50)).is_none());
        assert!(work.late(seconds(60)).is_none());
        assert!(work.late(seconds(61)).is_some_and(|late| late == place));
        // Another evaluation begins anew.
        work.number = 2;
        assert!(work.late(seconds(70)).is_none());
        assert!(work.late(seconds(80)).is_none());
        work.places.clear();
        assert!(work.late(seconds(99)).is_none());
    }

    #[test]
    fn processor_time_passes() {
        let before = processor_time();
        let mut number = 0_u64;
        while processor_time() == before {
            number = std::hint::black_box(number + 1);
        }
        assert!(processor_time() > before);
    }
}
