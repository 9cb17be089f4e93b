//! The lab itself: servers of every release start and work, and nothing of them is left.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{LabServer, TestLab, text, wait_until};

pub(crate) mod internet;
pub(crate) mod saves;

crate::tests! {
    servers_see_each_other_and_only_their_own_processes = 12,
    a_second_up_changes_nothing_and_refuses_another_release = 6,
    files_survive_the_end_of_a_machine = 12,
    nothing_is_left_after_down = 12;
    on each release: a_server_works_and_cannot_change_this_machine = 15,
}

/// An empty lab, for servers of no inventory.
fn lab() -> TestLab {
    TestLab::new(Path::new("/"))
}

/// Runs a command on a server; it may fail.
fn ssh(lab: &TestLab, server: &str, command: &str) -> String {
    text(&lab.infra(&["lab", "ssh", server, command]).stdout)
}

/// Everything that the lab knows of its servers.
fn status(lab: &TestLab) -> Vec<Value> {
    let listing = lab.succeed(&["lab", "status", "--output", "json"]);
    listing.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The bridge between this machine and a server.
fn bridge(address: &str) -> String {
    let output = Command::new("ip").args(["-json", "route", "get", address]).output().unwrap();
    let routes: Value = serde_json::from_slice(&output.stdout).unwrap();
    routes[0]["dev"].as_str().unwrap().to_owned()
}

/// The names of everything that a lab may leave on this machine, as far as they hold `id`.
fn leftovers(id: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    found.extend(text(&tables.stdout).lines().map(str::to_owned));
    for place in
        ["/sys/class/net", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]
    {
        for entry in std::fs::read_dir(place).into_iter().flatten() {
            found.push(entry.unwrap().path().display().to_string());
        }
    }
    found.retain(|name| name.contains(id));
    // With a slash, because other labs have folders of like names beside it.
    let folder = &format!("{}/", folder.display());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(folder)).map(str::to_owned));
    for entry in std::fs::read_dir("/proc").unwrap() {
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains("systemd-nspawn") && line.contains(folder) {
            found.push(line);
        }
    }
    found
}

/// Lets a server power itself off, and waits for its end.
fn power_off(lab: &TestLab, server: &str) {
    let mut command = lab.command(&["lab", "ssh", server, "systemctl", "poweroff"]);
    let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the end of the machine", || lab.status(server)["pid"].is_null());
    // The network may have ended before it could tell the client.
    client.kill().unwrap();
    client.wait().unwrap();
}

/// A server has everything of its own, and may do everything but act on the kernel that all share.
fn a_server_works_and_cannot_change_this_machine(os: &str) {
    let server = LabServer::bare("plain", os, Path::new("/"));
    assert_eq!(server.shell("systemctl is-system-running"), "running");
    assert_eq!(server.shell("hostname"), "plain");
    let version = server.shell(". /etc/os-release; echo $VERSION_ID");
    assert_eq!(format!("debian-{version}"), os);
    let install = "apt-get update -q && apt-get install -qy --no-install-recommends nftables";
    server.lab.succeed(&["lab", "ssh", "plain", install]);
    let ruleset = "nft add table inet probe && nft list tables";
    assert_eq!(server.shell(ruleset), "table inet probe", "its own, and not this machine's");
    // The kernel is shared: a command that acts on all of it is refused.
    let swap = "head -c 1M /dev/zero >/root/s; chmod 600 /root/s; mkswap -q /root/s; \
                swapon /root/s";
    for (command, refusal) in [
        ("date -s now", "Operation not permitted"),
        (swap, "Operation not permitted"),
        ("echo 1 > /proc/sys/vm/swappiness", "Read-only file system"),
    ] {
        let output = server.infra(&["lab", "ssh", "plain", command]);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(refusal), "{command}: {said}");
    }
}

/// Servers of both releases in one lab reach each other, and each acts on its own processes only.
fn servers_see_each_other_and_only_their_own_processes() {
    let lab = lab();
    lab.up(&["bookworm", "--os", "debian-12"]);
    lab.up(&["trixie", "--os", "debian-13"]);
    let status = status(&lab);
    let names: Vec<_> = status.iter().map(|server| server["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bookworm", "trixie"]);
    let address = status[1]["address"].as_str().unwrap();
    let hello = format!("bash -c 'head -c 8 </dev/tcp/{address}/22'");
    assert_eq!(ssh(&lab, "bookworm", &hello), "SSH-2.0-");
    lab.succeed(&["lab", "ssh", "trixie", "systemctl", "stop", "dbus.socket", "dbus.service"]);
    assert_eq!(ssh(&lab, "bookworm", "systemctl is-active dbus.service"), "active\n");
}

/// A server that is up stays as it is.
fn a_second_up_changes_nothing_and_refuses_another_release() {
    let lab = lab();
    lab.up(&["bookworm", "--os", "debian-12"]);
    let before = status(&lab);
    let keys = || ["key", "key.pub"].map(|name| std::fs::read_to_string(lab.folder().join(name)));
    let made = keys().map(Result::unwrap);
    assert!(made[1].starts_with("ssh-ed25519 AAAA"), "{}", made[1]);
    lab.up(&["bookworm"]);
    assert_eq!(status(&lab), before);
    assert_eq!(keys().map(Result::unwrap), made, "the key of the lab is made once");
    let known = std::fs::read_to_string(lab.folder().join("known_hosts")).unwrap();
    assert_eq!(known.split_whitespace().count(), 3, "no comment: {known}");
    let refused = lab.infra(&["lab", "up", "bookworm", "--os", "debian-13"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        text(&refused.stderr),
        "error: `bookworm` is up in the lab with debian-12\n\
         hint: run `infra lab down bookworm` first\n"
    );
    assert_eq!(status(&lab), before);
}

/// A server whose machine has ended says so, and has its files when it is started again.
fn files_survive_the_end_of_a_machine() {
    let lab = lab();
    lab.up(&["bookworm", "--os", "debian-12"]);
    assert_eq!(ssh(&lab, "bookworm", "touch /root/kept && echo made"), "made\n");
    power_off(&lab, "bookworm");
    let refused = lab.infra(&["lab", "ssh", "bookworm", "true"]);
    assert_eq!(
        text(&refused.stderr),
        "error: `bookworm` is not up in the lab\nhint: run `infra lab up bookworm`\n"
    );
    lab.up(&["bookworm"]);
    assert_eq!(ssh(&lab, "bookworm", "ls /root/kept"), "/root/kept\n");
}

/// The end of the last server takes away everything that the lab has set up on this machine.
fn nothing_is_left_after_down() {
    let lab = lab();
    lab.up(&["bookworm", "--os", "debian-12"]);
    lab.up(&["trixie", "--os", "debian-13"]);
    let address = lab.status("bookworm")["address"].as_str().unwrap().to_owned();
    let id = bridge(&address).split_off("infra-".len());
    assert_ne!(leftovers(&id, lab.folder()), Vec::<String>::new());
    lab.succeed(&["lab", "down", "bookworm"]);
    assert_eq!(status(&lab).len(), 1);
    lab.succeed(&["lab", "down"]);
    assert_eq!(status(&lab), Vec::<Value>::new());
    assert_eq!(leftovers(&id, lab.folder()), Vec::<String>::new());
}
