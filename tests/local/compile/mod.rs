//! Whole projects, compiled: each folder of `cases/` and of `examples/` has the manifests it must
//! become in `expected/`. `UPDATE=1 cargo test projects` writes what came out instead of
//! comparing; read it before committing.

mod secrets;
mod shapes;
#[path = "../../support/web_project.rs"]
mod web_project;

use std::fs;
use std::path::{Path, PathBuf};

use infra::compile::Compiler;
use infra::diagnostic::Diagnostics;
use infra::inventory::{Inventory, Project};
use infra::manifest::Manifest;
use infra::secrets::{IdentitySource, Store};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folders in `folder`, sorted. A folder without cases is a mistake in the test itself.
fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    cases
}

/// Compiles every server of a project; in the lab if it has secrets for the lab.
fn compile(root: &Path) -> Result<Vec<Manifest>, Diagnostics> {
    let project = Project { root: root.to_owned(), revision: None };
    let lab = root.join("secrets/lab.yaml.age").is_file();
    let inventory = Inventory::load(&project, lab, &[])?;
    let store = Store::open(root, lab, &IdentitySource::default());
    let compiler = Compiler::new(&project, &inventory, &store);
    let mut mistakes = Diagnostics::new();
    let mut manifests = Vec::new();
    for name in inventory.servers.keys() {
        match compiler.compile(name, None) {
            Ok(manifest) => manifests.push(manifest),
            Err(found) => mistakes.extend(found),
        }
    }
    mistakes.into_result(manifests)
}

/// The resources of a manifest without what is empty, `null` or `false` in them.
fn written(manifest: &Manifest) -> String {
    let mut value = serde_json::to_value(&manifest.resources).unwrap();
    prune(&mut value);
    serde_yaml::to_string(&value).unwrap()
}

fn prune(value: &mut serde_json::Value) {
    use serde_json::Value;
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| !says_nothing(value));
        }
        _ => {}
    }
}

/// Compares with the text of a file, or writes it.
fn compare(path: &Path, found: &str, different: &mut Vec<String>) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, found).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    if expected != found {
        let name = path.strip_prefix(root()).unwrap_or(path).display();
        let diff = similar::TextDiff::from_lines(&expected, found);
        different.push(format!("{name}\n{}", diff.unified_diff().context_radius(2)));
    }
}

#[test]
fn projects_become_manifests() {
    let mut different = Vec::new();
    let mut folders = cases(&root().join("tests/local/compile/cases"));
    folders.extend(cases(&root().join("examples")));
    for case in folders {
        let manifests = compile(&case).unwrap_or_else(|mistakes| {
            panic!("{} does not compile:\n{}", case.display(), mistakes.render(false))
        });
        assert!(!manifests.is_empty(), "{} has no server", case.display());
        let again = compile(&case).unwrap();
        assert_eq!(manifests, again, "{} does not compile to the same twice", case.display());
        for manifest in manifests {
            let path = case.join(format!("expected/{}.yaml", manifest.server));
            compare(&path, &written(&manifest), &mut different);
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
