//! Results as one JSON object a line; `docs/json-output.md` describes the fields.

use serde_json::{Value, json};

use super::human::word;
use super::masks::Masks;
use super::totals::{Counts, Totals};
use crate::error::{Error, Kind};
use crate::events::{Event, Mark, Outcome};
use crate::manifest::{Resource, ResourceId};
use crate::resources::Change;
use crate::shown::is_hidden;

/// An object on a line of its own, as programs read it; see [`json_text`].
pub fn json_line(object: &Value) -> String {
    json_text(&object.to_string()) + "\n"
}

/// JSON without line feeds in which no terminal and no CI job finds anything to obey: what is
/// hidden, and the second of two `#`, is written as an escape. A program reads the same texts.
pub fn json_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut before = None;
    for character in json.chars() {
        // All of these can only be in texts, where an escape is allowed.
        if is_hidden(character) || (character == '#' && before == Some('#')) {
            let mut units = [0; 2];
            let units = character.encode_utf16(&mut units).iter();
            text.extend(units.map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(character);
        }
        before = Some(character);
    }
    text
}

/// The object of an event; `None` for what has no meaning of its own.
pub(super) fn event(masks: &Masks, resource: Option<&Resource>, event: &Event) -> Option<Value> {
    let server = &masks.manifest.server;
    Some(match event {
        Event::Started { facts } => json!({"event": "facts", "server": server, "facts": facts}),
        Event::Remembered(memory) => json!({
            "event": "remembered", "server": server, "serial": memory.serial,
            "last_run": memory.last_run, "cut_run": memory.cut_run,
            "owed": memory.owed.iter().map(|(id, action)| json!({
                "service": id, "action": word(*action),
            })).collect::<Vec<_>>(),
            "reboot_needed": memory.reboot.is_some(), "reboot_because": memory.reboot,
        }),
        Event::History(runs) => json!({"event": "history", "server": server, "runs": runs}),
        Event::Checked { id, outcome, mark } => {
            let mut object = resource_event("planned", masks, resource, (id, outcome, *mark));
            if let Some(mark) = mark {
                object["mark"] = json!(mark_word(*mark));
            }
            object
        }
        Event::ServiceDue { id, action } => json!({
            "event": "service_due", "server": server, "service": id, "action": word(*action),
        }),
        Event::AlsoRemoved { packages } => {
            json!({"event": "also_removed", "server": server, "packages": packages})
        }
        Event::Applying { id } => {
            json!({"event": "applying", "server": server, "resource": id})
        }
        Event::Progress { id, percent, message } => json!({
            "event": "progress", "server": server, "resource": id,
            "percent": percent, "message": message,
        }),
        Event::Applied { id, outcome } => {
            resource_event("applied", masks, resource, (id, outcome, None))
        }
        Event::ServiceDone { id, action, error } => json!({
            "event": "service_done", "server": server, "service": id, "action": word(*action),
            "error": error.as_ref().map(error_object),
        }),
        Event::RolledBack { id, error } => json!({
            "event": "rolled_back", "server": server, "resource": id,
            "error": error.as_ref().map(error_object),
        }),
        Event::ProofWanted { ids, seconds } => json!({
            "event": "proof_wanted", "server": server, "resources": ids, "seconds": seconds,
        }),
        Event::Proved { ids } => json!({"event": "proved", "server": server, "resources": ids}),
        Event::Reverted { error } => json!({
            "event": "reverted", "server": server, "error": error_object(error),
        }),
        Event::Declared { message } => {
            json!({"event": "declared", "server": server, "message": message})
        }
        Event::Warning { message } => {
            json!({"event": "warning", "server": server, "message": message})
        }
        Event::Aborted { error } => failure(server, error),
        Event::PlanComplete | Event::Finished => return None,
    })
}

fn resource_event(
    name: &str,
    masks: &Masks,
    resource: Option<&Resource>,
    (id, outcome, mark): (&ResourceId, &Outcome, Option<Mark>),
) -> Value {
    let mut object = json!({
        "event": name,
        "server": masks.manifest.server,
        "resource": id,
        "role": resource.map(|resource| &resource.role),
        "place": resource.map(|resource| &resource.place),
        "outcome": outcome_word(name, outcome),
    });
    let (key, value) = match outcome {
        Outcome::Changed(change) => ("fields", json!(masks.of(resource, mark).fields(change))),
        Outcome::Unknown { after } => ("after", json!(after)),
        Outcome::Released { because } | Outcome::Stays { because } => ("because", json!(because)),
        Outcome::Skipped { because } => ("because", json!(because)),
        Outcome::Failed(error) => ("error", error_object(error)),
        Outcome::Ok | Outcome::Untrusted | Outcome::Deferred => return object,
    };
    object[key] = value;
    object
}

fn outcome_word(event: &str, outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Changed(_) if event == "applied" => "changed",
        Outcome::Changed(Change::Create(_)) => "create",
        Outcome::Changed(Change::Update(_)) => "change",
        Outcome::Changed(Change::Remove) => "remove",
        Outcome::Released { .. } => "released",
        Outcome::Stays { .. } => "stays",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Untrusted => "untrusted",
        Outcome::Deferred => "deferred",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Failed(_) => "failed",
    }
}

fn mark_word(mark: Mark) -> &'static str {
    match mark {
        Mark::Drift => "drift",
        Mark::AlsoDrift => "also_drift",
        Mark::Undeclared => "undeclared",
        Mark::Restored => "restored",
    }
}

/// Why a server, not one of its resources, failed.
pub(super) fn failure(server: &str, error: &Error) -> Value {
    json!({"event": "error", "server": server, "error": error_object(error)})
}

/// An error.
pub(super) fn error_object(error: &Error) -> Value {
    json!({
        "kind": kind(error.kind),
        "message": error.message,
        "causes": error.causes,
        "hint": error.hint,
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Input => "input",
        Kind::Failed | Kind::TimedOut => "failed",
        Kind::ToolMissing => "tool_missing",
        Kind::Unreachable => "unreachable",
        Kind::Locked => "locked",
        Kind::Reverted => "reverted",
        Kind::Interrupted => "interrupted",
    }
}

/// The closing object of a check.
pub(super) fn plan_totals(server: &str, totals: &Totals) -> Value {
    let Counts { ok, create, change, remove, released, staying, drifted, .. } = totals.plan;
    let Counts { unknown, deferred, failed, .. } = totals.plan;
    json!({
        "event": "plan_totals", "server": server, "resources": totals.plan.all(), "ok": ok,
        "create": create, "change": change, "remove": remove, "released": released,
        "staying": staying, "drifted": drifted, "unknown": unknown,
        "deferred": deferred, "failed": failed, "has_changes": totals.has_changes(),
    })
}

/// The closing object of an apply.
pub(super) fn apply_totals(server: &str, totals: &Totals) -> Value {
    let done = totals.applied;
    json!({
        "event": "apply_totals", "server": server, "resources": done.all(), "ok": done.ok,
        "changed": done.changed(), "failed": done.failed, "skipped": done.skipped,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::manifest::{Expect, Manifest};

    #[test]
    fn texts_are_written_safely_and_read_back() {
        let said = "a\u{9b}\u{7f}\u{202e}\u{2028}\u{e0041}\\##[error]\n\té";
        let line = json_line(&json!({ "message": said }));
        assert_eq!(
            line,
            "{\"message\":\"a\\u009b\\u007f\\u202e\\u2028\\udb40\\udc41\\\\#\\u0023[error]\\n\\té\"}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["message"], said);
    }

    #[test]
    fn events_have_stable_names() {
        let manifest = Manifest {
            server: "rufus".to_owned(),
            expect: Expect::default(),
            resources: Vec::new(),
            secrets: BTreeMap::new(),
        };
        let id = ResourceId::new("file", "/etc/motd");
        let outcome = Outcome::Failed(Error::failed("no").because("why").hint("do"));
        assert_eq!(
            event(&Masks::new(Arc::new(manifest)), None, &Event::Applied { id, outcome }).unwrap(),
            json!({
                "event": "applied", "server": "rufus", "resource": "file:/etc/motd",
                "role": null, "place": null, "outcome": "failed",
                "error": {"kind": "failed", "message": "no", "causes": ["why"], "hint": "do"},
            })
        );
    }
}
