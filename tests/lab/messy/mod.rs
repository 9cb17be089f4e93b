//! Servers that others have lived on: what was there before infra, and what somebody does beside it.

pub(crate) mod attributes;
pub(crate) mod bytes;
pub(crate) mod effect;
pub(crate) mod git;
pub(crate) mod names;
pub(crate) mod units;

use std::fs;

use tempfile::TempDir;

use crate::support::LabServer;

/// A server, and a project whose only role the test writes anew as often as needed.
pub(crate) struct Ground {
    folder: TempDir,
    /// The server.
    pub(crate) server: LabServer,
}

impl Ground {
    /// A bare server with the release `os`, and a role that declares nothing.
    pub(crate) fn new(os: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["inventory", "roles/demo"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let inventory = "ssh: { host: old.example.org }\nroles: { demo: {} }\n";
        fs::write(folder.path().join("inventory/old.yaml"), inventory).unwrap();
        fs::write(folder.path().join("roles/demo/role.yaml"), "resources: []\n").unwrap();
        let server = LabServer::bare("old", os, folder.path());
        Self { folder, server }
    }

    /// Makes `resources`, a YAML list, all that the role declares.
    pub(crate) fn declare(&self, resources: &str) {
        let role = format!("resources:\n{resources}");
        fs::write(self.folder.path().join("roles/demo/role.yaml"), role).unwrap();
    }

    /// The exit code of a plan, and all that it says.
    pub(crate) fn diff(&self) -> (i32, String) {
        self.server.lab.say(&["diff", "old", "--lab"])
    }
}
