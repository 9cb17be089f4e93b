//! The main job: the three servers of Flus at once, from a bare Debian, with one command. The other
//! tests of these servers begin with copies of what is made here.

use serde_json::Value;

use crate::support::{NAMES, copy, made};

crate::tests! {
    ; on each release:
    one_command_converges_three_servers = 300,
    a_copy_of_rufus_has_nothing_to_do = 20,
    a_copy_of_mikado_has_nothing_to_do = 30,
    a_copy_of_faremis_has_nothing_to_do = 20,
}

/// All three converge, and the preview of each comes true.
fn one_command_converges_three_servers(os: &str) {
    let made = made(&NAMES, os);
    let (code, report) = &made.applied;
    assert_eq!(*code, 0, "{report}");
    for name in NAMES {
        let events = report.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_total = |event: &Value| event["event"] == "apply_totals" && event["server"] == name;
        let totals = events.into_iter().find(is_total).unwrap();
        assert_eq!((&totals["failed"], &totals["skipped"]), (&0.into(), &0.into()), "{totals}");
    }
    assert!(made.complaints.is_empty(), "{:#?}", made.complaints);
}

fn a_copy_of_rufus_has_nothing_to_do(os: &str) {
    has_nothing_to_do("rufus", os);
}

fn a_copy_of_mikado_has_nothing_to_do(os: &str) {
    has_nothing_to_do("mikado", os);
}

fn a_copy_of_faremis_has_nothing_to_do(os: &str) {
    has_nothing_to_do("faremis", os);
}

/// A copy has a host key, a machine id and an address of its own, and everything else that its
/// original was given: a second apply changes nothing, databases and containers included.
fn has_nothing_to_do(name: &str, os: &str) {
    let server = copy(name, os);
    server.has_nothing_to_do(&[]);
    let said = server.converge(&[]);
    assert!(said.contains(" ok\n"), "{said}");
    assert!(!said.contains("  changed"), "{said}");
}
