//! Canaries: fifty secrets, used in every way that a role can use one, on a server of the lab.
//! Runs succeed, fail, are killed, are verbose, are JSON; then each secret, and what encodings
//! make of it, is searched for in all output, in the arguments of every process, in the journal,
//! in what infra remembers, and on both disks: nowhere but in the files that asked for it.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

mod needles;
mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use infra::secrets::{Folder, IdentitySource};

use needles::{Canary, Needles};
use watch::Watch;

use crate::support::lab_server::share_images;

/// Where the server may hold them: what the role writes, and the account's password.
const HOLDERS: [&str; 4] = ["/etc/canary/", "/srv/canary/", "/etc/shadow", "/etc/shadow-"];

/// A lab with the server in it, and a home of its own for the client.
struct Lab {
    root: tempfile::TempDir,
    /// Everything that infra has said.
    said: Vec<u8>,
    started: SystemTime,
    /// What was in the folders that all programs share, before anything ran.
    before: BTreeSet<PathBuf>,
}

impl Lab {
    fn up() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["home", "run", "tmp"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let copied = Command::new("cp")
            .arg("-r")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/canary/project"))
            .arg(root.path().join("project"))
            .status();
        assert!(copied.unwrap().success());
        let started = SystemTime::now();
        let mut lab = Self { root, said: Vec::new(), started, before: shared_entries() };
        lab.infra(&["lab", "down"]);
        let images = share_images(&Self::folder());
        let up = lab.infra(&["lab", "up", "canary", "--os", "debian-12"]);
        drop(images);
        assert!(
            up.status.success(),
            "{}\nThis test needs a machine that can run the lab: root on Linux, and the packages \
             that `.ci/prepare` installs.",
            String::from_utf8_lossy(&up.stderr)
        );
        let identity = lab.project().join("secrets/lab-identity.txt");
        let made = lab.infra(&["secrets", "keygen", identity.to_str().unwrap()]);
        let key = String::from_utf8(made.stdout).unwrap();
        fs::write(
            lab.project().join("secrets/recipients.yaml"),
            format!("recipients: {{ lab: {{ key: {}, files: [lab] }} }}\n", key.trim()),
        )
        .unwrap();
        lab
    }

    fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// The lab's folder stays for the next run: it holds the image.
    fn folder() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("canary")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
        let folder = |name: &str| self.root.path().join(name);
        command.args(arguments).current_dir(self.project()).stdin(Stdio::null());
        command.env("INFRA_LAB_DIR", Self::folder()).env("HOME", folder("home"));
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
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "infra {}:\n{said}", arguments.join(" "));
        said
    }

    /// What a shell line prints on the server; not what infra says.
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
        let folder = Folder::new(&self.project(), &IdentitySource::default());
        let bytes = folder.encrypt("lab", &text).unwrap();
        fs::write(folder.file("lab"), bytes).unwrap();
    }

    /// Kills the client or the agent in the middle of a run.
    fn cut(&mut self, kill_agent: bool) {
        let arguments = ["apply", "canary", "--yes", "--lab", "-v", "--set", "canary.slow=true"];
        let mut command = self.command(&arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = command.spawn().unwrap();
        let start = Instant::now();
        while self.shell("pgrep -f '^sleep 30$'").is_empty() {
            if client.try_wait().unwrap().is_some() || start.elapsed() > Duration::from_mins(1) {
                client.kill().unwrap();
                let output = client.wait_with_output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                panic!("no slow command: {said}{}", String::from_utf8_lossy(&output.stderr));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if kill_agent {
            self.shell("pkill -KILL -f ^/var/lib/infra/agent/");
        } else {
            client.kill().unwrap();
        }
        let output = client.wait_with_output().unwrap();
        assert!(!output.status.success());
        self.said.extend(output.stdout);
        self.said.extend(output.stderr);
        self.shell("pkill -f '^sleep 30$'");
        // The agent, where it lives on, notices that its client is gone.
        while !self.shell("pgrep -f ^/var/lib/infra/agent/").is_empty() {
            assert!(start.elapsed() < Duration::from_secs(90), "the agent does not end");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every place where one of `needles` is and should not be.
    fn leaks(&self, needles: &Needles) -> Vec<String> {
        let mut leaks = needles.find("what infra says", &self.said);
        let journal = self.shell("journalctl --all --no-pager --output=export");
        assert!(journal.len() > 1000, "the journal is empty");
        leaks.extend(needles.find("the server's journal", &journal));
        // What is not on the server's disk: file systems in memory.
        let memory = self.shell("tar -cf - /tmp /run /dev/shm /var/tmp 2>/dev/null");
        assert!(memory.len() > 1000, "there is nothing in /run");
        leaks.extend(needles.find("the server's /tmp, /run or /dev/shm", &memory));
        let state = self.shell("cat /var/lib/infra/state.json");
        assert!(state.starts_with(b"{"), "there is no state.json");
        let pid = String::from_utf8(self.shell("echo $$")).unwrap();
        assert!(!pid.trim().is_empty());
        let disk = Self::folder().join("servers/canary");
        needles.find_below(&disk, &mut |path| !is_holder(path), &mut leaks);
        let started = self.started;
        needles.find_below(self.root.path(), &mut |_| true, &mut leaks);
        for entry in shared_entries() {
            // What others keep there, whole servers among it, is none of infra's.
            let is_new = !self.before.contains(&entry) || is_infras(&entry);
            if !is_new || entry.starts_with(self.root.path()) {
                continue;
            }
            let mut changed = |path: &Path| {
                let since = fs::metadata(path).and_then(|data| data.modified());
                since.is_ok_and(|since| since >= started)
            };
            if entry.is_dir() {
                needles.find_below(&entry, &mut changed, &mut leaks);
            } else if let Ok(bytes) = fs::read(&entry) {
                leaks.extend(needles.find(&entry.display().to_string(), &bytes));
            }
        }
        leaks
    }
}

/// What is in the folders that all programs share.
fn shared_entries() -> BTreeSet<PathBuf> {
    let folders = ["/tmp", "/dev/shm", "/var/tmp"].into_iter();
    let entries = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).collect()
}

fn is_infras(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("infra"))
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A test that fails has its own failure to show.
        let _ = self.command(&["lab", "down"]).output();
    }
}

fn is_holder(path: &Path) -> bool {
    let path = path.to_string_lossy();
    HOLDERS
        .iter()
        .any(|holder| path.contains(holder) && (holder.ends_with('/') || path.ends_with(holder)))
}

#[test]
fn no_secret_is_anywhere_but_where_it_should_be() {
    let mut lab = Lab::up();
    let (first, second) = (needles::canaries(1), needles::canaries(2));
    let planted = Canary::new("planted", 3);
    let all: Vec<&Canary> = first.iter().chain(&second).collect();
    let needles = Needles::new(&all);
    let watched = Needles::new(&[all, vec![&planted]].concat());
    let watch = Watch::start(watched);

    lab.encrypt(&first, 1);
    let plan = lab.run(&["diff", "canary", "-v"], 2);
    assert!(plan.contains("file:/etc/canary/filters"), "{plan}");
    lab.run(&["render", "canary"], 0);
    lab.run(&["check"], 0);
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
        let said = lab.run(&arguments, 3);
        let error = said.split("\nerror: ").last().unwrap_or_default();
        assert!(said.contains(resource) && error.contains(resource), "{said}");
    }
    lab.cut(true);
    lab.cut(false);
    lab.run(&["apply", "canary", "--yes", "-vv"], 0);
    lab.run(&["diff", "canary"], 0);
    holds(&lab, &first, true);
    assert_eq!(lab.run(&["history", "canary"], 0).lines().count(), 11);
    lab.run(&["status", "canary", "-v"], 0);

    // Every one is rotated: differences show lines with the old values and the new.
    lab.encrypt(&second, 2);
    let plan = lab.run(&["diff", "canary", "-vv"], 2);
    assert!(plan.contains("first=(secret)"), "the rest of a difference stays readable:\n{plan}");
    lab.run(&["diff", "canary", "--output", "json"], 2);
    lab.shell("echo by hand >> /etc/canary/raw");
    lab.run(&["diff", "canary"], 2);
    lab.run(&["diff", "canary", "--no-secrets"], 0);
    lab.run(&["diff", "canary", "--output", "markdown"], 2);
    // A plan holds them all, encrypted.
    lab.run(&["diff", "canary", "-v", "--out", "saved.plan"], 2);
    lab.run(&["apply", "--plan", "saved.plan", "--yes", "-v"], 0);
    lab.run(&["apply", "--plan", "saved.plan", "--yes", "--output", "json"], 3);
    holds(&lab, &second, false);

    assert_eq!(lab.leaks(&needles), Vec::<String>::new());
    finds_what_is_planted(&lab, &planted);
    let seen = watch.stop();
    assert!(seen.contains(&"planted, as it is, in the arguments of a process".to_owned()));
    assert!(seen.iter().all(|leak| leak.starts_with("planted, ")), "{seen:?}");
}

/// The server has the secrets where the role puts them: otherwise a search would prove nothing.
fn holds(lab: &Lab, canaries: &[Canary], is_first: bool) {
    let content =
        String::from_utf8_lossy(&lab.shell("cat /etc/canary/* /srv/canary/*")).into_owned();
    for name in ["c01", "c02", "c09", "c34", "c36", "c41"] {
        let canary = canaries.iter().find(|canary| canary.name == name).unwrap();
        // Commands that have run do not run again for another secret.
        let is_kept = name.starts_with("c3") && !is_first;
        assert!(is_kept || content.contains(&canary.value), "{name} is not on the server");
    }
}

/// The control: a secret that is put in each place is found there, plain and encoded.
fn finds_what_is_planted(lab: &Lab, planted: &Canary) {
    let needles = Needles::new(&[planted]);
    assert_eq!(lab.leaks(&needles), Vec::<String>::new());
    let value = &planted.value;
    lab.shell(&format!("echo {value} > /var/lib/infra/planted"));
    lab.shell(&format!("echo {value} | rev > /tmp/planted"));
    lab.shell(&format!("echo {value} | base64 | logger"));
    lab.shell(&format!("printf '%s' {value} | od -An -tx1 | tr -d ' \\n' > /etc/planted"));
    fs::write(lab.root.path().join("home/planted"), value.to_uppercase()).unwrap();
    let mut found = lab.leaks(&needles);
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
