//! `infra secrets rekey`, `recipients` and `keygen`: all files or none, whenever it is killed.

use std::fs;
use std::process::{Command, Stdio};

use infra::secrets::recipients::Recipients;
use infra::secrets::{Folder, IdentitySource};

struct Project {
    folder: tempfile::TempDir,
    /// The public keys of ada and bob.
    keys: [String; 2],
}

impl Project {
    /// Files that ada and bob may read.
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inventory")).unwrap();
        fs::write(folder.path().join("inventory/web.yaml"), "roles: {}\n").unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        let mut project = Self { folder, keys: [String::new(), String::new()] };
        for (index, name) in ["ada", "bob"].iter().enumerate() {
            let (code, key, _) =
                project.infra("ada", &["secrets", "keygen", &format!("{name}.txt")]);
            assert_eq!(code, 0);
            key.trim().clone_into(&mut project.keys[index]);
        }
        project.both();
        for file in files {
            let text = format!("name: {file}\n");
            let bytes = project.secrets("ada").encrypt(file, None, &text).unwrap();
            fs::write(project.secrets("ada").file(file), bytes).unwrap();
        }
        project
    }

    fn recipients(&self, text: &str) {
        let [ada, bob] = &self.keys;
        let text = text.replace("ADA", ada).replace("BOB", bob);
        fs::write(self.folder.path().join("secrets/recipients.yaml"), text).unwrap();
    }

    fn both(&self) {
        self.recipients("recipients:\n  ada: { key: ADA }\n  bob: { key: BOB }\n");
    }

    fn ada_alone(&self) {
        self.recipients("recipients:\n  ada: { key: ADA }\n");
    }

    fn command(&self, identity: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.args(["--identity", &format!("{identity}.txt")]);
        command
    }

    fn infra(&self, identity: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(identity, arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn secrets(&self, identity: &str) -> Folder {
        let file = Some(self.folder.path().join(format!("{identity}.txt")));
        Folder::new(self.folder.path(), &IdentitySource { file, ..IdentitySource::default() })
    }

    /// The files that bob's key opens, as age itself sees it.
    fn bobs(&self) -> Vec<String> {
        let secrets = self.secrets("bob");
        let names = secrets.names().unwrap().into_iter();
        names.filter(|name| secrets.open(name).is_ok()).collect()
    }
}

#[test]
fn a_file_that_nobody_could_read_is_not_written() {
    let project = Project::new(&[]);
    let refused = |name: &str| {
        let error = project.secrets("ada").encrypt(name, None, "a: b\n").unwrap_err();
        error.to_string()
    };
    project.recipients("recipients:\n  ada: { key: ADA, files: [web] }\n");
    assert_eq!(
        refused("all"),
        "cannot encrypt `secrets/all.yaml.age`\n\
         caused by: no recipient in `secrets/recipients.yaml` reads it\n\
         hint: `infra secrets keygen` makes your key; add it there, below `recipients`: \
         `you: { key: age1… }`"
    );
    fs::remove_file(project.folder.path().join("secrets/recipients.yaml")).unwrap();
    assert_eq!(
        refused("all"),
        "cannot encrypt `secrets/all.yaml.age`\n\
         caused by: there is no `secrets/recipients.yaml`\n\
         hint: `infra secrets keygen` makes your key; write the file: \
         `recipients: { you: { key: age1… } }`"
    );
    assert_eq!(
        refused("lab"),
        "cannot encrypt `secrets/lab.yaml.age`\n\
         caused by: there is no `secrets/recipients.yaml`\n\
         hint: `infra secrets keygen secrets/lab-identity.txt` makes the key of the lab; write the \
         file: `recipients: { lab: { key: age1…, files: [lab] } }`"
    );
}

#[test]
fn readers_that_differ_are_reported_and_made_right() {
    let project = Project::new(&["all", "web"]);
    assert_eq!(
        project.infra("ada", &["check"]),
        (0, "1 server ok, 0 resources\n".into(), String::new())
    );
    project.recipients("recipients:\n  ada: { key: ADA }\n  bob: { key: BOB, files: [web] }\n");
    let (code, _, error) = project.infra("ada", &["check"]);
    assert_eq!(
        error,
        "error: the readers of `secrets/all.yaml.age` are not those of `secrets/recipients.yaml`\n\
         caused by: still encrypted to bob\n\
         hint: run `infra secrets rekey`\n"
    );
    assert_eq!(code, 1);
    let [ada, bob] = &project.keys;
    assert_eq!(
        project.infra("ada", &["secrets", "recipients"]).1,
        format!(
            "ada  age  {ada}\nbob  age  {bob}\n\
             secrets/all.yaml.age  ada\n  still encrypted to bob: run `infra secrets rekey`\n\
             secrets/web.yaml.age  ada, bob\n"
        )
    );
    let web = fs::read(project.secrets("ada").file("web")).unwrap();
    assert_eq!(
        project.infra("ada", &["secrets", "rekey"]),
        (0, "secrets/all.yaml.age  encrypted to ada\n".into(), String::new())
    );
    assert_eq!(project.bobs(), ["web"]);
    assert_eq!(fs::read(project.secrets("ada").file("web")).unwrap(), web);
    assert_eq!(project.infra("ada", &["check"]).0, 0);
    assert_eq!(
        project.infra("ada", &["secrets", "rekey"]).1,
        "every file is encrypted to its readers\n"
    );
    assert_eq!(
        project.infra("ada", &["secrets", "rekey", "--all"]).1,
        "secrets/all.yaml.age  encrypted to ada\nsecrets/web.yaml.age  encrypted to ada, bob\n"
    );
}

#[test]
fn a_new_reader_is_missing_until_rekey() {
    let project = Project::new(&["all"]);
    project.ada_alone();
    project.infra("ada", &["secrets", "rekey"]);
    project.both();
    let (_, _, error) = project.infra("ada", &["check"]);
    assert!(error.contains("\ncaused by: not yet encrypted to bob\n"), "{error}");
    // A person who cannot open a file cannot let himself in, and nothing is changed.
    let before = fs::read(project.secrets("ada").file("all")).unwrap();
    let (code, _, error) = project.infra("bob", &["secrets", "rekey"]);
    assert!(error.starts_with("error: cannot open `secrets/all.yaml.age`\n"), "{error}");
    assert_eq!(code, 1);
    assert_eq!(fs::read(project.secrets("ada").file("all")).unwrap(), before);
}

#[test]
fn one_file_that_does_not_open_keeps_all_as_they_are() {
    let project = Project::new(&["a", "b"]);
    project.recipients("recipients:\n  ada: { key: ADA, files: [b] }\n  bob: { key: BOB }\n");
    project.infra("bob", &["secrets", "rekey"]);
    project.recipients("recipients:\n  ada: { key: ADA }\n");
    let read = || ["a", "b"].map(|name| fs::read(project.secrets("ada").file(name)).unwrap());
    let before = read();
    assert_eq!(project.infra("ada", &["secrets", "rekey"]).0, 1);
    assert_eq!(read(), before);
}

#[test]
fn groups_give_files_to_their_members() {
    let text = "recipients:\n  ada: { key: passphrase }\n  bob: { key: passphrase, files: [a] }\n\
                groups:\n  ops: { members: [ada, bob], files: [web, db] }\n";
    let recipients =
        Recipients::parse(&infra::diagnostic::Source::new("recipients.yaml", text)).unwrap();
    let readers = |file: &str| -> Vec<String> {
        recipients.of_file(file).iter().map(|reader| reader.name.clone()).collect()
    };
    assert_eq!(readers("a"), ["ada", "bob"]);
    assert_eq!(readers("db"), ["ada", "bob"]);
    assert_eq!(readers("all"), ["ada"]);
    assert_eq!(readers("lab"), Vec::<String>::new());
    // A group takes nothing away, and may give the lab's file.
    let text = text.replace("[web, db]", "[lab]");
    let recipients =
        Recipients::parse(&infra::diagnostic::Source::new("recipients.yaml", text)).unwrap();
    let count = |file: &str| recipients.of_file(file).len();
    assert_eq!((count("lab"), count("all"), count("db")), (2, 1, 1));
}

/// Nobody locks themselves out by a mistake in the list.
#[test]
fn whoever_rekeys_keeps_access() {
    let project = Project::new(&["all", "web"]);
    project.recipients("recipients:\n  ada: { key: ADA, files: [web] }\n  bob: { key: BOB }\n");
    let before = fs::read(project.secrets("ada").file("all")).unwrap();
    let (code, _, error) = project.infra("ada", &["secrets", "rekey"]);
    assert_eq!(
        error,
        "error: you could not open `secrets/all.yaml.age` any more\n\
         caused by: `secrets/recipients.yaml` does not let your identity read it\n\
         hint: add yourself there, or use `--give-up-access`; nothing was changed\n"
    );
    assert_eq!(code, 1);
    assert_eq!(fs::read(project.secrets("ada").file("all")).unwrap(), before);
    assert_eq!(project.infra("ada", &["secrets", "rekey", "--give-up-access"]).0, 0);
    assert_eq!(project.bobs(), ["all", "web"]);
    assert!(project.secrets("ada").open("all").is_err());
}

/// An edit that was set aside is its author's until it is dealt with.
#[test]
fn an_edit_that_was_set_aside_blocks_nothing() {
    let project = Project::new(&["all"]);
    project.secrets("ada").set_aside("all", "name: edited\n").unwrap();
    project.ada_alone();
    assert_eq!(project.infra("ada", &["secrets", "rekey"]).0, 0);
    assert_eq!(project.infra("ada", &["check"]).0, 0);
    let (code, out, error) = project.infra("ada", &["secrets", "list"]);
    assert_eq!((code, out.as_str(), error.as_str()), (0, "all  name\n", ""));
}

#[test]
fn mistakes_in_the_list_have_places() {
    let project = Project::new(&[]);
    project.recipients(
        "recipients:\n  ada: { key: age1abc }\n  bob: { key: AGE-SECRET-KEY-1ABC, file: [a] }\n\
         groups:\n  ops: { members: [adda], files: [a] }\n",
    );
    let (code, _, error) = project.infra("ada", &["secrets", "recipients"]);
    let messages: Vec<&str> = error
        .lines()
        .filter(|line| {
            ["error:", " -->", "caused by:", "hint:"].iter().any(|word| line.starts_with(word))
        })
        .collect();
    assert_eq!(
        messages,
        [
            "error: age cannot encrypt to the recipient `ada`",
            " --> secrets/recipients.yaml:2:15",
            "caused by: its letters do not add up",
            "hint: a key begins with `age1`, `ssh-ed25519` or `ssh-rsa`; `passphrase` asks for one",
            "error: unknown key `file`",
            " --> secrets/recipients.yaml:3:36",
            "hint: did you mean `files`?",
            "error: age cannot encrypt to the recipient `bob`",
            " --> secrets/recipients.yaml:3:15",
            "caused by: it is an identity, which must stay secret: make a new one",
            "hint: a key begins with `age1`, `ssh-ed25519` or `ssh-rsa`; `passphrase` asks for one",
            "error: unknown recipient `adda` in the group `ops`",
            " --> secrets/recipients.yaml:5:20",
            "hint: did you mean `ada`?",
        ]
    );
    assert_eq!(code, 1);
}

#[test]
fn keygen_never_replaces_an_identity() {
    let project = Project::new(&[]);
    let file = project.folder.path().join("ada.txt");
    let before = fs::read(&file).unwrap();
    let (code, _, error) = project.infra("ada", &["secrets", "keygen", "ada.txt"]);
    assert_eq!(
        error,
        "error: `ada.txt` is there already\n\
         hint: an identity that is lost opens nothing any more: move it away, or name another file\n"
    );
    assert_eq!(code, 1);
    assert_eq!(fs::read(&file).unwrap(), before);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (code, _, error) = project.infra("ada", &["secrets", "keygen", "--passphrase", "new.txt"]);
    assert_eq!(
        error,
        "error: `new.txt` wants a passphrase, and none was given\nhint: run this at a terminal\n"
    );
    assert_eq!(code, 1);
    assert!(!project.folder.path().join("new.txt").exists());
}
