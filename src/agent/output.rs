//! The way to the laptop: frames that fit it, and heartbeats while there is nothing to tell.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::events::{Event, Outcome};
use crate::wire;

/// The time between two heartbeats, and how long nothing was sent before one.
const PAUSE: Duration = Duration::from_secs(wire::HEARTBEAT_SECONDS);

/// Where events are written.
pub(super) struct Output(Mutex<Pipe>);

struct Pipe {
    to: Box<dyn Write + Send>,
    /// When something was written last.
    last: Instant,
    /// Whether the laptop waits for something: it reads nothing while a person thinks, and a pipe
    /// that is full would hold up the run.
    is_awaited: bool,
}

impl Output {
    /// Says that the agent runs.
    pub(super) fn start(to: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let mut pipe = Pipe { to: Box::new(to), last: Instant::now(), is_awaited: false };
        pipe.write(wire::PREAMBLE)?;
        Ok(Arc::new(Self(Mutex::new(pipe))))
    }

    /// Sends an event. The details of one that is too large for the laptop are left out.
    pub(super) fn send(&self, event: &Event) -> io::Result<()> {
        let frame = fitting(event)?;
        self.lock().write(&frame)
    }

    /// From now on the laptop hears at least a heartbeat, until [`Output::rest`].
    pub(super) fn beat(self: &Arc<Self>) {
        self.lock().is_awaited = true;
        let output = Arc::downgrade(self);
        let beat = move || {
            while let Some(output) = output.upgrade() {
                if output.lock().beat().is_err() {
                    // The run notices by itself that nobody listens any more.
                    return;
                }
                drop(output);
                std::thread::sleep(PAUSE);
            }
        };
        // Without a thread only a long run is given up by the laptop.
        let _ = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat);
    }

    /// The laptop waits for nothing, or does again.
    pub(super) fn rest(&self, yes: bool) {
        self.lock().is_awaited = !yes;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pipe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.last = Instant::now();
        self.to.write_all(bytes)?;
        self.to.flush()
    }

    fn beat(&mut self) -> io::Result<()> {
        if !self.is_awaited || self.last.elapsed() < PAUSE {
            return Ok(());
        }
        self.write(&wire::HEARTBEAT)
    }
}

/// The frame of an event, or of what is left of one that is too large.
fn fitting(event: &Event) -> io::Result<Vec<u8>> {
    let frame = wire::encode(event)?;
    if frame.len() - wire::HEARTBEAT.len() <= wire::MAX_EVENT_BYTES {
        return Ok(frame);
    }
    wire::encode(&without_details(event))
}

fn without_details(event: &Event) -> Event {
    let mebibytes = wire::MAX_EVENT_BYTES >> 20;
    let too_large = |what: &str| {
        Error::failed(format!("{what} is too large to be sent"))
            .because(format!("an agent sends at most {mebibytes} MiB at once"))
    };
    match event {
        Event::Checked { id, outcome: Outcome::Failed(_), mark } => {
            let outcome = Outcome::Failed(too_large(&format!("the failure of `{id}`")));
            Event::Checked { id: id.clone(), outcome, mark: *mark }
        }
        Event::Checked { id, mark, .. } => {
            let outcome = Outcome::Failed(
                too_large(&format!("the plan of `{id}`")).hint("declare less in one resource"),
            );
            Event::Checked { id: id.clone(), outcome, mark: *mark }
        }
        Event::Applied { id, outcome: Outcome::Changed(_) } => {
            let outcome = Outcome::Changed(crate::resources::Change::Update(Vec::new()));
            Event::Applied { id: id.clone(), outcome }
        }
        Event::Applied { id, .. } => {
            let outcome = Outcome::Failed(too_large(&format!("the failure of `{id}`")));
            Event::Applied { id: id.clone(), outcome }
        }
        Event::ServiceDone { id, action, .. } => {
            let error = Some(too_large(&format!("the failure of `{id}`")));
            Event::ServiceDone { id: id.clone(), action: *action, error }
        }
        Event::RolledBack { id, .. } => {
            let error = Some(too_large(&format!("the failure of `{id}`")));
            Event::RolledBack { id: id.clone(), error }
        }
        Event::Reverted { .. } => Event::Reverted { error: too_large("the reason") },
        Event::Aborted { .. } => Event::Aborted { error: too_large("the reason") },
        _ => Event::Warning { message: too_large("something").message },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::manifest::ResourceId;
    use crate::resources::{Change, FieldChange};

    struct Written(Sender<Vec<u8>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_heart_beats_only_while_somebody_waits() {
        let (sender, written) = channel();
        let output = Output::start(Written(sender)).unwrap();
        assert_eq!(written.recv().unwrap(), wire::PREAMBLE);
        let beat = |output: &Output, has_paused: bool| {
            let mut pipe = output.lock();
            if has_paused {
                pipe.last = Instant::now().checked_sub(PAUSE).unwrap();
            }
            pipe.beat().unwrap();
            drop(pipe);
            written.try_iter().collect::<Vec<_>>()
        };
        let nothing: [Vec<u8>; 0] = [];
        assert_eq!(beat(&output, true), nothing);
        output.rest(false);
        assert_eq!(beat(&output, true), [wire::HEARTBEAT.to_vec()]);
        assert_eq!(beat(&output, false), nothing);
        output.rest(true);
        assert_eq!(beat(&output, true), nothing);
    }

    #[test]
    fn what_does_not_fit_says_so() {
        let id = ResourceId::new("file", "/etc/motd");
        let long = "x".repeat(wire::MAX_EVENT_BYTES);
        let field = FieldChange { field: long.clone(), current: None, desired: "x".into() };
        let change = Outcome::Changed(Change::Update(vec![field]));
        let failed = Outcome::Failed(Error::failed(&long));
        let checked = Event::Checked { id: id.clone(), outcome: change.clone(), mark: None };
        let too_large = "is too large to be sent\ncaused by: an agent sends at most 4 MiB at once";
        for (event, says) in [
            (
                checked,
                format!(
                    "the plan of `file:/etc/motd` {too_large}\nhint: declare less in one resource"
                ),
            ),
            (
                Event::Applied { id: id.clone(), outcome: failed },
                format!("the failure of `file:/etc/motd` {too_large}"),
            ),
            (
                Event::RolledBack { id: id.clone(), error: Some(Error::failed(&long)) },
                format!("the failure of `file:/etc/motd` {too_large}"),
            ),
            (Event::Aborted { error: Error::failed(&long) }, format!("the reason {too_large}")),
            (Event::Warning { message: long }, "something is too large to be sent".to_owned()),
        ] {
            let frame = fitting(&event).unwrap();
            let sent: Event = wire::decode(&frame[4..]).unwrap();
            let said = match sent {
                Event::Checked { outcome: Outcome::Failed(error), .. }
                | Event::Applied { outcome: Outcome::Failed(error), .. }
                | Event::RolledBack { error: Some(error), .. }
                | Event::Aborted { error } => error.to_string(),
                Event::Warning { message } => message,
                other => panic!("{other:?}"),
            };
            assert_eq!(said, says);
        }
        let applied = without_details(&Event::Applied { id: id.clone(), outcome: change });
        let bare = Outcome::Changed(Change::Update(Vec::new()));
        assert_eq!(applied, Event::Applied { id, outcome: bare });
    }
}
