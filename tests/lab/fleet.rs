//! The three servers of Flus together: one closing line, and a failure that stops no other server
//! unless they come one after the other.

use crate::support::{NAMES, TestLab, copies, lines};

crate::tests! {
    ; on one release:
    a_run_over_three_servers_ends_with_how_each_stands = 60,
    a_server_that_fails_stops_no_other = 60,
    a_server_that_fails_stops_those_behind_it_in_a_series = 60,
}

const ALL: [&str; 4] = ["apply", "all", "--lab", "--yes"];

/// A setting that Mikado refuses.
const MISTAKE: [&str; 2] = ["--set", "mailu.bind=[0.0.0.0, nonsense]"];

/// A setting that all servers take.
const CHANGE: [&str; 2] = ["--set", "base.timezone=Europe/Berlin"];

fn a_run_over_three_servers_ends_with_how_each_stands(os: &str) {
    let lab = copies(&NAMES, os);
    let said = lab.succeed(&[&ALL[..], &CHANGE].concat());
    for name in NAMES {
        let totals = format!("{name}  ");
        let complete = lines(&said, "0 failed, 0 skipped");
        assert!(complete.iter().any(|line| line.starts_with(&totals)), "{said}");
    }
    assert!(said.contains("\n3 servers: 3 changed (faremis, mikado, rufus)\n"), "{said}");
    let said = lab.succeed(&[&ALL[..], &CHANGE].concat());
    assert_eq!(lines(&said, "  changed").len(), 0, "{said}");
    lab.succeed(&[&["diff", "all", "--lab"], &CHANGE[..]].concat());
}

fn a_server_that_fails_stops_no_other(os: &str) {
    let lab = copies(&NAMES, os);
    let group = ["apply", "@hetzner", "--lab", "--yes"];
    let (code, said) = lab.say(&[&group[..], &CHANGE, &MISTAKE].concat());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("Compose refuses `/mailu/docker-compose.yml`"), "{said}");
    for name in NAMES {
        let done = format!("{name} timezone:host changed");
        assert!(words(&said).contains(&done), "{said}");
    }
    is_mended(&lab);
}

fn a_server_that_fails_stops_those_behind_it_in_a_series(os: &str) {
    let lab = copies(&NAMES, os);
    let serial = ["apply", "mikado", "faremis", "rufus", "--lab", "--yes", "--serial", "1"];
    let (code, said) = lab.say(&[&serial[..], &CHANGE, &MISTAKE].concat());
    assert_eq!(code, 3, "{said}");
    for name in ["faremis", "rufus"] {
        let left = format!("{name} warning: left as it is, because `mikado` failed");
        assert!(words(&said).contains(&left), "{said}");
    }
    assert!(said.contains("2 to change (faremis, rufus), 1 failed (mikado)"), "{said}");
    is_mended(&lab);
}

/// The next run without the mistake converges all, and their status says so.
fn is_mended(lab: &TestLab) {
    lab.succeed(&ALL);
    lab.succeed(&["status", "--lab"]);
}

/// The names of servers are padded to the longest.
fn words(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
