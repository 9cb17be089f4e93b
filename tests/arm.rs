//! The agent for aarch64 runs, not only builds: servers of the lab are checked and applied by it,
//! under `qemu-aarch64-static`, which is started explicitly.
//!
//! A script stands where the server has its agent, under that agent's name, so that the client
//! uploads none. The programs that the agent starts are the server's own. A trace shows that the
//! agent asks for no system call that the emulator lacks, or the kernel of Debian 10: such a call
//! needs a fallback that is as safe, and then an exception here.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`) and the package `qemu-user-static`;
//! elsewhere it fails and says so.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use infra::transport::agent::Agent;
use serde_json::Value;

use crate::guard;
use crate::preview::{comes_true, copy_example};
use crate::support::LabServer;
use crate::support::lab_server::text;

/// The emulator on this machine: a static program, which runs on any server.
const EMULATOR: &str = "/usr/bin/qemu-aarch64-static";

/// Where the emulator, the agent and the traces of its system calls are on the server.
const FOLDER: &str = "/opt/arm";

/// System calls that came after Linux 4.19, the kernel of Debian 10. The emulator has some of them.
const LATE: &str = "clone3|close_range|epoll_pwait2|faccessat2|fchmodat2|futex_[a-z]+|io_uring_[a-z]+\
                    |openat2|pidfd_[a-z_]+|process_[a-z]+";

/// A server whose agent is the one for aarch64.
struct Emulated {
    lab: LabServer,
    agent: &'static Agent,
}

impl Emulated {
    fn up(name: &str, os: &str, project: &Path) -> Self {
        let agent = Agent::for_processor("aarch64").unwrap_or_else(|| {
            panic!("this build has no agent for aarch64: `rustup target add aarch64-unknown-linux-musl`")
        });
        let emulator = std::fs::read(EMULATOR).unwrap_or_else(|error| {
            panic!("`{EMULATOR}`: {error}\nThis test needs the package `qemu-user-static`.")
        });
        let emulated = Self { lab: LabServer::up(name, os, project), agent };
        let binary = agent.binary().unwrap();
        let script = format!(
            "#!/bin/sh\n\
             exec {FOLDER}/qemu -strace -D {FOLDER}/traces/%d {FOLDER}/agent \"$@\"\n"
        );
        emulated.put(&format!("{FOLDER}/qemu"), &emulator);
        emulated.put(&format!("{FOLDER}/agent"), &binary);
        emulated.put(&emulated.script(), script.as_bytes());
        emulated.lab.shell(&format!("mkdir {FOLDER}/traces"));
        emulated
    }

    /// The script in the agent's place.
    fn script(&self) -> String {
        format!("/var/lib/infra/agent/{}", self.agent.sha256)
    }

    /// Puts a program on the server.
    fn put(&self, path: &str, bytes: &[u8]) {
        let line =
            format!("umask 077; mkdir -p $(dirname {path}) && cat >{path} && chmod 700 {path}");
        let mut command = self.lab.command(&["lab", "ssh", &self.lab.name, &line]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(child.wait().unwrap().success(), "{path}");
    }

    /// Runs a command on the server's inventory and returns what is printed; it must succeed.
    fn run(&self, command: &str, more: &[&str]) -> String {
        let arguments = [command, &self.lab.name, "--lab", "--output", "json"];
        let output = self.lab.infra(&[&arguments, more].concat());
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A second run has nothing to do, and what ran all the time was the agent for aarch64.
    fn is_settled(&self) {
        let applied = self.run("apply", &["--yes"]);
        assert!(!applied.contains("\"applied\""), "{applied}");
        self.run("status", &[]);
        let facts = self.run("facts", &[]);
        let facts: Value = serde_json::from_str(&facts).unwrap();
        assert_eq!(facts["facts"]["arch"], "aarch64", "{facts}");
        assert_eq!(self.lab.shell("ls /var/lib/infra/agent"), self.agent.sha256);
        self.misses_nothing();
    }

    /// The agent asked for no system call that the emulator or an older kernel lacks.
    fn misses_nothing(&self) {
        let traced = self.lab.shell(&format!("cat {FOLDER}/traces/* | grep -c openat"));
        assert!(traced.parse::<u64>().unwrap() > 0);
        let missing =
            format!("grep -hE 'errno=38|Unknown syscall|({LATE})[(]' {FOLDER}/traces/* | head");
        assert_eq!(self.lab.shell(&missing), "");
    }

    /// Lets systemd start the guard's program by the script: the kernel of this machine cannot
    /// run the program itself, whose path is what the agent knows.
    fn starts_by_systemd(&self) {
        let script = self.script();
        let folder = "/run/systemd/system/infra-guard.service.d";
        self.lab.shell(&format!(
            "mkdir -p {folder} && printf '[Service]\\nExecStart=\\nExecStart={script} revert\\n' \
             >{folder}/emulator.conf && systemctl daemon-reload"
        ));
    }
}

/// Previews, applies and previews the project again, all by the agent for aarch64.
fn applies(name: &str, os: &str, project: &Path) -> Emulated {
    let emulated = Emulated::up(name, os, project);
    let label = project.file_name().unwrap_or_default().display();
    comes_true(&emulated.lab, &format!("{label} on {os}"), &[]);
    emulated.is_settled();
    emulated
}

fn example(name: &str, server: &str, os: &str) {
    let folder = tempfile::tempdir().unwrap();
    // Under a name of its own: the same example is applied by the agent of this machine, in a lab
    // that is called after the project.
    let project = folder.path().join(format!("{name}-aarch64"));
    std::fs::rename(copy_example(name, folder.path()), &project).unwrap();
    applies(server, os, &project);
}

/// Files alone.
#[test]
fn agent_for_aarch64_applies_the_first_role() {
    example("first-role", "ada", "debian-12");
}

/// Packages, users, services, and PostgreSQL as its own user over its socket.
#[test]
fn agent_for_aarch64_applies_a_database() {
    example("lemp", "web", "debian-12");
}

/// sshd and the firewall: the lock-out guard puts back what locks everybody out, in the run, and
/// by its timer where the run is gone.
#[test]
fn agent_for_aarch64_guards_the_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("guard-aarch64");
    guard::project(&project);
    let gate = applies("gate", "debian-12", &project);
    let before = guard::way_in(&gate.lab);
    let change = ["--set", "base.ssh.port=2222"];
    guard::puts_back(&gate.lab, &change, "does not answer");

    gate.starts_by_systemd();
    let mut client = guard::wait_for_proof(&gate.lab, &change);
    gate.lab.kept_shell(&format!("pkill -KILL -f ^{FOLDER}/qemu"));
    assert_eq!(client.wait().unwrap().code(), Some(6));
    guard::comes_back(&gate.lab, &before);
    gate.is_settled();
}
