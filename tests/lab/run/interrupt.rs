//! A run that a person interrupts.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Project, write};
use crate::processes::{self, Waiting};
use crate::support::wait_until;

crate::tests! {
    ctrl_c_ends_a_run_after_the_resource_in_hand,
}

/// The thread of the agent that reads requests, while the agent runs a command with `marker` in its
/// arguments.
fn reader_of_requests(marker: &str) -> Option<Waiting> {
    let agent = processes::parent(processes::with(&[marker])?);
    processes::waiting(agent).into_iter().find(Waiting::reads_input)
}

/// The resource in hand is completed after the first Ctrl-C, and the next one is skipped.
fn ctrl_c_ends_a_run_after_the_resource_in_hand() {
    let project = Project::new();
    let go = project.sshd.file("go");
    mkfifoat(CWD, &go, Mode::from_raw_mode(0o600)).unwrap();
    let marker = go.to_str().unwrap();
    let role = format!(
        "description: a command that waits for the test\nresources:\n\
         - command:\n    \
             run: [sh, -c, 'read -r word < {marker}; echo > /var/lib/a']\n    \
             creates: /var/lib/a\n\
         - command: {{ run: [touch, /var/lib/b], creates: /var/lib/b }}\n"
    );
    write(&project.folder.join("roles/demo/role.yaml"), &role);
    let mut infra = project.command(&["apply", "rufus", "--yes", "--output", "json"]);
    let mut process = infra.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("\"applying\"")).unwrap();
    let mut reader = None;
    wait_until("the agent to run the command", || {
        reader = reader_of_requests(marker);
        reader.is_some()
    });
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    // Only then the command ends: the agent knows of the interrupt by the time that it could begin
    // with the next resource.
    let reader = reader.unwrap();
    wait_until("the agent to learn of the interrupt", || reader.waits_anew());
    std::fs::write(&go, "go on\n").unwrap();
    let rest: Vec<String> = lines.collect();
    let done = rest.iter().find(|line| line.contains("apply_totals")).unwrap();
    let done: Value = serde_json::from_str(done).unwrap();
    assert_eq!((&done["changed"], &done["skipped"]), (&1.into(), &1.into()));
    assert_eq!(process.wait().unwrap().code(), Some(130));
}
