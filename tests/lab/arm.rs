//! The agent for aarch64 runs, not only builds: servers of the lab are checked and applied by it,
//! under `qemu-aarch64-static`, which is started explicitly.
//!
//! A script stands where the server has its agent, under that agent's name, so that the client
//! uploads none. The programs that the agent starts are the server's own. A trace shows that the
//! agent asks for no system call that the emulator lacks, or the kernel of Debian 10: such a call
//! needs a fallback that is as safe, and then an exception here.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use infra::transport::agent::Agent;
use serde_json::Value;

use crate::guard::{self, Gate};
use crate::preview::{comes_true, copy_example};
use crate::support::{LabServer, text, tokens};

crate::tests! {
    the_agent_for_aarch64_applies_the_first_role = 10,
    the_agent_for_aarch64_applies_a_database = 60,
    the_agent_for_aarch64_guards_the_way_in = 70,
}

/// The emulator on this machine: a static program, which runs on any server.
const EMULATOR: &str = "/usr/bin/qemu-aarch64-static";

/// Where the emulator, the agent and the traces of its system calls are on the server.
const FOLDER: &str = "/opt/arm";

/// System calls that came after Linux 4.19, the kernel of Debian 10. The emulator has some of them. The
/// agent does without `pidfd_open` where there is none.
const LATE: &str = "clone3|close_range|epoll_pwait2|faccessat2|fchmodat2|futex_[a-z]+|io_uring_[a-z]+\
                    |openat2|pidfd_getfd|pidfd_send_signal|process_[a-z]+";

/// A server whose agent is the one for aarch64.
struct Emulated {
    server: LabServer,
    agent: &'static Agent,
}

impl Emulated {
    fn up(name: &str, project: &Path) -> Self {
        let agent = Agent::for_processor("aarch64").unwrap_or_else(|| {
            panic!("this build has no agent for aarch64: `rustup target add aarch64-unknown-linux-musl`")
        });
        let emulator = std::fs::read(EMULATOR).unwrap_or_else(|error| {
            panic!("`{EMULATOR}`: {error}\nThis test needs the package `qemu-user-static`.")
        });
        let emulated = Self { server: LabServer::bare(name, "debian-12", project), agent };
        let binary = agent.binary().unwrap();
        let script = format!(
            "#!/bin/sh\n\
             exec {FOLDER}/qemu -strace -D {FOLDER}/traces/%d {FOLDER}/agent \"$@\"\n"
        );
        emulated.put(&format!("{FOLDER}/qemu"), &emulator);
        emulated.put(&format!("{FOLDER}/agent"), &binary);
        emulated.put(&self::script(agent), script.as_bytes());
        emulated.server.run(&format!("mkdir {FOLDER}/traces"));
        emulated
    }

    /// Puts a program on the server.
    fn put(&self, path: &str, bytes: &[u8]) {
        let line =
            format!("umask 077; mkdir -p $(dirname {path}) && cat >{path} && chmod 700 {path}");
        let mut command = self.server.command(&["lab", "ssh", &self.server.name, &line]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert!(child.wait().unwrap().success(), "{path}");
    }

    /// Runs a command on the server's inventory and returns what is printed; it must succeed.
    fn run(&self, command: &str, more: &[&str]) -> String {
        let arguments = [command, &self.server.name, "--lab", "--output", "json"];
        let output = self.server.infra(&[&arguments, more].concat());
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
        assert_eq!(self.server.shell("ls /var/lib/infra/agent"), self.agent.sha256);
        self.misses_nothing();
    }

    /// The agent asked for no system call that the emulator or an older kernel lacks.
    fn misses_nothing(&self) {
        let traced = self.server.shell(&format!("cat {FOLDER}/traces/* | grep -c openat"));
        assert!(traced.parse::<u64>().unwrap() > 0);
        let missing =
            format!("grep -hE 'errno=38|Unknown syscall|({LATE})[(]' {FOLDER}/traces/* | head");
        assert_eq!(self.server.shell(&missing), "");
    }
}

/// The script in the agent's place.
fn script(agent: &Agent) -> String {
    format!("/var/lib/infra/agent/{}", agent.sha256)
}

/// Lets systemd start the guard's program by the script: the kernel of this machine cannot run the
/// program itself, whose path the agent knows.
fn starts_by_systemd(server: &LabServer, agent: &Agent) {
    let script = script(agent);
    let folder = "/run/systemd/system/infra-guard.service.d";
    server.shell(&format!(
        "mkdir -p {folder} && printf '[Service]\nExecStart=\nExecStart={script} revert\n' \
         >{folder}/emulator.conf && systemctl daemon-reload"
    ));
}

/// Previews, applies and previews the project again, all by the agent for aarch64.
fn applies(name: &str, project: &Path) -> Emulated {
    let emulated = Emulated::up(name, project);
    let _token = tokens::take();
    comes_true(&emulated.server, &format!("{name} by the agent for aarch64"), &[]);
    emulated.is_settled();
    emulated
}

fn example(name: &str, server: &str) {
    let folder = tempfile::tempdir().unwrap();
    applies(server, &copy_example(name, folder.path()));
}

/// Files alone.
fn the_agent_for_aarch64_applies_the_first_role() {
    example("first-role", "ada");
}

/// Packages, users, services, and PostgreSQL as its own user over its socket.
fn the_agent_for_aarch64_applies_a_database() {
    example("lemp", "web");
}

/// sshd and the firewall: the lock-out guard puts back what locks everybody out, in the run, and
/// by its timer where the run is gone.
fn the_agent_for_aarch64_guards_the_way_in() {
    let project = guard::project();
    let Emulated { server, agent } = applies("gate", project.path());
    let gate = Gate::of(server, project);
    gate.puts_back(guard::TIMEOUT, &["--set", "base.ssh.port=2222"], "does not answer");
    starts_by_systemd(&gate.server, agent);
    let mut client = gate.wait_for_proof(guard::TIMEOUT);
    gate.server.shell(&format!("pkill -KILL -f ^{FOLDER}/qemu"));
    assert_eq!(client.wait().unwrap().code(), Some(6));
    gate.is_put_back(2);
    gate.mend_the_role();
    let Gate { server, .. } = gate;
    Emulated { server, agent }.is_settled();
}
