//! Tokens for what keeps a core busy: booting a server, or installing one. There is one more for every
//! two cores, since each of them also waits for disks and timers now and then.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::machine::cores;

struct Tokens {
    /// Those that nobody holds; none are made before the first is wanted.
    free: Option<usize>,
    /// The tickets of those who wait, in the order of asking.
    queue: VecDeque<u64>,
    next: u64,
}

static TOKENS: Mutex<Tokens> = Mutex::new(Tokens { free: None, queue: VecDeque::new(), next: 0 });
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Tokens> {
    TOKENS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token, given back when dropped.
pub(crate) struct Token(());

fn all() -> usize {
    cores() + cores().div_ceil(2)
}

/// Waits for a token.
pub(crate) fn take() -> Token {
    let mut tokens = lock();
    let ticket = tokens.next;
    tokens.next += 1;
    tokens.queue.push_back(ticket);
    loop {
        let free = *tokens.free.get_or_insert_with(all);
        if tokens.queue.front() == Some(&ticket) && free > 0 {
            tokens.queue.pop_front();
            tokens.free = Some(free - 1);
            CHANGED.notify_all();
            return Token(());
        }
        tokens = CHANGED.wait(tokens).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut tokens = lock();
        let free = tokens.free.unwrap_or_default();
        tokens.free = Some(free + 1);
        CHANGED.notify_all();
    }
}
