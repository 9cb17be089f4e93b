//! The lab for real: servers of every release come up, work, and leave nothing.
//!
//! Needs root and what `infra lab up --install` installs; elsewhere it fails and says so. Images
//! stay in `target/tmp/lab` for the next run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// A lab of its own, whose servers end with it.
struct Lab {
    folder: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Self {
        let lab = Self { folder: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) };
        // What a run that was killed has left.
        lab.run(&["down"]);
        lab
    }

    fn output(&self, arguments: &[&str]) -> Output {
        Command::new(cargo_bin("infra"))
            .args(["lab", "--lab-dir"])
            .arg(&self.folder)
            .args(arguments)
            .current_dir("/")
            .output()
            .unwrap()
    }

    /// Runs `infra lab`, which must succeed, and returns its standard output.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "infra lab {}: {}\n{complaint}\nThis test needs a machine that can run the lab: root \
             on Linux, and the packages that `infra lab up --install` installs.",
            arguments.join(" "),
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command on a server; it may fail.
    fn ssh(&self, server: &str, command: &str) -> String {
        String::from_utf8(self.output(&["ssh", server, command]).stdout).unwrap()
    }

    fn status(&self) -> Vec<Value> {
        let text = self.run(&["status", "--output", "json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A test that fails shall not leave machines behind; it has its own failure to show.
        self.output(&["down"]);
    }
}

/// The bridge between this machine and a server.
fn bridge(address: &str) -> String {
    let output = Command::new("ip").args(["-json", "route", "get", address]).output().unwrap();
    let routes: Value = serde_json::from_slice(&output.stdout).unwrap();
    routes[0]["dev"].as_str().unwrap().to_owned()
}

/// The names of what a lab may leave on this machine, as far as they hold `id`.
fn leftovers(id: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
    found.extend(String::from_utf8(tables.stdout).unwrap().lines().map(str::to_owned));
    for place in
        ["/sys/class/net", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]
    {
        for entry in std::fs::read_dir(place).into_iter().flatten() {
            found.push(entry.unwrap().path().display().to_string());
        }
    }
    found.retain(|name| name.contains(id));
    // With a slash, because other tests have folders of like names beside it.
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

#[test]
fn servers_come_up_work_and_leave_nothing() {
    let lab = Lab::new("lab");
    lab.run(&["up", "bookworm", "--os", "debian-12"]);
    lab.run(&["up", "trixie", "--os", "debian-13"]);
    let status = lab.status();
    let names: Vec<_> = status.iter().map(|server| server["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bookworm", "trixie"]);
    let id = bridge(status[0]["address"].as_str().unwrap()).split_off("infra-".len());
    assert_ne!(leftovers(&id, &lab.folder), Vec::<String>::new());

    for (server, version) in [("bookworm", "12"), ("trixie", "13")] {
        works(&lab, server, version);
    }
    // Machines see each other, and each only its own processes.
    let address = status[1]["address"].as_str().unwrap();
    assert_eq!(
        lab.ssh("bookworm", &format!("curl -sS telnet://{address}:22 </dev/null | head -c 8")),
        "SSH-2.0-"
    );
    lab.run(&["ssh", "trixie", "systemctl", "stop", "dbus.socket", "dbus.service"]);
    assert_eq!(lab.ssh("bookworm", "systemctl is-active dbus.service"), "active\n");

    survives_a_second_up_and_an_end(&lab);

    lab.run(&["down", "bookworm"]);
    assert_eq!(lab.status().len(), 1);
    lab.run(&["down"]);
    assert_eq!(lab.status(), Vec::<Value>::new());
    assert_eq!(leftovers(&id, &lab.folder), Vec::<String>::new());
}

fn works(lab: &Lab, server: &str, version: &str) {
    assert_eq!(lab.ssh(server, "systemctl is-system-running"), "running\n");
    assert_eq!(lab.ssh(server, "hostname"), format!("{server}\n"));
    assert_eq!(lab.ssh(server, ". /etc/os-release; echo $VERSION_ID"), format!("{version}\n"));
    lab.run(&[
        "ssh",
        server,
        "apt-get update -q && apt-get install -qy --no-install-recommends nftables",
    ]);
    let ruleset = "nft add table inet probe && nft list tables";
    assert_eq!(lab.ssh(server, ruleset), "table inet probe\n", "its own, and not this machine's");
    // The kernel is shared: what acts on all of it is refused.
    for command in ["date -s now", "swapon /dev/null", "echo 1 > /proc/sys/vm/swappiness"] {
        assert!(!lab.output(&["ssh", server, command]).status.success(), "{server}: {command}");
    }
}

fn survives_a_second_up_and_an_end(lab: &Lab) {
    let before = lab.status();
    lab.run(&["up", "bookworm"]);
    assert_eq!(lab.status(), before);
    let refused = lab.output(&["up", "bookworm", "--os", "debian-13"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(refused.stderr).unwrap(),
        "error: `bookworm` is up in the lab with debian-12\n\
         hint: run `infra lab down bookworm` first\n"
    );
    // Its files are still there after its machine has ended.
    lab.run(&[
        "ssh",
        "bookworm",
        "touch /root/kept && (sleep 0.2; systemctl poweroff) >/dev/null 2>&1 &",
    ]);
    let ended = || lab.status()[0]["pid"].is_null();
    for _ in 0..200 {
        if ended() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(ended(), "the machine does not power off");
    assert_eq!(
        String::from_utf8(lab.output(&["ssh", "bookworm", "true"]).stderr).unwrap(),
        "error: `bookworm` is not up in the lab\nhint: run `infra lab up bookworm`\n"
    );
    lab.run(&["up", "bookworm"]);
    assert_eq!(lab.ssh("bookworm", "ls /root/kept"), "/root/kept\n");
}

/// A new machine id, host key and address; the name, files and data of a saved server.
#[test]
fn copies_of_a_save_are_servers_of_their_own() {
    let lab = Lab::new("lab-saves");
    lab.run(&["up", "one"]);
    let address = lab.status()[0]["address"].as_str().unwrap().to_owned();
    let id = bridge(&address).split_off("infra-".len());
    lab.run(&[
        "ssh",
        "one",
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy \
         --no-install-recommends postgresql && ssh-keygen -A && chmod 0751 /etc/ssh && \
         echo '# mine' >> /etc/hosts && touch /root/removed-later && mkdir /srv/folder && \
         touch /srv/folder/inside",
    ]);
    sql(&lab, "one", "create table t (x int); insert into t values (1)");

    lab.run(&["save", "base"]);
    assert_eq!(sql(&lab, "one", "select x from t"), "1\n", "the server goes on with its data");
    assert_eq!(lab.status()[0]["address"], *address);
    lab.run(&["ssh", "one", "rm /root/removed-later"]);
    lab.run(&["up", "two", "three", "--from", "base"]);
    let names = ["one", "two", "three"];
    for question in [
        "cat /etc/machine-id",
        "cat /etc/ssh/ssh_host_ed25519_key.pub",
        "cat /etc/ssh/ssh_host_rsa_key.pub",
        "ssh-keygen -yf /etc/ssh/ssh_host_rsa_key",
        "ip -br address show host0",
        "hostname",
        "grep 127.0.1.1 /etc/hosts",
    ] {
        let mut answers = names.map(|name| lab.ssh(name, question));
        answers.sort();
        assert!(!answers[0].is_empty(), "{question}: {answers:?}");
        assert!(answers[0] != answers[1] && answers[1] != answers[2], "{question}: {answers:?}");
    }
    for name in ["two", "three"] {
        assert_eq!(lab.ssh(name, "cat /etc/hostname; hostname"), format!("{name}\n{name}\n"));
        assert_eq!(lab.ssh(name, "stat -c %a /etc/ssh /root /root/.ssh"), "751\n700\n700\n");
        assert_eq!(lab.ssh(name, "tail -n1 /etc/hosts; ls /root"), "# mine\nremoved-later\n");
        assert_eq!(lab.ssh(name, "systemctl is-system-running"), "running\n");
        // Docker renames a folder when it starts, which may be in a layer then.
        let rename = "perl -e 'rename \"/srv/folder\", \"/srv/other\" or die $!' && ls /srv/other";
        assert_eq!(lab.ssh(name, rename), "inside\n");
        sql(&lab, name, &format!("insert into t values ({})", name.len()));
    }
    assert_eq!(names.map(|name| sql(&lab, name, "select sum(x) from t")), ["1\n", "4\n", "6\n"]);
    assert_eq!(lab.ssh("one", "ls /root"), "", "what is removed over a layer stays removed");

    saves_are_chained_and_forgotten(&lab);
    refuses_a_save_whose_image_is_gone(&lab);
    lab.run(&["down", "--all"]);
    assert_eq!(leftovers(&id, &lab.folder), Vec::<String>::new());
    assert!(!lab.folder.exists());
}

fn sql(lab: &Lab, server: &str, line: &str) -> String {
    lab.ssh(server, &format!("cd / && runuser -u postgres -- psql -qAtc '{line}'"))
}

/// The error of a command that is refused.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.output(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn saves_are_chained_and_forgotten(lab: &Lab) {
    lab.run(&["down", "three"]);
    // A server that is down stays down.
    lab.run(&["ssh", "one", "(sleep 0.2; systemctl poweroff) >/dev/null 2>&1 &"]);
    ends(lab, 0);
    lab.run(&["save", "both"]);
    assert!(lab.status()[0]["pid"].is_null() && lab.status()[1]["pid"].is_i64());
    assert_eq!(
        refused(lab, &["up", "three", "--from", "both"]),
        "error: the save `both` holds no server `three`\nhint: it holds `one`, `two`\n"
    );
    assert_eq!(
        refused(lab, &["up", "one", "--from", "both"]),
        "error: `one` is in the lab already\nhint: run `infra lab down one` first\n"
    );
    lab.run(&["forget", "base"]);
    lab.run(&["down"]);
    let saves = lab.status();
    assert_eq!(saves.len(), 1);
    assert_eq!(saves[0]["servers"], serde_json::json!(["one", "two"]));
    let line = "both                 save       debian-12       one, two\n";
    assert_eq!(lab.run(&["status"]), line);
    // All of the save, under the names that they had; two commands at once.
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            scope.spawn(move || lab.run(&["up", name, "--from", "both"]));
        }
    });
    assert_eq!(sql(lab, "one", "select sum(x) from t"), "1\n");
    assert_eq!(sql(lab, "two", "select sum(x) from t"), "4\n");
    assert_eq!(lab.ssh("one", "ls /root"), "");
}

fn ends(lab: &Lab, index: usize) {
    for _ in 0..200 {
        if lab.status()[index]["pid"].is_null() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the machine does not power off");
}

fn refuses_a_save_whose_image_is_gone(lab: &Lab) {
    lab.run(&["down"]);
    let images = lab.folder.join("images");
    std::fs::rename(&images, lab.folder.join("elsewhere")).unwrap();
    let said = refused(lab, &["up", "--from", "both"]);
    assert!(
        said.starts_with("error: the image `debian-12-")
            && said.ends_with(
                "` that the save `both` stands on is gone\n\
                 hint: run `infra lab forget both`, and save again\n"
            ),
        "{said}"
    );
    assert_eq!(lab.status()[0]["usable"], false);
    std::fs::rename(lab.folder.join("elsewhere"), &images).unwrap();
    lab.run(&["up", "two", "--from", "both"]);
    assert_eq!(sql(lab, "two", "select sum(x) from t"), "4\n");
}

/// A save that is killed loses nothing, whenever that is, and the server comes up again.
#[test]
fn a_killed_save_loses_nothing() {
    let lab = Lab::new("lab-killed");
    lab.run(&["up", "one"]);
    for round in 0..12_u64 {
        lab.run(&["ssh", "one", &format!("echo {round} > /root/{round}; touch /etc/keep-{round}")]);
        let save = format!("save-{round}");
        let mut command = Command::new(cargo_bin("infra"));
        command.args(["lab", "--lab-dir"]).arg(&lab.folder).args(["save", &save]);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        // From before the shutdown to the start after it.
        std::thread::sleep(std::time::Duration::from_millis(30 + round * 120));
        child.kill().unwrap();
        child.wait().unwrap();
        lab.run(&["up", "one"]);
        let kept = lab.ssh("one", "cat $(ls -d /root/* | sort -V); ls /etc/keep-* | wc -l");
        let mut numbers: Vec<String> = (0..=round).map(|number| number.to_string()).collect();
        numbers.push((round + 1).to_string());
        assert_eq!(kept, numbers.join("\n") + "\n", "round {round}");
    }
    // A save is there as a whole, or not at all.
    let saves: Vec<Value> = lab.status().drain(1..).collect();
    for save in &saves {
        let name = save["save"].as_str().unwrap();
        lab.run(&["up", name, "--from", name]);
        assert_eq!(lab.ssh(name, "hostname"), format!("{name}\n"));
        lab.run(&["down", name]);
    }
    lab.run(&["save", "last"]);
    lab.run(&["up", "copy", "--from", "last"]);
    assert_eq!(lab.ssh("copy", "ls /root | wc -l"), "12\n");
    lab.run(&["down", "--all"]);
}
