//! The lock-out guard: changes of the way in that lock everybody out are undone by themselves, and
//! good ones stay.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{LabServer, flus, saved, text, wait_until};

crate::tests! {
    ;
    on each release:
        a_proved_change_stays = 20,
        a_firewall_that_drops_everything_is_put_back = 25,
        the_next_boot_puts_a_change_back_when_the_timer_is_gone = 25,
    ; on one release:
        a_refused_login_puts_a_change_back = 15,
        a_port_that_nobody_tries_is_put_back = 25,
        the_end_of_the_client_puts_a_change_back = 15,
        the_timer_puts_a_change_back_when_the_agent_is_dead = 35,
        the_agent_of_a_guard_outlives_other_versions = 15,
}

const INVENTORY: &str = "\
ssh: { host: gate.example.org }
roles:
  base:
    updates: { automatic: false }
    packages: []
    locales: [en_GB.UTF-8]
";

/// How long a guarded change stays without a proof, in seconds, where a test waits for its end. The
/// client gives up after two thirds of it: what a test does before fits into those on a busy
/// machine, and the last third is enough for the server to hear of it.
pub(crate) const TIMEOUT: &str = "20";

/// The same where nothing waits for the end of the time.
const USUAL: &str = "60";

const RECORD: &str = "/var/lib/infra/guard/record";
const PROOF: &str = "a new connection gets in: the guarded changes stay";

/// A server to which the role `base` was applied, with a project of its own.
pub(crate) struct Gate {
    pub(crate) server: LabServer,
    project: TempDir,
    /// The guarded files and settings before the test.
    before: String,
}

fn gate(os: &str) -> Gate {
    let mut server = saved(&format!("gate {os}"), "gate", &|| first_apply(os));
    let project = project();
    server.use_project(project.path());
    Gate::of(server, project)
}

/// The first apply changes the way in, and proves it once.
fn first_apply(os: &str) -> LabServer {
    let project = project();
    let mut gate = LabServer::bare("gate", os, project.path());
    let (code, said) = gate.install(&["-v"]);
    assert_eq!((code, said.matches(PROOF).count()), (0, 1), "{said}");
    assert_eq!(traces(&gate), "");
    // The folder of this project ends here.
    gate.use_project(flus());
    gate
}

/// A project with one server and a role `base` that a test may change.
pub(crate) fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("roles/base");
    fs::create_dir_all(&base).unwrap();
    fs::create_dir(folder.path().join("inventory")).unwrap();
    fs::write(folder.path().join("inventory/gate.yaml"), INVENTORY).unwrap();
    let from = flus().join("roles/base");
    let copied = Command::new("cp").arg("-rT").arg(from).arg(base).status();
    assert!(copied.unwrap().success());
    folder
}

/// Shows the guarded files and settings.
const WAY_IN: &str = "cat /etc/ssh/sshd_config.d/10-infra.conf /etc/nftables.conf; \
                      nft list ruleset; sshd -T";

/// The guarded files and settings, as a new login sees them.
fn way_in(server: &LabServer) -> String {
    server.login(WAY_IN)
}

/// Everything that would put a change back.
fn traces(server: &LabServer) -> String {
    let traces = "ls /var/lib/infra/guard; \
                  systemctl list-units --all --no-legend infra-guard.timer infra-guard.service; \
                  ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants | grep infra; \
                  echo all seen";
    let seen = server.login(traces);
    seen.strip_suffix("all seen").unwrap_or("not all is seen").to_owned()
}

impl Gate {
    /// A server to which the project was applied.
    pub(crate) fn of(server: LabServer, project: TempDir) -> Self {
        let before = way_in(&server);
        assert!(before.contains("PermitRootLogin"), "{before}");
        Self { server, project, before }
    }

    fn role(&self) -> PathBuf {
        self.project.path().join("roles/base/role.yaml")
    }

    /// From now on the firewall of the role lets nobody in.
    fn lock_out(&self) {
        let role = fs::read_to_string(self.role()).unwrap();
        let drops = role.replace("      ssh_port: ", "      allow_ssh: false\n      ssh_port: ");
        assert_ne!(role, drops);
        fs::write(self.role(), drops).unwrap();
    }

    pub(crate) fn mend_the_role(&self) {
        fs::copy(flus().join("roles/base/role.yaml"), self.role()).unwrap();
    }

    fn history(&self) -> String {
        text(&self.server.infra(&["history", "gate", "--lab"]).stdout)
    }

    fn reverts(&self) -> usize {
        self.history().matches("reverted").count()
    }

    /// An apply with this change finds that nobody gets in, and puts everything back.
    pub(crate) fn puts_back(&self, seconds: &str, change: &[&str], because: &str) {
        let (code, said) = self.server.apply(&[&["--guard-timeout", seconds], change].concat());
        assert_eq!(code, 6, "{said}");
        let put_back = "the guarded changes are put back: no new connection gets in";
        assert!(said.contains(put_back), "{said}");
        assert!(said.contains(because), "{said}");
        assert!(said.contains("put back as it was"), "{said}");
        assert_eq!(way_in(&self.server), self.before);
        assert_eq!(traces(&self.server), "");
        let history = self.history();
        assert!(history.lines().nth(1).unwrap().contains("reverted"), "{history}");
        // The change is not taken for what was applied: nothing has drifted.
        let plan = self.server.plan(change);
        assert!(!plan.contains("drift"), "{plan}");
    }

    /// Applies a firewall that lets nobody in, and returns when the change is live and not yet
    /// proved.
    pub(crate) fn wait_for_proof(&self, seconds: &str) -> Child {
        self.lock_out();
        let gate = &self.server;
        assert_eq!(gate.shell("echo here"), "here");
        let mut command = gate.command(&["apply", "gate", "--lab", "--yes", "--output", "json"]);
        command.args(["--guard-timeout", seconds]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("\"proof_wanted\"")), "no proof was wanted");
        // The rest is read by nobody, and does not stop the client.
        std::thread::spawn(move || lines.for_each(drop));
        self.has_record();
        client
    }

    /// The change is not put back yet.
    fn has_record(&self) {
        assert_eq!(self.server.shell(&format!("stat -c %a {RECORD}")), "600");
    }

    fn kill_agent(&self) {
        self.server.shell("pkill -KILL -f ^/var/lib/infra/agent/");
        self.has_record();
    }

    /// Waits until the change is put back, nothing is left of the guard, and the history tells so.
    pub(crate) fn is_put_back(&self, times: usize) {
        wait_until("the way in as it was", || self.server.try_login(WAY_IN) == self.before);
        wait_until("the end of the guard", || traces(&self.server).is_empty());
        wait_until("the note in the history", || self.reverts() == times);
    }

    /// One change was put back, and nothing else has changed.
    fn is_as_before(&self) {
        self.mend_the_role();
        assert_eq!(way_in(&self.server), self.before);
        self.server.has_nothing_to_do(&[]);
        assert_eq!(self.reverts(), 1, "{}", self.history());
    }
}

/// A change of the way in is proved once and stays; without such a change nothing is proved.
fn a_proved_change_stays(os: &str) {
    let Gate { server: gate, project: _project, before } = gate(os);
    let (code, said) = gate.apply(&["-v", "--set", "base.ssh.max_auth_tries=5"]);
    assert_eq!((code, said.matches(PROOF).count()), (0, 1), "{said}");
    assert_eq!(gate.login("sshd -T | grep maxauthtries"), "maxauthtries 5");
    let (code, said) = gate.apply(&["-v"]);
    assert_eq!((code, said.matches(PROOF).count()), (0, 1), "{said}");
    // Nothing guarded changes, nothing is proved.
    let (code, said) = gate.apply(&["-v", "--set", "base.timezone=Europe/Berlin"]);
    assert_eq!((code, said.matches(PROOF).count()), (0, 0), "{said}");
    gate.converge(&[]);
    assert_eq!(traces(&gate), "");
    assert_eq!(way_in(&gate), before);
    gate.has_nothing_to_do(&[]);
}

/// sshd refuses the login of the client, and the agent puts its settings back.
fn a_refused_login_puts_a_change_back(os: &str) {
    let gate = gate(os);
    gate.puts_back(USUAL, &["--set", "base.ssh.root_login=no"], "Permission denied");
    gate.is_as_before();
}

/// sshd listens where the client does not look, and the agent puts the port back.
fn a_port_that_nobody_tries_is_put_back(os: &str) {
    let gate = gate(os);
    gate.puts_back(TIMEOUT, &["--set", "base.ssh.port=2222"], "does not answer");
    gate.is_as_before();
}

/// The firewall lets no new connection in, and the agent puts the rules back.
fn a_firewall_that_drops_everything_is_put_back(os: &str) {
    let gate = gate(os);
    gate.lock_out();
    gate.puts_back(TIMEOUT, &[], "does not answer");
    gate.is_as_before();
}

/// The laptop is gone before anybody can prove or refute anything.
fn the_end_of_the_client_puts_a_change_back(os: &str) {
    let gate = gate(os);
    let mut client = gate.wait_for_proof(USUAL);
    client.kill().unwrap();
    client.wait().unwrap();
    gate.is_put_back(1);
    gate.is_as_before();
}

/// The agent is killed: the timer of systemd has the time that the change may stay.
fn the_timer_puts_a_change_back_when_the_agent_is_dead(os: &str) {
    let gate = gate(os);
    let mut client = gate.wait_for_proof(TIMEOUT);
    gate.kill_agent();
    assert_eq!(client.wait().unwrap().code(), Some(6));
    gate.is_put_back(1);
    gate.is_as_before();
}

/// A server that is switched off in the meantime has no agent and no timer: the unit of its next
/// start is left.
fn the_next_boot_puts_a_change_back_when_the_timer_is_gone(os: &str) {
    let gate = gate(os);
    let mut client = gate.wait_for_proof(TIMEOUT);
    gate.server.run("systemctl stop infra-guard.timer");
    gate.kill_agent();
    assert_eq!(client.wait().unwrap().code(), Some(6));
    gate.has_record();
    gate.server.run(
        "systemctl daemon-reload && systemctl start infra-guard-boot && nft -f /etc/nftables.conf",
    );
    gate.is_put_back(1);
    gate.is_as_before();
}

/// The guard of a run of another version: its agent stays while newer ones come, and its record is
/// not read as one of this version.
fn the_agent_of_a_guard_outlives_other_versions(os: &str) {
    let gate = gate(os);
    let server = &gate.server;
    server.run(
        "cd /var/lib/infra/agent && mv * armed && touch -d '1 hour ago' armed && \
         printf '[Service]\\nExecStart=%s revert-at-boot\\n' /var/lib/infra/agent/armed \
             >/etc/systemd/system/infra-guard-boot.service && touch older newer",
    );
    server.has_nothing_to_do(&[]);
    let agents = server.shell("cd /var/lib/infra/agent && ls | grep -c '^[0-9a-f]*$'; ls armed");
    assert_eq!(agents, "1\narmed");
    server.run(&format!(
        "rm /etc/systemd/system/infra-guard-boot.service && \
         install -d -m 700 /var/lib/infra/guard && echo 'of another version' >{RECORD}"
    ));
    let said = server.shell("/var/lib/infra/agent/armed revert-at-boot 2>&1");
    assert!(said.contains(" is of another version of infra"), "{said}");
    assert!(said.contains("`systemctl start infra-guard-boot` puts back"), "{said}");
}
