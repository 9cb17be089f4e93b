//! A server in a lab of its own, for tests of the whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// Labs share their images, which are built once: one at a time.
static IMAGES: Mutex<()> = Mutex::new(());

/// A server in a lab of its own, which ends with the test.
pub(crate) struct LabServer {
    /// Its name in the inventory.
    pub(crate) name: String,
    folder: PathBuf,
    address: String,
    /// The project that is applied.
    pub(crate) project: PathBuf,
}

impl LabServer {
    /// Brings up the server `name` of `project` with the release `os`, bare.
    pub(crate) fn up(name: &str, os: &str, project: &Path) -> Self {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let label = project.file_name().unwrap_or_default().to_string_lossy();
        let folder = tmp.join(format!("lab-{name}-{os}-{label}"));
        let project = project.to_path_buf();
        let mut server = Self { name: name.to_owned(), folder, address: String::new(), project };
        // What a run that was killed has left.
        server.infra(&["lab", "down"]);
        let images = share_images(&server.folder);
        let up = server.infra(&["lab", "up", name, "--os", os]);
        drop(images);
        assert!(
            up.status.success(),
            "{}\nThis test needs a machine that can run the lab: root on Linux, and the packages \
             that `.ci/prepare` installs.",
            text(&up.stderr)
        );
        let status = server.infra(&["lab", "status", "--output", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["address"].as_str().unwrap().clone_into(&mut server.address);
        server
    }
    pub(crate) fn infra(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The program, in the project and with the lab of this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("infra"));
        command.args(arguments).current_dir(&self.project);
        command.env("INFRA_LAB_DIR", &self.folder).env("NO_COLOR", "1");
        command
    }

    /// Its address in the lab.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Applies with more arguments; returns the exit code and what was said.
    pub(crate) fn apply(&self, more: &[&str]) -> (i32, String) {
        let output = self.infra(&[&["apply", &self.name, "--lab", "--yes"], more].concat());
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code().unwrap_or(-1), said)
    }

    /// Runs a shell line on the server and returns what it prints.
    pub(crate) fn shell(&self, line: &str) -> String {
        let output = self.infra(&["lab", "ssh", &self.name, line]);
        text(&output.stdout).trim_end().to_owned()
    }

    /// The same over a connection of its own; empty if none gets in within seconds.
    pub(crate) fn fresh_shell(&self, line: &str) -> String {
        self.ssh("ControlPath=none", line)
    }

    /// The same over a connection that the first call leaves open for a minute: nothing that
    /// happens to new ones matters to it.
    pub(crate) fn kept_shell(&self, line: &str) -> String {
        self.ssh(&format!("ControlPath={}/kept", self.folder.display()), line)
    }

    fn ssh(&self, control: &str, line: &str) -> String {
        let output = Command::new("ssh")
            .arg("-F")
            .arg(self.folder.join("ssh_config"))
            .args(["-o", control, "-o", "ControlMaster=auto", "-o", "ControlPersist=60"])
            .args(["-o", "ConnectTimeout=3", "-o", "BatchMode=yes", "--", &self.name, line])
            .stderr(std::process::Stdio::null())
            .output()
            .unwrap();
        text(&output.stdout).trim_end().to_owned()
    }

    /// A page, asked from this machine over HTTPS. The certificate is self-signed.
    pub(crate) fn page(&self, name: &str, path: &str) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--resolve"])
            .arg(format!("{name}:443:{}", self.address))
            .arg(format!("https://{name}{path}"))
            .output()
            .unwrap();
        text(&output.stdout) + &text(&output.stderr)
    }
}

/// Lets the lab in `folder` use the images of all labs, and keeps others away from them until the
/// result is dropped.
pub(crate) fn share_images(folder: &Path) -> MutexGuard<'static, ()> {
    let guard = IMAGES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab-images");
    fs::create_dir_all(folder).unwrap();
    fs::create_dir_all(&images).unwrap();
    // It may be there from an earlier run.
    let _ = std::os::unix::fs::symlink(images, folder.join("images"));
    guard
}

impl Drop for LabServer {
    fn drop(&mut self) {
        // A test that fails has its own failure to show.
        // The project may be gone with its test.
        self.project = PathBuf::from("/");
        self.infra(&["lab", "down"]);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
