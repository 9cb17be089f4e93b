//! How much one server may say in one run: a server that is broken or hostile costs the laptop
//! little memory, output and time, and no other server anything.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::events::Event;
use crate::manifest::ResourceId;
use crate::wire::{self, Request};

/// All frames of a server in one run, in bytes.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// All that is not the content of a file, in bytes, and more of it for each resource.
const MOST_TEXT_BYTES: usize = 8 * 1024 * 1024;
const TEXT_BYTES_OF_RESOURCE: usize = 16 * 1024;

/// Events other than progress, and more of them for each resource.
const MOST_EVENTS: usize = 10_000;
const EVENTS_OF_RESOURCE: usize = 20;

/// Events that say how far a long step is.
const MOST_PROGRESS: usize = 100_000;

/// The runs in an answer about the history: an agent remembers no more.
const MOST_RUNS: usize = 100;

/// The limits that may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a server may say nothing while something is awaited from it.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { silence: Duration::from_mins(1) }
    }
}

/// The last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Facts,
    History,
    Check,
    Apply,
}

/// The account of all that one server has sent in a run, beside its requests.
#[derive(Debug)]
pub(super) struct Account {
    server: String,
    asked: Asked,
    /// The declared resources, and whether the check has told of each.
    declared: BTreeMap<ResourceId, bool>,
    is_started: bool,
    bytes: usize,
    text_bytes: usize,
    events: usize,
    progress: usize,
}

impl Account {
    /// Nothing was said yet.
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            asked: Asked::Facts,
            declared: BTreeMap::new(),
            is_started: false,
            bytes: 0,
            text_bytes: 0,
            events: 0,
            progress: 0,
        }
    }

    /// Something is asked of the server.
    pub(super) fn ask(&mut self, request: &Request) {
        match request {
            Request::Facts => self.asked = Asked::Facts,
            Request::History => self.asked = Asked::History,
            Request::Check { manifest, .. } => {
                self.asked = Asked::Check;
                let ids = manifest.resources.iter().map(|resource| (resource.id.clone(), false));
                self.declared = ids.collect();
            }
            Request::Apply => self.asked = Asked::Apply,
            Request::Confirm | Request::Refute { .. } | Request::Stop | Request::StopNow => {}
        }
    }

    /// A frame of `length` bytes is about to be read.
    ///
    /// # Errors
    /// If it is too large, or if the server has sent too much before it.
    pub(super) fn frame(&mut self, length: usize) -> Result<()> {
        if length > wire::MAX_EVENT_BYTES {
            return Err(
                self.excess(&format!("an event of more than {}", size(wire::MAX_EVENT_BYTES)))
            );
        }
        if self.bytes + wire::HEARTBEAT.len() + length > MOST_BYTES {
            return Err(self.excess(&format!("more than {} in one run", size(MOST_BYTES))));
        }
        Ok(())
    }

    /// A frame of `length` bytes was read.
    pub(super) fn spend(&mut self, length: usize) {
        self.bytes += wire::HEARTBEAT.len() + length;
    }

    /// The server sent an event, in a frame of `length` bytes.
    ///
    /// # Errors
    /// If it was not asked for, or if there were too many before it.
    pub(super) fn event(&mut self, event: &Event, length: usize) -> Result<()> {
        let resources = self.declared.len();
        self.text_bytes += length.saturating_sub(event.content_bytes());
        let most_text = MOST_TEXT_BYTES + TEXT_BYTES_OF_RESOURCE * resources;
        if self.text_bytes > most_text {
            return Err(self.excess(&format!("more than {} of texts", size(most_text))));
        }
        if let Event::Progress { .. } = event {
            self.progress += 1;
        } else {
            self.events += 1;
        }
        let most_events = MOST_EVENTS + EVENTS_OF_RESOURCE * resources;
        if self.events > most_events {
            return Err(self.excess(&format!("more than {most_events} events")));
        }
        if self.progress > MOST_PROGRESS {
            return Err(self.excess(&format!("more than {MOST_PROGRESS} events of progress")));
        }
        self.is_asked_for(event)
    }

    fn is_asked_for(&mut self, event: &Event) -> Result<()> {
        if let Event::History(runs) = event
            && runs.len() > MOST_RUNS
        {
            return Err(self.excess(&format!("more than {MOST_RUNS} runs")));
        }
        let is_asked_for = match event {
            Event::Started { .. } => !std::mem::replace(&mut self.is_started, true),
            Event::History(_) => self.asked == Asked::History,
            Event::Remembered(_) => matches!(self.asked, Asked::Check | Asked::Apply),
            Event::Checked { id, .. } => {
                let seen = self.declared.get_mut(id);
                let is_new = seen.is_none_or(|seen| !std::mem::replace(seen, true));
                self.asked == Asked::Check && is_new
            }
            Event::ServiceDue { .. } | Event::AlsoRemoved { .. } | Event::PlanComplete => {
                self.asked == Asked::Check
            }
            Event::Applying { .. }
            | Event::Progress { .. }
            | Event::Applied { .. }
            | Event::ServiceDone { .. }
            | Event::RolledBack { .. }
            | Event::ProofWanted { .. }
            | Event::Proved { .. }
            | Event::Reverted { .. } => self.asked == Asked::Apply,
            Event::Warning { .. } | Event::Finished | Event::Aborted { .. } => true,
            // Only a comparison without any server says so.
            Event::Declared { .. } => false,
        };
        if is_asked_for { Ok(()) } else { Err(self.excess("something that was not asked for")) }
    }

    /// The error for a frame that is no event.
    pub(super) fn garbled(&self, error: &std::io::Error) -> Error {
        self.excess("something that is no event").because(error)
    }

    fn excess(&self, what: &str) -> Error {
        let server = &self.server;
        Error::failed(format!("`{server}` sends {what}"))
            .hint(format!("no agent of infra does that: find out what runs on `{server}`"))
    }
}

fn size(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Outcome, RunEnd, RunRecord};
    use crate::resources::Facts;

    const UNASKED: &str = "`rufus` sends something that was not asked for\n\
                           hint: no agent of infra does that: find out what runs on `rufus`";

    fn account(request: &Request) -> Account {
        let mut account = Account::new("rufus");
        account.ask(request);
        account
    }

    fn said(account: &mut Account, event: &Event) -> String {
        account.event(event, 100).map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn runs(count: usize) -> Event {
        let run = RunRecord {
            serial: 0,
            who: String::new(),
            commit: None,
            is_partial: false,
            started: 0,
            ended: None,
            end: RunEnd::Done,
            changed: 0,
            removed: 0,
            failed: 0,
        };
        Event::History(vec![run; count])
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let started = Event::Started { facts: Facts::default() };
        let mut facts = account(&Request::Facts);
        assert_eq!(said(&mut facts, &started), "");
        assert_eq!(said(&mut facts, &started), UNASKED);
        assert_eq!(said(&mut facts, &runs(1)), UNASKED);
        assert_eq!(said(&mut facts, &Event::Remembered(Box::default())), UNASKED);
        assert_eq!(said(&mut facts, &Event::PlanComplete), UNASKED);
        let mut history = account(&Request::History);
        assert_eq!(said(&mut history, &runs(100)), "");
        assert!(said(&mut history, &runs(101)).starts_with("`rufus` sends more than 100 runs\n"));
        let mut apply = account(&Request::Apply);
        let id = ResourceId::new("file", "/etc/motd");
        assert_eq!(said(&mut apply, &Event::Applying { id: id.clone() }), "");
        let checked = Event::Checked { id, outcome: Outcome::Ok, mark: None };
        assert_eq!(said(&mut apply, &checked), UNASKED);
    }

    #[test]
    fn a_declared_resource_is_told_of_once() {
        let id = ResourceId::new("file", "/etc/motd");
        let mut account = account(&Request::Facts);
        account.asked = Asked::Check;
        account.declared.insert(id.clone(), false);
        let checked = Event::Checked { id, outcome: Outcome::Ok, mark: None };
        assert_eq!(said(&mut account, &checked), "");
        assert_eq!(said(&mut account, &checked), UNASKED);
    }

    #[test]
    fn there_is_an_end_to_everything() {
        let hint = "hint: no agent of infra does that: find out what runs on `rufus`";
        let mut many = account(&Request::Apply);
        let warning = Event::Warning { message: String::new() };
        let progress = Event::Progress {
            id: ResourceId::new("a", "b"),
            percent: None,
            message: String::new(),
        };
        let first = |event: &Event, length: usize, account: &mut Account| {
            (1..).find_map(|count| account.event(event, length).err().map(|error| (count, error)))
        };
        let (count, error) = first(&warning, 1, &mut many).unwrap();
        assert_eq!(count, 10_001);
        assert_eq!(error.to_string(), format!("`rufus` sends more than 10000 events\n{hint}"));
        let (count, error) = first(&progress, 1, &mut account(&Request::Apply)).unwrap();
        assert_eq!(count, 100_001);
        assert_eq!(
            error.to_string(),
            format!("`rufus` sends more than 100000 events of progress\n{hint}")
        );
        let (count, error) = first(&warning, 1 << 20, &mut account(&Request::Apply)).unwrap();
        assert_eq!(count, 9);
        assert_eq!(error.to_string(), format!("`rufus` sends more than 8 MiB of texts\n{hint}"));
    }
}
