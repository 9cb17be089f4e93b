//! Panics of the template engine, which some numbers bring about: `x[::-9223372036854775808]`. A
//! repository may be a stranger's, and its mistake is an ordinary one.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use minijinja::{Error, ErrorKind};

use super::watch;
use crate::diagnostic::Span;

thread_local! {
    /// Whether this thread evaluates something.
    static EVALUATES: Cell<bool> = const { Cell::new(false) };
}

/// Ends the program at every panic, as if it were built to abort, but for those of the template
/// engine, which become errors.
pub fn end_at_panics() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |found| {
        if !EVALUATES.get() {
            told(found);
            std::process::abort();
        }
    }));
}

/// The result of `evaluate`, or an error in place of a panic. Nothing that it leaves half done is
/// looked at again. If it takes too long, the mistake is at `place`.
pub(super) fn caught<T>(
    place: &Span,
    evaluate: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let _watched = watch::begin(place);
    let before = EVALUATES.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(evaluate));
    EVALUATES.set(before);
    result.unwrap_or_else(|_| {
        let message = "a number in it is out of bounds";
        Err(Error::new(ErrorKind::InvalidOperation, message))
    })
}
