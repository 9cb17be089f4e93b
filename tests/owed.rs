//! What a run leaves for the next one: a reload that it did not reach, a program that was stopped
//! half-way, and the lock that another run waits for.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::LabServer;
use crate::support::lab_server::text;

/// The command holds the run up between the switch of the file and the end of the role, where the
/// reload would be.
const ROLE: &str = "\
description: a file of sshd, and something that takes its time
params:
  tries: { type: integer, default: 4 }
  slow: { type: string, default: first }
resources:
  - file: { path: /etc/ssh/sshd_config.d/20-demo.conf, content: \"MaxAuthTries {{ tries }}\\n\" }
    reload: ssh
  - command: { name: slow, run: [sh, -c, 'sleep 20; touch /run/slow'], stamp: /var/lib/slow, stamp_key: '{{ slow }}' }
  - service: { name: ssh, validate: /usr/sbin/sshd -t }
";

#[test]
fn what_a_run_leaves_is_done_by_the_next() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("owed");
    // It may be there from an earlier run.
    let _ = fs::remove_dir_all(&folder);
    for part in ["inventory", "roles/demo"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let inventory = "ssh: { host: cut.example.org }\nroles: { demo: {} }\n";
    fs::write(folder.join("inventory/cut.yaml"), inventory).unwrap();
    fs::write(folder.join("roles/demo/role.yaml"), ROLE).unwrap();
    let server = LabServer::up("cut", "debian-12", &folder);
    reloads_what_a_killed_run_did_not(&server);
    stops_half_way(&server);
    waits_for_the_lock(&server);
}

/// Starts an apply and returns when the slow program runs.
fn until_slow(server: &LabServer, more: &[&str]) -> Child {
    assert_eq!(server.kept_shell("echo here"), "here");
    let arguments = ["apply", "cut", "--lab", "--yes", "--output", "json"];
    let mut command = server.command(&[&arguments[..], more].concat());
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_slow = |line: &String| line.contains("\"applying\"") && line.contains("command:slow");
    assert!(lines.by_ref().any(|line| is_slow(&line)), "the slow program was not run");
    // The rest is read by nobody, and does not stop the client.
    std::thread::spawn(move || lines.for_each(drop));
    client
}

/// When sshd read its files last, in seconds.
fn since(server: &LabServer) -> u64 {
    let since = server.kept_shell("systemctl show -P StateChangeTimestamp --timestamp=unix ssh");
    since.trim_start_matches('@').parse().unwrap()
}

fn reloads_what_a_killed_run_did_not(server: &LabServer) {
    let before = since(server);
    let mut client = until_slow(server, &[]);
    server.kept_shell("pkill -KILL -f ^/var/lib/infra/agent/; pkill -KILL sleep");
    assert_eq!(client.wait().unwrap().code(), Some(4), "the connection is lost");
    let switched = server.kept_shell("cat /etc/ssh/sshd_config.d/20-demo.conf");
    assert_eq!((switched.as_str(), since(server)), ("MaxAuthTries 4", before));

    let plan = text(&server.infra(&["diff", "cut", "--lab"]).stdout);
    assert!(plan.contains("the last run, by "), "{plan}");
    assert!(plan.contains("cut  ~ service:ssh  reload\n"), "{plan}");
    assert!(!plan.contains("20-demo.conf"), "the file is right: {plan}");
    let (code, said) = server.apply(&["-v"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("file:/etc/ssh/sshd_config.d/20-demo.conf  ok"), "{said}");
    assert!(said.contains("service:ssh  reloaded"), "{said}");
    assert!(since(server) > before, "sshd did not read its files");
    let plan = server.infra(&["diff", "cut", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
}

fn stops_half_way(server: &LabServer) {
    let mut client = until_slow(server, &["--set", "demo.slow=second", "--set", "demo.tries=5"]);
    let began = Instant::now();
    let pid = Pid::from_child(&client);
    kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(client.try_wait().unwrap().is_none(), "the first Ctrl-C waits for the resource");
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert_eq!(server.kept_shell("pgrep -x sleep; pgrep -f ^/var/lib/infra/agent/"), "");
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

/// The second run waits, and then makes its plan of what the first has left.
fn waits_for_the_lock(server: &LabServer) {
    let third = ["--set", "demo.slow=third"];
    let mut first = until_slow(server, &third);
    let (code, said) = server.apply(&third);
    assert_eq!(code, 5, "{said}");
    let plan = text(&server.infra(&["diff", "cut", "--lab"]).stdout);
    assert!(plan.contains(" applies to it right now"), "{plan}");
    assert!(!plan.contains("the last run, by "), "it is not cut: {plan}");
    let (code, said) = server.apply(&[&third[..], &["--lock-wait", "2m"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("cut  3 resources: 3 ok\n"), "nothing is left to do: {said}");
    assert_eq!(first.wait().unwrap().code(), Some(0));
}
