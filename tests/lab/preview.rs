//! The preview is true: what `diff` says of a bare server is what `apply` then does, resource by
//! resource, field by field, service by service. For every project in `examples/`; the servers of
//! Flus are in `from_bare`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{LabServer, flus, text};

crate::tests! {
    every_example_is_tried;
    on each release:
        first_role = 20,
        lemp = 45,
    ; on one release:
        static_site = 30,
        rsync_sites = 35,
        php_app = 60,
}

/// The examples that the tests of this module apply.
const EXAMPLES: [&str; 5] = ["first-role", "lemp", "php-app", "rsync-sites", "static-site"];

/// What a plan may leave open, in percent of its resources.
const MOST_UNKNOWN: usize = 3;

/// Lists the files that a plan has written or set attributes of, without infra's own program, apt's
/// caches, the log of the connections, the traces of the emulator, and packages that other servers
/// of the lab share.
const WRITTEN: &str = "find / -xdev -cnewer /tmp/before-the-plan ! -type d \
                       ! -path '/var/lib/infra/agent/*' ! -path '/var/cache/apt/*.bin' \
                       ! -path '/var/log/journal/*' ! -path '/opt/arm/traces/*' \
                       ! '(' -path '/var/cache/apt/archives/*.deb' -links +1 ')'";

/// The resources and services of one server in a report in JSON.
struct Told {
    outcomes: BTreeMap<String, String>,
    /// What changes in each resource, as its fields are told.
    fields: BTreeMap<String, Value>,
    services: BTreeSet<String>,
}

impl Told {
    fn read(report: &str, server: &str, resources: &str, services: &str) -> Self {
        let (mut outcomes, mut fields) = (BTreeMap::new(), BTreeMap::new());
        let mut told = BTreeSet::new();
        for line in report.lines().filter(|line| line.starts_with('{')) {
            let event: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            if event["server"] != server {
                continue;
            }
            if event["event"] == resources {
                outcomes.insert(field("resource"), field("outcome"));
                fields.insert(field("resource"), event["fields"].clone());
            } else if event["event"] == services {
                told.insert(format!("{} {}", field("service"), field("action")));
            }
        }
        assert!(!outcomes.is_empty(), "{server}: nothing is told");
        Self { outcomes, fields, services: told }
    }

    fn of(&self, outcomes: &[&str]) -> BTreeSet<&String> {
        let is_one = |outcome: &String| outcomes.contains(&outcome.as_str());
        let chosen = self.outcomes.iter().filter(|(_, outcome)| is_one(outcome));
        chosen.map(|(id, _)| id).collect()
    }
}

/// Plans, applies, plans again; everything that was certain has to come true.
pub(crate) fn comes_true(server: &LabServer, title: &str, more: &[&str]) {
    let run = |command: &str| {
        let arguments = [command, &server.name, "--lab", "--output", "json"];
        let yes: &[&str] = if command == "apply" { &["--yes"] } else { &[] };
        let output = server.infra(&[&arguments, yes, more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    server.run("touch /tmp/before-the-plan");
    let (code, plan, complaint) = run("diff");
    assert_eq!(code, Some(2), "{title}: {complaint}{}", failures(&plan));
    assert_eq!(server.shell(WRITTEN), "", "{title}");
    let (code, done, complaint) = run("apply");
    assert_eq!(code, Some(0), "{title}: {complaint}{}", failures(&done));
    compare(&server.name, title, &plan, &done);
    server.has_nothing_to_do(more);
}

/// Compares the report of a plan with that of its apply. Prints a line of the table.
#[expect(clippy::print_stdout, reason = "the table that the promise is judged by")]
pub(crate) fn compare(server: &str, title: &str, plan: &str, done: &str) {
    let plan = Told::read(plan, server, "planned", "service_due");
    let done = Told::read(done, server, "applied", "service_done");
    let foreseen = plan.of(&["create", "change", "remove"]);
    let unknown = plan.of(&["unknown"]);
    let changed: BTreeSet<&String> =
        done.of(&["changed"]).into_iter().filter(|id| !unknown.contains(id)).collect();
    let wrong: Vec<_> = foreseen.symmetric_difference(&changed).collect();
    assert!(wrong.is_empty(), "{title}: foreseen or done, but not both: {wrong:#?}");
    // What apt says of a package beside its presence is told by the plan alone.
    for id in foreseen.iter().filter(|id| !id.starts_with("package:")) {
        assert_eq!(known(&plan.fields[*id], &done.fields[*id]), plan.fields[*id], "{title}: {id}");
    }
    assert_eq!(plan.services, done.services, "{title}");
    let all = plan.outcomes.len();
    println!(
        "{title:30} {all:4} resources, {:4} foreseen, {:4} changed, {} known after",
        foreseen.len(),
        changed.len(),
        unknown.len(),
    );
    assert!(unknown.len() * 100 <= all * MOST_UNKNOWN, "{title}: {unknown:#?}");
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

fn first_role(os: &str) {
    example("first-role", "ada", os, &[]);
}

fn static_site(os: &str) {
    example("static-site", "web", os, &[]);
}

fn lemp(os: &str) {
    let newer = ["--set", "php-fpm.version=\"8.4\""];
    example("lemp", "web", os, if os == "debian-13" { &newer } else { &[] });
}

fn rsync_sites(os: &str) {
    example("rsync-sites", "web", os, &[]);
}

fn php_app(os: &str) {
    example("php-app", "shop", os, &[]);
}

/// Copies the example `name` into `folder` and returns its project: it has the roles of this
/// repository where it brings none.
pub(crate) fn copy_example(name: &str, folder: &Path) -> PathBuf {
    let project = folder.join(name);
    std::fs::create_dir(&project).unwrap();
    let copy = |from: &Path| {
        let mut cp = std::process::Command::new("cp");
        let done = cp.args(["-rL", "--"]).arg(from).arg(&project).status().unwrap();
        assert!(done.success(), "{}", from.display());
    };
    for part in ["inventory", "roles", "templates", "secrets"] {
        let own = flus().join("examples").join(name).join(part);
        if own.is_dir() {
            copy(&own);
        } else if matches!(part, "roles" | "templates") {
            copy(&flus().join(part));
        }
    }
    project
}

fn example(name: &str, server: &str, os: &str, more: &[&str]) {
    assert!(EXAMPLES.contains(&name));
    let folder = tempfile::tempdir().unwrap();
    let project = copy_example(name, folder.path());
    let bare = LabServer::bare(server, os, &project);
    let _token = crate::support::tokens::take();
    comes_true(&bare, &format!("{name} on {os}"), more);
}

fn every_example_is_tried() {
    let names: BTreeSet<String> = std::fs::read_dir(flus().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, EXAMPLES.map(str::to_owned).into());
}
