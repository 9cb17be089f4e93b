//! A server in a lab of its own, for tests of the whole.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

use super::{machine, tokens};

/// How long something may take that has to happen, on a machine that is busy with other things.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);

/// How long a login may take, in seconds.
const LOGIN_SECONDS: u64 = 120;

/// A lab with servers, which ends with the test.
pub(crate) struct TestLab {
    folder: PathBuf,
    /// Whether others need it until the end of the run.
    is_kept: bool,
    /// The project that is applied.
    pub(crate) project: PathBuf,
}

impl TestLab {
    /// An empty lab for `project`.
    pub(crate) fn new(project: &Path) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let folder = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = machine::lab(number);
            // A lab that could not be ended keeps its number.
            if !folder.exists() {
                break folder;
            }
        };
        machine::new_lab(&folder);
        Self { folder, is_kept: false, project: project.to_path_buf() }
    }

    /// Leaves the lab in its folder, for the rest of the run.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        self.folder.clone()
    }

    /// The folder of the lab.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket of connections that stay open, a name for each server.
    fn control(&self) -> String {
        format!("{}/%n", self.folder.display())
    }

    /// Brings up servers; `arguments` are those of `infra lab up`.
    pub(crate) fn up(&self, arguments: &[&str]) {
        let _token = tokens::take();
        self.succeed(&[&["lab", "up", "--no-internet"], arguments].concat());
    }

    /// Brings up the outside world of the lab, and lets all servers that are up ask it.
    pub(crate) fn go_online(&self) {
        let _token = tokens::take();
        self.succeed(&["lab", "up", "internet"]);
    }

    /// The program, in the project and with this lab.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("infra"));
        command.args(arguments).current_dir(&self.project).stdin(Stdio::null());
        command.env("INFRA_LAB_DIR", &self.folder).env("NO_COLOR", "1");
        // The sockets of connections end with the lab.
        command.env("XDG_RUNTIME_DIR", &self.folder);
        command
    }

    pub(crate) fn infra(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The same; returns the exit code and all that was said.
    pub(crate) fn say(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.infra(arguments);
        (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
    }

    /// The same, where it has to succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let (code, said) = self.say(arguments);
        assert_eq!(code, 0, "infra {}:\n{said}", arguments.join(" "));
        said
    }

    /// The object of a server in `infra lab status`.
    pub(crate) fn status(&self, name: &str) -> Value {
        let output = self.infra(&["lab", "status", "--output", "json"]);
        let listing = text(&output.stdout);
        let servers = listing.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        servers.into_iter().find(|server| server["name"] == name).unwrap()
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        // A test that fails has its own failure to show.
        let sockets = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for socket in sockets.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket())) {
            let mut ssh = Command::new("ssh");
            let _ = ssh.arg("-S").arg(socket.path()).args(["-O", "exit", "server"]).output();
        }
        if !self.is_kept {
            machine::end(&self.folder);
        }
    }
}

/// A server in a lab of its own, which ends with the test.
pub(crate) struct LabServer {
    /// Its name in the inventory.
    pub(crate) name: String,
    pub(crate) lab: TestLab,
    address: String,
}

impl LabServer {
    /// Brings up the server `name` of `project` with the release `os`, bare.
    pub(crate) fn bare(name: &str, os: &str, project: &Path) -> Self {
        let lab = TestLab::new(project);
        lab.up(&[name, "--os", os]);
        Self::in_lab(name, lab)
    }

    /// The server `name` that is up in `lab`.
    pub(crate) fn in_lab(name: &str, lab: TestLab) -> Self {
        let address = lab.status(name)["address"].as_str().unwrap().to_owned();
        Self { name: name.to_owned(), lab, address }
    }

    pub(crate) fn infra(&self, arguments: &[&str]) -> Output {
        self.lab.infra(arguments)
    }

    /// The program, in the project and with the lab of this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.lab.command(arguments)
    }

    /// Lets a test apply another project; returns the one before.
    pub(crate) fn use_project(&mut self, project: &Path) -> PathBuf {
        std::mem::replace(&mut self.lab.project, project.to_path_buf())
    }

    /// The project that is applied.
    pub(crate) fn project(&self) -> &Path {
        &self.lab.project
    }

    /// Its address in the lab.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Applies with more arguments; returns the exit code and what was said.
    pub(crate) fn apply(&self, more: &[&str]) -> (i32, String) {
        self.lab.say(&[&["apply", &self.name, "--lab", "--yes"], more].concat())
    }

    /// Applies to a server that lacks most of it: a token is taken for the time.
    pub(crate) fn install(&self, more: &[&str]) -> (i32, String) {
        let _token = tokens::take();
        self.apply(more)
    }

    /// Applies, which has to succeed.
    pub(crate) fn converge(&self, more: &[&str]) -> String {
        let (code, said) = self.apply(more);
        assert_eq!(code, 0, "{said}");
        said
    }

    /// Nothing is left to do for the same arguments.
    pub(crate) fn has_nothing_to_do(&self, more: &[&str]) {
        let (code, plan) = self.lab.say(&[&["diff", &self.name, "--lab"], more].concat());
        assert_eq!(code, 0, "{plan}");
    }

    /// The plan that `diff` prints on standard output.
    pub(crate) fn plan(&self, more: &[&str]) -> String {
        let output = self.infra(&[&["diff", &self.name, "--lab"], more].concat());
        let code = output.status.code();
        let has_planned = !matches!(code, None | Some(1 | 4));
        assert!(has_planned, "{code:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a shell line on the server and returns what it prints, over a connection that stays open
    /// for the next line: a login of its own costs a tenth of a second of a core.
    pub(crate) fn shell(&self, line: &str) -> String {
        self.inside(&self.ssh("ControlMaster=auto", LOGIN_SECONDS, line), line)
    }

    /// The same for a line that has to succeed.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.ssh("ControlMaster=auto", LOGIN_SECONDS, line);
        assert!(output.status.success(), "`{line}` on `{}`: {}", self.name, output.status);
        self.inside(&output, line)
    }

    /// The same with a login of its own, which has to get in.
    pub(crate) fn login(&self, line: &str) -> String {
        self.inside(&self.ssh("ControlPath=none", LOGIN_SECONDS, line), line)
    }

    /// The same; empty if the login does not get in within seconds.
    pub(crate) fn try_login(&self, line: &str) -> String {
        text(&self.ssh("ControlPath=none", 5, line).stdout).trim_end().to_owned()
    }

    /// The output of a connection that got in: ssh ends with 255 where it does not.
    fn inside(&self, output: &Output, line: &str) -> String {
        assert_ne!(output.status.code(), Some(255), "no login to `{}` for `{line}`", self.name);
        text(&output.stdout).trim_end().to_owned()
    }

    fn ssh(&self, control: &str, seconds: u64, line: &str) -> Output {
        Command::new("ssh")
            .arg("-F")
            .arg(self.lab.folder().join("ssh_config"))
            .args(["-o", control, "-o", &format!("ControlPath={}", self.lab.control())])
            .args(["-o", "ControlPersist=600", "-o", "BatchMode=yes"])
            .args(["-o", &format!("ConnectTimeout={seconds}"), "--", &self.name, line])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .unwrap()
    }

    /// Waits until a shell line succeeds on the server, which itself looks again and again.
    pub(crate) fn wait_for(&self, event: &str, line: &str) {
        let seconds = DEADLINE.as_secs();
        let line = format!(
            "end=$(($(date +%s) + {seconds})); while [ $(date +%s) -lt $end ]; do \
             ({line}) >/dev/null 2>&1 && exit; sleep 0.1; done; exit 1"
        );
        let waited = self.ssh("ControlMaster=auto", LOGIN_SECONDS, &line);
        assert!(waited.status.success(), "still waiting for {event} after {DEADLINE:?}");
    }

    /// A page, asked from this machine over HTTPS. The certificate is self-signed.
    pub(crate) fn page(&self, name: &str, path: &str) -> String {
        self.ask(&["--http2"], name, path)
    }

    /// A page, asked while nginx may reload: it then closes connections over HTTP/2 that have no
    /// request yet. Browsers ask once more for such a page; curl does not.
    pub(crate) fn page_during_reload(&self, name: &str, path: &str) -> String {
        self.ask(&["--http1.1"], name, path)
    }

    fn ask(&self, options: &[&str], name: &str, path: &str) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--max-time", "180"])
            .args(options)
            .arg("--resolve")
            .arg(format!("{name}:443:{}", self.address))
            .arg(format!("https://{name}{path}"))
            .output()
            .unwrap();
        text(&output.stdout) + &text(&output.stderr)
    }
}

/// Waits for what has to happen, for as long as a busy machine may need.
pub(crate) fn wait_until(event: &str, mut has_happened: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    // How often is looked, not how long is waited. A look may cost a login.
    let mut pause = Duration::from_millis(2);
    while !has_happened() {
        assert!(Instant::now() < end, "still waiting for {event} after {DEADLINE:?}");
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(500));
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines of a report that end with `end`.
pub(crate) fn lines<'a>(said: &'a str, end: &str) -> Vec<&'a str> {
    said.lines().filter(|line| line.trim_end().ends_with(end)).collect()
}

/// The folder of this repository, which is the project of Flus.
pub(crate) fn flus() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
