//! Tokens for what keeps a core busy: booting a server, or installing one.

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

/// One or more tokens, given back when dropped.
pub(crate) struct Token {
    count: usize,
}

/// Waits for `count` tokens, or for all that there are: one for each core.
pub(crate) fn take(count: usize) -> Token {
    let count = count.min(cores());
    let mut tokens = lock();
    let ticket = tokens.next;
    tokens.next += 1;
    tokens.queue.push_back(ticket);
    loop {
        let free = *tokens.free.get_or_insert_with(cores);
        if tokens.queue.front() == Some(&ticket) && free >= count {
            tokens.queue.pop_front();
            tokens.free = Some(free - count);
            CHANGED.notify_all();
            return Token { count };
        }
        tokens = CHANGED.wait(tokens).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut tokens = lock();
        let free = tokens.free.unwrap_or_default();
        tokens.free = Some(free + self.count);
        CHANGED.notify_all();
    }
}
