//! Canaries: fifty secrets, used in every way that a role can use one, on a server of the lab.
//! Runs succeed, fail, are killed, are verbose, are JSON; then each secret, and what encodings
//! make of it, is searched for in all output, in the arguments of every process, in the journal,
//! in what infra remembers, and on both disks: nowhere but in the files that asked for it.

mod needles;
mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use infra::secrets::{Folder, IdentitySource};

use needles::{Canary, Needles};
use watch::Watch;

use crate::support::{TestLab, flus, text, wait_until};

crate::tests! {
    no_secret_is_anywhere_but_where_it_should_be = 150,
}

/// Where the server may hold secrets: the files that the role writes, and the account's password.
const HOLDERS: [&str; 4] = ["/etc/canary/", "/srv/canary/", "/etc/shadow", "/etc/shadow-"];

/// The program with which the role waits, as `pgrep` and `pkill` look for it.
const SLOW: &str = "'^tail -f /dev/null$'";

/// infra with a home of its own, and a lab with the server in it.
struct Client {
    lab: TestLab,
    root: tempfile::TempDir,
    /// All output of infra.
    said: Vec<u8>,
    started: SystemTime,
    /// The entries of the folders that all programs share, before anything ran.
    before: BTreeSet<PathBuf>,
}

impl Client {
    fn up() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["home", "run", "tmp"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let project = root.path().join("project");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(flus().join("tests/lab/canary/project"))
            .arg(&project)
            .status();
        assert!(copied.unwrap().success());
        let (started, before) = (SystemTime::now(), shared_entries());
        let lab = TestLab::new(&project);
        lab.up(&["canary", "--os", "debian-12"]);
        let mut client = Self { lab, root, said: Vec::new(), started, before };
        let identity = project.join("secrets/lab-identity.txt");
        let made = client.infra(&["secrets", "keygen", identity.to_str().unwrap()]);
        let key = String::from_utf8(made.stdout).unwrap();
        fs::write(
            project.join("secrets/recipients.yaml"),
            format!("recipients: {{ lab: {{ key: {}, files: [lab] }} }}\n", key.trim()),
        )
        .unwrap();
        client
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(arguments);
        let folder = |name: &str| self.root.path().join(name);
        command.env("HOME", folder("home"));
        command.env("XDG_RUNTIME_DIR", folder("run")).env("TMPDIR", folder("tmp"));
        command.env_remove("INFRA_IDENTITY").env_remove("INFRA_IDENTITY_FILE");
        command
    }

    fn infra(&mut self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        self.said.extend(&output.stdout);
        self.said.extend(&output.stderr);
        output
    }

    /// Runs infra on the server, which must end with `code`.
    fn run(&mut self, arguments: &[&str], code: i32) -> String {
        let output = self.infra(&[arguments, &["--lab"]].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "infra {}:\n{said}", arguments.join(" "));
        said
    }

    /// The output of a shell line on the server, which infra does not say.
    fn shell(&self, line: &str) -> Vec<u8> {
        self.command(&["lab", "ssh", "canary", line]).output().unwrap().stdout
    }

    /// Encrypts the canaries without letting them touch the disk.
    fn encrypt(&self, canaries: &[Canary], round: usize) {
        let lines: Vec<String> = canaries
            .iter()
            .map(|canary| format!("{}: {}\n", canary.name, serde_json::json!(canary.value)))
            .collect();
        let text = format!("{}round: number {round}\n", lines.concat());
        let folder = Folder::new(&self.lab.project, &IdentitySource::default());
        let bytes = folder.encrypt("lab", None, &text).unwrap();
        fs::write(folder.file("lab"), bytes).unwrap();
    }

    /// Kills the client or the agent in the middle of a run.
    fn cut(&mut self, kill_agent: bool) {
        let arguments = ["apply", "canary", "--yes", "--lab", "-v", "--set", "canary.slow=true"];
        let mut command = self.command(&arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let mut has_ended = false;
        wait_until("the slow command", || {
            has_ended = client.try_wait().unwrap().is_some();
            has_ended || !self.shell(&format!("pgrep -f {SLOW}")).is_empty()
        });
        if !has_ended {
            if kill_agent {
                self.shell("pkill -KILL -f ^/var/lib/infra/agent/");
            } else {
                client.kill().unwrap();
            }
        }
        let output = client.wait_with_output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!has_ended, "no slow command: {said}");
        assert!(!output.status.success());
        self.said.extend(output.stdout);
        self.said.extend(output.stderr);
        self.shell(&format!("pkill -f {SLOW}"));
        // The agent, where it lives on, notices that its client is gone.
        wait_until("the end of the agent", || {
            self.shell("pgrep -f ^/var/lib/infra/agent/ || echo none") == b"none\n"
        });
    }

    /// Every place where one of `needles` is and should not be.
    fn leaks(&self, needles: &Needles) -> Vec<String> {
        let mut leaks = needles.find("what infra says", &self.said);
        let journal = self.shell("journalctl --all --no-pager --output=export");
        assert!(journal.len() > 1000, "the journal is empty");
        leaks.extend(needles.find("the server's journal", &journal));
        // File systems in memory are not on the server's disk.
        let memory = self.shell("tar -cf - /tmp /run /dev/shm /var/tmp 2>/dev/null");
        assert!(memory.len() > 1000, "there is nothing in /run");
        leaks.extend(needles.find("the server's /tmp, /run or /dev/shm", &memory));
        let state = self.shell("cat /var/lib/infra/state.json");
        assert!(state.starts_with(b"{"), "there is no state.json");
        let pid = String::from_utf8(self.shell("echo $$")).unwrap();
        assert!(!pid.trim().is_empty());
        // All that the server has written is in `upper`. `root` shows the same over an image, which
        // is older than every secret.
        let disk = self.lab.folder().join("servers/canary");
        assert!(disk.join("upper/etc/canary").is_dir(), "the server's disk is elsewhere");
        for entry in fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().path()) {
            if !entry.ends_with("root") {
                needles.find_at(&entry, &mut |path| !is_holder(path), &mut leaks);
            }
        }
        needles.find_below(self.root.path(), &mut |_| true, &mut leaks);
        self.find_in_shared_folders(needles, &mut leaks);
        leaks
    }

    fn find_in_shared_folders(&self, needles: &Needles, leaks: &mut Vec<String>) {
        for entry in shared_entries() {
            // Others keep whole servers there: what was there before is none of infra's.
            let is_new = !self.before.contains(&entry) || is_infras(&entry);
            if !is_new || entry.starts_with(self.root.path()) {
                continue;
            }
            let mut changed = |path: &Path| {
                let since = fs::metadata(path).and_then(|data| data.modified());
                since.is_ok_and(|since| since >= self.started)
            };
            needles.find_at(&entry, &mut changed, leaks);
        }
    }
}

/// The entries of the folders that all programs share.
fn shared_entries() -> BTreeSet<PathBuf> {
    let folders = ["/tmp", "/dev/shm", "/var/tmp"].into_iter();
    let entries = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).collect()
}

fn is_infras(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("infra"))
}

fn is_holder(path: &Path) -> bool {
    let path = path.to_string_lossy();
    HOLDERS
        .iter()
        .any(|holder| path.contains(holder) && (holder.ends_with('/') || path.ends_with(holder)))
}

/// No secret is found but in the files that asked for it, and a planted one is found everywhere.
fn no_secret_is_anywhere_but_where_it_should_be() {
    let mut client = Client::up();
    let (first, second) = (needles::canaries(1), needles::canaries(2));
    let planted = Canary::new("planted", 3);
    let all: Vec<&Canary> = first.iter().chain(&second).collect();
    let needles = Needles::new(&all);
    let watched = Needles::new(&[all, vec![&planted]].concat());
    let watch = Watch::start(watched);

    client.encrypt(&first, 1);
    let plan = client.run(&["diff", "canary", "-v"], 2);
    assert!(plan.contains("file:/etc/canary/filters"), "{plan}");
    client.run(&["render", "canary"], 0);
    client.run(&["check"], 0);
    for (fail, resource, format) in [
        ("env", "command:shows its environment", "human"),
        ("forms", "command:shows its environment in other forms", "human"),
        ("stdin", "command:shows what it reads", "human"),
        ("output", "command:shows the files of others", "json"),
        ("validate", "file:/etc/canary/refused", "human"),
        ("git", "git:/srv/canary/tree", "json"),
        ("service", "systemd_unit:canary-fails.service", "human"),
    ] {
        let set = format!("canary.fail={fail}");
        let arguments = ["apply", "canary", "--yes", "-vv", "--set", &set, "--output", format];
        let said = client.run(&arguments, 3);
        let error = said.split("\nerror: ").last().unwrap_or_default();
        assert!(said.contains(resource) && error.contains(resource), "{said}");
    }
    client.cut(true);
    client.cut(false);
    client.run(&["apply", "canary", "--yes", "-vv"], 0);
    client.run(&["diff", "canary"], 0);
    holds(&client, &first, true);
    assert_eq!(client.run(&["history", "canary"], 0).lines().count(), 11);
    client.run(&["status", "canary", "-v"], 0);

    // Every one is rotated: differences show lines with the old values and the new.
    client.encrypt(&second, 2);
    let plan = client.run(&["diff", "canary", "-vv"], 2);
    assert!(plan.contains("first=(secret)"), "the rest of a difference stays readable:\n{plan}");
    client.run(&["diff", "canary", "--output", "json"], 2);
    client.shell("echo by hand >> /etc/canary/raw");
    client.run(&["diff", "canary"], 2);
    client.run(&["diff", "canary", "--no-secrets"], 0);
    client.run(&["diff", "canary", "--output", "markdown"], 2);
    // A plan holds them all, encrypted.
    client.run(&["diff", "canary", "-v", "--out", "saved.plan"], 2);
    client.run(&["apply", "--plan", "saved.plan", "--yes", "-v"], 0);
    client.run(&["apply", "--plan", "saved.plan", "--yes", "--output", "json"], 3);
    holds(&client, &second, false);

    assert_eq!(client.leaks(&needles), Vec::<String>::new());
    finds_what_is_planted(&client, &planted);
    let seen = watch.stop();
    assert!(seen.contains(&"planted, as it is, in the arguments of a process".to_owned()));
    assert!(seen.iter().all(|leak| leak.starts_with("planted, ")), "{seen:?}");
}

/// The server has the secrets where the role puts them: otherwise a search would prove nothing.
fn holds(client: &Client, canaries: &[Canary], is_first: bool) {
    let content =
        String::from_utf8_lossy(&client.shell("cat /etc/canary/* /srv/canary/*")).into_owned();
    for name in ["c01", "c02", "c09", "c34", "c36", "c41"] {
        let canary = canaries.iter().find(|canary| canary.name == name).unwrap();
        // Commands that have run do not run again for another secret.
        let is_kept = name.starts_with("c3") && !is_first;
        assert!(is_kept || content.contains(&canary.value), "{name} is not on the server");
    }
}

/// The control: a secret that is put in each place is found there, plain and encoded.
fn finds_what_is_planted(client: &Client, planted: &Canary) {
    let needles = Needles::new(&[planted]);
    assert_eq!(client.leaks(&needles), Vec::<String>::new());
    let value = &planted.value;
    client.shell(&format!("echo {value} > /var/lib/infra/planted"));
    client.shell(&format!("echo {value} | rev > /tmp/planted"));
    client.shell(&format!("echo {value} | base64 | logger"));
    client.shell(&format!("printf '%s' {value} | od -An -tx1 | tr -d ' \\n' > /etc/planted"));
    fs::write(client.root.path().join("home/planted"), value.to_uppercase()).unwrap();
    // A process with the value among its arguments for as long as the search takes.
    let mut shows = Command::new("sh");
    shows.args(["-c", "read -r word", "sh", value]).stdin(Stdio::piped());
    let mut shows = shows.spawn().unwrap();
    let mut found = client.leaks(&needles);
    drop(shows.stdin.take());
    shows.wait().unwrap();
    found.sort();
    let places: Vec<&str> =
        found.iter().map(|leak| leak.rsplit('/').next().unwrap_or_default()).collect();
    for wanted in [
        "planted, as it is, in ",
        "planted, reversed, in the server's ",
        "planted, in base64, in the server's journal",
        "planted, in hexadecimal digits, in ",
        "planted, in capitals, in ",
    ] {
        assert!(found.iter().any(|leak| leak.starts_with(wanted)), "{wanted}: {places:?}");
    }
}
