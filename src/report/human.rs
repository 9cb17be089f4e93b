//! Results as text for people. Everything that a server sent passes through [`crate::shown`].

use std::collections::BTreeMap;

use super::difference::ShownField;
use super::failure;
use super::health;
use super::masks::Masks;
use super::totals::{Counts, Standing, Totals};
use crate::error::Error;
use crate::events::{Event, Mark, Outcome, RunRecord, ServiceAction};
use crate::manifest::{Resource, ResourceId};
use crate::resources::Change;
use crate::shown::{self, cut, whole_line};

/// So many servers are named in one part of the closing line.
const MOST_NAMES: usize = 10;

/// The most resources that are named as skipped.
const MOST_SKIPPED: usize = 5;

/// Longer differences are cut unless `-v` is given.
pub(super) const MOST_DIFF_LINES: usize = 60;

/// How text is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colored: bool,
    pub(super) verbose: bool,
    /// The width of the column of server names.
    pub(super) width: usize,
}

/// The colors there are, by what they say.
#[derive(Clone, Copy)]
pub(super) enum Tone {
    Create,
    Change,
    Remove,
    Failure,
    Quiet,
}

impl Style {
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Create => "32",
            Tone::Change => "33",
            Tone::Remove => "31",
            Tone::Failure => "1;31",
            Tone::Quiet => "2",
        };
        if self.colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(self, server: &str, text: &str) -> String {
        format!("{server:width$}  {text}\n", width = self.width)
    }

    /// What the check found of one resource; empty for what is as it should be.
    pub(super) fn checked(
        self,
        masks: &Masks,
        resource: Option<&Resource>,
        id: &ResourceId,
        outcome: &Outcome,
        mark: Option<Mark>,
    ) -> String {
        if matches!(outcome, Outcome::Ok | Outcome::Deferred) && !self.verbose {
            return String::new();
        }
        let (tone, text) = planned(id, outcome, mark);
        let mut lines = self.line(&masks.manifest.server, &self.paint(tone, &text));
        if let Outcome::Changed(change) = outcome {
            let fields = masks.of(resource, mark).fields(change);
            if change.is_create() && !self.verbose {
                lines.push_str(&self.new_fields(&fields));
            } else {
                lines.extend(fields.iter().map(|field| self.field(field)));
            }
        }
        lines
    }

    /// The fields of something new, on one line: all of it is new, so that its text says little.
    fn new_fields(self, fields: &[ShownField]) -> String {
        if fields.is_empty() {
            return String::new();
        }
        let text = format!("{}{}", " ".repeat(self.width + 6), on_one_line(fields));
        format!("{}\n", self.paint(Tone::Quiet, &text))
    }

    /// The lines about one field, indented below their resource.
    fn field(self, field: &ShownField) -> String {
        let indent = " ".repeat(self.width + 6);
        let mut lines = format!("{indent}{}\n", values(field));
        let shown = if self.verbose { field.diff.len() } else { MOST_DIFF_LINES };
        for line in field.diff.iter().take(shown) {
            let text = format!("{indent}  {}", whole_line(line));
            let text = match line.chars().next() {
                Some('+') => self.paint(Tone::Create, &text),
                Some('-') => self.paint(Tone::Remove, &text),
                Some('@') => self.paint(Tone::Quiet, &text),
                _ => text,
            };
            lines.push_str(&text);
            lines.push('\n');
        }
        if let Some(more) = field.diff.len().checked_sub(shown).filter(|more| *more > 0) {
            let text = format!("{indent}  … {more} more lines, shown by -v");
            lines.push_str(&self.paint(Tone::Quiet, &text));
            lines.push('\n');
        }
        lines
    }

    /// The line about a run that did not come to its end.
    pub(super) fn cut_run(self, server: &str, run: &RunRecord) -> String {
        self.line(server, &self.paint(Tone::Change, &format!("  {}", cut_run(run))))
    }

    /// What a plan would do to a service.
    pub(super) fn due(self, server: &str, id: &ResourceId, action: ServiceAction) -> String {
        self.line(server, &self.paint(Tone::Change, &due(id, action)))
    }

    /// What goes with the packages that go.
    pub(super) fn also_removed(self, server: &str, packages: &[String]) -> String {
        self.line(server, &self.paint(Tone::Remove, &also_removed(packages)))
    }

    /// What happened while applying; empty for what is not worth a line.
    pub(super) fn happened(self, server: &str, event: &Event) -> String {
        let (tone, text) = match event {
            Event::Applied { id, outcome } => match outcome {
                Outcome::Ok if self.verbose => (Tone::Quiet, format!("{id}  ok")),
                Outcome::Ok | Outcome::Unknown { .. } | Outcome::Untrusted | Outcome::Deferred => {
                    return String::new();
                }
                Outcome::Released { .. } => (Tone::Quiet, format!("{id}  no longer managed")),
                Outcome::Stays { because } => {
                    (Tone::Remove, format!("{id}  stays for now: {because}"))
                }
                Outcome::Changed(Change::Remove) => (Tone::Remove, format!("{id}  removed")),
                Outcome::Changed(_) => (Tone::Change, format!("{id}  changed")),
                Outcome::Skipped { .. } if !self.verbose => return String::new(),
                Outcome::Skipped { because } => {
                    (Tone::Quiet, format!("{id}  skipped, because {because} failed"))
                }
                Outcome::Failed(error) => {
                    (Tone::Failure, format!("{id}  failed: {}", error.message))
                }
            },
            Event::ServiceDone { id, action, error: None } => {
                (Tone::Change, format!("{id}  {}", done(*action)))
            }
            Event::ServiceDone { id, action, error: Some(error) } => {
                (Tone::Failure, format!("{id}  {} failed: {}", word(*action), error.message))
            }
            Event::RolledBack { id, error: None } => {
                (Tone::Remove, format!("{id}  put back as it was"))
            }
            Event::RolledBack { id, error: Some(error) } => {
                (Tone::Failure, format!("{id}  could not be put back: {}", error.message))
            }
            Event::Proved { .. } if self.verbose => {
                (Tone::Quiet, "a new connection gets in: the guarded changes stay".to_owned())
            }
            Event::Reverted { error } => {
                (Tone::Failure, format!("the guarded changes are put back: {}", error.message))
            }
            Event::Declared { message } => (Tone::Change, format!("~ {message}")),
            Event::Warning { message } => (Tone::Change, format!("warning: {message}")),
            _ => return String::new(),
        };
        self.line(server, &self.paint(tone, &shown::line(&text)))
    }

    /// The closing line of a check.
    pub(super) fn plan_totals(self, server: &str, totals: &Totals) -> String {
        let plan = totals.plan;
        let mut parts = vec![format!("{} ok", plan.ok)];
        parts.extend(counts(plan));
        let line = format!("{}: {}", resources(plan.all()), parts.join(", "));
        self.reboot(server, totals) + &self.maintenance(server, totals) + &self.line(server, &line)
    }

    /// That the server should be rebooted, and why; empty if not.
    fn reboot(self, server: &str, totals: &Totals) -> String {
        let Some(because) = &totals.memory.reboot else { return String::new() };
        let text = shown::line(&format!("! reboot needed: {because}"));
        self.line(server, &self.paint(Tone::Change, &text))
    }

    /// The sites that visitors do not see; empty if there are none.
    fn maintenance(self, server: &str, totals: &Totals) -> String {
        let sites = totals.memory.maintenance.iter().map(health::maintenance);
        let lines = sites.map(|site| self.paint(Tone::Change, &shown::line(&format!("! {site}"))));
        lines.map(|line| self.line(server, &line)).collect()
    }

    /// The closing line of an apply, after what only the apply has brought up.
    pub(super) fn apply_totals(self, server: &str, totals: &Totals) -> String {
        let done = totals.applied;
        let put_back = match totals.put_back.len() {
            0 => String::new(),
            count => format!(" ({count} put back)"),
        };
        let text = format!(
            "{}: {} ok, {} changed{put_back}, {} failed, {} skipped",
            resources(done.all()),
            done.ok,
            done.changed(),
            done.failed,
            done.skipped,
        );
        let reboot = if totals.is_reboot_new { self.reboot(server, totals) } else { String::new() };
        reboot + &self.line(server, &text) + &self.skipped(server, &totals.skipped)
    }

    /// The names of resources that were skipped; with `-v`, each has had a line of its own.
    fn skipped(self, server: &str, skipped: &[ResourceId]) -> String {
        if skipped.is_empty() || self.verbose {
            return String::new();
        }
        let shown = skipped.iter().take(MOST_SKIPPED).map(|id| format!("`{id}`"));
        let more = skipped.len().checked_sub(MOST_SKIPPED).filter(|more| *more > 0);
        let more = more.map(|more| format!(" and {more} more, shown by -v")).unwrap_or_default();
        let text = format!("skipped: {}{more}", shown.collect::<Vec<_>>().join(", "));
        self.line(server, &self.paint(Tone::Quiet, &shown::line(&text)))
    }

    /// How all servers of a run stand, for a run with more than one.
    pub(super) fn closing(self, servers: &BTreeMap<&str, Standing>) -> String {
        let mut parts = Vec::new();
        for (standing, word, tone) in [
            (Standing::Ok, "ok", Tone::Quiet),
            (Standing::Changed, "changed", Tone::Change),
            (Standing::ToChange, "to change", Tone::Change),
            (Standing::Locked, "locked", Tone::Failure),
            (Standing::Unreachable, "unreachable", Tone::Failure),
            (Standing::Failed, "failed", Tone::Failure),
        ] {
            let with = servers.iter().filter(|(_, its)| **its == standing);
            let names: Vec<&str> = with.map(|(name, _)| *name).collect();
            let text = match names.len() {
                0 => continue,
                count if standing == Standing::Ok => format!("{count} {word}"),
                count => format!("{count} {word} ({})", shortened(&names)),
            };
            parts.push(self.paint(tone, &text));
        }
        format!("\n{} servers: {}\n", servers.len(), parts.join(", "))
    }

    /// A failure as it is repeated at the end.
    pub(super) fn failure(
        self,
        server: &str,
        resource: Option<&Resource>,
        id: Option<&ResourceId>,
        error: &Error,
    ) -> String {
        let head = self.paint(Tone::Failure, "error:");
        let mut place = format!(" --> {server}");
        if let Some(id) = id {
            place = format!("{place}  {id}");
        }
        if let Some(resource) = resource {
            place = format!("{place}  {}", resource.place);
        }
        let message = shown::line(&error.message);
        let mut lines = format!("\n{head} {message}\n{}\n", shown::line(&place));
        lines.extend(failure::reasons(error).iter().map(|line| format!("{line}\n")));
        lines
    }
}

/// What the check found of one resource, on one line.
pub(super) fn planned(id: &ResourceId, outcome: &Outcome, mark: Option<Mark>) -> (Tone, String) {
    let (tone, symbol, word) = match outcome {
        Outcome::Ok => (Tone::Quiet, ' ', "ok".to_owned()),
        Outcome::Deferred => (Tone::Quiet, '?', "verified after the changes".to_owned()),
        Outcome::Changed(Change::Create(_)) => (Tone::Create, '+', "create".to_owned()),
        Outcome::Changed(Change::Update(_)) => (Tone::Change, '~', "change".to_owned()),
        Outcome::Changed(Change::Remove) => (Tone::Remove, '-', "remove".to_owned()),
        Outcome::Released { because } => {
            (Tone::Remove, ' ', format!("no longer managed: {because}"))
        }
        Outcome::Stays { because } => (Tone::Remove, ' ', format!("stays for now: {because}")),
        Outcome::Unknown { after } => {
            (Tone::Change, '?', format!("change or ok, known after {after}"))
        }
        Outcome::Untrusted => {
            (Tone::Change, '?', "change or ok, known after the change is trusted".to_owned())
        }
        Outcome::Skipped { because } => {
            (Tone::Quiet, ' ', format!("skipped, because {because} failed"))
        }
        Outcome::Failed(error) => (Tone::Failure, '!', format!("failed: {}", error.message)),
    };
    let why = mark.map(why).unwrap_or_default();
    (tone, whole_line(&format!("{symbol} {id}  {}{why}", cut(&word, shown::MOST_BYTES))))
}

/// The line about a run that did not come to its end.
pub(super) fn cut_run(run: &RunRecord) -> String {
    let who = shown::name(&run.who);
    format!("the last run, by {who}, was cut: an apply goes on from there")
}

/// The line about the part of a service in a plan.
pub(super) fn due(id: &ResourceId, action: ServiceAction) -> String {
    whole_line(&format!("~ {id}  {}", word(action)))
}

/// The packages that apt removes beside those that the plan names.
pub(super) fn also_removed(packages: &[String]) -> String {
    whole_line(&format!("- apt also removes what depends on those: {}", packages.join(", ")))
}

/// The fields of something new.
pub(super) fn on_one_line(fields: &[ShownField]) -> String {
    let texts: Vec<String> =
        fields.iter().map(|field| format!("{}: {}", field.name, field.desired)).collect();
    whole_line(&texts.join(", "))
}

/// A field's name and its values, before and after.
pub(super) fn values(field: &ShownField) -> String {
    let values = match &field.current {
        Some(current) if *current == field.desired && !field.diff.is_empty() => {
            field.desired.clone()
        }
        Some(current) => format!("{current} → {}", field.desired),
        None => field.desired.clone(),
    };
    whole_line(&format!("{}: {values}", field.name))
}

/// The numbers of a plan beside those that are as they should be.
pub(super) fn counts(plan: Counts) -> Vec<String> {
    let mut parts = Vec::new();
    for (count, word) in [
        (plan.create, "to create"),
        (plan.change, "to change"),
        (plan.remove, "to remove"),
        (plan.released, "no longer managed"),
        (plan.staying, "staying for now"),
        (plan.unknown, "known later"),
        (plan.deferred, "to verify"),
        (plan.failed, "failed"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if plan.drifted > 0 {
        parts.push(format!("{} of them drift", plan.drifted));
    }
    parts
}

/// Names on one line; those beyond [`MOST_NAMES`] are counted.
pub(super) fn shortened(names: &[&str]) -> String {
    match names.split_at_checked(MOST_NAMES) {
        Some((first, more)) if !more.is_empty() => {
            format!("{} and {} more", first.join(", "), more.len())
        }
        _ => names.join(", "),
    }
}

fn resources(count: usize) -> String {
    if count == 1 { "1 resource".to_owned() } else { format!("{count} resources") }
}

/// What is said of a change that is not the inventory's.
fn why(mark: Mark) -> &'static str {
    match mark {
        Mark::Drift => " (drift: changed on the server since the last apply)",
        Mark::AlsoDrift => " (and changed on the server since the last apply)",
        Mark::Undeclared => " (no longer declared)",
        Mark::Restored => " (no longer declared: back as it was before infra)",
    }
}

/// What is done to a service, as an order.
pub(super) fn word(action: ServiceAction) -> &'static str {
    match action {
        ServiceAction::Reload => "reload",
        ServiceAction::Restart => "restart",
    }
}

fn done(action: ServiceAction) -> &'static str {
    match action {
        ServiceAction::Reload => "reloaded",
        ServiceAction::Restart => "restarted",
    }
}
