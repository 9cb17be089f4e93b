//! A small project whose one server writes secrets into files, as the library compiles it.

use std::fs;
use std::path::Path;

use infra::compile::Compiler;
use infra::inventory::{Inventory, Project};
use infra::manifest::Manifest;
use infra::secrets::{IdentitySource, Store};

pub(crate) const CANARY: &str = "canary-7Jq2 vX9!";
const ENCODED: &str = "Y2FuYXJ5LTdKcTIgdlg5IQ==";

/// Writes a file of the project.
pub(crate) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A project whose one server writes a secret into a file, plain and encoded.
pub(crate) fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "inventory/web.yaml", "groups: [blue]\nroles: { app: {} }\n");
    write(root, "inventory/groups/blue.yaml", "description: blue ones\n");
    write(
        root,
        "roles/app/role.yaml",
        "resources:\n\
         \x20 - file: { path: /etc/app.env, template: app.env.j2, mode: \"0600\" }\n\
         \x20 - file:\n\
         \x20     path: /etc/app.auth\n\
         \x20     content: \"{{ secrets.smtp.password | b64encode }}\"\n\
         \x20     mode: \"0600\"\n\
         \x20 - file: { path: /etc/plain, content: nothing }\n",
    );
    write(
        root,
        "roles/app/templates/app.env.j2",
        "PASSWORD={{ secrets.smtp.password | env_quote }}\nHOST={{ secrets.smtp.host }}\n\
         AUTH=Basic {{ secrets.smtp.password | b64encode }}\n",
    );
    let text = format!("smtp:\n  password: \"{CANARY}\"\n  host: from-all\n");
    write(root, "plain/all.yaml", &text);
    write(root, "plain/blue.yaml", "smtp: { host: from-blue }\n");
    folder
}

/// Compiles the server with the identities of `source`.
pub(crate) fn compile(root: &Path, source: &IdentitySource) -> Result<Manifest, String> {
    let project = Project { root: root.to_owned(), revision: None };
    let inventory = Inventory::load(&project, false, &[]).unwrap();
    let store = Store::open(root, false, source);
    let compiler = Compiler::new(&project, &inventory, &store);
    compiler.compile("web", None).map_err(|mistakes| mistakes.render(false))
}

/// The identity in a file.
pub(crate) fn file(path: &Path) -> IdentitySource {
    IdentitySource { file: Some(path.to_owned()), ..IdentitySource::default() }
}

/// The content of a file on the server.
pub(crate) fn content(manifest: &Manifest, path: &str) -> String {
    let id = format!("file:{path}");
    let resource = manifest.resources.iter().find(|resource| resource.id.to_string() == id);
    let spec = serde_json::to_value(&resource.unwrap().spec).unwrap();
    spec["File"]["content"].as_str().unwrap().to_owned()
}

/// The server has the real values, and the manifest says where each is used.
pub(crate) fn assert_opened(manifest: &Manifest) {
    let expected = format!("PASSWORD='{CANARY}'\nHOST=from-blue\nAUTH=Basic {ENCODED}\n");
    assert_eq!(content(manifest, "/etc/app.env"), expected);
    let used: Vec<_> =
        manifest.resources.iter().map(|resource| resource.secrets.join(" ")).collect();
    assert_eq!(used, ["smtp.host smtp.password", "smtp.password", ""]);
    let kept: Vec<_> = manifest.secrets.keys().map(String::as_str).collect();
    assert_eq!(kept, ["(made from secrets 0)", "smtp.host", "smtp.password"]);
    assert_eq!(manifest.secrets["(made from secrets 0)"].expose(), ENCODED.trim_matches('='));
}
