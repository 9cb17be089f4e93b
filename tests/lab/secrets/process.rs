//! The traces that secrets in the memory of a process could leave with other processes and with
//! the kernel.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use infra::secrets::memory::MemoryFolder;
use rustix::process::{Pid, Signal, kill_process};

use super::Project;
use crate::processes::{self, Waiting};
use crate::support::wait_until;

crate::tests! {
    neither_end_leaves_a_core_dump,
    the_process_that_wipes_survives_the_end_of_a_session,
    the_identity_is_not_handed_on,
}

/// Whether a process forbids the kernel to write its memory down.
fn has_no_core(child: &Child) -> bool {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().nth(4) == Some("0")
}

fn neither_end_leaves_a_core_dump() {
    let project = Project::with("a: canary\n");
    for line in ["exec infra secrets set a", "exec infra-agent"] {
        let mut command = project.command("sh");
        command.args(["-c", &format!("ulimit -c unlimited && {line}")]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Pid::from_child(&child);
        // The shell reads nothing before the program takes its place.
        wait_until("the program to wait for its input", || {
            processes::waiting(process).iter().any(Waiting::reads_input)
        });
        assert!(has_no_core(&child), "{line}");
        // Not QUIT, which every program ignores that a shell starts in the background.
        kill_process(process, Signal::ABORT).unwrap();
        let status = child.wait().unwrap();
        let aborted = Some(Signal::ABORT.as_raw());
        assert_eq!((status.signal(), status.core_dumped()), (aborted, false), "{line}");
    }
}

/// systemd ends all processes of a session at once: the process that wipes must not be the first
/// to end.
fn the_process_that_wipes_survives_the_end_of_a_session() {
    let project = Project::with("a: canary\n");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        // Locked, so that no other command takes the folder for one that is left over.
        let folder = MemoryFolder::create().unwrap();
        folder.write("all.yaml", "canary").unwrap();
        let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
        command.args(["secrets", "watch"]).arg(folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        let process = Pid::from_child(&child);
        assert!(processes::has_signal(process, "SigCgt", signal), "{signal:?}");
        kill_process(process, signal).unwrap();
        wait_until("the signal to arrive", || !processes::has_signal(process, "ShdPnd", signal));
        assert!(child.try_wait().unwrap().is_none(), "{signal:?}");
        assert!(folder.path().exists(), "{signal:?}");
        // A process that the signal ends has no exit code.
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal:?}");
        assert!(!folder.path().exists(), "{signal:?}");
    }
}

/// An identity in the environment opens all secrets: it is for `infra`, and for nobody it starts.
fn the_identity_is_not_handed_on() {
    let project = Project::with("a: canary\n");
    project.editor("env > seen; echo 'a: new' > \"$1\"");
    let key = project.read("key");
    let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
    command.args(["secrets", "edit"]).env_remove("INFRA_IDENTITY_FILE");
    let said = super::say(command.env("INFRA_IDENTITY", &key), "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!project.read("seen").contains("AGE-SECRET-KEY-"), "{}", project.read("seen"));

    // A fake ssh, found first.
    project.write("bin/ssh", "#!/bin/sh\nenv >> seen-by-ssh\nexit 255\n");
    project.run("chmod", &["+x", "bin/ssh"], "");
    project.write("inventory/web.yaml", "ssh: { host: 127.0.0.1, port: 1 }\nroles: {}\n");
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
    command.current_dir(project.path("")).env("PATH", path).env("INFRA_IDENTITY", &key);
    command.env("XDG_RUNTIME_DIR", project.path("")).env("HOME", project.path(""));
    super::say(command.args(["diff", "web"]), "");
    let seen = project.read("seen-by-ssh");
    assert!(seen.contains("PATH=") && !seen.contains("AGE-SECRET-KEY-"), "{seen}");

    // A plugin of age's, which a library starts, and the process itself while the plugin runs.
    let seen = project.path("seen-by-plugin");
    let seen = seen.display();
    let plugin = format!("#!/bin/sh\nenv > {seen}\ncat /proc/$PPID/environ >> {seen}\n");
    project.write("bin/age-plugin-fake", &plugin);
    project.run("chmod", &["+x", "bin/age-plugin-fake"], "");
    let recipient = super::recipient(&key);
    let fake = "age1fake1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqr4gt80";
    let list = format!("recipients: {{ me: {{ key: {recipient} }}, b: {{ key: {fake} }} }}\n");
    project.write("secrets/recipients.yaml", &list);
    let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
    command.current_dir(project.path("")).env("PATH", path).env("INFRA_IDENTITY", &key);
    let said = super::say(command.args(["secrets", "rekey"]), "");
    assert!(project.path("seen-by-plugin").exists(), "{}", said.err);
    let seen = project.read("seen-by-plugin");
    assert!(seen.contains("PATH=") && !seen.contains("AGE-SECRET-KEY-"), "{seen}\n{}", said.err);
}
