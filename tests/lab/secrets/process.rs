//! What other processes and the kernel could learn of one that has secrets in hand.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Project;

fn wait_until(what: &str, is_done: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process that is ours, and not the shell that becomes it, forbids the kernel to write its
/// memory down.
fn has_no_core(child: &Child) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
    if !name.starts_with("infra") {
        return false;
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().nth(4) == Some("0")
}

#[test]
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
        wait_until("there is no limit", || has_no_core(&child));
        // Not the one for `quit`, which is ignored by all that a shell starts in the background.
        kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
        let status = child.wait().unwrap();
        let aborted = Some(Signal::ABORT.as_raw());
        assert_eq!((status.signal(), status.core_dumped()), (aborted, false), "{line}");
    }
}

/// systemd ends all processes of a session at once: the one that wipes must not go first.
#[test]
fn what_wipes_survives_the_end_of_a_session() {
    let project = Project::with("a: canary\n");
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let folder = format!("/dev/shm/infra-secrets-0-{}", std::process::id());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(format!("{folder}/all.yaml"), "canary").unwrap();
        // As its maker has it, so that no other command takes it for one that is left over.
        let lock = std::fs::File::open(&folder).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
        command.args(["secrets", "watch", &folder]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut ready).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none(), "{signal:?}");
        assert!(Path::new(&folder).exists());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert!(!Path::new(&folder).exists(), "{signal:?}");
    }
}

/// An identity in the environment opens all secrets: it is for `infra`, and for nobody it starts.
#[test]
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
}
