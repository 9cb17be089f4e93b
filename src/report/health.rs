//! The health of a fleet: one line a server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Format;
use super::json::{error_object, json_line, plan_totals};
use super::markdown;
use super::run::end_line;
use super::runs::{commit, end, table};
use super::time::moment;
use super::totals::Totals;
use crate::error::{Error, Kind};
use crate::events::{Event, FailedUnit, Maintenance, RunRecord};
use crate::exit_code::ExitCode;
use crate::shown;

/// How many failed units of a server are named.
const MOST_UNITS: usize = 10;

/// How a format writes the table and the lines below it.
struct Write {
    table: fn(&[[String; 6]]) -> String,
    /// The name of a server.
    server: fn(&str) -> String,
    /// The complaints of a server.
    name: fn(&str) -> String,
    text: fn(&str) -> String,
    /// The words before a line of its own.
    before: &'static str,
}

const HUMAN: Write =
    Write { table, server: str::to_owned, name: shown::name, text: shown::line, before: "" };

/// A line of its own is a paragraph of its own.
const MARKDOWN: Write = Write {
    table: markdown::table,
    server: markdown::server,
    name: markdown::name,
    text: markdown::code,
    before: "\n",
};

/// What was found on each server.
#[derive(Debug, Default)]
pub struct Health {
    servers: BTreeMap<String, Totals>,
}

impl Health {
    /// Nothing is known yet of these servers.
    pub fn new(servers: impl IntoIterator<Item = String>) -> Self {
        Self { servers: servers.into_iter().map(|name| (name, Totals::default())).collect() }
    }

    /// Something was seen on a server.
    pub fn event(&mut self, server: &str, event: &Event) {
        if let Some(totals) = self.servers.get_mut(server) {
            totals.add(event);
        }
    }

    /// A server could not be looked at.
    pub fn failed(&mut self, server: &str, error: Error) {
        if let Some(totals) = self.servers.get_mut(server) {
            totals.failures.push((None, error));
        }
    }

    /// The worst that was found.
    pub fn exit_code(&self) -> ExitCode {
        self.servers.values().map(exit_code).fold(ExitCode::Done, ExitCode::merge)
    }

    /// The table for people, or a line of JSON for each server and one for the end.
    pub fn render(&self, format: Format) -> String {
        if format == Format::Json {
            let lines = self.servers.iter().map(|(name, totals)| object(name, totals));
            let lines: String = lines.map(|line| json_line(&line)).collect();
            return lines + &end_line(self.exit_code());
        }
        let head = ["SERVER", "STATE", "PENDING", "DRIFT", "OWED", "LAST RUN"].map(str::to_owned);
        let write = if format == Format::Markdown { MARKDOWN } else { HUMAN };
        let rows = self.servers.iter().map(|server| row(server, &write));
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
        let mut text = (write.table)(&rows);
        for (name, totals) in &self.servers {
            for complaint in complaints(totals) {
                let (name, complaint) = ((write.server)(name), (write.text)(&complaint));
                text.extend([write.before, &name, ": ", &complaint, "\n"]);
            }
        }
        text
    }
}

/// The complaints about a server: what failed, the services that should run and do not, and the sites that
/// visitors do not see. One cause
/// may show in several places, and which of them tells the reader most is not known here.
fn complaints(totals: &Totals) -> Vec<String> {
    let mut complaints: Vec<String> = Vec::new();
    for (_, error) in &totals.failures {
        if !complaints.contains(&error.message) {
            complaints.push(error.message.clone());
        }
    }
    complaints.extend(totals.down.iter().map(|id| format!("`{}` does not run", id.identity())));
    let is_told = |unit: &&FailedUnit| {
        let name = unit.name.strip_suffix(".service").unwrap_or(&unit.name);
        totals.down.iter().any(|id| id.identity() == unit.name || id.identity() == name)
    };
    let units = &totals.memory.failed_units;
    complaints.extend(units.iter().take(MOST_UNITS).filter(|unit| !is_told(unit)).map(failed));
    let more = units.len().saturating_sub(MOST_UNITS);
    complaints.extend((more > 0).then(|| format!("{more} more units have failed")));
    complaints.extend(totals.memory.maintenance.iter().map(maintenance));
    complaints
}

/// The complaint about a unit that has failed.
fn failed(unit: &FailedUnit) -> String {
    let name = shown::cut(&unit.name, shown::MOST_NAME_BYTES);
    let (failed, at) = if unit.is_restarted {
        ("fails again and again", ", last at ")
    } else {
        ("failed", " at ")
    };
    let when = unit.since.map(|since| format!("{at}{}", moment(since)));
    format!("`{name}` {failed}{}", when.unwrap_or_default())
}

/// That visitors of a site see a maintenance page.
pub(super) fn maintenance(maintenance: &Maintenance) -> String {
    let site = shown::cut(&maintenance.site, shown::MOST_NAME_BYTES);
    let since = maintenance.since.map(|since| format!(" since {}", moment(since)));
    format!("{site}: maintenance{}", since.unwrap_or_default())
}

/// How a look at this server ends.
fn exit_code(totals: &Totals) -> ExitCode {
    let has_failed = !totals.memory.failed_units.is_empty();
    let units = if has_failed { ExitCode::Failed } else { ExitCode::Done };
    totals.exit_code().merge(units)
}

fn row((name, totals): (&String, &Totals), write: &Write) -> [String; 6] {
    let memory = &totals.memory;
    let is_known = totals.failures.iter().all(|(id, _)| id.is_some());
    let number = |number: usize| if is_known { number.to_string() } else { "?".to_owned() };
    let mut last = memory.last_run.as_ref().map_or("never".to_owned(), |run| last_run(run, write));
    if !is_known && memory.last_run.is_none() {
        "?".clone_into(&mut last);
    }
    if let Some(run) = &memory.cut_run {
        last = format!("{}, cut", last_run(run, write));
    }
    if memory.reboot.is_some() {
        last.push_str("; reboot needed");
    }
    [
        (write.server)(name),
        state(totals).to_owned(),
        number(pending(totals)),
        number(totals.plan.drifted),
        number(memory.owed.len()),
        last,
    ]
}

fn last_run(run: &RunRecord, write: &Write) -> String {
    let ended = match run.ended {
        Some(_) => format!(", {}", end(run.end)),
        None => String::new(),
    };
    let (who, commit) = ((write.name)(&run.who), (write.name)(&commit(run)));
    format!("{} by {who}, {commit}{ended}", moment(run.started))
}

/// How many resources and services an apply would change.
fn pending(totals: &Totals) -> usize {
    totals.plan.pending() + totals.due.len()
}

/// The worst of what is known, in one word.
fn state(totals: &Totals) -> &'static str {
    for (id, error) in &totals.failures {
        match (id, error.kind) {
            (None, Kind::Unreachable) => return "unreachable",
            (None, Kind::Locked) => return "locked",
            _ => {}
        }
    }
    if !totals.failures.is_empty() || !totals.memory.failed_units.is_empty() {
        "failed"
    } else if totals.memory.cut_run.is_some() {
        "cut"
    } else if totals.plan.drifted > 0 {
        "drift"
    } else if totals.has_changes() {
        "pending"
    } else {
        "ok"
    }
}

fn object(name: &str, totals: &Totals) -> Value {
    let plan = plan_totals(name, totals);
    let memory = &totals.memory;
    json!({
        "event": "status", "server": name, "state": state(totals),
        "pending": pending(totals), "drifted": plan["drifted"], "failed": plan["failed"],
        "owed": memory.owed.len(), "last_run": memory.last_run, "cut_run": memory.cut_run,
        "reboot_needed": memory.reboot.is_some(), "reboot_because": memory.reboot,
        "error": totals.failures.first().map(|(_, error)| error_object(error)),
        "failed_units": memory.failed_units.iter().map(|unit| json!({
            "unit": unit.name, "since": unit.since, "is_restarted": unit.is_restarted,
        })).collect::<Vec<_>>(),
        "maintenance": memory.maintenance.iter().map(|it| json!({
            "site": it.site, "since": it.since,
        })).collect::<Vec<_>>(),
        "complaints": complaints(totals),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Mark, Memory, Outcome, RunEnd, ServiceAction};
    use crate::manifest::ResourceId;
    use crate::resources::{Change, FieldChange};

    fn run(end: RunEnd, ended: Option<u64>) -> RunRecord {
        RunRecord {
            serial: 7,
            who: "ana@laptop".to_owned(),
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            is_partial: false,
            started: 1_700_000_000,
            ended,
            end,
            changed: 1,
            removed: 0,
            failed: 0,
        }
    }

    #[test]
    fn one_line_a_server_and_the_failures_below() {
        let names = ["cut", "down", "drift", "fine", "gone", "new"].map(str::to_owned);
        let mut health = Health::new(names);
        let done = Some(run(RunEnd::Done, Some(1_700_000_060)));
        let memory = Memory { last_run: done, ..Memory::default() };
        health.event("fine", &Event::Remembered(Box::new(memory.clone())));
        let cut = Memory { cut_run: Some(run(RunEnd::Cut, None)), ..memory.clone() };
        health.event("cut", &Event::Remembered(Box::new(cut)));
        let id = ResourceId::new("service", "nginx");
        let owed = vec![(id.clone(), ServiceAction::Reload)];
        let reboot = Some("asked for by libc6".to_owned());
        let memory = Memory { owed, reboot, ..memory };
        health.event("drift", &Event::Remembered(Box::new(memory)));
        let outcome = Outcome::Changed(Change::Remove);
        let file = ResourceId::new("file", "/etc/motd");
        health.event("drift", &Event::Checked { id: file, outcome, mark: Some(Mark::Drift) });
        health.event("drift", &Event::ServiceDue { id, action: ServiceAction::Reload });
        let service = ResourceId::new("service", "nginx");
        let running = FieldChange {
            field: "running".to_owned(),
            current: Some(false.into()),
            desired: true.into(),
        };
        let outcome = Outcome::Changed(Change::Update(vec![running]));
        health.event("down", &Event::Checked { id: service, outcome, mark: None });
        for message in ["the device `/dev/sdb` is not there", "PostgreSQL cannot start"] {
            let id = ResourceId::new("volume", message);
            let outcome = Outcome::Failed(Error::failed(message));
            health.event("down", &Event::Checked { id, outcome, mark: None });
        }
        let error = Error::new(Kind::Unreachable, "cannot reach `gone`").because("no route");
        health.failed("gone", error);
        assert_eq!(
            health.render(Format::Human),
            "\
SERVER  STATE        PENDING  DRIFT  OWED  LAST RUN
cut     cut          0        0      0     2023-11-14 22:13 UTC by ana@laptop, 0123456789, cut
down    failed       1        0      0     never
drift   drift        2        1      1     2023-11-14 22:13 UTC by ana@laptop, 0123456789, done; reboot needed
fine    ok           0        0      0     2023-11-14 22:13 UTC by ana@laptop, 0123456789, done
gone    unreachable  ?        ?      ?     ?
new     ok           0        0      0     never
down: the device `/dev/sdb` is not there
down: PostgreSQL cannot start
down: `nginx` does not run
gone: cannot reach `gone`
"
        );
        assert_eq!(health.exit_code(), ExitCode::Failed);
        let markdown = health.render(Format::Markdown);
        let head = "\
| SERVER | STATE | PENDING | DRIFT | OWED | LAST RUN |
| --- | --- | --- | --- | --- | --- |
| cut | cut | 0 | 0 | 0 | 2023-11-14 22:13 UTC by `ana@laptop`, `0123456789`, cut |
";
        assert!(markdown.starts_with(head), "{markdown}");
        assert!(
            markdown.ends_with("does not run ``\n\ngone: `` cannot reach `gone` ``\n"),
            "{markdown}"
        );
        let json = health.render(Format::Json);
        let lines: Vec<Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 7);
        assert_eq!(lines[1]["complaints"][1], "PostgreSQL cannot start");
        assert_eq!(lines[2]["state"], "drift");
        assert_eq!(lines[2]["pending"], 2);
        assert_eq!(lines[4]["error"]["message"], "cannot reach `gone`");
        assert_eq!(lines[6], json!({"event": "end", "exit_code": 3}));
    }
    #[test]
    fn a_unit_that_failed_makes_its_server_fail() {
        let unit = |name: &str, since, is_restarted| {
            let name = name.to_owned();
            FailedUnit { name, since, is_restarted }
        };
        let mut failed_units = vec![
            unit("flus-cron.service", Some(1_700_000_000), false),
            unit("flus-jobs.service", Some(1_699_999_000), true),
            unit("\u{1b}[1m::error::.service", None, false),
            unit(&"x".repeat(300), None, false),
        ];
        failed_units.extend((0..9).map(|n| unit(&format!("unit-{n}.service"), None, false)));
        let mut health = Health::new(["rufus".to_owned()]);
        let memory = Memory { failed_units, ..Memory::default() };
        health.event("rufus", &Event::Remembered(Box::new(memory)));
        let text = health.render(Format::Human);
        let long = format!("rufus: `{} … (cut, 300 bytes in all)` failed", "x".repeat(256));
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines[..5],
            [
                "rufus   failed  0        0      0     never",
                "rufus: `flus-cron.service` failed at 2023-11-14 22:13 UTC",
                "rufus: `flus-jobs.service` fails again and again, last at 2023-11-14 21:56 UTC",
                "rufus: `\\u{1b}[1m::error::.service` failed",
                &long,
            ]
        );
        assert_eq!(lines[11..], ["rufus: 3 more units have failed"]);
        assert_eq!(health.exit_code(), ExitCode::Failed);
        let json = health.render(Format::Json);
        let line: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(line["state"], "failed");
        assert_eq!(line["error"], Value::Null);
        assert_eq!(
            line["failed_units"][1],
            json!({"unit": "flus-jobs.service", "since": 1_699_999_000, "is_restarted": true})
        );
    }
}
