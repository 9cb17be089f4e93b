//! Every kind of resource, by its cases: `tests/local/resources/<kind>/<case>.yaml`.
//!
//! A case is a spec, a server, and what has to come of them:
//!
//! ```yaml
//! # What the case shows, where its name does not say it.
//! spec: { path: /etc/motd, content: hello }   # as in a role; a bare text sets the primary field
//! world:                                      # the server; all of it may be left out
//!   files:                                    # folders above are made; Debian's first are there
//!     /etc/motd: a text                       # a file, 0644 root:root
//!     /etc/x: { content: …, mode: "0600", owner: root, group: root }
//!     /srv/app: { directory: true }
//!     /etc/link: { symlink: /etc/x }
//!     /dev/sda: { device: true }
//!   users: { deploy: { uid: 1000, group: deploy, groups: [], home: /home/deploy } }
//!   groups: { deploy: { gid: 1000, members: [] } }
//!   packages: { nginx: 1.22.1-9 }
//!   units: { nginx.service: { active_state: active, unit_file_state: enabled } }
//!   answers:                                  # by the first words of a command, the longest wins
//!     - run: [git, ls-remote]
//!       stdout: …                             # also `stderr`, `status`, and the `seconds` that it takes
//!       then: { … }                           # a patch of the world that an apply brings about
//!   sql:                                      # by words of the statement
//!     - { database: postgres, sql: FROM pg_catalog.pg_roles, parameters: [x], rows: [["1", null]], then: … }
//!   missing: [git]                            # programs that are not there
//!   ports: ["127.0.0.1:80"]                   # what accepts connections
//!   changed: ["file:/etc/motd"]               # resources that changed earlier in the run
//!   facts: { os: debian-13, codename: trixie }
//! preview: true        # an earlier resource brings more; the change is not applied
//! after: { … }         # a patch of the world that all operations together bring about
//! change:              # what follows is written anew by `UPDATE=1 cargo test --test local resources`
//!   - mode: 0600 → 0644                       # or `ok`, `create`, `remove`, `unknown`,
//!   # error: the exact text of an error       # or the error of the spec or of the check
//! operations:                                 # every write, in order
//!   - set /etc/motd 0644 root:root
//! failure: …           # the exact text of the error of the apply
//! ```
//!
//! The runner checks twice (a check must not write), applies, compares the operations, and checks
//! again: nothing may be left to change. A program without an answer succeeds silently in an
//! apply and is a mistake of the case in a check. In a patch, `null` removes. The fake moves
//! units for `systemctl`, unless an answer says what comes `then`. `CASE=file/mode` runs the
//! cases whose path contains that text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use infra::error::Kind;
use infra::resources::{self, Change, Current, FieldChange, KINDS, Prediction, Probe, Spec, Value};
use serde::{Deserialize, Serialize};
use serde_yaml::Value as Yaml;

use crate::support::{Fake, World};

/// Kinds whose cases are still to be written.
const UNFINISHED: &[&str] = &[];

/// Cases that a kind cannot have, with the reason.
const IMPOSSIBLE: &[(&str, Class, &str)] = &[
    ("command", Class::Creates, "it is done or not, it is not a thing that is there"),
    ("hostname", Class::Creates, "a host always has a name"),
    ("http_check", Class::Creates, "it makes nothing"),
    ("http_check", Class::ChangesAField, "it changes nothing"),
    ("port_check", Class::Creates, "it makes nothing"),
    ("port_check", Class::ChangesAField, "it changes nothing"),
];

/// Kinds whose effects are not predicted, with the reason.
const UNPREDICTED: &[(&str, &str)] = &[
    ("docker_engine", "what Docker holds can be asked only once it runs"),
    ("swap", "no other kind reads the list of swap files"),
];

/// The cases that every kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Creates,
    ChangesAField,
    AlreadyRight,
    Removes,
    Fails,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    spec: Yaml,
    #[serde(default)]
    world: World,
    #[serde(default)]
    preview: bool,
    #[serde(default)]
    after: World,
    change: Yaml,
    #[serde(default)]
    operations: Vec<String>,
    #[serde(default)]
    failure: Option<String>,
}

impl Case {
    fn expected(&self) -> Expected {
        Expected {
            change: self.change.clone(),
            operations: self.operations.clone(),
            failure: self.failure.clone(),
        }
    }
}

/// The part of a case that is compared, and written by `UPDATE=1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Expected {
    change: Yaml,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

#[test]
fn every_case_holds() {
    let only = std::env::var("CASE").unwrap_or_default();
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for kind in KINDS {
        for (path, text) in cases(kind) {
            if !path.display().to_string().contains(&only) {
                continue;
            }
            let case = match read_case(&text) {
                Ok(case) => case,
                Err(error) => {
                    wrong.push(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            match run(kind, &case) {
                Ok(found) if found == case.expected() => {}
                Ok(found) if update => rewrite(&path, &text, &found),
                Ok(found) => wrong.push(format!(
                    "{}: expected\n{}found\n{}",
                    path.display(),
                    indented(&case.expected()),
                    indented(&found)
                )),
                Err(error) => wrong.push(format!("{}: {error}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_kind_has_its_cases() {
    let mut wrong = Vec::new();
    for kind in KINDS {
        let mut lacking: BTreeSet<Class> = required(kind);
        for (_, text) in cases(kind) {
            let class = read_case(&text).ok().and_then(|case| class(&case));
            class.map(|class| lacking.remove(&class));
        }
        match (lacking.is_empty(), UNFINISHED.contains(kind)) {
            (false, false) => wrong.push(format!("`{kind}` lacks {lacking:?}")),
            (true, true) => wrong.push(format!("`{kind}` is finished: take it off the list")),
            _ => {}
        }
    }
    let folders = std::fs::read_dir(folder()).unwrap();
    for name in folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        if !KINDS.contains(&name.as_str()) {
            wrong.push(format!("`{name}` has cases and is not registered"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_is_right() {
    for kind in KINDS {
        let example = resources::example(kind).unwrap();
        let list: Vec<BTreeMap<String, Yaml>> = serde_yaml::from_str(example).unwrap();
        let fields = list.into_iter().filter_map(|mut entry| entry.remove(*kind));
        let specs: Vec<_> = fields.map(|fields| spec(kind, fields)).collect();
        assert!(!specs.is_empty(), "the example of `{kind}` shows none");
        for spec in specs {
            assert_eq!(spec.and_then(|spec| spec.validate()), Ok(()), "example of `{kind}`");
        }
    }
}

#[test]
fn every_field_is_documented() {
    let mut wrong = Vec::new();
    for kind in KINDS {
        let schema = serde_json::to_value(resources::schema(kind).unwrap()).unwrap();
        if schema["description"].as_str().is_none() {
            wrong.push(format!("`{kind}` has no comment"));
        }
        let mut types = vec![(kind.to_string(), &schema)];
        let definitions = schema["$defs"].as_object().into_iter().flatten();
        types.extend(definitions.map(|(name, schema)| (format!("{kind}: {name}"), schema)));
        for (name, schema) in types {
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                if schema["description"].as_str().is_none() {
                    wrong.push(format!("`{field}` of `{name}` has no comment"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks, applies and checks again. An error is a mistake of the kind or of the case.
fn run(kind: &str, case: &Case) -> Result<Expected, String> {
    let error = |text: String| serde_yaml::to_value(BTreeMap::from([("error", text)])).unwrap();
    let read = spec(kind, case.spec.clone());
    let spec = match read.and_then(|spec| spec.validate().map(|()| spec)) {
        Ok(spec) => spec,
        Err(text) => return Ok(Expected { change: error(text), ..Expected::default() }),
    };
    let wire = postcard::to_stdvec(&spec).map_err(|error| error.to_string())?;
    let spec: Spec = match postcard::from_bytes(&wire) {
        Ok(same) if same == spec => same,
        other => return Err(format!("the spec does not survive the wire: {other:?}")),
    };
    let mut fake = Fake::new(&case.world);
    let found = check(&spec, &fake, case.preview);
    if check(&spec, &fake, case.preview) != found {
        return Err("two checks differ".to_owned());
    }
    let change = match found {
        Err(text) => return Ok(Expected { change: error(text), ..Expected::default() }),
        Ok(Found::Unknown) => {
            return Ok(Expected { change: "unknown".into(), ..Expected::default() });
        }
        Ok(Found::Same) => return Ok(Expected { change: "ok".into(), ..Expected::default() }),
        Ok(Found::Differs(change)) => change,
    };
    let shown = shown(&change);
    predicts(&spec, &change, &fake)?;
    if case.preview {
        return Ok(Expected { change: shown, ..Expected::default() });
    }
    let failure = spec.apply(&change, &mut fake).err().map(|error| error.to_string());
    let operations = fake.take_operations();
    if failure.is_none() {
        fake.patch(&case.after);
        match check(&spec, &fake, false) {
            Ok(Found::Same) => {}
            left => {
                return Err(format!("the second check is not silent: {left:?}; {operations:?}"));
            }
        }
    }
    Ok(Expected { change: shown, operations, failure })
}

/// What a check says.
#[derive(Debug, PartialEq)]
enum Found {
    Same,
    Differs(Change),
    Unknown,
}

fn check(spec: &Spec, fake: &Fake, preview: bool) -> Result<Found, String> {
    let mut world = Prediction::new(fake);
    if preview {
        world.brings_more(&infra::manifest::ResourceId::new("package", "more"));
        world.brings_more(&infra::manifest::ResourceId::new("command", "more"));
    }
    let current = match spec.current(&world) {
        Err(error) if error.kind == Kind::ToolMissing && world.is_preview_of_more() => {
            Ok(Current::Absent)
        }
        other => other,
    };
    let current = current.map_err(|error| error.to_string())?;
    if current == Current::Unknown {
        return Ok(Found::Unknown);
    }
    let change = spec.change(&current, &world).map_err(|error| error.to_string())?;
    let Some(change) = change else {
        return Ok(Found::Same);
    };
    spec.check_bonds(&change, &world).map_err(|error| error.to_string())?;
    spec.check_obstacles(&change, &world).map_err(|error| error.to_string())?;
    Ok(Found::Differs(change))
}

/// Later resources are checked against the prediction: this one must then be as it should be,
/// unless a program or PostgreSQL was asked, who know nothing of predictions.
fn predicts(spec: &Spec, change: &Change, fake: &Fake) -> Result<(), String> {
    if spec.verifies() || UNPREDICTED.iter().any(|(kind, _)| *kind == spec.kind()) {
        return Ok(());
    }
    let mut world = Prediction::new(fake);
    spec.predict(change, &mut world);
    world.mark_changed(&spec.id());
    let asked = fake.questions();
    let current = spec.current(&world);
    if fake.questions() > asked || world.is_preview_of_more() {
        return Ok(());
    }
    let current = match current {
        Ok(current) => current,
        // What it needs is brought by something earlier.
        Err(error) if error.kind == Kind::ToolMissing => return Ok(()),
        Err(error) => return Err(format!("cannot be checked after its prediction: {error}")),
    };
    match Change::between(spec.desired().as_ref(), &current) {
        None => Ok(()),
        Some(change) => Err(format!("the prediction is not what is wanted: {:?}", shown(&change))),
    }
}

fn spec(kind: &str, fields: Yaml) -> Result<Spec, String> {
    let fields = match (fields, resources::primary_field(kind)) {
        (map @ Yaml::Mapping(_), _) => map,
        (Yaml::Null, _) => Yaml::Mapping(serde_yaml::Mapping::new()),
        (scalar, Some(primary)) => {
            serde_yaml::to_value(BTreeMap::from([(primary, scalar)])).unwrap()
        }
        (_, None) => return Err(format!("`{kind}` has no primary field")),
    };
    let spec = Spec::deserialize_kind(kind, fields).ok_or("no such kind")?;
    spec.map_err(|error| error.to_string())
}

fn shown(change: &Change) -> Yaml {
    match change {
        Change::Create(_) => "create".into(),
        Change::Remove => "remove".into(),
        Change::Update(changes) => {
            let line = |change: &FieldChange| {
                let before = change.current.as_ref().map_or("nothing".into(), Value::summary);
                let line = format!("{before} → {}", change.desired.summary());
                serde_yaml::to_value(BTreeMap::from([(change.field.as_str(), line)])).unwrap()
            };
            Yaml::Sequence(changes.iter().map(line).collect())
        }
    }
}

fn class(case: &Case) -> Option<Class> {
    match &case.change {
        _ if case.failure.is_some() => Some(Class::Fails),
        Yaml::Mapping(_) => Some(Class::Fails),
        Yaml::Sequence(_) => Some(Class::ChangesAField),
        Yaml::String(text) => match text.as_str() {
            "create" => Some(Class::Creates),
            "remove" => Some(Class::Removes),
            "ok" => Some(Class::AlreadyRight),
            _ => None,
        },
        _ => None,
    }
}

fn required(kind: &str) -> BTreeSet<Class> {
    let schema = serde_json::to_value(resources::schema(kind).unwrap()).unwrap();
    let mut all =
        BTreeSet::from([Class::Creates, Class::ChangesAField, Class::AlreadyRight, Class::Fails]);
    if schema["properties"]["state"].is_object() {
        all.insert(Class::Removes);
    }
    let exempt = IMPOSSIBLE.iter().filter(|(other, ..)| *other == kind);
    for (_, class, _) in exempt {
        all.remove(class);
    }
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/resources")
}

/// The paths and texts of a kind's cases, sorted.
fn cases(kind: &str) -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir(folder().join(kind)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

fn read_case(text: &str) -> Result<Case, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// Keeps what the author wrote and writes what follows from it.
fn rewrite(path: &Path, text: &str, found: &Expected) {
    let kept = text.split_once("\nchange:").map_or(text.trim_end(), |(kept, _)| kept);
    let expected = serde_yaml::to_string(found).unwrap();
    std::fs::write(path, format!("{kept}\n{expected}")).unwrap();
}

fn indented(expected: &Expected) -> String {
    let text = serde_yaml::to_string(expected).unwrap();
    text.split_inclusive('\n').flat_map(|line| ["  ", line]).collect()
}
