//! `infra secrets import`. The vaults were written by ansible-vault 2.19 itself, but for that of
//! the format 1.0, which no ansible writes any more: it and the files of SOPS were written by
//! independent programs, from the sources of ansible 1.5 and of sops 3.9.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::files_holding;

/// A project that encrypts everything to `tests/local/import/identity.txt`.
struct Project(tempfile::TempDir);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local/import").join(name)
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inventory")).unwrap();
        fs::write(folder.path().join("inventory/web.yaml"), "roles: {}\n").unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        let identity = fs::read_to_string(data("identity.txt")).unwrap();
        let key = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        let text = format!("recipients: {{ ada: {{ key: {key} }} }}\n");
        fs::write(folder.path().join("secrets/recipients.yaml"), text).unwrap();
        // The same folder for every test, so that errors can be compared as a whole.
        std::os::unix::fs::symlink(data(""), folder.path().join("old")).unwrap();
        Self(folder)
    }

    fn infra(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_infra"))
            .args(arguments)
            .arg("--identity")
            .arg(data("identity.txt"))
            .current_dir(self.0.path())
            .env_remove("ANSIBLE_VAULT_PASSWORD_FILE")
            .env("TMPDIR", self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Imports with both passwords.
    fn import(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut all = vec!["secrets", "import", "--vault-password-file", "old/password.txt"];
        all.extend(["--vault-id", "dev@old/dev-password.txt"]);
        all.extend(arguments);
        self.infra(&all)
    }

    /// No line of `text` is in a file of the project, the folder for temporary files among them.
    fn holds_no_plaintext(&self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| line.len() > 6) {
            let found = files_holding(self.0.path(), line.as_bytes());
            assert!(found.is_empty(), "`{line}` is in {found:?}");
        }
    }

    fn show(&self) -> String {
        self.infra(&["secrets", "show"]).1
    }
}

const SOPS: &str = "\
smtp:
  password: \"sops: é \\\"1\\\"\"
  port: 587
  tls: true
  factor: 0.5
keys:
  - one
  - two
empty: \"\"
";

const INLINE: &str = "\
database:
  password: hunter2
  users:
    -
      name: ada
      password: |-
        ada: \"secret\"
        line
    -
      name: bob
    -
      password: |-
        ada: \"secret\"
        line
      name: eve
";

#[test]
fn every_format_gives_its_secrets() {
    let whole = "---\n# The mail server.\nsmtp:\n  password: \"vault: é 1\"\n  port: 587\ncert: |\n  \
                 -----BEGIN-----\n  abc\n  -----END-----\n";
    let cases = [
        ("vault-1.0.yml", "old:\n  token: from-1.0\n", "1 secret", ""),
        ("vault-1.1.yml", whole, "3 secrets", ""),
        ("vault-1.2.yml", "dev:\n  token: from-dev\n", "1 secret", ""),
        ("inline.yml", INLINE, "6 secrets", "2 values were"),
        ("sops.yaml", SOPS, "7 secrets", "4 values were"),
        ("sops-mac-only.yaml", SOPS, "7 secrets", "4 values were"),
    ];
    for (file, text, count, plain) in cases {
        let project = Project::new();
        let said = format!("secrets/all.yaml.age  {count} imported\n");
        let new = "`secrets/all.yaml.age` is new, and read by ada\n";
        let note = match plain {
            "" => new.to_owned(),
            plain => {
                format!("{new}{plain} not encrypted, and not imported: the inventory is for them\n")
            }
        };
        assert_eq!(project.import(&[&format!("old/{file}")]), (0, said, note), "{file}");
        assert_eq!(project.show(), text, "{file}");
        project.holds_no_plaintext(text);
    }
}

#[test]
fn what_ansible_reads_in_another_way_is_told_without_the_value() {
    let project = Project::new();
    let (code, _, error) = project.import(&["old/vault-other-meaning.yml"]);
    assert_eq!(
        (code, error.as_str()),
        (
            0,
            "`secrets/all.yaml.age` is new, and read by ada\n\
             Ansible evaluates the expression in `db.url`; infra takes its text as it stands\n\
             Ansible reads another number in `db.pin`; infra takes its text as it stands\n\
             Ansible reads a boolean in `db.words.1`; infra takes its text as it stands\n"
        )
    );
    assert_eq!(
        project.show(),
        "db:\n  url: \"pg://{{ user }}@db\"\n  pin: 0123\n  quoted: \"0123\"\n  words: [a, no]\n"
    );
}

#[test]
fn a_file_outside_the_folder_is_no_target() {
    let project = Project::new();
    let (code, _, error) = project.import(&["old/vault-1.1.yml", "--into", "../outside"]);
    assert_eq!(
        error,
        "error: `../outside` cannot be the name of a file of secrets\n\
         hint: write `all`, the name of a group or the name of a server\n"
    );
    assert_eq!(code, 1);
    assert!(!project.0.path().join("outside.yaml.age").exists());
    let (code, _, error) = project.import(&["old/sops.yaml", "--key", "tls"]);
    assert_eq!(
        error,
        "error: cannot import `old/sops.yaml`\n\
         caused by: it holds values with names of their own\nhint: leave `--key` out\n"
    );
    assert_eq!(code, 1);
}

#[test]
fn what_is_there_stays_with_its_comments() {
    let project = Project::new();
    project.import(&["old/vault-1.1.yml"]);
    let before = project.show();
    assert_eq!(project.import(&["old/vault-1.0.yml", "old/vault-1.2.yml"]).0, 0);
    let after = project.show();
    assert_eq!(after, format!("{before}old:\n  token: from-1.0\ndev:\n  token: from-dev\n"));
    let bytes = fs::read(project.0.path().join("secrets/all.yaml.age")).unwrap();
    assert_eq!(project.import(&["old/vault-1.0.yml"]).0, 0);
    assert_eq!(fs::read(project.0.path().join("secrets/all.yaml.age")).unwrap(), bytes);
}

#[test]
fn other_values_are_replaced_only_if_asked() {
    let project = Project::new();
    project.import(&["old/sops.yaml"]);
    let (code, _, error) = project.import(&["old/vault-1.1.yml"]);
    assert_eq!(
        error,
        "error: `secrets/all.yaml.age` has other values already\n\
         caused by: of `smtp.password`\n\
         hint: replace them with `--replace`, or import into another file with `--into`\n"
    );
    assert_eq!((code, project.show().as_str()), (1, SOPS));
    assert_eq!(project.import(&["old/vault-1.1.yml", "--replace"]).0, 0);
    assert!(project.show().starts_with("smtp:\n  password: \"vault: é 1\"\n  port: 587\n  tls:"));
}

#[test]
fn a_file_that_is_no_yaml_is_one_secret() {
    let project = Project::new();
    assert_eq!(
        project.import(&["old/raw.vault"]).2,
        "error: cannot import `old/raw.vault`\n\
         caused by: what is in it is a text, not a map\n\
         hint: take it over as one secret by `--key NAME`\n"
    );
    assert_eq!(project.import(&["old/raw.vault", "--key", "tls.key"]).0, 0);
    assert_eq!(project.show(), "tls:\n  key: |\n    raw key\n    of two lines\n");
}

#[test]
fn a_password_that_is_wrong_or_missing_is_told() {
    let project = Project::new();
    let import = |arguments: &[&str]| {
        let (code, _, error) = project.infra(&[&["secrets", "import"], arguments].concat());
        assert_eq!(code, 1, "{error}");
        error
    };
    assert_eq!(
        import(&["old/vault-1.1.yml"]),
        "error: cannot import `old/vault-1.1.yml`\n\
         caused by: it wants a vault password, and nobody is there to ask\n\
         hint: name a file with `--vault-password-file` or ANSIBLE_VAULT_PASSWORD_FILE\n"
    );
    let wrong = ["--vault-password-file", "old/dev-password.txt"];
    assert_eq!(
        import(&[&["old/vault-1.1.yml"], &wrong[..]].concat()),
        "error: cannot import `old/vault-1.1.yml`\ncaused by: no vault password opens it\n"
    );
    let wrong = ["--vault-password-file", "old/password.txt"];
    assert_eq!(
        import(&[&["old/inline.yml"], &wrong[..]].concat()),
        "error: cannot import `old/inline.yml`\n\
         caused by: line 14 holds it\n\
         caused by: no vault password opens the vault `dev`\n\
         hint: name its file with `--vault-id dev@FILE`\n"
    );
    assert_eq!(
        import(&["old/vault-1.1.yml", "--vault-id", "dev"]),
        "error: `--vault-id dev` names no file\nhint: write `LABEL@FILE`\n"
    );
    fs::write(project.0.path().join("script"), "#!/bin/sh\necho x\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(project.0.path().join("script"), mode).unwrap();
    assert_eq!(
        import(&["old/vault-1.1.yml", "--vault-password-file", "script"]),
        "error: cannot read the vault password `script`\n\
         caused by: it is a program, which infra does not run\n\
         hint: in bash: `--vault-password-file <(script)`\n"
    );
    assert_eq!(fs::read_dir(project.0.path().join("secrets")).unwrap().count(), 1);
}

/// Changes a fixture, and returns the error that importing it gives.
fn refusal(file: &str, change: impl Fn(&str) -> String) -> String {
    let project = Project::new();
    let text = fs::read_to_string(data(file)).unwrap();
    fs::write(project.0.path().join("changed"), change(&text)).unwrap();
    let (code, _, error) = project.import(&["changed"]);
    assert_eq!(code, 1, "{error}");
    error
}

#[test]
fn what_somebody_changed_is_refused() {
    assert_eq!(
        refusal("sops.yaml", |text| text.replace("mail.example.org", "evil.example.org")),
        "error: cannot import `changed`\n\
         caused by: its checksum does not fit: somebody changed it without SOPS\n\
         hint: look at its history, and write it anew with `sops`\n"
    );
    // Two values change places: each is bound to its name.
    assert_eq!(
        refusal("sops.yaml", |text| text.replace("port:", "p:").replace("tls:", "port:")),
        "error: cannot import `changed`\n\
         caused by: the value of `smtp.p` cannot be opened\n"
    );
    assert_eq!(
        refusal("sops.yaml", |text| text.replace("  age:", "  kms:")),
        "error: cannot import `changed`\n\
         caused by: it is encrypted to no age key\n\
         hint: add one of yours with `sops --add-age`, then import it\n"
    );
    assert_eq!(
        refusal("vault-1.1.yml", |text| text.replacen("39", "38", 1)),
        "error: cannot import `changed`\ncaused by: no vault password opens it\n"
    );
    assert_eq!(
        refusal("vault-1.1.yml", |text| text.replace("1.1;AES256", "2.0;AES512")),
        "error: cannot import `changed`\n\
         caused by: infra does not know vaults of the format 2.0 AES512\n"
    );
    assert_eq!(
        refusal("vault-1.1.yml", |text| format!("{text}xyz\n")),
        "error: cannot import `changed`\n\
         caused by: its lines are not hexadecimal digits\n"
    );
    assert_eq!(
        refusal("password.txt", |_| "a: b\n".to_owned()),
        "error: cannot import `changed`\n\
         caused by: it holds nothing of ansible-vault's and nothing of SOPS'\n\
         hint: secrets that are not encrypted yet are added by `infra secrets set`\n"
    );
    assert_eq!(
        refusal("password.txt", |_| "a: !vault \"x\"\n".to_owned()),
        "error: cannot import `changed`\n\
         caused by: line 1: a vault that is not in a block below its key\n\
         hint: write it as `ansible-vault encrypt_string` does: `key: !vault |`\n"
    );
}

#[test]
fn without_the_identity_of_sops_it_says_so() {
    let project = Project::new();
    assert_eq!(project.infra(&["secrets", "keygen", "other.txt"]).0, 0);
    let output = Command::new(env!("CARGO_BIN_EXE_infra"))
        .args(["secrets", "import", "old/sops.yaml", "--identity", "other.txt"])
        .current_dir(project.0.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cannot import `old/sops.yaml`\n\
         caused by: it is not encrypted to `other.txt`\n\
         hint: name another identity with `--identity`, or ask one of its recipients to add you to \
         `secrets/recipients.yaml` and to run `infra secrets rekey`\n"
    );
}
