//! Large contents and hostile servers: what a run shows of them, and how much memory it takes.

use std::process::Command;

use infra::events::{Event, Outcome};
use infra::manifest::ResourceId;
use infra::resources::{Change, Facts, FieldChange, Value};
use infra::wire;

use super::Project;
use crate::sshd::Setup;

crate::tests! {
    a_long_content_is_shown_by_size_and_hash = 2,
    many_large_differences_take_little_memory = 120,
}

fn a_long_content_is_shown_by_size_and_hash() {
    let project = Project::with(&Setup {
        before: Some(
            "mkdir -p /var/lib/demo; [ -e /var/lib/made ] || \
             { yes | head -c 20971520 >/var/lib/demo/motd; touch /var/lib/made; }",
        ),
        ..Setup::default()
    });
    let change = "content: 20971520 bytes, sha256 1efa4c166d1c → 16 bytes, sha256 a21864dc0479\n";
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert!(plan.contains(change), "{plan}");
    assert_eq!(code, 2);
    let (code, done, error) = project.infra(&["apply", "rufus", "--yes"]);
    assert_eq!(code, 0, "{done}{error}");
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert_eq!((code, plan.as_str()), (0, "rufus  3 resources: 3 ok\n"));
}

/// The changes of a server that lies: 200 files, each a text with other lines than the one before.
fn large_differences() -> Vec<u8> {
    let text = |step: usize| {
        let lines = (0..).map(|line: usize| format!("{}\n", line * step % 100_003));
        let mut text: String = lines.take(25_000).collect();
        text.truncate(140_000);
        Value::Content(text.into_bytes())
    };
    let (old, new) = (text(7919), text(104_729));
    let mut frames = wire::PREAMBLE.to_vec();
    let mut add = |event: &Event| frames.extend(wire::encode(event).unwrap());
    add(&Event::Started { facts: Facts::default() });
    for number in 0..200 {
        let field = FieldChange {
            field: "content".to_owned(),
            current: Some(old.clone()),
            desired: new.clone(),
        };
        let outcome = Outcome::Changed(Change::Update(vec![field]));
        let id = ResourceId::new("file", &format!("/etc/{number}"));
        add(&Event::Checked { id, outcome, mark: None });
    }
    add(&Event::PlanComplete);
    frames
}

fn many_large_differences_take_little_memory() {
    let before = "cat \"$(dirname \"$0\")/frames\"; sleep 1000; exit 0";
    let project = Project::with(&Setup { before: Some(before), ..Setup::default() });
    std::fs::write(project.sshd.file("frames"), large_differences()).unwrap();
    for more in [&["-v"][..], &["--output", "json"], &["--output", "markdown"]] {
        let plain = project.command(&[&["diff", "rufus"], more].concat());
        let mut limited = Command::new("sh");
        // Kilobytes of addresses, of which a run takes far more than of memory.
        limited.args(["-c", "ulimit -v 200000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_infra")]);
        limited.args(plain.get_args()).current_dir(&project.folder);
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        let output = limited.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {error}");
        let said = String::from_utf8(output.stdout).unwrap();
        let shows = if more.contains(&"markdown") {
            "### infra: 200 changes on 1 of 1 server\n"
        } else {
            "140000 bytes, sha256 "
        };
        assert!(said.contains(shows), "{more:?}: {}", said.len());
    }
}
