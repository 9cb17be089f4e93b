//! Files that only `age` has encrypted, to keys of `age-keygen` and `ssh-keygen`: whether they
//! open, and how far their readers can be told.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use infra::secrets::IdentitySource;

use super::{Project, recipient};

#[path = "../../support/web_project.rs"]
mod web_project;

use web_project::{assert_opened, compile, file, project};

crate::tests! {
    age_identities_open_files_that_age_encrypted,
    ssh_keys_open_files_that_age_encrypted,
    the_passphrase_of_a_key_is_asked_for_once,
    readers_in_files_of_other_programs_are_compared_by_kind_and_count,
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Encrypts the secrets of the project with `age` to the recipients in `arguments`.
fn encrypt(root: &Path, arguments: &[&str]) {
    fs::create_dir_all(root.join("secrets")).unwrap();
    for name in ["all", "blue"] {
        let (output, input) = (format!("secrets/{name}.yaml.age"), format!("plain/{name}.yaml"));
        let mut all = vec!["--armor", "--output", &output];
        all.extend(arguments);
        all.push(&input);
        run("age", &all, root);
    }
}

fn age_identities_open_files_that_age_encrypted() {
    let folder = project();
    let root = folder.path();
    run("age-keygen", &["--output", "identity.txt"], root);
    let identity = fs::read_to_string(root.join("identity.txt")).unwrap();
    encrypt(root, &["--recipient", &recipient(&identity)]);
    let named = compile(root, &file(&root.join("identity.txt"))).unwrap();
    assert_opened(&named);
    let text = IdentitySource { text: Some(identity), ..IdentitySource::default() };
    assert_eq!(compile(root, &text).unwrap(), named);
    let usual = vec![root.join("missing.txt"), root.join("identity.txt")];
    let usual = IdentitySource { usual, ..IdentitySource::default() };
    assert_eq!(compile(root, &usual).unwrap(), named);
}

fn ssh_keys_open_files_that_age_encrypted() {
    for (kind, bits) in [("ed25519", "256"), ("rsa", "3072")] {
        let folder = project();
        let root = folder.path();
        let arguments = ["-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f", "key"];
        run("ssh-keygen", &arguments, root);
        encrypt(root, &["--recipients-file", "key.pub"]);
        assert_opened(&compile(root, &file(&root.join("key"))).unwrap());
    }
}

fn the_passphrase_of_a_key_is_asked_for_once() {
    let folder = project();
    let root = folder.path();
    let arguments = ["-q", "-t", "ed25519", "-N", "sesame", "-C", "", "-f", "key"];
    run("ssh-keygen", &arguments, root);
    encrypt(root, &["--recipients-file", "key.pub"]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut source = file(&root.join("key"));
    source.ask = Some(Arc::new(move |question| {
        count.fetch_add(1, Ordering::Relaxed);
        assert!(question.is_ascii(), "{question}");
        Some("sesame".to_owned())
    }));
    assert_opened(&compile(root, &source).unwrap());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

fn readers_in_files_of_other_programs_are_compared_by_kind_and_count() {
    let project = Project::new();
    project.write("inventory/web.yaml", "roles: {}\n");
    project.run("age-keygen", &["-o", "bobs"], "");
    let [ada, bob] = ["key", "bobs"].map(|file| recipient(&project.read(file)));
    let encrypt = |keys: &[&str]| {
        let recipients = keys.iter().flat_map(|key| ["--recipient", *key]);
        let arguments: Vec<&str> = std::iter::once("--armor").chain(recipients).collect();
        let said = project.run("age", &arguments, "a: b\n");
        project.write("secrets/all.yaml.age", &said.out);
    };
    let check = || super::say(project.command("infra").arg("check"), "").err;
    let cause = || check().lines().nth(1).map(str::to_owned);
    let list = format!("recipients:\n  ada: {{ key: {ada} }}\n  bob: {{ key: {bob} }}\n");
    project.write("secrets/recipients.yaml", &list);
    encrypt(&[&ada, &bob]);
    assert_eq!(cause(), None);
    encrypt(&[&ada]);
    assert_eq!(cause().unwrap(), "caused by: it is encrypted to 1 age key, not 2 age keys");
    let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";
    let list = format!("recipients:\n  ada: {{ key: {ada} }}\n  eve: {{ key: {ssh} }}\n");
    project.write("secrets/recipients.yaml", &list);
    encrypt(&[&ada, ssh]);
    assert_eq!(cause(), None);
    encrypt(&[&ada, &bob]);
    assert_eq!(
        cause().unwrap(),
        "caused by: it is encrypted to 2 age keys, not 1 age key, `ssh-ed25519 PYX4ow`"
    );
    project.write("secrets/all.yaml.age", "nonsense");
    assert_eq!(check(), "error: `secrets/all.yaml.age` is no file of age's\n");
}
