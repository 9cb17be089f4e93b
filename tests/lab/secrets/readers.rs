//! A new name in `recipients.yaml` reads nothing before `rekey`, and two revisions are compared by
//! the names of their secrets.

use super::{Project, Said, recipient, say};

crate::tests! {
    a_new_reader_waits_for_rekey,
    a_file_with_other_readers_than_it_says_is_told,
    two_revisions_differ_by_names_and_never_by_values,
}

/// Runs `infra` with the identity in a file of the project; `none` for none.
fn infra(project: &Project, arguments: &[&str], identity: &str, input: &str) -> Said {
    let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
    match identity {
        "none" => command.env_remove("INFRA_IDENTITY_FILE"),
        file => command.env("INFRA_IDENTITY_FILE", file),
    };
    say(command.args(arguments), input)
}

/// A project with two secrets that is a repository, and a key of somebody else.
fn project() -> Project {
    let project = Project::new();
    for (name, value) in [("one", "CANARY-1"), ("two", "CANARY-2")] {
        let said = infra(&project, &["secrets", "set", name], "key", value);
        assert_eq!(said.code, 0, "{}", said.err);
    }
    project.run("age-keygen", &["-o", "eve"], "");
    project
}

/// Declares `eve` beside `me`.
fn declare_eve(project: &Project) {
    let (me, eve) = (recipient(&project.read("key")), recipient(&project.read("eve")));
    let text = format!("recipients: {{ me: {{ key: {me} }}, eve: {{ key: {eve} }} }}\n");
    project.write("secrets/recipients.yaml", &text);
}

fn a_new_reader_waits_for_rekey() {
    let project = project();
    let said = infra(&project, &["secrets", "set", "--in", "web", "three"], "key", "CANARY-3");
    assert_eq!(
        said.err,
        "`secrets/web.yaml.age` is new, and read by me\nset `three` in `secrets/web.yaml.age`\n"
    );
    declare_eve(&project);
    let said = infra(&project, &["secrets", "set", "one"], "key", "CANARY-4");
    assert_eq!(
        said.err,
        "eve cannot read `secrets/all.yaml.age` yet: `infra secrets rekey` lets them\n\
         set `one` in `secrets/all.yaml.age`\n"
    );
    assert_eq!(infra(&project, &["secrets", "rm", "two"], "key", "").code, 0);
    let said = infra(&project, &["secrets", "set", "--whole-file", "web"], "key", "three: 4\n");
    assert_eq!(said.code, 0, "{}", said.err);
    for file in ["all", "web"] {
        let said = infra(&project, &["secrets", "show", file], "eve", "");
        assert!(said.err.contains("it is not encrypted to `eve`"), "{}", said.err);
    }
    let said = infra(&project, &["check"], "key", "");
    assert!(said.err.contains("caused by: not yet encrypted to eve\n"), "{}", said.err);
    assert_eq!(infra(&project, &["secrets", "rekey"], "key", "").code, 0);
    let said = infra(&project, &["secrets", "show", "all"], "eve", "");
    assert_eq!(said.out, "one: CANARY-4\n");

    // A file of another program does not say who reads it.
    let project = Project::with("one: 1\n");
    project.run("age-keygen", &["-o", "eve"], "");
    declare_eve(&project);
    let said = infra(&project, &["secrets", "set", "one"], "key", "2");
    assert_eq!(
        said.err,
        "error: the readers of `secrets/all.yaml.age` have changed\n\
         caused by: it is encrypted to 1 age key, not 2 age keys\n\
         hint: look at `secrets/recipients.yaml`, then run `infra secrets rekey`\n"
    );
}

/// The record of its readers stands in the header of a file, and anybody can write there.
fn a_file_with_other_readers_than_it_says_is_told() {
    let project = project();
    let text = project.read("secrets/all.yaml.age");
    declare_eve(&project);
    assert_eq!(infra(&project, &["secrets", "rekey"], "key", "").code, 0);
    let head = |armored: &str| -> Vec<String> {
        let body: String = armored.lines().filter(|line| !line.starts_with("-----")).collect();
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, body).unwrap();
        let end = bytes.windows(5).position(|part| part == b"\n--- ").unwrap();
        String::from_utf8_lossy(&bytes[..end]).lines().map(str::to_owned).collect()
    };
    let (one, both) = (head(&text), head(&project.read("secrets/all.yaml.age")));
    let record = |lines: &[String]| {
        let at = lines.iter().position(|line| line.starts_with("-> infra-readers")).unwrap();
        lines[at + 1].clone()
    };
    let forge = |stanzas: &[String], told: &[String]| {
        let forged = stanzas.join("\n").replace(&record(stanzas), &record(told));
        let forged = format!("{forged}\n--- {}\n", "A".repeat(43));
        let forged = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, forged);
        let lines: Vec<&str> =
            forged.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let begin = "-----BEGIN AGE ENCRYPTED FILE-----";
        let end = "-----END AGE ENCRYPTED FILE-----";
        project.write("secrets/all.yaml.age", &format!("{begin}\n{}\n{end}\n", lines.join("\n")));
    };
    let differs = "error: the readers of `secrets/all.yaml.age` are not those of \
                   `secrets/recipients.yaml`\ncaused by: ";

    // Somebody without a key writes a name into the record, and waits for the next value.
    forge(&one, &both);
    let said = infra(&project, &["check"], "none", "");
    let expected = format!("{differs}it is encrypted to fewer keys than it says\n");
    assert!(said.err.contains(&expected), "{}", said.err);
    let said = infra(&project, &["secrets", "set", "--whole-file", "all"], "none", "one: 2\n");
    assert_eq!(
        said.err,
        "error: the readers of `secrets/all.yaml.age` have changed\n\
         caused by: it is encrypted to fewer keys than it says\n\
         hint: look at `secrets/recipients.yaml`, then run `infra secrets rekey`\n"
    );

    // Somebody who brings a file keeps silent about one of its readers.
    forge(&both, &one);
    let me = recipient(&project.read("key"));
    project.write("secrets/recipients.yaml", &format!("recipients: {{ me: {{ key: {me} }} }}\n"));
    let said = infra(&project, &["check"], "none", "");
    let expected = format!("{differs}it is encrypted to 1 age key more than it says\n");
    assert!(said.err.contains(&expected), "{}", said.err);
}

/// An identity proves which values differ; without it the files tell.
fn two_revisions_differ_by_names_and_never_by_values() {
    let project = project();
    // The key for plans is the key of the digests as well.
    let key = "0123456789abcdef".repeat(4);
    let said = infra(&project, &["secrets", "set", "--in", "plans", "key"], "key", &key);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(infra(&project, &["secrets", "rekey", "--all"], "key", "").code, 0);
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &["add", "inventory", "secrets"],
        &["-c", "user.name=a", "-c", "user.email=a@a", "commit", "-q", "-m", "first"],
    ] {
        project.run("git", arguments, "");
    }
    let since = |identity: &str| {
        let said = infra(&project, &["diff", "--since", "main"], identity, "");
        assert!(!said.out.contains("CANARY") && !said.err.contains("CANARY"), "{}", said.out);
        said.out
    };
    let nothing = "web  0 resources: 0 ok\n";
    assert_eq!(since("key"), nothing);
    infra(&project, &["secrets", "set", "one"], "key", "CANARY-5");
    infra(&project, &["secrets", "set", "three"], "key", "CANARY-6");
    infra(&project, &["secrets", "rm", "two"], "key", "");
    let names = "web  ~ `secrets/all.yaml.age` changes `one`, `three` (new), `two` (gone)";
    assert_eq!(since("key"), format!("{names}\n{nothing}"));
    assert_eq!(since("none"), format!("{names}, by its own account\n{nothing}"));

    // Somebody without an identity replaces all of it.
    declare_eve(&project);
    project.run("rm", &["secrets/all.yaml.age"], "");
    let said = infra(&project, &["secrets", "set", "--whole-file", "all"], "none", "one: 1\n");
    assert_eq!(said.code, 0, "{}", said.err);
    let reads = "web  ~ `eve` is to read `secrets/all.yaml.age`\n";
    let reads_key = "web  ~ `eve` is to read `secrets/plans.yaml.age`\n";
    assert_eq!(
        since("key"),
        format!(
            "{reads}web  ~ `secrets/all.yaml.age` is encrypted to `eve` as well\n\
             web  ~ `secrets/all.yaml.age` changes `one`, `two` (gone)\n{reads_key}{nothing}"
        )
    );
    let anew = "`secrets/all.yaml.age` is written anew: only a reader can tell which values change";
    assert!(since("none").contains(&format!("web  ~ {anew}\n")), "{}", since("none"));
}
