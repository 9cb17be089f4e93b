//! `infra secrets` as a user runs it, beside the real `age` and `git`.

pub(crate) mod age;
pub(crate) mod edit;
pub(crate) mod git;
pub(crate) mod kill;
pub(crate) mod others;
pub(crate) mod process;
pub(crate) mod readers;
pub(crate) mod rekey;
mod stages;
pub(crate) mod values;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A project with one recipient, `me`, whose identity is the file `key` of the project.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

/// The output of a program, and how the program ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Project {
    pub(crate) fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        project.write("inventory/web.yaml", "description: the only one\n");
        project.run("age-keygen", &["-o", "key"], "");
        let key = recipient(&project.read("key"));
        project
            .write("secrets/recipients.yaml", &format!("recipients: {{ me: {{ key: {key} }} }}\n"));
        project
    }

    /// The same with a text in `secrets/all.yaml.age`, encrypted by `age`.
    pub(crate) fn with(text: &str) -> Self {
        let project = Self::new();
        let key = recipient(&project.read("key"));
        let said = project.run("age", &["-a", "-r", &key], text);
        project.write("secrets/all.yaml.age", &said.out);
        project
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// An editor: a script that gets the file as `$1`. It runs with the project as its folder.
    pub(crate) fn editor(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("editor");
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let built = Path::new(env!("CARGO_BIN_EXE_infra")).parent().unwrap();
        let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap());
        command.current_dir(self.folder.path()).env_clear().env("PATH", path);
        command.env("HOME", self.folder.path()).env("INFRA_IDENTITY_FILE", self.path("key"));
        command.env("EDITOR", self.path("editor")).env("TMPDIR", self.folder.path());
        command.env("NO_COLOR", "1").env("TERM", "xterm");
        command
    }

    /// Runs a program that must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(program);
        let said = say(command.args(arguments), input);
        assert_eq!(said.code, 0, "{program} {arguments:?}: {}{}", said.out, said.err);
        said
    }

    /// Runs `infra secrets`, without a terminal.
    pub(crate) fn secrets(&self, arguments: &[&str], input: &str) -> Said {
        say(self.command(env!("CARGO_BIN_EXE_infra")).arg("secrets").args(arguments), input)
    }

    /// Runs a shell line on a terminal, where `typed` is typed. `out` is the screen.
    pub(crate) fn terminal(&self, line: &str, typed: &str) -> Said {
        say(
            self.command("script").args(["--quiet", "--return", "--command", line, "/dev/null"]),
            typed,
        )
    }

    /// The text that `age` reads in a file of secrets.
    pub(crate) fn opened(&self, name: &str) -> String {
        let file = format!("secrets/{name}.yaml.age");
        self.run("age", &["--decrypt", "--identity", "key", &file], "").out
    }
}

/// The public key in a file of `age-keygen`.
pub(crate) fn recipient(key: &str) -> String {
    key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
}

fn say(command: &mut Command, input: &str) -> Said {
    let spawned =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    // A program that does not read closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}
