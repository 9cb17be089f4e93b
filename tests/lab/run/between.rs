//! Changes on a server between the plan and the `yes` of a person at a terminal.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use super::Project;

crate::tests! {
    a_plan_is_applied_as_it_was_shown,
    a_server_that_changed_since_is_left_as_it_is,
    another_run_in_between_is_told,
}

const QUESTION: &str = "Only `yes` is accepted: ";

/// Runs `infra apply rufus` at a terminal, does something else when infra asks, and says
/// `yes`. Returns the exit code and everything that the terminal shows after the answer.
fn apply_with(project: &Project, meanwhile: impl FnOnce()) -> (i32, String) {
    let infra = env!("CARGO_BIN_EXE_infra");
    let line = format!("{infra} apply rufus --color never");
    let plain = project.command(&[]);
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.current_dir(&project.folder).env("TERM", "dumb");
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = script.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut byte = [0];
    while !shown.ends_with(QUESTION.as_bytes()) {
        let count = output.read(&mut byte).unwrap();
        assert_eq!(count, 1, "infra does not ask: {}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    meanwhile();
    let mut input = script.stdin.take().unwrap();
    input.write_all(b"yes\n").unwrap();
    input.flush().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    (script.wait().unwrap().code().unwrap(), rest.replace('\r', ""))
}

fn a_plan_is_applied_as_it_was_shown() {
    let project = Project::new();
    let (code, said) = apply_with(&project, || ());
    assert!(said.contains("rufus  3 resources: 0 ok, 3 changed, 0 failed, 0 skipped\n"), "{said}");
    assert_eq!(code, 0);
}

fn a_server_that_changed_since_is_left_as_it_is() {
    let project = Project::new();
    project.infra(&["apply", "rufus", "--yes"]);
    project.infra(&["ssh", "rufus", "--", "echo before > /var/lib/demo/motd"]);
    let change = "echo meanwhile > /var/lib/demo/motd; rm /var/lib/demo/last";
    let (code, said) = apply_with(&project, || {
        assert_eq!(project.infra(&["ssh", "rufus", "--", change]).0, 0);
    });
    let end = said.split_once("error: ").unwrap().1;
    assert_eq!(
        end,
        "\
the server changed since the plan was made
 --> rufus
caused by: `file:/var/lib/demo/motd` is not as it was
caused by: `file:/var/lib/demo/last` was as it should be, and is to be created now
hint: nothing was changed: look at the new plan and apply again
"
    );
    assert_eq!(code, 3);
    let (_, motd, _) = project.infra(&["ssh", "rufus", "--", "cat /var/lib/demo/motd"]);
    assert_eq!(motd, "meanwhile\n");
    let (_, runs, _) = project.infra(&["history", "rufus"]);
    assert_eq!(runs.lines().count(), 2, "a run that changed nothing is none: {runs}");
}

fn another_run_in_between_is_told() {
    let project = Project::new();
    let (code, said) = apply_with(&project, || {
        assert_eq!(project.infra(&["apply", "rufus", "--yes"]).0, 0);
    });
    assert!(
        said.contains(
            "the server changed since the plan was made\n --> rufus\n\
             caused by: another run was there in between\n"
        ),
        "{said}"
    );
    assert_eq!(code, 3);
}
