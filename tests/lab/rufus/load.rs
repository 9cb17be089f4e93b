//! Visitors while releases change.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{LabServer, copy, text};

crate::tests! {
    ; on one release: no_visitor_meets_an_error_while_releases_change = 60,
}

/// For how long the peak is measured.
const MEASURED: Duration = Duration::from_secs(4);

/// Visitors of demo.flus.fr, whose every answer is looked at.
struct Visitors(Child);

impl Visitors {
    /// Those who come at this rate while `release` takes the place of another.
    fn of(server: &LabServer, rate: f64, release: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/rufus/load.py");
        let answers = "demo.flus.fr (v[12]), PostgreSQL with 1 items";
        let child = Command::new("python3")
            .args([script, server.address(), "demo.flus.fr", "/about"])
            .args([&rate.to_string(), answers, release])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// How the visitors fared until now: the number of answers, and how many came in a second.
    fn end(mut self) -> (u64, f64) {
        self.0.stdin.take().unwrap().flush().unwrap();
        let mut report = Vec::new();
        self.0.stdout.take().unwrap().read_to_end(&mut report).unwrap();
        assert!(self.0.wait().unwrap().success());
        let report: Value = serde_json::from_str(&text(&report)).unwrap();
        assert_eq!(report["failed"], 0, "{report}");
        (report["answers"].as_u64().unwrap(), report["rate"].as_f64().unwrap())
    }
}

/// A deployment with a migration, the way back, and the same deployment once more, at half of what
/// the site can answer.
fn no_visitor_meets_an_error_while_releases_change(os: &str) {
    let server = copy("rufus", os);
    let visitors = Visitors::of(&server, 0.0, "v1");
    // How long the peak is measured, not how long something may take.
    let end = Instant::now() + MEASURED;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::sleep(left);
    }
    let (_, peak) = visitors.end();
    for release in ["v2", "v1", "v2"] {
        let visitors = Visitors::of(&server, peak / 2.0, release);
        let fields = format!("{{ref: {release}, health: {{contains: '{release},'}}}}");
        let set = format!("php-app.apps.\"demo.flus.fr\"={fields}");
        server.converge(&["--only", "php-app/demo.flus.fr", "--set", &set]);
        let page = format!("demo.flus.fr {release}, PostgreSQL with 1 items");
        assert_eq!(server.page("demo.flus.fr", "/about").trim(), page);
        let (answers, rate) = visitors.end();
        assert!(answers > 5, "{release}: {answers} answers, {rate} a second");
    }
}
