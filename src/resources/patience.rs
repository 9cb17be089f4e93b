//! How long something is looked at again until it is as it should be.

use std::time::{Duration, Instant};

use super::system::System;

/// The most seconds that a field may say to wait, or that a program may take: a day.
const MOST_SECONDS: u32 = 24 * 60 * 60;

/// Refuses to wait longer than a day: a run would seem to hang.
///
/// # Errors
/// Names the field and says how much it may be.
pub(super) fn check(field: &str, seconds: u32) -> Result<(), String> {
    if seconds <= MOST_SECONDS {
        return Ok(());
    }
    Err(format!("`{field}` is more than a day, which has {MOST_SECONDS} seconds"))
}

/// A wait that began when it was made.
pub(super) struct Patience {
    started: Instant,
    within: Duration,
    pause_milliseconds: u32,
    /// Pauses that may still be made: a system in memory takes no time for them.
    pauses: u32,
}

impl Patience {
    /// Waits for so many seconds, a day at most, with pauses between two looks.
    pub(super) fn new(within_seconds: u32, pause_milliseconds: u32) -> Self {
        let seconds = within_seconds.min(MOST_SECONDS);
        Self {
            started: Instant::now(),
            within: Duration::from_secs(seconds.into()),
            pause_milliseconds,
            pauses: seconds.saturating_mul(1000) / pause_milliseconds.max(1),
        }
    }

    /// Pauses before the next look. `false` if there is none: the time is up, or the run is to end.
    pub(super) fn pause(&mut self, system: &mut dyn System) -> bool {
        let is_over = self.pauses == 0 || self.started.elapsed() >= self.within;
        if is_over || system.interrupted() {
            return false;
        }
        self.pauses -= 1;
        system.sleep_milliseconds(self.pause_milliseconds);
        true
    }

    /// The time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
