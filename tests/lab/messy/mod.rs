//! Servers that others have lived on: what they left is read as the programs of the server read it.

pub(crate) mod accounts;
pub(crate) mod attributes;
pub(crate) mod before;
pub(crate) mod bytes;
pub(crate) mod clusters;
pub(crate) mod effect;
pub(crate) mod git;
pub(crate) mod locales;
pub(crate) mod login;
pub(crate) mod names;
pub(crate) mod packages;
pub(crate) mod services;
pub(crate) mod storage;
pub(crate) mod units;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::LabServer;

/// A server with one role, which a test declares anew as often as it likes.
struct Ground {
    server: LabServer,
    project: TempDir,
}

impl Ground {
    fn new(os: &str) -> Self {
        Self::holding(os, "")
    }

    /// A server that has the devices of the volumes among these resources.
    fn holding(os: &str, resources: &str) -> Self {
        let project = tempfile::tempdir().unwrap();
        for part in ["inventory", "roles/ground"] {
            fs::create_dir_all(project.path().join(part)).unwrap();
        }
        let inventory = "ssh: { host: ground.example.org }\nroles: { ground: {} }\n";
        fs::write(project.path().join("inventory/ground.yaml"), inventory).unwrap();
        write_role(project.path(), "ground", resources);
        let server = LabServer::bare("ground", os, project.path());
        Self { server, project }
    }

    /// Declares these resources and no others.
    fn declare(&self, resources: &str) {
        self.role("ground", resources);
    }

    /// Gives the server a second role, of these resources.
    fn add_role(&self, name: &str, resources: &str) {
        fs::create_dir_all(self.project.path().join("roles").join(name)).unwrap();
        self.role(name, resources);
        let inventory = format!(
            "ssh: {{ host: ground.example.org }}\nroles: {{ ground: {{}}, {name}: {{}} }}\n"
        );
        fs::write(self.project.path().join("inventory/ground.yaml"), inventory).unwrap();
    }

    fn role(&self, name: &str, resources: &str) {
        write_role(self.project.path(), name, resources);
    }

    /// Applies these resources and no others, after which nothing is left to do. Returns the plan.
    fn hold(&self, resources: &str) -> String {
        self.declare(resources);
        let plan = self.server.plan(&[]);
        self.server.converge(&[]);
        self.server.has_nothing_to_do(&[]);
        plan
    }

    /// The exit code of a plan, and all that it says.
    fn diff(&self) -> (i32, String) {
        self.server.lab.say(&["diff", "ground", "--lab"])
    }

    /// The plan and what is said of it, where these resources cannot be planned.
    fn refused(&self, resources: &str) -> String {
        self.declare(resources);
        let (code, said) = self.diff();
        assert_eq!(code, 3, "{said}");
        said
    }
}

fn write_role(project: &Path, name: &str, resources: &str) {
    let role = format!("description: what the test declares\nresources:\n{resources}");
    let role = if resources.is_empty() { format!("{} []\n", role.trim_end()) } else { role };
    fs::write(project.join(format!("roles/{name}/role.yaml")), role).unwrap();
}
