//! The report of one `diff` or `apply`, over all its servers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::human::Style;
use super::json;
use super::markdown::{self, Entry};
use super::masks::Masks;
use super::progress::{Progress, ProgressLines};
use super::terminal::{Format, print};
use super::totals::Totals;
use crate::error::{Error, Kind};
use crate::events::Event;
use crate::exit_code::ExitCode;
use crate::manifest::{Manifest, Resource, ResourceId};

/// Prints what happens and remembers it.
pub struct Report {
    format: Format,
    style: Style,
    progress: Progress,
    servers: BTreeMap<String, Server>,
}

/// One server of a report.
struct Server {
    masks: Masks,
    /// Where each resource is in the manifest.
    index: BTreeMap<ResourceId, usize>,
    totals: Totals,
    /// The lines of the plan, printed together when it is complete.
    plan: String,
    /// The same for markdown, written when all is known.
    entries: Vec<Entry>,
}

impl Report {
    /// A report about the servers of `manifests`.
    pub fn new(
        format: Format,
        verbose: bool,
        colored: bool,
        manifests: impl IntoIterator<Item = Arc<Manifest>>,
    ) -> Self {
        let servers: BTreeMap<String, Server> = manifests
            .into_iter()
            .map(|manifest| (manifest.server.clone(), Server::new(manifest)))
            .collect();
        let width = servers.keys().map(String::len).max().unwrap_or(0);
        Self {
            format,
            style: Style { colored, verbose, width },
            progress: Progress::new(format == Format::Human, width),
            servers,
        }
    }

    /// The lines at the bottom of the terminal, for whoever has to ask there.
    pub fn lines(&self) -> ProgressLines {
        self.progress.lines()
    }

    /// A connection to `server` is being made.
    pub fn connecting(&mut self, server: &str) {
        self.progress.say(server, "connecting");
    }

    /// Something happened on `server`.
    pub fn event(&mut self, name: &str, event: &Event) -> io::Result<()> {
        self.progress.event(name, event);
        let text = self.told(name, event);
        self.print(&text)
    }

    /// The text that is printed of an event.
    pub(super) fn told(&mut self, name: &str, event: &Event) -> String {
        let Some(server) = self.servers.get_mut(name) else { return String::new() };
        server.totals.add(event);
        if matches!(event, Event::Aborted { .. }) {
            server.totals.skip_rest(server.masks.manifest.resources.len());
        }
        match self.format {
            Format::Json => {
                let id = match event {
                    Event::Checked { id, .. } | Event::Applied { id, .. } => Some(id),
                    _ => None,
                };
                let resource = id.and_then(|id| server.resource(id));
                let mut text = String::new();
                let mut add = |object| text.push_str(&json::json_line(&object));
                json::event(&server.masks, resource, event).map(&mut add);
                match event {
                    Event::PlanComplete => add(json::plan_totals(name, &server.totals)),
                    Event::Finished | Event::Aborted { .. } if server.totals.is_applying => {
                        add(json::apply_totals(name, &server.totals));
                    }
                    _ => {}
                }
                text
            }
            Format::Human => server.text(self.style, event),
            Format::Markdown => {
                let entry = markdown::entry(&server.masks, |id| server.resource(id), event);
                server.entries.extend(entry);
                String::new()
            }
        }
    }

    /// `server` could not be worked on.
    pub fn failed(&mut self, name: &str, error: Error) -> io::Result<()> {
        self.progress.done(name);
        let text = match self.format {
            Format::Json => error_line(name, &error),
            Format::Human | Format::Markdown => String::new(),
        };
        if let Some(server) = self.servers.get_mut(name) {
            server.totals.failures.push((None, error));
        }
        self.print(&text)
    }

    /// The servers that an apply would change something on.
    pub fn servers_with_changes(&self) -> Vec<String> {
        let needs_apply =
            |server: &Server| server.totals.has_changes() || server.totals.is_outdated();
        let changed = self.servers.iter().filter(|(_, server)| needs_apply(server));
        changed.map(|(name, _)| name.clone()).collect()
    }

    /// Whether an apply would do more on a server than to note under which names it knows things.
    pub fn changes_something(&self, server: &str) -> bool {
        self.servers.get(server).is_some_and(|server| server.totals.has_changes())
    }

    /// How many resources would be changed, and services reloaded or restarted, on `servers`.
    pub fn changes<'a>(&self, servers: impl IntoIterator<Item = &'a String>) -> usize {
        let count = |server: &Server| server.totals.plan.pending() + server.totals.due.len();
        servers.into_iter().filter_map(|name| self.servers.get(name)).map(count).sum()
    }

    /// A server that failed as a whole because what was asked for is wrong.
    pub fn wrong_input(&self) -> Option<String> {
        let mut failures = self.failures();
        let (server, _) = failures.find(|(_, error)| error.kind == Kind::Input)?;
        Some(server.to_owned())
    }

    /// The servers that failed as a whole, and why.
    pub fn without_plan(&self) -> impl Iterator<Item = (&str, &str)> {
        self.failures().map(|(server, error)| (server, error.message.as_str()))
    }

    /// Whether `server` failed as a whole.
    pub fn has_no_plan(&self, server: &str) -> bool {
        self.failures().any(|(name, _)| name == server)
    }

    /// What went wrong with a server, and not with a resource of it.
    fn failures(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.servers.iter().flat_map(|(name, server)| {
            let failures = server.totals.failures.iter().filter(|(id, _)| id.is_none());
            failures.map(|(_, error)| (name.as_str(), error))
        })
    }

    /// Whether anything failed on `server`.
    pub fn has_failed(&self, server: &str) -> bool {
        self.servers.get(server).is_some_and(|server| !server.totals.failures.is_empty())
    }

    /// Repeats the failures and says how the process ends.
    pub fn finish(mut self) -> io::Result<ExitCode> {
        let names: Vec<String> = self.servers.keys().cloned().collect();
        for name in &names {
            self.progress.done(name);
        }
        let code = self
            .servers
            .values()
            .map(|server| server.totals.exit_code())
            .fold(ExitCode::Done, ExitCode::merge);
        self.print(&self.ending(code))?;
        Ok(code)
    }

    /// The text that is printed at the end.
    pub(super) fn ending(&self, code: ExitCode) -> String {
        match self.format {
            Format::Json => return end_line(code),
            Format::Markdown => return self.markdown(),
            Format::Human => {}
        }
        let mut text = String::new();
        for (name, server) in &self.servers {
            for (id, error) in &server.totals.failures {
                let resource = id.as_ref().and_then(|id| server.resource(id));
                text.push_str(&self.style.failure(name, resource, id.as_ref(), error));
            }
        }
        if self.servers.len() > 1 {
            let stand = self.servers.iter();
            let stand = stand.map(|(name, server)| (&**name, server.totals.standing()));
            text.push_str(&self.style.closing(&stand.collect()));
        }
        text
    }

    /// Everything for a comment on a merge request.
    pub(super) fn markdown(&self) -> String {
        let servers = self.servers.iter();
        let servers = servers.map(|(name, server)| (&**name, &server.totals, &*server.entries));
        markdown::render(&servers.collect::<Vec<_>>(), self.changes(self.servers.keys()))
    }

    /// Asks the person at the terminal; only `yes` means yes.
    pub fn ask(&self, question: &str) -> io::Result<bool> {
        self.progress.suspend(|| super::terminal::ask(question))
    }

    fn print(&self, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { self.progress.suspend(|| print(text)) }
    }
}

/// How a command ends, as a line of JSON.
pub fn end_line(code: ExitCode) -> String {
    json::json_line(&serde_json::json!({"event": "end", "exit_code": code.number()}))
}

/// Why a server failed, as a line of JSON.
pub fn error_line(server: &str, error: &Error) -> String {
    json::json_line(&json::failure(server, error))
}

impl Server {
    fn new(manifest: Arc<Manifest>) -> Self {
        let ids = manifest.resources.iter().map(|resource| resource.id.clone());
        let index = ids.enumerate().map(|(index, id)| (id, index)).collect();
        Self {
            masks: Masks::new(manifest),
            index,
            totals: Totals::default(),
            plan: String::new(),
            entries: Vec::new(),
        }
    }

    fn resource(&self, id: &ResourceId) -> Option<&Resource> {
        self.masks.manifest.resources.get(*self.index.get(id)?)
    }

    /// What people are told of an event.
    fn text(&mut self, style: Style, event: &Event) -> String {
        let name = &self.masks.manifest.server;
        match event {
            Event::Remembered(memory) => {
                if let Some(run) = &memory.cut_run {
                    self.plan.push_str(&style.cut_run(name, run));
                }
                String::new()
            }
            Event::Checked { id, outcome, mark } => {
                let resource = self.resource(id);
                let lines = style.checked(&self.masks, resource, id, outcome, *mark);
                self.plan.push_str(&lines);
                String::new()
            }
            Event::ServiceDue { id, action } => {
                self.plan.push_str(&style.due(name, id, *action));
                String::new()
            }
            Event::AlsoRemoved { packages } => {
                self.plan.push_str(&style.also_removed(name, packages));
                String::new()
            }
            Event::PlanComplete => {
                let mut text = std::mem::take(&mut self.plan);
                text.push_str(&style.plan_totals(name, &self.totals));
                text
            }
            Event::Finished | Event::Aborted { .. } if self.totals.is_applying => {
                style.apply_totals(name, &self.totals)
            }
            other => style.happened(name, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::ServiceAction;
    use crate::manifest::Expect;

    /// The first line of a plan that restarts a unit.
    fn first_line(format: Format) -> String {
        let manifest = Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: Vec::new(),
            secrets: BTreeMap::new(),
        };
        let mut report = Report::new(format, false, false, [Arc::new(manifest)]);
        let id = ResourceId::new("systemd_unit", "worker.service");
        let due = Event::ServiceDue { id, action: ServiceAction::Restart };
        let told = report.told("rufus", &due) + &report.told("rufus", &Event::PlanComplete);
        told.lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_restart_that_is_due_is_told() {
        let line = first_line(Format::Human);
        assert_eq!(line, "rufus  ~ systemd_unit:worker.service  restart");
        let line: serde_json::Value = serde_json::from_str(&first_line(Format::Json)).unwrap();
        assert_eq!(
            line,
            serde_json::json!({
                "event": "service_due", "server": "rufus",
                "service": "systemd_unit:worker.service", "action": "restart",
            })
        );
    }
}
