//! Secrets that are encrypted as `age` does it, and a canary that must show up nowhere.

use std::fs;
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use infra::compile::Compiler;
use infra::inventory::{Inventory, Project};
use infra::secrets::{IdentitySource, Store};

use super::web_project::{CANARY, assert_opened, compile, content, file, project, write};

/// Makes an identity in the file `name`; returns its public key.
pub(super) fn keygen(root: &Path, name: &str) -> age::x25519::Recipient {
    let identity = age::x25519::Identity::generate();
    write(root, name, &format!("{}\n", identity.to_string().expose_secret()));
    identity.to_public()
}

/// Encrypts a file of the folder `plain`, without the record of readers that infra adds.
pub(super) fn encrypt_file(root: &Path, name: &str, key: &age::x25519::Recipient) {
    let text = fs::read(root.join(format!("plain/{name}.yaml"))).unwrap();
    let encrypted = age::encrypt_and_armor(key, &text).unwrap();
    write(root, &format!("secrets/{name}.yaml.age"), &encrypted);
}

/// Encrypts all secrets of the project.
pub(super) fn encrypt(root: &Path, key: &age::x25519::Recipient) {
    encrypt_file(root, "all", key);
    encrypt_file(root, "blue", key);
}

#[test]
fn an_identity_opens_secrets_wherever_it_is_named() {
    let folder = project();
    let root = folder.path();
    encrypt(root, &keygen(root, "identity.txt"));
    let named = compile(root, &file(&root.join("identity.txt"))).unwrap();
    assert_opened(&named);
    let identity = fs::read_to_string(root.join("identity.txt")).unwrap();
    let text = IdentitySource { text: Some(identity), ..IdentitySource::default() };
    assert_eq!(compile(root, &text).unwrap(), named);
    let usual = vec![root.join("missing.txt"), root.join("identity.txt")];
    let usual = IdentitySource { usual, ..IdentitySource::default() };
    assert_eq!(compile(root, &usual).unwrap(), named);
}

#[test]
fn another_identity_opens_nothing() {
    let folder = project();
    let root = folder.path();
    keygen(root, "mine.txt");
    encrypt(root, &keygen(root, "yours.txt"));
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
    keygen(root, "identity.txt");
    assert_eq!(compile(root, &file(&root.join("identity.txt"))).unwrap().resources.len(), 1);
}

/// Everything that is shown about a project in which mistakes hold a secret's value.
#[test]
fn a_secret_shows_up_nowhere() {
    let folder = project();
    let root = folder.path();
    encrypt(root, &keygen(root, "identity.txt"));
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

/// The secret may allow operations that its placeholder does not: no mistake, and the use is known.
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
    write(root, "plain/all.yaml", all);
    write(root, "plain/blue.yaml", "{}\n");
    encrypt(root, &keygen(root, "identity.txt"));
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
        let used = manifest.resources[1].secrets.join(" ");
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
