//! Single values: `list`, `show`, `set` and `rm`.

use super::Project;

crate::tests! {
    names_are_shown_without_values_and_values_when_asked_for,
    values_are_set_and_removed_without_touching_the_rest,
    a_new_file_and_a_whole_file_need_no_identity,
    several_lines_are_kept_to_the_byte,
    a_value_is_asked_for_twice_and_not_shown,
    several_values_are_not_replaced_by_accident,
    mistakes_come_with_a_hint,
    mistakes_in_recipients_are_told,
    damaged_files_are_told_from_those_of_others,
}

const TEXT: &str = "# mail\nsmtp:\n  password: hunter2 # old\n  hosts: [a, b]\n";

fn names_are_shown_without_values_and_values_when_asked_for() {
    let project = Project::with(TEXT);
    let list = project.secrets(&["list"], "");
    assert_eq!(
        (list.out.as_str(), list.err.as_str()),
        ("all  smtp.password\nall  smtp.hosts\n", "")
    );
    let json = project.secrets(&["list", "--output", "json"], "");
    assert_eq!(json.out, "{\"all\":[\"smtp.password\",\"smtp.hosts\"]}\n");
    assert_eq!(project.secrets(&["show"], "").out, TEXT);
    assert_eq!(project.secrets(&["show", "all", "smtp.password"], "").out, "hunter2\n");
    assert_eq!(project.secrets(&["show", "all", "smtp.hosts"], "").out, "[a, b]\n");
}

fn values_are_set_and_removed_without_touching_the_rest() {
    let project = Project::with(TEXT);
    let said = project.secrets(&["set", "smtp.password"], "correct horse\n");
    assert_eq!(said.err, "set `smtp.password` in `secrets/all.yaml.age`\n");
    assert_eq!(project.opened("all"), TEXT.replace("hunter2", "\"correct horse\""));
    let said = project.secrets(&["rm", "smtp.hosts"], "");
    assert_eq!(said.err, "removed `smtp.hosts` from `secrets/all.yaml.age`\n");
    assert_eq!(project.opened("all"), "# mail\nsmtp:\n  password: \"correct horse\" # old\n");
    // The same value again is no change, and leaves the bytes alone.
    let before = project.read("secrets/all.yaml.age");
    assert_eq!(project.secrets(&["set", "smtp.password"], "correct horse").code, 0);
    assert_eq!(project.read("secrets/all.yaml.age"), before);
}

fn a_new_file_and_a_whole_file_need_no_identity() {
    let project = Project::with(TEXT);
    project.run("mv", &["key", "away"], "");
    assert_eq!(project.secrets(&["set", "--in", "web", "token"], "abc").code, 0);
    let said = project.secrets(&["set", "--whole-file", "all"], "a: 1\n");
    assert_eq!((said.code, said.err.as_str()), (0, "wrote `secrets/all.yaml.age`\n"));
    project.run("mv", &["away", "key"], "");
    assert_eq!(
        (project.opened("web"), project.opened("all")),
        ("token: abc\n".into(), "a: 1\n".into())
    );
}

/// ssh takes no key without its last line end; and what is shown can be set again.
fn several_lines_are_kept_to_the_byte() {
    let project = Project::with(TEXT);
    project.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "deploy"], "");
    let key = project.read("deploy");
    assert!(key.ends_with("-----\n"), "{key}");
    for value in [
        key.as_str(),
        &key.replace('\n', "\r\n"),
        key.trim_end(),
        "\n\n",
        "one\n\n",
        "\n one\n\ttwo\n\n",
        "a: b\n# c\n",
    ] {
        assert_eq!(project.secrets(&["set", "deploy.key"], value).code, 0);
        assert_eq!(project.secrets(&["show", "all", "deploy.key"], "").out, value);
    }
    for value in ["one", "one\n", "one\r\n"] {
        assert_eq!(project.secrets(&["set", "deploy.key"], value).code, 0);
        assert_eq!(project.opened("all"), format!("{TEXT}deploy:\n  key: one\n"));
        assert_eq!(project.secrets(&["show", "all", "deploy.key"], "").out, "one\n");
    }
    let said = project.secrets(&["set", "deploy.key"], "\n");
    assert!(said.err.starts_with("error: there is no value on standard input"), "{}", said.err);
    assert_eq!(project.secrets(&["set", "deploy.key"], &key).code, 0);
    project.write("shown", &project.secrets(&["show", "all", "deploy.key"], "").out);
    project.run("chmod", &["600", "shown"], "");
    let public = project.run("ssh-keygen", &["-y", "-P", "", "-f", "shown"], "");
    assert!(project.read("deploy.pub").starts_with(public.out.trim()), "{}", public.err);
}

fn a_value_is_asked_for_twice_and_not_shown() {
    let project = Project::with(TEXT);
    let said = project.terminal("infra secrets set smtp.password", "new-value\nnew-value\n");
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("Value of `smtp.password`: "), "{}", said.out);
    assert!(project.opened("all").contains("password: new-value # old"));
    let said = project.terminal("infra secrets set smtp.password", "one\ntwo\n");
    assert!(said.out.contains("error: the two values differ"), "{}", said.out);
}

/// Nothing is lost that was not named.
fn several_values_are_not_replaced_by_accident() {
    let project = Project::with(TEXT);
    for (key, kind) in [("smtp", "a map"), ("smtp.hosts", "a list")] {
        let said = project.secrets(&["set", key], "x");
        assert_eq!(
            said.err,
            format!(
                "error: `{key}` in `secrets/all.yaml.age` is {kind}\n\
                 hint: name one value in it, or replace all of it with `--replace`\n"
            )
        );
    }
    let said = project.secrets(&["set", "--whole-file", "all"], "just a text\n");
    assert_eq!(
        said.err,
        "error: cannot write `secrets/all.yaml.age`\n\
         caused by: the file is a text, and must be a map of names\n\
         hint: write `name: value`\n"
    );
    assert_eq!(project.opened("all"), TEXT);
    let said = project.secrets(&["set", "--in", "wed", "x"], "y");
    assert_eq!(said.err, "error: `wed` is no server and no group\nhint: did you mean `web`?\n");
    assert!(!project.path("secrets/wed.yaml.age").exists());
    assert_eq!(project.secrets(&["set", "--replace", "smtp"], "x").code, 0);
    assert_eq!(project.opened("all"), "# mail\nsmtp: x\n");
}

fn mistakes_come_with_a_hint() {
    let project = Project::with(TEXT);
    for (arguments, input, error) in [
        (
            &["show", "all", "smtp.pasword"][..],
            "",
            "`secrets/all.yaml.age` has no secret `smtp.pasword`\nhint: did you mean `smtp.password`?",
        ),
        (
            &["show", "all", "other"],
            "",
            "`secrets/all.yaml.age` has no secret `other`\nhint: `infra secrets list all` shows its names",
        ),
        (&["show", "al"], "", "there is no `secrets/al.yaml.age`\nhint: did you mean `all`?"),
        (&["list", "web"], "", "there is no `secrets/web.yaml.age`\nhint: there are: all"),
        (
            &["rm", "--in", "web", "x"],
            "",
            "there is no `secrets/web.yaml.age`\nhint: there are: all",
        ),
        (
            &["set", "--in", "../x", "a"],
            "b",
            "`../x` cannot be the name of a file of secrets\n\
             hint: write `all`, the name of a group or the name of a server",
        ),
        (
            &["set", "a"],
            "",
            "there is no value on standard input\n\
             hint: pipe it in, for example from a password manager",
        ),
        (
            &["set", "smtp.password.x"],
            "b",
            "cannot set `smtp.password.x` in `secrets/all.yaml.age`\n\
             caused by: `smtp.password` is a text and no map",
        ),
        (
            &["set", "--whole-file", "all"],
            "a: 'hunter2",
            "cannot open `secrets/all.yaml.age`\ncaused by: line 1 of what is in it is not YAML",
        ),
        (
            &["set", "--in", "lab", "a"],
            "b",
            "cannot encrypt `secrets/lab.yaml.age`\n\
             caused by: no recipient in `secrets/recipients.yaml` reads it\n\
             hint: `infra secrets keygen secrets/lab-identity.txt` makes the key of the lab; add it \
             there, below `recipients`: `lab: { key: age1…, files: [lab] }`",
        ),
    ] {
        let said = project.secrets(arguments, input);
        assert_eq!((said.code, said.err), (1, format!("error: {error}\n")), "{arguments:?}");
    }
    assert_eq!(project.opened("all"), TEXT);
}

fn mistakes_in_recipients_are_told() {
    let project = Project::new();
    let key = super::recipient(&project.read("key"));
    for (text, error) in [
        (
            "recipients: { me: { key: age1xyz } }".to_owned(),
            "cannot use `secrets/recipients.yaml`\n\
             caused by: secrets/recipients.yaml:1: age cannot encrypt to the recipient `me`\n\
             caused by: its letters do not add up\n\
             hint: a key begins with `age1`, `ssh-ed25519` or `ssh-rsa`; `passphrase` asks for one",
        ),
        (
            "recipients: { me: { key: age1open1w3jhxaqgeyfpg } }".to_owned(),
            "cannot encrypt `secrets/all.yaml.age` to `me`\n\
             caused by: Could not find 'age-plugin-open' on the PATH.\n  \
             Have you installed the plugin?\n\
             hint: install `age-plugin-open`, which encrypts to this key",
        ),
        (
            format!("recipients: {{ a: {{ key: {key} }}, b: {{ key: passphrase }} }}"),
            "cannot encrypt `secrets/all.yaml.age`\n\
             caused by: the recipient `b` is a passphrase\n\
             hint: age lets a passphrase open only files that have no other recipient",
        ),
        (
            "recipients: { me: { keys: 1 } }".to_owned(),
            "cannot use `secrets/recipients.yaml`\n\
             caused by: secrets/recipients.yaml:1: unknown key `keys`\n\
             caused by: secrets/recipients.yaml:1: the recipient `me` has no `key`\n\
             hint: did you mean `key`?",
        ),
    ] {
        project.write("secrets/recipients.yaml", &text);
        let said = project.secrets(&["set", "a"], "b");
        assert_eq!((said.code, said.err), (1, format!("error: {error}\n")), "{text}");
    }
}

fn damaged_files_are_told_from_those_of_others() {
    let project = Project::with(TEXT);
    let whole = project.read("secrets/all.yaml.age");
    let hint = "hint: take it from git again: `git checkout -- secrets/all.yaml.age`\n";
    let body = whole.replace("\n-----END", "AAAA\n-----END");
    for (text, cause) in [
        ("x: 1\n", "it is no file of age's, or its head is damaged"),
        ("", "it is no file of age's, or its head is damaged"),
        (&whole[..80], "it is no file of age's, or its head is damaged"),
        (&body, "it is damaged"),
    ] {
        project.write("secrets/all.yaml.age", text);
        let said = project.secrets(&["show"], "");
        let error =
            format!("error: cannot open `secrets/all.yaml.age`\ncaused by: {cause}\n{hint}");
        assert_eq!((said.code, said.err), (1, error), "{text}");
    }
}
