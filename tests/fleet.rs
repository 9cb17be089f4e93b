//! The three servers of Flus at once, from bare, with one command, on every release.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::cargo::cargo_bin;

use crate::rufus::lines;
use crate::support::lab_server::{share_images, text};

const NAMES: [&str; 3] = ["faremis", "mikado", "rufus"];

/// A lab with all servers of the inventory in it, which ends with the test.
struct Fleet {
    folder: PathBuf,
}

impl Fleet {
    fn up(os: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-fleet-{os}"));
        let fleet = Self { folder };
        // What a run that was killed has left.
        fleet.infra(&["lab", "down"]);
        let images = share_images(&fleet.folder);
        let (code, said) = fleet.infra(&["lab", "up", "--os", os]);
        drop(images);
        assert_eq!(
            code, 0,
            "{said}\nThis test needs a machine that can run the lab: root on Linux, and the \
             packages that `.ci/prepare` installs."
        );
        fleet
    }

    fn infra(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(cargo_bin("infra"));
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("INFRA_LAB_DIR", &self.folder).env("NO_COLOR", "1");
        let output = command.output().unwrap();
        (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A test that fails has its own failure to show.
        self.infra(&["lab", "down"]);
    }
}

#[test]
fn three_servers_from_bare_on_debian_12() {
    converges("debian-12");
}

#[test]
fn three_servers_from_bare_on_debian_13() {
    converges("debian-13");
}

fn converges(os: &str) {
    let fleet = Fleet::up(os);
    let (code, said) = fleet.infra(&["apply", "all", "--lab", "--yes"]);
    assert_eq!(code, 0, "{said}");
    for name in NAMES {
        let totals = format!("{name}  ");
        assert!(
            lines(&said, "0 failed, 0 skipped").iter().any(|l| l.starts_with(&totals)),
            "{said}"
        );
    }
    assert!(said.contains("\n3 servers: 3 changed (faremis, mikado, rufus)\n"), "{said}");
    let (code, said) = fleet.infra(&["apply", "all", "--lab", "--yes"]);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    let (code, said) = fleet.infra(&["diff", "all", "--lab"]);
    assert_eq!(code, 0, "{said}");
    one_that_fails_stops_no_other(&fleet);
}

/// What Mikado cannot do, the others do all the same, unless they come one after the other.
fn one_that_fails_stops_no_other(fleet: &Fleet) {
    let mistake = ["--set", "mailu.bind=[0.0.0.0, nonsense]"];
    let all = ["apply", "@hetzner", "--lab", "--yes", "--set", "base.timezone=Europe/Berlin"];
    let (code, said) = fleet.infra(&[&all[..], &mistake].concat());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("Compose refuses `/mailu/docker-compose.yml`"), "{said}");
    for name in NAMES {
        let done = format!("{name} timezone:host changed");
        assert!(words(&said).contains(&done), "{said}");
    }
    let serial = ["apply", "mikado", "faremis", "rufus", "--lab", "--yes", "--serial", "1"];
    let (code, said) = fleet.infra(&[&serial[..], &mistake].concat());
    assert_eq!(code, 3, "{said}");
    for name in ["faremis", "rufus"] {
        let left = format!("{name} warning: left as it is, because `mikado` failed");
        assert!(words(&said).contains(&left), "{said}");
    }
    assert!(said.contains("2 to change (faremis, rufus), 1 failed (mikado)"), "{said}");
    let (code, said) = fleet.infra(&["apply", "all", "--lab", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = fleet.infra(&["status", "--lab"]);
    assert_eq!(code, 0, "{said}");
}

/// The names of servers are padded to the longest.
fn words(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
