//! Runs that end early or overlap: the next run makes up for a reload, the program in hand is
//! stopped half-way, and a run waits for the lock of another.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::LabServer;

crate::tests! {
    the_next_run_reloads_what_a_killed_run_did_not = 10,
    the_second_interrupt_stops_a_program_half_way = 10,
    a_run_waits_for_the_lock_and_plans_anew = 10,
}

/// The command holds the run up between the switch of the file and the end of the role, where the
/// reload would be, until a test lets it go on.
const ROLE: &str = "\
description: a file of a service, and a program that waits
params:
  tries: { type: integer, default: 4 }
resources:
  - file: { path: /etc/demo.conf, content: \"tries {{ tries }}\\n\" }
    reload: demo
  - command:
      name: slow
      run: [sh, -c, 'echo $$ > /run/slow; while [ ! -e /run/go ]; do sleep 0.1; done']
      stamp: /var/lib/slow
  - service: { name: demo, validate: test -s /etc/demo.conf }
";

/// A service of the server.
const UNIT: &str = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n\
                    [Install]\nWantedBy=multi-user.target\n";

/// Lets the slow program go on, now and in later runs.
const GO: &str = "touch /run/go";

/// Succeeds as long as something of the slow program runs: it has a process group of its own.
const RUNS: &str = "kill -0 -- -$(cat /run/slow)";

/// A server whose role has a slow program, and its project.
fn cut() -> (LabServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/demo"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: cut.example.org }\nroles: { demo: {} }\n";
    fs::write(folder.path().join("inventory/cut.yaml"), inventory).unwrap();
    fs::write(folder.path().join("roles/demo/role.yaml"), ROLE).unwrap();
    let server = LabServer::bare("cut", "debian-12", folder.path());
    server.run(&format!(
        "printf '%b' '{}' > /etc/systemd/system/demo.service; systemctl enable --now demo",
        UNIT.replace('\n', "\\n")
    ));
    (server, folder)
}

/// Starts an apply and returns when the slow program runs.
fn until_slow(server: &LabServer) -> Child {
    assert_eq!(server.shell("echo here"), "here");
    let mut command = server.command(&["apply", "cut", "--lab", "--yes", "--output", "json"]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_slow = |line: &String| line.contains("\"applying\"") && line.contains("command:slow");
    assert!(lines.by_ref().any(|line| is_slow(&line)), "the slow program was not run");
    // The rest is read by nobody, and does not stop the client.
    std::thread::spawn(move || lines.for_each(drop));
    server.wait_for("the slow program", RUNS);
    client
}

/// When the service started, or read its files last, in microseconds.
fn since(server: &LabServer) -> u64 {
    server.shell("systemctl show -P StateChangeTimestampMonotonic demo").parse().unwrap()
}

/// A run is killed between the switch of a file and its reload: the plan of the next run names the
/// reload, and the run makes it.
fn the_next_run_reloads_what_a_killed_run_did_not() {
    let (server, _project) = cut();
    let before = since(&server);
    let mut client = until_slow(&server);
    server.run("pkill -KILL -f ^/var/lib/infra/agent/");
    assert_eq!(client.wait().unwrap().code(), Some(4), "the connection is lost");
    let switched = server.shell("cat /etc/demo.conf");
    assert_eq!((switched.as_str(), since(&server)), ("tries 4", before));
    server.run(GO);

    let plan = server.plan(&[]);
    assert!(plan.contains("the last run, by "), "{plan}");
    assert!(plan.contains("cut  ~ service:demo  reload\n"), "{plan}");
    assert!(!plan.contains("demo.conf"), "the file is right: {plan}");
    let said = server.converge(&["-v"]);
    assert!(said.contains("file:/etc/demo.conf  ok"), "{said}");
    assert!(said.contains("service:demo  reloaded"), "{said}");
    assert!(since(&server) > before, "the service did not read its file");
    server.has_nothing_to_do(&[]);
}

/// The first Ctrl-C waits for the resource in hand, the second stops its program. Nothing lets the
/// program go on in the meantime: without the second it would run for ever.
fn the_second_interrupt_stops_a_program_half_way() {
    let (server, _project) = cut();
    let mut client = until_slow(&server);
    let pid = Pid::from_child(&client);
    kill_process(pid, Signal::INT).unwrap();
    let mut notes = BufReader::new(client.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = "stopping after the resource in hand; once more to stop it half-way";
    assert!(notes.any(|note| note == first), "the first Ctrl-C was not noticed");
    assert_eq!(server.shell(&format!("{RUNS} && echo runs")), "runs");
    assert!(client.try_wait().unwrap().is_none(), "the first Ctrl-C waits for the resource");
    kill_process(pid, Signal::INT).unwrap();
    assert!(notes.any(|note| note == "stopping what is in hand"), "nor the second");
    // The rest is read by nobody, and does not stop the client.
    std::thread::spawn(move || notes.for_each(drop));
    assert_eq!(client.wait().unwrap().code(), Some(130));
    server.wait_for("the end of the program", &format!("! {RUNS}"));
    server.wait_for("the end of the agent", "! pgrep -f ^/var/lib/infra/agent/");
    server.run(GO);
    server.converge(&[]);
}

/// The second run waits, and then makes its plan of what the first has left.
fn a_run_waits_for_the_lock_and_plans_anew() {
    let (server, _project) = cut();
    let mut first = until_slow(&server);
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 5, "{said}");
    let plan = server.plan(&[]);
    assert!(plan.contains(" applies to it right now"), "{plan}");
    assert!(!plan.contains("the last run, by "), "the run is not cut: {plan}");
    let (code, said) = std::thread::scope(|scope| {
        let second = scope.spawn(|| server.apply(&["--lock-wait", "5m"]));
        // The agents of both have opened the lock.
        let open = "test \"$(ls -l /proc/[0-9]*/fd | grep -c ' /var/lib/infra/lock$')\" = 2";
        server.wait_for("a second run at the lock", open);
        assert!(!second.is_finished(), "the second run does not wait");
        server.run(GO);
        second.join().unwrap()
    });
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("cut  3 resources: 3 ok\n"), "nothing is left to do: {said}");
    assert_eq!(first.wait().unwrap().code(), Some(0));
}
