//! Files that `age` wrote and `infra` opens, and the other way round, for each kind of recipient.

use std::os::unix::fs::PermissionsExt as _;

use super::{Project, recipient};

crate::tests! {
    files_for_age_keys_open_in_both_programs,
    files_for_ssh_keys_open_in_both_programs,
    files_for_plugins_open_in_both_programs,
    files_with_a_passphrase_open_in_both_programs,
    files_with_one_passphrase_need_no_identity_and_one_question,
    identities_behind_a_passphrase_are_opened_once_and_only_if_needed,
    an_identity_that_no_recipient_matches_is_explained,
}

/// Sets a secret in a file that `age` wrote to `key`, and lets `age` open the result.
fn round_trip(project: &Project, key: &str, identity: &str) {
    project
        .write("secrets/recipients.yaml", &format!("recipients: {{ me: {{ key: \"{key}\" }} }}\n"));
    let said = project.run("age", &["-a", "-r", key], "a: 1\n");
    project.write("secrets/all.yaml.age", &said.out);
    let infra = |arguments: &[&str], input: &str| {
        let mut command = project.command("infra");
        let command = command.arg("secrets").args(arguments).args(["--identity", identity]);
        let said = super::say(command, input);
        assert_eq!(said.code, 0, "{}", said.err);
        said.out
    };
    infra(&["set", "b"], "two");
    assert_eq!(infra(&["show"], ""), "a: 1\nb: two\n");
    let file = "secrets/all.yaml.age";
    assert_eq!(project.run("age", &["-d", "-i", identity, file], "").out, "a: 1\nb: two\n");
}

fn files_for_age_keys_open_in_both_programs() {
    let project = Project::new();
    round_trip(&project, &recipient(&project.read("key")), "key");
}

fn files_for_ssh_keys_open_in_both_programs() {
    for (kind, bits) in [("ed25519", "256"), ("rsa", "2048")] {
        let project = Project::new();
        let arguments = ["-q", "-t", kind, "-b", bits, "-N", "", "-f", "ssh"];
        project.run("ssh-keygen", &arguments, "");
        round_trip(&project, project.read("ssh.pub").trim(), "ssh");
    }
}

/// A plugin whose stanzas hold the file key in the clear.
const PLUGIN: &str = r#"
case "$1" in
--age-plugin=recipient-v1)
    while read -r arrow word rest; do
        case "$word" in
        wrap-file-key) read -r key ;;
        done) read -r empty; break ;;
        esac
    done
    printf -- '-> recipient-stanza 0 open\n%s\n' "$key"
    read -r ok; read -r empty
    ;;
--age-plugin=identity-v1)
    while read -r arrow word rest; do
        case "$word $rest" in
        'recipient-stanza 0 open') read -r key ;;
        done*) read -r empty; break ;;
        esac
    done
    printf -- '-> file-key 0\n%s\n' "$key"
    read -r ok; read -r empty
    ;;
esac
printf -- '-> done\n\n'
"#;

fn files_for_plugins_open_in_both_programs() {
    let project = Project::new();
    project.write("bin/age-plugin-open", &format!("#!/bin/sh{PLUGIN}"));
    let plugin = project.path("bin/age-plugin-open");
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.write("identity", "AGE-PLUGIN-OPEN-1W3JHXAQK7C08P\n");
    let key = "age1open1w3jhxaqgeyfpg";
    project.write("secrets/recipients.yaml", &format!("recipients: {{ me: {{ key: {key} }} }}\n"));
    let run = |program: &str, arguments: &[&str], input: &str| {
        let mut command = project.command(program);
        let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("INFRA_IDENTITY_FILE", project.path("identity"));
        let said = super::say(command.args(arguments), input);
        assert_eq!(said.code, 0, "{program}: {}", said.err);
        said.out
    };
    let infra = env!("CARGO_BIN_EXE_infra");
    let said = run("age", &["-a", "-r", key], "a: 1\n");
    project.write("secrets/all.yaml.age", &said);
    run(infra, &["secrets", "set", "b"], "two");
    assert_eq!(run(infra, &["secrets", "show"], ""), "a: 1\nb: two\n");
    let file = "secrets/all.yaml.age";
    assert_eq!(run("age", &["-d", "-i", "identity", file], ""), "a: 1\nb: two\n");
}

fn files_with_a_passphrase_open_in_both_programs() {
    let project = Project::new();
    project.write("secrets/recipients.yaml", "recipients: { us: { key: passphrase } }\n");
    project.write("plain", "a: 1\n");
    let said = project.terminal("age -p -a -o secrets/all.yaml.age plain", "sesame\nsesame\n");
    assert_eq!(said.code, 0, "{}", said.out);
    // No identity is needed, and it is asked for once though the file is opened and written.
    project.run("rm", &["key"], "");
    let said = project.terminal("printf two | infra secrets set b", "sesame\n");
    assert!(said.out.contains("set `b`"), "{}", said.out);
    assert_eq!(said.out.matches("Passphrase of `secrets/all.yaml.age`").count(), 1, "{}", said.out);
    let said = project.terminal("age -d secrets/all.yaml.age > clear", "sesame\n");
    assert_eq!((said.code, project.read("clear")), (0, "a: 1\nb: two\n".to_owned()));
    let said = project.terminal("infra secrets show", "wrong\n");
    let shown = said.out.replace('\r', "");
    assert!(
        shown.ends_with(
            "error: cannot open `secrets/all.yaml.age`\ncaused by: the passphrase is wrong\n"
        ),
        "{shown}"
    );
    // A new file has a new one, and what is typed wrong once would lock everybody out.
    let said = project.terminal("echo 1 | infra secrets set --in web x", "one\nother\n");
    assert!(
        said.out.contains("the two passphrases of `secrets/web.yaml.age` differ"),
        "{}",
        said.out
    );
    let said = project.secrets(&["show"], "");
    assert_eq!(
        said.err,
        "error: cannot open `secrets/all.yaml.age`\ncaused by: it wants a passphrase\n\
         hint: run this at a terminal\n"
    );
}

fn files_with_one_passphrase_need_no_identity_and_one_question() {
    let project = Project::new();
    project.write("secrets/recipients.yaml", "recipients: { us: { key: passphrase } }\n");
    project.run("rm", &["key"], "");
    project.write("inventory/web.yaml", "roles: { app: {} }\n");
    let role =
        "resources:\n  - file: { path: /etc/a, content: \"{{ secrets.a }}\", mode: \"0600\" }\n";
    project.write("roles/app/role.yaml", role);
    project.write("plain", "a: canary-a\n");
    for name in ["all", "web"] {
        let line = format!("age -p -a -o secrets/{name}.yaml.age plain");
        assert_eq!(project.terminal(&line, "sesame\nsesame\n").code, 0);
    }
    let infra = |arguments: &[&str]| {
        let mut command = project.command("infra");
        super::say(command.args(arguments).env_remove("INFRA_IDENTITY_FILE"), "")
    };
    let said = infra(&["check"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (0, "no identity opens the secrets: placeholders stood in for them\n")
    );
    let said = project.terminal("env -u INFRA_IDENTITY_FILE infra render web", "sesame\n");
    assert_eq!(said.code, 0, "{}", said.out);
    assert_eq!(said.out.matches("Passphrase of").count(), 1, "{}", said.out);
    assert!(said.out.contains("(secret)") && !said.out.contains("canary"), "{}", said.out);
}

fn identities_behind_a_passphrase_are_opened_once_and_only_if_needed() {
    let project = Project::with("a: 1\n");
    let key = recipient(&project.read("key"));
    project.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "sesame", "-f", "ssh"], "");
    let ssh = project.read("ssh.pub");
    let list = format!("recipients: {{ a: {{ key: {key} }}, b: {{ key: \"{}\" }} }}\n", ssh.trim());
    project.write("secrets/recipients.yaml", &list);
    assert_eq!(project.secrets(&["rekey"], "").code, 0);
    let said = project.terminal("age -p -a -o locked key", "sesame\nsesame\n");
    assert_eq!(said.code, 0, "{}", said.out);
    project.write("inventory/groups/blue.yaml", "description: blue ones\n");
    for name in ["all", "web", "blue"] {
        assert_eq!(project.secrets(&["set", "--in", name, "x"], "1").code, 0);
    }
    for identity in ["locked", "ssh"] {
        // Several files, one question; the same for what is opened and then written.
        for command in ["list", "rm x"] {
            let line = format!("infra secrets {command} --identity {identity}");
            let said = project.terminal(&line, "sesame\n");
            assert_eq!(said.code, 0, "{line}: {}", said.out);
            let asked = said.out.to_lowercase().matches("passphrase").count();
            assert_eq!(asked, 1, "{line}: {}", said.out);
            assert_eq!(project.secrets(&["set", "x"], "1").code, 0);
        }
        // A whole file is written without reading anything.
        let mut command = project.command("infra");
        command.args(["secrets", "set", "--whole-file", "web", "--identity", identity]);
        assert_eq!(super::say(&mut command, "x: 1\n").code, 0);
    }
}

fn an_identity_that_no_recipient_matches_is_explained() {
    let project = Project::with("a: 1\n");
    project.run("age-keygen", &["-o", "other"], "");
    let key = recipient(&project.read("key"));
    let list =
        format!("recipients: {{ ada: {{ key: {key} }}, eve: {{ key: {key}, files: [web] }} }}\n");
    project.write("secrets/recipients.yaml", &list);
    let mut command = project.command("infra");
    let said = super::say(command.args(["secrets", "show", "--identity", "other"]), "");
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            1,
            "error: cannot open `secrets/all.yaml.age`\n\
             caused by: it is not encrypted to `other`\n\
             caused by: its recipients are `ada`\n\
             hint: name another identity with `--identity`, or ask one of its recipients to add \
             you to `secrets/recipients.yaml` and to run `infra secrets rekey`\n"
        )
    );
    let mut command = project.command("infra");
    command.args(["secrets", "show"]).env_remove("INFRA_IDENTITY_FILE");
    assert_eq!(
        super::say(&mut command, "").err,
        "error: no identity to open `secrets/all.yaml.age`\n\
         hint: name one with `--identity FILE`, or make one with `infra secrets keygen`\n"
    );
}
