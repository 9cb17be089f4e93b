//! Writes seeds that are no text, or that follow from the kinds, below the folder that
//! `INFRA_FUZZ_SEEDS` names: one folder a target.

#![no_main]

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra::diagnostic::Source;
use infra::error::{Error, Kind};
use infra::events::{
    Event, FailedUnit, Maintenance, Mark, Memory, Outcome, RunEnd, RunRecord, ServiceAction,
};
use infra::manifest::{Manifest, ResourceId};
use infra::resources::{self, Change, FieldChange, KINDS, Probe as _, State, Value};
use infra::saved_plan::{SavedPlan, SavedServer, Seen, Way};
use infra::secrets::PlanKey;
use infra::wire::{self, Request, RunOptions};
use infra::yaml::emit::{Document, flow};
use infra::yaml::{self, Node};
use infra_fuzz::{Project, SEPARATOR, compare_and_apply, server};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;

// Counting edges needs libFuzzer, which has a `main` of its own: the work is done before that looks
// for inputs.
fuzz_target!(init: write_seeds(), |_input: &[u8]| {});

fn write_seeds() {
    let folder = std::env::var_os("INFRA_FUZZ_SEEDS").expect("INFRA_FUZZ_SEEDS names no folder");
    let folder = Path::new(&folder);
    let write = |target: &str, name: &str, content: &[u8]| {
        fs::create_dir_all(folder.join(target)).unwrap();
        fs::write(folder.join(target).join(name), content).unwrap();
    };
    let project = Project::new();
    for kind in KINDS {
        let example = resources::example(kind).unwrap();
        write("yaml", kind, example.as_bytes());
        let files = project_with(example);
        write("template", kind, &files);
        if let Ok(manifest) = project.compile(&files) {
            write("requests", kind, &frames(&[check(&manifest)]));
            let (run, state) = applied(&manifest);
            write("events", kind, &run);
            write("state", kind, &[&record(), SEPARATOR, &state].concat());
        }
        for (field, resources) in variants(kind, example) {
            let name = format!("{kind}-{field}");
            write("yaml", &name, resources.concat().as_bytes());
            write("template", &name, &project_with(&resources.concat()));
            let manifests = resources.iter().filter_map(|resource| {
                let manifest = project.compile(&project_with(resource)).ok()?;
                manifest.resources.first()?;
                Some(manifest)
            });
            let manifests: Vec<Manifest> = manifests.take(MOST_MANIFESTS).collect();
            write("requests", &name, &frames(&manifests.iter().map(check).collect::<Vec<_>>()));
            write("saved_plans", &name, &plan(&manifests, &[]));
        }
    }
    write("age_files", "own", &fs::read(project.path().join("secrets/all.yaml.age")).unwrap());
    let manifest = infra_fuzz::manifest();
    let events = frames(&events());
    let (run, state) = applied(&manifest);
    write("events", "all", &events);
    write("events", "run", &run);
    write("requests", "all", &frames(&requests(&manifest)));
    write("saved_plans", "plan", &plan(&[manifest], &run));
    write("state", "applied", &[&record(), SEPARATOR, &state].concat());
}

/// The events of a run, and the state that it leaves.
fn applied(manifest: &Manifest) -> (Vec<u8>, Vec<u8>) {
    let mut system = server();
    let run = compare_and_apply(manifest, &RunOptions::default(), &mut system);
    let state = system.read("/var/lib/infra/state.json").unwrap().unwrap_or_default();
    (run, state)
}

/// A project whose role has the resources of an example.
fn project_with(example: &str) -> Vec<u8> {
    let example = example.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let files = ["roles: { demo: {} }", "", &format!("resources:\n{example}")];
    files.map(str::as_bytes).join(SEPARATOR)
}

/// Values of every kind, as each field is given them in turn.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "1.5",
    "99999999999",
    "\"\"",
    "x",
    "/a/b",
    "\"1\"",
    "[]",
    "[x]",
    "[1]",
    "[[x]]",
    "{}",
    "{x: y}",
    "{x: 1}",
    "[{x: y}]",
];

/// As many manifests as the agent reads of an input.
const MOST_MANIFESTS: usize = 20;

/// Resources as in an example of `kind`, each with another value of a field: a list of lines for
/// each field.
fn variants(kind: &str, example: &str) -> Vec<(String, Vec<String>)> {
    let examples = yaml::parse(&Source::new("example", example)).unwrap();
    let schema = resources::schema(kind).unwrap();
    let schema = schema.as_value();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let variants = properties.map(|(field, property)| {
        let mut values: Vec<String> = VALUES.iter().map(|value| (*value).to_owned()).collect();
        words(property, &mut values);
        words(&schema["$defs"], &mut values);
        let resources = examples.as_list().into_iter().flatten().flat_map(|resource| {
            values.iter().filter_map(|value| variant(kind, resource, field, value))
        });
        (field.clone(), resources.collect())
    });
    variants.collect()
}

/// A resource with `value` for `field`, as a line of a list.
fn variant(kind: &str, resource: &Node, field: &str, value: &str) -> Option<String> {
    let given = &resource.as_map()?.entries.first()?.value;
    let mut fields = match given.as_map() {
        Some(map) => map.entries.iter().map(|it| ((&*it.key).into(), (&it.value).into())).collect(),
        None => vec![(resources::primary_field(kind)?.into(), Document::from(given))],
    };
    fields.retain(|(name, _)| name != field);
    fields.push((field.into(), Document::Plain(value.into())));
    let resource = Document::Map(vec![(kind.into(), Document::Map(fields))]);
    Some(format!("- {}\n", *flow(&resource)))
}

/// The words that a part of a schema allows.
fn words(schema: &serde_json::Value, into: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            let named = map.get("enum").and_then(|words| words.as_array()).into_iter().flatten();
            into.extend(named.chain(map.get("const")).map(ToString::to_string));
            map.values().for_each(|value| words(value, into));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| words(value, into)),
        _ => {}
    }
}

fn frames<T: Serialize>(values: &[T]) -> Vec<u8> {
    values.iter().flat_map(|value| wire::encode(value).unwrap()).collect()
}

fn check(manifest: &Manifest) -> Request {
    let options = RunOptions { who: "ana@laptop".to_owned(), ..RunOptions::default() };
    Request::Check { manifest: Box::new(manifest.clone()), options }
}

fn requests(manifest: &Manifest) -> [Request; 8] {
    [
        Request::Facts,
        Request::History,
        check(manifest),
        Request::Apply,
        Request::Confirm,
        Request::Refute { error: error(), is_password_wrong: true },
        Request::Stop,
        Request::StopNow,
    ]
}

fn error() -> Error {
    let error = Error::new(Kind::Failed, "cannot reload `nginx`").because("line 1\nline 2");
    error.hint("see `journalctl`")
}

fn run_record(end: RunEnd) -> RunRecord {
    RunRecord {
        serial: 7,
        who: "ana@laptop".to_owned(),
        commit: Some("0123456789abcdef-dirty".to_owned()),
        is_partial: true,
        started: 1_700_000_000,
        ended: Some(1_700_000_100),
        end,
        changed: 3,
        removed: 1,
        failed: 0,
    }
}

/// One event of every kind, in an order that a run may have.
fn events() -> Vec<Event> {
    let file = ResourceId::new("file", "/etc/nginx/one");
    let service = ResourceId::new("service", "nginx");
    let field = |name: &str, current: Option<&str>, desired: &str| FieldChange {
        field: name.to_owned(),
        current: current.map(Into::into),
        desired: desired.into(),
    };
    let update = vec![
        FieldChange {
            field: "content".to_owned(),
            current: Some(Value::Content(b"a\nb\nc\n".to_vec())),
            desired: Value::Content(b"a\nB\nc\n".to_vec()),
        },
        field("mode", Some("0644"), "0600"),
        field("owner", None, "www"),
    ];
    let outcomes = [
        Outcome::Ok,
        Outcome::Changed(Change::Create(State::new().with("content", "a\n"))),
        Outcome::Changed(Change::Update(update)),
        Outcome::Changed(Change::Remove),
        Outcome::Unknown { after: service.clone() },
        Outcome::Deferred,
        Outcome::Skipped { because: service.clone() },
        Outcome::Released { because: "it holds data".to_owned() },
        Outcome::Stays { because: "a process of `bob` runs".to_owned() },
        Outcome::Failed(error()),
    ];
    let memory = Memory {
        machine: "0123456789abcdef".to_owned(),
        serial: 7,
        last_run: Some(run_record(RunEnd::Done)),
        cut_run: Some(run_record(RunEnd::Cut)),
        owed: vec![(service.clone(), ServiceAction::Restart)],
        reboot: Some("a new kernel is installed".to_owned()),
        is_outdated: true,
        failed_units: vec![FailedUnit {
            name: "flus-cron.service".to_owned(),
            since: Some(1_700_000_000),
            is_restarted: true,
        }],
        maintenance: vec![Maintenance { site: "flus.fr".to_owned(), since: None }],
    };
    let action = ServiceAction::Reload;
    let mut events = vec![
        Event::Started { facts: server().facts().clone() },
        Event::History(vec![run_record(RunEnd::Reverted), run_record(RunEnd::Interrupted)]),
        Event::Remembered(Box::new(memory)),
    ];
    events.extend(outcomes.iter().map(|outcome| Event::Checked {
        id: file.clone(),
        outcome: outcome.clone(),
        mark: Some(Mark::Drift),
    }));
    events.extend([
        Event::ServiceDue { id: service.clone(), action },
        Event::AlsoRemoved { packages: vec!["nginx-full".to_owned()] },
        Event::PlanComplete,
        Event::Applying { id: file.clone() },
        Event::Progress { id: file.clone(), percent: Some(50.0), message: "half".to_owned() },
    ]);
    events.extend(outcomes.into_iter().map(|outcome| Event::Applied { id: file.clone(), outcome }));
    events.extend([
        Event::ServiceDone { id: service.clone(), action, error: Some(error()) },
        Event::RolledBack { id: file.clone(), error: None },
        Event::ProofWanted { ids: vec![file.clone()], seconds: 60 },
        Event::Proved { ids: vec![file.clone()] },
        Event::Reverted { error: error() },
        Event::Declared { message: "`groups` changes".to_owned() },
        Event::Warning { message: "low on disk".to_owned() },
        Event::Finished,
        Event::Aborted { error: error() },
    ]);
    events
}

/// The part of a saved plan that is encoded in its second line.
fn plan(manifests: &[Manifest], mut run: &[u8]) -> Vec<u8> {
    let mut seen = Seen::default();
    while let Some(event) = wire::read_frame::<Event>(&mut run).unwrap() {
        seen.add(&event);
    }
    events().iter().for_each(|event| seen.add(event));
    let server = |manifest: &Manifest| SavedServer {
        manifest: manifest.clone(),
        seen: seen.clone(),
        way: Way::default(),
    };
    let servers = manifests.iter().map(server).collect();
    let plan = SavedPlan::new(RunOptions::default(), servers, (7, 9), false);
    let text = plan.text(&PlanKey::of_lab()).unwrap();
    STANDARD.decode(text.lines().nth(1).unwrap()).unwrap()
}

/// The state of a path, as in a record of the guard.
#[derive(Serialize)]
enum Before<'a> {
    Nothing,
    File { content: &'a [u8], stat: resources::Stat },
    Symlink { target: &'a str },
    Attributes { stat: resources::Stat },
}

/// A record of the guard.
fn record() -> Vec<u8> {
    let stat = server().stat("/etc").unwrap().unwrap();
    let paths = vec![
        ("/etc/new", Before::Nothing),
        ("/etc/file", Before::File { content: b"old\n", stat: stat.clone() }),
        ("/etc/link", Before::Symlink { target: "/etc/file" }),
        ("/etc", Before::Attributes { stat }),
    ];
    let services = vec![ResourceId::new("service", "ssh")];
    let snapshots = vec![(ResourceId::new("file", "/etc/file"), services, paths)];
    let programs = vec![(vec!["nft", "-f", "-"], b"flush ruleset\n".to_vec())];
    let units = vec![("ssh.service", ServiceAction::Reload)];
    let frame = wire::encode(&(snapshots, programs, units, Some("192.0.2.1"))).unwrap();
    [b"infra guard 1\n".as_slice(), &frame].concat()
}
