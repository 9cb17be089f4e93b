//! Writes seeds that are no text, or that follow from the kinds, below the folder that
//! `INFRA_FUZZ_SEEDS` names: one folder a target.

#![no_main]

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra::error::{Error, Kind};
use infra::events::{Event, Mark, Memory, Outcome, RunEnd, RunRecord, ServiceAction};
use infra::manifest::{Manifest, ResourceId};
use infra::resources::{self, Change, FieldChange, KINDS, Probe as _, State, Value};
use infra::saved_plan::{SavedPlan, SavedServer, Seen, Way};
use infra::secrets::PlanKey;
use infra::wire::{self, Request, RunOptions};
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
        }
    }
    write("age_files", "own", &fs::read(project.path().join("secrets/all.yaml.age")).unwrap());
    let manifest = infra_fuzz::manifest();
    let events = frames(&events());
    let mut system = server();
    let run = compare_and_apply(&manifest, &RunOptions::default(), &mut system);
    write("events", "all", &events);
    write("events", "run", &run);
    write("requests", "all", &frames(&requests(&manifest)));
    write("saved_plans", "plan", &plan(&manifest, &run));
    let state = system.read("/var/lib/infra/state.json").unwrap().unwrap();
    write("state", "applied", &[&record(), SEPARATOR, &state].concat());
}

/// A project whose role has the resources of an example.
fn project_with(example: &str) -> Vec<u8> {
    let example = example.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let files = ["roles: { demo: {} }", "", &format!("resources:\n{example}")];
    files.map(str::as_bytes).join(SEPARATOR)
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
        Request::Refute { error: error() },
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
    };
    let action = ServiceAction::Reload;
    let mut events = vec![
        Event::Started { facts: server().facts().clone() },
        Event::History(vec![run_record(RunEnd::Reverted), run_record(RunEnd::Interrupted)]),
        Event::Remembered(memory),
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
fn plan(manifest: &Manifest, mut run: &[u8]) -> Vec<u8> {
    let mut seen = Seen::default();
    while let Some(event) = wire::read_frame::<Event>(&mut run).unwrap() {
        seen.add(&event);
    }
    events().iter().for_each(|event| seen.add(event));
    let servers = vec![SavedServer { manifest: manifest.clone(), seen, way: Way::default() }];
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
