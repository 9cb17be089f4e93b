//! An editor that waits at each stage of its work until the test lets it go on.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::Project;
use crate::support::wait_until;

/// `stage NAME` tells the test where the editor is, and waits.
const STAGE: &str = "stage() { : > \"$STAGES/$1\"; read -r word < \"$STAGES/go\"; }";

/// Makes the editor of the project a script that may use `stage`.
pub(super) fn editor(project: &Project, script: &str) {
    project.editor(&format!("{STAGE}\n{script}"));
}

/// The stages of one run of the editor. An editor that still waits when they are dropped ends.
pub(super) struct Stages {
    folder: tempfile::TempDir,
    /// A pipe: each line in it lets the editor leave one stage.
    go: File,
}

impl Stages {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("go");
        mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).unwrap();
        // Open for both, so that the editor need not wait for somebody to open the other end.
        let go = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Self { folder, go }
    }

    /// Tells the editor that `command` will start where its stages are.
    pub(super) fn of(&self, command: &mut Command) {
        command.env("STAGES", self.folder.path());
    }

    /// Waits until the editor is at a stage.
    pub(super) fn wait_for(&self, stage: &str) {
        let file = self.folder.path().join(stage);
        wait_until(&format!("the editor to be at the stage `{stage}`"), || file.exists());
    }

    /// Lets the editor leave the stage where it is, or the next one that it reaches.
    pub(super) fn go_on(&self) {
        (&self.go).write_all(b"go on\n").unwrap();
    }
}
