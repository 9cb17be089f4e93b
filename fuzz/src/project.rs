//! A project in a folder of its own, whose files are replaced by those of each input.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use infra::compile::Compiler;
use infra::diagnostic::Diagnostics;
use infra::inventory::{Inventory, Project as Opened};
use infra::manifest::Manifest;
use infra::secrets::{Folder, IdentitySource, Store};

use crate::{IDENTITY, parts};

/// Files that an input is made of.
const FILES: [&str; 5] = [
    "inventory/web.yaml",
    "inventory/groups/all.yaml",
    "roles/demo/role.yaml",
    "roles/demo/templates/own.j2",
    "templates/shared.j2",
];

/// The content of the project's file of secrets.
const SECRETS: &str = "smtp: { password: hunter2-correct-horse, port: 587 }\nempty: \"\"\n";

/// Nothing but the file of secrets may hold this.
const SECRET: &str = "hunter2-correct-horse";

/// A project with a server `web`, which has the role `demo`.
pub struct Project {
    folder: tempfile::TempDir,
    store: Store,
    /// The content of each file: most inputs differ from the one before in a single file.
    written: RefCell<[Vec<u8>; FILES.len()]>,
}

impl Project {
    /// A project with secrets and nothing else.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in FILES {
            fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
        }
        fs::create_dir(folder.path().join("secrets")).unwrap();
        let key = IDENTITY.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        let recipients = format!("recipients: {{ ada: {{ key: {key} }} }}\n");
        fs::write(folder.path().join("secrets/recipients.yaml"), recipients).unwrap();
        let source =
            IdentitySource { text: Some(IDENTITY.to_owned()), ..IdentitySource::default() };
        let secrets = Folder::new(folder.path(), &source);
        let bytes = secrets.encrypt("all", None, SECRETS).unwrap();
        fs::write(secrets.file("all"), bytes).unwrap();
        let store = Store::open(folder.path(), false, &source);
        let project = Self { folder, store, written: RefCell::default() };
        FILES.iter().for_each(|name| project.write(name, b""));
        project
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Compiles the files of an input twice: with placeholders for secrets, and with values.
    pub fn compile(&self, input: &[u8]) -> Result<Manifest, Diagnostics> {
        let mut written = self.written.borrow_mut();
        let parts = parts::<{ FILES.len() }>(input);
        for ((name, content), last) in FILES.iter().zip(parts).zip(written.iter_mut()) {
            if *last != content {
                self.write(name, content);
                content.clone_into(last);
            }
        }
        let project = Opened::open(self.folder.path()).unwrap();
        let _ = compiled(&project, &Store::placeholders());
        let result = compiled(&project, &self.store);
        if let Err(mistakes) = &result {
            let text = mistakes.render(false);
            let is_written = input.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(is_written || !text.contains(SECRET), "a mistake shows a secret: {text}");
        }
        result
    }
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

/// The manifest of a server with a resource of every kind that a small project has.
pub fn manifest() -> Manifest {
    let manifest = Project::new().compile(include_bytes!("../corpus/template/demo"));
    manifest.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)))
}

fn compiled(project: &Opened, store: &Store) -> Result<Manifest, Diagnostics> {
    let inventory = Inventory::load(project, false, &[])?;
    Compiler::new(project, &inventory, store).compile("web", None)
}
