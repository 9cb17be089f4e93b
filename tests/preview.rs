//! The preview is true: what `diff` says of a bare server is what `apply` then does, resource by
//! resource, field by field, service by service. For Rufus (from `tests/rufus.rs`) and for every
//! project in `examples/`, on every release of Debian.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::LabServer;
use crate::support::lab_server::text;

/// What a plan may leave open, in percent of its resources.
const MOST_UNKNOWN: usize = 3;

/// What a report in JSON says of the resources and services.
struct Told {
    outcomes: BTreeMap<String, String>,
    /// What changes in each resource, as its fields are told.
    fields: BTreeMap<String, Value>,
    services: BTreeSet<String>,
}

impl Told {
    fn read(report: &str, resources: &str, services: &str) -> Self {
        let (mut outcomes, mut fields) = (BTreeMap::new(), BTreeMap::new());
        let mut told = BTreeSet::new();
        for line in report.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            if event["event"] == resources {
                outcomes.insert(field("resource"), field("outcome"));
                fields.insert(field("resource"), event["fields"].clone());
            } else if event["event"] == services {
                told.insert(format!("{} {}", field("service"), field("action")));
            }
        }
        Self { outcomes, fields, services: told }
    }

    fn of(&self, outcomes: &[&str]) -> BTreeSet<&String> {
        let is_one = |outcome: &String| outcomes.contains(&outcome.as_str());
        let chosen = self.outcomes.iter().filter(|(_, outcome)| is_one(outcome));
        chosen.map(|(id, _)| id).collect()
    }
}

/// Plans, applies, plans again; everything that was certain has to come true. Prints a line of
/// the table.
#[expect(clippy::print_stdout, reason = "the table that the promise is judged by")]
pub(crate) fn comes_true(lab: &LabServer, name: &str, more: &[&str]) {
    let run = |command: &str| {
        let arguments = [command, &lab.name, "--lab", "--output", "json"];
        let yes: &[&str] = if command == "apply" { &["--yes"] } else { &[] };
        let output = lab.infra(&[&arguments, yes, more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, plan, complaint) = run("diff");
    assert_eq!(code, Some(2), "{name}: {complaint}{}", failures(&plan));
    let plan = Told::read(&plan, "planned", "service_due");
    let (code, done, complaint) = run("apply");
    assert_eq!(code, Some(0), "{name}: {complaint}{}", failures(&done));
    let done = Told::read(&done, "applied", "service_done");

    let foreseen = plan.of(&["create", "change", "remove"]);
    let unknown = plan.of(&["unknown"]);
    let changed: BTreeSet<&String> =
        done.of(&["changed"]).into_iter().filter(|id| !unknown.contains(id)).collect();
    let wrong: Vec<_> = foreseen.symmetric_difference(&changed).collect();
    assert!(wrong.is_empty(), "{name}: foreseen or done, but not both: {wrong:#?}");
    // What apt says of a package beside its presence is told by the plan alone.
    for id in foreseen.iter().filter(|id| !id.starts_with("package:")) {
        assert_eq!(known(&plan.fields[*id], &done.fields[*id]), plan.fields[*id], "{name}: {id}");
    }
    assert_eq!(plan.services, done.services, "{name}");
    let all = plan.outcomes.len();
    println!(
        "{name:30} {all:4} resources, {:4} foreseen, {:4} changed, {} known after",
        foreseen.len(),
        changed.len(),
        unknown.len(),
    );
    assert!(unknown.len() * 100 <= all * MOST_UNKNOWN, "{name}: {unknown:#?}");

    let (code, plan, _) = run("diff");
    assert_eq!(code, Some(0), "{name}: {plan}");
}

/// What was done to the fields of a resource, without what the plan did not claim to know: what
/// a file holds that comes with a package.
fn known(plan: &Value, done: &Value) -> Value {
    let mut done = done.clone();
    let fields = done.as_array_mut().into_iter().flatten();
    for (done, plan) in fields.zip(plan.as_array().into_iter().flatten()) {
        if plan["current"].is_null() {
            done.clone_from(plan);
        }
    }
    done
}

fn failures(report: &str) -> String {
    report
        .lines()
        .filter(|line| line.contains("\"failed\"") || line.contains("\"error\""))
        .collect()
}

/// Copies the example `name` into `folder` and returns its project: it has the roles of this
/// repository where it brings none.
pub(crate) fn copy_example(name: &str, folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = folder.join(name);
    std::fs::create_dir(&project).unwrap();
    let copy = |from: &Path| {
        let done = std::process::Command::new("cp")
            .args(["-rL", "--"])
            .arg(from)
            .arg(&project)
            .status()
            .unwrap();
        assert!(done.success(), "{}", from.display());
    };
    for part in ["inventory", "roles", "templates", "secrets"] {
        let own = root.join("examples").join(name).join(part);
        if own.is_dir() {
            copy(&own);
        } else if matches!(part, "roles" | "templates") {
            copy(&root.join(part));
        }
    }
    project
}

fn example(name: &str, server: &str, os: &str, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let project = copy_example(name, folder.path());
    let lab = LabServer::up(server, os, &project);
    comes_true(&lab, &format!("{name} on {os}"), more);
}

macro_rules! examples {
    ($($test:ident: $name:literal, $server:literal, $os:literal, $more:expr;)*) => {
        $(
            #[test]
            fn $test() {
                example($name, $server, $os, &$more);
            }
        )*
    };
}

examples! {
    first_role_12: "first-role", "ada", "debian-12", [];
    first_role_13: "first-role", "ada", "debian-13", [];
    static_site_12: "static-site", "web", "debian-12", [];
    static_site_13: "static-site", "web", "debian-13", [];
    lemp_12: "lemp", "web", "debian-12", [];
    lemp_13: "lemp", "web", "debian-13", ["--set", "php-fpm.version=\"8.4\""];
    rsync_sites_12: "rsync-sites", "web", "debian-12", [];
    rsync_sites_13: "rsync-sites", "web", "debian-13", [];
    php_app_12: "php-app", "shop", "debian-12", [];
    php_app_13: "php-app", "shop", "debian-13", [];
}

#[test]
fn every_example_is_tried() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let names: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let tried = ["first-role", "lemp", "php-app", "rsync-sites", "static-site"];
    assert_eq!(names, tried.map(str::to_owned).into());
}
