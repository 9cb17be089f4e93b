//! The lock-out guard, for real: changes of the way in that lock everybody out are undone by
//! themselves, and good ones stay.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::LabServer;
use crate::support::lab_server::text;

const INVENTORY: &str = "\
ssh: { host: gate.example.org }
roles:
  base:
    updates: { automatic: false }
    packages: []
    locales: [en_GB.UTF-8]
";

/// How long a guarded change stays without a proof, in seconds.
const TIMEOUT: u64 = 15;

const RECORD: &str = "/var/lib/infra/guard/record";
const SSHD: &str = "/etc/ssh/sshd_config.d/10-infra.conf";

#[test]
fn guards_the_way_in_on_debian_12() {
    guards("debian-12");
}

#[test]
fn guards_the_way_in_on_debian_13() {
    guards("debian-13");
}

/// Makes a project of the server `gate` with the role `base`.
pub(crate) fn project(folder: &Path) {
    // It may be there from an earlier run.
    let _ = fs::remove_dir_all(folder);
    let base = folder.join("roles/base");
    fs::create_dir_all(folder.join("inventory")).unwrap();
    fs::create_dir_all(&base).unwrap();
    fs::write(folder.join("inventory/gate.yaml"), INVENTORY).unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/base"), &base);
}

fn guards(os: &str) {
    let folder = &Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guard-{os}"));
    let base = folder.join("roles/base");
    project(folder);
    let gate = LabServer::up("gate", os, folder);

    keeps_good_changes(&gate);
    let before = way_in(&gate);
    puts_back(&gate, &["--set", "base.ssh.root_login=no"], "Permission denied");
    puts_back(&gate, &["--set", "base.ssh.port=2222"], "does not answer");
    let role = fs::read_to_string(base.join("role.yaml")).unwrap();
    let drops = role.replace("      ssh_port: ", "      allow_ssh: false\n      ssh_port: ");
    assert_ne!(role, drops);
    fs::write(base.join("role.yaml"), &drops).unwrap();
    puts_back(&gate, &[], "does not answer");
    puts_back_without_anybody(&gate, &before);
    fs::write(base.join("role.yaml"), &role).unwrap();
    assert_eq!(way_in(&gate), before);
    let plan = gate.infra(&["diff", "gate", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
}

/// What is guarded, as it is.
pub(crate) fn way_in(gate: &LabServer) -> String {
    gate.fresh_shell(&format!("cat {SSHD} /etc/nftables.conf; nft list ruleset; sshd -T"))
}

fn is_disarmed(gate: &LabServer) {
    let left = "ls /var/lib/infra/guard; systemctl list-units --all --no-legend infra-guard.timer infra-guard.service; \
                ls /etc/systemd/system /etc/systemd/system/multi-user.target.wants | grep infra";
    assert_eq!(gate.fresh_shell(left), "");
}

fn keeps_good_changes(gate: &LabServer) {
    let (code, said) = gate.apply(&["-v"]);
    assert_eq!(code, 0, "{said}");
    let proof = "a new connection gets in: the guarded changes stay";
    assert_eq!(said.matches(proof).count(), 1, "{said}");
    is_disarmed(gate);
    let (code, said) = gate.apply(&["-v", "--set", "base.ssh.max_auth_tries=5"]);
    assert_eq!((code, said.matches(proof).count()), (0, 1), "{said}");
    assert_eq!(gate.fresh_shell("sshd -T | grep maxauthtries"), "maxauthtries 5");
    let (code, said) = gate.apply(&["-v"]);
    assert_eq!((code, said.matches(proof).count()), (0, 1), "{said}");
    // Nothing guarded changes, nothing is proved.
    let (code, said) = gate.apply(&["-v", "--set", "base.timezone=Europe/Berlin"]);
    assert_eq!((code, said.matches(proof).count()), (0, 0), "{said}");
    let (code, said) = gate.apply(&[]);
    assert_eq!(code, 0, "{said}");
    is_disarmed(gate);
}

pub(crate) fn puts_back(gate: &LabServer, change: &[&str], because: &str) {
    let before = way_in(gate);
    let timeout = TIMEOUT.to_string();
    let began = Instant::now();
    let (code, said) = gate.apply(&[&["--guard-timeout", &*timeout], change].concat());
    assert_eq!(code, 6, "{said}");
    assert!(began.elapsed() < Duration::from_secs(TIMEOUT + 30), "{:?}", began.elapsed());
    assert!(said.contains("the guarded changes are put back: no new connection gets in"), "{said}");
    assert!(said.contains(because), "{said}");
    assert!(said.contains("put back as it was"), "{said}");
    assert_eq!(way_in(gate), before);
    is_disarmed(gate);
    let history = text(&gate.infra(&["history", "gate", "--lab"]).stdout);
    assert!(history.lines().nth(1).unwrap().contains("reverted"), "{history}");
    // It is not taken for what was applied: nothing has drifted.
    let plan = text(&gate.infra(&[&["diff", "gate", "--lab"], change].concat()).stdout);
    assert!(!plan.contains("drift"), "{plan}");
}

/// The laptop, the agent, or both and the timer with them, are gone before anybody can prove or
/// refute anything; the firewall lets nobody in.
fn puts_back_without_anybody(gate: &LabServer, before: &str) {
    let mut client = wait_for_proof(gate, &[]);
    client.kill().unwrap();
    client.wait().unwrap();
    comes_back(gate, before);

    let mut client = wait_for_proof(gate, &[]);
    kill_agent(gate);
    assert_eq!(client.wait().unwrap().code(), Some(6));
    comes_back(gate, before);

    // As a server that is switched off in the meantime: the unit of the next start is what is left.
    let mut client = wait_for_proof(gate, &[]);
    gate.kept_shell("systemctl stop infra-guard.timer");
    kill_agent(gate);
    assert_eq!(client.wait().unwrap().code(), Some(6));
    gate.kept_shell(
        "systemctl daemon-reload && systemctl start infra-guard-boot && nft -f /etc/nftables.conf",
    );
    comes_back(gate, before);
    let history = text(&gate.infra(&["history", "gate", "--lab"]).stdout);
    assert_eq!(history.matches("reverted").count(), 6, "{history}");
}

/// Applies `change`, and returns when the guarded change is live and not yet proved.
pub(crate) fn wait_for_proof(gate: &LabServer, change: &[&str]) -> Child {
    assert_eq!(gate.kept_shell("echo here"), "here");
    let timeout = TIMEOUT.to_string();
    let mut command = gate.command(&["apply", "gate", "--lab", "--yes", "--output", "json"]);
    command.args(["--guard-timeout", &timeout]).args(change);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"proof_wanted\"")), "no proof was wanted");
    // The rest is read by nobody, and does not stop the client.
    std::thread::spawn(move || lines.for_each(drop));
    assert_eq!(gate.kept_shell(&format!("stat -c %a {RECORD}")), "600");
    client
}

fn kill_agent(gate: &LabServer) {
    gate.kept_shell("pkill -KILL -f ^/var/lib/infra/agent/");
}

pub(crate) fn comes_back(gate: &LabServer, before: &str) {
    let end = Instant::now() + Duration::from_secs(TIMEOUT + 45);
    while Instant::now() < end && way_in(gate) != before {
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(way_in(gate), before);
    // The last it does is to take away the unit.
    std::thread::sleep(Duration::from_secs(1));
    is_disarmed(gate);
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-rT").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}
