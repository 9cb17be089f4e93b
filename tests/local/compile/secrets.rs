//! Secrets that the real `age` has encrypted, and a canary that must show up nowhere.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use infra::compile::Compiler;
use infra::inventory::{Inventory, Project};
use infra::manifest::Manifest;
use infra::secrets::{IdentitySource, Store};

const CANARY: &str = "canary-7Jq2 vX9!";
const ENCODED: &str = "Y2FuYXJ5LTdKcTIgdlg5IQ==";

/// Runs a program; that it is missing is a failure, not a reason to skip.
pub(super) fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(super) fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A project whose one server writes a secret into a file, plain and encoded.
pub(super) fn project() -> tempfile::TempDir {
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

/// Encrypts the project's secrets with `age` to the recipients in `arguments`.
pub(super) fn encrypt(root: &Path, arguments: &[&str]) {
    fs::create_dir_all(root.join("secrets")).unwrap();
    for name in ["all", "blue"] {
        let (output, input) = (format!("secrets/{name}.yaml.age"), format!("plain/{name}.yaml"));
        let mut all = vec!["--armor", "--output", &output];
        all.extend(arguments);
        all.push(&input);
        run("age", &all, root);
    }
}

pub(super) fn compile(root: &Path, source: &IdentitySource) -> Result<Manifest, String> {
    let project = Project { root: root.to_owned(), revision: None };
    let inventory = Inventory::load(&project, false, &[]).unwrap();
    let store = Store::open(root, false, source);
    let compiler = Compiler::new(&project, &inventory, &store);
    compiler.compile("web", None).map_err(|mistakes| mistakes.render(false))
}

pub(super) fn file(path: &Path) -> IdentitySource {
    IdentitySource { file: Some(path.to_owned()), ..IdentitySource::default() }
}

pub(super) fn content(manifest: &Manifest, path: &str) -> String {
    let id = format!("file:{path}");
    let resource = manifest.resources.iter().find(|resource| resource.id.to_string() == id);
    let spec = serde_json::to_value(&resource.unwrap().spec).unwrap();
    spec["File"]["content"].as_str().unwrap().to_owned()
}

fn assert_opened(manifest: &Manifest) {
    let expected = format!("PASSWORD='{CANARY}'\nHOST=from-blue\nAUTH=Basic {ENCODED}\n");
    assert_eq!(content(manifest, "/etc/app.env"), expected);
    let used: Vec<_> = manifest.resources.iter().map(|resource| resource.secrets.join()).collect();
    assert_eq!(used, ["smtp.host smtp.password", "smtp.password", ""]);
    let kept: Vec<_> = manifest.secrets.keys().map(String::as_str).collect();
    assert_eq!(kept, ["(made from secrets 0)", "smtp.host", "smtp.password"]);
    assert_eq!(manifest.secrets["(made from secrets 0)"].expose(), ENCODED.trim_matches('='));
}

trait Join {
    fn join(&self) -> String;
}

impl Join for Vec<String> {
    fn join(&self) -> String {
        self.as_slice().join(" ")
    }
}

#[test]
fn age_identities_open_what_age_encrypted() {
    let folder = project();
    let root = folder.path();
    run("age-keygen", &["--output", "identity.txt"], root);
    let identity = fs::read_to_string(root.join("identity.txt")).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    encrypt(root, &["--recipient", recipient]);
    let named = compile(root, &file(&root.join("identity.txt"))).unwrap();
    assert_opened(&named);
    let text = IdentitySource { text: Some(identity), ..IdentitySource::default() };
    assert_eq!(compile(root, &text).unwrap(), named);
    let usual = vec![root.join("missing.txt"), root.join("identity.txt")];
    let usual = IdentitySource { usual, ..IdentitySource::default() };
    assert_eq!(compile(root, &usual).unwrap(), named);
}

#[test]
fn ssh_keys_open_what_age_encrypted() {
    for (kind, bits) in [("ed25519", "256"), ("rsa", "3072")] {
        let folder = project();
        let root = folder.path();
        let arguments = ["-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f", "key"];
        run("ssh-keygen", &arguments, root);
        encrypt(root, &["--recipients-file", "key.pub"]);
        assert_opened(&compile(root, &file(&root.join("key"))).unwrap());
    }
}

#[test]
fn the_passphrase_of_a_key_is_asked_once() {
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

#[test]
fn another_identity_opens_nothing() {
    let folder = project();
    let root = folder.path();
    for name in ["mine.txt", "yours.txt"] {
        run("age-keygen", &["--output", name], root);
    }
    let yours = fs::read_to_string(root.join("yours.txt")).unwrap();
    let recipient = yours.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    encrypt(root, &["--recipient", recipient]);
    let mistake = compile(root, &file(&root.join("mine.txt"))).unwrap_err();
    let expected = format!(
        "error: cannot open `secrets/blue.yaml.age`\n\
         caused by: it is not encrypted to `{}`\n\
         caused by: the secret `smtp` is in no file that is open\n\
         hint: name another identity with `--identity`, or ask one of its recipients to add you \
         to `secrets/recipients.yaml` and to run `infra secrets rekey`",
        root.join("mine.txt").display()
    );
    assert_eq!(mistake, expected);
    // A command that needs no values goes on with placeholders.
    let project = Project { root: root.to_owned(), revision: None };
    let inventory = Inventory::load(&project, false, &[]).unwrap();
    let store = Store::open_leniently(root, false, &file(&root.join("mine.txt")));
    let manifest = Compiler::new(&project, &inventory, &store).compile("web", None).unwrap();
    assert!(store.used_placeholders());
    assert!(content(&manifest, "/etc/app.env").contains("(secret smtp.password)"));
}

#[test]
fn without_any_identity_placeholders_stand_in() {
    let folder = project();
    let manifest = compile(folder.path(), &IdentitySource::default()).unwrap();
    assert_eq!(
        content(&manifest, "/etc/app.env"),
        "PASSWORD='(secret smtp.password)'\nHOST=(secret smtp.host)\n\
         AUTH=Basic KHNlY3JldCBzbXRwLnBhc3N3b3JkKQ==\n"
    );
    assert_eq!(manifest.resources[0].secrets, ["smtp.host", "smtp.password"]);
    assert!(manifest.resources[2].secrets.is_empty());
}

#[test]
fn files_that_nobody_needs_stay_closed() {
    let folder = project();
    let root = folder.path();
    write(root, "secrets/all.yaml.age", "this is no age file\n");
    write(root, "inventory/web.yaml", "roles: { plain: {} }\n");
    write(root, "roles/plain/role.yaml", "resources:\n  - package: nginx\n");
    run("age-keygen", &["--output", "identity.txt"], root);
    assert_eq!(compile(root, &file(&root.join("identity.txt"))).unwrap().resources.len(), 1);
}

/// Everything that is shown about a project in which mistakes hold a secret's value.
#[test]
fn a_secret_shows_up_nowhere() {
    let folder = project();
    let root = folder.path();
    run("age-keygen", &["--output", "identity.txt"], root);
    let identity = fs::read_to_string(root.join("identity.txt")).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    encrypt(root, &["--recipient", recipient]);
    let source = file(&root.join("identity.txt"));
    let manifest = compile(root, &source).unwrap();
    assert!(!format!("{manifest:?}").contains(CANARY));

    for args in [vec!["render", "web"], vec!["render", "web", "--output", "json"], vec!["check"]] {
        let output = assert_cmd::Command::cargo_bin("infra")
            .unwrap()
            .args(["--project", root.to_str().unwrap()])
            .args(["--identity", root.join("identity.txt").to_str().unwrap()])
            .args(&args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(CANARY) && !text.contains("Y2FuYXJ5"), "{args:?}: {text}");
        assert!(args[0] == "check" || text.contains("HOST=(secret)"), "{args:?}: {text}");
    }

    let wrong = [
        "params: { n: { type: integer, default: \"{{ secrets.smtp.password }}\" } }",
        "params: { e: { type: enum, values: [a], default: \"{{ secrets.smtp.password }}\" } }",
        "resources: [ file: { path: /x, content: a, mode: \"{{ secrets.smtp.password }}\" } ]",
        "resources: [ file: { path: /x, content: a, state: \"{{ secrets.smtp.password }}\" } ]",
        "resources: [ file: { path: \"/{{ secrets.smtp.password }}\", content: a } ]",
        "resources: [ file: { path: /x, content: \"{{ secrets.smtp.password | int }}\" } ]",
        "resources: [ file: { path: /x, content: \"{{ secrets.smtp.password + 1 }}\" } ]",
        "resources: [ file: { path: /x, template: \"{{ secrets.smtp.password }}\" } ]",
        "resources: [ { for_each: secrets.smtp.password, package: a } ]",
        "resources: [ { package: a, reload: \"{{ secrets.smtp.password }}\" } ]",
        "resources: [ { package: a, requires: \"{{ secrets.smtp.password }}\" } ]",
        "assert: [ { that: false, message: \"no {{ secrets.smtp.password }}\" } ]",
    ];
    for role in wrong {
        write(root, "roles/app/role.yaml", role);
        let text = compile(root, &source).map(|_| ()).unwrap_err();
        assert!(text.starts_with("error: ") && !text.contains("7Jq2"), "{role}: {text}");
    }
}

/// What a placeholder does not allow, the secret may: no mistake, and the use is known.
#[test]
fn what_a_placeholder_does_not_allow_is_no_mistake() {
    let folder = project();
    let root = folder.path();
    for expression in [
        "secrets.smtp.password[:10]",
        "secrets.smtp.password | reverse",
        "secrets.smtp.port + 1",
        "secrets.smtp.port | int",
        "secrets.smtp.hosts | join('a')",
        "(secrets.smtp.password ~ 'x')[2:] | upper",
    ] {
        let role = format!(
            "resources: [ file: {{ path: /x, content: \"a {{{{ {expression} }}}}\", mode: \"0600\" }} ]"
        );
        write(root, "roles/app/role.yaml", &role);
        let manifest = compile(root, &IdentitySource::default()).unwrap();
        let used = &manifest.resources[0].secrets;
        assert!(used.len() == 1 && used[0].starts_with("smtp."), "{expression}: {used:?}");
    }
    let role = "resources: [ file: { path: /x, content: \"{{ secrets.a[:1] ~ unknown }}\" } ]";
    write(root, "roles/app/role.yaml", role);
    let mistake = compile(root, &IdentitySource::default()).map(drop).unwrap_err();
    assert!(mistake.starts_with("error: "), "{mistake}");
}

/// Encrypts `all.yaml`, and returns where the identity is that opens it.
pub(super) fn with_secrets(root: &Path, all: &str) -> IdentitySource {
    run("age-keygen", &["--output", "identity.txt"], root);
    let identity = fs::read_to_string(root.join("identity.txt")).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    write(root, "plain/all.yaml", all);
    write(root, "plain/blue.yaml", "{}\n");
    encrypt(root, &["--recipient", recipient]);
    file(&root.join("identity.txt"))
}

/// The `item` of a loop is as secret as what it came from.
#[test]
fn loops_over_secrets_keep_track_of_them() {
    let folder = project();
    let root = folder.path();
    let source = with_secrets(root, "keys: { a: canary-one-7Jq2, b: canary-two-7Jq2 }\n");
    let role =
        "resources: [ { for_each: \"{{ {secrets.keys.a: 1} }}\", package: \"{{ key }}\" } ]\n";
    write(root, "roles/app/role.yaml", role);
    let mistake = compile(root, &source).map(drop).unwrap_err();
    assert!(mistake.contains("the secret `keys.a` may not be in `name`"), "{mistake}");
    let loops = [
        "[ \"{{ secrets.keys.a }}\", \"{{ secrets.keys.b }}\" ]",
        "secrets.keys",
        "\"{{ [secrets.keys.a, secrets.keys.b] }}\"",
        "\"{{ secrets.keys | items | map('last') | list }}\"",
        "\"{{ {'x': secrets.keys.a, 'y': secrets.keys.b} }}\"",
    ];
    for list in loops {
        for (resource, message) in [
            (
                "command: { name: \"{{ key }}\", run: [echo, \"{{ item }}\"], unless: [\"true\"] }",
                "may not be in `run`",
            ),
            ("file: { path: \"/{{ item }}\", content: a }", "may not be in `path`"),
            (
                "file: { path: \"/{{ key }}\", content: \"{{ item }}\" }",
                "everybody on the server could read the secret",
            ),
        ] {
            let role = format!("resources: [ {{ for_each: {list}, {resource} }} ]\n");
            write(root, "roles/app/role.yaml", &role);
            let mistake = compile(root, &source).map(drop).unwrap_err();
            assert!(mistake.contains(message) && !mistake.contains("7Jq2"), "{role}: {mistake}");
        }
        let role = format!(
            "resources: [ {{ for_each: {list}, file: {{ path: \"/{{{{ key }}}}\", mode: \"0600\", \
             content: \"{{{{ item | b64encode }}}}\" }} }} ]\n"
        );
        write(root, "roles/app/role.yaml", &role);
        let manifest = compile(root, &source).unwrap();
        let used = manifest.resources[1].secrets.join();
        assert!(used.contains("keys.b"), "{role}: {used}");
        // `canary-one-7Jq2` and the other, encoded.
        let made = manifest.secrets.values().filter(|value| value.expose().starts_with("Y2FuYXJ5"));
        assert_eq!(made.count(), 2, "{role}");
    }
}

/// Where a comparison with other values says nothing, all of a content may be a secret.
#[test]
fn what_cannot_be_compared_is_hidden_whole() {
    let folder = project();
    let root = folder.path();
    let secrets = "pin: \"482913\"\nencoded: Y2FuYXJ5IG9uZQ==\nshort: xyz\nmarks: \"!?!?!\"\n\
                   accents: \"éèàüôï\"\nempty: \"\"\nlong: canary-one-7Jq2\n";
    let source = with_secrets(root, secrets);
    for (content, is_untraceable, masked) in [
        ("a={{ secrets.long }}", false, ""),
        ("a={{ secrets.long | upper }}", false, "CANARY-ONE-7JQ2"),
        ("code = {{ secrets.pin[:4] }}", false, "code = 4829"),
        ("p {{ secrets.pin[:4] }}", true, ""),
        ("{{ secrets.encoded | b64decode }}", true, "canary one"),
        ("{{ secrets.short }}", true, ""),
        ("{{ secrets.marks | b64encode }}", true, "IT8hPyE="),
        ("{{ secrets.accents | b64encode }}", false, "w6nDqMOgw7zDtMOv"),
        ("x{{ secrets.empty }}", false, ""),
    ] {
        let role = format!(
            "resources: [ file: {{ path: /x, mode: \"0600\", content: \"{content}\" }} ]\n"
        );
        write(root, "roles/app/role.yaml", &role);
        let manifest = compile(root, &source).unwrap();
        assert_eq!(manifest.resources[0].is_untraceable, is_untraceable, "{content}");
        let made: Vec<&str> = manifest
            .secrets
            .iter()
            .filter(|(name, _)| name.starts_with("(made"))
            .map(|(_, value)| value.expose())
            .collect();
        assert_eq!(made.concat(), masked, "{content}");
    }
}
