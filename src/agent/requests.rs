//! The requests of the laptop, read beside the work so that its end is noticed at once.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::wire::{self, Request};

use super::host::processes;

/// Nobody leaves a plan on the screen for longer than this and then means it; a server at the end
/// of a long `--serial` waits no longer either.
const PATIENCE: Duration = Duration::from_hours(12);

/// How long a check may take to end by itself when nobody asks any more.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Requests in the order in which they came.
pub(super) struct Requests {
    queue: Receiver<std::io::Result<Request>>,
}

impl Requests {
    /// Reads from `input` until it ends. Its end, or [`Request::Stop`], sets `stop`;
    /// [`Request::StopNow`] ends the program in hand as well. An end before anything was to be
    /// applied ends the process: nothing is half done then, and nobody waits for it.
    pub(super) fn start(mut input: impl Read + Send + 'static, stop: Arc<AtomicBool>) -> Self {
        let (sender, queue) = channel();
        std::thread::spawn(move || {
            let mut has_work = false;
            loop {
                let request = match wire::read_frame(&mut input) {
                    Ok(None) => break,
                    Ok(Some(Request::Stop)) => {
                        stop.store(true, Ordering::Relaxed);
                        continue;
                    }
                    Ok(Some(Request::StopNow)) => {
                        stop.store(true, Ordering::Relaxed);
                        processes::end_one();
                        continue;
                    }
                    Ok(Some(request)) => Ok(request),
                    Err(error) => Err(error),
                };
                has_work |= matches!(request, Ok(Request::Apply));
                let is_last = request.is_err();
                if sender.send(request).is_err() || is_last {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
            // The agent may be waiting for a request: there will be none.
            drop(sender);
            if !has_work {
                processes::end_all();
                std::thread::sleep(LAST_WORDS);
                std::process::exit(1);
            }
        });
        Self { queue }
    }

    /// The next request if it comes in time; `None` also when there will be no more.
    pub(super) fn within(&self, patience: Duration) -> Option<Request> {
        self.queue.recv_timeout(patience).ok()?.ok()
    }

    /// The next request; `None` when there will be no more.
    pub(super) fn next(&self) -> Result<Option<Request>> {
        match self.queue.recv_timeout(PATIENCE) {
            Ok(Ok(request)) => Ok(Some(request)),
            Ok(Err(error)) => {
                Err(Error::failed("cannot read what the other end asks").because(error))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(Error::failed("nothing was asked for half a day").hint("make a new plan"))
            }
        }
    }
}
