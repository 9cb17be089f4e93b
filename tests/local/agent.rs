//! The agent's loop, by its cases: `tests/local/agent/<case>.yaml`.
//!
//! ```yaml
//! world: { … }          # as in tests/local/resources.rs
//! roles:                # in order; the links are ids
//!   web:
//!     - file: { path: /etc/a, content: x }
//!       reload: ["service:nginx"]
//!       secrets: ["secret:a"]        # the names of the secrets that it holds
//!     - service: nginx
//! events:               # every event but progress, as text; written anew by `UPDATE=1`
//!   - file:/etc/a changed
//! files: { /etc/a: x }  # what is there afterwards; null: nothing
//! again: ok             # a second run changes nothing; leave it out where that is not so
//! later:                # further applies on the same server
//!   - write: { /etc/a: by hand }   # what somebody does before; null removes
//!     world: { … }                 # the same for anything else: a patch
//!     allow_data_loss: true        # the option
//!     roles: { … }
//!     plan: [ "file:/etc/a changed Drift" ]
//!     due: [ "service:nginx Reload" ]   # the services that the plan tells, where this is given
//!     events: [ … ]
//!     files: { … }
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use infra::agent;
use infra::agent::plan::Plan;
use infra::agent::removal::Removal;
use infra::agent::state::State;
use infra::agent::state::managed::hex;
use infra::events::{Event, Outcome, ServiceAction};
use infra::manifest::{Expect, Manifest, Resource, ResourceId};
use infra::resources::{Attributes, Change, Probe, Spec, System, Value, primary_field};
use infra::wire::RunOptions;
use serde::Deserialize;
use serde_yaml::Value as Yaml;
use sha2::Digest as _;

use crate::support::{Fake, World};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    world: World,
    roles: serde_yaml::Mapping,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, Option<String>>,
    #[serde(default)]
    again: Option<String>,
    #[serde(default)]
    later: Vec<Later>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Later {
    #[serde(default)]
    write: BTreeMap<String, Option<String>>,
    #[serde(default)]
    world: World,
    #[serde(default)]
    allow_data_loss: bool,
    roles: serde_yaml::Mapping,
    #[serde(default)]
    plan: Vec<String>,
    #[serde(default)]
    due: Option<Vec<String>>,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, Option<String>>,
}

#[test]
fn every_case_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/agent");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case");
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let case: Case = serde_yaml::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found = run(&case);
        if found.events != case.events && std::env::var_os("UPDATE").is_some() {
            rewrite(&path, &text, &found.events);
        } else if found.events != case.events {
            let events = found.events.join("\n  - ");
            wrong.push(format!("{}: found the events\n  - {events}", path.display()));
        }
        wrong.extend(found.mistakes.iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Found {
    events: Vec<String>,
    mistakes: Vec<String>,
}

fn run(case: &Case) -> Found {
    let manifest = manifest(&case.roles);
    let mut fake = Fake::new(&case.world);
    let options = RunOptions::default();
    let events = apply(&manifest, &options, &mut fake);
    let mut mistakes = wrong_files(&case.files, &fake);
    if case.again.is_some() {
        let second = apply(&manifest, &options, &mut fake);
        if !second.iter().all(|event| event.ends_with(" ok")) {
            mistakes.push(format!("a second run: {}", second.join("; ")));
        }
    }
    for (index, later) in case.later.iter().enumerate() {
        let found = run_later(later, &mut fake);
        mistakes.extend(found.into_iter().map(|what| format!("later, {index}: {what}")));
    }
    Found { events, mistakes }
}

fn run_later(later: &Later, fake: &mut Fake) -> Vec<String> {
    for (path, content) in &later.write {
        match content {
            Some(content) => {
                let attributes = Attributes::new("root", "root", 0o644);
                fake.write_file(path, content.as_bytes(), &attributes).unwrap();
            }
            None => fake.remove_file(path).unwrap(),
        }
    }
    fake.patch(&later.world);
    let manifest = manifest(&later.roles);
    let allow_data_loss = later.allow_data_loss;
    let options = RunOptions { allow_data_loss, ..RunOptions::default() };
    let (plan, due) = plan(&manifest, &options, fake);
    let events = apply(&manifest, &options, fake);
    let mut mistakes = wrong_files(&later.files, fake);
    let expected_due = later.due.clone().unwrap_or_else(|| due.clone());
    for (what, found, expected) in [
        ("plan", plan, &later.plan),
        ("due services", due, &expected_due),
        ("events", events, &later.events),
    ] {
        if found != *expected {
            mistakes.push(format!("found the {what}\n  - {}", found.join("\n  - ")));
        }
    }
    mistakes
}

/// Everything that a plan would change, with its mark; and the services that are due.
fn plan(manifest: &Manifest, options: &RunOptions, fake: &Fake) -> (Vec<String>, Vec<String>) {
    let mut state = State::load(fake).unwrap();
    let (manifest, removal) = Removal::plan(manifest, &mut state, options, fake).unwrap();
    let mut lines = Vec::new();
    let foreseen = Plan::foresee(&manifest, fake);
    let plan = Plan::make(&manifest, fake, &state, &removal, foreseen, |id, outcome, mark| {
        if *outcome != Outcome::Ok {
            let mark = mark.map(|mark| format!(" {mark:?}")).unwrap_or_default();
            lines.push(format!("{id} {}{mark}", outcome_text(outcome)));
        }
    });
    let due = plan.due.iter().map(|(id, action)| format!("{id} {action:?}"));
    (lines, due.collect())
}

/// Its lists are fetched between the two packages.
#[test]
fn a_repository_that_changes_may_bring_newer_versions() {
    let world = "{ files: { /var/lib/apt/lists/x_Release: x, /etc/apt/sources.list.d: { directory: true } }, answers: [ \
         { run: [apt-get], stdout: \"Inst tree (2-1 x [amd64])\\nInst nginx (1-1 x [amd64])\" }, \
         { run: [find, /var/lib/apt/lists/partial], stdout: /var/lib/apt/lists/partial } ] }";
    let roles = "{ web: [ { package: tree }, { apt_repository: { name: vendor, \
         uris: http://mirror.example, suites: stable, components: [main], \
         signed_by: /usr/share/keyrings/vendor.gpg } }, { package: nginx } ] }";
    let fake = Fake::new(&serde_yaml::from_str::<World>(world).unwrap());
    let manifest = manifest(&serde_yaml::from_str(roles).unwrap());
    let mut state = State::load(&fake).unwrap();
    let options = RunOptions::default();
    let (manifest, removal) = Removal::plan(&manifest, &mut state, &options, &fake).unwrap();
    let foreseen = Plan::foresee(&manifest, &fake);
    let plan = Plan::make(&manifest, &fake, &state, &removal, foreseen, |_, _, _| {});
    let version = |outcome: &Outcome| match outcome {
        Outcome::Changed(Change::Create(state)) => state.field("version").map(Value::summary),
        other => panic!("{other:?}"),
    };
    let told = |version: &str| Some(version.to_owned());
    assert_eq!(version(&plan.outcomes[0]), told("2-1"));
    assert_eq!(version(&plan.outcomes[2]), told("1-1 or newer"));
}

/// Older builds kept the key in the state: a copy of the state alone let anybody try values.
#[test]
fn the_key_of_the_hashes_is_in_a_file_of_its_own() {
    let roles = "{ web: [ { file: { path: /etc/motd, content: a } } ] }";
    let manifest = manifest(&serde_yaml::from_str(roles).unwrap());
    let options = RunOptions::default();
    let mut fake = Fake::new(&World::default());
    apply(&manifest, &options, &mut fake);
    let read = |fake: &Fake, path: &str| {
        String::from_utf8(fake.read(path).unwrap().unwrap_or_default()).unwrap()
    };
    let (state, key) = ("/var/lib/infra/state.json", "/var/lib/infra/state.key");
    let digits = read(&fake, key);
    assert_eq!(digits.len(), 64);
    assert!(!read(&fake, state).contains(&digits));
    let mode = fake.stat(key).unwrap().unwrap().mode;
    assert_eq!(mode, 0o600);

    // The state as the build before wrote it.
    let attributes = Attributes::new("root", "root", 0o600);
    let old = read(&fake, state).replacen("\"version\":4", "\"version\":2", 1);
    let old = old.replacen('{', &format!("{{\"key\":\"{digits}\","), 1);
    fake.write_file(state, old.as_bytes(), &attributes).unwrap();
    fake.remove_file(key).unwrap();
    fake.write_file("/etc/motd", b"by hand", &Attributes::new("root", "root", 0o644)).unwrap();
    assert_eq!(plan(&manifest, &options, &fake).0, ["file:/etc/motd changed Drift"]);
    apply(&manifest, &options, &mut fake);
    assert_eq!(read(&fake, key), digits);
    assert!(!read(&fake, state).contains(&digits));

    // Without the key nobody can tell what was applied.
    fake.remove_file(key).unwrap();
    fake.write_file("/etc/motd", b"by hand", &Attributes::new("root", "root", 0o644)).unwrap();
    assert_eq!(plan(&manifest, &options, &fake).0, ["file:/etc/motd changed"]);
}

/// The agent counts on it, and does not trust its client with it.
#[test]
fn a_resource_that_is_named_twice_is_refused() {
    let roles =
        "{ web: [ { file: { path: /etc/motd, content: a } }, { file: { path: /etc/motd } } ] }";
    let manifest = manifest(&serde_yaml::from_str(roles).unwrap());
    let mut fake = Fake::new(&World::default());
    let told = apply(&manifest, &RunOptions::default(), &mut fake);
    assert_eq!(told, ["aborted: `file:/etc/motd` is in the manifest twice"]);
    assert!(!fake.exists("/etc/motd").unwrap());
}

/// A step that takes something away never has the name of a declared resource: the run would count it twice. `infra`
/// itself sends no resource under a name that is not that of its spec.
#[test]
fn a_declared_resource_is_not_taken_away_under_another_name() {
    let declare = |roles: &str| manifest(&serde_yaml::from_str(roles).unwrap());
    let options = RunOptions::default();
    let world = "{ answers: [ { run: [groupadd], then: { groups: { team: {} } } } ] }";
    let mut fake = Fake::new(&serde_yaml::from_str::<World>(world).unwrap());
    let team = declare("{ web: [ { group: team } ] }");
    apply(&team, &options, &mut fake);
    let (path, attributes) = ("/var/lib/infra/state.json", Attributes::new("root", "root", 0o600));
    let state = String::from_utf8(fake.read(path).unwrap().unwrap()).unwrap();
    let other = state.replace("\"group:team\"", "\"group:crew\"");
    assert_ne!(other, state);
    fake.write_file(path, other.as_bytes(), &attributes).unwrap();
    let mut manifest = declare("{ web: [ { file: { path: /etc/motd, content: a } } ] }");
    manifest.resources[0].id = team.resources[0].id.clone();
    assert_eq!(apply(&manifest, &options, &mut fake), ["group:team created"]);
    assert!(fake.group("team").unwrap().is_some());
}

/// Older builds took two spellings of a path for two things, and wrote them so into the state.
#[test]
fn an_old_spelling_in_the_state_is_the_same_thing() {
    let roles = "{ web: [ { file: { path: /etc/app/app.conf, content: ours } }, \
         { file: { path: /etc/gone, state: absent } }, { directory: /etc/app } ] }";
    let manifest = manifest(&serde_yaml::from_str(roles).unwrap());
    let options = RunOptions::default();
    let world = "{ files: { /etc/app/app.conf: packaged, /etc/gone: packaged } }";
    let mut fake = Fake::new(&serde_yaml::from_str::<World>(world).unwrap());
    apply(&manifest, &options, &mut fake);
    let (path, attributes) = ("/var/lib/infra/state.json", Attributes::new("root", "root", 0o600));
    let state = String::from_utf8(fake.read(path).unwrap().unwrap()).unwrap();
    let old = state.replace("/etc/app/app.conf", "/etc/app//app.conf");
    let old = old
        .replace("/etc/gone", "/etc/./gone")
        .replace("\"directory:/etc/app\"", "\"directory:/etc//app\"");
    assert_ne!(old, state);
    fake.write_file(path, old.as_bytes(), &attributes).unwrap();
    // Contents of before infra are kept by the hashes of their paths as they were written.
    let hash = |path: &str| {
        let digest = sha2::Sha256::digest(path);
        let digits = hex(&digest[..16]);
        format!("/var/lib/infra/originals/{digits}")
    };
    for (new, old) in [("/etc/app/app.conf", "/etc/app//app.conf"), ("/etc/gone", "/etc/./gone")] {
        let content = fake.read(&hash(new)).unwrap().unwrap();
        fake.write_file(&hash(old), &content, &attributes).unwrap();
        fake.remove_file(&hash(new)).unwrap();
    }

    assert_eq!(plan(&manifest, &options, &fake).0, Vec::<String>::new());
    assert_eq!(
        apply(&manifest, &options, &mut fake),
        ["file:/etc/app/app.conf ok", "file:/etc/gone ok", "directory:/etc/app ok"]
    );
    let state = String::from_utf8(fake.read(path).unwrap().unwrap()).unwrap();
    assert!(!state.contains("file:/etc/app//app.conf"), "{state}");
    assert!(!state.contains("directory:/etc//app"), "{state}");
    let nothing = super::agent::manifest(&serde_yaml::from_str("{ web: [] }").unwrap());
    assert_eq!(
        plan(&nothing, &options, &fake).0,
        [
            "directory:/etc/app released: it was there before infra",
            "file:/etc/gone created Restored",
            "file:/etc/app/app.conf changed Restored",
        ]
    );
    apply(&nothing, &options, &mut fake);
    let read = |path: &str| fake.read(path).unwrap().map(|text| String::from_utf8(text).unwrap());
    assert_eq!(read("/etc/app/app.conf").as_deref(), Some("packaged"));
    assert_eq!(read("/etc/gone").as_deref(), Some("packaged"));
    assert_eq!(read(&hash("/etc/app//app.conf")), None);
}

fn wrong_files(files: &BTreeMap<String, Option<String>>, fake: &Fake) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (path, wanted) in files {
        let found = fake.read(path).unwrap();
        let found = found.map(|content| String::from_utf8_lossy(&content).into_owned());
        if found != *wanted {
            mistakes.push(format!("`{path}` holds {found:?}, not {wanted:?}"));
        }
    }
    mistakes
}

fn apply(manifest: &Manifest, options: &RunOptions, fake: &mut Fake) -> Vec<String> {
    let events = Rc::new(RefCell::new(Vec::new()));
    let sink = {
        let events = Rc::clone(&events);
        move |event: &Event| {
            events.borrow_mut().extend(described(event));
            Ok(())
        }
    };
    let result = agent::apply_manifest(manifest, options, fake, Box::new(sink));
    let mut events = events.take();
    events.extend(result.err().map(|error| format!("aborted: {}", error.message)));
    events
}

fn described(event: &Event) -> Option<String> {
    Some(match event {
        Event::Applied { id, outcome } => format!("{id} {}", outcome_text(outcome)),
        Event::ServiceDone { id, action, error } => {
            let action = match action {
                ServiceAction::Reload => "reloaded",
                ServiceAction::Restart => "restarted",
            };
            match error {
                None => format!("{id} {action}"),
                Some(error) => format!("{id} not {action}: {}", error.message),
            }
        }
        Event::RolledBack { id, error: None } => format!("{id} put back"),
        Event::RolledBack { id, error: Some(error) } => {
            format!("{id} not put back: {}", error.message)
        }
        _ => return None,
    })
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok => "ok".to_owned(),
        Outcome::Changed(Change::Create(_)) => "created".to_owned(),
        Outcome::Changed(Change::Update(fields)) => {
            let is_hidden = fields.iter().any(|field| {
                matches!(field.desired, Value::Hidden(_))
                    && matches!(field.current, Some(Value::Hidden(_)))
            });
            if is_hidden { "changed, contents hidden".to_owned() } else { "changed".to_owned() }
        }
        Outcome::Changed(Change::Remove) => "removed".to_owned(),
        Outcome::Released { because } => format!("released: {because}"),
        Outcome::Stays { because } => format!("stays: {because}"),
        Outcome::Skipped { because } => format!("skipped after {because}"),
        Outcome::Failed(error) => format!("failed: {}", error.message),
        other => format!("{other:?}"),
    }
}

fn manifest(roles: &serde_yaml::Mapping) -> Manifest {
    let mut resources = Vec::new();
    for (role, list) in roles {
        for entry in list.as_sequence().unwrap() {
            resources.push(resource(role.as_str().unwrap(), entry.as_mapping().unwrap()));
        }
    }
    Manifest {
        server: "test".to_owned(),
        expect: Expect::default(),
        resources,
        secrets: BTreeMap::new(),
    }
}

fn resource(role: &str, entry: &serde_yaml::Mapping) -> Resource {
    let links = |key: &str| -> Vec<ResourceId> {
        let list = entry.get(key).and_then(Yaml::as_sequence);
        let names = list.into_iter().flatten().filter_map(Yaml::as_str);
        names.map(|name| ResourceId::parse(name).unwrap()).collect()
    };
    let is_link = |key: &&Yaml| {
        ["reload", "restart", "requires", "secrets"].iter().any(|name| key.as_str() == Some(name))
    };
    let kind = entry.keys().find(|key| !is_link(key)).and_then(Yaml::as_str).unwrap();
    let fields = entry.get(kind).unwrap().clone();
    let fields = if fields.is_mapping() {
        fields
    } else {
        let primary = primary_field(kind).unwrap();
        Yaml::Mapping([(Yaml::from(primary), fields)].into_iter().collect())
    };
    let spec = Spec::deserialize_kind(kind, fields).unwrap().unwrap();
    Resource {
        id: spec.id(),
        role: role.to_owned(),
        place: "role.yaml:1".to_owned(),
        element: None,
        spec,
        requires: links("requires"),
        reload: links("reload"),
        guard: None,
        restart: links("restart"),
        secrets: links("secrets").iter().map(ToString::to_string).collect(),
        is_untraceable: false,
    }
}

/// Writes the events found in place of the expected ones.
fn rewrite(path: &Path, text: &str, events: &[String]) {
    let head = text.split("\nevents:").next().unwrap_or_default().trim_end();
    let tail = text.split("\nfiles:").nth(1).map(|tail| format!("files:{tail}"));
    let tail = tail.or_else(|| text.contains("\nagain:").then(|| "again: ok\n".to_owned()));
    let list = serde_yaml::to_string(events).unwrap();
    let list = list.lines().flat_map(|line| ["  ", line, "\n"]).collect::<String>();
    std::fs::write(path, format!("{head}\nevents:\n{list}{}", tail.unwrap_or_default())).unwrap();
}
